//! Attributes from a subject.

use std::sync::Arc;

use compact_str::CompactString;
use smallvec::SmallVec;

/// Most names of a template.
const NAMES_MAX: usize = 16;

/// `shop.{region}.{type}`: which tokens of a subject are attributes.
///
/// A token is literal text or `{name}`; the last may be `{name...}`, which takes the rest.
/// A subject that does not match gives no attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    tokens: Vec<Token>,
    /// The attributes, in the order of their tokens.
    pub names: Arc<[String]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(String),
    One,
    Rest,
}

impl Template {
    /// Parses a template; an empty text is none.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn parse(text: &str) -> Result<Template, String> {
        if text.is_empty() {
            return Ok(Template::default());
        }
        let (mut tokens, mut names) = (Vec::new(), Vec::new());
        let mut rest = text;
        while !rest.is_empty() {
            if tokens.last() == Some(&Token::Rest) {
                return Err("{name...} takes the rest, so it must be the last token".into());
            }
            // The dots of {name...} do not end its token.
            let (token, after) = match (rest.starts_with('{'), rest.find('}')) {
                (true, Some(end)) => rest.split_at(end + 1),
                _ => rest.split_at(rest.find('.').unwrap_or(rest.len())),
            };
            rest = match after.strip_prefix('.') {
                Some("") => return Err("must not end in a dot".into()),
                Some(after) => after,
                None if after.is_empty() => after,
                None => return Err(format!("{token:?} must be a whole token between dots")),
            };
            tokens.push(self::token(token, &mut names)?);
        }
        if names.len() > NAMES_MAX {
            return Err(format!("must hold at most {NAMES_MAX} names"));
        }
        Ok(Template { tokens, names: names.into() })
    }

    /// Adds the attributes of `subject`.
    pub fn fill(&self, subject: &str, out: &mut SmallVec<[(u8, CompactString); 1]>) {
        let (mut rest, mut name) = (Some(subject), 0);
        for token in &self.tokens {
            let Some(left) = rest else { return out.clear() };
            let (head, tail) = match token {
                Token::Rest => (left, None),
                _ => left.split_once('.').map_or((left, None), |(head, tail)| (head, Some(tail))),
            };
            match token {
                Token::Literal(text) if text != head => return out.clear(),
                Token::Literal(_) => {}
                Token::One | Token::Rest => {
                    out.push((name, CompactString::from(head)));
                    name += 1;
                }
            }
            rest = tail;
        }
        if rest.is_some() {
            out.clear();
        }
    }
}

fn token(text: &str, names: &mut Vec<String>) -> Result<Token, String> {
    let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
        let odd = |c: char| c.is_whitespace() || matches!(c, '{' | '}' | '*' | '>');
        return if text.is_empty() || text.contains(odd) {
            Err(format!("token {text:?} must be literal text, {{name}} or {{name...}}"))
        } else {
            Ok(Token::Literal(text.to_owned()))
        };
    };
    let (name, token) = match name.strip_suffix("...") {
        Some(name) => (name, Token::Rest),
        None => (name, Token::One),
    };
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || !name.chars().all(allowed) {
        return Err(format!("{text:?} must name an attribute of letters, digits, - and _"));
    }
    if ["id", "ts", "specversion"].contains(&name) {
        return Err(format!(
            "{name:?} cannot come from the subject: all its events would share it"
        ));
    }
    if names.iter().any(|known| known == name) {
        return Err(format!("must not hold {name:?} twice"));
    }
    names.push(name.to_owned());
    Ok(token)
}
