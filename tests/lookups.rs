//! Shows that events get the columns of a table by one of their attributes: the same for any number of
//! shards and wherever the rows lie, with what is not in the table counted; that a table that has changed
//! is taken while the process runs, from a commit on, over kill -9; and that rows that are bad or cannot be
//! had change nothing and are told.
//!
//! How: the real binary, and a CSV file, an HTTP server and a bucket of a real nats-server with the same
//! rows. The oracle is a plain count.

mod support;

use std::collections::BTreeMap;

use serde_json::json;

use support::events::Random;
use support::places::{InBucket, InFile, OverHttp, Place, Row};
use support::{Folder, HOLD, Poster, Reply, Server, until};

const START: i64 = 1_700_000_000_000;
const DAY: i64 = 86_400_000;

fn config(place: &dyn Place) -> String {
    let (sections, keys) = (place.sections(), place.keys());
    format!(
        r#"{HOLD}
{sections}
[pipeline]
commit_interval = "20ms"
tick = "100ms"
[events.derived]
margin = "amount - cost"
[[lookup]]
name = "products"
{keys}
key = "sku"
attributes = {{ category = "kind", cost = "unit cost" }}
watch = "30ms"
[[metric]]
name = "by_category"
aggregate = "count"
group_by = ["category"]
window = {{ tumbling = "1h" }}
[[metric]]
name = "known"
where = "has(category)"
aggregate = "count"
window = {{ tumbling = "1h" }}
[[metric]]
name = "margins"
aggregate = "sum"
field = "margin"
window = {{ tumbling = "1h" }}
"#
    )
}

#[test]
fn columns_of_a_table_are_attributes_of_events() {
    let mut random = Random::seeded("lookups");
    let folder = Folder::default();
    // Of ten products the first seven are in the table; one has no kind.
    let kind = |sku: u64| ["hats", "shoes", ""][(sku % 3) as usize];
    let row = |sku: u64| (sku.to_string(), kind(sku).to_owned(), format!("{sku}.5"));
    let rows: Vec<Row> = (0..7).map(row).collect();
    let (mut lines, mut kinds, mut margins) = (String::new(), BTreeMap::<String, u64>::new(), 0i64);
    let (mut known, mut not_found) = (0u64, 0u64);
    for n in 0..2_000 {
        let sku = random.below(12);
        let amount = random.below(100) as i64;
        let mut event = json!({"id": format!("e{n}"), "ts": START + n * 1_000, "type": "sale",
            "user": format!("u{}", random.below(50)), "amount": amount, "category": "its own"});
        match sku {
            11 => {}
            sku if random.one_in(2) => event["sku"] = json!(sku),
            sku => event["sku"] = json!(sku.to_string()),
        }
        lines += &format!("{event}\n");
        let found = (sku < 7).then(|| kind(sku));
        *kinds.entry(found.unwrap_or_default().to_owned()).or_default() += 1;
        known += u64::from(found.is_some_and(|kind| !kind.is_empty()));
        not_found += u64::from((7..11).contains(&sku));
        if found.is_some() {
            margins += 10 * amount - (10 * sku as i64 + 5);
        }
    }
    let file = folder.write("events.ndjson", lines);
    let config_file = folder.path("tidewatch.toml").display().to_string();
    let mut first = None;
    let (mut in_file, mut over_http, mut in_bucket) =
        (InFile(&folder), OverHttp::start(), InBucket::start());
    let places: [&mut dyn Place; 3] = [&mut in_file, &mut over_http, &mut in_bucket];
    for ((shards, batch), place) in [("1", "1"), ("3", "64"), ("8", "4096")].into_iter().zip(places)
    {
        place.put(&rows);
        folder.write("tidewatch.toml", config(place));
        let windows = folder.path("windows.csv");
        let run = folder
            .command(&["replay", &file, "--json", "--config", &config_file])
            .env("SHOP_TOKEN", "Bearer abc")
            .args(&["--shards", shards, "--batch", batch])
            .args(&["--data-dir", &folder.path(&format!("data-{shards}")).display().to_string()])
            .args(&["--windows-out", &windows.display().to_string()])
            .run();
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let report = run.json();
        let sum = |metric: &str| report["metrics"][metric]["sum"].as_f64().unwrap();
        assert_eq!(sum("known"), known as f64);
        assert_eq!(sum("margins"), margins as f64 / 10.0);
        let text = std::fs::read_to_string(&windows).unwrap();
        let mut counted: BTreeMap<String, u64> = BTreeMap::new();
        let mut rows = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        for row in rows.records().map(Result::unwrap).filter(|row| &row[0] == "by_category") {
            *counted.entry(row[2].to_owned()).or_default() += row[3].parse::<u64>().unwrap();
        }
        assert_eq!(counted, kinds, "{text}");
        let unusable = report["unusable"].as_array().unwrap();
        let of = |key: &str| {
            let one = unusable.iter().find(|one| one["key"] == key && one["reason"] == "not_found");
            one.map_or(0, |one| one["count"].as_u64().unwrap())
        };
        assert_eq!(of("metric.by_category.group_by"), not_found, "{unusable:?}");
        assert_eq!(of("metric.margins.field"), not_found, "{unusable:?}");
        assert_eq!(
            *first.get_or_insert(text.clone()),
            text,
            "neither shards nor the place of the rows change anything"
        );
    }
}

