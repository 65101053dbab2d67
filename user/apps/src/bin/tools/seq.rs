//! `seq`.

use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::string::ToString;
use rt::println;

/// The tool.
pub static TOOL: Tool =
    Tool { name: "seq", usage: "[FIRST [STEP]] LAST\nPrints whole numbers, one a line.", options: None, run };

fn run(options: &Options) -> Outcome {
    let number = |text: &str| text.parse::<i64>().map_err(|_| alloc::format!("{text}: not a whole number"));
    let (first, step, last) = match options.args.as_slice() {
        [last] => (1, 1, number(last)?),
        [first, last] => (number(first)?, 1, number(last)?),
        [first, step, last] => (number(first)?, number(step)?, number(last)?),
        _ => return Err("needs one to three numbers".to_string()),
    };
    if step == 0 {
        return Err("STEP must not be 0".to_string());
    }
    let mut at = Some(first);
    while let Some(n) = at.filter(|&n| if step > 0 { n <= last } else { n >= last }) {
        println!("{n}");
        at = n.checked_add(step);
    }
    Ok(0)
}
