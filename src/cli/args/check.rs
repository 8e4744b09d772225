//! `tidewatch check`.

use clap::Args as ClapArgs;

pub(super) const CHECK_EXAMPLES: &str = "
  tidewatch check --config tidewatch.toml
  tidewatch check --config tidewatch.toml --print
  tidewatch check --config tidewatch.toml --plan
  tidewatch check --config tidewatch.toml --data-dir tidewatch-data
  tidewatch check --defaults > tidewatch.toml";

pub(super) const CHECK_NOTES: &str = "\
With --defaults it writes a file with every key at its default, with the reason and the bounds, to \
start from. With --plan or --data-dir it says of every metric and rule whether a start with this configuration would \
keep its history, keep it under another name, drop it, or begin anew, and what changed settings \
of sessions would do to open ones; a reload (SIGHUP, POST /v1/reload) does the same. A server may run \
on the folder: it is only read.

Exit codes: 0 sound, 1 the folder cannot be read, 2 usage or configuration, 4 state damaged or of \
another format.";

/// `tidewatch check`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct CheckArgs {
    /// Print the configuration that is in force, as TOML
    #[arg(long)]
    pub print: bool,
    /// Say as well what a start or a reload would do to what the data folder keeps, and how much
    /// the numbers may come to hold
    #[arg(long, conflicts_with = "print")]
    pub plan: bool,
    /// Write a configuration file with every key at its default, its reason and its bounds
    #[arg(long, conflicts_with_all = ["print", "plan"])]
    pub defaults: bool,
}
