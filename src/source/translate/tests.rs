//! Files of every form become the rows that they hold, bad ones cost themselves only, and
//! every line is accounted for.

use std::io::Write as _;

use encoding_rs::{UTF_8, WINDOWS_1252};
use proptest::prelude::*;

use super::*;
use crate::source::mapping::Mapping;
use crate::source::records::Records;
use crate::source::tally::{FileReport, NeverSeen, Seen};

fn input(text: &[u8]) -> Input {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text).unwrap();
    Input {
        name: "test".into(),
        file,
        len: text.len() as u64,
        start: 0,
        framing: Framing::Lines(b'\n'),
        report: FileReport::default(),
    }
}

/// (line, event) or (line, row: reason).
type Rows = Vec<(u64, String)>;

fn try_translated(
    mapping: Option<&str>,
    text: &[u8],
    keep_going: bool,
) -> Result<(Rows, FileReport), OpenError> {
    let mapping = mapping.map(|mapping| Mapping::parse(mapping).unwrap());
    let encoding = mapping.as_ref().and_then(|mapping| mapping.encoding).unwrap_or(UTF_8);
    let how = How { mapping: mapping.as_ref(), encoding, keep_going, arrival: 99, room: u64::MAX };
    let made = translate(input(text), how, &Progress::default())?;
    let data = read_at(&made, 0, made.len as usize).unwrap();
    let rows = Records::new(&data, Framing::Framed, 0)
        .map(|record| {
            let text = &data[record.start..record.start + record.len];
            let text = String::from_utf8_lossy(text).into_owned();
            match record.reason(&data) {
                None => (record.line, text),
                Some(reason) => (record.line, format!("{text}: {reason}")),
            }
        })
        .collect();
    assert!(made.report.balances(), "{:#?}", made.report);
    Ok((rows, made.report))
}

fn translated(mapping: &str, text: &[u8]) -> (Rows, FileReport) {
    try_translated(Some(mapping), text, true).unwrap()
}

fn native(text: &[u8]) -> (Rows, FileReport) {
    try_translated(None, text, true).unwrap()
}

#[track_caller]
fn is(rows: &Rows, want: &[(u64, &str)]) {
    let found: Vec<_> = rows.iter().map(|(line, text)| (*line, text.as_str())).collect();
    assert_eq!(found, want);
}

const SHOP: &str = r#"
    format = "csv"
    [fields]
    ts = { column = "at", unit = "s" }
    type = { column = "what", map = { cart = "cart_add" }, default = "page_view" }
    user = "who"
    status = { column = "code", number = true }
"#;

