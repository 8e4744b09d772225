//! Mail by SMTP: text and HTML, in a thread for each incident.

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use lettre::address::Envelope;
use lettre::message::{Mailbox, MessageBuilder, MultiPart, header};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, SmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::{Address, Message};
use tidewatch_clock::SharedClock;
use tidewatch_core::incident::{Notification, Step, notification_key};
use tidewatch_core::settings::{Secret, Word, settings};

use super::{Common, Opening, Wrong};
use crate::channel::{Channel, Failure, Receipt, cut, shown};
use crate::guard::allowed;
use crate::secret::Found;
use crate::template::Escape;
use crate::view::View;

/// Most characters of a subject.
const SUBJECT_MAX: usize = 200;

const SLOW: &str = "it took too long to answer";
/// What is waited for an answer to a farewell when the time is over.
const FAREWELL: Duration = Duration::from_millis(1);

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
        let tls = tls(&self.host, &common)?;
        Ok(Box::new(Email {
            host: self.host.clone(),
            port,
            security: self.security,
            tls,
            login: (!self.user.is_empty()).then(|| (self.user.clone(), password)),
            from,
            to,
            reply_to,
            common,
        }))
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
    host: String,
    port: u16,
    security: Security,
    tls: TlsParameters,
    login: Option<(String, Found)>,
    from: Mailbox,
    to: Vec<Mailbox>,
    reply_to: Option<Mailbox>,
    common: Common,
}

impl Channel for Email {
    fn deliver(&self, told: &Notification, _: Option<&str>) -> Result<Receipt, Failure> {
        let message = self.message(told)?.formatted();
        let deadline = Deadline::of(&self.common.clock, self.common.timeout);
        let mut connection = self.connect(&deadline)?;
        let delivered = self.send(&mut connection, &message, &deadline);
        // It has it already, or never will: what it says to a farewell changes nothing.
        let _ = connection.set_timeout(Some(deadline.left().unwrap_or(FAREWELL)));
        match delivered {
            Ok(_) => drop(connection.quit()),
            Err(_) => connection.abort(),
        }
        delivered
    }

