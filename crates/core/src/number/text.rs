//! Numbers as text: `30.50`, `.5`, `+5`, `1e3`, and with a declared format `1.200,50`,
//! `$12.50` or `(12.50)`.
//!
//! The answer is the number in the one spelling that JSON has, so nothing is rounded here
//! and whoever reads it decides what it can hold. Texts that stand for "no value" are told
//! apart from texts that are no number. Called wherever a number is needed and a text came:
//! by metrics and sessions for native events, by mappings for the cells of files.

use std::borrow::Cow;

/// What a text is where a number is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NumberText<'a> {
    /// It stands for no value: see [`is_absent`].
    Absent,
    /// A number in JSON's spelling (`-0.5`, `1e3`); borrowed when it came so.
    Number(Cow<'a, str>),
    /// Anything else.
    Unreadable,
}

/// Texts that stand for "no value" where a number or a time is wanted, in any case of letters.
pub const ABSENT: [&str; 8] = ["", "-", "null", "\\n", "nan", "n/a", "na", "none"];

/// Longest text that is looked at as a number, in bytes: `f64::MIN_POSITIVE` written out in
/// full has some 1,100.
const TEXT_BYTES_MAX: usize = 1_200;

/// True for a text that stands for "no value": empty, `NULL`, `\N`, `-`, `NaN`, `N/A`, `None`.
pub fn is_absent(text: &str) -> bool {
    let text = text.trim();
    text.len() <= 4 && ABSENT.iter().any(|absent| text.eq_ignore_ascii_case(absent))
}

/// How numbers are written as text. The default is the plain form: a decimal point, an
/// exponent, nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberFormat {
    decimal: char,
    /// Separator of thousands; a space stands for every kind of space.
    group: Option<char>,
    /// What stands around the number, a currency mostly. Optional in every text, but never
    /// another one: adding dollars to euros would be silent nonsense.
    before: Box<str>,
    after: Box<str>,
    /// `(12.50)` is -12.50.
    parentheses: bool,
    /// `12.50-` is -12.50.
    trailing_minus: bool,
    /// The example that it was declared by.
    example: Box<str>,
}

impl Default for NumberFormat {
    fn default() -> Self {
        NumberFormat {
            decimal: '.',
            group: None,
            before: "".into(),
            after: "".into(),
            parentheses: false,
            trailing_minus: false,
            example: "".into(),
        }
    }
}

