//! From the parser's tree to ours: names and kinds are checked, and everything else that can be
//! known before there is a value.

use cel::common::ast::operators as op;
use cel::common::ast::{CallExpr, Expr as Cel, IdedExpr, LiteralValue, SelectExpr, SourceInfo};

use super::functions::{Constant, FUNCTIONS, Function, Made, Prepared};
use super::tree::{Comparison, Domain, Node, Operator};
use super::{Expr, ExprError, Kind, LIST_MAX, Scope};
use crate::near;
use crate::number::Decimal;
use crate::number::text::NumberFormat;

/// Checks what was parsed.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn check(
    parsed: &IdedExpr,
    source: &SourceInfo,
    scope: &impl Scope,
) -> Result<Expr, ExprError> {
    let mut check =
        Check { source, scope, names: Vec::new(), kinds: Vec::new(), formats: Vec::new() };
    let (root, kind) = check.node(parsed)?;
    Ok(Expr { root, kind, names: check.names, formats: check.formats })
}

struct Check<'a, S> {
    source: &'a SourceInfo,
    scope: &'a S,
    names: Vec<String>,
    kinds: Vec<Kind>,
    formats: Vec<NumberFormat>,
}

type Checked = Result<(Node, Kind), ExprError>;

impl<S: Scope> Check<'_, S> {
    fn node(&mut self, parsed: &IdedExpr) -> Checked {
        match &parsed.expr {
            Cel::Literal(literal) => self.literal(parsed, literal),
            Cel::Ident(_) | Cel::Select(_) => {
                let name = self.name(parsed)?;
                Ok((Node::Name(name), self.kinds[name]))
            }
            Cel::Call(call) => self.call(parsed, call),
            Cel::List(_) => Err(self.wrong(parsed, "a list stands behind in, or in bucket")),
            Cel::Map(_) | Cel::Struct(_) => Err(self.wrong(parsed, "there are no maps here")),
            Cel::Comprehension(_) | Cel::Unspecified => {
                Err(self.wrong(parsed, "is not understood"))
            }
        }
    }

    fn literal(&self, parsed: &IdedExpr, literal: &LiteralValue) -> Checked {
        Ok(match literal {
            LiteralValue::Boolean(truth) => (Node::Bool(*truth.inner()), Kind::Bool),
            LiteralValue::Int(number) => {
                (Node::Number(Decimal::from_i64(*number.inner())), Kind::Number)
            }
            LiteralValue::UInt(number) => {
                (Node::Number(Decimal::from_u64(*number.inner())), Kind::Number)
            }
            LiteralValue::Double(number) => match Decimal::from_f64(*number.inner()) {
                Some(number) => (Node::Number(number), Kind::Number),
                None => return Err(self.wrong(parsed, "this number is too great")),
            },
            LiteralValue::String(text) => (Node::Text(text.inner().into()), Kind::Text),
            LiteralValue::Null => {
                return Err(
                    self.wrong(parsed, "there is no null: write !has(name) for what is missing")
                );
            }
            LiteralValue::Bytes(_) => {
                return Err(self.wrong(parsed, "there are no bytes: write text, without the b"));
            }
        })
    }

    /// The place of a name, which may be a path.
    fn name(&mut self, parsed: &IdedExpr) -> Result<usize, ExprError> {
        let Some(name) = path(parsed) else {
            return Err(self.wrong(parsed, "only a name has parts, such as properties.price"));
        };
        let scope = self.scope;
        self.place(parsed, name, |name| scope.kind(name))
    }

    /// The place of `ago(sales, "7d")`.
    fn ago(&mut self, parsed: &IdedExpr, call: &CallExpr) -> Result<usize, ExprError> {
        let span = |parsed: &IdedExpr| match &parsed.expr {
            Cel::Literal(LiteralValue::String(text)) => Some(text.inner().to_owned()),
            _ => None,
        };
        let (Some(of), Some(span)) =
            (call.args.first().and_then(path), call.args.get(1).and_then(span))
        else {
            let reason = "ago takes a metric and how long ago, written out: ago(sales, \"7d\")";
            return Err(self.wrong(parsed, reason));
        };
        let scope = self.scope;
        self.place(parsed, format!("ago({of}, {span:?})"), |_| scope.ago(&of, &span))
    }

    /// The place of what stands for one value, each once.
    fn place(
        &mut self,
        parsed: &IdedExpr,
        name: String,
        kind: impl FnOnce(&str) -> Result<Kind, String>,
    ) -> Result<usize, ExprError> {
        if let Some(at) = self.names.iter().position(|known| *known == name) {
            return Ok(at);
        }
        let kind = kind(&name).map_err(|reason| self.wrong(parsed, reason))?;
        self.formats.push(self.scope.format(&name));
        self.kinds.push(kind);
        self.names.push(name);
        Ok(self.names.len() - 1)
    }

    fn call(&mut self, parsed: &IdedExpr, call: &CallExpr) -> Checked {
        let bool = |node| (node, Kind::Bool);
        match (&*call.func_name, &call.target, &call.args[..]) {
            (op::CONDITIONAL, None, [condition, yes, no]) => self.choice(condition, yes, no),
            (op::LOGICAL_AND, None, sides) => {
                let parts = self.flat(sides, |node| match node {
                    Node::And(parts) => Ok(parts),
                    other => Err(other),
                })?;
                Ok(bool(Node::And(parts)))
            }
            (op::LOGICAL_OR, None, sides) => {
                let parts = self.flat(sides, |node| match node {
                    Node::Or(parts) => Ok(parts),
                    other => Err(other),
                })?;
                Ok(bool(Node::Or(parts)))
            }
            (op::LOGICAL_NOT, None, [inner]) => {
                Ok(bool(Node::Not(Box::new(self.want(inner, Kind::Bool)?))))
            }
            (op::NEGATE, None, [inner]) => {
                let negative = match self.want(inner, Kind::Number)? {
                    // As it is read where nothing stands between the sign and the number.
                    Node::Number(number) => Node::Number(number.negated()),
                    other => Node::Negative(Box::new(other)),
                };
                Ok((negative, Kind::Number))
            }
            (op::IN, None, [inner, list]) => self.within(inner, list),
            (op::INDEX, ..) => {
                let reason = "there is no [ ] behind a name: write a part of it as properties.price or items.0";
                Err(self.wrong(parsed, reason))
            }
            (op::ADD, None, [left, right]) => self.sum(parsed, left, right),
            ("ago", None, _) => {
                let name = self.ago(parsed, call)?;
                Ok((Node::Name(name), self.kinds[name]))
            }
            ("has", None, [name]) => Ok(bool(Node::Has(self.name(name)?))),
            ("has", ..) => {
                Err(self.wrong(parsed, "has takes the name of an attribute: has(amount)"))
            }
            (sign, None, [left, right]) if comparison(sign).is_some() => {
                let comparison = comparison(sign).unwrap_or(Comparison::Equal);
                self.compare(parsed, comparison, left, right)
            }
            (sign, None, [left, right]) if operator(sign).is_some() => {
                let operator = operator(sign).unwrap_or(Operator::Plus);
                let sides = [self.want(left, Kind::Number)?, self.want(right, Kind::Number)?];
                Ok((Node::Math(operator, Box::new(sides)), Kind::Number))
            }
            _ => self.function(parsed, call),
        }
    }

    /// Conditions side by side; those within another of the same sign lie beside it.
    fn flat(
        &mut self,
        sides: &[IdedExpr],
        open: impl Fn(Node) -> Result<Vec<Node>, Node>,
    ) -> Result<Vec<Node>, ExprError> {
        let mut parts = Vec::new();
        for side in sides {
            match open(self.want(side, Kind::Bool)?) {
                Ok(inner) => parts.extend(inner),
                Err(one) => parts.push(one),
            }
        }
        Ok(parts)
    }

    fn choice(&mut self, condition: &IdedExpr, yes: &IdedExpr, no: &IdedExpr) -> Checked {
        let condition = self.want(condition, Kind::Bool)?;
        let ((yes, one), (no_node, other)) = (self.node(yes)?, self.node(no)?);
        let kind = match (one, other) {
            (one, other) if one == other => one,
            (Kind::Any, _) | (_, Kind::Any) => Kind::Any,
            _ => {
                let reason =
                    format!("both sides of the : must be alike, and they are {one} and {other}");
                return Err(self.wrong(no, reason));
            }
        };
        Ok((Node::Choice(Box::new([condition, yes, no_node])), kind))
    }

    fn compare(
        &mut self,
        parsed: &IdedExpr,
        comparison: Comparison,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Checked {
        let ((one, mine), (other, theirs)) = (self.node(left)?, self.node(right)?);
        let ordered = !matches!(comparison, Comparison::Equal | Comparison::Unequal);
        let domain = match (mine, theirs) {
            (Kind::Number, Kind::Number | Kind::Any) | (Kind::Any, Kind::Number) => Domain::Numbers,
            (Kind::Text, Kind::Text | Kind::Any) | (Kind::Any, Kind::Text) => Domain::Texts,
            (Kind::Any, Kind::Any) if ordered => Domain::Numbers,
            (Kind::Any, Kind::Any) => Domain::Either,
            (Kind::Bool, Kind::Bool | Kind::Any) | (Kind::Any, Kind::Bool) if ordered => {
                return Err(self.wrong(parsed, "true and false have no order"));
            }
            (Kind::Bool, Kind::Bool | Kind::Any) | (Kind::Any, Kind::Bool) => Domain::Bools,
            _ => {
                return Err(self.wrong(parsed, format!("compares {mine} with {theirs}")));
            }
        };
        Ok((Node::Compare(comparison, domain, Box::new([one, other])), Kind::Bool))
    }

    /// `+` adds, and puts together where one side is known to be text.
    fn sum(&mut self, parsed: &IdedExpr, left: &IdedExpr, right: &IdedExpr) -> Checked {
        let ((one, mine), (other, theirs)) = (self.node(left)?, self.node(right)?);
        match (mine, theirs) {
            (Kind::Text, Kind::Text | Kind::Any) | (Kind::Any, Kind::Text) => {
                Ok((Node::Join(Box::new([one, other])), Kind::Text))
            }
            (Kind::Number | Kind::Any, Kind::Number | Kind::Any) => {
                Ok((Node::Math(Operator::Plus, Box::new([one, other])), Kind::Number))
            }
            _ => {
                let hint = match (mine, theirs) {
                    (Kind::Text, _) | (_, Kind::Text) => {
                        "; write string(...) around what is no text"
                    }
                    _ => "",
                };
                Err(self.wrong(parsed, format!("adds {mine} and {theirs}{hint}")))
            }
        }
    }

    fn within(&mut self, inner: &IdedExpr, list: &IdedExpr) -> Checked {
        let (node, kind) = self.node(inner)?;
        let node = Box::new(node);
        match self.list(list)? {
            List::Numbers(numbers) if matches!(kind, Kind::Number | Kind::Any) => {
                Ok((Node::InNumbers(node, numbers), Kind::Bool))
            }
            List::Texts(texts) if matches!(kind, Kind::Text | Kind::Any) => {
                Ok((Node::InTexts(node, texts), Kind::Bool))
            }
            List::Numbers(_) => {
                Err(self.wrong(list, format!("a list of numbers, and {kind} before it")))
            }
            List::Texts(_) => {
                Err(self.wrong(list, format!("a list of texts, and {kind} before it")))
            }
        }
    }

    /// A list that is written out.
    fn list(&mut self, parsed: &IdedExpr) -> Result<List, ExprError> {
        let rule = format!(
            "in takes a list of 1 to {LIST_MAX} numbers, or as many texts, such as [\"eu\", \"us\"]"
        );
        let Cel::List(list) = &parsed.expr else { return Err(self.wrong(parsed, rule)) };
        if list.elements.is_empty() || list.elements.len() > LIST_MAX {
            return Err(self.wrong(parsed, rule));
        }
        let (mut numbers, mut texts) = (Vec::new(), Vec::new());
        for element in &list.elements {
            match self.node(element)?.0 {
                Node::Number(number) => numbers.push(number),
                Node::Text(text) => texts.push(text),
                _ => {
                    return Err(
                        self.wrong(element, "a list holds numbers or texts that are written out")
                    );
                }
            }
        }
        match (numbers.is_empty(), texts.is_empty()) {
            (false, true) => Ok(List::Numbers(numbers)),
            (true, false) => Ok(List::Texts(texts)),
            _ => Err(self.wrong(parsed, "a list holds numbers or texts, not both")),
        }
    }

    fn function(&mut self, parsed: &IdedExpr, call: &CallExpr) -> Checked {
        let name = &*call.func_name;
        let named = |function: &&Function| function.name == name;
        let Some(method) = FUNCTIONS.iter().find(named).map(|function| function.method) else {
            return Err(self.wrong(parsed, unknown_function(name)));
        };
        let arguments: Vec<&IdedExpr> =
            call.target.as_deref().into_iter().chain(&call.args).collect();
        let arity = |function: &&Function| {
            function.arity() == arguments.len()
                || (function.more && arguments.len() > function.arity())
        };
        if method != call.target.is_some() {
            let rule = if method {
                format!("{name} is written behind the text: path.{name}(...)")
            } else {
                format!("{name} is written before its value: {name}(amount)")
            };
            return Err(self.wrong(parsed, rule));
        }
        let Some(function) = FUNCTIONS.iter().filter(named).find(arity) else {
            let counts: Vec<String> = FUNCTIONS
                .iter()
                .filter(named)
                .map(|function| (function.arity() - usize::from(method)).to_string())
                .collect();
            return Err(
                self.wrong(parsed, format!("{name} takes {}", values(&counts.join(" or "))))
            );
        };
        let mut parts = Vec::new();
        for (argument, kind) in arguments.iter().zip(kinds(function)) {
            parts.push(self.want(argument, if function.converts { Kind::Any } else { kind })?);
        }
        let prepared = match (&function.made, arguments.last()) {
            (Made::With(prepare), Some(last)) => {
                let constant = self.constant(last)?;
                prepare(constant).map_err(|reason| self.wrong(last, reason))?
            }
            _ => Prepared::Nothing,
        };
        parts.truncate(arguments.len() - usize::from(!matches!(prepared, Prepared::Nothing)));
        Ok((Node::Call(function, parts, prepared), function.gives))
    }

    /// A value that is written out.
    fn constant(&mut self, parsed: &IdedExpr) -> Result<Constant, ExprError> {
        if let Cel::List(list) = &parsed.expr
            && !list.elements.is_empty()
        {
            return match self.list(parsed)? {
                List::Numbers(numbers) => Ok(Constant::Numbers(numbers)),
                List::Texts(_) => {
                    Err(self.wrong(parsed, "these are texts, and numbers are needed"))
                }
            };
        }
        match self.node(parsed)?.0 {
            Node::Number(number) => Ok(Constant::Number(number)),
            Node::Text(text) => Ok(Constant::Text(text)),
            _ => Err(self.wrong(parsed, "must be written out, and not be computed")),
        }
    }

    /// A part that must be of a kind.
    fn want(&mut self, parsed: &IdedExpr, wanted: Kind) -> Result<Node, ExprError> {
        let (node, kind) = self.node(parsed)?;
        if kind == wanted || kind == Kind::Any || wanted == Kind::Any {
            return Ok(node);
        }
        let hint = match (kind, wanted) {
            (Kind::Number, Kind::Text) => "; write string(...) around it",
            (Kind::Text, Kind::Number) => "; write double(...) around it",
            _ => "",
        };
        Err(self.wrong(parsed, format!("{wanted} is needed here, and this is {kind}{hint}")))
    }

    fn wrong(&self, parsed: &IdedExpr, reason: impl Into<String>) -> ExprError {
        let start = self.source.offset_for(parsed.id).map_or(0, |(start, _)| start as usize);
        let before: String = self.source.source.chars().take(start).collect();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        ExprError { line, column, reason: reason.into() }
    }
}

