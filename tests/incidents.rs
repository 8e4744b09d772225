//! Shows that an incident begins and ends once and that what people say of it is kept, over kill -9 at
//! any moment: the real binary over HTTP.

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use support::events::{Event, GAP, Random};
use support::{Folder, HOLD, Poster, Server, until};

/// A midnight of UTC, 2023-11-14.
const START: i64 = 1_699_920_000_000;
const WINDOW: i64 = 10_000;

const CONFIG: &str = "[[metric]]\nname = \"failed\"\nwhere = { type = \"failed\" }\n\
    aggregate = \"count\"\ngroup_by = [\"region\"]\nwindow = { tumbling = \"10s\" }\n\
    [[rule]]\nname = \"failures\"\nmetric = \"failed\"\ndetect = \"threshold\"\nlimit = 3\n\
    cooldown = \"20s\"\nseverity = \"critical\"\nrunbook = \"https://wiki.example.com/failed\"\n";

fn config() -> String {
    format!("{HOLD}out_of_orderness = \"1s\"\nallowed_lateness = \"1s\"\n{CONFIG}")
}

/// So many failures of a region in a window; a visitor in every window keeps time going.
fn lines(windows: &[(usize, &str, usize)]) -> Vec<String> {
    let of = |(window, region, count): &(usize, &str, usize)| {
        let at = START + *window as i64 * WINDOW;
        let visitor = Event::new(format!("v{window}"), at, "page_view", format!("v{window}"));
        let failed = (0..*count).map(|n| {
            let mut event: Value = serde_json::from_str(
                &Event::new(format!("{region}{window}-{n}"), at + 1 + n as i64, "failed", "u")
                    .line(),
            )
            .unwrap();
            event["region"] = (*region).into();
            event.to_string()
        });
        failed.chain([visitor.line()]).collect::<Vec<_>>()
    };
    windows.iter().flat_map(of).collect()
}

fn post(server: &Server, windows: &[(usize, &str, usize)], received: &mut u64) {
    let lines = lines(windows);
    Poster::new(server.target()).post(&lines);
    *received += lines.len() as u64;
    server.wait_settled(*received);
}

fn incidents(server: &Server, state: &str) -> Vec<Value> {
    let page = server.get(&format!("v1/incidents?state={state}"));
    page["items"].as_array().unwrap().clone()
}

fn say(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let answer = server.http.post_json(&server.at(path), body);
    let said = if answer.body.is_empty() { Value::Null } else { answer.json() };
    (answer.status, said)
}

