//! Streams and consumers: made where they are missing, checked where they are there. A
//! stream that exists is never changed; what does not fit is named field by field, with
//! what to do.

use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy};
use async_nats::jetstream::context::RequestErrorKind;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{self, RetentionPolicy, StorageType};
use async_nats::jetstream::{Context, ErrorCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::publisher::post::BATCH_SINCE;
use super::settings::{Manage, SourceSettings};

/// The reason when nobody takes a question to JetStream.
pub const NOBODY: &str = "JetStream does not answer";

/// What became of a question to JetStream's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No answer: the server or the part that should answer is away. Try again.
    Away(String),
    /// The stream, consumer or message is not there.
    Missing,
    /// The server said no, in its words.
    Refused(String),
}

/// Asks JetStream's API.
///
/// # Errors
/// See [`Refusal`].
pub async fn ask<V: DeserializeOwned>(
    context: &Context,
    subject: String,
    question: &impl Serialize,
) -> Result<V, Refusal> {
    let answer: Result<Response<V>, _> = context.request(subject, question).await;
    match answer {
        Ok(Response::Ok(value)) => Ok(value),
        Ok(Response::Err { error }) => Err(match error.error_code() {
            ErrorCode::STREAM_NOT_FOUND
            | ErrorCode::CONSUMER_NOT_FOUND
            | ErrorCode::NO_MESSAGE_FOUND
            | ErrorCode::SEQUENCE_NOT_FOUND => Refusal::Missing,
            // A part of the server that is not up yet, or has no leader.
            _ if error.code() == 503 => Refusal::Away(error.to_string()),
            _ => Refusal::Refused(error.to_string()),
        }),
        Err(error) => Err(match error.kind() {
            RequestErrorKind::NoResponders => Refusal::Away(NOBODY.into()),
            RequestErrorKind::TimedOut => Refusal::Away("no answer in time".into()),
            RequestErrorKind::InvalidSubject | RequestErrorKind::Other => {
                Refusal::Away(error.to_string())
            }
        }),
    }
}

/// The stream as it is on the server.
///
/// # Errors
/// `Missing` when it does not exist.
pub async fn stream_info(context: &Context, name: &str) -> Result<stream::Info, Refusal> {
    ask(context, format!("STREAM.INFO.{name}"), &serde_json::json!({})).await
}

/// The consumer as it is on the server.
///
/// # Errors
/// `Missing` when it does not exist.
pub async fn consumer_info(
    context: &Context,
    stream: &str,
    name: &str,
) -> Result<consumer::Info, Refusal> {
    ask(context, format!("CONSUMER.INFO.{stream}.{name}"), &serde_json::json!({})).await
}

/// The stream to make.
pub fn wanted_stream(settings: &SourceSettings, server: (u64, u64)) -> stream::Config {
    stream::Config {
        name: settings.stream.clone(),
        subjects: settings.subjects.clone(),
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        // 0 is "no bound" in the configuration and -1 on the server.
        max_bytes: if settings.max_bytes == 0 { -1 } else { settings.max_bytes as i64 },
        max_messages: -1,
        max_messages_per_subject: -1,
        max_age: settings.max_age,
        duplicate_window: settings.duplicate_window,
        num_replicas: settings.replicas,
        allow_direct: true,
        allow_atomic_publish: server >= BATCH_SINCE,
        description: Some("events read by tidewatch".into()),
        ..stream::Config::default()
    }
}

/// Finds the stream, or makes it where that is allowed; then checks it.
///
/// # Errors
/// `Away` when there is no answer; `Refused` with what does not fit, and what to do.
pub async fn open_stream(
    context: &Context,
    settings: &SourceSettings,
    server: (u64, u64),
    may_make: bool,
) -> Result<stream::Info, Refusal> {
    let name = &settings.stream;
    let info = match stream_info(context, name).await {
        Err(Refusal::Missing) if !may_make => {
            return Err(Refusal::Refused(missing_stream(settings)));
        }
        Err(Refusal::Missing) if settings.subjects.is_empty() => {
            return Err(Refusal::Refused(format!(
                "stream {name} does not exist: name its subjects (subjects = [\"...\"]) so that \
                 it can be made, or make it"
            )));
        }
        Err(Refusal::Missing) => {
            let wanted = wanted_stream(settings, server);
            let made: Result<stream::Info, _> =
                ask(context, format!("STREAM.CREATE.{name}"), &wanted).await;
            made.map_err(|refusal| match refusal {
                Refusal::Refused(cause) => {
                    Refusal::Refused(format!("stream {name} cannot be made: {cause}"))
                }
                other => other,
            })?
        }
        other => other?,
    };
    match stream_mismatch(settings, &info.config) {
        None => Ok(info),
        Some(mismatch) => Err(Refusal::Refused(mismatch)),
    }
}

