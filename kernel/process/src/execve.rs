//! `execve`: a new program in the same process.
//!
//! Everything that can fail happens before the point of no return: the program is found, checked and mapped into a new
//! address space with its stack, while the old one is untouched. Then the other threads end, and the process
//! changes over.

use crate::{
    image::{HEADER_BYTES, Header, Image, is_native},
    process::{Place, Process},
    service::{Program, Service},
    stack::{self, Strings},
    thread::Thread,
    uintr::backends,
    window,
};
use abi::{asyncos::*, errno::Errno, fs::AT_FDCWD, signal::SIGCHLD, uintr};
use alloc::{sync::Arc, vec, vec::Vec};
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use hal::{
    PAGE_SIZE,
    space::{Prot, World},
    user::UserContext,
};
use io::file::{File, IoError, Want};
use mem::{AddressSpace, Backing, Charge, Mapping, Placement, Role, Room, Sink, list};

/// Most interpreters behind each other.
const MAX_SCRIPTS: usize = 4;
/// Bytes of a `#!` line that count, as in Linux.
const SCRIPT_LINE: usize = 256;

static DEFAULT_WORLD: AtomicU8 = AtomicU8::new(WORLD_AUTO as u8);
static HAS_VM: AtomicBool = AtomicBool::new(false);

/// Sets what `world=` on the command line says (`abi::asyncos::WORLD_*`) and whether the machine has world `vm`.
pub fn set_worlds(default: u8, has_vm: bool) {
    DEFAULT_WORLD.store(default, Ordering::Relaxed);
    HAS_VM.store(has_vm, Ordering::Relaxed);
}

/// Whether the machine can run a world.
#[must_use]
pub fn world_available(world: usize) -> bool {
    world <= WORLD_SHARED && (world != WORLD_VM || HAS_VM.load(Ordering::Relaxed))
}

/// Chooses the world of a program (D1): the spawn attribute, else the command line, else by kind of program.
#[must_use]
pub fn choose_world(attribute: usize, native: bool) -> World {
    let wanted = if attribute == WORLD_AUTO { usize::from(DEFAULT_WORLD.load(Ordering::Relaxed)) } else { attribute };
    let has_vm = HAS_VM.load(Ordering::Relaxed);
    match wanted {
        WORLD_VM if has_vm => World::Vm,
        WORLD_TABLE | WORLD_VM => World::Table,
        WORLD_SHARED => World::Shared,
        _ => choose_by_kind(native, has_vm, backends::has),
    }
}

/// The world of a program for which nobody has chosen: a native one's is `vm`, if that is there, unless user interrupts come by hardware in `table` alone (D5).
pub(crate) fn choose_by_kind(native: bool, has_vm: bool, has_backend: impl Fn(usize, World) -> bool) -> World {
    if !native {
        return World::Shared;
    }
    let in_table_alone = !has_backend(uintr::AIA, World::Vm) && has_backend(uintr::NUINTC, World::Table);
    if has_vm && !in_table_alone { World::Vm } else { World::Table }
}

/// A program mapped and ready to start.
pub(crate) struct Loaded {
    pub space: Arc<AddressSpace>,
    pub entry: usize,
    pub stack_pointer: usize,
    pub executable: Place,
    pub name: Vec<u8>,
    pub command_line: Vec<u8>,
}

/// Who loads: identity, limits, payer, world.
pub(crate) fn load_for<'a>(process: &'a Process, service: &'a dyn Service, thread: &'a Arc<Thread>) -> Loader<'a> {
    Loader { process, service, thread }
}

pub(crate) struct Loader<'a> {
    process: &'a Process,
    service: &'a dyn Service,
    thread: &'a Arc<Thread>,
}

