//! A notification of a channel as a message: a CloudEvent in structured JSON.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use serde_json::Value;

use super::cloud_event::{CONTENT_TYPE, Envelope, begin, shortened};
use super::message::{JetRow, Target};
use super::{JetSink, terms, token};
use crate::actors::ports::StoreError;
use crate::actors::status::Status;
use crate::clock::SharedClock;
use crate::domain::incident::Notification;
use crate::nats::link::Link;
use crate::nats::settings::OutSettings;
use crate::sink::feed::{Feed, Refused, Terms};
use crate::sink::{Outputs, Rows, begin_at_zero};

/// Says what is told of a notification (`data` of its event), or why it must not be published.
pub type Say = Arc<dyn Fn(&Notification) -> Result<Value, String> + Send + Sync>;

/// A channel that is published into a stream.
pub struct Told {
    /// Its name.
    pub channel: String,
    /// The stream.
    pub stream: String,
    /// First tokens of its subjects, `<this>.<channel>.<route>.<feed>`.
    pub subject: String,
    /// Its notifications.
    pub rows: Arc<dyn Rows<Notification>>,
    /// What is told of each.
    pub say: Say,
    /// What people call it among the outputs, and the metrics.
    pub title: String,
    /// Name of its note in the data folder.
    pub note: String,
    /// Told the number of the last notification that the stream has, or that was left out.
    pub taken: Arc<AtomicU64>,
    /// Told the number that its note vouches for.
    pub noted: Arc<AtomicU64>,
}

/// Starts a feed for each, with the notes in `settings.notes`. Returns at once; a server that is away is
/// waited for. `feed` is the name of the data folder, see [`feed_of`](super::feed_of).
pub fn start(
    link: &Link,
    settings: OutSettings,
    (feed, clock, status): (&str, &SharedClock, &Arc<Status>),
    channels: Vec<Told>,
) -> Outputs {
    let mut outputs = Outputs::new(status);
    let settings = Arc::new(settings);
    // What is left out is kept in the list of notifications, as for other channels.
    let terms = Terms { refused: Refused::LeaveOut, ..terms(&settings) };
    for told in channels {
        begin_at_zero(&[&told.title]);
        let track = outputs.track(&told.title, &told.title);
        let sink = JetSink::new(link, &settings, target(&told, feed));
        let note = told.note.clone();
        let (taken, noted) = (Arc::clone(&told.taken), Arc::clone(&told.noted));
        let rows = Arc::new(Messages { told, feed: feed.to_owned() });
        let mut feed = Feed::new(sink, rows, terms, track, Arc::clone(clock), outputs.stopped());
        if let Some(folder) = &settings.notes {
            feed = feed.noted(folder, &note);
        }
        outputs.runs(link.spawn(feed.publishing(taken).noting(noted).run()));
    }
    outputs
}

/// What would be published of a notification of a channel, for people: its name, stream and subject.
pub fn shown(
    (channel, stream, subject): (&str, &str, &str),
    told: &Notification,
    data: Value,
) -> String {
    const FEED: &str = "FEED";
    let row = row(told, Ok(data), FEED);
    let event: Value = serde_json::from_slice(&row.payload).unwrap_or_default();
    let mut text = format!(
        "PUB {subject}.{channel}.{}.{FEED}\nstream: {stream}\nNats-Msg-Id: {}\n",
        row.token, row.id
    );
    for (name, value) in &row.headers {
        text += &format!("{name}: {value}\n");
    }
    format!("{text}\n{event:#}\n")
}

/// The rows of a channel as messages.
struct Messages {
    told: Told,
    feed: String,
}

impl Rows<JetRow> for Messages {
    fn after(&self, n: u64, limit: usize) -> Result<Vec<JetRow>, StoreError> {
        let found = self.told.rows.after(n, limit)?;
        Ok(found.iter().map(|one| row(one, (self.told.say)(one), &self.feed)).collect())
    }

    fn count_after(&self, n: u64) -> Result<u64, StoreError> {
        self.told.rows.count_after(n)
    }

    fn is_whole(&self) -> bool {
        self.told.rows.is_whole()
    }

    fn lost(&self) -> u64 {
        self.told.rows.lost()
    }
}

