//! What comes up, in order.

use hal::boot::Machine;

hal::kernel_main!(main);

fn main(machine: &'static Machine) -> ! {
    crate::log_sink::initialise(log::LevelFilter::Info);
    log::info!("AsyncOS: {} harts, vm {}", machine.platform.harts.len(), machine.has_virtual);
    let s = hal::frame::stats();
    log::info!("memory {} free {}", s.total, s.free);
    hal::power::off(false)
}
