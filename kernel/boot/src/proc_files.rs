//! Files of `/proc` about the machine and the kernel as a whole, and the processes for its directories.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;
use fs::lines::Listing;
use fs::namespace::Namespace;
use fs::procfs::{self, ProcessTable};
use fs::walk::Place;
use hal::boot::Machine;
use io::faults;
use io::history::History;
use io::open::OpenFile;
use process::census::{self, Coroutines};
use process::{Process, report, table};
use service::System;

/// Registers everything.
pub fn register(machine: &'static Machine, namespace: &Arc<Namespace>, system: Arc<System>) {
    procfs::register_basics(namespace);
    procfs::set_processes(&Table);
    procfs::register("version", || {
        format!("Linux version 6.12.0-asyncos (AsyncOS {}) #1 SMP PREEMPT\n", env!("CARGO_PKG_VERSION"))
    });
    procfs::register("cmdline", || format!("{}\n", machine.platform.bootargs));
    procfs::register("cpuinfo", || cpuinfo(machine));
    procfs::register("loadavg", || format!("0.00 0.00 0.00 1/{} 0\n", table::thread_count()));
    procfs::register("interrupts", interrupts);
    procfs::register("stat", report::system);
    procfs::register("asyncos/syscalls", move || system.unknown_calls());
    procfs::register("asyncos/coroutines", census::kernel);
    procfs::register("asyncos/heap", heap);
    procfs::register("asyncos/resident", resident);
    procfs::register("asyncos/scheduler", || report::kernel_pages(&hal::sched_image::kernel_mappings()));
    procfs::register_control("asyncos/trace", History::open);
    procfs::register_control("asyncos/fail-nth", faults::open_nth);
    procfs::register_control("asyncos/kill-nth", faults::open_poll);
    procfs::register_control("asyncos/disk-delay", faults::open_delay);
    procfs::register_control("asyncos/card-faults", faults::open_card);
    procfs::register_control("asyncos/loopback-segments", faults::open_segments);
}

fn cpuinfo(machine: &Machine) -> String {
    let mut text = String::new();
    for index in 0..hal::hart::count() {
        let _ = write!(
            text,
            "processor\t: {index}\nhart\t\t: {}\nisa\t\t: {}\nmmu\t\t: sv39\n\n",
            machine.platform.harts[index].id, machine.platform.isa
        );
    }
    text
}

/// A line for each source that has struck, and one for the interrupts of harts by each other.
fn interrupts() -> String {
    let counted = (1..hal::irq::LINES).filter(|&line| hal::irq::count(line) > 0);
    let lines = counted.map(|line| format!("{line:4}: {:10}\n", hal::irq::count(line)));
    lines.chain([format!(" IPI: {:10}\n", hal::hart::ipis())]).collect()
}

/// Bytes in all, for each size class its objects in use and its pages, and the larger objects by their pages.
fn heap() -> String {
    let mut text = format!("bytes {}\ncharged {}\n", hal::heap::bytes(), process::oom::system_account().used());
    let _ = writeln!(text, "shootdowns {}", hal::space::shootdowns_waited());
    for class in hal::heap::census() {
        let _ = writeln!(text, "class {} used {} slabs {}", class.size, class.used, class.slabs);
    }
    for (order, used) in hal::heap::runs().into_iter().enumerate().filter(|(_, used)| *used > 0) {
        let _ = writeln!(text, "run {} used {used}", 1_usize << order);
    }
    text
}

/// The addresses of the resident code and of the save areas, in hexadecimal.
fn resident() -> String {
    hal::space::resident().iter().map(|range| format!("{:x} {:x}\n", range.start, range.end)).collect()
}

/// The coroutines of a process as `/proc` wants them.
struct Lines(Coroutines);

impl Listing for Lines {
    fn more(&mut self, text: &mut String) -> bool {
        self.0.more(text)
    }
}

/// The process table as `/proc` wants it.
struct Table;

fn place(process: &Process, name: &str) -> Option<Arc<Place>> {
    let place = match name {
        "exe" => process.executable()?,
        "root" => process.files().ok()?.get().root,
        _ => process.files().ok()?.get().directory,
    };
    place.downcast().ok()
}

impl ProcessTable for Table {
    fn pids(&self) -> Vec<u32> {
        table::pids()
    }

    fn current(&self) -> Option<u32> {
        None
    }

    fn owner(&self, pid: u32) -> Option<(u32, u32)> {
        let identity = table::process(pid)?.identity();
        Some((identity.euid, identity.egid))
    }

    fn text(&self, pid: u32, name: &str) -> Option<Vec<u8>> {
        let process = table::process(pid)?;
        Some(match name {
            "cmdline" => report::cmdline(&process),
            "comm" => [process.name(), b"\n".to_vec()].concat(),
            "limits" => process.limits().text().into_bytes(),
            "maps" => report::maps(&process).into_bytes(),
            "resident" => report::resident(&process).into_bytes(),
            "sched" => report::sched(&process).into_bytes(),
            "stat" => report::stat(&process).into_bytes(),
            "statm" => report::statm(&process).into_bytes(),
            "status" => report::status(&process).into_bytes(),
            "threads" => report::threads(&process).into_bytes(),
            _ => return None,
        })
    }

    fn listing(&self, pid: u32, name: &str) -> Option<Box<dyn Listing>> {
        let process = table::process(pid)?;
        (name == "coroutines").then(|| Box::new(Lines(Coroutines::of(&process))) as Box<dyn Listing>)
    }

    fn link(&self, pid: u32, name: &str) -> Option<Arc<Place>> {
        place(&*table::process(pid)?, name)
    }

    fn descriptors(&self, pid: u32) -> Option<Vec<u32>> {
        let numbers = table::process(pid)?.descriptors().ok()?.numbers();
        Some(numbers.into_iter().filter_map(|fd| u32::try_from(fd).ok()).collect())
    }

    fn descriptor(&self, pid: u32, fd: u32) -> Option<Arc<OpenFile>> {
        table::process(pid)?.descriptors().ok()?.get(i32::try_from(fd).ok()?).ok()
    }
}
