//! `tidewatch nudge`: how nudges stand, and who wants to hear nothing. Asks a running server.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use thiserror::Error;

use super::alerts::{AlertsError, find};
use super::args::{NudgeAction, NudgeArgs};
use super::server::{Server, ServerError};
use crate::config::Config;

/// Addresses that are sent at once.
const PAGE: usize = 1_000;

/// Why it did not work.
#[derive(Debug, Error)]
pub enum NudgeError {
    /// There is no server.
    #[error(transparent)]
    Nowhere(#[from] AlertsError),
    /// The server did not do it.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The server did not take a part of a file; what came before is suppressed.
    #[error("lines {first} to {last} of {}: {cause}", file.display())]
    Lines {
        /// The file.
        file: PathBuf,
        /// The first line of the part that was refused.
        first: usize,
        /// Its last line.
        last: usize,
        /// What the server said.
        cause: ServerError,
    },
    /// The file cannot be read.
    #[error("{}: {cause}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
}

/// Carries out one action and says what came of it.
///
/// # Errors
/// When there is no server, or it refuses.
pub fn run(config: &Config, listen: Option<&str>, args: &NudgeArgs) -> Result<String, NudgeError> {
    let server = find(config, listen)?;
    match &args.action {
        NudgeAction::List => {
            let all: Value = server.get("/v1/nudges")?;
            Ok(if args.json { format!("{all:#}") } else { table(&all) })
        }
        NudgeAction::Suppress { address, file } => {
            let new = match (address, file) {
                (_, Some(file)) => from_file(&server, file, &args.by)?,
                (address, None) => {
                    suppress(&server, &[address.as_deref().unwrap_or("")], &args.by)?
                }
            };
            Ok(if args.json { json!({"new": new}).to_string() } else { said(new) })
        }
    }
}

fn said(new: u64) -> String {
    match new {
        0 => "Nothing more was sent there already.".into(),
        1 => "Nothing more is sent to 1 address.".into(),
        new => format!("Nothing more is sent to {new} addresses."),
    }
}

fn suppress(server: &Server, addresses: &[&str], by: &str) -> Result<u64, ServerError> {
    let body = json!({"addresses": addresses, "by": by});
    let answer: Value = server.post("/v1/suppressions", &body)?;
    Ok(answer["new"].as_u64().unwrap_or_default())
}

fn from_file(server: &Server, file: &Path, by: &str) -> Result<u64, NudgeError> {
    let wrong = |cause| NudgeError::File { file: file.to_owned(), cause };
    let text = std::fs::read_to_string(file).map_err(wrong)?;
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let lines: Vec<(usize, &str)> =
        lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect();
    let mut new = 0;
    for page in lines.chunks(PAGE) {
        let addresses: Vec<&str> = page.iter().map(|(_, line)| *line).collect();
        let refused = |cause| NudgeError::Lines {
            file: file.to_owned(),
            first: page[0].0,
            last: page[page.len() - 1].0,
            cause,
        };
        new += suppress(server, &addresses, by).map_err(refused)?;
    }
    Ok(new)
}

fn table(all: &Value) -> String {
    let nudges = all["nudges"].as_array().map_or(&[][..], Vec::as_slice);
    if nudges.is_empty() {
        return "There is no [[nudge]].".into();
    }
    let mut text = String::new();
    for nudge in nudges {
        // Writing to a text cannot fail.
        let name = |key: &str| nudge[key].as_str().unwrap_or_default().to_owned();
        let _ = writeln!(text, "{} (of {}, by {})", name("name"), name("of"), name("channel"));
        let outcomes = nudge["outcomes"].as_object().into_iter().flatten();
        let outcomes = outcomes.filter(|(_, count)| count.as_u64() != Some(0));
        let outcomes: Vec<String> =
            outcomes.map(|(word, count)| format!("{count} {}", word.replace('_', " "))).collect();
        let _ = writeln!(text, "  sessions: {}", outcomes.join(", "));
        for (arm, word) in [("told", "told"), ("held_out", "held out")] {
            let count = |key: &str| nudge[arm][key].as_u64().unwrap_or_default();
            let (of, hits, running) = (count("finished"), count("converted"), count("running"));
            let _ = writeln!(text, "  {word}: {hits} of {of} converted, {running} still running");
        }
        if let Some(count @ 1..) = nudge["not_compared"].as_u64() {
            let _ = writeln!(
                text,
                "  not compared: {count}, of keys that were before, or without room"
            );
        }
        let _ = writeln!(text, "  uplift: {}", uplift(nudge));
    }
    let _ = write!(text, "{} addresses are suppressed", all["suppressed"]);
    text
}

fn uplift(nudge: &Value) -> String {
    let found = &nudge["uplift"];
    let number = |key: &str| found[key].as_f64().unwrap_or_default();
    if found.is_null() {
        return format!("too few to say (needs {} of each)", nudge["enough"]);
    }
    format!(
        "{:+.1} percentage points (95 %: {:+.1} to {:+.1})",
        number("points"),
        number("low"),
        number("high")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_what_it_brings_about_or_that_it_is_too_early() {
        let arm = |finished, converted| json!({"finished": finished, "converted": converted, "running": 2});
        let all = json!({"suppressed": 3, "nudges": [{
            "name": "cart", "of": "carts", "channel": "post", "enough": 30,
            "not_compared": 4, "outcomes": {"sent": 70, "held_out": 80, "capped": 0, "no_consent": 1},
            "told": arm(70, 56), "held_out": arm(80, 48),
            "uplift": {"points": 20.0, "low": 5.24, "high": 33.39},
        }]});
        let text = table(&all);
        for words in [
            "cart (of carts, by post)",
            "held out, ",
            "told: 56 of 70 converted, 2 still running",
            "not compared: 4, of keys",
            "uplift: +20.0 percentage points (95 %: +5.2 to +33.4)",
            "3 addresses are suppressed",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!text.contains("capped"), "{text}");
        let mut early = all.clone();
        early["nudges"][0]["uplift"] = Value::Null;
        assert!(table(&early).contains("too few to say (needs 30 of each)"));
    }
}
