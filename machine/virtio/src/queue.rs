//! A split virtqueue (virtio 1.2, section 2.7) that trusts nothing the device can write.
//!
//! ```text
//!   driver writes                              device writes
//!   descriptors [N]: address, length, next     used ring [N]: (head, bytes written), and an index
//!   available ring [N]: heads, and an index
//! ```
//!
//! A *chain* of descriptors is one request, known by its first descriptor, the *head*. The driver keeps which
//! heads are out, how long their chains are and how much the device may write to them in memory of its
//! own ([`Chain`]), and links chains through its own copy of `next`; nothing is ever read back from the
//! descriptors. Everything lies in one run of pages in the layout that legacy devices prescribe, which the
//! modern interface accepts as well. Neither indirect descriptors nor event indices are used.

use crate::Error;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, Ordering, fence};
use hal::PAGE_SIZE;
use hal::frame::FrameRun;
use virtio_drivers::transport::Transport;

/// Descriptor flag: another one follows.
const NEXT: u16 = 1;
/// Descriptor flag: the device writes.
const WRITE: u16 = 2;
/// Flag of the available ring: no interrupts, please.
const NO_INTERRUPT: u16 = 1;
/// Flag of the used ring: no notifications, please.
const NO_NOTIFY: u16 = 1;
const DESCRIPTOR_BYTES: usize = 16;
const USED_BYTES: usize = 8;
/// Offset of the ring in the available and in the used part: behind flags and index.
const RING: usize = 4;
/// Offset of the index in both.
const INDEX: usize = 2;

/// A piece of memory for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Physical address.
    pub address: u64,
    /// Bytes; not 0.
    pub len: u32,
    /// The device writes to it (else it reads).
    pub writable: bool,
}

/// A chain that the device has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Its head, a number below `N` that [`Queue::add`] returned and that was not returned since.
    pub head: u16,
    /// Bytes that the device says it wrote; at most what the chain's writable segments hold.
    pub written: u32,
}

/// What the driver knows of the chain that starts at a descriptor.
#[derive(Clone, Copy, Default)]
struct Chain {
    /// Descriptors; 0 if the device has no chain with this head.
    len: u16,
    /// Bytes of its writable segments.
    writable: u32,
}

/// A virtqueue of `N` descriptors; `N` is a power of two.
pub struct Queue<const N: usize> {
    memory: FrameRun,
    index: u16,
    /// The descriptor after each one, in its chain or in the list of free ones.
    next: [u16; N],
    free_head: u16,
    free: usize,
    chains: [Chain; N],
    available: u16,
    used: u16,
}

impl<const N: usize> Queue<N> {
    const SIZE_IS_A_POWER_OF_TWO: () = assert!(N.is_power_of_two() && N <= 1 << 15);
    const AVAILABLE: usize = DESCRIPTOR_BYTES * N;
    /// The used part begins on a page of its own, as legacy devices compute it.
    const USED: usize = (Self::AVAILABLE + 2 * (N + 3) + PAGE_SIZE) & !(PAGE_SIZE - 1);
    const BYTES: usize = Self::USED + RING + USED_BYTES * N + 2;

    /// Allocates queue number `index` and tells the device of it.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if the device has no such queue, or a smaller one, or has it in use;
    /// [`Error::NoMemory`].
    pub fn new(transport: &mut impl Transport, index: u16) -> Result<Queue<N>, Error> {
        const { Self::SIZE_IS_A_POWER_OF_TWO };
        if transport.queue_used(index) || (transport.max_queue_size(index) as usize) < N {
            return Err(Error::Unsupported);
        }
        let memory = FrameRun::alloc(Self::BYTES.div_ceil(PAGE_SIZE)).ok_or(Error::NoMemory)?;
        let base = memory.physical() as u64;
        transport.queue_set(index, N as u32, base, base + Self::AVAILABLE as u64, base + Self::USED as u64);
        Ok(Queue {
            memory,
            index,
            next: core::array::from_fn(|i| (i as u16 + 1) % N as u16),
            free_head: 0,
            free: N,
            chains: [Chain::default(); N],
            available: 0,
            used: 0,
        })
    }

    /// The queue's number at the device.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// How many descriptors are free.
    pub fn free(&self) -> usize {
        self.free
    }

    /// The head that the next [`Queue::add`] returns.
    pub fn next_head(&self) -> u16 {
        self.free_head
    }

    /// Gives a chain of segments to the device and returns its head, or `None` if there is no room (or
    /// nothing to give). The device may look at it from now on; it is told by [`Queue::should_notify`] and the
    /// transport.
    ///
    /// # Safety
    ///
    /// The memory of the segments stays allocated, and is written by nobody else where `writable`, until
    /// [`Queue::pop`] has returned the head, or the device was reset.
    pub unsafe fn add(&mut self, segments: impl Iterator<Item = Segment> + Clone) -> Option<u16> {
        let count = segments.clone().count();
        if count == 0 || count > self.free {
            return None;
        }
        let head = self.free_head;
        let mut chain = Chain { len: count as u16, writable: 0 };
        let mut left = count;
        // By itself, without a question after each: the segments are three lists, one behind the other.
        segments.for_each(|segment| {
            let index = self.free_head;
            self.free_head = self.next[index as usize];
            if segment.writable {
                chain.writable = chain.writable.saturating_add(segment.len);
            }
            left -= 1;
            self.write_descriptor(index, segment, left > 0);
        });
        self.free -= count;
        self.chains[head as usize] = chain;
        self.publish(head);
        Some(head)
    }

