//! Shows the page in a real browser: it has the numbers of a replay, moves each second,
//! survives a restart of the server without being loaded again, shows what events carry
//! as text, and logs no error. Screenshots go to `target/screenshots`.
//!
//! How: drives Chromium through chromedriver (a child process of this test, on a port of
//! its own) with the plain WebDriver protocol, and looks at the hooks the page offers:
//! `<body data-state>`, `[data-kpi]`, `[data-ledger]`, `[data-alert-id]`.

mod browser_rig;
mod support;

use std::time::Duration;

use serde_json::{Value, json};

use browser_rig::Driver;
use support::events::{Event, GAP};
use support::{Broker, Folder, HOLD, Poster, Server, Set, Stopwatch, pause};

/// Key figures that the page shows from the topic `kpi`.
const FIGURES: &[&str] = &[
    "abandonment_rate",
    "live_sessions",
    "at_risk",
    "value_at_stake",
    "unique_visitors",
    "event_rate",
    "revenue",
];

const LEDGER: &[&str] = &["received", "applied", "duplicate", "late", "rejected", "in_flight"];

const NOW: i64 = 1_700_000_000_000;

#[test]
fn the_page_shows_the_replayed_numbers() {
    let set = Set::made("shop");
    let folder = Folder::default();
    let data = folder.data().display().to_string();
    let server = folder
        .command(&["replay"])
        .args(&set.files())
        .args(&["--map", &set.map(), "--data-dir", &data, "--listen", "127.0.0.1:0", "--hold"])
        .listening();
    let mapped = set.truth["input"]["mapped_events"].as_u64().unwrap();
    server.wait_settled(mapped);

    let driver = Driver::start();
    let page = driver.page();
    page.open(&server.url);
    page.wait("the whole replay is on the page", || {
        (page.value("[data-ledger=received]")? == mapped.to_string()).then_some(())
    });
    page.wait("every figure is the server's", || {
        let (kpi, pipeline) = (server.topic("kpi"), server.pipeline());
        let shown = |hook: &str, names: &[&str], values: &Value| {
            names.iter().all(|name| {
                page.value(&format!("[{hook}={name}]"))
                    .is_some_and(|text| same(&text, &values[name]))
            })
        };
        (shown("data-kpi", FIGURES, &kpi) && shown("data-ledger", LEDGER, &pipeline)).then_some(())
    });
    assert_eq!(page.count("[data-ledger-balanced=true]"), 1);
    let known: Vec<Value> =
        server.all("v1/alerts").iter().map(|alert| alert["id"].clone()).collect();
    let shown = page.script(
        "return [...document.querySelectorAll('[data-alert-id]')].map(e => e.dataset.alertId)",
    );
    let shown = shown.as_array().unwrap();
    assert!(!shown.is_empty() && shown.iter().all(|id| known.contains(id)), "alerts of the feed");

    page.looks("replay", None);
    page.assert_no_errors(&[]);
}

fn demo(folder: &Folder) -> Server {
    let data = folder.data().display().to_string();
    folder
        .command(&["demo", "--users", "200", "--rate", "100", "--seed", "7"])
        .args(&["--data-dir", &data, "--listen", "127.0.0.1:0"])
        .listening()
}

#[test]
fn the_page_moves_each_second() {
    const SECONDS: u64 = 10;
    let folder = Folder::default();
    let server = demo(&folder);
    let driver = Driver::start();
    let page = driver.page();
    page.open(&server.url);
    page.wait("it is live", || (page.state() == "live").then_some(()));
    // What is out of sight is not drawn.
    page.script("document.querySelector('[data-panel=pipeline]').scrollIntoView()");
    let watch = Stopwatch::start();
    let mut seen = vec![page.value("[data-ledger=received]")];
    while watch.elapsed().as_secs() < SECONDS {
        let now = page.value("[data-ledger=received]");
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        pause(Duration::from_millis(50));
    }
    assert!(seen.len() as u64 >= SECONDS - 1, "{} changes in {SECONDS} s: {seen:?}", seen.len());
    page.assert_no_errors(&[]);
}