fn missing_stream(settings: &SourceSettings) -> String {
    let name = &settings.stream;
    match settings.manage {
        Manage::Check => format!(
            "stream {name} does not exist, and nats.manage = \"check\" makes none: make it, or \
             set nats.manage = \"create\""
        ),
        Manage::Create => format!(
            "stream {name} does not exist any more, and its events are part of the state in the \
             data folder: restore the stream, or move the data folder away to start anew"
        ),
    }
}

/// What of a stream does not fit so that it cannot be read, in one sentence with the remedy.
pub fn stream_mismatch(settings: &SourceSettings, found: &stream::Config) -> Option<String> {
    let name = &settings.stream;
    let sorted = |list: &[String]| {
        let mut list = list.to_vec();
        list.sort();
        list
    };
    let mut wrong = Vec::new();
    if !settings.subjects.is_empty() && sorted(&settings.subjects) != sorted(&found.subjects) {
        wrong.push(format!(
            "subjects are {:?}, the configuration says {:?}",
            found.subjects, settings.subjects
        ));
    }
    let outside = |filter: &&String| {
        !found.subjects.is_empty()
            && !found.subjects.iter().any(|known| super::settings::covers(known, filter))
    };
    if let Some(filter) = settings.filter.iter().find(outside) {
        wrong.push(format!(
            "subjects are {:?}, and the filter {filter:?} lies outside them",
            found.subjects
        ));
    }
    (!wrong.is_empty()).then(|| {
        format!(
            "stream {name}: {}; change the one or the other (an existing stream is never changed \
             by tidewatch)",
            wrong.join("; ")
        )
    })
}

/// What of a stream differs from the configuration and does not keep it from being read;
/// a sentence each.
pub fn stream_warnings(settings: &SourceSettings, found: &stream::Config) -> Vec<String> {
    let name = &settings.stream;
    let mut warnings = Vec::new();
    let retention = match found.retention {
        RetentionPolicy::Limits => None,
        RetentionPolicy::Interest => Some("interest"),
        RetentionPolicy::WorkQueue => Some("workqueue"),
    };
    if let Some(retention) = retention {
        warnings.push(format!(
            "stream {name}: retention is {retention}: events are deleted once they are \
             acknowledged and can never be read again; use retention limits"
        ));
    }
    if found.max_messages_per_subject > 0 {
        warnings.push(format!(
            "stream {name}: max_msgs_per_subject is {}: events may be deleted before they are \
             read, which is a gap; use -1",
            found.max_messages_per_subject
        ));
    }
    if settings.manage == Manage::Check {
        return warnings;
    }
    let wanted = wanted_stream(settings, (0, 0));
    let differing = [
        ("max_age", format!("{:?}", found.max_age), format!("{:?}", wanted.max_age)),
        ("max_bytes", found.max_bytes.to_string(), wanted.max_bytes.to_string()),
        (
            "duplicate_window",
            format!("{:?}", found.duplicate_window),
            format!("{:?}", wanted.duplicate_window),
        ),
        ("replicas", found.num_replicas.to_string(), wanted.num_replicas.to_string()),
    ];
    for (field, found, wanted) in differing {
        if found != wanted {
            warnings.push(format!(
                "stream {name}: {field} is {found}, the configuration says {wanted}; an existing \
                 stream is not changed: change it with your own tools, or the configuration"
            ));
        }
    }
    warnings
}

/// The body of a request that makes the consumer, to read from `start` on.
#[derive(Serialize)]
struct MakeConsumer<'a> {
    stream_name: &'a str,
    config: consumer::Config,
    action: &'static str,
}

/// Makes the consumer, to read from position `start` on: without acknowledgements, for the position
/// is ours, and to remember what was delivered and not acknowledged costs the server more than to
/// deliver it. Without a start it reads all that is kept, and holds what is not acknowledged.
/// `forgotten`: how long the server keeps one that nobody reads; without it for ever.
///
/// # Errors
/// See [`Refusal`].
pub async fn make_consumer(
    context: &Context,
    settings: &SourceSettings,
    start: Option<u64>,
    forgotten: Option<Duration>,
) -> Result<consumer::Info, Refusal> {
    let (stream, name) = (&settings.stream, &settings.consumer);
    let deliver_policy = match start {
        Some(start_sequence) => consumer::DeliverPolicy::ByStartSequence { start_sequence },
        None => consumer::DeliverPolicy::All,
    };
    let (ack_policy, ack_wait, max_ack_pending) = match start {
        Some(_) => (AckPolicy::None, Duration::ZERO, 0),
        None => (AckPolicy::All, ACK_WAIT, settings.max_ack_pending),
    };
    let config = consumer::Config {
        durable_name: forgotten.is_none().then(|| name.clone()),
        inactive_threshold: forgotten.unwrap_or_default(),
        name: Some(name.clone()),
        description: Some(
            "tidewatch: made anew at every start, never a position of its own".into(),
        ),
        deliver_policy,
        ack_policy,
        ack_wait,
        max_deliver: -1,
        filter_subjects: settings.filter.clone(),
        max_ack_pending,
        ..consumer::Config::default()
    };
    let body = MakeConsumer { stream_name: stream, config, action: "create" };
    ask(context, format!("CONSUMER.CREATE.{stream}.{name}"), &body).await
}

