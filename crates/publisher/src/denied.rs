//! What the server does not let this user do: read from its words, kept while it is true.
//!
//! The server says it once, on the connection, and the client goes on as if nothing were: a
//! request then simply gets no answer. So it is kept with the state of the connection and said
//! wherever something waits.

use std::fmt;

/// Most of them that are kept; further ones are the same kind of mistake.
const DENIED_MAX: usize = 16;

/// How long a publish that was refused is told of, in ms: whoever publishes tries again sooner,
/// so silence means that it is allowed by now.
const PUBLISH_TOLD_MS: i64 = 60_000;

/// Subjects that are answered under a number of their own, and what is said instead.
const NUMBERED: [(&str, &str); 3] =
    [("$JS.ACK.", "$JS.ACK.>"), ("$SRV.", "$SRV.>"), ("$JS.FC.", "$JS.FC.>")];

/// One thing that the server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// To publish; else to subscribe.
    publish: bool,
    /// The subject, without what is different each time.
    pub subject: String,
    /// It is where answers come to.
    answers: bool,
    /// When it was said last, monotonic ms.
    at: i64,
}

impl Denied {
    /// Reads the server's words: `Permissions Violation for Subscription to "_INBOX.x.*"`.
    pub(super) fn parse(words: &str, inbox: &str, now: i64) -> Option<Denied> {
        let lower = words.to_ascii_lowercase();
        let rest = lower.split_once("permissions violation for ")?.1;
        let publish = rest.starts_with("publish");
        if !publish && !rest.starts_with("subscription") {
            return None;
        }
        // The server's own spelling: subjects tell upper from lower case.
        let subject = words.split('"').nth(1)?;
        let answers = subject.strip_prefix(inbox).is_some_and(|rest| rest.starts_with('.'));
        let numbered = NUMBERED.iter().find(|(begin, _)| subject.starts_with(begin));
        let subject = match numbered {
            _ if answers => format!("{inbox}.>"),
            Some((_, whole)) => (*whole).to_owned(),
            None => subject.chars().take(256).collect(),
        };
        Some(Denied { publish, subject, answers, at: now })
    }

    /// Answers to requests cannot come: nothing that asks works.
    pub fn answers(&self) -> bool {
        self.answers && !self.publish
    }

    /// It is about publishing.
    pub fn publishes(&self) -> bool {
        self.publish
    }

    /// Whether it is still told of. A subscription is refused until the next connection.
    pub fn holds(&self, now: i64) -> bool {
        !self.publish || now - self.at < PUBLISH_TOLD_MS
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Denied { subject, .. } = self;
        let verb = if self.publish { "publish" } else { "subscribe" };
        write!(out, "may not {verb} to {subject}")?;
        if self.answers && !self.publish {
            out.write_str(
                ", where answers come to: allow it, or set nats.inbox_prefix to a prefix that is \
                 allowed",
            )?;
        }
        Ok(())
    }
}

/// Adds one, or notes that it was said again.
pub(super) fn note_denied(all: &mut Vec<Denied>, denied: Denied) {
    all.retain(|known| known.holds(denied.at));
    let same =
        |known: &Denied| (known.publish, &known.subject) == (denied.publish, &denied.subject);
    match all.iter().position(same) {
        Some(known) => all[known].at = denied.at,
        None if all.len() < DENIED_MAX => all.push(denied),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_are_read() {
        let read = |words: &str, inbox: &str| {
            Denied::parse(words, inbox, 0).map(|denied| (denied.to_string(), denied.answers()))
        };
        for (words, inbox, want, answers) in [
            (
                "nats: Permissions Violation for Subscription to \"_INBOX.aB3.*\"",
                "_INBOX",
                "may not subscribe to _INBOX.>, where answers come to: allow it, or set \
                 nats.inbox_prefix to a prefix that is allowed",
                true,
            ),
            (
                "Permissions Violation for Subscription to \"_INBOX.aB3.*\"",
                "_IN",
                "may not subscribe to _INBOX.aB3.*",
                false,
            ),
            (
                "Permissions Violation for Publish to \"Events.http\"",
                "_INBOX",
                "may not publish to Events.http",
                false,
            ),
            (
                "Permissions Violation for Publish to \"$JS.ACK.EVENTS.t.1.2.3.4.5\"",
                "_INBOX",
                "may not publish to $JS.ACK.>",
                false,
            ),
            (
                "Permissions Violation for Subscription to \"$SRV.PING\" using queue \"q\"",
                "_INBOX",
                "may not subscribe to $SRV.>",
                false,
            ),
        ] {
            assert_eq!(read(words, inbox), Some((want.to_owned(), answers)), "{words}");
        }
        for words in ["", "authorization violation", "Permissions Violation for Publish to x"] {
            assert_eq!(read(words, "_INBOX"), None, "{words}");
        }
    }

    #[test]
    fn the_list_has_a_bound_and_forgets_what_is_over() {
        let denied = |n: usize, at| {
            let words = format!("Permissions Violation for Publish to \"a.{n}\"");
            Denied::parse(&words, "_INBOX", at).unwrap()
        };
        let mut all = Vec::new();
        (0..100).for_each(|n| note_denied(&mut all, denied(n, 0)));
        assert_eq!(all.len(), DENIED_MAX);
        note_denied(&mut all, denied(3, 50_000));
        note_denied(&mut all, denied(200, 60_000));
        let left: Vec<&str> = all.iter().map(|denied| denied.subject.as_str()).collect();
        assert_eq!(left, ["a.3", "a.200"]);
        let subscription = "Permissions Violation for Subscription to \"b\"";
        note_denied(&mut all, Denied::parse(subscription, "_INBOX", 0).unwrap());
        assert!(all[2].holds(i64::MAX / 2), "it is refused until the next connection");
    }
}
