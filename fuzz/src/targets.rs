//! What is fuzzed: every reader of bytes that a stranger can write. A target takes any bytes
//! and returns; a panic is a finding, and so is a law that does not hold.
//!
//! `tests/fuzz.rs` runs each of them for a while with every `./test`; the program beside this
//! file lets libFuzzer, which sees what is covered, run them for as long as one likes
//! (`./test --fuzz SECONDS`).

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use tidewatch::domain::keyed::KeyedMachine as _;

use async_nats::HeaderMap;
use bytes::Bytes;
use bytestring::ByteString;
use tidewatch::clock::SystemClock;
use tidewatch::config::Config;
use tidewatch::domain::board::command;
use tidewatch::domain::commit::Snapshot;
use tidewatch::domain::event::binding::{self, Protocol};
use tidewatch::domain::event::decode::Decoder;
use tidewatch::domain::event::split::{BodyKind, split};
use tidewatch::domain::event::time_rule::TimeRule;
use tidewatch::domain::event::{Limits, Note, NoteTime, Schema};
use tidewatch::domain::expr::{Expr, Kind, Scope, TEXT_BYTES_MAX};
use tidewatch::domain::metric::Cell;
use tidewatch::domain::number::text::NumberFormat;
use tidewatch::domain::session::{Deadline, Machine, Rules, Segments, SessionPolicy};
use tidewatch::domain::time::TimePolicy;
use tidewatch::domain::wire::Reader;
use tidewatch::nats::settings::SourceTime;
use tidewatch::nats::settings::template::Template;
use tidewatch::nats::wire::Unpacker;
use tidewatch::source::file::{FileSource, Settings, Speed};
use tidewatch::source::mapping::Mapping;

/// A target's name, what it does with bytes, and how many times more an input costs than one
/// of the cheap targets.
pub type Target = (&'static str, fn(&[u8]), u64);

/// All of them; the name is also that of its folder in `fuzz/corpus`.
pub const TARGETS: [Target; 12] = [
    ("decode", decode, 1),
    ("scan_equals_decode", scan_equals_decode, 2),
    ("split", split_body, 1),
    ("cloudevent", cloudevent, 1),
    ("map", map, 8),
    ("file", file, 8),
    ("message", message, 1),
    ("command", commands, 1),
    ("config", config, 8),
    ("expression", expression, 8),
    ("blob", blob, 1),
    ("record", record, 1),
];

/// Most events of a body.
const EVENTS_MAX: usize = 100;

/// An item becomes events and reasons, never nothing but for an empty array; a reason says
/// something, and the verdict agrees.
fn decode(data: &[u8]) {
    let mut decoder = decoder();
    let (mut good, mut bad) = (0, 0);
    decoder.decode(data, |event| match event {
        Ok(_) => good += 1,
        Err(rejected) => {
            assert!(!rejected.reason.is_empty());
            bad += 1;
        }
    });
    assert_eq!(decoder.verdict(data).is_ok(), bad == 0 && good > 0, "{good} good, {bad} bad");
}

/// The decoder and the general reader alone make the same of an item, whatever the
/// configuration. The first byte says which, and what the source knew besides.
fn scan_equals_decode(data: &[u8]) {
    static SCHEMAS: LazyLock<[Arc<Schema>; 6]> = LazyLock::new(schemas);
    let Some((first, item)) = data.split_first() else { return };
    let schema = &SCHEMAS[usize::from(*first) % SCHEMAS.len()];
    let note = match *first / 64 {
        0 | 1 => Note::default(),
        2 => Note { id: "n".into(), time: NoteTime::Fills(5_000), ..Note::default() },
        _ => Note {
            attributes: [(0, "eu".into()), (1, "noted".into())].into_iter().collect(),
            time: NoteTime::Rules(6_000),
            ..Note::default()
        },
    };
    let names = ["region".to_owned(), "user".to_owned()];
    let told = |mut decoder: Decoder| {
        let mut all = Vec::new();
        decoder.arrive(7_000);
        decoder.decode_noted(item, &note, &names, |event| all.push(format!("{event:?}")));
        (all, decoder.unused_aliases())
    };
    let (fast, general) = (Decoder::new(Arc::clone(schema)), Decoder::general(Arc::clone(schema)));
    assert_eq!(told(fast), told(general), "{}", item.escape_ascii());
}

/// Configurations of every kind that matters to the decoder.
fn schemas() -> [Arc<Schema>; 6] {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let aliases = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
    };
    let time = |form, zone| TimeRule::declared(form, zone).expect("a good form");
    let plain = Schema {
        slots: words(&["type", "amount", "region", "user", "id", "ts"]),
        event_types: words(&["cart_add", "x"]),
        ..Schema::default()
    };
    let paths = Schema {
        slots: words(&["amount", "a.b", "a", "a.b.0"]),
        aliases: aliases(&[("uid", "user"), ("a.b", "amount"), ("price", "amount")]),
        time: time("s", ""),
        ..plain.clone()
    };
    let several = Schema {
        keys: words(&["user", "region"]),
        anonymous: Some("visitor".to_owned()),
        aliases: aliases(&[("uid", "user"), ("time", "ts")]),
        time: time("auto", "Europe/Berlin"),
        arrival_is_time: true,
        numbers: vec![("amount".to_owned(), NumberFormat::by_example("1.234,56").expect("good"))],
        ..plain.clone()
    };
    let limits = Limits {
        event_bytes: 150,
        depth: 1,
        key_bytes: 6,
        text_bytes: 9,
        session_key_bytes: 4,
        attributes: 5,
        item_events: 3,
    };
    let short = Schema { limits, ..plain.clone() };
    let iso = Schema { time: time("iso", ""), ..plain.clone() };
    [Schema::default(), plain, paths, several, short, iso].map(Arc::new)
}

