//! What attributes of events are called, and those that are made of others: computed
//! (`events.derived`) or looked up (`[[lookup]]`).

use std::collections::BTreeMap;

use super::conditions::wrong_attribute;
use super::events::EventsConfig;
use super::lookups::Lookup;
use crate::domain::event::{Derived, How};
use crate::domain::expr::{Expr, Kind, Scope};
use crate::domain::number::text::NumberFormat;

/// Attributes of events, as expressions and keys may name them.
pub(super) struct Attributes<'a> {
    events: &'a EventsConfig,
    /// Those that are computed of others, each behind those that it is computed of.
    pub derived: Vec<Derived>,
}

/// What is wrong with a derived attribute: its name, and the rule.
pub(super) type Wrong = (String, String);

impl<'a> Attributes<'a> {
    /// Of this configuration, and what is wrong with it.
    pub fn of(events: &'a EventsConfig, lookups: &[Lookup]) -> (Self, Vec<Wrong>) {
        let mut attributes = Attributes { events, derived: Vec::new() };
        let mut wrong = Vec::new();
        let mut uses: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, text) in &events.derived {
            if let Some(rule) = attributes.wrong_name(name) {
                wrong.push((name.clone(), rule));
            } else {
                match Expr::parse(text, &Anything) {
                    Ok(expr) => drop(uses.insert(name, expr.names().to_vec())),
                    Err(error) => wrong.push((name.clone(), error.to_string())),
                }
            }
        }
        let looked: Vec<Derived> = lookups.iter().flat_map(Lookup::derived).collect();
        uses.extend(looked.iter().map(|one| (&*one.name, one.how.names().to_vec())));
        let (order, circle) = in_order(&uses);
        if let Some(mut circle) = circle {
            let is_looked = |name: &&str| looked.iter().any(|one| one.name == **name);
            let rule = match circle.iter().position(is_looked) {
                None => format!("is computed of itself: {}", circle.join(" of ")),
                Some(at) => {
                    // The name it comes back to stands at both ends.
                    circle.pop();
                    circle.rotate_left(at);
                    circle.push(circle[0]);
                    format!("is made of what is looked up by it: {}", circle.join(" of "))
                }
            };
            wrong.push((circle[0].to_owned(), rule));
        }
        for name in order {
            if let Some(one) = looked.iter().find(|one| one.name == name) {
                attributes.derived.push(one.clone());
                continue;
            }
            let text = events.derived.iter().find(|(known, _)| known == name);
            match text.map(|(_, text)| Expr::parse(text, &attributes)) {
                Some(Ok(expr)) => {
                    let how = How::Expr(expr);
                    attributes.derived.push(Derived { name: name.to_owned(), how });
                }
                Some(Err(error)) => wrong.push((name.to_owned(), error.to_string())),
                None => {}
            }
        }
        (attributes, wrong)
    }

    /// Why `name` cannot be used as an attribute, if so.
    pub fn wrong(&self, name: &str) -> Option<String> {
        wrong_attribute(name, &self.events.aliases)
    }

    /// Those that make the session key.
    pub fn keys(&self) -> &'a [String] {
        &self.events.keys
    }

    /// What a derived attribute is; `None` for one that events carry.
    pub fn derived(&self, name: &str) -> Option<Kind> {
        self.derived.iter().find(|derived| derived.name == name).map(|derived| derived.how.kind())
    }

    /// Why nothing that is made of others may be called so, if so.
    pub fn wrong_name(&self, name: &str) -> Option<String> {
        let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
        let starts = name.starts_with(letter);
        if !starts || !name.chars().all(|c| letter(c) || c.is_ascii_digit()) {
            return Some("a name is a letter, then letters, digits or _".into());
        }
        if ["ts", "type", "id"].contains(&name) || self.events.keys.iter().any(|key| key == name) {
            return Some("is what events carry themselves: give it another name".into());
        }
        let alias = self.events.aliases.iter().find(|(from, to)| from == name || to == name)?;
        Some(format!("is in events.aliases, {:?} = {:?}: give it another name", alias.0, alias.1))
    }
}

impl Scope for Attributes<'_> {
    fn kind(&self, name: &str) -> Result<Kind, String> {
        match self.wrong(name) {
            Some(rule) => Err(rule),
            None => Ok(self.derived(name).unwrap_or(Kind::Any)),
        }
    }

    fn format(&self, name: &str) -> NumberFormat {
        let declared = self.events.numbers.iter().find(|(known, _)| known == name);
        declared.and_then(|(_, example)| NumberFormat::by_example(example).ok()).unwrap_or_default()
    }
}

/// To find out which names an expression uses.
struct Anything;

impl Scope for Anything {
    fn kind(&self, _: &str) -> Result<Kind, String> {
        Ok(Kind::Any)
    }
}

/// Names, each behind those that it uses; and a circle that some of them make, from a name to the
/// same.
pub(super) fn in_order<'a>(
    uses: &BTreeMap<&'a str, Vec<String>>,
) -> (Vec<&'a str>, Option<Vec<&'a str>>) {
    let mut order: Vec<&str> = Vec::new();
    loop {
        let ready = |name: &&&'a str| {
            let done =
                |used: &String| order.contains(&used.as_str()) || !uses.contains_key(used.as_str());
            !order.contains(*name) && uses[*name].iter().all(done)
        };
        match uses.keys().find(ready) {
            Some(name) => order.push(name),
            None => break,
        }
    }
    // Each of the rest uses another one of the rest: whoever follows comes around.
    let rest = |name: &&&'a str| !order.contains(*name);
    let Some(first) = uses.keys().find(rest) else { return (order, None) };
    let mut path = vec![*first];
    loop {
        let last = path[path.len() - 1];
        let Some(next) =
            uses.keys().filter(rest).find(|name| uses[last].iter().any(|used| used == **name))
        else {
            return (order, None);
        };
        if let Some(begin) = path.iter().position(|known| known == next) {
            path.drain(..begin);
            path.push(next);
            return (order, Some(path));
        }
        path.push(next);
    }
}
