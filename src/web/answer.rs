//! Answers of some size: compressed when the client takes that, told apart by a tag, and
//! counted in memory until the client has read them.
//!
//! A client that asks and then does not read holds its answer: all answers together
//! have a bound, and one that is read too slowly is cut.

use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH,
    VARY,
};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use flate2::Compression;
use flate2::write::GzEncoder;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::State;
use super::problem::Problem;
use crate::clock::SharedClock;
use crate::domain::hash::fingerprint;

/// Most bytes of a list in one answer, before compression; the rest follows on request.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Answers up to this are not counted: the buffers of their connection are as large.
const UNCOUNTED_BYTES: usize = 16 * 1024;

/// Smaller ones are sent as they are: compressed they would fill one packet as well.
const COMPRESSED_BYTES_MIN: usize = 1024;

/// Handed to the connection at a time.
const PIECE_BYTES: usize = 32 * 1024;
const _: () = assert!(
    COMPRESSED_BYTES_MIN < PIECE_BYTES && PIECE_BYTES < PAGE_BYTES_MAX,
    "a page leaves in pieces"
);

/// Longest wait for room among the answers.
const ROOM_WAIT: Duration = Duration::from_secs(2);

/// An answer may take this long, and a second more for each `SLOW_BYTES_PER_S`.
const SLOW_MS: i64 = 30_000;
const SLOW_BYTES_PER_S: i64 = 16 * 1024;

/// The bytes of answers that clients have not read yet. Clones share them.
#[derive(Clone, Debug)]
pub struct Answers {
    kib: Arc<Semaphore>,
    kib_max: usize,
}

impl Answers {
    /// Nothing under way.
    pub fn new(bytes_max: usize) -> Self {
        let kib_max = (bytes_max / 1024).clamp(1, Semaphore::MAX_PERMITS);
        Answers { kib: Arc::new(Semaphore::new(kib_max)), kib_max }
    }

    /// Bytes under way, in whole KiB.
    pub fn bytes(&self) -> usize {
        (self.kib_max - self.kib.available_permits()) * 1024
    }

    async fn hold(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        if bytes <= UNCOUNTED_BYTES {
            return Ok(None);
        }
        let kib = bytes.div_ceil(1024).min(self.kib_max);
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.kib).acquire_many_owned(kib);
        match tokio::time::timeout(ROOM_WAIT, room).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            Ok(Err(_)) | Err(_) => Err(Problem::Busy(format!(
                "answers of {} KiB are under way (web.answers_bytes_max)",
                self.kib_max
            ))),
        }
    }
}

/// A text with its compressed form, where that is worth it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Text {
    plain: Bytes,
    gzip: Option<Bytes>,
    hash: u64,
}

impl Text {
    /// Keeps both forms, for a text that is given out again and again.
    pub fn compressed(plain: impl Into<Bytes>, level: Compression) -> Self {
        let plain = plain.into();
        let gzip = (plain.len() >= COMPRESSED_BYTES_MIN).then(|| gzip(&plain, level));
        let gzip = gzip.filter(|gzip| gzip.len() < plain.len());
        Text { hash: fingerprint(&plain), plain, gzip }
    }

    /// The form that a client takes, with its `Content-Encoding`.
    fn form(&self, takes_gzip: bool) -> (&Bytes, Option<&'static str>) {
        match &self.gzip {
            Some(gzip) if takes_gzip => (gzip, Some("gzip")),
            _ => (&self.plain, None),
        }
    }

    /// The whole answer, or `304` when the client has it already.
    pub fn answer(
        &self,
        request: &HttpRequest,
        content_type: &'static str,
        cache: &'static str,
    ) -> HttpResponse {
        let (status, headers, body) = self.parts(request, content_type, cache);
        respond(status, &headers, body.cloned().unwrap_or_default())
    }

    /// As [`answer`](Self::answer), counted among the answers under way.
    ///
    /// # Errors
    /// `Busy` when too much is under way.
    pub async fn counted(
        &self,
        state: &State,
        request: &HttpRequest,
        content_type: &'static str,
        cache: &'static str,
    ) -> Result<HttpResponse, Problem> {
        let (status, headers, body) = self.parts(request, content_type, cache);
        let body = body.cloned().unwrap_or_default();
        let permit = state.load.answers.hold(body.len()).await?;
        Ok(respond(status, &headers, Held::new(body, permit, &state.clock)))
    }

    fn parts(
        &self,
        request: &HttpRequest,
        content_type: &'static str,
        cache: &'static str,
    ) -> (u16, Headers, Option<&Bytes>) {
        let (body, coding) = self.form(takes_gzip(request.headers()));
        // One tag for each form: a cache must not put one in the place of the other.
        let suffix = if coding.is_some() { "-gz" } else { "" };
        let tag = format!("\"{:016x}{suffix}\"", self.hash);
        let known = request.headers().get_all(IF_NONE_MATCH).any(|known| names(known, &tag));
        let mut headers = vec![(ETAG, tag), (CACHE_CONTROL, cache.into())];
        if self.gzip.is_some() {
            headers.push((VARY, "Accept-Encoding".into()));
        }
        if known {
            return (304, headers, None);
        }
        headers.push((CONTENT_TYPE, content_type.into()));
        headers.extend(coding.map(|coding| (CONTENT_ENCODING, coding.to_owned())));
        (200, headers, Some(body))
    }
}

