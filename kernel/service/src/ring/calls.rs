//! Entries that are system calls: files, paths, sockets. An entry is decoded into the call's arguments and served by its function.
//!
//! Those that never wait are served at once. The others are futures of their own, polled once where they are submitted, so that what they read of
//! the program's memory is read there if it can be; what still waits then goes on in a coroutine. Descriptors that do not wait
//! (`O_NONBLOCK`) do so for a request, as on Linux.

use super::{
    Ring,
    begun::{Begun, Body},
    commands,
    fields::{has_file, is_fixed, is_right, is_without, opens},
    files::{self as registered, Direct},
    groups,
    operation::{Done, Step, place_of, says_whether_more},
    zero_copy,
};
use crate::{
    arguments::Args,
    attributes,
    context::{OfRequest, Task},
    files, futexes,
    given::Given,
    life, memory, messages, opening, paths, poll, sockets,
    splicing::Splice,
    xattrs::{self, By},
};
use abi::{
    errno::Errno,
    io_uring::*,
    net::{MSG_DONTWAIT, MSG_NOSIGNAL, MSG_WAITALL},
};
use alloc::{boxed::Box, sync::Arc};

/// A call, as its entry has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    opcode: u8,
    /// The descriptor is a place in the table of registered files.
    fixed: bool,
    pub(super) fd: i32,
    pub(super) addr: u64,
    off: u64,
    pub(super) len: u32,
    flags: u32,
    /// A place in that table, less one, or the length of an address.
    index: u32,
    addr3: u64,
    /// Of provided buffers, or the number of a registered one.
    pub(super) group: u16,
    /// The flags in the place of a priority.
    pub(super) ioprio: u16,
    /// It accepts one connection after the other.
    pub(super) multishot: bool,
    /// It accepts one that is there, or none.
    gives_up: bool,
}

impl Call {
    pub(super) fn prepare(entry: &Sqe) -> Result<Self, Errno> {
        // Where there is no file, as in Linux the flag means nothing.
        let fixed = entry.flags & IOSQE_FIXED_FILE != 0 && !is_without(entry.opcode);
        let by_place_only = is_fixed(entry.opcode);
        match (is_right(entry), fixed && !has_file(entry.opcode) || by_place_only && !fixed) {
            (false, _) => Err(Errno::EINVAL),
            (true, true) => Err(Errno::EBADF),
            (true, false) => Ok(Self {
                opcode: entry.opcode,
                fixed,
                fd: entry.fd,
                addr: entry.addr,
                off: entry.off,
                len: entry.len,
                flags: entry.op_flags,
                index: entry.file_index,
                addr3: entry.addr3,
                group: entry.buf_index,
                ioprio: entry.ioprio,
                gives_up: entry.opcode == IORING_OP_ACCEPT && entry.ioprio & IORING_ACCEPT_DONTWAIT != 0,
                multishot: entry.opcode == IORING_OP_ACCEPT && entry.ioprio & IORING_ACCEPT_MULTISHOT != 0,
            }),
        }
    }

    pub(super) fn opcode(&self) -> u8 {
        self.opcode
    }

    /// Where the description lies that it is about.
    pub(super) fn file(&self, task: &Task<'_>, view: &OfRequest) -> usize {
        let found = match &view.file {
            None if !has_file(self.opcode) => None,
            None => task.file(self.fd).ok(),
            file => file.clone(),
        };
        found.map_or(0, |open| place_of(&open))
    }

