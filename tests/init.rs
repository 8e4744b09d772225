//! Shows that a configuration written from events fits them: it is sound, and a replay with it counts
//! every one of them.
//!
//! How: logs made up of random parts (the seed is printed), three small ones whose configurations
//! are kept in `tests/init/`, and one of each of the kinds that people have, of which is kept what was
//! guessed; `TIDEWATCH_TEST_REFRESH=1` writes what is kept anew.

mod support;

use std::path::Path;

use serde_json::{Map, Value, json};

use support::events::Random;
use support::{Folder, HOLD, Poster};

const START: i64 = 1_699_920_000_000;

/// Writes a configuration for a file and replays the file with it: the configuration, and the report.
fn fitted(folder: &Folder, file: &str) -> (String, Value) {
    let out = folder.path("fitted.toml").display().to_string();
    let run = folder.command(&["init", file, "--out", &out, "--force"]).run();
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let text = std::fs::read_to_string(&out).unwrap();
    let check = folder.command(&["check", "--config", &out]).run();
    assert_eq!((check.code, &*check.stderr), (Some(0), ""), "{text}");
    let mut replay = folder.command(&["replay", file, "--json", "--config", &out]);
    let map = folder.path("fitted.map.toml");
    if map.exists() {
        replay = replay.args(&["--map", &map.display().to_string()]);
    }
    let report = replay.run().json();
    (text, report)
}

/// Compares with what is kept.
fn kept(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/init").join(name);
    if std::env::var_os("TIDEWATCH_TEST_REFRESH").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == kept, "{} is not what is written now:\n{text}", path.display());
}

/// Compares the configuration with the one that is kept.
fn golden(name: &str, content: &str, events: u64) -> Value {
    let folder = Folder::default();
    let file = folder.write(name, content);
    let (text, report) = fitted(&folder, &file);
    assert_eq!(report["ledger"]["applied"], events, "{text}\n{report:#}");
    let text = text.replace(&file, name);
    kept(&format!("{name}.toml"), &text);
    report
}

#[test]
fn small_logs_get_the_configurations_that_are_kept() {
    // A shop with names of its own.
    let visits = ["v v b p", "v b", "v v", "v b r", "v", "v b f p", "v b"];
    let mut lines = String::new();
    for round in 0..20i64 {
        for (visitor, visit) in visits.iter().enumerate() {
            for (step, what) in visit.split(' ').enumerate() {
                let name = match what {
                    "v" => "product_viewed",
                    "b" => "add_to_basket",
                    "r" => "remove_from_basket",
                    "f" => "payment_failed",
                    _ => "order_completed",
                };
                let country = ["de", "fr", "nl"][visitor % 3];
                let at = START / 1000 + round * 60 + visitor as i64 * 7 + step as i64;
                lines += &json!({
                    "timestamp": at, "event": name, "customer_id": format!("c{round}-{visitor}"),
                    "uuid": format!("{round}-{visitor}-{step}"), "total_price": 10 + step,
                    "country": country, "latency_ms": 20 + step * 3,
                })
                .to_string();
                lines += "\n";
            }
        }
    }
    let report = golden("shop.ndjson", &lines, 20 * 18);
    assert_eq!(report["sessions"]["converted"], 40, "{report:#}");
    assert_eq!(report["metrics"]["failures"]["sum"], 20.0, "{report:#}");

    // A table, in seconds, with numbers of another country.
    let mut table = String::from("Datum;Kunde;Aktion;Betrag\n");
    for n in 0..120 {
        let what = ["Ansicht", "Ansicht", "Kauf"][n % 3];
        table +=
            &format!("14.11.2023 {:02}:{:02}:00;K{};{what};{},50\n", 8 + n / 60, n % 60, n % 9, n);
    }
    golden("laden.csv", &table, 120);

    // A log of a web server.
    let mut log = String::new();
    for n in 0..200 {
        let status = if n % 20 == 0 { 500 } else { 200 };
        log += &format!(
            "10.0.0.{} - - [14/Nov/2023:08:{:02}:{:02} +0000] \"GET /p/{} HTTP/1.1\" {status} {}\n",
            n % 7,
            n / 60,
            n % 60,
            n % 5,
            100 + n
        );
    }
    let report = golden("access.log", &log, 200);
    assert_eq!(report["metrics"]["failures"]["sum"], 10.0, "{report:#}");
}

