//! A client that publishes as any other program would, and what it publishes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, Context};

use crate::support::Broker;

/// A client of its own.
pub async fn client(broker: &Broker) -> Context {
    let client = async_nats::ConnectOptions::new()
        .retry_on_initial_connect()
        .connect(broker.url())
        .await
        .unwrap();
    let mut context = jetstream::new(client);
    // A question asked while the connection was lost has no answer.
    context.set_timeout(Duration::from_millis(500));
    context
}

/// Publishes and waits until the stream has it.
pub async fn publish(context: &Context, subject: &str, headers: &[(&str, &str)], payload: &[u8]) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, *value);
    }
    let payload = payload.to_vec().into();
    let sent = context.publish_with_headers(subject.to_owned(), map, payload).await.unwrap();
    sent.await.unwrap();
}

/// Publishes events `from` to `to`, each its number.
pub async fn numbers(context: &Context, from: u64, to: u64) {
    let mut acks = Vec::new();
    for n in from..=to {
        acks.push(context.publish(format!("events.{}", n % 3), event(n).into()).await.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
}

/// Event `n` as it is published.
pub fn event(n: u64) -> String {
    format!(
        r#"{{"id":"e{n}","ts":{},"type":"page_view","user":"u{}"}}"#,
        1_700_000_000_000 + n,
        n % 7
    )
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target)
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
