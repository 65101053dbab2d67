//! Several buffers of a ring of them, chosen at once and used as one (`IORING_RECVSEND_BUNDLE`): one completion names the first, and says how many bytes
//! there are in it and those that lie behind it in the ring.
//!
//! They are chosen under one lock, so that nobody else has one of those in between. Those of them that were not needed are the next to be chosen.

use super::{
    super::{
        groups::{Given, Groups, marks},
        operation::Done,
    },
    Select, Turn,
};
use crate::{
    arguments::MOST,
    context::Task,
    messages,
    sockets::{self, Socket},
    transfer::{self, Piece},
};
use abi::{
    errno::Errno,
    io_uring::IORING_OP_SEND,
    net::{MSG_DONTWAIT, MSG_NOSIGNAL, MSG_WAITALL},
};
use alloc::{sync::Arc, vec::Vec};
use io::open::OpenFile;
use mem::{Charge, Room, list};

/// Most buffers of one, as in Linux.
const MOST_BUFFERS: usize = 256;

/// Such buffers. Dropped, they go back, unless they were used.
struct Bundle<'a> {
    groups: &'a Groups,
    group: u16,
    id: u64,
    is_incremental: bool,
    given: Vec<Given>,
    /// The group had no more.
    is_last: bool,
    /// Bytes that are in them.
    used: usize,
    /// Of how many of them the group says that it is not known yet whether they are used.
    open: usize,
    _charge: Charge,
}

impl<'a> Bundle<'a> {
    /// Chooses as many as so many bytes need, one at least. Where others hold the last, it is seen first what becomes of that.
    ///
    /// # Errors
    /// `ENOBUFS`, `ENOMEM`, those of a wait.
    async fn select(task: &Task<'_>, groups: &'a Groups, group: u16, wanted: usize) -> Result<Self, Errno> {
        let most = groups.most(group).min(MOST_BUFFERS);
        let charge = task.caller().account.charge(most * (size_of::<Given>() + size_of::<Piece>()))?;
        let mut given = list(most)?;
        let selected = groups.select_several(group, wanted, &mut given);
        let (id, is_incremental, is_last) = task.wait_for(selected, None).await?;
        let open = given.len();
        Ok(Self { groups, group, id, is_incremental, given, is_last, used: 0, open, _charge: charge })
    }

    /// Where they lie, up to so many bytes.
    ///
    /// # Errors
    /// `ENOMEM`.
    fn pieces(&self, wanted: usize) -> Result<Vec<Piece>, Errno> {
        let (mut list, mut left) = (Vec::new(), wanted.min(MOST));
        list.make_exact_room(self.given.len())?;
        for given in &self.given {
            let len = left.min(given.len as usize);
            list.push(Piece { addr: given.addr as usize, len });
            left -= len;
        }
        Ok(list)
    }

    /// It will be waited with them, who knows how long: to all others they are used.
    fn settle(&mut self) {
        let open = core::mem::take(&mut self.open);
        self.groups.give_back(self.group, self.id, open, core::iter::empty());
    }

    /// There are so many bytes in them: they stay with the program. What the completion says of them.
    fn keep(mut self, used: usize) -> u32 {
        self.used = used;
        let bid = self.given.first().map_or(0, |given| given.bid);
        // Whether the last that is used is used up.
        let left = self.is_incremental.then(|| self.split().1).flatten();
        marks(bid, left.is_some_and(|left| left.len > 0))
    }

    /// How many of them are used at all, and what is left of the last of these. One is, even without a byte: it is named.
    fn split(&self) -> (usize, Option<Given>) {
        let mut left = self.used;
        for (number, given) in self.given.iter().enumerate() {
            let len = given.len as usize;
            if left <= len {
                let rest = Given { addr: given.addr.wrapping_add(left as u64), len: (len - left) as u32, ..*given };
                return (number + 1, Some(rest));
            }
            left -= len;
        }
        (self.given.len(), None)
    }
}

impl Drop for Bundle<'_> {
    fn drop(&mut self) {
        let (used, rest) = if self.used == 0 { (0, None) } else { self.split() };
        let rest = rest.filter(|rest| self.is_incremental && rest.len > 0);
        let back = self.given.get(used..).unwrap_or_default();
        self.groups.give_back(self.group, self.id, self.open, rest.into_iter().chain(back.iter().copied()));
    }
}