/// How long the server waits for an acknowledgement: far longer than a commit takes. What
/// is lost on the way is noticed by its number and not by this wait.
const ACK_WAIT: Duration = Duration::from_secs(600);

/// Deletes the consumer; one that is not there is as good as deleted.
///
/// # Errors
/// `Away`, `Refused`.
pub async fn delete_consumer(context: &Context, settings: &SourceSettings) -> Result<(), Refusal> {
    let subject = format!("CONSUMER.DELETE.{}.{}", settings.stream, settings.consumer);
    let deleted: Result<serde_json::Value, _> = ask(context, subject, &serde_json::json!({})).await;
    match deleted {
        Ok(_) | Err(Refusal::Missing) => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

/// What of a consumer does not fit, in one sentence with the remedy. `committed` is the
/// position that the state has.
pub fn consumer_mismatch(
    settings: &SourceSettings,
    found: &consumer::Info,
    committed: u64,
) -> Option<String> {
    let config = &found.config;
    let mut wrong: Vec<String> = Vec::new();
    let mut differs = |field: &str, found: String, wanted: String| {
        if found != wanted {
            wrong.push(format!("{field} is {found}, it must be {wanted}"));
        }
    };
    differs("ack_policy", format!("{:?}", config.ack_policy), format!("{:?}", AckPolicy::All));
    let is_push = config.deliver_subject.is_some();
    differs("kind", if is_push { "push" } else { "pull" }.into(), "pull".into());
    let mut filter = config.filter_subjects.clone();
    filter.extend((!config.filter_subject.is_empty()).then(|| config.filter_subject.clone()));
    filter.sort();
    let mut wanted = settings.filter.clone();
    wanted.sort();
    differs("filter", format!("{filter:?}"), format!("{wanted:?}"));
    differs("headers_only", config.headers_only.to_string(), "false".into());
    if config.max_deliver > 0 {
        wrong.push(format!("max_deliver is {}, it must be -1", config.max_deliver));
    }
    let least = settings.pull_messages as i64;
    if (1..least).contains(&config.max_ack_pending) {
        wrong.push(format!(
            "max_ack_pending is {}, it must be at least nats.pull_messages, {least}",
            config.max_ack_pending
        ));
    }
    let (stream, name) = (&settings.stream, &settings.consumer);
    if !wrong.is_empty() {
        return Some(format!(
            "consumer {name} of stream {stream}: {}; make it anew, or set nats.manage = \"create\"",
            wrong.join("; ")
        ));
    }
    let floor = found.ack_floor.stream_sequence;
    (floor > committed).then(|| {
        format!(
            "consumer {name} of stream {stream} has acknowledged up to {floor}, and only {committed} \
             is committed in this data folder: another reader uses it, or the folder is an older \
             copy. Give this one a consumer of its own (consumer = \"...\"), or set \
             nats.manage = \"create\" so that it is made anew"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(change: impl FnOnce(&mut stream::Config)) -> stream::Config {
        let mut config = wanted_stream(&SourceSettings::default(), (2, 12));
        change(&mut config);
        config
    }

    #[test]
    fn a_stream_that_does_not_fit_is_explained() {
        let settings = SourceSettings::default();
        assert_eq!(stream_mismatch(&settings, &found(|_| {})), None);
        let other = found(|config| config.subjects = vec!["shop.>".into()]);
        assert_eq!(
            stream_mismatch(&settings, &other).unwrap(),
            "stream EVENTS: subjects are [\"shop.>\"], the configuration says [\"events.>\"]; change \
             the one or the other (an existing stream is never changed by tidewatch)"
        );
        let open = SourceSettings { subjects: Vec::new(), ..settings.clone() };
        assert_eq!(stream_mismatch(&open, &other), None, "no subjects, nothing to compare");
        let filtered = SourceSettings { filter: vec!["events.eu".into()], ..open };
        assert_eq!(stream_mismatch(&filtered, &found(|_| {})), None);
        let words = stream_mismatch(&filtered, &other).unwrap();
        assert!(words.contains("the filter \"events.eu\" lies outside them"), "{words}");
    }

    #[test]
    fn what_can_be_lived_with_is_a_warning() {
        let settings = SourceSettings::default();
        assert_eq!(stream_warnings(&settings, &found(|_| {})), Vec::<String>::new());
        let other = found(|config| {
            config.retention = RetentionPolicy::WorkQueue;
            config.max_age = Duration::from_secs(60);
        });
        let warnings = stream_warnings(&settings, &other);
        assert!(warnings[0].starts_with("stream EVENTS: retention is workqueue"), "{warnings:?}");
        assert!(
            warnings[1]
                .starts_with("stream EVENTS: max_age is 60s, the configuration says 604800s"),
            "{warnings:?}"
        );
        let checked = SourceSettings { manage: Manage::Check, ..settings };
        assert_eq!(stream_warnings(&checked, &other).len(), 1, "the owner decides");
    }
}
