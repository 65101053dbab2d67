//! Sets inside sets: no circles, and no longer chains than Linux allows.
//!
//! Which set has which other registered is one graph for all, under one lock. A look at it is bounded by the length of chains, and by [`LOOKS`].

use super::{Epoll, Key, Shared};
use crate::file::File;
use abi::errno::Errno;
use alloc::{collections::BTreeMap, sync::Arc};
use core::{ops::RangeInclusive, ptr};
use hal::sync::{SpinLock, rank};

/// Sets of a chain at most (Linux: `EP_MAX_NESTS` and the one it begins at).
const CHAIN: usize = 5;
/// Most registrations that one look goes through.
const LOOKS: usize = 1000;

/// A set, a set that it has registered (or the other way round), and by what.
type Edge = (usize, usize, Key);
/// How often each was noted: one that leaves and one that comes in its place, or two of which one is refused, may be noted at the same time.
type Edges = BTreeMap<Edge, usize>;

static NESTS: SpinLock<Nests> = SpinLock::new(rank::PIPE, Nests { inside: BTreeMap::new(), around: BTreeMap::new() });

struct Nests {
    inside: Edges,
    around: Edges,
}

fn all_of(set: usize) -> RangeInclusive<Edge> {
    (set, 0, (i32::MIN, 0))..=(set, usize::MAX, (i32::MAX, usize::MAX))
}

/// Sets of the longest chain that begins at `set`; too long for any use, if `bound` is exceeded or looks run out. `Err`: `avoid` is part of it.
fn chain(edges: &Edges, set: usize, avoid: usize, bound: usize, looks: &mut usize) -> Result<usize, ()> {
    if set == avoid {
        return Err(());
    }
    let mut longest = 1;
    for (&(_, next, _), _) in edges.range(all_of(set)) {
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
    *nests.inside.entry((outer, inner, key)).or_default() += 1;
    *nests.around.entry((inner, outer, key)).or_default() += 1;
    Ok(())
}

/// Notes that it is no longer in the set.
pub(super) fn unnest(set: &Shared, file: &Arc<dyn File>, key: Key) {
    let Some(inner) = inner_of(file) else { return };
    let outer = ptr::from_ref(set).addr();
    let mut nests = NESTS.lock();
    take_one(&mut nests.inside, (outer, inner, key));
    take_one(&mut nests.around, (inner, outer, key));
}

fn take_one(edges: &mut Edges, edge: Edge) {
    if let Some(count) = edges.get_mut(&edge) {
        *count -= 1;
        if *count == 0 {
            edges.remove(&edge);
        }
    }
}
