//! Signals: default actions, handlers, masks, interrupted calls, frames.

pub mod files;
pub mod io;
pub mod restarts;

use crate::case::{Case, Outcome, Trouble};
use crate::machine::needs_kernel;
use crate::process::{PAGE, RW, Shared, await_blocked, checked_child, child, dies, exits, kill, map, sleep_ms};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use rt::abi::errno::Result as Call;
use rt::abi::io_uring::{IORING_ENTER_GETEVENTS, Sqe};
use rt::abi::signal::{
    SA_NODEFER, SA_ONSTACK, SA_RESETHAND, SA_RESTART, SA_SIGINFO, SIG_BLOCK, SIG_IGN, SIG_SETMASK, SIG_UNBLOCK,
    SIGALRM, SIGCHLD, SIGCONT, SIGKILL, SIGSEGV, SIGSTOP, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SigStack, Sigaction,
    mask,
};
use rt::io::{Read, Write};
use rt::ring::Ring;
use rt::{pipe, process, raw, thread};

pub const CASES: &[Case] = &[
    case!("signals/defaults", "E1 U6", defaults),
    case!("signals/ignored", "U6", ignored),
    case!("signals/handler", "U6", handler),
    case!("signals/information", "U6", information),
    case!("signals/blocked-then-delivered", "U6", blocked_then_delivered),
    case!("signals/blocked-while-handled", "U6", blocked_while_handled),
    case!("signals/one-shot", "U6", one_shot),
    case!("signals/interrupts-a-call", "D14 U6", interrupts_a_call),
    case!("signals/restarts-a-call", "D14 U6", restarts_a_call),
    case!("signals/interrupts-a-sleep", "D14 D16", interrupts_a_sleep),
    case!("signals/child-ended", "U6", child_ended),
    case!("signals/fault-handler", "U7 E1", fault_handler),
    case!("signals/other-stack", "U6", other_stack),
    case!("signals/suspend", "U6", suspend),
    case!("signals/mask-of-a-wait-that-has-some", "U6 C4", mask_of_a_wait_that_has_some),
    case!("signals/wait-for-one", "U6", wait_for_one),
    case!("signals/to-one-thread", "U6 P7", to_one_thread),
    case!("signals/registers-survive", "U6", registers_survive),
    case!("signals/while-computing", "U4 U6", while_computing),
    case!("signals/shortest-interval", "S6 E1", shortest_interval),
    case!("signals/unstoppable", "E1", unstoppable),
    case!("signals/forged-frame", "S6 E1", forged_frame),
    case!("signals/stack-overflow-in-delivery", "E1", stack_overflow_in_delivery),
    case!("signals/storm", "U6 D14", storm),
];

static COUNT: AtomicU32 = AtomicU32::new(0);
static VALUE: AtomicUsize = AtomicUsize::new(0);

pub extern "C" fn count_it(_signal: usize) {
    COUNT.fetch_add(1, Ordering::SeqCst);
}

fn count() -> u32 {
    COUNT.load(Ordering::SeqCst)
}

fn action(signal: u32, handler: usize, flags: u64, blocked: u64) -> Call<usize> {
    let action = Sigaction { handler: handler as u64, flags, mask: blocked };
    call!(RT_SIGACTION, signal, &raw const action, 0, 8)
}

pub fn on(signal: u32, handler: extern "C" fn(usize), flags: u64) -> Call<usize> {
    action(signal, handler as *const () as usize, flags, 0)
}

fn blocked(how: u32, signals: u64) -> Call<u64> {
    let mut before = 0u64;
    call!(RT_SIGPROCMASK, how, &raw const signals, &raw mut before, 8)?;
    Ok(before)
}

fn myself(signal: u32) -> Call<usize> {
    kill(process::id(), signal)
}

fn defaults() -> Outcome {
    for signal in [SIGTERM, SIGUSR1, SIGALRM, SIGSEGV, SIGKILL] {
        dies(child(|| i32::from(myself(signal).is_err()))?, signal)?;
    }
    for signal in [SIGCHLD, SIGWINCH, SIGCONT] {
        exits(child(|| i32::from(myself(signal).is_err()))?, 0)?;
    }
    Ok(())
}

