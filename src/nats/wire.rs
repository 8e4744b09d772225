//! A message of a stream as an item: its bytes, and the note of what its headers and its
//! subject say. What cannot be unpacked keeps its bytes as they came, with the reason.
//!
//! | message | item |
//! | --- | --- |
//! | JSON object, array, NDJSON | as it is: the decoder takes it apart |
//! | `content-type: application/cloudevents+json`, `-batch+json` | as it is, whatever else stands there |
//! | `ce-specversion` and other `ce-*` headers | the same CloudEvent in its structured form |
//! | `content-encoding: gzip` or `zstd` | unpacked first, up to a bound |
//! | `Nats-Msg-Id` | the id of its event, where that has none |
//! | subject, with a template | attributes that the event leaves open |
//! | when the broker stored it, where the source says so | the time of its events |

use std::io::Read;
use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use compact_str::CompactString;
use flate2::read::MultiGzDecoder;

use super::settings::SourceTime;
use super::settings::template::Template;
use crate::domain::event::binding::{self, Mode, Protocol};
use crate::domain::event::{Fault, Note, NoteTime};
use crate::domain::time::EpochMs;

/// Least window, as a power of two, that packed data may ask for: what zstd's own levels use.
const ZSTD_WINDOW_MIN: u32 = 23;
/// Greatest one: 128 MiB.
const ZSTD_WINDOW_MAX: u32 = 27;
/// Most headers kept of a message that cannot be read; the server bounds their bytes.
const CONTEXT_MAX: usize = 64;
/// Turns messages into items.
#[derive(Clone, Debug)]
pub struct Unpacker {
    template: Template,
    time: SourceTime,
    inflated_bytes_max: usize,
}

/// Header of a message that stands for an earlier one, a dead letter sent again: when that was
/// stored, epoch ms. Where the broker's time counts it is this one.
pub const HEADER_TIME: &str = "Tidewatch-Time";

impl Unpacker {
    /// With a subject template, whose time counts, and a bound on one message once it is
    /// unpacked.
    pub fn new(template: Template, time: SourceTime, inflated_bytes_max: usize) -> Self {
        Unpacker { template, time, inflated_bytes_max }
    }

    /// Names of the attributes that notes carry.
    pub fn names(&self) -> Arc<[String]> {
        Arc::clone(&self.template.names)
    }

    /// Appends the item's bytes to `out` and returns its note. `stored` is when the broker
    /// took the message in.
    pub fn unpack(
        &self,
        subject: &str,
        headers: Option<&HeaderMap>,
        payload: &[u8],
        stored: EpochMs,
        out: &mut Vec<u8>,
    ) -> Note {
        let mut note = Note { arrived: stored, ..Note::default() };
        self.template.fill(subject, &mut note.attributes);
        if self.time != SourceTime::Event {
            note.time = self.time(headers, stored);
        }
        let Some(headers) = headers.filter(|headers| !headers.is_empty()) else {
            out.extend_from_slice(payload);
            return note;
        };
        if let Some(id) = headers.get(NATS_MESSAGE_ID) {
            note.id = CompactString::from(id.as_str());
        }
        let start = out.len();
        if let Err(fault) = self.body(headers, payload, out) {
            out.truncate(start);
            out.extend_from_slice(payload);
            note.fault = Some(Box::new(Fault { reason: fault, context: context(headers) }));
        }
        note
    }

    fn time(&self, headers: Option<&HeaderMap>, stored: EpochMs) -> NoteTime {
        let earlier = headers.and_then(|headers| header(headers, HEADER_TIME));
        let at = earlier.and_then(|text| text.parse().ok()).unwrap_or(stored);
        match self.time {
            SourceTime::Event => NoteTime::None,
            SourceTime::Broker => NoteTime::Rules(at),
            SourceTime::BrokerIfAbsent => NoteTime::Fills(at),
        }
    }

    /// The payload without its packing, in the form the decoder knows.
    fn body(&self, headers: &HeaderMap, payload: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let start = out.len();
        let encoding = header(headers, "content-encoding").unwrap_or_default();
        match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => out.extend_from_slice(payload),
            "gzip" | "x-gzip" => self.inflate("gzip", MultiGzDecoder::new(payload), out)?,
            "zstd" => {
                let broken = |error: std::io::Error| format!("content-encoding zstd: {error}");
                let mut decoder = zstd::stream::read::Decoder::new(payload).map_err(broken)?;
                let bits = self.inflated_bytes_max.next_power_of_two().trailing_zeros();
                let window = bits.clamp(ZSTD_WINDOW_MIN, ZSTD_WINDOW_MAX);
                decoder.window_log_max(window).map_err(broken)?;
                self.inflate("zstd", decoder, out)?;
            }
            other => {
                let other: String = other.chars().take(40).collect();
                return Err(format!(
                    "content-encoding {other:?} is not known: use gzip, zstd or none"
                ));
            }
        }
        let content_type = header(headers, "content-type");
        match Mode::of(content_type, |name| header(headers, name).is_some()) {
            Mode::Plain | Mode::Structured | Mode::Batch => {}
            Mode::Unreadable => return Err(binding::unreadable(content_type.unwrap_or_default())),
            Mode::Binary => {
                let event = cloudevent(headers, content_type, &out[start..]);
                out.truncate(start);
                out.extend_from_slice(&event);
            }
        }
        Ok(())
    }

    /// Stops at the bound: what a small message unpacks to is not known before.
    fn inflate(&self, name: &str, packed: impl Read, out: &mut Vec<u8>) -> Result<(), String> {
        let (start, bound) = (out.len(), self.inflated_bytes_max);
        let read = packed.take(bound as u64 + 1).read_to_end(out);
        read.map_err(|error| format!("content-encoding {name}: {error}"))?;
        if out.len() - start > bound {
            Err(format!(
                "content-encoding {name}: unpacks to more than {bound} bytes \
             (nats.inflated_bytes_max)"
            ))
        } else {
            Ok(())
        }
    }
}

/// A binary CloudEvent in its structured form.
fn cloudevent(headers: &HeaderMap, content_type: Option<&str>, data: &[u8]) -> Vec<u8> {
    let mut attributes: Vec<(&str, &[u8])> = Vec::new();
    for (name, values) in headers.iter() {
        let name: &str = name.as_ref();
        attributes.extend(values.iter().map(|value| (name, value.as_str().as_bytes())));
    }
    // Headers come in no order of their own; the item's bytes are part of its fingerprint.
    attributes.sort_unstable();
    binding::compose(Protocol::Nats, attributes.into_iter(), content_type, data)
}

/// The headers that say what the bytes are, for the dead letter: by their names in lower case.
fn context(headers: &HeaderMap) -> Vec<(String, String)> {
    let about = |name: &str| {
        name.starts_with("ce-") || ["content-type", "content-encoding"].contains(&name)
    };
    let named = headers.iter().map(|(name, values)| {
        let name: &str = name.as_ref();
        (name.to_ascii_lowercase(), values)
    });
    let mut context = Vec::new();
    for (name, values) in named.filter(|(name, _)| about(name)) {
        context.extend(values.first().map(|value| (name, value.as_str().to_owned())));
    }
    context.sort_unstable();
    context.truncate(CONTEXT_MAX);
    context
}

/// A header, whatever the case its name is written in.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let same = |(found, _): &(&async_nats::HeaderName, _)| {
        let found: &str = (*found).as_ref();
        found.eq_ignore_ascii_case(name)
    };
    let (_, values) = headers.iter().find(same)?;
    values.first().map(|value| value.as_str())
}

#[cfg(test)]
mod tests;
