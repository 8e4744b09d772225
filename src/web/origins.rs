//! Names that we answer to, and origins that may use us from another page: how they are
//! written, compared and answered (the protocol that browsers call CORS).

use std::net::{IpAddr, Ipv6Addr};

use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, HeaderMap, HeaderName,
    HeaderValue, ORIGIN, VARY,
};

/// How long a browser may remember the answer to a preflight: the longest that browsers
/// keep it, 2 h.
const PREFLIGHT_MAX_AGE_S: u32 = 7_200;

/// Headers of answers that a page of another origin may read.
const EXPOSED: &str = "ETag, Retry-After, Allow, Content-Disposition";

/// Longest list of headers that a preflight may ask for.
const ASKED_BYTES_MAX: usize = 2_048;

const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// A `Host` without port, without the dot at its end, in lower case.
pub fn host_name(host: &str) -> String {
    let name = match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// True for an address: rebinding needs a name, so addresses are always ours.
pub fn is_address(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(six) => six.split('%').next().is_some_and(|six| six.parse::<Ipv6Addr>().is_ok()),
        None => name.parse::<IpAddr>().is_ok(),
    }
}

/// Which origins may use us besides our own page.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    any: bool,
    exact: Vec<String>,
    /// `https://*.shop.example` as scheme and `.shop.example`.
    below: Vec<(String, String)>,
}

/// How an origin is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// It is in the list: it may send what the browser knows of us along.
    Named,
    /// The list says `*`.
    Any,
}

impl Origins {
    /// The list of the settings.
    pub fn new(list: &[String]) -> Self {
        let mut origins = Origins::default();
        for item in list {
            let item = item.to_ascii_lowercase();
            match (item.as_str(), item.split_once("://*.")) {
                ("*", _) => origins.any = true,
                (_, Some((scheme, below))) => {
                    origins.below.push((format!("{scheme}://"), format!(".{below}")));
                }
                (origin, None) => origins.exact.push(without_default_port(origin)),
            }
        }
        origins
    }

    /// Whether an origin may use us.
    pub fn allow(&self, origin: &str) -> Option<Allowed> {
        let origin = origin.to_ascii_lowercase();
        let is_below = |(scheme, below): &(String, String)| {
            origin
                .strip_prefix(scheme.as_str())
                .is_some_and(|host| host.len() > below.len() && host.ends_with(below.as_str()))
        };
        if self.exact.contains(&origin) || self.below.iter().any(is_below) {
            Some(Allowed::Named)
        } else {
            self.any.then_some(Allowed::Any)
        }
    }
}

/// What is wrong with an origin of the settings, if anything.
pub fn origin_problem(origin: &str) -> Option<&'static str> {
    if origin == "*" {
        return None;
    }
    let Some((scheme, rest)) = origin.split_once("://") else {
        return Some("must start with http:// or https://");
    };
    let http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let star = rest.strip_prefix("*.").unwrap_or(rest);
    if !http {
        Some("must start with http:// or https://")
    } else if rest.contains(['/', '?', '#', '@', ' ']) {
        Some("must be scheme, host and port alone: no path, and no / at the end")
    } else if star.is_empty() || star.contains('*') {
        Some("may have one *, as the whole first label: https://*.shop.example")
    } else {
        None
    }
}

fn without_default_port(origin: &str) -> String {
    let port = match origin.split_once("://") {
        Some(("http", _)) => ":80",
        Some(("https", _)) => ":443",
        _ => return origin.to_owned(),
    };
    origin.strip_suffix(port).unwrap_or(origin).to_owned()
}

/// True for a browser's question whether it may send a request.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What a browser must be told before it lets another page read an answer.
pub struct Consent {
    origin: HeaderValue,
    allowed: Allowed,
    /// Headers that a preflight asks for.
    asked: Option<HeaderValue>,
    preflight: bool,
    private_network: bool,
}

impl Consent {
    /// For a request of an origin that is allowed.
    pub fn new(allowed: Allowed, method: &Method, headers: &HeaderMap) -> Option<Self> {
        let asked = headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
        let asked = asked.filter(|asked| asked.len() <= ASKED_BYTES_MAX);
        Some(Consent {
            origin: headers.get(ORIGIN)?.clone(),
            allowed,
            asked: asked.cloned(),
            preflight: is_preflight(method, headers),
            private_network: headers.contains_key("access-control-request-private-network"),
        })
    }

    /// Adds it to an answer.
    pub fn add_to(self, headers: &mut HeaderMap) {
        match self.allowed {
            Allowed::Named => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin);
                headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
            Allowed::Any => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
        }
        if !self.preflight {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
            return;
        }
        if let Some(methods) = headers.get(ALLOW).cloned() {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        if let Some(asked) = self.asked {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked);
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(PREFLIGHT_MAX_AGE_S));
        if self.private_network {
            headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        }
    }
}

/// Caches must not give one origin's answer to another.
pub fn vary_by_origin(headers: &mut HeaderMap) {
    let known = headers.get(VARY).and_then(|value| value.to_str().ok());
    let vary = known.map_or_else(|| "Origin".to_owned(), |known| format!("{known}, Origin"));
    if let Ok(vary) = HeaderValue::from_str(&vary) {
        headers.insert(VARY, vary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_without_port_dot_and_case() {
        for (host, name) in [
            ("localhost", "localhost"),
            ("LocalHost.:8080", "localhost"),
            ("localhost.", "localhost"),
            ("Ops.Example.:80", "ops.example"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("localhost..", "localhost."),
            ("", ""),
        ] {
            assert_eq!(host_name(host), name, "{host}");
        }
        for (name, address) in [
            ("127.0.0.1", true),
            ("[::1]", true),
            ("[fe80::1%25eth0]", true),
            ("::1", true),
            ("127.0.0.1.evil.example", false),
            ("[evil]", false),
            ("localhost", false),
        ] {
            assert_eq!(is_address(name), address, "{name}");
        }
    }

    #[test]
    fn origins_match_exactly_below_a_domain_or_all() {
        let list = |items: &[&str]| {
            Origins::new(&items.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let origins = list(&["https://Shop.example", "http://a.example:80", "https://*.b.example"]);
        for origin in [
            "https://shop.example",
            "HTTPS://SHOP.EXAMPLE",
            "http://a.example",
            "https://x.b.example",
            "https://x.y.b.example",
        ] {
            assert_eq!(origins.allow(origin), Some(Allowed::Named), "{origin}");
        }
        for origin in [
            "http://shop.example",
            "https://shop.example:8443",
            "https://shop.example.evil",
            "https://b.example",
            "https://.b.example",
            "https://evilb.example",
            "http://x.b.example",
            "null",
            "",
        ] {
            assert_eq!(origins.allow(origin), None, "{origin}");
        }
        let any = list(&["*", "https://shop.example"]);
        assert_eq!(any.allow("https://shop.example"), Some(Allowed::Named));
        assert_eq!(any.allow("null"), Some(Allowed::Any));
    }

    #[test]
    fn an_origin_that_can_never_match_is_named() {
        for good in
            ["*", "https://shop.example", "http://localhost:3000", "https://*.shop.example:8443"]
        {
            assert_eq!(origin_problem(good), None, "{good}");
        }
        for bad in [
            "shop.example",
            "ftp://shop.example",
            "https://shop.example/",
            "https://shop.example/path",
            "https://user@shop.example",
            "https://",
            "https://*",
            "https://*.",
            "https://a.*.example",
            "https://*.*.example",
        ] {
            assert!(origin_problem(bad).is_some(), "{bad}");
        }
    }
}
