//! Times as text: RFC 3339 and ISO 8601, the dates of HTTP and of web server logs, and
//! declared patterns. Epoch numbers are in `time_rule`, which also says what an event's
//! time may look like.
//!
//! All of them are cut to whole milliseconds, towards the past.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use crate::time::EpochMs;

/// First accepted event time, 0000-01-01T00:00:00Z.
pub const EARLIEST: EpochMs = -62_167_219_200_000;

/// Last accepted event time, 9999-12-31T23:59:59.999Z.
pub const LATEST: EpochMs = 253_402_300_799_999;

/// Digits of a fraction of a second that are looked at; further ones are cut.
const FRACTION_DIGITS: usize = 9;

/// RFC 3339 in all its forms: `2026-11-22T20:15:00.250Z`, lower-case `t` and `z`, a space
/// for the `T`, offsets `+02:00`, `+0200` and `+02`, a second 60, any number of decimals;
/// and with ` UTC` or ` GMT` for the `Z`.
pub fn rfc3339(text: &str) -> Option<EpochMs> {
    let text = shortened(text.trim());
    if let Ok(time) = text.parse::<Timestamp>() {
        return millis(time);
    }
    let named = |zone: &str| {
        let start = text.len().checked_sub(zone.len())?;
        let (time, end) = (text.get(..start)?, text.get(start..)?);
        end.eq_ignore_ascii_case(zone).then(|| time.trim_end())
    };
    let local = named("UTC").or_else(|| named("GMT"))?;
    from_local(local.parse::<DateTime>().ok()?, &TimeZone::UTC)
}

/// ISO 8601 without a zone, with `T` or a space, or a date alone (its midnight), taken as
/// local to `zone`. In the hour that a clock shows twice the first is meant, and in the hour
/// that it leaves out the time as if it had not been moved yet.
pub fn local(text: &str, zone: &TimeZone) -> Option<EpochMs> {
    let text = shortened(text.trim());
    // `DateTime` passes over an offset, which would move the event without a word.
    let time = text.get(10..).unwrap_or("");
    if time.contains(['Z', 'z', '+', '[']) || time.contains('-') {
        return None;
    }
    let local = text
        .parse::<DateTime>()
        .ok()
        .or_else(|| Some(text.parse::<Date>().ok()?.at(0, 0, 0, 0)))?;
    from_local(local, zone)
}

/// As [`rfc3339`], but a time without a zone is taken as UTC.
pub fn iso(text: &str) -> Option<EpochMs> {
    rfc3339(text).or_else(|| local(text, &TimeZone::UTC))
}

/// The three dates of HTTP (`Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT`,
/// `Sun Nov  6 08:49:37 1994`), and RFC 2822 with its offsets. A wrong day of the week does
/// not matter: the date says which day it was.
pub fn http(text: &str) -> Option<EpochMs> {
    static PARSER: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);
    let text = text.trim();
    if let Ok(time) = PARSER.parse_timestamp(text) {
        return millis(time);
    }
    if let Some((weekday, date)) = text.split_once(", ") {
        let date = date.strip_suffix(" GMT").filter(|_| is_word(weekday))?;
        let local = strtime::parse("%d-%b-%y %H:%M:%S", date).ok()?.to_datetime().ok()?;
        return from_local(local, &TimeZone::UTC);
    }
    let (weekday, date) = text.split_once(' ').filter(|(weekday, _)| is_word(weekday))?;
    debug_assert!(!weekday.is_empty());
    let words: Vec<&str> = date.split_ascii_whitespace().collect();
    let local = strtime::parse("%b %d %H:%M:%S %Y", words.join(" ")).ok()?.to_datetime().ok()?;
    from_local(local, &TimeZone::UTC)
}

/// Times of web server logs: `01/Aug/1995:00:00:01 -0400`, with or without brackets.
pub fn clf(text: &str) -> Option<EpochMs> {
    let text = text.trim();
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let broken_down = strtime::parse("%d/%b/%Y:%H:%M:%S %z", inner).ok()?;
    millis(broken_down.to_timestamp().ok()?)
}

