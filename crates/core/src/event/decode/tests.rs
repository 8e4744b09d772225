//! What is decoded, what is refused and in which words, and the laws: no bytes
//! panic, what was encoded is decoded, and the packing makes no difference.

use std::fmt::Write;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::event::binding::{Protocol, compose};
use crate::event::split::{BodyKind, split};
use crate::event::{Fault, Limits, RawBatch, RawItem, Span, Value as Slot};

/// An event or a rejection that owns what it holds, written as one line.
type Outcome = Result<String, (String, Vec<u8>)>;

fn schema() -> Schema {
    Schema {
        slots: ["type", "amount", "region", "status", "first"].map(String::from).to_vec(),
        aliases: [("code", "status"), ("state", "status"), ("uid", "user")]
            .map(|(from, to)| (from.to_owned(), to.to_owned()))
            .to_vec(),
        event_types: ["cart_add", "payment_completed"].map(String::from).to_vec(),
        ..Schema::default()
    }
}

fn text<'a>(event: &Parsed<'a>, span: Span) -> &'a str {
    std::str::from_utf8(event.text(span)).unwrap()
}

fn render(event: &Parsed<'_>) -> String {
    let mut line =
        format!("at={} id={:?} key={:?} kind={}", event.at, event.id, event.key, event.event_type);
    for value in event.values {
        match value {
            Slot::Missing => line.push_str(" -"),
            Slot::Number(number) => write!(line, " {number}").unwrap(),
            Slot::Text(span) => write!(line, " {:?}", text(event, *span)).unwrap(),
            Slot::Bool(value) => write!(line, " {value}").unwrap(),
            Slot::Unusable(why) => write!(line, " {why:?}").unwrap(),
        }
    }
    line
}

fn outcomes(schema: Schema, item: &[u8]) -> Vec<Outcome> {
    let mut all = Vec::new();
    Decoder::new(Arc::new(schema)).decode(item, |event| {
        all.push(match event {
            Ok(event) => Ok(render(&event)),
            Err(rejected) => Err((rejected.reason, rejected.raw.to_vec())),
        });
    });
    all
}

#[track_caller]
fn accepts(item: &str, want: &str) {
    assert_eq!(outcomes(schema(), item.as_bytes()), vec![Ok(want.to_owned())], "{item}");
}

#[track_caller]
fn refuses(item: impl AsRef<[u8]>, reason: &str) {
    let item = item.as_ref();
    let want = vec![Err((reason.to_owned(), item.trim_ascii().to_vec()))];
    assert_eq!(outcomes(schema(), item), want, "{}", String::from_utf8_lossy(item));
}

#[test]
fn golden_events_decode_as_written_down() {
    let cases = [
        ("native.ndjson", include_str!("../../../../../tests/fixtures/events/native.ndjson")),
        (
            "cloudevents.ndjson",
            include_str!("../../../../../tests/fixtures/events/cloudevents.ndjson"),
        ),
        ("array.json", include_str!("../../../../../tests/fixtures/events/array.json")),
        ("pretty.json", include_str!("../../../../../tests/fixtures/events/pretty.json")),
    ];
    let mut found = String::new();
    for (name, item) in cases {
        writeln!(found, "# {name}").unwrap();
        for outcome in outcomes(schema(), item.as_bytes()) {
            match outcome {
                Ok(line) => writeln!(found, "{line}").unwrap(),
                Err((reason, _)) => writeln!(found, "refused: {reason}").unwrap(),
            }
        }
    }
    assert_eq!(found, include_str!("../../../../../tests/fixtures/events/golden.txt"));
}

