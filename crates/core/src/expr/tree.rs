//! The tree that an expression becomes, and how it is written.

use std::fmt::{self, Write as _};

use super::functions::{Function, Prepared};
use crate::number::Decimal;

/// A part of an expression.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Number(Decimal),
    Text(Box<str>),
    Bool(bool),
    /// The value of a name, by its place.
    Name(usize),
    /// Whether the name has a value.
    Has(usize),
    Not(Box<Node>),
    Negative(Box<Node>),
    /// All of them: two or more, and none of them is another `And`.
    And(Vec<Node>),
    /// One of them, likewise.
    Or(Vec<Node>),
    /// A condition, and what it is when that holds and when not.
    Choice(Box<[Node; 3]>),
    Compare(Comparison, Domain, Box<[Node; 2]>),
    InNumbers(Box<Node>, Vec<Decimal>),
    InTexts(Box<Node>, Vec<Box<str>>),
    Math(Operator, Box<[Node; 2]>),
    /// Two texts put together.
    Join(Box<[Node; 2]>),
    Call(&'static Function, Vec<Node>, Prepared),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// What two values are compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domain {
    Numbers,
    Texts,
    Bools,
    /// What they are: both of them attributes.
    Either,
}

/// What is computed of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Plus,
    Minus,
    Times,
    Over,
    Modulo,
}

impl Comparison {
    pub fn sign(self) -> &'static str {
        match self {
            Comparison::Equal => "==",
            Comparison::Unequal => "!=",
            Comparison::Less => "<",
            Comparison::AtMost => "<=",
            Comparison::Greater => ">",
            Comparison::AtLeast => ">=",
        }
    }

    /// The same with the sides exchanged.
    pub fn turned(self) -> Comparison {
        match self {
            Comparison::Less => Comparison::Greater,
            Comparison::AtMost => Comparison::AtLeast,
            Comparison::Greater => Comparison::Less,
            Comparison::AtLeast => Comparison::AtMost,
            same => same,
        }
    }
}

impl Operator {
    pub fn sign(self) -> &'static str {
        match self {
            Operator::Plus => "+",
            Operator::Minus => "-",
            Operator::Times => "*",
            Operator::Over => "/",
            Operator::Modulo => "%",
        }
    }
}

pub(super) use binds::RELATION;

/// How tightly parts bind: a looser one within a tighter one stands in brackets.
mod binds {
    pub const CHOICE: u8 = 0;
    pub const OR: u8 = 1;
    pub const AND: u8 = 2;
    pub const RELATION: u8 = 3;
    pub const SUM: u8 = 4;
    pub const PRODUCT: u8 = 5;
    pub const SIGN: u8 = 6;
    pub const CALL: u8 = 7;
}

impl Node {
    /// Calls `each` with the parts directly within it.
    fn each_mut(&mut self, mut each: impl FnMut(&mut Node)) {
        match self {
            Node::Number(_) | Node::Text(_) | Node::Bool(_) | Node::Name(_) | Node::Has(_) => {}
            Node::Not(inner)
            | Node::Negative(inner)
            | Node::InNumbers(inner, _)
            | Node::InTexts(inner, _) => each(inner),
            Node::And(parts) | Node::Or(parts) | Node::Call(_, parts, _) => {
                parts.iter_mut().for_each(each);
            }
            Node::Choice(parts) => parts.iter_mut().for_each(each),
            Node::Compare(_, _, sides) | Node::Math(_, sides) | Node::Join(sides) => {
                sides.iter_mut().for_each(each);
            }
        }
    }

    /// Counts names anew, in order of mention; `used` gets their places so far.
    pub fn renumber(&mut self, used: &mut Vec<usize>) {
        if let Node::Name(name) | Node::Has(name) = self {
            let at = used.iter().position(|known| known == name).unwrap_or_else(|| {
                used.push(*name);
                used.len() - 1
            });
            *name = at;
        }
        self.each_mut(|part| part.renumber(used));
    }

    fn binds(&self) -> u8 {
        match self {
            Node::Choice(_) => binds::CHOICE,
            Node::Or(_) => binds::OR,
            Node::And(_) => binds::AND,
            Node::Compare(..) | Node::InNumbers(..) | Node::InTexts(..) => binds::RELATION,
            Node::Math(Operator::Plus | Operator::Minus, _) | Node::Join(_) => binds::SUM,
            Node::Math(..) => binds::PRODUCT,
            Node::Not(_) | Node::Negative(_) => binds::SIGN,
            Node::Number(number) if number.is_negative() => binds::SIGN,
            _ => binds::CALL,
        }
    }

