//! The time of an event without the rest of it, for whoever puts events in order before
//! they are decoded. Finds the time that the decoder would.

use std::sync::{Arc, LazyLock};

use memchr::memmem::Finder;

use super::Schema;
use super::decode::Decoder;
use super::time_text::{EARLIEST, LATEST};
use crate::time::EpochMs;

/// Looks up times. Keeps scratch space between calls.
#[derive(Debug)]
pub struct TimeOf {
    decoder: Decoder,
    /// The attribute `ts` in whole numbers is the time, so it may be found at first sight.
    plain: bool,
}

impl TimeOf {
    /// For events decoded by `schema`.
    pub fn new(schema: &Schema) -> Self {
        let aliases = schema.aliases.iter().filter(|(_, used)| used == "ts");
        let schema = Schema { slots: Vec::new(), ..schema.clone() };
        TimeOf {
            plain: schema.time.is_native() && aliases.count() == 0,
            decoder: Decoder::new(Arc::new(schema)),
        }
    }

    /// The time of an event, or of the first understood one of several; `None` when there is
    /// none that is understood.
    ///
    /// Looks for the first `"ts":` followed by digits. It is the event's own unless another
    /// object begins before it; in that and any other doubt the event is decoded.
    pub fn of(&mut self, event: &[u8]) -> Option<EpochMs> {
        if self.plain
            && let Some(at) = at_first_sight(event)
        {
            return Some(at);
        }
        let mut found = None;
        self.decoder.decode(event, |event| {
            if let (None, Ok(event)) = (found, event) {
                found = Some(event.at);
            }
        });
        found
    }
}

fn at_first_sight(event: &[u8]) -> Option<EpochMs> {
    static TS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"ts\":"));
    let found = TS.find(event)?;
    if memchr::memchr_iter(b'{', &event[..found]).count() != 1 || event.first() != Some(&b'{') {
        return None;
    }
    let rest = event[found + 5..].trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // Sixteen digits cannot overflow, and the last accepted time has fifteen.
    let ends = matches!(rest.get(digits), Some(b',' | b'}' | b' '));
    if !(1..=16).contains(&digits) || !ends {
        return None;
    }
    let at = rest[..digits].iter().fold(0, |number, byte| number * 10 + i64::from(byte - b'0'));
    // Beyond it the decoder guesses, or refuses the event.
    (EARLIEST..=LATEST).contains(&at).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::time_rule::TimeRule;

    #[test]
    fn finds_the_time_that_the_decoder_would() {
        let mut times = TimeOf::new(&Schema::default());
        for (event, want) in [
            (r#"{"ts":12,"type":"x"}"#, Some(12)),
            (r#"{"type":"x","ts": 12}"#, Some(12)),
            (r#"{"type":"x","ts" : 12}"#, Some(12)),
            (r#"{"type":"x","data":{"ts":1},"ts":2}"#, Some(2)),
            (r#"{"type":"x","a":"{","ts":2}"#, Some(2)),
            (r#"{"type":"x","a":"\"ts\":9","ts":2}"#, Some(2)),
            (r#"{"type":"x","ts":-5}"#, Some(-5)),
            (r#"{"type":"x","ts":1.2e3}"#, Some(1_200)),
            (r#"{"type":"x","ts":"1970-01-01T00:00:01Z"}"#, Some(1_000)),
            (r#"{"type":"x","ts":"1970-01-01 00:00:01"}"#, Some(1_000)),
            (r#"{"type":"x","ts":1509575121.648}"#, Some(1_509_575_121_648)),
            (r#"{"type":"x","ts":1620291751177123}"#, Some(1_620_291_751_177)),
            (
                r#"{"specversion":"1.0","id":"1","source":"s","type":"x","time":"1970-01-01T00:00:01Z","data":{"ts":7}}"#,
                Some(1_000),
            ),
            (r#"[{"ts":3,"type":"x"},{"ts":1,"type":"x"}]"#, Some(3)),
            (r#"{"type":"x","ts":9999999999999999}"#, None),
            (r#"{"type":"x","ts":null}"#, None),
            ("{\"ts\":", None),
            ("not json", None),
            ("", None),
        ] {
            assert_eq!(times.of(event.as_bytes()), want, "{event}");
        }
    }

    #[test]
    fn aliases_paths_and_declared_forms_are_its_own_too() {
        let alias = |from: &str| (from.to_owned(), "ts".to_owned());
        let schema = Schema {
            aliases: vec![alias("time_ms"), alias("meta.at")],
            time: TimeRule::declared("s", "").unwrap(),
            ..Schema::default()
        };
        let mut times = TimeOf::new(&schema);
        for (event, want) in [
            (r#"{"time_ms":7,"type":"x"}"#, Some(7_000)),
            (r#"{"meta":{"at":8},"type":"x"}"#, Some(8_000)),
            (r#"{"meta":{"at":8},"time_ms":7,"type":"x"}"#, Some(7_000)),
            (r#"{"ts":9,"time_ms":7,"type":"x"}"#, Some(9_000)),
        ] {
            assert_eq!(times.of(event.as_bytes()), want, "{event}");
        }
    }
}
