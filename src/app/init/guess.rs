//! What events seem to be: where time, key and type stand, what fails, what is measured, what to group
//! by, and how often they come.

use std::collections::BTreeSet;

use super::funnel::{Funnel, Seen};
use crate::source::propose::words::{
    DURATIONS, LABELS, LEVELS, RANKED, STATES, STATUS, TECHNICAL, UNITS,
};
use crate::source::propose::{Column, NumberForm, Roles, Sample, is_code};

/// Attributes to group by that are proposed.
const LABELS_MAX: usize = 4;

/// Quantities that are proposed.
const MEASURES_MAX: usize = 4;

/// Different values of a number that can be a label.
const CODES_MAX: usize = 20;

/// Different keys that can be a label.
const KEYS_MAX: usize = 12;

/// Conditions that say that something failed, as TOML, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fails {
    pub condition: String,
    pub why: String,
}

/// Everything that is guessed.
pub(super) struct Guess<'s> {
    pub sample: &'s Sample,
    pub roles: Roles,
    /// Event types with how often they came, the most frequent first.
    pub kinds: Vec<(&'s str, usize)>,
    pub funnel: Option<Funnel>,
    pub fails: Option<Fails>,
    /// Attributes to group by.
    pub labels: Vec<&'s Column>,
    /// Numbers that are durations.
    pub durations: Vec<&'s Column>,
    /// Other quantities.
    pub measures: Vec<&'s Column>,
    /// A text with many values that come again.
    pub ranked: Option<&'s Column>,
}

impl<'s> Guess<'s> {
    pub fn of(sample: &'s Sample) -> Guess<'s> {
        let (columns, roles) = (&sample.columns, sample.roles);
        let cell = |row: &'s Vec<Option<String>>, place: Option<usize>| row[place?].as_deref();
        let mut seen = Seen::default();
        let mut kinds: Vec<(&str, usize)> = Vec::new();
        for row in &sample.rows {
            let Some(kind) = cell(row, roles.kind) else { continue };
            match kinds.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, count)) => *count += 1,
                None => kinds.push((kind, 1)),
            }
            if let Some(key) = cell(row, roles.key) {
                seen.event(key, kind);
            }
        }
        kinds.sort_by(|a, b| (b.1, a.0).cmp(&(a.1, b.0)));
        let taken = [roles.time, roles.kind, roles.id, roles.amount];
        let free = |place: &usize| !taken.contains(&Some(*place)) && roles.key != Some(*place);
        let others = columns.iter().enumerate().filter(|(place, _)| free(place));
        let free: Vec<&Column> = others.map(|(_, column)| column).collect();
        let fails = fails(&free, &kinds);
        let number = |column: &&&Column| {
            column.number.is_some() && column.time.is_none() && column.values.len() > 1
        };
        let is_duration = |column: &&&Column| column.fits(DURATIONS).is_some();
        let durations: Vec<&Column> =
            free.iter().filter(number).filter(is_duration).take(2).copied().collect();
        // An id in digits is none.
        let numbered =
            |column: &Column| column.is_unique() && column.filled > 20 && is_whole(column);
        let quantity = |column: &&&Column| {
            let other = is_duration(column) || is_code(column) || column.is_http_status();
            !other && !numbered(column)
        };
        let mut known: BTreeSet<String> =
            roles.amount.map(|place| now(&columns[place])).into_iter().collect();
        let new = |column: &&&Column| known.insert(now(column));
        let measures = free.iter().filter(number).filter(quantity).filter(new);
        let measures: Vec<&Column> = measures.take(MEASURES_MAX).copied().collect();
        let ranked = ranked(&free);
        let listed = |column: &&Column| ranked.is_none_or(|ranked| ranked.name != column.name);
        let key = roles.key.map(|place| &columns[place]);
        let labels = labels(free.iter().copied().filter(listed), key, sample.rows.len());
        // A state follows another; nobody goes through them to a goal.
        let is_state = |place: usize| columns[place].is(STATES);
        let funnel = if roles.kind.is_some_and(is_state) { None } else { seen.funnel() };
        Guess { sample, roles, funnel, kinds, fails, labels, measures, durations, ranked }
    }

    /// The column of a role.
    pub fn column(&self, role: Option<usize>) -> Option<&'s Column> {
        role.map(|place| &self.sample.columns[place])
    }

    /// Examples of numbers that are not written as everywhere.
    pub fn odd_numbers(&self) -> Vec<(&'s str, &'s str)> {
        let like = |column: &'s Column| match &column.number {
            Some(NumberForm::Like(example)) => Some((column.name.as_str(), example.as_str())),
            _ => None,
        };
        let used = self.durations.iter().chain(&self.measures).copied();
        used.chain(self.column(self.roles.amount)).filter_map(like).collect()
    }
}

