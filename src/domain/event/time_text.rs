//! Times as text: RFC 3339 in events, and the forms that log files use.
//!
//! All of them are cut to whole milliseconds, towards the past.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use crate::domain::time::EpochMs;

/// First accepted event time, 0000-01-01T00:00:00Z.
pub const EARLIEST: EpochMs = -62_167_219_200_000;

/// Last accepted event time, 9999-12-31T23:59:59.999Z.
pub const LATEST: EpochMs = 253_402_300_799_999;

/// `2026-11-22T20:15:00.250Z`, or with an offset.
pub fn rfc3339(text: &str) -> Option<EpochMs> {
    millis(text.parse::<Timestamp>().ok()?)
}

/// As [`rfc3339`], but a time without a zone is taken as UTC.
pub fn iso(text: &str) -> Option<EpochMs> {
    rfc3339(text).or_else(|| {
        let local: DateTime = text.parse().ok()?;
        millis(local.to_zoned(TimeZone::UTC).ok()?.timestamp())
    })
}

/// Times of web server logs: `01/Aug/1995:00:00:01 -0400`.
pub fn clf(text: &str) -> Option<EpochMs> {
    let broken_down = strtime::parse("%d/%b/%Y:%H:%M:%S %z", text).ok()?;
    millis(broken_down.to_timestamp().ok()?)
}

/// Whole milliseconds of a time within the accepted range.
fn millis(time: Timestamp) -> Option<EpochMs> {
    let millis = EpochMs::try_from(time.as_nanosecond().div_euclid(1_000_000)).ok()?;
    (EARLIEST..=LATEST).contains(&millis).then_some(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_forms_it_names() {
        for (text, want) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01T01:00:00.0019+01:00", Some(1)),
            ("1969-12-31T23:59:59.9999Z", Some(-1)),
            ("0000-01-01T00:00:00Z", Some(EARLIEST)),
            ("9999-12-30T21:59:59.999Z", Some(LATEST - 93_600_000)),
            ("1970-01-01T00:00:00", None),
            ("1970-01-01", None),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(rfc3339(text), want, "{text}");
        }
        assert_eq!(iso("2019-11-01 17:59:13.273932"), Some(1_572_631_153_273));
        assert_eq!(iso("2019-11-01T17:59:13+02:00"), Some(1_572_623_953_000));
        assert_eq!(iso("yesterday"), None);
        assert_eq!(clf("01/Aug/1995:00:00:01 -0400"), Some(807_249_601_000));
        assert_eq!(clf("01/Foo/1995:00:00:01 -0400"), None);
    }
}
