//! The end of a driver, however it comes: nothing is left of it, and the next one finds the device.

use super::{
    ACKNOWLEDGE, BUFFER, COMMAND, COUNT, FROM, RAISE, RAISED, START, TELL, TO, TO_MEMORY, VECTOR, copies, driver,
    driver_of, edu, one, open, until,
};
use crate::case::{Outcome, Trouble};
use crate::process::{Shared, become_cat, call, checked_child, dies, exits, kill};
use rt::abi::device as at;
use rt::abi::signal::{SIGBUS, SIGKILL};
use rt::device::Device;
use rt::raw;
use rt::thread;
use rt::uintr::{Handlers, Sender, receive};

/// A child has neither the registers nor the memory, and its parent goes on.
pub fn forked() -> Outcome {
    let (receiver, driver) = driver()?;
    let memory = driver.device.memory(1)?;
    memory.write(0, &[1]);
    one(&receiver, driver, 1)?;
    for touch in [0, 1] {
        let pid = checked_child(|| {
            match touch {
                0 => driver.raise(1),
                _ => memory.write(0, &[2]),
            }
            Ok(())
        })?;
        dies(pid, SIGBUS)?;
    }
    let mut byte = [0];
    memory.read(0, &mut byte);
    equal!(byte, [1]);
    one(&receiver, driver, 2)
}

/// A child that drops what it has inherited takes it from nobody.
pub fn dropped_by_a_child() -> Outcome {
    let (index, _) = edu()?;
    let device = core::cell::RefCell::new(Some(open()?));
    let pid = checked_child(|| {
        ensure!(device.take().is_some());
        Ok(())
    })?;
    exits(pid, 0)?;
    // Else another could have it, and to touch it would be the end.
    fails!(Device::open(index), EBUSY);
    let device = device.take().ok_or(Trouble::failed("it is the parent's"))?;
    equal!(device.read32(RAISED), 0);
    drop(device);
    Device::open(index)?;
    Ok(())
}

/// Behind that its pages are nobody's, whatever is mapped still, and another can have it.
pub fn given_back() -> Outcome {
    let (index, _) = edu()?;
    for touch in [0, 1] {
        let pid = checked_child(|| {
            let (receiver, driver) = driver()?;
            let memory = driver.device.memory(1)?;
            memory.write(0, &[1]);
            one(&receiver, driver, 1)?;
            driver.device.give_back()?;
            driver.device.give_back()?;
            let fd = driver.device.fd().raw() as usize;
            fails!(call(at::AGAIN, &[fd]), ESRCH);
            let mut address = 0_u64;
            fails!(call(at::MEMORY, &[fd, 1, &raw mut address as usize]), ESRCH);
            let next = Device::open(index)?;
            equal!(next.read32(RAISED), 0);
            match touch {
                0 => driver.raise(1),
                _ => memory.write(0, &[1]),
            }
            Ok(())
        })?;
        dies(pid, SIGBUS)?;
    }
    let (receiver, driver) = driver()?;
    one(&receiver, driver, 1)
}

/// When the sender's right has ended, the device interrupts nobody; it can be bound again.
pub fn revoked() -> Outcome {
    let device = open()?;
    let shared = Shared::new()?;
    let handler: &'static _ = alloc::boxed::Box::leak(alloc::boxed::Box::new(move |_| shared.count(0)));
    let receiver = receive(raw::on_without_floats(Handlers::new(), VECTOR, handler))?;
    let right = receiver.grant(1 << VECTOR)?;
    // The device has the right still, whose descriptor is closed.
    drop(device.bind(Sender::open(right)?, VECTOR)?);
    device.write32(RAISE, 1);
    until(|| shared.get(0) >= 1)?;
    device.write32(ACKNOWLEDGE, 1);
    let right = receiver.grant(1 << VECTOR)?;
    let again = right.fd().raw() as usize;
    call(at::BIND, &[device.fd().raw() as usize, again, VECTOR as usize])?;
    receiver.revoke(&right)?;
    let before = shared.get(0);
    device.write32(RAISE, 1);
    fails!(receiver.wait(Some(core::time::Duration::from_millis(20))), ETIMEDOUT);
    equal!(shared.get(0), before);
    let _interrupt = device.bind(Sender::open(receiver.grant(1 << VECTOR)?)?, VECTOR)?;
    // It is raised still, and told at once.
    until(|| shared.get(0) > before)?;
    device.write32(ACKNOWLEDGE, 1);
    Ok(())
}

