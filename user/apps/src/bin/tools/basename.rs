//! `basename` and `dirname`.

use crate::options::Options;
use crate::{Outcome, Tool};
use rt::{path, println};

/// The last part of a path.
pub static TOOL: Tool =
    Tool { name: "basename", usage: "PATH...\nPrints the last part of each path.", options: Some(""), run: base };
/// What is before it.
pub static DIRNAME: Tool =
    Tool { name: "dirname", usage: "PATH...\nPrints what is before the last part.", options: Some(""), run: dir };

fn base(options: &Options) -> Outcome {
    options.some_args()?.iter().for_each(|p| println!("{}", path::file_name(p)));
    Ok(0)
}

fn dir(options: &Options) -> Outcome {
    for p in options.some_args()? {
        let parent = path::parent(p);
        println!("{}", if parent.is_empty() { "." } else { parent });
    }
    Ok(0)
}
