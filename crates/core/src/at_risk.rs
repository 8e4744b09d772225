//! Open sessions (under `since_entry`: carts) that hold an entry and no goal: how many, what is at
//! stake in them, and the first of them by deadline and by value. The same for `[session]` and for
//! each kind of its own.
//!
//! Nothing is kept for it: whoever asks pays with a walk over the open sessions. A shard answers
//! for its own, and what several answered is put together.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::board::bound::label;
use crate::number::{Amount, Sum};
use crate::time::{BEGINNING, EpochMs, SpanMs};

/// Sessions in each list of the board: what a panel shows.
const SHOWN_MAX: usize = 20;

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// What ends soonest.
    #[default]
    Deadline,
    /// What has most at stake.
    Value,
}

/// One session or cart at risk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionAtRisk {
    /// Its key.
    pub key: String,
    /// What is at stake, of `[session]` in the configured currency.
    pub value: f64,
    /// When it counts as abandoned if nothing more comes, in event time.
    pub deadline: EpochMs,
    /// From the watermark to the deadline; negative while it waits for late events.
    pub remaining_ms: SpanMs,
    /// First event; of a cart its first entry.
    pub first: EpochMs,
    /// Last event; of a cart its last entry.
    pub last: EpochMs,
    /// What else is said of it.
    #[serde(flatten)]
    pub more: More,
    #[serde(skip)]
    exact: Amount,
}

/// What is said of a session at risk besides what decides about its place.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct More {
    /// Furthest step reached, empty when none was.
    pub step: String,
    /// Of `[session]`: latest segment, empty when unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// Of a kind: the attributes that it declares, as far as they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<BTreeMap<String, Value>>,
}

/// What is at risk, of one shard or of all.
#[derive(Clone, Debug, PartialEq)]
pub struct AtRisk {
    /// Event time it was looked at.
    pub watermark: EpochMs,
    /// Sessions at risk.
    pub sessions: u64,
    /// What is at stake in all of them.
    pub value: Sum,
    /// Its currency; empty for a kind, whose value has none.
    pub currency: String,
    by_deadline: Vec<SessionAtRisk>,
    by_value: Vec<SessionAtRisk>,
}

impl Default for AtRisk {
    fn default() -> Self {
        AtRisk {
            watermark: BEGINNING,
            sessions: 0,
            value: Sum::ZERO,
            currency: String::new(),
            by_deadline: Vec::new(),
            by_value: Vec::new(),
        }
    }
}

/// What decides about a place in a list, and where the rest is found.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a, T> {
    pub key: &'a str,
    pub value: Amount,
    pub deadline: EpochMs,
    pub first: EpochMs,
    pub last: EpochMs,
    pub rest: T,
}

/// Value, deadline, key and first event.
type Place<'a> = (i128, EpochMs, &'a str, EpochMs);

/// All there is decides about a place, so that a list never depends on the order of a walk.
fn order(by: By, one: Place<'_>, other: Place<'_>) -> Ordering {
    let value = if by == By::Value { other.0.cmp(&one.0) } else { Ordering::Equal };
    value.then_with(|| (one.1, one.2, one.3).cmp(&(other.1, other.2, other.3)))
}

impl<T> Found<'_, T> {
    fn place(&self) -> Place<'_> {
        (self.value.parts(), self.deadline, self.key, self.first)
    }

    fn compare(&self, other: &Self, by: By) -> Ordering {
        order(by, self.place(), other.place())
    }
}

impl SessionAtRisk {
    fn place(&self) -> Place<'_> {
        (self.exact.parts(), self.deadline, &self.key, self.first)
    }
}

/// The first of many, by one order.
struct Leaders<'a, T> {
    by: By,
    most: usize,
    held: Vec<Found<'a, T>>,
    /// Whatever comes after it has no place any more.
    bar: Option<Found<'a, T>>,
}

impl<'a, T: Copy> Leaders<'a, T> {
    fn new(by: By, most: usize) -> Self {
        Leaders { by, most, held: Vec::new(), bar: None }
    }

