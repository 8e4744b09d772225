//! Shows that expressions say what their page says, and that metrics, labels, sessions and counts
//! of what is unusable take derived attributes like those that events carry.
//!
//! How: each example of `docs/expressions.md` is evaluated over its event; made-up logs go through the
//! real binary, and what comes out is compared with what is computed here, in the plainest way.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tidewatch::config::Config;
use tidewatch::domain::event::decode::Decoder;
use tidewatch::domain::event::{self, CheckedBatch, RawBatch};

use support::events::Random;
use support::{Folder, HOLD, Poster};

/// The value of an expression for an event with these attributes.
fn value_of(expression: &str, attributes: &str) -> String {
    let text = toml::Value::from(expression).to_string();
    let config = format!(
        "[events.derived]\nderived = {text}\n[[metric]]\nname = \"m\"\naggregate = \"count\"\n\
         group_by = [\"derived\"]\nwindow = {{ tumbling = \"1m\" }}\n"
    );
    let config = Config::parse("page.toml", &config).unwrap_or_else(|error| panic!("{error}"));
    let schema = Arc::new(config.schema(0));
    let slot = schema.slots.iter().position(|slot| slot == "derived").unwrap();
    let comma = if attributes.is_empty() { "" } else { "," };
    let line = format!("{{\"ts\":1,\"type\":\"a\"{comma}{attributes}}}");
    let batch = CheckedBatch::from(RawBatch::of(0, [(1, line)]));
    let mut found = String::new();
    Decoder::new(schema).decode_raw(&batch, 0, 1, |event| {
        let event = event.unwrap();
        found = match event.values[slot] {
            event::Value::Missing => "missing".into(),
            event::Value::Unusable(_) => "unusable".into(),
            event::Value::Number(number) => format!("`{number}`"),
            event::Value::Bool(truth) => format!("`{truth}`"),
            event::Value::Text(span) => format!("`{}`", String::from_utf8_lossy(event.text(span))),
        };
    });
    found
}

#[test]
fn the_examples_of_the_page_are_true() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/expressions.md"))
        .unwrap();
    let table =
        page.split("| expression | of an event with | is |\n| --- | --- | --- |\n").nth(1).unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let mut seen = 0;
    for row in rows {
        // What is escaped for the table is none of its cells' ends.
        let row = row.replace("\\|", "\u{1}");
        let cells: Vec<String> = row
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().replace('\u{1}', "|"))
            .collect();
        let bare = |cell: &str| cell.trim_matches('`').to_owned();
        let [expression, attributes, want] = &cells[..] else { panic!("{row}") };
        assert_eq!(value_of(&bare(expression), &bare(attributes)), *want, "{row}");
        seen += 1;
    }
    assert!(seen > 20, "{seen} examples were found");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let config = Config::parse("page.toml", example).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.metrics.len(), 1);
}

const CONFIG: &str = r#"
[events.derived]
net = "amount - discount"
per_item = "net / items"
failed = "status >= 500 || (has(error) && error != '')"
tier = "net >= 100 ? 'gold' : net >= 50 ? 'silver' : 'grey'"
latency = "bucket(ms, [50, 100])"
[session]
value = "net"
segment = "tier"
[[metric]]
name = "revenue"
where = "type == 'cart_add'"
aggregate = "sum"
field = "net"
window = { tumbling = "1h" }
[[metric]]
name = "each"
where = "type == 'cart_add'"
aggregate = "sum"
field = "per_item"
window = { tumbling = "1h" }
[[metric]]
name = "failures"
where = "failed"
aggregate = "count"
group_by = ["latency"]
window = { tumbling = "1h" }
[[metric]]
name = "odd"
where = "type == 'cart_add' && (items % 2 == 1 || net * 2 > amount + 50)"
aggregate = "count"
window = { tumbling = "1h" }
[[metric]]
name = "good"
aggregate = "ratio"
numerator = "!failed && ms <= 100"
window = { tumbling = "1h" }
[[metric]]
name = "stakes"
of = "sessions"
where = "segment == 'gold' || value / events > 20"
aggregate = "sum"
field = "value"
window = { tumbling = "1h" }
"#;

/// One event, in hundredths where that is needed.
#[derive(Clone)]
struct Visit {
    amount: Option<i64>,
    discount: Option<i64>,
    items: i64,
    status: Option<i64>,
    error: Option<&'static str>,
    ms: Option<i64>,
}

impl Visit {
    fn of(random: &mut Random) -> Visit {
        let mut some =
            |most: u64, odds: u64| (!random.one_in(odds)).then(|| random.below(most) as i64);
        let (amount, discount, status) = (some(20_000, 6), some(3_000, 6), some(600, 4));
        let (items, ms) = (some(5, 100).unwrap_or(0), some(200, 5));
        let error = [None, Some(""), Some("timeout")][some(3, 1_000).unwrap_or(0) as usize];
        Visit { amount, discount, items, status, error, ms }
    }

    fn line(&self, number: usize) -> Value {
        // One session each, some amounts as text.
        let mut event = json!({"id": format!("e{number}"), "type": "cart_add", "user": format!("u{number}"),
            "ts": 1_600_000_000_000_i64 + number as i64, "items": self.items});
        let money = |hundredths: i64| -> Value {
            let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
            if hundredths % 2 == 0 { text.into() } else { text.parse::<f64>().unwrap().into() }
        };
        for (name, value) in [
            ("amount", self.amount.map(money)),
            ("discount", self.discount.map(money)),
            ("status", self.status.map(Value::from)),
            ("error", self.error.map(Value::from)),
            ("ms", self.ms.map(Value::from)),
        ] {
            if let Some(value) = value {
                event[name] = value;
            }
        }
        event
    }

