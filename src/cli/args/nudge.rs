//! `tidewatch nudge`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

pub(super) const NUDGE_EXAMPLES: &str = r#"
  tidewatch nudge list
  tidewatch nudge suppress ada@example.org
  tidewatch nudge suppress --file unsubscribed.txt"#;

pub(super) const NUDGE_NOTES: &str = "\
A running server is asked over HTTP: the one at --listen, else the one that runs on the data folder, \
else the one at web.listen. A file has one address on each line; blank lines and those that begin with # \
are passed over. Of addresses that are suppressed only hashes are kept, so there is no list of them.

Exit codes: 0 fine, 1 failed or refused, 2 usage or configuration.";

/// `tidewatch nudge`.
#[derive(Clone, Debug, ClapArgs)]
pub struct NudgeArgs {
    /// Who does this
    #[arg(long, global = true, value_name = "NAME", env = "USER", default_value = "somebody")]
    pub by: String,
    /// As JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub action: NudgeAction,
}

/// What to do with nudges.
#[derive(Clone, Debug, Subcommand)]
pub enum NudgeAction {
    /// List the nudges: what became of abandoned sessions, and what the nudges bring about
    List,
    /// Send nothing more to an address, or to those of a file
    Suppress {
        /// The address
        #[arg(required_unless_present = "file", conflicts_with = "file")]
        address: Option<String>,
        /// A file with one address on each line
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}
