//! `linux_dirent64`, the records that `getdents64` fills a buffer with: encoder (kernel) and reader (programs).
//!
//! Record: inode u64, offset of the next record i64, record length u16, type u8, name, NUL, zeros up to a multiple of 8.

// File type in a record.
constants! { u8:
    DT_UNKNOWN = 0, DT_FIFO = 1, DT_CHR = 2, DT_DIR = 4, DT_BLK = 6, DT_REG = 8, DT_LNK = 10, DT_SOCK = 12,
}

/// Where the name begins in a record.
pub const NAME_OFFSET: usize = 19;

/// Bytes that a record with a name of `name_len` bytes takes.
#[must_use]
pub const fn record_len(name_len: usize) -> usize {
    (NAME_OFFSET + name_len + 1).next_multiple_of(8)
}

/// What one record says. `next` is the position after it, to be given to `lseek`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Inode number.
    pub ino: u64,
    /// Position of the record after this one.
    pub next: i64,
    /// `DT_*`.
    pub kind: u8,
    /// File name, without NUL.
    pub name: &'a [u8],
}

impl Entry<'_> {
    /// Writes the record at the start of `buf`; `None` if it does not fit. Returns its length.
    pub fn encode(&self, buf: &mut [u8]) -> Option<usize> {
        let len = record_len(self.name.len());
        let record = buf.get_mut(..len)?;
        record.fill(0);
        record[0..8].copy_from_slice(&self.ino.to_le_bytes());
        record[8..16].copy_from_slice(&self.next.to_le_bytes());
        record[16..18].copy_from_slice(&u16::try_from(len).ok()?.to_le_bytes());
        record[18] = self.kind;
        record[NAME_OFFSET..NAME_OFFSET + self.name.len()].copy_from_slice(self.name);
        Some(len)
    }
}

/// Reads the records of a filled buffer; stops at the first that is malformed.
#[derive(Clone, Copy, Debug)]
pub struct Entries<'a>(pub &'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let head = self.0.get(..NAME_OFFSET)?;
        let len = usize::from(u16::from_le_bytes([head[16], head[17]]));
        if len <= NAME_OFFSET {
            return None;
        }
        let (record, rest) = self.0.split_at_checked(len)?;
        let tail = &record[NAME_OFFSET..];
        let name = &tail[..tail.iter().position(|&b| b == 0)?];
        self.0 = rest;
        Some(Entry {
            ino: u64::from_le_bytes(record[0..8].try_into().ok()?),
            next: i64::from_le_bytes(record[8..16].try_into().ok()?),
            kind: record[18],
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_read(name in proptest::collection::vec(1u8.., 0..255), ino: u64, next: i64, kind: u8) {
            let entry = Entry { ino, next, kind, name: &name };
            let mut buf = [0xffu8; 600];
            let first = entry.encode(&mut buf).unwrap();
            let second = entry.encode(&mut buf[first..]).unwrap();
            let mut entries = Entries(&buf[..first + second]);
            prop_assert_eq!(entries.next(), Some(entry));
            prop_assert_eq!(entries.next(), Some(entry));
            prop_assert_eq!(entries.next(), None);
            prop_assert_eq!(entry.encode(&mut buf[..first - 1]), None);
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Entries(&bytes).count() <= bytes.len());
        }
    }
}