#[test]
fn the_demo_shows_an_abandonment_within_a_minute_and_a_half() {
    let folder = Folder::default();
    let server = demo(&folder);
    let driver = Driver::start();
    let page = driver.page();
    page.open(&server.url);
    page.wait("an alert", || (page.count("[data-alert-id]") > 0).then_some(()));
    page.screenshot("demo");
    page.assert_no_errors(&[]);
}

#[test]
fn what_is_at_risk_is_listed_and_leads_to_its_session() {
    let folder = Folder::default();
    let server = folder.serve("").start();
    let now = server.get("v1/board")["at"].as_i64().unwrap();
    let events: Vec<String> = (0..9)
        .map(|n| {
            let at = now - n * 60_000;
            let user = if n == 3 {
                "a key that is longer than its place".repeat(3)
            } else {
                format!("u{n}")
            };
            let mut event = Event::new(format!("e{n}"), at, "cart_add", user);
            event.more.insert("amount".into(), json!(n as f64 * 12.5));
            event.line()
        })
        .collect();
    Poster::new(server.target()).post(&events);
    let driver = Driver::start();
    let page = driver.page();
    page.open(&server.url);
    let first = |list: &str| {
        page.script(&format!(
            "return document.querySelector('[data-list={list}] tbody tr')?.dataset.key"
        ))
    };
    page.wait("the lists are there", || {
        (first("by_deadline") == "u8" && first("by_value") == "u8").then_some(())
    });
    assert_eq!(page.count("[data-list=by_value] tbody tr"), 6);
    page.looks("at-risk", Some("at-risk"));
    page.script("document.querySelector('[data-list=by_value] tbody button').click()");
    page.wait("its session is open", || {
        (page.count("[data-session-state=at_risk]") == 1).then_some(())
    });
    page.assert_no_errors(&[]);
}

#[test]
fn the_page_survives_a_restart_of_the_server() {
    let folder = Folder::default();
    let mut server = folder.serve(HOLD).start();
    let address = server.address();
    let driver = Driver::start();
    let page = driver.page();
    page.open(&server.url);
    page.wait("it is empty and says so", || (page.state() == "empty").then_some(()));
    let text = page.script("return document.body.innerText");
    assert!(text.as_str().unwrap().contains("/v1/events"), "it tells how to publish: {text}");
    page.screenshot("empty");
    page.assert_no_errors(&[]);

    page.script("window.loadedOnce = true");
    page.script("document.querySelector('[data-panel=pipeline]').scrollIntoView()");
    let event = |n: i64| Event::new(format!("e{n}"), NOW + n, "page_view", "u").line();
    Poster::new(server.target()).post(&[event(1), event(2)]);
    page.wait("two events", || (page.value("[data-ledger=received]")? == "2").then_some(()));
    server.kill_9();
    page.wait("it notices", || (page.state() == "reconnecting").then_some(()));
    page.screenshot("reconnecting");

    let server = folder.serve_at(&address, HOLD).start();
    page.wait("it is back", || (page.state() == "live").then_some(()));
    Poster::new(server.target()).post(&[event(3)]);
    page.wait("three events", || (page.value("[data-ledger=received]")? == "3").then_some(()));
    assert_eq!(page.script("return window.loadedOnce"), true, "it was not loaded again");
    // What Chromium itself logs of a server that is away is not a fault of the page.
    page.assert_no_errors(&["ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET"]);
}

