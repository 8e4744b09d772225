//! `tidewatch dry-run`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

pub(super) const DRY_RUN_EXAMPLES: &str = "
  tidewatch dry-run failed_payments_spike
  tidewatch dry-run failed_payments_spike --vary k=2..6 --from 2025-11-01
  tidewatch dry-run failed_payments_spike --vary detect=robust --file events.ndjson
  tidewatch dry-run abandoned --vary gap=15m,20m,30m,45m
  tidewatch dry-run revenue --file 'old/*.ndjson.gz' --json";

pub(super) const DRY_RUN_NOTES: &str = "\
Events of the past go through the same engine, once for all settings together, and nothing is kept or \
sent. They come from the log of the data folder, as far back as it is kept (log.keep_events); a server \
may run on it. Or they come from files, in any form that `tidewatch replay` reads.

Of a rule it says when it would have fired, of a metric what its numbers were, and of \"abandoned\" \
which sessions would have ended with an entry and without a goal. --vary tries other values: of keys of \
the rule, of [session] (gap is session.gap), of [time]. Given twice, every combination is tried. \
What ends after the last event is left out: nobody knows what else would have come.

Exit codes: 0 fine, 1 failed, 2 usage or configuration, 6 nothing was applied.";

/// Where the past is.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct HistoryArgs {
    /// Files of events, folders of files, or patterns, in place of the data folder's log; may be
    /// given again
    #[arg(long, value_name = "FILE")]
    pub file: Vec<PathBuf>,
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
    /// A rule, a metric, or "abandoned"
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Try other values of a key: k=2..6, k=2..4/0.5, gap=15m,30m; may be given again
    #[arg(long, value_name = "KEY=VALUES")]
    pub vary: Vec<String>,
    /// Where the past is.
    #[command(flatten)]
    pub history: HistoryArgs,
}
