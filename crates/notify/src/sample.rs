//! One notification of each kind and step, as templates are checked with and people try a route.

use serde_json::{Map, Value as Json, json};
use tidewatch_core::incident::{Notification, Recipient, Step, notification_key};
use tidewatch_core::time::EpochMs;

const MINUTE: i64 = 60_000;

/// One of each with these labels, decided at about this time and about this.
pub fn samples(
    (route, channel): (&str, &str),
    labels: &[String],
    (at, id): (EpochMs, &str),
) -> Vec<Notification> {
    let labels: Map<String, Json> =
        labels.iter().map(|name| (name.clone(), json!("sample"))).collect();
    let made = |step: Step, about: &str, at: EpochMs, facts: Json| Notification {
        n: 1,
        key: notification_key(about, route, step, nth(step, at)),
        route: route.to_owned(),
        channel: channel.to_owned(),
        step,
        at,
        about: about.to_owned(),
        facts,
        recipient: None,
    };
    let with = |more: Json| {
        let mut facts = incident(id, at, &labels);
        if let (Some(facts), Json::Object(more)) = (facts.as_object_mut(), more) {
            facts.extend(more);
        }
        facts
    };
    let said = json!({"at": at + MINUTE, "by": "ada", "note": "looking at it"});
    let fired = with(json!({"phase": "firing"}));
    let acknowledged = with(json!({"phase": "acknowledged", "acknowledged": said}));
    let over = json!({"at": at + 12 * MINUTE, "why": "back to usual"});
    let resolved = with(json!({"phase": "resolved", "acknowledged": said, "resolved": over}));
    let occurred = occurrence(id, at, &labels);
    let carts = json!({
        "since": at - 10 * MINUTE, "until": at, "count": 312, "value": 22_104.5,
        "named": [occurred.clone(), occurred.clone()],
    });
    let mut ended = resolved.clone();
    ended["step"] = json!("resolved");
    let incidents = json!({
        "since": at - 10 * MINUTE, "until": at, "count": 1, "value": 0.0, "named": [ended],
    });
    vec![
        made(Step::Fired, id, at, fired.clone()),
        made(Step::Again, id, at + 10 * MINUTE, fired),
        made(Step::Acknowledged, id, at + MINUTE, acknowledged),
        made(Step::Resolved, id, at + 12 * MINUTE, resolved),
        made(Step::Occurred, id, at, occurred),
        made(Step::Digest, route, at, carts),
        made(Step::Digest, route, at, incidents),
    ]
}

/// A nudge with these labels, decided at about this time and about this, to somebody under example.org.
pub fn nudge_sample(
    (nudge, channel): (&str, &str),
    labels: &[String],
    (at, id): (EpochMs, &str),
) -> Notification {
    let mut facts: Map<String, Json> =
        labels.iter().map(|name| (name.clone(), json!("sample"))).collect();
    let of_the_cart = json!({
        "value": 129.9, "currency": "EUR", "items": ["Rain jacket", "Wool socks"], "more": 2,
        "first": at - 40 * MINUTE, "last": at - 30 * MINUTE,
    });
    if let Json::Object(of_the_cart) = of_the_cart {
        facts.extend(of_the_cart);
    }
    Notification {
        n: 1,
        key: notification_key(id, nudge, Step::Nudge, 0),
        route: nudge.to_owned(),
        channel: channel.to_owned(),
        step: Step::Nudge,
        at,
        about: id.to_owned(),
        facts: Json::Object(facts),
        recipient: Some(Recipient {
            address: "sample@example.org".into(),
            unsubscribe: Some("https://shop.example/unsubscribe/sample".into()),
        }),
    }
}

fn incident(id: &str, at: EpochMs, labels: &Map<String, Json>) -> Json {
    let why = json!([{
        "metric": "orders_by_region",
        "groups": [{"group": {"region": "eu"}, "value": 3.0, "usual": 60.0, "share": 0.82}],
    }]);
    json!({
        "id": id,
        "rule": "sample_rule",
        "version": "0123456789abcdef",
        "metric": "orders_per_min",
        "group": labels,
        "severity": "critical",
        "title": "Sample: 12 is far below the usual 60, mostly region=eu",
        "since": at - 3 * MINUTE,
        "fired": at,
        "detail": {
            "rule": "sample_rule", "metric": "orders_per_min", "value": 12.0, "expected": 60.0,
            "low": 45.0, "high": 75.0, "far": 6.4, "measure": "standard deviations",
            "since": at - 3 * MINUTE, "why": why, "group": labels,
        },
        "runbook": "https://runbooks.example/orders",
        "holds_for": [""],
        "held_for": 1,
    })
}

fn occurrence(id: &str, at: EpochMs, labels: &Map<String, Json>) -> Json {
    let mut detail = labels.clone();
    let facts = json!({
        "currency": "EUR", "cut": "gap", "entries": 2, "events": 9, "first": at - 40 * MINUTE,
        "last": at - 30 * MINUTE, "segment": "web", "step": "checkout", "value": 129.9,
    });
    if let Json::Object(facts) = facts {
        detail.extend(facts);
    }
    json!({
        "n": 1,
        "id": id,
        "kind": "abandoned",
        "severity": "info",
        "at": at,
        "subject": "sample-session",
        "title": "Abandoned with 129.90 EUR at stake",
        "detail": detail,
    })
}

/// Tells digests apart, as a desk does.
fn nth(step: Step, at: EpochMs) -> u64 {
    if step == Step::Digest { at.unsigned_abs() } else { 0 }
}
