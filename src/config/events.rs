//! `[events]`: what an event's attributes are called, and what must hold between its keys.
//! The bounds on one event are those of `domain::event::Limits`.

use super::conditions::wrong_attribute;
use super::reader::Reader;
use super::units::show_size;
use crate::domain::event::Limits;
use crate::domain::event::time_rule::TimeRule;
use crate::domain::number::text::NumberFormat;
use crate::domain::settings::{Word, settings};

/// Most attributes of a session key.
const KEYS_MAX: usize = 8;

settings! {
    /// What an event's attributes are called.
    #[derive(Clone, Debug, PartialEq)]
    pub struct EventsConfig in "events." {
        /// Attribute that holds the session key, or a list of some that make it together, such
        /// as ["ip", "agent"]. Events without it count in metrics and open no session.
        pub keys as "events.key": Vec<String> = vec!["user".into()], attributes(KEYS_MAX);
        /// Other names of attributes, for events that call things differently: as they come = as
        /// they are called here, ts, type and id included. An alias must not lead on to another one.
        pub aliases: Vec<(String, String)> = vec![("code".into(), "status".into())], pairs(NAMES_MAX);
        /// How the time of an event is written. "": whole numbers are epoch milliseconds, texts are
        /// RFC 3339, ISO 8601, dates of HTTP or of web server logs; numbers with a fraction and
        /// numbers past the year 9999 are taken for s, us or ns where that lies in 1990 to 2100,
        /// and the event gets a warning. "s", "ms", "us", "ns": the unit of numbers. "auto": the
        /// unit is guessed for whole numbers, too. "iso", "http", "clf": texts of that form alone.
        /// Anything with a % is a pattern: "%d.%m.%Y %H:%M:%S".
        pub time_format: String = String::new(), text();
        /// IANA zone of times that name none; "" takes them as UTC, with a warning.
        pub time_zone: String = String::new(), text();
        /// What becomes of an event without a time: "reject", or "arrival", which takes the time at
        /// which it arrived (not in a replay of files, where that means nothing).
        pub time_missing: TimeMissing = TimeMissing::Reject, word::<TimeMissing>();
        /// Numbers that come as text are numbers wherever one is needed: "30.50", ".5", "1e3".
        /// Where they are written in another way give an example of each attribute, as in
        /// { amount = "1.234,56", fee = "$12.50" }.
        pub numbers: Vec<(String, String)> = Vec::new(), pairs(NAMES_MAX);
        /// Attributes that are computed of others, for each event, and used like those that it
        /// carries: { net = "amount - discount", is_error = "status >= 500" }, or a line each under
        /// [events.derived]. See docs/expressions.md for what can be said.
        pub derived: Vec<(String, String)> = Vec::new(), pairs(NAMES_MAX);
    } besides {
        /// Bounds on one event.
        pub limits: Limits = Limits::default();
    }
}

/// What becomes of an event without a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeMissing {
    /// It is rejected.
    #[default]
    Reject,
    /// It happened when it arrived.
    Arrival,
}

impl Word for TimeMissing {
    const WORDS: &'static [(&'static str, Self)] =
        &[("reject", TimeMissing::Reject), ("arrival", TimeMissing::Arrival)];
}

impl EventsConfig {
    /// How the time of an event is written.
    ///
    /// # Errors
    /// When there is no such form or zone.
    pub fn time_rule(&self) -> Result<TimeRule, String> {
        TimeRule::declared(&self.time_format, &self.time_zone)
    }
}

/// Checks what one key alone cannot say.
pub(super) fn check(reader: &mut Reader, events: &EventsConfig) {
    let limits = &events.limits;
    if limits.text_bytes > limits.event_bytes {
        reader.conflict(
            &["events.text_bytes", "events.event_bytes"],
            format!(
                "events.text_bytes, {}, must not be greater than events.event_bytes, {}",
                show_size(limits.text_bytes as u64),
                show_size(limits.event_bytes as u64)
            ),
        );
    }
    if let Some(rule) = wrong_aliases(&events.aliases) {
        reader.problem("events.aliases", rule);
    }
    if let Err(rule) = events.time_rule() {
        reader.conflict(&["events.time_format", "events.time_zone"], rule);
    }
    for (name, example) in &events.numbers {
        let rule = wrong_attribute(name, &events.aliases)
            .or_else(|| NumberFormat::by_example(example).err());
        if let Some(rule) = rule {
            reader.problem("events.numbers", format!("{name}: {rule}"));
        }
    }
}

fn wrong_aliases(aliases: &[(String, String)]) -> Option<String> {
    if aliases.iter().any(|(from, to)| from.is_empty() || to.is_empty()) {
        return Some("must not hold an empty name".into());
    }
    let is_target = |name: &String| aliases.iter().any(|(_, to)| to == name);
    let chained = aliases.iter().find(|(from, _)| is_target(from))?;
    Some(format!("must not lead on to another alias, {:?} stands on both sides", chained.0))
}
