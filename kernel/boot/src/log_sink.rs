//! The `log` facade's back end: one line per record, with time and hart, to the console's log channel.

use core::fmt::Write;
use log::{LevelFilter, Log, Metadata, Record};

struct Sink;

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
        let level = record.level().as_str();
        let text = alloc::format!("[{seconds:5}.{micros:06} {}] {level:5} {}\n", hal::hart::id(), record.args());
        // The console takes text in one call, so that lines of several harts do not mix.
        let _ = hal::console::Writer.write_str(&text);
    }

    fn flush(&self) {}
}

/// Installs the sink; `level` is what the command line asks for.
pub fn initialise(level: LevelFilter) {
    static SINK: Sink = Sink;
    // The only failure is a second call.
    let _ = log::set_logger(&SINK);
    log::set_max_level(level);
}
