//! Line editing as a user at a keyboard sees it.

use super::*;

fn typed(line: &mut Line, text: &[u8]) -> (Vec<u8>, Vec<Outcome>) {
    let mut echo = Vec::new();
    let outcomes = text.iter().map(|byte| line.input(*byte, &mut echo)).collect();
    (echo, outcomes)
}

fn read(line: &mut Line, want: usize) -> Option<Vec<u8>> {
    let mut bytes = alloc::vec![0; want];
    let len = line.peek(&mut bytes)?;
    line.consume(len);
    bytes.truncate(len);
    Some(bytes)
}

#[test]
fn a_line_is_readable_when_it_ends() {
    let mut line = Line::new();
    let (echo, _) = typed(&mut line, b"ls");
    assert_eq!(echo, b"ls");
    assert_eq!(read(&mut line, 100), None);
    let (echo, _) = typed(&mut line, b"\r");
    assert_eq!(echo, b"\r\n");
    assert_eq!(read(&mut line, 100).unwrap(), b"ls\n");
    assert_eq!(read(&mut line, 100), None);
}

#[test]
fn a_short_read_leaves_the_rest_of_its_line() {
    let mut line = Line::new();
    typed(&mut line, b"abc\ndef\n");
    assert_eq!(line.available(), 8);
    assert_eq!(read(&mut line, 2).unwrap(), b"ab");
    assert_eq!(read(&mut line, 100).unwrap(), b"c\n");
    assert_eq!(read(&mut line, 100).unwrap(), b"def\n");
}

#[test]
fn erasing_takes_characters_words_and_lines() {
    let mut line = Line::new();
    let (echo, _) = typed(&mut line, "a\u{e9}\x7fb\x7f\x7f\x7fok\n".as_bytes());
    assert_eq!(read(&mut line, 100).unwrap(), b"ok\n");
    assert!(echo.windows(3).any(|part| part == b"\x08 \x08"));
    typed(&mut line, b"one two  \x17x\n");
    assert_eq!(read(&mut line, 100).unwrap(), b"one x\n");
    typed(&mut line, b"junk\x15ok\n");
    assert_eq!(read(&mut line, 100).unwrap(), b"ok\n");
}

#[test]
fn end_of_file_ends_a_read_once() {
    let mut line = Line::new();
    typed(&mut line, b"x\x04\x04");
    assert_eq!(read(&mut line, 100).unwrap(), b"x");
    assert_eq!(read(&mut line, 100).unwrap(), b"");
    assert_eq!(read(&mut line, 100), None);
    line.end();
    assert_eq!(read(&mut line, 100).unwrap(), b"");
    assert_eq!(read(&mut line, 100).unwrap(), b"");
}

#[test]
fn interrupt_is_a_signal_and_drops_the_line() {
    let mut line = Line::new();
    let (echo, outcomes) = typed(&mut line, b"abc\x03");
    assert_eq!(outcomes.last(), Some(&Outcome::Signal(SIGINT)));
    assert!(echo.ends_with(b"^C"));
    typed(&mut line, b"ok\n");
    assert_eq!(read(&mut line, 100).unwrap(), b"ok\n");
    let (_, outcomes) = typed(&mut line, b"\x16\x03\n");
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Input));
    assert_eq!(read(&mut line, 100).unwrap(), b"\x03\n");
}

#[test]
fn raw_input_is_readable_at_once() {
    let mut line = Line::new();
    typed(&mut line, b"ab");
    let mut raw = *line.termios();
    raw.lflag &= !(ICANON | ECHO | ISIG);
    raw.iflag &= !ICRNL;
    line.set_termios(raw);
    let (echo, _) = typed(&mut line, b"\x03\r");
    assert!(echo.is_empty());
    assert_eq!(read(&mut line, 100).unwrap(), b"ab\x03\r");
    assert_eq!(read(&mut line, 100), None);
    raw.cc[VMIN] = 0;
    line.set_termios(raw);
    assert_eq!(read(&mut line, 100).unwrap(), b"");
}

#[test]
fn input_is_bounded() {
    let mut line = Line::new();
    for _ in 0..3 * LIMIT {
        typed(&mut line, b"x");
    }
    typed(&mut line, b"\n");
    assert!(line.available() <= LIMIT);
    // Nobody reads, and lines keep coming.
    for _ in 0..3 * LIMIT {
        typed(&mut line, b"\n\x04");
    }
    assert!(line.available() <= LIMIT);
    let reads = (0..10 * LIMIT).take_while(|_| read(&mut line, 1).is_some()).count();
    assert!(reads <= 2 * LIMIT);
}