/// A page without numbers says why, instead of loading for ever.
#[test]
fn the_page_says_that_the_log_does_not_answer() {
    let mut broker = Broker::start();
    broker.kill_9();
    let nats = format!("{HOLD}[nats]\nurl = \"{}\"\nreconnect_max = \"200ms\"\n", broker.url());
    let folder = Folder::default();
    let server = folder.serve(&nats).listening();
    let driver = Driver::start();
    let page = driver.page();
    page.open(&server.url);
    page.wait("it says what it waits for", || {
        let text = page.script("return document.querySelector('#banner').innerText");
        let text = text.as_str()?;
        // And in the server's own words, as on /readyz.
        (text.contains("the event log has not answered yet") && text.contains("is away"))
            .then_some(())
    });
    assert_eq!(page.state(), "loading");
    page.looks("waiting", None);
    broker.restart();
    page.wait("it goes on by itself", || (page.state() == "empty").then_some(()));
    assert_eq!(page.script("return document.querySelector('#banner').innerText"), "");
    // /readyz says 503 as long as it is not ready.
    page.assert_no_errors(&["503"]);
}

#[test]
fn what_events_carry_is_text_and_never_markup() {
    let user = "<img src=x onerror=\"window.broken = true\"><b>bold</b>";
    let folder = Folder::default();
    let server = folder.serve(HOLD).start();
    let mut poster = Poster::new(server.target());
    let mut cart = Event::new("a", NOW, "cart_add", user);
    cart.more.insert("region".into(), json!("<script>window.broken = true</script>"));
    cart.more.insert("status".into(), json!(503));
    cart.more.insert("amount".into(), json!(12.5));
    poster.post(&[cart.line(), Event::new("b", NOW + 3 * GAP, "page_view", "later").line()]);
    server.wait_settled(2);
    let driver = Driver::start();
    let page = driver.page();
    page.open(&server.url);
    page.wait("the alert", || (page.count("[data-alert-id]") == 1).then_some(()));
    page.script("document.querySelector('[data-alert-id] button').click()");
    page.wait("the drawer tells whose session it was, as it came", || {
        let text = page.script("return document.querySelector('#drawer').textContent");
        text.as_str()?.contains(user).then_some(())
    });
    page.screenshot("hostile-text");
    assert_eq!(page.count("img[src=x]"), 0, "no markup of the event's");
    assert_eq!(page.script("return window.broken === undefined"), true);
    // The alert's session has closed: the page asks for it and is told 404, which Chromium logs.
    page.assert_no_errors(&["/v1/sessions/"]);
}

/// What is accounted for and still missing from a number, and what stands, is on the page in
/// the server's own words.
#[test]
fn the_page_says_what_numbers_lack_and_what_stands() {
    const MINUTE: i64 = 60_000;
    let folder = Folder::default();
    let server =
        folder.serve(&format!("{HOLD}[pipeline]\nshards = 1\nsessions_max = 100\n")).start();
    let mut cart = Event::new("cart", NOW, "cart_add", "u");
    cart.more.insert("amount".into(), json!("a lot"));
    let mut lines = vec![cart.line(), Event::new("on", NOW + 20 * MINUTE, "page_view", "v").line()];
    // Its session is open, and the minutes of its time are final.
    lines.push(Event::new("back", NOW + 1, "page_view", "u").line());
    lines.extend(
        (0..130)
            .map(|n| Event::new(format!("e{n}"), NOW + 20 * MINUTE, "page_view", format!("w{n}")))
            .map(|event| event.line()),
    );
    Poster::new(server.target()).post(&lines);
    let driver = Driver::start();
    let page = driver.page();
    page.open(&server.url);
    let pipeline = server.wait_pipeline("all of it is told", |pipeline| {
        pipeline["received"] == lines.len()
            && pipeline["late_by_metric"].as_object().is_some_and(|by| !by.is_empty())
            && pipeline["conditions"].as_array().is_some_and(|all| !all.is_empty())
    });
    let unusable = pipeline["unusable"].as_array().unwrap();
    let amount = unusable.iter().find(|fault| fault["attribute"] == "amount").unwrap();
    let words = [amount["key"].as_str().unwrap(), amount["words"].as_str().unwrap()];
    page.wait("what numbers lack is on the page", || {
        let text = page.script("return document.querySelector('.missing')?.textContent");
        let text = text.as_str()?;
        let metrics = pipeline["late_by_metric"].as_object().unwrap();
        let late = metrics.keys().all(|metric| text.contains(metric.as_str()));
        (late
            && text.contains("came after a window was final")
            && text.contains("amount")
            && text.contains("unusable")
            && words.iter().all(|word| text.contains(word)))
        .then_some(())
    });
    let full = pipeline["conditions"].as_array().unwrap();
    let full = full.iter().find(|one| one["name"] == "sessions_full").unwrap();
    page.wait("what stands is on the page", || {
        let script = "return document.querySelector('[data-condition=sessions_full]')?.textContent";
        (page.script(script).as_str()? == full["says"].as_str()?).then_some(())
    });
    assert_eq!(page.count("[data-ledger-balanced=true]"), 1);
    page.looks("lacking", None);
    page.assert_no_errors(&[]);
}

