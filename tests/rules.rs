//! Shows when a rule makes an incident and when it is over, and that numbers of windows without
//! events are not those of the last window that had some.
//!
//! How: the real binary over small series made up here, through a replay or over HTTP; incidents are
//! counted in the report and read from their log.

mod support;

use serde_json::{Value, json};

use support::events::{Event, Random};
use support::{Folder, HOLD, Poster, Server, until};

/// A midnight of UTC, 2023-11-14.
const START: i64 = 1_699_920_000_000;
const WINDOW: i64 = 10_000;

/// Events of a type, so many in each window of ten seconds; a visitor in every window keeps time
/// going.
fn series(kind: &str, counts: &[usize]) -> Vec<Event> {
    let mut events = Vec::new();
    for (index, count) in counts.iter().enumerate() {
        let at = START + index as i64 * WINDOW;
        events.push(Event::new(format!("v{index}"), at, "page_view", format!("v{index}")));
        events.extend((0..*count).map(|n| {
            let (id, user) = (format!("e{index}-{n}"), format!("u{}", n % 7));
            Event::new(id, at + 1 + n as i64 % 9_000, kind, user)
        }));
    }
    events
}

/// Incidents and those of them that are over, in the report of a replay.
fn incidents(config: &str, events: &[Event]) -> (u64, u64) {
    let folder = Folder::default();
    let text: String = events.iter().map(|event| event.line() + "\n").collect();
    let file = folder.write("events.ndjson", text);
    let config = folder.write("rule.toml", config);
    let run = folder.command(&["replay", &file, "--json", "--config", &config]).run();
    let report = run.json();
    assert_eq!(report["ledger"]["applied"], events.len(), "{report}");
    // Carts are no part of these series, and what rules say is no occurrence.
    assert_eq!((&report["sessions"]["abandoned"], &report["occurrences"]), (&json!(0), &json!(0)));
    (report["incidents"].as_u64().unwrap(), report["incidents_over"].as_u64().unwrap())
}

/// `quiet` windows of one count, then those of `then`.
fn after(quiet: usize, count: usize, then: &[usize]) -> Vec<usize> {
    let mut counts = vec![count; quiet];
    counts.extend(then);
    counts
}

#[test]
fn a_threshold_is_a_line_from_the_first_window_on() {
    let config = "[[metric]]\nname = \"m\"\nwhere = { type = \"failed\" }\naggregate = \"count\"\n\
                  window = { tumbling = \"10s\" }\n\
                  [[rule]]\nname = \"r\"\nmetric = \"m\"\ndetect = \"threshold\"\nlimit = 50\n\
                  for = \"20s\"\ncooldown = \"20s\"\n";
    // One window alone is too short; what is usual makes no difference.
    let counts = [0, 60, 0, 50, 60, 60, 70, 0, 60, 0, 0, 60, 0];
    assert_eq!(incidents(config, &series("failed", &counts)), (1, 1));
    assert_eq!(incidents(config, &series("failed", &[51; 60])), (1, 0));
}

/// A rule over the failures of ten seconds.
fn failures(keys: &str) -> String {
    format!(
        "[[metric]]\nname = \"m\"\nwhere = {{ type = \"failed\" }}\naggregate = \"count\"\n\
         window = {{ tumbling = \"10s\" }}\n[[rule]]\nname = \"r\"\nmetric = \"m\"\n{keys}\n"
    )
}

#[test]
fn the_median_judges_zeros_constants_and_few_events() {
    let robust = failures("detect = \"robust\"\ncooldown = \"1m\"");
    for (count, flood) in [(0, 400), (1, 400), (7, 450), (0, 11)] {
        let counts = after(150, count, &[flood, flood, count, count]);
        assert_eq!(incidents(&robust, &series("failed", &counts)).0, 1, "{count}");
    }
    for counts in [
        after(150, 0, &[4, 0, 9, 0]),
        after(150, 1, &[6, 1, 0, 3]),
        after(150, 0, &[]),
        after(29, 0, &[400]),
    ] {
        assert_eq!(incidents(&robust, &series("failed", &counts)), (0, 0), "{counts:?}");
    }
}