fn ignored() -> Outcome {
    action(SIGTERM, SIG_IGN, 0, 0)?;
    myself(SIGTERM)?;
    exits(child(|| i32::from(myself(SIGTERM).is_err()))?, 0)?;
    action(SIGTERM, 0, 0, 0)?;
    dies(child(|| i32::from(myself(SIGTERM).is_err()))?, SIGTERM)
}

fn handler() -> Outcome {
    on(SIGUSR1, count_it, 0)?;
    for expected in 1..=100 {
        myself(SIGUSR1)?;
        equal!(count(), expected);
    }
    // Children inherit the handler.
    exits(child(|| i32::from(myself(SIGUSR1).is_err() || count() != 101))?, 0)
}

extern "C" fn remember_sender(signal: usize, info: usize, _context: usize) {
    let number = raw::load64(info) as u32;
    let pid = raw::load64(info + 16) as u32;
    VALUE.store(pid as usize, Ordering::SeqCst);
    COUNT.store(if number as usize == signal { 1 } else { 2 }, Ordering::SeqCst);
}

fn information() -> Outcome {
    action(SIGUSR1, remember_sender as *const () as usize, SA_SIGINFO, 0)?;
    let own = process::id();
    let pid = child(|| i32::from(kill(own, SIGUSR1).is_err()))?;
    exits(pid, 0)?;
    equal!((count(), VALUE.load(Ordering::SeqCst)), (1, pid as usize));
    Ok(())
}

fn blocked_then_delivered() -> Outcome {
    on(SIGUSR1, count_it, 0)?;
    on(SIGUSR2, count_it, 0)?;
    let both = mask(SIGUSR1) | mask(SIGUSR2);
    blocked(SIG_BLOCK, both)?;
    for _ in 0..3 {
        myself(SIGUSR1)?;
    }
    myself(SIGUSR2)?;
    equal!(count(), 0);
    let mut pending = 0u64;
    call!(RT_SIGPENDING, &raw mut pending, 8)?;
    equal!(pending & both, both);
    equal!(blocked(SIG_UNBLOCK, mask(SIGUSR2))? & both, both);
    equal!(count(), 1);
    blocked(SIG_SETMASK, 0)?;
    // Three of the same were one.
    equal!(count(), 2);
    // What cannot be blocked stays unblocked.
    blocked(SIG_SETMASK, u64::MAX)?;
    let now = blocked(SIG_SETMASK, 0)?;
    equal!(now & (mask(SIGKILL) | mask(SIGSTOP)), 0);
    Ok(())
}

extern "C" fn send_again(_signal: usize) {
    let depth = COUNT.fetch_add(1, Ordering::SeqCst);
    if depth < 4 {
        let _ = myself(SIGUSR1);
        // Deeper handlers would have run by now.
        VALUE.fetch_max((COUNT.load(Ordering::SeqCst) - depth) as usize, Ordering::SeqCst);
    }
}

fn blocked_while_handled() -> Outcome {
    on(SIGUSR1, send_again, 0)?;
    myself(SIGUSR1)?;
    equal!((count(), VALUE.load(Ordering::SeqCst)), (5, 1));
    COUNT.store(0, Ordering::SeqCst);
    on(SIGUSR1, send_again, SA_NODEFER)?;
    myself(SIGUSR1)?;
    equal!(count(), 5);
    ensure!(VALUE.load(Ordering::SeqCst) > 1, "the signal was kept back in spite of SA_NODEFER");
    Ok(())
}

fn one_shot() -> Outcome {
    let pid = child(|| {
        let set = on(SIGUSR1, count_it, SA_RESETHAND);
        let sent = myself(SIGUSR1);
        if set.is_err() || sent.is_err() || count() != 1 {
            return 1;
        }
        let _ = myself(SIGUSR1);
        2
    })?;
    dies(pid, SIGUSR1)
}