/// Where they go. Channels that share a stream are feeds of their own by their subjects.
fn target(told: &Told, feed: &str) -> Target {
    Target {
        stream: told.stream.clone(),
        subject: format!("{}.{}", told.subject, told.channel),
        made_for: told.subject.clone(),
        feed: feed.into(),
        shorten,
    }
}

fn row(told: &Notification, data: Result<Value, String>, feed: &str) -> JetRow {
    let (data, refused) = match data {
        Ok(data) => (data, None),
        Err(cause) => (Value::Null, Some(cause)),
    };
    JetRow {
        n: told.n,
        id: told.key.clone(),
        token: token(&told.route),
        headers: vec![("Content-Type", CONTENT_TYPE.into())],
        payload: event(told, data, feed).to_string().into(),
        refused,
    }
}

fn event(told: &Notification, data: Value, feed: &str) -> Value {
    let of = format!("notification.{}", told.step.word());
    Envelope { id: &told.key, feed, of, n: told.n, at: told.at, subject: &told.about }.around(data)
}

/// Without the facts, and if need be with the beginnings of its texts.
fn shorten(row: &JetRow, room: usize) -> Option<(Vec<(&'static str, String)>, Bytes)> {
    shortened(row, room, "facts", |event| {
        for text in ["title", "body", "template"] {
            event["data"].get_mut(text).into_iter().for_each(begin);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::cloud_event::SHORT_CHARS;
    use super::super::message::{TRUNCATED, own_bytes};
    use super::*;
    use serde_json::json;

    fn told() -> Notification {
        serde_json::from_value(json!({
            "n": 7, "key": "cd".repeat(16), "route": "on call", "channel": "bus", "step": "fired",
            "at": 1_700_000_000_123_i64, "about": "ab".repeat(16), "facts": {"rule": "errors"},
        }))
        .unwrap()
    }

    fn data(facts: &str) -> Value {
        json!({
            "title": "é".repeat(300), "body": "b".repeat(3_000), "step": "fired",
            "facts": {"rule": facts},
        })
    }

    #[test]
    fn a_notification_is_a_cloud_event_with_its_key() {
        let data = data("errors");
        let row = row(&told(), Ok(data.clone()), "00");
        assert_eq!((row.n, row.token.as_str(), &row.refused), (7, "on_call", &None));
        assert_eq!(row.id, "cd".repeat(16));
        let event: Value = serde_json::from_slice(&row.payload).unwrap();
        assert_eq!(
            event,
            json!({
                "specversion": "1.0",
                "id": "cd".repeat(16),
                "source": "/tidewatch/00",
                "type": "tidewatch.notification.fired",
                "subject": "ab".repeat(16),
                "time": "2023-11-14T22:13:20.123Z",
                "datacontenttype": "application/json",
                "sequence": "00000000000000000007",
                "data": data,
            })
        );
        let refused = super::row(&told(), Err("not for all".into()), "00").refused;
        assert_eq!(refused.as_deref(), Some("not for all"));
        let shown = shown(("bus", "S", "told"), &told(), data);
        let head = format!("PUB told.bus.on_call.FEED\nstream: S\nNats-Msg-Id: {}\n", row.id);
        assert!(shown.starts_with(&head), "{shown}");
    }

    #[test]
    fn one_that_is_too_large_goes_without_its_facts() {
        let row = row(&told(), Ok(data(&"w".repeat(500))), "00");
        let most = own_bytes(&row.headers) + row.payload.len();
        let (headers, payload) = shorten(&row, most).unwrap();
        assert_eq!(headers[1], (TRUNCATED, row.payload.len().to_string()));
        let event: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!((&event["truncated"], &event["data"]["facts"]), (&json!(true), &Value::Null));
        assert_eq!(event["data"]["body"], "b".repeat(3_000), "no more is cut than must be");
        let (headers, payload) = shorten(&row, 1_000).unwrap();
        assert!(own_bytes(&headers) + payload.len() <= 1_000);
        let event: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(event["data"]["title"], "é".repeat(SHORT_CHARS));
        assert_eq!(event["data"]["step"], "fired");
        assert_eq!(shorten(&row, 300), None);
    }
}
