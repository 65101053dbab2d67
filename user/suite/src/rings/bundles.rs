//! Several provided buffers at once (`IORING_RECVSEND_BUNDLE`), and rings of buffers in memory of the kernel's.

use super::calls::call_of;
use super::provided::{ENOBUFS, PLACES, ask, buffer, next, pair, scribble, selects};
use super::*;
use rt::fs::File;
use rt::ring::Buffers;

pub const CASES: &[Case] = &[
    case!("ring/receives-into-several", "C4 D3", receives),
    case!("ring/receives-into-several-bit-by-bit", "C4 D3", bit_by_bit),
    case!("ring/sends-several", "C4 D3 D14", sends),
    case!("ring/wrong-bundles", "C4 E1", wrong),
    case!("ring/any-bundle", "C4 E1", hostile),
    case!("ring/buffers-in-the-kernels-memory", "C4 D4 E1", mapped),
];

const GROUP: u16 = 3;

fn bundle(opcode: u8, fd: i32) -> Sqe {
    Sqe { ioprio: IORING_RECVSEND_BUNDLE, ..selects(opcode, fd) }
}

fn send(file: &mut File, bytes: &[u8]) -> Outcome {
    Ok(io::Write::write_all(file, bytes)?)
}

/// So many buffers of four bytes each, with numbers from 5 on.
fn fill(buffers: &mut Buffers, memory: &mut [u8], count: u16) {
    for number in 0..count {
        buffers.add(memory.as_mut_ptr() as usize + 4 * usize::from(number), 4, 5 + number);
    }
}

fn receives() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    ensure!(ring.features() & IORING_FEAT_RECVSEND_BUNDLE != 0, "bundles");
    let (mut here, there) = pair()?;
    let mut buffers = Buffers::new(&ring, GROUP, PLACES)?;
    let mut memory = [0u8; 32];
    let receives = bundle(IORING_OP_RECV, there.fd().raw());
    equal!(ask(&mut ring, receives)?, (7, ENOBUFS, 0));
    fill(&mut buffers, &mut memory, 8);
    // As many as there is something for; the last of them is used up.
    send(&mut here, b"abcdefghij")?;
    equal!(ask(&mut ring, receives)?, (7, 10, buffer(5)));
    equal!(memory[..10], *b"abcdefghij");
    // No more than is wanted.
    send(&mut here, b"klmnop")?;
    equal!(ask(&mut ring, Sqe { len: 3, ..receives })?, (7, 3, buffer(8)));
    equal!(ask(&mut ring, receives)?, (7, 3, buffer(9)));
    // Again and again, until there are no more: three are left.
    push(&mut ring, &[Sqe { ioprio: IORING_RECVSEND_BUNDLE | IORING_RECV_MULTISHOT, ..receives }]);
    equal!(ring.submit(0)?, 1);
    send(&mut here, b"12345")?;
    equal!(next(&mut ring)?, (7, 5, buffer(10) | IORING_CQE_F_MORE));
    send(&mut here, b"6789A")?;
    equal!(next(&mut ring)?, (7, 4, buffer(12)));
    equal!(memory[20..], *b"12345\0\0\x006789");
    // One that was cancelled has used none.
    fill(&mut buffers, &mut memory, 2);
    equal!(ask(&mut ring, receives)?, (7, 1, buffer(5)));
    push(&mut ring, &[receives, cancel_of(7, 0)]);
    equal!(wait_sorted(&mut ring, 2)?, [(7, CANCELLED), (99, 0)]);
    send(&mut here, b"z")?;
    equal!(ask(&mut ring, receives)?, (7, 1, buffer(6)));
    // An end uses none either; of a list there is one at a time.
    fill(&mut buffers, &mut memory, 1);
    drop(here);
    equal!(ask(&mut ring, receives)?, (7, 0, 0));
    Ok(())
}

