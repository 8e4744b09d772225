//! HTTP to somebody else's server: checked addresses, no redirects, bounded in time and bytes.

use std::io::Read as _;
use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use tidewatch_clock::SharedClock;
use tidewatch_core::incident::{Notification, Step};
use tidewatch_outside::hidden::Hidden;
use tidewatch_outside::tls::{certificates, system, trusting};
use ureq::http::{self, StatusCode, Uri};
use ureq::tls::Certificate;
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body};
use url::Url;

use crate::channel::{Channel, Failure, Receipt, shown};
use crate::event::FOR_ONE_PERSON;
use crate::guard::{Guard, Refused};
use crate::kind::{Common, Wrong};
use crate::secret::Found;
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
    hidden: Hidden,
}

impl<W: Wire> Http<W> {
    /// `secrets` are those that could turn up in what is sent or answered.
    pub fn new(wire: W, common: Common, secrets: &[&Found]) -> Result<Http<W>, Wrong> {
        let tls = trusting(roots(&common)?);
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
        Ok(Http { wire, common, agent, hidden: hidden(secrets) })
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
        self.hidden.masked(text)
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

/// What gives away one of these secrets: each as a whole, the token of one with a scheme in front of it
/// ("Bearer x"), those between commas, and of an address what stands behind the host.
fn hidden(secrets: &[&Found]) -> Hidden {
    let mut hidden = Hidden::default();
    for secret in secrets.iter().map(|secret| secret.reveal()) {
        match Url::parse(secret) {
            Ok(url) if url.has_host() => {
                hidden.behind_host(&url);
                // As it is written, where that is not how it is sent.
                let written = secret.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
                written
                    .filter(|(_, path)| path.len() >= 8)
                    .into_iter()
                    .for_each(|(_, path)| hidden.text(path));
            }
            _ => hidden.text(secret),
        }
    }
    hidden
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
fn roots(common: &Common) -> Result<Vec<Certificate<'static>>, Wrong> {
    let system = if common.tried { &[] } else { system() };
    Ok(system.iter().cloned().chain(own_roots(common)?).collect())
}

/// Those of `ca_file`.
pub(crate) fn own_roots(common: &Common) -> Result<Vec<Certificate<'static>>, Wrong> {
    let own = common.ca.as_deref().map(certificates).transpose();
    let own = own.map_err(|rule| Wrong { key: "ca_file", rule })?;
    Ok(own.unwrap_or_default())
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
    use tidewatch_core::settings::Secret;

    use super::*;
    use crate::secret::Secrets;

    #[test]
    fn a_secret_is_hidden_whole_and_in_its_parts_and_a_host_is_not() {
        let masked = |secret: &str, text: &str| {
            let found = Secrets::Real.find("url", &Secret(secret.into()), "").unwrap();
            hidden(&[&found]).masked(text)
        };
        let url = "https://hooks.example/in/T0123456789/x?token=abcdefghijklmnop&v=1&12345678";
        for (secret, text, shown) in [
            ("https://hooks.example", "hooks.example is away", "hooks.example is away"),
            ("https://hooks.example/short", "/short of hooks.example", "/short of hooks.example"),
            (url, "hooks.example: T0123456789", "hooks.example: ***"),
            (url, "no abcdefghijklmnop here", "no *** here"),
            (url, url, "https://hooks.example/***"),
            ("Bearer 12345678", "what is 12345678?", "what is ***?"),
            ("Bearer 12345678", "Bearer 12345678", "***"),
            ("whsec_AAAAAAAA, whsec_BBBBBBBBBB", "whsec_BBBBBBBBBB", "***"),
            ("hush", "no hush", "no ***"),
        ] {
            assert_eq!(masked(secret, text), shown, "{secret}");
        }
    }
}