/// Rows that say which table they are of; it has as many of them more.
fn version(number: usize) -> Vec<Row> {
    let kind = || format!("v{number}");
    let more = (0..number).map(|row| (format!("more{row}"), kind(), "1".into()));
    std::iter::once(("a".into(), kind(), "1".into())).chain(more).collect()
}

fn wait_rows(server: &Server, rows: usize) {
    let line = format!("tidewatch_lookup_rows{{lookup=\"products\"}} {rows}\n");
    until(60, "the table is taken", || {
        let text = server.http.get(&server.at("metrics")).body;
        String::from_utf8_lossy(&text).contains(&line).then_some(())
    });
}

/// What is said while rows may be old.
fn old(server: &Server) -> Option<String> {
    let conditions = server.pipeline()["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|one| one["name"] == "lookup_old");
    found.map(|one| one.to_string())
}

fn wait_current(server: &Server) {
    until(60, "the rows are known to be those of the source", || {
        old(server).is_none().then_some(())
    });
}

fn a_table_is_followed(place: &mut dyn Place, ways: usize, seed: &str) {
    let mut random = Random::seeded(seed);
    let folder = Folder::default();
    place.put(&version(0));
    let config = config(place);
    let launch = || folder.serve(&config).env("SHOP_TOKEN", "Bearer abc");
    let start = || launch().start();
    let mut server = start();
    let (mut sent, mut wanted) = (0u64, BTreeMap::<String, u64>::new());
    for number in 0..2 * ways + 1 {
        place.put(&version(number));
        wait_rows(&server, number + 1);
        wait_current(&server);
        let spoilt = (number % 2 == 1).then(|| place.spoil(number / 2));
        let away = spoilt == Some("lookup products");
        if let Some(part) = spoilt {
            let says = until(60, "the rows are told to be old", || old(&server));
            assert!(says.contains(part), "{part}: {says}");
            if place.is_far() && random.one_in(2) {
                server.kill_9();
                server = if away { launch().listening() } else { start() };
            }
            wait_rows(&server, number + 1);
        }
        // Where events go through the server that is away, none come.
        for _ in 0..if away { 0 } else { 1 + random.below(3) } {
            let lines: Vec<String> = (0..1 + random.below(40))
                .map(|_| {
                    sent += 1;
                    let ts = START + sent as i64 * 1_000;
                    let event = json!({"id": sent.to_string(), "ts": ts, "type": "sale",
                        "user": format!("u{}", sent % 7), "sku": "a", "amount": 2});
                    event.to_string()
                })
                .collect();
            *wanted.entry(format!("v{number}")).or_default() += lines.len() as u64;
            assert_eq!(Poster::new(server.target()).post(&lines).status, 202);
            if random.one_in(2) && (spoilt.is_none() || place.is_far()) {
                server.kill_9();
                server = start();
            }
        }
        if !away {
            server.wait_settled(sent);
        }
    }
    place.put(&version(99));
    wait_rows(&server, 100);
    wait_current(&server);
    let flush = json!({"id": "flush", "ts": START + 2 * DAY, "type": "flush"}).to_string();
    assert_eq!(Poster::new(server.target()).post(&[flush]).status, 202);
    server.wait_settled(sent + 1);
    assert_eq!(server.stop().code(), Some(0));
    let file = rusqlite::Connection::open(folder.data().join("state.db")).unwrap();
    let sql = "SELECT grp, SUM(CAST(value AS TEXT)) FROM rollups WHERE metric = 'by_category' AND \
               grp != '' GROUP BY grp";
    let mut rows = file.prepare(sql).unwrap();
    let rows =
        rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, f64>(1)? as u64)));
    let counted: BTreeMap<String, u64> = rows.unwrap().map(Result::unwrap).collect();
    assert_eq!(counted, wanted);
    place.check();
}

