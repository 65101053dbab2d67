//! The rows of the table: what is measured, the bar it must meet, and what was found.

use serde_json::{Value, json};

/// A bar: the figure must not be above it.
struct Bar {
    /// Id of the row, as the guest's program prints it.
    id: &'static str,
    /// What is measured.
    what: &'static str,
    /// Unit that the bar is in; other units of the same row have no bar.
    unit: &'static str,
    /// Worlds and their bars; `*` is every world.
    bars: &'static [(&'static str, f64)],
}

const BARS: [Bar; 7] = [
    Bar { id: "boot", what: "kernel entry to prompt, 1 hart, 1 GiB", unit: "insn", bars: &[("*", 100e6)] },
    Bar {
        id: "null_getppid",
        what: "null system call (getppid)",
        unit: "insn",
        bars: &[("shared", 200.0), ("vm", 230.0), ("table", 300.0)],
    },
    Bar { id: "pipe_pp", what: "pipe round trip between processes", unit: "insn", bars: &[("*", 7_000.0)] },
    Bar { id: "spawn_exit_wait", what: "spawn a process, run, exit, wait", unit: "insn", bars: &[("*", 90_000.0)] },
    Bar { id: "page_fault", what: "page fault, anonymous", unit: "insn", bars: &[("*", 1_000.0)] },
    Bar {
        id: "read4k",
        what: "sequential file read through the page cache, 4 KiB",
        unit: "insn",
        bars: &[("*", 3_033.0)],
    },
    Bar { id: "thread_memory", what: "kernel memory of a parked user thread", unit: "B", bars: &[("*", 2_048.0)] },
];

/// One figure that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Stable name.
    pub id: String,
    /// World it was measured in, or `linux`.
    pub world: String,
    /// The figure.
    pub value: f64,
    /// Unit: `insn`, `ns`, `B`.
    pub unit: String,
    /// How it was measured: `icount`, `wall`, `count`.
    pub method: &'static str,
}

impl Row {
    /// Parses a line `B id value unit` of the guest's program.
    pub fn parse(line: &str, world: &str, wall: bool) -> Option<Self> {
        let mut words = line.trim().strip_prefix("B ")?.split_whitespace();
        let (id, value, unit) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        let method = match unit {
            "insn" if !wall => "icount",
            "ns" if wall => "wall",
            // Time under icount is a fiction, and so is the instruction counter without it.
            "insn" | "ns" => return None,
            _ => "count",
        };
        Some(Self { id: id.into(), world: world.into(), value, unit: unit.into(), method })
    }

    fn bar(&self) -> Option<(f64, &'static str)> {
        let bar = BARS.iter().find(|bar| bar.id == self.id && bar.unit == self.unit)?;
        let (_, limit) = bar.bars.iter().find(|(world, _)| *world == "*" || *world == self.world)?;
        Some((*limit, bar.what))
    }

    fn what(&self) -> &'static str {
        BARS.iter().find(|bar| bar.id == self.id).map_or("", |bar| bar.what)
    }

    /// Whether the bar is met; `None` without a bar.
    pub fn holds(&self) -> Option<bool> {
        self.bar().map(|(limit, _)| self.value <= limit)
    }
}

/// The kernel reports the raw counter, and older emulators count virtual nanoseconds in it. `/bin/bench` finds
/// out what one instruction adds and corrects its own rows; the row of the boot is corrected here. The
/// `calibration` rows have done their duty then.
pub fn correct_boot(rows: &mut Vec<Row>) {
    const CALIBRATION: &str = "calibration";
    let step = rows.iter().find(|row| row.id == CALIBRATION).map_or(1.0, |row| row.value.round().max(1.0));
    rows.retain(|row| row.id != CALIBRATION);
    for row in rows.iter_mut().filter(|row| row.id == "boot" && row.unit == "insn") {
        row.value /= step;
    }
}

/// Medians of repeated rows: same id, world and unit.
pub fn medians(rows: Vec<Row>) -> Vec<Row> {
    let mut result: Vec<Row> = Vec::new();
    for row in &rows {
        let same = |other: &&Row| (&other.id, &other.world, &other.unit) == (&row.id, &row.world, &row.unit);
        if result.iter().find(same).is_none() {
            let mut values: Vec<f64> = rows.iter().filter(same).map(|other| other.value).collect();
            values.sort_by(f64::total_cmp);
            result.push(Row { value: values[values.len() / 2], ..row.clone() });
        }
    }
    result
}