type Headers = Vec<(actix_web::http::header::HeaderName, String)>;

fn respond(status: u16, headers: &Headers, body: impl MessageBody + 'static) -> HttpResponse {
    let status = actix_web::http::StatusCode::from_u16(status).unwrap_or_default();
    let mut response = HttpResponse::build(status);
    for (name, value) in headers {
        response.insert_header((name.clone(), value.as_str()));
    }
    response.body(body)
}

/// Whether an `If-None-Match` names a tag (or any), compared weakly.
fn names(header: &actix_web::http::header::HeaderValue, tag: &str) -> bool {
    let Ok(text) = header.to_str() else { return false };
    text.split(',')
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// Bytes that are made for this client alone, compressed here if it takes that.
///
/// # Errors
/// `Busy` when too much is under way.
pub async fn once(
    state: &State,
    request: &HttpRequest,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Result<HttpResponse, Problem> {
    let body = body.into();
    let worth = body.len() >= COMPRESSED_BYTES_MIN;
    let (body, zipped) = if worth && takes_gzip(request.headers()) {
        let turn = state.load.turn(request).await?;
        let work = move || {
            let _turn = turn;
            gzip(&body, Compression::fast())
        };
        (web::block(work).await?, true)
    } else {
        (body, false)
    };
    let permit = state.load.answers.hold(body.len()).await?;
    let mut headers = vec![(CONTENT_TYPE, content_type.to_owned())];
    if worth {
        headers.push((VARY, "Accept-Encoding".into()));
    }
    if zipped {
        headers.push((CONTENT_ENCODING, "gzip".into()));
    }
    Ok(respond(200, &headers, Held::new(body, permit, &state.clock)))
}

fn gzip(bytes: &[u8], level: Compression) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), level);
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("writing to memory cannot fail")
        .into()
}

/// Whether `Accept-Encoding` allows gzip; without the header it does not.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    for value in headers.get_all(ACCEPT_ENCODING).filter_map(|value| value.to_str().ok()) {
        for coding in value.split(',') {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = weight
                .trim()
                .strip_prefix("q=")
                .is_some_and(|weight| weight.trim().parse::<f32>().is_ok_and(|q| q <= 0.0));
            match name.trim().to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => return !refused,
                "*" => any = !refused,
                _ => {}
            }
        }
    }
    any
}

/// A body that is counted until it was read.
struct Held {
    body: Bytes,
    clock: SharedClock,
    until: i64,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Held {
    fn new(body: Bytes, permit: Option<OwnedSemaphorePermit>, clock: &SharedClock) -> Self {
        let time = SLOW_MS + body.len() as i64 * 1_000 / SLOW_BYTES_PER_S;
        Held { until: clock.elapsed() + time, clock: Arc::clone(clock), body, _permit: permit }
    }
}

/// The client took too long.
#[derive(Clone, Copy, Debug, Error)]
#[error("the answer was not read in time")]
struct TooSlow;

impl MessageBody for Held {
    type Error = TooSlow;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.body.len() as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, TooSlow>>> {
        if self.body.is_empty() {
            return Poll::Ready(None);
        }
        if self.clock.elapsed() > self.until {
            return Poll::Ready(Some(Err(TooSlow)));
        }
        let piece = self.body.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(self.body.split_to(piece))))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    #[track_caller]
    fn check(accept: &[&str], expected: bool) {
        let mut headers = HeaderMap::new();
        for value in accept {
            let name: HeaderName = ACCEPT_ENCODING;
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        assert_eq!(takes_gzip(&headers), expected, "{accept:?}");
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        check(&[], false);
        check(&["gzip"], true);
        check(&["br, GZIP;q=0.5"], true);
        check(&["gzip;q=0"], false);
        check(&["gzip;q=0, *"], false);
        check(&["*"], true);
        check(&["*;q=0.0"], false);
        check(&["identity", "gzip"], true);
        check(&["identity"], false);
    }

    #[test]
    fn a_tag_is_known_weak_or_strong_or_by_a_star() {
        let tag = "\"12-gz\"";
        for (header, known) in [
            ("\"12-gz\"", true),
            ("\"0\", W/\"12-gz\"", true),
            ("*", true),
            ("\"12\"", false),
            ("12-gz", false),
        ] {
            assert_eq!(names(&HeaderValue::from_static(header), tag), known, "{header}");
        }
    }

    #[test]
    fn text_that_does_not_shrink_is_kept_plain() {
        assert!(Text::compressed("short", Compression::best()).gzip.is_none());
        let long = "a".repeat(10_000);
        let text = Text::compressed(long, Compression::best());
        assert!(text.gzip.is_some_and(|gzip| gzip.len() < 200));
    }
}
