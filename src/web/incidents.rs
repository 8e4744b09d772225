//! Incidents, what people do with them, and the log of it.

use actix_web::web::{self, Data, Json, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use jiff::SignedDuration;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::lists::{Items, limit, time};
use super::problem::Problem;
use super::{State, answer};
use crate::actors::ports::{IncidentRecords, IncidentsWanted, StoreError};
use crate::domain::alert::alert_id;
use crate::domain::board::TopicState;
use crate::domain::incident::{Command, Incident, Notification, Phase, Refused, Silence};
use crate::domain::time::{BEGINNING, EpochMs, SpanMs};

type Answer = Result<HttpResponse, Problem>;

const JSON: &str = "application/json";

/// The topic of the incidents.
const INCIDENTS: &str = "incidents";

/// Longest name of somebody, in bytes.
const BY_BYTES_MAX: usize = 200;

/// Longest note and reason, in bytes.
const NOTE_BYTES_MAX: usize = 2_000;

/// Longest silence and snooze: longer ones are forgotten by those who made them.
const SPAN_MAX: SpanMs = 366 * 86_400_000;

/// Lines of its log that an incident is shown with.
const LINES_MAX: usize = 1_000;

/// Query of `/v1/incidents`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    state: Option<AskedState>,
    before: Option<u64>,
    limit: Option<usize>,
}

/// Which incidents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AskedState {
    /// Those that hold, and what is pending.
    Open,
    /// What stands out and is no incident yet.
    Pending,
    /// Those that are over.
    Resolved,
    /// All of these.
    All,
}

/// Query of lists that go on after a number.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    after: Option<u64>,
    limit: Option<usize>,
}

/// An incident as it is shown: with where it stands.
#[derive(Serialize)]
struct Shown<'a> {
    n: u64,
    phase: Phase,
    #[serde(flatten)]
    incident: &'a Incident,
}

/// `GET /v1/incidents`: those that began last first; those that hold, unless others are asked for. Beside
/// the first page stands what is pending.
///
/// # Errors
/// `BadRequest`, or when the store cannot be read.
pub async fn incidents(
    state: Data<State>,
    request: HttpRequest,
    query: Result<Query<Asked>, Problem>,
) -> Answer {
    let query = query?.into_inner();
    let asked = query.state.unwrap_or(AskedState::Open);
    let wanted = IncidentsWanted {
        open: match asked {
            AskedState::Open | AskedState::Pending => Some(true),
            AskedState::Resolved => Some(false),
            AskedState::All => None,
        },
        before: query.before.unwrap_or(u64::MAX),
        limit: limit(query.limit),
    };
    let first = query.before.is_none() && asked != AskedState::Resolved;
    let (pending, count) = if first { pending(&state) } else { (json!([]), json!(0)) };
    let beside = move |next: Option<u64>| {
        [("next", json!(next)), ("pending", pending), ("pending_count", count)]
    };
    if asked == AskedState::Pending {
        let text = Items::default().page(&beside(None));
        return answer::once(&state, &request, JSON, text).await;
    }
    let text = read(&state, &request, move |records| {
        let (mut items, mut last) = (Items::default(), None);
        for (n, incident) in &records.incidents(&wanted)? {
            let shown = Shown { n: *n, phase: incident.phase(), incident };
            if !items.add(&shown, None::<&()>) {
                break;
            }
            last = Some(*n);
        }
        let more = match last {
            None => false,
            Some(before) => {
                !records.incidents(&IncidentsWanted { before, limit: 1, ..wanted })?.is_empty()
            }
        };
        Ok(items.page(&beside(last.filter(|_| more))))
    });
    answer::once(&state, &request, JSON, text.await?).await
}

/// What the latest board has of what is pending, and how many there are.
fn pending(state: &State) -> (Value, Value) {
    let board = state.board.load();
    let topic = board.topics.get(INCIDENTS).map(|topic| &topic.state);
    let Some(TopicState::Map(values)) = topic else { return (json!([]), json!(0)) };
    let value = |name: &str| values.get(name).cloned();
    let (list, count) = (value("pending"), value("pending_count"));
    (list.unwrap_or_else(|| json!([])), count.unwrap_or_else(|| json!(0)))
}

/// `GET /v1/incidents/{id}`: one, with what was done.
///
/// # Errors
/// `NotFound`, or when the store cannot be read.
pub async fn incident(state: Data<State>, request: HttpRequest, id: Path<String>) -> Answer {
    let id = id.into_inner();
    let text = one(&state, &request, id).await?.to_string();
    answer::once(&state, &request, JSON, text).await
}

