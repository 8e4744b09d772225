//! A window as it is written: `{ tumbling = "1s" }` and its siblings ([`KINDS`]). Called by
//! `metrics.rs`.

use std::collections::BTreeMap;

use super::document::{Node, Value};
use super::general::is_zone;
use super::units;
use super::values::span_within;
use crate::domain::metric::{CalendarSpan, Weekday, WindowSpec};
use crate::domain::near;
use crate::domain::settings::terms::{DAY, SECOND};
use crate::domain::time::SpanMs;

/// Most panes of a window (size / slide): a day of seconds.
pub(super) const PANES_MAX: SpanMs = 86_400;

/// Longest window of exact hours.
const SPAN_MAX: SpanMs = 31 * DAY;

/// Longest window in days: a leap year. (Months end at a year.)
const DAYS_MAX: i64 = 366;

/// Most facts of a window of the last ones: each is kept, for each group.
const LAST_MAX: usize = 100_000;

/// Slides of a window before each event where none are written, at most.
const SLIDES: SpanMs = 600;

/// Numbers of a group within such a slide, and most of them.
const NUMBERS: usize = 100;
const NUMBERS_MAX: usize = 100_000;
const _: () = assert!(NUMBERS <= NUMBERS_MAX, "the default is allowed");

/// Days as the configuration counts them where a window says nothing else.
#[derive(Clone, Copy)]
pub(super) struct Days<'a> {
    /// IANA zone.
    pub zone: &'a str,
    /// The day that weeks begin with.
    pub first_weekday: Weekday,
}

/// A kind of window as it is written: the key that names it, the keys that it needs and may have
/// beside that, and how one looks.
struct Kind {
    key: &'static str,
    needs: &'static [&'static str],
    takes: &'static [&'static str],
    shape: &'static str,
}

const KINDS: [Kind; 8] = [
    Kind { key: "tumbling", needs: &[], takes: &["zone"], shape: "{ tumbling = \"1s\" }" },
    Kind {
        key: "hopping",
        needs: &["slide"],
        takes: &["zone"],
        shape: "{ hopping = \"5m\", slide = \"30s\" }",
    },
    Kind {
        key: "sliding",
        needs: &[],
        takes: &["slide", "numbers"],
        shape: "{ sliding = \"1m\" }",
    },
    Kind {
        key: "since_midnight",
        needs: &["slide"],
        takes: &[],
        shape: "{ since_midnight = true, slide = \"1s\" }",
    },
    Kind {
        key: "since_start",
        needs: &["slide"],
        takes: &[],
        shape: "{ since_start = true, slide = \"1s\" }",
    },
    Kind {
        key: "since",
        needs: &[],
        takes: &["slide"],
        shape: "{ since = \"deploy\", slide = \"1s\" }",
    },
    Kind { key: "session", needs: &[], takes: &["slide"], shape: "{ session = \"10m\" }" },
    Kind { key: "last", needs: &[], takes: &["slide"], shape: "{ last = 100 }" },
];

