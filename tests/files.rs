//! Shows that files as people have them replay to the right numbers, or to a sentence that says
//! what is wrong: encodings, archives, JSON in every arrangement, CSV with its accidents, the
//! logs of web servers, times and numbers in the forms that maps declare.
//!
//! How: writes small files, runs the real binary on them, and reads the JSON report.

mod support;

use std::io::Write;

use serde_json::{Value, json};

use support::events::Event;

use support::{Folder, Run, run};

/// A replay of `files` (name, content) in a fresh folder, of the first of them unless `args`
/// names others.
struct Case {
    folder: Folder,
    args: Vec<String>,
}

impl Case {
    fn new(name: &str, content: impl AsRef<[u8]>) -> Self {
        let case = Case { folder: Folder::default(), args: Vec::new() };
        let path = case.write(name, content);
        Case { args: vec![path], ..case }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.path(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn map(mut self, map: &str) -> Self {
        let path = self.write("map.toml", map);
        self.args.extend(["--map".to_owned(), path]);
        self
    }

    fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    fn run(&self, extra: &[&str]) -> Run {
        let args: Vec<&str> =
            ["replay"].into_iter().chain(self.args.iter().map(String::as_str)).collect();
        self.folder.command(&[&args[..], extra].concat()).run()
    }

    /// The report of a run that applied something.
    #[track_caller]
    fn report(&self) -> Value {
        let run = self.run(&["--json"]);
        assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
        run.json()
    }
}

/// (received, applied, rejected, sessions).
fn counts(report: &Value) -> [u64; 4] {
    let ledger = &report["ledger"];
    [&ledger["received"], &ledger["applied"], &ledger["rejected"], &report["sessions"]["closed"]]
        .map(|count| count.as_u64().unwrap())
}

const PLAIN_MAP: &str = "format = \"csv\"\n[fields]\nts = { column = \"ts\", unit = \"ms\" }\n\
                         type = \"type\"\nuser = \"user\"\n";

#[test]
fn a_quote_that_is_never_closed_costs_one_row_and_is_named() {
    let mut csv = "ts,type,user,title\n".to_owned();
    for n in 0..200 {
        let title = if n == 10 { "\"20 inch bolt" } else { "plain" };
        csv.push_str(&format!("{},page_view,u{},{title}\n", 1_600_000_000_000i64 + n, n % 20));
    }
    let case = Case::new("input.csv", csv).map(PLAIN_MAP);
    let report = case.report();
    assert_eq!(counts(&report), [200, 199, 1, 20], "{report}");
    let rejected = &report["rejected"][0];
    assert_eq!(rejected["first"]["line"], 12, "{report}");
    assert!(rejected["reason"].as_str().unwrap().contains("a quote opens"), "{report}");
    let file = &report["files"][0];
    assert_eq!(
        (&file["lines"], &file["header"], &file["rows"]),
        (&json!(201), &json!(1), &json!(200))
    );
    let strict = case.run(&["--strict"]);
    assert_eq!(strict.code, Some(6), "{}", strict.stderr);
    for part in ["201 lines = 200 with rows + 1 of header", "1 rejected", "input.csv line 12"] {
        assert!(strict.stdout.contains(part), "no {part:?} in {}", strict.stdout);
    }
}

#[test]
fn byte_order_marks_are_no_part_of_the_first_cell() {
    let log = "192.0.2.1 - - [10/Oct/2020:13:55:36 +0000] \"GET / HTTP/1.1\" 200 23 \"-\" \"x\"\r\n\
               192.0.2.1 - - [10/Oct/2020:13:56:36 +0000] \"GET /a HTTP/1.1\" 404 23 \"-\" \"x\"\r\n";
    let sessions = |case: Case| {
        let out = case.folder.path("s.csv").display().to_string();
        let report = case.with(&["--sessions-out", &out]);
        let counts = counts(&report.report());
        (counts, std::fs::read_to_string(out).unwrap())
    };
    let (found, list) = sessions(Case::new("access.log", format!("\u{feff}{log}")));
    assert_eq!(found, [2, 2, 0, 1]);
    assert_eq!(list, "192.0.2.1,1602338136000,1602338196000,2\n");
    for little in [true, false] {
        let mut wide = if little { vec![0xff, 0xfe] } else { vec![0xfe, 0xff] };
        for unit in log.encode_utf16() {
            wide.extend(if little { unit.to_le_bytes() } else { unit.to_be_bytes() });
        }
        assert_eq!(sessions(Case::new("wide.log", &wide)).0, [2, 2, 0, 1]);
        assert_eq!(sessions(Case::new("bare.log", &wide[2..])).0, [2, 2, 0, 1], "without a mark");
    }
    let events = "\u{feff}{\"when\":1600000000000,\"what\":\"cart\",\"who\":\"a\"}\n\
                  {\"when\":1600000060000,\"what\":\"pay\",\"who\":\"a\"}\n";
    let map = "format = \"ndjson\"\n[fields]\nts = { column = \"when\", unit = \"ms\" }\n\
               type = { column = \"what\", map = { cart = \"cart_add\", pay = \"payment_completed\" } }\n\
               user = \"who\"\n";
    let report = Case::new("mapped.ndjson", events).map(map).report();
    assert_eq!((counts(&report), &report["sessions"]["converted"]), ([2, 2, 0, 1], &json!(1)));
    let native = "\u{feff}{\"ts\":1600000000000,\"type\":\"v\",\"user\":\"a\"}\n";
    assert_eq!(counts(&Case::new("native", native).report()), [1, 1, 0, 1]);
}

#[test]
fn bytes_of_another_encoding_cost_no_line() {
    let log = b"192.0.2.1 - - [10/Oct/2020:13:40:36 +0000] \"GET /a HTTP/1.1\" 200 23 \"-\" \"x\"\n\
        192.0.2.1 - - [10/Oct/2020:13:40:37 +0000] \"GET /caf\xe9 HTTP/1.1\" 404 23 \"-\" \"x\"\n\
        192.0.2.1 - jos\xe9 [10/Oct/2020:13:40:38 +0000] \"GET /b HTTP/1.1\" 500 23 \"-\" \"x\"\n\
        192.0.2.1 - - [10/Oct/2020:13:40:39 +0000] \"GET /c HTTP/1.1\" 503 23 \"http://x/?q=\xfc\" \"x\"\n";
    let map = "format = \"combined\"\nencoding = \"latin-1\"\n[fields]\n\
               ts = { column = \"time\", unit = \"clf\" }\ntype = { default = \"http_request\" }\n\
               user = \"host\"\npath = \"path\"\nstatus = { column = \"status\", number = true }\n";
    let plain = Case::new("access.log", log).report();
    assert_eq!(counts(&plain), [4, 4, 0, 1], "{plain}");
    assert_eq!(plain["files"][0]["wrong_bytes"], json!({ "count": 3, "first_line": 2 }));
    let mapped = Case::new("access.log", log).map(map).report();
    assert_eq!(counts(&mapped), [4, 4, 0, 1], "{mapped}");
    assert_eq!(mapped["files"][0]["wrong_bytes"], Value::Null);
    let native = b"{\"ts\":1600000000000,\"type\":\"v\",\"user\":\"jos\xe9\"}\n";
    assert_eq!(counts(&Case::new("native", native).report()), [1, 1, 0, 1]);
    let out = Case::new("native", native);
    let list = out.folder.path("s.csv").display().to_string();
    let out = out.with(&["--encoding", "latin-1", "--sessions-out", &list]);
    out.report();
    assert!(std::fs::read_to_string(list).unwrap().starts_with("jos\u{e9},"));
}

#[test]
fn json_may_be_one_array_or_written_over_several_lines() {
    let array = "[\n  {\n    \"id\": \"1\",\n    \"ts\": 1600000000000,\n    \"type\": \"cart_add\",\n    \"user\": \"a\"\n  },\n  { \"id\": \"2\", \"ts\": 1600000001000, \"type\": \"page_view\", \"user\": \"a\" }\n]\n";
    let objects = "{\n \"id\":\"1\",\"ts\":1600000000000,\n \"type\":\"cart_add\",\"user\":\"a\"}\n{\n \"id\":\"2\",\"ts\":1600000001000,\n \"type\":\"page_view\",\"user\":\"a\"}\n";
    for (name, text) in [("array.json", array), ("objects.json", objects)] {
        let report = Case::new(name, text).report();
        assert_eq!(counts(&report), [2, 2, 0, 1], "{name}: {report}");
    }
    // Each event of an array in a line has its own place in time.
    let mixed = "[{\"ts\":1699920000000,\"type\":\"v\",\"user\":\"a\"},{\"ts\":1699938000000,\"type\":\"v\",\"user\":\"a\"}]\n\
                 {\"ts\":1699923600000,\"type\":\"v\",\"user\":\"b\"}\n\
                 {\"ts\":1699927200000,\"type\":\"v\",\"user\":\"c\"}\n";
    let report = Case::new("mixed", mixed).report();
    assert_eq!((counts(&report)[1], &report["ledger"]["late"]), (4, &json!(0)), "{report}");
    assert_eq!(report["time"]["first"], "2023-11-14T00:00:00Z", "{report}");
}

#[test]
fn a_run_that_applies_nothing_says_why_and_ends_with_code_6() {
    let lines =
        "{\"time\":1600000000000,\"event\":\"x\"}\n{\"time\":1600000000001,\"event\":\"x\"}\n";
    let case = Case::new("events.ndjson", lines);
    let text = case.run(&[]);
    assert_eq!(text.code, Some(6), "{}{}", text.stdout, text.stderr);
    assert!(text.stderr.contains("nothing was applied"), "{}", text.stderr);
    assert!(text.stdout.contains("rejected, because"), "{}", text.stdout);
    assert!(text.stdout.contains("\"ts\""), "the missing attribute is named: {}", text.stdout);
    let json = case.run(&["--json"]);
    assert_eq!(json.code, Some(6));
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(report["rejected"][0]["count"], 2, "{report}");
    assert_eq!(report["rejected"][0]["first"]["line"], 1, "{report}");
    assert_eq!(Case::new("empty", "").run(&[]).code, Some(6), "an empty file applies nothing");
}

#[test]
fn times_in_the_brackets_of_a_log_may_be_iso() {
    let log = "192.0.2.1 - - [2023-01-31T00:00:02.146+00:00] \"GET / HTTP/1.1\" 200 0 \"-\" \"C\" \"-\" 0.034\n\
               192.0.2.1 - - [2023-01-31T00:00:03.146+00:00] \"GET / HTTP/1.1\" 500 0 \"-\" \"C\" \"-\" 0.034\n";
    let report = Case::new("access.log", log).report();
    assert_eq!(counts(&report), [2, 2, 0, 1], "{report}");
    assert_eq!(report["time"]["first_ms"], 1_675_123_202_146i64);
}

#[test]
fn times_are_read_in_the_form_that_the_map_declares() {
    for (cell, form, want) in [
        ("2019-10-01 00:00:00 UTC", "unit = \"iso\"", 1_569_888_000_000i64),
        ("1509575121.648", "unit = \"s\"", 1_509_575_121_648),
        ("1620291751177123", "unit = \"us\"", 1_620_291_751_177),
        ("1620291751177123456", "unit = \"ns\"", 1_620_291_751_177),
        (
            "24.12.2023 18:00:00",
            "format = \"%d.%m.%Y %H:%M:%S\", zone = \"Europe/Berlin\"",
            1_703_437_200_000,
        ),
        ("2023-07-01 12:00:00", "unit = \"iso\", zone = \"Europe/Berlin\"", 1_688_205_600_000),
        ("Tue, 15 Nov 1994 12:45:26 GMT", "unit = \"http\"", 784_903_526_000),
        ("01/Aug/1995:00:00:01 -0400", "unit = \"clf\"", 807_249_601_000),
    ] {
        let map = format!(
            "format = \"csv\"\ndelimiter = \";\"\n[fields]\nts = {{ column = \"ts\", {form} }}\ntype = \"type\"\nuser = \"user\"\n"
        );
        let csv = format!("ts;type;user\n{cell};cart_add;a\n");
        let report = Case::new("t.csv", csv).map(&map).report();
        assert_eq!(report["time"]["first_ms"], want, "{cell} {form}: {report}");
    }
    let iso =
        "format = \"csv\"\n[fields]\nts = { column = \"ts\", unit = \"iso\" }\ntype = \"type\"\n";
    let run = Case::new("t.csv", "ts,type\n24.12.2023 18:00:00,v\n").map(iso).run(&[]);
    assert_eq!(run.code, Some(6), "{}", run.stderr);
    assert!(run.stdout.contains("format = \"%d.%m.%Y %H:%M:%S\" would read"), "{}", run.stdout);
}

#[test]
fn a_w3c_log_needs_no_map_and_its_columns_may_change() {
    let log = "#Software: Microsoft Internet Information Services 10.0\r\n#Version: 1.0\r\n\
        #Date: 2023-01-01 10:00:00\r\n\
        #Fields: date time c-ip cs-method cs-uri-stem cs(User-Agent) sc-status\r\n\
        2023-01-01 10:00:00 192.0.2.1 GET /a Mozilla/5.0+(X11) 200\r\n\
        2023-01-01 10:05:00 192.0.2.1 GET /b Mozilla/5.0+(X11) 404\r\n\
        #Software: Microsoft Internet Information Services 10.0\r\n#Date: 2023-01-01 11:00:00\r\n\
        #Fields: date time cs-method cs-uri-stem c-ip sc-status\r\n\
        2023-01-01 11:00:00 GET /a 192.0.2.1 200\r\n";
    let report = Case::new("u_ex.log", log).report();
    assert_eq!(counts(&report), [3, 3, 0, 2], "{report}");
    assert_eq!(report["files"][0]["never_seen"], Value::Null, "nobody asked for sc-bytes");
    let front = "#Version: 1.0\n#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status\n\
        2023-01-01\t10:00:00\tFRA2\t182\t192.0.2.1\tGET\td.example\t/a%20b\t200\n\
        2023-01-01\t10:00:01\tFRA2\t182\t192.0.2.1\tGET\td.example\t/b\t000\n";
    let report = Case::new("front.log", front).report();
    assert_eq!(counts(&report), [2, 2, 0, 1], "{report}");
}

#[test]
fn nested_columns_are_found_and_missing_ones_named() {
    let line = "{\"timestamp\":\"2023-01-01T00:00:00.000Z\",\"event\":\"Product Added\",\"anonymousId\":\"a\",\"properties\":{\"price\":12.5,\"items\":[{\"sku\":\"s1\"}]}}\n";
    let map = |column: &str| {
        format!(
            "format = \"ndjson\"\n[fields]\nts = {{ column = \"timestamp\", unit = \"iso\" }}\n\
                 type = {{ column = \"event\", map = {{ \"Product Added\" = \"cart_add\" }} }}\n\
                 user = \"anonymousId\"\namount = {{ column = \"{column}\", number = true }}\n\
                 sku = \"properties.items.0.sku\"\n"
        )
    };
    let data = |case: Case| {
        let out = case.folder.path("w.csv").display().to_string();
        let case = case.with(&["--windows-out", &out]);
        (case.report(), std::fs::read_to_string(out).unwrap())
    };
    let (report, _) = data(Case::new("e.ndjson", line).map(&map("properties.price")));
    assert_eq!(counts(&report), [1, 1, 0, 1]);
    assert_eq!(report["files"][0]["never_seen"], Value::Null, "{report}");
    let (report, _) = data(Case::new("e.ndjson", line).map(&map("properties.prise")));
    assert_eq!(
        report["files"][0]["never_seen"],
        json!([{ "column": "properties.prise", "near": "properties.price" }]),
    );
}

#[test]
fn archives_are_known_by_their_bytes() {
    let csv = b"ts,type,user\n1600000000000,cart_add,a\n";
    let gzip = |bytes: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    let bzip2 = |bytes: &[u8]| {
        let mut packed = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let (head, tail) = csv.split_at(20);
    for (name, packed) in [
        ("gzip", gzip(csv)),
        ("gzip", [gzip(head), gzip(tail)].concat()),
        ("bzip2", bzip2(csv)),
        ("bzip2", [bzip2(head), bzip2(tail)].concat()),
        ("zstd", zstd(csv)),
        ("zstd", [zstd(head), zstd(tail)].concat()),
        ("xz", XZ.to_vec()),
        ("xz", [XZ, XZ_TAIL].concat()),
    ] {
        // The name says nothing, or lies.
        let report = Case::new("input.txt", &packed).map(PLAIN_MAP).report();
        let events = counts(&report)[1];
        assert!((1..=2).contains(&events), "{name}: {report}");
        assert_eq!(report["files"][0]["packing"], name);
        let cut = &packed[..packed.len() - 6];
        let run = Case::new("input.csv.gz", cut).map(PLAIN_MAP).run(&[]);
        assert_eq!(run.code, Some(1), "{name}: {}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains(&format!("the {name} archive is")), "{}", run.stderr);
        assert!(run.stderr.contains("input.csv.gz"), "{}", run.stderr);
    }
    for (bytes, want) in [
        (&b"PK\x03\x04xxxxxxxx"[..], "is a zip archive"),
        (b"7z\xbc\xaf\x27\x1cxxxx", "is a 7z archive"),
        (b"PAR1xxxx", "is a Parquet file"),
        (b"\x00\x01\x02\x03binary\x00\xff", "is not text"),
    ] {
        let run = Case::new("odd", bytes).run(&[]);
        assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains(want), "no {want:?} in {}", run.stderr);
        assert!(!run.stderr.contains('\u{1}'), "no bytes of it on the terminal");
    }
    let bomb = Case::new("bomb.gz", gzip(&vec![b'\n'; 3 << 20])).with(&["--unpacked-max", "1MiB"]);
    let run = bomb.run(&[]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("--unpacked-max"), "{}", run.stderr);
}

/// `ts,type,user\n1600000000000,cart_add,a\n`, packed with xz.
const XZ: &[u8] = include_bytes!("fixtures/files/events.csv.xz");
/// `1600000001000,page_view,a\n`, packed with xz.
const XZ_TAIL: &[u8] = include_bytes!("fixtures/files/more.csv.xz");

#[test]
fn load_balancers_and_json_logs_are_known_by_their_form() {
    let alb = "h2 2024-05-28T08:12:36.431832Z app/x/1 198.51.100.10:13624 10.0.0.1:8000 0.0 0.1 0.0 200 200 961 2071 \"GET https://shop.example:443/ HTTP/2.0\" \"M\" - -\n\
               h2 2024-05-28T08:12:40.431832Z app/x/1 198.51.100.10:13702 - -1 -1 -1 503 - 961 2071 \"GET https://shop.example:443/a HTTP/2.0\" \"M\" - - TID_1 \"-\"\n";
    let elb = "2015-05-13T23:39:43.945958Z my-elb 192.168.131.39:2817 10.0.0.1:80 0.000073 0.001048 0.000057 200 200 0 29 \"GET http://www.example.com:80/ HTTP/1.1\" \"curl/7.38.0\" - -\n";
    let caddy = "{\"level\":\"info\",\"ts\":1646861401.5241024,\"msg\":\"started\"}\n\
                 {\"level\":\"info\",\"ts\":1646861402.5241024,\"msg\":\"handled request\",\"request\":{\"remote_ip\":\"192.0.2.1\",\"method\":\"GET\",\"uri\":\"/\"},\"size\":12,\"status\":200,\"duration\":0.01}\n";
    let nginx = "{\"time_iso8601\":\"2024-05-28T08:12:36+00:00\",\"remote_addr\":\"192.0.2.1\",\"request\":\"GET / HTTP/1.1\",\"status\":\"200\",\"body_bytes_sent\":\"12\"}\n";
    for (name, text, want) in [
        ("alb", alb, [2, 2, 0, 1]),
        ("elb", elb, [1, 1, 0, 1]),
        ("caddy", caddy, [1, 1, 0, 1]),
        ("nginx", nginx, [1, 1, 0, 1]),
    ] {
        let report = Case::new(name, text).report();
        assert_eq!(counts(&report), want, "{name}: {report}");
    }
    let map = "format = \"csv\"\ndelimiter = \" \"\n\
        columns = [\"type\",\"time\",\"elb\",\"client\",\"target\",\"rp\",\"tp\",\"sp\",\"status\"]\n\
        [fields]\nts = { column = \"time\", unit = \"iso\" }\ntype = { default = \"http_request\" }\n\
        user = { column = \"client\", before_last = \":\" }\nstatus = { column = \"status\", number = true }\n";
    assert_eq!(counts(&Case::new("alb.log", alb).map(map).report()), [2, 2, 0, 1]);
}

#[test]
fn folders_and_patterns_are_read_in_the_order_of_names() {
    let whole = Folder::default();
    let folder = whole.path("logs");
    std::fs::create_dir(&folder).unwrap();
    for (name, ts) in [("b.ndjson", 1_600_000_002_000), ("a.ndjson", 1_600_000_001_000)] {
        std::fs::write(folder.join(name), Event::new(name, ts, "v", "u").line() + "\n").unwrap();
    }
    std::fs::write(folder.join(".hidden"), "junk").unwrap();
    let folder = folder.display().to_string();
    let files = |report: &Value| -> Vec<String> {
        let files = report["files"].as_array().unwrap().iter();
        files
            .map(|file| file["name"].as_str().unwrap().rsplit('/').next().unwrap().into())
            .collect()
    };
    for path in [folder.clone(), format!("{folder}/*.ndjson")] {
        let report = Case { folder: Folder::default(), args: vec![path.clone()] }.report();
        assert_eq!(files(&report), ["a.ndjson", "b.ndjson"], "{path}: {report}");
        assert_eq!(counts(&report), [2, 2, 0, 1]);
    }
    let none = Case { folder: Folder::default(), args: vec![format!("{folder}/*.log")] }.run(&[]);
    assert!(none.stderr.contains("is a pattern that no file fits"), "{}", none.stderr);
}

#[test]
fn a_map_that_fits_nothing_stops_early() {
    let rows: String = (0..3_000).map(|n| format!("{n}x,a,b\n")).collect();
    let case = Case::new("x.csv", format!("ts,type,user\n{rows}")).map(PLAIN_MAP);
    let run = case.run(&[]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    for part in ["none of the first 1000 rows", "line 2", "--keep-going", "tidewatch map"] {
        assert!(run.stderr.contains(part), "no {part:?} in {}", run.stderr);
    }
    let all = case.run(&["--keep-going", "--json"]);
    assert_eq!(all.code, Some(6), "{}", all.stderr);
    let report: Value = serde_json::from_str(&all.stdout).unwrap();
    assert_eq!(report["ledger"]["rejected"], 3_000);
}

#[test]
fn what_is_written_is_csv_whatever_the_keys() {
    let keys = ["a,b", "li\nne", "\"q\"", "plain", "c\rr", " s "];
    let lines: String = keys
        .iter()
        .zip(1_600_000_000_000i64..)
        .map(|(key, ts)| format!("{}\n", json!({ "ts": ts, "type": "v", "user": key })))
        .collect();
    let config = "[[metric]]\nname = \"by_user\"\naggregate = \"count\"\ngroup_by = [\"user\"]\nwindow = { tumbling = \"1m\" }\n";
    let case = Case::new("e.ndjson", lines);
    let config = case.write("c.toml", config);
    let (sessions, windows) = (
        case.folder.path("s.csv").display().to_string(),
        case.folder.path("w.csv").display().to_string(),
    );
    let case =
        case.with(&["--config", &config, "--sessions-out", &sessions, "--windows-out", &windows]);
    case.report();
    let read = |path: &str| -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_path(path).unwrap();
        let rows = reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect());
        rows.collect()
    };
    let found: Vec<String> = read(&sessions).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(found, keys);
    let mut groups: Vec<String> = read(&windows)
        .into_iter()
        .filter(|row| row[0] == "by_user")
        .map(|row| row[2].clone())
        .collect();
    groups.sort();
    let mut want = keys.map(str::to_owned).to_vec();
    want.sort();
    assert_eq!(groups, want);
}

#[test]
fn standard_output_of_json_is_json_alone() {
    let case = Case::new("e", Event::new("1", 1_600_000_000_000, "v", "u").line() + "\n");
    let run = case.run(&["--json", "--listen", "127.0.0.1:0"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    serde_json::from_str::<Value>(&run.stdout).expect(&run.stdout);
    assert!(run.stderr.contains("dashboard: http://"), "{}", run.stderr);
}

#[test]
fn csv_without_a_map_points_to_the_command_that_writes_one() {
    let run = Case::new("clicks.csv", "when;what;who\n1;a;b\n2;a;c\n").run(&[]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    for part in ["looks like CSV", "\";\"", "tidewatch map"] {
        assert!(run.stderr.contains(part), "no {part:?} in {}", run.stderr);
    }
}

#[test]
fn a_proposed_map_works_on_its_file() {
    let case = Case::new(
        "clicks.csv",
        "event_time,event_type,user_id,price\n\
         2019-10-01 00:00:00 UTC,view,u1,\"12,50\"\n\
         2019-10-01 00:00:01 UTC,cart,u1,\"1.200,50\"\n\
         2019-10-01 00:00:02 UTC,purchase,u2,\"3,99\"\n",
    );
    let file = case.args[0].clone();
    let map = run(&["map", &file]);
    assert_eq!(map.code, Some(0), "{}{}", map.stdout, map.stderr);
    for part in ["unit = \"iso\"", "number = \"1.200,50\"", "cart_add", "user = \"user_id\""] {
        assert!(map.stdout.contains(part), "no {part:?} in {}", map.stdout);
    }
    assert!(map.stderr.contains("\"amount\":1200.50"), "the events are shown: {}", map.stderr);
    let report = case.map(&map.stdout).report();
    assert_eq!(counts(&report), [3, 3, 0, 2], "{report}");
    let missing = run(&["map", "/nonexistent.csv"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("/nonexistent.csv"), "{}", missing.stderr);
}