fn bit_by_bit() -> Outcome {
    const MORE: u32 = IORING_CQE_F_BUF_MORE;
    let mut ring = Ring::new(8, 0)?;
    let (mut here, there) = pair()?;
    let mut buffers = Buffers::incremental(&ring, GROUP, PLACES)?;
    let mut memory = [0u8; 32];
    fill(&mut buffers, &mut memory, 3);
    let receives = bundle(IORING_OP_RECV, there.fd().raw());
    send(&mut here, b"abcdef")?;
    equal!(ask(&mut ring, receives)?, (7, 6, buffer(5) | MORE));
    send(&mut here, b"gh")?;
    equal!(ask(&mut ring, receives)?, (7, 2, buffer(6)));
    send(&mut here, b"ijkl")?;
    equal!(ask(&mut ring, receives)?, (7, 4, buffer(7)));
    equal!(memory[..12], *b"abcdefghijkl");
    equal!(ask(&mut ring, receives)?, (7, ENOBUFS, 0));
    Ok(())
}

fn sends() -> Outcome {
    const MANY: usize = 400_000;
    let mut ring = Ring::new(8, 0)?;
    let (here, mut there) = pair()?;
    let mut buffers = Buffers::new(&ring, GROUP, PLACES)?;
    let mut memory = *b"abcdefghijkl";
    let sends = bundle(IORING_OP_SEND, here.fd().raw());
    equal!(ask(&mut ring, sends)?, (7, ENOBUFS, 0));
    fill(&mut buffers, &mut memory, 3);
    equal!(ask(&mut ring, sends)?, (7, 12, buffer(5)));
    // What is wanted at first, then all there is, in order.
    fill(&mut buffers, &mut memory, 3);
    push(&mut ring, &[Sqe { len: 6, ..sends }]);
    equal!(ring.submit(0)?, 1);
    equal!(next(&mut ring)?, (7, 6, buffer(5) | IORING_CQE_F_MORE));
    equal!(next(&mut ring)?, (7, 4, buffer(7)));
    let mut found = [0u8; 22];
    io::Read::read_exact(&mut there, &mut found)?;
    equal!(found, *b"abcdefghijklabcdefijkl");
    // More than there is room for goes on until all of it is sent.
    let large: Vec<u8> = (0..2 * MANY).map(|number| (number / 1000) as u8).collect();
    buffers.add(large.as_ptr() as usize, MANY as u32, 1);
    buffers.add(large.as_ptr() as usize + MANY, MANY as u32, 2);
    push(&mut ring, &[sends]);
    equal!(ring.submit(0)?, 1);
    ensure!(ring.pop().is_none(), "it fits");
    let mut found = alloc::vec![0u8; 2 * MANY];
    io::Read::read_exact(&mut there, &mut found)?;
    equal!(next(&mut ring)?, (7, 2 * MANY as i32, buffer(1)));
    ensure!(found == large, "in order");
    // Nobody receives any more.
    buffers.add(large.as_ptr() as usize, 4, 1);
    drop(there);
    equal!(ask(&mut ring, sends)?, (7, -32, 0));
    equal!(one_of(&mut ring, Sqe { flags: 0, ..sends })?, EINVAL);
    Ok(())
}

fn one_of(ring: &mut Ring, entry: Sqe) -> Result<i32, Trouble> {
    Ok(ask(ring, entry)?.1)
}

fn wrong() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (mut here, there) = pair()?;
    let fd = there.fd().raw();
    for opcode in [IORING_OP_SENDMSG, IORING_OP_RECVMSG, IORING_OP_SEND_ZC] {
        equal!(one_of(&mut ring, Sqe { ioprio: IORING_RECVSEND_BUNDLE, ..call_of(opcode, fd) })?, EINVAL);
    }
    equal!(one_of(&mut ring, bundle(IORING_OP_RECVMSG, fd))?, EINVAL);
    // Without buffers to choose from it says nothing.
    let mut byte = [0u8; 1];
    send(&mut here, b"x")?;
    let plain = transfer(IORING_OP_RECV, fd, &mut byte, 0);
    equal!(one_of(&mut ring, Sqe { ioprio: IORING_RECVSEND_BUNDLE, ..plain })?, 1);
    // No socket.
    let (read, _write) = rt::pipe::pipe()?;
    equal!(one_of(&mut ring, bundle(IORING_OP_RECV, read.fd().raw()))?, -88);
    Ok(())
}

