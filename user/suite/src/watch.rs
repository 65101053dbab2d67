//! What runs, as `/proc` and `top` show it.

use crate::case::{Case, Outcome, Trouble};
use crate::machine::{needs_asyncos, needs_root};
use crate::process::PAGE;
use crate::process::{Shared, await_blocked, child, kill, sleep_ms, wait};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::pending;
use monitor::lines::{Coroutine, Thread};
use rt::abi::signal::SIGKILL;
use rt::abi::slots::CENSUS;
use rt::abi::window::HINT;
use rt::io::Read;
use rt::process::{Command, Stdio};
use rt::task::sync::{Mutex, Notify, Semaphore, mpsc, oneshot};
use rt::task::{self, Builder, Priority, block_on, spawn, spawn_with, yield_now};
use rt::time::{Duration, sleep, timeout};
use rt::{async_pipe, fs, pipe, raw, thread, tty};

pub const CASES: &[Case] = &[
    case!("watch/threads", "D16 G6", threads),
    case!("watch/top", "D16 G6", top),
    case!("watch/top-on-a-terminal", "D16 G6", top_on_a_terminal),
    case!("watch/top-arguments", "E1", top_arguments),
    case!("watch/coroutines", "D16 G4 G6", coroutines),
    case!("watch/names", "D16 G6 E1", names),
    case!("watch/kernel", "D16 G2 G6", kernel),
    case!("watch/many-coroutines", "D16 G6", many_coroutines),
    case!("watch/polls", "D16 G6", polls),
    case!("watch/large-and-gone", "D16 G6", large_and_gone),
    case!("watch/lists-of-anything", "S6 E1", lists_of_anything),
    case!("watch/lists-without-end", "S6 E1", lists_without_end),
];

/// A child that is killed when this is dropped, however its case ends.
struct Watched(i32);

impl Watched {
    fn new(body: impl FnOnce() -> i32) -> Result<Self, Trouble> {
        Ok(Self(child(body)?))
    }

    /// A file of its directory.
    fn file(&self, name: &str) -> Result<String, Trouble> {
        Ok(fs::read_to_string(&format!("/proc/{}/{name}", self.0))?)
    }

    /// Its lines, again and again until they are as they should be; the hang limit is the runner's.
    fn until<T>(
        &self,
        name: &str,
        parse: fn(&str) -> Option<T>,
        fits: impl Fn(&[T]) -> bool,
    ) -> Result<Vec<T>, Trouble> {
        loop {
            let text = self.file(name)?;
            let lines: Option<Vec<T>> = text.lines().map(parse).collect();
            let lines = lines.ok_or_else(|| Trouble::failed(format_args!("a line of {text}")))?;
            if fits(&lines) {
                return Ok(lines);
            }
            sleep_ms(1);
        }
    }
}

impl Watched {
    fn has_ended(&self) -> Result<bool, Trouble> {
        Ok(self.file("stat")?.contains(") Z "))
    }

    /// The list of its coroutines, once it says that it has spoiled its memory. `None`: that has ended it, since a thread of its
    /// runtime was not done yet.
    fn spoiled_list(&self, shared: &Shared) -> Result<Option<String>, Trouble> {
        while shared.get(0) == 0 {
            if self.has_ended()? {
                return Ok(None);
            }
            sleep_ms(1);
        }
        let text = self.file("coroutines");
        if self.has_ended()? { Ok(None) } else { text.map(Some) }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = kill(self.0, SIGKILL);
        let _ = wait(self.0);
    }
}

/// One thread that waits to read, one that waits at a word, one that spins.
fn threads() -> Outcome {
    needs_asyncos()?;
    let (mut read, _write) = pipe::pipe()?;
    let (reads, shared) = (format!("read {}", read.fd().raw()), Shared::new()?);
    let at = core::ptr::from_ref(shared.word(0)).addr();
    let watched = Watched::new(move || {
        let waits = thread::spawn(move || call!(FUTEX, at, 0, 0, 0));
        let spins = thread::spawn(|| {
            loop {
                core::hint::spin_loop();
            }
        });
        let ended = read.read(&mut [0]).is_ok() && waits.is_ok() && spins.is_ok();
        i32::from(ended)
    })?;
    let at = format!("futex {at:x}");
    let waits = |lines: &[Thread], what: &str| lines.iter().any(|line| line.state == 'S' && line.waits == what);
    let spins =
        |lines: &[Thread]| lines.iter().any(|line| line.state == 'R' && line.waits.is_empty() && line.time > 1_000_000);
    let fits = |lines: &[Thread]| waits(lines, &reads) && waits(lines, &at) && spins(lines);
    let lines = watched.until("threads", Thread::parse, fits)?;
    equal!(lines.len(), 3);
    let turns = |line: &Thread| line.turns > 0 || line.waits.is_empty();
    ensure!(lines.iter().all(|line| line.priority < 32 && line.own < 32 && turns(line)), "{lines:?}");
    equal!(lines.iter().find(|line| line.waits == reads).map(|line| line.id), Some(watched.0 as u32));
    fails!(fs::read("/proc/999999999/threads"), ENOENT);
    Ok(())
}