    /// The arguments of the call, in its order.
    pub(super) fn args(&self) -> Args {
        let (fd, len, flags) = (self.fd as usize, self.len as usize, self.flags as usize);
        let (addr, off) = (self.addr as usize, self.off as usize);
        let loud_not = flags | MSG_NOSIGNAL as usize;
        Args(match self.opcode {
            IORING_OP_SEND | IORING_OP_SEND_ZC => [fd, addr, len, loud_not, off, self.index as usize],
            IORING_OP_RECV => [fd, addr, len, flags, 0, 0],
            IORING_OP_SENDMSG | IORING_OP_SENDMSG_ZC => [fd, addr, loud_not, 0, 0, 0],
            IORING_OP_RECVMSG => [fd, addr, flags, 0, 0, 0],
            IORING_OP_ACCEPT | IORING_OP_CONNECT | IORING_OP_BIND => [fd, addr, off, flags, 0, 0],
            IORING_OP_SHUTDOWN | IORING_OP_LISTEN => [fd, len, 0, 0, 0, 0],
            IORING_OP_SOCKET => [fd, off, len, 0, 0, 0],
            IORING_OP_OPENAT => [fd, addr, flags, len, 0, 0],
            IORING_OP_OPENAT2 => [fd, addr, off, len, 0, 0],
            IORING_OP_STATX => [fd, addr, flags, len, off, 0],
            IORING_OP_SYNC_FILE_RANGE => [fd, off, len, flags, 0, 0],
            IORING_OP_URING_CMD => {
                let (level, option) = (addr & u32::MAX as usize, addr >> 32);
                [fd, level, option, self.addr3 as usize, self.index as usize, off]
            }
            IORING_OP_FALLOCATE => [fd, len, off, addr, 0, 0],
            IORING_OP_FTRUNCATE => [fd, off, 0, 0, 0, 0],
            IORING_OP_FADVISE => [fd, off, if addr == 0 { len } else { addr }, flags, 0, 0],
            IORING_OP_MADVISE => [addr, if off == 0 { len } else { off }, flags, 0, 0, 0],
            IORING_OP_RENAMEAT | IORING_OP_LINKAT => [fd, addr, len, off, flags, 0],
            IORING_OP_UNLINKAT => [fd, addr, flags, 0, 0, 0],
            IORING_OP_MKDIRAT => [fd, addr, len, 0, 0, 0],
            IORING_OP_SYMLINKAT => [addr, fd, off, 0, 0, 0],
            IORING_OP_SETXATTR | IORING_OP_GETXATTR => [self.addr3 as usize, addr, off, len, flags, 0],
            IORING_OP_FSETXATTR | IORING_OP_FGETXATTR => [fd, addr, off, len, flags, 0],
            IORING_OP_EPOLL_CTL => [fd, len, off, addr, 0, 0],
            IORING_OP_WAITID => [len, fd, off, self.index as usize, 0, 0],
            _ => [fd, 0, 0, 0, 0, 0],
        })
    }

    /// Those that never wait, and need no view of their own.
    fn at_once(&self, task: &Task<'_>, ring: &Ring) -> Option<Result<usize, Errno>> {
        let args = &self.args();
        Some(match self.opcode {
            IORING_OP_CLOSE if self.index != 0 => ring.files.close(self.index as usize - 1).map(|()| 0),
            IORING_OP_CLOSE => match task.file(self.fd) {
                // A ring is closed by a call.
                Ok(open) if super::ring_of(&open).is_ok() => Err(Errno::EBADF),
                _ => files::close(task, args),
            },
            IORING_OP_PROVIDE_BUFFERS => self.provide(task, ring),
            IORING_OP_REMOVE_BUFFERS => ring.groups.remove(self.group, self.fd as usize),
            IORING_OP_SOCKET if self.index == 0 => sockets::socket(task, args),
            IORING_OP_FUTEX_WAKE => {
                futexes::wake(task, self.addr as usize, self.off as usize, self.addr3 as u32, self.fd.cast_unsigned())
            }
            _ => return self.at_once_on_file(task),
        })
    }

    fn provide(&self, task: &Task<'_>, ring: &Ring) -> Result<usize, Errno> {
        let count =
            usize::try_from(self.fd).ok().filter(|count| (1..=groups::MOST).contains(count)).ok_or(Errno::E2BIG)?;
        let (addr, len) = (self.addr as usize, self.len as usize);
        let end = len.checked_mul(count).and_then(|bytes| addr.checked_add(bytes)).ok_or(Errno::EOVERFLOW)?;
        if end > mem::USER_END {
            return Err(Errno::EFAULT);
        }
        let first = u16::try_from(self.off).map_err(|_| Errno::E2BIG)?;
        if usize::from(first) + count > groups::MOST {
            return Err(Errno::EINVAL);
        }
        ring.groups.provide(&task.caller().account, self.group, (self.addr, self.len), first, count)
    }

    /// Of these, those about a file, which may be a registered one.
    fn at_once_on_file(&self, task: &Task<'_>) -> Option<Result<usize, Errno>> {
        let args = &self.args();
        Some(match self.opcode {
            IORING_OP_SHUTDOWN => sockets::shutdown(task, args),
            IORING_OP_LISTEN => sockets::listen(task, args),
            IORING_OP_FADVISE => attributes::fadvise(task, args),
            _ => return None,
        })
    }

