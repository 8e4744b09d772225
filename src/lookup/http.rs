//! Rows behind an HTTP address, as JSON.

use std::sync::Arc;

use tidewatch_connection::LinkSettings;
use tidewatch_outside::hidden::Hidden;
use tidewatch_outside::secret::Origin;
use ureq::http::header::{ETAG, IF_NONE_MATCH, LOCATION};
use ureq::http::{HeaderName, HeaderValue, StatusCode};
use url::Url;

use super::rows::{Rows, TOO_LARGE};
use super::{Kind, Read, Source, Wanted, Wrong};
use crate::domain::settings::{settings, without_query};

/// Most headers.
const HEADERS_MAX: usize = 16;
/// Most letters of an answer that are told.
const TOLD_MAX: usize = 120;
/// Headers whose values do not stand in the configuration.
const SECRETS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

settings! {
    /// An HTTP address.
    #[derive(Clone, Debug)]
    pub struct HttpKeys in "" {
        /// An address (http:// or https://) that answers with JSON: an array of objects, or an object of
        /// them by name. Redirects are not followed. What stands behind a "?" is not shown, and nothing of
        /// an address that is in a variable ("env:NAME") or in a file ("file:PATH").
        pub url: String = String::new(), masked_address();
        /// Of url: where in the answer the rows lie, "/data/items" (a JSON pointer). "" for the answer
        /// itself.
        pub rows: String = String::new(), checked(is_pointer);
        /// Of url: what is sent along, { Authorization = "env:SHOP_TOKEN" }: what stands in a variable
        /// ("env:NAME"), in a file ("file:PATH"), or here. No value is shown.
        pub headers: Vec<(String, String)> = Vec::new(), secret_pairs(HEADERS_MAX);
        /// Of an https url: certificates of authorities to trust besides the system's (PEM).
        pub ca_file: String = String::new(), text();
    }
}

fn is_pointer(text: &str) -> Result<(), String> {
    if text.is_empty() || text.starts_with('/') {
        return Ok(());
    }
    Err("must begin with / or be empty".into())
}

impl Kind for HttpKeys {
    fn choice(&self) -> &'static str {
        "url"
    }

    fn is_chosen(&self) -> bool {
        !self.url.is_empty()
    }

    fn open(&self, _: Option<&LinkSettings>) -> Result<Arc<dyn Source>, Wrong> {
        let url = Origin::of(&self.url).map_err(|rule| Wrong::of("url", rule))?;
        let scheme = match &url {
            Origin::Here(url) => {
                Some(address(&url.0).map_err(|rule| Wrong::of("url", rule))?.scheme().to_owned())
            }
            Origin::Variable(_) | Origin::File(_) => None,
        };
        let headers = self.headers.iter().map(|(name, value)| header(name, value));
        let headers = headers.collect::<Result<_, _>>()?;
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false);
        let config = match scheme.as_deref() {
            Some("https") => tls::required(config, &self.ca_file)?,
            Some(_) if !self.ca_file.is_empty() => {
                return Err(Wrong::of("ca_file", "only belongs to a url with https"));
            }
            None if cfg!(feature = "tls") => tls::required(config, &self.ca_file)?,
            _ => config,
        };
        let agent = config.build().new_agent();
        Ok(Arc::new(Http { agent, url, rows: self.rows.clone(), headers }))
    }
}

fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no address: {error}"))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err("must begin with http:// or https://".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not have a user or a password in it: write headers = { Authorization = \
                    \"env:NAME\" }"
            .into());
    }
    Ok(url)
}

fn header(name: &str, value: &str) -> Result<(HeaderName, Origin), Wrong> {
    let wrong = |rule: String| Wrong::of("headers", rule);
    let known = HeaderName::try_from(name)
        .map_err(|_| wrong(format!("{name:?} is no name of a header")))?;
    let from = Origin::of(value).map_err(|rule| wrong(format!("{name}: {rule}")))?;
    if matches!(from, Origin::Here(_)) && SECRETS.contains(&known.as_str()) {
        let rule = "a secret does not stand here: write \"env:NAME\" or \"file:PATH\"";
        return Err(wrong(format!("{name}: {rule}")));
    }
    Ok((known, from))
}

/// The value of a header.
fn value(name: &HeaderName, text: &str) -> Result<HeaderValue, String> {
    let no_value = |_| format!("header {name}: its value has characters that no header may have");
    let mut value = HeaderValue::try_from(text).map_err(no_value)?;
    value.set_sensitive(true);
    Ok(value)
}