/// Reads `{ tumbling = "1s" }` and its siblings.
///
/// # Errors
/// The rule that is broken.
pub(super) fn parse_window(node: &Node, days: Days<'_>) -> Result<WindowSpec, String> {
    let Value::Table(table) = &node.value else { return Err(one_of_all(&[])) };
    let keys: Vec<&str> = table.keys().map(String::as_str).collect();
    let Some(kind) = KINDS.iter().find(|kind| table.contains_key(kind.key)) else {
        return Err(one_of_all(&keys));
    };
    kind.fits(&keys)?;
    let wrong = || format!("must be {}", kind.shape);
    match kind.key {
        "tumbling" => {
            let size = length(table, "tumbling", SPAN_MAX)?;
            match size {
                Length::Calendar(span) => calendar(span, 1, table.get("zone"), days),
                Length::Fixed(_) if table.contains_key("zone") => Err(NO_ZONE.into()),
                Length::Fixed(size) => Ok(WindowSpec::Tumbling { size }),
            }
        }
        "hopping" => {
            let size = length(table, "hopping", SPAN_MAX)?;
            let slide = length(table, "slide", DAY)?;
            match calendar_hops(size, slide)? {
                Some((span, panes)) => calendar(span, panes, table.get("zone"), days),
                None if table.contains_key("zone") => Err(NO_ZONE.into()),
                None => hopping(size.about(), slide.about()),
            }
        }
        "sliding" => sliding(table),
        "since_start" => match table["since_start"].value {
            Value::Bool(true) => Ok(WindowSpec::SinceStart { slide: slide(table)? }),
            _ => Err(wrong()),
        },
        "session" => {
            let gap = span_within(&table["session"], 100..=SPAN_MAX);
            let gap = gap.map_err(|rule| format!("session {rule}"))?;
            let slide = if table.contains_key("slide") { slide(table)? } else { gap.min(SECOND) };
            if slide > gap {
                let (gap, slide) = (units::show_span(gap), units::show_span(slide));
                let rule = "slide must not be longer than the silence";
                return Err(format!("{rule}: {slide} is more than {gap}"));
            }
            Ok(WindowSpec::Burst { gap, slide })
        }
        "since" => match &table["since"].value {
            Value::Text(event) if !event.is_empty() => {
                Ok(WindowSpec::Since { event: event.clone(), slide: slide(table)? })
            }
            _ => Err("since must be the type of an event in quotes".into()),
        },
        "last" => {
            let num = usize::try_from(table["last"].integer().map_err(|_| wrong())?);
            let num = num.ok().filter(|num| (1..=LAST_MAX).contains(num));
            let num = num.ok_or_else(|| format!("last must be from 1 to {LAST_MAX}"))?;
            Ok(WindowSpec::Last { num, slide: slide(table)? })
        }
        _ => {
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
    }
}

impl Kind {
    /// Whether these keys make one.
    fn fits(&self, keys: &[&str]) -> Result<(), String> {
        let mut known = vec![self.key];
        known.extend(self.needs.iter().chain(self.takes));
        if let Some(key) = keys.iter().find(|key| !known.contains(key)) {
            let hint = near::hint(key, known.iter().copied());
            return Err(format!("must be {} without {key}{hint}", self.shape));
        }
        match self.needs.iter().find(|need| !keys.contains(need)) {
            Some(need) => Err(format!("{need} is missing: write {}", self.shape)),
            None => Ok(()),
        }
    }
}

/// There is no such kind: those that there are, and the one that may be meant.
fn one_of_all(keys: &[&str]) -> String {
    let shapes: Vec<&str> = KINDS.iter().map(|kind| kind.shape).collect();
    let names = || KINDS.iter().map(|kind| kind.key);
    let hint = keys.iter().map(|key| near::hint(key, names())).find(|hint| !hint.is_empty());
    format!("must be one of {}{}", shapes.join(", "), hint.unwrap_or_default())
}

/// A window before each event.
fn sliding(table: &BTreeMap<String, Node>) -> Result<WindowSpec, String> {
    let size = span_within(&table["sliding"], 100..=SPAN_MAX);
    let size = size.map_err(|rule| format!("sliding {rule}"))?;
    let slide = if table.contains_key("slide") {
        slide(table)?
    } else {
        // A second, and of long windows so many that there are not too many of them.
        (((size - 1) / (SLIDES * SECOND) + 1) * SECOND).min(size)
    };
    let numbers = table.get("numbers").map_or(Ok(NUMBERS), |numbers| {
        let number = numbers.integer().ok().and_then(|number| usize::try_from(number).ok());
        let number = number.filter(|number| (1..=NUMBERS_MAX).contains(number));
        number.ok_or_else(|| format!("numbers must be from 1 to {NUMBERS_MAX}"))
    })?;
    slides(size, slide)?;
    Ok(WindowSpec::Sliding { size, slide, numbers })
}

/// How far apart numbers are; a second where nothing is said.
fn slide(table: &BTreeMap<String, Node>) -> Result<SpanMs, String> {
    let Some(slide) = table.get("slide") else { return Ok(SECOND) };
    span_within(slide, 100..=DAY).map_err(|rule| format!("slide {rule}"))
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
    slides(size, slide)?;
    Ok(WindowSpec::Hopping { size, slide })
}

fn slides(size: SpanMs, slide: SpanMs) -> Result<(), String> {
    if slide > size {
        let (size, slide) = (units::show_span(size), units::show_span(slide));
        let rule = format!("slide must not be longer than the window: {slide} is more than {size}");
        return Err(rule);
    }
    if size / slide > PANES_MAX {
        return Err(format!("size / slide is {}, at most {PANES_MAX}", size / slide));
    }
    Ok(())
}