/// The parts of a body are slices of it, none of them empty.
fn split_body(data: &[u8]) {
    let kinds = [
        BodyKind::Json,
        BodyKind::Ndjson,
        BodyKind::CloudEvent,
        BodyKind::CloudEventBatch,
        BodyKind::Sniff,
    ];
    let Some((first, rest)) = data.split_first() else { return };
    let body = Bytes::copy_from_slice(rest);
    let kind = kinds[usize::from(*first) % kinds.len()];
    let Ok(parts) = split(&body, kind, EVENTS_MAX) else { return };
    assert!(parts.len() <= EVENTS_MAX);
    let sum: usize = parts.iter().map(Bytes::len).sum();
    assert!(sum <= body.len(), "parts do not overlap");
}

/// What is composed of headers and data is one item that the decoder can judge.
fn cloudevent(data: &[u8]) {
    let mut headers = Vec::new();
    let mut rest = data;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 1..];
        match line.split_once(": ") {
            Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
            None => break,
        }
    }
    let content_type = headers.iter().find(|(name, _)| name == "content-type");
    let content_type = content_type.map(|(_, value)| value.clone());
    let pairs = || headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    for protocol in [Protocol::Http, Protocol::Nats] {
        let event = binding::compose(protocol, pairs(), content_type.as_deref(), rest);
        serde_json::from_slice::<&serde_json::value::RawValue>(&event)
            .expect("what is composed is JSON");
        decode(&event);
    }
}

