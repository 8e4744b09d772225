//! What the benches share: their queries, and how they read options and sum up runs.

use std::fs;
use std::path::{Path, PathBuf};

/// The four queries, as a config: sessions are there anyway.
pub const FOUR_QUERIES: &str = include_str!("../four_queries.toml");

/// A whole number, `_` between its digits allowed.
pub fn number(text: &str) -> u64 {
    text.replace('_', "").parse().unwrap_or_else(|_| panic!("{text} is not a number"))
}

/// The middle of figures in order.
pub fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

/// The build folder: the binary under test is in its `release`.
pub fn target() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_tidewatch"));
    binary.parent().and_then(Path::parent).expect("target/PROFILE/tidewatch").into()
}

/// User and system seconds that a process has taken, also one that has ended and that nobody has
/// waited for.
pub fn processor(pid: u32) -> f64 {
    // The kernel tells them in hundredths of a second, whatever its own clock.
    const TICKS_A_SECOND: f64 = 100.0;
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let (_, after) = text.rsplit_once(") ").expect("a name in parentheses");
    let ticks = after.split(' ').skip(11).take(2).map(|field| field.parse::<f64>().unwrap());
    ticks.sum::<f64>() / TICKS_A_SECOND
}
