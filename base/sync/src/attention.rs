//! Getting the attention of somebody who moves from hart to hart, and looks for calls only when it comes by.
//!
//! ```text
//!   who is called, at a hart            who calls
//!   enter: the hart                     make visible what it is about
//!     fence                             raise: wanted
//!   wanted?  look                         fence
//!   go on, interrupts only              whereabouts: the hart, to be interrupted
//! ```
//!
//! **Why no call is lost.** Whichever fence comes first, one side sees the other's store: who is called sees that it is wanted, or
//! who calls sees the hart at which it goes on.
//!
//! **Telling.** What it looks at without a word to anybody, and goes on, it is [told](Attention::tell) of, in the same way: who wants it for more has it stop.
//!
//! **Errands.** What somebody may do on its way can be left to it while it is [here](Attention::come), in the same way; else who has the errand finds another. That, and whether
//! there is one, is in one word: so who [`send`](Attention::send)s comes before who [`leave`](Attention::leave)s, who then finds the errand and passes it on, or is told that nobody is there.

use crate::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

/// It is wanted.
const WANTED: u32 = 1 << 0;
/// There is an errand.
const ERRAND: u32 = 1 << 1;
/// It takes errands.
const HERE: u32 = 1 << 2;
/// It was told of something.
const TOLD: u32 = 1 << 3;

/// What is wanted, and where it is looked at.
#[derive(Debug)]
pub struct Attention {
    word: AtomicU32,
    hart: AtomicUsize,
}

impl Default for Attention {
    fn default() -> Self {
        Self::new()
    }
}

impl Attention {
    /// Not wanted, and not here; at hart 0.
    #[must_use]
    pub fn new() -> Self {
        Self { word: AtomicU32::new(0), hart: AtomicUsize::new(0) }
    }

    /// Wants it: whoever is called looks the next time that it comes by.
    #[inline]
    pub fn raise(&self) {
        // Release pairs with the Acquire in `take`: what it is about is visible.
        self.word.fetch_or(WANTED, Ordering::Release);
    }

    /// Tells it of something: it looks the next time that it comes by, and goes on. Whether it is to be interrupted for that: not if it was told before and has not looked
    /// since, as who told it then sees to that. So however often it is told, whoever runs where it went on last is interrupted once.
    #[inline]
    #[must_use]
    pub fn tell(&self) -> bool {
        // Release pairs with the Acquire in `take_told`: what it is about is visible, also of those that found it told.
        self.word.fetch_or(TOLD, Ordering::Release) & TOLD == 0
    }

    /// Whether it was told of something; it has looked then.
    #[inline]
    pub fn take_told(&self) -> bool {
        // The look before spares who was not told the swap. Relaxed: who tells is seen here, or where it is asked next.
        self.word.load(Ordering::Relaxed) & TOLD != 0 && self.word.fetch_and(!TOLD, Ordering::Acquire) & TOLD != 0
    }

    /// After [`raise`](Self::raise), [`tell`](Self::tell) or [`send`](Self::send): the hart to be interrupted, if it is not at this one.
    #[inline]
    #[must_use]
    pub fn whereabouts(&self) -> usize {
        // Pairs with the fence in `enter`.
        fence(Ordering::SeqCst);
        self.hart.load(Ordering::Relaxed)
    }

    /// Who is called goes on at a hart, and asks from now on whether it [`is_wanted`](Self::is_wanted).
    #[inline]
    pub fn enter(&self, hart: usize) {
        self.hart.store(hart, Ordering::Relaxed);
        // Pairs with the fence in `whereabouts`.
        fence(Ordering::SeqCst);
    }