/// A child that blocks in `read` with this handler, is sent the signal, and then a byte.
fn interrupted_read(flags: u64) -> Result<Call<usize>, Trouble> {
    let (read, mut write) = pipe::pipe()?;
    let shared = Shared::new()?;
    let pid = checked_child(|| {
        on(SIGUSR1, count_it, flags)?;
        let mut byte = 0u8;
        let result = call!(READ, read.fd().raw(), &raw mut byte, 1);
        shared.set(1, result.map_or_else(|errno| errno.number() as u32 + 1000, |len| len as u32));
        equal!(count(), 1);
        shared.set(0, 1);
        Ok(())
    })?;
    await_blocked(pid)?;
    kill(pid, SIGUSR1)?;
    if flags & SA_RESTART != 0 {
        sleep_ms(5);
        await_blocked(pid)?;
    } else {
        shared.await_least(0, 1);
    }
    write.write_all(&[1])?;
    exits(pid, 0)?;
    Ok(match shared.get(1) {
        value @ 0..1000 => Ok(value as usize),
        errno => rt::abi::Errno::from_return(-(errno as isize - 1000)),
    })
}

fn interrupts_a_call() -> Outcome {
    fails!(interrupted_read(0)?, EINTR);
    Ok(())
}

fn restarts_a_call() -> Outcome {
    equal!(interrupted_read(SA_RESTART)?, Ok(1));
    Ok(())
}

/// The rest of the time is reported.
fn interrupts_a_sleep() -> Outcome {
    let pid = checked_child(|| {
        on(SIGUSR1, count_it, SA_RESTART)?;
        let span = crate::process::millis(1_000_000);
        let mut left = crate::process::millis(0);
        fails!(call!(NANOSLEEP, &raw const span, &raw mut left), EINTR);
        ensure!(left > crate::process::millis(800_000) && left <= span, "{left:?} were left");
        Ok(())
    })?;
    await_blocked(pid)?;
    kill(pid, SIGUSR1)?;
    exits(pid, 0)
}

fn child_ended() -> Outcome {
    on(SIGCHLD, count_it, 0)?;
    let pid = child(|| 3)?;
    exits(pid, 3)?;
    while count() == 0 {
        sleep_ms(1);
    }
    // Who ignores it has no zombies.
    action(SIGCHLD, SIG_IGN, 0, 0)?;
    let pid = child(|| 3)?;
    fails!(crate::process::wait(pid), ECHILD);
    action(SIGCHLD, 0, 0, 0)?;
    Ok(())
}

extern "C" fn repair(_signal: usize, info: usize, _context: usize) {
    let address = raw::load64(info + 16) as usize;
    VALUE.store(address, Ordering::SeqCst);
    let page = address & !(PAGE - 1);
    let _ = call!(MPROTECT, page, PAGE, RW);
}

/// The handler learns the address, gives the right back, and the store is done again.
fn fault_handler() -> Outcome {
    action(SIGSEGV, repair as *const () as usize, SA_SIGINFO, 0)?;
    let base = map(PAGE, rt::abi::mm::PROT_READ)?;
    raw::store64(base + 40, 17);
    equal!(VALUE.load(Ordering::SeqCst), base + 40);
    equal!(raw::load64(base + 40), 17);
    Ok(())
}

extern "C" fn note_stack(_signal: usize) {
    let local = core::hint::black_box(0u8);
    VALUE.store(&raw const local as usize, Ordering::SeqCst);
}

fn other_stack() -> Outcome {
    let len = 16 * PAGE;
    let base = map(len, RW)?;
    let stack = SigStack { sp: base as u64, flags: 0, pad: 0, size: len as u64 };
    call!(SIGALTSTACK, &raw const stack, 0)?;
    on(SIGUSR1, note_stack, SA_ONSTACK)?;
    on(SIGUSR2, note_stack, 0)?;
    myself(SIGUSR1)?;
    ensure!((base..base + len).contains(&VALUE.load(Ordering::SeqCst)));
    myself(SIGUSR2)?;
    ensure!(!(base..base + len).contains(&VALUE.load(Ordering::SeqCst)));
    // A child made by `fork` has it, too.
    exits(
        child(|| {
            let mut own = SigStack { sp: 0, flags: 0, pad: 0, size: 0 };
            let is_known = call!(SIGALTSTACK, 0, &raw mut own).is_ok();
            i32::from(!(is_known && own.sp == stack.sp && own.size == stack.size && own.flags == 0))
        })?,
        0,
    )?;
    let small = SigStack { size: 100, ..stack };
    fails!(call!(SIGALTSTACK, &raw const small, 0), ENOMEM);
    Ok(())
}

