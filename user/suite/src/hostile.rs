//! What no correct program does. Each has a clear error for the one who does it, and nothing for anybody else.

mod images;
pub mod interrupted;
pub mod limits;
mod pointers;

use crate::case::Case;

pub const CASES: &[Case] = &[
    case!("hostile/pointers-to-files", "S6 E1 P2", pointers::files),
    case!("hostile/pointers-to-paths", "S6 E1 P2", pointers::paths),
    case!("hostile/pointers-to-sockets", "S6 E1 P2", pointers::sockets),
    case!("hostile/pointers-to-the-rest", "S6 E1 P2", pointers::rest),
    case!("hostile/huge-lengths", "S6 E1", pointers::huge_lengths),
    case!("hostile/every-number-with-garbage", "S6 E1", pointers::every_number),
    case!("hostile/unterminated-path", "S6 E1", pointers::unterminated_path),
    case!("hostile/buffer-taken-away", "D15 S6", pointers::buffer_taken_away),
    case!("hostile/script-with-many-arguments", "E1 S6", images::script_with_many_arguments),
    case!("hostile/elf-correct", "D3", images::correct),
    case!("hostile/elf-refused", "E1 S6", images::refused),
    case!("hostile/elf-odd", "E1 S6", images::odd),
    case!("hostile/elf-truncated-anywhere", "E1 S6", images::truncated),
    case!("hostile/elf-bits-flipped", "E1 S6", images::flipped),
];
