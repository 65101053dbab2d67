//! `ioctl` requests, and the terminal structures of the kernel interface.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

// Requests.
constants! { u32:
    TCGETS = 0x5401, TCSETS = 0x5402, TCSETSW = 0x5403, TCSETSF = 0x5404, TCGETA = 0x5405, TCSETA = 0x5406,
    TCSBRK = 0x5409, TCXONC = 0x540a, TCFLSH = 0x540b, TIOCEXCL = 0x540c, TIOCNXCL = 0x540d,
    TIOCSCTTY = 0x540e, TIOCGPGRP = 0x540f, TIOCSPGRP = 0x5410, TIOCOUTQ = 0x5411, SIOCOUTQ = 0x5411, TIOCSTI = 0x5412,
    TIOCGWINSZ = 0x5413, TIOCSWINSZ = 0x5414, TIOCMGET = 0x5415, TIOCMBIS = 0x5416, TIOCMBIC = 0x5417, TIOCMSET = 0x5418, FIONREAD = 0x541b, TIOCINQ = 0x541b, TIOCNOTTY = 0x5422,
    TIOCGSID = 0x5429, FIONBIO = 0x5421, FIOASYNC = 0x5452, FIONCLEX = 0x5450, FIOCLEX = 0x5451,
    FIOSETOWN = 0x8901, SIOCSPGRP = 0x8902, FIOGETOWN = 0x8903, SIOCGPGRP = 0x8904,
    TCSBRKP = 0x5425, BLKROGET = 0x125e, BLKGETSIZE = 0x1260, BLKFLSBUF = 0x1261, BLKSSZGET = 0x1268,
    BLKPBSZGET = 0x127b, BLKBSZGET = 0x80081270, BLKGETSIZE64 = 0x80081272,
}

// `Termios::iflag`.
constants! { u32:
    IGNBRK = 0o1, BRKINT = 0o2, IGNPAR = 0o4, PARMRK = 0o10, INPCK = 0o20, ISTRIP = 0o40, INLCR = 0o100,
    IGNCR = 0o200, ICRNL = 0o400, IUCLC = 0o1000, IXON = 0o2000, IXANY = 0o4000, IXOFF = 0o10000,
    IMAXBEL = 0o20000, IUTF8 = 0o40000,
}

// `Termios::oflag`.
constants! { u32:
    OPOST = 0o1, OLCUC = 0o2, ONLCR = 0o4, OCRNL = 0o10, ONOCR = 0o20, ONLRET = 0o40, OFILL = 0o100,
    OFDEL = 0o200,
}

// `Termios::cflag`.
constants! { u32:
    CBAUD = 0o10017, CSIZE = 0o60, CS5 = 0o0, CS6 = 0o20, CS7 = 0o40, CS8 = 0o60, CSTOPB = 0o100,
    CREAD = 0o200, PARENB = 0o400, PARODD = 0o1000, HUPCL = 0o2000, CLOCAL = 0o4000, B0 = 0o0, B9600 = 0o15,
    B38400 = 0o17, B115200 = 0o10002,
}

// `Termios::lflag`.
constants! { u32:
    ISIG = 0o1, ICANON = 0o2, XCASE = 0o4, ECHO = 0o10, ECHOE = 0o20, ECHOK = 0o40, ECHONL = 0o100,
    NOFLSH = 0o200, TOSTOP = 0o400, ECHOCTL = 0o1000, ECHOPRT = 0o2000, ECHOKE = 0o4000, FLUSHO = 0o10000,
    PENDIN = 0o40000, IEXTEN = 0o100000,
}

// Indices into `Termios::cc`, and its length.
constants! { usize:
    VINTR = 0, VQUIT = 1, VERASE = 2, VKILL = 3, VEOF = 4, VTIME = 5, VMIN = 6, VSWTC = 7, VSTART = 8,
    VSTOP = 9, VSUSP = 10, VEOL = 11, VREPRINT = 12, VDISCARD = 13, VWERASE = 14, VLNEXT = 15, VEOL2 = 16,
    NCCS = 19,
}

// Arguments of `TCXONC` and `TCFLSH`.
constants! { u32:
    TCOOFF = 0, TCOON = 1, TCIOFF = 2, TCION = 3, TCIFLUSH = 0, TCOFLUSH = 1, TCIOFLUSH = 2,
}

// Lines to a modem and from it: `TIOCMGET`.
constants! { u32:
    TIOCM_DTR = 0x2, TIOCM_RTS = 0x4, TIOCM_CTS = 0x20, TIOCM_CAR = 0x40, TIOCM_RNG = 0x80, TIOCM_DSR = 0x100,
    TIOCM_OUT1 = 0x2000, TIOCM_OUT2 = 0x4000, TIOCM_LOOP = 0x8000,
}

/// Linux `struct termios` of the kernel interface (`TCGETS`): 19 control characters, no speeds.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, PartialEq, Eq)]
pub struct Termios {
    /// Input modes.
    pub iflag: u32,
    /// Output modes.
    pub oflag: u32,
    /// Control modes.
    pub cflag: u32,
    /// Local modes.
    pub lflag: u32,
    /// Line discipline.
    pub line: u8,
    /// Control characters.
    pub cc: [u8; NCCS],
}
layout!(Termios, 36, lflag @ 12, line @ 16, cc @ 17);

impl Termios {
    /// What Linux gives a new terminal: line editing, echo, signals, CR to NL on input, NL to CR NL on output.
    pub const DEFAULT: Self = Self {
        iflag: ICRNL | IXON,
        oflag: OPOST | ONLCR,
        cflag: B38400 | CS8 | CREAD | HUPCL,
        lflag: ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
        line: 0,
        // INTR ^C, QUIT ^\, ERASE DEL, KILL ^U, EOF ^D, TIME 0, MIN 1, SWTC off, START ^Q, STOP ^S, SUSP ^Z, EOL off,
        // REPRINT ^R, DISCARD ^O, WERASE ^W, LNEXT ^V, EOL2 off.
        cc: [3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0],
    };
}

/// Linux `struct winsize`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Winsize {
    /// Rows.
    pub row: u16,
    /// Columns.
    pub col: u16,
    /// Width in pixels, or 0.
    pub xpixel: u16,
    /// Height in pixels, or 0.
    pub ypixel: u16,
}
layout!(Winsize, 8, col @ 2);
