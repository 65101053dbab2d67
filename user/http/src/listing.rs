//! The HTML page that lists a directory.

use crate::path;
use alloc::string::String;
use core::fmt::Write;

/// One line of a listing.
#[derive(Clone, Debug)]
pub struct Item {
    /// File name.
    pub name: String,
    /// Whether it is a directory.
    pub directory: bool,
    /// Size in bytes; not shown for a directory.
    pub size: u64,
    /// Last change, seconds since 1970.
    pub mtime: i64,
}

/// Text as it may stand in HTML, in attributes too.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// The page for directory `path` (as in the request, for the title); directories first, then by name.
#[must_use]
pub fn page(path: &str, mut items: alloc::vec::Vec<Item>) -> String {
    items.sort_by(|a, b| b.directory.cmp(&a.directory).then_with(|| a.name.cmp(&b.name)));
    let title = escape(path);
    let mut html = alloc::format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>body{{font-family:sans-serif}}td{{padding:0 1em 0 0}}td+td{{text-align:right}}</style></head>\n\
         <body><h1>{title}</h1>\n<table>\n"
    );
    if path != "/" {
        html.push_str("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    }
    for item in &items {
        let slash = if item.directory { "/" } else { "" };
        let (link, name) = (path::encode(&item.name), escape(&item.name));
        let size = if item.directory { String::new() } else { alloc::format!("{}", item.size) };
        let date = crate::date::format(item.mtime);
        // Writing to a string cannot fail. "./" keeps a name with a colon from being read as a scheme.
        let _ = writeln!(
            html,
            "<tr><td><a href=\"./{link}{slash}\">{name}{slash}</a></td><td>{size}</td><td>{date}</td></tr>"
        );
    }
    html.push_str("</table></body></html>\n");
    html
}
