//! Files whose content is made when they are opened.

use abi::errno::Errno;
use alloc::{sync::Arc, vec::Vec};
use core::any::Any;
use io::{
    caller::Caller,
    file::{Attempt, File},
    inode::Inode,
};
use mem::Sink;

/// An open generated file: the text as of the open.
pub struct Text {
    bytes: Vec<u8>,
    inode: Arc<dyn Inode>,
}

impl Text {
    /// A file with this content.
    pub fn open(bytes: Vec<u8>, inode: Arc<dyn Inode>) -> Arc<dyn File> {
        Arc::new(Text { bytes, inode })
    }
}

impl File for Text {
    fn read_now(&self, _caller: &Caller, offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        let start = usize::try_from(offset).map_err(|_| Errno::EINVAL)?.min(self.bytes.len());
        let len = dst.remaining().min(self.bytes.len() - start);
        let mut done = 0;
        while done < len {
            let part = (len - done).min(hal::PAGE_SIZE);
            match dst.put(&self.bytes[start + done..start + done + part]) {
                Ok(()) => done += part,
                Err(fault) if done == 0 => return Err(fault.into()),
                Err(_) => break,
            }
        }
        Ok(Some(done))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn inode(&self) -> Option<Arc<dyn Inode>> {
        Some(self.inode.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