const RULES: &str = "[[metric]]\nname = \"failed\"\nwhere = { type = \"failed\" }\n\
    aggregate = \"count\"\ngroup_by = [\"region\"]\nwindow = { tumbling = \"10s\" }\n\
    [[rule]]\nname = \"failures\"\nmetric = \"failed\"\ndetect = \"threshold\"\nlimit = 3\n\
    cooldown = \"20s\"\nseverity = \"critical\"\nrunbook = \"https://wiki.example.com/failed\"\n\
    [[rule]]\nname = \"slow_burn\"\nmetric = \"failed\"\ndetect = \"threshold\"\nlimit = 3\n\
    for = \"10m\"\nseverity = \"warning\"\n";

/// Failures of these regions in each of some windows of ten seconds, and a visitor soon after.
fn failures(at: i64, regions: &[&str], windows: i64) -> Vec<String> {
    let mut lines = Vec::new();
    for window in 0..windows {
        for (n, region) in regions.iter().enumerate() {
            for nth in 0..9 {
                let time = at + window * 10_000 + nth;
                let (id, user) = (format!("f{time}-{n}"), format!("u{n}"));
                let mut event = Event::new(id, time, "failed", user);
                event.more.insert("region".into(), json!(region));
                lines.push(event.line());
            }
        }
    }
    // The next window is not over: they still stand out.
    let end = at + windows * 10_000 + 4_000;
    lines.push(Event::new(format!("end{at}"), end, "page_view", "v").line());
    lines
}

