//! The fast road for the usual event: one flat object on one line, without escapes, nested
//! values or exponents, as nearly every producer writes it.
//!
//! It stands in for the JSON reader (`walk`) and for nothing else: what an attribute means, and
//! which rules hold for it, is the draft's part on either road. It never refuses an event. In
//! any doubt, and whenever a rule is broken, it gives up, and the general reader begins again.
//! So the two agree in every field; `the_fast_road_ends_where_the_general_reader_does` and the
//! fuzz target `scan_equals_decode` show it.

use super::Span;
use super::context::Level;
use super::draft::Draft;
use super::marks::{Marks, Quotes};
use super::names::Names;
use super::table::Table;
use super::value::Raw;

/// Reads usual events. Keeps scratch space between calls.
#[derive(Debug)]
pub(super) struct Scanner {
    names: Table,
    /// Says that the event is a CloudEvent.
    specversion: Option<u16>,
    marks: Marks,
    /// How many events in a row were not usual.
    misses: u32,
    on: bool,
}

/// After so many unusual events in a row only one of as many is tried: a source whose events
/// are all nested pays next to nothing.
const PATIENCE: u32 = 64;

impl Scanner {
    /// A scanner for these names; one that is off always gives up.
    pub fn new(names: &Names, on: bool) -> Self {
        Scanner {
            names: Table::new(names.top()),
            specversion: names.find("specversion"),
            marks: Marks::default(),
            misses: 0,
            on,
        }
    }

    /// Whether it is worth trying: `event` may be a usual one.
    #[inline]
    pub fn may(&mut self, event: &[u8]) -> bool {
        if !self.on || event.first() != Some(&b'{') {
            return false;
        }
        let tired = self.misses >= PATIENCE && !self.misses.is_multiple_of(PATIENCE);
        let may = !tired && self.marks.set(event);
        self.misses = if may { self.misses } else { self.misses.wrapping_add(1) };
        may
    }

    /// Brings the attributes of one event to an empty draft of it, after [`Scanner::may`] said
    /// yes. False when the general reader is to read it: what the draft then holds is of no use.
    #[inline]
    pub fn scan(&mut self, draft: &mut Draft<'_>) -> bool {
        let done = self.walk(draft).is_some();
        self.misses = if done { 0 } else { self.misses.wrapping_add(1) };
        done
    }

    /// Goes through the members. `None`: give up.
    #[inline]
    fn walk(&self, draft: &mut Draft<'_>) -> Option<()> {
        let text = draft.text;
        let line = text.as_bytes();
        let (key_bytes, attributes) =
            (draft.rules.schema.limits.key_bytes, draft.rules.schema.limits.attributes);
        let mut quotes = self.marks.quotes();
        let mut members = 0;
        // The opening brace is there: the caller looked.
        let mut at = 1;
        loop {
            let (open, close) = text_at(line, &mut at, &mut quotes)?;
            members += 1;
            if close - open > key_bytes {
                return None;
            }
            let index = self.names.find(line, open, close);
            at = blank(line, at);
            if line.get(at) != Some(&b':') {
                return None;
            }
            at = blank(line, at + 1);
            let raw = match *line.get(at)? {
                b'"' => {
                    let (open, close) = text_at(line, &mut at, &mut quotes)?;
                    Raw::Text(Span { start: open as u32, len: (close - open) as u32 })
                }
                b'-' | b'0'..=b'9' => number(text, &mut at)?,
                b't' => word(line, &mut at, b"true", Raw::Bool(true))?,
                b'f' => word(line, &mut at, b"false", Raw::Bool(false))?,
                b'n' => word(line, &mut at, b"null", Raw::Null)?,
                _ => return None,
            };
            at = blank(line, at);
            let last = match *line.get(at)? {
                b',' => false,
                b'}' if at + 1 == line.len() => true,
                _ => return None,
            };
            // Only now: what gives up later is read again, and what the general reader would
            // not have come to must leave no trace (`Space::ever`).
            if members > attributes {
                return None;
            }
            if let Some(index) = index {
                if Some(index) == self.specversion {
                    return None;
                }
                draft.take(index, raw, Level::Native).ok()?;
            }
            if last {
                return Some(());
            }
            at += 1;
        }
    }
}