#[test]
fn a_change_is_judged_against_the_window_of_some_time_ago() {
    let change = failures("detect = \"rate_of_change\"\nago = \"1m\"\npercent = 100");
    // Rising slowly is none; few events change by any percent.
    let slowly: Vec<usize> = (0..60).map(|index| 20 + index).collect();
    for (counts, wanted) in
        [(slowly, 0), (after(30, 20, &[60, 60, 60]), 1), (after(30, 1, &[3, 3, 3]), 0)]
    {
        assert_eq!(incidents(&change, &series("failed", &counts)).0, wanted, "{counts:?}");
    }
}

/// Silence is noticed while it lasts; what a verdict says is in the log; what a rule still has to
/// learn is said.
#[test]
fn silence_is_an_incident_by_the_watermark_and_verdicts_say_what_was_expected() {
    let rules = failures("detect = \"absence\"\nfor = \"1m\"\nseverity = \"critical\"")
        + "[[rule]]\nname = \"usual\"\ntitle = \"Failures\"\nmetric = \"m\"\ndetect = \"robust\"\n\
           side = \"both\"\n";
    let folder = Folder::default();
    let server = folder.serve(&format!("{HOLD}{rules}")).start();
    let note = || {
        let about = server.get("v1/board")["topics"]["usual"]["about"].clone();
        about["note"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(note(), "of m, learning: 0 of 30 samples");
    let counts = [&[25; 40][..], &[90], &[25; 3], &[0; 12]].concat();
    let events = series("failed", &counts);
    let lines: Vec<String> = events.iter().map(Event::line).collect();
    Poster::new(server.target()).post(&lines);
    server.wait_settled(lines.len() as u64);
    let of = |rule: &str| {
        until(30, "it is in the log", || {
            let log = server.all("v1/incident-log");
            log.into_iter().find(|line| line["rule"] == rule)
        })
    };
    // The silence goes on: nothing of the type came after it.
    let silent = of("r");
    assert_eq!(silent["at"], START + 50 * WINDOW, "{silent}");
    assert_eq!((&silent["what"], &silent["severity"]), (&json!("fired"), &json!("critical")));
    assert_eq!(silent["says"], "R: nothing for 1 min");
    let detail = &silent["detail"];
    assert_eq!((&detail["since"], &detail["far"]), (&json!(START + 44 * WINDOW), &json!(60.0)));
    let spike = of("usual");
    assert_eq!(spike["at"], START + 41 * WINDOW, "{spike}");
    let detail = &spike["detail"];
    for (name, wanted) in [
        ("rule", json!("usual")),
        ("metric", json!("m")),
        ("value", json!(90.0)),
        ("expected", json!(25.0)),
        ("since", json!(START + 40 * WINDOW)),
        ("measure", json!("deviations")),
    ] {
        assert_eq!(detail[name], wanted, "{name} of {spike}");
    }
    let number = |name: &str| detail[name].as_f64().unwrap();
    assert!(number("low") < 25.0 && number("high") > 25.0 && number("high") < 90.0, "{spike}");
    let times = (90.0 - 25.0) / (number("high") - 25.0) * 6.0;
    assert!((number("far") / times - 1.0).abs() < 1e-3, "{spike}");
    assert_eq!(server.all("v1/alerts"), [] as [Value; 0], "the feed is of occurrences alone");
    assert_eq!(note(), "of m");
}

/// Failures by region: so many of each in each window of ten seconds.
fn by_region(windows: &[&[(&str, usize)]]) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, regions) in windows.iter().enumerate() {
        let at = START + index as i64 * WINDOW;
        lines.push(Event::new(format!("v{index}"), at, "page_view", "v").line());
        for (region, count) in *regions {
            lines.extend((0..*count).map(|n| {
                let id = format!("{region}{index}-{n}");
                let mut event = Event::new(id, at + 1 + n as i64, "failed", format!("u{n}"));
                event.more.insert("region".into(), json!(region));
                event.line()
            }));
        }
    }
    lines
}

/// The log of incidents of a server that was sent these, once no more comes.
fn log(config: &str, lines: &[String]) -> Vec<Value> {
    let folder = Folder::default();
    let server = folder.serve(&format!("{HOLD}{config}")).start();
    Poster::new(server.target()).post(lines);
    server.wait_settled(lines.len() as u64);
    server.all("v1/incident-log")
}

