//! The figures that must be there, each with its bar.

mod echo;
mod pending;

pub use echo::ECHO;
pub use pending::PENDING;

use super::findings::Method;
use super::wanted::Limit::{AtLeast, AtMost, Below};
use super::wanted::{
    Place, Wanted, calls, count, driver_entries, driver_interrupts, driver_rate, entries, icount, plugin, ratio,
    reported, share, wall,
};

/// Every figure with a bar, and those that explain one; behind them come those of [`ECHO`] and [`PENDING`].
pub const WANTED: &[Wanted] = &[
    Wanted {
        place: Place::Auto,
        ..icount(
            "boot_prompt",
            "boot",
            &[("*", AtMost(100e6))],
            "kernel entry to prompt, 1 hart, 1 GiB; the firmware before it and the start of the program that counts are in it",
        )
    },
    Wanted {
        place: Place::Auto,
        ..icount("boot_kernel", "boot", &[], "kernel entry to the start of the first program, as the kernel counts")
    },
    icount(
        "boot_program",
        "boot",
        &[],
        "power on to the first program, firmware included, if that program is /bin/bench",
    ),
    wall(
        "boot_wall",
        "boot",
        Place::Auto,
        &[("*", Below(1.0))],
        "emulator's start to prompt; Linux: to its first program",
    ),
    icount(
        "null_getppid",
        "null",
        &[("shared", AtMost(200.0)), ("vm", AtMost(230.0)), ("table", AtMost(300.0))],
        "null system call (getppid)",
    ),
    icount("pipe_pp", "pipe", &[("*", AtMost(7_000.0))], "pipe round trip between processes"),
    icount("spawn_exit_wait", "process", &[("*", AtMost(90_000.0))], "spawn a process, run, exit, wait"),
    icount("page_fault", "memory", &[("*", AtMost(1_000.0))], "page fault, anonymous"),
    icount("read4k", "file", &[("*", AtMost(3_033.0))], "sequential file read through the page cache, 4 KiB"),
    wall("read4k_wall", "file", Place::EachWorld, &[("*", AtMost(1.0))], "the same read, time"),
    icount("task_switch", "task", &[("*", AtMost(100.0))], "coroutine switch, 2 ready"),
    icount("task_switch_1k", "task", &[("*", AtMost(100.0))], "coroutine switch, 1,000 ready"),
    icount("task_switch_100k", "task", &[("*", AtMost(100.0))], "coroutine switch, 100,000 ready"),
    icount("task_wake", "task", &[("*", AtMost(200.0))], "coroutine woken by another, until it runs"),
    icount("task_spawn", "task", &[("*", AtMost(400.0))], "coroutine started, run, ended"),
    icount("thread_switch", "thread", &[("*", AtMost(500.0))], "thread switch in one process (sched_yield)"),
    icount("process_switch", "thread", &[("*", AtMost(600.0))], "process switch (sched_yield)"),
    icount("thread_create_join", "thread", &[("*", AtMost(6_000.0))], "thread started, ended and joined"),
    icount("futex_pp", "futex", &[("*", AtMost(4_000.0))], "futex round trip of two threads, one hart"),
    plugin("futex_two_harts", &[("*", AtMost(8_000.0))], "the same on two harts, one thread kept on each"),
    plugin("futex_two_harts_firmware", &[], "of that what the firmware executes"),
    plugin(
        "usignal_running_pp",
        &[("vm", AtMost(1_800.0))],
        "round trip of signals in user mode on two harts, both processes running",
    ),
    plugin("usignal_running_pp_firmware", &[], "of that what the firmware executes"),
    plugin("disk_direct_pread", &[], "random 4 KiB of the disk past all caches, by the call"),
    plugin("disk_direct_qd1", &[("*", AtMost(8_000.0))], "the same by a ring, one at a time"),
    plugin("disk_direct_qd32", &[("*", AtMost(4_000.0))], "the same, 32 at a time"),
    plugin("file_direct_qd1", &[("*", AtMost(8_000.0))], "random 4 KiB of a file on the disk, likewise, one at a time"),
    plugin("file_direct_qd32", &[("*", AtMost(4_000.0))], "the same, 32 at a time"),
    wall("disk_direct_pread_wall", "disk", Place::EachWorld, &[], "random 4 KiB of the disk by the call, time"),
    wall("disk_direct_qd1_wall", "disk", Place::EachWorld, &[("*", AtMost(1.0))], "the same by a ring, one at a time"),
    wall("disk_direct_qd32_wall", "disk", Place::EachWorld, &[("*", AtMost(1.0))], "the same, 32 at a time"),
    wall("file_direct_qd1_wall", "disk", Place::EachWorld, &[("*", AtMost(1.0))], "of a file, one at a time, time"),
    wall("file_direct_qd32_wall", "disk", Place::EachWorld, &[("*", AtMost(1.0))], "the same, 32 at a time"),
    icount("connection_pp_tasks", "ring", &[], "one connection: round trip of a byte, two coroutines"),
    icount("connection_pp_threads", "ring", &[], "the same, two threads"),
    ratio(
        "connection_pp_ratio",
        "ring",
        ["connection_pp_tasks", "connection_pp_threads"],
        &[("*", AtMost(1.0))],
        "one connection: two coroutines against two threads",
    ),
    icount("pipe_ring_tasks_1", "ring", &[], "byte from one to the next, ring of pipes, 3,600 coroutines, 1 executor"),
    icount("pipe_ring_tasks_2", "ring", &[], "the same, 2 executors asked for; there are no more than harts"),
    icount("pipe_ring_tasks_4", "ring", &[], "the same, 4 executors asked for"),
    icount("pipe_ring_threads", "ring", &[], "the same, 3,600 threads"),
    Wanted {
        place: Place::Vm,
        ..icount("uintr_send", "uintr", &[("*", AtMost(12.0))], "user interrupt: sending, with the loop around it")
    },
    Wanted {
        place: Place::Vm,
        ..icount("uintr_to_oneself", "uintr", &[], "sent to oneself, handled and returned from")
    },
    Wanted {
        place: Place::Vm,
        ..icount(
            "uintr_entry",
            "uintr",
            &[("*", AtMost(60.0))],
            "what it adds to a call of the handler behind the sending: on the way to its first line",
        )
    },
    Wanted { place: Place::Vm, ..icount("uintr_return", "uintr", &[("*", AtMost(40.0))], "the same, on the way back") },
    Wanted {
        place: Place::Vm,
        ..icount(
            "uintr_entry_integers",
            "uintr",
            &[("*", AtMost(60.0))],
            "on the way there, in a thread that has used floating point, to a handler that does not",
        )
    },
    Wanted {
        place: Place::Vm,
        ..icount("uintr_return_integers", "uintr", &[("*", AtMost(40.0))], "and on the way back")
    },
    Wanted {
        place: Place::Vm,
        ..icount(
            "uintr_entry_floats",
            "uintr",
            &[],
            "on the way there, in a thread that has used floating point, to one that may",
        )
    },
    Wanted { place: Place::Vm, ..icount("uintr_return_floats", "uintr", &[], "and on the way back") },
    Wanted { place: Place::Vm, ..icount("uintr_blocked_pp", "uintr", &[], "round trip between threads that wait") },
    Wanted {
        place: Place::Vm,
        ..icount(
            "uintr_tick",
            "uintr",
            &[("*", AtMost(150.0))],
            "a tick of the thread's timer: set, handled, returned from",
        )
    },
    entries(
        "uintr_entries",
        &[("*", AtMost(0.01))],
        "times that a program was left, for the kernel, for an interrupt that it sends to itself and takes: slices end meanwhile",
    ),
    entries(
        "green_ticks_entries",
        &[("*", AtMost(0.1))],
        "times that a program was left, for the kernel, for a green thread that never yields to be left for another: slices of the kernel's end meanwhile",
    ),
    Wanted {
        place: Place::Vm,
        ..icount(
            "green_preempted",
            "uintr",
            &[],
            "a green thread that never yields left for another by a tick of its thread's timer",
        )
    },
    entries("uintr_tick_entries", &[("*", AtMost(0.01))], "the same for a tick of the thread's timer"),
    Wanted {
        place: Place::Vm,
        ..icount("uintr_tick_floats", "uintr", &[], "the same in a thread that has used floating point")
    },
    icount(
        "trap_page_fault",
        "uintr",
        &[("*", AtMost(1500.0))],
        "a store without a right: the program's handler, by way of the kernel, and on behind it",
    ),
    icount("usignal_to_oneself", "uintr", &[("*", AtMost(500.0))], "a signal in user mode to oneself, handled"),
    icount("usignal_interrupts", "uintr", &[], "the same by a right, which interrupts"),
    icount(
        "usignal_blocked_pp",
        "uintr",
        &[("*", AtMost(4500.0))],
        "round trip of signals in user mode between processes that wait",
    ),
    icount(
        "usignal_group_to_oneself",
        "uintr",
        &[],
        "one to all threads of a group, of which this is the only one, handled",
    ),
    icount(
        "usignal_group_blocked_pp",
        "uintr",
        &[],
        "round trip of which one half is to all threads of a group, both processes wait",
    ),
    icount("signal_to_oneself", "uintr", &[], "a signal of the kernel's to oneself, sent and taken"),
    icount("signal_blocked_pp", "uintr", &[], "round trip of signals of the kernel's between processes that wait"),
    icount("trap_breakpoint", "uintr", &[], "ebreak: the program's handler, and on behind it"),
    icount(
        "channel_call_1",
        "channel",
        &[("*", AtMost(3000.0))],
        "64 bytes and a reply by a channel between two processes, one at a time",
    ),
    icount("channel_call_2", "channel", &[], "the same, two at once: each"),
    icount("channel_call_8", "channel", &[], "eight at once: each"),
    icount("channel_call_32", "channel", &[], "32 at once: each"),
    icount(
        "channel_call_interrupt",
        "channel",
        &[],
        "one at a time, by a process that waits for the user interrupt of the reply",
    ),
    icount("stream_item_64", "channel", &[], "an item of 64 bytes by a stream over a channel"),
    icount("stream_bytes_64", "channel", &[], "64 bytes by a stream of bytes over a channel"),
    icount("stream_bytes_4096", "channel", &[], "4 KiB by the same"),
    icount("stream_pipe_64", "channel", &[], "64 bytes by a pipe"),
    icount("stream_pipe_4096", "channel", &[], "4 KiB by a pipe"),
    icount("channel_pipe", "channel", &[], "64 bytes and a reply by two pipes"),
    icount("channel_unix", "channel", &[], "by a local socket"),
    icount("channel_eventfd", "channel", &[], "by shared memory, told of by counters"),
    icount("channel_futex", "channel", &[], "by shared memory, told of by words that are waited on"),
    ratio(
        "channel_pipe_ratio",
        "channel",
        ["channel_call_2", "channel_pipe"],
        &[("*", AtMost(1.0))],
        "two at once by a channel, of two pipes",
    ),
    ratio(
        "channel_unix_ratio",
        "channel",
        ["channel_call_2", "channel_unix"],
        &[("*", AtMost(1.0))],
        "of a local socket",
    ),
    ratio(
        "channel_eventfd_ratio",
        "channel",
        ["channel_call_2", "channel_eventfd"],
        &[("*", AtMost(1.0))],
        "of counters",
    ),
    ratio("channel_futex_ratio", "channel", ["channel_call_2", "channel_futex"], &[("*", AtMost(1.0))], "of words"),
    icount("driver_byte_polled", "driver", &[], "a byte that a serial port sends to itself, by a process that looks"),
    icount(
        "driver_byte",
        "driver",
        &[],
        "the same by a process that has the port's interrupts, which come for each byte",
    ),
    icount("driver_block_512", "driver", &[], "512 bytes, the same way, with the port's queues"),
    icount("driver_send_512_polled", "driver", &[], "512 bytes sent by a port, by a process that looks"),
    icount("driver_send_512", "driver", &[], "the same by a process that has the port's interrupts"),
    icount(
        "driver_send_512_kernel",
        "driver",
        &[],
        "512 bytes written to the console, which is such a port, with the kernel's driver: a call, the terminal's and the console's queues are in it",
    ),
    driver_entries(
        "driver_send_512_polled_entries",
        "times that the kernel is entered for 1,000 bytes, by calls and by the port's interrupts",
    ),
    driver_entries("driver_send_512_entries", "the same, by a process that has the port's interrupts"),
    driver_entries("driver_send_512_kernel_entries", "the same, by the kernel's driver of the console"),
    icount(
        "driver_loop_kernel",
        "driver",
        &[],
        "a byte of 64 KiB that a program sends and receives through the loop of a serial port, by the kernel's driver: all parts",
    ),
    icount("driver_loop_polled", "driver", &[], "the same, by a program that looks"),
    icount("driver_loop", "driver", &[], "the same, by a driver of the program that the port's interrupts run"),
    icount("driver_loop_kernel_hash", "driver", &[], "by the kernel's driver, with SHA-256 of all bytes at both ends"),
    icount("driver_loop_polled_hash", "driver", &[], "by a program that looks, likewise"),
    icount("driver_loop_hash", "driver", &[], "by a driver of the program, likewise"),
    driver_entries("driver_loop_kernel_entries", "times that the kernel is entered for 1,000 of these bytes"),
    driver_entries("driver_loop_polled_entries", "the same, by a program that looks"),
    driver_entries("driver_loop_entries", "the same, by a driver of the program"),
    driver_interrupts("driver_loop_kernel_interrupts", "interrupts for 1,000 of these bytes, by the kernel's driver"),
    driver_interrupts("driver_loop_interrupts", "the same, by a driver of the program"),
    driver_rate("driver_loop_kernel_rate", "what the instructions make at 10^9 a second: not timed"),
    driver_rate("driver_loop_polled_rate", "by a program that looks"),
    driver_rate("driver_loop_rate", "by a driver of the program"),
    driver_rate("driver_loop_kernel_hash_rate", "by the kernel's driver, with the hash"),
    driver_rate("driver_loop_polled_hash_rate", "by a program that looks, with the hash"),
    driver_rate("driver_loop_hash_rate", "by a driver of the program, with the hash"),
    icount("uring_enter", "uring", &[], "the call of a shared ring, with nothing to take and nothing to wait for"),
    icount(
        "uring_nop_128",
        "uring",
        &[("*", AtMost(150.0))],
        "nothing by a shared ring, in batches of 128: submitted, waited for, taken",
    ),
    icount("uring_nop_1", "uring", &[("*", AtMost(600.0))], "the same, alone"),
    icount(
        "uring_polled_128",
        "uring",
        &[],
        "the same in batches of 128 by a ring whose entries the kernel takes by itself: on one hart, so each batch waits",
    ),
    icount("uring_polled_1", "uring", &[], "the same, alone"),
    icount(
        "uring_pipe_pending",
        "uring",
        &[("*", AtMost(2_500.0))],
        "a read of an empty pipe by a ring, then a byte written, then the completion taken",
    ),
    icount(
        "uring_unix_pending",
        "uring",
        &[("*", AtMost(4_000.0))],
        "a receive of an empty local socket by a ring, then a byte sent, then the completion taken",
    ),
    icount(
        "uring_poll_pending",
        "uring",
        &[],
        "a poll of an empty pipe by a ring, then a byte written, then the completion taken, and the byte",
    ),
    icount("uring_poll_again", "uring", &[], "the same by a poll that goes on, with a call of the ring for each"),
    icount(
        "uring_read4k_32",
        "uring",
        &[("*", AtMost(1_800.0))],
        "cached 4 KiB of a file of the disk (ext4 on both systems) by a ring, in batches of 32",
    ),
    icount("pread_4096", "uring", &[("*", AtMost(2_000.0))], "the same by pread"),
    ratio(
        "uring_read4k_ratio",
        "uring",
        ["uring_read4k_32", "pread_4096"],
        &[("*", AtMost(1.0))],
        "of it: by a ring, against pread",
    ),
    icount("uring_read64_1", "uring", &[("*", AtMost(1_500.0))], "64 bytes of the same by a ring, alone"),
    icount("pread_64", "uring", &[("*", AtMost(900.0))], "the same by pread"),
    ratio(
        "uring_read64_ratio",
        "uring",
        ["uring_read64_1", "pread_64"],
        &[("*", AtMost(1.2))],
        "64 bytes: an entry that is submitted and waited for alone, against pread",
    ),
    icount("async_read_4096", "uring", &[], "cached 4 KiB of a file by a task, one at a time"),
    icount("async_read_64", "uring", &[], "64 bytes, the same way"),
    ratio(
        "async_read_4096_ratio",
        "uring",
        ["async_read_4096", "pread_4096"],
        &[("*", AtMost(1.2))],
        "cached 4 KiB: by a task, one at a time, against pread; the runtime makes the call where that is cheaper",
    ),
    ratio("async_read_64_ratio", "uring", ["async_read_64", "pread_64"], &[("*", AtMost(1.2))], "64 bytes, the same"),
    icount(
        "uring_read4k_32_tmpfs",
        "uring",
        &[],
        "4 KiB of a file in memory (tmpfs on both) by a ring, in batches of 32",
    ),
    icount("pread_4096_tmpfs", "uring", &[], "the same by pread"),
    ratio(
        "uring_read4k_tmpfs_ratio",
        "uring",
        ["uring_read4k_32_tmpfs", "pread_4096_tmpfs"],
        &[("*", AtMost(1.0))],
        "of it: by a ring, against pread",
    ),
    icount("uring_read64_1_tmpfs", "uring", &[], "64 bytes of it by a ring, alone"),
    icount("pread_64_tmpfs", "uring", &[], "the same by pread"),
    icount("share_alone", "priority", &[], "a turn of a loop of two instructions, alone"),
    icount("share_beside_liar", "priority", &[], "the same beside a process that claims top priority and never yields"),
    icount("share_beside_kicks", "priority", &[], "the same, that calls for its slot all the time"),
    icount(
        "share_beside_spread",
        "priority",
        &[],
        "the same beside a process that never yields at any of the 32 priorities",
    ),
    icount("share_beside_threads", "priority", &[], "the same beside a process with 32 threads that never stop"),
    icount("share_beside_hints", "priority", &[], "the same beside a process whose hints are all ones"),
    share(
        "share_liar",
        "share_beside_liar",
        "share of the hart that an honest process keeps beside the one that claims all",
    ),
    share("share_kicks", "share_beside_kicks", "the same, beside the one that calls for its slot all the time"),
    share("share_spread", "share_beside_spread", "the same, beside the one that never yields at any priority"),
    share("share_threads", "share_beside_threads", "the same, beside the one with 32 threads"),
    share("share_hints", "share_beside_hints", "the same, beside the one with hints of all ones"),
    icount(
        "priority_p99",
        "priority",
        &[("*", AtMost(50_000.0))],
        "a process wakes the most urgent coroutine while 1,000 others never yield, until it runs: 99 of 100",
    ),
    icount("priority_max", "priority", &[], "the same, the latest of 500"),
    icount("priority_timer_p99", "priority", &[("*", AtMost(50_000.0))], "the same, woken by time"),
    icount("priority_timer_max", "priority", &[], "the same, the latest"),
    reported("priority_harts_p99", "the same on four harts, a thousand that never yield on all of them, woken by time"),
    reported("priority_harts_max", "the same, the latest"),
    count(
        "wake_ipis",
        "harts",
        ("IPIs", Place::EachWorld),
        &[("*", AtMost(1.0))],
        "interrupts between harts for a coroutine that another hart wakes, whose worker sleeps",
    ),
    count(
        "wake_ipis_awake",
        "harts",
        ("IPIs", Place::EachWorld),
        &[("*", AtMost(0.01))],
        "the same, while the worker runs another coroutine",
    ),
    reported("ring_harts_1", "a step round the ring of pipes of 3,600 coroutines on four harts, 1 executor"),
    reported("ring_harts_2", "the same, 2 executors"),
    reported("ring_harts_4", "the same, 4 executors"),
    Wanted {
        unit: "ratio",
        of: Some(["ring_harts_2", "ring_harts_1"]),
        ..reported("ring_harts_2_ratio", "time of the ring with 2 executors by that with 1")
    },
    Wanted {
        unit: "ratio",
        of: Some(["ring_harts_4", "ring_harts_1"]),
        ..reported("ring_harts_4_ratio", "time of the ring with 4 executors by that with 1")
    },
    reported("pp_uintr_running", "two processes on two harts that interrupt each other in turn, both running"),
    reported("pp_uintr_blocked", "the same, both waiting"),
    reported("pp_eventfd", "the same by two eventfds"),
    reported("pp_pipe", "the same by two pipes"),
    reported("pp_signal", "the same by signals that they wait for"),
    reported(
        "pp_channel",
        "a request of 64 bytes and its reply by a channel between two processes on two harts that wait in it",
    ),
    reported("pp_channel_interrupt", "the same between two that run, told by user interrupts"),
    Wanted {
        place: Place::Vm,
        unit: "ratio",
        of: Some(["pp_eventfd", "pp_uintr_running"]),
        limits: &[("*", AtLeast(5.0))],
        ..reported("pp_eventfd_ratio", "times that eventfds take of running receivers")
    },
    Wanted {
        place: Place::Vm,
        unit: "ratio",
        of: Some(["pp_signal", "pp_uintr_running"]),
        limits: &[("*", AtLeast(10.0))],
        ..reported("pp_signal_ratio", "times that signals take of running receivers")
    },
    Wanted {
        place: Place::Vm,
        unit: "ratio",
        of: Some(["pp_uintr_blocked", "pp_eventfd"]),
        limits: &[("*", AtMost(1.0))],
        ..reported("pp_blocked_ratio", "times that waiting receivers take of eventfds")
    },
    Wanted {
        place: Place::Vm,
        unit: "ratio",
        of: Some(["pp_pipe", "pp_uintr_running"]),
        ..reported("pp_pipe_ratio", "times that pipes take of running receivers")
    },
    Wanted {
        place: Place::Vm,
        unit: "ratio",
        of: Some(["linux/pp_signal", "pp_uintr_running"]),
        limits: &[("*", AtLeast(10.0))],
        ..reported("pp_linux_signal_ratio", "times that Linux's signals take of running receivers")
    },
    Wanted {
        place: Place::Vm,
        unit: "ratio",
        of: Some(["linux/pp_eventfd", "pp_uintr_running"]),
        limits: &[("*", AtLeast(5.0))],
        ..reported("pp_linux_eventfd_ratio", "times that Linux's eventfds take of running receivers")
    },
    Wanted {
        place: Place::Vm,
        unit: "ratio",
        of: Some(["linux/pp_pipe", "pp_uintr_running"]),
        ..reported("pp_linux_pipe_ratio", "times that Linux's pipes take of running receivers")
    },
    Wanted {
        place: Place::Vm,
        unit: "ratio",
        of: Some(["pp_uintr_blocked", "linux/pp_eventfd"]),
        limits: &[("*", AtMost(1.0))],
        ..reported("pp_linux_blocked_ratio", "times that waiting receivers take of Linux's eventfds")
    },
    Wanted {
        unit: "/s",
        method: Method::Count,
        ..reported("storm_sent", "interrupts that a process sends to one on another hart that computes")
    },
    Wanted {
        unit: "/s",
        method: Method::Count,
        ..reported("storm_handled", "those that it handles: what comes together is handled together")
    },
    Wanted {
        unit: "%",
        method: Method::Count,
        ..reported(
            "storm_neighbour",
            "what a neighbour of that one does meanwhile, in parts of what it does without them",
        )
    },
    Wanted {
        unit: "%",
        method: Method::Count,
        limits: &[("*", AtLeast(45.0))],
        ..reported("storm_share", "the neighbour's share of the hart that it shares with that one")
    },
    count(
        "task_memory",
        "task",
        ("B", Place::EachWorld),
        &[("*", AtMost(128.0))],
        "free memory that a waiting coroutine takes beyond its future, a million of them",
    ),
    count(
        "task_million",
        "task",
        ("MiB", Place::EachWorld),
        &[("*", AtMost(512.0))],
        "free memory that a million waiting coroutines take, and what finds them again",
    ),
    count(
        "thread_memory",
        "thread",
        ("B", Place::EachWorld),
        &[("*", AtMost(2_048.0))],
        "free memory that a user thread parked in a futex takes, without its stack",
    ),
    count(
        "uring_stream_entries",
        "uring",
        ("entries", Place::EachWorld),
        // A million by 128.
        &[("*", AtMost(7_813.0))],
        "entries of the kernel for a million requests by such a ring, on one hart: one for each full ring",
    ),
    calls(
        "uring_polled_million_calls",
        &[("*", AtMost(2.0))],
        "calls for a million requests by a ring that is polled, its coroutine on the other hart: each is one for which the ring has told that it sleeps",
    ),
    entries(
        "uring_polled_million_entries",
        &[],
        "all entries of the kernel meanwhile: such calls, the timer's and other harts' interrupts",
    ),
    count(
        "pending_memory",
        "uring",
        ("B", Place::EachWorld),
        &[("*", AtMost(512.0))],
        "free memory that a read of a ring takes which waits, 100,000 of them",
    ),
    count(
        "pending_memory_all",
        "uring",
        ("MiB", Place::EachWorld),
        &[("*", AtMost(64.0))],
        "free memory that all these take",
    ),
    count("unsafe_uses", "unsafe", ("uses", Place::Host), &[], "blocks, functions, traits and impls that are `unsafe`"),
    count(
        "unsafe_justified",
        "unsafe",
        ("%", Place::Host),
        &[("*", AtLeast(100.0))],
        "of them with a justification that tidy accepts",
    ),
    count(
        "web_requests",
        "web",
        ("requests", Place::Auto),
        &[("*", AtLeast(10_000.0))],
        "requests to the web server on 2 harts, 64 at a time, compared byte for byte",
    ),
    count("web_errors", "web", ("errors", Place::Auto), &[("*", AtMost(0.0))], "requests that failed or differed"),
    count(
        "web_memory_kept",
        "web",
        ("KiB", Place::Auto),
        &[("*", AtMost(1024.0))],
        "memory of the guest that did not come back",
    ),
];
