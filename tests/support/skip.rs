//! A test that cannot do its work here says so, in a way that is counted: `./test` prints at
//! its end how many tests were skipped, and why.

use std::fs::OpenOptions;
use std::io::Write;

/// Notes that the running test is skipped because of `why`: printed, and added as a line to
/// the file that `TIDEWATCH_SKIPPED` names, where it names one.
pub fn skipped(why: impl std::fmt::Display) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    println!("skipped: {why}");
    let Some(path) = std::env::var_os("TIDEWATCH_SKIPPED") else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    // One write, so that lines of tests that run side by side do not mix.
    file.write_all(format!("{test}\t{why}\n").as_bytes()).unwrap();
}
