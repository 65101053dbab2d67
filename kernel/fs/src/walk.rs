//! Path resolution: from a path to the place it names.
//!
//! A [`Place`] is a name in the tree: an inode and how it was reached. `..` goes back the way the path came, so it
//! crosses mounts rightly and never leaves the caller's root. Resolution keeps the components still to go on a stack, onto
//! which the target of a symbolic link is pushed; there are at most [`LINKS`] of those, each of at most
//! [`PATH_MAX`] bytes, so the work is bounded.

use crate::{access, namespace::Namespace, procfs};
use abi::{
    errno::Errno,
    fs::{
        RESOLVE_BENEATH, RESOLVE_CACHED, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV,
    },
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use io::{
    caller::Caller,
    inode::{Inode, Kind, NAME_MAX},
};

/// Longest path in bytes, with its NUL.
pub const PATH_MAX: usize = 4096;
/// Symbolic links in one resolution.
pub const LINKS: usize = 40;

/// A place in the tree of names.
pub struct Place {
    inode: Arc<dyn Inode>,
    parent: Option<Arc<Place>>,
    name: Box<[u8]>,
}

impl Place {
    /// A root.
    pub fn root(inode: Arc<dyn Inode>) -> Arc<Place> {
        Arc::new(Place { inode, parent: None, name: Box::default() })
    }

    /// `inode`, reached as `name` below `parent`.
    pub fn below(parent: &Arc<Place>, name: &[u8], inode: Arc<dyn Inode>) -> Arc<Place> {
        Arc::new(Place { inode, parent: Some(parent.clone()), name: name.into() })
    }

    /// What is there.
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.inode
    }

    /// The directory it was reached through; `None` for a root.
    pub fn parent(&self) -> Option<&Arc<Place>> {
        self.parent.as_ref()
    }

    /// The name by which it was reached.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The path from `root`, or from the root of all if this is not below it.
    pub fn path(&self, root: &Place) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = self;
        while let Some(parent) = &at.parent
            && at.inode.id() != root.inode.id()
        {
            names.push(&at.name);
            at = parent;
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A deep chain must not be dropped by recursion.
        let mut next = self.parent.take();
        while let Some(place) = next {
            next = Arc::into_inner(place).and_then(|mut place| place.parent.take());
        }
    }
}

/// Who resolves, and from where.
#[derive(Clone)]
pub struct Context<'a> {
    /// On whose behalf.
    pub caller: &'a Caller,
    /// What `/` means.
    pub root: &'a Arc<Place>,
    /// Where relative paths begin.
    pub base: &'a Arc<Place>,
    /// `RESOLVE_*`: what is not to be walked through.
    pub resolve: u32,
}

/// What to do with a symbolic link at the end of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// Follow it.
    Follow,
    /// Stop there, unless a slash follows.
    Keep,
    /// Stop there in any case, whatever it is: the entry itself is to be made, moved or removed.
    Name,
}

impl Last {
    fn follows(self, slash: bool) -> bool {
        self == Last::Follow || self == Last::Keep && slash
    }
}

/// Where a path led.
pub struct Outcome {
    /// The directory of the last component.
    pub parent: Arc<Place>,
    /// The last component; empty if the path ends in `/`, `.` or `..` so that it has none.
    pub name: Box<[u8]>,
    /// What is there, if anything.
    pub found: Option<Arc<Place>>,
    /// The path ends in a slash: only a directory will do. With [`Last::Name`] it is the caller who sees to that.
    pub slash: bool,
}

struct Walk<'a> {
    space: &'a Namespace,
    context: &'a Context<'a>,
    at: Arc<Place>,
    rest: Vec<Box<[u8]>>,
    links: usize,
    slash: bool,
}

/// Resolves `path`. That its last component is missing is no error here.
///
/// # Errors
/// `ENOENT`, `ENOTDIR`, `EACCES`, `ELOOP`, `ENAMETOOLONG`, and what the file systems answer.
pub async fn resolve(space: &Namespace, context: &Context<'_>, path: &[u8], last: Last) -> Result<Outcome, Errno> {
    let mut walk = Walk { space, context, at: context.base.clone(), rest: Vec::new(), links: 0, slash: false };
    walk.push(path)?;
    walk.run(last).await
}

