//! Standing conditions: what is not as it should be, for as long as it lasts.
//!
//! One variant for each, with its name. A part that finds one tells the process's status
//! (`actors::status::Status::stands`), and from there it is on the page, in `/readyz`, in the
//! log (seldom enough) and in `/metrics`. A further condition is a further variant here, and
//! the place that finds it.

/// What stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// Events come from the future: this machine's clock is probably behind.
    ClockBehind,
    /// More event ids than may be remembered: the oldest were forgotten.
    IdsForgotten,
    /// No further session may be opened.
    SessionsFull,
    /// More closed sessions than may be remembered: events that old are late.
    SessionsForgotten,
    /// More anonymous keys than may be remembered: their visitors' sessions fall apart.
    AliasesForgotten,
    /// Dead letters left to keep their bound.
    DeadLettersDropped,
    /// More dead letters are kept than their bound, until the output has published them.
    DeadLettersHeld,
    /// There is no room for `state.db`.
    StateFull,
    /// There is no room for `log.db`.
    LogFull,
    /// A file of the data folder was removed or replaced under the running process.
    FilesGone,
    /// Others may read the data folder.
    FolderOpen,
    /// The NATS server does not let this user do something that the configuration asks for.
    NatsDenied,
    /// The configuration changed what a metric or rule means: what there was is dropped.
    HistoryChanged,
}

impl Condition {
    /// All of them.
    pub const ALL: &[Condition] = &[
        Condition::ClockBehind,
        Condition::IdsForgotten,
        Condition::SessionsFull,
        Condition::SessionsForgotten,
        Condition::AliasesForgotten,
        Condition::DeadLettersDropped,
        Condition::DeadLettersHeld,
        Condition::StateFull,
        Condition::LogFull,
        Condition::FilesGone,
        Condition::FolderOpen,
        Condition::NatsDenied,
        Condition::HistoryChanged,
    ];

    /// Its name: in `/readyz`, on the page, and the label in `/metrics`.
    pub fn name(self) -> &'static str {
        match self {
            Condition::ClockBehind => "clock_behind",
            Condition::IdsForgotten => "ids_forgotten",
            Condition::SessionsFull => "sessions_full",
            Condition::SessionsForgotten => "sessions_forgotten",
            Condition::AliasesForgotten => "aliases_forgotten",
            Condition::DeadLettersDropped => "dead_letters_dropped",
            Condition::DeadLettersHeld => "dead_letters_held",
            Condition::StateFull => "state_full",
            Condition::LogFull => "log_full",
            Condition::FilesGone => "files_gone",
            Condition::FolderOpen => "folder_open",
            Condition::NatsDenied => "nats_denied",
            Condition::HistoryChanged => "history_changed",
        }
    }

    /// True when nothing works while it stands: the process is not ready.
    pub fn stops(self) -> bool {
        matches!(self, Condition::StateFull | Condition::LogFull | Condition::FilesGone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_has_a_name_of_its_own() {
        let mut names: Vec<_> = Condition::ALL.iter().map(|condition| condition.name()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