/// The text of `top -b -d 0.1` with more arguments.
fn run_top(arguments: &[&str]) -> Result<String, Trouble> {
    let (status, text) = Command::new("/bin/top").args(["-b", "-d", "0.1"]).args(arguments).output()?;
    equal!(status.code(), Some(0));
    Ok(String::from_utf8_lossy(&text).to_string())
}

/// The program shows what a process waits for, and itself.
fn top() -> Outcome {
    needs_asyncos()?;
    let (mut read, _write) = pipe::pipe()?;
    let reads = format!(" read {} ", read.fd().raw());
    let watched = Watched::new(move || i32::from(read.read(&mut [0]).is_ok()))?;
    await_blocked(watched.0)?;
    let text = run_top(&["-n", "2"])?;
    let begins = |line: &&str, id: i32| line.split_whitespace().next() == Some(id.to_string().as_str());
    let lines: Vec<&str> = text.lines().filter(|line| begins(line, watched.0)).collect();
    equal!(lines.len(), 2);
    ensure!(lines.iter().all(|line| line.contains(&reads) && line.contains("suite")), "{lines:?}");
    ensure!(text.lines().any(|line| line.contains(" R ") && line.contains("/bin/top -b -d 0.1 -n 2")), "{text}");
    ensure!(text.starts_with("top: up "), "{text}");
    let only = run_top(&["-p", &watched.0.to_string(), "-o", "pid"])?;
    ensure!(!only.contains("/bin/top") && only.lines().any(|line| begins(&line, watched.0)), "{only}");
    Ok(())
}

/// With a terminal for its keys the program draws one screen over the other, as large as it is told to be or of the usual size, and
/// leaves the terminal's modes as they were. In a session of its own, so that nobody stops it for reading there.
fn top_on_a_terminal() -> Outcome {
    needs_asyncos()?;
    needs_root()?;
    let pid = child(|| {
        let drawn = || {
            let console = fs::OpenOptions::new().read(true).write(true).open("/dev/console")?;
            let before = tty::attributes(console.fd().raw())?;
            let keys = Stdio::File(console.try_clone()?);
            let (status, text) = Command::new("/bin/top").args(["-n", "2", "-d", "0.1"]).stdin(keys).output()?;
            let text = String::from_utf8_lossy(&text).to_string();
            let same = tty::attributes(console.fd().raw())? == before;
            let screens = text.split("\x1b[H").skip(1);
            let whole = |screen: &str| {
                let lines = screen.lines().count();
                screen.starts_with("top: up ") && screen.contains("\x1b[J") && (5..=24).contains(&lines)
            };
            Ok::<_, Trouble>(status.success() && same && screens.clone().count() > 0 && screens.clone().all(whole))
        };
        i32::from(call!(SETSID).is_err() || !matches!(drawn(), Ok(true)))
    })?;
    crate::process::exits(pid, 0)
}

fn top_arguments() -> Outcome {
    needs_asyncos()?;
    let (status, text) = Command::new("/bin/top").arg("--help").output()?;
    ensure!(status.success() && String::from_utf8_lossy(&text).starts_with("usage: top "));
    for (wrong, code) in
        [(&["-o", "size"][..], 1), (&["-d", "x"], 1), (&["-d", "1.x"], 1), (&["-p", "-1"], 1), (&["-x"], 2)]
    {
        let status = Command::new("/bin/top").arg("-b").args(wrong).stderr(Stdio::Null).status()?;
        equal!(status.code(), Some(code));
    }
    // Keys need a terminal.
    let status = Command::new("/bin/top").stdin(Stdio::Null).stderr(Stdio::Null).status()?;
    equal!(status.code(), Some(1));
    Ok(())
}

