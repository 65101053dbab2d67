//! Waiting for several descriptors: `ppoll`, `pselect6`, `epoll`, and `eventfd2`.
//!
//! A wait registers with every file at once, is woken by the first change, and looks at all of them again.

use crate::{
    arguments::{Args, nanos, only},
    context::{Task, fair},
    dispatch,
};
use abi::{
    errno::Errno,
    fs::{EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE, O_CLOEXEC, O_RDWR},
    nr, poll as p,
    poll::{EpollEvent, PollFd},
    time::Timespec,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{future::poll_fn, pin::pin, task::Poll};
use io::{
    epoll::Epoll,
    event::{Event, Mode},
    file::{BoxFuture, Want},
    open::OpenFile,
};
use mem::{Room, list};
use process::Begun;
use zerocopy::{FromZeros, IntoBytes};

/// Events that are reported unasked.
const ALWAYS: u32 = p::EPOLLERR | p::EPOLLHUP;
/// Most descriptors of one call: as many as a process can have open.
const MOST: usize = 65_536;
/// Most events that one `epoll_pwait` answers with; the rest waits for the next call.
const EVENTS_MOST: usize = 1024;

/// As many as these a thread may wait for without paying.
const SHORT: usize = 8;
/// What is paid for at once, in bytes.
const PART: usize = 4096;

/// A descriptor that is being waited for.
struct Watch {
    open: Arc<OpenFile>,
    events: u32,
}

impl Watch {
    fn found(&self, task: &Task<'_>) -> u32 {
        self.open.file().look(task.caller()).1 & (self.events | ALWAYS)
    }
}

/// Waits until one of `list` may have something, or until the deadline; false if that passed.
async fn wait_any(task: &Task<'_>, list: &[&Watch], deadline: Option<u64>) -> Result<bool, Errno> {
    let mut waits = mem::list(list.len())?;
    let (mut paid, mut owed) = (task.caller().account.charge(0)?, 0);
    for (number, watch) in list.iter().enumerate() {
        let wait = watch.open.file().wait(task.caller(), Want::Events(watch.events | ALWAYS));
        owed += hal::sizes::share(size_of_val(&*wait));
        waits.push(wait);
        if number >= SHORT && owed >= PART {
            paid.grow(core::mem::take(&mut owed))?;
        }
    }
    let any = poll_fn(move |context| {
        let ready = waits.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready());
        if ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    });
    match task.wait_for(fair(any), deadline).await {
        Ok(()) => Ok(true),
        Err(Errno::EAGAIN) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Stores what is left until `deadline` at `addr`, where the call found its time: the next one goes on from there. As in Linux,
/// a time that cannot be written ends the call for good if a signal did.
pub(crate) async fn put_rest(task: &Task<'_>, addr: usize, deadline: Option<u64>) {
    let Some(deadline) = deadline else { return };
    let left = Timespec::from_nanos(deadline.saturating_sub(hal::time::now()));
    if task.space().put(addr, &left).await.is_err() {
        task.end_with_signal();
    }
}

/// The time at which a wait ends: `addr` is a relative `timespec` or 0.
pub(crate) async fn deadline(task: &Task<'_>, addr: usize) -> Result<Option<u64>, Errno> {
    if addr == 0 {
        return Ok(None);
    }
    let limit: Timespec = task.space().get(addr).await?;
    Ok(Some(hal::time::now().saturating_add(nanos(limit)?)))
}

/// Sets the signal mask at `addr` for the time of the call.
///
/// # Errors
/// `EINVAL`, `EFAULT`, `ENOMEM`.
pub(crate) async fn mask(task: &Task<'_>, addr: usize, size: usize) -> Result<(), Errno> {
    if addr == 0 {
        return Ok(());
    }
    if size != abi::signal::SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let mask: u64 = task.space().get(addr).await?;
    task.mask_for_this_call(mask);
    Ok(())
}

/// `ppoll(fds, count, timeout, mask, mask_size)`.
pub(crate) async fn ppoll(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let (addr, count) = (args.word(0), args.bits(1) as usize);
    if count > MOST.min(task.file_limit()) {
        return Err(Errno::EINVAL);
    }
    let deadline = deadline(task, args.word(2)).await?;
    let mut fds = list(count)?;
    fds.resize(count, PollFd::new_zeroed());
    task.space().copy_in(addr, fds.as_mut_slice().as_mut_bytes()).await?;
    mask(task, args.word(3), args.word(4)).await?;
    let found = poll_list(task, &mut fds, deadline).await;
    put_rest(task, args.word(2), deadline).await;
    let found = found?;
    task.space().copy_out(addr, fds.as_slice().as_bytes()).await?;
    Ok(found)
}

/// Fills in what was found; answers for how many descriptors.
async fn poll_list(task: &Task<'_>, fds: &mut [PollFd], deadline: Option<u64>) -> Result<usize, Errno> {
    let find = |fd: &PollFd| {
        let open = task.file(fd.fd).ok()?;
        Some(Watch { open, events: fd.events.into() })
    };
    const EACH: usize =
        size_of::<PollFd>() + size_of::<Option<Watch>>() + size_of::<&Watch>() + size_of::<BoxFuture<'_, ()>>();
    let _paid = if fds.len() > SHORT { Some(task.caller().account.charge(fds.len() * EACH)?) } else { None };
    let mut watches = list(fds.len())?;
    watches.extend(fds.iter().map(find));
    loop {
        let mut count = 0;
        for (fd, watch) in fds.iter_mut().zip(&watches) {
            fd.revents = match watch {
                Some(watch) => watch.found(task) as u16,
                None if fd.fd < 0 => 0,
                None => p::POLLNVAL,
            };
            count += usize::from(fd.revents != 0);
        }
        if count > 0 || deadline.is_some_and(|deadline| deadline <= hal::time::now()) {
            return Ok(count);
        }
        let mut list: Vec<&Watch> = list(watches.len())?;
        list.extend(watches.iter().flatten());
        if !wait_any(task, &list, deadline).await? {
            return Ok(0);
        }
    }
}

/// The three sets of `select`, and the events that each stands for.
const SETS: [(u32, u32); 3] = [
    (p::EPOLLIN | p::EPOLLRDNORM, p::EPOLLIN | p::EPOLLRDNORM | p::EPOLLHUP | p::EPOLLERR),
    (p::EPOLLOUT | p::EPOLLWRNORM, p::EPOLLOUT | p::EPOLLWRNORM | p::EPOLLERR),
    (p::EPOLLPRI, p::EPOLLPRI),
];

/// One set as user memory has it: a bit a descriptor, in words of 64.
struct Set {
    addr: usize,
    words: Vec<u64>,
}

impl Set {
    async fn get(task: &Task<'_>, addr: usize, count: usize) -> Result<Self, Errno> {
        let len = if addr == 0 { 0 } else { count.div_ceil(64) };
        let mut words = list(len)?;
        words.resize(len, 0u64);
        task.space().copy_in(addr, words.as_mut_slice().as_mut_bytes()).await?;
        Ok(Self { addr, words })
    }

    fn has(&self, fd: usize) -> bool {
        self.words.get(fd / 64).is_some_and(|word| word >> (fd % 64) & 1 != 0)
    }

    fn insert(&mut self, fd: usize) {
        self.words[fd / 64] |= 1 << (fd % 64);
    }

    async fn put(&self, task: &Task<'_>) -> Result<(), Errno> {
        task.space().copy_out(self.addr, self.words.as_slice().as_bytes()).await
    }
}

/// `pselect6(count, read, write, except, timeout, mask)`.
pub(crate) async fn pselect6(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let count = usize::try_from(args.int(0)).map_err(|_| Errno::EINVAL)?.min(MOST);
    let deadline = deadline(task, args.word(4)).await?;
    if args.word(5) != 0 {
        let [addr, size]: [u64; 2] = task.space().get(args.word(5)).await?;
        mask(task, addr as usize, size as usize).await?;
    }
    let mut sets = Vec::new();
    for index in 1..4 {
        sets.push(Set::get(task, args.word(index), count).await?);
    }
    let mut fds = Vec::new();
    for fd in 0..count {
        let asked = |set: usize| if sets[set].has(fd) { SETS[set].0 } else { 0 };
        let events = asked(0) | asked(1) | asked(2);
        if events != 0 {
            task.file(fd as i32)?;
            fds.make_room(1)?;
            fds.push(PollFd { fd: fd as i32, events: events as u16, revents: 0 });
        }
    }
    let waited = poll_list(task, &mut fds, deadline).await;
    put_rest(task, args.word(4), deadline).await;
    waited?;
    let mut found = 0;
    for (set, (asked, means)) in sets.iter_mut().zip(SETS) {
        set.words.fill(0);
        for fd in &fds {
            if u32::from(fd.events) & asked != 0 && u32::from(fd.revents) & means != 0 {
                set.insert(fd.fd as usize);
                found += 1;
            }
        }
        set.put(task).await?;
    }
    Ok(found)
}

fn epoll_of(open: &OpenFile) -> Result<&Epoll, Errno> {
    open.file().as_any().downcast_ref().ok_or(Errno::EINVAL)
}

/// `epoll_create1(flags)`.
pub(crate) fn epoll_create1(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    only(args.bits(0), p::EPOLL_CLOEXEC)?;
    let open = OpenFile::new(Epoll::new(&task.caller().account)?, O_RDWR, b"anon_inode:[eventpoll]");
    task.install(open, args.bits(0) & p::EPOLL_CLOEXEC != 0)
}

/// `epoll_ctl(epfd, operation, fd, event)`.
pub(crate) async fn epoll_ctl(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let (operation, fd) = (args.bits(1), args.int(2));
    let event = match operation {
        p::EPOLL_CTL_DEL => EpollEvent { events: 0, pad: 0, data: 0 },
        _ => task.get(args.word(3)).await?,
    };
    let set = task.file(args.int(0))?;
    let open = task.file(fd)?;
    // A file that is never waited for is told first, as in Linux.
    if open.seekable() {
        return Err(Errno::EPERM);
    }
    let epoll = epoll_of(&set)?;
    if Arc::ptr_eq(&set, &open) {
        return Err(Errno::EINVAL);
    }
    match operation {
        p::EPOLL_CTL_ADD => epoll.add(task.caller(), fd, &open, event)?,
        p::EPOLL_CTL_MOD => epoll.modify(fd, &open, event)?,
        p::EPOLL_CTL_DEL => epoll.remove(fd, &open)?,
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

/// Most events that are handed over without a box.
const EVENTS_AT_ONCE: usize = 8;

/// `epoll_pwait` and `epoll_pwait2` that find something, or do not wait.
pub(crate) fn begin_epoll_wait(task: Task<'_>, number: usize, args: Args) -> Begun<'_> {
    let count = usize::try_from(args.int(2)).unwrap_or(0).min(EVENTS_MOST);
    // A mask of its own, a wrong number: the full call says what comes of it.
    if count == 0 || args.word(4) != 0 {
        return Begun::Not;
    }
    let waits = match number {
        nr::EPOLL_PWAIT => args.int(3) != 0,
        _ => match limit_now(&task, args.word(3)) {
            Some(waits) => waits,
            None => return Begun::Not,
        },
    };
    let set = match task.file(args.int(0)) {
        Ok(set) => set,
        Err(errno) => return Begun::Done(errno.to_return()),
    };
    let Ok(epoll) = epoll_of(&set) else { return Begun::Done(Errno::EINVAL.to_return()) };
    let mut found = [EpollEvent::new_zeroed(); EVENTS_AT_ONCE];
    let (mut len, mut more) = (0, Vec::new());
    // In one round: none is found twice.
    epoll.take_now(task.caller(), count, |event| match found.get_mut(len) {
        Some(place) => {
            *place = event;
            len += 1;
        }
        None => more.push(event),
    });
    if len == 0 {
        return if waits { Begun::Not } else { Begun::Done(0) };
    }
    if more.is_empty() && task.space().copy_out_now(args.word(1), found[..len].as_bytes()).is_ok() {
        return Begun::Done(len as isize);
    }
    // They are taken: the call goes on with them.
    Begun::Waits(Box::pin(async move {
        let all: Vec<_> = found[..len].iter().chain(&more).copied().collect();
        let put = task.space().copy_out(args.word(1), all.as_slice().as_bytes()).await;
        dispatch::outcome(&task, number, &args, put.map(|()| all.len()))
    }))
}

/// Whether a call with the time at `addr` waits; `None`: that is not in memory, or wrong.
fn limit_now(task: &Task<'_>, addr: usize) -> Option<bool> {
    if addr == 0 {
        return Some(true);
    }
    let mut limit = Timespec::new_zeroed();
    task.space().copy_in_now(addr, limit.as_mut_bytes()).ok()?;
    nanos(limit).ok().map(|nanos| nanos > 0)
}

/// `epoll_pwait(epfd, events, count, timeout_ms, mask, mask_size)`.
pub(crate) async fn epoll_pwait(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let deadline = match args.int(3) {
        ..0 => None,
        ms => Some(hal::time::now().saturating_add(ms as u64 * 1_000_000)),
    };
    epoll_wait(task, args, deadline).await
}

/// `epoll_pwait2(epfd, events, count, timeout, mask, mask_size)`.
pub(crate) async fn epoll_pwait2(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let deadline = deadline(task, args.word(3)).await?;
    epoll_wait(task, args, deadline).await
}

async fn epoll_wait(task: &Task<'_>, args: &Args, deadline: Option<u64>) -> Result<usize, Errno> {
    let (addr, count) = (args.word(1), args.int(2));
    let right = |count: &usize| (1..=i32::MAX as usize / size_of::<EpollEvent>()).contains(count);
    let count = usize::try_from(count).ok().filter(right).ok_or(Errno::EINVAL)?.min(EVENTS_MOST);
    let set = task.file(args.int(0))?;
    let epoll = epoll_of(&set)?;
    mask(task, args.word(4), args.word(5)).await?;
    let mut over = deadline.filter(|&deadline| deadline <= hal::time::now()).map(|_| Ok(0));
    loop {
        // Who has given up the wait to end has passed on what it was told, and takes nothing.
        if let Some(Err(errno)) = over
            && task.thread().killed()
        {
            return Err(errno);
        }
        // Also behind a signal or the deadline, as in Linux: what this set was told of no other may have been.
        let events = epoll.wait_now(task.caller(), count);
        if !events.is_empty() {
            task.space().copy_out(addr, events.as_slice().as_bytes()).await?;
            return Ok(events.len());
        }
        if let Some(result) = over {
            return result;
        }
        let ready = async {
            epoll.wait_ready().await;
            Ok(())
        };
        over = match task.wait_for(fair(pin!(ready)), deadline).await {
            Ok(()) => None,
            Err(Errno::EAGAIN) => Some(Ok(0)),
            Err(errno) => Some(Err(errno)),
        };
    }
}

/// `eventfd2(count, flags)`.
pub(crate) fn eventfd2(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let flags = args.bits(1);
    only(flags, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)?;
    let mode = if flags & EFD_SEMAPHORE != 0 { Mode::Semaphore } else { Mode::Counter };
    let event = Event::new(&task.caller().account, args.bits(0), mode)?;
    let open = OpenFile::new(event, O_RDWR | flags & EFD_NONBLOCK, b"anon_inode:[eventfd]");
    task.install(open, flags & O_CLOEXEC != 0)
}
