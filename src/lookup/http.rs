//! Rows behind an HTTP address, as JSON.

use std::fs;
use std::io::Read as _;
use std::sync::Arc;

use tidewatch_connection::LinkSettings;
use ureq::http::header::{ETAG, IF_NONE_MATCH, LOCATION};
use ureq::http::{HeaderName, HeaderValue, StatusCode};
use url::Url;

use super::rows::{Rows, TOO_LARGE};
use super::{Kind, Read, Source, Wanted, Wrong};
use crate::domain::settings::settings;

/// Most headers.
const HEADERS_MAX: usize = 16;
/// Most bytes of a header's value that lies in a file.
const SECRET_BYTES_MAX: u64 = 8 << 10;
/// Most letters of an answer that are told.
const TOLD_MAX: usize = 120;
/// Headers whose values are never written down.
const SECRETS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

settings! {
    /// An HTTP address.
    #[derive(Clone, Debug)]
    pub struct HttpKeys in "" {
        /// An address (http:// or https://) that answers with JSON: an array of objects, or an object of
        /// them by name. Redirects are not followed.
        pub url: String = String::new(), text();
        /// Of url: where in the answer the rows lie, "/data/items" (a JSON pointer). "" for the answer
        /// itself.
        pub rows: String = String::new(), checked(is_pointer);
        /// Of url: what is sent along, { Authorization = "env:SHOP_TOKEN" }: what stands in a variable
        /// ("env:NAME"), in a file ("file:PATH"), or here.
        pub headers: Vec<(String, String)> = Vec::new(), pairs(HEADERS_MAX);
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
        let url = address(&self.url)?;
        let headers = self.headers.iter().map(|(name, value)| header(name, value));
        let headers = headers.collect::<Result<_, _>>()?;
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false);
        let config = match url.scheme() {
            "https" => tls::required(config, &self.ca_file)?,
            _ if !self.ca_file.is_empty() => {
                return Err(Wrong::of("ca_file", "only belongs to a url with https"));
            }
            _ => config,
        };
        let agent = config.build().new_agent();
        Ok(Arc::new(Http { agent, url: url.into(), rows: self.rows.clone(), headers }))
    }
}

fn address(text: &str) -> Result<Url, Wrong> {
    let url =
        Url::parse(text).map_err(|error| Wrong::of("url", format!("is no address: {error}")))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(Wrong::of("url", "must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let rule = "must not have a user or a password in it: write headers = { Authorization = \
                    \"env:NAME\" }";
        return Err(Wrong::secret("url", rule));
    }
    Ok(url)
}

/// Where the value of a header comes from.
#[derive(Clone, Debug)]
enum From {
    Here(String),
    Variable(String),
    File(String),
}

fn header(name: &str, value: &str) -> Result<(HeaderName, From), Wrong> {
    let no_name = |_| Wrong::of("headers", format!("{name:?} is no name of a header"));
    let known = HeaderName::try_from(name).map_err(no_name)?;
    let from = match value.split_once(':') {
        Some(("env", name)) => From::Variable(name.to_owned()),
        Some(("file", path)) => From::File(path.to_owned()),
        _ if SECRETS.contains(&known.as_str()) => {
            let rule = "a secret does not stand here: write \"env:NAME\" or \"file:PATH\"";
            return Err(Wrong::secret("headers", format!("{name}: {rule}")));
        }
        _ => From::Here(value.to_owned()),
    };
    Ok((known, from))
}

impl From {
    fn value(&self, name: &HeaderName) -> Result<HeaderValue, String> {
        let value = match self {
            From::Here(value) => value.clone(),
            From::Variable(variable) => std::env::var(variable)
                .map_err(|_| format!("header {name}: the environment has no {variable}"))?,
            From::File(path) => {
                let unreadable = |error| format!("header {name}: {path} cannot be read: {error}");
                let mut text = String::new();
                let file = fs::File::open(path).map_err(unreadable)?;
                file.take(SECRET_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
                text
            }
        };
        let mut value = HeaderValue::try_from(value.trim()).map_err(|_| {
            format!("header {name}: its value has characters that no header may have")
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[derive(Debug)]
struct Http {
    agent: ureq::Agent,
    url: String,
    rows: String,
    headers: Vec<(HeaderName, From)>,
}

impl Source for Http {
    fn read(&self, wanted: &Wanted, since: Option<&str>) -> Result<Option<Read>, String> {
        let mut request = self.agent.get(&self.url).header("accept", "application/json");
        for (name, from) in &self.headers {
            request = request.header(name, from.value(name)?);
        }
        let since = since.filter(|version| !version.is_empty());
        if let Some(version) = since {
            request = request.header(IF_NONE_MATCH, version);
        }
        let request = request.config().timeout_global(Some(wanted.timeout)).build();
        let mut answer = request.call().map_err(|error| format!("does not answer: {error}"))?;
        let status = answer.status();
        if status == StatusCode::NOT_MODIFIED && since.is_some() {
            return Ok(None);
        }
        let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        if status.is_redirection()
            && let Some(to) = text(LOCATION)
        {
            return Err(format!("answers {status} and leads to {to:?}, which is not followed"));
        }
        let version = text(ETAG).unwrap_or_default().to_owned();
        let body = answer.body_mut().with_config().limit(wanted.bytes_max as u64);
        let read = body.read_to_vec();
        if status != StatusCode::OK {
            let said = read.unwrap_or_default();
            let said: String = String::from_utf8_lossy(&said).chars().take(TOLD_MAX).collect();
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
    use std::sync::Arc;

    use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

    use super::{Builder, Wrong};

    /// With the system's authorities and those of a file.
    pub fn required(config: Builder, ca_file: &str) -> Result<Builder, Wrong> {
        let mut trusted: Vec<Certificate<'_>> = Vec::new();
        if !ca_file.is_empty() {
            let wrong = |cause: String| Wrong::of("ca_file", cause);
            let pem = std::fs::read(ca_file);
            let pem = pem.map_err(|error| wrong(format!("cannot be read: {error}")))?;
            for item in parse_pem(&pem) {
                match item {
                    Ok(PemItem::Certificate(one)) => trusted.push(one),
                    Ok(_) => {}
                    Err(error) => return Err(wrong(format!("is no PEM: {error}"))),
                }
            }
            if trusted.is_empty() {
                return Err(wrong("has no certificate".into()));
            }
        }
        let system = rustls_native_certs::load_native_certs().certs;
        trusted.extend(system.iter().map(|one| Certificate::from_der(one).to_owned()));
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(trusted))
            .unversioned_rustls_crypto_provider(ring);
        Ok(config.tls_config(tls.build()))
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
            (keys("file:///etc/passwd"), "url", "must begin with http:// or https://"),
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

    #[test]
    fn a_header_comes_from_where_it_says() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "Bearer abc\n").unwrap();
        let value = |value: &str| {
            let (name, from) = header("Authorization", value).unwrap();
            from.value(&name).map(|value| format!("{value:?} {:?}", value.to_str().unwrap()))
        };
        let found = value(&format!("file:{}", file.path().display())).unwrap();
        assert_eq!(found, "Sensitive \"Bearer abc\"");
        assert!(value("env:PATH").unwrap().starts_with("Sensitive"));
        let cause = value("env:NOT_SET_ANYWHERE").unwrap_err();
        assert_eq!(cause, "header authorization: the environment has no NOT_SET_ANYWHERE");
        assert!(value("file:nowhere").unwrap_err().contains("nowhere cannot be read"));
    }
}