    fn preview(&self, told: &Notification) -> Result<String, Failure> {
        let message = self.message(told)?;
        let written = self.common.templates.write(&View::of(told, &self.common.place.page))?;
        let mut text = format!("SMTP to {}:{}\n", self.host, self.port);
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

    fn connect(&self, deadline: &Deadline<'_>) -> Result<SmtpConnection, Failure> {
        let hello = ClientId::Domain(self.from.email.domain().to_owned());
        let tls = (self.security == Security::Tls).then_some(&self.tls);
        let connect = || Ok(self.common.connect_timeout.min(deadline.left()?));
        let mut cause = Failure::later("its host has no address");
        for address in self.addresses(connect()?)? {
            let connected = SmtpConnection::connect(address, Some(connect()?), &hello, tls, None);
            let mut connection = match connected {
                Ok(connection) => connection,
                Err(error) => {
                    cause = failure(&error);
                    continue;
                }
            };
            if self.security == Security::StartTls {
                if !connection.can_starttls() {
                    connection.abort();
                    let cause = "it offers no STARTTLS, and nothing is sent in the clear";
                    return Err(Failure::never(cause));
                }
                deadline.holds(&mut connection)?;
                connection.starttls(&self.tls, &hello).map_err(|error| failure(&error))?;
            }
            if let Some((user, password)) = &self.login {
                let login = Credentials::new(user.clone(), password.reveal().to_owned());
                deadline.holds(&mut connection)?;
                let ways = [Mechanism::Plain, Mechanism::Login];
                connection.auth(&ways, &login).map_err(|error| failure(&error))?;
            }
            return Ok(connection);
        }
        Err(cause)
    }

    /// Where it is, as far as that may be connected to.
    fn addresses(&self, within: Duration) -> Result<Vec<SocketAddr>, Failure> {
        let found = look_up((self.host.clone(), self.port), within)?;
        let (mut good, mut refused) = (Vec::new(), None);
        for address in found {
            let ip = address.ip();
            let in_the_clear = self.security == Security::None && !ip.to_canonical().is_loopback();
            if in_the_clear {
                let cause =
                    format!("{} is {ip}: in the clear mail goes to this machine only", self.host);
                refused = Some(Failure::never(cause));
                continue;
            }
            match allowed(&self.host, ip, self.common.allow_private) {
                Ok(()) => good.push(address),
                Err(why) => refused = Some(Failure::never(why)),
            }
        }
        match refused {
            Some(refused) if good.is_empty() => Err(refused),
            _ => Ok(good),
        }
    }

    /// Hands the message over to those addresses that are taken; without any it is not taken.
    fn send(
        &self,
        connection: &mut SmtpConnection,
        message: &[u8],
        deadline: &Deadline<'_>,
    ) -> Result<Receipt, Failure> {
        let to: Vec<Address> = self.to.iter().map(|one| one.email.clone()).collect();
        let envelope = Envelope::new(Some(self.from.email.clone()), to).map_err(Failure::never)?;
        let mut all = envelope.to().iter().chain(envelope.from());
        let ascii = all.all(|one| AsRef::<str>::as_ref(one).is_ascii());
        let mut options = Vec::new();
        if !ascii {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                let cause = "an address is not plain ASCII, which it does not support";
                return Err(Failure::never(cause));
            }
            options.push(MailParameter::SmtpUtfEight);
        }
        let command = Mail::new(envelope.from().cloned(), options);
        deadline.holds(connection)?;
        connection.command(command).map_err(|error| failure(&error))?;
        let (mut taken, mut lacks, mut last) = (0, Vec::new(), None);
        for address in envelope.to() {
            deadline.holds(connection)?;
            match connection.command(Rcpt::new(address.clone(), Vec::new())) {
                Ok(_) => taken += 1,
                Err(error) if error.status().is_none() => return Err(failure(&error)),
                Err(error) => {
                    let place =
                        envelope.to().iter().position(|one| one == address).unwrap_or(0) + 1;
                    lacks
                        .push(format!("address {place} of to: {}", shown(&error.to_string(), 100)));
                    let why = failure(&error);
                    // One that may be taken later speaks for all.
                    if last.is_none() || matches!(why, Failure::Later { .. }) {
                        last = Some(why);
                    }
                }
            }
        }
        if let Some(why) = last.filter(|_| taken == 0) {
            return Err(why);
        }
        deadline.holds(connection)?;
        connection.command(Data).map_err(|error| failure(&error))?;
        deadline.holds(connection)?;
        let answer = connection.message(message).map_err(|error| failure(&error))?;
        let says: Vec<&str> = answer.message().collect();
        let says = shown(&format!("{} {}", answer.code(), says.join(" ")), 200);
        Ok(Receipt { says, remember: None, lacks: (!lacks.is_empty()).then(|| lacks.join("; ")) })
    }
}

/// When a delivery must be through. The server has what is left for each command.
struct Deadline<'a> {
    clock: &'a SharedClock,
    /// By the monotonic clock, in ms.
    at: i64,
}

impl Deadline<'_> {
    fn of(clock: &SharedClock, timeout: Duration) -> Deadline<'_> {
        Deadline { clock, at: clock.elapsed() + timeout.as_millis() as i64 }
    }

    fn left(&self) -> Result<Duration, Failure> {
        match u64::try_from(self.at - self.clock.elapsed()) {
            Ok(left @ 1..) => Ok(Duration::from_millis(left)),
            _ => Err(Failure::later(SLOW)),
        }
    }

    /// Also for the next command.
    fn holds(&self, connection: &mut SmtpConnection) -> Result<(), Failure> {
        connection.set_timeout(Some(self.left()?)).map_err(Failure::later)
    }
}

/// The addresses of a name. Who answers later than this is not waited for: the system has its own bound.
fn look_up(name: (String, u16), within: Duration) -> Result<Vec<SocketAddr>, Failure> {
    let (tell, told) = sync_channel(1);
    thread::spawn(move || tell.send(name.to_socket_addrs().map(Vec::from_iter)));
    match told.recv_timeout(within) {
        Ok(found) => found.map_err(Failure::later),
        Err(RecvTimeoutError::Timeout) => Err(Failure::later("its name took too long to look up")),
        Err(RecvTimeoutError::Disconnected) => Err(Failure::later("its name was not looked up")),
    }
}

fn failure(error: &lettre::transport::smtp::Error) -> Failure {
    let mut cause = shown(&error.to_string(), 200);
    let io = std::error::Error::source(error).and_then(|why| why.downcast_ref::<io::Error>());
    let waited = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
    if error.is_timeout() || io.is_some_and(|why| waited.contains(&why.kind())) {
        SLOW.clone_into(&mut cause);
    }
    if error.is_permanent() || error.is_client() {
        Failure::never(cause)
    } else {
        Failure::later(cause)
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
