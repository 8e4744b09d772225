//! Bodies and items to single events, without a copy.
//!
//! Two callers: the decoder, for an item that holds several events, and the web side,
//! which appends every event of a body to the log as an item of its own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::cloudevent;

/// What a body says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// `application/json`: an object or an array of objects.
    Json,
    /// `application/x-ndjson`: an object a line.
    Ndjson,
    /// `application/cloudevents+json`: one CloudEvent.
    CloudEvent,
    /// `application/cloudevents-batch+json`: an array of CloudEvents.
    CloudEventBatch,
    /// Anything else: found out from the bytes.
    Sniff,
}

/// The events of a body, in order, each a slice of it. Blank lines are passed over.
/// The events themselves are not checked: that is the decoder's part.
///
/// # Errors
/// When an array cannot be taken apart. The whole body is then one dead letter.
pub fn split(body: &Bytes, kind: BodyKind) -> Result<Vec<Bytes>, String> {
    let parts = match kind {
        BodyKind::Json | BodyKind::Sniff => parts(body)?,
        BodyKind::Ndjson => lines(body),
        BodyKind::CloudEvent => vec![body.trim_ascii()],
        BodyKind::CloudEventBatch => elements(body.trim_ascii())?,
    };
    Ok(parts.into_iter().map(|part| body.slice_ref(part)).collect())
}

/// The events in `item`: the elements of an array, the lines of NDJSON, or the item itself.
///
/// # Errors
/// When it is an array and cannot be taken apart, or when there is nothing in it.
pub(super) fn parts(item: &[u8]) -> Result<Vec<&[u8]>, String> {
    let trimmed = item.strip_prefix(BYTE_ORDER_MARK).unwrap_or(item).trim_ascii();
    match trimmed.first() {
        None => Err("empty: an event must be a JSON object".to_owned()),
        Some(b'[') if !holds_lines(trimmed) => elements(trimmed),
        Some(_) if holds_lines(trimmed) => Ok(lines(trimmed)),
        Some(_) => Ok(vec![trimmed]),
    }
}

/// Some editors put it in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// True for NDJSON: there are line ends, they are not merely those of one value that
/// was written over several lines, and some line is an object of its own.
fn holds_lines(trimmed: &[u8]) -> bool {
    memchr::memchr(b'\n', trimmed).is_some()
        && serde_json::from_slice::<IgnoredAny>(trimmed).is_err()
        && lines(trimmed).into_iter().any(|line| {
            line.first() == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(line).is_ok()
        })
}

/// The lines that are not blank, without the white space around them.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty()).collect()
}

/// The elements of a JSON array.
fn elements(array: &[u8]) -> Result<Vec<&[u8]>, String> {
    let text = std::str::from_utf8(array)
        .map_err(|error| format!("not UTF-8 from byte {} on", error.valid_up_to()))?;
    let elements: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|error| format!("not a JSON array: {error}"))?;
    Ok(elements.into_iter().map(|element| element.get().as_bytes()).collect())
}

/// A binary-mode CloudEvent (attributes in `ce-*` headers, data in the body) in the
/// structured form. Other headers are passed over. JSON data is kept as it is, other
/// text becomes a JSON string, anything else `data_base64`.
///
/// # Errors
/// When a header is no attribute or the data is not the JSON it says it is.
pub fn compose_cloudevent(
    headers: &[(String, String)],
    data: &[u8],
    content_type: Option<&str>,
) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(data.len() + 256);
    for (header, value) in headers {
        let header = header.to_ascii_lowercase();
        let Some(name) = header.strip_prefix("ce-") else {
            continue;
        };
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if name.is_empty() || !name.bytes().all(allowed) || name.starts_with("data") {
            return Err(format!("CloudEvent: header {header:?} is not an attribute"));
        }
        let value = percent_decoded(value).ok_or_else(|| {
            format!("CloudEvent: the value of header {header:?} is not UTF-8 in percent-encoding")
        })?;
        put_field(&mut out, name, &json_text(&value));
    }
    if let Some(content_type) = content_type {
        put_field(&mut out, "datacontenttype", &json_text(content_type));
    }
    if !data.trim_ascii().is_empty() {
        let is_json = content_type.is_none_or(cloudevent::is_json);
        match std::str::from_utf8(data) {
            Ok(text) if is_json => {
                let value: &RawValue = serde_json::from_str(text)
                    .map_err(|error| format!("CloudEvent: the data is not JSON: {error}"))?;
                put_field(&mut out, "data", value.get());
            }
            Ok(text) => put_field(&mut out, "data", &json_text(text)),
            Err(_) => put_field(&mut out, "data_base64", &json_text(&STANDARD.encode(data))),
        }
    }
    out.push(b'}');
    Ok(out)
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

/// A header's value without percent-encoding; a `%` that encodes nothing stands for itself.
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