impl Walk<'_> {
    fn has(&self, flags: u32) -> bool {
        self.context.resolve & flags != 0
    }

    /// What `..` does not leave.
    fn root(&self) -> &Arc<Place> {
        if self.has(RESOLVE_BENEATH | RESOLVE_IN_ROOT) { self.context.base } else { self.context.root }
    }

    /// Goes to a place, if it may be in another file system than this.
    fn go(&mut self, place: Arc<Place>) -> Result<(), Errno> {
        if self.has(RESOLVE_NO_XDEV) && place.inode.id().dev != self.at.inode.id().dev {
            return Err(Errno::EXDEV);
        }
        self.at = place;
        Ok(())
    }

    /// Puts the components of `path` before those still to go.
    fn push(&mut self, path: &[u8]) -> Result<(), Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if path[0] == b'/' {
            if self.has(RESOLVE_BENEATH) {
                return Err(Errno::EXDEV);
            }
            let root = self.root().clone();
            match self.links {
                // The path itself may begin anywhere.
                0 => self.at = root,
                _ => self.go(root)?,
            }
        }
        if self.rest.is_empty() {
            self.slash |= path.ends_with(b"/");
        }
        self.rest.extend(path.split(|byte| *byte == b'/').rev().filter(|part| !part.is_empty()).map(Box::from));
        Ok(())
    }

    async fn run(mut self, last: Last) -> Result<Outcome, Errno> {
        while let Some(name) = self.rest.pop() {
            if self.at.inode.kind() != Kind::Directory {
                return Err(Errno::ENOTDIR);
            }
            if name.len() > NAME_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            access::check_inode(&*self.at.inode, self.context.caller.credentials, access::EXECUTE).await?;
            match &*name {
                b"." => continue,
                b".." => self.up()?,
                _ => {
                    if let Some(outcome) = self.step(name, last).await? {
                        return Ok(outcome);
                    }
                }
            }
        }
        if self.slash && self.at.inode.kind() != Kind::Directory {
            return Err(Errno::ENOTDIR);
        }
        let parent = self.at.parent.clone().unwrap_or_else(|| self.at.clone());
        Ok(Outcome { parent, name: Box::default(), found: Some(self.at), slash: self.slash })
    }

    fn up(&mut self) -> Result<(), Errno> {
        if self.at.inode.id() == self.root().inode.id() {
            return if self.has(RESOLVE_BENEATH) { Err(Errno::EXDEV) } else { Ok(()) };
        }
        match self.at.parent.clone() {
            Some(parent) => self.go(parent),
            None => Ok(()),
        }
    }

    /// Takes one step to `name`; an outcome if it was the last.
    async fn step(&mut self, name: Box<[u8]>, last: Last) -> Result<Option<Outcome>, Errno> {
        let is_last = self.rest.is_empty();
        let directory = self.at.inode.clone();
        let found = match directory.lookup_now(&name) {
            Some(found) => found,
            None if self.has(RESOLVE_CACHED) => return Err(Errno::EAGAIN),
            None => directory.lookup(&name).await,
        };
        let inode = match found {
            Ok(inode) => self.space.cross(inode),
            Err(Errno::ENOENT) if is_last => {
                let (parent, slash) = (self.at.clone(), self.slash);
                return Ok(Some(Outcome { parent, name, found: None, slash }));
            }
            Err(errno) => return Err(errno),
        };
        if inode.kind() == Kind::Symlink && (!is_last || last.follows(self.slash)) {
            self.links += 1;
            if self.links > LINKS || self.has(RESOLVE_NO_SYMLINKS) {
                return Err(Errno::ELOOP);
            }
            return self.follow(&name, &*inode).await;
        }
        let place = Place::below(&self.at, &name, inode);
        if self.has(RESOLVE_NO_XDEV) && place.inode.id().dev != directory.id().dev {
            return Err(Errno::EXDEV);
        }
        if !is_last {
            self.at = place;
            return Ok(None);
        }
        if self.slash && last != Last::Name && place.inode.kind() != Kind::Directory {
            return Err(Errno::ENOTDIR);
        }
        Ok(Some(Outcome { parent: self.at.clone(), name, found: Some(place), slash: self.slash }))
    }

    async fn follow(&mut self, name: &[u8], link: &dyn Inode) -> Result<Option<Outcome>, Errno> {
        let place = match procfs::place(link) {
            Some(place) => Some(place),
            None => link.follow(self.context.caller).transpose()?.map(|target| Place::below(&self.at, name, target)),
        };
        if let Some(place) = place {
            if !procfs::leads_by_name(link) && self.has(RESOLVE_NO_MAGICLINKS) {
                return Err(Errno::ELOOP);
            }
            if !procfs::leads_by_name(link) && self.has(RESOLVE_BENEATH | RESOLVE_IN_ROOT) {
                return Err(Errno::EXDEV);
            }
            return self.go(place).map(|()| None);
        }
        let target = match link.readlink_now() {
            Some(target) => target,
            None if self.has(RESOLVE_CACHED) => return Err(Errno::EAGAIN),
            None => link.readlink().await?,
        };
        self.push(&target)?;
        Ok(None)
    }
}
