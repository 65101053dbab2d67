//! What comes up, in order.

use exec::Priority;
use hal::boot::Machine;

/// Terminal input and output.
pub const PRIORITY_INPUT: Priority = Priority::new(4);

hal::kernel_main!(main);

fn main(machine: &'static Machine) -> ! {
    crate::log_sink::initialise(log::LevelFilter::Info);
    exec::init(hal::hart::count());
    let arguments = machine.platform.bootargs.as_str();
    let parts = crate::console::start(arguments.contains("console=mux"));
    log::info!("AsyncOS {}: {} harts, {} MiB", env!("CARGO_PKG_VERSION"), hal::hart::count(), hal::frame::stats().total >> 8);
    let devices = crate::devices::start();
    hal::boot::start_harts(exec_run);
    exec::spawn(PRIORITY_INPUT, "main", async move {
        if let Some(e) = devices.entropy { let mut b = [0; 8]; log::info!("entropy {:?} {:x?}", e.fill(&mut b).await, b); }
        if let Some(d) = devices.disk {
            let (engine, mounted) = fs::ext4::mount(d).unwrap();
            for f in engine.0 { exec::spawn(PRIORITY_INPUT, "ext4", f); }
            let m = mounted.await;
            log::info!("mounted {:?}", m.is_ok());
        }
        let _ = parts.tty;
        exec::sleep(100_000_000).await;
        log::info!("slept");
        parts.console.flushed().await;
        hal::power::off(false);
    });
    exec::run_hart()
}
fn exec_run() -> ! { exec::run_hart() }