impl Loader<'_> {
    /// Loads a program, following `#!` lines.
    pub async fn load(&self, mut program: Program, mut strings: Strings) -> Result<Loaded, Errno> {
        let path = program.path.clone();
        for _ in 0..=MAX_SCRIPTS {
            let mut head = [0; SCRIPT_LINE];
            let len = read(self.thread, &*program.file, 0, &mut head).await?;
            let Some(line) = head[..len].strip_prefix(b"#!") else {
                return self.load_image(&program, &path, &strings, &head[..len]).await;
            };
            let (interpreter, argument) = script_line(line)?;
            // The script's own name takes the place of argument 0.
            let mut front = vec![interpreter.clone()];
            front.extend(argument);
            front.push(core::mem::take(&mut program.path));
            strings.arguments.make_exact_room(front.len())?;
            strings.arguments.splice(..strings.arguments.len().min(1), front);
            program = self.service.open_program(self.thread, AT_FDCWD, &interpreter, 0).await?;
        }
        Err(Errno::ELOOP)
    }

    async fn load_image(
        &self,
        program: &Program,
        path: &[u8],
        strings: &Strings,
        head: &[u8],
    ) -> Result<Loaded, Errno> {
        if head.len() < HEADER_BYTES {
            return Err(Errno::ENOEXEC);
        }
        let header = Header::parse(head)?;
        let mut table = list(header.table_len)?;
        table.resize(header.table_len, 0);
        if read(self.thread, &*program.file, header.table_offset, &mut table).await? < table.len() {
            return Err(Errno::ENOEXEC);
        }
        let image = Image::parse(&header, &table)?;
        let world = choose_world(self.process.next_world(), self.native(program, &image).await?);
        // Later, when memory is gone and this process has to go for it, may be too late to make that.
        crate::oom::empty_space(world).ok_or(Errno::ENOMEM)?;
        let space = AddressSpace::new(world, self.process.account().clone())?;
        space.set_limits(self.process.limits().of_space());
        map_image(&space, &image, &program.backing).await?;
        let (sp, content) = stack::build(strings, path, &image, &self.process.identity())?;
        map_stack(&space, sp, &content).await?;
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        // As much of them as is shown, whatever there are.
        let shown = strings.arguments.iter().flat_map(|argument| argument.iter().copied().chain([0]));
        let mut command_line = list(PAGE_SIZE.min(strings.bytes()))?;
        command_line.extend(shown.take(PAGE_SIZE));
        let (executable, name) = (program.place.clone(), name.to_vec());
        Ok(Loaded { space, entry: image.entry, stack_pointer: sp, executable, name, command_line })
    }

    async fn native(&self, program: &Program, image: &Image) -> Result<bool, Errno> {
        for &(offset, len) in &image.notes {
            let mut notes = vec![0; len];
            let len = read(self.thread, &*program.file, offset, &mut notes).await?;
            if is_native(&notes[..len]) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Reads as much as there is at `offset`, up to the whole buffer.
async fn read(thread: &Thread, file: &dyn File, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let caller = thread.caller();
    let mut done = 0;
    while done < buffer.len() {
        let at = offset.checked_add(done as u64).ok_or(Errno::ENOEXEC)?;
        let len = buffer.len() - done;
        match file.read_now(&caller, at, &mut Sink::kernel(&mut buffer[done..])) {
            Ok(Some(0)) => break,
            Ok(Some(read)) => done += read.min(len),
            Ok(None) => file.wait(&caller, Want::Read { offset: at, len }).await?,
            Err(IoError::Errno(errno)) => return Err(errno),
            Err(IoError::Fault(_)) => return Err(Errno::EFAULT),
        }
    }
    Ok(done)
}

/// Interpreter and argument of what follows `#!`.
pub(crate) fn script_line(line: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>), Errno> {
    let end = line.iter().position(|&byte| byte == b'\n' || byte == 0).unwrap_or(line.len());
    let line = line[..end].trim_ascii();
    let split = line.iter().position(|byte| byte.is_ascii_whitespace()).unwrap_or(line.len());
    let (interpreter, rest) = line.split_at(split);
    if interpreter.is_empty() {
        return Err(Errno::ENOEXEC);
    }
    let rest = rest.trim_ascii();
    Ok((interpreter.to_vec(), (!rest.is_empty()).then(|| rest.to_vec())))
}

async fn map_image(space: &AddressSpace, image: &Image, backing: &Arc<dyn Backing>) -> Result<(), Errno> {
    for segment in &image.segments {
        if !segment.file.is_empty() {
            let mapping = Mapping::private(backing.clone(), segment.offset, segment.file.len(), segment.prot);
            space.map(mapping.at(Placement::Fixed(segment.file.start))).await?;
        }
        if !segment.zero.is_empty() {
            let mapping = Mapping::anonymous(segment.zero.len(), segment.prot);
            space.map(mapping.at(Placement::Fixed(segment.zero.start))).await?;
        }
        // What a read-only segment has behind its end in the last page stays, as in Linux.
        if segment.prot.contains(Prot::WRITE) && !segment.tail.is_empty() {
            space.copy_out(segment.tail.start, &[0; PAGE_SIZE][..segment.tail.len()]).await?;
        }
    }
    let limit = space.limits().stack.clamp(64 << 10, 1 << 30);
    space.set_layout(image.end, stack::TOP - limit - 256 * PAGE_SIZE);
    window::map(space)
}

async fn map_stack(space: &AddressSpace, sp: usize, content: &[u8]) -> Result<(), Errno> {
    let start = (sp & !(PAGE_SIZE - 1)) - PAGE_SIZE;
    let prot = Prot::READ | Prot::WRITE;
    let stack = Mapping { role: Role::Stack, ..Mapping::anonymous(stack::TOP - start, prot) };
    space.map(stack.at(Placement::Fixed(start))).await?;
    space.copy_out(sp, content).await
}

/// What strings may still take, and what pays for them until the new program has its stack.
struct Purse {
    budget: usize,
    /// For the strings twice, since they are put together once more, and for the one that is just being copied.
    paid: Charge,
}

/// Copies an array of strings from user memory; 0 ends it.
async fn strings(space: &AddressSpace, mut array: usize, purse: &mut Purse) -> Result<Vec<Vec<u8>>, Errno> {
    let mut strings = Vec::new();
    if array == 0 {
        return Ok(strings);
    }
    loop {
        let at: u64 = space.get(array).await?;
        if at == 0 {
            return Ok(strings);
        }
        let max = stack::MAX_STRING.min(purse.budget);
        let string = space.cstr(at as usize, max).await;
        let string = string.map_err(|errno| if errno == Errno::ENAMETOOLONG { Errno::E2BIG } else { errno })?;
        let taken = string.len() + 1 + size_of::<u64>();
        purse.budget = purse.budget.checked_sub(taken).ok_or(Errno::E2BIG)?;
        purse.paid.grow(2 * taken + size_of::<Vec<u8>>())?;
        strings.make_room(1)?;
        strings.push(string);
        array = array.checked_add(size_of::<u64>()).ok_or(Errno::EFAULT)?;
    }
}

/// Arguments of `execve` and `execveat`.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub directory: i32,
    pub path: usize,
    pub arguments: usize,
    pub environment: usize,
    pub flags: u32,
}

/// Serves the call. On success the thread's registers are the new program's.
pub(crate) async fn execve(
    thread: &Arc<Thread>,
    service: &dyn Service,
    context: &mut UserContext,
    request: Request,
) -> Result<(), Errno> {
    let process = thread.process();
    let old = thread.space();
    let path = old.cstr(request.path, abi::fs::PATH_MAX).await?;
    let budget = stack::MAX_STRINGS.min(old.limits().stack / 4).max(128 << 10);
    let mut purse = Purse { budget, paid: process.account().charge(stack::MAX_STRING)? };
    let arguments = strings(&old, request.arguments, &mut purse).await?;
    let environment = strings(&old, request.environment, &mut purse).await?;
    let program = service.open_program(thread, request.directory, &path, request.flags).await?;
    let loaded = load_for(process, service, thread).load(program, Strings { arguments, environment }).await?;
    drop(purse);
    if !crate::exit::end_others(thread).await {
        return Err(Errno::EAGAIN); // another thread is faster, this one ends
    }
    change_over(thread, loaded, context).await
}

/// Behind the point of no return.
async fn change_over(thread: &Arc<Thread>, loaded: Loaded, context: &mut UserContext) -> Result<(), Errno> {
    let process = thread.process();
    crate::exit::leave_space(thread).await;
    process.abandon_attached();
    process.rings.clear();
    crate::slots::end(thread, process);
    let descriptors = process.descriptors()?;
    // A table shared by `CLONE_FILES` stays as it is for the others.
    let own =
        if Arc::strong_count(&descriptors) > 2 { Arc::new(descriptors.fork(process.account())?) } else { descriptors };
    own.exec();
    *context = UserContext::new(loaded.entry, loaded.stack_pointer);
    let actions = process.actions().exec();
    let old = {
        let mut state = process.state.lock();
        let space = core::mem::replace(&mut state.space, loaded.space);
        let actions = core::mem::replace(&mut state.actions, actions);
        let table = state.descriptors.replace(own);
        let program = state.executable.replace(loaded.executable);
        let line = core::mem::replace(&mut state.command_line, loaded.command_line);
        (space, actions, table, program, line)
    };
    drop(old);
    process.set_name(&loaded.name);
    // What the maker wanted to be sent at the end of the old program is not for the new one to send.
    process.exit_signal.store(SIGCHLD, Ordering::Relaxed);
    let no_stack = abi::signal::SigStack { sp: 0, flags: abi::signal::SS_DISABLE as i32, pad: 0, size: 0 };
    *thread.alternate.lock() = no_stack;
    process.release_parent();
    Ok(())
}