/// Whatever a ring of buffers says, also when it is gone.
fn hostile() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (mut here, there) = pair()?;
    let buffers = Buffers::new(&ring, GROUP, PLACES)?;
    let (receives, sends) = (bundle(IORING_OP_RECV, there.fd().raw()), bundle(IORING_OP_SEND, there.fd().raw()));
    let mut seed = 54_321;
    for _ in 0..1_500 {
        scribble(&buffers, &mut seed);
        send(&mut here, b"xyz")?;
        for entry in [receives, sends] {
            let (_, result, flags) = ask(&mut ring, entry)?;
            ensure!([-14, ENOBUFS, 0].contains(&result), "{result} {flags:#x}");
        }
    }
    Ok(())
}

fn registers(ring: &Ring, asked: &BufReg) -> Result<usize, Errno> {
    call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_PBUF_RING, core::ptr::from_ref(asked), 1)
}

/// The program maps what the kernel has made.
fn mapped() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let fd = ring.fd().raw();
    let map = |group: u64, len: usize, more: u64| {
        let offset = IORING_OFF_PBUF_RING | group << IORING_OFF_PBUF_SHIFT | more;
        call!(MMAP, 0, len, m::PROT_READ | m::PROT_WRITE, m::MAP_SHARED, fd, offset)
    };
    let asked = BufReg { ring_entries: 8, bgid: GROUP, flags: IOU_PBUF_RING_MMAP, ..BufReg::default() };
    fails!(map(GROUP.into(), PAGE, 0), EINVAL);
    fails!(registers(&ring, &BufReg { ring_addr: PAGE as u64, ..asked }), EINVAL);
    fails!(registers(&ring, &BufReg { ring_entries: 1 << 16, ..asked }), EINVAL);
    fails!(registers(&ring, &BufReg { ring_entries: 3, ..asked }), EINVAL);
    let mut buffers = Buffers::mapped(&ring, GROUP, PLACES)?;
    fails!(registers(&ring, &asked), EEXIST);
    fails!(map(GROUP.into(), 2 * PAGE, 0), ENOMEM);
    fails!(map(GROUP.into(), PAGE, PAGE as u64), ENOMEM);
    fails!(map(4, PAGE, 0), EINVAL);
    let (mut here, there) = pair()?;
    let mut memory = [0u8; 32];
    fill(&mut buffers, &mut memory, 3);
    send(&mut here, b"abcdef")?;
    equal!(ask(&mut ring, selects(IORING_OP_RECV, there.fd().raw()))?, (7, 4, buffer(5)));
    equal!(ask(&mut ring, bundle(IORING_OP_RECV, there.fd().raw()))?, (7, 2, buffer(6)));
    equal!(memory[..6], *b"abcdef");
    // A second mapping shows the same; both outlive the group.
    let again = map(GROUP.into(), PAGE, 0)?;
    equal!(raw::atomic(again + 8).load(Relaxed), raw::atomic(buffers.address() + 8).load(Relaxed));
    let gone = BufReg { bgid: GROUP, ..BufReg::default() };
    equal!(call!(IO_URING_REGISTER, fd, IORING_UNREGISTER_PBUF_RING, &raw const gone, 1)?, 0);
    raw::atomic(again).store(1, Relaxed);
    equal!(raw::atomic(buffers.address()).load(Relaxed), 1);
    fails!(map(GROUP.into(), PAGE, 0), EINVAL);
    equal!(ask(&mut ring, selects(IORING_OP_RECV, there.fd().raw()))?, (7, ENOBUFS, 0));
    // The next with its number is another.
    equal!(registers(&ring, &asked)?, 0);
    let other = map(GROUP.into(), PAGE, 0)?;
    equal!(raw::atomic(other).load(Relaxed), 0);
    for at in [again, other] {
        call!(MUNMAP, at, PAGE)?;
    }
    Ok(())
}
