//! Channels as a configuration would open them, and samples to deliver.

use std::time::Duration;

use jiff::tz::TimeZone;
use tidewatch_clock::SystemClock;
use tidewatch_core::incident::{Notification, Step};
use tidewatch_core::settings::{Section as _, Value};
use tidewatch_notify::{Channel, ChannelKeys, Failure, Kind, Place, Receipt, Spec, samples};

/// The 27th of November 2026, 14:05 UTC.
pub const AT: i64 = 1_795_788_300_000;

pub fn place() -> Place {
    let labels = vec!["region".to_owned(), "shop.id".to_owned()];
    Place { page: "https://tide.example".into(), zone: TimeZone::UTC, labels }
}

pub fn spec(kind: &str, keys: &[(&str, &str)], allow_private: bool) -> Spec {
    let timeout = Duration::from_millis(700);
    let connect_timeout = Duration::from_millis(400);
    let mut common = ChannelKeys {
        kind: kind.into(),
        allow_private,
        timeout,
        connect_timeout,
        ..ChannelKeys::default()
    };
    let mut kind = Kind::named(kind).unwrap();
    for (key, value) in keys {
        let value = Value::Text((*value).into());
        assert!(kind.set(key, value.clone()) || common.set(key, value), "{key}");
    }
    Spec { name: "channel".into(), keys: common, kind }
}

pub fn open(kind: &str, keys: &[(&str, &str)]) -> Box<dyn Channel> {
    spec(kind, keys, true).open(&place(), &SystemClock::shared()).unwrap().delivers().unwrap()
}

pub fn sample(step: Step) -> Notification {
    let all =
        samples(("oncall", "channel"), &place().labels, (AT, "5a3f0d2c9b8e4716a0c1d2e3f4051627"));
    all.into_iter().find(|one| one.step == step).unwrap()
}

pub fn later(result: Result<Receipt, Failure>) -> (String, Option<u64>) {
    match result {
        Err(Failure::Later { cause, after }) => (cause, after.map(|after| after.as_secs())),
        other => panic!("{other:?}"),
    }
}

pub fn never(result: Result<Receipt, Failure>) -> String {
    match result {
        Err(Failure::Never { cause }) => cause,
        other => panic!("{other:?}"),
    }
}
