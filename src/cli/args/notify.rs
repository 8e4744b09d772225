//! `tidewatch notify`.

use clap::{Args as ClapArgs, Subcommand};

pub(super) const NOTIFY_EXAMPLES: &str = r#"
  tidewatch notify test oncall
  tidewatch notify test oncall --send
  tidewatch notify again 4711"#;

pub(super) const NOTIFY_NOTES: &str = "\
A test shows what would be sent for a sample of each kind and step that the route takes, without \
secrets; with --send they are delivered, each once, about something of their own.

What was left out (tidewatch_out_left_out_total, /readyz?verbose) is kept with its number; again \
delivers it, from here, with the same key. One that is for a person is read from the data folder: no \
server gives their address out.

Exit codes: 0 fine, 1 failed or refused, 2 usage or configuration.";

/// `tidewatch notify`.
#[derive(Clone, Debug, ClapArgs)]
pub struct NotifyArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: NotifyAction,
}

/// What to do with channels.
#[derive(Clone, Debug, Subcommand)]
pub enum NotifyAction {
    /// Show what a route would send, or send it
    Test {
        /// The route
        route: String,
        /// Deliver the samples
        #[arg(long)]
        send: bool,
    },
    /// Deliver a notification once more, by its number
    Again {
        /// Its number, as in /v1/notifications
        n: u64,
    },
}
