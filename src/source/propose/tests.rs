//! A proposed map works on the file it was made of, and finds what people would.

use serde_json::{Value, json};

use super::*;
use crate::clock::SystemClock;

fn proposed(content: &[u8]) -> Result<Proposal, OpenError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events-2023.txt");
    std::fs::write(&file, content).unwrap();
    let settings = Settings { file, encoding: String::new(), rows: 1_000, unpacked_max: 1 << 30 };
    propose(&settings, &SystemClock::shared())
}

/// The first event that the proposed map makes.
#[track_caller]
fn makes(content: &str, events: usize, want: Value) {
    let proposal =
        proposed(content.as_bytes()).unwrap_or_else(|error| panic!("{content}: {error}"));
    assert_eq!(proposal.events.len(), events, "{content}\n{}", proposal.map);
    let found: Value = serde_json::from_str(&proposal.events[0]).unwrap();
    assert_eq!(found, want, "{content}\n{}", proposal.map);
}

#[test]
fn tables_of_many_shapes_are_understood() {
    makes(
        "event_time,event_type,product_id,price,user_id,user_session\n\
         2019-10-01 00:00:00 UTC,view,44600062,35.79,541312140,72d76fde\n\
         2019-10-01 00:00:01 UTC,cart,3900821,33.20,554748717,9333dfbd\n",
        2,
        json!({
            "ts": 1_569_888_000_000i64, "type": "page_view", "user": "541312140",
            "amount": 35.79, "product_id": 44_600_062, "user_session": "72d76fde",
        }),
    );
    makes(
        "Datum;Uhrzeit;Aktion;Kunde;Betrag\n\
         2023-12-24;18:00:00;order;k1;1.200,50\n2023-12-24;18:05;order;k2;3,99\n",
        2,
        json!({
            "ts": 1_703_440_800_000i64, "type": "payment_completed", "user": "k1",
            "amount": 1200.5,
        }),
    );
    makes(
        "user_id\tts\taction\nu1\t1700000000\tclick\nu2\t1700000001.5\tclick\n",
        2,
        json!({ "ts": 1_700_000_000_000i64, "type": "page_view", "user": "u1" }),
    );
    makes(
        "# exported\ntimestamp|kind|visitor|total\n24.12.2023 18:00:00|pay|v1|$12.50\n25.12.2023 18:00:00|pay|v1|$1,200.00\n",
        2,
        json!({ "ts": 1_703_440_800_000i64, "type": "payment_completed", "user": "v1", "amount": 12.5 }),
    );
    makes(
        "A report of sales\nmade by hand\n\nwhen,who\n2023-01-01T00:00:00Z,a\n2023-01-01T00:00:01Z,b\n2023-01-01T00:00:02Z,b\n",
        3,
        json!({ "ts": 1_672_531_200_000i64, "type": "event", "user": "a" }),
    );
    makes(
        "u1,1700000000000,view\nu2,1700000001000,view\nu1,1700000002000,view\n",
        3,
        json!({ "ts": 1_700_000_000_000i64, "type": "event", "column_1": "u1", "column_3": "view" }),
    );
    makes(
        "sep=;\nts;type;user\n1700000000000;view;a\n1700000000001;view;b\n",
        2,
        json!({
            "ts": 1_700_000_000_000i64, "type": "page_view", "user": "a",
        }),
    );
    makes(
        "ts,type,user,note\n1700000000000,v,a,\"one\ntwo, three\"\n1700000000001,v,b,x\n",
        2,
        json!({ "ts": 1_700_000_000_000i64, "type": "v", "user": "a", "note": "one\ntwo, three" }),
    );
    makes(
        "ts,type,user,size\n1700000000000,v,a,5\" pipe\n1700000000001,v,b,\"3 inch\n1700000000002,v,b,x\n",
        3,
        json!({ "ts": 1_700_000_000_000i64, "type": "v", "user": "a", "size": "5\" pipe" }),
    );
}

