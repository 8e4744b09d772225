//! A stream of NATS: each notification in it exactly once. What is written is decided here; whoever has the
//! connection publishes it.

use tidewatch_connection::check_subject;
use tidewatch_core::settings::settings;

use super::{Opening, Wrong};
use crate::event::Events;
use crate::template::Escape;

/// Longest name of a stream, in bytes.
const STREAM_BYTES_MAX: usize = 64;

settings! {
    /// A stream of NATS, in which each notification is a CloudEvent exactly once, with its key as
    /// Nats-Msg-Id. It goes as [nats] and [nats.out] say: what keys of delivery say is not for it.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Keys in "" {
        /// The stream. Several channels may share one.
        pub stream: String = "TIDEWATCH_NOTIFICATIONS".into(), checked(stream_name);
        /// First words of the subjects, <this>.<channel>.<route>.<feed>.
        pub subject: String = "tidewatch.notifications".into(), checked(first_words);
    }
}

impl Keys {
    pub(super) const SAYS: &'static str =
        "a stream of NATS, in which each notification is exactly once";

    /// Keys of all channels that say how something is delivered, and have no meaning here.
    pub(super) const UNUSED: &'static [&'static str] = &[
        "retry_max",
        "tries_max",
        "give_up",
        "allow_private",
        "ca_file",
        "connect_timeout",
        "timeout",
    ];

    pub(super) fn open(&self, opening: Opening<'_>) -> Result<Events, Wrong> {
        let common = opening.common(Escape::Plain, &[])?;
        Ok(Events::new(&self.stream, &self.subject, common))
    }
}

fn stream_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || name.len() > STREAM_BYTES_MAX || !name.chars().all(allowed) {
        return Err(format!("must be 1 to {STREAM_BYTES_MAX} letters, digits, - or _"));
    }
    Ok(())
}

fn first_words(subject: &str) -> Result<(), String> {
    check_subject(subject, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_and_a_subject_are_those_of_a_server() {
        for name in ["A", "told-2_b", &"x".repeat(64)] {
            assert_eq!(stream_name(name), Ok(()), "{name}");
        }
        for name in ["", "a.b", "a b", "a*", &"x".repeat(65)] {
            assert!(stream_name(name).is_err(), "{name}");
        }
        assert_eq!(first_words("a.b"), Ok(()));
        for subject in ["", "a..b", "a.*", "a.>", "a b"] {
            assert!(first_words(subject).is_err(), "{subject}");
        }
    }
}
