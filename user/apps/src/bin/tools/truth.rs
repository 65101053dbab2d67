//! `true` and `false`.

use crate::Tool;

/// Succeeds.
pub static TRUE: Tool = Tool { name: "true", usage: "\nSucceeds.", options: None, run: |_| Ok(0) };
/// Fails.
pub static FALSE: Tool = Tool { name: "false", usage: "\nFails.", options: None, run: |_| Ok(1) };