/// The text that begins at `at`, spaces aside: where it begins and ends inside its quotes.
#[inline]
fn text_at(line: &[u8], at: &mut usize, quotes: &mut Quotes<'_>) -> Option<(usize, usize)> {
    let open = quotes.next()?;
    if open != blank(line, *at) {
        return None;
    }
    let close = quotes.next()?;
    *at = close + 1;
    Some((open + 1, close))
}

#[inline]
fn word(line: &[u8], at: &mut usize, word: &[u8], raw: Raw) -> Option<Raw> {
    let found = line.get(*at..*at + word.len())? == word;
    *at += word.len();
    found.then_some(raw)
}

/// The first byte from `at` on that is not a space.
#[inline]
fn blank(line: &[u8], mut at: usize) -> usize {
    while line.get(at) == Some(&b' ') {
        at += 1;
    }
    at
}

/// 10^0 to 10^15; exact doubles.
const POWERS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Reads the number that begins at `at`: a whole one that fits 64 bits, or one with decimals,
/// as the nearest double, which is what the general reader makes of it.
#[inline]
fn number(text: &str, at: &mut usize) -> Option<Raw> {
    let (line, begin) = (text.as_bytes(), *at);
    let negative = line[begin] == b'-';
    let first = begin + usize::from(negative);
    let mut mantissa = 0;
    let point = digits(line, first, &mut mantissa);
    let whole = point - first;
    // A sign alone, a zero in front, more than 64 bits; and zero with a sign is a double.
    if !(1..=19).contains(&whole) || (whole > 1 && line[first] == b'0') {
        return None;
    }
    if line.get(point) != Some(&b'.') {
        *at = point;
        return match (negative, i64::try_from(mantissa)) {
            (false, Ok(number)) => Some(Raw::Int(number)),
            (false, Err(_)) => Some(Raw::Huge(mantissa)),
            (true, Ok(number)) if number > 0 => Some(Raw::Int(-number)),
            (true, _) => None,
        };
    }
    let end = digits(line, point + 1, &mut mantissa);
    let decimals = end - point - 1;
    if decimals == 0 {
        return None;
    }
    *at = end;
    // Both are exact doubles, so one rounding is all there is.
    if whole + decimals <= 15 {
        let magnitude = mantissa as f64 / POWERS[decimals];
        return Some(Raw::Float(if negative { -magnitude } else { magnitude }));
    }
    let number: f64 = text.get(begin..end)?.parse().ok()?;
    number.is_finite().then_some(Raw::Float(number))
}

/// Where the digits from `at` on end; they are added to `mantissa` behind those that it has,
/// which means something while there are at most 19. An exponent behind them is met by nobody,
/// so the event is given up.
#[inline]
fn digits(line: &[u8], mut at: usize, mantissa: &mut u64) -> usize {
    while let Some(number) = line.get(at..).and_then(<[u8]>::first_chunk).and_then(eight_digits) {
        *mantissa = mantissa.wrapping_mul(100_000_000).wrapping_add(number);
        at += 8;
    }
    while let Some(digit @ b'0'..=b'9') = line.get(at) {
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        at += 1;
    }
    at
}

/// The number that eight digits make; `None` when one of them is none.
#[inline]
fn eight_digits(bytes: &[u8; 8]) -> Option<u64> {
    const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);
    const HIGH: u64 = u64::from_le_bytes([0xf0; 8]);
    let word = u64::from_le_bytes(*bytes);
    // A digit is 0x30 to 0x39: with six more it is still 0x3_ ; a carry out of a byte can only
    // come from one that was none.
    let with_six = word.wrapping_add(u64::from_le_bytes([6; 8]));
    if (word & HIGH) != ZEROS || (with_six & HIGH) != ZEROS {
        return None;
    }
    // Neighbours are put together: eight digits, four pairs, two fours, one number.
    let ones = word - ZEROS;
    let pairs = (ones * 10 + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

#[cfg(test)]
mod tests;
