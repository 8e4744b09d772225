//! Shows that events get the columns of a table by one of their attributes: the same for any number of
//! shards, with what is not in the table counted; that a table that has changed is taken while the
//! process runs, from a commit on, over kill -9; and that a bad one changes nothing and says why.
//!
//! How: the real binary and a CSV file that is written anew. The oracle is a plain count.

mod support;

use std::collections::BTreeMap;

use serde_json::json;

use support::events::Random;
use support::{Folder, HOLD, Poster, Server, until};

const START: i64 = 1_700_000_000_000;
const DAY: i64 = 86_400_000;

fn config(folder: &Folder) -> String {
    let file = folder.path("products.csv").display().to_string();
    format!(
        r#"{HOLD}
[pipeline]
commit_interval = "20ms"
tick = "100ms"
[events.derived]
margin = "amount - cost"
[[lookup]]
name = "products"
file = {file:?}
key = "sku"
column = "id"
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
    let rows: String = (0..7).map(|sku| format!("{},{sku},{sku}.5\n", kind(sku))).collect();
    folder.write("products.csv", format!("kind,id,unit cost\n{rows}"));
    folder.write("tidewatch.toml", config(&folder));
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
    let config = folder.path("tidewatch.toml").display().to_string();
    let mut first = None;
    for (shards, batch) in [("1", "1"), ("3", "64"), ("8", "4096")] {
        let windows = folder.path("windows.csv");
        let run = folder
            .command(&["replay", &file, "--json", "--config", &config])
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
        assert_eq!(*first.get_or_insert(text.clone()), text, "shards change nothing");
    }
}

/// A table whose rows say which one it is; it has as many of them more.
fn version(folder: &Folder, number: usize) {
    let more: String = (0..number).map(|row| format!("v{number},more{row},1\n")).collect();
    folder.write("products.csv", format!("kind,id,unit cost\nv{number},a,1\n{more}"));
}

fn wait_rows(server: &Server, rows: usize) {
    let line = format!("tidewatch_lookup_rows{{lookup=\"products\"}} {rows}\n");
    until(60, "the table is taken", || {
        let text = server.http.get(&server.at("metrics")).body;
        String::from_utf8_lossy(&text).contains(&line).then_some(())
    });
}

fn refusal(server: &Server) -> Option<String> {
    let conditions = server.pipeline()["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|one| one["name"] == "config_refused");
    found.map(|one| one.to_string())
}

#[test]
fn a_table_that_changes_is_taken_from_a_commit_on_and_a_bad_one_changes_nothing() {
    let mut random = Random::seeded("lookups_live");
    let folder = Folder::default();
    version(&folder, 0);
    let config = config(&folder);
    let mut server = folder.serve(&config).start();
    let (mut sent, mut wanted) = (0u64, BTreeMap::<String, u64>::new());
    for number in 0..8 {
        version(&folder, number);
        wait_rows(&server, number + 1);
        for _ in 0..1 + random.below(3) {
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
            if random.one_in(2) {
                server.kill_9();
                server = folder.serve(&config).start();
            }
        }
        server.wait_settled(sent);
        if number == 4 {
            folder.write("products.csv", "kind,id,unit cost\nx,a,1\ny,a,1\n");
            let says = until(60, "it is refused", || refusal(&server));
            assert!(says.contains("has id \\\"a\\\" a second time in line 3"), "{says}");
            wait_rows(&server, number + 1);
            version(&folder, 99);
            wait_rows(&server, 100);
            until(60, "nothing is refused", || refusal(&server).is_none().then_some(()));
        }
    }
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
}