/// All rows of AsyncOS, each beside Linux's of the same id and unit.
pub struct Table<'a> {
    rows: &'a [Row],
}

impl<'a> Table<'a> {
    /// Arranges the rows.
    pub fn new(rows: &'a [Row]) -> Self {
        Self { rows }
    }

    fn beside(&self) -> impl Iterator<Item = (&'a Row, Option<f64>)> {
        let linux = |row: &Row| {
            let same = |other: &&Row| other.world == "linux" && other.id == row.id && other.unit == row.unit;
            self.rows.iter().find(same).map(|other| other.value)
        };
        let alone = self.rows.iter().all(|row| row.world == "linux");
        self.rows.iter().filter(move |row| alone || row.world != "linux").map(move |row| (row, linux(row)))
    }

    /// Prints the table.
    pub fn print(&self) {
        println!(
            "{:<24} {:<7} {:>14} {:<5} {:>13} {:<6} {:>14} {:>6}  method",
            "row", "world", "value", "unit", "bar", "holds", "Linux", "ratio"
        );
        for (row, linux) in self.beside() {
            let bar = row.bar().map_or_else(|| "-".into(), |(limit, _)| figure(limit));
            let holds = row.holds().map_or("-", |holds| if holds { "yes" } else { "NO" });
            let ratio = linux.map_or_else(|| "-".into(), |linux| format!("{:.2}", row.value / linux));
            let linux = linux.map_or_else(|| "-".into(), figure);
            let value = figure(row.value);
            println!(
                "{:<24} {:<7} {value:>14} {:<5} {bar:>13} {holds:<6} {linux:>14} {ratio:>6}  {}",
                row.id, row.world, row.unit, row.method
            );
        }
        let verdicts: Vec<bool> = self.rows.iter().filter_map(Row::holds).collect();
        println!("{} of {} bars hold", verdicts.iter().filter(|holds| **holds).count(), verdicts.len());
    }

    /// The table for a file.
    pub fn json(&self, emulator: &str) -> Value {
        let row = |(row, linux): (&Row, Option<f64>)| {
            json!({
                "id": row.id, "what": row.what(), "unit": row.unit, "value": row.value, "world": row.world,
                "bar": row.bar().map(|(limit, _)| limit), "holds": row.holds(), "method": row.method, "linux": linux,
            })
        };
        json!({ "emulator": emulator, "rows": self.beside().map(row).collect::<Vec<_>>() })
    }
}

/// A number with thousands apart, and decimals only where they say something.
fn figure(value: f64) -> String {
    if value.abs() < 100.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_rows_and_meet_bars() {
        let row = Row::parse("B null_getppid 210 insn", "vm", false).unwrap();
        assert_eq!(row.holds(), Some(true));
        assert_eq!(Row::parse("B null_getppid 210 insn", "shared", false).unwrap().holds(), Some(false));
        assert_eq!(Row::parse("B something 1.5 B", "vm", false).unwrap().holds(), None);
        assert_eq!(Row::parse("B null_getppid 210 insn", "vm", true), None);
        assert_eq!(Row::parse("null_getppid 210", "vm", false), None);
    }

    #[test]
    fn the_boot_is_corrected_by_what_an_instruction_adds() {
        let row = |id: &str, value, unit: &str| Row {
            id: id.into(),
            world: "vm".into(),
            value,
            unit: unit.into(),
            method: "icount",
        };
        let mut rows = vec![row("boot", 90.0, "insn"), row("calibration", 2.001, "steps"), row("x", 7.0, "insn")];
        correct_boot(&mut rows);
        assert_eq!(rows, vec![row("boot", 45.0, "insn"), row("x", 7.0, "insn")]);
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!([1234567.0, 12.5, 100.0, 999.0].map(figure), ["1,234,567", "12.50", "100", "999"]);
    }

    #[test]
    fn medians_are_per_row() {
        let row = |value| Row { id: "a".into(), world: "vm".into(), value, unit: "ns".into(), method: "wall" };
        assert_eq!(medians(vec![row(3.0), row(1.0), row(2.0)]), vec![row(2.0)]);
    }
}
