//! Sets inside sets: no circles, and no longer chains than Linux allows.
//!
//! Which set has which other registered is one graph for all, under one lock. A look at it is bounded by the length of chains, and by [`LOOKS`].

use super::{Epoll, Key, Shared};
use crate::file::File;
use abi::errno::Errno;
use alloc::{collections::BTreeSet, sync::Arc};
use core::{ops::RangeInclusive, ptr};
use hal::sync::{SpinLock, rank};

/// Sets of a chain at most (Linux: `EP_MAX_NESTS` and the one it begins at).
const CHAIN: usize = 5;
/// Most registrations that one look goes through.
const LOOKS: usize = 1000;

/// A set, a set that it has registered (or the other way round), and by what.
type Edge = (usize, usize, Key);

static NESTS: SpinLock<Nests> = SpinLock::new(rank::PIPE, Nests { inside: BTreeSet::new(), around: BTreeSet::new() });

struct Nests {
    inside: BTreeSet<Edge>,
    around: BTreeSet<Edge>,
}

fn all_of(set: usize) -> RangeInclusive<Edge> {
    (set, 0, (i32::MIN, 0))..=(set, usize::MAX, (i32::MAX, usize::MAX))
}

/// Sets of the longest chain that begins at `set`; too long for any use, if `bound` is exceeded or looks run out. `Err`: `avoid` is part of it.
fn chain(edges: &BTreeSet<Edge>, set: usize, avoid: usize, bound: usize, looks: &mut usize) -> Result<usize, ()> {
    if set == avoid {
        return Err(());
    }
    let mut longest = 1;
    for &(_, next, _) in edges.range(all_of(set)) {
        if bound == 0 || *looks == 0 {
            return Ok(CHAIN + 1);
        }
        *looks -= 1;
        longest = longest.max(1 + chain(edges, next, avoid, bound - 1, looks)?);
    }
    Ok(longest)
}

fn inner_of(file: &Arc<dyn File>) -> Option<usize> {
    file.as_any().downcast_ref::<Epoll>().map(|inner| Arc::as_ptr(&inner.0).addr())
}

/// Notes that `file`, if it is a set, goes into `set` by `key`.
///
/// # Errors
/// `EINVAL` for itself, and where a chain would become too long; `ELOOP` if it would be a circle.
pub(super) fn nest(set: &Arc<Shared>, file: &Arc<dyn File>, key: Key) -> Result<(), Errno> {
    let Some(inner) = inner_of(file) else { return Ok(()) };
    let outer = Arc::as_ptr(set).addr();
    if outer == inner {
        return Err(Errno::EINVAL);
    }
    let mut nests = NESTS.lock();
    let mut looks = LOOKS;
    let below = chain(&nests.inside, inner, outer, CHAIN, &mut looks).map_err(|()| Errno::ELOOP)?;
    let above = chain(&nests.around, outer, inner, CHAIN, &mut looks).map_err(|()| Errno::ELOOP)?;
    if below > CHAIN {
        return Err(Errno::ELOOP);
    }
    if below + above > CHAIN {
        return Err(Errno::EINVAL);
    }
    nests.inside.insert((outer, inner, key));
    nests.around.insert((inner, outer, key));
    Ok(())
}

/// Notes that it is no longer in the set.
pub(super) fn unnest(set: &Shared, file: &Arc<dyn File>, key: Key) {
    let Some(inner) = inner_of(file) else { return };
    let outer = ptr::from_ref(set).addr();
    let mut nests = NESTS.lock();
    nests.inside.remove(&(outer, inner, key));
    nests.around.remove(&(inner, outer, key));
}