#[derive(Debug)]
struct Http {
    agent: ureq::Agent,
    url: Origin,
    rows: String,
    headers: Vec<(HeaderName, Origin)>,
}

impl Source for Http {
    fn read(&self, wanted: &Wanted, since: Option<&str>) -> Result<Option<Read>, String> {
        let url = self.url.text().and_then(|text| address(&text))?;
        let mut hidden = Hidden::default();
        match &self.url {
            Origin::Here(_) => hidden.query(&url),
            Origin::Variable(_) | Origin::File(_) => hidden.address(&url),
        }
        let mut request = self.agent.get(url.as_str()).header("accept", "application/json");
        for (name, from) in &self.headers {
            let text = from.text().map_err(|why| format!("header {name}: {why}"))?;
            request = request.header(name, value(name, &text)?);
            hidden.text(&text);
        }
        let since = since.filter(|version| !version.is_empty());
        if let Some(version) = since {
            request = request.header(IF_NONE_MATCH, version);
        }
        let request = request.config().timeout_global(Some(wanted.timeout)).build();
        let away =
            |error: ureq::Error| format!("does not answer: {}", hidden.masked(&error.to_string()));
        let mut answer = request.call().map_err(away)?;
        let status = answer.status();
        if status == StatusCode::NOT_MODIFIED && since.is_some() {
            return Ok(None);
        }
        let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        if status.is_redirection()
            && let Some(to) = text(LOCATION)
        {
            let to = without_query(&hidden.masked(to));
            return Err(format!("answers {status} and leads to {to:?}, which is not followed"));
        }
        let version = text(ETAG).unwrap_or_default().to_owned();
        let body = answer.body_mut().with_config().limit(wanted.bytes_max as u64);
        let read = body.read_to_vec();
        if status != StatusCode::OK {
            let said = read.unwrap_or_default();
            let said = hidden.masked(&String::from_utf8_lossy(&said));
            let said: String = said.chars().take(TOLD_MAX).collect();
            return Err(format!("answers {status}: {said:?}"));
        }
        let bytes = read.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => TOO_LARGE.to_owned(),
            error => format!("does not answer to the end: {error}"),
        })?;
        let mut rows = Rows::of(wanted);
        rows.put_all(&bytes, &self.rows)?;
        Ok(Some(Read { version, table: rows.finish()? }))
    }

    fn is_far(&self) -> bool {
        true
    }
}

/// How a client is made.
type Builder = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

#[cfg(feature = "tls")]
mod tls {
    use tidewatch_outside::tls::{certificates, system, trusting};

    use super::{Builder, Wrong};

    /// With the system's authorities and those of a file.
    pub fn required(config: Builder, ca_file: &str) -> Result<Builder, Wrong> {
        let mut trusted = system().to_vec();
        if !ca_file.is_empty() {
            let wrong = |cause: String| Wrong::of("ca_file", cause);
            let pem = std::fs::read(ca_file);
            let pem = pem.map_err(|error| wrong(format!("cannot be read: {error}")))?;
            trusted.extend(certificates(&pem).map_err(wrong)?);
        }
        Ok(config.tls_config(trusting(trusted)))
    }
}

#[cfg(not(feature = "tls"))]
mod tls {
    use super::{Builder, Wrong};

    pub fn required(_: Builder, _: &str) -> Result<Builder, Wrong> {
        Err(Wrong::of("url", "this build has no TLS: build with --features tls"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_told_with_its_key() {
        let keys = |url: &str| HttpKeys { url: url.into(), ..HttpKeys::default() };
        let with = |name: &str, value: &str| HttpKeys {
            headers: vec![(name.into(), value.into())],
            ..keys("http://a")
        };
        let ca = |url: &str| HttpKeys { ca_file: "nowhere.pem".into(), ..keys(url) };
        for (keys, key, says) in [
            (keys("shop"), "url", "is no address"),
            (keys("ftp://a"), "url", "must begin with http:// or https://"),
            (keys("http://ann:secret@a"), "url", "must not have a user"),
            (with("a b", "c"), "headers", "is no name of a header"),
            (with("Authorization", "Bearer x"), "headers", "a secret does not stand here"),
            (ca("http://a"), "ca_file", "only belongs to a url with https"),
            #[cfg(feature = "tls")]
            (ca("https://a"), "ca_file", "cannot be read"),
        ] {
            let wrong = keys.open(None).unwrap_err();
            assert!(wrong.key == key && wrong.rule.contains(says), "{wrong:?}");
        }
        assert!(with("X-Tenant", "shop").open(None).is_ok());
    }
}