#[test]
fn csv_cells_become_attributes_and_a_bad_one_costs_itself() {
    let mapping = SHOP.replace("[fields]", "drop_ts_below_ms = 1000\n[fields]");
    let rows = b"at,who,what,code\n\
        1,\"a \"\"b\"\"\",cart,200\n\
        soon,\"two\nlines\",x,1\n\
        0,old,x,1\n\
        2,,other,\n\
        \n\
        3,c,x,4o4\n\
        4\n";
    let (rows, report) = translated(&mapping, rows);
    is(
        &rows,
        &[
            (2, r#"{"ts":1000,"type":"cart_add","status":200,"user":"a \"b\""}"#),
            (
                3,
                "soon,\"two\nlines\",x,1: ts: no time in the declared form, which is unit = \"s\" (\"soon\")",
            ),
            (6, r#"{"ts":2000,"type":"page_view"}"#),
            (8, r#"{"ts":3000,"type":"page_view","user":"c"}"#),
            (9, r#"{"ts":4000,"type":"page_view"}"#),
        ],
    );
    assert_eq!((report.lines, report.header, report.blank, report.continued), (9, 1, 1, 1));
    assert_eq!((report.rows, report.mapped, report.filtered, report.rejected), (6, 4, 1, 1));
    let cell = &report.cells[0];
    assert_eq!(
        (cell.attribute.as_str(), cell.reason.as_str(), cell.count, cell.first_line),
        ("status", "not a number", 1, 8)
    );
    assert_eq!(cell.example, "4o4");
    assert!(report.notices[0].contains("1 rows have fewer cells"), "{:?}", report.notices);
}

#[test]
fn an_unclosed_quote_costs_one_row_wherever_it_stands() {
    let map = "format=\"csv\"\n[fields]\nts={column=\"ts\",unit=\"ms\"}\ntype={value=\"v\"}\nuser=\"user\"\ntitle=\"title\"";
    for (bad, after) in [
        ("\"20 inch bolt", "plain"),
        ("\"20 inch bolt", "\"well, quoted\""),
        ("\"20 inch bolt", "5\" pipe"),
        ("\"20 inch bolt", "\"\""),
        ("\"20 inch bolt", "\"say \"\"hi\"\"\""),
        ("\"", "plain"),
    ] {
        let mut text = "ts,user,title\n".to_owned();
        for n in 1..=300 {
            let title = if n == 11 { bad } else { after };
            text.push_str(&format!("{n},u{n},{title}\n"));
        }
        let (rows, report) = translated(map, text.as_bytes());
        assert_eq!(report.rows, 300, "{bad} among {after}");
        assert_eq!(report.rejected, 1, "{bad} among {after}");
        let refused: Vec<_> =
            rows.iter().filter(|(_, text)| text.contains("a quote opens")).collect();
        assert_eq!((refused.len(), refused[0].0), (1, 12), "{bad} among {after}");
    }
}

#[test]
fn quotes_may_hold_line_ends_and_stray_ones_stay() {
    let map =
        "format=\"csv\"\n[fields]\nts={column=\"ts\",unit=\"ms\"}\ntype={value=\"v\"}\nt=\"t\"";
    let (rows, report) =
        translated(map, b"ts,t\r\n1,\"a\r\nb\"\r\n2,\"c\"d\r\n3,5\" pipe\r\n4,\"last\nline\"");
    is(
        &rows,
        &[
            (2, "{\"ts\":1,\"type\":\"v\",\"t\":\"a\\r\\nb\"}"),
            (4, "{\"ts\":2,\"type\":\"v\",\"t\":\"cd\"}"),
            (5, "{\"ts\":3,\"type\":\"v\",\"t\":\"5\\\" pipe\"}"),
            (6, "{\"ts\":4,\"type\":\"v\",\"t\":\"last\\nline\"}"),
        ],
    );
    assert!(report.notices[0].starts_with("1 rows have a quote"), "{:?}", report.notices);
    assert_eq!((report.lines, report.continued), (7, 2));
}

#[test]
fn the_dialects_of_csv_are_read() {
    let fields = "[fields]\nts={column=\"at\",unit=\"ms\"}\ntype={value=\"v\"}\nuser=\"who\"";
    for (head, text) in [
        ("delimiter=\";\"", "at;who\n1;a"),
        ("delimiter=\"tab\"", "at\twho\n1\ta"),
        ("delimiter=\"|\"", "at|who\n1|a\n"),
        ("delimiter=\",\"", "sep=;\nat;who\n1;a\n"),
        ("comment=\"#\"", "# made today\nat,who\n#x\n1,a\n"),
        ("skip_lines=2", "A title\nand more\nat,who\n1,a\n"),
        ("columns=[\"at\",\"who\"]", "1,a\n"),
        ("", "at,who\r\n1,a\r\n"),
        ("", "at,who\r1,a\r"),
        ("", "\"at\" , who\n1,a"),
    ] {
        let (rows, _) = translated(&format!("format=\"csv\"\n{head}\n{fields}"), text.as_bytes());
        assert_eq!(rows.len(), 1, "{head} {text:?}");
        assert_eq!(rows[0].1, r#"{"ts":1,"type":"v","user":"a"}"#, "{head} {text:?}");
    }
    let escaped = format!("format=\"csv\"\nescape=\"\\\\\"\n{fields}");
    let (rows, _) = translated(&escaped, b"at,who\n1,\"a \\\"b\\\", c\"\n2,d\n");
    assert_eq!(rows[0].1, r#"{"ts":1,"type":"v","user":"a \"b\", c"}"#);
    assert_eq!(rows.len(), 2);
    let plain = format!("format=\"csv\"\nquoting=false\n{fields}");
    assert_eq!(
        translated(&plain, b"at,who\n1,\"a\n").0[0].1,
        r#"{"ts":1,"type":"v","user":"\"a"}"#
    );
}

#[test]
fn other_encodings_are_decoded_and_wrong_bytes_counted() {
    let map = |encoding: &str| {
        format!(
            "format=\"csv\"\n{encoding}\n[fields]\nts={{column=\"at\",unit=\"iso\"}}\ntype={{value=\"x\"}}\nuser=\"who\""
        )
    };
    for (encoding, bytes) in [
        ("encoding=\"latin-1\"", &b"at,who\n1970-01-01 00:00:01,caf\xe9\n"[..]),
        ("encoding=\"windows-1252\"", b"at,who\n1970-01-01 00:00:01,caf\xe9\n"),
        ("encoding=\"utf-8\"", "at,who\n1970-01-01 00:00:01,caf\u{e9}\n".as_bytes()),
        ("encoding=\"koi8-u\"", b"at,who\n1970-01-01 00:00:01,caf\xc5\n"),
    ] {
        let (rows, report) = translated(&map(encoding), bytes);
        let want = if encoding.contains("koi") { "caf\u{435}" } else { "caf\u{e9}" };
        assert_eq!(rows[0].1, format!(r#"{{"ts":1000,"type":"x","user":"{want}"}}"#));
        assert_eq!(report.wrong_bytes, None);
    }
    let (rows, report) = translated(&map(""), b"at,who\n1970-01-01 00:00:01,caf\xe9\n");
    assert_eq!(rows[0].1, "{\"ts\":1000,\"type\":\"x\",\"user\":\"caf\u{fffd}\"}");
    assert_eq!(report.wrong_bytes, Some(Seen { count: 1, first_line: 2 }));
    let how =
        How { mapping: None, encoding: WINDOWS_1252, keep_going: true, arrival: 0, room: u64::MAX };
    let made = translate(input(b"{\"a\":\"\xe9\"}\n"), how, &Progress::default()).unwrap();
    let data = read_at(&made, 0, made.len as usize).unwrap();
    assert!(String::from_utf8_lossy(&data).contains("{\"a\":\"\u{e9}\"}"));
}

#[test]
fn exploded_events_see_the_outer_fields() {
    let mapping = r#"
        format = "ndjson"
        explode = "events"
        [fields]
        ts = { column = "ts", unit = "ms" }
        type = "kind"
        user = "session"
        item = "aid"
    "#;
    let lines = b"{\"session\":7,\"events\":[{\"aid\":\"\\u0061\",\"ts\":1,\"kind\":\"k\"},{\"ts\":2,\"kind\":\"\"},5]}\nbroken\n{\"session\":8}\n";
    let (rows, report) = translated(mapping, lines);
    is(
        &rows,
        &[
            (1, r#"{"ts":1,"type":"k","item":"a","user":7}"#),
            (1, "{\"ts\":2,\"kind\":\"\"}: type: nothing in the row to make it of"),
            (1, "5: not JSON: invalid type: integer `5`, expected a map at line 1 column 1"),
            (2, "broken: not JSON: expected value at line 1 column 1"),
            (3, "{\"session\":8}: explode = \"events\": \"events\" is missing"),
        ]
        .map(|(line, text)| {
            // The words of the JSON reader are its own.
            if text.starts_with("5: ") { (line, rows[2].1.as_str()) } else { (line, text) }
        }),
    );
    assert!(rows[2].1.starts_with("5: "), "{rows:?}");
    assert_eq!(report.rows, 5);
    let nested = mapping.replace("\"events\"", "\"data.list\"");
    let document = b"{\n \"session\": 9,\n \"data\": {\"list\": [\n  {\"ts\":1,\"kind\":\"k\"},\n  {\"ts\":2,\"kind\":\"k\"}\n ]}\n}\n";
    let (rows, report) = translated(&nested, document);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!((report.lines, report.row_lines, report.continued), (7, 1, 6));
}

#[test]
fn json_lies_in_files_in_every_arrangement() {
    let (a, b) = (r#"{"ts":1,"x":{"y":"}{[]"}}"#, r#"{"ts":2}"#);
    let pretty = "{\n  \"ts\": 1,\n  \"x\": [\n    1\n  ]\n}";
    for (text, want) in [
        (format!("{a}\n{b}\n"), vec![(1, a), (2, b)]),
        (format!("[{a},{b}]"), vec![(1, a), (1, b)]),
        (format!("[\n{a},\n{b}\n]\n"), vec![(2, a), (3, b)]),
        (format!("[[{a}],\n[{b}]]\n"), vec![(1, a), (2, b)]),
        (format!("{a}{b}"), vec![(1, a), (1, b)]),
        (format!("{a},{b},\n"), vec![(1, a), (1, b)]),
        (format!("{pretty}\n{b}\n"), vec![(1, pretty), (7, b)]),
        (format!("[{pretty},\n {b}]\n"), vec![(1, pretty), (7, b)]),
        (format!("\u{1e}{a}\n\u{1e}{b}\n"), vec![(1, a), (2, b)]),
        (format!("[{a},{b}]\n{b}\n[{a}]\n"), vec![(1, a), (1, b), (2, b), (3, a)]),
        (format!("[{a},{b}"), vec![(1, a), (1, b)]),
        (format!("{a}\n{{\"ts\": 17, \"ty\n{b}\n"), vec![(1, a), (2, "{\"ts\": 17, \"ty"), (3, b)]),
        (format!("[\n{a},\n{{\"broken\": ,\n{b}\n]"), vec![(2, a), (3, "{\"broken\": ,"), (4, b)]),
        (format!("[{a},5,\"six\",\n{b}]"), vec![(1, a), (1, "5"), (1, "\"six\""), (2, b)]),
        (format!("junk\n{a}\n]\n{b}"), vec![(1, "junk"), (2, a), (3, "]"), (4, b)]),
        (format!("{a}\n{{\"cut\": [1,\n"), vec![(1, a), (2, "{\"cut\": [1,")]),
        ("[]".to_owned(), vec![]),
        ("\n \n[\n]\n".to_owned(), vec![]),
        (String::new(), vec![]),
    ] {
        let (rows, _) = native(text.as_bytes());
        let found: Vec<_> = rows.iter().map(|(line, text)| (*line, text.as_str())).collect();
        assert_eq!(found, want, "{text}");
        let returns = text.replace('\n', "\r\n");
        let (rows, _) = native(returns.as_bytes());
        let lines: Vec<u64> = rows.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, want.iter().map(|(line, _)| *line).collect::<Vec<_>>(), "{returns:?}");
    }
    let (_, report) = native(format!("[{a},{b}").as_bytes());
    assert!(report.notices[0].contains("begins on line 1 is not closed"), "{report:?}");
}

#[test]
fn a_row_that_is_too_long_costs_itself() {
    let long = "x".repeat(5 << 20);
    let text = format!("{{\"ts\":1}}\n{long}\n{{\"ts\":2}}\n{{\"a\":\"{long}\"}}\n{{\"ts\":3}}\n");
    let (rows, _) = native(text.as_bytes());
    let lines: Vec<u64> = rows.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [1, 2, 3, 4, 5]);
    for (place, bytes) in [(1, 5 << 20), (3, (5 << 20) + 8)] {
        let want = format!("a row of {bytes} bytes is longer than");
        assert!(rows[place].1.contains(&want), "{}", &rows[place].1[4_000..]);
    }
    let pretty = format!("[{{\n\"a\":\n\"{long}\"\n}},\n{{\"ts\":2}}]");
    let (rows, report) = native(pretty.as_bytes());
    assert_eq!(rows.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 5]);
    assert_eq!((report.rows, report.rejected), (2, 1));
    let csv = format!("at,who\n1,a\n2,{long}\n3,c\n");
    let (rows, _) = translated(
        &SHOP
            .replace(" = \"what\", map = { cart = \"cart_add\" }", " = \"who\"")
            .replace("\"code\"", "\"who\""),
        csv.as_bytes(),
    );
    assert_eq!(rows.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn log_lines_need_no_mapping() {
    let lines = b"h - - [01/Aug/1995:00:00:01 -0400] \"GET /a?b HTTP/1.0\" 200 1839\n\
        h - jos\xe9 [01/Aug/1995:00:00:01 -0400] \"\\x16\\x03\" 400 - \"-\" \"agent \\\"x\\\"\"\n\
        shop.example 192.0.2.1, 10.0.0.1 - - [1995-08-01T04:00:01.25+00:00] \"GET / HTTP/2\" 200 1 \"-\" \"x\" 0.1\n\
        not a log line\n";
    let (rows, report) = translated(Mapping::combined().text(), lines);
    is(
        &rows,
        &[
            (
                1,
                r#"{"ts":807249601000,"type":"http_request","bytes":1839,"method":"GET","path":"/a?b","status":200,"user":"h"}"#,
            ),
            (
                2,
                r#"{"ts":807249601000,"type":"http_request","method":"\\x16\\x03","status":400,"user":"h"}"#,
            ),
            (
                3,
                r#"{"ts":807249601250,"type":"http_request","bytes":1,"method":"GET","path":"/","status":200,"user":"192.0.2.1"}"#,
            ),
            (4, "not a log line: not a line of a web server's log (combined)"),
        ],
    );
    assert_eq!(report.wrong_bytes, Some(Seen { count: 1, first_line: 2 }));
}

#[test]
fn the_columns_of_a_w3c_log_may_change() {
    let text = b"#Software: IIS\r\n#Version: 1.0\r\n#Date: 2023-01-01 10:00:00\r\n\
        #Fields: date time c-ip cs-method cs-uri-stem sc-status\r\n\
        2023-01-01 10:00:00 192.0.2.1 GET /a 200\r\n\
        #Date: 2023-01-01 11:00:00\r\n\
        #Fields: time cs-uri-stem c-ip sc-status\r\n\
        11:00:00 /b 192.0.2.2 -\r\n\
        11:00:01 /b 192.0.2.2 200 more\r\n";
    let (rows, report) = translated(include_str!("../maps/w3c.toml"), text);
    is(
        &rows,
        &[
            (
                5,
                r#"{"ts":1672567200000,"type":"http_request","method":"GET","path":"/a","status":200,"user":"192.0.2.1"}"#,
            ),
            (8, r#"{"ts":1672570800000,"type":"http_request","path":"/b","user":"192.0.2.2"}"#),
            (9, "11:00:01 /b 192.0.2.2 200 more: it has 5 values where #Fields names 4 columns"),
        ],
    );
    assert_eq!((report.header, report.comment, report.rows), (2, 4, 3));
    assert_eq!(report.never_seen.len(), 1, "{report:?}");
    assert_eq!(report.never_seen[0].column, "sc-bytes");
    let wrong = try_translated(
        Some(
            "format=\"csv\"\ncolumns=[\"t\"]\n[fields]\nts={column=\"t\",unit=\"iso\"}\ntype={value=\"x\"}",
        ),
        text,
        true,
    );
    assert!(wrong.unwrap_err().to_string().contains("format = \"w3c\""));
}

#[test]
fn columns_that_are_not_there_are_named() {
    let map = "format=\"csv\"\n[fields]\nts={column=\"at\",unit=\"s\"}\ntype=\"evnt\"";
    let error = try_translated(Some(map), b"at,event\n", true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "test has no column \"evnt\", which the mapping uses; it has at, event; did you mean \"event\"?"
    );
    let error = try_translated(Some(map), b"at;evnt\n", true).unwrap_err();
    assert!(error.to_string().contains("it looks separated by \";\""), "{error}");
    let spare =
        "format=\"csv\"\n[fields]\nts={column=\"at\",unit=\"s\"}\ntype=[\"evnt\",\"event\"]";
    assert_eq!(translated(spare, b"at,event\n1,x\n").0[0].1, r#"{"ts":1000,"type":"x"}"#);
    let json = "format=\"json\"\n[fields]\nts={column=\"at\",unit=\"s\"}\ntype={value=\"x\"}\namount={column=\"properties.prise\",number=true}";
    let (_, report) = translated(json, b"{\"at\":1,\"properties\":{\"price\":2}}\n");
    assert_eq!(
        report.never_seen,
        [NeverSeen { column: "properties.prise".into(), near: Some("properties.price".into()) }]
    );
}

#[test]
fn a_map_that_fits_nothing_stops_after_the_first_thousand_rows() {
    let rows: String = (0..5_000).map(|n| format!("{n}x,a,b,1\n")).collect();
    let text = format!("at,who,what,code\n{rows}");
    let error = try_translated(Some(SHOP), text.as_bytes(), false).unwrap_err().to_string();
    for part in ["none of the first 1000 rows", "unit = \"s\"", "line 2", "--keep-going"] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    let (_, report) = translated(SHOP, text.as_bytes());
    assert_eq!(report.rejected, 5_000);
    let one = format!("at,who,what,code\n1,a,b,c\n{rows}");
    assert_eq!(try_translated(Some(SHOP), one.as_bytes(), false).unwrap().1.mapped, 1);
}

#[test]
fn rows_are_kept_and_dropped_by_condition() {
    let map = |filter: &str| {
        format!("format=\"csv\"\n{filter}\n[fields]\nts={{column=\"t\",unit=\"ms\"}}\ntype=\"e\"")
    };
    let text = b"t,e,s\n1,a,200\n2,b,404\n3,c,500\n4,d,\n";
    for (filter, want) in [
        ("", vec!["a", "b", "c", "d"]),
        ("keep={column=\"s\",is=200}", vec!["a"]),
        ("keep={column=\"s\",min=400}", vec!["b", "c"]),
        ("drop={column=\"s\",is=[\"404\",\"500\"]}", vec!["a", "d"]),
        ("keep=[{column=\"s\",present=true},{column=\"e\",not=\"a\"}]", vec!["b", "c"]),
        ("drop=[{column=\"e\",is=\"a\"},{column=\"s\",match=\"^5\"}]", vec!["b", "d"]),
    ] {
        let (rows, report) = translated(&map(filter), text);
        let kinds: Vec<String> =
            rows.iter().map(|(_, event)| event.split('"').nth(5).unwrap().to_owned()).collect();
        assert_eq!(kinds, want, "{filter}");
        assert_eq!(report.filtered, 4 - want.len() as u64);
    }
}

#[test]
fn a_translation_has_a_bound() {
    let mapping = Mapping::parse(SHOP).unwrap();
    let how =
        How { mapping: Some(&mapping), encoding: UTF_8, keep_going: true, arrival: 0, room: 50 };
    let text = b"at,who,what,code\n1,a,b,1\n2,a,b,1\n";
    let error = translate(input(text), how, &Progress::default()).unwrap_err();
    assert!(error.to_string().contains("--unpacked-max"), "{error}");
}

/// Pieces that files are made of, the odd ones too.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            "\"",
            "\\",
            "\n",
            "\r\n",
            "\r",
            " ",
            "\t",
            ";",
            "#",
            ":",
            "{\"ts\":1}",
            "{\"at\":\"x\"}",
            "[{\"ts\":1},",
            "1,a,b,2\n",
            "at,who,what,code\n",
            "#Fields: date time c-ip\n",
            "2023-01-01 10:00:00 192.0.2.1\n",
            "\u{e9}",
            "\"a\nb\"",
            "h - - [01/Aug/1995:00:00:01 -0400] \"GET / HTTP/1.0\" 200 1839\n",
            "\0",
            "\u{1e}",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever lies in a file: no panic, every line and every row is accounted for, and every
    /// row that is not an event has a reason and a line.
    #[test]
    fn any_bytes_are_accounted_for(bytes in anything()) {
        let maps = [
            None,
            Some(SHOP.to_owned()),
            Some(SHOP.replace("\"csv\"", "\"json\"")),
            Some(SHOP.replace("\"csv\"", "\"json\"\nexplode = \"at\"\ncomment = \"#\"")),
            Some(SHOP.replace("\"csv\"", "\"csv\"\nescape = \"\\\\\"\ncolumns = [\"at\",\"who\",\"what\",\"code\"]")),
            Some(include_str!("../maps/w3c.toml").to_owned()),
            Some(include_str!("../maps/combined.toml").to_owned()),
            Some(SHOP.replace("\"csv\"", "\"csv\"\nskip_lines = 2\nquoting = false\nencoding = \"shift_jis\"")),
        ];
        for map in maps {
            match try_translated(map.as_deref(), &bytes, true) {
                Ok((rows, report)) => {
                    prop_assert!(report.balances(), "{map:?} {report:?}");
                    prop_assert_eq!(rows.len() as u64, report.events + report.rejected);
                    prop_assert!(rows.iter().all(|(line, _)| (1..=report.lines).contains(line)));
                }
                Err(OpenError::NoSuchColumn { .. } | OpenError::Form { .. }) => {}
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }

    /// Any table written by a CSV writer comes back as it was.
    #[test]
    fn tables_come_back_as_they_were_written(
        table in prop::collection::vec(("[a-z\",;\n\r é]{0,8}", 1i64..9_999), 1..30),
        crlf: bool,
    ) {
        let mut writer = ::csv::WriterBuilder::new()
            .terminator(if crlf { ::csv::Terminator::CRLF } else { ::csv::Terminator::Any(b'\n') })
            .from_writer(Vec::new());
        writer.write_record(["at", "who", "what", "code"]).unwrap();
        for (who, at) in &table {
            writer.write_record([&at.to_string(), who, "x", "1"]).unwrap();
        }
        let (rows, report) = translated(SHOP, &writer.into_inner().unwrap());
        prop_assert_eq!(report.rejected, 0);
        prop_assert_eq!(rows.len(), table.len());
        for ((_, event), (who, at)) in rows.iter().zip(&table) {
            let event: serde_json::Value = serde_json::from_str(event).unwrap();
            prop_assert_eq!(event["ts"].as_i64(), Some(at * 1_000));
            prop_assert_eq!(event["user"].as_str().unwrap_or(""), who);
        }
    }
}