    /// Takes the next chain that the device has returned; its descriptors are free again.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if the device returned what it was not given, or claims to have written more than it
    /// could. The queue is of no use any more then, and the device must be reset.
    pub fn pop(&mut self) -> Result<Option<Used>, Error> {
        // Acquire pairs with the device's barrier between filling the entry and moving the index.
        let ahead = self.used_part(INDEX).load(Ordering::Acquire).wrapping_sub(self.used);
        if ahead == 0 {
            return Ok(None);
        }
        if ahead as usize > N - self.free {
            return Err(Error::Broken);
        }
        let entry = Self::USED + RING + USED_BYTES * (self.used as usize % N);
        // Relaxed: ordered by the load of the index. Each is loaded once, whatever the device still writes.
        let (id, written) =
            (self.memory.word(entry).load(Ordering::Relaxed), self.memory.word(entry + 4).load(Ordering::Relaxed));
        let head = id as usize;
        let chain = *self.chains.get(head).ok_or(Error::Broken)?;
        if chain.len == 0 || written > chain.writable {
            return Err(Error::Broken);
        }
        self.chains[head] = Chain::default();
        self.give_back(head as u16, chain.len);
        self.used = self.used.wrapping_add(1);
        Ok(Some(Used { head: head as u16, written }))
    }

    /// Whether [`Queue::pop`] would find something.
    pub fn has_used(&self) -> bool {
        // Acquire as in `pop`.
        self.used_part(INDEX).load(Ordering::Acquire) != self.used
    }

    /// Whether the device wants to be told of what was added. To be called after adding.
    pub fn should_notify(&self) -> bool {
        // The index was stored and the flag is loaded: without a full fence the load could overtake the
        // store, and the device its own store of the flag, and both would wait (Dekker).
        fence(Ordering::SeqCst);
        // Relaxed: ordered by the fence.
        self.used_part(0).load(Ordering::Relaxed) & NO_NOTIFY == 0
    }

    /// Asks the device for interrupts, or for none: a hint, it may send them anyway. After asking for
    /// them the caller must look for used chains once more.
    pub fn set_interrupts(&mut self, wanted: bool) {
        let flags = if wanted { 0 } else { NO_INTERRUPT };
        // Relaxed: ordered by the fence.
        self.available_part(0).store(flags, Ordering::Relaxed);
        // The caller's next look at the used index must not overtake this store (as in `should_notify`).
        fence(Ordering::SeqCst);
    }

    fn publish(&mut self, head: u16) {
        let slot = RING + 2 * (self.available as usize % N);
        // Relaxed: ordered by the store of the index.
        self.available_part(slot).store(head, Ordering::Relaxed);
        self.available = self.available.wrapping_add(1);
        // Release pairs with the device's barrier after reading the index: the descriptors and the slot
        // are complete by then.
        self.available_part(INDEX).store(self.available, Ordering::Release);
    }

    fn give_back(&mut self, head: u16, len: u16) {
        let mut last = head;
        for _ in 1..len {
            last = self.next[last as usize];
        }
        self.next[last as usize] = self.free_head;
        self.free_head = head;
        self.free += len as usize;
    }

    #[inline(always)]
    fn write_descriptor(&mut self, index: u16, segment: Segment, more: bool) {
        let next = if more { self.next[index as usize] } else { 0 };
        let flags = if more { NEXT } else { 0 } | if segment.writable { WRITE } else { 0 };
        let at = DESCRIPTOR_BYTES * index as usize;
        let (low, high) = (segment.address as u32, (segment.address >> 32) as u32);
        let words = [low, high, segment.len, u32::from(next) << 16 | u32::from(flags)];
        // Ordered by the store of the index.
        self.memory.set_words(at, words);
    }

    fn available_part(&self, offset: usize) -> &AtomicU16 {
        self.shared(Self::AVAILABLE + offset)
    }

    fn used_part(&self, offset: usize) -> &AtomicU16 {
        self.shared(Self::USED + offset)
    }

    /// A 16-bit word of the queue. (Words are little-endian, as all machines that this runs on.)
    fn shared(&self, offset: usize) -> &AtomicU16 {
        assert!(offset.is_multiple_of(2) && offset + 2 <= self.memory.len());
        let base = NonNull::new(self.memory.pointer()).expect("memory of a queue is not at address zero");
        // SAFETY: inside the run (checked), which lives as long as `self`, and aligned, since a run begins on
        // a page. The device and this driver access these words only as whole words; all of the
        // driver's accesses to them are atomic.
        unsafe { AtomicU16::from_ptr(base.as_ptr().add(offset).cast()) }
    }
}

const _: () = assert!(cfg!(target_endian = "little"), "virtqueues are little-endian");
