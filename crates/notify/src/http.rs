//! HTTP to somebody else's server: checked addresses, no redirects, bounded in time and bytes.

use std::io::Read as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use tidewatch_clock::SharedClock;
use tidewatch_core::incident::{Notification, Step};
use ureq::http::{self, StatusCode, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body};

use crate::channel::{Channel, Failure, Receipt, shown};
use crate::event::FOR_ONE_PERSON;
use crate::guard::{Guard, Refused};
use crate::kind::{Common, Wrong};
use crate::secret::{Found, MASK};
use crate::template::Written;
use crate::view::View;

/// Most bytes that are read of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Most characters of an answer that are shown.
const SHOWN_MAX: usize = 200;
/// Longest wait that a receiver may ask for.
const AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);

/// A notification as it is to be sent.
pub(crate) struct Told<'a> {
    pub notification: &'a Notification,
    pub view: View,
    pub written: Written,
    /// Seconds since 1970, by the machine.
    pub now: i64,
}

/// What is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// How one kind of receiver wants it.
pub(crate) trait Wire: Send + Sync {
    /// Whether it may have a nudge, which is for one person and names them.
    const NUDGES: bool = false;

    /// What is sent.
    fn request(&self, told: &Told<'_>, before: Option<&str>) -> Result<Request, Failure>;

    /// What an answer with a good status says.
    fn answered(&self, answer: &Answer) -> Result<Receipt, Failure> {
        Ok(Receipt { says: answer.says(), ..Receipt::default() })
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub status: StatusCode,
    /// At most 64 KiB of it.
    pub body: String,
    /// The same without secrets.
    masked: String,
}

impl Answer {
    /// Status and body, at most 200 characters.
    pub fn says(&self) -> String {
        shown(&format!("{} {}", self.status, self.masked), SHOWN_MAX)
    }
}

/// A channel over HTTP.
pub(crate) struct Http<W> {
    wire: W,
    common: Common,
    agent: Agent,
    /// What nothing shows.
    secrets: Vec<String>,
}

impl<W: Wire> Http<W> {
    /// `secrets` are those that could turn up in what is sent or answered.
    pub fn new(wire: W, common: Common, secrets: &[&Found]) -> Result<Http<W>, Wrong> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = RootCerts::Specific(roots(&common)?);
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(!common.allow_private)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(common.connect_timeout))
            .timeout_global(Some(common.timeout))
            .tls_config(tls)
            .user_agent(concat!("tidewatch/", env!("CARGO_PKG_VERSION")))
            .build();
        let guard = Guard::new(common.allow_private);
        let agent = Agent::with_parts(config, DefaultConnector::default(), guard);
        let secrets = hidden(secrets.iter().map(|secret| secret.reveal()));
        Ok(Http { wire, common, agent, secrets })
    }

    fn told<'a>(&self, notification: &'a Notification) -> Result<Told<'a>, Failure> {
        if notification.step == Step::Nudge && !W::NUDGES {
            return Err(Failure::never(FOR_ONE_PERSON));
        }
        let view = View::of(notification, &self.common.place.page);
        let written = self.common.templates.write(&view)?;
        let now = self.common.clock.wall() / 1_000;
        Ok(Told { notification, view, written, now })
    }

    fn send(&self, request: Request) -> Result<Receipt, Failure> {
        let mut built = http::Request::post(&request.url);
        for (name, value) in &request.headers {
            built = built.header(*name, value);
        }
        // No header can carry the end of a line: it does not get past here.
        let built = built.body(request.body).map_err(Failure::never)?;
        let response = self.agent.run(built).map_err(|why| self.failure(why))?;
        let after = retry_after(&response, &self.common.clock);
        let status = response.status();
        let mut bytes = Vec::new();
        // What is missing of an answer is as good as empty: its status came.
        let _ = response.into_body().into_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
        let body = String::from_utf8_lossy(&bytes).into_owned();
        let answer = Answer { status, masked: self.masked(&body), body };
        if status.is_success() {
            return self.wire.answered(&answer);
        }
        let cause = format!("it answered {}", answer.says());
        if status.is_redirection() {
            return Err(Failure::never(format!("{cause}; redirects are not followed")));
        }
        if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
            return Err(Failure::Later { cause, after });
        }
        Err(Failure::Never { cause })
    }

    fn failure(&self, error: ureq::Error) -> Failure {
        use ureq::Error;
        let says = |error: &Error| shown(&self.masked(&error.to_string()), SHOWN_MAX);
        match error {
            Error::Other(why) if why.is::<Refused>() => Failure::never(why),
            Error::BadUri(_)
            | Error::Http(_)
            | Error::RequireHttpsOnly(_)
            | Error::InvalidProxyUrl => Failure::never(says(&error)),
            Error::HostNotFound => Failure::later("its host has no address"),
            Error::Timeout(_) => Failure::later("it took too long to answer"),
            other => Failure::later(says(&other)),
        }
    }

    fn masked(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret, MASK);
        }
        text
    }

    fn mask(&self, failure: Failure) -> Failure {
        failure.map(|cause| self.masked(&cause))
    }
}

impl<W: Wire> Channel for Http<W> {
    fn deliver(&self, told: &Notification, before: Option<&str>) -> Result<Receipt, Failure> {
        let sent = self.told(told).and_then(|told| self.wire.request(&told, before));
        // Whom it is for may be repeated to us.
        let hidden = |text: &str| match &told.recipient {
            Some(recipient) => recipient.hidden_in(text),
            None => text.to_owned(),
        };
        let receipt = sent.and_then(|request| self.send(request));
        let receipt = receipt.map_err(|why| self.mask(why).map(|cause| hidden(&cause)))?;
        Ok(Receipt { says: hidden(&self.masked(&receipt.says)), ..receipt })
    }

