//! The CSRs of the N extension (`docs/nuintc.md`, section 2).
//!
//! Their numbers are free in the assembler's view, so they are given by number. All accesses need a hart that has them; `hal` asks the device tree before it
//! uses this module. In the kernel `sideleg` is 0: nothing is delivered to user mode but where [`Own::prepare_entry`] was behind the last trap, so that
//! who has no handler pays nothing, and virtual mode is never entered with it.

/// Reads a CSR by its number.
macro_rules! read {
    ($number:literal) => {{
        let value: usize;
        // SAFETY: reading one of these has no side effect on memory.
        unsafe { core::arch::asm!(concat!("csrr {0}, ", $number), out(reg) value, options(nomem, nostack)) };
        value
    }};
}

/// Writes a CSR by its number; the comment at the use says why.
macro_rules! write {
    ($number:literal, $value:expr) => {{
        let value: usize = $value;
        // SAFETY: they act on user mode alone, which has what it is given here. No `nomem`: accesses stay on their side of it.
        unsafe { core::arch::asm!(concat!("csrw ", $number, ", {0}"), in(reg) value, options(nostack)) };
    }};
}

/// `ustatus.UIE`.
const ON: usize = 1;
/// `ustatus.UPIE`.
const BEFORE: usize = 1 << 4;
/// The software interrupt, in `uie`, `uip`, `sideleg`.
const SOFTWARE: usize = 1;

/// The registers of a thread that has a handler. It writes them as it likes; nobody else reads them.
#[derive(Clone, Debug, Default)]
pub struct Own {
    status: usize,
    enabled: usize,
    vector: usize,
    scratch: usize,
    pc: usize,
    cause: usize,
    value: usize,
    /// The software interrupt, or that the line was high when the thread last ran: a spurious look at most.
    pending: usize,
    /// `pending` is to be set where the others are loaded.
    injected: bool,
}

impl Own {
    /// A handler at `vector` that finds `scratch` in `uscratch`; nothing is let in.
    pub fn new(vector: usize, scratch: usize) -> Self {
        Self { vector, scratch, ..Self::default() }
    }

    /// Whether an interrupt would be taken, as the thread last ran.
    pub fn is_open(&self) -> bool {
        self.status & ON != 0 && self.enabled & SOFTWARE != 0
    }

    /// Asks for a software interrupt.
    pub fn inject(&mut self) {
        self.pending = SOFTWARE;
        self.injected = true;
    }

    /// Whether it was asked for, and not served when the thread last ran.
    pub fn is_injected(&self) -> bool {
        self.pending != 0
    }

    /// The thread takes an exception at `pc`; answers where it goes on. `None`: its interrupts are off.
    pub fn trap(&mut self, pc: usize, cause: usize, value: usize) -> Option<usize> {
        if self.status & ON == 0 {
            return None;
        }
        self.status = BEFORE;
        (self.pc, self.cause, self.value) = (pc, cause, value);
        Some(self.vector & !0b11)
    }

    /// Gives them to this hart.
    pub fn load(&mut self) {
        // Whatever they hold acts on the thread alone, as jumps of its own would.
        write!("0x000", self.status);
        write!("0x004", self.enabled);
        write!("0x005", self.vector);
        write!("0x040", self.scratch);
        write!("0x041", self.pc);
        write!("0x042", self.cause);
        write!("0x043", self.value);
        write!("0x044", self.pending);
        self.injected = false;
    }

    /// Enters user mode with these, which are loaded.
    #[inline]
    pub fn prepare_entry(&mut self) {
        if self.injected {
            // Nothing but this bit is ever set by software.
            write!("0x044", SOFTWARE);
            self.injected = false;
        }
        write!("0x103", SOFTWARE);
    }

    /// Keeps what the thread left in them, behind a trap. They stay loaded.
    #[inline]
    pub fn save(&mut self) {
        write!("0x103", 0);
        self.status = read!("0x000");
        self.enabled = read!("0x004");
        self.vector = read!("0x005");
        self.scratch = read!("0x040");
        self.pc = read!("0x041");
        self.cause = read!("0x042");
        self.value = read!("0x043");
        self.pending = read!("0x044") & SOFTWARE;
    }
}

/// Gives this hart's registers the values that every process starts with; nothing of the last thread's remains.
pub fn reset() {
    write!("0x103", 0);
    write!("0x102", 0);
    Own::default().load();
}
