//! What an event's time may look like: a declared unit, form or pattern, or whatever can be
//! told from the value alone. What was guessed is said, so that it can be counted and shown.
//!
//! Guessing stays within sane bounds: a number is taken for seconds, microseconds or
//! nanoseconds only where that lies in the years 1990 to 2100, and these ranges do not
//! overlap. Whole numbers up to the year 9999 are milliseconds, as documented, unless the
//! rule says that every unit is to be guessed.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::time_text::{self, EARLIEST, LATEST};
use crate::number::text::is_absent;
use crate::time::EpochMs;

/// First time that is guessed for, 1990-01-01, in ms.
const GUESS_FROM: f64 = 631_152_000_000.0;
/// The time from which on nothing is guessed, 2100-01-01, in ms.
const GUESS_TO: f64 = 4_102_444_800_000.0;

/// Unit of an epoch number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

impl Unit {
    /// How many of them make a millisecond, as a fraction: times this, by that.
    fn per_ms(self) -> (i128, i128) {
        match self {
            Unit::S => (1_000, 1),
            Unit::Ms => (1, 1),
            Unit::Us => (1, 1_000),
            Unit::Ns => (1, 1_000_000),
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Unit::S => "seconds",
            Unit::Ms => "milliseconds",
            Unit::Us => "microseconds",
            Unit::Ns => "nanoseconds",
        }
    }
}

/// What was not said and had to be guessed to make a time of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// The unit of an epoch number, from its magnitude.
    Unit(Unit),
    /// The zone of a time without one: UTC.
    Zone,
}

impl fmt::Display for Guess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guess::Unit(unit) => write!(f, "taken as {}", unit.words()),
            Guess::Zone => f.write_str("without a zone, taken as UTC"),
        }
    }
}

/// A time that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// The time.
    pub at: EpochMs,
    /// What was guessed for it.
    pub guess: Option<Guess>,
}

/// Why a value is not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTime {
    /// It stands for no value.
    Absent,
    /// It has none of the accepted forms.
    Form,
    /// It is a time outside the years 0 to 9999.
    Range,
}

/// How a time is written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Whole numbers are milliseconds; anything else is told from the value.
    Native,
    /// Units of numbers are told from their magnitude, even of whole ones.
    Auto,
    /// Numbers are in this unit; texts that are no number as in `Native`.
    Epoch(Unit),
    Iso,
    Http,
    Clf,
    Pattern(Box<str>),
}

/// How the time of an event is to be read. The default is that of native events.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeRule {
    form: Form,
    zone: TimeZone,
    /// Without it a time without a zone is UTC by guess.
    zone_declared: bool,
}

impl Default for TimeRule {
    fn default() -> Self {
        TimeRule { form: Form::Native, zone: TimeZone::UTC, zone_declared: false }
    }
}

impl TimeRule {
    /// A rule by its name: `""` (native), `auto`, `s`, `ms`, `us`, `ns`, `iso`, `http`,
    /// `clf`, or a pattern with `%`. `zone`: IANA name of the zone of times without one;
    /// empty when nobody said.
    ///
    /// # Errors
    /// When there is no such form or zone, or the pattern cannot make a date.
    pub fn declared(form: &str, zone: &str) -> Result<Self, String> {
        let form = match form {
            "" => Form::Native,
            "auto" => Form::Auto,
            "s" => Form::Epoch(Unit::S),
            "ms" => Form::Epoch(Unit::Ms),
            "us" | "µs" | "μs" => Form::Epoch(Unit::Us),
            "ns" => Form::Epoch(Unit::Ns),
            "iso" => Form::Iso,
            "http" => Form::Http,
            "clf" => Form::Clf,
            pattern if pattern.contains('%') => {
                check_pattern(pattern)?;
                Form::Pattern(pattern.into())
            }
            _ => {
                return Err(format!(
                    "{form:?} is not a time format: write \"s\", \"ms\", \"us\" or \"ns\" for \
                     epoch numbers, \"iso\", \"http\", \"clf\", \"auto\", or a pattern such as \
                     \"%d.%m.%Y %H:%M:%S\""
                ));
            }
        };
        let declared = !zone.is_empty();
        let zone = match zone {
            "" => TimeZone::UTC,
            name => TimeZone::get(name).map_err(|_| {
                format!("{name:?} is not an IANA zone: write for example \"Europe/Berlin\"")
            })?,
        };
        Ok(TimeRule { form, zone, zone_declared: declared })
    }

    /// True for the rule of native events, where whole numbers are milliseconds.
    pub fn is_native(&self) -> bool {
        *self == TimeRule::default()
    }

    /// The time that a whole number stands for.
    ///
    /// # Errors
    /// Why it stands for none.
    #[inline]
    pub fn of_integer(&self, number: i64) -> Result<Time, NoTime> {
        if self.form == Form::Native && (EARLIEST..=LATEST).contains(&number) {
            return Ok(Time { at: number, guess: None });
        }
        self.of_decimal(Decimal { mantissa: number.into(), scale: 1 })
    }

    /// The time that a number stands for that is not a whole one in JSON (`1.5`, `1.2e3`).
    ///
    /// # Errors
    /// Why it stands for none.
    pub fn of_float(&self, number: f64) -> Result<Time, NoTime> {
        if number.is_nan() || number.abs() >= 1e19 {
            return Err(NoTime::Range);
        }
        // A double of today's seconds is exact to a microsecond and no further: its own
        // error must not move it into the millisecond before.
        let whole = number.fract() == 0.0;
        let decimal = if whole {
            Decimal { mantissa: number as i128, scale: 1 }
        } else {
            Decimal { mantissa: (number * 1e6).round() as i128, scale: 1_000_000 }
        };
        match self.form {
            // `1.2e3`, and `1700000000.0` between fractions of seconds.
            Form::Native if whole && band(number, Unit::S) => at(decimal, Unit::S, true),
            _ => self.of_decimal(decimal),
        }
    }