    fn preview(&self, notification: &Notification) -> Result<String, Failure> {
        let told = self.told(notification).map_err(|why| self.mask(why))?;
        let Request { url, headers, body } = self.wire.request(&told, None)?;
        let mut text = format!("POST {url}\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\n");
        }
        let body = match serde_json::from_slice::<serde_json::Value>(&body) {
            Ok(body) => format!("{body:#}"),
            Err(_) => String::from_utf8_lossy(&body).into_owned(),
        };
        let mut text = self.masked(&format!("{text}\n{body}\n"));
        if let Some(recipient) = &notification.recipient {
            recipient.mask_in(&mut text);
        }
        Ok(text)
    }
}

/// Parts of a secret that are as short as this are none, and would be found in everything.
const PART_MIN: usize = 8;

/// Texts that give away one of these secrets, long ones first: each as a whole, the token of one with a
/// scheme in front of it ("Bearer x"), those between commas, and of an address what stands behind the
/// host, as a whole and in its parts.
fn hidden<'a>(secrets: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut all = Vec::new();
    for secret in secrets.filter(|secret| !secret.is_empty()) {
        if !secret.parse::<Uri>().is_ok_and(|url| url.scheme().is_some()) {
            all.push(secret);
            let token = secret.split_once(' ').map(|(_, token)| token.trim());
            let parts = token.into_iter().chain(secret.split(',').map(str::trim));
            all.extend(parts.filter(|part| part.len() >= PART_MIN));
            continue;
        }
        let rest = secret.split_once("://").map_or("", |(_, rest)| rest);
        let behind = rest.find(['/', '?']).map_or("", |at| rest[at..].trim_start_matches('/'));
        let (path, query) = behind.split_once('?').unwrap_or((behind, ""));
        let values =
            query.split('&').map(|one| one.split_once('=').map_or(one, |(_, value)| value));
        let parts = [behind, path, query].into_iter().chain(path.split('/')).chain(values);
        all.extend(parts.filter(|part| part.len() >= PART_MIN));
    }
    let mut all: Vec<String> = all.into_iter().map(ToOwned::to_owned).collect();
    all.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    all.dedup();
    all
}

/// Checks the address of a channel.
pub(crate) fn address(key: &'static str, text: &str, allow_private: bool) -> Result<(), Wrong> {
    let wrong = |rule: &str| Err(Wrong { key, rule: rule.into() });
    let Ok(url) = text.parse::<Uri>() else {
        return wrong("is no address: write it as https://host/path");
    };
    match url.scheme_str() {
        Some("https") => {}
        Some("http") if allow_private => {}
        Some("http") => return wrong("must begin with https:// unless allow_private = true"),
        _ => return wrong("must begin with https://"),
    }
    let authority = url.authority().map_or("", |authority| authority.as_str());
    if authority.is_empty() || url.host().is_none_or(str::is_empty) {
        return wrong("has no host: write it as https://host/path");
    }
    if authority.contains('@') {
        return wrong("must not hold a password: that stands in a key of its own");
    }
    Ok(())
}

/// Certificates that are trusted: those of the system, and those of `ca_file`.
fn roots(common: &Common) -> Result<Arc<Vec<Certificate<'static>>>, Wrong> {
    static SYSTEM: OnceLock<Vec<Certificate<'static>>> = OnceLock::new();
    let own = own_roots(common)?;
    if common.tried {
        return Ok(Arc::new(own));
    }
    let system = SYSTEM.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs().certs;
        found.iter().map(|one| Certificate::from_der(one.as_ref()).to_owned()).collect()
    });
    Ok(Arc::new(system.iter().cloned().chain(own).collect()))
}

/// Those of `ca_file`.
pub(crate) fn own_roots(common: &Common) -> Result<Vec<Certificate<'static>>, Wrong> {
    let Some(pem) = &common.ca else { return Ok(Vec::new()) };
    let wrong = |rule: String| Wrong { key: "ca_file", rule };
    let mut own = Vec::new();
    for item in parse_pem(pem) {
        match item {
            Ok(PemItem::Certificate(one)) => own.push(one),
            Ok(_) => {}
            Err(error) => return Err(wrong(format!("is no PEM: {error}"))),
        }
    }
    if own.is_empty() { Err(wrong("has no certificate".into())) } else { Ok(own) }
}

/// `Retry-After` in seconds, or as a time.
fn retry_after(response: &http::Response<Body>, clock: &SharedClock) -> Option<Duration> {
    let text = response.headers().get("retry-after")?.to_str().ok()?.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let at = DateTimeParser::new().parse_timestamp(text).ok()?.as_second();
            u64::try_from(at - clock.wall() / 1_000).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds).min(AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_whole_and_in_its_parts_the_long_ones_first() {
        let of = |secret| hidden([secret].into_iter());
        assert_eq!(of("https://hooks.example"), [""; 0]);
        assert_eq!(of("https://hooks.example/short"), [""; 0]);
        assert_eq!(
            of("https://hooks.example/in/T0123456789/x?token=abcdefghijklmnop&v=1&12345678"),
            [
                "in/T0123456789/x?token=abcdefghijklmnop&v=1&12345678",
                "token=abcdefghijklmnop&v=1&12345678",
                "abcdefghijklmnop",
                "in/T0123456789/x",
                "T0123456789",
                "12345678",
            ]
        );
        assert_eq!(of("Bearer 12345678"), ["Bearer 12345678", "12345678"]);
        assert_eq!(
            of("whsec_AAAAAAAA, whsec_BBBBBBBBBB"),
            ["whsec_AAAAAAAA, whsec_BBBBBBBBBB", "whsec_BBBBBBBBBB", "whsec_AAAAAAAA",]
        );
        assert_eq!(of("hush"), ["hush"]);
    }
}
