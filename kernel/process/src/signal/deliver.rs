//! Acting on signals before user mode is entered: default actions, and handlers with their frame.
//!
//! The frame is Linux's for riscv64: [`Siginfo`], then [`Ucontext`], on the thread's stack or its alternate one. A handler
//! returns into [`SIGRETURN`], a page with two instructions that every process has; they call `rt_sigreturn`,
//! which puts back what the frame says. Nothing in a frame is trusted.

use crate::{
    service::{Call, Restart},
    signal::{bits, force, on_stack, retarget, set_alternate_stack, stop},
    table,
    thread::Thread,
};
use abi::{
    errno::Errno,
    process::WaitStatus,
    signal::{
        FpState, SA_NODEFER, SA_ONSTACK, SA_RESETHAND, SA_RESTART, SI_KERNEL, SIG_DFL, SIG_IGN, SIGSEGV, SIGSTOP,
        SS_DISABLE, SigStack, Sigaction, Siginfo, Ucontext, UserRegs, mask,
    },
};
use alloc::sync::Arc;
use hal::user::UserContext;

/// Address of the page that handlers return to, in every process.
pub const SIGRETURN: usize = abi::window::RETURN;
/// `li a7, 139; ecall`.
pub const SIGRETURN_CODE: [u8; 8] = [0x93, 0x08, 0xb0, 0x08, 0x73, 0x00, 0x00, 0x00];

const INFO_BYTES: usize = size_of::<Siginfo>();
const FRAME_BYTES: usize = INFO_BYTES + size_of::<Ucontext>();

/// Deals with all signals that are not blocked, up to the first handler, and waits while the process is stopped. `restart`
/// is the call that a signal ended; what becomes of it is known when the thread goes on.
pub(crate) async fn act(thread: &Arc<Thread>, context: &mut UserContext, mut restart: Option<(Restart, Call)>) {
    loop {
        deal(thread, context, &mut restart).await;
        if !thread.process().stopped() || thread.killed() {
            break;
        }
        thread.wait_notified(|| !thread.process().stopped() || thread.killed()).await;
    }
    match restart {
        Some((Restart::Never, _)) => fail(context),
        Some((_, call)) => rewind(context, &call),
        None => {}
    }
    thread.end_temporary_mask();
    // Each change of the mask leads here.
    retarget(thread, thread.signal_mask());
}

/// Takes out signals up to the first handler, which it enters.
async fn deal(thread: &Arc<Thread>, context: &mut UserContext, restart: &mut Option<(Restart, Call)>) {
    while !thread.killed() {
        let allowed = !thread.signal_mask();
        let continued = thread.process().continued();
        let Some(info) = thread.take_pending(allowed) else { break };
        let signal = info.signo as u32;
        let action = thread.process().actions().get(signal);
        if action.handler == SIG_IGN as u64 {
            continue;
        }
        if action.handler == SIG_DFL as u64 {
            default_action(thread, context, &info, continued).await;
            continue;
        }
        let resumes = thread.take_resume().is_some();
        match restart.take() {
            Some((Restart::IfAllowed, call)) if action.flags & SA_RESTART != 0 => rewind(context, &call),
            Some(_) => fail(context),
            // The signal came after the call had been wound back, and before it was made again.
            None if resumes => {
                context.set_pc(context.pc().wrapping_add(4));
                fail(context);
            }
            None => {}
        }
        if enter_handler(thread, context, &info, &action).await.is_err() {
            // That may have a handler with a stack of its own; if it is this one, only the default action is left.
            if signal == SIGSEGV {
                thread.process().actions().set(SIGSEGV, super::DEFAULT_ACTION);
            }
            force(thread, Siginfo::sent(SIGSEGV, SI_KERNEL, 0, 0, 0));
            continue;
        }
        return;
    }
}

/// Makes the thread execute its `ecall` again.
fn rewind(context: &mut UserContext, call: &Call) {
    context.x_mut()[10] = call.args[0];
    context.set_pc(context.pc().wrapping_sub(4));
}

/// Makes the call fail that a signal ended.
fn fail(context: &mut UserContext) {
    context.x_mut()[10] = Errno::EINTR.to_return() as usize;
}

