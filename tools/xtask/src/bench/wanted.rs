//! What a figure is that must be there: where and how it is measured, and its bar.

use super::findings::{ALL_HARTS, CALLS, ENTRIES, Method, RATE};
use Limit::AtLeast;

/// What a figure must be to hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Not above.
    AtMost(f64),
    /// Truly below.
    Below(f64),
    /// Not below.
    AtLeast(f64),
}

impl Limit {
    /// Whether a figure meets it.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Limit::AtMost(limit) => value <= limit,
            Limit::Below(limit) => value < limit,
            Limit::AtLeast(limit) => value >= limit,
        }
    }

    /// The number and how it is compared.
    pub fn parts(self) -> (&'static str, f64) {
        match self {
            Limit::AtMost(limit) => ("<=", limit),
            Limit::Below(limit) => ("<", limit),
            Limit::AtLeast(limit) => (">=", limit),
        }
    }
}

/// Before the name of a figure that a ratio is of: Linux's, measured in the same run.
pub const OF_LINUX: &str = "linux/";

/// Where a figure is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In each world that was asked for.
    EachWorld,
    /// In world `vm`, if it was asked for.
    Vm,
    /// Once, on a machine with `world=auto`.
    Auto,
    /// On the host.
    Host,
}

/// A figure that must be there; without it the table says why.
pub struct Wanted {
    /// Id of the row; a ratio of wall times is called after the guest's row, with `_wall`.
    pub id: &'static str,
    /// Group that it is measured with.
    pub group: &'static str,
    /// What is measured.
    pub what: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// How it is measured.
    pub method: Method,
    /// Where it is measured.
    pub place: Place,
    /// The two figures whose ratio it is; none for one that is printed.
    pub of: Option<[&'static str; 2]>,
    /// Worlds and their bars; `*` is every world.
    pub limits: &'static [(&'static str, Limit)],
}

impl Wanted {
    /// The bar in this world.
    pub fn limit(&self, world: &str) -> Option<Limit> {
        self.limits.iter().find(|(name, _)| *name == "*" || *name == world).map(|(_, limit)| *limit)
    }
}

pub(super) const fn icount(
    id: &'static str,
    group: &'static str,
    limits: &'static [(&'static str, Limit)],
    what: &'static str,
) -> Wanted {
    Wanted { id, group, what, unit: "insn", method: Method::Icount, place: Place::EachWorld, of: None, limits }
}

pub(super) const fn count(
    id: &'static str,
    group: &'static str,
    (unit, place): (&'static str, Place),
    limits: &'static [(&'static str, Limit)],
    what: &'static str,
) -> Wanted {
    Wanted { id, group, what, unit, method: Method::Count, place, of: None, limits }
}

/// How often a hart goes from one thread to another for a request of the echo.
pub(super) const fn switches(id: &'static str, what: &'static str) -> Wanted {
    count(id, "echo", ("switches", Place::EachWorld), &[], what)
}

/// How many times the instructions of the second figure the first one takes.
pub(super) const fn ratio(
    id: &'static str,
    group: &'static str,
    of: [&'static str; 2],
    limits: &'static [(&'static str, Limit)],
    what: &'static str,
) -> Wanted {
    Wanted { unit: "ratio", of: Some(of), ..icount(id, group, limits, what) }
}

/// What a process keeps of the hart, by what a turn of its loop takes alone and beside another.
pub(super) const fn share(id: &'static str, beside: &'static str, what: &'static str) -> Wanted {
    ratio(id, "priority", ["share_alone", beside], &[("*", AtLeast(0.45))], what)
}

/// Counted by a plugin, on all harts.
pub(super) const fn plugin(id: &'static str, limits: &'static [(&'static str, Limit)], what: &'static str) -> Wanted {
    Wanted {
        id,
        group: super::COUNTED.0,
        what,
        unit: ALL_HARTS,
        method: Method::Plugin,
        place: Place::EachWorld,
        of: None,
        limits,
    }
}

/// How often user programs were left, counted by the same, in world `vm`.
pub(super) const fn entries(id: &'static str, limits: &'static [(&'static str, Limit)], what: &'static str) -> Wanted {
    Wanted { unit: ENTRIES, place: Place::Vm, ..plugin(id, limits, what) }
}

/// How often of that by a call.
pub(super) const fn calls(id: &'static str, limits: &'static [(&'static str, Limit)], what: &'static str) -> Wanted {
    Wanted { unit: CALLS, ..entries(id, limits, what) }
}

/// Requests in a second of the machine's clock, on four harts.
pub(super) const fn rate(id: &'static str, what: &'static str) -> Wanted {
    Wanted { unit: RATE, ..reported(id, what) }
}

/// What drivers of the serial port enter the kernel for.
pub(super) const fn driver_entries(id: &'static str, what: &'static str) -> Wanted {
    count(id, "driver", ("entries", Place::EachWorld), &[], what)
}

/// How often the port interrupts its driver.
pub(super) const fn driver_interrupts(id: &'static str, what: &'static str) -> Wanted {
    count(id, "driver", ("interrupts", Place::EachWorld), &[], what)
}

/// Bytes a second of such a driver.
pub(super) const fn driver_rate(id: &'static str, what: &'static str) -> Wanted {
    count(id, "driver", ("bytes/s", Place::EachWorld), &[], what)
}

/// A time that no bar goes by, on several harts.
pub(super) const fn reported(id: &'static str, what: &'static str) -> Wanted {
    Wanted {
        id,
        group: "harts",
        what,
        unit: "us",
        method: Method::Time,
        place: Place::EachWorld,
        of: None,
        limits: &[],
    }
}

pub(super) const fn wall(
    id: &'static str,
    group: &'static str,
    place: Place,
    limits: &'static [(&'static str, Limit)],
    what: &'static str,
) -> Wanted {
    Wanted { id, group, what, unit: "ratio", method: Method::Wall, place, of: None, limits }
}