/// What a stranger brings: the name of a file, and its rows.
fn strangers() -> Vec<(&'static str, Vec<String>)> {
    let time = |n: i64| jiff::Timestamp::from_second(START / 1_000 + n).unwrap();
    let said = |n: i64, format: &str| time(n).strftime(format).to_string();
    let rows = |head: &str, count: i64, row: &dyn Fn(i64) -> String| -> Vec<String> {
        let head = Some(head.to_owned()).filter(|head| !head.is_empty());
        head.into_iter().chain((0..count).map(row)).collect()
    };
    let of = |n: i64, list: &[&'static str]| list[n as usize % list.len()];
    let iso = |n: i64| time(n).to_string();
    let json = |count: i64, row: &dyn Fn(i64) -> Value| rows("", count, &|n| row(n).to_string());
    vec![
        (
            "nginx.csv",
            rows(
                "remote_addr,time_local,request_method,request_uri,status,body_bytes_sent,request_time,http_user_agent",
                300,
                &|n| {
                    let (at, uri) = (
                        said(n, "%d/%b/%Y:%H:%M:%S +0000"),
                        of(n, &["/", "/a?q=1", "/b", "/a?q=2", "/login"]),
                    );
                    let (status, agent) = (
                        [200, 200, 304, 404][n as usize % 4],
                        of(n / 3, &["curl/8", "Mozilla/5.0"]),
                    );
                    format!(
                        "10.0.0.{},{at},GET,{uri},{status},{},0.0{},{agent}",
                        n % 23,
                        100 + n % 90,
                        n % 9 + 1
                    )
                },
            ),
        ),
        (
            "auftraege-2023.csv",
            rows(
                "Auftragsnummer;Auftragsdatum;Kundennummer;Artikel;Menge;Nettobetrag;Status;Lieferland",
                120,
                &|n| {
                    let (at, state) = (
                        said(n * 600, "%d.%m.%Y %H:%M"),
                        of(n, &["offen", "geliefert", "bezahlt", "storniert"]),
                    );
                    let (what, land) =
                        (of(n / 2, &["Bohrer", "Säge"]), of(n / 5, &["DE", "AT", "CH"]));
                    format!(
                        "A-{n};{at};K{};{what};{};1.{:03},50;{state};{land}",
                        n % 17,
                        n % 7 + 1,
                        n * 7 % 1_000
                    )
                },
            ),
        ),
        (
            "readings.csv",
            rows("timestamp,sensor_id,metric,value,unit", 180, &|n| {
                let metric = n as usize % 3;
                let unit = ["C", "%", "hPa"][metric];
                format!(
                    "{},s{},{},{}.5,{unit}",
                    said(n / 3 * 10, "%Y-%m-%d %H:%M:%S"),
                    n / 3 % 4,
                    ["temperature", "humidity", "pressure"][metric],
                    20 + n % 11
                )
            }),
        ),
        (
            "climate.csv",
            rows("time,room,temperature,co2,battery_voltage", 150, &|n| {
                format!(
                    "{},{},2{}.1,{},3.{}",
                    iso(n * 30),
                    of(n, &["kitchen", "attic"]),
                    n % 5,
                    400 + n % 83,
                    n % 10
                )
            }),
        ),
        (
            "tickets.csv",
            rows(
                "Ticket ID,Created,Requester,Priority,Status,Channel,Subject,First response (min)",
                90,
                &|n| {
                    let (priority, state) =
                        (of(n, &["low", "normal", "high"]), of(n, &["open", "solved"]));
                    format!(
                        "{},{},u{}@example.com,{priority},{state},{},It broke {n},{}",
                        4_000 + n,
                        said(n * 900, "%m/%d/%Y %H:%M"),
                        n % 31,
                        of(n, &["mail", "chat"]),
                        n % 40 + 1
                    )
                },
            ),
        ),
        (
            "trips.csv",
            rows(
                "VendorID,tpep_pickup_datetime,passenger_count,trip_distance,PULocationID,payment_type,fare_amount,total_amount",
                120,
                &|n| {
                    format!(
                        "{},{},{},{}.2,{},{},{}.50,{}.75",
                        n % 2 + 1,
                        said(n * 5, "%Y-%m-%d %H:%M:%S"),
                        n % 4 + 1,
                        n % 9,
                        n * 7 % 230,
                        n % 2 + 1,
                        n % 40 + 3,
                        n % 50 + 5
                    )
                },
            ),
        ),
        (
            "names.csv",
            rows("name,team,points", 40, &|n| format!("p{n},{},{}", of(n, &["a", "b"]), n % 13)),
        ),
        (
            "tiny.csv",
            rows("date,what,who", 5, &|n| format!("2023-11-1{n},{},me", of(n, &["run", "swim"]))),
        ),
        (
            "shop.ndjson",
            json(160, &|n| {
                let steps = ["page.viewed", "basket.item_added", "order.placed", "page.viewed"];
                json!({
                    "meta": { "id": format!("e{n}"), "occurredAt": iso(n) }, "name": steps[n as usize % 4],
                    "customer": { "id": format!("c{}", n / 4 * 2 + n % 4 / 3), "country": of(n / 4, &["DE", "FR"]) },
                    "basket": { "total": n % 50 + 1, "currency": "EUR" },
                })
            }),
        ),
        (
            "segment.ndjson",
            json(150, &|n| {
                let kind = of(n, &["track", "page", "track"]);
                let mut event = json!({
                    "messageId": format!("m{n}"), "type": kind, "anonymousId": format!("a{}", n % 29),
                    "userId": if n % 2 == 0 { json!(format!("u{}", n % 29)) } else { Value::Null }, "timestamp": iso(n),
                    "context": { "library": { "name": "js", "version": of(n, &["2.0", "2.1"]) } },
                });
                if kind == "track" {
                    event["event"] = json!(of(n / 3, &["Product Added", "Order Completed"]));
                }
                event
            }),
        ),
        (
            "orders_cdc.ndjson",
            json(120, &|n| {
                let row = json!({ "id": n % 30, "customer_id": n % 11, "status": of(n, &["new", "paid"]), "total": n % 37 });
                json!({ "schema": { "type": "struct" }, "payload": { "before": row, "after": row, "op": of(n, &["c", "u", "d"]),
                    "source": { "ts_ms": START + n * 1_000, "table": of(n, &["orders", "customers"]) }, "ts_ms": START + n * 1_000 + 5 } })
            }),
        ),
        (
            "cloudevents.ndjson",
            json(120, &|n| {
                let kind = of(
                    n,
                    &[
                        "com.example.order.created",
                        "com.example.order.paid",
                        "com.example.order.failed",
                    ],
                );
                json!({ "specversion": "1.0", "id": format!("e{n}"), "source": "/shop", "type": kind, "time": iso(n),
                    "data": { "customerId": format!("c{}", n / 3), "amount": n % 40 + 1, "method": of(n, &["card", "paypal"]) } })
            }),
        ),
        (
            "logs.ndjson",
            json(200, &|n| {
                json!({ "Timestamp": iso(n), "SeverityText": of(n, &["INFO", "INFO", "INFO", "ERROR"]), "Body": format!("did {n}"),
                    "Resource": { "service.name": of(n, &["cart", "pay"]) },
                    "Attributes": { "http.status_code": ([200, 500][n as usize % 2]), "duration_ms": n % 17 } })
            }),
        ),
        (
            "k8s.ndjson",
            json(120, &|n| {
                json!({ "kind": "Event", "metadata": { "namespace": of(n, &["default", "shop"]), "uid": format!("{n:x}") },
                    "involvedObject": { "kind": "Pod", "name": format!("web-{}", n % 13) },
                    "reason": of(n, &["Scheduled", "Started", "BackOff"]), "source": { "host": format!("node{}", n % 3) },
                    "lastTimestamp": iso(n), "count": n % 5 + 1, "type": of(n / 7, &["Normal", "Normal", "Warning"]) })
            }),
        ),
        (
            "heartbeats.ndjson",
            json(
                100,
                &|n| json!({ "ts": START + n * 2_000, "type": "heartbeat", "host": format!("h{}", n % 6), "cpu": n % 97 }),
            ),
        ),
        (
            "messages.ndjson",
            json(
                100,
                &|n| json!({ "time": iso(n), "level": of(n, &["info", "info", "error"]), "msg": of(n / 2, &["request done", "cache miss"]) }),
            ),
        ),
    ]
}

#[test]
fn what_strangers_bring_is_understood() {
    let mut found = String::new();
    for (name, rows) in strangers() {
        let folder = Folder::default();
        let events = rows.len() - usize::from(name.ends_with(".csv"));
        let file = folder.write(name, &(rows.join("\n") + "\n"));
        let (config, report) = fitted(&folder, &file);
        assert_eq!(report["ledger"]["applied"], events, "{config}\n{report:#}");
        let out = folder.path("fitted.toml").display().to_string();
        let run = folder.command(&["init", &file, "--out", &out, "--force"]).run();
        let said =
            run.stdout.lines().filter(|line| line.starts_with("  ") && !line.contains("replay"));
        found += &format!("{name}\n");
        said.for_each(|line| found += &format!("{line}\n"));
        let config: toml::Table = toml::from_str(&config).unwrap();
        for metric in config["metric"].as_array().unwrap() {
            let of = |key: &str| {
                metric.get(key).map(|value| format!(" {key} {value}")).unwrap_or_default()
            };
            let more: String = ["field", "group_by"].into_iter().map(of).collect();
            found += &format!(
                "  | {}: {}{more}\n",
                metric["title"].as_str().unwrap(),
                metric["aggregate"].as_str().unwrap()
            );
        }
    }
    kept("strangers.txt", &found);
}

/// Names that an attribute may go by, and values of one event.
fn log(random: &mut Random) -> String {
    let pick = |random: &mut Random, names: &[&str]| {
        names[random.below(names.len() as u64) as usize].to_owned()
    };
    let time = pick(random, &["ts", "timestamp", "time", "created_at", "eventTime"]);
    let kind = pick(random, &["type", "event", "action", "event_name"]);
    let key = pick(random, &["user", "user_id", "customerId", "session", "client"]);
    let (form, ids) = (random.below(4), random.one_in(2));
    let extras =
        ["status", "region", "amount", "level", "path", "ok", "latency", "a b", "price.net"];
    let extras: Vec<&str> = extras.into_iter().filter(|_| random.one_in(2)).collect();
    let kinds = random.below(6) + 1;
    let step = [50, 5_000, 600_000][random.below(3) as usize];
    let mut text = String::new();
    for n in 0..random.below(400) + 30 {
        let at = START + n as i64 * step + random.below(step as u64) as i64;
        let mut event = Map::new();
        let written = match form {
            0 => json!(at),
            1 => json!(at / 1000),
            2 => json!(jiff::Timestamp::from_millisecond(at).unwrap().to_string()),
            _ => json!(at * 1000),
        };
        event.insert(time.clone(), written);
        event.insert(kind.clone(), json!(format!("kind{}", random.below(kinds))));
        event.insert(key.clone(), json!(format!("u{}", random.below(20))));
        if ids {
            event.insert("id".into(), json!(format!("e{n}")));
        }
        for extra in &extras {
            if random.one_in(5) {
                continue;
            }
            let value = match *extra {
                "status" => json!([200, 204, 404, 500][random.below(4) as usize]),
                "amount" | "latency" | "price.net" => json!(random.below(1_000) as f64 / 10.0),
                "ok" => json!(random.one_in(2)),
                "path" => json!(format!("/p/{}", random.below(30))),
                name => json!(format!("{name}{}", random.below(4))),
            };
            event.insert((*extra).into(), value);
        }
        text += &format!("{}\n", Value::Object(event));
    }
    text
}

#[test]
fn any_log_gets_a_configuration_that_counts_all_of_it() {
    let mut random = Random::seeded("init");
    for _ in 0..12 {
        let text = log(&mut random);
        let folder = Folder::default();
        let file = folder.write("events.ndjson", &text);
        let (config, report) = fitted(&folder, &file);
        let ledger = &report["ledger"];
        assert_eq!(ledger["applied"], text.lines().count(), "{ledger}\n{config}\n{}", &text[..600]);
        assert_eq!(report["metrics"]["events"]["sum"], text.lines().count() as f64, "{config}");
        assert!(report["sessions"]["closed"].as_u64() > Some(0), "{config}\n{}", &text[..600]);
    }
}

#[test]
fn what_is_there_stays_and_a_running_server_can_be_asked() {
    let folder = Folder::default();
    let server = folder.serve(HOLD).start();
    let events: Vec<String> = (0..50)
        .map(|n| {
            let kind = ["page_view", "cart_add"][n % 2];
            json!({ "id": n.to_string(), "ts": START + n as i64 * 1_000, "type": kind, "user": format!("u{}", n % 5) })
                .to_string()
        })
        .collect();
    Poster::new(server.target()).post(&events);
    server.wait_settled(50);
    let data = folder.data().display().to_string();
    let out = folder.path("mine.toml").display().to_string();
    let init = |args: &[&str]| {
        folder.command(&["init", "--data-dir", &data, "--out", &out]).args(args).run()
    };
    let run = init(&[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let text = std::fs::read_to_string(&out).unwrap();
    assert!(text.contains("from 50 events of the log of"), "{text}");
    assert!(text.contains("key = \"user\""), "{text}");
    // It may have been edited since.
    std::fs::write(&out, "mine").unwrap();
    let run = init(&[]);
    assert_eq!(run.code, Some(2));
    assert!(
        run.stderr.contains("mine.toml is there already: --force overwrites it"),
        "{}",
        run.stderr
    );
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "mine");
    assert_eq!(init(&["--force"]).code, Some(0));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), text);

    let nothing = folder.write("numbers.ndjson", "{\"a\":1}\n{\"a\":2}\n");
    let run = folder.command(&["init", &nothing, "--out", "-"]).run();
    assert!(
        run.code == Some(0) && run.stdout.contains("# ? Nothing looks like a user"),
        "{}",
        run.stdout
    );
    let run = folder.command(&["init", "nowhere.ndjson", "--out", "-"]).run();
    assert_eq!(run.code, Some(1));
}
