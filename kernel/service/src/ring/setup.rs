//! `io_uring_setup`.

use super::{Ring, RingFile, in_place::InPlace, pages::Pages, polled, ring_of};
use crate::{arguments::Args, context::Task};
use abi::{asyncos::IORING_SETUP_PRIORITIES, errno::Errno, fs::O_RDWR, io_uring::*};
use alloc::sync::Arc;
use io::open::OpenFile;
use process::registered_rings::PLACES;
use ring::{Layout, MOST_COMPLETIONS, MOST_ENTRIES};

/// Modes that are there. Nobody is interrupted for completions, so those that say when to interrupt ask for nothing more; with `DEFER_TASKRUN` they are posted
/// as they come and shown when the submitter asks.
const MODES: u32 = IORING_SETUP_IOPOLL
    | IORING_SETUP_CQSIZE
    | IORING_SETUP_CLAMP
    | IORING_SETUP_SQPOLL
    | IORING_SETUP_SQ_AFF
    | IORING_SETUP_ATTACH_WQ
    | IORING_SETUP_R_DISABLED
    | IORING_SETUP_SUBMIT_ALL
    | IORING_SETUP_COOP_TASKRUN
    | IORING_SETUP_TASKRUN_FLAG
    | IORING_SETUP_SINGLE_ISSUER
    | IORING_SETUP_DEFER_TASKRUN
    | IORING_SETUP_SQE128
    | IORING_SETUP_CQE32
    | IORING_SETUP_NO_MMAP
    | IORING_SETUP_REGISTERED_FD_ONLY
    | IORING_SETUP_NO_SQARRAY
    | IORING_SETUP_PRIORITIES;

/// What holds of these rings: all that is in Linux's list.
const FEATURES: u32 = IORING_FEAT_SINGLE_MMAP
    | IORING_FEAT_NODROP
    | IORING_FEAT_SUBMIT_STABLE
    | IORING_FEAT_RW_CUR_POS
    | IORING_FEAT_CUR_PERSONALITY
    | IORING_FEAT_FAST_POLL
    | IORING_FEAT_POLL_32BITS
    | IORING_FEAT_SQPOLL_NONFIXED
    | IORING_FEAT_EXT_ARG
    | IORING_FEAT_NATIVE_WORKERS
    | IORING_FEAT_RSRC_TAGS
    | IORING_FEAT_CQE_SKIP
    | IORING_FEAT_LINKED_FILE
    | IORING_FEAT_REG_REG_RING
    | IORING_FEAT_RECVSEND_BUNDLE
    | IORING_FEAT_MIN_TIMEOUT;

/// `io_uring_setup(entries, params)`.
pub(crate) async fn setup(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let mut params: Params = task.space().get(args.word(1)).await?;
    let layout = layout(args.bits(0), &params)?;
    (params.sq_entries, params.cq_entries) = (layout.entries(), layout.completions());
    let place = InPlace::of(task, &params, &layout).await?;
    let told = (params.sq_off.user_addr, params.cq_off.user_addr);
    (params.sq_off, params.cq_off) = layout.offsets();
    if place.is_some() {
        (params.sq_off.user_addr, params.cq_off.user_addr) = told;
    }
    params.features = FEATURES;
    let is_shared = shares(task, &params)?;
    let pages = Pages::new(&layout, &task.caller().account).await?;
    let ring = RingFile(Ring::new(task, layout, &params, pages.clone())?);
    if ring.0.poller.is_some() {
        polled::begin(task, &ring.0, if is_shared { None } else { hart(&params)? })?;
    }
    task.space().put(args.word(1), &params).await?;
    let mut open = OpenFile::new(Arc::new(ring), O_RDWR, b"anon_inode:[io_uring]");
    if let Some(fresh) = Arc::get_mut(&mut open) {
        fresh.pay_for(&task.caller().account)?;
    }
    // The program's memory is replaced last, behind all else that may fail.
    if params.flags & IORING_SETUP_REGISTERED_FD_ONLY == 0 {
        let number = task.keep()?;
        take(task, place, &pages).await?;
        return number.give(open, true);
    }
    let number = task.thread().register_ring(0..PLACES, open)?;
    take(task, place, &pages).await.map(|()| number).inspect_err(|_| drop(task.thread().take_registered_ring(number)))
}

/// The ring's pages take the place of the memory that the program has for them, if it has some.
async fn take(task: &Task<'_>, place: Option<InPlace>, pages: &Arc<Pages>) -> Result<(), Errno> {
    match place {
        Some(place) => place.take(task, pages).await,
        None => Ok(()),
    }
}