/// A list that is written out.
enum List {
    Numbers(Vec<Decimal>),
    Texts(Vec<Box<str>>),
}

/// The kinds of all values of a function; the last one goes on.
fn kinds(function: &Function) -> impl Iterator<Item = Kind> {
    let last = function.takes.last().copied().filter(|_| function.more);
    function.takes.iter().copied().chain(last.into_iter().cycle())
}

fn values(count: &str) -> String {
    format!("{count} {}", if count == "1" { "value" } else { "values" })
}

/// A name with its parts: `properties.price`.
fn path(parsed: &IdedExpr) -> Option<String> {
    match &parsed.expr {
        Cel::Ident(name) => Some(name.clone()),
        Cel::Select(SelectExpr { operand, field, test: false }) => {
            Some(format!("{}.{field}", path(operand)?))
        }
        _ => None,
    }
}

fn comparison(sign: &str) -> Option<Comparison> {
    Some(match sign {
        op::EQUALS => Comparison::Equal,
        op::NOT_EQUALS => Comparison::Unequal,
        op::LESS => Comparison::Less,
        op::LESS_EQUALS => Comparison::AtMost,
        op::GREATER => Comparison::Greater,
        op::GREATER_EQUALS => Comparison::AtLeast,
        _ => return None,
    })
}