#[test]
fn an_incident_holds_over_a_kill_and_what_was_said_of_it_too() {
    let folder = Folder::default();
    let mut server = folder.serve(&config()).start();
    let mut received = 0;
    post(&server, &[(0, "eu", 9), (1, "eu", 9), (3, "", 0)], &mut received);
    let one = until(30, "it is there", || incidents(&server, "open").pop());
    assert_eq!((&one["phase"], &one["group"]), (&json!("firing"), &json!({"region": "eu"})));
    assert_eq!((&one["fired"], &one["rule"]), (&json!(START + WINDOW), &json!("failures")));
    assert_eq!(one["runbook"], "https://wiki.example.com/failed");
    assert_eq!((&one["detail"]["value"], &one["detail"]["far"]), (&json!(9.0), &json!(6.0)));
    let id = one["id"].as_str().unwrap().to_owned();

    let ack = format!("v1/incidents/{id}/acknowledge");
    let (status, said) = say(&server, &ack, &json!({"by": "ada", "note": "on it"}));
    assert_eq!((status, &said["phase"]), (200, &json!("acknowledged")));
    let silence = json!({
        "matching": "region == \"us\" && severity == \"critical\"",
        "until": "2023-11-15T12:00:00Z", "by": "bob", "reason": "they deploy",
    });
    let (status, made) = say(&server, "v1/silences", &silence);
    assert_eq!(status, 201, "{made}");
    server.kill_9();

    let mut server = folder.serve(&config()).start();
    let kept = incidents(&server, "open");
    assert_eq!((kept.len(), &kept[0]["id"]), (1, &json!(id)));
    assert_eq!(kept[0]["acknowledged"]["by"], "ada");
    assert_eq!(server.get("v1/silences")["items"][0]["id"], made["id"]);

    // Another region, which is silenced; the first one is over meanwhile.
    post(&server, &[(10, "us", 9), (11, "us", 9), (13, "", 0)], &mut received);
    let over = until(30, "the first is over", || incidents(&server, "resolved").pop());
    assert_eq!((&over["id"], &over["phase"]), (&json!(id), &json!("resolved")));
    let open = incidents(&server, "open");
    assert_eq!((open.len(), &open[0]["phase"]), (1, &json!("silenced")));
    let (status, _) = say(&server, &ack, &json!({"by": "ada"}));
    assert_eq!(status, 400, "it is over");
    let end = format!("v1/silences/{}/end", made["id"].as_str().unwrap());
    assert_eq!(say(&server, &end, &json!({"by": "bob"})).0, 204);
    let open = incidents(&server, "open");
    assert_eq!(open[0]["phase"], "firing");

    let log = server.get("v1/incident-log")["items"].as_array().unwrap().clone();
    let what: Vec<&str> = log.iter().map(|line| line["what"].as_str().unwrap()).collect();
    let wanted = [
        "fired",
        "acknowledged",
        "silenced",
        "resolved",
        "fired",
        "muted",
        "unsilenced",
        "unmuted",
    ];
    let mut sorted = what.clone();
    sorted.sort_unstable();
    let mut wanted_sorted = wanted.to_vec();
    wanted_sorted.sort_unstable();
    assert_eq!(sorted, wanted_sorted, "{log:#?}");
    let numbers: Vec<u64> = log.iter().map(|line| line["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=log.len() as u64).collect::<Vec<_>>());
    assert!(server.stop().success());
}

#[test]
fn what_cannot_be_said_is_refused_with_the_reason() {
    let folder = Folder::default();
    let server = folder.serve(&config()).start();
    let silence = |matching: &str, keys: Value| {
        let mut body = json!({"matching": matching, "by": "ada", "reason": "r", "for": "2h"});
        body.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        say(&server, "v1/silences", &body)
    };
    for (answer, status, says) in [
        (silence("regon == \"eu\"", json!({})), 400, "did you mean \"region\""),
        (silence("value >", json!({})), 400, "matching at column"),
        (silence("value > 1", json!({"for": "long"})), 400, "such as \"30m\""),
        (silence("value > 1", json!({"until": "2020-01-01T00:00:00Z"})), 400, "either for"),
        (silence("value > 1", json!({"by": " "})), 400, "by must say who"),
        (silence("value > 1", json!({"reason": " "})), 400, "reason must say why"),
        (silence("value > 1", json!({"colour": 1})), 400, "unknown field"),
        (say(&server, "v1/silences/none/end", &json!({"by": "a"})), 404, "no silence none"),
        (say(&server, "v1/incidents/none/acknowledge", &json!({"by": "a"})), 404, "no incident"),
        (say(&server, "v1/incidents/none/snooze", &json!({"by": "a"})), 400, "expected"),
    ] {
        assert_eq!(answer.0, status, "{answer:?}");
        assert!(answer.1["detail"].as_str().unwrap().contains(says), "{says}: {answer:?}");
    }
    assert_eq!(server.get("v1/incident-log")["items"], json!([]));
}

#[test]
fn the_command_line_says_it_to_the_server_of_the_data_folder() {
    let folder = Folder::default();
    let server = folder.serve(&config()).start();
    let mut received = 0;
    post(&server, &[(0, "eu", 9), (1, "eu", 9), (3, "", 0)], &mut received);
    let id = until(30, "it is there", || incidents(&server, "open").pop())["id"].clone();
    let id = id.as_str().unwrap().to_owned();
    let data = folder.data().display().to_string();
    let alerts = |args: &[&str]| {
        let args: Vec<&str> = ["alerts", "--data-dir", &data, "--by", "ada"]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        folder.command(&args).run()
    };
    let list = alerts(&["list"]).stdout;
    assert!(
        list.contains("firing") && list.contains("critical") && list.contains(&id[..8]),
        "{list}"
    );
    let said = alerts(&["ack", &id[..6], "--note", "on it"]).stdout;
    assert!(said.contains("acknowledged") && said.contains("(ada)"), "{said}");
    let shown = alerts(&["show", &id[..6]]).stdout;
    assert!(shown.contains("runbook      https://wiki.example.com/failed"), "{shown}");
    assert!(shown.contains("ada takes care of it: on it (ada)"), "{shown}");
    let made = alerts(&["silence", "region == \"us\"", "--for", "2h", "--reason", "deploy"]).stdout;
    assert!(made.starts_with("Silence "), "{made}");
    let listed = alerts(&["silences"]).stdout;
    assert!(listed.contains("region == \"us\"") && listed.contains("(ada: deploy)"), "{listed}");
    let ended = alerts(&["unsilence", made.split(' ').nth(1).unwrap()]).stdout;
    assert_eq!(ended.trim(), "The silence is over.");
    assert_eq!(alerts(&["silences"]).stdout.trim(), "Nothing is silenced.");
    let log = alerts(&["log", "--json"]).json();
    let what: Vec<_> = log["items"].as_array().unwrap().iter().map(|line| &line["what"]).collect();
    assert_eq!(what, ["fired", "acknowledged", "silenced", "unsilenced"]);
    let wrong = alerts(&["ack", "nothing"]);
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong.stderr.contains("no incident has an id that begins with \"nothing\""),
        "{}",
        wrong.stderr
    );
    let nobody = Folder::default();
    let run = nobody.command(&["alerts", "list", "--listen", "127.0.0.1:1"]).run();
    assert!(run.stderr.contains("no server found"), "{}", run.stderr);
}

/// So many carts that are left at a time, far enough before another event.
fn carts(begin: i64, wave: i64, count: usize) -> Vec<String> {
    let at = begin + WINDOW * 5 + wave * CLOSES;
    let cart =
        |n: usize| Event::new(format!("c{wave}-{n}"), at, "cart_add", format!("u{wave}-{n}"));
    let after = Event::new(format!("after{wave}"), at + CLOSES, "page_view", "~");
    (0..count).map(cart).chain([after]).map(|event| event.line()).collect()
}

/// Far enough after an event to close its session.
const CLOSES: i64 = GAP + 60_000;

#[allow(clippy::disallowed_methods, reason = "notifications are of now")]
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// The feed holds some hundreds, and thousands come, each of which is told: who looks for what holds finds
/// it nevertheless, with all that was said of it, and the log has nothing else.
#[test]
fn a_flood_of_occurrences_pushes_out_no_incident() {
    let folder = Folder::default();
    // Until none stood out for a day.
    let config = config().replace("cooldown = \"20s\"", "cooldown = \"1d\"")
        + "[store]\nalerts_max = 100\nincidents_max = 10\nincident_log_max = 100\n\
           [incidents]\nnotify_max_age = \"2d\"\n\
           [[channel]]\nname = \"mail\"\ntype = \"email\"\nfrom = \"tide@shop.example\"\n\
           to = [\"ops@shop.example\"]\nfolder = "
        + &format!("'{}'\n", folder.data().join("mails").display())
        + "[[route]]\nname = \"carts\"\nof = \"occurrences\"\nchannel = \"mail\"\nat_most = 10000\n";
    // Half a day ago: nobody is told of what is older than two.
    let first = (now() - 12 * 3_600_000 - START) / WINDOW;
    let (begin, first) = (START + first * WINDOW, first as usize);
    let mut server = folder.serve(&config).start();
    let mut received = 0;
    let windows = [(first, "eu", 9), (first + 1, "eu", 9), (first + 3, "", 0)];
    post(&server, &windows, &mut received);
    let fired = until(30, "it is there", || incidents(&server, "open").pop());
    for wave in 0..4 {
        let lines = carts(begin, wave, 1_500);
        Poster::new(server.target()).post(&lines);
        received += lines.len() as u64;
        server.wait_settled(received);
    }
    let holds = |server: &Server| {
        assert_eq!(incidents(server, "open"), std::slice::from_ref(&fired));
        let log = server.all("v1/incident-log");
        assert_eq!(log.len(), 1, "{log:#?}");
        let line = &log[0];
        assert_eq!((&line["what"], &line["incident"]), (&json!("fired"), &fired["id"]));
        assert_eq!((&line["severity"], &line["rule"]), (&json!("critical"), &json!("failures")));
        for (name, wanted) in [
            ("value", json!(9.0)),
            ("high", json!(3.0)),
            ("far", json!(6.0)),
            ("since", json!(begin)),
            ("measure", json!("difference")),
        ] {
            assert_eq!(line["detail"][name], wanted, "{name} of {line}");
        }
        let told = server.all("v1/notifications");
        assert!(told.len() >= 100, "{} are left of those that were told", told.len());
        assert!(told.iter().all(|one| one["step"] == "occurred" && one["route"] == "carts"));
        let topic = server.topic("incidents");
        assert_eq!((&topic["open"][0]["id"], &topic["firing"]), (&fired["id"], &json!(1)));
        let feed = server.all("v1/alerts");
        assert!((1..6_000).contains(&feed.len()), "{} of 6,000 are left", feed.len());
        assert!(feed.iter().all(|alert| alert["kind"] == "abandoned"), "occurrences alone");
    };
    holds(&server);
    server.kill_9();
    let server = folder.serve(&config).start();
    holds(&server);
    assert_eq!(server.topic("kpi")["abandoned"], 6_000);
}

/// What stands out and does not for long enough is said as such, everywhere, and is nothing that anybody
/// is told.
#[test]
fn what_is_pending_is_shown_and_told_to_nobody() {
    let folder = Folder::default();
    let config = config().replace("limit = 3\n", "limit = 3\nfor = \"1m\"\n");
    let mut server = folder.serve(&config).start();
    let mut received = 0;
    post(&server, &[(0, "eu", 9), (1, "eu", 12), (3, "", 0)], &mut received);
    let pending = |server: &Server, state: &str| {
        until(30, "it is pending", || {
            let page = server.get(&format!("v1/incidents?state={state}"));
            assert_eq!(page["items"], json!([]), "{page}");
            let list = page["pending"].as_array().unwrap().clone();
            assert_eq!(page["pending_count"], list.len());
            (!list.is_empty()).then_some(list)
        })
    };
    let list = pending(&server, "open");
    let [one] = &list[..] else { panic!("{list:#?}") };
    assert_eq!((&one["phase"], &one["rule"]), (&json!("pending"), &json!("failures")));
    assert_eq!((&one["group"], &one["severity"]), (&json!({"region": "eu"}), &json!("critical")));
    assert_eq!((&one["since"], &one["due"]), (&json!(START), &json!(START + 60_000)));
    assert_eq!((&one["detail"]["value"], &one["detail"]["far"]), (&json!(12.0), &json!(9.0)));
    assert_eq!(server.get("v1/incidents?state=resolved")["pending"], json!([]));
    assert_eq!(server.get("v1/incident-log")["items"], json!([]));
    let data = folder.data().display().to_string();
    let said = folder.command(&["alerts", "--data-dir", &data, "list"]).run().stdout;
    assert!(said.contains("pending") && said.contains("fires at 2023-11-14 00:01:00Z"), "{said}");
    server.kill_9();
    let server = folder.serve(&config).start();
    assert_eq!(pending(&server, "pending"), list, "after a start as before");
    // It stops before it is one.
    post(&server, &[(4, "", 0), (6, "", 0)], &mut received);
    until(30, "nothing is pending", || {
        (server.get("v1/incidents")["pending"] == json!([])).then_some(())
    });
    assert_eq!(server.get("v1/incident-log")["items"], json!([]));
}

/// Kills the server again and again while incidents come and go and people speak.
#[test]
fn kills_lose_no_incident_and_make_none() {
    let mut random = Random::seeded("kills_lose_no_incident_and_make_none");
    let folder = Folder::default();
    let mut server = folder.serve(&config()).start();
    let mut received = 0;
    let (mut fired, mut acknowledged) = (0, Vec::new());
    for round in 0..12 {
        let at = round * 20;
        let region = format!("r{round}");
        let windows = [(at, region.as_str(), 5), (at + 1, region.as_str(), 5), (at + 4, "", 0)];
        let lines = lines(&windows);
        Poster::new(server.target()).post(&lines);
        received += lines.len() as u64;
        if random.one_in(2) {
            // In the middle of it.
            support::pause(std::time::Duration::from_millis(random.below(300)));
            server.kill_9();
            server = folder.serve(&config()).start();
        }
        server.wait_settled(received);
        fired += 1;
        let open = until(30, "it is there", || {
            incidents(&server, "open")
                .into_iter()
                .find(|one| one["group"]["region"] == region.as_str())
        });
        let id = open["id"].as_str().unwrap();
        if random.one_in(2) {
            let path = format!("v1/incidents/{id}/acknowledge");
            assert_eq!(say(&server, &path, &json!({"by": "ada"})).0, 200);
            acknowledged.push(id.to_owned());
            if random.one_in(2) {
                server.kill_9();
                server = folder.serve(&config()).start();
            }
        }
        assert!(incidents(&server, "all").len() == fired, "round {round}");
    }
    post(&server, &[(12 * 20 + 40, "", 0)], &mut received);
    let all = until(30, "all are over", || {
        let all = incidents(&server, "all");
        all.iter().all(|one| one["phase"] == "resolved").then_some(all)
    });
    assert_eq!(all.len(), fired);
    let of_ada: Vec<&str> = all
        .iter()
        .filter(|one| one["acknowledged"]["by"] == "ada")
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    let mut wanted: Vec<&str> = acknowledged.iter().map(String::as_str).collect();
    wanted.reverse();
    assert_eq!(of_ada, wanted);
    let log = server.get("v1/incident-log?limit=1000")["items"].as_array().unwrap().clone();
    let count = |what: &str| log.iter().filter(|line| line["what"] == what).count();
    assert_eq!((count("fired"), count("resolved")), (fired, fired));
    assert_eq!(count("acknowledged"), acknowledged.len());
}
