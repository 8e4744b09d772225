//! `POST /v1/events`: a body of events becomes items of the log, each event one item,
//! and the answer comes once they are durable.
//!
//! Events that will not be understood are told at once and appended all the same, so
//! that they reach the dead letters by the one path that leads there.

use std::collections::HashSet;
use std::io::Read as _;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::web::{Bytes, BytesMut, Data, Payload};
use actix_web::{HttpRequest, HttpResponse, rt, web};
use flate2::read::MultiGzDecoder;
use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use super::problem::Problem;
use super::{Settings, State};
use crate::actors::aside::Refusal;
use crate::actors::ports::{Appended, Offer, Offered, Unfit};
use crate::domain::event::binding::{self, Mode, Protocol};
use crate::domain::event::decode::Decoder;
use crate::domain::event::split::{BodyKind, SplitError, split};

/// Bodies up to this are looked at in place; larger ones on a thread for blocking
/// work, so that the websockets of this thread do not wait. 64 KiB takes some 0.1 ms.
const IN_PLACE_BYTES_MAX: usize = 64 * 1024;

/// Bad events listed in an answer; further ones are only counted.
const VERDICTS_MAX: usize = 1_000;

/// The answer.
#[derive(Debug, Serialize)]
struct Receipt {
    accepted: usize,
    rejected: usize,
    first: u64,
    last: u64,
    verdicts: Vec<Verdict>,
}

/// What is wrong with one event.
#[derive(Debug, Serialize)]
struct Verdict {
    index: usize,
    ok: bool,
    reason: String,
}

/// A body taken apart.
struct Parts {
    items: Vec<Bytes>,
    rejected: usize,
    /// Those that will be rejected.
    bad: HashSet<usize>,
    verdicts: Vec<Verdict>,
}

/// `POST /v1/events`. 202 once durable; 400, with the same body, when no event is good.
///
/// # Errors
/// See [`Problem`].
pub async fn events(
    state: Data<State>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let Some(log) = state.log.clone() else {
        return Err(Problem::NotFound("this process takes no events".into()));
    };
    if state.is_draining() {
        return Err(Problem::Unavailable("the server is stopping".into()));
    }
    let form = Form::of(request.headers())?;
    let _reserved = reserve(&state, &form)?;
    let body = read(payload, &state.settings).await?;
    let len = body.len();
    let (schema, settings) = (state.schema.clone(), state.settings.clone());
    let work = move || take_apart(body, form, &settings, Decoder::new(schema));
    let parts = match len {
        0..=IN_PLACE_BYTES_MAX => work()?,
        _ => web::block(work).await??,
    };
    let total = parts.items.len();
    let items = parts.items.clone();
    let offers = items.iter().map(|event| Offer { event: event.clone(), origin: None });
    let Offered { appended, refused } = log.offer(offers.collect()).await?;
    // Kept for people, as every other event that is refused.
    set_aside(&state, &items, &refused).await?;
    let mut rejected = parts.rejected;
    let mut verdicts = parts.verdicts;
    for Unfit { index, reason } in &refused {
        rejected += usize::from(!parts.bad.contains(index));
        let known = verdicts.iter().any(|verdict| verdict.index == *index);
        if !known && verdicts.len() < VERDICTS_MAX {
            verdicts.push(Verdict { index: *index, ok: false, reason: reason.clone() });
        }
    }
    verdicts.sort_by_key(|verdict| verdict.index);
    let appended = appended.unwrap_or(Appended { first: 0, last: 0 });
    let receipt = Receipt {
        accepted: total - rejected,
        rejected,
        first: appended.first,
        last: appended.last,
        verdicts,
    };
    let status = match receipt.accepted {
        0 if refused.len() == total => StatusCode::PAYLOAD_TOO_LARGE,
        0 => StatusCode::BAD_REQUEST,
        _ => StatusCode::ACCEPTED,
    };
    Ok(HttpResponse::build(status).json(receipt))
}

/// Longest wait until events that the log cannot take are in the dead letters: a commit takes
/// half a second, and none is made while the pipeline restarts.
const ASIDE_TIMEOUT: Duration = Duration::from_secs(10);

/// Hands the events that the log cannot take to the dead letters, and waits until they are
/// durable there.
async fn set_aside(state: &State, items: &[Bytes], refused: &[Unfit]) -> Result<(), Problem> {
    if refused.is_empty() {
        return Ok(());
    }
    let refusal = |unfit: &Unfit| {
        let raw = items.get(unfit.index).cloned().unwrap_or_default();
        Refusal { reason: unfit.reason.clone(), raw }
    };
    let full = || Problem::Busy("too many events that the log cannot take are under way".into());
    let durable = state.flow.aside.put(refused.iter().map(refusal).collect()).ok_or_else(full)?;
    match rt::time::timeout(ASIDE_TIMEOUT, durable).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Problem::Unavailable(
            "the pipeline did not take what the log refused; send all events again later, with the \
             same ids"
                .into(),
        )),
    }
}

/// What the headers say about the body.
#[derive(Debug)]
struct Form {
    kind: BodyKind,
    gzip: bool,
    len: Option<usize>,
    binary: Option<BinaryForm>,
}