impl NumberFormat {
    /// A format by an example of it: `"12,50"`, `"1.234,56"`, `"$1,234.56"`, `"1 234,50 €"`,
    /// `"(12.50)"`, `"12.50-"`.
    ///
    /// # Errors
    /// When the example is not a number or could be read in two ways (`1,234`).
    pub fn by_example(example: &str) -> Result<Self, String> {
        let wrong = || {
            Err(format!(
                "{example:?} is not an example of a number: write for example \"12,50\", \
                 \"1.234,56\", \"$1,234.56\" or \"(12.50)\""
            ))
        };
        let mut rest = example.trim();
        let mut format = NumberFormat { example: rest.into(), ..NumberFormat::default() };
        if let Some(inner) = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
            (rest, format.parentheses) = (inner.trim(), true);
        } else if let Some(inner) = rest.strip_suffix(is_minus).filter(|r| !r.trim().is_empty()) {
            (rest, format.trailing_minus) = (inner.trim_end(), true);
        }
        rest = rest.trim_start_matches(|c| is_minus(c) || c == '+').trim();
        let Some(first) = rest.find(|c: char| c.is_ascii_digit()) else { return wrong() };
        let last = rest.rfind(|c: char| c.is_ascii_digit()).unwrap_or(first) + 1;
        let sign = |c: char| is_minus(c) || c == '+';
        format.before = rest[..first].trim_matches(|c: char| c.is_whitespace() || sign(c)).into();
        format.after = rest[last..].trim().into();
        let is_affix = |affix: &str| {
            affix.len() <= 16 && !affix.chars().any(|c| c.is_ascii_digit() || separates(c))
        };
        let before_is_point = [".", ","].contains(&&*format.before);
        if before_is_point {
            // `.5`, `,5`
            format.decimal = format.before.chars().next().unwrap_or('.');
            format.before = "".into();
        }
        if !is_affix(format.before.trim_end_matches('.')) || !is_affix(&format.after) {
            return wrong();
        }
        let body = &rest[first..last];
        if before_is_point {
            return if body.bytes().all(|b| b.is_ascii_digit()) { Ok(format) } else { wrong() };
        }
        let separators: Vec<(usize, char)> =
            body.char_indices().filter(|(_, c)| !c.is_ascii_digit()).collect();
        if !separators.iter().all(|(_, c)| separates(*c)) {
            return wrong();
        }
        let Some((at, sign)) = separators.last().copied() else { return Ok(format) };
        let behind = body.len() - at - sign.len_utf8();
        let others = &separators[..separators.len() - 1];
        match others.first().copied() {
            // One kind of separator, several times: thousands.
            Some((_, group)) if others.iter().all(|(_, c)| same(*c, sign)) => {
                format.group = Some(group);
                format.decimal = if group == '.' { ',' } else { '.' };
            }
            // Two kinds: the last is the decimal sign.
            Some((_, group)) if others.iter().all(|(_, c)| same(*c, group)) => {
                (format.group, format.decimal) = (Some(group), sign);
            }
            Some(_) => return wrong(),
            None if behind == 3 && matches!(sign, '.' | ',') => {
                return Err(format!(
                    "{example:?} could be a thousand or a decimal: write an example with both \
                     signs, such as \"1,234.56\" or \"1.234,56\", or with two decimals"
                ));
            }
            None if behind == 3 && !matches!(sign, '.' | ',') => format.group = Some(sign),
            None if matches!(sign, '.' | ',') => format.decimal = sign,
            None => return wrong(),
        }
        match (format.decimal, format.read(rest)) {
            ('.' | ',', NumberText::Number(_)) => Ok(format),
            _ => wrong(),
        }
    }

    /// The example that declared it; empty for the plain form.
    pub fn example(&self) -> &str {
        &self.example
    }

    /// What `text` is where a number is wanted.
    pub fn read<'a>(&self, text: &'a str) -> NumberText<'a> {
        let text = text.trim();
        if text.len() > TEXT_BYTES_MAX {
            return NumberText::Unreadable;
        }
        if is_absent(text) {
            return NumberText::Absent;
        }
        if is_json_number(text) && (self.decimal == '.' && self.group != Some('.')) {
            return NumberText::Number(Cow::Borrowed(text));
        }
        match self.spell(text) {
            Some(number) => NumberText::Number(Cow::Owned(number)),
            None => NumberText::Unreadable,
        }
    }

    /// The number in JSON's spelling.
    fn spell(&self, text: &str) -> Option<String> {
        let mut rest = text;
        let mut minus = false;
        if self.parentheses
            && let Some(inner) = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'))
        {
            (rest, minus) = (inner.trim(), true);
        }
        let mut signed = minus;
        if self.trailing_minus
            && !signed
            && let Some(inner) = rest.strip_suffix(is_minus)
        {
            (rest, minus, signed) = (inner.trim_end(), true, true);
        }
        // The sign may stand before the currency or behind it, but only once.
        for affix in [&self.before, &Box::from("")] {
            if !signed && let Some(first) = rest.chars().next().filter(|c| is_sign(*c)) {
                rest = rest[first.len_utf8()..].trim_start();
                (minus, signed) = (is_minus(first), true);
            }
            rest = strip_start(rest, affix).trim_start();
        }
        if let Some(start) = rest.len().checked_sub(self.after.len())
            && rest.is_char_boundary(start)
            && rest[start..].eq_ignore_ascii_case(&self.after)
        {
            rest = rest[..start].trim_end();
        }
        let (whole, part, exponent) = self.pieces(rest)?;
        let mut number = String::with_capacity(rest.len() + 3);
        if minus {
            number.push('-');
        }
        let whole = whole.trim_start_matches('0');
        number.push_str(if whole.is_empty() { "0" } else { whole });
        if !part.is_empty() {
            number.push('.');
            number.push_str(part);
        }
        number.push_str(exponent);
        Some(number)
    }

    /// Digits before the decimal sign, digits behind it, and the exponent with its `e`.
    fn pieces<'t>(&self, text: &'t str) -> Option<(Cow<'t, str>, &'t str, &'t str)> {
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        if let Some(digits) = exponent.get(1..) {
            let digits = digits.strip_prefix(['+', '-']).unwrap_or(digits);
            if digits.is_empty() || !all_digits(digits) {
                return None;
            }
        }
        let (whole, part) = mantissa.split_once(self.decimal).unwrap_or((mantissa, ""));
        if whole.is_empty() && part.is_empty() || !all_digits(part) {
            return None;
        }
        if all_digits(whole) {
            return Some((Cow::Borrowed(whole), part, exponent));
        }
        let group = self.group.filter(|_| exponent.is_empty())?;
        let parts: Vec<&str> = whole.split(|c| same(c, group)).collect();
        let (last, others) = parts.split_last()?;
        let (first, inner) = others.split_first()?;
        // Two digits in an inner group: 12,34,567 as written in India.
        let fits = all_digits(last)
            && last.len() == 3
            && (1..=3).contains(&first.len())
            && all_digits(first)
            && inner.iter().all(|part| (2..=3).contains(&part.len()) && all_digits(part));
        fits.then(|| (Cow::Owned(parts.concat()), part, exponent))
    }
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The minus of keyboards and the one of typesetters.
fn is_minus(sign: char) -> bool {
    sign == '-' || sign == '\u{2212}'
}

fn is_sign(sign: char) -> bool {
    sign == '+' || is_minus(sign)
}

/// Signs that separate thousands or decimals somewhere.
fn separates(sign: char) -> bool {
    matches!(sign, '.' | ',' | '\'' | '\u{2019}' | '_' | '\u{b7}') || is_space(sign)
}

/// The spaces that stand between thousands: plain, no-break, narrow no-break, thin.
fn is_space(sign: char) -> bool {
    matches!(sign, ' ' | '\u{a0}' | '\u{202f}' | '\u{2009}')
}

/// Whether two separators are the same to a reader.
fn same(a: char, b: char) -> bool {
    let apostrophe = |c| matches!(c, '\'' | '\u{2019}');
    a == b || (is_space(a) && is_space(b)) || (apostrophe(a) && apostrophe(b))
}

fn strip_start<'t>(text: &'t str, affix: &str) -> &'t str {
    match text.get(..affix.len()) {
        Some(start) if start.eq_ignore_ascii_case(affix) => &text[affix.len()..],
        _ => text,
    }
}

/// Whether a text is a number by JSON's grammar, without reading its value.
fn is_json_number(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && bytes[at] == b'0') {
        return false;
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let part = digits(at + 1);
        if part == 0 {
            return false;
        }
        at += 1 + part;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = if at <= bytes.len() { digits(at) } else { 0 };
        if exponent == 0 {
            return false;
        }
        at += exponent;
    }
    at == bytes.len()
}

#[cfg(test)]
mod tests;