/// Whether the ring is polled together with another (`IORING_SETUP_ATTACH_WQ`). Then it has a coroutine of its own all the same: there are no
/// workers to share, and those that look for entries make room for each other.
fn shares(task: &Task<'_>, params: &Params) -> Result<bool, Errno> {
    if params.flags & IORING_SETUP_ATTACH_WQ == 0 {
        return Ok(false);
    }
    let open = task.file(params.wq_fd.cast_signed()).map_err(|_| Errno::ENXIO)?;
    let ring = ring_of(&open).map_err(|_| Errno::EINVAL)?;
    if params.flags & IORING_SETUP_SQPOLL == 0 {
        return Ok(false);
    }
    ring.poller.as_ref().ok_or(Errno::EINVAL)?.is_shared_by(task.process())
}

/// The hart that is to look for entries, if one is named.
fn hart(params: &Params) -> Result<Option<usize>, Errno> {
    let hart = params.sq_thread_cpu as usize;
    match params.flags & IORING_SETUP_SQ_AFF != 0 {
        true if hart >= hal::hart::count() => Err(Errno::EINVAL),
        is_named => Ok(is_named.then_some(hart)),
    }
}

/// The sizes that are asked for, in Linux's order of checks.
fn layout(entries: u32, params: &Params) -> Result<Layout, Errno> {
    let has = |flag| params.flags & flag != 0;
    if params.resv != [0; 3] || params.flags & !MODES != 0 {
        return Err(Errno::EINVAL);
    }
    let size = |wanted: u32, most: u32| match wanted {
        0 => Err(Errno::EINVAL),
        wanted if wanted > most && !has(IORING_SETUP_CLAMP) => Err(Errno::EINVAL),
        wanted => Ok(wanted.min(most).next_power_of_two()),
    };
    let entries = size(entries, MOST_ENTRIES)?;
    let completions = if has(IORING_SETUP_CQSIZE) { size(params.cq_entries, MOST_COMPLETIONS)? } else { 2 * entries };
    let deferred = has(IORING_SETUP_DEFER_TASKRUN);
    let lacks_cooperation = has(IORING_SETUP_TASKRUN_FLAG) && !has(IORING_SETUP_COOP_TASKRUN) && !deferred;
    // Nobody is interrupted for completions of a ring that is polled.
    let defers = deferred || has(IORING_SETUP_COOP_TASKRUN) || has(IORING_SETUP_TASKRUN_FLAG);
    let is_polled_wrongly = if has(IORING_SETUP_SQPOLL) { defers } else { has(IORING_SETUP_SQ_AFF) };
    let lacks_issuer = deferred && !has(IORING_SETUP_SINGLE_ISSUER);
    let lacks_place = has(IORING_SETUP_REGISTERED_FD_ONLY) && !has(IORING_SETUP_NO_MMAP);
    if lacks_place || completions < entries || is_polled_wrongly || lacks_cooperation || lacks_issuer {
        return Err(Errno::EINVAL);
    }
    let layout = Layout::new(entries, completions, !has(IORING_SETUP_NO_SQARRAY));
    Ok(layout.widened(has(IORING_SETUP_SQE128), has(IORING_SETUP_CQE32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_modes_are_checked_as_linux_does() {
        let asked = |entries, flags, cq_entries| {
            let params = Params { flags, cq_entries, ..Params::default() };
            layout(entries, &params).map(|layout| (layout.entries(), layout.completions()))
        };
        assert_eq!(asked(3, 0, 0), Ok((4, 8)));
        assert_eq!(asked(1, IORING_SETUP_CQSIZE, 100), Ok((1, 128)));
        assert_eq!(asked(40_000, IORING_SETUP_CLAMP, 0), Ok((32_768, 65_536)));
        assert_eq!(asked(4, IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP, u32::MAX), Ok((4, 65_536)));
        let wrong = [
            (0, 0, 0),
            (32_769, 0, 0),
            (4, IORING_SETUP_CQSIZE, 0),
            (4, IORING_SETUP_CQSIZE, 2),
            (4, IORING_SETUP_CQSIZE, 65_537),
            (4, IORING_SETUP_DEFER_TASKRUN, 0),
            (4, IORING_SETUP_TASKRUN_FLAG, 0),
            (4, IORING_SETUP_SQ_AFF, 0),
            (4, IORING_SETUP_SQPOLL | IORING_SETUP_COOP_TASKRUN, 0),
            (4, IORING_SETUP_REGISTERED_FD_ONLY, 0),
            (4, 1 << 30, 0),
        ];
        for (entries, flags, completions) in wrong {
            assert_eq!(asked(entries, flags, completions), Err(Errno::EINVAL), "{entries} {flags:#x} {completions}");
        }
        assert_eq!(layout(4, &Params { resv: [0, 0, 1], ..Params::default() }), Err(Errno::EINVAL));
    }
}
