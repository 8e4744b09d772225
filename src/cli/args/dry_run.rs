//! `tidewatch dry-run` and `tidewatch tune`: what can be said to them.

use std::path::PathBuf;

use clap::Args as ClapArgs;

pub(super) const DRY_RUN_EXAMPLES: &str = "
  tidewatch dry-run failed_payments_spike
  tidewatch dry-run failed_payments_spike --vary k=2..6 --from 2025-11-01
  tidewatch dry-run failed_payments_spike --vary detect=robust --file events.ndjson
  tidewatch dry-run abandoned --vary gap=15m,20m,30m,45m
  tidewatch dry-run quick_purchase --vary within=5m,10m,30m
  tidewatch dry-run revenue --file 'old/*.ndjson.gz' --json";

pub(super) const DRY_RUN_NOTES: &str = "\
Events of the past go through the same engine, once for all settings together, and nothing is kept or \
sent. They come from the log of the data folder, as far back as it is kept (log.keep_events); a server \
may run on it. Where events come from a stream (nats.url) they are those that it keeps, from \
dry_run.lead before --from on, read through a consumer that is deleted again. Or they come from files, in any form that `tidewatch replay` reads.

Of a rule it says when it would have fired, of a metric what its numbers were, of a pattern what it \
would have matched, and of \"abandoned\" which sessions would have ended with an entry and without a \
goal. --vary tries other values: of keys of the rule, of within and times of the pattern, of [session] \
(gap is session.gap), of [time]. Given twice, every combination is tried. \
What ends after the last event is left out: nobody knows what else would have come.

Exit codes: 0 fine, 1 failed, 2 usage or configuration, 6 nothing was applied.";

pub(super) const TUNE_EXAMPLES: &str = "
  tidewatch tune failed_payments_spike --at-most 2/day
  tidewatch tune failed_payments_spike --at-most 1/week --file events.ndjson";

pub(super) const TUNE_NOTES: &str = "\
It looks for settings of the rule that would not have fired more often than that on this history, and \
among them for those that miss least. The lines to paste into [[rule]] are printed, and what they would \
have caught. Past is no future: look the alerts through.

Exit codes: 0 fine, 1 failed, 2 usage or configuration, 6 nothing was applied, or no setting does it.";

/// Where the past is.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct HistoryArgs {
    /// Files of events, folders of files, or patterns, in place of the data folder's log; may be
    /// given again
    #[arg(long, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// The stream that holds the past, where the configuration has several
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    pub stream: Option<String>,
    /// How columns of these files become events (TOML)
    #[arg(long, value_name = "FILE.toml", requires = "file")]
    pub map: Option<PathBuf>,
    /// The first time that counts: what was before only teaches
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// The first time that does not count any more
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `tidewatch dry-run`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct DryRunArgs {
    /// A rule, a metric, a pattern, or "abandoned"
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Try other values of a key: k=2..6, k=2..4/0.5, gap=15m,30m; may be given again
    #[arg(long, value_name = "KEY=VALUES")]
    pub vary: Vec<String>,
    /// Where the past is.
    #[command(flatten)]
    pub history: HistoryArgs,
}

/// `tidewatch tune`.
#[derive(Clone, Debug, ClapArgs)]
pub struct TuneArgs {
    /// The rule
    #[arg(value_name = "RULE")]
    pub name: String,
    /// How often it may fire, on average: 2/day, 1/week, 3/hour
    #[arg(long, value_name = "N/SPAN")]
    pub at_most: Often,
    /// Where the past is.
    #[command(flatten)]
    pub history: HistoryArgs,
}

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Often {
    /// How many.
    pub times: f64,
    /// In how long, in milliseconds.
    pub span: i64,
}

impl std::str::FromStr for Often {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "write a number and day, week, month or hour: 2/day, 1/week".to_owned();
        let (times, span) = text.split_once('/').ok_or_else(wrong)?;
        const HOUR: i64 = 3_600_000;
        let span = match span.trim() {
            "hour" | "h" => HOUR,
            "day" | "d" => 24 * HOUR,
            "week" | "w" => 7 * 24 * HOUR,
            "month" => 30 * 24 * HOUR,
            _ => return Err(wrong()),
        };
        let times = times.trim().parse().ok().filter(|times| (0.0..1e9).contains(times));
        Ok(Often { times: times.ok_or_else(wrong)?, span })
    }
}
