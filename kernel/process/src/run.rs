//! The coroutine of a user thread (D2): enter user mode, serve the exit, enter again.
//!
//! The inner loop ([`Running::stay`]) contains all that must be fast: calls that the service serves at once, and page
//! faults on memory that is there. It awaits nothing and allocates nothing. Everything else leaves it. Calls that wait are
//! the service's own boxes, awaited where they are; the rest is awaited in a box of its own, so that a parked thread
//! is no larger than its registers need.

use crate::{
    FdTable,
    affinity::Affinity,
    class::Class,
    clone,
    exception::{self, Trap, taken},
    execve, exit, footprint, oom,
    process::{FileContext, FilePlaces, Identity, Process, State},
    processor, prompt,
    service::{Begun, Call, Outcome, Program, Restart, Service},
    share::{Begin, Turn, Wait},
    signal::{Actions, deliver, force},
    slots,
    stack::Strings,
    table::{self, Kin},
    thread::Thread,
    uintr::Taking,
};
use abi::{asyncos::ASYNC, errno::Errno, fs::AT_FDCWD, nr, process::WaitStatus, signal::*};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::atomic::Ordering,
    task::{Context, Poll},
};
use hal::user::{Access, Exception, Exit, UserContext};
use mem::{Account, AddressSpace, BoxFuture, FaultError, SegvKind};

/// Why the inner loop ended.
enum Leave<'a> {
    /// A call that may wait; the registers describe it.
    Call,
    /// A call that was begun and waits in this.
    Waits(BoxFuture<'a, Outcome>),
    /// A fault that waits or fails.
    Fault(usize, Access),
    /// An instruction that cannot be executed.
    Exception(Exception),
    /// A call that a signal ended.
    Restart(Restart),
    /// Something for this thread to look at.
    Attention,
    /// The CPU is wanted elsewhere (`true`), or the thread gives it up.
    Yield(bool),
    /// The thread has had what is reserved for it, until then (ns since boot).
    Rest(u64),
    /// It takes user interrupts, and has no place for them on this hart.
    Unsettled,
}

impl Leave<'_> {
    /// How the thread goes on.
    fn wait(&self) -> Wait {
        match self {
            Leave::Yield(true) => Wait::Preempted,
            Leave::Yield(false) => Wait::Yields,
            _ => Wait::Nothing,
        }
    }
}

/// State of a running user thread.
struct Running {
    thread: Arc<Thread>,
    service: &'static dyn Service,
    context: UserContext,
    space: Arc<AddressSpace>,
    turn: Turn,
    /// Of a thread that takes user interrupts.
    taking: Option<Box<Taking>>,
}

/// Starts the coroutine of a thread.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn start(thread: &Arc<Thread>, service: &'static dyn Service, context: UserContext) -> Result<(), Errno> {
    let birth = thread.class().birth(thread.process().share.key());
    let task = run(thread.clone(), service, context);
    footprint::check_coroutine(&task);
    exec::try_spawn_with(&birth, "user thread", task).map_err(|_| Errno::ENOMEM)?.detach();
    Ok(())
}

/// The life of a user thread.
pub(crate) fn run(
    thread: Arc<Thread>,
    service: &'static dyn Service,
    context: UserContext,
) -> impl Future<Output = ()> + Send + 'static {
    let space = thread.space();
    let turn = Turn::new(&thread.process().share);
    let mut running = Running { thread: thread.clone(), service, context, space, turn, taking: None };
    async move {
        running.turn.task = thread.adopt().await;
        while !thread.killed() {
            match poll_fn(|context| running.go_on(&thread, context)).await {
                Leave::Waits(served) => apart(pin!(running.call(served))).await,
                Leave::Unsettled => apart(pin!(running.settle())).await,
                Leave::Call if running.context.x()[17] & ASYNC != 0 => running.register(),
                Leave::Call if !is_own(running.context.x()[17]) => {
                    let served = running.begin(&thread);
                    apart(pin!(running.call(served))).await;
                    // If it is to give way now, it may be another hart's from there on.
                    do_promptly(hal::hart::id());
                }
                Leave::Call if running.exits() => {}
                leave => apart(pin!(running.serve(leave))).await,
            }
        }
        if running.taking.is_some() {
            // Boxed: seldom needed.
            let end: BoxFuture<'_, ()> = Box::pin(running.end_taking());
            end.await;
        }
        running.end();
        // Before whoever joins it hears of its end.
        slots::leave(&thread);
        if !exit::leave_space_now(&thread) {
            // Boxed: seldom needed.
            let leave: BoxFuture<'_, ()> = Box::pin(exit::leave_space(&thread));
            leave.await;
        }
        exit::thread_ended(&thread, service);
    }
}