fn operator(sign: &str) -> Option<Operator> {
    Some(match sign {
        op::SUBSTRACT => Operator::Minus,
        op::MULTIPLY => Operator::Times,
        op::DIVIDE => Operator::Over,
        op::MODULO => Operator::Modulo,
        _ => return None,
    })
}

/// What others call functions that we have.
const ELSEWHERE: [(&str, &str); 14] = [
    ("lower", "lowerAscii"),
    ("tolower", "lowerAscii"),
    ("upper", "upperAscii"),
    ("toupper", "upperAscii"),
    ("length", "size"),
    ("len", "size"),
    ("exists", "has"),
    ("greatest", "max"),
    ("least", "min"),
    ("regex", "matches"),
    ("tostring", "string"),
    ("float", "double"),
    ("uint", "int"),
    ("number", "double"),
];

fn unknown_function(name: &str) -> String {
    let mut known: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
    known.dedup();
    known.insert(0, "has");
    let elsewhere = ELSEWHERE.iter().find(|(other, _)| name.eq_ignore_ascii_case(other));
    let hint = match elsewhere {
        Some((_, ours)) => format!("; did you mean {ours:?}?"),
        None => near::hint(name, known.iter().copied()),
    };
    format!("there is no function {name:?}; there are {}{hint}", known.join(", "))
}
