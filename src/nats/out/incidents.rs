//! A line of the incident log as a message: a CloudEvent in structured JSON.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::cloud_event::{CONTENT_TYPE, Envelope, begin, shortened};
use super::message::{JetRow, Target};
use super::token;
use crate::actors::ports::{IncidentRecords, StoreError};
use crate::domain::alert::alert_id;
use crate::domain::incident::Change;
use crate::nats::settings::OutSettings;
use crate::sink::Rows;

/// The log of what was done with incidents, as it is committed (I5).
pub(super) struct Lines {
    records: Arc<dyn IncidentRecords>,
    feed: String,
}

impl Lines {
    /// Of a data folder, by its name.
    pub fn new(records: &Arc<dyn IncidentRecords>, feed: &str) -> Lines {
        Lines { records: Arc::clone(records), feed: feed.to_owned() }
    }
}

impl Rows<JetRow> for Lines {
    fn after(&self, n: u64, limit: usize) -> Result<Vec<JetRow>, StoreError> {
        let lines = self.records.incident_log(n, None, limit)?;
        Ok(lines.iter().map(|line| row(line, &self.feed)).collect())
    }

    fn count_after(&self, n: u64) -> Result<u64, StoreError> {
        Ok(self.records.incident_log_newest()?.saturating_sub(n))
    }
}

/// Where they go.
pub(super) fn target(settings: &OutSettings, feed: &str) -> Target {
    Target {
        stream: settings.incidents_stream.clone(),
        subject: settings.incidents_subject.clone(),
        made_for: settings.incidents_subject.clone(),
        feed: feed.into(),
        shorten,
    }
}

fn row(line: &Change, feed: &str) -> JetRow {
    let id = id(line, feed);
    JetRow {
        n: line.n,
        token: token(&line.rule),
        headers: vec![("Content-Type", CONTENT_TYPE.into())],
        payload: event(line, &id, feed).to_string().into(),
        refused: None,
        id,
    }
}

/// A function of the line and the folder: two folders over one log have lines of their own, because what
/// people say is said to one of them.
fn id(line: &Change, feed: &str) -> String {
    let subject = format!("{feed}\0{}\0{}", line.n, line.incident);
    alert_id(line.what.word(), &subject, line.at)
}

fn event(line: &Change, id: &str, feed: &str) -> Value {
    let (of, subject) = (format!("incident.{}", line.what.word()), line.incident.as_str());
    Envelope { id, feed, of, n: line.n, at: line.at, subject }.around(json!(line))
}

/// Without the facts, and if need be with the beginning of its sentence and without labels.
fn shorten(row: &JetRow, room: usize) -> Option<(Vec<(&'static str, String)>, Bytes)> {
    shortened(row, room, "detail", |event| {
        let data = &mut event["data"];
        data.as_object_mut().map(|data| data.remove("group"));
        begin(&mut data["says"]);
    })
}

#[cfg(test)]
mod tests {
    use super::super::cloud_event::SHORT_CHARS;
    use super::super::message::{TRUNCATED, own_bytes};
    use super::*;

    fn line() -> Change {
        serde_json::from_value(json!({
            "n": 7, "at": 1_700_000_000_123_i64, "what": "fired", "incident": "ab".repeat(16),
            "rule": "error rate", "severity": "critical", "group": {"region": "eu"},
            "says": "errors (eu): 12.00", "detail": {"value": 12.0, "far": 3.5},
        }))
        .unwrap()
    }

    #[test]
    fn a_line_is_a_cloud_event_with_an_id_of_its_own() {
        let row = row(&line(), "00");
        assert_eq!((row.n, row.token.as_str()), (7, "error_rate"));
        let event: Value = serde_json::from_slice(&row.payload).unwrap();
        assert_eq!(
            event,
            json!({
                "specversion": "1.0",
                "id": row.id,
                "source": "/tidewatch/00",
                "type": "tidewatch.incident.fired",
                "subject": "ab".repeat(16),
                "time": "2023-11-14T22:13:20.123Z",
                "datacontenttype": "application/json",
                "sequence": "00000000000000000007",
                "data": line(),
            })
        );
        assert_ne!(id(&line(), "01"), row.id, "of another folder");
        assert_ne!(id(&Change { n: 8, ..line() }, "00"), row.id);
        let silence = Change { incident: String::new(), rule: String::new(), ..line() };
        let row = super::row(&silence, "00");
        let event: Value = serde_json::from_slice(&row.payload).unwrap();
        assert_eq!((row.token.as_str(), event.get("subject")), ("_", None));
    }

    #[test]
    fn a_line_that_is_too_large_goes_without_its_facts() {
        let says = "é".repeat(3_000);
        let facts = json!({"why": "w".repeat(500)});
        let detail = facts.as_object().cloned().unwrap();
        let row = row(&Change { says: says.clone(), detail, ..line() }, "00");
        let most = own_bytes(&row.headers) + row.payload.len();
        let (headers, payload) = shorten(&row, most).unwrap();
        assert_eq!(headers[1], (TRUNCATED, row.payload.len().to_string()));
        let event: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!((&event["truncated"], &event["data"]["detail"]), (&json!(true), &Value::Null));
        assert_eq!(event["data"]["says"], says, "no more is cut than must be");
        let (headers, payload) = shorten(&row, 1_000).unwrap();
        assert!(own_bytes(&headers) + payload.len() <= 1_000);
        let event: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(event["data"]["says"], "é".repeat(SHORT_CHARS));
        assert_eq!((&event["data"]["n"], &event["data"]["what"]), (&json!(7), &json!("fired")));
        assert_eq!(shorten(&row, 300), None);
    }
}
