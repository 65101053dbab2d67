//! `sync`.

use crate::Tool;

/// The tool.
pub static TOOL: Tool = Tool {
    name: "sync",
    usage: "\nWrites everything that is cached to the disks.",
    options: Some(""),
    run: |_| {
        rt::system::sync();
        Ok(0)
    },
};
