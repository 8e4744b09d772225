//! Mail by SMTP: text and HTML, in a thread for each incident.

mod smtp;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use lettre::Message;
use lettre::message::{Mailbox, MessageBuilder, MultiPart, header};
use lettre::transport::smtp::client::{Certificate, TlsParameters};
use tidewatch_core::incident::{Notification, Step, notification_key};
use tidewatch_core::settings::{Secret, Word, settings};

use self::smtp::Smtp;
use super::{Common, Opening, Wrong};
use crate::channel::{Channel, Failure, Receipt, cut, shown};
use crate::template::Escape;
use crate::view::View;

/// Most characters of a subject.
const SUBJECT_MAX: usize = 200;

/// How a connection is kept from being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// It begins in the clear, and nothing is sent before it is not.
    #[default]
    StartTls,
    /// From the first byte on.
    Tls,
    /// Not at all.
    None,
}

impl Word for Security {
    const WORDS: &'static [(&'static str, Self)] =
        &[("starttls", Security::StartTls), ("tls", Security::Tls), ("none", Security::None)];
}

settings! {
    /// Mail by SMTP, to one or more addresses. Where they are to be tried each on its own, give each a
    /// channel.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Keys in "" {
        /// Needed: the server that takes the mail.
        pub host: String = String::new(), text();
        /// Its port: 0 for 587 with "starttls", 465 with "tls", 25 with "none".
        pub port: u16 = 0, count(0, 65_535);
        /// "starttls", "tls", or "none", which is for this machine alone.
        pub security: Security = Security::StartTls, word::<Security>();
        /// Who signs in; nobody where it is empty.
        pub user: String = String::new(), text();
        /// With what.
        pub password: Secret = Secret::default(), secret();
        /// Needed: whom the mail is from, "Shop <alerts@shop.example>".
        pub from: String = String::new(), text();
        /// Needed: whom it goes to.
        pub to: Vec<String> = Vec::new(), names_in_order(0, 50);
        /// Where answers go; to from where it is empty.
        pub reply_to: String = String::new(), text();
        /// HTML of the mail, a template. Values are escaped in it.
        pub html: String = String::new(), text();
    }
}

impl Keys {
    pub(super) const SAYS: &'static str = "mail by SMTP";

    pub(super) fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Channel>, Wrong> {
        let wrong = |key, rule: String| Wrong { key, rule };
        if self.host.is_empty() {
            return Err(wrong("host", "is missing: write host = \"smtp.example\"".into()));
        }
        if self.host.contains(|one: char| one.is_whitespace() || one.is_control() || one == '/') {
            return Err(wrong("host", "is no name of a machine".into()));
        }
        if self.to.is_empty() {
            return Err(wrong("to", "is missing: write to = [\"ops@example.org\"]".into()));
        }
        let from = mailbox("from", &self.from)?;
        let to = self.to.iter().map(|one| mailbox("to", one)).collect::<Result<Vec<_>, _>>()?;
        let reply_to = match self.reply_to.as_str() {
            "" => None,
            text => Some(mailbox("reply_to", text)?),
        };
        let password = opening.secret("password", &self.password, "password")?;
        if self.user.is_empty() != password.reveal().is_empty() {
            return Err(wrong("password", "stands with user, and user with it".into()));
        }
        let port = match (self.port, self.security) {
            (0, Security::StartTls) => 587,
            (0, Security::Tls) => 465,
            (0, Security::None) => 25,
            (port, _) => port,
        };
        let common = opening.common(Escape::Plain, &[("html", &self.html)])?;
        let smtp = Smtp {
            host: self.host.clone(),
            port,
            security: self.security,
            tls: tls(&self.host, &common)?,
            login: (!self.user.is_empty()).then(|| (self.user.clone(), password)),
            from: from.email.clone(),
            clock: Arc::clone(&common.clock),
            allow_private: common.allow_private,
            connect_timeout: common.connect_timeout,
            timeout: common.timeout,
        };
        Ok(Box::new(Email { smtp, from, to, reply_to, common }))
    }
}

fn mailbox(key: &'static str, text: &str) -> Result<Mailbox, Wrong> {
    let control = text.chars().any(char::is_control);
    text.parse().ok().filter(|_| !control).ok_or_else(|| Wrong {
        key,
        rule: if text.is_empty() {
            format!("is missing: write {key} = \"Shop <alerts@shop.example>\"")
        } else {
            format!(
                "{text:?} is no address: write \"name@example.org\" or \"Name <name@example.org>\""
            )
        },
    })
}

fn tls(host: &str, common: &Common) -> Result<TlsParameters, Wrong> {
    let wrong = |key, error: lettre::transport::smtp::Error| Wrong {
        key,
        rule: shown(&error.to_string(), 200),
    };
    let mut tls = TlsParameters::builder(host.to_owned());
    for one in crate::http::own_roots(common)? {
        let own = Certificate::from_der(one.der().to_vec());
        tls = tls.add_root_certificate(own.map_err(|why| wrong("ca_file", why))?);
    }
    tls.build().map_err(|why| wrong("host", why))
}

struct Email {
    smtp: Smtp,
    from: Mailbox,
    to: Vec<Mailbox>,
    reply_to: Option<Mailbox>,
    common: Common,
}

impl Channel for Email {
    fn deliver(&self, told: &Notification, _: Option<&str>) -> Result<Receipt, Failure> {
        let to = self.to.iter().map(|one| one.email.clone()).collect();
        self.smtp.deliver(&self.message(told)?.formatted(), to)
    }

    fn preview(&self, told: &Notification) -> Result<String, Failure> {
        let message = self.message(told)?;
        let written = self.common.templates.write(&View::of(told, &self.common.place.page))?;
        let mut text = format!("SMTP to {}:{}\n", self.smtp.host, self.smtp.port);
        let _ = write!(text, "{}\n{}\n", message.headers(), written.body);
        Ok(text)
    }
}

impl Email {
    fn message(&self, told: &Notification) -> Result<Message, Failure> {
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
        for to in &self.to {
            message = message.to(to.clone());
        }
        if let Some(reply_to) = &self.reply_to {
            message = message.reply_to(reply_to.clone());
        }
        if matches!(told.step, Step::Again | Step::Acknowledged | Step::Resolved) {
            let first = id(&notification_key(&told.about, &told.route, Step::Fired, 0));
            message = message.in_reply_to(first.clone()).references(first);
        }
        let body = match self.common.templates.html(&view)? {
            Some(html) => message.multipart(MultiPart::alternative_plain_html(written.body, html)),
            None => message.header(header::ContentType::TEXT_PLAIN).body(written.body),
        };
        body.map_err(Failure::never)
    }
}

/// Written by no person: those who are away answer nothing.
#[derive(Clone)]
struct AutoSubmitted;

impl header::Header for AutoSubmitted {
    fn name() -> header::HeaderName {
        header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(AutoSubmitted)
    }

    fn display(&self) -> header::HeaderValue {
        header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}
