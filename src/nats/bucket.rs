//! A key-value bucket as the table of a lookup: each key a row.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock};

use async_nats::jetstream::kv::{Operation, Store};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::value::{RawValue, to_raw_value};

use crate::lookup::{Read, Rows, Source, TOO_LARGE, Wanted};
use crate::nats::link::Link;
use crate::nats::settings::LinkSettings;

/// A bucket. Its connection is made when it is first read.
#[derive(Debug)]
pub(super) struct Bucket {
    name: String,
    settings: LinkSettings,
    link: OnceLock<Link>,
}

impl Bucket {
    /// The bucket of this name at a connection of its own.
    pub fn source(name: &str, settings: &LinkSettings) -> Arc<dyn Source> {
        let (name, settings) = (name.to_owned(), settings.clone());
        Arc::new(Bucket { name, settings, link: OnceLock::new() })
    }
}

impl Source for Bucket {
    fn read(&self, wanted: &Wanted, since: Option<&str>) -> Result<Option<Read>, String> {
        let link = match self.link.get() {
            Some(link) => link,
            None => {
                let link = Link::open(self.settings.clone()).map_err(|error| error.to_string())?;
                self.link.get_or_init(|| link)
            }
        };
        let (timeout, name, bytes_max) = (wanted.timeout, self.name.clone(), wanted.bytes_max);
        let since = since.map(String::from);
        let (answer, answered) = sync_channel(1);
        let of_link = link.clone();
        link.spawn(async move {
            let entries = tokio::time::timeout(timeout, entries(&of_link, &name, since, bytes_max));
            let away = || of_link.explain(format!("did not answer within {timeout:?}"));
            let found = entries.await.unwrap_or_else(|_| {
                if of_link.connected() { Err(away()) } else { Err(of_link.away().to_string()) }
            });
            // Who asked waits on the other end.
            let _ = answer.send(found);
        });
        let gone = |_| "the thread of the connection ended".to_owned();
        let Some((version, entries)) = answered.recv().map_err(gone)?? else { return Ok(None) };
        let mut rows = Rows::of(wanted);
        for (key, value) in &entries {
            rows.put_row(Some(key), &row(key, value)?, &format_args!("{key:?}"))?;
        }
        Ok(Some(Read { version, table: rows.finish()? }))
    }

    fn is_far(&self) -> bool {
        true
    }
}

type Entries = (String, BTreeMap<String, Bytes>);

/// What is in a bucket, with its version.
async fn entries(
    link: &Link,
    name: &str,
    since: Option<String>,
    bytes_max: usize,
) -> Result<Option<Entries>, String> {
    link.ready().await.map_err(|error| error.to_string())?;
    let cannot = |what: &str, error: &dyn std::fmt::Display| {
        link.explain(format!("cannot be {what}: {error}"))
    };
    let bucket = link.jetstream().get_key_value(name).await;
    let bucket = bucket.map_err(|error| cannot("opened", &error))?;
    // Before it is read: what comes meanwhile is seen as another version.
    let (version, is_empty) = version(&bucket);
    if since.is_some_and(|since| since == version) {
        return Ok(None);
    }
    let mut entries = BTreeMap::new();
    if is_empty {
        return Ok(Some((version, entries)));
    }
    let watched = bucket.watch_with_history(">").await;
    let mut watched = watched.map_err(|error| cannot("read", &error))?;
    let mut bytes = 0;
    while let Some(entry) = watched.next().await {
        let entry = entry.map_err(|error| cannot("read", &error))?;
        bytes += entry.key.len() + entry.value.len();
        if bytes > bytes_max {
            return Err(TOO_LARGE.into());
        }
        match entry.operation {
            Operation::Put => drop(entries.insert(entry.key, entry.value)),
            Operation::Delete | Operation::Purge => drop(entries.remove(&entry.key)),
        }
        if entry.seen_current {
            return Ok(Some((version, entries)));
        }
    }
    Err("ended while it was read".into())
}

/// Another one after every change: a bucket that was made again begins at another time, and values that
/// grew too old leave without a message.
fn version(bucket: &Store) -> (String, bool) {
    let info = bucket.stream.cached_info();
    let (state, made) = (&info.state, info.created.unix_timestamp_nanos());
    let (first, last, count) = (state.first_sequence, state.last_sequence, state.messages);
    (format!("{made}-{first}-{last}-{count}"), count == 0)
}

/// A value as a row: JSON, or plain text.
fn row<'a>(key: &str, value: &'a [u8]) -> Result<Cow<'a, RawValue>, String> {
    match serde_json::from_slice::<&RawValue>(value) {
        Ok(row) => Ok(Cow::Borrowed(row)),
        Err(error) if [Some(&b'{'), Some(&b'[')].contains(&value.first()) => {
            Err(format!("has a value in {key:?} that is no JSON: {error}"))
        }
        Err(_) => {
            let text = std::str::from_utf8(value);
            let text = text.map_err(|_| format!("has a value in {key:?} that is no text"))?;
            to_raw_value(text).map(Cow::Owned).map_err(|error| error.to_string())
        }
    }
}
