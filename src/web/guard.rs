//! Who may ask at all, and the headers that every answer carries.
//!
//! Without accounts, the danger is another web page in an operator's browser: it
//! could open the websocket or post events. So the `Host` must be ours (against DNS
//! rebinding) and an `Origin`, when there is one, must be exactly ours. Programs send
//! no `Origin` and pass.

use actix_web::Error;
use actix_web::HttpRequest;
use actix_web::ResponseError;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, header::ORIGIN};
use actix_web::middleware::Next;
use metrics::counter;

use super::Settings;
use super::problem::Problem;
use crate::telemetry::names;

/// Headers of every answer.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self' data:; font-src 'self'; base-uri 'none'; frame-ancestors 'none'; \
         form-action 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
];

/// Whom we answer.
#[derive(Clone, Debug)]
pub struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Guard {
    /// The lists of the settings.
    pub fn new(settings: &Settings) -> Self {
        let lower = |list: &[String]| list.iter().map(|item| item.to_ascii_lowercase()).collect();
        Guard { hosts: lower(&settings.hosts), origins: lower(&settings.origins) }
    }

    /// Checks a request.
    ///
    /// # Errors
    /// `HostRefused`, `OriginRefused`.
    fn check(&self, request: &HttpRequest) -> Result<(), Problem> {
        let host = host_of(request).ok_or(Problem::HostRefused)?;
        if !self.knows_host(&host) {
            return Err(Problem::HostRefused);
        }
        let headers = request.headers();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let upgrades = headers.contains_key(header::UPGRADE);
        match headers.get(ORIGIN) {
            Some(origin) if !reads || upgrades => {
                let scheme = if request.app_config().secure() { "https" } else { "http" };
                let ours = format!("{scheme}://{host}");
                match origin.to_str() {
                    Ok(origin) if self.knows_origin(origin, &ours) => Ok(()),
                    _ => Err(Problem::OriginRefused),
                }
            }
            _ => Ok(()),
        }
    }

    /// Rebinding needs a name, so addresses are always ours.
    fn knows_host(&self, host: &str) -> bool {
        let name = without_port(host);
        let literal = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost"
            || literal.parse::<std::net::IpAddr>().is_ok()
            || self.hosts.iter().any(|known| known == name || known == "*")
    }

    fn knows_origin(&self, origin: &str, ours: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        origin == ours || self.origins.contains(&origin)
    }
}

/// The middleware: checks, then adds the headers to whatever comes back.
///
/// # Errors
/// Those of the services inside.
pub async fn guard(
    guard: Guard,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut response = match guard.check(request.request()) {
        Ok(()) => next.call(request).await?,
        Err(problem) => request.into_response(problem.error_response()),
    };
    add_headers(response.headers_mut());
    count(&response);
    Ok(response)
}

/// Counts by the route's pattern, never by the path: that would be a label for each user.
fn count(response: &ServiceResponse<BoxBody>) {
    let route = response.request().match_pattern().unwrap_or_else(|| "none".into());
    let code = response.status().as_u16().to_string();
    counter!(names::HTTP_REQUESTS, "route" => route, "code" => code).increment(1);
}

fn add_headers(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

fn host_of(request: &HttpRequest) -> Option<String> {
    let host = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers().get(header::HOST)?.to_str().ok()?,
    };
    Some(host.to_ascii_lowercase())
}

fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[track_caller]
    fn check(request: TestRequest, expected: &str) {
        let settings = Settings {
            hosts: vec!["Ops.example".into()],
            origins: vec!["https://ops.example".into()],
            ..Settings::default()
        };
        let answer = Guard::new(&settings).check(&request.to_http_request());
        let said = match answer {
            Ok(()) => "fine",
            Err(Problem::HostRefused) => "host",
            Err(Problem::OriginRefused) => "origin",
            Err(other) => panic!("{other}"),
        };
        assert_eq!(said, expected);
    }

    fn get(host: &str) -> TestRequest {
        TestRequest::get().uri("/").insert_header(("host", host))
    }

    fn post(host: &str, origin: &str) -> TestRequest {
        TestRequest::post().uri("/").insert_header(("host", host)).insert_header(("origin", origin))
    }

    #[test]
    fn our_hosts_pass_and_others_do_not() {
        for host in ["localhost:8080", "127.0.0.1", "[::1]:8080", "10.0.0.7:1", "ops.EXAMPLE:9"] {
            check(get(host), "fine");
        }
        for host in ["evil.example", "localhost.evil.example", "ops.example.evil", ""] {
            check(get(host), "host");
        }
        check(TestRequest::get().uri("/"), "host");
    }

    #[test]
    fn an_origin_must_be_exactly_ours() {
        check(TestRequest::post().uri("/").insert_header(("host", "localhost:1")), "fine");
        check(post("localhost:8080", "http://localhost:8080"), "fine");
        check(post("localhost:8080", "https://ops.example"), "fine");
        for origin in
            ["http://localhost", "https://localhost:8080", "http://localhost:8081", "null"]
        {
            check(post("localhost:8080", origin), "origin");
        }
        let upgrade = get("localhost").insert_header(("upgrade", "websocket"));
        check(upgrade.insert_header(("origin", "http://evil.example")), "origin");
        check(get("localhost").insert_header(("origin", "http://evil.example")), "fine");
    }
}
