//! `POST /v1/events`: a body of events becomes items of the log, each event one item,
//! and the answer comes once they are durable.
//!
//! Nothing is done for a body before it is there, and nothing of size on the threads
//! that answer requests: inflating, splitting and judging go to other threads, a few at a
//! time, each with bounds that stop it while it works.
//!
//! Events that will not be understood are told at once and appended all the same, so
//! that they reach the dead letters by the one path that leads there.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse, rt, web};
use futures_util::StreamExt as _;
use serde::Serialize;

use super::body::{Body, STEP_BYTES, Steps};
use super::intake::{Admission, NoRoom};
use super::problem::Problem;
use super::unpack::{Coding, inflate};
use super::{Settings, State, peer};
use crate::actors::aside::Refusal;
use crate::actors::ports::{Appended, Offer, Offered, Unfit};
use crate::domain::event::binding::{self, Mode, Protocol};
use crate::domain::event::split::{BodyKind, SplitError, split};
use crate::domain::verdict::{Now, Verdict};

/// Plain bodies up to this are looked at in place; everything else by a thread for
/// blocking work. The worst 4 KiB (2,000 bad events) take less than a millisecond.
const IN_PLACE_BYTES_MAX: usize = 4 * 1024;

/// Memory of one event while its request lasts, besides its bytes: its place in lists.
const EVENT_PLACE_BYTES: usize = 64;

/// What is kept of a compressed body that is not understood: what was sent, or this much.
/// An event is much shorter; a few bytes must not become megabytes of dead letters.
const UNPACKED_ITEM_BYTES_MAX: usize = 1024 * 1024;

/// Bad events listed in an answer, and as many doubtful ones; further ones are only counted.
const VERDICTS_MAX: usize = 1_000;

/// The answer.
#[derive(Debug, Serialize)]
struct Receipt {
    accepted: usize,
    rejected: usize,
    /// Accepted ones of which something is lost, or not where it was to be.
    warned: usize,
    first: u64,
    last: u64,
    verdicts: Vec<Told>,
}

/// What is to be said of one event.
#[derive(Debug, Serialize)]
struct Told {
    index: usize,
    ok: bool,
    /// Why it is rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What is lost of an event that is accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl Told {
    fn bad(index: usize, reason: String) -> Self {
        Told { index, ok: false, reason: Some(reason), warnings: Vec::new() }
    }
}

/// A body taken apart.
struct Parts {
    items: Vec<Bytes>,
    /// What it was judged by.
    now: Now,
    /// Keys whose events are late unless a session of theirs is open.
    doubtful: HashSet<String>,
    /// Those that will count with a warning.
    warned: HashSet<usize>,
    /// Those that will be rejected.
    bad: HashSet<usize>,
    verdicts: Vec<Told>,
}

