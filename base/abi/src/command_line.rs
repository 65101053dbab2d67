//! Words of the kernel's command line: any bytes, in printable characters without spaces.
//!
//! `%XX` (two hexadecimal digits) is the byte `XX`; a `%` that no two digits follow stands for nothing, so a `%` alone is
//! an empty word. Everything else stands for itself.

/// The bytes that a word stands for.
pub fn decode(word: &str) -> impl Iterator<Item = u8> {
    let mut rest = word.as_bytes();
    core::iter::from_fn(move || {
        loop {
            let (&first, tail) = rest.split_first()?;
            rest = tail;
            if first != b'%' {
                return Some(first);
            }
            if let [high, low, ..] = *tail
                && let (Some(high), Some(low)) = (digit(high), digit(low))
            {
                rest = &tail[2..];
                return Some(high << 4 | low);
            }
        }
    })
}

fn digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn decoded(word: &str) -> Vec<u8> {
        decode(word).collect()
    }

    #[test]
    fn words_stand_for_bytes() {
        assert_eq!(decoded("/bin/sh"), b"/bin/sh");
        assert_eq!(decoded("a%20b%25%ff"), b"a b%\xff");
        assert_eq!(decoded("%"), b"");
        assert_eq!(decoded("%zz%4"), b"zz4");
    }
}
