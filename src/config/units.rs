//! Durations and sizes as people write them: `30m`, `2h30m`, `500ms`, `64KiB`.
//!
//! Whole numbers only, each with its unit, so that a value has one reading and
//! prints back as it was meant. Used by the reader and by the printer.

use crate::domain::metric::CalendarSpan;
use crate::domain::time::SpanMs;

/// Units of a duration, greatest first, in milliseconds.
const SPAN_UNITS: [(&str, SpanMs); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of a size, greatest first, in bytes.
const SIZE_UNITS: [(&str, u64); 4] =
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a duration such as `30m` or `2h30m`, in milliseconds.
///
/// # Errors
/// A sentence with an example when a number, a unit or the order of units is wrong.
pub fn parse_span(text: &str) -> Result<SpanMs, String> {
    let wrong = || {
        "is not a duration: write whole numbers with units d, h, m, s or ms, \
         such as \"500ms\", \"30m\" or \"2h30m\""
            .to_string()
    };
    let mut rest = text.trim();
    let mut total: SpanMs = 0;
    // Units must shrink from part to part, so that "5m5m" is a mistake and not 10 minutes.
    let mut next_unit = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let number: SpanMs = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = &rest[digits..digits + letters];
        let index = SPAN_UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(wrong)?;
        if index < next_unit {
            return Err(wrong());
        }
        next_unit = index + 1;
        let part = number.checked_mul(SPAN_UNITS[index].1).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = &rest[digits + letters..];
    }
    Ok(total)
}

/// Reads a length that the calendar decides, such as `1d`, `2w` or `3mo`: one number of
/// days, weeks or months. `None` for any other duration.
pub fn parse_calendar(text: &str) -> Option<CalendarSpan> {
    let digits = text.trim().bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.trim().split_at(digits);
    let number: i64 = number.parse().ok().filter(|number| *number > 0)?;
    match unit {
        "d" => Some(CalendarSpan::Days(number)),
        "w" => Some(CalendarSpan::Days(number.checked_mul(7)?)),
        "mo" => Some(CalendarSpan::Months(number)),
        _ => None,
    }
}

/// Writes a length the way [`parse_calendar`] reads it; `times` as long.
pub fn show_calendar(span: CalendarSpan, times: i64) -> String {
    match span {
        CalendarSpan::Days(days) if days % 7 == 0 => format!("{}w", days / 7 * times),
        CalendarSpan::Days(days) => format!("{}d", days * times),
        CalendarSpan::Months(months) => format!("{}mo", months * times),
    }
}

/// Writes a duration the way [`parse_span`] reads it.
pub fn show_span(span: SpanMs) -> String {
    show_in(span, &SPAN_UNITS)
}

/// Writes a duration without days, which are the calendar's where windows are declared.
pub fn show_span_in_hours(span: SpanMs) -> String {
    show_in(span, &SPAN_UNITS[1..])
}

fn show_in(span: SpanMs, units: &[(&str, SpanMs)]) -> String {
    if span <= 0 {
        return "0s".into();
    }
    let mut out = String::new();
    let mut rest = span;
    for (name, unit) in units.iter().copied() {
        if rest >= unit {
            out.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    out
}

/// Reads a size such as `64KiB`, in bytes.
///
/// # Errors
/// A sentence with an example when the number or the unit is wrong.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || {
        "is not a size: write a whole number with a unit B, KiB, MiB or GiB, such as \"64KiB\""
            .to_string()
    };
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = text[digits..].trim_start();
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    number.checked_mul(*factor).ok_or_else(wrong)
}

/// Writes a size the way [`parse_size`] reads it, in the greatest unit that divides it.
pub fn show_size(bytes: u64) -> String {
    let (name, unit) = SIZE_UNITS
        .into_iter()
        .find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .unwrap_or(("B", 1));
    format!("{}{name}", bytes / unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_have_units() {
        for (text, ms) in [
            ("500ms", Some(500)),
            ("30m", Some(1_800_000)),
            ("2h30m", Some(9_000_000)),
            ("1d", Some(86_400_000)),
            ("0s", Some(0)),
            ("1m30s5ms", Some(90_005)),
            ("", None),
            ("30", None),
            ("m", None),
            ("5m5m", None),
            ("5s1m", None),
            ("1.5h", None),
            ("-5s", None),
            ("5 s", None),
            ("99999999999999999999s", None),
            ("9223372036854775807d", None),
            ("5é", None),
        ] {
            assert_eq!(parse_span(text).ok(), ms, "{text:?}");
        }
    }

    #[test]
    fn days_weeks_and_months_are_the_calendars() {
        for (text, span) in [
            ("1d", Some(CalendarSpan::Days(1))),
            ("2w", Some(CalendarSpan::Days(14))),
            ("7d", Some(CalendarSpan::Days(7))),
            ("3mo", Some(CalendarSpan::Months(3))),
            ("24h", None),
            ("1d12h", None),
            ("0d", None),
            ("d", None),
            ("-1d", None),
            ("1 d", None),
            ("1.5d", None),
            ("9223372036854775807w", None),
        ] {
            assert_eq!(parse_calendar(text), span, "{text:?}");
            if let Some(span) = span {
                assert_eq!(parse_calendar(&show_calendar(span, 1)), Some(span), "{text:?}");
            }
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("64KiB", Some(65_536)),
            ("1 MiB", Some(1 << 20)),
            ("0B", Some(0)),
            ("12B", Some(12)),
            ("64", None),
            ("64kb", None),
            ("KiB", None),
            ("99999999999999999999GiB", None),
            ("18446744073709551615GiB", None),
        ] {
            assert_eq!(parse_size(text).ok(), bytes, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(span in 0..=SpanMs::MAX / 2, bytes in 0..=u64::MAX) {
            prop_assert_eq!(parse_span(&show_span(span)).unwrap(), span);
            let hours = show_span_in_hours(span);
            prop_assert_eq!(parse_span(&hours).unwrap(), span);
            prop_assert_eq!(parse_calendar(&hours), None);
            prop_assert_eq!(parse_size(&show_size(bytes)).unwrap(), bytes);
        }

        #[test]
        fn any_text_is_read_without_panic(text: String) {
            let _ = parse_span(&text);
            let _ = parse_size(&text);
        }
    }
}
