//! `tidewatch dead-letters`.

use clap::{Args as ClapArgs, Subcommand};

pub(super) const DEAD_LETTERS_EXAMPLES: &str = "
  tidewatch dead-letters list
  tidewatch dead-letters show 17
  tidewatch dead-letters redrive 17 18
  tidewatch dead-letters redrive --all";

pub(super) const DEAD_LETTERS_NOTES: &str = "\
A running server is asked over HTTP: the one at --listen, else the one that runs on the data \
folder. Without one the folder is read directly. Nothing is made.

Exit codes: 0 fine, 1 failed or something was not redriven, 2 usage or configuration, 3 data folder \
in use, 4 state damaged.";

/// `tidewatch dead-letters`.
#[derive(Clone, Debug, ClapArgs)]
pub struct DeadLettersArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub action: DeadLettersAction,
}

/// What to do with dead letters.
#[derive(Clone, Debug, Subcommand)]
pub enum DeadLettersAction {
    /// List them, oldest first
    List {
        /// Only those with a greater id
        #[arg(long, value_name = "ID", default_value_t = 0)]
        after: u64,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 100,
              value_parser = clap::value_parser!(u64).range(1..=LIST_MAX))]
        limit: u64,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one with its bytes
    Show {
        /// Its id
        id: u64,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Send them through the log again, if they can be understood now
    Redrive {
        /// Their ids
        #[arg(required_unless_present = "all", value_name = "ID")]
        ids: Vec<u64>,
        /// All that were not sent again yet
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Most dead letters in one list.
pub const LIST_MAX: u64 = 1_000;
