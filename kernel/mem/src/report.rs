//! What `/proc/PID/{maps,statm}` and usage reports show of a space.

use crate::room::Room;
use crate::{region::Role, space::AddressSpace, window};
use alloc::{string::String, vec::Vec};
use core::{fmt::Write, ops::Range};
use hal::{
    PAGE_SIZE,
    space::{KernelPage, Prot},
};

/// Column of the names in `maps`, as in Linux.
const NAMES_AT: usize = 73;

/// Sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sum of all mappings.
    pub mapped: usize,
    /// The most that it was.
    pub peak: usize,
    /// Pages that are in memory, shared ones included.
    pub resident: usize,
    /// The most that they were.
    pub most_resident: usize,
    /// What the process pays for: private pages and page tables.
    pub paid: usize,
}

/// One mapping.
#[derive(Clone, Debug)]
pub struct MapEntry {
    /// Addresses.
    pub range: Range<usize>,
    /// Rights.
    pub prot: Prot,
    /// Whether writes reach other processes.
    pub shared: bool,
    /// Byte offset in the object.
    pub offset: u64,
    /// What it is, if it has a name.
    pub name: Option<String>,
    /// The file's device and number, zeros if it is none.
    pub file: (u64, u64),
}

impl AddressSpace {
    /// Sizes now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let state = self.state.lock();
        let (mapped, peak) = (state.regions.bytes(), state.regions.peak());
        let resident = state.resident * PAGE_SIZE;
        let most_resident = resident.max(state.most_resident * PAGE_SIZE);
        Usage { mapped, peak, resident, most_resident, paid: state.paid() }
    }

    /// What of the kernel the hardware could reach while a thread is in user mode in this space; for the test that
    /// proves what is resident.
    #[must_use]
    pub fn kernel_pages(&self) -> Vec<KernelPage> {
        hal::space::kernel_pages_reachable(&self.state.lock().pages)
    }

    /// All mappings in order, none without memory for the list; at most `limit`, so that a process with many cannot hold the lock for long.
    #[must_use]
    pub fn mappings(&self, limit: usize) -> Vec<MapEntry> {
        let mut found = Vec::new();
        {
            let state = self.state.lock();
            if found.make_exact_room(limit.min(state.regions.count())).is_err() {
                return Vec::new();
            }
            for (start, region) in state.regions.iter().take(limit) {
                let page = region.page_of(start, start);
                let offset = page.map_or(0, |(_, index)| index * PAGE_SIZE as u64);
                let (range, prot, shared) = (start..region.end, region.prot, region.shared);
                let entry = MapEntry { range, prot, shared, offset, name: None, file: (0, 0) };
                found.push((entry, region.role, page.map(|(backing, _)| backing.clone())));
            }
        }
        // Objects are asked without the lock.
        let named = found.into_iter().map(|(entry, role, backing)| {
            let file = backing.as_ref().and_then(|backing| backing.file()).unwrap_or((0, 0));
            let name = match role {
                Role::Heap => Some(String::from("[heap]")),
                Role::Stack => Some(String::from("[stack]")),
                Role::Window if backing.is_none() => window::name(entry.range.start).map(String::from),
                Role::Plain | Role::Growing | Role::Window => backing.and_then(|backing| backing.name()),
            };
            MapEntry { name, file, ..entry }
        });
        named.collect()
    }

    /// The text of `/proc/PID/maps`.
    #[must_use]
    pub fn maps_text(&self) -> String {
        let mut text = String::new();
        for entry in self.mappings(4096) {
            let flag = |prot, letter| if entry.prot.contains(prot) { letter } else { '-' };
            let (r, w, x) = (flag(Prot::READ, 'r'), flag(Prot::WRITE, 'w'), flag(Prot::EXEC, 'x'));
            let sharing = if entry.shared { 's' } else { 'p' };
            let (start, end, offset) = (entry.range.start, entry.range.end, entry.offset);
            let ((major, minor), number) = (abi::stat::split_dev(entry.file.0), entry.file.1);
            let line = text.len();
            // Writing to a string cannot fail.
            let _ =
                write!(text, "{start:08x}-{end:08x} {r}{w}{x}{sharing} {offset:08x} {major:02x}:{minor:02x} {number} ");
            if let Some(name) = entry.name {
                let width = (text.len() - line + 1).max(NAMES_AT);
                text.extend(core::iter::repeat_n(' ', line + width - text.len()));
                text.push_str(&name.replace('\n', "\\012"));
            }
            text.push('\n');
        }
        text
    }
}