    /// Whether it is neither wanted nor told nor here: one comparison, for who looks closer else.
    #[inline]
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        // Relaxed, here and below: `take`, `take_told` and `take_errand` acquire.
        self.word.load(Ordering::Relaxed) == 0
    }

    /// Whether it is wanted.
    #[inline]
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.word.load(Ordering::Relaxed) & WANTED != 0
    }

    /// Whether it was wanted; it is not any more.
    #[inline]
    pub fn take(&self) -> bool {
        self.word.fetch_and(!WANTED, Ordering::Acquire) & WANTED != 0
    }

    /// Has an errand for who is called; `false`: it is not here, and another is to be found.
    #[inline]
    #[must_use]
    pub fn send(&self) -> bool {
        // Not where nobody is here: it would be found by who comes later, and was another's. Tried again only where the word has changed meanwhile.
        let add = |word| (word & HERE != 0).then_some(word | ERRAND);
        // Release pairs with the Acquire in `take_errand` and `leave`: what it is about is visible. Relaxed where nobody is here: another is found.
        self.word.fetch_update(Ordering::Release, Ordering::Relaxed, add).is_ok()
    }

    /// From now on who is called takes errands, if it asks for them behind this. Before [`enter`](Self::enter), or behind it: who sees it there sees the hart, too, by the fence in `enter`.
    #[inline]
    pub fn come(&self) {
        if !self.is_here() {
            // Relaxed: who sends sees it or finds another.
            self.word.fetch_or(HERE, Ordering::Relaxed);
        }
    }

    /// Whether it does.
    #[inline]
    #[must_use]
    pub fn is_here(&self) -> bool {
        // Relaxed: who asks is the only one that changes it.
        self.word.load(Ordering::Relaxed) & HERE != 0
    }

    /// Not any more; whether there is one that it leaves to another.
    #[inline]
    #[must_use]
    pub fn leave(&self) -> bool {
        // Acquire pairs with the Release in `send`, as in `take_errand`.
        self.is_here() && self.word.fetch_and(!(ERRAND | HERE), Ordering::Acquire) & ERRAND != 0
    }

    /// Whether there may be an errand: `take_errand` says.
    #[inline]
    #[must_use]
    pub fn has_errand(&self) -> bool {
        self.word.load(Ordering::Relaxed) & ERRAND != 0
    }

    /// Whether there is an errand; there is none any more.
    #[inline]
    pub fn take_errand(&self) -> bool {
        self.has_errand() && self.word.fetch_and(!ERRAND, Ordering::Acquire) & ERRAND != 0
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::atomic::AtomicBool;
    use crate::cell::UnsafeCell;
    use loom::{sync::Arc, thread};

    struct Shared {
        attention: Attention,
        /// Of hart 1, where who is called goes on.
        interrupted: AtomicBool,
        /// What it is about.
        data: UnsafeCell<u32>,
    }

    /// Who is called comes to another hart meanwhile: it looks, or is interrupted there, and sees what it is about.
    #[test]
    fn no_call_is_lost() {
        let call = |attention: &Attention| {
            attention.raise();
            true
        };
        no_word_is_lost(call, |attention| attention.is_wanted() && attention.take());
    }

    /// The same of what it is told.
    #[test]
    fn nothing_that_is_told_is_lost() {
        no_word_is_lost(Attention::tell, Attention::take_told);
    }

    /// `call` says whether it is to be interrupted.
    fn no_word_is_lost(call: fn(&Attention) -> bool, look: fn(&Attention) -> bool) {
        loom::model(move || {
            let shared = Shared::new();
            let caller = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    // SAFETY: read only once it has been taken.
                    shared.data.with_mut(|data| unsafe { *data = 1 });
                    if call(&shared.attention) && shared.attention.whereabouts() == 1 {
                        shared.interrupted.store(true, Ordering::Relaxed);
                    }
                })
            };
            shared.attention.enter(1);
            let looked = !shared.attention.is_quiet() && look(&shared.attention);
            if looked {
                shared.look();
            }
            caller.join().unwrap();
            assert!(looked || shared.interrupted.load(Ordering::Relaxed));
        });
    }

    /// Two tell it, one of whom leaves the interrupt to the other: it has looked behind both, or is interrupted and then finds that it was told.
    #[test]
    fn who_is_told_twice_is_interrupted_once() {
        loom::model(|| {
            let shared = Shared::new();
            let told = Arc::new(AtomicUsize::new(0));
            let tellers = [(); 2].map(|()| {
                let (shared, told) = (Arc::clone(&shared), Arc::clone(&told));
                thread::spawn(move || {
                    // Relaxed on purpose: that it is told makes this visible.
                    told.fetch_add(1, Ordering::Relaxed);
                    if shared.attention.tell() && shared.attention.whereabouts() == 1 {
                        shared.interrupted.store(true, Ordering::Relaxed);
                    }
                })
            });
            shared.attention.enter(1);
            let seen = if shared.attention.take_told() { told.load(Ordering::Relaxed) } else { 0 };
            tellers.map(|teller| teller.join().unwrap());
            let finds = || shared.interrupted.load(Ordering::Relaxed) && shared.attention.take_told();
            assert!(seen == 2 || finds(), "one is not heard");
        });
    }

    impl Shared {
        fn new() -> Arc<Self> {
            let (interrupted, data) = (AtomicBool::new(false), UnsafeCell::new(0));
            Arc::new(Self { attention: Attention::new(), interrupted, data })
        }

        /// Somebody else has an errand; whether it was left to who is called.
        fn send(shared: &Arc<Self>) -> thread::JoinHandle<bool> {
            let shared = Arc::clone(shared);
            thread::spawn(move || {
                // SAFETY: read only once it has been taken.
                shared.data.with_mut(|data| unsafe { *data = 1 });
                let is_sent = shared.attention.send();
                if is_sent && shared.attention.whereabouts() == 1 {
                    shared.interrupted.store(true, Ordering::Relaxed);
                }
                is_sent
            })
        }

        /// What it is about is visible to who has taken it.
        fn look(&self) {
            // SAFETY: taken.
            assert_eq!(self.data.with(|data| unsafe { *data }), 1);
        }
    }

    /// Who comes, looks and leaves again does every errand, passes it on, or has whoever sends it find another; and is interrupted, if it stays.
    #[test]
    fn no_errand_is_lost() {
        for (leaves, enters_first) in [(false, false), (false, true), (true, false), (true, true)] {
            loom::model(move || {
                let shared = Shared::new();
                let sender = Shared::send(&shared);
                if enters_first {
                    shared.attention.enter(1);
                    shared.attention.come();
                } else {
                    shared.attention.come();
                    shared.attention.enter(1);
                }
                let does = shared.attention.take_errand();
                if does {
                    shared.look();
                }
                let passes_on = leaves && shared.attention.leave();
                if passes_on {
                    shared.look();
                }
                let is_sent = sender.join().unwrap();
                let finds = || shared.interrupted.load(Ordering::Relaxed) && shared.attention.take_errand();
                let is_told = passes_on || !leaves && !does && finds();
                assert!(does || is_told || !is_sent);
                assert!(!(does && passes_on));
            });
        }
    }

    /// Who comes, leaves and comes again has an errand once, whichever time it was sent in: what it has passed on it does not find, nor what was another's from the beginning.
    #[test]
    fn an_errand_is_had_once() {
        loom::model(|| {
            let shared = Shared::new();
            let sender = Shared::send(&shared);
            let mut times = 0;
            for _ in 0..2 {
                shared.attention.come();
                shared.attention.enter(1);
                times += usize::from(shared.attention.take_errand());
                times += usize::from(shared.attention.leave());
            }
            assert_eq!(times, usize::from(sender.join().unwrap()));
            assert!(!shared.attention.take_errand());
            // Nothing is left that it would look at for nothing.
            assert!(shared.attention.is_quiet());
        });
    }
}
