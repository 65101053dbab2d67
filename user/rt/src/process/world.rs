//! Worlds: how AsyncOS isolates a process. Linux has none; asking there is an error.

use crate::io;
use crate::sys::call6;
use abi::asyncos::{WORLD, WORLD_AUTO, WORLD_GET, WORLD_SHARED, WORLD_TABLE, WORLD_VM};

/// How a process is isolated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum World {
    /// As the kernel chooses.
    #[default]
    Auto,
    /// A virtual machine of its own.
    Vm,
    /// A page table that maps nothing of the kernel but the switching code.
    Table,
    /// A page table that maps the kernel too, out of reach.
    Shared,
}

impl World {
    /// All, in the order of their numbers.
    const ALL: [(Self, &'static str, usize); 4] = [
        (Self::Auto, "auto", WORLD_AUTO),
        (Self::Vm, "vm", WORLD_VM),
        (Self::Table, "table", WORLD_TABLE),
        (Self::Shared, "shared", WORLD_SHARED),
    ];

    /// The world with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n, _)| *n == name).map(|(world, ..)| *world)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(world, ..)| *world == self).map_or("auto", |(_, name, _)| name)
    }

    pub(super) fn number(self) -> usize {
        Self::ALL.iter().find(|(world, ..)| *world == self).map_or(WORLD_AUTO, |(_, _, number)| *number)
    }
}

/// The world of this process.
///
/// # Errors
/// `ENOSYS` on systems without worlds.
pub fn world() -> io::Result<World> {
    // SAFETY: reads a number, touches no memory.
    let number = unsafe { call6(WORLD, [WORLD_GET, 0, 0, 0, 0, 0])? };
    Ok(World::ALL.iter().find(|(.., n)| *n == number).map_or(World::Auto, |(world, ..)| *world))
}