async fn one(state: &State, request: &HttpRequest, id: String) -> Result<Value, Problem> {
    let missing = Refused::NoIncident(id.clone());
    let found = read(state, request, move |records| {
        let Some(incident) = records.incident(&id)? else { return Ok(None) };
        let log = records.incident_log(0, Some(&id), LINES_MAX)?;
        Ok(Some((incident, log)))
    });
    let (incident, log) = found.await?.ok_or_else(|| Problem::NotFound(missing.to_string()))?;
    let mut shown = json!(incident);
    shown["phase"] = json!(incident.phase());
    shown["log"] = json!(log);
    Ok(shown)
}

/// `GET /v1/incident-log`: what was done, by the engine and by people, oldest first.
///
/// # Errors
/// `BadRequest`, or when the store cannot be read.
pub async fn log(
    state: Data<State>,
    request: HttpRequest,
    query: Result<Query<After>, Problem>,
) -> Answer {
    let lines =
        |records: &dyn IncidentRecords, after, limit| records.incident_log(after, None, limit);
    page(&state, &request, query?.into_inner(), lines, |line| line.n).await
}

/// `GET /v1/notifications`: what went out, oldest first.
///
/// # Errors
/// `BadRequest`, or when the store cannot be read.
pub async fn notifications(
    state: Data<State>,
    request: HttpRequest,
    query: Result<Query<After>, Problem>,
) -> Answer {
    let sent = |records: &dyn IncidentRecords, after, limit| {
        let rows = records.notifications(after, None, limit)?;
        // Whom a nudge is for is nobody's business.
        Ok(rows.iter().map(Notification::masked).collect())
    };
    page(&state, &request, query?.into_inner(), sent, |one| one.n).await
}

/// A page of rows that have numbers, oldest first.
async fn page<T: Serialize + 'static>(
    state: &State,
    request: &HttpRequest,
    asked: After,
    rows: impl FnOnce(&dyn IncidentRecords, u64, usize) -> Result<Vec<T>, StoreError> + Send + 'static,
    number: fn(&T) -> u64,
) -> Answer {
    let (after, limit) = (asked.after.unwrap_or(0), limit(asked.limit));
    let text = read(state, request, move |records| {
        let rows = rows(records, after, limit)?;
        let (mut items, mut last) = (Items::default(), after);
        let mut more = rows.len() == limit;
        for row in &rows {
            if !items.add(row, None::<&()>) {
                more = true;
                break;
            }
            last = number(row);
        }
        Ok(items.page(&[("last", json!(last)), ("next", json!(more.then_some(last)))]))
    });
    answer::once(state, request, JSON, text.await?).await
}

/// Body of `/v1/incidents/{id}/acknowledge`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledge {
    by: String,
    #[serde(default)]
    note: String,
}

/// Body of `/v1/incidents/{id}/snooze`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snooze {
    by: String,
    #[serde(rename = "for")]
    span: String,
}

/// Body of `/v1/silences`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSilence {
    matching: String,
    by: String,
    reason: String,
    /// For how long from now on; or `from` and `until`.
    #[serde(rename = "for")]
    span: Option<String>,
    from: Option<String>,
    until: Option<String>,
}

/// Body of `/v1/silences/{id}/end`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    by: String,
}

/// A body, or what is wrong with it.
pub type Body<T> = Result<Json<T>, actix_web::Error>;

fn body<T: DeserializeOwned>(body: Body<T>, like: &str) -> Result<T, Problem> {
    let wrong = |error| Problem::BadRequest(format!("expected {like}: {error}"));
    body.map(Json::into_inner).map_err(wrong)
}