/// A time by a declared pattern (`%d.%m.%Y %H:%M:%S`), local to `zone` unless the text has
/// an offset (`%z`) or a zone (`%Q`) of its own. A date alone is its midnight.
pub fn by_pattern(text: &str, pattern: &str, zone: &TimeZone) -> Option<EpochMs> {
    let broken_down = strtime::parse(pattern, text.trim()).ok()?;
    if let Ok(time) = broken_down.to_timestamp() {
        return millis(time);
    }
    if broken_down.offset().is_some() {
        let date = broken_down.to_date().ok()?;
        let offset = TimeZone::fixed(broken_down.offset()?);
        return from_local(date.at(0, 0, 0, 0), &offset);
    }
    let local = broken_down.to_datetime().ok();
    let local = local.or_else(|| Some(broken_down.to_date().ok()?.at(0, 0, 0, 0)))?;
    from_local(local, zone)
}

/// A time for people and machines, as RFC 3339 has it; the number where it is beyond that.
pub fn date(at: EpochMs) -> String {
    Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |time| time.to_string())
}

fn is_word(text: &str) -> bool {
    text.len() >= 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn from_local(local: DateTime, zone: &TimeZone) -> Option<EpochMs> {
    millis(zone.to_timestamp(local).ok()?)
}

/// The text without the decimals of its second that nothing would keep.
fn shortened(text: &str) -> Cow<'_, str> {
    let Some(point) = text.find(['.', ',']) else { return Cow::Borrowed(text) };
    let digits = text[point + 1..].bytes().take_while(u8::is_ascii_digit).count();
    if digits <= FRACTION_DIGITS {
        return Cow::Borrowed(text);
    }
    let (keep, rest) = (point + 1 + FRACTION_DIGITS, point + 1 + digits);
    Cow::Owned(format!("{}{}", &text[..keep], &text[rest..]))
}