async fn default_action(thread: &Arc<Thread>, context: &UserContext, info: &Siginfo, continued: u32) {
    let signal = info.signo as u32;
    let process = thread.process();
    if mask(signal) & bits::IGNORED != 0 {
        return;
    }
    if mask(signal) & bits::STOP != 0 {
        // A group that nobody could continue is stopped by force alone.
        let group = table::kin(process.pid()).map(|kin| kin.group);
        if signal != SIGSTOP && group.is_some_and(table::is_orphaned) {
            return;
        }
        stop(process, signal, continued);
        return;
    }
    if mask(signal) & bits::SYNCHRONOUS != 0 && info.code > 0 {
        crate::fatal::report(thread, context, info).await;
    }
    process.end(WaitStatus::Signaled(signal as u8, false).encode());
}

async fn enter_handler(
    thread: &Arc<Thread>,
    context: &mut UserContext,
    info: &Siginfo,
    action: &Sigaction,
) -> Result<(), Errno> {
    let signal = info.signo as u32;
    let alternate = *thread.alternate.lock();
    let sp = context.x()[2];
    let switch =
        action.flags & SA_ONSTACK != 0 && alternate.flags & SS_DISABLE as i32 == 0 && !on_stack(&alternate, sp);
    let top = if switch { alternate.sp.wrapping_add(alternate.size) as usize } else { sp };
    let frame = top.checked_sub(FRAME_BYTES).ok_or(Errno::EFAULT)? & !15;
    // Below the alternate stack is memory of others.
    if on_stack(&alternate, top) && !on_stack(&alternate, frame) {
        return Err(Errno::EFAULT);
    }
    let saved = thread.saved_mask();
    let ucontext = save(context, alternate, saved.unwrap_or(thread.signal_mask()));
    let space = thread.space();
    space.put(frame, info).await?;
    space.put(frame + INFO_BYTES, &ucontext).await?;
    let _ = thread.take_saved_mask();
    let mut blocked = thread.signal_mask() | action.mask;
    if action.flags & SA_NODEFER == 0 {
        blocked |= mask(signal);
    }
    thread.set_signal_mask(blocked);
    if action.flags & SA_RESETHAND != 0 {
        thread.process().actions().set(signal, super::DEFAULT_ACTION);
    }
    let x = context.x_mut();
    x[1] = SIGRETURN;
    x[2] = frame;
    x[10] = signal as usize;
    x[11] = frame;
    x[12] = frame + INFO_BYTES;
    context.set_pc(action.handler as usize);
    Ok(())
}

fn save(context: &UserContext, stack: SigStack, sigmask: u64) -> Ucontext {
    let mut x = [0; 31];
    for (saved, register) in x.iter_mut().zip(&context.x()[1..]) {
        *saved = *register as u64;
    }
    let (f, fcsr) = context.floating();
    Ucontext {
        flags: 0,
        link: 0,
        stack,
        sigmask,
        unused: [0; 16],
        regs: UserRegs { pc: context.pc() as u64, x },
        fp: FpState { f: *f, fcsr, pad: 0, reserved: [0; 33] },
    }
}

/// `rt_sigreturn`. A frame that cannot be read, or that asks for what is not there, is a `SIGSEGV`.
pub(crate) async fn sigreturn(thread: &Arc<Thread>, context: &mut UserContext) {
    let at = context.x()[2].wrapping_add(INFO_BYTES);
    let frame: Result<Ucontext, Errno> = thread.space().get(at).await;
    match frame {
        Ok(frame) if frame.fp.reserved == [0; 33] => {
            for (register, saved) in context.x_mut()[1..].iter_mut().zip(&frame.regs.x) {
                *register = *saved as usize;
            }
            context.set_pc(frame.regs.pc as usize & !1);
            context.set_floating(frame.fp.f, frame.fp.fcsr);
            thread.set_signal_mask(frame.sigmask);
            // As in Linux, a stack that is not valid is left alone.
            let _ = set_alternate_stack(thread, context.x()[2], Some(frame.stack));
        }
        _ => force(thread, Siginfo::sent(SIGSEGV, SI_KERNEL, 0, 0, 0)),
    }
}
