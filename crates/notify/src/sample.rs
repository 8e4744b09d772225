//! One notification of each kind and step, as templates are checked with and people try a route.

use serde_json::{Map, Value as Json, json};
use tidewatch_core::incident::{Notification, Step, notification_key};

/// The 27th of November 2026, 14:05 UTC.
const AT: i64 = 1_795_788_300_000;

const MINUTE: i64 = 60_000;

/// One of each, with these labels.
pub fn samples(route: &str, channel: &str, labels: &[String]) -> Vec<Notification> {
    let labels: Map<String, Json> =
        labels.iter().map(|name| (name.clone(), json!("sample"))).collect();
    let id = "5a3f0d2c9b8e4716a0c1d2e3f4051627";
    let made = |step: Step, about: &str, at: i64, facts: Json| Notification {
        n: 1,
        key: notification_key(about, route, step, 0),
        route: route.to_owned(),
        channel: channel.to_owned(),
        step,
        at,
        about: about.to_owned(),
        facts,
    };
    let with = |more: Json| {
        let mut facts = incident(id, &labels);
        if let (Some(facts), Json::Object(more)) = (facts.as_object_mut(), more) {
            facts.extend(more);
        }
        facts
    };
    let said = json!({"at": AT + MINUTE, "by": "ada", "note": "looking at it"});
    let fired = with(json!({"phase": "firing"}));
    let acknowledged = with(json!({"phase": "acknowledged", "acknowledged": said}));
    let over = json!({"at": AT + 12 * MINUTE, "why": "back to usual"});
    let resolved = with(json!({"phase": "resolved", "acknowledged": said, "resolved": over}));
    let occurred = occurrence(&labels);
    let carts = json!({
        "since": AT - 10 * MINUTE, "until": AT, "count": 312, "value": 22_104.5,
        "named": [occurred.clone(), occurred.clone()],
    });
    let mut ended = resolved.clone();
    ended["step"] = json!("resolved");
    let incidents = json!({
        "since": AT - 10 * MINUTE, "until": AT, "count": 1, "value": 0.0, "named": [ended],
    });
    vec![
        made(Step::Fired, id, AT, fired.clone()),
        made(Step::Again, id, AT + 10 * MINUTE, fired),
        made(Step::Acknowledged, id, AT + MINUTE, acknowledged),
        made(Step::Resolved, id, AT + 12 * MINUTE, resolved),
        made(Step::Occurred, "0c4b2a19e8d7f6059483726150a1b2c3", AT, occurred),
        made(Step::Digest, route, AT, carts),
        made(Step::Digest, route, AT, incidents),
    ]
}

fn incident(id: &str, labels: &Map<String, Json>) -> Json {
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
        "since": AT - 3 * MINUTE,
        "fired": AT,
        "detail": {
            "rule": "sample_rule", "metric": "orders_per_min", "value": 12.0, "expected": 60.0,
            "low": 45.0, "high": 75.0, "far": 6.4, "measure": "standard deviations",
            "since": AT - 3 * MINUTE, "why": why, "group": labels,
        },
        "runbook": "https://runbooks.example/orders",
        "holds_for": [""],
        "held_for": 1,
    })
}

fn occurrence(labels: &Map<String, Json>) -> Json {
    let mut detail = labels.clone();
    let facts = json!({
        "currency": "EUR", "cut": "gap", "entries": 2, "events": 9, "first": AT - 40 * MINUTE,
        "last": AT - 30 * MINUTE, "segment": "web", "step": "checkout", "value": 129.9,
    });
    if let Json::Object(facts) = facts {
        detail.extend(facts);
    }
    json!({
        "n": 1,
        "id": "0c4b2a19e8d7f6059483726150a1b2c3",
        "kind": "abandoned",
        "severity": "info",
        "at": AT,
        "subject": "sample-session",
        "title": "Abandoned with 129.90 EUR at stake",
        "detail": detail,
    })
}