#[test]
fn json_of_many_shapes_is_understood() {
    let segment = r#"{"timestamp":"2023-01-01T00:00:00.000Z","event":"Product Added","anonymousId":"a","messageId":"m1","properties":{"price":12.5,"currency":"EUR"}}"#;
    makes(
        &format!("{segment}\n{}\n", segment.replace("m1", "m2")),
        2,
        json!({
            "ts": 1_672_531_200_000i64, "type": "cart_add", "user": "a", "id": "m1",
            "amount": 12.5, "properties_currency": "EUR",
        }),
    );
    makes(
        "{\"session\":7,\"events\":[{\"aid\":5,\"ts\":1700000000000,\"type\":\"clicks\"},{\"aid\":6,\"ts\":1700000000001,\"type\":\"carts\"}]}\n",
        2,
        json!({ "ts": 1_700_000_000_000i64, "type": "page_view", "user": 7, "aid": 5 }),
    );
    makes(
        "[\n {\"time\": 1700000000.5, \"what\": \"x\", \"who\": \"u\"}\n]\n",
        1,
        json!({ "ts": 1_700_000_000_500i64, "type": "x", "user": "u" }),
    );
    makes(
        "{\"ts\":1700000000000,\"type\":\"v\",\"user\":\"a\"}\n",
        1,
        json!({
            "ts": 1_700_000_000_000i64, "type": "v", "user": "a",
        }),
    );
    // The file's own time where it names none.
    let proposal = proposed(b"{\"a\":\"x\"}\n{\"a\":\"y\"}\n").unwrap();
    assert!(proposal.map.contains("unit = \"arrival\""), "{}", proposal.map);
    assert_eq!(proposal.events.len(), 2);
}

#[test]
fn known_logs_and_other_encodings_are_said() {
    let log = "h - - [01/Aug/1995:00:00:01 -0400] \"GET / HTTP/1.0\" 200 1839\n";
    let proposal = proposed(log.as_bytes()).unwrap();
    assert!(proposal.map.contains("format = \"combined\""), "{}", proposal.map);
    assert!(proposal.map.contains("without a map"), "{}", proposal.map);
    let latin = b"ts,type,user\n1700000000000,v,jos\xe9\n1700000000001,v,b\n";
    let proposal = proposed(latin).unwrap();
    assert!(proposal.map.contains("encoding = \"windows-1252\""), "{}", proposal.map);
    assert!(proposal.events[0].contains("jos\u{e9}"), "{:?}", proposal.events);
    let mut wide = vec![0xff, 0xfe];
    for unit in "ts,type,user\n1700000000000,v,jos\u{e9}\n".encode_utf16() {
        wide.extend(unit.to_le_bytes());
    }
    assert!(proposed(&wide).unwrap().events[0].contains("jos\u{e9}"));
}

#[test]
fn odd_names_make_a_map_that_can_be_read() {
    makes(
        "ts,type,a \"b\" #,a-b-,'x',\"line\nend\",,user,user\n1700000000000,v,1,2,3,4,5,u,w\n1700000000001,v,1,2,3,4,5,u,w\n",
        2,
        json!({
            "ts": 1_700_000_000_000i64, "type": "v", "user": "u", "a_b": 1, "a_b_2": 2, "x": 3,
            "line_end": 4,
        }),
    );
}

#[test]
fn what_is_no_table_is_said() {
    for (content, want) in [
        (&b""[..], "is empty"),
        (b"\n \n", "is empty"),
        (b"one\ntwo\nthree\n", "cannot be told"),
        (b"\x00\x01\x02", "is not text"),
        (b"[1,2,3]", "holds no JSON objects"),
    ] {
        let error = proposed(content).unwrap_err().to_string();
        assert!(error.contains(want), "no {want:?} in {error}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    /// Whatever a file holds: a map that can be read, or a sentence.
    #[test]
    fn any_file_gets_a_map_or_a_sentence(
        lines in proptest::collection::vec("[a-z0-9,;:\"'{}\\[\\]#=|. \t-]{0,30}", 0..12),
    ) {
        if let Ok(proposal) = proposed(lines.join("\n").as_bytes()) {
            Mapping::parse(&proposal.map).unwrap_or_else(|e| panic!("{e}\n{}", proposal.map));
        }
    }
}