/// One device, one sender; a second binding ends the first.
pub fn bound_anew() -> Outcome {
    let device = open()?;
    let shared = Shared::new()?;
    let handler: &'static _ =
        alloc::boxed::Box::leak(alloc::boxed::Box::new(move |vector: u32| shared.count(vector as usize)));
    let handlers =
        [1, 2].into_iter().fold(Handlers::new(), |handlers, vector| raw::on_without_floats(handlers, vector, handler));
    let receiver = receive(handlers)?;
    let first = device.bind(Sender::open(receiver.grant(2)?)?, 1)?;
    let second = device.bind(Sender::open(receiver.grant(4)?)?, 2)?;
    let before = shared.get(1);
    device.write32(RAISE, 1);
    until(|| shared.get(2) >= 1)?;
    device.write32(ACKNOWLEDGE, 1);
    equal!(shared.get(1), before);
    drop((first, second));
    Ok(())
}

/// The next owner is told of what the last one left.
pub fn with_its_line_raised() -> Outcome {
    let (index, _) = edu()?;
    let pid = checked_child(|| {
        let (receiver, driver) = driver()?;
        one(&receiver, driver, 1)?;
        masked_raise(&receiver, driver)
    })?;
    exits(pid, 0)?;
    let (receiver, driver) = driver_of(Device::open(index)?)?;
    super::await_seen(&receiver, driver, 8)
}

fn masked_raise(receiver: &rt::uintr::Receiver, driver: &super::Driver) -> Outcome {
    rt::uintr::masked(receiver, || {
        driver.raise(8);
        crate::process::exit(0)
    })
}

/// The thread that took the interrupts has ended, and its process has the device still: another thread can take them.
pub fn of_the_thread() -> Outcome {
    let device = alloc::sync::Arc::new(open()?);
    let theirs = device.clone();
    let first = thread::spawn(move || -> Outcome {
        let receiver = receive(Handlers::new())?;
        drop(theirs.bind(Sender::open(receiver.grant(1 << VECTOR)?)?, VECTOR)?);
        Ok(())
    })?;
    first.join().ok_or_else(|| Trouble::failed("the thread has panicked"))??;
    device.write32(RAISE, 4);
    let device = until_alone(device)?;
    let (receiver, driver) = driver_of(device)?;
    super::await_seen(&receiver, driver, 4)
}

fn until_alone(mut device: alloc::sync::Arc<Device>) -> Result<Device, Trouble> {
    loop {
        match alloc::sync::Arc::try_unwrap(device) {
            Ok(device) => return Ok(device),
            Err(shared) => device = shared,
        }
        thread::yield_now();
    }
}

/// It is free as soon as the next program runs.
pub fn by_exec() -> Outcome {
    let (index, _) = edu()?;
    let (input, mut to) = rt::pipe::pipe()?;
    let (mut from, output) = rt::pipe::pipe()?;
    let pid = checked_child(|| {
        let (receiver, driver) = driver()?;
        one(&receiver, driver, 1)?;
        become_cat(input.fd().raw(), output.fd().raw())
    })?;
    drop((input, output));
    rt::io::Write::write_all(&mut to, b"x")?;
    rt::io::Read::read_exact(&mut from, &mut [0])?;
    // It runs, and goes on until its input ends.
    drop(Device::open(index)?);
    drop(to);
    exits(pid, 0)
}

/// The device goes on writing for who is gone: not to memory that is another's.
pub fn in_a_transfer() -> Outcome {
    let (index, _) = edu()?;
    let shared = Shared::new()?;
    let pid = checked_child(|| {
        let device = open()?;
        let memory = device.memory(2)?;
        memory.write(0, &[0x5a; 4096]);
        loop {
            let registers = [(FROM, BUFFER), (TO, memory.address), (COUNT, 2048), (COMMAND, START | TO_MEMORY | TELL)];
            registers.into_iter().for_each(|(register, value)| device.write64(register, value));
            shared.count(0);
            while device.read64(COMMAND) & START != 0 {}
            device.write32(ACKNOWLEDGE, device.read32(RAISED));
        }
    })?;
    shared.await_least(0, 2);
    kill(pid, SIGKILL)?;
    dies(pid, SIGKILL)?;
    // What is written late is written to what the device has, and this is the device's.
    drop(Device::open(index)?);
    copies()
}
