//! Slots: a process's workers go on when the thread of one blocks, never yields, or ends; and what a process tells the kernel
//! of them harms nobody else (note 0003, section 5).

mod calls;
mod lies;
mod moves;
mod order;

use crate::case::Case;

pub const CASES: &[Case] = &[
    case!("slots/blocking-call", "C7 P6 S2", moves::blocking_call),
    case!("slots/blocking-sleep", "C7 P6", moves::blocking_sleep),
    case!("slots/many-block", "C7 P8", moves::many_block),
    case!("slots/never-yields", "P6 S4", order::never_yields),
    case!("slots/ages", "S1 S4", order::ages),
    case!("slots/ages-alone", "S1 S4", order::ages_alone),
    case!("slots/urgent-by-thread", "S1 S4 S5", order::urgent_by_thread),
    case!("slots/urgent-by-time", "S1 S4", order::urgent_by_time),
    case!("slots/priority-in-a-poll", "S4 D6", moves::priority_in_a_poll),
    case!("slots/side-by-side", "P8", moves::side_by_side),
    case!("slots/block-on-from-threads", "R3 P8", moves::block_on_from_threads),
    case!("slots/counted", "P9", moves::counted),
    case!("slots/arguments", "E1 S6", calls::arguments),
    case!("slots/children-have-none", "P1 S6", calls::children_have_none),
    case!("slots/forked-in-a-poll", "P1 S6", calls::forked_in_a_poll),
    case!("slots/holder-ends", "S6", calls::holder_ends),
    case!("slots/on-pages-of-another", "P1 S6", calls::on_pages_of_another),
    case!("slots/hints-of-anything", "S6", lies::hints_of_anything),
    case!("slots/pool-of-anything", "S6", lies::pool_of_anything),
    case!("slots/claims-all", "S1 S6", lies::claims_all),
    case!("slots/exit-while-all-run", "P8 D14", calls::exit_while_all_run),
    case!("slots/beside-one-that-yields", "S1 S4", order::beside_one_that_yields),
    case!("slots/beside-that-and-a-process", "S1 S4", order::beside_that_and_a_process),
];
