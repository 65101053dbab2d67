//! A kernel that tries what the firmware plays: `docs/nuintc.md`, sentence by sentence, from S-mode and from user mode.
//!
//! One line for each case, as the guest suite has them, and `#` before figures. With two harts it sends across. It ends by turning the
//! machine off; `cargo xtask test firmware` runs it.

#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "CSRs, registers and programs in assembly")]

mod machine;
mod user;

use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use machine::{Console, Page, call, power_off, read, write};
use nuintc::registers::{ENABLE, PENDING, UIID, listen, receiver, sender};
use user::Context;

/// Interrupts for each way of delivery.
const MANY: usize = 200_000;
/// Uiid of a slot's sender or receiver.
const SENDER: u32 = 0x5000;
const RECEIVER: u32 = 0x7000;

static FAILED: AtomicBool = AtomicBool::new(false);
static PARTNER_DONE: AtomicBool = AtomicBool::new(false);
static PARTNER_GOT: AtomicUsize = AtomicUsize::new(0);

fn check(name: &str, holds: bool) {
    if !holds {
        FAILED.store(true, Ordering::Relaxed);
    }
    let _ = writeln!(Console, "{} firmware/{name}", if holds { "ok" } else { "not ok" });
}

macro_rules! n_write {
    ($number:literal, $value:expr) => {
        // SAFETY: a CSR of N, which concerns user mode alone.
        unsafe { core::arch::asm!(concat!("csrw ", $number, ", {0}"), in(reg) $value as usize, options(nostack)) }
    };
}

/// Gives N's CSRs of this hart and the line to a receiver's program.
fn delegate(hart: usize, slot: usize) {
    n_write!("0x103", 0x111);
    n_write!("0x000", 0);
    n_write!("0x044", 0);
    write(listen(hart), slot as u32);
}

/// New owners for a sender's and a receiver's slot, the one with the right to send to the other.
fn connect(from: usize, to: usize) {
    write(sender(from) + UIID, SENDER + from as u32);
    write(receiver(to) + UIID, RECEIVER + to as u32);
    write(sender(from) + ENABLE, 1 << to);
}

/// Arguments of the programs that send from one slot and claim in another.
fn arguments(from: usize, to: usize, target: usize, source: usize, begins: bool) -> [usize; 6] {
    let many = if target == source && from == target { MANY } else { MANY / 2 };
    let (send, claim) = (Page::Send(from).address(), Page::Claim(to).address());
    [send, claim, many, RECEIVER as usize + target, SENDER as usize + source, usize::from(begins)]
}

const S1: usize = 9;
const S2: usize = 18;
const S3: usize = 19;
const S5: usize = 21;
const S6: usize = 22;
const USER_CALL: usize = 8;

/// All did, and, where no others go on arriving before the program stops to listen, no more.
fn all_arrived(name: &str, context: &Context, many: usize, exactly: bool) {
    let (got, wrong) = (context.registers[S1], context.registers[S2]);
    let is_count = if exactly { got == many } else { got >= many };
    let holds = context.cause == USER_CALL && is_count && wrong == 0;
    check(name, holds);
    if !holds {
        let _ = writeln!(Console, "# {got} of {many}, {wrong} wrong, cause {:#x}", context.cause);
    }
    let _ = writeln!(Console, "# {name}: {} instructions each", context.registers[S5] / many);
}

fn to_itself() {
    connect(1, 1);
    delegate(0, 1);
    let mut context = Context::new(user::to_itself, &arguments(1, 1, 1, 1, false));
    context.run();
    all_arrived("to-itself", &context, MANY, true);
}

fn at_the_kernels_return() {
    connect(1, 1);
    delegate(0, 1);
    let mut context = Context::new(user::called_back, &arguments(1, 1, 1, 1, false)).posted();
    context.registers[S6] = nuintc::registers::BASE + sender(1);
    context.run();
    all_arrived("at-the-kernels-return", &context, MANY, true);
}

/// Both harts answer each other's interrupts.
fn across() {
    connect(1, 1);
    connect(2, 2);
    write(sender(1) + ENABLE, 1 << 2);
    write(sender(2) + ENABLE, 1 << 1);
    delegate(0, 1);
    check("a-second-hart-starts", machine::start(1));
    let mut context = Context::new(user::ping_pong, &arguments(1, 1, 2, 2, true));
    context.run();
    all_arrived("across-harts", &context, MANY / 2, false);
    while !PARTNER_DONE.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
    // One is on the way at a time: none is lost, and none comes twice.
    let (got, own) = (PARTNER_GOT.load(Ordering::Relaxed), context.registers[S1]);
    let holds = got >= MANY / 2 && got.abs_diff(own) <= 1;
    check("the-other-hart-had-all", holds);
    if !holds {
        let _ = writeln!(Console, "# the other hart: {got}, this one {own}, of {}", MANY / 2);
    }
}

#[unsafe(no_mangle)]
extern "C" fn second_hart(hart: usize) -> ! {
    machine::switch_on();
    delegate(hart, 2);
    let mut context = Context::new(user::ping_pong, &arguments(2, 2, 1, 1, false));
    context.run();
    PARTNER_GOT.store(context.registers[S1], Ordering::Relaxed);
    PARTNER_DONE.store(true, Ordering::Release);
    call(0x48_534d, 1, [0; 3]);
    power_off(true)
}

