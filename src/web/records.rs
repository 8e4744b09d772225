//! What the store keeps for people: alerts, late events, dead letters and their way
//! back into the log.

use actix_web::http::header::{CONTENT_DISPOSITION, HeaderValue};
use actix_web::web::{self, Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::PAGE_BYTES_MAX;
use super::lists::{AlertQuery, Items, LateQuery, LetterQuery, Paged, limit, text_of};
use super::problem::Problem;
use super::{State, answer};
use crate::actors::ports::{Records, StoreError, StoredDeadLetter};
use crate::actors::redrive::{LETTERS_MAX, Redrive, RedriveError, Wanted};
use crate::domain::event::Hints;
use crate::domain::time::EpochMs;

/// Bytes of a dead letter shown in a list, and when it is asked for alone. All of them are
/// at its `/raw`.
const RAW_IN_LIST: usize = 2 * 1024;
const RAW_ALONE: usize = 64 * 1024;

/// Bytes of a late event that are shown.
const RAW_LATE: usize = 64 * 1024;

type Answer = Result<HttpResponse, Problem>;

const JSON: &str = "application/json";

/// `GET /v1/alerts`: the feed.
///
/// # Errors
/// `BadRequest`, or when the store cannot be read.
pub async fn alerts(state: Data<State>, request: HttpRequest, query: AlertQuery) -> Answer {
    let wanted = query?.into_inner().checked()?;
    let text = read(&state, &request, move |records| {
        let feed = Paged {
            after: |after, limit| records.alerts(after, limit),
            newest: || records.alerts_newest(),
        };
        feed.find(&wanted)
    });
    answer::once(&state, &request, JSON, text.await?).await
}

/// `GET /v1/alert-log`: the alerts that the outbox delivered.
///
/// # Errors
/// `BadRequest`, or when the store cannot be read.
pub async fn alert_log(state: Data<State>, request: HttpRequest, query: AlertQuery) -> Answer {
    let wanted = query?.into_inner().checked()?;
    let text = read(&state, &request, move |records| {
        let feed = Paged {
            after: |after, limit| records.alert_log(after, limit),
            newest: || records.alerts_newest(),
        };
        feed.find(&wanted)
    });
    answer::once(&state, &request, JSON, text.await?).await
}

/// `GET /v1/late`: newest first.
///
/// # Errors
/// `BadRequest`, or when the store cannot be read.
pub async fn late(state: Data<State>, request: HttpRequest, query: LateQuery) -> Answer {
    let query = query?.into_inner();
    let limit = limit(query.limit);
    let text = read(&state, &request, move |records| {
        let found = records.late(query.before, limit, PAGE_BYTES_MAX)?;
        let (mut items, mut last) = (Items::default(), None);
        for (id, mut event) in found {
            let bytes = event.raw.len();
            event.raw.truncate(event.raw.floor_char_boundary(RAW_LATE));
            let cut = event.raw.len() < bytes;
            if !items.add(&json!({"id": id, "bytes": bytes, "cut": cut}), Some(&event)) {
                break;
            }
            last = Some(id);
        }
        let more = last.is_some() && !records.late(last, 1, 1)?.is_empty();
        Ok(items.page(&[("next", json!(last.filter(|_| more)))]))
    });
    answer::once(&state, &request, JSON, text.await?).await
}

/// `GET /v1/dead-letters`: oldest first, each with the beginning of its bytes.
///
/// # Errors
/// `BadRequest`, or when the store cannot be read.
pub async fn dead_letters(state: Data<State>, request: HttpRequest, query: LetterQuery) -> Answer {
    let query = query?.into_inner();
    let (after, limit) = (query.after.unwrap_or(0), limit(query.limit));
    let text = read(&state, &request, move |records| {
        let letters = records.dead_letter_heads(after, limit, RAW_IN_LIST)?;
        let mut items = Items::default();
        let mut last = after;
        for (letter, bytes) in &letters {
            if !items.add(&Shown::of(letter, *bytes), None::<&()>) {
                break;
            }
            last = letter.id;
        }
        let more = items.len > 0 && !records.dead_letter_heads(last, 1, 0)?.is_empty();
        Ok(items.page(&[("last", json!(last)), ("next", json!(more.then_some(last)))]))
    });
    answer::once(&state, &request, JSON, text.await?).await
}

/// `GET /v1/dead-letters/{id}`.
///
/// # Errors
/// `NotFound`, or when the store cannot be read.
pub async fn dead_letter(state: Data<State>, request: HttpRequest, id: Path<String>) -> Answer {
    let (letter, bytes) = letter(&state, &request, &id).await?.head(RAW_ALONE);
    answer::once(&state, &request, JSON, text_of(&Shown::of(&letter, bytes))).await
}

/// `GET /v1/dead-letters/{id}/raw`: the bytes as they came.
///
/// # Errors
/// `NotFound`, or when the store cannot be read.
pub async fn dead_letter_raw(state: Data<State>, request: HttpRequest, id: Path<String>) -> Answer {
    let letter = letter(&state, &request, &id).await?;
    let mut response =
        answer::once(&state, &request, "application/octet-stream", letter.raw).await?;
    let attachment = HeaderValue::from_static("attachment");
    response.headers_mut().insert(CONTENT_DISPOSITION, attachment);
    Ok(response)
}

/// Which dead letters to try again.
#[derive(Debug, Deserialize)]
pub struct RedriveRequest {
    #[serde(default)]
    ids: Vec<u64>,
    #[serde(default)]
    all: bool,
    /// With `all`: only those with a greater id.
    #[serde(default)]
    after: u64,
}

/// `POST /v1/dead-letters/redrive`: appends what is understood by now to the log again, then
/// marks it, each once (`actors::redrive`).
///
/// # Errors
/// When the log is full, or the store or the log fails.
pub async fn redrive(state: Data<State>, request: RedriveBody) -> Answer {
    let request = request
        .map_err(|error| Problem::BadRequest(format!("expected {{\"ids\":[..]}}: {error}")))?;
    if request.ids.len() > LETTERS_MAX {
        let bound = format!("{LETTERS_MAX} ids");
        return Err(Problem::TooLarge { what: "list of dead letters", bound });
    }
    let Some(log) = &state.log else {
        return Err(Problem::NotFound("this process takes no events".into()));
    };
    let redrive = Redrive {
        records: state.records.clone(),
        log: &**log,
        schema: state.schema.load_full(),
        gate: &state.flow.redrive,
        now: state.clock.wall(),
    };
    let wanted =
        if request.all { Wanted::After(request.after) } else { Wanted::Ids(request.ids.clone()) };
    Ok(HttpResponse::Ok().json(redrive.run(wanted).await?))
}

impl From<RedriveError> for Problem {
    fn from(error: RedriveError) -> Self {
        match error {
            RedriveError::Store(error) => error.into(),
            RedriveError::Append(error) => error.into(),
        }
    }
}

/// A body that answers with our own problem when it is malformed.
pub type RedriveBody = Result<Json<RedriveRequest>, actix_web::Error>;

impl From<actix_web::Error> for Problem {
    fn from(error: actix_web::Error) -> Self {
        Problem::BadRequest(error.to_string())
    }
}

async fn letter(
    state: &State,
    request: &HttpRequest,
    id: &str,
) -> Result<StoredDeadLetter, Problem> {
    let missing = || Problem::NotFound("there is no such dead letter".into());
    let id = id.parse().map_err(|_| missing())?;
    read(state, request, move |records| records.dead_letter(id)).await?.ok_or_else(missing)
}

/// Asks the store on a thread for blocking work, when its turn has come: each may hold a
/// page of the store in memory.
async fn read<T: Send + 'static>(
    state: &State,
    request: &HttpRequest,
    ask: impl FnOnce(&dyn Records) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    let turn = state.load.turn(request).await?;
    let records = state.records.clone();
    let work = move || {
        let _turn = turn;
        ask(&*records)
    };
    Ok(web::block(work).await??)
}

/// A dead letter as it is shown.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    id: u64,
    source: &'a str,
    position: u64,
    reason: &'a str,
    at: EpochMs,
    redriven: Option<EpochMs>,
    /// How many there are; `raw` may have fewer.
    bytes: usize,
    cut: bool,
    raw: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "Hints::is_empty")]
    hints: &'a Hints,
}

impl<'a> Shown<'a> {
    fn of(letter: &'a StoredDeadLetter, bytes: usize) -> Self {
        Shown {
            id: letter.id,
            source: &letter.source,
            position: letter.position,
            reason: &letter.reason,
            at: letter.at,
            redriven: letter.redriven,
            bytes,
            cut: letter.raw.len() < bytes,
            raw: String::from_utf8_lossy(&letter.raw),
            hints: &letter.hints,
        }
    }
}
