//! What comes up, in order.

use crate::command_line::Options;
use crate::serial::Port;
use crate::{console, devices, first_process, grantable, log_sink, proc_files, tree};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use exec::Priority;
use hal::boot::Machine;
use hal::sync::{SpinLock, rank};
use io::device::Random;
use net::Net;
use process::Service;
use service::{Setup, System};

/// Terminal input and output: a key press should be felt at once.
pub const PRIORITY_TERMINAL: Priority = Priority::new(4);
/// Network stacks and file systems, which everybody waits for.
pub const PRIORITY_SERVICE: Priority = Priority::new(8);

hal::kernel_main!(main);

fn main(machine: &'static Machine) -> ! {
    let options = Options::parse(machine.platform.bootargs.as_str());
    log_sink::initialise(options.log);
    // The executor first: drivers and the console are coroutines.
    exec::init(hal::hart::count());
    let console = console::start(&options);
    announce(machine, &options);
    let devices = devices::start();
    let ports = grantable::offer();
    hal::boot::start_harts(run_hart);
    exec::spawn(PRIORITY_SERVICE, "start", start(machine, options, console, devices, ports));
    exec::run_hart()
}

fn run_hart() -> ! {
    exec::run_hart()
}

fn announce(machine: &Machine, options: &Options) {
    let platform = &machine.platform;
    let controller = if platform.aplic.is_some() && platform.imsic.is_some() { "AIA" } else { "PLIC" };
    let mebibytes = (hal::frame::stats().total * hal::PAGE_SIZE) >> 20;
    log::info!(
        "AsyncOS {}: {} harts, {mebibytes} MiB free, {controller}, worlds: {}table shared",
        env!("CARGO_PKG_VERSION"),
        hal::hart::count(),
        if machine.has_virtual { "vm " } else { "" },
    );
    if platform.left_out > 0 {
        log::warn!("{} entries of the device tree did not fit and are not used", platform.left_out);
    }
    for word in &options.unknown {
        log::warn!("command line: {word:?} means nothing");
    }
}

/// Everything that has to wait: the rest of the start-up, up to the first process.
async fn start(
    machine: &'static Machine,
    options: Options,
    console: console::Parts,
    devices: devices::Devices,
    ports: Vec<&'static Port>,
) {
    let random = Arc::new(Random::new(seed(machine, devices.entropy).await));
    *RANDOM.lock() = Some(random.clone());
    process::stack::set_entropy(fill_random);
    let net = start_network(devices.card, &random);
    let tree = match tree::mount(devices.disk, &console, ports, &random).await {
        Ok(tree) => tree,
        Err(message) => halt(&console, &message).await,
    };
    process::execve::set_worlds(options.world as u8, machine.has_virtual);
    process::uintr::backends::restrict(options.interrupts);
    let system = System::new(Setup {
        namespace: tree.namespace.clone(),
        net,
        random,
        log: console.log.clone(),
        new_file_system: tree::new_file_system,
        has_world: process::execve::world_available,
        power_off: || first_process::power_off(0),
        init_ended: first_process::ended,
    });
    process::prompt::start();
    exec::spawn(PRIORITY_TERMINAL, "alarms", system.clone().run());
    proc_files::register(machine, &tree.namespace, system.clone());
    first_process::remember(console.console.clone(), tree.disk.clone());
    // One service for all processes, for ever: the clone's reference count never drops to zero.
    let service: &'static dyn Service = &**Box::leak(Box::new(system));
    if let Err(message) = first_process::start(service, &options, &console, &tree).await {
        halt(&console, &message).await;
    }
    log::info!("boot: {} instructions", hal::boot::instructions().wrapping_sub(machine.first_instruction));
}

/// For those who take a plain function.
static RANDOM: SpinLock<Option<Arc<Random>>> = SpinLock::new(rank::PROCESSES - 2, None);

fn fill_random(bytes: &mut [u8]) {
    let random = RANDOM.lock().clone();
    if let Some(random) = random {
        random.fill(bytes);
    }
}

/// The boot cannot go on: say why and stop with a failing status.
async fn halt(console: &console::Parts, message: &str) -> ! {
    log::error!("{message}");
    console.console.flushed().await;
    hal::power::off(true)
}

/// Bytes that nobody outside can guess: from the firmware, the entropy device and the clock.
async fn seed(machine: &Machine, entropy: Option<&devices::EntropySource>) -> [u8; 32] {
    let mut seed = machine.platform.seed.unwrap_or_default();
    let mut bytes = [0; 32];
    let filled = match entropy {
        Some(source) => source.fill(&mut bytes).await.unwrap_or(0),
        None => 0,
    };
    if filled == 0 && machine.platform.seed.is_none() {
        log::warn!("no source of entropy: random numbers can be guessed");
    }
    let clock = (hal::time::now() ^ hal::time::wall()).to_le_bytes();
    seed.iter_mut().zip(bytes).for_each(|(seed, byte)| *seed ^= byte);
    seed.iter_mut().zip(clock).for_each(|(seed, byte)| *seed ^= byte);
    seed
}

/// Starts the interfaces; the address comes later, by DHCP.
fn start_network(card: Option<Box<dyn net::NetDevice>>, random: &Random) -> Arc<Net> {
    /// How long DHCP may take before the card gets the address of QEMU's user network.
    const PATIENCE: u64 = 3_000_000_000;
    let mut seed = [0; 8];
    random.fill(&mut seed);
    let net = Net::new(card, u64::from_le_bytes(seed));
    for stack in net.stacks() {
        let stack = stack.clone();
        exec::spawn(PRIORITY_SERVICE, "network", async move { stack.run().await });
    }
    let fallback =
        net::Configuration { address: [10, 0, 2, 15].into(), prefix: 24, gateway: Some([10, 0, 2, 2].into()) };
    let collector = net.clone();
    exec::spawn(PRIORITY_SERVICE, "collector", async move { collector.run_collector().await });
    let client = net.clone();
    exec::spawn(PRIORITY_SERVICE, "dhcp", async move { client.run_dhcp(PATIENCE, fallback).await });
    net
}
