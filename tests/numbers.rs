//! Shows that numbers come out as they went in: sums, means and deviations of tiny, huge and
//! near values, and what becomes of one that cannot be added up.
//!
//! How: replays small inputs made here and reads the report and the list of windows.

mod support;

use std::fs;

use serde_json::Value;
use support::Folder;

/// One metric over one hour, fed with `values` as they are written.
fn replay(aggregate: &str, values: &[&str]) -> (Value, f64) {
    let folder = Folder::default();
    let config = format!(
        "[[metric]]\nname = \"m\"\naggregate = \"{aggregate}\"\nfield = \"amount\"\n\
         window = {{ tumbling = \"1h\" }}\n"
    );
    let lines = values.iter().map(|value| {
        format!("{{\"ts\":1700002800000,\"type\":\"v\",\"user\":\"u\",\"amount\":{value}}}\n")
    });
    let events = folder.write("events.ndjson", lines.collect::<String>());
    let config = folder.write("tidewatch.toml", config);
    let out = folder.path("windows.csv").display().to_string();
    let run = folder
        .command(&["replay", &events, "--config", &config, "--json", "--windows-out", &out])
        .run();
    let report = run.json();
    let ledger = &report["ledger"];
    assert_eq!(ledger["applied"], values.len(), "{ledger}");
    assert_eq!(ledger["rejected"], 0, "{ledger}");
    let windows = fs::read_to_string(out).unwrap();
    let value = windows.lines().find_map(|line| line.strip_prefix("m,"));
    let value = value.and_then(|line| line.rsplit(',').next()).unwrap_or("NaN");
    let value = value.parse().unwrap();
    (report, value)
}

fn check(aggregate: &str, values: &[&str], want: f64) {
    let (_, value) = replay(aggregate, values);
    assert_eq!(value, want, "{aggregate} of {} values from {}", values.len(), values[0]);
}

#[test]
fn sums_are_those_of_the_numbers_as_written() {
    check("sum", &["1e-7", "4e-7"], 5e-7);
    check("sum", &["0.1", "0.2"], 0.3);
    check("sum", &["10000000000000", "1e13"], 2e13);
    check("sum", &["1e19", "1e-18", "-1e19"], 1e-18);
    check("sum", &["9223372036854775807", "-9223372036854775806"], 1.0);
    check("sum", &["18446744073709551615", "-9223372036854775808", "-9223372036854775806"], 1.0);
    check("avg", &["0.1"; 10], 0.1);
    check("avg", &["-1", "0", "0"], -1.0 / 3.0);
    check("min", &["1e300", "-1e-300", "5"], -1e-300);
    check("max", &["9007199254740993", "9007199254740992", "-1e300"], 9_007_199_254_740_992.0);
}

#[test]
fn deviations_are_right_for_huge_near_and_many_values() {
    let pairs = |a: &'static str, b: &'static str, times: usize| [a, b].repeat(times);
    check("stddev", &pairs("500000000000", "600000000000", 350), 5e10);
    check("stddev", &pairs("1000000000", "1000000001", 10_000), 0.5);
    check("stddev", &pairs("-100000000.1", "-100000000.2", 10_000), 0.05);
    check("stddev", &["9000000000000", "9000000000001", "9000000000002"], 0.816_496_580_927_726);
    check("stddev", &pairs("9e19", "-9e19", 100), 9e19);
    check("stddev", &["0.1"; 30], 0.0);
}

#[test]
fn a_number_that_cannot_be_added_up_costs_neither_its_event_nor_its_session() {
    let (report, value) = replay("sum", &["1e20", "2.5", "-1e300"]);
    assert_eq!(value, 2.5);
    assert_eq!(report["sessions"]["closed"], 1, "{report}");
}