/// What holds is on the page until it is over, and people say there, with a keyboard, what they do.
#[test]
fn incidents_are_taken_care_of_on_the_page() {
    let folder = Folder::default();
    let config = format!("{HOLD}out_of_orderness = \"1s\"\nallowed_lateness = \"1s\"\n{RULES}");
    let server = folder.serve(&config).start();
    let mut posted = failures(NOW, &["eu", "<b>us</b>"], 2);
    Poster::new(server.target()).post(&posted);
    server.wait_settled(posted.len() as u64);
    let driver = Driver::start();
    let page = driver.page();
    page.open(&server.url);
    page.wait("both are there", || (page.count("[data-incident-id]") == 2).then_some(()));
    assert_eq!(page.count("[data-pending=slow_burn]"), 2, "and what is pending");
    assert_eq!(page.count("[data-alert-id]"), 0, "the feed is of occurrences");
    let all = server.get("v1/incidents")["items"].as_array().unwrap().clone();
    let of = |region: &str| {
        let one = all.iter().find(|one| one["group"]["region"] == region).unwrap();
        one["id"].as_str().unwrap().to_owned()
    };
    let (eu, us) = (of("eu"), of("<b>us</b>"));
    let row = |id: &str| format!("[data-incident-id=\"{id}\"]");
    let button = |id: &str, say: &str| {
        page.script(&format!("document.querySelector('{} [data-say={say}]').focus()", row(id)));
    };
    let focused =
        || page.script("return document.activeElement.name || document.activeElement.dataset.say");

    button(&eu, "acknowledge");
    page.keys("\u{e007}");
    page.wait("it asks who", || (focused() == "by").then_some(()));
    page.looks("incident-form", Some("incidents"));
    page.keys("ada\u{e007}");
    page.wait("it is acknowledged", || {
        (page.count(&format!("{}[data-phase=acknowledged]", row(&eu))) == 1).then_some(())
    });
    assert_eq!(page.script("return localStorage.getItem('tidewatch.who')"), "ada");
    assert_eq!(server.get(&format!("v1/incidents/{eu}"))["acknowledged"]["by"], "ada");

    button(&us, "snooze");
    page.keys("\u{e007}");
    page.wait("it asks for how long", || (focused() == "for").then_some(()));
    page.keys("\u{e00c}");
    page.wait("Escape leads back", || (focused() == "snooze").then_some(()));

    button(&us, "silence");
    page.keys("\u{e007}");
    page.wait("it asks why", || (focused() == "reason").then_some(()));
    let matching = "document.querySelector('form [name=matching]')";
    assert_eq!(
        page.script(&format!("return {matching}.value")),
        "rule == \"failures\" && region == \"<b>us</b>\""
    );
    page.keys("we know");
    page.script(&format!("{matching}.focus()"));
    page.keys(" && regin == 1\u{e007}");
    page.wait("what is wrong with it is said", || {
        let said = page.script("return document.querySelector('form [role=alert]')?.innerText");
        said.as_str()?.contains("did you mean \"region\"").then_some(())
    });
    page.script(&format!("{matching}.focus()"));
    page.keys(&"\u{e003}".repeat(" && regin == 1".len()));
    page.keys("\u{e007}");
    page.wait("it is silenced", || {
        (page.count(&format!("{}[data-phase=silenced]", row(&us))) == 1).then_some(())
    });
    let silence = server.get("v1/silences")["items"][0].clone();
    assert_eq!((&silence["by"], &silence["reason"]), (&json!("ada"), &json!("we know")));
    page.script(&format!("document.querySelector('{} .incident-title').click()", row(&eu)));
    page.wait("all of it is in the drawer", || {
        let text = page.script("return document.querySelector('#drawer').textContent");
        let text = text.as_str()?;
        ["ada takes care of it", "Expected", "High"]
            .iter()
            .all(|part| text.contains(part))
            .then_some(())
    });
    page.screenshot("incident-drawer");

    // They are over, and others after them: a link leads to each.
    posted = failures(NOW + 300_000, &["r1", "r2", "r3", "r4", "r5", "r6"], 2);
    posted.push(Event::new("last", NOW + 600_000, "page_view", "v").line());
    Poster::new(server.target()).post(&posted);
    page.wait("what ended last is listed", || {
        (page.count("[data-phase=resolved]") == 5).then_some(())
    });
    page.command("refresh", &json!({}));
    for id in
        [eu.as_str(), server.get("v1/incidents?state=resolved")["items"][0]["id"].as_str().unwrap()]
    {
        page.open(&format!("{}/#{id}", server.url.trim_end_matches('/')));
        page.wait("it is marked and in sight", || {
            let script = format!(
                "const e = document.querySelector('{}[data-marked=true]'); if (!e) return false; \
                 const box = e.getBoundingClientRect(); \
                 return box.top >= 0 && box.bottom <= innerHeight && document.activeElement === e",
                row(id)
            );
            (page.script(&script) == true).then_some(())
        });
    }
    page.looks("incidents", Some("incidents"));
    page.open(&format!("{}/#{}", server.url.trim_end_matches('/'), "0".repeat(32)));
    page.wait("that there is none is said", || {
        (page.count("[data-marked-missing=true]") == 1).then_some(())
    });
    assert_eq!(page.count("[data-incident-id] b b, .incident-title b"), 0, "no markup of events");
    // The wrong condition, and the incident that there is not, which Chromium logs.
    page.assert_no_errors(&["/v1/silences", "/v1/incidents/"]);
}

