//! `tidewatch alerts`: what holds, and what people say of it. Asks a running server.

use jiff::Timestamp;
use serde_json::{Value, json};
use thiserror::Error;

use super::args::{AlertsAction, AlertsArgs, Which};
use super::server::{Server, ServerError, endpoint};
use crate::config::Config;

/// Why it did not work.
#[derive(Debug, Error)]
pub enum AlertsError {
    /// The server did not do it.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// No server answers.
    #[error(
        "no server found. Looked here:\n{0}\nName its address with --listen, or its data folder \
         with --data-dir"
    )]
    Nowhere(String),
    /// No id begins so.
    #[error("no {what} has an id that begins with {id:?}")]
    Unknown {
        /// Incident or silence.
        what: &'static str,
        /// The beginning.
        id: String,
    },
    /// Several do.
    #[error("the ids of {found} {what}s begin with {id:?}: write more of it")]
    Several {
        /// Incident or silence.
        what: &'static str,
        /// The beginning.
        id: String,
        /// How many.
        found: usize,
    },
}

/// A whole id has so many hex digits.
const ID_CHARS: usize = 32;

/// Carries out one action and says what came of it.
///
/// # Errors
/// When there is no server, or it refuses.
pub fn run(
    config: &Config,
    listen: Option<&str>,
    args: &AlertsArgs,
) -> Result<String, AlertsError> {
    let server = find(config, listen)?;
    let by = args.by.as_str();
    let (answer, text): (Value, fn(&Value) -> String) = match &args.action {
        AlertsAction::List { state, limit } => {
            let state = match state {
                Which::Open => "open",
                Which::Pending => "pending",
                Which::Resolved => "resolved",
                Which::All => "all",
            };
            (server.get(&format!("/v1/incidents?state={state}&limit={limit}"))?, table)
        }
        AlertsAction::Show { id } => {
            let id = incident(&server, "all", id)?;
            (server.get(&format!("/v1/incidents/{id}"))?, page)
        }
        AlertsAction::Ack { id, note } => {
            let path = format!("/v1/incidents/{}/acknowledge", incident(&server, "open", id)?);
            (server.post(&path, &json!({"by": by, "note": note}))?, line)
        }
        AlertsAction::Snooze { id, span } => {
            let path = format!("/v1/incidents/{}/snooze", incident(&server, "open", id)?);
            (server.post(&path, &json!({"by": by, "for": span}))?, line)
        }
        AlertsAction::Silence { matching, span, reason } => {
            let body = json!({"matching": matching, "for": span, "reason": reason, "by": by});
            (server.post("/v1/silences", &body)?, silenced)
        }
        AlertsAction::Silences => (server.get("/v1/silences")?, silences),
        AlertsAction::Unsilence { id } => {
            let all: Value = server.get("/v1/silences")?;
            let id = one("silence", id, &all)?;
            let path = format!("/v1/silences/{id}/end");
            (server.post(&path, &json!({"by": by}))?, |_| "The silence is over.".into())
        }
        AlertsAction::Log { after, limit } => {
            (server.get(&format!("/v1/incident-log?after={after}&limit={limit}"))?, log)
        }
    };
    Ok(if args.json { format!("{answer:#}") } else { text(&answer) })
}

pub(super) fn find(config: &Config, listen: Option<&str>) -> Result<Server, AlertsError> {
    let asked = format!("http://{}", config.web.listen);
    let own = endpoint(&config.general.data_dir).filter(|_| listen.is_none());
    let mut looked = Vec::new();
    for url in own.into_iter().chain([asked]) {
        match Server::at(&url) {
            Ok(server) => return Ok(server),
            Err(cause) => looked.push(format!("  {url}: {cause}")),
        }
    }
    Err(AlertsError::Nowhere(looked.join("\n")))
}

/// The incident whose id begins so.
fn incident(server: &Server, state: &str, id: &str) -> Result<String, AlertsError> {
    if id.len() == ID_CHARS {
        return Ok(id.to_owned());
    }
    let mut all: Vec<Value> = Vec::new();
    let mut before = u64::MAX;
    loop {
        let path = format!("/v1/incidents?state={state}&limit=1000&before={before}");
        let page: Value = server.get(&path)?;
        all.extend(items(&page).iter().cloned());
        match page["next"].as_u64() {
            Some(next) => before = next,
            None => return one("incident", id, &json!({"items": all})),
        }
    }
}

