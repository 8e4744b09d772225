//! What can be set of NATS. `config` reads and checks it; every bound stands there.

use std::time::Duration;

pub use tidewatch_publisher::connection::{API, Auth, INBOX, LinkSettings, Tls, domain_api};

/// Make streams and consumers, or only look whether they are as they should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manage {
    /// Make what is missing.
    #[default]
    Create,
    /// Make nothing.
    Check,
}

/// What to do when the stream no longer holds what was not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnGap {
    /// Stop and say so.
    #[default]
    Stop,
    /// Count it and go on.
    Continue,
}

/// Whose time is the time of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceTime {
    /// The event's own; one without is refused.
    #[default]
    Event,
    /// The broker's, whatever the event says.
    Broker,
    /// The event's own; the broker's for one without.
    BrokerIfAbsent,
}

/// One source: a stream, and which of its subjects.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceSettings {
    /// The stream.
    pub stream: String,
    /// Subjects of the stream when it is made.
    pub subjects: Vec<String>,
    /// Only these subjects of the stream; empty for all.
    pub filter: Vec<String>,
    /// Name of the durable consumer.
    pub consumer: String,
    /// `shop.{region}.{type}`: attributes taken from the subject; empty for none.
    pub subject_template: String,
    /// Whose time counts.
    pub time: SourceTime,
    /// Make or check.
    pub manage: Manage,
    /// What to do about a gap.
    pub on_gap: OnGap,
    /// How long the stream keeps messages when it is made.
    pub max_age: Duration,
    /// Bytes the stream keeps when it is made.
    pub max_bytes: u64,
    /// How long the server remembers message ids when the stream is made.
    pub duplicate_window: Duration,
    /// Copies of the stream in a cluster when it is made.
    pub replicas: usize,
    /// Messages asked for at once; never more than the free credits.
    pub pull_messages: usize,
    /// Bytes of one message after it was unpacked.
    pub inflated_bytes_max: usize,
    /// Unacknowledged messages the consumer may have out: the pipeline's credits and what is
    /// asked for ahead.
    pub max_ack_pending: i64,
    /// The server's monitoring port, `http://host:8222`, to ask how often it syncs; empty
    /// for none.
    pub monitor_url: String,
}

impl Default for SourceSettings {
    fn default() -> Self {
        SourceSettings {
            stream: "EVENTS".into(),
            subjects: vec!["events.>".into()],
            filter: Vec::new(),
            consumer: "tidewatch".into(),
            subject_template: String::new(),
            time: SourceTime::Event,
            manage: Manage::Create,
            on_gap: OnGap::Stop,
            max_age: Duration::from_secs(7 * 86_400),
            max_bytes: 0,
            duplicate_window: Duration::from_secs(600),
            replicas: 1,
            pull_messages: 8_192,
            inflated_bytes_max: 8 << 20,
            max_ack_pending: 1_048_576 + 8_192,
            monitor_url: String::new(),
        }
    }
}

/// Checks a list of servers: `nats://host:4222` or `tls://host`, separated by commas.
///
/// # Errors
/// The rule that is broken.
pub fn check_url(url: &str) -> Result<(), String> {
    for part in url.split(',').map(str::trim) {
        let address: async_nats::ServerAddr = part.parse().map_err(|error| {
            format!("{part:?} is not a server such as nats://host:4222: {error}")
        })?;
        if address.host().is_empty() {
            return Err(format!("{part:?} names no server, such as nats://host:4222"));
        }
        if address.has_user_pass() {
            return Err("must not hold a user or a password: use nats.user and \
                        nats.password_file, which are not shown"
                .into());
        }
        if !["nats", "tls"].contains(&address.scheme()) {
            return Err(format!("{part:?} must begin with nats:// or tls://"));
        }
    }
    Ok(())
}

/// Whether a subject with its wildcards takes in another one (that may have them too).
pub fn covers(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(known), Some(token)) if known == token => {}
            _ => return false,
        }
    }
}

/// Checks a subject; wildcards are allowed where `wild` says so.
///
/// # Errors
/// The rule that is broken.
pub fn check_subject(subject: &str, wild: bool) -> Result<(), String> {
    let last = subject.split('.').count() - 1;
    for (index, token) in subject.split('.').enumerate() {
        let is_wild = token == "*" || (token == ">" && index == last);
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '*' | '>');
        if token.is_empty() || (token.contains(odd) && !(wild && is_wild)) {
            let example = if wild { "events.>" } else { "events.http" };
            return Err(format!("{subject:?} is not a subject such as {example:?}"));
        }
    }
    Ok(())
}

/// Checks the name of a stream, a consumer or a bucket.
///
/// # Errors
/// The rule that is broken.
pub fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        true => Err(format!("{name:?} must be 1 to 64 letters, digits, - or _")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_subjects_and_names_are_checked() {
        for good in ["nats://localhost:4222", "localhost", "tls://a:1, nats://b:2"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in ["", "nats://", "nats://u:p@host", "http://host", "nats://a:x"] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
        for (subject, wild, good) in [
            ("events.>", true, true),
            ("events.*.x", true, true),
            ("events.>", false, false),
            (">.a", true, false),
            ("a..b", true, false),
            ("a b", true, false),
            ("a.b", false, true),
            ("", true, false),
        ] {
            assert_eq!(check_subject(subject, wild).is_ok(), good, "{subject:?}");
        }
        assert!(check_name("EVENTS_1-a").is_ok());
        assert!(check_name("a.b").is_err() && check_name("").is_err());
    }

    #[test]
    fn a_pattern_covers_what_it_matches() {
        for (pattern, subject, covered) in [
            ("events.>", "events.http", true),
            ("events.>", "events", false),
            ("events.*", "events.a", true),
            ("events.*", "events.a.b", false),
            ("events.*", "events.>", false),
            (">", "a.b", true),
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
        ] {
            assert_eq!(covers(pattern, subject), covered, "{pattern} {subject}");
        }
    }
}
