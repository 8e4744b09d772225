//! The port: one notification over one channel.

use std::time::Duration;

use tidewatch_core::incident::Notification;

/// Whom notifications are delivered to. One call is one try: it blocks until it is known what became of
/// it, or until the channel's timeout.
pub trait Channel: Send + Sync {
    /// Delivers a notification. `before` is what a [`Receipt`] said is to be remembered, of the last
    /// delivery about the same.
    ///
    /// # Errors
    /// Why it was not taken, and whether it may be later.
    fn deliver(&self, told: &Notification, before: Option<&str>) -> Result<Receipt, Failure>;

    /// What would be sent, for people: headers and body, without secrets.
    ///
    /// # Errors
    /// When there is nothing to send: a template fails.
    fn preview(&self, told: &Notification) -> Result<String, Failure>;
}

/// It was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// What the receiver answered, at most 200 characters.
    pub says: String,
    /// What the next delivery about the same is to be given.
    pub remember: Option<String>,
    /// A part of it was not taken, and why: one of several addresses.
    pub lacks: Option<String>,
    /// How many earlier ones were removed to make room for it, where it goes into a bounded place.
    pub removed: u64,
}

/// It was not taken. No text of it has a secret in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It may be taken later: the receiver is away, slow, broken or busy.
    #[error("{cause}")]
    Later {
        /// Why.
        cause: String,
        /// How long it wants to be left alone.
        after: Option<Duration>,
    },
    /// It will not be taken as it is.
    #[error("{cause}")]
    Never {
        /// Why.
        cause: String,
    },
}

impl Failure {
    /// It may be taken later.
    pub(crate) fn later(cause: impl ToString) -> Failure {
        Failure::Later { cause: cause.to_string(), after: None }
    }

    /// It will not be taken.
    pub(crate) fn never(cause: impl ToString) -> Failure {
        Failure::Never { cause: cause.to_string() }
    }

    /// The same with another cause.
    pub(crate) fn map(self, change: impl FnOnce(String) -> String) -> Failure {
        match self {
            Failure::Later { cause, after } => Failure::Later { cause: change(cause), after },
            Failure::Never { cause } => Failure::Never { cause: change(cause) },
        }
    }
}

/// At most so many characters of what somebody else wrote, without control characters.
pub(crate) fn shown(text: &str, most: usize) -> String {
    let clean = text.chars().map(|one| if one.is_control() { ' ' } else { one });
    let words: String = clean.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ");
    cut(&words, most)
}

/// At most so many characters, with a sign where something is missing.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}
