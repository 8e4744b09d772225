//! Handing a message over to a server, within a time and over a connection that is checked.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use lettre::Address;
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{SmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use tidewatch_clock::SharedClock;

use super::Security;
use crate::channel::{Failure, Receipt, shown};
use crate::guard::allowed;
use crate::secret::Found;

const SLOW: &str = "it took too long to answer";
/// What is waited for an answer to a farewell when the time is over.
const FAREWELL: Duration = Duration::from_millis(1);

/// A server that takes mail.
pub(super) struct Smtp {
    pub host: String,
    pub port: u16,
    pub security: Security,
    pub tls: TlsParameters,
    pub login: Option<(String, Found)>,
    /// Whom mail is from.
    pub from: Address,
    pub clock: SharedClock,
    pub allow_private: bool,
    pub connect_timeout: Duration,
    /// For all of a delivery.
    pub timeout: Duration,
}

impl Smtp {
    /// Delivers a message to those of the addresses that are taken.
    pub fn deliver(&self, message: &[u8], to: Vec<Address>) -> Result<Receipt, Failure> {
        let deadline = Deadline::of(&self.clock, self.timeout);
        let mut connection = self.connect(&deadline)?;
        let delivered = self.send(&mut connection, message, to, &deadline);
        // It has it already, or never will: what it says to a farewell changes nothing.
        let _ = connection.set_timeout(Some(deadline.left().unwrap_or(FAREWELL)));
        match delivered {
            Ok(_) => drop(connection.quit()),
            Err(_) => connection.abort(),
        }
        delivered
    }

    fn connect(&self, deadline: &Deadline<'_>) -> Result<SmtpConnection, Failure> {
        let hello = ClientId::Domain(self.from.domain().to_owned());
        let tls = (self.security == Security::Tls).then_some(&self.tls);
        let connect = || Ok(self.connect_timeout.min(deadline.left()?));
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
            match allowed(&self.host, ip, self.allow_private) {
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
        to: Vec<Address>,
        deadline: &Deadline<'_>,
    ) -> Result<Receipt, Failure> {
        let envelope = Envelope::new(Some(self.from.clone()), to).map_err(Failure::never)?;
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
        let lacks = (!lacks.is_empty()).then(|| lacks.join("; "));
        Ok(Receipt { says, lacks, ..Receipt::default() })
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