/// What it is called, whether it says what was or what is: a change says both ("before.total",
/// "after.total"), and once is enough.
fn now(column: &Column) -> String {
    let parts = column.title.split('.');
    let parts: Vec<&str> =
        parts.filter(|part| !["before", "after", "old", "new"].contains(part)).collect();
    parts.join(".")
}

fn is_whole(column: &Column) -> bool {
    column.values.iter().all(|value| value.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What to group by: few values that most events have; names that people ask for first, what the tool
/// says of itself last.
fn labels<'s>(
    free: impl Iterator<Item = &'s Column>,
    key: Option<&'s Column>,
    rows: usize,
) -> Vec<&'s Column> {
    let label = |column: &&Column| {
        let code = column.is_http_status() || is_code(column);
        let few = code && column.values.len() <= CODES_MAX && is_whole(column);
        column.is_label()
            && column.values.len() > 1
            && !column.is_clock
            && column.time.is_none()
            && !column.is(UNITS)
            && (column.number.is_none() || few)
    };
    let mut known: BTreeSet<String> = key.map(now).into_iter().collect();
    let new = |column: &&Column| known.insert(now(column));
    let few = key.filter(|column| column.values.len() <= KEYS_MAX);
    let mut labels: Vec<&Column> =
        free.filter(label).filter(new).chain(few.filter(label)).collect();
    labels.sort_by_key(|column| {
        let sparse = column.filled * 2 < rows;
        (
            sparse,
            column.ends(TECHNICAL),
            !column.is(LABELS),
            column.number.is_some(),
            column.values.len(),
        )
    });
    labels.truncate(LABELS_MAX);
    labels
}

/// A text whose most frequent values are worth a list: by its name, or the first of many values.
fn ranked<'s>(free: &[&'s Column]) -> Option<&'s Column> {
    let many = |column: &&&Column| column.values.len() > 3 && !column.is_unique();
    let named = free.iter().filter(many).filter(|column| column.fits(RANKED).is_some());
    let text = |column: &&&Column| {
        let plain = column.number.is_none() && column.time.is_none();
        plain && column.values.len() > 12 && column.recurs()
    };
    let named = named.min_by_key(|column| column.fits(RANKED));
    named.or_else(|| free.iter().find(text)).copied()
}

/// Parts of words that say that something went wrong, in the order in which they are believed.
const BAD: [&[&str]; 2] = [
    &[
        "error",
        "fatal",
        "critical",
        "fail",
        "panic",
        "denied",
        "declined",
        "rejected",
        "timeout",
        "backoff",
        "fehler",
        "abgelehnt",
        "storniert",
    ],
    &["warn", "unhealthy", "cancel"],
];

/// Those of `values` that say that something went wrong, where others do not.
fn bad<'v>(values: impl Iterator<Item = &'v str> + Clone) -> Vec<&'v str> {
    let all = values.clone().count();
    let of = |words: &[&str]| -> Vec<&str> {
        let says = |value: &&str| {
            let value = value.to_lowercase();
            words.iter().any(|word| value.contains(word))
        };
        values.clone().filter(says).take(32).collect()
    };
    let found = BAD.iter().map(|words| of(words)).find(|found| !found.is_empty());
    found.filter(|found| found.len() < all).unwrap_or_default()
}

/// What says that something failed: a status as HTTP has it, a level, a truth, a type.
fn fails(free: &[&Column], kinds: &[(&str, usize)]) -> Option<Fails> {
    let quoted = |texts: &[&str]| {
        let texts: Vec<String> = texts.iter().map(|text| super::written::text(text)).collect();
        format!("[{}]", texts.join(", "))
    };
    let key = |column: &Column| super::written::key(&column.name);
    if let Some(column) = free.iter().find(|column| column.is_http_status()) {
        let condition = format!("{{ {} = {{ ge = 400 }} }}", key(column));
        return Some(Fails { condition, why: "its values are those of HTTP".into() });
    }
    for column in free.iter().filter(|column| column.values.len() <= 50) {
        let says = column.is(LEVELS)
            || column.is(STATUS)
            || column.is(&["result", "outcome", "state", "reason"]);
        let values = bad(column.values.iter().map(String::as_str));
        if says && !values.is_empty() {
            let condition = format!("{{ {} = {} }}", key(column), quoted(&values));
            return Some(Fails { condition, why: "by its values".into() });
        }
        let truths = column.values.iter().all(|value| value == "true" || value == "false");
        if truths && column.is(&["error", "iserror", "failed", "isfailed"]) {
            let condition = format!("{{ {} = true }}", key(column));
            return Some(Fails { condition, why: "by its name".into() });
        }
    }
    let failing = bad(kinds.iter().map(|(kind, _)| *kind));
    (!failing.is_empty()).then(|| Fails {
        condition: format!("{{ type = {} }}", quoted(&failing)),
        why: "by the names of these types".into(),
    })
}