/// `POST /v1/events`. 202 once durable; 400, with the same body, when no event is good.
///
/// # Errors
/// See [`Problem`].
pub async fn events(
    state: Data<State>,
    steps: Data<Steps>,
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
    if form.len.is_some_and(|len| len > state.settings.body_bytes_max) {
        return Err(Problem::too_large("body", state.settings.body_bytes_max));
    }
    let admission = state.load.intake.enter(peer(&request), state.clock.elapsed());
    let body = read(payload, &form, &state, &admission, &steps).await?;
    admission.arrived();
    let coding = match form.coding {
        Coding::Identity => Coding::of_bytes(body.start()),
        named => named,
    };
    let work = Work { form, coding, admission, state: state.clone() };
    let (parts, _place) = match coding {
        Coding::Identity if body.len() <= IN_PLACE_BYTES_MAX => work.take_apart(body.whole())?,
        _ => {
            let turn = state.load.decode_turn(&request).await?;
            // The turn is over when the work is, also when nobody waits for it any more.
            web::block(move || {
                let _turn = turn;
                work.take_apart(body.whole())
            })
            .await??
        }
    };
    let parts = look_again(parts, &state, &request).await?;
    let total = parts.items.len();
    let items = parts.items.clone();
    let offers = items.iter().map(|event| Offer { event: event.clone(), origin: None });
    let Offered { appended, refused } = log.offer(offers.collect()).await?;
    // Kept for people, as every other event that is refused.
    set_aside(&state, &items, &refused).await?;
    let Parts { mut bad, mut warned, mut verdicts, .. } = parts;
    for Unfit { index, reason } in &refused {
        bad.insert(*index);
        warned.remove(index);
        // Whatever else is wrong with it: this is why it is in the dead letters.
        let told = Told::bad(*index, reason.clone());
        match verdicts.iter().position(|verdict| verdict.index == *index) {
            Some(at) => verdicts[at] = told,
            None if verdicts.len() < 2 * VERDICTS_MAX => verdicts.push(told),
            None => {}
        }
    }
    verdicts.sort_by_key(|verdict| verdict.index);
    let appended = appended.unwrap_or(Appended { first: 0, last: 0 });
    let receipt = Receipt {
        accepted: total - bad.len(),
        rejected: bad.len(),
        warned: warned.len(),
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
    let full = || {
        Problem::Busy(
            "too many events that the stream cannot take are on their way to the dead letters \
             (nats.gateway.refused_bytes_max)"
                .into(),
        )
    };
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
    coding: Coding,
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
        let coding = Coding::named(text(CONTENT_ENCODING).unwrap_or_default())?;
        let content_type = text(CONTENT_TYPE);
        let media = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
        let media = media.trim().to_ascii_lowercase();
        if media.starts_with("multipart/") {
            return Err(Problem::MediaType(format!(
                "a body of kind {media:?} holds no events: send them as JSON or as lines of JSON"
            )));
        }
        let mode = Mode::of(content_type, |name| headers.contains_key(name));
        let kind = match (mode, media.as_str()) {
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
        Ok(Form { kind, coding, len, binary })
    }
}

fn cloudevent_headers(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let ours = headers.iter().filter(|(name, _)| name.as_str().starts_with("ce-"));
    ours.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

/// Reads the body. Memory is taken as the bytes come, whatever was announced.
async fn read(
    mut payload: Payload,
    form: &Form,
    state: &State,
    admission: &Admission,
    steps: &Steps,
) -> Result<Body, Problem> {
    let settings = &state.settings;
    let now = || state.clock.elapsed();
    let all = async {
        let mut body = Body::default();
        let mut in_step = 0;
        loop {
            let chunk = tokio::select! {
                biased;
                () = admission.cut() => return Err(gave_way()),
                chunk = payload.next() => chunk,
            };
            let Some(chunk) = chunk else { return Ok(body) };
            let chunk = chunk
                .map_err(|error| Problem::BadRequest(format!("the body broke off: {error}")))?;
            let len = body.len() + chunk.len();
            if len > settings.body_bytes_max {
                return Err(Problem::too_large("body", settings.body_bytes_max));
            }
            admission.came(chunk.len(), now());
            let announced = form.len.unwrap_or(usize::MAX);
            let mut capacity = body.bytes_with(chunk.len(), announced);
            if admission.hold(capacity, now()).is_err() {
                capacity = body.bytes_at_least(chunk.len(), announced);
                admission.hold_soon(capacity, now).await.map_err(|NoRoom| no_room(settings))?;
            }
            body.add(&chunk, capacity);
            in_step += chunk.len();
            if in_step >= STEP_BYTES {
                in_step = 0;
                tokio::select! {
                    biased;
                    () = admission.cut() => return Err(gave_way()),
                    () = steps.step() => {}
                }
            }
        }
    };
    let bound = Duration::from_millis(settings.body_timeout.max(1) as u64);
    match rt::time::timeout(bound, all).await {
        Ok(read) => read,
        Err(_) => Err(Problem::Timeout { seconds: settings.body_timeout / 1_000 }),
    }
}

fn gave_way() -> Problem {
    Problem::Stalled("the body hardly moved while others needed the room; send it again".into())
}

fn no_room(settings: &Settings) -> Problem {
    Problem::Busy(format!(
        "bodies of {} bytes are under way (web.intake_bytes_max), or this sender's part of them",
        settings.intake_bytes_max
    ))
}

/// What it takes to make events of a body, on any thread.
struct Work {
    form: Form,
    coding: Coding,
    admission: Admission,
    state: Data<State>,
}

impl Work {
    /// The events; the admission must be kept as long as they are.
    fn take_apart(self, body: Bytes) -> Result<(Parts, Admission), Problem> {
        let settings = &self.state.settings;
        let held = body.len();
        let grow = |bytes: usize| {
            let held = self.admission.hold(held + bytes, self.state.clock.elapsed());
            held.map_err(|NoRoom| no_room(settings))
        };
        let body = inflate(self.coding, &body, settings.inflated_bytes_max, grow)?;
        let parts = self.events_of(body, held)?;
        Ok((parts, self.admission))
    }

    fn events_of(&self, body: Bytes, held: usize) -> Result<Parts, Problem> {
        let settings = &self.state.settings;
        if self.form.binary.is_none() && body.trim_ascii().is_empty() {
            return Err(Problem::BadRequest("the body holds no event".into()));
        }
        let split = match &self.form.binary {
            Some(BinaryForm { attributes, content_type }) => {
                let headers = attributes.iter().map(|(name, value)| (name.as_str(), &value[..]));
                let content_type = content_type.as_deref();
                Ok(vec![binding::compose(Protocol::Http, headers, content_type, &body).into()])
            }
            None => split(&body, self.form.kind, settings.events_max),
        };
        let items = match split {
            Ok(items) => self.none_too_long(items, held)?,
            Err(SplitError::TooMany { max }) => {
                let bound = format!("{max} events (web.events_max)");
                return Err(Problem::TooLarge { what: "body", bound });
            }
            // The whole body is one dead letter.
            Err(SplitError::Malformed(reason)) => {
                let body = self.none_too_long(vec![body], held)?.remove(0);
                return Ok(all_bad(body, reason, judged_at(&self.state)));
            }
        };
        if items.is_empty() {
            return Err(Problem::BadRequest("the body holds no event".into()));
        }
        let inflated = if self.coding == Coding::Identity { 0 } else { body.len() };
        let bytes = held + inflated + items.len() * EVENT_PLACE_BYTES;
        let now = self.state.clock.elapsed();
        self.admission.hold(bytes, now).map_err(|NoRoom| no_room(settings))?;
        Ok(judge(items, judged_at(&self.state), &HashSet::new(), &self.state))
    }
}

impl Work {
    fn none_too_long(&self, items: Vec<Bytes>, sent: usize) -> Result<Vec<Bytes>, Problem> {
        let most = sent.max(UNPACKED_ITEM_BYTES_MAX);
        if self.coding != Coding::Identity && items.iter().any(|item| item.len() > most) {
            Err(Problem::too_large("unpacked body has an event that", most))
        } else {
            Ok(items)
        }
    }
}

fn all_bad(body: Bytes, reason: String, now: Now) -> Parts {
    let (verdicts, doubtful) = (vec![Told::bad(0, reason)], HashSet::new());
    let bad = HashSet::from([0]);
    Parts { items: vec![body], now, doubtful, warned: HashSet::new(), bad, verdicts }
}

/// An event that is late by itself is none where a session of its key is open, which the shards
/// alone know.
async fn look_again(
    mut parts: Parts,
    state: &Data<State>,
    request: &HttpRequest,
) -> Result<Parts, Problem> {
    if parts.doubtful.is_empty() {
        return Ok(parts);
    }
    let open = state.directory.open_among(std::mem::take(&mut parts.doubtful)).await;
    if open.is_empty() {
        return Ok(parts);
    }
    let bytes: usize = parts.items.iter().map(Bytes::len).sum();
    if bytes <= IN_PLACE_BYTES_MAX {
        return Ok(judge(parts.items, parts.now, &open, state));
    }
    let turn = state.load.decode_turn(request).await?;
    let state = state.clone();
    let again = move || {
        let _turn = turn;
        judge(parts.items, parts.now, &open, &state)
    };
    Ok(web::block(again).await?)
}

/// The clock and the watermark of now.
fn judged_at(state: &State) -> Now {
    Now { arrived: state.clock.wall(), watermark: state.board.load().watermark }
}

/// What will become of each event, if these keys have an open session and no other has.
fn judge(items: Vec<Bytes>, now: Now, open: &HashSet<String>, state: &State) -> Parts {
    let doubtful = RefCell::new(HashSet::new());
    let is_open = |key: &str| {
        let known = open.contains(key);
        if !known {
            doubtful.borrow_mut().insert(key.to_owned());
        }
        known
    };
    let meaning = state.meaning.load();
    let mut judge = meaning.judge(now);
    let (mut bad, mut warned, mut verdicts) = (HashSet::new(), HashSet::new(), Vec::new());
    for (index, item) in items.iter().enumerate() {
        match judge.verdict(item, is_open) {
            Verdict::Good => {}
            Verdict::Doubtful(warnings) => {
                warned.insert(index);
                if warned.len() <= VERDICTS_MAX {
                    verdicts.push(Told { index, ok: true, reason: None, warnings });
                }
            }
            Verdict::Bad(reason) => {
                bad.insert(index);
                if bad.len() <= VERDICTS_MAX {
                    verdicts.push(Told::bad(index, reason));
                }
            }
        }
    }
    let doubtful = doubtful.into_inner();
    Parts { items, now, doubtful, warned, bad, verdicts }
}