/// The line stays up until everything is claimed.
fn level() {
    for from in 1..=5 {
        connect(from, 9);
    }
    // Each `connect` gave the slot a new owner; now all of them may send.
    write(receiver(9) + ENABLE, 0b11_1110);
    for from in 1..=5 {
        write(sender(from), RECEIVER + 9);
    }
    check("status-says-sent", read(sender(3)) == 1);
    check(
        "pending-is-seen-from-both-sides",
        read(receiver(9) + PENDING) == 0b11_1110 && read(sender(5) + PENDING) == 1 << 9,
    );
    delegate(0, 9);
    let mut context = Context::new(user::claims_one, &[0, Page::Claim(9).address(), 5, 0, 0]);
    context.run();
    check("each-sender-interrupts-until-claimed", context.registers[S1] == 5 && read(receiver(9)) == 0);
    check("a-handler-got-uiids", context.registers[S2] == 5);
}

fn rights() {
    connect(3, 4);
    write(sender(3), RECEIVER + 4);
    write(sender(3) + ENABLE, 0);
    check("revocation-takes-back-what-was-sent", read(receiver(4)) == 0);
    write(sender(3) + ENABLE, 1 << 4);
    check("and-a-new-right-does-not-bring-it", read(receiver(4)) == 0);
    write(sender(3) + ENABLE, 0);
    let mut context = Context::new(user::stores, &[Page::Send(3).address(), RECEIVER as usize + 4]);
    context.run();
    check("a-send-without-right-fails", context.cause == USER_CALL && context.registers[12] == 0);
    write(sender(3) + ENABLE, 1 << 4);
    write(sender(3), RECEIVER + 4);
    write(receiver(4) + UIID, RECEIVER + 4);
    write(sender(3) + ENABLE, 1 << 4);
    check("a-new-owner-finds-nothing", read(receiver(4)) == 0);
}

/// What programs must not do reaches the kernel as the trap it is.
fn traps() {
    let trapped = |name: &str, program: user::Program, address: usize, cause: usize, value: usize| {
        let mut context = Context::new(program, &[address, 1]);
        context.run();
        let holds = context.cause == cause
            && context.value == value
            && context.pc == program as *const () as usize + user::ALIAS;
        check(name, holds);
        if !holds {
            let _ = writeln!(Console, "# cause {} at {:#x}: {:#x}", context.cause, context.pc, context.value);
        }
    };
    let send = Page::Send(3).address();
    trapped("two-words-at-once", user::loads_twice, send, 5, send);
    // Emulators before version 8 say that the atomic access loaded, and name a part of the one beside a register.
    let refused = |name: &str, program: user::Program, address: usize| {
        let mut context = Context::new(program, &[address, 1]);
        context.run();
        check(name, [5, 7].contains(&context.cause) && context.value >> 12 == send >> 12);
    };
    refused("an-atomic-access", user::adds, send);
    refused("beside-a-register", user::loads, send + 2);
    let nothing = Page::Nothing.address();
    trapped("where-nothing-is", user::loads, nothing, 5, nothing);
    trapped("a-store-where-nothing-is", user::stores, nothing, 7, nothing);
    let unmapped = Page::Unmapped.address();
    trapped("a-page-that-is-not-mapped", user::loads, unmapped, 13, unmapped);
    let kernels = nuintc::registers::BASE + sender(3);
    trapped("the-kernels-mapping", user::stores, kernels, 15, kernels);
    trapped("the-firmware", user::loads, 0x8000_0000 + user::ALIAS, 5, 0x8000_0000 + user::ALIAS);
    trapped("a-csr-of-the-kernel", user::reads_sideleg, 0, 2, 0x1030_2673);
    trapped("no-instruction", user::illegal, 0, 2, 0xffff_ffff);
    let mut context = Context::new(user::loads, &[send + 4]);
    context.run();
    check("the-rest-of-the-page-is-empty", context.cause == USER_CALL && context.registers[12] == 0);
}

fn exceptions() {
    delegate(0, 0);
    n_write!("0x102", 1 << 3);
    let mut context = Context::new(user::breaks, &[]);
    context.run();
    check(
        "breakpoints-of-ones-own",
        context.cause == USER_CALL && context.registers[S1] == 2 && context.registers[S3] == 3,
    );
    n_write!("0x102", 0);
    let mut context = Context::new(user::breaks, &[]);
    context.run();
    check("breakpoints-of-the-kernels", context.cause == 3);
    n_write!("0x103", 0);
}

#[unsafe(no_mangle)]
extern "C" fn first_hart(_: usize) -> ! {
    machine::translate();
    check("base-is-there", call(0x10, 3, [0x48_534d, 0, 0]) == (0, 1) && call(0x10, 3, [0x999, 0, 0]) == (0, 0));
    check("no-such-hart", call(0x48_534d, 0, [99, 0x8020_0000, 0]).0 == -3);
    check("hart-is-started", call(0x48_534d, 2, [0, 0, 0]) == (0, 0));
    traps();
    rights();
    level();
    exceptions();
    to_itself();
    at_the_kernels_return();
    // Stopped: 1; no such hart: an error.
    if call(0x48_534d, 2, [1, 0, 0]) == (0, 1) {
        across();
    }
    power_off(FAILED.load(Ordering::Relaxed))
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(Console, "not ok firmware/panic: {info}");
    power_off(true)
}