/// A program with a coroutine for each thing that one can wait for, each of a priority of its own, and one that spins.
fn wait_for_all() -> i32 {
    block_on(async {
        let lock = Arc::new(Mutex::new(()));
        let guard = lock.lock().await;
        let (sender, mut receiver) = mpsc::channel::<u8>(1);
        let (_keep, once) = oneshot::channel::<u8>();
        let notify = Arc::new(Notify::new());
        let permits = Arc::new(Semaphore::new(0));
        let (_write, read) = async_pipe::pipe()?;
        let priority = |number: u8| Priority::new(number);
        let hour = Duration::from_secs(3600);
        spawn_with(priority(8), sleep(hour)).detach();
        let other = lock.clone();
        spawn_with(priority(9), async move { other.lock().await.is_ok() }).detach();
        spawn_with(priority(10), async move { receiver.recv().await }).detach();
        spawn_with(priority(11), once).detach();
        spawn_with(priority(12), async move { notify.notified().await }).detach();
        spawn_with(priority(13), async move { permits.acquire().await.is_ok() }).detach();
        spawn_with(priority(14), async move { read.read(&mut [0]).await }).detach();
        let never = spawn_with(priority(15), pending::<()>());
        spawn_with(priority(17), never).detach();
        spawn_with(priority(18), async move { timeout(hour, pending::<()>()).await.is_ok() }).detach();
        spawn_with(priority(20), async {
            loop {
                core::hint::spin_loop();
            }
        })
        .detach();
        pending::<()>().await;
        drop((guard, sender));
        rt::io::Result::Ok(())
    })
    .map_or(1, |()| 0)
}

fn coroutines() -> Outcome {
    needs_asyncos()?;
    let watched = Watched::new(wait_for_all)?;
    // Priority, and what waits: nobody wakes who has no name for it.
    let expected = [
        (8, 'S', "time"),
        (9, 'S', "lock"),
        (10, 'S', "channel"),
        (11, 'S', "channel"),
        (12, 'S', "notice"),
        (13, 'S', "lock"),
        (14, 'S', "read"),
        (15, 'S', ""),
        (17, 'S', "join"),
        (18, 'S', "time"),
        (20, 'R', ""),
    ];
    let of = |lines: &[Coroutine], (own, state, waits): (u8, char, &str)| {
        lines.iter().filter(|line| line.own == own && line.state == state && line.waits == waits).count() == 1
    };
    let fits = |lines: &[Coroutine]| expected.iter().all(|row| of(lines, *row));
    let lines = watched.until("coroutines", Coroutine::parse, fits)?;
    equal!(lines.len(), expected.len());
    let mut ids: Vec<u64> = lines.iter().map(|line| line.id).collect();
    ids.sort_unstable();
    ids.dedup();
    equal!(ids.len(), expected.len());
    let text = run_top(&["-p", &watched.0.to_string()])?;
    let shown =
        |what: &str| text.lines().any(|line| line.contains('~') && line.split_whitespace().any(|word| word == what));
    ensure!(["time", "lock", "channel", "notice", "read", "join", "R"].iter().all(|what| shown(what)), "{text}");
    // A process without coroutines has none.
    equal!(fs::read_to_string("/proc/self/coroutines")?.as_str(), "");
    Ok(())
}

/// Coroutines show the names that they were given, as much of them as is shown, and nothing that a terminal would act upon. One that had a
/// name does not leave it to the next that lies there.
fn names() -> Outcome {
    needs_asyncos()?;
    const LONG: &str = "a name of more than thirty-two bytes, which is cut";
    let watched = Watched::new(|| {
        block_on(async {
            let named = |name: &str| Builder::new().name(name).spawn(pending::<()>());
            let gone: Vec<_> = (0..20).map(|_| named("gone")).collect();
            let _ = spawn(async {}).await;
            gone.iter().for_each(|task| task.abort());
            for task in gone {
                let _ = task.await;
            }
            let _stay =
                (named("accept"), named(LONG), named("\x1b[2J\n1 R 0 0"), named("三号"), named(""), named("two words"));
            let _bare: Vec<_> = (0..20).map(|_| spawn_with(Priority::new(9), pending::<()>())).collect();
            pending::<()>().await;
        });
        0
    })?;
    let fits = |lines: &[Coroutine]| lines.len() == 26 && lines.iter().all(|line| line.state == 'S');
    let lines = watched.until("coroutines", Coroutine::parse, fits)?;
    let mut names: Vec<&str> = lines.iter().filter(|line| line.own != 9).map(|line| line.name.as_str()).collect();
    names.sort_unstable();
    equal!(names, ["", "?[2J?1 R 0 0", LONG[..32].trim_end(), "accept", "two words", "三号"]);
    ensure!(lines.iter().all(|line| line.own != 9 || line.name.is_empty()), "{lines:?}");
    let text = run_top(&["-p", &watched.0.to_string()])?;
    ensure!(text.lines().any(|line| line.contains('~') && line.ends_with(" accept")), "{text}");
    Ok(())
}

