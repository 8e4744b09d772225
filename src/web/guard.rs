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
use actix_web::http::{ConnectionType, Method, header::ORIGIN};
use actix_web::middleware::Next;
use metrics::counter;

use super::Settings;
use super::connections::{BRIEF_PATHS, Connection};
use super::origins::{Allowed, Consent, Origins, host_name, is_address, vary_by_origin};
use super::problem::Problem;
use crate::telemetry::names;

/// Whoever has the token of a mail may use it, from wherever the mail is read: neither a host nor an origin
/// says more than that, and nothing else is there to be had.
pub const UNSUBSCRIBE: &str = "/v1/unsubscribe";

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
    origins: Origins,
}

impl Guard {
    /// The lists of the settings.
    pub fn new(settings: &Settings) -> Self {
        let hosts = settings.hosts.iter().map(|host| host_name(host)).collect();
        Guard { hosts, origins: Origins::new(&settings.origins) }
    }

    /// Checks a request. The answer is how its origin is allowed, if it is another page's.
    ///
    /// # Errors
    /// `HostRefused`, `OriginRefused`.
    fn check(&self, request: &HttpRequest) -> Result<Option<Allowed>, Problem> {
        if request.path() == UNSUBSCRIBE {
            return Ok(None);
        }
        let host = host_of(request).ok_or(Problem::HostRefused)?;
        if !self.knows_host(&host) {
            return Err(Problem::HostRefused);
        }
        let headers = request.headers();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let changes = !reads || headers.contains_key(header::UPGRADE);
        let Some(origin) = headers.get(ORIGIN) else {
            return if !changes && asked_by_another_page(headers) {
                Err(Problem::OriginRefused)
            } else {
                Ok(None)
            };
        };
        let scheme = if request.app_config().secure() { "https" } else { "http" };
        let origin = origin.to_str().unwrap_or("null").to_ascii_lowercase();
        if origin == format!("{scheme}://{host}") {
            return Ok(None);
        }
        match self.origins.allow(&origin) {
            Some(allowed) => Ok(Some(allowed)),
            None if changes || asked_by_another_page(headers) => Err(Problem::OriginRefused),
            // A program that says where it comes from; a browser keeps the answer from a
            // page that has no consent.
            None => Ok(None),
        }
    }

    fn knows_host(&self, host: &str) -> bool {
        let name = host_name(host);
        name == "localhost"
            || is_address(&name)
            || self.hosts.iter().any(|known| *known == name || known == "*")
    }
}

/// True when a browser says that it asks for another site's page: by an image, a script
/// or a frame of that page, which needs no consent and costs us the work. A link that a
/// person follows is fine.
fn asked_by_another_page(headers: &HeaderMap) -> bool {
    let says = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let elsewhere = matches!(says("sec-fetch-site"), "cross-site" | "same-site");
    let link = says("sec-fetch-mode") == "navigate" && says("sec-fetch-dest") == "document";
    elsewhere && !link
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
    let brief = request.conn_data::<Connection>().is_some_and(Connection::is_brief);
    let checked = guard.check(request.request());
    let consent = match &checked {
        Ok(Some(allowed)) => Consent::new(*allowed, request.method(), request.headers()),
        _ => None,
    };
    let mut response = match checked {
        Ok(_) if brief && !BRIEF_PATHS.contains(&request.path()) => {
            let full = Problem::Unavailable("all connections are taken".into());
            request.into_response(full.error_response())
        }
        Ok(_) => next.call(request).await?,
        Err(problem) => request.into_response(problem.error_response()),
    };
    if brief {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    add_headers(response.headers_mut());
    if let Some(consent) = consent {
        consent.add_to(response.headers_mut());
    }
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
        // A page that frames something, or is framed, has a policy of its own.
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    vary_by_origin(headers);
}

fn host_of(request: &HttpRequest) -> Option<String> {
    let host = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers().get(header::HOST)?.to_str().ok()?,
    };
    Some(host.to_ascii_lowercase())
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
            Ok(None) => "fine",
            Ok(Some(_)) => "allowed",
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
        for host in [
            "localhost:8080",
            "LOCALHOST.",
            "localhost.:8080",
            "127.0.0.1",
            "[::1]:8080",
            "10.0.0.7:1",
            "ops.EXAMPLE:9",
            "ops.example.",
        ] {
            check(get(host), "fine");
        }
        for host in ["evil.example", "localhost.evil.example", "ops.example.evil", ""] {
            check(get(host), "host");
        }
        check(TestRequest::get().uri("/"), "host");
    }

    #[test]
    fn a_link_of_a_mail_is_good_from_anywhere() {
        let unsubscribe = |request: TestRequest| request.uri(UNSUBSCRIBE);
        check(unsubscribe(get("shop.example")), "fine");
        check(unsubscribe(post("shop.example", "null")), "fine");
        check(post("shop.example", "null").uri("/v1/unsubscribe/"), "host");
    }

    #[test]
    fn an_origin_must_be_exactly_ours() {
        check(TestRequest::post().uri("/").insert_header(("host", "localhost:1")), "fine");
        check(post("localhost:8080", "http://localhost:8080"), "fine");
        check(post("localhost.:8080", "http://localhost.:8080"), "fine");
        check(post("localhost:8080", "https://ops.example"), "allowed");
        for origin in
            ["http://localhost", "https://localhost:8080", "http://localhost:8081", "null"]
        {
            check(post("localhost:8080", origin), "origin");
        }
        let upgrade = get("localhost").insert_header(("upgrade", "websocket"));
        check(upgrade.insert_header(("origin", "http://evil.example")), "origin");
        check(get("localhost").insert_header(("origin", "http://evil.example")), "fine");
    }

    #[test]
    fn what_another_page_embeds_is_refused_and_a_link_is_followed() {
        let asked = |site: &str, mode: &str, dest: &str| {
            get("localhost")
                .insert_header(("sec-fetch-site", site))
                .insert_header(("sec-fetch-mode", mode))
                .insert_header(("sec-fetch-dest", dest))
        };
        for site in ["cross-site", "same-site"] {
            check(asked(site, "no-cors", "image"), "origin");
            check(asked(site, "no-cors", "script"), "origin");
            check(asked(site, "navigate", "iframe"), "origin");
            check(asked(site, "navigate", "document"), "fine");
            let cors =
                |origin: &str| asked(site, "cors", "empty").insert_header(("origin", origin));
            check(cors("http://evil.example"), "origin");
            check(cors("https://ops.example"), "allowed");
        }
        check(asked("same-origin", "no-cors", "image"), "fine");
        check(asked("none", "navigate", "document"), "fine");
    }
}
