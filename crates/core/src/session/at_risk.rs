//! Open sessions (under `since_entry`: carts) that hold an entry and no goal: how many, what is at
//! stake in them, and the first of them by deadline and by value.
//!
//! Nothing is kept for it: whoever asks pays with a walk over the open sessions. A shard answers
//! for its own, and what several answered is put together.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::machine::Machine;
use super::record::Segments;
use super::rules::Rules;
use crate::number::{Amount, Sum};
use crate::time::{BEGINNING, EpochMs, SpanMs};

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
    /// The session key.
    pub key: String,
    /// What is at stake, in the configured currency.
    pub value: f64,
    /// When it counts as abandoned if nothing more comes, in event time.
    pub deadline: EpochMs,
    /// From the watermark to the deadline; negative while it waits for late events.
    pub remaining_ms: SpanMs,
    /// First event; of a cart its first entry.
    pub first: EpochMs,
    /// Last event; of a cart its last entry.
    pub last: EpochMs,
    /// Furthest step reached, empty when none was.
    pub step: String,
    /// Latest segment, empty when unknown.
    pub segment: String,
    #[serde(skip)]
    exact: Amount,
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
    /// Its currency.
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

/// What decides about a place in a list.
#[derive(Clone, Copy)]
struct Found<'a> {
    key: &'a str,
    value: Amount,
    deadline: EpochMs,
    first: EpochMs,
    last: EpochMs,
    step: u8,
    segment: u16,
}

/// Value, deadline, key and first event.
type Place<'a> = (i128, EpochMs, &'a str, EpochMs);

/// All there is decides about a place, so that a list never depends on the order of a walk.
fn order(by: By, one: Place<'_>, other: Place<'_>) -> Ordering {
    let value = if by == By::Value { other.0.cmp(&one.0) } else { Ordering::Equal };
    value.then_with(|| (one.1, one.2, one.3).cmp(&(other.1, other.2, other.3)))
}

impl Found<'_> {
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
struct Leaders<'a> {
    by: By,
    most: usize,
    held: Vec<Found<'a>>,
    /// Whatever comes after it has no place any more.
    bar: Option<Found<'a>>,
}

impl<'a> Leaders<'a> {
    fn new(by: By, most: usize) -> Self {
        Leaders { by, most, held: Vec::new(), bar: None }
    }

    #[inline]
    fn offer(&mut self, found: Found<'a>) {
        let is_out = |bar: &Found<'a>| found.compare(bar, self.by).is_gt();
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

    fn rows(
        mut self,
        rules: &Rules,
        segments: &Segments,
        watermark: EpochMs,
    ) -> Vec<SessionAtRisk> {
        self.cut();
        let by = self.by;
        self.held.sort_unstable_by(|a, b| a.compare(b, by));
        let row = |found: &Found<'_>| SessionAtRisk {
            key: found.key.to_owned(),
            value: found.value.to_f64(),
            deadline: found.deadline,
            remaining_ms: found.deadline.saturating_sub(watermark),
            first: found.first,
            last: found.last,
            step: rules.step_name(found.step).to_owned(),
            segment: segments.text(found.segment).to_owned(),
            exact: found.value,
        };
        self.held.iter().map(row).collect()
    }
}

impl AtRisk {
    /// Walks over open sessions, each with its key; keeps at most `most` of them (1 or more) by
    /// each order.
    pub fn of<'a>(
        open: impl Iterator<Item = (&'a str, &'a Machine)>,
        rules: &Rules,
        segments: &Segments,
        watermark: EpochMs,
        most: usize,
    ) -> AtRisk {
        let mut leaders = [By::Deadline, By::Value].map(|by| Leaders::new(by, most));
        let (mut sessions, mut value) = (0, Sum::ZERO);
        for (key, machine) in open {
            machine.each_at_risk(key, rules, |found| {
                sessions += 1;
                value.add_i128(found.value.parts());
                leaders.iter_mut().for_each(|leaders| leaders.offer(found));
            });
        }
        let [by_deadline, by_value] = leaders.map(|all| all.rows(rules, segments, watermark));
        let currency = rules.currency.clone();
        AtRisk { watermark, sessions, value, currency, by_deadline, by_value }
    }

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
}

impl Machine {
    /// Every session (or cart) of the key that is at risk; the same that the gauges count.
    #[inline]
    fn each_at_risk<'a>(&self, key: &'a str, rules: &Rules, mut each: impl FnMut(Found<'a>)) {
        if !rules.since_entry {
            for state in self.sessions.iter().filter(|state| state.at_risk()) {
                each(Found {
                    key,
                    value: state.contents.value(),
                    deadline: state.deadline(rules),
                    first: state.first,
                    last: state.last,
                    step: state.step,
                    segment: state.segment,
                });
            }
            return;
        }
        let Some(cart) = self.carts.as_ref().and_then(|carts| carts.open()) else { return };
        // The session that its last entry lies in.
        let state = self.sessions.iter().rfind(|state| state.first <= cart.last);
        each(Found {
            key,
            value: cart.contents.value(),
            deadline: cart.last + rules.gap,
            first: cart.first,
            last: cart.last,
            step: state.map_or(0, |state| state.step),
            segment: state.map_or(0, |state| state.segment),
        });
    }
}
