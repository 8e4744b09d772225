//! That the fast road ends where the general reader does, whatever the configuration, and that
//! it is taken at all.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::event::decode::Decoder;
use crate::event::draft::Space;
use crate::event::names::Naming;
use crate::event::time_rule::TimeRule;
use crate::event::{Derived, How, Limits, Note, NoteTime, Schema};
use crate::expr::{Expr, Kind, Scope};
use crate::number::text::NumberFormat;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn aliases(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
}

fn derived(name: &str, text: &str) -> Derived {
    struct Attributes;
    impl Scope for Attributes {
        fn kind(&self, _: &str) -> Result<Kind, String> {
            Ok(Kind::Any)
        }
    }
    Derived { name: name.to_owned(), how: How::Expr(Expr::parse(text, &Attributes).unwrap()) }
}

/// One of each kind of configuration.
fn schemas() -> Vec<Schema> {
    let plain = Schema {
        slots: words(&["type", "amount", "region", "a"]),
        event_types: words(&["buy", "view"]),
        ..Schema::default()
    };
    let time = |form, zone| TimeRule::declared(form, zone).unwrap();
    vec![
        Schema::default(),
        plain.clone(),
        Schema {
            slots: words(&["user", "id", "ts", "amount", "a.b", "a", "a.b.0"]),
            aliases: aliases(&[
                ("uid", "user"),
                ("a.b", "amount"),
                ("price", "amount"),
                ("time", "ts"),
            ]),
            time: time("s", ""),
            ..plain.clone()
        },
        Schema {
            keys: words(&["user", "region"]),
            anonymous: Some("visitor".to_owned()),
            aliases: aliases(&[("uid", "user"), ("a", "region")]),
            time: time("auto", "Europe/Berlin"),
            arrival_is_time: true,
            numbers: vec![("amount".to_owned(), NumberFormat::by_example("1.234,56").unwrap())],
            ..plain.clone()
        },
        Schema { time: time("iso", ""), ..plain.clone() },
        Schema {
            slots: words(&["amount", "region", "a", "twice", "place"]),
            derived: vec![derived("twice", "amount * 2"), derived("place", "region + \"/\" + a")],
            ..plain.clone()
        },
        Schema { time: time("%d.%m.%Y %H:%M:%S", "Europe/Berlin"), ..plain.clone() },
        Schema {
            limits: Limits {
                event_bytes: 120,
                depth: 1,
                key_bytes: 6,
                text_bytes: 9,
                session_key_bytes: 4,
                attributes: 5,
                ..Limits::default()
            },
            ..plain.clone()
        },
        Schema { limits: Limits { depth: 0, ..Limits::default() }, ..plain },
    ]
}

fn notes() -> Vec<Note> {
    let filled = Note {
        id: "note-1".into(),
        attributes: smallvec::smallvec![(0, "eu".into()), (1, "noted".into())],
        ..Note::default()
    };
    vec![
        Note::default(),
        Note { time: NoteTime::Fills(5_000), ..filled.clone() },
        Note { time: NoteTime::Rules(6_000), ..filled },
    ]
}

/// All that comes of an item, in words.
fn told(decoder: &mut Decoder, item: &[u8], note: &Note) -> Vec<String> {
    let mut all = Vec::new();
    let names = words(&["region", "user"]);
    decoder.arrive(7_000);
    decoder.decode_noted(item, note, &names, |event| all.push(format!("{event:?}")));
    all
}

/// Both roads over the items, each with a decoder that goes on from item to item.
fn compare(items: &[Vec<u8>]) {
    for (at, schema) in schemas().into_iter().enumerate() {
        let schema = Arc::new(schema);
        let mut fast = Decoder::new(Arc::clone(&schema));
        let mut general = Decoder::general(schema);
        for note in &notes() {
            for item in items {
                let shown = String::from_utf8_lossy(item);
                let (fast, general) = (told(&mut fast, item, note), told(&mut general, item, note));
                assert_eq!(fast, general, "schema {at}, {note:?}: {shown}");
            }
        }
        assert_eq!(fast.unused_aliases(), general.unused_aliases(), "schema {at}");
    }
}

const NAMES: [&str; 20] = [
    "ts",
    "ts",
    "type",
    "type",
    "user",
    "id",
    "amount",
    "region",
    "a",
    "a.b",
    "uid",
    "price",
    "time",
    "visitor",
    "unknown",
    "x",
    "",
    "specversion",
    "\\u0061",
    "data",
];

const VALUES: [&str; 58] = [
    "1",
    "0",
    "-0",
    "-1",
    "17",
    "01",
    "1.",
    ".5",
    "+1",
    "-",
    "1.5",
    "-0.0",
    "0.10",
    "92.35",
    "5.0",
    "1e3",
    "1E-2",
    "1e999",
    "123456789012345",
    "1234567890123456789",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999",
    "0.1234567890123456789",
    "1.7976931348623157",
    "123456789012.345",
    "1234567890123.456",
    "4503599627370496.5",
    "99999999999999999999.5",
    "1700000000",
    "1700000000.25",
    "1700000000000",
    "253402300800000",
    "1700000000000000",
    "true",
    "false",
    "null",
    "tru",
    "truee",
    "nul",
    "\"\"",
    "\"buy\"",
    "\"view\"",
    "\"u1\"",
    "\"12,50\"",
    "\"1970-01-01T00:00:01Z\"",
    "\"24.12.2023 18:00:00\"",
    "\"a \\\"quoted\\\" text\"",
    "\"caf\u{e9} \u{20ac}\"",
    "\"[{,}]\"",
    "\"tab\there\"",
    "{}",
    "{\"b\":1}",
    "[1,{\"b\":[2]}]",
    "\"a text of more bytes\"",
];