    #[inline]
    fn offer(&mut self, found: Found<'a, T>) {
        let is_out = |bar: &Found<'a, T>| found.compare(bar, self.by).is_gt();
        if self.bar.as_ref().is_some_and(is_out) {
            return;
        }
        self.held.push(found);
        if self.held.len() >= 2 * self.most {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.held.len() > self.most {
            let by = self.by;
            self.held.select_nth_unstable_by(self.most, |a, b| a.compare(b, by));
            self.bar = Some(self.held[self.most]);
            self.held.truncate(self.most);
        }
    }

    fn rows(mut self, watermark: EpochMs, more: &impl Fn(&T) -> More) -> Vec<SessionAtRisk> {
        self.cut();
        let by = self.by;
        self.held.sort_unstable_by(|a, b| a.compare(b, by));
        let row = |found: &Found<'_, T>| SessionAtRisk {
            key: found.key.to_owned(),
            value: found.value.to_f64(),
            deadline: found.deadline,
            remaining_ms: found.deadline.saturating_sub(watermark),
            first: found.first,
            last: found.last,
            more: more(&found.rest),
            exact: found.value,
        };
        self.held.iter().map(row).collect()
    }
}

/// A walk over open sessions.
pub(crate) struct Walk<'a, T> {
    leaders: [Leaders<'a, T>; 2],
    sessions: u64,
    value: Sum,
}

impl<'a, T: Copy> Walk<'a, T> {
    /// Keeps at most `most` (1 or more) by each order.
    pub fn new(most: usize) -> Self {
        let leaders = [By::Deadline, By::Value].map(|by| Leaders::new(by, most));
        Walk { leaders, sessions: 0, value: Sum::ZERO }
    }

    /// Meets one that is at risk.
    #[inline]
    pub fn meet(&mut self, found: Found<'a, T>) {
        self.sessions += 1;
        self.value.add_i128(found.value.parts());
        self.leaders.iter_mut().for_each(|leaders| leaders.offer(found));
    }

    /// What it met.
    pub fn end(self, watermark: EpochMs, currency: &str, more: impl Fn(&T) -> More) -> AtRisk {
        let Walk { leaders, sessions, value } = self;
        let [by_deadline, by_value] = leaders.map(|all| all.rows(watermark, &more));
        AtRisk { watermark, sessions, value, currency: currency.to_owned(), by_deadline, by_value }
    }
}

impl AtRisk {
    /// Puts together what several shards answered, with at most `most` in each list.
    pub fn merge(shards: impl IntoIterator<Item = AtRisk>, most: usize) -> AtRisk {
        let mut all = AtRisk::default();
        for shard in shards {
            all.watermark = all.watermark.max(shard.watermark);
            all.sessions += shard.sessions;
            all.value.add(&shard.value);
            all.currency = shard.currency;
            all.by_deadline.extend(shard.by_deadline);
            all.by_value.extend(shard.by_value);
        }
        let watermark = all.watermark;
        for (by, list) in [(By::Deadline, &mut all.by_deadline), (By::Value, &mut all.by_value)] {
            list.sort_unstable_by(|a, b| order(by, a.place(), b.place()));
            list.truncate(most);
            list.iter_mut().for_each(|row| row.remaining_ms = row.deadline - watermark);
        }
        all
    }

    /// The first by an order.
    pub fn first(&self, by: By) -> &[SessionAtRisk] {
        match by {
            By::Deadline => &self.by_deadline,
            By::Value => &self.by_value,
        }
    }

    /// As `GET /v1/at-risk` answers: the totals, and `items` of at most `bytes_max` bytes.
    pub fn page(&self, by: By, limit: usize, bytes_max: usize) -> Value {
        let (mut items, mut bytes) = (Vec::new(), 0);
        for row in self.first(by).iter().take(limit) {
            let item = json!(row);
            bytes += item.to_string().len();
            if bytes > bytes_max {
                break;
            }
            items.push(item);
        }
        let known = (self.watermark > BEGINNING).then_some(self.watermark);
        json!({
            "at": known, "by": by, "sessions": self.sessions, "value": self.value.in_units(),
            "currency": self.currency, "items": items,
        })
    }

    /// The first by an order, with short texts, as the board has them.
    pub fn shown(&self, by: By) -> Value {
        let row = |row: &SessionAtRisk| {
            let mut shown = json!({
                "key": label(&row.key), "value": row.value, "deadline": row.deadline,
                "step": row.more.step,
            });
            if let Some(segment) = &row.more.segment {
                shown["segment"] = json!(label(segment));
            }
            shown
        };
        self.first(by).iter().take(SHOWN_MAX).map(row).collect()
    }
}