fn one(what: &'static str, id: &str, all: &Value) -> Result<String, AlertsError> {
    let ids = items(all).iter().map(|item| text_of(item, "id"));
    let found: Vec<String> = ids.filter(|known| known.starts_with(id)).collect();
    let id = || id.to_owned();
    match found.as_slice() {
        [] => Err(AlertsError::Unknown { what, id: id() }),
        [one] => Ok(one.clone()),
        several => Err(AlertsError::Several { what, id: id(), found: several.len() }),
    }
}

fn items(page: &Value) -> &[Value] {
    page["items"].as_array().map_or(&[], Vec::as_slice)
}

fn text_of(item: &Value, key: &str) -> String {
    item[key].as_str().unwrap_or_default().to_owned()
}

fn time(item: &Value, key: &str) -> String {
    let time = item[key].as_i64().and_then(|at| Timestamp::from_millisecond(at).ok());
    time.map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// The beginning of an id that people write.
fn short(item: &Value) -> String {
    text_of(item, "id").chars().take(8).collect()
}

fn line(incident: &Value) -> String {
    let mut text = format!(
        "{}  {:<12} {:<8} {}  {}",
        short(incident),
        text_of(incident, "phase"),
        text_of(incident, "severity"),
        time(incident, "fired"),
        text_of(incident, "title"),
    );
    if let Some(by) = incident["acknowledged"]["by"].as_str() {
        text += &format!("  ({by})");
    }
    text
}

/// What is no incident yet has no id, and it is said when it may be one.
fn pending_line(pending: &Value) -> String {
    format!(
        "{:8}  {:<12} {:<8} {}  {}, fires at {} at the earliest",
        "-",
        text_of(pending, "phase"),
        text_of(pending, "severity"),
        time(pending, "since"),
        text_of(pending, "title"),
        time(pending, "due"),
    )
}

fn table(page: &Value) -> String {
    let pending = page["pending"].as_array().map_or(&[][..], Vec::as_slice);
    let mut lines: Vec<String> = pending.iter().map(pending_line).collect();
    let more = page["pending_count"].as_u64().unwrap_or(0).saturating_sub(pending.len() as u64);
    if more > 0 {
        lines.push(format!("{:8}  {more} more are pending", "-"));
    }
    lines.extend(items(page).iter().map(line));
    if lines.is_empty() { "Nothing.".into() } else { lines.join("\n") }
}

fn page(incident: &Value) -> String {
    let mut text = format!("{}\n\n", line(incident));
    for key in ["id", "rule", "version", "metric", "runbook"] {
        if let Some(value) = incident[key].as_str() {
            text += &format!("{key:<12} {value}\n");
        }
    }
    for key in ["group", "detail", "resolved.detail", "told"] {
        let facts = key.split('.').fold(incident, |value, name| &value[name]);
        for (name, value) in facts.as_object().into_iter().flatten() {
            text += &format!("{:<12} {value}\n", format!("{key}.{name}"));
        }
    }
    text + "\n" + &log(&json!({"items": incident["log"]}))
}

fn log(page: &Value) -> String {
    let of = |line: &Value| {
        let by = line["by"].as_str().map(|by| format!(" ({by})")).unwrap_or_default();
        let incident: String = text_of(line, "incident").chars().take(8).collect();
        let what = text_of(line, "what");
        format!("{}  {incident:<8}  {what:<12} {}{by}", time(line, "at"), text_of(line, "says"))
    };
    let lines: Vec<String> = items(page).iter().map(of).collect();
    if lines.is_empty() { "Nothing was done yet.".into() } else { lines.join("\n") }
}

fn silenced(made: &Value) -> String {
    format!("Silence {} until {}.", short(made), time(made, "until"))
}

fn silences(page: &Value) -> String {
    let of = |one: &Value| {
        format!(
            "{}  {} to {}  {}  ({}: {})",
            short(one),
            time(one, "from"),
            time(one, "until"),
            text_of(one, "matching"),
            text_of(one, "by"),
            text_of(one, "reason"),
        )
    };
    let lines: Vec<String> = items(page).iter().map(of).collect();
    if lines.is_empty() { "Nothing is silenced.".into() } else { lines.join("\n") }
}
