//! What the store keeps for people: alerts, late events, dead letters and their way
//! back into the log.

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::web::{self, Data, Json, Path, Query};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::State;
use super::problem::Problem;
use crate::actors::ports::{StoreError, StoredDeadLetter};
use crate::actors::redrive::{LETTERS_MAX, Redrive, RedriveError, Wanted};
use crate::domain::alert::Alert;
use crate::domain::event::Hints;
use crate::domain::time::EpochMs;

/// Items of a list when the client does not say.
const LIMIT_DEFAULT: usize = 100;

/// Most items of a list.
const LIMIT_MAX: usize = 1_000;

/// Part of a list.
#[derive(Debug, Deserialize)]
pub struct Page {
    after: Option<u64>,
    limit: Option<usize>,
}

impl Page {
    fn after(&self) -> u64 {
        self.after.unwrap_or(0)
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX)
    }
}

type Answer = Result<HttpResponse, Problem>;

/// `GET /v1/alerts`: the feed.
///
/// # Errors
/// When the store cannot be read.
pub async fn alerts(state: Data<State>, page: ListQuery) -> Answer {
    let page = page?;
    let (after, limit) = (page.after(), page.limit());
    let read = read(&state, move |records| records.alerts(after, limit)).await?;
    Ok(list_of_alerts(&read, after))
}

/// `GET /v1/alert-log`: the alerts that the outbox delivered.
///
/// # Errors
/// When the store cannot be read.
pub async fn alert_log(state: Data<State>, page: ListQuery) -> Answer {
    let page = page?;
    let (after, limit) = (page.after(), page.limit());
    let read = read(&state, move |records| records.alert_log(after, limit)).await?;
    Ok(list_of_alerts(&read, after))
}

/// `GET /v1/late`: newest first.
///
/// # Errors
/// When the store cannot be read.
pub async fn late(state: Data<State>, page: ListQuery) -> Answer {
    let limit = page?.limit();
    let items = read(&state, move |records| records.late(limit)).await?;
    Ok(HttpResponse::Ok().json(json!({"items": items})))
}

/// `GET /v1/dead-letters`: oldest first.
///
/// # Errors
/// When the store cannot be read.
pub async fn dead_letters(state: Data<State>, page: ListQuery) -> Answer {
    let page = page?;
    let (after, limit) = (page.after(), page.limit());
    let letters = read(&state, move |records| records.dead_letters(after, limit)).await?;
    let items: Vec<_> = letters.iter().map(Shown::of).collect();
    Ok(HttpResponse::Ok().json(json!({"items": items})))
}

/// `GET /v1/dead-letters/{id}`.
///
/// # Errors
/// `NotFound`, or when the store cannot be read.
pub async fn dead_letter(state: Data<State>, id: Path<String>) -> Answer {
    let letter = letter(&state, &id).await?;
    Ok(HttpResponse::Ok().json(Shown::of(&letter)))
}

/// `GET /v1/dead-letters/{id}/raw`: the bytes as they came.
///
/// # Errors
/// `NotFound`, or when the store cannot be read.
pub async fn dead_letter_raw(state: Data<State>, id: Path<String>) -> Answer {
    let letter = letter(&state, &id).await?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/octet-stream"))
        .insert_header((CONTENT_DISPOSITION, "attachment"))
        .body(letter.raw))
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
        schema: state.schema.clone(),
        gate: &state.flow.redrive,
        now: state.clock.wall(),
    };
    let wanted = match request.all {
        true => Wanted::After(request.after),
        false => Wanted::Ids(request.ids.clone()),
    };
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

/// A query that answers with our own problem when it is malformed.
pub type ListQuery = Result<Query<Page>, Problem>;

/// A body that answers with our own problem when it is malformed.
pub type RedriveBody = Result<Json<RedriveRequest>, actix_web::Error>;

impl From<actix_web::Error> for Problem {
    fn from(error: actix_web::Error) -> Self {
        Problem::BadRequest(error.to_string())
    }
}

async fn letter(state: &State, id: &str) -> Result<StoredDeadLetter, Problem> {
    let missing = || Problem::NotFound("there is no such dead letter".into());
    let id = id.parse().map_err(|_| missing())?;
    read(state, move |records| records.dead_letter(id)).await?.ok_or_else(missing)
}

/// Asks the store on a thread for blocking work.
async fn read<T: Send + 'static>(
    state: &State,
    ask: impl FnOnce(&dyn crate::actors::ports::Records) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    let records = state.records.clone();
    Ok(web::block(move || ask(&*records)).await??)
}

fn list_of_alerts(items: &[Alert], after: u64) -> HttpResponse {
    let last = items.last().map_or(after, |alert| alert.n);
    HttpResponse::Ok().json(json!({"items": items, "last": last}))
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
    bytes: usize,
    raw: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "Hints::is_empty")]
    hints: &'a Hints,
}

impl<'a> Shown<'a> {
    fn of(letter: &'a StoredDeadLetter) -> Self {
        Shown {
            id: letter.id,
            source: &letter.source,
            position: letter.position,
            reason: &letter.reason,
            at: letter.at,
            redriven: letter.redriven,
            bytes: letter.raw.len(),
            raw: String::from_utf8_lossy(&letter.raw),
            hints: &letter.hints,
        }
    }
}