/// Whole milliseconds of a time within the accepted range.
fn millis(time: Timestamp) -> Option<EpochMs> {
    let millis = EpochMs::try_from(time.as_nanosecond().div_euclid(1_000_000)).ok()?;
    (EARLIEST..=LATEST).contains(&millis).then_some(millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    #[test]
    fn rfc3339_is_read_in_all_its_forms_and_needs_a_zone() {
        for (text, want) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01t00:00:00z", Some(0)),
            ("1970-01-01 00:00:00Z", Some(0)),
            (" 1970-01-01T00:00:00Z ", Some(0)),
            ("1970-01-01T01:00:00.0019+01:00", Some(1)),
            ("1970-01-01T01:00:00+0100", Some(0)),
            ("1970-01-01T01:00:00+01", Some(0)),
            ("1970-01-01 01:00:00 +01:00", None),
            ("1969-12-31T23:59:59.9999Z", Some(-1)),
            ("1970-01-01T00:00:00.123456789123456Z", Some(123)),
            ("1970-01-01T00:00:00,25Z", Some(250)),
            ("2016-12-31T23:59:60Z", Some(1_483_228_799_000)),
            ("2019-10-01 00:00:00 UTC", Some(1_569_888_000_000)),
            ("2019-10-01T00:00:00 gmt", Some(1_569_888_000_000)),
            ("2023-07-01T12:00:00-00:00", Some(1_688_212_800_000)),
            ("2023-07-01T12:00:00+02:00[Europe/Berlin]", Some(1_688_205_600_000)),
            ("0000-01-01T00:00:00Z", Some(EARLIEST)),
            ("9999-12-30T21:59:59.999Z", Some(LATEST - 93_600_000)),
            ("1970-01-01T00:00:00", None),
            ("1970-01-01", None),
            ("2023-02-29T00:00:00Z", None),
            ("2023-01-01T24:30:00Z", None),
            ("", None),
            ("UTC", None),
            ("soon", None),
        ] {
            assert_eq!(rfc3339(text), want, "{text}");
        }
    }

    #[test]
    fn a_time_without_a_zone_is_local_to_the_one_given() {
        let berlin = zone("Europe/Berlin");
        for (text, want) in [
            ("2023-07-01 12:00:00", Some(1_688_205_600_000)),
            ("2023-07-01T12:00:00.5", Some(1_688_205_600_500)),
            ("2023-07-01T12:00", Some(1_688_205_600_000)),
            ("2023-12-24", Some(1_703_372_400_000)),
            // Twice on the clock: the first. Not on the clock: as if it had not moved.
            ("2023-10-29T02:30:00", Some(1_698_539_400_000)),
            ("2023-03-26T02:30:00", Some(1_679_794_200_000)),
            ("2023-07-01T12:00:00+05:00", None),
            ("2023-07-01T12:00:00-05", None),
            ("2023-07-01T12:00:00Z", None),
            ("noon", None),
            ("2023-13-01", None),
        ] {
            assert_eq!(local(text, &berlin), want, "{text}");
        }
        assert_eq!(iso("2019-11-01 17:59:13.273932"), Some(1_572_631_153_273));
        assert_eq!(iso("2019-11-01T17:59:13+02:00"), Some(1_572_623_953_000));
        assert_eq!(iso("yesterday"), None);
    }

    #[test]
    fn dates_of_http_and_of_logs_are_read() {
        for (text, want) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777_000)),
            ("Sun, 6 Nov 1994 08:49:37 +0000", Some(784_111_777_000)),
            ("06 Nov 1994 03:49:37 -0500", Some(784_111_777_000)),
            ("Mon, 06 Nov 1994 08:49:37 GMT", Some(784_111_777_000)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777_000)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777_000)),
            ("Sun Nov 16 08:49:37 1994", Some(784_975_777_000)),
            ("06-Nov-94 08:49:37", None),
            ("Sun, soon", None),
            ("", None),
        ] {
            assert_eq!(http(text), want, "{text}");
        }
        assert_eq!(clf("01/Aug/1995:00:00:01 -0400"), Some(807_249_601_000));
        assert_eq!(clf("[01/Aug/1995:00:00:01 -0400]"), Some(807_249_601_000));
        assert_eq!(clf("01/Foo/1995:00:00:01 -0400"), None);
    }

    #[test]
    fn a_pattern_is_local_unless_the_text_has_its_own_offset() {
        let berlin = zone("Europe/Berlin");
        for (text, pattern, want) in [
            ("24.12.2023 18:00:00", "%d.%m.%Y %H:%M:%S", Some(1_703_437_200_000)),
            ("12/24/2023 6:00 PM", "%m/%d/%Y %I:%M %p", Some(1_703_437_200_000)),
            ("24.12.2023", "%d.%m.%Y", Some(1_703_372_400_000)),
            ("2023-12-24 18:00:00.250", "%Y-%m-%d %H:%M:%S%.f", Some(1_703_437_200_250)),
            ("24 Dec 2023 18:00 -0500", "%d %b %Y %H:%M %z", Some(1_703_458_800_000)),
            ("20231224", "%Y%m%d", Some(1_703_372_400_000)),
            ("1703437200", "%s", Some(1_703_437_200_000)),
            ("24.12.2023", "%d.%m.%Y %H:%M:%S", None),
            ("31.02.2023", "%d.%m.%Y", None),
        ] {
            assert_eq!(by_pattern(text, pattern, &berlin), want, "{text} by {pattern}");
        }
    }

    proptest! {
        #[test]
        fn every_time_is_read_back_from_every_form_that_holds_it(
            seconds in -2_000_000_000i64..4_000_000_000,
            nanos in 0i32..1_000_000_000,
            offset in -18i8..=18,
        ) {
            let time = Timestamp::new(seconds, 0).unwrap();
            let exact = Timestamp::from_nanosecond(
                i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
            ).unwrap();
            let fixed = TimeZone::fixed(jiff::tz::offset(offset));
            let zoned = time.to_zoned(fixed.clone());
            let want = Some(seconds * 1_000);
            prop_assert_eq!(rfc3339(&exact.to_string()), Some(exact.as_nanosecond().div_euclid(1_000_000) as i64));
            for form in ["%Y-%m-%dT%H:%M:%S%:z", "%Y-%m-%d %H:%M:%S%z"] {
                prop_assert_eq!(rfc3339(&zoned.strftime(form).to_string()), want, "{}", form);
            }
            prop_assert_eq!(local(&zoned.strftime("%Y-%m-%d %H:%M:%S").to_string(), &fixed), want);
            prop_assert_eq!(clf(&zoned.strftime("%d/%b/%Y:%H:%M:%S %z").to_string()), want);
            let utc = time.to_zoned(TimeZone::UTC);
            prop_assert_eq!(http(&utc.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()), want);
            let pattern = "%d.%m.%Y %H:%M:%S";
            let text = zoned.strftime(pattern).to_string();
            prop_assert_eq!(by_pattern(&text, pattern, &fixed), want);
        }

        #[test]
        fn no_text_panics(text: String, pattern: String) {
            let _ = (rfc3339(&text), local(&text, &TimeZone::UTC), http(&text), clf(&text));
            let _ = by_pattern(&text, &pattern, &TimeZone::UTC);
        }
    }
}