/// Ranked lists and histograms have panels: what they show is what the server says.
#[test]
fn ranked_lists_and_histograms_are_on_the_page() {
    let config = format!(
        "{HOLD}[[metric]]\nname = \"pages\"\naggregate = \"topk\"\nfield = \"page\"\ntop = 6\n\
         window = {{ tumbling = \"1m\" }}\n\
         [[metric]]\nname = \"latency\"\naggregate = \"histogram\"\nfield = \"ms\"\n\
         bounds = [50, 100, 250, 1000]\ngroup_by = [\"region\"]\ngroup_limit = 2\n\
         window = {{ tumbling = \"1m\" }}\n"
    );
    let folder = Folder::default();
    let server = folder.serve(&config).start();
    let event = |n: i64| {
        let mut event = Event::new(format!("e{n}"), NOW + n * 10, "page_view", format!("u{n}"));
        event.more.insert("page".into(), json!(format!("/product/{}", (n * n) % 11)));
        event.more.insert("ms".into(), json!((n * n * 7) % 1_300));
        event
            .more
            .insert("region".into(), json!(["eu-west", "us-east", "<i>mars</i>"][n as usize % 3]));
        event.line()
    };
    let lines: Vec<String> = (0..600)
        .map(event)
        .chain([Event::new("end", NOW + 60_000, "page_view", "z").line()])
        .collect();
    Poster::new(server.target()).post(&lines);
    server.wait_settled(lines.len() as u64);
    let driver = Driver::start();
    let page = driver.page();
    page.open(&server.url);
    let text = |panel: &str| {
        let script = format!("return document.querySelector('[data-panel={panel}]')?.innerText");
        page.script(&script).as_str().map(str::to_owned)
    };
    let pages = server.topic("pages");
    let top = pages["pages"]["top"].as_array().unwrap();
    assert_eq!((top.len(), &top[0][2]), (6, &json!(0)), "{pages}");
    page.wait("the list", || {
        let text = text("pages")?;
        let shows = |item: &Value| text.contains(item[0].as_str().unwrap());
        top.iter().all(shows).then_some(())
    });
    page.wait("the histograms", || {
        let text = text("latency")?;
        let names = ["eu-west", "us-east", "other groups", "≤ 250", "> 1,000"];
        names.iter().all(|name| text.contains(name)).then_some(())
    });
    let counts = server.topic("latency")["eu-west"].clone();
    assert_eq!(counts.as_array().unwrap().len(), 5);
    page.looks("shapes", Some("latency"));
    page.assert_no_errors(&[]);
}

/// Without a shop the page is of what is measured: its figures on top, its lines first, and ranges that
/// reach as far back as such lines are long.
#[test]
fn a_page_without_a_shop_is_of_what_is_measured() {
    let config = format!(
        "{HOLD}[session]\nentry = [\"none\"]\n\
         [[metric]]\nname = \"orders\"\naggregate = \"count\"\nkeep = \"1d\"\n\
         window = {{ tumbling = \"10m\" }}\n\
         [[metric]]\nname = \"by_country\"\naggregate = \"count\"\ngroup_by = [\"country\"]\n\
         window = {{ tumbling = \"10m\" }}\n"
    );
    let folder = Folder::default();
    let server = folder.serve(&config).start();
    let event = |n: i64| {
        let mut event = Event::new(format!("o{n}"), NOW + n * 300_000, "order", format!("c{n}"));
        event.more.insert("country".into(), json!(["AT", "CH", "DE"][n as usize % 3]));
        event.line()
    };
    let lines: Vec<String> = (0..100).map(event).collect();
    Poster::new(server.target()).post(&lines);
    server.wait_settled(lines.len() as u64);
    let driver = Driver::start();
    let page = driver.page();
    page.open(&server.url);
    page.wait("the strip has the metric and nothing of a shop", || {
        let script =
            "return [...document.querySelectorAll('[data-kpi]')].map((one) => one.dataset.kpi)";
        (page.script(script) == json!(["orders", "live_sessions"])).then_some(())
    });
    let ranges = "return document.querySelector('.choice').innerText.split('\\n').join()";
    assert_eq!(page.script(ranges), "6 h,1 d,7 d");
    let panels = "return [...document.querySelectorAll('#grid > [data-panel]')]\
                  .filter((one) => !one.hidden).map((one) => one.dataset.panel)";
    let panels = page.script(panels);
    assert_eq!(
        (&panels[0], &panels[1], &panels[2]),
        (&json!("incidents"), &json!("orders"), &json!("by_country")),
        "{panels}"
    );
    page.wait("the grid says how long its columns are", || {
        let text = "return document.querySelector('[data-panel=by_country]').innerText";
        page.script(text).as_str()?.contains("all, last 10 min").then_some(())
    });
    page.looks("stranger", None);
    page.assert_no_errors(&[]);
}

