//! The keys outside the sections.

use std::path::PathBuf;

use jiff::tz::TimeZone;

use crate::domain::metric::Weekday;
use crate::domain::settings::settings;
use crate::domain::time::SpanMs;

settings! {
    /// What stands outside the sections.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct General in "" {
        /// Folder of the log and the state. One process at a time owns it.
        pub data_dir: PathBuf = "tidewatch-data".into(), checked(folder);
        /// How often the configuration file is looked at, to take it when it has changed, as after
        /// SIGHUP or POST /v1/reload. "0s" for never.
        pub config_watch: SpanMs = 0, span(0, HOUR);
        /// IANA zone of the people who read the numbers: where "since midnight" and windows of
        /// days, weeks and months begin.
        pub zone: String = "UTC".into(), text_that_is("an IANA zone", is_zone);
        /// The day that weeks begin with, for windows of weeks ("1w"): "monday", "tuesday",
        /// "wednesday", "thursday", "friday", "saturday" or "sunday".
        pub first_weekday: Weekday = Weekday::Monday, word::<Weekday>();
    }
}

fn folder(name: &str) -> Result<(), String> {
    if name.is_empty() { Err("must name a folder".into()) } else { Ok(()) }
}

/// Whether the built-in IANA data knows a zone.
pub(super) fn is_zone(name: &str) -> Result<(), String> {
    let rule = "is not an IANA zone: write for example \"UTC\" or \"Europe/Berlin\"";
    TimeZone::get(name).map(drop).map_err(|_| rule.to_string())
}
