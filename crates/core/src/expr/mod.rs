//! Expressions: what stands in the configuration wherever something is compared or computed.
//!
//! The language is CEL, by the parser of the `cel` crate; `docs/expressions.md` says what is
//! taken of it and what differs. An expression is checked once, when the configuration is read
//! (`check`), and becomes a small tree (`tree`) that is evaluated for each event (`eval`). Numbers
//! are exact decimals. What is not there is *missing*, and so is what is made of it.

mod check;
mod eval;
mod functions;
mod syntax;
#[cfg(test)]
mod tests;
mod tree;

use std::borrow::Cow;
use std::fmt;

use crate::number::Decimal;
use crate::number::text::NumberFormat;
use crate::unusable::Unusable;
pub(crate) use tree::{Comparison, Node, write_list, write_number, write_text};

/// Most bytes of an expression.
pub const TEXT_BYTES_MAX: usize = 4 << 10;

/// Most values of a list.
pub const LIST_MAX: usize = 32;

/// Most brackets, calls and choices within each other. A parser built without optimisation takes
/// 200 KiB of stack for each.
pub const DEPTH_MAX: u16 = 10;

/// Most bytes of a text that is put together.
pub const JOINED_BYTES_MAX: usize = 8 << 10;

/// An expression that was checked.
#[derive(Clone, Debug)]
pub struct Expr {
    root: Node,
    kind: Kind,
    names: Vec<String>,
    formats: Vec<NumberFormat>,
}

/// What a value is, as far as it is known before there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An exact decimal.
    Number,
    /// Text.
    Text,
    /// True or false.
    Bool,
    /// Any of them: an attribute of events. As text it is a number where one is needed.
    Any,
}

/// The names that an expression may use.
pub trait Scope {
    /// The kind of the values under a name.
    ///
    /// # Errors
    /// Why the name cannot be used, with the likely remedy.
    fn kind(&self, name: &str) -> Result<Kind, String>;

    /// The kind of `ago(name, "7d")`, which is a name like any other where there is a past.
    ///
    /// # Errors
    /// As for [`Scope::kind`].
    fn ago(&self, _name: &str, _span: &str) -> Result<Kind, String> {
        Err("ago stands in the formula of a metric: an event knows no other one".into())
    }

    /// How numbers are written that come as text under this name.
    fn format(&self, _name: &str) -> NumberFormat {
        NumberFormat::default()
    }
}

/// The values that an expression is evaluated over.
pub trait Values {
    /// The value under the name with this place in [`Expr::names`].
    fn value(&self, name: usize) -> Value<'_>;
}

/// What an expression is evaluated to.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Nothing is there.
    Missing,
    /// A number.
    Number(Decimal),
    /// Text.
    Text(Cow<'a, str>),
    /// True or false.
    Bool(bool),
    /// Something is there and of no use.
    Unusable(Unusable),
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExprError {
    /// The line in the text, from 1.
    pub line: usize,
    /// The column in that line, in characters from 1.
    pub column: usize,
    /// What is wrong there, and the likely remedy.
    pub reason: String,
}

impl fmt::Display for ExprError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            1 => write!(out, "at column {}: {}", self.column, self.reason),
            line => write!(out, "at line {line}, column {}: {}", self.column, self.reason),
        }
    }
}

impl std::error::Error for ExprError {}

impl Expr {
    /// Reads and checks a text of at most [`TEXT_BYTES_MAX`].
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(text: &str, scope: &impl Scope) -> Result<Expr, ExprError> {
        let (parsed, source) = syntax::parse(text)?;
        check::check(&parsed, &source, scope)
    }

    /// The same of a condition, which is true or false.
    ///
    /// # Errors
    /// As for [`Expr::parse`], and when it is something else.
    pub fn condition(text: &str, scope: &impl Scope) -> Result<Expr, ExprError> {
        let expr = Expr::parse(text, scope)?;
        match expr.kind {
            Kind::Bool | Kind::Any => Ok(expr),
            kind => {
                let reason = format!("a condition is true or false, and this is {kind}");
                Err(ExprError { line: 1, column: 1, reason })
            }
        }
    }

    /// What its value is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The names that it uses, in order of first mention, each once.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The same over other names, in the same order.
    pub(crate) fn renamed(&self, names: Vec<String>) -> Expr {
        Expr { names, ..self.clone() }
    }

    /// Its value.
    pub fn eval<'a>(&'a self, values: &'a impl Values) -> Value<'a> {
        eval::Eval { expr: self, values }.value(&self.root)
    }

    /// The value of a condition: true, false, missing or unusable.
    pub fn holds<'a>(&'a self, values: &'a impl Values) -> Value<'a> {
        eval::Eval { expr: self, values }.truth(&self.root)
    }

    /// The parts that must all hold for it to hold.
    pub(crate) fn parts(&self) -> &[Node] {
        match &self.root {
            Node::And(parts) => parts,
            one => std::slice::from_ref(one),
        }
    }

    /// Writes it as one of several parts that must all hold.
    pub(crate) fn write_part(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.write(&self.names, tree::RELATION, out)
    }

    /// One of the [`Expr::parts`] as an expression of its own.
    pub(crate) fn part(&self, part: &Node) -> Expr {
        let mut used = Vec::new();
        let mut root = part.clone();
        root.renumber(&mut used);
        let of = |name: &usize| (self.names[*name].clone(), self.formats[*name].clone());
        let (names, formats) = used.iter().map(of).unzip();
        Expr { root, kind: self.kind, names, formats }
    }
}

/// Two are equal when they say the same, however they are spaced.
impl PartialEq for Expr {
    fn eq(&self, other: &Expr) -> bool {
        self.to_string() == other.to_string() && self.formats == other.formats
    }
}

/// As CEL, in one spelling: parsed again it is the same expression.
impl fmt::Display for Expr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.write(&self.names, 0, out)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Kind::Number => "a number",
            Kind::Text => "text",
            Kind::Bool => "true or false",
            Kind::Any => "of any kind",
        })
    }
}
