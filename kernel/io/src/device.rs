//! Devices without hardware: null, zero, full, random.
//!
//! They never wait, may be read anywhere, and give all that was asked for, as in Linux. Random numbers come from a ChaCha20 generator that is seeded once at boot and stirred with
//! whatever entropy arrives later; it is locked for 256 bytes at a time.

use crate::{
    caller::Caller,
    file::{Attempt, File},
};
use abi::errno::Errno;
use core::any::Any;
use hal::sync::{SpinLock, rank};
use mem::{Sink, Source};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

/// Largest part of a write that is discarded, or of a read that is filled, at once.
const PART: usize = 256;
/// Largest immediate transfer of /dev/zero and /dev/random; the caller comes again for more.
const BURST: usize = 64 * 1024;

/// `/dev/null`: reads are at the end, writes vanish.
pub struct Null;

/// `/dev/zero`: reads are zeros, writes vanish.
pub struct Zero;

/// `/dev/full`: reads are zeros, writes fail with `ENOSPC`.
pub struct Full;

/// As in Linux, what is discarded is not even looked at.
fn discard(src: &Source<'_>) -> Attempt<usize> {
    Ok(Some(src.remaining()))
}

fn zeros(dst: &mut Sink<'_>) -> Attempt<usize> {
    let len = dst.remaining().min(BURST);
    let mut done = 0;
    while done < len {
        let part = (len - done).min(hal::PAGE_SIZE);
        match dst.zero(part) {
            Ok(()) => done += part,
            Err(fault) if done == 0 => return Err(fault.into()),
            Err(_) => break,
        }
    }
    Ok(Some(done))
}

impl File for Null {
    fn read_now(&self, _caller: &Caller, _offset: u64, _dst: &mut Sink<'_>) -> Attempt<usize> {
        Ok(Some(0))
    }

    fn write_now(&self, _caller: &Caller, _offset: u64, src: &mut Source<'_>) -> Attempt<usize> {
        discard(src)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Option<u64> {
        Some(0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl File for Zero {
    fn read_now(&self, _caller: &Caller, _offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        zeros(dst)
    }

    fn write_now(&self, _caller: &Caller, _offset: u64, src: &mut Source<'_>) -> Attempt<usize> {
        discard(src)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Option<u64> {
        Some(0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl File for Full {
    fn read_now(&self, _caller: &Caller, _offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        zeros(dst)
    }

    fn write_now(&self, _caller: &Caller, _offset: u64, _src: &mut Source<'_>) -> Attempt<usize> {
        Err(Errno::ENOSPC.into())
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Option<u64> {
        Some(0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The kernel's random numbers; also `/dev/random` and `/dev/urandom`.
pub struct Random(SpinLock<ChaCha20Rng>);

impl Random {
    /// A generator that begins with `seed`.
    pub fn new(seed: [u8; 32]) -> Random {
        Random(SpinLock::new(rank::DEVICE, ChaCha20Rng::from_seed(seed)))
    }

    /// Fills `bytes`.
    pub fn fill(&self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(PART) {
            self.0.lock().fill_bytes(part);
        }
    }

    /// Mixes `entropy` in: what was unpredictable before stays so whatever it is.
    pub fn stir(&self, entropy: &[u8]) {
        for part in entropy.chunks(32) {
            let mut generator = self.0.lock();
            let mut seed = [0; 32];
            generator.fill_bytes(&mut seed);
            for (byte, extra) in seed.iter_mut().zip(part) {
                *byte ^= extra;
            }
            *generator = ChaCha20Rng::from_seed(seed);
        }
    }
}

impl File for Random {
    fn read_now(&self, _caller: &Caller, _offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        let len = dst.remaining().min(BURST);
        let mut done = 0;
        while done < len {
            let mut bytes = [0; PART];
            let part = &mut bytes[..(len - done).min(PART)];
            self.fill(part);
            match dst.put(part) {
                Ok(()) => done += part.len(),
                // The rest is for the caller's next attempt, which finds out whether that page can be there.
                Err(_) if done > 0 => break,
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(Some(done))
    }

    fn write_now(&self, _caller: &Caller, _offset: u64, src: &mut Source<'_>) -> Attempt<usize> {
        let len = src.remaining().min(PART);
        let mut bytes = [0; PART];
        src.take(&mut bytes[..len])?;
        self.stir(&bytes[..len]);
        Ok(Some(len))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Option<u64> {
        Some(0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