const BY_REGION: &str = "[[metric]]\nname = \"by_region\"\nwhere = { type = \"failed\" }\n\
    aggregate = \"count\"\ngroup_by = [\"region\"]\nwindow = { tumbling = \"10s\" }\n";

#[test]
fn each_group_of_a_metric_is_watched_on_its_own() {
    let config = format!(
        "{BY_REGION}[[rule]]\nname = \"r\"\nmetric = \"by_region\"\ndetect = \"robust\"\n\
         [[rule]]\nname = \"gone\"\nmetric = \"by_region\"\ndetect = \"absence\"\nfor = \"1m\"\n\
         [[rule]]\nname = \"first\"\nmetric = \"by_region\"\ndetect = \"threshold\"\nlimit = 9\n\
         groups_max = 1\n"
    );
    let mut windows: Vec<&[(&str, usize)]> = vec![&[("eu", 5), ("us", 40)]; 60];
    // One jumps, and one that was never seen comes with many; then one falls silent.
    windows.extend([&[("eu", 60), ("us", 40)][..], &[("eu", 5), ("us", 40), ("asia", 90)]]);
    windows.extend([&[("us", 40), ("asia", 90)][..]; 12]);
    let lines = by_region(&windows);
    let folder = Folder::default();
    let server = folder.serve(&format!("{HOLD}{config}")).start();
    Poster::new(server.target()).post(&lines);
    server.wait_settled(lines.len() as u64);
    let log = server.all("v1/incident-log");
    let said: Vec<(&str, &str, i64)> = log
        .iter()
        .filter(|line| line["what"] == "fired")
        .map(|line| {
            let at = line["at"].as_i64().unwrap() - START;
            (line["rule"].as_str().unwrap(), line["group"]["region"].as_str().unwrap(), at / WINDOW)
        })
        .collect();
    assert_eq!(said, [("r", "eu", 61), ("first", "eu", 61), ("gone", "eu", 68)], "{log:#?}");
    let of_r = log.iter().find(|line| line["rule"] == "r").unwrap();
    let says = of_r["says"].as_str().unwrap();
    assert!(says.starts_with("R (eu): 60.00, expected at most "), "{says}");
    assert_eq!(of_r["detail"]["group"], json!({"region": "eu"}));
    let note = |rule: &str| {
        let board = server.get("v1/board");
        board["topics"][rule]["about"]["note"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(note("gone"), "of by_region: eu, 1 of 3 groups stand out");
    assert_eq!(note("r"), "of by_region: eu, 1 of 3 groups stand out, 1 learning");
    let left = "of by_region: eu, 1 of 1 groups stand out, 2 more are not watched: groups_max";
    assert_eq!(note("first"), left);
}

/// An incident of a group that leaves while it holds would hold for ever.
#[test]
fn an_incident_is_over_when_its_group_leaves() {
    let config = format!(
        "{BY_REGION}keep = \"1m\"\ngroup_silence = \"10m\"\n[[rule]]\nname = \"r\"\n\
         metric = \"by_region\"\ndetect = \"threshold\"\nlimit = 9\ncooldown = \"1d\"\n"
    );
    let mut windows: Vec<&[(&str, usize)]> = vec![&[("eu", 20), ("us", 5)]];
    windows.extend([&[("us", 5)][..]; 100]);
    let log = log(&config, &by_region(&windows));
    let [fired, over] = &log[..] else { panic!("{log:#?}") };
    assert_eq!((&fired["what"], &over["what"]), (&json!("fired"), &json!("resolved")));
    assert_eq!((&fired["group"], &over["incident"]), (&over["group"], &fired["incident"]));
    assert_eq!(over["says"], "R (eu) is over: the group has left after 0.2 min");
}

#[test]
fn an_incident_names_the_groups_that_moved_most() {
    let rule = |more: &str| {
        format!(
            "{}{BY_REGION}{more}",
            failures(
                "detect = \"threshold\"\nlimit = 50\ncooldown = \"1m\"\nwhy = [\"by_region\"]"
            )
        )
    };
    let mut windows: Vec<&[(&str, usize)]> = vec![&[("eu", 5), ("us", 10), ("asia", 3)]; 40];
    windows.extend([&[("eu", 60), ("us", 12), ("asia", 1)][..], &[("eu", 5)]]);
    windows.extend([&[("eu", 5)][..]; 5]);
    let log = log(&rule(""), &by_region(&windows));
    let [fired] = &log[..] else { panic!("{log:#?}") };
    let share = |moved: f64| json!(moved / 57.0);
    assert_eq!(
        fired["detail"]["why"],
        json!([{"metric": "by_region", "groups": [
            {"group": {"region": "eu"}, "value": 60.0, "usual": 5.0, "share": share(55.0)},
            {"group": {"region": "us"}, "value": 12.0, "usual": 10.0, "share": share(2.0)},
        ]}])
    );
    assert_eq!(fired["says"], "R: 73.00, expected at most 50.00, mostly eu (96 %)");
}

/// Rules of groups, and what they say of why, over random logs: however many shards there are, and
/// however many events a batch and a commit.
#[test]
fn rules_of_groups_are_a_function_of_the_log() {
    let mut random = Random::seeded("rules_of_groups_are_a_function_of_the_log");
    let regions = ["eu", "us", "asia", "af"];
    let levels: Vec<Vec<(&str, usize)>> = (0..120)
        .map(|_| {
            let spike = |random: &mut Random| match random.below(12) {
                0 => 30,
                1 => 0,
                _ => 2 + random.below(3) as usize,
            };
            let count = 2 + random.below(3) as usize;
            regions[..count].iter().map(|region| (*region, spike(&mut random))).collect()
        })
        .collect();
    let windows: Vec<&[(&str, usize)]> = levels.iter().map(Vec::as_slice).collect();
    let lines = by_region(&windows);
    let rules = format!(
        "{}{BY_REGION}[[rule]]\nname = \"each\"\nmetric = \"by_region\"\ndetect = \"robust\"\n\
         cooldown = \"20s\"\n[[rule]]\nname = \"gone\"\nmetric = \"by_region\"\n\
         detect = \"absence\"\nfor = \"20s\"\n",
        failures("detect = \"threshold\"\nlimit = 20\ncooldown = \"10s\"\nwhy = [\"by_region\"]")
    );
    let mut answers =
        [(1, 1, 5), (2, 7, 100_000), (4, 4_096, 600)].map(|(shards, batch, commit)| {
            let pipeline = format!(
                "[pipeline]\nshards = {shards}\nbatch_max = {batch}\ncommit_events = {commit}\n"
            );
            let mut log = log(&format!("{pipeline}{rules}"), &lines);
            // Of the same time, groups are in the order in which they were found.
            log.iter_mut().for_each(|line| line["n"] = Value::Null);
            log.sort_by_key(Value::to_string);
            log
        });
    assert!(answers[0].len() > 20, "{}", answers[0].len());
    let [one, others @ ..] = &mut answers;
    others.iter().for_each(|other| assert_eq!(one, other));
}

#[test]
fn a_history_without_deviation_is_judged_by() {
    // The shipped rule: no failure before, one in each window, or one only, then a flood.
    let one_early = [&[0, 1][..], &[0; 148], &[400, 400, 0]].concat();
    for counts in [
        after(150, 0, &[400, 400, 0, 0]),
        after(150, 1, &[400, 400, 1, 1]),
        after(150, 7, &[450, 450, 7, 7]),
        one_early,
    ] {
        let events = series("payment_failed", &counts);
        assert_eq!(incidents("", &events).0, 1, "{counts:?}");
    }
    // What varies by itself, or is too little to speak of, is not an alert.
    for counts in [
        after(150, 0, &[4, 4, 0, 0]),
        after(150, 1, &[2, 1, 2, 0]),
        after(150, 0, &[]),
        after(150, 9, &[]),
        after(29, 0, &[400]),
    ] {
        let events = series("payment_failed", &counts);
        assert_eq!(incidents("", &events), (0, 0), "{counts:?}");
    }
}

/// The same of other aggregates and of the other side.
#[test]
fn a_constant_of_any_kind_stands_out_when_it_changes() {
    let rule = |aggregate: &str, side: &str, more: &str| {
        format!(
            "[[metric]]\nname = \"m\"\ntitle = \"M\"\naggregate = \"{aggregate}\"\n{more}\
             where = {{ type = \"sale\" }}\nwindow = {{ tumbling = \"10s\" }}\nkeep = \"15m\"\n\
             [[rule]]\nname = \"r\"\ntitle = \"R\"\nmetric = \"m\"\nk = 3\nover = \"10m\"\n\
             samples_min = 30\nside = \"{side}\"\nseverity = \"warning\"\n"
        )
    };
    let amount = "field = \"amount\"\n";
    let flat = |count, amount| vec![(count, amount); 60];
    let then = |mut flat: Vec<(usize, f64)>, next| {
        flat.extend([next; 2]);
        flat
    };
    for (config, history, next) in [
        (rule("sum", "above", amount), flat(1, 10.0), (1, 30.0)),
        (rule("avg", "above", amount), flat(2, 9.99), (2, 19.99)),
        (rule("avg", "below", amount), flat(2, 9.99), (2, 0.5)),
        (rule("max", "above", amount), flat(1, 0.1), (1, 0.4)),
        (rule("distinct", "above", ""), flat(0, 1.0), (7, 1.0)),
        (rule("count", "below", ""), flat(3, 1.0), (0, 1.0)),
    ] {
        assert_eq!(incidents(&config, &sales(&history)), (0, 0), "{config}");
        assert_eq!(incidents(&config, &sales(&then(history, next))).0, 1, "{config}");
    }
}

/// Sales by window: how many, and what each of them is worth.
fn sales(amounts: &[(usize, f64)]) -> Vec<Event> {
    let counts: Vec<usize> = amounts.iter().map(|(count, _)| *count).collect();
    let mut events = series("sale", &counts);
    for event in events.iter_mut().filter(|event| event.kind == "sale") {
        let amount = amounts[((event.at - START) / WINDOW) as usize].1;
        event.more.insert("amount".into(), json!(amount));
        event.more.insert("region".into(), json!("eu"));
    }
    events
}

/// Histories that say nothing of how far a number strays: zeros, one number again and again, some
/// windows without any; a ratio that was always 0. Each is judged, by whatever learns, of a metric
/// and of a group beside others; and what chance brings is none.
#[test]
fn a_history_that_never_strayed_is_judged_by_sigma_and_robust_and_for_each_group() {
    let learns = ["detect = \"sigma\"", "detect = \"robust\""];
    let count = "aggregate = \"count\"";
    let [avg, sum, max] =
        ["avg", "sum", "max"].map(|name| format!("aggregate = \"{name}\"\nfield = \"amount\""));
    let flat = |count: usize, amount: f64| vec![(count, amount); 120];
    // Every other window has no number.
    let gaps: Vec<(usize, f64)> = (0..120).map(|n| (n % 2, 5.0)).collect();
    let cases = [
        (count, flat(0, 0.0), (400, 0.0), 1),
        (count, flat(0, 0.0), (1, 0.0), 0),
        (count, flat(1, 0.0), (400, 0.0), 1),
        (count, flat(5, 0.0), (6, 0.0), 0),
        (&*avg, flat(2, 5.0), (2, 6.0), 1),
        (&*avg, flat(2, 5.0), (2, 5.0), 0),
        (&*max, flat(1, 0.1), (1, 0.3), 1),
        (&*avg, flat(3, 19.99), (3, 19.99), 0),
        (&*sum, flat(1, 0.0), (1, 1.0), 1),
        (&*avg, gaps.clone(), (1, 50.0), 1),
        (&*avg, gaps, (1, 5.0), 0),
        // Nothing is known yet.
        (&*avg, flat(0, 0.0), (1, 50.0), 0),
    ];
    for (what, history, next, wanted) in &cases {
        for learns in learns {
            let amounts = [&history[..], &[*next, *next], &history[..12]].concat();
            let rule = format!("[[rule]]\nname = \"r\"\nmetric = \"m\"\n{learns}\n");
            let metric = format!(
                "[[metric]]\nname = \"m\"\n{what}\nwhere = {{ type = \"sale\" }}\n\
                 window = {{ tumbling = \"10s\" }}\n"
            );
            let raised = incidents(&format!("{metric}{rule}"), &sales(&amounts)).0;
            assert_eq!(raised, *wanted, "{what} {learns}: {:?} then {next:?}", history[1]);
            // The group has its first number at once; another one goes on as ever.
            let mut amounts = amounts;
            let is_known = history.iter().any(|(count, _)| *count > 0) || *what == count;
            amounts[0].0 = amounts[0].0.max(usize::from(is_known));
            let mut events = sales(&amounts);
            let others: Vec<Event> = sales(&vec![(3, 7.5); amounts.len()]);
            events.extend(others.into_iter().filter(|event| event.kind == "sale").map(|event| {
                let id = format!("us-{}", event.id);
                let mut event = Event { id, ..event };
                event.more.insert("region".into(), json!("us"));
                event
            }));
            events.sort_by_key(|event| event.at);
            let config = format!("{metric}group_by = [\"region\"]\n{rule}");
            let raised = incidents(&config, &events).0;
            assert_eq!(
                raised, *wanted,
                "each group: {what} {learns}: {:?} then {next:?}",
                history[1]
            );
        }
    }
}

/// A share that was always 0, and one that was always 1.
#[test]
fn a_ratio_that_never_strayed_is_judged() {
    for (what, usual, next) in [("bad / all", 0, 4), ("1 - bad / all", 0, 4), ("bad / all", 5, 1)] {
        for (side, learns) in [("both", "sigma"), ("both", "robust")] {
            let config = format!(
                "[[metric]]\nname = \"bad\"\nwhere = {{ type = \"failed\" }}\naggregate = \"count\"\n\
                 window = {{ tumbling = \"10s\" }}\n[[metric]]\nname = \"all\"\naggregate = \"count\"\n\
                 where = {{ type = [\"failed\", \"fine\"] }}\nwindow = {{ tumbling = \"10s\" }}\n\
                 [[metric]]\nname = \"m\"\nformula = \"{what}\"\nunit = \"ratio\"\n\
                 [[rule]]\nname = \"r\"\nmetric = \"m\"\nside = \"{side}\"\ndetect = \"{learns}\"\n"
            );
            let bad = after(120, usual, &[next, next, usual, usual]);
            let mut events = series("failed", &bad);
            let fine: Vec<usize> = bad.iter().map(|bad| 5 - bad).collect();
            events.extend(
                series("fine", &fine)
                    .into_iter()
                    .filter(|one| one.kind == "fine")
                    .map(|event| Event { id: format!("f{}", event.id), ..event }),
            );
            events.sort_by_key(|event| event.at);
            assert_eq!(incidents(&config, &events).0, 1, "{what} {learns} from {usual} to {next}");
        }
    }
}

#[test]
fn what_flaps_is_one_incident_and_one_end() {
    for (high, low) in [(20, 1), (60, 0), (35, 2)] {
        let mut counts: Vec<usize> = (0..100).map(|index| index % 2).collect();
        counts.extend([high, low, high, low, high, low, high, low, high, low, high, low]);
        counts.extend((0..60).map(|index| index % 2));
        let events = series("payment_failed", &counts);
        assert_eq!(incidents("", &events), (1, 1), "{high}, {low}");

        let folder = Folder::default();
        let server = folder.serve(HOLD).start();
        let lines: Vec<String> = events.iter().map(Event::line).collect();
        Poster::new(server.target()).post(&lines);
        server.wait_settled(lines.len() as u64);
        let log = until(30, "both are in the log", || {
            let log = server.all("v1/incident-log");
            (log.len() >= 2).then_some(log)
        });
        let [fired, over] = &log[..] else { panic!("{log:#?}") };
        assert_eq!((&fired["what"], &over["what"]), (&json!("fired"), &json!("resolved")));
        assert_eq!(fired["at"], START + 101 * WINDOW, "{fired}");
        assert_eq!(fired["rule"], "failed_payments_spike");
        assert_eq!(over["incident"], fired["incident"], "{over}");
        assert_eq!(over["detail"]["peak"].as_f64(), Some(high as f64), "{over}");
        assert!(over["at"].as_i64() > Some(START + 112 * WINDOW), "{over}");
    }
}

/// One value of `/metrics`, if it is there.
fn gauge(server: &Server, name: &str) -> Option<f64> {
    let text = String::from_utf8(server.http.get(&server.at("metrics")).body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")))?;
    Some(line.parse().unwrap_or_else(|_| panic!("{line}")))
}

/// As soon as a window without events is provisional it is 0 of what can be nothing, and has no
/// value of the rest, everywhere.
#[test]
fn nothing_of_a_window_with_events_is_shown_of_one_without() {
    let metric = |name: &str, aggregate: &str, window: &str| {
        let field = match aggregate {
            "count" | "rate" | "distinct" => "",
            _ => "field = \"amount\"\n",
        };
        format!(
            "[[metric]]\nname = \"{name}\"\ntitle = \"{name}\"\naggregate = \"{aggregate}\"\n\
             {field}where = {{ type = \"sale\" }}\nwindow = {window}\nkeep = \"1h\"\n"
        )
    };
    let (long, short) = ("{ hopping = \"5m\", slide = \"30s\" }", "{ tumbling = \"1m\" }");
    let zeros = ["count", "sum", "rate", "distinct"];
    let nulls = ["avg", "min", "max", "stddev"];
    let mut config = HOLD.to_owned();
    for aggregate in zeros.iter().chain(&nulls) {
        config += &metric(&format!("long_{aggregate}"), aggregate, long);
        config += &metric(&format!("short_{aggregate}"), aggregate, short);
    }
    let folder = Folder::default();
    let server = folder.serve(&config).start();
    let mut received = 0;
    let mut at = |at: i64, kind: &str| {
        received += 1;
        let mut event = Event::new(format!("s{received}"), START + at, kind, "u");
        event.more.insert("amount".into(), json!(10));
        Poster::new(server.target()).post(&[event.line()]);
        server.wait_settled(received);
    };
    let shows = |what: &str, prefix: &str, value: &dyn Fn(&str) -> Value| {
        until(30, what, || {
            let board = server.get("v1/board")["topics"]["kpi"]["d"].clone();
            zeros
                .iter()
                .chain(&nulls)
                .all(|aggregate| {
                    let (name, value) = (format!("{prefix}_{aggregate}"), value(aggregate));
                    let exported = gauge(&server, &format!("tidewatch_metric_{name}"));
                    // A strip without a number and a gauge that is not exported say "no value".
                    let shown = board.get(&name).cloned().unwrap_or_default();
                    shown.as_f64() == value.as_f64()
                        && exported.filter(|number| !number.is_nan()) == value.as_f64()
                })
                .then_some(())
        });
    };
    let empty = |aggregate: &str| if zeros.contains(&aggregate) { json!(0) } else { Value::Null };
    let one = |seconds: f64| {
        move |aggregate: &str| match aggregate {
            "count" | "distinct" => json!(1),
            "rate" => json!(1.0 / seconds),
            "stddev" => json!(0),
            _ => json!(10),
        }
    };
    at(5_000, "sale");
    // A window is provisional when it has ended; time is behind the newest event.
    at(75_000, "tick");
    shows("the sale is in the minute", "short", &one(60.0));
    shows("the sale is in the five minutes", "long", &one(300.0));
    at(2 * 60_000 + 10_000, "tick");
    shows("the minute is empty", "short", &empty);
    shows("the five minutes are not", "long", &one(300.0));
    at(4 * 60_000 + 10_000, "tick");
    shows("the five minutes are not yet", "long", &one(300.0));
    at(6 * 60_000 + 10_000, "tick");
    shows("the five minutes are empty", "long", &empty);
    at(90 * 60_000, "tick");
    shows("and stay so", "long", &empty);
    at(90 * 60_000 + 1_000, "sale");
    at(90 * 60_000 + 75_000, "tick");
    shows("until there is a sale again", "short", &one(60.0));
    shows("in all windows", "long", &one(300.0));
}
