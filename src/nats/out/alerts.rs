//! An occurrence as a message: a CloudEvent in structured JSON.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::cloud_event::{CONTENT_TYPE, Envelope, begin, shortened};
use super::message::{JetRow, Target};
use super::token;
use crate::actors::ports::{Records, StoreError};
use crate::domain::alert::Alert;
use crate::nats::settings::OutSettings;
use crate::sink::Rows;

/// The alerts, as the outbox delivered them to the alert log (I5).
pub(super) struct Alerts {
    records: Arc<dyn Records>,
    feed: String,
}

impl Alerts {
    /// Of a data folder, by its name.
    pub fn new(records: &Arc<dyn Records>, feed: &str) -> Alerts {
        Alerts { records: Arc::clone(records), feed: feed.to_owned() }
    }
}

impl Rows<JetRow> for Alerts {
    fn after(&self, n: u64, limit: usize) -> Result<Vec<JetRow>, StoreError> {
        let alerts = self.records.alert_log(n, limit)?;
        Ok(alerts.into_iter().map(|alert| row(alert, &self.feed)).collect())
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
        made_for: settings.alerts_subject.clone(),
        feed: feed.into(),
        shorten,
    }
}

fn row(alert: Alert, feed: &str) -> JetRow {
    JetRow {
        n: alert.n,
        id: alert.id.clone(),
        token: token(kind(&alert)),
        headers: vec![("Content-Type", CONTENT_TYPE.into())],
        payload: event(&alert, feed).to_string().into(),
        refused: None,
    }
}

/// Without its details, and if need be with the beginnings of its texts.
fn shorten(row: &JetRow, room: usize) -> Option<(Vec<(&'static str, String)>, Bytes)> {
    shortened(row, room, "detail", |event| {
        event.get_mut("subject").into_iter().for_each(begin);
        begin(&mut event["data"]["subject"]);
        begin(&mut event["data"]["title"]);
    })
}

/// Its kind. Lines of rules, of data folders of older versions, are by the rule.
fn kind(alert: &Alert) -> &str {
    if alert.is_occurrence() { &alert.kind } else { &alert.subject }
}

fn event(alert: &Alert, feed: &str) -> Value {
    let (of, subject) = (format!("alert.{}", alert.kind), alert.subject.as_str());
    Envelope { id: &alert.id, feed, of, n: alert.n, at: alert.at, subject }.around(json!(alert))
}

#[cfg(test)]
mod tests {
    use super::super::cloud_event::SHORT_CHARS;
    use super::super::message::{TRUNCATED, own_bytes};
    use super::*;
    use crate::domain::alert::Detail;

    #[test]
    fn an_alert_is_a_cloud_event() {
        let alert = Alert {
            n: 7,
            id: "ab".repeat(16),
            kind: "abandoned".into(),
            severity: "info".into(),
            at: 1_700_000_000_123,
            subject: "ada".into(),
            title: "Abandoned".into(),
            detail: Detail::of(&json!({"value": 12.0})),
        };
        let row = row(alert, "00");
        assert_eq!((row.n, row.token.as_str()), (7, "abandoned"));
        let event: Value = serde_json::from_slice(&row.payload).unwrap();
        assert_eq!(
            event,
            json!({
                "specversion": "1.0",
                "id": "ab".repeat(16),
                "source": "/tidewatch/00",
                "type": "tidewatch.alert.abandoned",
                "subject": "ada",
                "time": "2023-11-14T22:13:20.123Z",
                "datacontenttype": "application/json",
                "sequence": "00000000000000000007",
                "data": {
                    "n": 7, "id": "ab".repeat(16), "kind": "abandoned", "severity": "info",
                    "at": 1_700_000_000_123_i64, "subject": "ada",
                    "title": "Abandoned", "detail": {"value": 12.0},
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
        let row = row(alert, "00");
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