/// `POST /v1/incidents/{id}/acknowledge`: somebody takes care of it. Answered once it is durable.
///
/// # Errors
/// `BadRequest`, `NotFound`, or `Unavailable` while nobody can take it.
pub async fn acknowledge(
    state: Data<State>,
    request: HttpRequest,
    id: Path<String>,
    said: Body<Acknowledge>,
) -> Answer {
    let said = body(said, r#"{"by": "ada", "note": "looking at it"}"#)?;
    let (id, by) = (id.into_inner(), name(said.by)?);
    let note = text("note", said.note)?;
    attend(&state, Command::Acknowledge { incident: id.clone(), by, note }).await?;
    Ok(HttpResponse::Ok().json(one(&state, &request, id).await?))
}

/// `POST /v1/incidents/{id}/snooze`: nobody is told of it for a while.
///
/// # Errors
/// As of [`acknowledge`].
pub async fn snooze(
    state: Data<State>,
    request: HttpRequest,
    id: Path<String>,
    said: Body<Snooze>,
) -> Answer {
    let said = body(said, r#"{"by": "ada", "for": "2h"}"#)?;
    let (id, by) = (id.into_inner(), name(said.by)?);
    let span = span(&said.span)?;
    attend(&state, Command::Snooze { incident: id.clone(), span, by }).await?;
    Ok(HttpResponse::Ok().json(one(&state, &request, id).await?))
}

/// `GET /v1/silences`: those that are not over.
///
/// # Errors
/// When the store cannot be read.
pub async fn silences(state: Data<State>, request: HttpRequest) -> Answer {
    let found = read(&state, &request, |records| records.silences()).await?;
    answer::once(&state, &request, JSON, json!({"items": found}).to_string()).await
}

/// `POST /v1/silences`: nobody is told of incidents that meet a condition, for a time.
///
/// # Errors
/// As of [`acknowledge`].
pub async fn silence(state: Data<State>, said: Body<NewSilence>) -> Answer {
    let like =
        r#"{"matching": "rule == \"errors\"", "for": "2h", "by": "ada", "reason": "deploy"}"#;
    let said = body(said, like)?;
    let now = state.clock.wall();
    let from = said.from.as_deref().map(|text| time("from", text)).transpose()?;
    let (until, span) = match (&said.span, &said.until) {
        (Some(text), None) => {
            let span = span(text)?;
            (from.unwrap_or(now).saturating_add(span), Some(span))
        }
        (None, Some(text)) => (time("until", text)?, None),
        _ => {
            let rule = "a silence needs either for, such as \"2h\", or until, a time";
            return Err(Problem::BadRequest(rule.into()));
        }
    };
    // From now on, by the time of the events, if nothing else is said.
    let from: EpochMs = from.unwrap_or(BEGINNING);
    if said.reason.trim().is_empty() {
        return Err(Problem::BadRequest("reason must say why".into()));
    }
    let (by, reason) = (name(said.by)?, text("reason", said.reason)?);
    let silence = Silence {
        id: alert_id("silence", &format!("{}\0{by}\0{until}", said.matching), from.max(now)),
        matching: text("matching", said.matching)?,
        from,
        until,
        by,
        reason,
        void: None,
    };
    let id = silence.id.clone();
    attend(&state, Command::Silence(silence, span)).await?;
    Ok(HttpResponse::Created().json(json!({"id": id, "until": until})))
}

/// `POST /v1/silences/{id}/end`.
///
/// # Errors
/// As of [`acknowledge`].
pub async fn unsilence(state: Data<State>, id: Path<String>, said: Body<End>) -> Answer {
    let by = name(body(said, r#"{"by": "ada"}"#)?.by)?;
    attend(&state, Command::Unsilence { silence: id.into_inner(), by }).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn attend(state: &State, command: Command) -> Result<(), Problem> {
    let busy = |_| Problem::Unavailable("it was not taken in time: say it again".into());
    state.directory.attend(command).await.map_err(busy)?.map_err(|refused| match refused {
        Refused::NoIncident(_) | Refused::NoSilence(_) => Problem::NotFound(refused.to_string()),
        Refused::TooMany(_) => Problem::Busy(refused.to_string()),
        Refused::Over(_) | Refused::Condition(_) | Refused::Past => {
            Problem::BadRequest(refused.to_string())
        }
    })
}

/// Who does it: it stands in the log.
pub(super) fn name(by: String) -> Result<String, Problem> {
    let fits = !by.trim().is_empty() && by.len() <= BY_BYTES_MAX && !by.contains(char::is_control);
    if fits {
        return Ok(by);
    }
    Err(Problem::BadRequest(format!("by must say who does this, in 1 to {BY_BYTES_MAX} bytes")))
}

fn text(key: &str, text: String) -> Result<String, Problem> {
    if text.len() <= NOTE_BYTES_MAX {
        return Ok(text);
    }
    Err(Problem::BadRequest(format!("{key} must have at most {NOTE_BYTES_MAX} bytes")))
}

fn span(text: &str) -> Result<SpanMs, Problem> {
    let millis = text.parse::<SignedDuration>().ok().and_then(|span| {
        let millis = SpanMs::try_from(span.as_millis()).ok()?;
        (1..=SPAN_MAX).contains(&millis).then_some(millis)
    });
    let rule =
        || format!("for = {text:?} must be a time such as \"30m\" or \"2h\", of a year at most");
    millis.ok_or_else(|| Problem::BadRequest(rule()))
}

async fn read<T: Send + 'static>(
    state: &State,
    request: &HttpRequest,
    ask: impl FnOnce(&dyn IncidentRecords) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    let turn = state.load.turn(request).await?;
    let records = state.incidents.clone();
    let work = move || {
        let _turn = turn;
        ask(&*records)
    };
    Ok(web::block(work).await??)
}