#[test]
fn numbers_are_kept_as_they_are_written() {
    for (number, want) in [
        ("0", "0"),
        ("-0.0", "0"),
        ("12", "12"),
        ("19.990", "19.99"),
        ("-0.000001", "-0.000001"),
        ("1e3", "1000"),
        ("9199999999999", "9199999999999"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("18446744073709551615", "18446744073709551615"),
        ("0.0000004", "0.0000004"),
        ("-1e300", "-1e300"),
    ] {
        let item = format!(r#"{{"ts":1,"type":"x","amount":{number}}}"#);
        accepts(&item, &format!("at=1 id=None key=\"\" kind=65535 \"x\" {want} - - -"));
    }
}

#[test]
fn bad_events_are_refused_in_plain_words() {
    for (item, reason) in [
        ("", "empty: an event must be a JSON object"),
        ("  \r\n", "empty: an event must be a JSON object"),
        ("5", "an event must be a JSON object"),
        ("\"text\"", "an event must be a JSON object"),
        ("hello", "not JSON: expected value at line 1 column 1"),
        ("{", "not JSON: EOF while parsing an object at line 1 column 1"),
        ("{}", "attribute \"ts\" is missing"),
        (r#"{"ts":null,"type":"x"}"#, "attribute \"ts\" is missing"),
        (r#"{"ts":1}"#, "attribute \"type\" is missing or empty"),
        (r#"{"ts":1,"type":""}"#, "attribute \"type\" is missing or empty"),
        (r#"{"ts":1,"type":7}"#, "attribute \"type\" must be text, not a number"),
        (
            r#"{"ts":true}"#,
            "attribute \"ts\" must be epoch milliseconds or a time by RFC 3339, not true or false",
        ),
        (
            r#"{"ts":"tomorrow"}"#,
            "attribute \"ts\": \"tomorrow\" is not a time: write epoch milliseconds or RFC 3339, or \
             declare events.time_format",
        ),
        (
            r#"{"ts":1.5}"#,
            "attribute \"ts\": 1.5 is not a time: write epoch milliseconds or RFC 3339, or declare \
             events.time_format",
        ),
        (r#"{"ts":"","type":"x"}"#, "attribute \"ts\" is missing"),
        (r#"{"ts":1e300}"#, "attribute \"ts\": 1e300 lies outside the years 0 to 9999"),
        (
            r#"{"ts":18446744073709551615}"#,
            "attribute \"ts\": 18446744073709551615 lies outside the years 0 to 9999",
        ),
        (
            r#"{"ts":1,"type":"x","id":1.5}"#,
            "attribute \"id\" must be text or an integer, not a number",
        ),
        (
            r#"{"ts":1,"type":"x","user":{}}"#,
            "attribute \"user\" must be text or an integer, not an object or an array",
        ),
        (
            r#"{"ts":1,"type":"x","uid":true}"#,
            "attribute \"uid\" must be text or an integer, not true or false",
        ),
        (
            r#"{"ts":1,"type":"x","amount":1e999}"#,
            "not JSON in attribute \"amount\": number out of range at line 1 column 33",
        ),
        (r#"{"ts":1,"ts":2,"type":"x"}"#, "attribute \"ts\" appears twice"),
        (
            r#"{"ts":1,"type":"x","region":null,"region":"eu"}"#,
            "attribute \"region\" appears twice",
        ),
        (r#"{"ts":1,"type":"x"} {}"#, "not JSON: trailing characters at line 1 column 21"),
        (r#"{"ts":1,"type":"x","other":[1,}"#, "not JSON: expected value at line 1 column 31"),
        (
            r#"{"ts":1,"type":"x","region":"\ud800"}"#,
            "not JSON in attribute \"region\": unexpected end of hex escape at line 1 column 36",
        ),
        ("[1", "not a JSON array: EOF while parsing a list at line 1 column 2"),
        (r#"{"specversion":null}"#, "CloudEvent: \"specversion\" is missing"),
        (r#"{"specversion":"0.3"}"#, "CloudEvent: specversion \"0.3\" is not \"1.0\""),
        (
            r#"{"specversion":"1.0","type":"x","source":"s","time":"2026-01-01T00:00:00Z"}"#,
            "CloudEvent: \"id\" is missing",
        ),
        (
            r#"{"specversion":"1.0","type":"x","source":"s","id":"1"}"#,
            "CloudEvent: \"time\" is missing",
        ),
        (r#"{"specversion":"1.0","type":"x","id":"1","id":"2"}"#, "attribute \"id\" appears twice"),
        (
            r#"{"specversion":"1.0","data":1,"data_base64":"e30="}"#,
            "CloudEvent: both \"data\" and \"data_base64\"",
        ),
        (
            r#"{"specversion":"1.0","data_base64":"*"}"#,
            "CloudEvent: \"data_base64\" is not base64: Invalid symbol 42, offset 0.",
        ),
        (
            r#"{"specversion":"1.0","data_base64":"ew=="}"#,
            "CloudEvent: the data is not JSON: EOF while parsing an object at line 1 column 1",
        ),
    ] {
        refuses(item, reason);
    }
    refuses(b"{\"ts\":1,\"type\":\"\xff\"}", "not UTF-8 from byte 16 on");
}

#[test]
fn limits_are_kept_and_named() {
    let limits = Limits {
        event_bytes: 200,
        depth: 3,
        key_bytes: 10,
        text_bytes: 12,
        session_key_bytes: 8,
        attributes: 5,
        ..Limits::default()
    };
    let schema = || Schema { limits, ..schema() };
    let cases = [
        (r#"{"ts":1,"type":"x","a":{"b":[]}}"#.to_owned(), None),
        (r#"{"ts":1,"type":"x","a":"[[[[{{{\"[["}"#.to_owned(), None),
        (
            r#"{"ts":1,"type":"x","a":[[[1]]]}"#.to_owned(),
            Some("nested 4 deep, at most 3 is allowed"),
        ),
        (r#"{"ts":1,"type":"x","0123456789":1}"#.to_owned(), None),
        (
            r#"{"ts":1,"type":"x","0123456789a":1}"#.to_owned(),
            Some("an attribute's name of 11 bytes is longer than 10"),
        ),
        (r#"{"ts":1,"type":"x","region":"0123456789abc"}"#.to_owned(), None),
        (
            r#"{"ts":1,"type":"x","user":"0123456789abc"}"#.to_owned(),
            Some("attribute \"user\": a text of 13 bytes is longer than 12"),
        ),
        (r#"{"ts":1,"type":"x","unused":"0123456789abc"}"#.to_owned(), None),
        (r#"{"ts":1,"type":"x","user":"01234567"}"#.to_owned(), None),
        (
            r#"{"ts":1,"type":"x","user":"012345678"}"#.to_owned(),
            Some("the session key has 9 bytes, at most 8 are allowed (session.key_bytes_max)"),
        ),
        (r#"{"ts":1,"type":"x","a":1,"b":2,"c":3}"#.to_owned(), None),
        (
            r#"{"ts":1,"type":"x","a":1,"b":2,"c":3,"d":4}"#.to_owned(),
            Some("more than 5 attributes"),
        ),
        (
            format!(r#"{{"ts":1,"type":"x","a":"{}"}}"#, "y".repeat(200)),
            Some("an event of 226 bytes is longer than 200"),
        ),
    ];
    for (item, reason) in cases {
        let found = outcomes(schema(), item.as_bytes());
        let found = found[0].as_ref().err().map(|(reason, _)| reason.as_str());
        assert_eq!(found, reason, "{item}");
    }
}

#[test]
fn a_value_that_is_of_no_use_costs_the_attribute_and_not_the_event() {
    let long = "y".repeat(Limits::default().text_bytes + 1);
    let item = format!(
        r#"{{"ts":1,"type":"cart_add","user":"u","region":"{long}","status":{{"code":1}},"first":[1]}}"#
    );
    accepts(&item, "at=1 id=None key=\"u\" kind=0 \"cart_add\" - TooLong Nested Nested");
    accepts(
        r#"{"ts":1,"type":"x","user":42.0,"id":7.0}"#,
        "at=1 id=Some(\"7\") key=\"42\" kind=65535 \"x\" - - - -",
    );
}

#[test]
fn what_is_guessed_for_a_time_is_said() {
    let guess = |item: &str| {
        let mut found = None;
        Decoder::new(Arc::new(schema())).decode(item.as_bytes(), |event| {
            let event = event.unwrap();
            found = Some((event.at, event.guess.map(|guess| guess.to_string())));
        });
        found.unwrap()
    };
    let said = |words: &str| Some(words.to_owned());
    for (ts, want) in [
        ("1700000000000", (1_700_000_000_000, None)),
        ("1509575121.648", (1_509_575_121_648, said("taken as seconds"))),
        ("1620291751177123", (1_620_291_751_177, said("taken as microseconds"))),
        ("\"2019-10-01 00:00:00\"", (1_569_888_000_000, said("without a zone, taken as UTC"))),
        ("\"2019-10-01t00:00:00+00\"", (1_569_888_000_000, None)),
    ] {
        assert_eq!(guess(&format!(r#"{{"ts":{ts},"type":"x"}}"#)), want, "{ts}");
    }
}

#[test]
fn paths_lead_into_objects_and_arrays_and_the_literal_name_comes_first() {
    let schema = || Schema {
        keys: vec!["context.user.id".into()],
        slots: ["properties.price", "items.1.price", "tags.0"].map(String::from).to_vec(),
        aliases: [("event", "type"), ("meta.at", "ts"), ("props.cost", "properties.price")]
            .map(|(from, to)| (from.to_owned(), to.to_owned()))
            .to_vec(),
        event_types: vec!["cart_add".into()],
        ..Schema::default()
    };
    for (item, want) in [
        (
            r#"{"event":"cart_add","meta":{"at":5,"x":[{}]},"context":{"user":{"id":7,"n":1}},"properties":{"price":12.5,"a":{"price":1}},"items":[{"price":1},{"price":2,"price_":3},{"price":4}],"tags":["a","b"]}"#,
            r#"at=5 id=None key="7" kind=0 12.5 2 "a""#,
        ),
        (
            r#"{"properties":{"price":1},"properties.price":2,"ts":1,"type":"x"}"#,
            r#"at=1 id=None key="" kind=65535 2 - -"#,
        ),
        (
            r#"{"properties.price":2,"properties":{"price":1},"ts":1,"type":"x"}"#,
            r#"at=1 id=None key="" kind=65535 2 - -"#,
        ),
        (
            r#"{"props":{"cost":"\u0039"},"properties":{"price":null},"ts":1,"type":"x"}"#,
            r#"at=1 id=None key="" kind=65535 "9" - -"#,
        ),
        (
            r#"{"properties":7,"items":{"1":{"price":3}},"tags":[],"ts":1,"type":"x"}"#,
            r#"at=1 id=None key="" kind=65535 - 3 -"#,
        ),
        (
            r#"{"specversion":"1.0","id":"1","source":"s","type":"x","time":"1970-01-01T00:00:00Z","data":{"properties":{"price":3},"context":{"user":{"id":"u"}}}}"#,
            r#"at=0 id=Some("s 1") key="u" kind=65535 3 - -"#,
        ),
    ] {
        assert_eq!(outcomes(schema(), item.as_bytes()), vec![Ok(want.to_owned())], "{item}");
    }
    let twice = r#"{"ts":1,"type":"x","properties":{"price":1,"price":2}}"#;
    let reason = "attribute \"properties.price\" appears twice".to_owned();
    assert_eq!(outcomes(schema(), twice.as_bytes()), [Err((reason, twice.into()))]);
}

#[test]
fn a_key_of_several_attributes_is_never_the_key_of_others() {
    let schema = || Schema {
        keys: vec!["ip".into(), "agent".into()],
        aliases: vec![("ua".into(), "agent".into())],
        ..Schema::default()
    };
    let key = |fields: &str| {
        let item = format!(r#"{{"ts":1,"type":"x"{fields}}}"#);
        outcomes(schema(), item.as_bytes())[0].clone().unwrap()
    };
    let want = |key: &str| format!("at=1 id=None key={key:?} kind=65535");
    for (fields, text) in [
        (r#","ip":"1.2.3.4","agent":"curl""#, "1.2.3.4|curl"),
        (r#","ua":"curl","ip":"1.2.3.4""#, "1.2.3.4|curl"),
        (r#","ua":"old","agent":"new","ip":1"#, "1|new"),
        (r#","ip":"1.2.3.4""#, "1.2.3.4|"),
        (r#","agent":"curl""#, "|curl"),
        (r#","ip":"a|b","agent":"c""#, "a\\|b|c"),
        (r#","ip":"a","agent":"b|c""#, "a|b\\|c"),
        (r#","ip":"a\\","agent":"b""#, "a\\\\|b"),
        (r#","ip":"","agent":null"#, ""),
        ("", ""),
    ] {
        assert_eq!(key(fields), want(text), "{fields}");
    }
}

#[test]
fn an_event_without_a_time_may_have_that_of_its_arrival() {
    let decode = |arrival_is_time, arrived, item: &str| {
        let mut decoder = Decoder::new(Arc::new(Schema { arrival_is_time, ..schema() }));
        decoder.arrive(arrived);
        let mut found = Err(String::new());
        decoder.decode(item.as_bytes(), |event| {
            found = event.map(|event| event.at).map_err(|rejected| rejected.reason);
        });
        found
    };
    let (bare, timed) = (r#"{"type":"x"}"#, r#"{"type":"x","ts":3}"#);
    let cloud = r#"{"specversion":"1.0","id":"1","source":"s","type":"x"}"#;
    for item in [bare, cloud] {
        assert_eq!(decode(true, 77, item), Ok(77));
        assert!(decode(false, 77, item).unwrap_err().ends_with("is missing"));
        assert!(decode(true, END_OF_TIME, item).unwrap_err().ends_with("is missing"));
    }
    assert_eq!(decode(true, 77, timed), Ok(3));
}

#[test]
fn a_bad_event_does_not_harm_its_neighbours() {
    let good = r#"{"ts":1,"type":"x"}"#;
    let bad = r#"{"ts":"no","type":"x"}"#;
    let want = |bad: &str| {
        vec![false, true, false]
            .into_iter()
            .map(|b| if b { bad } else { good }.as_bytes().to_vec())
            .collect::<Vec<_>>()
    };
    for (item, bad) in [
        (format!("{good}\n{bad}\n\n{good}\n"), bad),
        (format!("[{good}, {bad},{good}]"), bad),
        (format!("{good}\n{{broken\n{good}"), "{broken"),
        (format!("[{good},\n 17,\n {good}]"), "17"),
    ] {
        let mut raws = Vec::new();
        Decoder::new(Arc::new(schema())).decode(item.as_bytes(), |event| match event {
            Ok(event) => raws.push(event.raw.to_vec()),
            Err(rejected) => raws.push(rejected.raw.to_vec()),
        });
        assert_eq!(raws, want(bad), "{item}");
        assert_eq!(outcomes(schema(), item.as_bytes()).iter().filter(|o| o.is_ok()).count(), 2);
    }
}

#[test]
fn text_is_borrowed_from_the_item_unless_it_was_escaped() {
    let item = br#"{"ts":1,"type":"x","id":"i","user":"u","region":"eu","first":"a\"b"}"#;
    let within = item.as_ptr_range();
    Decoder::new(Arc::new(schema())).decode(item, |event| {
        let event = event.unwrap();
        let (Slot::Text(region), Slot::Text(first)) = (event.values[2], event.values[4]) else {
            panic!("{event:?}");
        };
        let [region, first] = [region, first].map(|span| text(&event, span));
        for text in [event.id.unwrap(), event.key, region] {
            assert!(within.contains(&text.as_ptr()), "{text} was copied");
        }
        assert_eq!(first, "a\"b");
        assert!(!within.contains(&first.as_ptr()));
    });
}

#[test]
fn a_decoder_remembers_nothing_of_earlier_events() {
    let mut decoder = Decoder::new(Arc::new(schema()));
    let items: [&[u8]; 6] = [
        br#"{"ts":1,"type":"x","id":"a\n","user":"u","region":"\u0065","status":200,"first":true}"#,
        br#"{"ts":2,"type":"x"}"#,
        br#"{"ts":2,"type":"x","region":1e300}"#,
        br#"{"specversion":"1.0","id":"1","source":"s","type":"t","time":"1970-01-01T00:00:00Z","data":{"region":"q"}}"#,
        br#"{"specversion":"1.0"}"#,
        br#"{"ts":2,"type":"x"}"#,
    ];
    let mut fresh = Vec::new();
    let mut reused = Vec::new();
    for item in items {
        fresh.extend(outcomes(schema(), item));
        decoder.decode(item, |event| {
            reused.push(match event {
                Ok(event) => Ok(render(&event)),
                Err(rejected) => Err((rejected.reason, rejected.raw.to_vec())),
            });
        });
    }
    assert_eq!(fresh, reused);
}

#[test]
fn a_name_comes_before_its_aliases_in_any_order() {
    for (fields, want) in [
        (r#""status":1,"code":2,"state":3"#, "1"),
        (r#""state":3,"code":2,"status":1"#, "1"),
        (r#""state":3,"code":2"#, "2"),
        (r#""state":3,"code":2,"status":null"#, "2"),
        (r#""state":"a\\b","status":"plain""#, "\"plain\""),
        (r#""status":"","state":"a\\b""#, "\"\""),
    ] {
        let item = format!(r#"{{"ts":1,"type":"x",{fields}}}"#);
        accepts(&item, &format!("at=1 id=None key=\"\" kind=65535 \"x\" - - {want} -"));
    }
    accepts(r#"{"ts":1,"type":"x","uid":42}"#, "at=1 id=None key=\"42\" kind=65535 \"x\" - - - -");
}

#[test]
fn a_binary_cloudevent_is_the_structured_one() {
    let headers = [
        ("Ce-Specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/shop%20%22a%22"),
        ("ce-type", "cart_add"),
        ("ce-time", "2026-01-01T00:00:00Z"),
        ("ce-region", "100%"),
    ];
    let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
    let data = b"{\"user\":\"u\",\"amount\":2}";
    let made = compose(Protocol::Http, headers, None, data);
    accepts(
        std::str::from_utf8(&made).unwrap(),
        "at=1767225600000 id=Some(\"/shop \\\"a\\\" 1\") key=\"u\" kind=0 \"cart_add\" 2 \"100%\" - -",
    );
}

#[test]
fn bodies_are_split_without_a_copy() {
    use BodyKind::{CloudEvent, CloudEventBatch, Json, Ndjson, Sniff};
    for (body, kind, want) in [
        ("{\"a\":1}", Json, Ok(vec!["{\"a\":1}"])),
        ("{\n \"a\": 1\n}\n", Json, Ok(vec!["{\n \"a\": 1\n}"])),
        ("[{},\n{ }]", Json, Ok(vec!["{}", "{ }"])),
        ("[]", Json, Ok(vec![])),
        ("{}\r\n\n{}", Sniff, Ok(vec!["{}", "{}"])),
        ("[1]\n{}\n", Sniff, Ok(vec!["1", "{}"])),
        ("\u{feff}{}\n[{},{}]\n[", Ndjson, Ok(vec!["{}", "{}", "{}", "["])),
        ("\u{feff}{}", Sniff, Ok(vec!["{}"])),
        ("{}\nnonsense\n", Ndjson, Ok(vec!["{}", "nonsense"])),
        ("{\n}", CloudEvent, Ok(vec!["{\n}"])),
        ("[{}]", CloudEventBatch, Ok(vec!["{}"])),
        ("[{}", Json, Err("not a JSON array: EOF while parsing a list at line 1 column 3")),
        ("{}", CloudEventBatch, Err("not a JSON array")),
        ("", Sniff, Err("empty: an event must be a JSON object")),
    ] {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let found = split(&body, kind, 10).map_err(|error| error.to_string());
        let texts = found.as_ref().map(|parts| {
            parts.iter().map(|part| std::str::from_utf8(part).unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(texts.map_err(String::as_str), want, "{body:?}");
        for part in found.unwrap_or_default() {
            assert!(body.as_ptr_range().contains(&part.as_ptr()));
        }
    }
}

fn attribute() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9_000_000_000_000i64..9_000_000_000_000).prop_map(Value::from),
        (-1_000_000_000_000i64..1_000_000_000_000).prop_map(|micros| json!(micros as f64 / 1e6)),
        any::<String>().prop_map(Value::from),
        ".{0,8}".prop_map(|text: String| json!({ text: [1, "x"] })),
    ]
}

prop_compose! {
    fn event()(
        ts in -1_000_000_000_000i64..4_000_000_000_000,
        kind in prop_oneof![Just("cart_add".to_owned()), ".{1,12}"],
        user in ".{0,12}",
        values in prop::array::uniform4(attribute()),
        unused in attribute(),
    ) -> Value {
        let [amount, region, status, first] = values;
        json!({
            "ts": ts, "type": kind, "user": user, "unused": unused,
            "amount": amount, "region": region, "status": status, "first": first,
        })
    }
}

/// The line that `render` writes for an event, found without the decoder.
fn expected(event: &Value) -> String {
    let kind = event["type"].as_str().unwrap();
    let index = schema().event_types.iter().position(|known| known == kind).unwrap_or(65_535);
    let user = event["user"].as_str().unwrap();
    let mut line = format!("at={} id=None key={user:?} kind={index} {kind:?}", event["ts"]);
    for name in ["amount", "region", "status", "first"] {
        match &event[name] {
            Value::Bool(value) => write!(line, " {value}").unwrap(),
            Value::String(text) => write!(line, " {text:?}").unwrap(),
            Value::Number(number) => {
                write!(line, " {}", number.as_f64().unwrap()).unwrap();
            }
            Value::Null => line.push_str(" -"),
            _ => line.push_str(" Nested"),
        }
    }
    line
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_without_panic(bytes: Vec<u8>, cut in 0usize..200) {
        let mut item = br#"[{"ts":1,"type":"x"},{"specversion":"1.0","data_base64":"e30="}]"#.to_vec();
        let cut = cut.min(item.len());
        item.splice(cut.., bytes.iter().copied());
        for item in [&bytes[..], &item[..]] {
            for outcome in outcomes(schema(), item) {
                if let Err((reason, _)) = outcome {
                    prop_assert!(!reason.is_empty() && !reason.contains('\n'));
                }
            }
            for kind in [BodyKind::Sniff, BodyKind::Ndjson, BodyKind::CloudEventBatch] {
                let _ = split(&Bytes::copy_from_slice(item), kind, 1_000);
            }
        }
    }

    #[test]
    fn what_is_encoded_is_decoded(event in event()) {
        let item = event.to_string();
        prop_assert_eq!(outcomes(schema(), item.as_bytes()), vec![Ok(expected(&event))]);
    }

    #[test]
    fn packing_makes_no_difference(events in prop::collection::vec(event(), 1..6), pretty: bool) {
        let lines: Vec<String> = events.iter().map(Value::to_string).collect();
        let singles: Vec<Outcome> =
            lines.iter().flat_map(|line| outcomes(schema(), line.as_bytes())).collect();
        let array = if pretty { serde_json::to_string_pretty(&events).unwrap() } else { Value::from(events).to_string() };
        prop_assert_eq!(&outcomes(schema(), array.as_bytes()), &singles);
        prop_assert_eq!(&outcomes(schema(), lines.join("\n").as_bytes()), &singles);
        let parts = split(&Bytes::from(array), BodyKind::Json, 10).unwrap();
        let split: Vec<Outcome> = parts.iter().flat_map(|part| outcomes(schema(), part)).collect();
        prop_assert_eq!(&split, &singles);
    }
}

/// What a note fills in, as `id|key|region|type` of each event, or the reason.
fn noted(item: &str, note: &Note) -> Vec<String> {
    let schema = Schema {
        slots: vec!["region".into()],
        event_types: vec!["cart_add".into(), "page_view".into()],
        ..Schema::default()
    };
    let names: Vec<String> = ["region", "type", "user"].map(String::from).into();
    let mut decoder = Decoder::new(Arc::new(schema));
    let mut found = Vec::new();
    decoder.decode_noted(item.as_bytes(), note, &names, |event| {
        found.push(match event {
            Ok(event) => {
                let region = match event.values[0] {
                    Slot::Text(span) => format!("Text({:?})", text(&event, span)),
                    other => format!("{other:?}"),
                };
                format!("{:?}|{}|{region}|{}", event.id, event.key, event.event_type)
            }
            Err(rejected) => rejected.reason,
        });
    });
    found
}

#[test]
fn a_note_fills_in_what_the_event_leaves_open() {
    let note = Note {
        id: "m".into(),
        attributes: smallvec::smallvec![(0, "eu".into()), (1, "cart_add".into()), (2, "n".into())],
        ..Note::default()
    };
    let (given, open) = (
        r#"{"id":"own","ts":1,"type":"page_view","user":"u","region":"us"}"#,
        r#"{"ts":1,"id":null}"#,
    );
    let own = r#"Some("own")|u|Text("us")|1"#;
    assert_eq!(noted(given, &note), [own]);
    assert_eq!(noted(open, &note), [r#"Some("m")|n|Text("eu")|0"#]);
    assert_eq!(noted(&format!("[{open}]"), &note), [r#"Some("m")|n|Text("eu")|0"#]);
    // Of several events each without an id gets one of its own, by its place.
    assert_eq!(
        noted(&format!("{given}\n{open}\n{open}"), &note),
        [own, r#"Some("m/1")|n|Text("eu")|0"#, r#"Some("m/2")|n|Text("eu")|0"#]
    );
    // A CloudEvent has id and type; its subject is its key.
    let event = r#"{"specversion":"1.0","id":"7","source":"s","type":"page_view","subject":"k",
        "time":"2026-01-01T00:00:00Z"}"#;
    assert_eq!(noted(event, &note), [r#"Some("s 7")|k|Text("eu")|1"#]);
    let silent = Note::default();
    assert_eq!(noted(open, &silent), ["attribute \"type\" is missing or empty"]);
}

#[test]
fn a_note_keeps_the_bounds_and_a_fault_rejects_the_item() {
    let long = Note { id: "x".repeat(8_193).into(), ..Note::default() };
    let reason = "attribute \"id\": a text of 8193 bytes is longer than 8192";
    assert_eq!(noted(r#"{"ts":1,"type":"a"}"#, &long), [reason]);
    let fault = Fault { reason: "cannot be unpacked".into(), context: Vec::new() };
    let fault = Note { fault: Some(Box::new(fault)), ..Note::default() };
    assert_eq!(noted(r#"{"ts":1,"type":"a"}"#, &fault), ["cannot be unpacked"]);
}

/// A small event of the attributes that a note may offer, some of them absent, `null` or under
/// another name; native or a CloudEvent.
fn open_event() -> impl Strategy<Value = String> {
    let member = |name: &'static str| {
        prop_oneof![
            2 => Just(None),
            1 => Just(Some(format!("{name:?}:null"))),
            2 => Just(Some(format!("{name:?}:\"own-{name}\""))),
        ]
    };
    let members = ["id", "type", "user", "uid", "region", "status", "code", "state", "extra"];
    let kinds = [
        "\"ts\":5",
        "\"specversion\":\"1.0\",\"source\":\"s\",\"time\":\"2026-01-01T00:00:00Z\"",
        "\"specversion\":\"1.0\",\"source\":\"s\",\"time\":\"2026-01-01T00:00:00Z\",\
         \"subject\":\"k\",\"data\":{\"region\":\"inner\",\"uid\":7}",
    ];
    (prop::sample::select(kinds.to_vec()), members.map(member)).prop_map(|(first, members)| {
        let members = members.into_iter().flatten();
        let all: Vec<String> = std::iter::once(first.to_owned()).chain(members).collect();
        format!("{{{}}}", all.join(","))
    })
}

proptest! {
    #[test]
    fn a_dead_letter_sent_again_is_what_it_was_with_its_note(
        raw in open_event(),
        offered in prop::sample::subsequence(vec!["type", "user", "region", "status", "extra"], 0..=5),
        id in prop_oneof![Just(""), Just("m")],
        part in prop::option::of(0u32..3),
    ) {
        let names: Vec<String> = offered.iter().map(|name| (*name).to_owned()).collect();
        let attributes = (0u8..).zip(&names).map(|(at, name)| (at, format!("the {name}").into()));
        let note = Note { id: id.into(), attributes: attributes.collect(), ..Note::default() };
        let mut decoder = Decoder::new(Arc::new(schema()));
        // The others of its item stand before and after it.
        let item = match part {
            None => raw.clone(),
            Some(part) => {
                let mut items = ["{}"; 3];
                items[part as usize] = &raw;
                items.join("\n")
            }
        };
        let mut noted = Vec::new();
        decoder.decode_noted(item.as_bytes(), &note, &names, |event| {
            noted.push(event.map(|event| render(&event)).map_err(|rejected| rejected.reason));
        });
        let noted = noted.swap_remove(part.unwrap_or(0) as usize);
        let hints = Hints::of(&note, &names, part);
        let again = decoder.again(raw.clone().into_bytes(), &hints, "its-letter");
        if let Ok(line) = noted {
            let items = again.expect("it was understood with its note");
            prop_assert_eq!(items.len(), 1);
            // Without an id it gets that of its letter.
            let line = line.replace("id=None", "id=Some(\"its-letter\")");
            prop_assert_eq!(outcomes(schema(), &items[0]), vec![Ok(line)]);
        } else if hints.is_empty() {
            prop_assert!(again.is_err());
        }
    }
}

#[test]
fn what_is_sent_again_keeps_every_byte_that_it_had() {
    let mut decoder = Decoder::new(Arc::new(schema()));
    let hints = serde_json::from_value(json!({"type": "cart_\"add", "user": "n"})).unwrap();
    let mut again = |raw: &str, hints: &Hints| {
        let events = decoder.again(raw.as_bytes().to_vec(), hints, "d")?;
        let events = events.into_iter().map(|event| String::from_utf8(event).unwrap());
        Ok::<_, String>(events.collect::<Vec<_>>().join("\n"))
    };
    let raw =
        r#"{ "ts":1, "id":7, "uid":"u", "big":123456789012345678901234567890.10, "a":1,"a":2 }"#;
    let whole = r#"{"ts":1,"id":7,"uid":"u","big":123456789012345678901234567890.10,"a":1,"a":2,"type":"cart_\"add"}"#;
    assert_eq!(again(raw, &hints).unwrap(), whole);
    let complete = r#"{ "ts":1, "id":"i", "type":"x" }"#;
    let none = Hints::default();
    assert_eq!(again(complete, &none).unwrap(), complete);
    // An event without an id gets the same one each time; several get one each.
    for open in [
        r#"{ "ts":1, "type":"x" }"#,
        r#"{"ts":1,"id":null,"type":"x"}"#,
        r#"{"ts":1,"id":"","type":"x"}"#,
    ] {
        assert_eq!(again(open, &none).unwrap(), r#"{"ts":1,"type":"x","id":"d"}"#);
    }
    let several = "[{\"ts\":1,\"type\":\"x\"},\n{\"ts\":1,\"id\":\"i\",\"type\":\"x\"}]";
    assert_eq!(
        again(several, &none).unwrap(),
        "{\"ts\":1,\"type\":\"x\",\"id\":\"d/0\"}\n{\"ts\":1,\"id\":\"i\",\"type\":\"x\"}"
    );
    assert!(again("no event", &hints).unwrap_err().starts_with("not JSON"));
    assert!(again(r#"{"type":"x"}"#, &hints).unwrap_err().contains("\"ts\" is missing"));
}

#[test]
fn an_item_with_too_many_events_is_one_dead_letter() {
    let limits = Limits { item_events: 3, ..Limits::default() };
    let schema = || Schema { limits, ..schema() };
    let one = r#"{"ts":1,"type":"x"}"#;
    let pack = |n: usize| format!("[{}]", vec![one; n].join(","));
    assert_eq!(outcomes(schema(), pack(3).as_bytes()).len(), 3);
    for item in [pack(4), format!("[[{one},{one}],[{one},[{one}]]]"), [one; 4].join("\n")] {
        let found = outcomes(schema(), item.as_bytes());
        let [Err((reason, raw))] = &found[..] else { panic!("{found:?}") };
        assert!(reason.starts_with("more than 3 events in one item"), "{reason}");
        assert_eq!(raw.len(), item.len(), "it is kept whole");
    }
}

#[test]
fn an_item_is_decoded_whole_when_there_is_room_and_not_at_all_when_there_is_none() {
    let one = r#"{"ts":1,"type":"x"}"#;
    let item = format!("[{one},{one}]");
    let data = Bytes::from(format!("{item}{one}"));
    let (first, second) = (item.len() as u32, one.len() as u32);
    let items = vec![
        RawItem { start: 0, len: first, position: 1 },
        RawItem { start: first, len: second, position: 2 },
    ];
    let batch = CheckedBatch::from(RawBatch { data, items, ..RawBatch::default() });
    let mut decoder = Decoder::new(schema().into());
    for (index, room, want) in [(0, 1, None), (0, 2, Some(2)), (1, 1, Some(1))] {
        let mut count = 0;
        let taken = decoder.decode_raw(&batch, index, room, |_| count += 1);
        assert_eq!(taken.then_some(count), want, "item {index}, room {room}");
        assert!(taken || count == 0);
    }
}

#[test]
fn whether_bytes_are_utf8_is_judged_for_each_event_alone() {
    let event = |user: &[u8]| [&br#"{"ts":1,"type":"x","user":""#[..], user, br#""}"#].concat();
    let (whole, half) = (event("\u{e9}".as_bytes()), event(b"\xc3"));
    // Cut within a character: as a whole the bytes are UTF-8, the items are not.
    let cut = event("\u{e9}".as_bytes());
    let (first, second) = cut.split_at(cut.iter().position(|byte| *byte == 0xc3).unwrap() + 1);
    for (items, want) in [
        (vec![&whole[..], &whole], vec![true, true]),
        (vec![&whole[..], &half, &whole], vec![true, false, true]),
        (vec![first, second, &whole], vec![false, false, true]),
    ] {
        let batch = CheckedBatch::from(RawBatch::of(0, (1..).zip(&items)));
        let mut decoder = Decoder::new(schema().into());
        let mut found = Vec::new();
        for index in 0..items.len() {
            let taken = decoder.decode_raw(&batch, index, usize::MAX, |event| {
                assert_eq!(event.as_ref().map_or("\u{e9}", |event| event.key), "\u{e9}");
                found.push(event.is_ok());
            });
            assert!(taken);
        }
        assert_eq!(found, want);
    }
}

#[test]
fn a_sources_time_fills_in_or_rules() {
    let silent = r#"{"type":"a"}"#;
    let cloud =
        |time: &str| format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"a"{time}}}"#);
    let (absent, late) = (cloud(""), cloud(r#","time":"1970-01-01T00:00:09Z""#));
    let mut decoder = Decoder::new(Arc::new(schema()));
    let mut at = |item: &str, time| {
        let note = Note { time, ..Note::default() };
        let mut found = None;
        decoder.decode_noted(item.as_bytes(), &note, &[], |event| {
            found = Some(event.map(|event| event.at).map_err(|rejected| rejected.reason));
        });
        found.unwrap().ok()
    };
    for (item, none, fills, rules) in [
        (silent, None, Some(5), Some(5)),
        (r#"{"ts":null,"type":"a"}"#, None, Some(5), Some(5)),
        (r#"{"ts":9,"type":"a"}"#, Some(9), Some(9), Some(5)),
        (r#"{"ts":"soon","type":"a"}"#, None, None, Some(5)),
        (r#"{"ts":{},"type":"a"}"#, None, None, Some(5)),
        (&absent, None, Some(5), Some(5)),
        (&late, Some(9_000), Some(9_000), Some(5)),
    ] {
        assert_eq!(at(item, NoteTime::None), none, "{item}");
        assert_eq!(at(item, NoteTime::Fills(5)), fills, "{item}");
        assert_eq!(at(item, NoteTime::Rules(5)), rules, "{item}");
    }
    // A dead letter knows it, so that it can be sent again.
    let note = Note { time: NoteTime::Rules(5), ..Note::default() };
    let hints = Hints::of(&note, &[], None);
    assert_eq!(hints.time(), NoteTime::Rules(5));
    let mut again = |raw: &str| decoder.again(raw.as_bytes().to_vec(), &hints, "d");
    assert_eq!(again(silent).unwrap(), [br#"{"type":"a","id":"d"}"#]);
    assert!(again("{}").is_err());
}
