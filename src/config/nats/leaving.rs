//! `[nats.gateway]` and `[nats.out]`: what is published, and its bounds.

use std::time::Duration;

use super::{DAY, GIB, MINUTE, checked, duration, millis, optional_name, plain_subject};
use crate::config::print::{self, Entry};
use crate::config::raw::Reader;
use crate::nats::gateway::GatewaySettings;
use crate::nats::out::OutSettings;
use crate::nats::settings::SourceSettings;

/// `streams`: those that are read.
pub(super) fn gateway(reader: &mut Reader, streams: Vec<String>) -> GatewaySettings {
    let default = GatewaySettings::default();
    let in_flight_max = "nats.gateway.in_flight_max";
    GatewaySettings {
        subject: checked(reader, "nats.gateway.subject", &default.subject, plain_subject),
        in_flight_max: reader.count(in_flight_max, default.in_flight_max, 1..=65_536),
        timeout: span(reader, "nats.gateway.timeout", default.timeout, 100, MINUTE),
        refused_bytes_max: reader.size(
            "nats.gateway.refused_bytes_max",
            default.refused_bytes_max,
            1 << 20..=4 * GIB,
        ),
        streams,
    }
}

/// `common`: what holds for all of `[nats]`.
pub(super) fn out(reader: &mut Reader, common: &SourceSettings) -> OutSettings {
    let default = OutSettings::default();
    let name =
        |reader: &mut Reader, key, default: &str| checked(reader, key, default, optional_name);
    let subject =
        |reader: &mut Reader, key, default: &str| checked(reader, key, default, plain_subject);
    let bytes_max = 1_048_576 * GIB;
    let window = default.duplicate_window;
    let out = OutSettings {
        manage: common.manage,
        replicas: common.replicas,
        alerts_stream: name(reader, "nats.out.alerts_stream", &default.alerts_stream),
        alerts_subject: subject(reader, "nats.out.alerts_subject", &default.alerts_subject),
        dead_letters_stream: name(
            reader,
            "nats.out.dead_letters_stream",
            &default.dead_letters_stream,
        ),
        dead_letters_subject: subject(
            reader,
            "nats.out.dead_letters_subject",
            &default.dead_letters_subject,
        ),
        board_subject: subject(reader, "nats.out.board_subject", &default.board_subject),
        board_bucket: name(reader, "nats.out.board_bucket", &default.board_bucket),
        board_interval: span(
            reader,
            "nats.out.board_interval",
            default.board_interval,
            100,
            MINUTE,
        ),
        service: name(reader, "nats.out.service", &default.service),
        requests_max: reader.count("nats.out.requests_max", default.requests_max, 1..=1_024),
        max_age: span(reader, "nats.out.max_age", default.max_age, 0, 3_660 * DAY),
        max_bytes: reader.size("nats.out.max_bytes", default.max_bytes as usize, 0..=bytes_max)
            as u64,
        duplicate_window: span(reader, "nats.out.duplicate_window", window, 100, DAY),
        in_flight_max: reader.count("nats.out.in_flight_max", default.in_flight_max, 1..=1_000),
        poll_interval: span(reader, "nats.out.poll_interval", default.poll_interval, 10, MINUTE),
        retry_max: span(reader, "nats.out.retry_max", default.retry_max, 100, MINUTE),
        notes: None,
    };
    if !out.max_age.is_zero() && out.duplicate_window > out.max_age {
        reader.conflict(
            &["nats.out.duplicate_window", "nats.out.max_age"],
            "nats.out.duplicate_window must not be longer than nats.out.max_age",
        );
    }
    out
}

fn span(
    reader: &mut Reader,
    key: &'static str,
    default: Duration,
    least: i64,
    most: i64,
) -> Duration {
    duration(reader.span(key, millis(default), least..=most))
}

pub(super) fn gateway_keys(gateway: &GatewaySettings) -> Vec<Entry> {
    vec![
        ("subject", print::text(&gateway.subject)),
        ("in_flight_max", gateway.in_flight_max.to_string()),
        ("timeout", print::span(millis(gateway.timeout))),
        ("refused_bytes_max", print::size(gateway.refused_bytes_max)),
    ]
}

pub(super) fn out_keys(out: &OutSettings) -> Vec<Entry> {
    vec![
        ("alerts_stream", print::text(&out.alerts_stream)),
        ("alerts_subject", print::text(&out.alerts_subject)),
        ("dead_letters_stream", print::text(&out.dead_letters_stream)),
        ("dead_letters_subject", print::text(&out.dead_letters_subject)),
        ("board_subject", print::text(&out.board_subject)),
        ("board_bucket", print::text(&out.board_bucket)),
        ("board_interval", print::span(millis(out.board_interval))),
        ("service", print::text(&out.service)),
        ("requests_max", out.requests_max.to_string()),
        ("max_age", print::span(millis(out.max_age))),
        ("max_bytes", print::size(out.max_bytes as usize)),
        ("duplicate_window", print::span(millis(out.duplicate_window))),
        ("in_flight_max", out.in_flight_max.to_string()),
        ("poll_interval", print::span(millis(out.poll_interval))),
        ("retry_max", print::span(millis(out.retry_max))),
    ]
}
