//! CloudEvents 1.0 in JSON, as an event of ours.
//!
//! | ours | theirs |
//! | --- | --- |
//! | id | `source`, a space, `id`: the two together name a CloudEvent, and a source, being a URI reference, holds no space |
//! | time | `time`, required here |
//! | type | `type` |
//! | session key | the key attribute in `data`, else as an extension attribute, else `subject` |
//! | attributes | those of the object in `data`, then the envelope's |
//!
//! An attribute `type` is always the envelope's, whatever `data` says. `data` may be
//! packed as `data_base64`; data that is not JSON by its `datacontenttype` has no
//! attributes.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::Span;
use super::context::{Level, is_json};
use super::draft::{Broken, Draft};
use super::walk;

/// With or without the padding at its end: senders differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The attributes that say whether and how the data is packed.
#[derive(Deserialize)]
struct Packing<'a> {
    #[serde(borrow, default)]
    data_base64: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    datacontenttype: Option<Cow<'a, str>>,
    #[serde(default)]
    data: Option<serde::de::IgnoredAny>,
}

/// The JSON in `data_base64`, if `text` has that and it is JSON.
///
/// # Errors
/// The rule that was broken.
pub(super) fn unpack(text: &str) -> Result<Option<String>, String> {
    if memchr::memmem::find(text.as_bytes(), b"\"data_base64\"").is_none() {
        return Ok(None);
    }
    let packing: Packing<'_> =
        serde_json::from_str(text).map_err(|error| format!("CloudEvent: {error}"))?;
    let Some(packed) = packing.data_base64 else {
        return Ok(None);
    };
    if packing.data.is_some() {
        return Err("CloudEvent: both \"data\" and \"data_base64\"".to_owned());
    }
    let bytes = BASE64
        .decode(packed.as_bytes())
        .map_err(|error| format!("CloudEvent: \"data_base64\" is not base64: {error}"))?;
    if !packing.datacontenttype.is_none_or(|content_type| is_json(&content_type)) {
        return Ok(None);
    }
    let unpacked = String::from_utf8(bytes)
        .map_err(|error| format!("CloudEvent: the data is not JSON: {error}"))?;
    Ok(Some(unpacked))
}

/// Reads a CloudEvent into an empty draft. `unpacked` is what [`unpack`] found in it.
///
/// # Errors
/// The rule that was broken.
pub(super) fn read(draft: &mut Draft<'_>, unpacked: Option<&str>) -> Result<(), Broken> {
    walk::read(draft, Level::Envelope)?;
    if let Some(data) = unpacked {
        walk::read_of(draft, data, Level::Data).map_err(|rule| {
            match rule.strip_prefix("not JSON: ") {
                Some(cause) => format!("CloudEvent: the data is not JSON: {cause}"),
                None => format!("CloudEvent: in \"data_base64\": {rule}"),
            }
        })?;
    }
    draft.at = draft.at.or(draft.arrival);
    let len = |span: Option<Span>| span.map_or(0, |span| span.len as usize);
    let required = [
        ("id", len(draft.id)),
        ("source", len(draft.envelope.source)),
        ("type", len(draft.event_type)),
        ("time", usize::from(draft.at.is_some())),
    ];
    if let Some((name, _)) = required.into_iter().find(|(_, len)| *len == 0) {
        return Err(format!("CloudEvent: {name:?} is missing").into());
    }
    let text = |span: Option<Span>| span.map_or("", |span| draft.get(span));
    let identity = format!("{} {}", text(draft.envelope.source), text(draft.id));
    draft.id = Some(draft.span(&identity));
    if draft.key.is_none() && draft.anonymous.is_none() {
        draft.key = draft.envelope.subject;
    }
    Ok(())
}
