//! A notification as a mail.

use std::time::{Duration, UNIX_EPOCH};

use lettre::Message;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder, MultiPart};
use tidewatch_core::incident::{Notification, Step, notification_key};

use super::Email;
use crate::channel::{Failure, cut};
use crate::view::View;

/// Most characters of a subject.
const SUBJECT_MAX: usize = 200;

/// Longest link to unsubscribe, in bytes: a line of a mail has at most 998.
const LINK_BYTES_MAX: usize = 900;

impl Email {
    /// Whom it goes to: the one whom it is for, or everybody that the channel names.
    pub(super) fn addresses(&self, told: &Notification) -> Result<Vec<Mailbox>, Failure> {
        if told.step != Step::Nudge {
            if self.to.is_empty() {
                return Err(Failure::never("the channel names nobody: to is empty"));
            }
            return Ok(self.to.clone());
        }
        let Some(recipient) = &told.recipient else {
            return Err(Failure::never("it is for one person, and nobody is named"));
        };
        if let Some(fault) = recipient.fault() {
            return Err(Failure::never(fault));
        }
        // What this says of an address may contain it.
        let address = recipient.address.parse();
        let address = address.map_err(|_| Failure::never("its address is none"))?;
        Ok(vec![Mailbox::new(None, address)])
    }

    /// The mail to these.
    pub(super) fn message(&self, told: &Notification, to: &[Mailbox]) -> Result<Message, Failure> {
        let view = View::of(told, &self.common.place.page);
        let written = self.common.templates.write(&view)?;
        let id = |key: &str| format!("<{key}@{}>", self.from.email.domain());
        let now = Duration::from_millis(self.common.clock.wall().unsigned_abs());
        let mut message: MessageBuilder = Message::builder()
            .from(self.from.clone())
            .date(UNIX_EPOCH + now)
            .message_id(Some(id(&told.key)))
            // A line break would be one in the headers: there is none in a title.
            .subject(cut(&written.title, SUBJECT_MAX))
            .header(AutoSubmitted);
        for to in to {
            message = message.to(to.clone());
        }
        if let Some(reply_to) = &self.reply_to {
            message = message.reply_to(reply_to.clone());
        }
        if matches!(told.step, Step::Again | Step::Acknowledged | Step::Resolved) {
            let first = id(&notification_key(&told.about, &told.route, Step::Fired, 0));
            message = message.in_reply_to(first.clone()).references(first);
        }
        if let Some(link) = told.recipient.as_ref().and_then(|one| one.unsubscribe.as_deref()) {
            message = unsubscribe(message, link)?;
        }
        let body = match self.common.templates.html(&view)? {
            Some(html) => message.multipart(MultiPart::alternative_plain_html(written.body, html)),
            None => message.header(ContentType::TEXT_PLAIN).body(written.body),
        };
        body.map_err(Failure::never)
    }
}

/// A link that a mail program offers to unsubscribe, with one click where it is https (RFC 8058).
fn unsubscribe(message: MessageBuilder, link: &str) -> Result<MessageBuilder, Failure> {
    let is_https = link.starts_with("https://");
    let plain = link.bytes().all(|one| one.is_ascii_graphic() && !b"<>\"".contains(&one));
    if !(is_https || link.starts_with("http://")) || !plain || link.len() > LINK_BYTES_MAX {
        return Err(Failure::never(
            "its link to unsubscribe is no web address of at most 900 bytes",
        ));
    }
    let message = message.header(ListUnsubscribe(link.to_owned()));
    Ok(if is_https { message.header(OneClick) } else { message })
}

/// Declares a header that is only written.
macro_rules! written {
    ($(#[$says:meta])* $name:ident $(($inner:ty))? is $header:literal = $value:expr) => {
        $(#[$says])*
        #[derive(Clone)]
        struct $name $(($inner))?;

        impl Header for $name {
            fn name() -> HeaderName {
                HeaderName::new_from_ascii_str($header)
            }

            fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
                Err("it is only written".into())
            }

            fn display(&self) -> HeaderValue {
                let value: fn(&Self) -> String = $value;
                HeaderValue::new(Self::name(), value(self))
            }
        }
    };
}

written! {
    /// Written by no person: those who are away answer nothing.
    AutoSubmitted is "Auto-Submitted" = |_| "auto-generated".to_owned()
}

written! {
    /// Where nobody is asked again.
    ListUnsubscribe(String) is "List-Unsubscribe" = |link| format!("<{}>", link.0)
}

written! {
    /// A mail program may do so by itself.
    OneClick is "List-Unsubscribe-Post" = |_| "List-Unsubscribe=One-Click".to_owned()
}
