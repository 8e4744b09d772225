//! Standing conditions: what is not as it should be, for as long as it lasts.
//!
//! One line of the table for each. A part that finds one tells the process's status
//! (`actors::status::Status::stands`); whether `/readyz` fails, what the page says, how loud the
//! log is, and the label in `/metrics` follow from the line. A further condition is a further
//! line, and the place that finds it.

use serde::{Serialize, Serializer};

/// How much a condition matters, and so who hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For whoever asks: in `/readyz?verbose` and the log at level debug.
    Note,
    /// Something is lost or will be: on the page as well, and a warning in the log.
    Warning,
    /// Something does not work: on the page, an error in the log.
    Critical,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
struct Line {
    name: &'static str,
    severity: Severity,
    says: &'static str,
    stops: bool,
    stale: bool,
}

const fn line(severity: Severity, name: &'static str, says: &'static str) -> Line {
    Line { name, severity, says, stops: false, stale: false }
}

const fn note(name: &'static str, says: &'static str) -> Line {
    line(Severity::Note, name, says)
}

const fn warning(name: &'static str, says: &'static str) -> Line {
    line(Severity::Warning, name, says)
}

const fn critical(name: &'static str, says: &'static str) -> Line {
    line(Severity::Critical, name, says)
}

impl Line {
    const fn stops(self) -> Line {
        Line { stops: true, ..self }
    }

    const fn stale(self) -> Line {
        Line { stale: true, ..self }
    }
}

macro_rules! conditions {
    ($($(#[$doc:meta])* $variant:ident = $line:expr;)*) => {
        /// What stands. The order is that of the table: when several make the numbers old, the
        /// first is named.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Condition {
            $($(#[$doc])* $variant,)*
        }

        impl Condition {
            /// All of them.
            pub const ALL: &[Condition] = &[$(Condition::$variant),*];

            const fn line(self) -> Line {
                match self {
                    $(Condition::$variant => $line,)*
                }
            }
        }
    };
}

// severity(name for machines, what it means for people), and what it does: `stops` makes /readyz
// fail, `stale` makes the numbers on the page old.
conditions! {
    /// The process begins its work.
    Starting = note("starting", "the process is starting").stops();
    /// The last commit is read.
    Restoring = note("restoring", "the last commit is being restored").stops().stale();
    /// A source is asked where it stands.
    Opening = note("opening", "the event log has not answered yet; the server keeps trying")
        .stops().stale();
    /// A part died, and all are started again.
    Restarting = warning("restarting", "the engine is restarting").stops().stale();
    /// Another configuration was read, and all goes on by it from the last commit.
    Reloading = note("reloading", "another configuration is being taken up").stale();
    /// New metrics are counted over the log.
    Backfilling = note("backfilling", "new metrics are being filled from the log");
    /// The process ends in order.
    Stopping = note("stopping", "the process is stopping").stops();
    /// There is no room for `state.db`.
    StateFull = critical("state_full", "the disk is full, nothing new is committed")
        .stops().stale();
    /// There is no room for `log.db`.
    LogFull = critical("log_full", "the disk is full, no new events are taken").stops();
    /// A file of the data folder was removed or replaced under the running process.
    FilesGone = critical("files_gone", "a file of the data folder was removed or replaced")
        .stops();
    /// A source cannot be reached.
    SourceAway = critical("source_away", "the event log cannot be reached").stops().stale();
    /// There is no connection to the NATS server.
    NatsAway = critical("nats_away", "the NATS server cannot be reached").stops();
    /// The NATS server does not let this user do something that nothing works without.
    NatsRefuses = critical("nats_refuses", "the NATS server refuses what is needed").stops();
    /// The source has more than was read.
    CatchingUp = note("catching_up", "the server is catching up on events").stale();
    /// A file is read from its beginning.
    Replaying = note("replaying", "the server is replaying a file").stale();
    /// One connection reads too slowly: told to that one alone.
    SlowClient = note(
        "slow_client",
        "this connection is slow; you see the newest numbers, but fewer updates",
    ).stale();
    /// Events come from the future: this machine's clock is probably behind.
    ClockBehind = warning("clock_behind", "this machine's clock is probably behind");
    /// More event ids than may be remembered: the oldest were forgotten.
    IdsForgotten = warning("ids_forgotten", "event ids were forgotten early");
    /// No further session may be opened.
    SessionsFull = warning("sessions_full", "there is no room for further sessions");
    /// No further key may begin a pattern, or a key holds too much for one.
    PatternsFull = warning("patterns_full", "there is no room for all that patterns must hold");
    /// More closed sessions than may be remembered: events that old are late.
    SessionsForgotten = warning("sessions_forgotten", "closed sessions were forgotten early");
    /// More anonymous keys than may be remembered: their visitors' sessions fall apart.
    AliasesForgotten = warning("aliases_forgotten", "anonymous keys were forgotten early");
    /// Dead letters left to keep their bound.
    DeadLettersDropped = warning("dead_letters_dropped", "dead letters left to keep their bound");
    /// More dead letters are kept than their bound, until the output has published them.
    DeadLettersHeld = warning("dead_letters_held", "dead letters wait for their output");
    /// A sink does not take what is to leave.
    OutputWaits = warning("output_waits", "an output does not go on");
    /// Rows left the data folder before a sink had taken them.
    RowsLost = warning("rows_lost", "rows left before an output had delivered them");
    /// There are notifications of a channel that the configuration does not have.
    ChannelGone = warning("channel_gone", "notifications wait for a channel that is not configured");
    /// A sink will never take some rows, and they were passed over.
    RowsLeftOut = warning("rows_left_out", "an output passed over what its sink refuses");
    /// Others may read the data folder.
    FolderOpen = warning("folder_open", "others may read the data folder");
    /// The NATS server does not let this user do something that the configuration asks for.
    NatsDenied = warning("nats_denied", "the NATS server refuses what the configuration asks for");
    /// The configuration changed what a metric or rule means: what there was is dropped.
    HistoryChanged = warning("history_changed", "the configuration changed what numbers mean");
    /// The configuration was read again and not taken: the one before goes on.
    ConfigRefused = warning("config_refused", "the configuration was not taken");
    /// The rows of a lookup cannot be had as they are now: those before go on.
    LookupOld = warning("lookup_old", "events are looked up in rows that may be old");
    /// A source may lose events in a way that we cannot prevent.
    SourceAtRisk = note("source_at_risk", "a source may lose events");
}

impl Condition {
    /// Its name for machines: in `/readyz`, on the page, and the label in `/metrics`.
    pub const fn name(self) -> &'static str {
        self.line().name
    }

    /// What it means, a sentence for people without its first capital and its full stop.
    pub const fn says(self) -> &'static str {
        self.line().says
    }

    /// How much it matters.
    pub const fn severity(self) -> Severity {
        self.line().severity
    }

    /// True when the process is not ready while it stands.
    pub const fn stops(self) -> bool {
        self.line().stops
    }

    /// True when the numbers on the page are old while it stands.
    pub const fn makes_stale(self) -> bool {
        self.line().stale
    }
}

/// As its name.
impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_has_a_name_of_its_own_and_a_sentence() {
        let mut names: Vec<_> = Condition::ALL.iter().map(|condition| condition.name()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for condition in Condition::ALL {
            let plain = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(condition.name().chars().all(plain), "{condition:?}");
            assert!(!condition.says().is_empty() && !condition.says().ends_with('.'));
        }
    }
}
