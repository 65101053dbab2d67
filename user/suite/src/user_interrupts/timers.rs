//! The timer of a receiver.

use super::{counting, until};
use crate::case::Outcome;
use crate::process::sleep_ms;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use core::time::Duration;
use rt::raw;
use rt::time::Instant;
use rt::uintr::timer::{self, Timer};
use rt::uintr::{Handlers, receive};

const SHORT: Duration = Duration::from_millis(3);

/// It comes, not too early, to a thread that waits and to one that runs.
pub fn comes() -> Outcome {
    let (receiver, counts) = counting()?;
    for round in 1..=20 {
        let begun = Instant::now();
        timer::set(&receiver, 11, Some(SHORT))?;
        if round % 2 == 0 {
            until(&receiver, || counts.get(11) == round)?;
        } else {
            while counts.get(11) < round {
                core::hint::spin_loop();
            }
        }
        ensure!(begun.elapsed() >= SHORT, "{:?}", begun.elapsed());
    }
    fails!(receiver.wait(Some(Duration::from_millis(10))), ETIMEDOUT);
    equal!(counts.get(11), 20);
    fails!(timer::set(&receiver, 64, None), EINVAL);
    Ok(())
}

pub fn is_taken_back() -> Outcome {
    let (receiver, counts) = counting()?;
    timer::set(&receiver, 1, Some(Duration::from_secs(100)))?;
    timer::set(&receiver, 2, Some(Duration::from_millis(1)))?;
    until(&receiver, || counts.get(2) == 1)?;
    rt::uintr::masked(&receiver, || {
        timer::set(&receiver, 3, Some(SHORT))?;
        timer::set(&receiver, 3, None)
    })?;
    fails!(receiver.wait(Some(3 * SHORT)), ETIMEDOUT);
    equal!((counts.get(1), counts.get(2), counts.get(3)), (0, 1, 0));
    Ok(())
}

/// A handler sets it again: ticks, while the thread computes, sleeps and changes harts.
pub fn ticks() -> Outcome {
    drop(counting()?);
    let join = rt::thread::spawn(|| -> Outcome {
        let count: &'static AtomicU32 = Box::leak(Box::default());
        let again: &'static rt::sync::OnceLock<Timer> = Box::leak(Box::new(rt::sync::OnceLock::new()));
        let handler: &'static _ = Box::leak(Box::new(move |_| {
            if count.fetch_add(1, Relaxed) < 199 {
                let _ = again.get().map(|timer| timer.start(Duration::from_micros(300)));
            }
        }));
        let receiver = receive(raw::on(Handlers::new(), 0, handler))?;
        again.get_or_init(|| Timer::of(&receiver));
        timer::set(&receiver, 0, Some(SHORT))?;
        let mut turn = 0_u32;
        while count.load(Relaxed) < 200 {
            turn += 1;
            match turn % 3 {
                0 => sleep_ms(1),
                1 => crate::machine::go_to(turn)?,
                _ => (0..20_000).for_each(|_| core::hint::spin_loop()),
            }
        }
        Ok(())
    })?;
    join.join().unwrap_or_else(|| Err(crate::case::Trouble::failed("the thread did not end")))
}
