//! Starting programs, in the shape of `std::process::Command`.

use super::spawn::{self, Plan};
use super::{ExitStatus, World, wait};
use crate::fs::{self, File};
use crate::io::{self, ErrorKind, Read};
use crate::requests::Request;
use crate::sys::{c_string, retry};
use crate::{env, path, pipe};
use ::task::Wait;
use abi::Errno;
use abi::io_uring::{IORING_OP_WAITID, Sqe};
use abi::process::{P_PID, WEXITED, WNOWAIT};
use alloc::collections::BTreeMap;
use alloc::ffi::CString;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Where programs are looked for when `PATH` is not set.
const DEFAULT_PATH: &str = "/bin:/sbin:/usr/bin";

/// What a standard stream of the child is.
#[derive(Debug, Default)]
pub enum Stdio {
    /// The parent's.
    #[default]
    Inherit,
    /// `/dev/null`.
    Null,
    /// A new pipe, whose other end is in [`Child`].
    Piped,
    /// This file.
    File(File),
}

impl From<File> for Stdio {
    fn from(file: File) -> Self {
        Self::File(file)
    }
}

/// A program to start.
#[derive(Debug)]
pub struct Command {
    program: String,
    args: Vec<String>,
    changes: BTreeMap<String, Option<String>>,
    streams: [Stdio; 3],
    group: Option<i32>,
    foreground: Option<i32>,
    world: World,
}

impl Command {
    /// The program `program`: a path if it contains a slash, else looked for in `PATH`.
    #[must_use]
    pub fn new(program: &str) -> Self {
        Self {
            program: program.to_string(),
            args: alloc::vec![program.to_string()],
            changes: BTreeMap::new(),
            streams: Default::default(),
            group: None,
            foreground: None,
            world: World::Auto,
        }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: &str) -> &mut Self {
        self.args.push(arg.to_string());
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<str>>) -> &mut Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_string()));
        self
    }

    /// Replaces the first argument, the program's name.
    pub fn arg0(&mut self, name: &str) -> &mut Self {
        self.args[0] = name.to_string();
        self
    }

    /// Sets a variable for the child.
    pub fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.changes.insert(name.to_string(), Some(value.to_string()));
        self
    }

    /// Removes a variable for the child.
    pub fn env_remove(&mut self, name: &str) -> &mut Self {
        self.changes.insert(name.to_string(), None);
        self
    }

    /// The child's standard input.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.streams[0] = stdio.into();
        self
    }

    /// The child's standard output.
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.streams[1] = stdio.into();
        self
    }

    /// The child's standard error.
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.streams[2] = stdio.into();
        self
    }

    /// Puts the child into process group `group`; 0 makes a new one.
    pub fn process_group(&mut self, group: i32) -> &mut Self {
        self.group = Some(group);
        self
    }

    /// Makes the child's process group the foreground of terminal `fd` before the program starts.
    pub fn foreground(&mut self, fd: i32) -> &mut Self {
        self.foreground = Some(fd);
        self
    }

    /// Runs the program in this world.
    pub fn world(&mut self, world: World) -> &mut Self {
        self.world = world;
        self
    }

    fn environment(&self) -> io::Result<Vec<CString>> {
        let mut vars: BTreeMap<String, String> = env::vars().into_iter().collect();
        for (name, value) in &self.changes {
            match value {
                Some(value) => vars.insert(name.clone(), value.clone()),
                None => vars.remove(name),
            };
        }
        vars.iter().map(|(n, v)| Ok(c_string(&alloc::format!("{n}={v}"))?)).collect()
    }

    /// Starts the program.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::PermissionDenied`], `ENOEXEC`, `EAGAIN`, `ENOMEM`.
    pub fn spawn(&mut self) -> io::Result<Child> {
        let program = c_string(&find(&self.program)?)?;
        let args = self.args.iter().map(|a| c_string(a)).collect::<abi::errno::Result<Vec<_>>>()?;
        let environment = self.environment()?;
        let mut files: [Option<File>; 3] = Default::default();
        let mut ours: [Option<File>; 3] = Default::default();
        for (number, stdio) in self.streams.iter().enumerate() {
            (files[number], ours[number]) = open(stdio, number)?;
        }
        let plan = Plan {
            program: &program,
            args: pointers(&args),
            environment: pointers(&environment),
            streams: files.each_ref().map(|f| f.as_ref().map_or(-1, |f| f.fd().raw())),
            group: self.group.unwrap_or(-1),
            foreground: self.foreground.unwrap_or(-1),
            world: self.world.number(),
        };
        let pid = spawn::spawn(&plan)?;
        let [stdin, stdout, stderr] = ours;
        Ok(Child { pid, stdin, stdout, stderr, status: None })
    }

    /// Starts the program and waits for it.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Starts the program, waits for it and returns what it wrote to standard output.
    ///
    /// # Errors
    /// As [`Command::spawn`], and those of reading.
    pub fn output(&mut self) -> io::Result<(ExitStatus, Vec<u8>)> {
        self.stdout(Stdio::Piped);
        let mut child = self.spawn()?;
        let mut out = Vec::new();
        if let Some(mut pipe) = child.stdout.take() {
            pipe.read_to_end(&mut out)?;
        }
        Ok((child.wait()?, out))
    }
}

