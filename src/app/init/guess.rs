//! What events seem to be: where time, key and type stand, what fails, what takes long, what to group
//! by, and how often they come.

use super::funnel::{Funnel, Seen};
use crate::source::propose::{Column, NumberForm, Roles, Sample};

/// Attributes to group by that are proposed.
const LABELS_MAX: usize = 3;

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
    /// A text with many values that come again.
    pub ranked: Option<&'s Column>,
}

/// Names of durations.
const DURATIONS: [&str; 10] = [
    "latency",
    "duration",
    "elapsed",
    "responsetime",
    "took",
    "dwell",
    "rtt",
    "ms",
    "seconds",
    "time",
];

/// Names of what an answer says of its success.
const STATUS: [&str; 6] =
    ["status", "statuscode", "httpstatus", "code", "response", "responsecode"];

/// Names of what is ranked.
const RANKED: [&str; 10] =
    ["path", "url", "uri", "page", "product", "productid", "item", "itemid", "query", "aid"];

impl<'s> Guess<'s> {
    pub fn of(sample: &'s Sample) -> Guess<'s> {
        let columns = &sample.columns;
        let roles = Roles::of(columns);
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
        let taken = [roles.time, roles.kind, roles.key, roles.id, roles.amount];
        let free: Vec<&Column> = columns
            .iter()
            .enumerate()
            .filter(|(place, _)| !taken.contains(&Some(*place)))
            .map(|(_, column)| column)
            .collect();
        let fails = fails(&free, &kinds);
        let number = |column: &&&Column| column.number.is_some() && column.time.is_none();
        let named =
            |words: &'static [&'static str]| move |column: &&&Column| column.named(words).is_some();
        let durations = free.iter().filter(number).filter(named(&DURATIONS));
        // A code is a label, an amount is none.
        let label = |column: &&&Column| {
            column.is_label()
                && column.values.len() > 1
                && !column.is_clock
                && column.time.is_none()
                && (column.number.is_none() || column.named(&STATUS).is_some())
        };
        let mut labels: Vec<&Column> = free.iter().filter(label).copied().collect();
        // Few values, and most events have one.
        labels.sort_by_key(|column| (column.filled * 2 < sample.rows.len(), column.values.len()));
        labels.truncate(LABELS_MAX);
        let many = |column: &&&Column| column.values.len() > 3 && !column.is_unique();
        let ranked = free.iter().filter(many).filter(named(&RANKED));
        let ranked = ranked.min_by_key(|column| column.named(&RANKED)).copied();
        Guess {
            sample,
            roles,
            funnel: seen.funnel(),
            kinds,
            fails,
            labels,
            durations: durations.take(2).copied().collect(),
            ranked,
        }
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
        let used = self.durations.iter().copied().chain(self.column(self.roles.amount));
        used.filter_map(like).collect()
    }
}

/// What says that something failed: a status as HTTP has it, a level, a truth, a type.
fn fails(free: &[&Column], kinds: &[(&str, usize)]) -> Option<Fails> {
    let quoted = |texts: &[&str]| {
        let texts: Vec<String> = texts.iter().map(|text| super::written::text(text)).collect();
        format!("[{}]", texts.join(", "))
    };
    let key = |column: &Column| super::written::key(&column.name);
    for column in free {
        let numbers: Vec<f64> = column.values.iter().filter_map(|v| v.parse().ok()).collect();
        let status = |number: &f64| (100.0..600.0).contains(number) && number.fract() == 0.0;
        let all = !numbers.is_empty() && numbers.len() == column.values.len();
        if column.named(&STATUS).is_some() && all && numbers.iter().all(status) {
            let condition = format!("{{ {} = {{ ge = 400 }} }}", key(column));
            return Some(Fails { condition, why: "its values are those of HTTP".into() });
        }
    }
    let bad = |value: &&str| {
        let value = value.to_lowercase();
        ["error", "fatal", "critical", "fail", "panic"].iter().any(|word| value.contains(word))
    };
    for column in free.iter().filter(|column| column.values.len() <= 50) {
        let level = column.named(&["level", "severity", "loglevel", "result", "outcome", "status"]);
        let values: Vec<&str> = column.values.iter().map(String::as_str).filter(bad).collect();
        if level.is_some() && !values.is_empty() && values.len() < column.values.len() {
            let condition = format!("{{ {} = {} }}", key(column), quoted(&values));
            return Some(Fails { condition, why: "by its values".into() });
        }
        let truths = column.values.iter().all(|value| value == "true" || value == "false");
        if column.named(&["error", "iserror", "failed", "isfailed"]).is_some() && truths {
            let condition = format!("{{ {} = true }}", key(column));
            return Some(Fails { condition, why: "by its name".into() });
        }
    }
    let bad = |kind: &str| {
        let kind = kind.to_lowercase();
        ["fail", "error", "denied", "declined", "timeout"].iter().any(|word| kind.contains(word))
    };
    let failing: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).filter(|kind| bad(kind)).collect();
    (!failing.is_empty() && failing.len() < kinds.len() && failing.len() <= 32).then(|| Fails {
        condition: format!("{{ type = {} }}", quoted(&failing)),
        why: "by the names of these types".into(),
    })
}
