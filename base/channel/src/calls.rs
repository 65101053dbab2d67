//! Requests on the way, as the side that has sent them keeps them: which reply belongs to which, in whatever order they come.
//!
//! ```text
//!   Free --- begin ---> Asked --- answer ---> Answered --- poll, give_up ---> Free
//!                         \------ give_up ---> Dropped --- answer ----------> Free
//! ```
//!
//! A request goes with a *tag*: its place here, and how often that was used before. The peer sends the tag back with the reply. One that belongs to no
//! request on the way (never asked, answered already, of a place's earlier use) is [`Broken`] and changes nothing. So a hostile
//! peer answers each of the requests that it was sent, once, and nothing else. The place of a request that was given up is not used before its reply has come.
//!
//! All of it is private memory, under one lock of its owner's. **Wake-up:** [`Calls::poll`] looks for the reply and leaves the waker in one section,
//! [`Calls::answer`] stores the reply and takes the waker in one; whoever is second finds what the first has left.

use crate::Broken;
use alloc::vec::Vec;
use core::task::{Poll, Waker};

/// What tells a request from others, also from earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(pub u64);

impl Tag {
    fn new(place: u32, use_of_it: u32) -> Self {
        Self(u64::from(use_of_it) << 32 | u64::from(place))
    }

    fn place(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }

    fn use_of_it(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

enum State<P> {
    Free,
    Asked(Option<Waker>),
    /// Nobody wants the reply, which is still to come.
    Dropped,
    Answered(P),
}

struct Place<P> {
    /// Goes up when it is free again.
    use_of_it: u32,
    state: State<P>,
}

/// What a reply does.
#[must_use]
pub enum Answer {
    /// It is there, and whoever waits for it is to be woken.
    Arrived(Option<Waker>),
    /// Nobody wanted it. There is a free place more.
    Discarded,
}

/// The requests on the way.
pub struct Calls<P> {
    places: Vec<Place<P>>,
    free: Vec<u32>,
}

impl<P> Calls<P> {
    /// None yet, and at most so many.
    #[must_use]
    pub fn new(most: u32) -> Self {
        let place = |_| Place { use_of_it: 0, state: State::Free };
        Self { places: (0..most).map(place).collect(), free: (0..most).rev().collect() }
    }

    /// The tag of one more request; `None`: as many as may be are on the way.
    pub fn begin(&mut self) -> Option<Tag> {
        let number = self.free.pop()?;
        let place = &mut self.places[number as usize];
        place.state = State::Asked(None);
        Some(Tag::new(number, place.use_of_it))
    }

    fn find(&mut self, tag: Tag) -> Option<&mut Place<P>> {
        self.places.get_mut(tag.place()).filter(|place| place.use_of_it == tag.use_of_it())
    }

    fn free(&mut self, tag: Tag) {
        if let Some(place) = self.find(tag) {
            place.state = State::Free;
            place.use_of_it = place.use_of_it.wrapping_add(1);
            self.free.push(tag.place() as u32);
        }
    }

    /// A reply has come.
    ///
    /// # Errors
    /// [`Broken`]: to nothing that was asked.
    pub fn answer(&mut self, tag: Tag, reply: P) -> Result<Answer, Broken> {
        let place = self.find(tag).ok_or(Broken)?;
        match &mut place.state {
            State::Free | State::Answered(_) => Err(Broken),
            State::Asked(waker) => {
                let waker = waker.take();
                place.state = State::Answered(reply);
                Ok(Answer::Arrived(waker))
            }
            State::Dropped => {
                self.free(tag);
                Ok(Answer::Discarded)
            }
        }
    }

    /// The reply, after which the place is free; or the waker is left for it.
    pub fn poll(&mut self, tag: Tag, waker: &Waker) -> Poll<P> {
        let Some(place) = self.find(tag) else { return Poll::Pending };
        match &mut place.state {
            State::Asked(left) => {
                // The one before is of the same request's.
                left.get_or_insert_with(|| waker.clone()).clone_from(waker);
                Poll::Pending
            }
            State::Answered(_) => {
                let State::Answered(reply) = core::mem::replace(&mut place.state, State::Free) else {
                    return Poll::Pending;
                };
                self.free(tag);
                Poll::Ready(reply)
            }
            State::Free | State::Dropped => Poll::Pending,
        }
    }

    /// Nobody wants the reply any more. Whether the place is free at once, as the reply was there.
    pub fn give_up(&mut self, tag: Tag) -> bool {
        let Some(place) = self.find(tag) else { return false };
        let is_answered = matches!(place.state, State::Answered(_));
        if is_answered {
            self.free(tag);
        } else {
            place.state = State::Dropped;
        }
        is_answered
    }

    /// Whoever waits for a reply, which will not come.
    pub fn end(&mut self) -> Vec<Waker> {
        let waker = |place: &mut Place<P>| match &mut place.state {
            State::Asked(waker) => waker.take(),
            _ => None,
        };
        self.places.iter_mut().filter_map(waker).collect()
    }
}
