//! Makes the streams and the bucket of the outputs, or says what does not fit.

use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Config, Info, RetentionPolicy, Stream};
use async_nats::jetstream::{ErrorCode, kv};

use super::message::Target;
use crate::nats::NatsError;
use crate::nats::link::Link;
use crate::nats::publisher::post::BATCH_SINCE;
use crate::nats::settings::{Manage, OutSettings};

/// The stream of a feed.
///
/// # Errors
/// When it is missing and must not be made, when it cannot keep the feed's promise, or
/// when the server does not answer.
pub(super) async fn stream(
    link: &Link,
    settings: &OutSettings,
    target: &Target,
) -> Result<Stream, NatsError> {
    let Target { stream: name, subject, made_for, .. } = target;
    let refused = |cause: String| refused(&format!("stream {name}"), &cause);
    let found = match link.jetstream().get_stream(name).await {
        Ok(found) => found,
        Err(error) if !is_missing(&error.kind()) => return Err(refused(error.to_string())),
        Err(_) if settings.manage == Manage::Check => {
            return Err(refused(format!(
                "it does not exist; create it with the subject {made_for}.>, or set nats.manage \
                 = \"create\""
            )));
        }
        Err(_) => {
            let config = config(link, settings, name, made_for);
            let made = link.jetstream().create_stream(config).await;
            made.map_err(|error| refused(error.to_string()))?
        }
    };
    match misfits(found.cached_info(), subject) {
        misfits if misfits.is_empty() => Ok(found),
        misfits => Err(refused(misfits.join("; "))),
    }
}

/// The bucket of the board.
///
/// # Errors
/// As `stream`.
pub(super) async fn bucket(link: &Link, settings: &OutSettings) -> Result<kv::Store, NatsError> {
    let name = &settings.board_bucket;
    let refused = |cause: String| refused(&format!("bucket {name}"), &cause);
    // Looked up as a stream, because a bucket's own error does not tell missing from away.
    match link.jetstream().get_stream(format!("KV_{name}")).await {
        Ok(_) => {
            let found = link.jetstream().get_key_value(name).await;
            found.map_err(|error| refused(error.to_string()))
        }
        Err(error) if !is_missing(&error.kind()) => Err(refused(error.to_string())),
        Err(_) if settings.manage == Manage::Check => Err(refused(
            "it does not exist; create it with history 1, or set nats.manage = \"create\"".into(),
        )),
        Err(_) => {
            let config = kv::Config {
                bucket: name.clone(),
                description: "tidewatch: the latest board".into(),
                history: 1,
                num_replicas: settings.replicas,
                ..kv::Config::default()
            };
            let made = link.jetstream().create_key_value(config).await;
            made.map_err(|error| refused(error.to_string()))
        }
    }
}

fn refused(what: &str, cause: &str) -> NatsError {
    NatsError::Refused { what: what.into(), cause: cause.into() }
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    match kind {
        GetStreamErrorKind::JetStream(error) => error.error_code() == ErrorCode::STREAM_NOT_FOUND,
        _ => false,
    }
}

fn config(link: &Link, settings: &OutSettings, name: &str, subject: &str) -> Config {
    let max_age = settings.max_age;
    // The server wants the window within the age.
    let window = if max_age.is_zero() {
        settings.duplicate_window
    } else {
        settings.duplicate_window.min(max_age)
    };
    Config {
        name: name.into(),
        description: Some("tidewatch".into()),
        subjects: vec![format!("{subject}.>")],
        max_age,
        max_bytes: match i64::try_from(settings.max_bytes) {
            Ok(0) | Err(_) => -1,
            Ok(bytes) => bytes,
        },
        duplicate_window: window,
        num_replicas: settings.replicas,
        allow_direct: true,
        // Servers before 2.12 do not know the field.
        allow_atomic_publish: link.server_version() >= Some(BATCH_SINCE),
        ..Config::default()
    }
}

/// What keeps a stream from holding a feed, field by field.
fn misfits(info: &Info, subject: &str) -> Vec<String> {
    let config = &info.config;
    let mut wrong = Vec::new();
    if !config.subjects.iter().any(|taken| covers(taken, subject)) {
        let subjects = config.subjects.join(", ");
        wrong.push(format!("its subjects are [{subjects}]; they must take {subject}.>"));
    }
    if config.retention != RetentionPolicy::Limits {
        wrong.push(format!(
            "retention is {:?}; it must be Limits, because the last message tells where to go on",
            config.retention
        ));
    }
    for (field, set) in [
        ("mirror", config.mirror.is_some()),
        ("subject_transform", config.subject_transform.is_some()),
        ("sealed", config.sealed),
        ("no_ack", config.no_ack),
    ] {
        if set {
            wrong.push(format!("{field} is set; it must not be"));
        }
    }
    wrong
}

/// True when every subject `<subject>.<token>.<token>` is one of `taken`.
fn covers(taken: &str, subject: &str) -> bool {
    let mut wanted = subject.split('.').chain(["*", "*"]);
    let mut given = taken.split('.');
    loop {
        match (given.next(), wanted.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_must_take_all_subjects_of_the_feed() {
        let check = |taken: &str, fits: bool| assert_eq!(covers(taken, "a.b"), fits, "{taken}");
        for taken in [">", "a.>", "a.b.>", "a.b.*.*", "*.b.>", "*.*.*.*"] {
            check(taken, true);
        }
        for taken in ["a.b", "a.b.*", "a.c.>", "a.b.x.>", "a.b.*.*.*", "b.>"] {
            check(taken, false);
        }
    }
}
