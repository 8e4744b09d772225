//! CloudEvents as HTTP and NATS carry them: which mode a message is in, and the binary mode
//! (attributes in `ce-*` headers, the data in the body) in the structured one, which is what
//! the log, the decoder and the dead letters know.
//!
//! Nothing is refused here. What breaks a rule is written down so that the decoder refuses it,
//! with the true reason, and its dead letter holds every attribute: an event is judged in one
//! place, whichever way it came.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use super::context::{PREFIX, is_attribute, is_json};

/// Any of these headers says that a message is a CloudEvent in binary mode: they are required,
/// so one that is absent is a fault that can be named.
const REQUIRED: [&str; 4] = ["ce-specversion", "ce-id", "ce-source", "ce-type"];

/// How a message carries its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is not a CloudEvent by its headers; the body may say that it is one.
    Plain,
    /// The body is one CloudEvent, whatever `ce-*` headers stand there.
    Structured,
    /// The body is an array of CloudEvents.
    Batch,
    /// The attributes are headers, the body is the data.
    Binary,
    /// A CloudEvent in another format than JSON.
    Unreadable,
}

impl Mode {
    /// The mode by the content type and by whether there is a header of a (lower-case) name.
    pub fn of(content_type: Option<&str>, has: impl Fn(&str) -> bool) -> Mode {
        match content_type.map(essence).unwrap_or_default().as_str() {
            "application/cloudevents" | "application/cloudevents+json" => Mode::Structured,
            "application/cloudevents-batch" | "application/cloudevents-batch+json" => Mode::Batch,
            other if other.starts_with("application/cloudevents") => Mode::Unreadable,
            _ if REQUIRED.into_iter().any(has) => Mode::Binary,
            _ => Mode::Plain,
        }
    }
}

/// The sentence for [`Mode::Unreadable`].
pub fn unreadable(content_type: &str) -> String {
    let content_type: String = content_type.chars().take(80).collect();
    format!(
        "CloudEvent: content type {content_type:?} is not read here: send \
         application/cloudevents+json, application/cloudevents-batch+json, or the binary mode"
    )
}

/// Whose rules hold for the value of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The value may be a quoted string; then percent-encoding.
    Http,
    /// Percent-encoding.
    Nats,
}

/// A binary CloudEvent in the structured form, as one line where its data is one. Headers whose
/// names do not begin with `ce-` are passed over. JSON data is kept as it is, other text
/// becomes a JSON string, anything else `data_base64`.
///
/// A header that is not an attribute keeps its whole name, `ce-` included, which the decoder
/// refuses (`not_an_attribute`); data that is not the JSON it should be is kept as
/// `data_base64`, which it refuses too.
pub fn compose<'a>(
    protocol: Protocol,
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    content_type: Option<&str>,
    data: &[u8],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 256);
    let mut content_type = content_type.map(Cow::Borrowed);
    let mut versioned = false;
    for (header, bytes) in headers {
        let header = header.to_ascii_lowercase();
        let Some(name) = header.strip_prefix(PREFIX) else { continue };
        let value = value(protocol, bytes);
        match value {
            // The binary mode has it in a header of its own, which goes first.
            Some(value) if name == "datacontenttype" => {
                content_type.get_or_insert(value.into_owned().into());
            }
            Some(value) if is_attribute(name) => {
                versioned |= name == "specversion";
                put_field(&mut out, name, &json_text(&value));
            }
            _ => put_field(&mut out, &header, &json_text(&one_by_one(bytes))),
        }
    }
    if !versioned {
        // It says that this is a CloudEvent, and the decoder says what is missing.
        put_field(&mut out, "specversion", "null");
    }
    if let Some(content_type) = &content_type {
        put_field(&mut out, "datacontenttype", &json_text(content_type));
    }
    put_data(&mut out, content_type.as_deref(), data);
    out.push(b'}');
    out
}

