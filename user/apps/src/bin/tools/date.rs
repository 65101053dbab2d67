//! `date`.

use crate::options::Options;
use crate::{Outcome, Tool};
use rt::println;
use rt::time::SystemTime;

/// The tool.
pub static TOOL: Tool =
    Tool { name: "date", usage: "[+%s]\nPrints date and time (UTC), or seconds since 1970.", options: None, run };

fn run(options: &Options) -> Outcome {
    let now = SystemTime::now().since_epoch().as_secs() as i64;
    match options.args.as_slice() {
        [] => println!("{}", http::date::format(now)),
        ["+%s"] => println!("{now}"),
        [other, ..] => return Err(alloc::format!("{other}: not supported; try --help")),
    }
    Ok(0)
}