fn pointers(strings: &[CString]) -> Vec<*const core::ffi::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([core::ptr::null()]).collect()
}

/// The child's file and, for a pipe, the parent's end. The child's is a clone, for clones are never 0, 1 or 2.
fn open(stdio: &Stdio, number: usize) -> io::Result<(Option<File>, Option<File>)> {
    Ok(match stdio {
        Stdio::Inherit => (None, None),
        Stdio::Null => {
            let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
            (Some(null.try_clone()?), None)
        }
        Stdio::File(file) => (Some(file.try_clone()?), None),
        Stdio::Piped => {
            let (read, write) = pipe::pipe()?;
            let (theirs, ours) = if number == 0 { (read, write) } else { (write, read) };
            (Some(theirs.try_clone()?), Some(ours))
        }
    })
}

/// The path of a program.
fn find(program: &str) -> io::Result<String> {
    if program.contains('/') {
        fs::check_executable(program)?;
        return Ok(program.to_string());
    }
    let mut error = io::Error::from(Errno::ENOENT);
    let search = env::var("PATH").unwrap_or_else(|| DEFAULT_PATH.to_string());
    for dir in search.split(':').filter(|_| !program.is_empty()) {
        let candidate = path::join(if dir.is_empty() { "." } else { dir }, program);
        match fs::check_executable(&candidate) {
            Ok(()) if fs::metadata(&candidate).is_ok_and(|m| m.is_file()) => return Ok(candidate),
            Err(e) if e.kind() == ErrorKind::PermissionDenied => error = e,
            _ => {}
        }
    }
    Err(error)
}

/// A started program. Dropping it does not wait for it.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    /// The writing end of a piped standard input.
    pub stdin: Option<File>,
    /// The reading end of a piped standard output.
    pub stdout: Option<File>,
    /// The reading end of a piped standard error.
    pub stderr: Option<File>,
    status: Option<ExitStatus>,
}

impl Child {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.pid
    }

    /// Waits until it ends; closes its piped standard input first.
    ///
    /// # Errors
    /// `ECHILD` if somebody else waited for it.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.stdin = None;
        loop {
            if let Some(status) = self.status {
                return Ok(status);
            }
            // Whoever gives it up loses the child, and what it has said.
            let (_, status) = retry(|| wait(self.pid))?;
            if status.stopped().is_none() {
                self.status = Some(status);
            }
        }
    }

    /// [`wait`](Self::wait) in a task.
    ///
    /// # Errors
    /// `ECHILD` if somebody else waited for it.
    pub async fn wait_async(&mut self) -> io::Result<ExitStatus> {
        self.stdin = None;
        if self.status.is_none() {
            let (fd, file_index) = (self.pid, WEXITED | WNOWAIT);
            let entry = Sqe { opcode: IORING_OP_WAITID, fd, len: P_PID, file_index, ..Sqe::default() };
            // SAFETY: it touches no memory.
            let (ended, ()) = unsafe { Request::new(entry, Wait::Notice, None, ()) }.await;
            ended?;
        }
        // It has ended: this finds it so.
        self.wait()
    }

    /// Kills it.
    ///
    /// # Errors
    /// `ESRCH` when it was waited for.
    pub fn kill(&mut self) -> io::Result<()> {
        crate::signal::kill(self.pid, crate::signal::SIGKILL)
    }
}
