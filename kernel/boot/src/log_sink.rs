//! The `log` facade's back end: each record to the log in memory, and as a line to the console.

use alloc::sync::Arc;
use core::fmt::Write;
use hal::sync::{IrqLock, rank};
use io::console::Console;
use log::{Level, LevelFilter, Log, Metadata, Record};

struct Sink;

/// Where records go once the console is up.
#[derive(Clone)]
struct Outputs {
    console: Arc<Console>,
    memory: Arc<io::log::Log>,
}

static OUTPUTS: IrqLock<Option<Outputs>> = IrqLock::new(rank::CONSOLE - 1, None);

impl Log for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = hal::time::now();
        let (seconds, micros) = (now / 1_000_000_000, now / 1000 % 1_000_000);
        let text = alloc::format!("{}", record.args());
        // A statement of its own: the lock is released before the log wakes its readers.
        let outputs = OUTPUTS.lock().clone();
        if let Some(outputs) = outputs {
            outputs.memory.push(severity(record.level()), now, text.as_bytes());
        }
        // The console takes a line in one call, so that lines of several harts do not mix.
        let line = alloc::format!("[{seconds:5}.{micros:06}] {}{text}\n", prefix(record.level()));
        let _ = hal::console::Writer.write_str(&line);
    }

    fn flush(&self) {}
}

/// As syslog counts.
fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

fn prefix(level: Level) -> &'static str {
    match level {
        Level::Error => "error: ",
        Level::Warn => "warning: ",
        _ => "",
    }
}

/// Installs the sink. Until [`attach`], lines go to the firmware's console.
pub fn initialise(level: LevelFilter) {
    static SINK: Sink = Sink;
    // The only failure is a second call.
    let _ = log::set_logger(&SINK);
    log::set_max_level(level);
}

/// Sends records to the console driver and to memory from now on.
pub fn attach(console: Arc<Console>, memory: Arc<io::log::Log>) {
    *OUTPUTS.lock() = Some(Outputs { console, memory });
}

/// Text for the console's log channel; what `hal` calls.
pub fn write(text: &[u8]) {
    let outputs = OUTPUTS.lock().clone();
    if let Some(outputs) = outputs {
        outputs.console.log(text);
    }
}