/// What is to be done on this hart before it is in user mode again.
#[inline]
fn do_promptly(hart: usize) {
    if prompt::is_wanted(hart) {
        prompt::act(hart);
    }
}

/// Awaits out of line what is no part of a switch between threads: that is to keep no more registers and constants than it needs.
fn apart<T>(mut future: Pin<&mut impl Future<Output = T>>) -> impl Future<Output = T> {
    poll_fn(move |context| poll_apart(future.as_mut(), context))
}

#[inline(never)]
fn poll_apart<T>(future: Pin<&mut impl Future<Output = T>>, context: &mut Context<'_>) -> Poll<T> {
    future.poll(context)
}

impl Running {
    /// Runs user code until something has to be awaited, with a poll for each time that it gives way. A thread that is killed meanwhile is
    /// wanted by it.
    #[inline(always)]
    fn go_on<'a>(&mut self, thread: &'a Arc<Thread>, context: &mut Context<'_>) -> Poll<Leave<'a>> {
        let leave = self.stay(thread);
        if let Leave::Yield(preempted) = leave {
            thread.usage.switch(preempted);
            // To be polled again; this one is not.
            let _ = pin!(exec::yield_now()).poll(context);
            return Poll::Pending;
        }
        Poll::Ready(leave)
    }

    /// Begins a call that the service serves and may wait.
    fn begin<'a>(&self, thread: &'a Arc<Thread>) -> BoxFuture<'a, Outcome> {
        let call = Call::of(&self.context);
        thread.submit(trace::Work::Call(call.number as u32));
        self.service.call(thread, call)
    }

    /// `false`: the thread has no place for its user interrupts here. Apart, as few threads take any, and a switch is to be short.
    #[cold]
    #[inline(never)]
    fn enter_taking(&mut self, thread: &Thread, hart: usize) -> bool {
        self.taking.as_mut().is_none_or(|taking| taking.enter(thread, &mut self.context, hart))
    }

    /// The thread leaves user mode: what arrives from now on is told. Apart, as above.
    #[cold]
    #[inline(never)]
    fn rest_taking(&mut self, thread: &Thread, gives_way: bool) {
        if let Some(taking) = &mut self.taking {
            taking.rest(thread, &self.context, self.context.x()[17] == abi::uintr::WAIT, gives_way);
        }
    }

    /// Why the thread cannot run now, on this hart.
    #[inline(always)]
    fn held_back<'a>(&mut self, thread: &'a Arc<Thread>, hart: usize) -> Option<Leave<'a>> {
        match self.turn.begin(thread) {
            Begin::Now => {}
            Begin::Later => {
                self.turn.account(thread, Wait::Preempted);
                processor::count_switch();
                return Some(Leave::Yield(true));
            }
            Begin::At(until) => {
                self.leave_errands(thread);
                return Some(Leave::Rest(until));
            }
        }
        // Last: until then what arrives is told, as when it came to rest.
        let is_unsettled = self.taking.is_some() && !self.enter_taking(thread, hart);
        is_unsettled.then(|| {
            self.leave_errands(thread);
            Leave::Unsettled
        })
    }

    /// What others leave to it is for others. Apart, as above.
    #[cold]
    #[inline(never)]
    fn leave_errands(&self, thread: &Thread) {
        if let Some(taking) = &self.taking {
            taking.leave_errands(thread);
        }
    }

    /// The same, unless it waits for nothing but a hart, and for whichever comes first: else others may be sooner at what is left to it.
    #[cold]
    #[inline(never)]
    fn rest_errands(&self, thread: &Thread, gives_way: bool) {
        if !gives_way || thread.place().is_some() || !thread.affinity.is_all() {
            self.leave_errands(thread);
        }
    }

    /// Runs user code until something has to be awaited. `thread` is this one's.
    #[inline(always)]
    fn stay<'a>(&mut self, thread: &'a Arc<Thread>) -> Leave<'a> {
        let (hart, started) = (hal::hart::id(), hal::time::now());
        if let Some(leave) = self.held_back(thread, hart) {
            return leave;
        }
        thread.usage.enter_user(started);
        processor::enter_user(hart, started);
        thread.attention.enter(hart);
        let leave = loop {
            // Whoever raises it from now on interrupts this hart.
            if !thread.attention.is_quiet()
                && let Some(leave) = self.attend(thread, hart)
            {
                self.context.keep_float_control_if_own();
                break leave;
            }
            match self.context.enter(self.space.handle(), self.taking.as_mut().and_then(|taking| taking.traps())) {
                Exit::Syscall => {
                    if self.context.x()[17] == nr::SCHED_YIELD {
                        self.context.keep_float_control();
                        self.context.x_mut()[10] = 0;
                        break Leave::Yield(false);
                    }
                    if let Some(id) = own_id(thread, self.context.x()[17]) {
                        self.context.x_mut()[10] = id as usize;
                        continue;
                    }
                    let (number, args) = Call::in_place(&self.context);
                    match self.service.now(thread, &self.space, number, args) {
                        Begun::Done(value) => self.context.x_mut()[10] = value as usize,
                        Begun::Waits(served) => {
                            thread.submit(trace::Work::Call(number as u32));
                            self.context.keep_float_control();
                            break Leave::Waits(served);
                        }
                        Begun::Not if self.taking.is_some() && self.taking_now(number) => {}
                        Begun::Not => match own_now(thread, &self.space, self.service, &mut self.context) {
                            Some(value) => self.context.x_mut()[10] = value as usize,
                            None => break Leave::Call,
                        },
                    }
                }
                Exit::PageFault { address, access } => match self.space.fault_now(address, access) {
                    Some(Ok(())) => thread.usage.fault(false),
                    Some(Err(FaultError::Segv(_)))
                        if taken(&mut self.taking, &mut self.context, Trap::of_fault(access, address)) => {}
                    _ => {
                        self.context.keep_float_control();
                        break Leave::Fault(address, access);
                    }
                },
                Exit::Exception(exception) if self.takes(exception) => {}
                Exit::Exception(exception) => {
                    self.context.keep_float_control();
                    break Leave::Exception(exception);
                }
                // Whatever makes another coroutine more urgent than this one, or ends its time slice, also
                // makes it leave user mode: an interrupt, or `hal::hart::leave_user`.
                Exit::Interrupt => {
                    if let Some(leave) = self.interrupted(thread, hart) {
                        self.context.keep_float_control_if_own();
                        break leave;
                    }
                }
            }
        };
        if self.taking.is_some() {
            let gives_way = matches!(leave, Leave::Yield(_));
            if thread.attention.is_here() {
                self.rest_errands(thread, gives_way);
            }
            self.rest_taking(thread, gives_way);
        }
        let now = hal::time::now();
        processor::leave_user(hart, now, matches!(leave, Leave::Yield(_)));
        let user = thread.usage.leave_user(now);
        self.turn.end(thread, user, || leave.wait());
        leave
    }

    /// Does what others have left to it, and looks at its user interrupts; why it does not go on to user mode behind that, if it does not. Apart, as above.
    #[cold]
    #[inline(never)]
    fn attend<'a>(&mut self, thread: &Thread, hart: usize) -> Option<Leave<'a>> {
        let has_run = thread.attention.has_errand() && self.run_errands(thread);
        if thread.attention.is_wanted() {
            // Its class may have changed.
            self.turn.account(thread, Wait::Runs);
            return Some(Leave::Attention);
        }
        // Behind the errands, which tell it of what they have completed.
        if thread.attention.take_told() && !self.enter_taking(thread, hart) {
            // Where it gets a place it looks at everything.
            return Some(Leave::Unsettled);
        }
        (has_run && exec::should_yield()).then_some(Leave::Yield(true))
    }

    /// Does what others have left to it, at most once before it is in user mode again; whether it has. Apart, as above.
    #[cold]
    #[inline(never)]
    fn run_errands(&mut self, thread: &Thread) -> bool {
        let pc = self.context.pc();
        self.taking.as_mut().is_some_and(|taking| taking.run_errands(thread, pc))
    }

    /// Serves a call that a receiver's handlers make and that does not wait: `uintr_return()`, `uintr_timer(ns)`; whether it was one. Apart, as above.
    #[cold]
    #[inline(never)]
    fn taking_now(&mut self, number: usize) -> bool {
        let Some(taking) = &mut self.taking else { return false };
        match number {
            abi::uintr::RETURN => taking.resume(&mut self.context),
            abi::uintr::TIMER => {
                let set = taking.set_timer(self.context.x()[10] as u64);
                self.context.x_mut()[10] = set.map_or_else(Errno::to_return, |()| 0) as usize;
                true
            }
            _ => false,
        }
    }

    /// Has the program take an exception itself, if it does. Apart, as above.
    #[cold]
    #[inline(never)]
    fn takes(&mut self, exception: Exception) -> bool {
        exception::taken_of(&mut self.taking, &mut self.context, exception)
    }

    /// Whether an interrupt ends its stay on this hart. Apart, as above.
    #[cold]
    #[inline(never)]
    fn interrupted<'a>(&mut self, thread: &'a Arc<Thread>, hart: usize) -> Option<Leave<'a>> {
        do_promptly(hart);
        self.turn.account(thread, Wait::Runs);
        if let Some(taking) = &mut self.taking {
            taking.note_interrupt();
            if !taking.is_settled(hart) {
                return Some(Leave::Unsettled);
            }
        }
        let gives_way = thread.place().is_some() && slots::interrupted(thread);
        (gives_way || self.turn.is_spent() || exec::should_yield()).then_some(Leave::Yield(true))
    }

    /// Registers a call that the program does not wait for.
    fn register(&mut self) {
        let x = self.context.x();
        let (number, token) = (x[17] & !ASYNC, x[16] as u64);
        let call = Call { number, ..Call::of(&self.context) };
        let thread = &self.thread;
        thread.submit(trace::Work::Call(x[17] as u32));
        let registered = in_system(thread, || self.service.register(thread, call, token, own_id(thread, number)));
        let answer = registered.map_or_else(Errno::to_return, |()| 0);
        thread.complete(answer);
        self.context.x_mut()[10] = answer as usize;
    }

    /// The thread takes no user interrupts any more.
    async fn end_taking(&mut self) {
        if let Some(taking) = &self.taking {
            taking.leave_errands(&self.thread);
            taking.end().await;
        }
        // Not before: if this is dropped, there is still somebody who ends it.
        self.taking = None;
    }

    /// Gets a place for user interrupts on this hart.
    async fn settle(&mut self) {
        let Some(taking) = &mut self.taking else { return };
        let mut settle: BoxFuture<'_, ()> = Box::pin(taking.settle(&self.thread));
        on_account(&self.thread, |context| settle.as_mut().poll(context)).await;
    }

    /// Awaits a call that the service serves. It is dropped when the thread is killed, unless it is to be carried out.
    async fn call(&mut self, mut served: BoxFuture<'_, Outcome>) {
        let thread = &self.thread;
        thread.doing.call(self.context.x()[17], self.context.x()[10]);
        let carried_out = Call::of(&self.context).is_carried_out();
        let outcome = on_account(thread, |context| match served.as_mut().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending if thread.killed() && !carried_out => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await;
        drop(served);
        if let Some(outcome) = outcome {
            thread.complete(outcome.traced());
        }
        match outcome {
            Some(Outcome::Value(value)) => self.context.x_mut()[10] = value as usize,
            Some(Outcome::Registers) => self.space = self.thread.space(),
            // The registers still describe the call.
            Some(Outcome::Restart(kind)) => self.serve(Leave::Restart(kind)).await,
            None => {}
        }
    }

    /// Serves the other things that take longer.
    async fn serve(&mut self, leave: Leave<'_>) {
        let thread = self.thread.clone();
        match leave {
            Leave::Call => thread.doing.call(self.context.x()[17], self.context.x()[10]),
            Leave::Fault(address, _) => thread.doing.fault(address),
            _ => thread.doing.signal(),
        }
        let mut work: BoxFuture<'_, ()> = Box::pin(self.work(leave));
        on_account(&thread, |context| work.as_mut().poll(context)).await;
    }

    async fn work(&mut self, leave: Leave<'_>) {
        let mut restart = None;
        match leave {
            Leave::Call => self.own_call(Call::of(&self.context)).await,
            Leave::Fault(address, access) => self.fault(address, access).await,
            Leave::Exception(exception) => force(&self.thread, exception::signal(self.context.pc(), exception)),
            Leave::Restart(kind) => restart = Some((self.of_receiver(kind), Call::of(&self.context))),
            Leave::Rest(until) => self.thread.rest(until).await,
            Leave::Attention | Leave::Yield(_) | Leave::Waits(_) | Leave::Unsettled => {}
        }
        let attention = self.thread.attention.take();
        while self.thread.is_astray() && !self.thread.killed() {
            // Who has chosen for it may be beneath it, and not have come to that yet.
            self.thread.keep_to_harts();
            exec::yield_now().await;
        }
        if attention && self.thread.place().is_some() && slots::examine(&self.thread) {
            exec::yield_now().await;
        }
        if attention || restart.is_some() {
            // Boxed: a signal frame is large.
            let look: BoxFuture<'_, ()> = Box::pin(deliver::act(&self.thread, &mut self.context, restart));
            look.await;
        }
    }

    /// A handler of user interrupts may run before a call is made again, and nobody is told: it would find the end of the other's wait.
    fn of_receiver(&self, kind: Restart) -> Restart {
        if self.taking.is_none() || !matches!(kind, Restart::IfNoHandler) {
            return kind;
        }
        let _ = self.thread.take_resume();
        Restart::Never
    }

    /// Serves one of the calls of [`is_own`].
    async fn own_call(&mut self, call: Call) {
        let thread = self.thread.clone();
        thread.submit(trace::Work::Call(call.number as u32));
        // Boxed: what waits for a page, say, must not carry the size of `execve`.
        let change: BoxFuture<'_, Outcome> = Box::pin(self.change(call));
        let Ok(outcome) = thread.unless_killed(change).await else { return };
        thread.complete(outcome.traced());
        match outcome {
            Outcome::Value(value) => self.context.x_mut()[10] = value as usize,
            Outcome::Registers => self.space = thread.space(),
            Outcome::Restart(_) => {}
        }
        if matches!(call.number, nr::EXECVE | nr::EXECVEAT) && matches!(outcome, Outcome::Registers) {
            // To its end, also of who is killed meanwhile: its places are others' behind it. Boxed, as above.
            let end: BoxFuture<'_, ()> = Box::pin(self.end_taking());
            end.await;
        }
    }

    /// The calls that need the registers.
    async fn change(&mut self, call: Call) -> Outcome {
        let [a, b, c, d, e, _] = call.args;
        let request = match call.number {
            nr::RT_SIGRETURN => {
                deliver::sigreturn(&self.thread, &mut self.context).await;
                return Outcome::Registers;
            }
            nr::EXECVE => execve::Request { directory: AT_FDCWD, path: a, arguments: b, environment: c, flags: 0 },
            nr::EXECVEAT => {
                execve::Request { directory: a as i32, path: b, arguments: c, environment: d, flags: e as u32 }
            }
            abi::uintr::RECEIVER => return self.take_interrupts([a, b, c]).into(),
            // `taking_now` has found that it is no receiver, or one whose handlers the kernel does not enter.
            abi::uintr::RETURN | abi::uintr::TIMER => return Errno::EINVAL.into(),
            abi::uintr::SET_TRAPS => return self.take_exceptions(a).into(),
            abi::uintr::WAIT => return self.wait_interrupt(a).await.into(),
            _ => return self.clone(call).await.into(),
        };
        match execve::execve(&self.thread, self.service, &mut self.context, request).await {
            Ok(()) => Outcome::Registers,
            Err(errno) => errno.into(),
        }
    }

    /// `uintr_receiver(entry, stack, backend)`.
    fn take_interrupts(&mut self, arguments: [usize; 3]) -> Result<usize, Errno> {
        if self.taking.is_some() {
            return Err(Errno::EBUSY);
        }
        let (taking, descriptor) = Taking::begin(&self.thread, &self.context, arguments)?;
        self.taking = Some(taking);
        Ok(descriptor)
    }

    /// `uintr_traps(causes)`.
    fn take_exceptions(&mut self, causes: usize) -> Result<usize, Errno> {
        let taking = self.taking.as_mut().ok_or(Errno::EINVAL)?;
        taking.take_exceptions(&mut self.context, causes).map(|()| 0)
    }

    /// `uintr_wait(ns)`. What was there already has been told since its place was armed, on the way here.
    async fn wait_interrupt(&self, ns: usize) -> Result<usize, Errno> {
        if self.taking.is_none() {
            return Err(Errno::EINVAL);
        }
        let thread = &self.thread;
        let arrives = thread.wait_notified(|| thread.has_interrupt() || thread.interrupted());
        if ns == abi::uintr::FOREVER {
            arrives.await;
        } else {
            let end = hal::time::now().saturating_add(ns as u64);
            exec::timeout_at(end, arrives).await.map_err(|_| Errno::ETIMEDOUT)?;
        }
        if thread.has_interrupt() { Ok(0) } else { Err(Errno::EINTR) }
    }

    async fn clone(&self, call: Call) -> Result<usize, Errno> {
        let request = if call.number == nr::CLONE {
            clone::Request::of_clone(&call.args)
        } else {
            clone::read_clone3(&self.thread, call.args[0], call.args[1]).await?
        };
        let made = clone::clone(&self.thread, self.service, &self.context, request);
        self.thread.unless_killed(made).await.unwrap_or(Err(Errno::EINTR))
    }

    /// `exit` ends the thread, and the process with the last; `exit_group` ends all. `false`: it is another call.
    fn exits(&self) -> bool {
        let call = Call::of(&self.context);
        if !matches!(call.number, nr::EXIT | nr::EXIT_GROUP) {
            return false;
        }
        self.thread.submit(trace::Work::Call(call.number as u32));
        let status = WaitStatus::Exited(call.args[0] as u8).encode();
        let process = self.thread.process();
        if process.leave(&self.thread) || call.number == nr::EXIT_GROUP {
            process.end(status);
        }
        true
    }

    async fn fault(&mut self, address: usize, access: Access) {
        let thread = self.thread.clone();
        thread.usage.fault(true);
        thread.submit(trace::Work::Fault(access as u32));
        let fault: BoxFuture<'_, _> = Box::pin(self.space.fault(address, access));
        let served = thread.unless_killed(fault).await;
        thread.complete(if matches!(served, Ok(Ok(()))) { 0 } else { Errno::EFAULT.to_return() });
        let info = match served {
            Ok(Ok(())) | Err(_) => return,
            Ok(Err(FaultError::Doorbell)) if access == Access::Write && self.knock(address).await => return,
            Ok(Err(FaultError::NoMemory)) => {
                if oom::relieve(&thread).await {
                    return; // the instruction faults again
                }
                Siginfo::fault(SIGBUS, BUS_ADRERR, address as u64)
            }
            Ok(Err(FaultError::Segv(_)))
                if taken(&mut self.taking, &mut self.context, Trap::of_fault(access, address)) =>
            {
                return;
            }
            Ok(Err(FaultError::Bus | FaultError::Doorbell)) => Siginfo::fault(SIGBUS, BUS_ADRERR, address as u64),
            Ok(Err(FaultError::Segv(SegvKind::Maperr))) => Siginfo::fault(SIGSEGV, SEGV_MAPERR, address as u64),
            Ok(Err(FaultError::Segv(SegvKind::Accerr))) => Siginfo::fault(SIGSEGV, SEGV_ACCERR, address as u64),
        };
        force(&thread, info);
    }

    /// A store to a doorbell that is no page now: does what it means, and goes on behind it. `false`: it is no plain store of 32 bits, and an
    /// error as where it is a page.
    async fn knock(&mut self, address: usize) -> bool {
        let instruction = self.thread.unless_killed(self.space.instruction(self.context.pc())).await;
        // Text that is gone is for the next fault. What another thread writes there is its own affair: what was read here, once, decides alone.
        let Ok(Ok(instruction)) = instruction else { return true };
        let stores = address.is_multiple_of(4) && self.context.pass_word_store(instruction, address);
        if stores && let Some((object, page)) = self.space.object_at(address) {
            object.knock(page);
        }
        stores
    }

    /// The thread is over: drops what it has.
    fn end(mut self) {
        self.turn.finish(&self.thread);
        // What a kill cut short, and `exit`.
        self.thread.complete(Errno::ECANCELED.to_return());
    }
}