/// The list without its first `done` bytes.
fn behind(list: &mut Vec<Piece>, done: usize) {
    let mut left = done;
    let gone = list.iter().take_while(|piece| {
        let is_gone = piece.len <= left;
        left -= if is_gone { piece.len } else { 0 };
        is_gone
    });
    let gone = gone.count();
    list.drain(..gone);
    if let Some(first) = list.first_mut() {
        *first = first.behind(left);
    }
}

impl Select {
    /// The same with as many buffers as what is there needs, or as there are to send. It is the end, too, when the group has no more.
    pub(super) async fn bundle_once(&self, turn: &Turn<'_, '_>) -> Result<(Done, bool), Errno> {
        let &Turn { task, ring, open, asked, .. } = turn;
        let socket = Socket(Arc::clone(open));
        let mut waits = self.waits_at_first(turn);
        let limit = if asked.len == 0 { usize::MAX } else { asked.len as usize };
        loop {
            self.come_to_choose(task, ring, open, waits).await?;
            let wanted = if self.opcode == IORING_OP_SEND { limit } else { limit.min(socket.get().readable_bytes()) };
            let mut chosen = Bundle::select(task, &ring.groups, self.group, wanted).await?;
            let mut list = chosen.pieces(limit)?;
            let room = transfer::total(&list);
            match self.move_list(task, &socket, &list).await {
                Err(Errno::EAGAIN) if !self.gives_up() => waits = true,
                Err(errno) => return Err(errno),
                Ok(0) => return Ok((Done::with(0).with_more(self.opcode, open), true)),
                Ok(mut len) => {
                    behind(&mut list, len);
                    if self.goes_on(open) {
                        len += self.move_rest(task, (open, &socket), &mut chosen, list).await;
                    }
                    let (is_last, fails) = (chosen.is_last, len < room && self.flags & MSG_WAITALL != 0);
                    let done = Done { result: len as i32, fails, flags: chosen.keep(len) };
                    return Ok((done.with_more(self.opcode, open), is_last || fails));
                }
            }
        }
    }

    /// Goes on with what is left of a bundle, until that is all or it is to end; how many bytes that were.
    async fn move_rest(
        &self,
        task: &Task<'_>,
        (open, socket): (&Arc<OpenFile>, &Socket),
        chosen: &mut Bundle<'_>,
        mut list: Vec<Piece>,
    ) -> usize {
        let mut moved = 0;
        while transfer::total(&list) > 0 && !task.interrupted() {
            match self.move_list(task, socket, &list).await {
                Err(Errno::EAGAIN) if !self.gives_up() => {
                    chosen.settle();
                    if self.wait(task, open).await.is_err() {
                        break;
                    }
                }
                Err(_) | Ok(0) => break,
                Ok(more) => {
                    behind(&mut list, more);
                    moved += more;
                }
            }
        }
        moved
    }

    /// Receives into pieces, or sends them; `EAGAIN` if that is nothing.
    async fn move_list(&self, task: &Task<'_>, socket: &Socket, list: &[Piece]) -> Result<usize, Errno> {
        // How long a wait is to be is decided elsewhere.
        let flags = self.flags & !MSG_WAITALL | MSG_DONTWAIT;
        if self.opcode == IORING_OP_SEND {
            let to = match (self.offset, self.to_len) {
                (0, _) | (_, 0) => None,
                (addr, len) => sockets::get_receiver(task, socket, (addr as usize, len as usize)).await?,
            };
            return messages::send(task, socket, list, to.as_ref(), flags | MSG_NOSIGNAL, None).await;
        }
        messages::receive(task, socket, list, flags).await.map(|received| received.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer;
    use alloc::vec;

    #[test]
    fn what_is_done_of_a_list_goes_from_its_beginning() {
        let piece = |addr, len| Piece { addr, len };
        let list = vec![piece(100, 4), piece(200, 0), piece(300, 8)];
        for (done, rest) in [
            (0, vec![piece(100, 4), piece(200, 0), piece(300, 8)]),
            (3, vec![piece(103, 1), piece(200, 0), piece(300, 8)]),
            (4, vec![piece(300, 8)]),
            (7, vec![piece(303, 5)]),
            (12, vec![]),
        ] {
            let mut left = list.clone();
            behind(&mut left, done);
            assert_eq!(left, rest);
            assert_eq!(transfer::total(&left), 12 - done);
        }
    }
}
