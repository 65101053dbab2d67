//! The kernel's symbol table: written into the linked ELF file, read by the kernel's backtrace.
//!
//! The linker script reserves section `.ksyms`. After linking, its first bytes become, all little-endian:
//!
//! ```text
//! u32 magic          0x4d59_534b ("KSYM")
//! u32 count
//! u32 offset[count]  of each function from `__image_start`, ascending
//! u32 name[count]    where its name starts, from the start of the section
//! names              demangled, at most 95 bytes each, NUL-terminated
//! ```
//!
//! A table that does not fit loses its shortest functions: they are the least likely to be on a stack.

use crate::command::say;
use anyhow::{Context, Result};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

const MAGIC: u32 = u32::from_le_bytes(*b"KSYM");
const NAME_LIMIT: usize = 95;

/// A function of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Function {
    offset: u32,
    size: u64,
    name: String,
}

/// Fills the section `.ksyms` of a linked kernel; a kernel without the section comes back unchanged.
pub fn fill(mut image: Vec<u8>) -> Result<Vec<u8>> {
    let file = object::File::parse(image.as_slice()).context("the kernel is not an ELF file")?;
    let Some((start, size)) = place(&file) else {
        say("the kernel reserves no room for its symbol table: backtraces will have no names");
        return Ok(image);
    };
    let table = table(functions(&file), usize::try_from(size)?);
    let start = usize::try_from(start)?;
    image[start..start + table.len()].copy_from_slice(&table);
    Ok(image)
}

/// File offset and size of the reserved room: section `.ksyms`, or, where the linker script puts that into a
/// larger section, the static `backtrace::TABLE` in it.
fn place(file: &object::File<'_>) -> Option<(u64, u64)> {
    if let Some(section) = file.section_by_name(".ksyms") {
        return section.file_range();
    }
    let demangled = |name: &str| format!("{:#}", rustc_demangle::demangle(name));
    let is_table =
        |symbol: &object::Symbol<'_, '_>| symbol.name().is_ok_and(|name| demangled(name).ends_with("backtrace::TABLE"));
    let symbol = file.symbols().find(is_table)?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let offset = section.file_range()?.0 + symbol.address().checked_sub(section.address())?;
    Some((offset, symbol.size()))
}

fn functions(file: &object::File<'_>) -> Vec<Function> {
    let start = file.symbols().find(|symbol| symbol.name() == Ok("__image_start")).map(|symbol| symbol.address());
    let base = start.or_else(|| file.section_by_name(".text").map(|text| text.address())).unwrap_or(0);
    let mut functions: Vec<Function> = file.symbols().filter_map(|symbol| function(&symbol, base)).collect();
    functions.sort_by(|a, b| (a.offset, b.size).cmp(&(b.offset, a.size)));
    functions.dedup_by_key(|function| function.offset);
    functions
}

fn function<'a>(symbol: &impl ObjectSymbol<'a>, base: u64) -> Option<Function> {
    // Assembly labels have no type but belong into a backtrace; local labels start with a dot or a dollar.
    let is_code = symbol.kind() == SymbolKind::Text || (symbol.kind() == SymbolKind::Unknown && symbol.size() > 0);
    let name = symbol.name().ok().filter(|name| is_code && !name.is_empty() && !name.starts_with(['.', '$']))?;
    let offset = u32::try_from(symbol.address().checked_sub(base)?).ok()?;
    let mut name = format!("{:#}", rustc_demangle::demangle(name));
    while name.len() > NAME_LIMIT {
        name.pop();
    }
    Some(Function { offset, size: symbol.size(), name })
}

/// The table for `functions`, sorted by offset, in at most `limit` bytes.
fn table(mut functions: Vec<Function>, limit: usize) -> Vec<u8> {
    let bytes_of = |function: &Function| 8 + function.name.len() + 1;
    let mut needed = 8 + functions.iter().map(bytes_of).sum::<usize>();
    if needed > limit {
        let all = functions.len();
        functions.sort_by_key(|function| std::cmp::Reverse(function.size));
        while needed > limit
            && let Some(shortest) = functions.pop()
        {
            needed -= bytes_of(&shortest);
        }
        functions.sort_by_key(|function| function.offset);
        say(format!(
            "the room for the symbol table is too small: {} of {all} functions will have no name in backtraces",
            all - functions.len()
        ));
    }
    encode(&functions)
}

fn encode(functions: &[Function]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |word: usize| bytes.extend_from_slice(&u32::try_from(word).unwrap_or(u32::MAX).to_le_bytes());
    put(MAGIC as usize);
    put(functions.len());
    functions.iter().for_each(|function| put(function.offset as usize));
    let mut name = 8 + functions.len() * 8;
    for function in functions {
        put(name);
        name += function.name.len() + 1;
    }
    for function in functions {
        bytes.extend_from_slice(function.name.as_bytes());
        bytes.push(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(offset: u32, size: u64, name: &str) -> Function {
        Function { offset, size, name: name.into() }
    }

    #[test]
    fn table_has_the_documented_layout() {
        let bytes = table(vec![function(0, 4, "start"), function(16, 8, "main")], 100);
        let word = |index: usize| u32::from_le_bytes(bytes[index * 4..index * 4 + 4].try_into().unwrap());
        assert_eq!([word(0), word(1), word(2), word(3)], [0x4d59_534b, 2, 0, 16]);
        assert_eq!(&bytes[word(4) as usize..], b"start\0main\0");
        assert_eq!(&bytes[word(5) as usize..], b"main\0");
    }

    #[test]
    fn shortest_functions_go_first_when_space_is_short() {
        let bytes =
            table(vec![function(0, 100, "long"), function(8, 1, "tiny"), function(16, 50, "middle")], 8 + 13 + 15);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains("long") && text.contains("middle") && !text.contains("tiny"));
        assert!(bytes.len() <= 36);
    }
}