/// The kernel's own coroutines have names, and a past.
fn kernel() -> Outcome {
    needs_asyncos()?;
    let text = fs::read_to_string("/proc/asyncos/coroutines")?;
    let lines: Vec<Coroutine> = text.lines().filter_map(Coroutine::parse).collect();
    equal!(lines.len(), text.lines().count());
    let network = |line: &Coroutine| line.name == "network" && line.polls > 0 && line.time > 0;
    ensure!(lines.iter().any(network) && lines.iter().all(|line| line.longest <= line.time), "{text}");
    let shown = run_top(&["-p", "0"])?;
    ensure!(shown.contains("[kernel]") && shown.contains("console-out"), "{shown}");
    Ok(())
}

/// Each of so many coroutines is listed once, whatever the size of the reads; those that have ended are not.
fn many_coroutines() -> Outcome {
    needs_asyncos()?;
    const COUNT: usize = 5000;
    let shared = Shared::new()?;
    let watched = Watched::new(move || {
        block_on(async {
            let mut tasks: Vec<_> = (0..COUNT).map(|_| spawn(pending::<()>())).collect();
            // All have been polled: this is behind them.
            let _ = spawn(async {}).await;
            shared.set(0, 1);
            while shared.get(1) == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            tasks.drain(..COUNT - 10).for_each(drop);
            let _ = spawn(async {}).await;
            shared.set(0, 2);
            pending::<()>().await;
            drop(tasks);
        });
        0
    })?;
    shared.await_least(0, 1);
    let path = format!("/proc/{}/coroutines", watched.0);
    let mut file = fs::File::open(&path)?;
    let (mut text, mut part) = (Vec::new(), [0; 777]);
    loop {
        match file.read(&mut part)? {
            0 => break,
            len => text.extend_from_slice(&part[..len]),
        }
    }
    let text = String::from_utf8_lossy(&text).to_string();
    let mut ids: Vec<u64> = text.lines().filter_map(Coroutine::parse).map(|line| line.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ensure!((COUNT..COUNT + 3).contains(&ids.len()), "{} coroutines", ids.len());
    fails!(file.seek(0), ESPIPE);
    shared.set(1, 1);
    shared.await_least(0, 2);
    let lines = watched.until("coroutines", Coroutine::parse, |lines| lines.len() <= 12)?;
    ensure!(lines.iter().filter(|line| line.state == 'S').count() >= 10, "{lines:?}");
    Ok(())
}

/// Polls are counted and timed from the first look on; the longest is one of them.
fn polls() -> Outcome {
    needs_asyncos()?;
    let watched = Watched::new(|| {
        task::set_workers(1);
        block_on(async {
            spawn_with(Priority::new(10), async {
                loop {
                    yield_now().await;
                }
            })
            .detach();
            spawn_with(Priority::new(10), async {
                loop {
                    (0..200_000).for_each(|_| core::hint::spin_loop());
                    yield_now().await;
                }
            })
            .detach();
            pending::<()>().await;
        });
        0
    })?;
    let busy = |lines: &[Coroutine]| lines.len() == 2 && lines.iter().all(|line| line.polls > 100 && line.time > 0);
    let lines = watched.until("coroutines", Coroutine::parse, busy)?;
    let [Some(short), Some(long)] = [u64::min, u64::max].map(|pick| {
        let time = lines.iter().map(|line| line.time / line.polls).reduce(pick)?;
        lines.iter().find(|line| line.time / line.polls == time)
    }) else {
        return Err(Trouble::failed("no coroutines"));
    };
    // 200,000 turns take longer than none, whatever runs beside; the longest is no less than the mean.
    ensure!(long.time > short.time && short.id != long.id, "{lines:?}");
    ensure!(lines.iter().all(|line| line.longest * 8 >= line.time / line.polls * 7), "{lines:?}");
    Ok(())
}

/// Large coroutines have chunks of their own, which go as they end, under the eyes of who lists them.
fn large_and_gone() -> Outcome {
    needs_asyncos()?;
    let watched = Watched::new(|| {
        block_on(async {
            // Kept by its handle: what nobody could wake is cancelled.
            let _stays = spawn_with(Priority::new(9), async {
                let large = [1u8; 3000];
                pending::<()>().await;
                core::hint::black_box(large);
            });
            loop {
                let tasks: Vec<_> = (0..64usize)
                    .map(|index| {
                        spawn(async move {
                            let large = [index as u8; 700];
                            yield_now().await;
                            core::hint::black_box(large)[index]
                        })
                    })
                    .collect();
                for task in tasks {
                    let _ = task.await;
                }
            }
        })
    })?;
    let stays = |lines: &[Coroutine]| lines.iter().any(|line| line.own == 9 && line.state == 'S');
    for _ in 0..50 {
        // A line may be of one that is just being made; that each line can be read is what is asked.
        watched.until("coroutines", Coroutine::parse, |_| true)?;
    }
    watched.until("coroutines", Coroutine::parse, stays)?;
    Ok(())
}

/// What a case fills memory with: see `slots`.
const ANYTHING: [u64; 6] =
    [u64::MAX, 0xffff_ffc0_8020_0000, 0x0000_0040_0000_0000, HINT as u64, 0x1111_1111_1111_1110, 1];

/// The address of the lists, the lists, and the heads and places of chunks are anything; who reads them has its answer.
fn lists_of_anything() -> Outcome {
    needs_asyncos()?;
    for value in ANYTHING {
        for depth in 0..3 {
            let shared = Shared::new()?;
            let watched = Watched::new(move || {
                block_on(async {
                    for _ in 0..100 {
                        spawn(pending::<()>()).detach();
                    }
                    let keep: Vec<_> = (0..100).map(|_| spawn(pending::<()>())).collect();
                    let _ = spawn(async {}).await;
                    scribble(depth, value);
                    shared.set(0, 1);
                    loop {
                        // No task of this process runs any more: its memory is anything.
                        sleep_ms(1000);
                        core::hint::black_box(&keep);
                    }
                })
            })?;
            // Bytes that are text, whatever they say.
            let Some(text) = watched.spoiled_list(&shared)? else { continue };
            ensure!(text.lines().all(|line| Coroutine::parse(line).is_some()), "{text}");
        }
    }
    Ok(())
}

/// Fills what says where coroutines are with a value: their lists' address, the lists, all of the first chunk.
fn scribble(depth: usize, value: u64) {
    let lists = raw::load64(HINT + CENSUS) as usize;
    let first = (0..33).map(|list| raw::load64(lists + 8 * list) as usize).find(|first| *first != 0).unwrap_or(0);
    match depth {
        0 => raw::store64(HINT + CENSUS, value),
        1 => (0..33).for_each(|list| raw::store64(lists + 8 * list, value)),
        _ => (first + 32..first + PAGE).step_by(8).for_each(|at| raw::store64(at, value)),
    }
}

/// Chunks that follow themselves, with places that say that a task is there and that none is: the list has an end.
fn lists_without_end() -> Outcome {
    needs_asyncos()?;
    for free in [true, false] {
        let shared = Shared::new()?;
        let watched = Watched::new(move || {
            block_on(async {
                let _ = spawn(async {}).await;
            });
            let Ok(page) = crate::process::map(PAGE, crate::process::RW) else { return 1 };
            let fill = if free { 0 } else { u64::MAX };
            (0..PAGE).step_by(8).for_each(|at| raw::store64(page + at, fill));
            let lists = raw::load64(HINT + CENSUS) as usize;
            // Next: itself; "TASK" and places; bytes of each.
            raw::store64(page, page as u64);
            raw::store64(page + 16, u64::from(u32::from_le_bytes(*b"TASK")) | 40 << 32);
            raw::store64(page + 24, 96);
            (0..33).for_each(|list| raw::store64(lists + 8 * list, page as u64));
            shared.set(0, 1);
            loop {
                sleep_ms(1000);
            }
        })?;
        let Some(text) = watched.spoiled_list(&shared)? else { continue };
        equal!(text.is_empty(), free);
        ensure!(text.lines().all(|line| Coroutine::parse(line).is_some()));
    }
    Ok(())
}
