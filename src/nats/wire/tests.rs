//! Messages as they are published, and the items they become.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

const BOUND: usize = 64;

fn unpack(template: &str, headers: &[(&str, &str)], payload: &[u8]) -> (String, Note) {
    let template = Template::parse(template).unwrap();
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, *value);
    }
    // Whatever stood in the buffer before must not be touched.
    let mut out = b"before".to_vec();
    let unpacker = Unpacker::new(template, SourceTime::Event, BOUND);
    let note = unpacker.unpack("shop.eu.cart_add", Some(&map), payload, 7, &mut out);
    assert!(out.starts_with(b"before"));
    (String::from_utf8_lossy(&out[6..]).into_owned(), note)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_plain_message_is_its_item() {
    let (item, note) = unpack("", &[], br#"{"a":1}"#);
    assert_eq!(item, r#"{"a":1}"#);
    assert_eq!(note, Note { arrived: 7, ..Note::default() });
    let (_, note) = unpack("", &[("Nats-Msg-Id", "m-1")], b"{}");
    assert_eq!(note.id, "m-1");
}

#[test]
fn packed_messages_are_unpacked_up_to_the_bound() {
    let plain = br#"{"user":"u","type":"t"}"#;
    let zstd = zstd::encode_all(&plain[..], 3).unwrap();
    for (encoding, packed) in
        [("gzip", gzip(plain)), ("GZIP", gzip(plain)), ("zstd", zstd), ("", plain.to_vec())]
    {
        let (item, note) = unpack("", &[("content-encoding", encoding)], &packed);
        assert_eq!((item.as_bytes(), note.fault), (&plain[..], None), "{encoding}");
    }
    let long = vec![b'x'; BOUND + 1];
    for (encoding, packed) in
        [("gzip", gzip(&long)), ("zstd", zstd::encode_all(&long[..], 3).unwrap())]
    {
        let mut out = Vec::new();
        let mut headers = HeaderMap::new();
        headers.insert("Content-Encoding", encoding);
        let unpacker = Unpacker::new(Template::default(), SourceTime::Event, BOUND);
        let note = unpacker.unpack("s", Some(&headers), &packed, 0, &mut out);
        let fault = note.fault.expect("it is too long").reason;
        assert!(fault.contains("unpacks to more than 64 bytes"), "{fault}");
        assert_eq!(out, packed, "the bytes as they came");
        let exactly = &long[..BOUND];
        let packed =
            if encoding == "gzip" { gzip(exactly) } else { zstd::encode_all(exactly, 3).unwrap() };
        let (item, note) = unpack("", &[("Content-Encoding", encoding)], &packed);
        assert_eq!((item.len(), note.fault), (BOUND, None));
    }
}

#[test]
fn what_cannot_be_unpacked_is_a_fault_with_its_bytes() {
    for (encoding, words) in [
        ("gzip", "content-encoding gzip: "),
        ("zstd", "content-encoding zstd: "),
        ("br", "content-encoding \"br\" is not known: use gzip, zstd or none"),
    ] {
        let (item, note) = unpack("", &[("Content-Encoding", encoding)], b"{\"a\":1}");
        assert_eq!(item, "{\"a\":1}");
        let fault = note.fault.expect("it is none");
        assert_eq!(fault.context, [("content-encoding".to_owned(), encoding.to_owned())]);
        let fault = fault.reason;
        assert!(fault.starts_with(words), "{fault}");
    }
}

#[test]
fn a_binary_cloudevent_becomes_a_structured_one() {
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-type", "cart_add"),
        ("CE-Id", "7"),
        ("ce-source", "/shop"),
        ("ce-time", "2026-01-01T00:00:00Z"),
        ("Content-Type", "application/json"),
        ("Nats-Msg-Id", "x"),
    ];
    let (item, note) = unpack("", &headers, br#"{"user":"u"}"#);
    let event: serde_json::Value = serde_json::from_str(&item).unwrap();
    assert_eq!(note.fault, None);
    assert_eq!((&event["id"], &event["type"]), (&"7".into(), &"cart_add".into()));
    assert_eq!(event["data"]["user"], "u");
    // The same message always has the same bytes, whatever the order of its headers.
    let mut turned = headers;
    turned.reverse();
    assert_eq!(unpack("", &turned, br#"{"user":"u"}"#).0, item);

    // What breaks a rule is told by the decoder, and its attributes are kept for it.
    let (item, note) =
        unpack("", &[("ce-specversion", "1.0"), ("ce-subject", "a%20b")], b"no json");
    let event: serde_json::Value = serde_json::from_str(&item).unwrap();
    assert_eq!((note.fault, &event["subject"]), (None, &"a b".into()));
    assert_eq!(event["data_base64"], "bm8ganNvbg==");
}

#[test]
fn the_structured_modes_win_over_headers() {
    let headers = |content_type| {
        [("ce-specversion", "0.3"), ("ce-type", "x"), ("Content-Type", content_type)]
    };
    for content_type in [
        "application/cloudevents+json; charset=utf-8",
        "application/cloudevents",
        "application/cloudevents-batch+json",
    ] {
        let body = b"[{\"specversion\":\"1.0\"}]";
        let (item, note) = unpack("", &headers(content_type), body);
        assert_eq!((item.as_bytes(), note.fault), (&body[..], None), "{content_type}");
    }
    let (item, note) = unpack("", &headers("application/cloudevents+avro"), b"\x01\x02");
    let fault = note.fault.expect("it is not read");
    assert_eq!(item, "\x01\x02");
    assert!(fault.reason.contains("application/cloudevents+json"), "{}", fault.reason);
    let context: Vec<&str> = fault.context.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(context, ["ce-specversion", "ce-type", "content-type"]);
}

#[test]
fn a_template_takes_attributes_from_the_subject() {
    for (template, expected) in [
        ("shop.{region}.{type}", &[("region", "eu"), ("type", "cart_add")][..]),
        ("{a}.{b...}", &[("a", "shop"), ("b", "eu.cart_add")]),
        ("{all...}", &[("all", "shop.eu.cart_add")]),
        ("shop.eu.cart_add", &[]),
        // Subjects that do not match give nothing.
        ("shop.{region}", &[]),
        ("shop.{region}.{type}.{more}", &[]),
        ("shop.{region}.{type}.{more...}", &[]),
        ("bank.{region}.{type}", &[]),
        ("", &[]),
    ] {
        let names = Template::parse(template).unwrap().names;
        let (_, note) = unpack(template, &[], b"{}");
        let found: Vec<(&str, &str)> = note
            .attributes
            .iter()
            .map(|(name, text)| (names[usize::from(*name)].as_str(), text.as_str()))
            .collect();
        assert_eq!(found, expected, "{template}");
    }
}

#[test]
fn a_wrong_template_is_named() {
    for (template, rule) in [
        ("shop..x", "token \"\" must be literal text"),
        ("shop.*.x", "token \"*\" must be literal text"),
        ("shop.{}", "\"{}\" must name an attribute"),
        ("shop.{a b}", "\"{a b}\" must name an attribute"),
        ("shop.x{a}", "token \"x{a}\" must be literal text"),
        ("shop.{a}x", "\"{a}\" must be a whole token between dots"),
        ("{a...}.x", "{name...} takes the rest"),
        ("{a}.{a}", "must not hold \"a\" twice"),
        ("shop.{id}", "\"id\" cannot come from the subject"),
        ("shop.", "must not end in a dot"),
        ("shop.{a", "token \"{a\" must be literal text"),
    ] {
        let error = Template::parse(template).unwrap_err();
        assert!(error.starts_with(rule), "{template}: {error}");
    }
}

#[test]
fn the_brokers_time_is_noted_where_it_counts() {
    let mut headers = HeaderMap::new();
    let mut note = |time, earlier: &str| {
        if !earlier.is_empty() {
            headers.insert(HEADER_TIME, earlier);
        }
        let unpacker = Unpacker::new(Template::default(), time, BOUND);
        unpacker.unpack("s", Some(&headers), b"{}", 7, &mut Vec::new()).time
    };
    assert_eq!(note(SourceTime::Event, ""), NoteTime::None);
    assert_eq!(note(SourceTime::Broker, ""), NoteTime::Rules(7));
    assert_eq!(note(SourceTime::BrokerIfAbsent, ""), NoteTime::Fills(7));
    // What stands for an earlier message has its time.
    assert_eq!(note(SourceTime::Broker, "5"), NoteTime::Rules(5));
    assert_eq!(note(SourceTime::Broker, "soon"), NoteTime::Rules(7));
}
