//! An alert as a message: a CloudEvent in structured JSON.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::message::{JetRow, TRUNCATED, Target, own_bytes};
use super::token;
use crate::actors::ports::{Records, StoreError};
use crate::domain::alert::Alert;
use crate::nats::settings::OutSettings;
use crate::sink::Rows;

/// Content type of an alert's message.
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json";

/// The alerts, as the outbox delivered them to the alert log (I5).
pub(super) struct Alerts {
    records: Arc<dyn Records>,
    /// Source of the CloudEvents.
    source: String,
}

impl Alerts {
    /// Of a data folder, by its name.
    pub fn new(records: &Arc<dyn Records>, feed: &str) -> Alerts {
        Alerts { records: Arc::clone(records), source: format!("/tidewatch/{feed}") }
    }
}

impl Rows<JetRow> for Alerts {
    fn after(&self, n: u64, limit: usize) -> Result<Vec<JetRow>, StoreError> {
        let alerts = self.records.alert_log(n, limit)?;
        Ok(alerts.into_iter().map(|alert| row(alert, &self.source)).collect())
    }

    fn count_after(&self, n: u64) -> Result<u64, StoreError> {
        Ok(self.records.alerts_newest()?.saturating_sub(n))
    }
}

/// Where they go.
pub(super) fn target(settings: &OutSettings, feed: &str) -> Target {
    Target {
        stream: settings.alerts_stream.clone(),
        subject: settings.alerts_subject.clone(),
        feed: feed.into(),
        shorten,
    }
}

fn row(alert: Alert, source: &str) -> JetRow {
    JetRow {
        n: alert.n,
        id: alert.id.clone(),
        token: token(rule(&alert)),
        headers: vec![("Content-Type", CONTENT_TYPE.into())],
        payload: event(&alert, source).to_string().into(),
    }
}

/// Longest title and subject of an alert in its shorter form, in characters.
const SHORT_CHARS: usize = 100;

/// Without its details, and if need be with the beginnings of its texts. It says so itself
/// (`truncated`, an extension attribute), and in a header.
fn shorten(row: &JetRow, room: usize) -> Option<(Vec<(&'static str, String)>, Bytes)> {
    let mut headers = row.headers.clone();
    headers.push((TRUNCATED, row.payload.len().to_string()));
    let room = room.checked_sub(own_bytes(&headers))?;
    let mut event: Value = serde_json::from_slice(&row.payload).ok()?;
    event["truncated"] = true.into();
    event["data"].as_object_mut()?.remove("detail");
    let whole = event.to_string();
    if whole.len() <= room {
        return Some((headers, whole.into()));
    }
    let cut = |text: &mut Value| {
        if let Some((end, _)) = text.as_str().and_then(|text| text.char_indices().nth(SHORT_CHARS))
        {
            *text = text.as_str().map(|text| &text[..end]).into();
        }
    };
    event.get_mut("subject").into_iter().for_each(cut);
    cut(&mut event["data"]["subject"]);
    cut(&mut event["data"]["title"]);
    let short = event.to_string();
    (short.len() <= room).then(|| (headers, short.into()))
}

/// What raised it: a rule by its name, or the session rule.
fn rule(alert: &Alert) -> &str {
    match alert.kind.as_str() {
        "anomaly" | "over" => &alert.subject,
        kind => kind,
    }
}

/// The CloudEvent; `sequence` is the extension of that name.
fn event(alert: &Alert, source: &str) -> Value {
    let mut event = json!({
        "specversion": "1.0",
        "id": alert.id,
        "source": source,
        "type": format!("tidewatch.alert.{}", alert.kind),
        "datacontenttype": "application/json",
        "sequence": format!("{:020}", alert.n),
        "data": alert,
    });
    // Both may be left out, and must not be empty.
    if !alert.subject.is_empty() {
        event["subject"] = alert.subject.as_str().into();
    }
    if let Ok(time) = Timestamp::from_millisecond(alert.at) {
        event["time"] = time.to_string().into();
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::Detail;

    #[test]
    fn an_alert_is_a_cloud_event() {
        let alert = Alert {
            n: 7,
            id: "ab".repeat(16),
            kind: "anomaly".into(),
            severity: "critical".into(),
            at: 1_700_000_000_123,
            subject: "error rate".into(),
            title: "errors: 12.00".into(),
            detail: Detail::of(&json!({"value": 12.0})),
        };
        let row = row(alert, "/tidewatch/00");
        assert_eq!((row.n, row.token.as_str()), (7, "error_rate"));
        let event: Value = serde_json::from_slice(&row.payload).unwrap();
        assert_eq!(
            event,
            json!({
                "specversion": "1.0",
                "id": "ab".repeat(16),
                "source": "/tidewatch/00",
                "type": "tidewatch.alert.anomaly",
                "subject": "error rate",
                "time": "2023-11-14T22:13:20.123Z",
                "datacontenttype": "application/json",
                "sequence": "00000000000000000007",
                "data": {
                    "n": 7, "id": "ab".repeat(16), "kind": "anomaly", "severity": "critical",
                    "at": 1_700_000_000_123_i64, "subject": "error rate",
                    "title": "errors: 12.00", "detail": {"value": 12.0},
                },
            })
        );
    }

    #[test]
    fn an_alert_that_is_too_large_goes_without_its_details() {
        let alert = Alert {
            n: 7,
            id: "ab".repeat(16),
            kind: "abandoned".into(),
            severity: "info".into(),
            at: 1_700_000_000_123,
            subject: "é".repeat(3_000),
            title: "Abandoned".into(),
            detail: Detail::of(&json!({"segment": "s".repeat(500)})),
        };
        let row = row(alert, "/tidewatch/00");
        let most = own_bytes(&row.headers) + row.payload.len();
        let (headers, payload) = shorten(&row, most).unwrap();
        assert_eq!(headers[1], (TRUNCATED, row.payload.len().to_string()));
        let event: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!((&event["truncated"], &event["data"]["detail"]), (&json!(true), &Value::Null));
        assert_eq!(event["subject"], "é".repeat(3_000), "no more is cut than must be");
        let (headers, payload) = shorten(&row, 1_000).unwrap();
        assert!(own_bytes(&headers) + payload.len() <= 1_000);
        let event: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(event["subject"], "é".repeat(SHORT_CHARS));
        assert_eq!((&event["id"], &event["data"]["n"]), (&json!("ab".repeat(16)), &json!(7)));
        assert_eq!(shorten(&row, 300), None);
    }
}