fn put_data(out: &mut Vec<u8>, content_type: Option<&str>, data: &[u8]) {
    if data.trim_ascii().is_empty() {
        return;
    }
    let text = std::str::from_utf8(data).ok();
    let json = text.and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
    let says_json = content_type.is_none_or(is_json);
    // What curl says of every body, unless it is told otherwise.
    let says_form =
        content_type.is_some_and(|text| essence(text) == "application/x-www-form-urlencoded");
    match (json, text) {
        (Some(json), _) if says_json || says_form => put_field(out, "data", json.get()),
        (_, Some(text)) if !says_json => put_field(out, "data", &json_text(text)),
        _ => put_field(out, "data_base64", &json_text(&STANDARD.encode(data))),
    }
}

/// The media type alone, in lower case.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A header's value as the attribute's text; `None` when that is not UTF-8.
fn value(protocol: Protocol, bytes: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text = match protocol {
        Protocol::Http => unquoted(text),
        Protocol::Nats => Cow::Borrowed(text),
    };
    if text.contains('%') { percent_decoded(&text).map(Cow::Owned) } else { Some(text) }
}

/// Each byte as the character of its number (Latin-1), so that nothing of it is lost.
fn one_by_one(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// A quoted string (RFC 9110, 5.6.4) without its quotes; anything else as it is.
fn unquoted(text: &str) -> Cow<'_, str> {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let Some(inner) = inner else { return Cow::Borrowed(text) };
    let (mut out, mut chars) = (String::with_capacity(inner.len()), inner.chars());
    while let Some(c) = chars.next() {
        match c {
            // A quote that is not escaped ends the string before its end: it is none.
            '"' => return Cow::Borrowed(text),
            '\\' => match chars.next() {
                Some(escaped) => out.push(escaped),
                None => return Cow::Borrowed(text),
            },
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Appends `"name":value` with what must stand before it.
fn put_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(if out.is_empty() { b'{' } else { b',' });
    out.extend_from_slice(json_text(name).as_bytes());
    out.push(b':');
    out.extend_from_slice(value.as_bytes());
}

fn json_text(text: &str) -> String {
    serde_json::to_string(text).expect("text can always be written as JSON")
}

/// A text without percent-encoding; a `%` that encodes nothing stands for itself. `None` when
/// what comes of it is not UTF-8.
fn percent_decoded(value: &str) -> Option<String> {
    let bytes = value.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let encoded = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        let decoded = encoded
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(decoded.unwrap_or(bytes[at]));
        at += if decoded.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::event::Schema;
    use crate::event::decode::Decoder;

    const EVENT: [(&str, &[u8]); 6] = [
        ("Ce-Specversion", b"1.0"),
        ("ce-id", b"1"),
        ("ce-source", b"/shop%20%22a%22"),
        ("ce-type", b"cart_add"),
        ("ce-time", b"2026-01-01T00:00:00Z"),
        ("host", b"example.org"),
    ];

    fn composed(more: &[(&str, &[u8])], content_type: Option<&str>, data: &[u8]) -> Vec<u8> {
        let headers = EVENT.iter().chain(more).copied();
        compose(Protocol::Http, headers, content_type, data)
    }

    fn json(more: &[(&str, &[u8])], content_type: Option<&str>, data: &[u8]) -> Value {
        serde_json::from_slice(&composed(more, content_type, data)).unwrap()
    }

    fn verdict(item: &[u8]) -> Result<(), String> {
        Decoder::new(Arc::new(Schema::default())).verdict(item)
    }

    #[test]
    fn the_content_type_goes_before_the_headers() {
        let mode = |content_type, header| Mode::of(content_type, |name| name == header);
        for (content_type, header, want) in [
            (None, "host", Mode::Plain),
            (Some("application/json"), "host", Mode::Plain),
            (Some("application/json"), "ce-specversion", Mode::Binary),
            (None, "ce-type", Mode::Binary),
            (None, "ce-time", Mode::Plain),
            (Some("Application/CloudEvents+JSON; charset=utf-8"), "ce-id", Mode::Structured),
            (Some("application/cloudevents"), "host", Mode::Structured),
            (Some("application/cloudevents-batch+json"), "ce-id", Mode::Batch),
            (Some("application/cloudevents+xml"), "ce-id", Mode::Unreadable),
            (Some("application/cloudevents-batch+protobuf"), "host", Mode::Unreadable),
        ] {
            assert_eq!(mode(content_type, header), want, "{content_type:?} {header}");
        }
    }

    #[test]
    fn every_attribute_of_any_legal_name_is_kept() {
        let more: &[(&str, &[u8])] = &[
            ("ce-subject", b"ada"),
            ("ce-dataschema", b"https://s.example/x.json"),
            ("ce-dataref", b"https://s.example/data"),
            ("ce-sequence", b"0042"),
            ("CE-PartitionKey", b"eu"),
            ("ce-1", b"100%"),
        ];
        let made = json(more, Some("application/json; charset=utf-8"), b" {\"user\": \"u\"}\n");
        let want = json!({
            "specversion": "1.0", "id": "1", "source": "/shop \"a\"", "type": "cart_add",
            "time": "2026-01-01T00:00:00Z", "subject": "ada", "sequence": "0042", "1": "100%",
            "dataschema": "https://s.example/x.json", "dataref": "https://s.example/data",
            "partitionkey": "eu", "datacontenttype": "application/json; charset=utf-8",
            "data": {"user": "u"},
        });
        assert_eq!(made, want);
        assert_eq!(verdict(made.to_string().as_bytes()), Ok(()));
    }

    #[test]
    fn data_is_what_its_type_says() {
        for (content_type, data, want) in [
            (Some("text/plain"), &b"hi"[..], json!({"data": "hi"})),
            (Some("text/plain"), b"{\"a\":1}", json!({"data": "{\"a\":1}"})),
            (Some("image/png"), b"\xff", json!({"data_base64": "/w=="})),
            (Some("application/x-www-form-urlencoded"), b"{\"a\":1}", json!({"data": {"a": 1}})),
            (Some("application/x-www-form-urlencoded"), b"a=1", json!({"data": "a=1"})),
            (Some("application/vnd.shop+json"), b"[1]", json!({"data": [1]})),
            (None, b"7", json!({"data": 7})),
            (None, b" \n", json!({})),
        ] {
            let mut made = json(&[], content_type, data);
            made.as_object_mut().unwrap().retain(|name, _| name.starts_with("data"));
            made.as_object_mut().unwrap().remove("datacontenttype");
            assert_eq!(made, want, "{content_type:?} {data:?}");
            assert_eq!(verdict(&composed(&[], content_type, data)), Ok(()), "{data:?}");
        }
        // A header for it is read where the message has no content type.
        let made = json(&[("ce-datacontenttype", b"text/plain")], None, b"hi");
        assert_eq!((&made["data"], &made["datacontenttype"]), (&json!("hi"), &json!("text/plain")));
    }

    #[test]
    fn values_are_decoded_by_their_protocol() {
        for (text, http, nats) in [
            ("plain", "plain", "plain"),
            ("Euro%20%E2%82%AC", "Euro \u{20ac}", "Euro \u{20ac}"),
            ("caf\u{e9}", "caf\u{e9}", "caf\u{e9}"),
            ("100%", "100%", "100%"),
            ("%4", "%4", "%4"),
            ("\"a \\\"b\\\" %2B\"", "a \"b\" +", "\"a \\\"b\\\" +\""),
            ("\"a\" or \"b\"", "\"a\" or \"b\"", "\"a\" or \"b\""),
            ("\"", "\"", "\""),
            ("%2525", "%25", "%25"),
        ] {
            let decoded = |protocol| value(protocol, text.as_bytes()).unwrap().into_owned();
            assert_eq!(decoded(Protocol::Http), http, "{text}");
            assert_eq!(decoded(Protocol::Nats), nats, "{text}");
        }
    }

    #[test]
    fn what_breaks_a_rule_is_kept_and_refused_for_the_true_reason() {
        let without = |name: &str| {
            let headers = EVENT.iter().filter(|(header, _)| !header.eq_ignore_ascii_case(name));
            compose(Protocol::Http, headers.copied(), Some("application/json"), b"{\"amount\":5}")
        };
        for (name, reason) in [
            ("ce-specversion", "CloudEvent: \"specversion\" is missing"),
            ("ce-id", "CloudEvent: \"id\" is missing"),
            ("ce-source", "CloudEvent: \"source\" is missing"),
            ("ce-type", "CloudEvent: \"type\" is missing"),
            ("ce-time", "CloudEvent: \"time\" is missing"),
        ] {
            let made = without(name);
            assert_eq!(verdict(&made).unwrap_err(), reason);
            let made: Value = serde_json::from_slice(&made).unwrap();
            let kept = ["id", "source", "type", "time"].map(|name| !made[name].is_null());
            assert_eq!(
                kept.iter().filter(|kept| !**kept).count(),
                usize::from(name != "ce-specversion")
            );
            assert_eq!(made["data"], json!({"amount": 5}));
        }
        let header = |name: &str, rule: &str| {
            format!("CloudEvent: header \"ce-{name}\" is not an attribute: {rule}")
        };
        let (names, body) =
            ("names are lower-case letters and digits", "the data of the binary mode is the body");
        for (name, value, rule) in [
            ("ce-my_ext", &b"1"[..], names),
            ("ce-my-ext", b"1", names),
            ("ce-", b"1", names),
            ("ce-data", b"1", body),
            ("ce-data_base64", b"e30=", body),
            ("ce-subject", b"%FF", "its value is not UTF-8 in percent-encoding"),
            ("ce-subject", b"caf\xe9", "its value is not UTF-8 in percent-encoding"),
        ] {
            let made = composed(&[(name, value)], Some("application/json"), b"{}");
            let short = name.strip_prefix(PREFIX).unwrap();
            assert_eq!(verdict(&made).unwrap_err(), header(short, rule));
            let made: Value = serde_json::from_slice(&made).unwrap();
            assert_eq!(made[name], one_by_one(value), "its value is kept");
            assert_eq!(made["type"], "cart_add", "and so is everything else");
        }
        let twice = composed(&[("ce-type", b"x")], None, b"");
        assert_eq!(verdict(&twice).unwrap_err(), "attribute \"type\" appears twice");
        for (content_type, data) in [
            (Some("application/json"), &b"no json"[..]),
            (None, b"hi"),
            (None, b"\xff"),
            (None, b"{}{}"),
        ] {
            let made = composed(&[], content_type, data);
            let reason = verdict(&made).unwrap_err();
            assert!(reason.starts_with("CloudEvent: the data is not JSON"), "{reason}");
            let made: Value = serde_json::from_slice(&made).unwrap();
            let kept = STANDARD.decode(made["data_base64"].as_str().unwrap()).unwrap();
            assert_eq!(kept, data, "its bytes are kept");
        }
    }

    proptest! {
        /// Whatever the headers and the data are: one JSON object comes of it that holds them.
        #[test]
        fn nothing_is_lost_on_the_way(
            headers in prop::collection::vec(
                ("ce-[a-zA-Z0-9_.-]{0,6}", prop::collection::vec(any::<u8>(), 0..12)), 0..6),
            content_type in prop::option::of("[a-z]{1,5}/(json|[a-z]{1,5})"),
            data in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..20),
                Just(b"{\"a\":[1,2]}".to_vec()),
            ],
        ) {
            for protocol in [Protocol::Http, Protocol::Nats] {
                let given = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
                let made = compose(protocol, given, content_type.as_deref(), &data);
                let event: serde_json::Map<String, Value> = serde_json::from_slice(&made).unwrap();
                prop_assert!(event.contains_key("specversion"));
                for (name, _) in &headers {
                    let name = name.to_ascii_lowercase();
                    let short = name.strip_prefix(PREFIX).unwrap();
                    prop_assert!(event.contains_key(short) || event.contains_key(&name), "{name}");
                }
                let carried = event.contains_key("data") || event.contains_key("data_base64");
                let given = headers.iter().any(|(name, _)| name.to_ascii_lowercase().starts_with("ce-data"));
                prop_assert!(given || carried != data.trim_ascii().is_empty());
                // To be judged, never to panic.
                let _ = verdict(&made);
            }
        }
    }
}
