//! The keys of dry runs.

use crate::domain::settings::settings;
use crate::domain::time::SpanMs;

settings! {
    /// Bounds of `tidewatch dry-run`, `tidewatch tune` and `POST /v1/dry-run`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct DryRun in "dry_run." {
        /// Settings that are tried at once.
        pub settings_max: usize = 64, count(1, 1_000);
        /// Pipelines at once: settings with other sessions, or with another idea of what is late,
        /// have one each, with sessions, ids and threads of its own.
        pub pipelines_max: usize = 8, count(1, 64);
        /// Alerts and matches that are listed for each setting; further ones are counted.
        pub listed_max: usize = 1_000, count(0, 100_000);
        /// Numbers of a metric that are kept for its quantiles and for tuning, 16 bytes each;
        /// further ones are counted and left out.
        pub numbers_max: usize = 4_000_000, count(100, 100_000_000);
        /// Judgements of tuning, settings times windows: some seconds for 100 million. Where the
        /// history is so long that all settings take more, fewer keys are varied.
        pub judgements_max: u64 = 100_000_000, count(1_000_000, 100_000_000_000);
        /// Dry runs that the server makes at a time for those who ask over HTTP; further ones get
        /// 429. Each takes the processor time of a replay of the kept log. 0: none at all.
        pub at_once_max: usize = 1, count(0, 16);
        /// Longest time that one of them may take; what is not done by then is given up.
        pub timeout: SpanMs = 2 * MINUTE, span(SECOND, DAY);
        /// Newest events of the log, or messages of the stream, that one of them looks at; from and to choose among these.
        pub events_max: u64 = 10_000_000, count(1_000, 10_000_000_000);
        /// How long before from a stream is read, by the time at which it stored its messages: rules
        /// learn from it, and windows and sessions begin in it. The log and files are read whole.
        pub lead: SpanMs = DAY, span(0, 3_660 * DAY);
    }
}
