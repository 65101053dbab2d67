//! The first process, and the end of the machine's run with it.

use crate::command_line::Options;
use crate::console::Parts;
use crate::tree::{Tree, kernel_caller};
use abi::fs::{O_RDONLY, O_RDWR, O_WRONLY};
use abi::mux::Channel;
use abi::process::WaitStatus;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use fs::ext4::Ext4;
use fs::walk::{Context, Last, Place};
use hal::sync::{SpinLock, rank};
use io::caller::Caller;
use io::console::Console;
use io::file::File;
use io::open::OpenFile;
use io::tty::{Effect, JobControl};
use process::process::FilePlaces;
use process::run::Init;
use process::stack::Strings;
use process::table;
use process::{FdTable, Program, Service};

/// The usual first process.
const INIT: &[u8] = b"/bin/init";
/// Its number.
const FIRST: u32 = 1;
/// Descriptors of a process at most, here.
const LIMIT: usize = 1024;

/// What powering off needs.
struct Ending {
    console: Arc<Console>,
    disk: Option<Arc<Ext4>>,
}

static ENDING: SpinLock<Option<Ending>> = SpinLock::new(rank::PROCESSES - 1, None);

/// Keeps what powering off needs.
pub fn remember(console: Arc<Console>, disk: Option<Arc<Ext4>>) {
    *ENDING.lock() = Some(Ending { console, disk });
}

/// Starts the first process.
///
/// # Errors
/// Why it cannot be started, for the log.
pub async fn start(
    service: &'static dyn Service,
    options: &Options,
    console: &Parts,
    tree: &Tree,
) -> Result<(), String> {
    let path = options.init.clone().unwrap_or_else(|| INIT.to_vec());
    let shown = String::from_utf8_lossy(&path).into_owned();
    let failed = |errno| format!("cannot start {shown}: {errno}");
    let (file, place) = open(tree, &path).await.map_err(failed)?;
    let backing = file.backing(&path.as_slice().into()).ok_or(abi::Errno::EACCES).map_err(failed)?;
    let mut arguments = vec![path.clone()];
    arguments.extend(options.arguments.iter().cloned());
    let environment = [&b"PATH=/bin"[..], b"HOME=/", b"TERM=xterm-256color", b"USER=root"];
    let strings = Strings { arguments, environment: environment.iter().map(|text| text.to_vec()).collect() };
    let descriptors =
        if options.init.is_some() && options.mux { program_files(console) } else { terminal_files(console) };
    // The first process leads the session that the terminal belongs to: Ctrl-C has somebody to go to.
    console.tty.set_jobs(&Jobs);
    console.tty.adopt(FIRST, FIRST);
    let root = tree.namespace.root().clone();
    let init = Init {
        program: Program { file, backing, path, place },
        strings,
        places: FilePlaces { root: root.clone(), directory: root, umask: 0o022 },
        descriptors: table_of(descriptors).map_err(|errno| format!("{errno}"))?,
    };
    process::spawn_init(service, init).await.map(drop).map_err(failed)
}

/// Process groups, for terminals.
pub struct Jobs;

impl JobControl for Jobs {
    fn groups(&self, pid: u32) -> Option<(u32, u32)> {
        table::kin(pid).map(|kin| (kin.group, kin.session))
    }

    fn session_of(&self, group: u32) -> Option<u32> {
        let member = table::group(group).into_iter().next()?;
        table::kin(member.pid()).map(|kin| kin.session)
    }

    fn signal(&self, group: u32, signal: u32) {
        process::signal::send_group(group, signal);
    }

    fn effect(&self, caller: &Caller, group: u32, signal: u32) -> Effect {
        match table::thread(caller.tid) {
            Some(thread) if process::signal::is_refused(&thread, signal) => Effect::Nothing,
            _ if table::is_orphaned(group) => Effect::Orphan,
            _ => Effect::Stops,
        }
    }
}

async fn open(tree: &Tree, path: &[u8]) -> Result<(Arc<dyn File>, Arc<Place>), abi::Errno> {
    let caller = kernel_caller();
    let context = Context { caller: &caller, root: tree.namespace.root(), base: tree.namespace.root(), resolve: 0 };
    let place = tree.namespace.find(&context, path, Last::Follow).await?;
    let file = place.inode().clone().open(&caller, O_RDONLY).await?;
    Ok((file, place))
}

/// The terminal three times.
fn terminal_files(console: &Parts) -> Vec<Arc<OpenFile>> {
    let tty: Arc<dyn File> = console.tty.clone();
    let open = OpenFile::new(tty, O_RDWR, b"/dev/console");
    vec![open.clone(), open.clone(), open]
}

/// A program run: input from the terminal, output and errors on channels of their own.
fn program_files(console: &Parts) -> Vec<Arc<OpenFile>> {
    let tty: Arc<dyn File> = console.tty.clone();
    let output = |channel, path: &[u8]| OpenFile::new(console.console.output(channel), O_WRONLY, path);
    vec![
        OpenFile::new(tty, O_RDWR, b"/dev/console"),
        output(Channel::Stdout, b"/dev/stdout.host"),
        output(Channel::Stderr, b"/dev/stderr.host"),
    ]
}

fn table_of(files: Vec<Arc<OpenFile>>) -> Result<FdTable, abi::Errno> {
    let table = FdTable::new(&process::oom::system_account())?;
    for file in files {
        table.insert(file, false, 0, LIMIT)?;
    }
    Ok(table)
}

/// The first process has ended: the machine's run is over, with its status.
pub fn ended(status: u32) {
    let code = match WaitStatus::decode(status) {
        WaitStatus::Exited(code) => code,
        WaitStatus::Signaled(signal, _) => 128u8.wrapping_add(signal),
        WaitStatus::Stopped(_) | WaitStatus::Continued => 1,
    };
    log::info!("the first process has ended with status {code}");
    power_off(code);
}

/// Ends the run with this status, from a coroutine that cannot wait itself. The machine goes off when everything is
/// on disk and on the line.
pub fn power_off(code: u8) {
    exec::spawn(crate::startup::PRIORITY_SERVICE, "power off", async move { end(code).await });
}

async fn end(code: u8) {
    let ending = ENDING.lock().take();
    // Taken: somebody else is already on it.
    let Some(Ending { console, disk }) = ending else { return };
    if let Some(disk) = disk
        && let Err(errno) = disk.unmount().await
    {
        log::error!("the disk was not unmounted cleanly: {errno}");
    }
    console.status(code);
    console.flushed().await;
    hal::power::off(code != 0)
}