/// A CloudEvent in binary form: its body is the data alone.
#[derive(Debug)]
struct BinaryForm {
    /// The `ce-*` headers.
    attributes: Vec<(String, Vec<u8>)>,
    /// What the data is.
    content_type: Option<String>,
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let coding = text(CONTENT_ENCODING).unwrap_or("identity").trim().to_ascii_lowercase();
        let gzip = match coding.as_str() {
            "identity" | "" => false,
            "gzip" | "x-gzip" => true,
            _ => return Err(Problem::Coding(coding)),
        };
        let content_type = text(CONTENT_TYPE);
        let media = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
        let mode = Mode::of(content_type, |name| headers.contains_key(name));
        let kind = match (mode, media.trim().to_ascii_lowercase().as_str()) {
            (Mode::Unreadable, media) => {
                return Err(Problem::MediaType(binding::unreadable(media)));
            }
            (Mode::Structured, _) => BodyKind::CloudEvent,
            (Mode::Batch, _) => BodyKind::CloudEventBatch,
            (_, "application/json") => BodyKind::Json,
            (_, "application/x-ndjson" | "application/ndjson" | "application/jsonl") => {
                BodyKind::Ndjson
            }
            _ => BodyKind::Sniff,
        };
        let binary = (mode == Mode::Binary).then(|| BinaryForm {
            attributes: cloudevent_headers(headers),
            content_type: content_type.map(String::from),
        });
        let len = text(CONTENT_LENGTH).and_then(|len| len.parse().ok());
        Ok(Form { kind, gzip, len, binary })
    }
}

fn cloudevent_headers(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let ours = headers.iter().filter(|(name, _)| name.as_str().starts_with("ce-"));
    ours.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

/// Takes what the body may need from the bytes that may be under way.
fn reserve(state: &State, form: &Form) -> Result<OwnedSemaphorePermit, Problem> {
    let settings = &state.settings;
    let len = form.len.unwrap_or(settings.body_bytes_max);
    if len > settings.body_bytes_max {
        return Err(too_large("body", settings.body_bytes_max));
    }
    let bytes = if form.gzip { len + settings.inflated_bytes_max } else { len };
    let all = settings.intake_bytes_max / 1024;
    let kib = u32::try_from((bytes / 1024 + 1).min(all.max(1))).unwrap_or(u32::MAX);
    let intake = state.load.intake_kib.clone();
    intake.try_acquire_many_owned(kib).map_err(|_| {
        Problem::Busy(format!("bodies of {} bytes are under way", settings.intake_bytes_max))
    })
}

async fn read(mut payload: Payload, settings: &Settings) -> Result<Bytes, Problem> {
    let all = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk
                .map_err(|error| Problem::BadRequest(format!("the body broke off: {error}")))?;
            if body.len() + chunk.len() > settings.body_bytes_max {
                return Err(too_large("body", settings.body_bytes_max));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    let bound = Duration::from_millis(settings.body_timeout.max(1) as u64);
    match rt::time::timeout(bound, all).await {
        Ok(read) => read,
        Err(_) => Err(Problem::Timeout { seconds: settings.body_timeout / 1_000 }),
    }
}

fn take_apart(
    body: Bytes,
    form: Form,
    settings: &Settings,
    mut decoder: Decoder,
) -> Result<Parts, Problem> {
    let body = match form.gzip {
        true => inflate(&body, settings.inflated_bytes_max)?,
        false => body,
    };
    if form.binary.is_none() && body.trim_ascii().is_empty() {
        return Err(Problem::BadRequest("the body holds no event".into()));
    }
    let split = match &form.binary {
        Some(BinaryForm { attributes, content_type }) => {
            let headers = attributes.iter().map(|(name, value)| (name.as_str(), &value[..]));
            let content_type = content_type.as_deref();
            Ok(vec![binding::compose(Protocol::Http, headers, content_type, &body).into()])
        }
        None => split(&body, form.kind, settings.events_max),
    };
    let items = match split {
        Ok(items) => items,
        // The whole body is one dead letter.
        Err(SplitError::Malformed(reason)) => return Ok(all_bad(body, reason)),
        Err(SplitError::TooMany { max }) => {
            return Err(Problem::TooLarge { what: "body", bound: format!("{max} events") });
        }
    };
    if items.is_empty() {
        return Err(Problem::BadRequest("the body holds no event".into()));
    }
    Ok(judge(items, &mut decoder))
}

fn all_bad(body: Bytes, reason: String) -> Parts {
    let verdicts = vec![Verdict { index: 0, ok: false, reason }];
    Parts { items: vec![body], rejected: 1, bad: HashSet::from([0]), verdicts }
}

fn judge(items: Vec<Bytes>, decoder: &mut Decoder) -> Parts {
    let (mut bad, mut verdicts) = (HashSet::new(), Vec::new());
    for (index, item) in items.iter().enumerate() {
        if let Err(reason) = decoder.verdict(item) {
            bad.insert(index);
            if verdicts.len() < VERDICTS_MAX {
                verdicts.push(Verdict { index, ok: false, reason });
            }
        }
    }
    Parts { items, rejected: bad.len(), bad, verdicts }
}

/// Stops at the bound: what a small body inflates to is not known before.
fn inflate(body: &[u8], bound: usize) -> Result<Bytes, Problem> {
    let mut inflated = Vec::new();
    let read = MultiGzDecoder::new(body).take(bound as u64 + 1).read_to_end(&mut inflated);
    read.map_err(|error| Problem::BadRequest(format!("the body is not gzip: {error}")))?;
    match inflated.len() > bound {
        true => Err(too_large("inflated body", bound)),
        false => Ok(inflated.into()),
    }
}

fn too_large(what: &'static str, bound: usize) -> Problem {
    Problem::TooLarge { what, bound: format!("{bound} bytes") }
}