    fn net(&self) -> Option<i64> {
        Some(self.amount? - self.discount?)
    }

    fn failed(&self) -> Option<bool> {
        let error = self.error.is_some_and(|error| !error.is_empty());
        match self.status {
            Some(status) => Some(status >= 500 || error),
            None if error => Some(true),
            None => None,
        }
    }

    fn latency(&self) -> &'static str {
        match self.ms {
            None => "",
            Some(..=50) => "<= 50",
            Some(51..=100) => "50 to 100",
            Some(_) => "> 100",
        }
    }
}

#[test]
fn derived_attributes_are_used_like_those_that_events_carry() {
    let mut random = Random::seeded("expressions");
    let visits: Vec<Visit> = (0..400).map(|_| Visit::of(&mut random)).collect();
    let folder = Folder::default();
    let lines: String =
        visits.iter().enumerate().map(|(at, visit)| format!("{}\n", visit.line(at))).collect();
    let (file, config) = (folder.write("log.ndjson", lines), folder.write("t.toml", CONFIG));
    let windows = folder.path("windows.csv");
    let run = |shards: &str| {
        let data = folder.path(&format!("data-{shards}")).display().to_string();
        let run = folder
            .command(&["replay", &file, "--json", "--config", &config, "--shards", shards])
            .args(&["--data-dir", &data, "--windows-out", &windows.display().to_string()])
            .run();
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        (run.json(), std::fs::read_to_string(&windows).unwrap())
    };
    let (report, rows) = run("1");
    let (again, same) = run("4");
    assert_eq!(rows, same, "shards");
    assert_eq!(report["metrics"], again["metrics"]);
    assert_eq!(report["unusable"], again["unusable"]);

    let nets = || visits.iter().filter_map(Visit::net);
    let sum = |metric: &str| report["metrics"][metric]["sum"].as_f64().unwrap();
    let near = |got: f64, want: f64, what: &str| {
        assert!((got - want).abs() < 1e-9 * want.abs().max(1.0), "{what}: {got}, not {want}");
    };
    assert_eq!(sum("revenue"), nets().sum::<i64>() as f64 / 100.0, "to the hundredth");
    let divided = visits.iter().filter(|visit| visit.items > 0);
    let each: f64 =
        divided.filter_map(|visit| Some(visit.net()? as f64 / 100.0 / visit.items as f64)).sum();
    near(sum("each"), each, "each");
    let odd = visits.iter().filter(|visit| {
        let much = visit.net().zip(visit.amount).map(|(net, amount)| net * 2 > amount + 5_000);
        visit.items % 2 == 1 || much == Some(true)
    });
    assert_eq!(sum("odd"), odd.count() as f64);
    let good = visits
        .iter()
        .filter(|visit| visit.failed() == Some(false) && visit.ms.is_some_and(|ms| ms <= 100));
    near(sum("good"), good.count() as f64 / visits.len() as f64, "good");
    // A session each: its value is what its entry is worth, nothing where that is missing.
    let stakes = nets().filter(|net| *net >= 10_000 || *net > 2_000).sum::<i64>();
    assert_eq!(sum("stakes"), stakes as f64 / 100.0);

    let mut failures: BTreeMap<&str, f64> = BTreeMap::new();
    for visit in visits.iter().filter(|visit| visit.failed() == Some(true)) {
        *failures.entry(visit.latency()).or_default() += 1.0;
    }
    let mut found: BTreeMap<&str, f64> = BTreeMap::new();
    for row in rows.lines().filter_map(|row| row.strip_prefix("failures,")) {
        let cells: Vec<&str> = row.split(',').collect();
        let (group, value) = (cells[cells.len() - 2], cells[cells.len() - 1]);
        *found.entry(group.trim_matches('"')).or_default() += value.parse::<f64>().unwrap();
    }
    assert_eq!(found, failures, "{rows}");

    let faults = |key: &str, reason: &str| {
        let of = |view: &&Value| view["key"] == key && view["reason"] == reason;
        let views = report["unusable"].as_array().unwrap();
        views.iter().find(of).map_or(0, |view| view["count"].as_u64().unwrap())
    };
    let absent = visits.iter().filter(|visit| visit.net().is_none()).count() as u64;
    assert_eq!(faults("metric.revenue.field", "absent"), absent);
    assert_eq!(faults("session.value", "absent"), absent);
    let by_zero = visits.iter().filter(|visit| visit.items == 0 && visit.net().is_some()).count();
    assert!(by_zero > 0);
    assert_eq!(faults("metric.each.field", "divided_by_zero"), by_zero as u64);
}

#[test]
fn what_an_expression_cannot_use_is_told_to_the_publisher() {
    let folder = Folder::default();
    let server = folder.serve(&format!("{HOLD}{CONFIG}")).start();
    let event = json!({"id": "1", "ts": 1_600_000_000_000_i64, "type": "cart_add", "user": "a",
        "amount": "much", "discount": 1, "items": 0});
    let answer = Poster::new(server.target()).post(&[event.to_string()]);
    assert_eq!(answer.status, 202);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    for part in [
        "net: text that is not a number (needed by session.value, metric.revenue.field)",
        "items % 2 == 1 || net * 2 > amount + 50: text that is not a number (needed by metric.odd.where)",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let pipeline = server.wait_settled(1);
    assert!(pipeline.to_string().contains("metric.revenue.field"), "{pipeline}");
}