/// A kind of sessions lists those at risk, each leads to its session; a metric by group names the
/// greatest group first, the next ones and how many more there are.
#[test]
fn sessions_of_a_kind_and_the_greatest_groups_are_on_the_page() {
    let config = format!(
        "{HOLD}[[sessions]]\nname = \"device\"\nkey = \"device_id\"\ngap = \"30m\"\n\
         entry = \"cart_add\"\ngoal = \"payment_completed\"\nvalue = \"amount\"\n\
         attributes = {{ place = \"last.place\" }}\n\
         [[metric]]\nname = \"mean_by_place\"\naggregate = \"avg\"\nfield = \"amount\"\n\
         group_by = [\"place\"]\nwindow = {{ tumbling = \"10s\" }}\n"
    );
    let folder = Folder::default();
    let server = folder.serve(&config).start();
    let event = |n: i64| {
        let mut event = Event::new(format!("e{n}"), NOW + n * 1_000, "cart_add", format!("u{n}"));
        event.more.insert("device_id".into(), json!(format!("d{}", n % 7)));
        event.more.insert("amount".into(), json!((n % 7) * 10));
        event.more.insert("place".into(), json!(format!("place {}", n % 7)));
        event.line()
    };
    let mut lines: Vec<String> = (0..150).map(event).collect();
    lines.push(Event::new("end", NOW + 150_000, "page_view", "z").line());
    Poster::new(server.target()).post(&lines);
    server.wait_settled(lines.len() as u64);
    let driver = Driver::start();
    let page = driver.page();
    page.open(&server.url);
    let text = |panel: &str| {
        let script = format!("return document.querySelector('[data-panel={panel}]')?.innerText");
        page.script(&script).as_str().map(str::to_owned).unwrap_or_default()
    };
    page.wait("the greatest groups", || {
        let text = text("mean_by_place");
        let shows = ["place 6", "60", "place 5", "place 3", "and 3 more"];
        shows.iter().all(|shown| text.contains(shown)).then_some(())
    });
    page.looks("groups", Some("mean_by_place"));
    let device = "[data-panel=device] [data-list=by_value] tbody";
    page.wait("the lists are there", || (page.count(&format!("{device} tr")) == 6).then_some(()));
    let first = page.script(&format!("return document.querySelector('{device} tr').dataset.key"));
    assert_eq!(first, "d6");
    page.looks("kind", Some("device"));
    page.script(&format!("document.querySelector('{device} button').click()"));
    page.wait("its session is open", || {
        let is_open = "[data-kind=device][data-session-state=at_risk]";
        (page.count(is_open) == 1).then_some(())
    });
    page.looks("kind-open", None);
    page.assert_no_errors(&[]);
}

/// True when the text of a `data-value` is this value.
fn same(text: &str, value: &Value) -> bool {
    match value {
        Value::Null => text.is_empty(),
        Value::Number(number) => text.parse::<f64>().ok() == number.as_f64(),
        Value::String(string) => text == string,
        Value::Bool(truth) => text.parse() == Ok(*truth),
        Value::Array(_) | Value::Object(_) => false,
    }
}