    /// The time that a text stands for.
    ///
    /// # Errors
    /// Why it stands for none.
    pub fn of_text(&self, text: &str) -> Result<Time, NoTime> {
        let text = text.trim();
        if is_absent(text) {
            return Err(NoTime::Absent);
        }
        let found = match &self.form {
            Form::Native | Form::Auto | Form::Epoch(_) => match Decimal::read(text) {
                Some(decimal) => return self.of_decimal(decimal),
                None => self.any(text),
            },
            Form::Iso => time_text::rfc3339(text).map(sure).or_else(|| self.local(text)),
            Form::Http => time_text::http(text).map(sure),
            Form::Clf => time_text::clf(text).map(sure),
            Form::Pattern(pattern) => time_text::by_pattern(text, pattern, &self.zone).map(sure),
        };
        found.ok_or(NoTime::Form)
    }

    /// Forms that need no declaration.
    fn any(&self, text: &str) -> Option<Time> {
        let found = time_text::rfc3339(text).map(sure).or_else(|| self.local(text));
        found.or_else(|| time_text::http(text).or_else(|| time_text::clf(text)).map(sure))
    }

    fn local(&self, text: &str) -> Option<Time> {
        let at = time_text::local(text, &self.zone)?;
        Some(Time { at, guess: (!self.zone_declared).then_some(Guess::Zone) })
    }

    fn of_decimal(&self, decimal: Decimal) -> Result<Time, NoTime> {
        let value = decimal.mantissa as f64 / decimal.scale as f64;
        let whole = decimal.mantissa % decimal.scale == 0;
        let guessed = [Unit::S, Unit::Ms, Unit::Us, Unit::Ns].into_iter().find(|u| band(value, *u));
        match (&self.form, guessed) {
            (Form::Epoch(unit), _) => at(decimal, *unit, false),
            (Form::Native, _) if whole && value >= EARLIEST as f64 && value <= LATEST as f64 => {
                at(decimal, Unit::Ms, false)
            }
            (Form::Native | Form::Auto, Some(unit)) => at(decimal, unit, true),
            (Form::Native, None) if whole => Err(NoTime::Range),
            // Small numbers in tests and simulations.
            (Form::Auto, None) => at(decimal, Unit::Ms, true),
            (Form::Native, None) => Err(NoTime::Form),
            // `20231224` by `%Y%m%d`.
            (_, _) if whole => self.of_text(&(decimal.mantissa / decimal.scale).to_string()),
            _ => Err(NoTime::Form),
        }
    }
}

fn sure(at: EpochMs) -> Time {
    Time { at, guess: None }
}

/// Whether a number in this unit lies in the years for which a unit is guessed.
fn band(value: f64, unit: Unit) -> bool {
    let (times, by) = unit.per_ms();
    let millis = value * times as f64 / by as f64;
    (GUESS_FROM..GUESS_TO).contains(&millis)
}

fn at(decimal: Decimal, unit: Unit, guessed: bool) -> Result<Time, NoTime> {
    let (times, by) = unit.per_ms();
    let millis = (decimal.mantissa * times).div_euclid(decimal.scale * by);
    let range = i128::from(EARLIEST)..=i128::from(LATEST);
    let at = if range.contains(&millis) { millis as EpochMs } else { return Err(NoTime::Range) };
    Ok(Time { at, guess: guessed.then_some(Guess::Unit(unit)) })
}

/// A decimal number, exact: `mantissa / scale`.
#[derive(Clone, Copy, Debug)]
struct Decimal {
    mantissa: i128,
    /// A power of ten, at most 10^12.
    scale: i128,
}

impl Decimal {
    /// Digits with an optional sign and point. At most 20 before the point; of those behind
    /// it 12 are looked at, the others are less than a nanosecond in any unit.
    fn read(text: &str) -> Option<Decimal> {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let all = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 20 || !all(whole) || !all(part) {
            return None;
        }
        let part = &part[..part.len().min(12)];
        let mantissa: i128 = format!("{whole}{part}").parse().ok()?;
        let mantissa = if text.starts_with('-') { -mantissa } else { mantissa };
        Some(Decimal { mantissa, scale: 10i128.pow(part.len() as u32) })
    }
}

/// Writes a time by the pattern and reads it back: what does not come back is not a date.
fn check_pattern(pattern: &str) -> Result<(), String> {
    let sample: Zoned = Timestamp::from_second(1_703_462_400)
        .map(|time| time.to_zoned(TimeZone::UTC))
        .map_err(|error| error.to_string())?;
    let written = jiff::fmt::strtime::format(pattern, &sample)
        .map_err(|error| format!("the pattern {pattern:?} is not understood: {error}"))?;
    let read = time_text::by_pattern(&written, pattern, &TimeZone::UTC);
    let day = 1_703_462_400_000 / 86_400_000;
    match read {
        Some(at) if at.div_euclid(86_400_000) == day => Ok(()),
        _ => Err(format!(
            "the pattern {pattern:?} does not make a date: it must hold year, month and day \
             (%Y, %m or %b, %d), or %s"
        )),
    }
}

#[cfg(test)]
mod tests;
