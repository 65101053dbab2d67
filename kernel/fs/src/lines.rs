//! Files of lines that are made as they are read, so that a long list is never there as a whole. A stream: each read goes on where
//! the last one ended, whoever made it.

use abi::errno::Errno;
use alloc::{boxed::Box, string::String, sync::Arc};
use core::any::Any;
use hal::sync::{SpinLock, rank};
use io::{
    caller::Caller,
    file::{Attempt, BoxFuture, File, Want},
    inode::Inode,
};
use mem::Sink;

/// Where the lines come from.
pub trait Listing: Send {
    /// Appends more lines, perhaps none yet, in bounded time; `false` when there are no more.
    fn more(&mut self, text: &mut String) -> bool;
}

struct State {
    /// Somebody has it while it makes lines; that is done without the lock.
    listing: Option<Box<dyn Listing>>,
    text: String,
    /// How many bytes of `text` have been read.
    done: usize,
    ended: bool,
}

/// An open file of this kind.
pub struct Lines {
    state: SpinLock<State>,
    inode: Arc<dyn Inode>,
}

impl Lines {
    /// A file with these lines.
    pub fn open(listing: Box<dyn Listing>, inode: Arc<dyn Inode>) -> Arc<dyn File> {
        let state = State { listing: Some(listing), text: String::new(), done: 0, ended: false };
        Arc::new(Lines { state: SpinLock::new(rank::PIPE, state), inode })
    }

    /// Makes more lines once all have been read; `EBUSY` if another reader is just doing that.
    fn refill(&self) -> Result<(), Errno> {
        let (mut listing, mut text) = {
            let mut state = self.state.lock();
            if state.ended || state.done < state.text.len() {
                return Ok(());
            }
            state.done = 0;
            (state.listing.take().ok_or(Errno::EBUSY)?, core::mem::take(&mut state.text))
        };
        text.clear();
        let goes_on = listing.more(&mut text);
        let mut state = self.state.lock();
        (state.text, state.ended, state.listing) = (text, !goes_on, Some(listing));
        Ok(())
    }
}

impl File for Lines {
    fn read_now(&self, _caller: &Caller, _offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        self.refill()?;
        let mut state = self.state.lock();
        let left = &state.text.as_bytes()[state.done..];
        let len = left.len().min(dst.remaining());
        if len > 0 {
            dst.put(&left[..len])?;
            state.done += len;
        }
        // No line yet, but not the end: others have their turn before the next look.
        Ok((len > 0 || state.ended || dst.remaining() == 0).then_some(len))
    }

    fn wait<'a>(&'a self, _caller: &'a Caller, _want: Want) -> BoxFuture<'a, Result<(), Errno>> {
        Box::pin(async {
            exec::yield_now().await;
            Ok(())
        })
    }

    fn inode(&self) -> Option<Arc<dyn Inode>> {
        Some(self.inode.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