/// Serves a call that needs the registers and does not have to wait: a new thread.
fn own_now(
    thread: &Arc<Thread>,
    space: &AddressSpace,
    service: &'static dyn Service,
    context: &mut UserContext,
) -> Option<isize> {
    context.keep_float_control();
    if context.x()[17] != nr::CLONE {
        return None;
    }
    let (_, args) = Call::in_place(context);
    let made = clone::thread_now(thread, space, service, context, clone::Request::of_clone(args))?;
    Some(made.map_or_else(Errno::to_return, |tid| tid as isize))
}

/// The calls that are served here, since they need the registers.
fn is_own(number: usize) -> bool {
    use abi::uintr::{RECEIVER, RETURN, SET_TRAPS, TIMER, WAIT};
    matches!(
        number,
        nr::EXIT
            | nr::EXIT_GROUP
            | nr::CLONE
            | nr::CLONE3
            | nr::EXECVE
            | nr::EXECVEAT
            | nr::RT_SIGRETURN
            | RECEIVER
            | RETURN
            | SET_TRAPS
            | TIMER
            | WAIT
    )
}

/// Works for the thread, on its system time.
fn in_system<T>(thread: &Thread, work: impl FnOnce() -> T) -> T {
    let started = hal::time::now();
    thread.usage.enter_system(started);
    let done = work();
    let now = hal::time::now();
    thread.usage.leave_system(now);
    processor::add_system(now.saturating_sub(started));
    done
}