    async fn accept(&self, task: &Task<'_>) -> Result<usize, Errno> {
        let how = if self.gives_up { MSG_DONTWAIT } else { 0 };
        sockets::accept(task, &self.args(), self.flags, how).await
    }

    async fn serve(&self, task: &Task<'_>, ring: &Arc<Ring>) -> Result<usize, Errno> {
        let args = &self.args();
        match self.opcode {
            IORING_OP_SEND | IORING_OP_SEND_ZC => messages::sendto(task, args).await,
            IORING_OP_RECV => messages::recvfrom(task, args).await,
            IORING_OP_ACCEPT => self.accept(task).await,
            IORING_OP_CONNECT => sockets::connect(task, args).await,
            IORING_OP_BIND => sockets::bind(task, args).await,
            IORING_OP_OPENAT => paths::openat(task, args).await,
            IORING_OP_OPENAT2 => opening::open(task, args, self.index != 0).await,
            IORING_OP_STATX => attributes::statx(task, args).await,
            IORING_OP_FSYNC => files::fsync(task, args).await,
            IORING_OP_SYNC_FILE_RANGE => files::sync_file_range(task, args).await,
            IORING_OP_FALLOCATE => attributes::fallocate(task, args).await,
            IORING_OP_FTRUNCATE => attributes::ftruncate(task, args).await,
            IORING_OP_MADVISE => memory::madvise(task, args).await,
            IORING_OP_RENAMEAT => paths::renameat2(task, args, self.flags).await,
            IORING_OP_UNLINKAT => paths::unlinkat(task, args).await,
            IORING_OP_MKDIRAT => paths::mkdirat(task, args).await,
            IORING_OP_SYMLINKAT => paths::symlinkat(task, args).await,
            IORING_OP_LINKAT => paths::linkat(task, args).await,
            IORING_OP_SETXATTR => xattrs::set(task, args, By::Path).await,
            IORING_OP_FSETXATTR => xattrs::set(task, args, By::Descriptor).await,
            IORING_OP_GETXATTR => xattrs::get(task, args, By::Path).await,
            IORING_OP_FGETXATTR => xattrs::get(task, args, By::Descriptor).await,
            IORING_OP_EPOLL_CTL => poll::epoll_ctl(task, args).await,
            IORING_OP_SOCKET => sockets::socket(task, args),
            IORING_OP_WAITID => life::waitid(task, args).await,
            IORING_OP_FUTEX_WAIT | IORING_OP_FUTEX_WAITV => self.wait_for_words(task).await,
            IORING_OP_SPLICE | IORING_OP_TEE => self.splice(task, ring).await,
            IORING_OP_URING_CMD => commands::serve(task, args).await,
            IORING_OP_FILES_UPDATE => self.update_files(task, ring).await,
            IORING_OP_FIXED_FD_INSTALL => {
                task.install(task.file(self.fd)?, self.flags & IORING_FIXED_FD_NO_CLOEXEC == 0)
            }
            _ => self.at_once_on_file(task).unwrap_or(Err(Errno::EINVAL)),
        }
    }

    /// The output is the entry's file; the input has a number, or a place, of its own.
    async fn splice(&self, task: &Task<'_>, ring: &Ring) -> Result<usize, Errno> {
        let out = task.file(self.fd)?;
        // To the end.
        let used;
        let input = match self.flags & SPLICE_F_FD_IN_FIXED {
            0 => task.process().file(self.index.cast_signed())?,
            _ => {
                used = ring.files.get(self.index.cast_signed())?;
                Arc::clone(&used)
            }
        };
        let (len, flags) = (self.len as usize, self.flags & !SPLICE_F_FD_IN_FIXED);
        if len == 0 {
            return Ok(0);
        }
        let splice = match self.opcode {
            IORING_OP_TEE => Splice::tee(task, input, out, len, flags)?,
            _ => {
                let offset = |at: u64| Some(at.cast_signed()).filter(|at| *at != -1);
                Splice::new(task, (input, offset(self.addr)), (out, offset(self.off)), len, flags)?
            }
        };
        splice.run().await
    }