#[test]
fn a_file_is_followed_and_a_bad_one_changes_nothing() {
    let rows = Folder::default();
    a_table_is_followed(&mut InFile(&rows), 2, "lookups_file");
}

#[test]
fn an_address_is_followed_and_what_it_answers_wrongly_changes_nothing() {
    a_table_is_followed(&mut OverHttp::start(), 6, "lookups_http");
}

#[test]
fn a_bucket_is_followed_and_a_server_that_is_away_changes_nothing() {
    a_table_is_followed(&mut InBucket::start(), 4, "lookups_bucket");
}

#[test]
fn a_configuration_is_judged_apart_from_the_rows_of_its_lookups() {
    let folder = Folder::default();
    let mut place = OverHttp::start();
    place.put(&version(0));
    let config = config(&place);
    let server = folder.serve(&config).env("SHOP_TOKEN", "Bearer abc").start();
    let reload = || server.http.post(&server.at("v1/reload"), &[], b"");
    let refused = || {
        let conditions = server.pipeline()["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| one["name"] == "config_refused")
    };
    folder.write("tidewatch.toml", format!("{config}\ngap = 1\n"));
    assert_eq!(reload().status, 422);
    until(60, "the file is refused", || refused().then_some(()));
    place.put(&version(3));
    wait_rows(&server, 4);
    assert!(refused(), "rows that are taken say nothing of the file");
    // Nor does a server that answers nothing stand in the way of a sound file.
    place.spoil(4);
    until(60, "the rows are told to be old", || old(&server));
    let sound = config.replace("window = { tumbling = \"1h\" }", "window = { tumbling = \"30m\" }");
    folder.write("tidewatch.toml", sound);
    let answer = reload();
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    until(60, "nothing is refused", || (!refused()).then_some(()));
    wait_rows(&server, 4);
    // A lookup that is gone leaves nothing that stands for it.
    let (before, after) = config.split_once("[[lookup]]").unwrap();
    let rest = after.split_once("[[metric]]").unwrap().1;
    folder.write("tidewatch.toml", format!("{before}[[metric]]{rest}"));
    let answer = reload();
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    wait_current(&server);
}

#[test]
fn a_server_that_does_not_answer_holds_the_end_of_the_process_up_for_nothing() {
    let folder = Folder::default();
    let mut place = OverHttp::start();
    place.put(&version(0));
    let config = config(&place).replace("timeout = \"300ms\"", "timeout = \"5m\"");
    let mut server = folder.serve(&config).env("SHOP_TOKEN", "Bearer abc").start();
    place.0.set(Reply::Silence);
    until(60, "a request waits", || (place.0.silenced() > 0).then_some(()));
    assert_eq!(server.stop().code(), Some(0));
}