/// A mapping is read or refused with a sentence. One that is read translates any file: the
/// rest of the data, behind a zero.
fn map(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let Ok(text) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    match Mapping::parse(text) {
        Ok(mapping) => open(parts.next().unwrap_or_default(), Some(Arc::new(mapping))),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A file is opened or refused with a sentence.
fn file(data: &[u8]) {
    open(data, None);
}

fn open(data: &[u8], mapping: Option<Arc<Mapping>>) {
    let dir = tempfile::tempdir().expect("a folder can be made");
    let path: PathBuf = dir.path().join("events");
    std::fs::write(&path, data).expect("a file can be written");
    let settings = Settings {
        files: vec![path],
        mapping,
        encoding: String::new(),
        unpacked_max: 1 << 20,
        keep_going: true,
        raw_order: false,
        schema: schema(),
        out_of_orderness: 0,
        speed: Speed::Max,
    };
    if let Err(error) = FileSource::of(&settings, SystemClock::shared(), Arc::default()) {
        assert!(!error.to_string().is_empty());
    }
}

/// A message of a stream becomes an item, whatever its headers say, and never more than the
/// bound allows.
fn message(data: &[u8]) {
    const BOUND: usize = 1 << 16;
    let template = Template::parse("shop.{region}.{type}").expect("a good template");
    let unpacker = Unpacker::new(template, SourceTime::Event, BOUND);
    let mut headers = HeaderMap::new();
    let encodings = ["", "gzip", "zstd", "br"];
    let Some((first, rest)) = data.split_first() else { return };
    headers.insert("content-encoding", encodings[usize::from(*first) % encodings.len()]);
    if *first >= 128 {
        headers.insert("ce-specversion", "1.0");
        headers.insert("ce-id", "1");
    }
    let mut out = Vec::new();
    let note = unpacker.unpack("shop.eu.cart_add", Some(&headers), rest, 0, &mut out);
    if note.fault.is_some() {
        assert_eq!(out, rest, "what is refused keeps its bytes");
    }
    assert!(out.len() <= BOUND.max(rest.len()) * 2 + 1_024);
    decode(&out);
}

/// A message of the websocket protocol is understood or refused.
fn commands(data: &[u8]) {
    if let Ok(text) = ByteString::try_from(Bytes::copy_from_slice(data)) {
        let _ = command::parse(&text);
    }
}

/// A configuration is read or refused with sentences; what is printed is read again.
fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse("fuzz.toml", text) {
        Ok(config) => {
            let printed = config.print();
            let again = Config::parse("printed.toml", &printed).expect("what is printed is read");
            assert_eq!(again.print(), printed);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// An expression is read or refused with a sentence; what is written of it is read again.
fn expression(data: &[u8]) {
    struct Attributes;
    impl Scope for Attributes {
        fn kind(&self, _: &str) -> Result<Kind, String> {
            Ok(Kind::Any)
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Expr::parse(text, &Attributes) {
        Ok(expr) => {
            let written = expr.to_string();
            // In one spelling it may be longer than what is read.
            if written.len() <= TEXT_BYTES_MAX {
                let again = Expr::parse(&written, &Attributes).expect("what is written is read");
                assert_eq!(again.to_string(), written);
            }
        }
        Err(error) => assert!(!error.reason.is_empty() && error.line > 0 && error.column > 0),
    }
}

/// A section of a commit is absorbed or called malformed; what was absorbed can be written
/// and absorbed again.
fn blob(data: &[u8]) {
    let mut snapshot = Snapshot::default();
    let mut rest = data;
    while let Some((len, after)) = rest.split_first() {
        let (section, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        if snapshot.absorb(section).is_err() {
            return;
        }
    }
    let mut again = Snapshot::default();
    for section in snapshot.encode(64) {
        again.absorb(&section).expect("what was written is read");
    }
    // By bytes: a number may be no number, and that is never equal to itself.
    assert_eq!(again.encode(1 << 20).len(), snapshot.encode(1 << 20).len());
}

/// Records of sessions and cells are read or called malformed.
fn record(data: &[u8]) {
    let mut segments = Segments::default();
    let rules = rules();
    if let Ok(machine) = Machine::decode(data, &mut segments, &rules) {
        let mut bytes = Vec::new();
        machine.encode(&segments, &mut bytes);
        Machine::decode(&bytes, &mut segments, &rules).expect("what was written is read");
    }
    let mut reader = Reader::new(data);
    if let Ok(cell) = Cell::decode(&mut reader) {
        let mut bytes = Vec::new();
        cell.encode(&mut bytes);
        Cell::decode(&mut Reader::new(&bytes)).expect("what was written is read");
    }
}

/// That of the defaults, made once: reading them takes longer than most inputs.
fn schema() -> Arc<Schema> {
    static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| {
        let config = Config::parse("", "").expect("the defaults are good");
        Arc::new(config.schema(7))
    });
    Arc::clone(&SCHEMA)
}

fn rules() -> Rules {
    let policy = SessionPolicy { deadline: Deadline::SinceEntry, ..SessionPolicy::default() };
    Rules::compile(&policy, &TimePolicy::default(), &schema())
}

fn decoder() -> Decoder {
    Decoder::new(schema())
}