    /// Writes it, in brackets if it binds more loosely than `least`.
    pub fn write(&self, names: &[String], least: u8, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let brackets = self.binds() < least;
        if brackets {
            out.write_char('(')?;
        }
        self.write_bare(names, out)?;
        if brackets { out.write_char(')') } else { Ok(()) }
    }

    fn write_bare(&self, names: &[String], out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = |parts: &[Node], sign: &str, least, out: &mut fmt::Formatter<'_>| {
            for (at, part) in parts.iter().enumerate() {
                if at > 0 {
                    write!(out, "{sign}")?;
                }
                part.write(names, least, out)?;
            }
            Ok(())
        };
        let pair = |sides: &[Node; 2], sign: &str, least, out: &mut fmt::Formatter<'_>| {
            sides[0].write(names, least, out)?;
            write!(out, " {sign} ")?;
            sides[1].write(names, least + 1, out)
        };
        match self {
            Node::Number(number) => write_number(*number, out),
            Node::Text(text) => write_text(text, out),
            Node::Bool(truth) => write!(out, "{truth}"),
            Node::Name(name) => out.write_str(&names[*name]),
            Node::Has(name) => write!(out, "has({})", names[*name]),
            Node::Not(inner) => {
                out.write_char('!')?;
                inner.write(names, binds::CALL, out)
            }
            Node::Negative(inner) => {
                out.write_char('-')?;
                inner.write(names, binds::CALL, out)
            }
            Node::And(parts) => chain(parts, " && ", binds::RELATION, out),
            Node::Or(parts) => chain(parts, " || ", binds::AND, out),
            Node::Choice(parts) => {
                parts[0].write(names, binds::OR, out)?;
                out.write_str(" ? ")?;
                parts[1].write(names, binds::OR, out)?;
                out.write_str(" : ")?;
                parts[2].write(names, binds::CHOICE, out)
            }
            Node::Compare(comparison, _, sides) => {
                pair(sides, comparison.sign(), binds::RELATION, out)
            }
            Node::Math(operator @ (Operator::Plus | Operator::Minus), sides) => {
                pair(sides, operator.sign(), binds::SUM, out)
            }
            Node::Join(sides) => pair(sides, "+", binds::SUM, out),
            Node::Math(operator, sides) => pair(sides, operator.sign(), binds::PRODUCT, out),
            Node::InNumbers(inner, numbers) => {
                inner.write(names, binds::RELATION, out)?;
                out.write_str(" in ")?;
                write_list(numbers, |number, out| write_number(*number, out), out)
            }
            Node::InTexts(inner, texts) => {
                inner.write(names, binds::RELATION, out)?;
                out.write_str(" in ")?;
                write_list(texts, |text, out| write_text(text, out), out)
            }
            Node::Call(function, parts, prepared) => {
                let parts = match (function.method, &parts[..]) {
                    (true, [target, rest @ ..]) => {
                        target.write(names, binds::CALL, out)?;
                        write!(out, ".{}(", function.name)?;
                        rest
                    }
                    (_, parts) => {
                        write!(out, "{}(", function.name)?;
                        parts
                    }
                };
                chain(parts, ", ", binds::CHOICE, out)?;
                if !parts.is_empty() && !matches!(prepared, Prepared::Nothing) {
                    out.write_str(", ")?;
                }
                prepared.write(out)?;
                out.write_char(')')
            }
        }
    }
}

/// So that it is read again as the number that it is: past 64 bits as a double.
pub(crate) fn write_number(number: Decimal, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let text = number.to_string();
    out.write_str(&text)?;
    let past = text.parse::<i64>().is_err() && !text.contains(['.', 'e']);
    if past { out.write_str(".0") } else { Ok(()) }
}

pub(crate) fn write_list<T>(
    items: &[T],
    write: impl Fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result,
    out: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    out.write_char('[')?;
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.write_str(", ")?;
        }
        write(item, out)?;
    }
    out.write_char(']')
}

pub(crate) fn write_text(text: &str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(out, "\\{c}")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            c if c.is_control() => write!(out, "\\u{:04x}", u32::from(c))?,
            c => out.write_char(c)?,
        }
    }
    out.write_char('"')
}
