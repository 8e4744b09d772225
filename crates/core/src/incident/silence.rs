//! What keeps incidents quiet for a time: silences, which people make, and maintenance, which the
//! configuration knows of.

use serde::{Deserialize, Serialize};

use super::hours::Hours;
use crate::expr::Expr;
use crate::time::EpochMs;

/// Nobody is told of incidents that meet a condition, for a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// 32 hex digits.
    pub id: String,
    /// The condition as it was written: an expression over the words of [`super::Subject`].
    pub matching: String,
    /// From when on, in event time.
    pub from: EpochMs,
    /// Until when.
    pub until: EpochMs,
    /// Who made it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Why it silences nothing any more: its condition names what is not known now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<String>,
}

impl Silence {
    /// Whether it lies over a time.
    pub fn is_at(&self, at: EpochMs) -> bool {
        self.from <= at && at < self.until
    }
}

/// A silence with its condition.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quiet {
    pub silence: Silence,
    /// `None` where what it asks for is no longer known.
    pub when: Option<Expr>,
}

/// A time that work is planned for: nobody is told of incidents that meet a condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Maintenance {
    /// Its name.
    pub name: String,
    /// Which incidents; `None` for all.
    pub when: Option<Expr>,
    /// From when on, for once.
    pub from: Option<EpochMs>,
    /// Until when, for once.
    pub until: Option<EpochMs>,
    /// The hours, again and again; `None` for all between `from` and `until`.
    pub hours: Option<Hours>,
}

impl Maintenance {
    /// When the part of it ends that holds this time; `None` outside of it.
    pub fn end(&self, at: EpochMs) -> Option<EpochMs> {
        let last = self.until.unwrap_or(EpochMs::MAX);
        if at < self.from.unwrap_or(EpochMs::MIN) || at >= last {
            return None;
        }
        self.hours.as_ref().map_or(Some(last), |hours| hours.end(at).map(|end| end.min(last)))
    }

    /// When the next part of it begins after this time.
    pub fn next(&self, at: EpochMs) -> Option<EpochMs> {
        let from = self.from.unwrap_or(EpochMs::MIN);
        let next = match &self.hours {
            None => (from > at).then_some(from),
            Some(hours) if from > at => {
                Some(hours.end(from).map_or_else(|| hours.next(from), |_| Some(from))?)
            }
            Some(hours) => hours.next(at),
        };
        next.filter(|next| self.until.is_none_or(|until| *next < until))
    }
}
