//! `tidewatch alerts`.

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

pub(super) const ALERTS_EXAMPLES: &str = r#"
  tidewatch alerts list
  tidewatch alerts show 3f2a
  tidewatch alerts ack 3f2a --note "looking at it"
  tidewatch alerts silence 'rule == "errors" && region == "eu"' --for 2h --reason deploy
  tidewatch alerts log"#;

pub(super) const ALERTS_NOTES: &str = "\
A running server is asked over HTTP: the one at --listen, else the one that runs on the data folder, \
else the one at web.listen. An incident or a silence is named by the beginning of its id.

What a silence matches is an expression over kind, rule, metric, severity, subject, value, far and the \
labels of metrics.

Exit codes: 0 fine, 1 failed or refused, 2 usage or configuration.";

/// `tidewatch alerts`.
#[derive(Clone, Debug, ClapArgs)]
pub struct AlertsArgs {
    /// Who does this, for the log
    #[arg(long, global = true, value_name = "NAME", env = "USER", default_value = "somebody")]
    pub by: String,
    /// As JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub action: AlertsAction,
}

/// Which incidents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// Those that hold, and what is pending.
    Open,
    /// What stands out, not for long enough yet.
    Pending,
    /// Those that are over.
    Resolved,
    /// All of these.
    All,
}

/// What to do with incidents.
#[derive(Clone, Debug, Subcommand)]
pub enum AlertsAction {
    /// List what is pending, and incidents, those that began last first
    List {
        /// Which
        #[arg(long, value_enum, default_value = "open")]
        state: Which,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 50,
              value_parser = clap::value_parser!(u64).range(1..=1_000))]
        limit: u64,
    },
    /// Show one, with what was done
    Show {
        /// The beginning of its id
        id: String,
    },
    /// Take care of one: nobody else is told
    Ack {
        /// The beginning of its id
        id: String,
        /// What to add
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
    },
    /// Hear nothing of one for a while
    Snooze {
        /// The beginning of its id
        id: String,
        /// For how long: 30m, 2h
        #[arg(long = "for", value_name = "SPAN")]
        span: String,
    },
    /// Hear nothing of all that meet a condition, for a while
    Silence {
        /// The condition
        matching: String,
        /// For how long: 30m, 2h
        #[arg(long = "for", value_name = "SPAN")]
        span: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// List the silences
    Silences,
    /// End a silence
    Unsilence {
        /// The beginning of its id
        id: String,
    },
    /// Say what was done, by the engine and by people
    Log {
        /// Only lines with a greater number
        #[arg(long, value_name = "N", default_value_t = 0)]
        after: u64,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 100,
              value_parser = clap::value_parser!(u64).range(1..=1_000))]
        limit: u64,
    },
}