/// Awaits what `poll` polls; the time of each poll is the thread's system time.
fn on_account<T>(
    thread: &Thread,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T> + Send,
) -> impl Future<Output = T> + Send {
    poll_fn(move |context| {
        thread.waits.store(false, Ordering::Relaxed);
        let state = in_system(thread, || poll(context));
        if state.is_pending() {
            processor::count_switch();
            thread.usage.switch(false);
            // Release pairs with `Thread::running`.
            thread.waits.store(true, Ordering::Release);
            if thread.place().is_some() {
                slots::blocks(thread);
            }
        }
        state
    })
}

/// The ids that a call without arguments asks for; `None` for other calls. The shortest calls of all.
#[inline]
fn own_id(thread: &Thread, number: usize) -> Option<u32> {
    let process = thread.process();
    Some(match number {
        nr::GETPID => process.pid(),
        nr::GETTID => thread.tid(),
        nr::GETPPID => process.parent(),
        nr::GETEUID => process.credentials().uid,
        nr::GETEGID => process.credentials().gid,
        _ => return None,
    })
}

/// What the first process starts with.
pub struct Init {
    /// The program.
    pub program: Program,
    /// Arguments and environment.
    pub strings: Strings,
    /// Root, working directory, umask.
    pub places: FilePlaces,
    /// Descriptors 0, 1, 2 and so on.
    pub descriptors: FdTable,
}

