//! The description of the HTTP side (`docs/openapi.json`) against the server: every route
//! with its methods is in it and nothing else, its examples fit its schemas, and so does
//! what a real server answers.

mod web_rig;

use regex::Regex;
use serde_json::{Value, json};
use tidewatch::actors::ports::StoredDeadLetter;
use tidewatch::domain::alert::{Alert, Detail};
use tidewatch::domain::board::TopicState;
use tidewatch::domain::commit::LateEvent;
use tidewatch::domain::event::Hints;
use tidewatch::web::{Settings, routes};

use web_rig::Rig;

fn document() -> Value {
    serde_json::from_str(include_str!("../docs/openapi.json")).unwrap()
}

#[test]
fn every_route_and_method_is_described_and_nothing_else() {
    let document = document();
    let mut described: Vec<(String, String)> = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        described.extend(methods.as_object().unwrap().keys().map(|m| (path.clone(), m.clone())));
    }
    let mut served: Vec<(String, String)> = Vec::new();
    for entry in routes::all().iter().filter(|entry| !entry.path.is_empty()) {
        let path = entry.path.replace(":.*}", "}");
        let methods: &[&str] = match entry.methods {
            "GET, HEAD" => &["get"],
            "POST" => &["post"],
            "GET, HEAD, POST" => &["get", "post"],
            other => panic!("{other} is new: describe it here"),
        };
        served.extend(methods.iter().map(|method| (path.clone(), (*method).into())));
    }
    described.sort();
    served.sort();
    assert_eq!(described, served);
    let braces = Regex::new(r"\{(\w+)\}").unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let named: Vec<&str> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            let wanted: Vec<&str> =
                braces.captures_iter(path).map(|found| found.get(1).unwrap().as_str()).collect();
            assert_eq!(named, wanted, "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path}");
        }
    }
}

/// Checks a value against a schema, as far as the document uses the language; another
/// keyword is a fault of the document or of this check.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let wrong = |what: String| Err(format!("{at}: {what} in {value}"));
    for (keyword, rule) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$ref" => {
                let pointer = rule.as_str().unwrap().trim_start_matches('#');
                let target = document.pointer(pointer);
                check(document, target.ok_or(format!("no {rule}"))?, value, at)?;
            }
            "type" => {
                let names: Vec<&str> = match rule {
                    Value::Array(names) => names.iter().map(|n| n.as_str().unwrap()).collect(),
                    name => vec![name.as_str().unwrap()],
                };
                let fits = |name: &&str| match *name {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    "null" => value.is_null(),
                    other => panic!("{other}"),
                };
                if !names.iter().any(fits) {
                    return wrong(format!("not {names:?}"));
                }
            }
            "required" => {
                for name in rule.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() {
                        return wrong(format!("no {name}"));
                    }
                }
            }
            "properties" => {
                for (name, rule) in rule.as_object().unwrap() {
                    if let Some(field) = value.get(name) {
                        check(document, rule, field, &format!("{at}.{name}"))?;
                    }
                }
            }
            "additionalProperties" => {
                let known = schema.get("properties");
                for (name, field) in value.as_object().into_iter().flatten() {
                    if known.is_none_or(|known| known.get(name).is_none()) {
                        check(document, rule, field, &format!("{at}.{name}"))?;
                    }
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(document, rule, item, &format!("{at}[{index}]"))?;
                }
            }
            "oneOf" => {
                let rules = rule.as_array().unwrap();
                let fit = rules.iter().filter(|rule| check(document, rule, value, at).is_ok());
                if fit.count() != 1 {
                    return wrong("not exactly one of the forms".into());
                }
            }
            "enum" if !rule.as_array().unwrap().contains(value) => {
                return wrong(format!("none of {rule}"));
            }
            "minimum" if value.as_f64() < rule.as_f64() => return wrong(format!("below {rule}")),
            "maximum" if value.as_f64() > rule.as_f64() => return wrong(format!("above {rule}")),
            "maxItems" if value.as_array().map_or(0, Vec::len) as u64 > rule.as_u64().unwrap() => {
                return wrong(format!("more than {rule}"));
            }
            "pattern" => {
                let pattern = Regex::new(rule.as_str().unwrap()).unwrap();
                if !value.as_str().is_some_and(|text| pattern.is_match(text)) {
                    return wrong(format!("does not match {pattern}"));
                }
            }
            "enum" | "minimum" | "maximum" | "maxItems" | "description" | "default" => {}
            other => panic!("{at}: the check does not know {other}"),
        }
    }
    Ok(())
}

