//! The nudge: one word to somebody who left something behind, and what came of it.
//!
//! A session of a kind that ended abandoned is looked at once, at its own time: whoever it is about is
//! told, or kept apart to be compared with, or neither, for one reason. Whoever is told or kept apart is
//! watched for a while: whether a goal follows. The difference of both is what the nudge brings about.
//!
//! [`Nudges`] is part of the keeper, as the desk of incidents is: what it decides is in the commit of
//! what it decided on. Event time decides, in one order, so it is the same wherever barriers lie.
//!
//! No address is kept longer than it takes to decide, nor shown: who wants to hear nothing is known by a
//! keyed hash alone.

mod desk;
mod kept;
mod seal;
#[cfg(test)]
mod tests;
mod uplift;
mod view;

pub use desk::{Nudges, Outcome};
pub use seal::{Command, Hash, Refused, Seal, hashes, normalised};
pub use uplift::{ENOUGH, Uplift, uplift};
pub use view::{ArmView, NudgeView};

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value as Json};
use smol_str::SmolStr;

use crate::expr::{Expr, Kind, Scope};
use crate::near;
use crate::time::{EpochMs, SpanMs};

/// How often the same key may be told within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    /// So often.
    pub times: usize,
    /// Within this time.
    pub per: SpanMs,
}

/// One nudge as it is declared.
#[derive(Clone, Debug, PartialEq)]
pub struct NudgeSpec {
    /// Its name.
    pub name: String,
    /// The kind of sessions that it is of.
    pub of: String,
    /// Which of those that were abandoned; `None` for all.
    pub when: Option<Expr>,
    /// The attribute with the address.
    pub address: String,
    /// The attribute that must be true.
    pub consent: String,
    /// The list that is named.
    pub items: Option<String>,
    /// Attributes that are not told, for they may hold the address.
    pub hidden: Vec<String>,
    /// The channel that delivers it.
    pub channel: String,
    /// So long after the end of the session it goes out, unless a goal came in between.
    pub after: SpanMs,
    /// How often the same key may be told.
    pub cap: Cap,
    /// The share of keys that are not told, from 0 to 1.
    pub holdout: f64,
    /// A goal of the key counts for so long.
    pub within: SpanMs,
    /// Most keys that are remembered, and most sessions that wait for `after`.
    pub keys_max: usize,
}

/// What all nudges go by.
#[derive(Clone, Debug, Default)]
pub struct NudgeSettings {
    /// The nudges, in the order of the configuration.
    pub nudges: Vec<NudgeSpec>,
    /// What addresses are hashed with: the first one, and those of before.
    pub seals: Vec<Arc<dyn Seal>>,
    /// What keys are hashed with.
    pub seed: u64,
    /// Where people say that they want no more; the token is appended.
    pub unsubscribe_url: String,
    /// Most addresses that are suppressed.
    pub suppressed_max: usize,
    /// Nobody is told of what lies further back than this.
    pub max_age: SpanMs,
    /// How long after its time something is known.
    pub lateness: SpanMs,
    /// The currency of values.
    pub currency: String,
}

/// A session that was abandoned.
#[derive(Clone, PartialEq)]
pub struct Abandoned {
    /// Its kind.
    pub of: SmolStr,
    /// Its key.
    pub key: SmolStr,
    /// What tells it from every other session.
    pub name: String,
    /// When it ended.
    pub at: EpochMs,
    /// What it was: `value`, `events`, `first`, `last`, `step`, `duration_s`, `cut`, its attributes,
    /// counts and lists.
    pub facts: Map<String, Json>,
}

/// Without key and facts: an address is among them.
impl fmt::Debug for Abandoned {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Abandoned({} at {})", self.of, self.at)
    }
}

/// A session reached its goal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Goal {
    /// When.
    pub at: EpochMs,
    /// Its key.
    pub key: SmolStr,
    /// Its kind.
    pub of: SmolStr,
}

/// What `when` may ask of a session.
pub struct Asked<'a> {
    /// Its attributes and counts.
    pub attributes: &'a [String],
}

/// Names that every session has, and what they are.
const NAMES: &[(&str, Kind)] = &[
    ("value", Kind::Number),
    ("events", Kind::Number),
    ("duration_s", Kind::Number),
    ("step", Kind::Text),
    ("cut", Kind::Bool),
];

impl Scope for Asked<'_> {
    fn kind(&self, name: &str) -> Result<Kind, String> {
        if let Some((_, kind)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(*kind);
        }
        let own = || self.attributes.iter().map(String::as_str);
        if own().any(|known| known == name) {
            return Ok(Kind::Any);
        }
        let names = || NAMES.iter().map(|(known, _)| *known).chain(own());
        let known = names().collect::<Vec<_>>().join(", ");
        let hint = near::hint(name, names());
        Err(format!("{name} is not known of these sessions: there are {known}{hint}"))
    }
}
