//! What is refused, and what a driver cannot do to others.

use super::{RAISE, RAISED, VECTOR, await_seen, driver, edu, go_to, open, until};
use crate::case::Outcome;
use crate::machine::needs_asyncos;
use crate::process::{PAGE, RW, Shared, call, checked_child, dies, exits, kill};
use core::sync::atomic::Ordering::Relaxed;
use rt::abi::device as at;
use rt::abi::mm::{MAP_PRIVATE, MAP_SHARED};
use rt::abi::signal::SIGKILL;
use rt::device::Device;
use rt::raw;
use rt::uintr::{Handlers, Sender, receive};

pub fn one_owner() -> Outcome {
    let (index, _) = edu()?;
    let device = open()?;
    fails!(Device::open(index), EBUSY);
    let pid = checked_child(|| {
        fails!(Device::open(index), EBUSY);
        Ok(())
    })?;
    exits(pid, 0)?;
    // Its memory, which stays mapped, does not keep it.
    let _memory = device.memory(1)?;
    drop(device);
    drop(Device::open(index)?);
    Ok(())
}

pub fn superuser_alone() -> Outcome {
    let (index, info) = edu()?;
    let pid = checked_child(|| {
        call!(SETUID, 1000)?;
        fails!(Device::open(index), EPERM);
        // It may know of it.
        let mut found = at::Info::default();
        call(at::INFO, &[index, &raw mut found as usize])?;
        equal!(found.device, info.device);
        Ok(())
    })?;
    exits(pid, 0)
}

pub fn errors() -> Outcome {
    needs_asyncos()?;
    let (index, _) = edu()?;
    let mut info = at::Info::default();
    fails!(call(at::INFO, &[usize::MAX, &raw mut info as usize]), ENODEV);
    fails!(call(at::INFO, &[index, 8]), EFAULT);
    fails!(call(at::OPEN, &[1000]), ENODEV);
    for number in [at::MEMORY, at::BIND, at::AGAIN, at::GIVE_BACK] {
        fails!(call(number, &[usize::MAX, 1, 1]), EBADF);
    }
    let device = open()?;
    let fd = device.fd().raw() as usize;
    let receiver = receive(Handlers::new())?;
    let sender = Sender::open(receiver.grant(1 << VECTOR)?)?;
    let right = sender.right().fd().raw() as usize;
    for number in [at::AGAIN, at::GIVE_BACK] {
        fails!(call(number, &[right]), EINVAL);
    }
    fails!(call(at::MEMORY, &[right, 1, 0]), EINVAL);
    fails!(call(at::BIND, &[fd, fd, 0]), EINVAL);
    fails!(call(at::BIND, &[fd, right, 64]), EINVAL);
    fails!(call(at::BIND, &[fd, right, 0]), EPERM);
    fails!(call(at::AGAIN, &[fd]), ESRCH);
    receiver.revoke(sender.right())?;
    fails!(call(at::BIND, &[fd, right, VECTOR as usize]), ESRCH);
    Ok(())
}

/// Nothing but the registers can be mapped, and memory only when there is some.
pub fn behind_the_registers() -> Outcome {
    let device = open()?;
    let (fd, pages) = (device.fd().raw(), device.info().memory as usize);
    fails!(call!(MMAP, 0, (pages + 1) * PAGE, RW, MAP_SHARED, fd, 0), EINVAL);
    fails!(call!(MMAP, 0, PAGE, RW, MAP_SHARED, fd, pages * PAGE), EINVAL);
    fails!(call!(MMAP, 0, PAGE, RW, MAP_SHARED, fd, usize::MAX & !(PAGE - 1)), EINVAL);
    let _ = device.memory(1)?;
    fails!(call!(MMAP, 0, 2 * PAGE, RW, MAP_SHARED, fd, pages * PAGE), EINVAL);
    let there = call!(MMAP, 0, PAGE, RW, MAP_SHARED, fd, pages * PAGE)?;
    raw::store64(there, 1);
    fails!(call!(MREMAP, there, PAGE, 2 * PAGE, 1, 0), EFAULT);
    // A copy of one's own of a register is none.
    let private = call!(MMAP, 0, PAGE, RW, MAP_PRIVATE, fd, 0);
    ensure!(private.is_err(), "registers were mapped private");
    Ok(())
}

pub fn memory_is_limited() -> Outcome {
    let first = open()?;
    let fd = first.fd().raw() as usize;
    let mut address = 0_u64;
    fails!(call(at::MEMORY, &[fd, 0, &raw mut address as usize]), EINVAL);
    fails!(call(at::MEMORY, &[fd, at::MOST_PAGES + 1, &raw mut address as usize]), ENOSPC);
    fails!(call(at::MEMORY, &[fd, usize::MAX, &raw mut address as usize]), ENOSPC);
    let _ = first.memory(4)?;
    fails!(call(at::MEMORY, &[fd, at::MOST_PAGES, &raw mut address as usize]), ENOSPC);
    first.give_back()?;
    // What an owner has had is the next one's to have.
    for _ in 0..3 {
        let device = open()?;
        for _ in 0..8 {
            let _ = device.memory(8)?;
        }
        let _ = device.memory(1)?;
        device.give_back()?;
    }
    Ok(())
}

/// The kernel does not reach registers on a program's behalf.
pub fn as_buffer() -> Outcome {
    let device = open()?;
    let registers = call!(MMAP, 0, PAGE, RW, MAP_SHARED, device.fd().raw(), 0)?;
    let (from, to) = rt::pipe::pipe()?;
    fails!(call!(WRITE, to.fd().raw(), registers, 4), EFAULT);
    drop(from);
    equal!(device.read32(RAISED), 0);
    Ok(())
}

/// A handler that has the next interrupt raised each time, and a neighbour on the same hart.
pub fn storm() -> Outcome {
    let (index, _) = edu()?;
    let shared = Shared::new()?;
    let storm = checked_child(|| {
        go_to(0)?;
        let (receiver, driver) = driver()?;
        driver.raise(1);
        loop {
            // Whoever sees a word changed raises again.
            shared.count(0);
            driver.raise(1);
            let _ = await_seen(&receiver, driver, 1);
            driver.seen.store(0, Relaxed);
        }
    })?;
    shared.await_least(0, 10);
    go_to(0)?;
    let mut sum = 0_u64;
    for value in 0..3_000_000_u64 {
        sum = core::hint::black_box(sum + value);
    }
    core::hint::black_box(sum);
    kill(storm, SIGKILL)?;
    dies(storm, SIGKILL)?;
    // It is free when its owner's end can be learned.
    drop(Device::open(index)?);
    Ok(())
}

/// A driver that never serves its device hears of it, and nobody else does.
pub fn never_served() -> Outcome {
    let device = open()?;
    let shared = Shared::new()?;
    let handler: &'static _ = alloc::boxed::Box::leak(alloc::boxed::Box::new(move |_| shared.count(0)));
    let receiver = receive(raw::on_without_floats(Handlers::new(), VECTOR, handler))?;
    let interrupt = device.bind(Sender::open(receiver.grant(1 << VECTOR)?)?, VECTOR)?;
    device.write32(RAISE, 1);
    until(|| shared.get(0) >= 1)?;
    interrupt.serve(|| ());
    // The kernel goes on, as does the driver.
    let pid = checked_child(|| Ok(()))?;
    exits(pid, 0)?;
    equal!(device.read32(RAISED), 1);
    Ok(())
}