/// Each run has a data folder of its own; keys lie on other shards when the number changes.
#[test]
fn two_runs_write_the_same_bytes_sketches_and_groups_included() {
    let folder = Folder::default();
    let config = "[[metric]]\nname = \"users\"\naggregate = \"distinct\"\nexact_up_to = 100\n\
         window = { tumbling = \"1h\" }\n\
         [[metric]]\nname = \"by_status\"\naggregate = \"count\"\ngroup_by = [\"status\"]\n\
         window = { tumbling = \"1m\" }\n";
    let config = folder.write("tidewatch.toml", config);
    let event = |n: i64| {
        format!(
            "{{\"ts\":{},\"type\":\"v\",\"user\":\"user-{n}\",\"status\":{}}}\n",
            1_700_002_800_000 + n * 100,
            400 + n % 7
        )
    };
    let events = folder.write("events.ndjson", (0..3_000).map(event).collect::<String>());
    let mut first = None;
    for shards in ["1", "1", "2", "2", "7"] {
        let out = folder.path("windows.csv").display().to_string();
        let run = folder
            .command(&["replay", &events, "--config", &config, "--shards", shards])
            .args(&["--json", "--windows-out", &out])
            .run();
        let wrote = (run.json()["metrics"].clone(), fs::read_to_string(&out).unwrap());
        let users = wrote.0["users"]["max"].as_f64().unwrap();
        assert!((users - 3_000.0).abs() < 3_000.0 * 0.04, "{users}");
        assert_eq!(first.get_or_insert(wrote.clone()), &wrote, "{shards} shards");
    }
}

/// Ten events for each of six regions, two of which are kept; one region is really called
/// "other", one holds what joins labels.
#[test]
fn the_first_groups_in_the_log_are_kept_for_any_number_of_shards() {
    let folder = Folder::default();
    let config = "[[metric]]\nname = \"g\"\naggregate = \"count\"\ngroup_by = [\"region\"]\n\
         group_limit = 2\nwindow = { tumbling = \"1m\" }\n\
         [[metric]]\nname = \"ended\"\nof = \"sessions\"\naggregate = \"count\"\n\
         group_by = [\"segment\"]\ngroup_limit = 2\nwindow = { tumbling = \"1h\" }\n";
    let config = folder.write("tidewatch.toml", config);
    let regions = ["other", "a|b", "r2", "r3", "r4", "r5"];
    let event = |n: usize| {
        let (at, region) = (1_699_920_000_000 + 100 * n, regions[n % 6]);
        format!("{{\"ts\":{at},\"type\":\"v\",\"user\":\"u{n}\",\"region\":\"{region}\"}}\n")
    };
    let events = folder.write("events.ndjson", (0..60).map(event).collect::<String>());
    for shards in ["1", "2", "3", "4", "5", "8"] {
        for batch in ["1", "7", "4096"] {
            let run = folder.command(&["replay", &events, "--config", &config, "--json"]);
            let report = run.args(&["--shards", shards, "--batch", batch]).run().json();
            let what = format!("{shards} shards, batches of {batch}");
            for metric in ["g", "ended"] {
                let found = &report["metrics"][metric];
                let want = serde_json::json!({ "\\other": 10.0, "a\\|b": 10.0, "other": 40.0 });
                assert_eq!(found["by_group"], want, "{metric}: {what}");
                assert_eq!(found["other_groups"], 40, "{metric}: {what}");
            }
        }
    }
}

/// A host an hour, and ten places: each has the place of one that was silent for two hours.
#[test]
fn groups_that_fall_silent_leave_their_place_to_others() {
    let folder = Folder::default();
    let config = "[[metric]]\nname = \"g\"\naggregate = \"count\"\ngroup_by = [\"host\"]\n\
         group_limit = 10\ngroup_silence = \"2h\"\nwindow = { tumbling = \"1m\" }\n";
    let config = folder.write("tidewatch.toml", config);
    let event = |n: usize| {
        let (at, host) = (1_699_920_000_000 + 720_000 * n, n / 5);
        format!("{{\"ts\":{at},\"type\":\"v\",\"host\":\"h{host}\"}}\n")
    };
    let events = folder.write("events.ndjson", (0..100).map(event).collect::<String>());
    let want: serde_json::Value =
        (0..20).map(|n| (format!("h{n}"), serde_json::json!(5.0))).collect();
    for (shards, batch) in [("1", "1"), ("2", "7"), ("5", "4096")] {
        let run = folder.command(&["replay", &events, "--config", &config, "--json"]);
        let report = run.args(&["--shards", shards, "--batch", batch]).run().json();
        let found = &report["metrics"]["g"];
        assert_eq!(found["by_group"], want, "{shards} shards, batches of {batch}");
        assert_eq!(found["groups_left"], 17, "{shards} shards, batches of {batch}");
        assert_eq!(found["other_groups"], serde_json::Value::Null);
    }
}
