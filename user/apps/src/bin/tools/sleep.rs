//! `sleep`.

use crate::options::Options;
use crate::{Outcome, Tool};
use rt::time::Duration;

/// The tool.
pub static TOOL: Tool =
    Tool { name: "sleep", usage: "SECONDS\nWaits. SECONDS may have a fraction.", options: Some(""), run };

fn run(options: &Options) -> Outcome {
    for text in options.some_args()? {
        let seconds: f64 = text.parse().map_err(|_| alloc::format!("{text}: not a number"))?;
        let duration = Duration::try_from_secs_f64(seconds).map_err(|_| alloc::format!("{text}: no time to wait"))?;
        rt::thread::sleep(duration);
    }
    Ok(0)
}
