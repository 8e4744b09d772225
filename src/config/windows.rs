//! A window as it is written: `{ tumbling = "1s" }`, `{ hopping = "5m", slide = "30s" }`,
//! `{ since_midnight = true, slide = "1s" }`, `{ since_start = true, slide = "1s" }`. Called by `metrics.rs`.

use std::collections::BTreeMap;

use super::document::{Node, Value};
use super::general::is_zone;
use super::units;
use super::values::span_within;
use crate::domain::metric::{CalendarSpan, Weekday, WindowSpec};
use crate::domain::settings::terms::DAY;
use crate::domain::time::SpanMs;

/// Most panes of a window (size / slide): a day of seconds.
pub(super) const PANES_MAX: SpanMs = 86_400;

/// Longest window of exact hours.
const SPAN_MAX: SpanMs = 31 * DAY;

/// Longest window in days: a leap year. (Months end at a year.)
const DAYS_MAX: i64 = 366;

/// Days as the configuration counts them where a window says nothing else.
#[derive(Clone, Copy)]
pub(super) struct Days<'a> {
    /// IANA zone.
    pub zone: &'a str,
    /// The day that weeks begin with.
    pub first_weekday: Weekday,
}

/// Reads `{ tumbling = "1s" }` and its siblings.
///
/// # Errors
/// The rule that is broken.
pub(super) fn parse_window(node: &Node, days: Days<'_>) -> Result<WindowSpec, String> {
    let shapes = "{ tumbling = \"1s\" }, { hopping = \"5m\", slide = \"30s\" }, \
                  { since_midnight = true, slide = \"1s\" } or { since_start = true, slide = \"1s\" }";
    let wrong = || format!("must be {shapes}");
    let Value::Table(table) = &node.value else {
        return Err(wrong());
    };
    let keys: Vec<&str> = table.keys().map(String::as_str).collect();
    match keys.as_slice() {
        ["tumbling"] | ["tumbling", "zone"] => {
            let size = length(table, "tumbling", SPAN_MAX)?;
            match size {
                Length::Calendar(span) => calendar(span, 1, table.get("zone"), days),
                Length::Fixed(_) if table.contains_key("zone") => Err(NO_ZONE.into()),
                Length::Fixed(size) => Ok(WindowSpec::Tumbling { size }),
            }
        }
        ["hopping", "slide"] | ["hopping", "slide", "zone"] => {
            let size = length(table, "hopping", SPAN_MAX)?;
            let slide = length(table, "slide", DAY)?;
            match calendar_hops(size, slide)? {
                Some((span, panes)) => calendar(span, panes, table.get("zone"), days),
                None if table.contains_key("zone") => Err(NO_ZONE.into()),
                None => hopping(size.about(), slide.about()),
            }
        }
        ["since_start", "slide"] => match table["since_start"].value {
            Value::Bool(true) => Ok(WindowSpec::SinceStart { slide: slide(table)? }),
            _ => Err(wrong()),
        },
        ["since_midnight", "slide"] => {
            let slide = slide(table)?;
            let zone = match &table["since_midnight"].value {
                Value::Bool(true) => days.zone.to_string(),
                Value::Text(name) => {
                    is_zone(name).map_err(|rule| format!("since_midnight {rule}"))?;
                    name.clone()
                }
                _ => return Err(wrong()),
            };
            Ok(WindowSpec::SinceMidnight { zone, slide })
        }
        _ => Err(wrong()),
    }
}

/// The slide of a running total.
fn slide(table: &BTreeMap<String, Node>) -> Result<SpanMs, String> {
    span_within(&table["slide"], 100..=DAY).map_err(|rule| format!("slide {rule}"))
}

const NO_ZONE: &str = "zone only belongs to windows of whole days, weeks or months";

/// A length as it was written.
#[derive(Clone, Copy)]
enum Length {
    /// In hours or shorter, or mixed: always as long.
    Fixed(SpanMs),
    /// In days, weeks or months: as long as the calendar makes it.
    Calendar(CalendarSpan),
}

impl Length {
    fn about(self) -> SpanMs {
        match self {
            Length::Fixed(span) => span,
            Length::Calendar(span) => span.about(),
        }
    }
}

fn length(table: &BTreeMap<String, Node>, key: &str, max: SpanMs) -> Result<Length, String> {
    let node = &table[key];
    let calendar = match &node.value {
        Value::Text(text) => units::parse_calendar(text),
        _ => None,
    };
    match calendar {
        Some(CalendarSpan::Months(months)) if 12 % months != 0 => Err(format!(
            "{key} must be a number of months that divides a year: 1, 2, 3, 4, 6 or 12"
        )),
        Some(CalendarSpan::Days(days)) if days > DAYS_MAX => {
            Err(format!("{key} must be at most {DAYS_MAX} days"))
        }
        Some(span) => Ok(Length::Calendar(span)),
        None => {
            span_within(node, 100..=max).map(Length::Fixed).map_err(|rule| format!("{key} {rule}"))
        }
    }
}

/// The slide and the panes of a hopping window of the calendar: both lengths are its.
/// `None` when they are of exact hours; a day among hours is one of 24.
fn calendar_hops(size: Length, slide: Length) -> Result<Option<(CalendarSpan, i64)>, String> {
    use CalendarSpan::{Days, Months};
    let (Length::Calendar(size), Length::Calendar(slide)) = (size, slide) else {
        let month = |length| matches!(length, Length::Calendar(Months(_)));
        return if month(size) || month(slide) {
            Err("months only slide by months: write slide = \"1mo\"".into())
        } else {
            Ok(None)
        };
    };
    let (whole, part) = match (size, slide) {
        (Days(size), Days(slide)) => (size, slide),
        (Months(size), Months(slide)) => (size, slide),
        _ => return Err("size and slide must both be in months, or both in days or weeks".into()),
    };
    match whole % part {
        0 => Ok(Some((slide, whole / part))),
        _ => {
            let (size, slide) = (units::show_calendar(size, 1), units::show_calendar(slide, 1));
            Err(format!("slide must divide the size, {slide} does not divide {size}"))
        }
    }
}

fn calendar(
    span: CalendarSpan,
    panes: i64,
    zone: Option<&Node>,
    days: Days<'_>,
) -> Result<WindowSpec, String> {
    let zone = match zone.map(|node| &node.value) {
        None => days.zone.to_string(),
        Some(Value::Text(name)) => {
            is_zone(name).map_err(|rule| format!("zone {rule}"))?;
            name.clone()
        }
        Some(_) => return Err("zone must be a text in quotes".into()),
    };
    Ok(WindowSpec::Calendar { span, panes, zone, first_weekday: days.first_weekday })
}

fn hopping(size: SpanMs, slide: SpanMs) -> Result<WindowSpec, String> {
    if slide > size {
        let (size, slide) = (units::show_span(size), units::show_span(slide));
        let rule = format!("slide must not be longer than the window: {slide} is more than {size}");
        return Err(rule);
    }
    if size / slide > PANES_MAX {
        return Err(format!("size / slide is {}, at most {PANES_MAX}", size / slide));
    }
    Ok(WindowSpec::Hopping { size, slide })
}
