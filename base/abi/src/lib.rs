//! The system-call interface of AsyncOS: Linux's for riscv64 (decision D3), and the few additions of its own.
//!
//! Numbers, flags and structure layouts only; no policy and no code that makes a call. Layouts are riscv64's whatever
//! machine compiles them: fixed-width fields, padding written out, size and offsets asserted at compile time. Values are
//! those of the Linux UAPI headers. Every structure can be viewed as bytes safely (`zerocopy`), so that code
//! without `unsafe` copies it to and from user memory.
//!
//! Flags are plain integers: what a program passes is not trusted, and a typed set would only hide that each
//! service checks for the bits it does not know.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

/// Defines a group of constants of one type, each documented by its Linux name.
macro_rules! constants {
    ($ty:ty: $($name:ident = $value:expr,)*) => {
        $(
            #[doc = concat!("Linux `", stringify!($name), "`.")]
            pub const $name: $ty = $value;
        )*
    };
}

/// Asserts the size of a structure and the offsets of its fields, at compile time.
macro_rules! layout {
    ($ty:ty, $size:literal $(, $field:ident @ $offset:literal)* $(,)?) => {
        const _: () = {
            assert!(size_of::<$ty>() == $size);
            $(assert!(core::mem::offset_of!($ty, $field) == $offset);)*
        };
    };
}

pub mod asyncos;
pub mod bound;
pub mod channel;
pub mod command_line;
pub mod device;
pub mod errno;
pub mod fs;
pub mod futex;
pub mod grant;
pub mod io_uring;
pub mod ioctl;
pub mod mm;
pub mod mux;
pub mod net;
pub mod nr;
pub mod poll;
pub mod process;
pub mod signal;
pub mod slots;
pub mod stat;
pub mod time;
pub mod uintr;
pub mod window;

pub use errno::Errno;