/// Starts the first process.
///
/// # Errors
/// What `execve` would answer; `EAGAIN` if there is a first process already.
pub async fn spawn_init(service: &'static dyn Service, init: Init) -> Result<Arc<Process>, Errno> {
    let pid = table::fresh_id()?;
    if pid != 1 {
        return Err(Errno::EAGAIN);
    }
    let account = Account::new(Some(&oom::system_account()), usize::MAX);
    let state = State {
        space: AddressSpace::new(hal::space::World::Shared, account.clone())?,
        descriptors: Some(Arc::new(init.descriptors)),
        files: Some(FileContext::new(init.places)),
        executable: None,
        actions: Actions::new(),
        limits: crate::limits::Limits::default(),
        identity: Identity::default(),
        name: Vec::new(),
        command_line: Vec::new(),
        threads: Vec::new(),
        slots: None,
    };
    let process = Process::new(pid, account, state, 0)?;
    let thread = Thread::new(pid, process.clone(), 0, Class::DEFAULT, Affinity::all())?;
    let loaded = execve::load_for(&process, service, &thread).load(init.program, init.strings).await?;
    process.set_name(&loaded.name);
    {
        let mut state = process.state.lock();
        state.space = loaded.space;
        state.executable = Some(loaded.executable);
        state.command_line = loaded.command_line;
        state.threads.push(thread.clone());
    }
    table::add(process.clone(), Kin { parent: 0, group: 0, session: 0 });
    table::add_thread(&thread);
    start(&thread, service, UserContext::new(loaded.entry, loaded.stack_pointer))?;
    Ok(process)
}
