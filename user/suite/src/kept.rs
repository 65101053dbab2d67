//! What is kept behind something that is over, where nothing is to be.

use crate::case::{Outcome, Trouble};
use crate::process::sleep_ms;
use alloc::vec::Vec;
use rt::fs::read_to_string;

/// How often it is looked in a row, a millisecond apart, until what is there is there for good: what a process had is given back soon after its end, and as long as that goes
/// on it is waited for.
const STILL: usize = 500;
/// The same where it is done again anyway if something is there.
const SHORTLY: usize = 25;
/// The same, however it goes on.
const MOST: usize = 2000;

/// What is counted: bytes that all processes are charged, coroutines of the kernel's own, objects of its heap by the bytes of their class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    Charged,
    Coroutines,
    Class(usize),
}

impl What {
    /// As many more of it say nothing. The journal of the file system keeps an object of each commit, of a size that depends on what was written, until it has gone round: who counts
    /// objects has what may lose one done twice.
    fn tolerance(self) -> i64 {
        i64::from(matches!(self, Self::Class(_)))
    }
}

/// How many there are of each.
pub type Counts = Vec<(What, i64)>;

/// What all processes are charged.
pub fn charged() -> Result<i64, Trouble> {
    let text = read_to_string("/proc/asyncos/heap")?;
    charge_in(&text)
}

fn charge_in(heap: &str) -> Result<i64, Trouble> {
    let found = heap.lines().find_map(|line| line.strip_prefix("charged ")?.parse().ok());
    found.ok_or_else(|| Trouble::failed("nothing is said of charges"))
}

/// That alone.
pub fn charges() -> Result<Counts, Trouble> {
    Ok([(What::Charged, charged()?)].into())
}

/// With the coroutines.
pub fn charges_and_coroutines() -> Result<Counts, Trouble> {
    let coroutines = read_to_string("/proc/asyncos/coroutines")?.lines().count() as i64;
    Ok([(What::Charged, charged()?), (What::Coroutines, coroutines)].into())
}

/// With the objects of the heap; coroutines are among them.
pub fn charges_and_objects() -> Result<Counts, Trouble> {
    let text = read_to_string("/proc/asyncos/heap")?;
    let class = |line: &str| {
        let mut words = line.strip_prefix("class ")?.split(' ');
        Some((What::Class(words.next()?.parse().ok()?), words.nth(1)?.parse().ok()?))
    };
    Ok([(What::Charged, charge_in(&text)?)].into_iter().chain(text.lines().filter_map(class)).collect())
}

/// What there is more of than before, and how much, when that does not change any more.
fn since(patience: usize, before: &Counts, look: fn() -> Result<Counts, Trouble>) -> Result<Counts, Trouble> {
    let more = || -> Result<Counts, Trouble> {
        let pairs = look()?.into_iter().zip(before);
        let more = pairs.map(|((what, now), (_, before))| (what, now - before));
        Ok(more.filter(|(what, more)| *more > what.tolerance()).collect())
    };
    let (mut now, mut still) = (more()?, 0);
    for _ in 0..MOST {
        if now.is_empty() || still == patience {
            break;
        }
        sleep_ms(1);
        let next = more()?;
        still = if next == now { still + 1 } else { 0 };
        now = next;
    }
    Ok(now)
}

/// Has something done up to `passes` times, until it keeps nothing. What is kept once is kept for all (pages that processes pay for ahead, this one too, a name, a page
/// of a class); what is lost is lost each time.
///
/// The last two are waited for. What comes back late behind one that was not would hide what the next loses, so that one does not count.
pub fn nothing(passes: usize, look: fn() -> Result<Counts, Trouble>, mut pass: impl FnMut() -> Outcome) -> Outcome {
    let (mut lost, mut counts): (Option<Counts>, bool) = (None, true);
    for left in (0..passes).rev() {
        let before = look()?;
        pass()?;
        let is_waited_for = left < 2;
        let more = since(if is_waited_for { STILL } else { SHORTLY }, &before, look)?;
        let again =
            |(what, _): &(What, i64)| lost.as_ref().is_none_or(|lost| lost.iter().any(|(lost, _)| lost == what));
        let more: Counts = more.into_iter().filter(again).collect();
        if more.is_empty() && counts {
            return Ok(());
        }
        counts = more.is_empty() || is_waited_for;
        if !more.is_empty() {
            lost = Some(more);
        }
    }
    Err(Trouble::failed(format_args!("{:?} are kept", lost.unwrap_or_default())))
}
