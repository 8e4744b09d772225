//! Mail: text and HTML, in a thread for each incident; to one person alone, of a nudge. By SMTP, or into
//! a folder.

mod folder;
mod message;
mod smtp;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::Arc;

use lettre::message::Mailbox;
use lettre::transport::smtp::client::{Certificate, TlsParameters};
use tidewatch_core::incident::{Notification, Recipient};
use tidewatch_core::settings::{Secret, Word, settings};

use self::folder::Folder;
use self::smtp::Smtp;
use super::{Common, Opening, Wrong};
use crate::channel::{Channel, Failure, Receipt, shown};
use crate::template::Escape;
use crate::view::View;

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
    /// channel. A nudge goes to the one whom it is for, and not to these.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Keys in "" {
        /// Needed: the server that takes the mail; or folder.
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
        /// Whom it goes to. Needed where a route leads here; a nudge has an address of its own.
        pub to: Vec<String> = Vec::new(), names_in_order(0, 50);
        /// Where answers go; to from where it is empty.
        pub reply_to: String = String::new(), text();
        /// HTML of the mail, a template. Values are escaped in it.
        pub html: String = String::new(), text();
        /// Instead of host, to try things out: a folder that mails are written into, a file each
        /// ("KEY.eml"). Nothing is sent.
        pub folder: String = String::new(), text();
        /// Most mails in the folder; the oldest are removed.
        pub folder_mails_max: usize = 1_000, count(1, 100_000);
    }
}

impl Keys {
    pub(super) const SAYS: &'static str = "mail by SMTP";

    pub(super) fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Channel>, Wrong> {
        let from = mailbox("from", &self.from)?;
        let to = self.to.iter().map(|one| mailbox("to", one)).collect::<Result<Vec<_>, _>>()?;
        let reply_to = match self.reply_to.as_str() {
            "" => None,
            text => Some(mailbox("reply_to", text)?),
        };
        let common = opening.common(Escape::Plain, &[("html", &self.html)])?;
        let way = if self.folder.is_empty() {
            Way::Server(Box::new(self.server(&opening, &common, &from)?))
        } else {
            Way::Folder(self.own_folder(&common)?)
        };
        Ok(Box::new(Email { way, from, to, reply_to, common }))
    }

    /// The server that is named.
    fn server(
        &self,
        opening: &Opening<'_>,
        common: &Common,
        from: &Mailbox,
    ) -> Result<Smtp, Wrong> {
        if self.host.is_empty() {
            return Err(wrong("host", "is missing: write host = \"smtp.example\""));
        }
        if self.host.contains(|one: char| one.is_whitespace() || one.is_control() || one == '/') {
            return Err(wrong("host", "is no name of a machine"));
        }
        let password = opening.secret("password", &self.password, "password")?;
        if self.user.is_empty() != password.reveal().is_empty() {
            return Err(wrong("password", "stands with user, and user with it"));
        }
        let port = match (self.port, self.security) {
            (0, Security::StartTls) => 587,
            (0, Security::Tls) => 465,
            (0, Security::None) => 25,
            (port, _) => port,
        };
        Ok(Smtp {
            host: self.host.clone(),
            port,
            security: self.security,
            tls: tls(&self.host, common)?,
            login: (!self.user.is_empty()).then(|| (self.user.clone(), password)),
            from: from.email.clone(),
            clock: Arc::clone(&common.clock),
            allow_private: common.allow_private,
            connect_timeout: common.connect_timeout,
            timeout: common.timeout,
        })
    }

    /// The folder that is named, made unless this is but a check.
    fn own_folder(&self, common: &Common) -> Result<Folder, Wrong> {
        let others = [("host", &self.host), ("user", &self.user), ("password", &self.password.0)];
        if let Some((key, _)) = others.iter().find(|(_, text)| !text.is_empty()) {
            let rule = "stands with a server, and folder is instead of one: remove one of them";
            return Err(wrong(key, rule));
        }
        let folder = Folder::new(&self.folder, self.folder_mails_max);
        if !common.tried {
            let made = folder.make();
            let rule = |error| format!("{} cannot be used: {error}", self.folder);
            made.map_err(|error| wrong("folder", rule(error)))?;
        }
        Ok(folder)
    }
}

fn wrong(key: &'static str, rule: impl Into<String>) -> Wrong {
    Wrong { key, rule: rule.into() }
}

fn mailbox(key: &'static str, text: &str) -> Result<Mailbox, Wrong> {
    let control = text.chars().any(char::is_control);
    text.parse().ok().filter(|_| !control).ok_or_else(|| {
        let rule = if text.is_empty() {
            format!("is missing: write {key} = \"Shop <alerts@shop.example>\"")
        } else {
            format!(
                "{text:?} is no address: write \"name@example.org\" or \"Name <name@example.org>\""
            )
        };
        wrong(key, rule)
    })
}

fn tls(host: &str, common: &Common) -> Result<TlsParameters, Wrong> {
    let failed =
        |key, error: lettre::transport::smtp::Error| wrong(key, shown(&error.to_string(), 200));
    let mut tls = TlsParameters::builder(host.to_owned());
    for one in crate::http::own_roots(common)? {
        let own = Certificate::from_der(one.der().to_vec());
        tls = tls.add_root_certificate(own.map_err(|why| failed("ca_file", why))?);
    }
    tls.build().map_err(|why| failed("host", why))
}

/// Where mails go.
enum Way {
    Server(Box<Smtp>),
    Folder(Folder),
}

struct Email {
    way: Way,
    from: Mailbox,
    to: Vec<Mailbox>,
    reply_to: Option<Mailbox>,
    common: Common,
}

impl Channel for Email {
    fn deliver(&self, told: &Notification, _: Option<&str>) -> Result<Receipt, Failure> {
        let to = self.addresses(told)?;
        let message = self.message(told, &to)?.formatted();
        let delivered = match &self.way {
            Way::Server(smtp) => {
                smtp.deliver(&message, to.into_iter().map(|one| one.email).collect())
            }
            Way::Folder(folder) => folder.write(&told.key, &message),
        };
        match &told.recipient {
            // A server may repeat whom it refuses.
            Some(recipient) => hidden(delivered, recipient),
            None => delivered,
        }
    }

    fn preview(&self, told: &Notification) -> Result<String, Failure> {
        let message = self.message(told, &self.addresses(told)?)?;
        let written = self.common.templates.write(&View::of(told, &self.common.place.page))?;
        let mut text = match &self.way {
            Way::Server(smtp) => format!("SMTP to {}:{}\n", smtp.host, smtp.port),
            Way::Folder(folder) => format!("A file of {}\n", folder.path().display()),
        };
        let _ = write!(text, "{}\n{}\n", message.headers(), written.body);
        if let Some(recipient) = &told.recipient {
            recipient.mask_in(&mut text);
        }
        Ok(text)
    }
}

/// What became of a delivery to one person, without their address.
fn hidden(delivered: Result<Receipt, Failure>, recipient: &Recipient) -> Result<Receipt, Failure> {
    match delivered {
        Ok(receipt) => Ok(Receipt { says: recipient.hidden_in(&receipt.says), ..receipt }),
        Err(why) => Err(why.map(|cause| recipient.hidden_in(&cause))),
    }
}