fn suspend() -> Outcome {
    let shared = Shared::new()?;
    let pid = checked_child(|| {
        on(SIGUSR1, count_it, 0)?;
        blocked(SIG_BLOCK, mask(SIGUSR1))?;
        shared.set(0, 1);
        let none = 0u64;
        fails!(call!(RT_SIGSUSPEND, &raw const none, 8), EINTR);
        equal!(count(), 1);
        // The mask is as before.
        equal!(blocked(SIG_BLOCK, 0)?, mask(SIGUSR1));
        Ok(())
    })?;
    shared.await_least(0, 1);
    kill(pid, SIGUSR1)?;
    exits(pid, 0)
}

/// A wait for completions that a signal ends answers with those that are there, and the signal is handled although only the mask of the
/// call let it in.
fn mask_of_a_wait_that_has_some() -> Outcome {
    on(SIGUSR1, count_it, 0)?;
    blocked(SIG_BLOCK, mask(SIGUSR1))?;
    myself(SIGUSR1)?;
    let mut ring = Ring::new(4, 0)?;
    ring.push_raw(&Sqe::default());
    ring.submit(0)?;
    let nothing = 0u64;
    let fd = ring.fd().raw();
    equal!(call!(IO_URING_ENTER, fd, 0, 2, IORING_ENTER_GETEVENTS, &raw const nothing, 8)?, 0);
    equal!(count(), 1);
    // The mask is back.
    myself(SIGUSR1)?;
    equal!(count(), 1);
    Ok(())
}

fn wait_for_one() -> Outcome {
    blocked(SIG_BLOCK, mask(SIGUSR1))?;
    let wanted = mask(SIGUSR1);
    let mut info = [0u64; 16];
    let span = crate::process::millis(5);
    fails!(call!(RT_SIGTIMEDWAIT, &raw const wanted, info.as_mut_ptr(), &raw const span, 8), EAGAIN);
    myself(SIGUSR1)?;
    equal!(call!(RT_SIGTIMEDWAIT, &raw const wanted, info.as_mut_ptr(), 0, 8), Ok(SIGUSR1 as usize));
    equal!(info[0] as u32, SIGUSR1);
    let pid = checked_child(|| {
        equal!(call!(RT_SIGTIMEDWAIT, &raw const wanted, 0, 0, 8), Ok(SIGUSR1 as usize));
        Ok(())
    })?;
    await_blocked(pid)?;
    kill(pid, SIGUSR1)?;
    exits(pid, 0)
}

extern "C" fn note_thread(_signal: usize) {
    VALUE.store(call!(GETTID).unwrap_or_default(), Ordering::SeqCst);
}

fn to_one_thread() -> Outcome {
    on(SIGUSR1, note_thread, SA_RESTART)?;
    let (mut read, mut write) = pipe::pipe()?;
    let shared = Shared::new()?;
    let other = thread::spawn(move || {
        shared.set(0, thread::id());
        read.read_exact(&mut [0]).is_ok()
    })?;
    shared.await_least(0, 1);
    let (own, tid) = (process::id(), shared.get(0));
    call!(TGKILL, own, tid, SIGUSR1)?;
    while VALUE.load(Ordering::SeqCst) == 0 {
        sleep_ms(1);
    }
    equal!(VALUE.load(Ordering::SeqCst), tid as usize);
    call!(TGKILL, own, own, SIGUSR1)?;
    equal!(VALUE.load(Ordering::SeqCst), own as usize);
    write.write_all(&[1])?;
    equal!(other.join(), Some(true));
    // A thread that was joined has left its stack, and is gone soon.
    while call!(TGKILL, own, tid, 0).is_ok() {
        sleep_ms(1);
    }
    fails!(call!(TGKILL, own, tid, 0), ESRCH);
    fails!(call!(TGKILL, own, 0, SIGUSR1), EINVAL);
    Ok(())
}

extern "C" fn spoil(_signal: usize) {
    COUNT.fetch_add(1, Ordering::SeqCst);
    // Other values in every register that a handler may change, and in those that it must restore.
    let _ = (raw::hold_floats(0xdead_0000, 1), raw::hold_integers(0xbeef_0000, 1));
}