fn spaces() -> impl Strategy<Value = &'static str> {
    prop_oneof![12 => Just(""), 3 => Just(" "), 1 => Just("  "), 1 => Just("\t"), 1 => Just("\n")]
}

prop_compose! {
    fn member()(
        name in prop::sample::select(&NAMES[..]),
        value in prop_oneof![
            9 => prop::sample::select(&VALUES[..]).prop_map(str::to_owned),
            2 => any::<f64>().prop_map(|number| number.to_string()),
            1 => any::<i64>().prop_map(|number| number.to_string()),
            2 => (0u64..1_000_000, 1u32..7).prop_map(|(n, d)| format!("{}.{n:0d$}", n / 7, d = d as usize)),
            1 => "\"[ -~]{0,12}\"",
        ],
        around in prop::array::uniform4(spaces()),
    ) -> String {
        let [before, behind, front, end] = around;
        format!("{before}\"{name}\"{behind}:{front}{value}{end}")
    }
}

prop_compose! {
    /// An event whose members are good more often than not, so that many are accepted.
    fn event()(
        must in prop::sample::subsequence(vec![
            "\"ts\":1700000000000", "\"type\":\"buy\"", "\"user\":\"u1\"", "\"id\":\"7\"",
        ], 2..=4),
        more in prop::collection::vec(member(), 0..4),
        turn in 0usize..4,
    ) -> String {
        let mut members: Vec<String> = must.into_iter().map(str::to_owned).chain(more).collect();
        let len = members.len();
        members.rotate_left(turn % len);
        format!("{{{}}}", members.join(","))
    }
}

proptest! {
    #[test]
    fn the_fast_road_ends_where_the_general_reader_does(
        events in prop::collection::vec(event(), 1..8),
    ) {
        compare(&events.into_iter().map(String::into_bytes).collect::<Vec<_>>());
    }

    #[test]
    fn so_it_does_for_events_that_were_damaged(
        event in event(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, any::<u8>()), 1..4),
    ) {
        let mut bytes = event.into_bytes();
        for (at, what, byte) in hits {
            let at = at.index(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
            match what {
                _ if bytes.is_empty() => {}
                0 => bytes[at] = byte,
                1 => bytes[at] = b"{}[],:\"\\ 0.-e"[usize::from(byte) % 13],
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
        compare(&[bytes]);
    }
}

proptest! {
    #[test]
    fn eight_digits_at_once_are_those_one_by_one(text in "[0-9]{8}|[0-9/:.@ -]{8}") {
        let all = text.bytes().all(|byte| byte.is_ascii_digit());
        let want = all.then(|| text.parse().unwrap());
        prop_assert_eq!(eight_digits(text.as_bytes().first_chunk().unwrap()), want);
        let bytes: [u8; 8] = std::array::from_fn(|at| text.as_bytes()[at] ^ 0x80);
        prop_assert_eq!(eight_digits(&bytes), None);
    }
}

/// Whether the scanner reads an event itself.
fn scans(schema: &Schema, event: &str) -> bool {
    let rules = Naming::new(Arc::new(schema.clone()));
    let mut scanner = Scanner::new(&rules.names, true);
    reads(&mut scanner, &rules, event)
}

fn reads(scanner: &mut Scanner, rules: &Naming, event: &str) -> bool {
    let mut space = Space::new(&rules.names);
    let mut draft = Draft::new(rules, &mut space, event, (None, NoteTime::None));
    scanner.may(event.as_bytes()) && scanner.scan(&mut draft)
}

#[test]
fn the_usual_event_takes_the_fast_road_and_no_other() {
    let schema = &schemas()[2];
    for usual in [
        r#"{"id":"7","ts":1700000000,"type":"buy","user":"u1","amount":92.35,"path":"/p/7"}"#,
        r#"{"id": "7", "ts": 1700000000.25, "type": "buy", "uid": 17, "a": true, "x": null}"#,
        r#"{ "ts":"2026-11-26T20:00:00Z" , "type":"caf\u00e9" }"#.replace("\\u00e9", "\u{e9}").as_str(),
        r#"{"a":"","a.b":-5,"unknown":0.1234567890123456789,"n":9999999999999999999}"#,
        &format!(r#"{{"ts":1,"type":"{}"}}"#, "x".repeat(5_000)),
    ] {
        assert!(scans(schema, usual), "{usual}");
    }
    for unusual in [
        r#"{"ts":1,"type":"a\nb"}"#,
        r#"{"ts":1,"type":"buy","unknown":{}}"#,
        r#"{"ts":1,"type":"buy","amount":1e3}"#,
        r#"{"ts":1,"ts":1,"type":"buy"}"#,
        r#"{"ts":"soon","type":"buy"}"#,
        r#"{"specversion":"1.0","type":"buy"}"#,
        r#"{"ts":1,"type":"buy"}}"#,
        r#"{"ts":1,"type":"buy"},"#,
        r#"{"ts":1,"type":"buy",}"#,
        r#"{"ts":1 "type":"buy"}"#,
        r#"{"ts":1,"type":"buy"#,
        "{\"ts\":1,\n\"type\":\"buy\"}",
        "{}",
    ] {
        assert!(!scans(schema, unusual), "{unusual}");
    }
}

#[test]
fn it_comes_back_to_the_fast_road_when_events_are_usual_again() {
    let rules = Naming::new(Arc::default());
    let mut scanner = Scanner::new(&rules.names, true);
    let mut scan = |event: &str| reads(&mut scanner, &rules, event);
    assert!((0..1_000).all(|_| !scan(r#"{"ts":1,"type":"x","nested":{}}"#)));
    let usual = r#"{"ts":1,"type":"x"}"#;
    assert!((0..PATIENCE).any(|_| scan(usual)), "one of so many is tried");
    assert!(scan(usual));
}