/// Every place that has an example beside its schema.
fn examples(node: &Value, at: String, found: &mut Vec<(String, Value, Value)>) {
    match node {
        Value::Object(fields) => {
            if let (Some(schema), Some(example)) = (fields.get("schema"), fields.get("example")) {
                found.push((at.clone(), schema.clone(), example.clone()));
            }
            for (name, field) in fields {
                examples(field, format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(n, item)| examples(item, format!("{at}/{n}"), found));
        }
        _ => {}
    }
}

#[test]
fn the_examples_fit_their_schemas() {
    let document = document();
    let mut found = Vec::new();
    examples(&document, String::new(), &mut found);
    assert!(found.len() > 15, "{}", found.len());
    for (at, schema, example) in found {
        check(&document, &schema, &example, &at).unwrap();
    }
    // The check can fail.
    let receipt = json!({"$ref": "#/components/schemas/Receipt"});
    let bad = json!({"accepted": -1, "rejected": 0, "first": 1, "last": 1, "verdicts": []});
    assert!(check(&document, &receipt, &bad, "").is_err());
    assert!(check(&document, &receipt, &json!({"accepted": 1}), "").is_err());
}

fn answers(document: &Value, path: &str, method: &str, status: u16) -> Value {
    let responses = &document["paths"][path][method]["responses"];
    let status = status.to_string();
    let response = responses.get(&status).unwrap_or(&responses["default"]);
    let response = match response.get("$ref") {
        Some(target) => document.pointer(target.as_str().unwrap().trim_start_matches('#')).unwrap(),
        None => response,
    };
    response["content"].clone()
}

#[test]
fn what_a_server_answers_fits_the_description() {
    let document = document();
    let rig = Rig::start(Settings::default());
    rig.publish(1, &[("kpi", TopicState::Map([("rate".to_owned(), json!(0.5))].into()))]);
    web_rig::eventually("the board is there", || rig.get("/v1/board").json()["version"] == 1);
    *rig.records.letters.lock() = vec![StoredDeadLetter {
        id: 1,
        source: "log".into(),
        position: 1,
        reason: "no time".into(),
        raw: b"{}".to_vec(),
        at: 5,
        redriven: None,
        hints: Hints::default(),
    }];
    *rig.records.alerts.lock() = vec![Alert {
        n: 1,
        id: "0a".into(),
        kind: "abandoned".into(),
        severity: "info".into(),
        at: 5,
        subject: "u".into(),
        title: "t".into(),
        detail: Detail::of(&json!({})),
    }];
    *rig.records.late.lock() = vec![LateEvent {
        source: 0,
        position: 1,
        at: 5,
        behind_ms: 7,
        key: "k".into(),
        reason: "its session was closed".into(),
        raw: "{}".into(),
    }];
    *rig.records.incidents.lock() = vec![
        serde_json::from_value(json!({
            "id": "0b", "rule": "errors", "version": "00", "metric": "errors_per_min",
            "severity": "critical", "title": "t", "since": 1, "fired": 2, "detail": {"value": 9.0},
            "holds_for": [""], "held_for": 1, "acknowledged": {"at": 3, "by": "ada"},
        }))
        .unwrap(),
    ];
    *rig.records.changes.lock() = vec![
        serde_json::from_value(
            json!({"n": 1, "at": 2, "what": "fired", "incident": "0b", "says": "t"}),
        )
        .unwrap(),
    ];
    *rig.records.silences.lock() = vec![
        serde_json::from_value(json!({
            "id": "0c", "matching": "value > 1", "from": 1, "until": 9, "by": "ada", "reason": "r",
        }))
        .unwrap(),
    ];
    *rig.records.notifications.lock() = vec![
        serde_json::from_value(json!({
            "n": 1, "key": "0d", "route": "all", "channel": "mail", "step": "fired", "at": 2,
            "about": "0b", "facts": {},
        }))
        .unwrap(),
    ];
    let event = json!({"id": "e", "ts": 1_700_000_000_000u64, "type": "page_view", "user": "u"});
    let json_type = [("Content-Type", "application/json")];
    let post = |path: &str, body: Value| rig.post(path, &json_type, body.to_string().as_bytes());
    let asked = [
        ("/readyz", "get", rig.get("/readyz")),
        ("/healthz", "get", rig.get("/healthz")),
        ("/version", "get", rig.get("/version")),
        ("/v1/openapi.json", "get", rig.get("/v1/openapi.json")),
        ("/v1/board", "get", rig.get("/v1/board")),
        ("/v1/topics", "get", rig.get("/v1/topics")),
        ("/v1/reload", "post", rig.post("/v1/reload?plan=1", &[], b"")),
        ("/v1/dry-run", "post", rig.post("/v1/dry-run?name=a&vary=k=2..3", &[], b"")),
        ("/v1/dry-run", "post", rig.post("/v1/dry-run?nme=a", &[], b"")),
        ("/v1/sessions/{key}", "get", rig.get("/v1/sessions/nobody")),
        ("/v1/at-risk", "get", rig.get("/v1/at-risk?by=value")),
        ("/v1/alerts", "get", rig.get("/v1/alerts")),
        ("/v1/alerts", "get", rig.get("/v1/alerts?since=soon")),
        ("/v1/alert-log", "get", rig.get("/v1/alert-log?order=desc")),
        ("/v1/incidents", "get", rig.get("/v1/incidents")),
        ("/v1/incidents", "get", rig.get("/v1/incidents?state=closed")),
        ("/v1/incidents/{id}", "get", rig.get("/v1/incidents/0b")),
        ("/v1/incidents/{id}", "get", rig.get("/v1/incidents/none")),
        ("/v1/incidents/{id}/acknowledge", "post", post("/v1/incidents/0b/acknowledge", json!({}))),
        (
            "/v1/incidents/{id}/snooze",
            "post",
            post("/v1/incidents/0b/snooze", json!({"by": "a", "for": "long"})),
        ),
        ("/v1/incident-log", "get", rig.get("/v1/incident-log?after=0")),
        ("/v1/silences", "get", rig.get("/v1/silences")),
        (
            "/v1/silences",
            "post",
            post("/v1/silences", json!({"matching": "value > 1", "by": "a", "reason": "r"})),
        ),
        ("/v1/silences/{id}/end", "post", post("/v1/silences/0c/end", json!({"by": ""}))),
        ("/v1/notifications", "get", rig.get("/v1/notifications")),
        ("/v1/nudges", "get", rig.get("/v1/nudges")),
        ("/v1/suppressions", "post", post("/v1/suppressions", json!({"addresses": 5, "by": "a"}))),
        ("/v1/unsubscribe", "get", rig.get("/v1/unsubscribe")),
        ("/v1/unsubscribe", "post", rig.post("/v1/unsubscribe?token=cart.x", &[], b"")),
        ("/v1/late", "get", rig.get("/v1/late")),
        ("/v1/dead-letters", "get", rig.get("/v1/dead-letters")),
        ("/v1/dead-letters/{id}", "get", rig.get("/v1/dead-letters/1")),
        ("/v1/dead-letters/{id}", "get", rig.get("/v1/dead-letters/9")),
        ("/v1/events", "post", post("/v1/events", json!([event, {"no": "time"}]))),
        ("/v1/events", "post", post("/v1/events", json!({"no": "time"}))),
        ("/v1/events", "post", rig.post("/v1/events", &[("Content-Encoding", "br")], b"{}")),
        ("/v1/dead-letters/redrive", "post", post("/v1/dead-letters/redrive", json!({"ids": [1]}))),
        ("/v1/dead-letters/redrive", "post", post("/v1/dead-letters/redrive", json!({"ids": 1}))),
    ];
    for (path, method, answer) in asked {
        let content = answers(&document, path, method, answer.status);
        let media = answer.header("content-type").to_owned();
        let schema = &content[&media]["schema"];
        assert!(schema.is_object(), "{method} {path}: {} {media} is not described", answer.status);
        check(&document, schema, &answer.json(), path).unwrap();
    }
    assert_eq!(rig.get("/v1/openapi.json").json(), document, "it is served as it is");
}