    async fn wait_for_words(&self, task: &Task<'_>) -> Result<usize, Errno> {
        let addr = self.addr as usize;
        match self.opcode {
            IORING_OP_FUTEX_WAITV => futexes::wait_for_one(task, addr, self.len as usize).await,
            _ => futexes::wait(task, addr, self.off as u32, self.addr3 as u32, self.fd.cast_unsigned()).await,
        }
    }

    async fn update_files(&self, task: &Task<'_>, ring: &Arc<Ring>) -> Result<usize, Errno> {
        let (first, addr, count) = (self.off as u32, self.addr as usize, self.len as usize);
        match first {
            IORING_FILE_INDEX_ALLOC => registered::place_anywhere(task, ring, addr, count).await,
            first => registered::update(task, ring, first as usize, (addr as u64, 0), count).await,
        }
    }

    /// The call, to its end.
    pub(super) async fn finish(&self, task: &Task<'_>, ring: &Arc<Ring>) -> Done {
        let args = &self.args();
        let moved = match self.opcode {
            IORING_OP_SENDMSG | IORING_OP_SENDMSG_ZC => messages::send_message(task, args).await,
            IORING_OP_RECVMSG => messages::receive_message(task, args).await,
            _ => self.serve(task, ring).await.map(|done| (done, self.len as usize)),
        };
        self.with_more(task, moved.map_or_else(Done::failed, |(done, wanted)| self.done(done, wanted)))
    }

    /// With a word of whether there is more, if such say that.
    fn with_more(&self, task: &Task<'_>, done: Done) -> Done {
        if !says_whether_more(self.opcode) {
            return done;
        }
        match task.file(self.fd) {
            Ok(open) => done.with_more(self.opcode, &open),
            Err(_) => done,
        }
    }

    /// Less than what was `wanted` is a failure for who asked for all.
    fn done(&self, len: usize, wanted: usize) -> Done {
        let moves = matches!(
            self.opcode,
            IORING_OP_SEND
                | IORING_OP_RECV
                | IORING_OP_SENDMSG
                | IORING_OP_RECVMSG
                | IORING_OP_SEND_ZC
                | IORING_OP_SENDMSG_ZC
        );
        let wants_all = moves && self.flags & MSG_WAITALL != 0;
        let splices = matches!(self.opcode, IORING_OP_SPLICE | IORING_OP_TEE);
        Done { result: len as i32, fails: (wants_all || splices) && len < wanted, flags: 0 }
    }

    /// Connections, one after the other, as long as there is room to tell of them.
    pub(super) async fn accept_all(&self, task: &Task<'_>, ring: &Ring, user_data: u64) -> Done {
        loop {
            if task.interrupted() {
                return Done::failed(Errno::EINTR);
            }
            let done = match self.accept(task).await {
                Ok(fd) => self.with_more(task, Done::with(fd as i32)),
                Err(errno) => return Done::failed(errno),
            };
            if !ring.post_more(Cqe { user_data, res: done.result, flags: done.flags | IORING_CQE_F_MORE }) {
                return done;
            }
            if exec::should_yield() {
                exec::yield_now().await;
            }
        }
    }

    /// As far as that goes without waiting. What it is `given` may have been kept.
    pub(super) fn run(self, task: &Task<'_>, ring: &Arc<Ring>, user_data: u64, given: Option<Box<Given>>) -> Step {
        let used = match self.fixed.then(|| ring.files.get(self.fd)).transpose() {
            Ok(used) => used,
            Err(errno) => return Step::Done(Done::failed(errno)),
        };
        if used.is_none()
            && let Some(result) = self.at_once(task, ring)
        {
            return Step::Done(result.map_or_else(Done::failed, |done| Done::with(done as i32)));
        }
        let opens = opens(self.opcode) && self.index != 0;
        let into = opens.then(|| Box::new(Direct { ring: ring.clone(), slot: self.index }));
        let buffer = match zero_copy::buffer(&self, ring) {
            Ok(buffer) => buffer,
            Err(errno) => return Step::Done(Done::failed(errno)),
        };
        let file = used.as_deref().cloned();
        let view = OfRequest { file, into, buffer, given, ..OfRequest::default() };
        let step = Begun::run(Body::Call(self), task, ring, user_data, view);
        match used {
            Some(used) => used.keep(step),
            None => step,
        }
    }
}