fn interval_timer(micros: u64) -> Outcome {
    let value = [0, micros, 0, micros];
    crate::case::provided(call!(SETITIMER, 0, value.as_ptr(), 0), "setitimer")?;
    Ok(())
}

/// A timer's handler changes every register; the interrupted loop does not notice.
fn registers_survive() -> Outcome {
    on(SIGALRM, spoil, 0)?;
    interval_timer(2000)?;
    while count() < 20 {
        equal!(raw::hold_floats(1 << 40, 20_000), 0);
        equal!(raw::hold_integers(1 << 50, 20_000), 0);
    }
    interval_timer(0)
}

/// A timer that is due again before its signal is sent keeps neither its owner nor others from running.
fn shortest_interval() -> Outcome {
    let pid = child(|| {
        if on(SIGALRM, count_it, 0).is_err() || interval_timer(1).is_err() {
            return 1;
        }
        while COUNT.load(Ordering::SeqCst) < 20 {
            core::hint::spin_loop();
        }
        0
    })?;
    exits(pid, 0)
}

/// A process that makes no calls is interrupted all the same.
fn while_computing() -> Outcome {
    let shared = Shared::new()?;
    let pid = child(|| {
        if on(SIGUSR1, count_it, 0).is_err() {
            return 1;
        }
        shared.set(0, 1);
        while COUNT.load(Ordering::SeqCst) == 0 {
            core::hint::spin_loop();
        }
        0
    })?;
    shared.await_least(0, 1);
    kill(pid, SIGUSR1)?;
    exits(pid, 0)
}

fn unstoppable() -> Outcome {
    for signal in [SIGKILL, SIGSTOP, 0, 65, 1000] {
        fails!(action(signal, SIG_IGN, 0, 0), EINVAL);
    }
    fails!(call!(RT_SIGACTION, SIGUSR1, 0, 0, 4), EINVAL);
    fails!(call!(RT_SIGPROCMASK, 77, &raw const COUNT, 0, 8), EINVAL);
    fails!(call!(RT_SIGPROCMASK, SIG_BLOCK, 0, 0, 16), EINVAL);
    Ok(())
}

/// `rt_sigreturn` without a frame, or with one full of anything, harms the caller alone.
fn forged_frame() -> Outcome {
    needs_kernel("signal frames")?;
    for fill in [0u8, 0xff, 0x5a] {
        let pid = child(|| {
            let frame = [fill; 2048];
            core::hint::black_box(&frame);
            let _ = call!(RT_SIGRETURN);
            0
        })?;
        // It may end by SIGSEGV, or go on anywhere in its own memory: only that it ends is sure.
        sleep_ms(2);
        let _ = kill(pid, SIGKILL);
        crate::process::wait(pid)?;
    }
    Ok(())
}

/// No room for the frame is the end of the process, not of the system.
fn stack_overflow_in_delivery() -> Outcome {
    needs_kernel("signal stacks")?;
    let pid = child(|| {
        let Ok(base) = map(16 * PAGE, RW) else { return 1 };
        let stack = SigStack { sp: base as u64, flags: 0, pad: 0, size: 8 * PAGE as u64 };
        let set = call!(SIGALTSTACK, &raw const stack, 0).is_ok() && on(SIGUSR1, count_it, SA_ONSTACK).is_ok();
        let taken = crate::process::unmap(base, 16 * PAGE).is_ok();
        let _ = myself(SIGUSR1);
        i32::from(set && taken) + 1
    })?;
    dies(pid, SIGSEGV)
}

/// A thousand signals from four processes: the receiver works on, and nothing is left behind.
fn storm() -> Outcome {
    on(SIGUSR1, count_it, SA_RESTART)?;
    let own = process::id();
    let mut pids = alloc::vec::Vec::new();
    for _ in 0..4 {
        pids.push(child(|| (0..250).map(|_| i32::from(kill(own, SIGUSR1).is_err())).sum())?);
    }
    for pid in pids {
        exits(pid, 0)?;
    }
    ensure!((1..=1000).contains(&count()), "{} deliveries", count());
    Ok(())
}
