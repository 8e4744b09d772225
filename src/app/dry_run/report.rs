//! What a dry run found, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Serialize;

use super::seen::{Alerts, Fired, Range};
use super::trial::Tried;
use super::vary::{Setting, Subject};
use crate::cli::report::{duration, grouped, number, write_unusable};
use crate::domain::event::time_text::date;
use crate::domain::fault::FaultView;
use crate::domain::ledger::Ledger;
use crate::domain::pattern::PatternTally;
use crate::domain::time::{EpochMs, SpanMs};

const WEEK: SpanMs = 7 * 24 * 60 * 60_000;

/// Alerts that are listed for people.
const SHOWN_MAX: usize = 20;

/// What a dry run found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// `rule`, `metric`, `pattern` or `abandoned`.
    pub of: &'static str,
    pub name: String,
    pub history: History,
    /// The first one is as configured.
    pub settings: Vec<Line>,
}

/// What was looked back on.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct History {
    pub source: String,
    #[serde(flatten)]
    pub ledger: Ledger,
    /// First and last event time, ms since 1970.
    pub first: Option<EpochMs>,
    pub last: Option<EpochMs>,
    /// The time that was looked at: what was before only taught.
    pub from: Option<EpochMs>,
    pub to: Option<EpochMs>,
    /// Attributes of applied events that were of no use, as configured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unusable: Vec<FaultView>,
    /// Attributes that the configuration needs and no event carried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub never_seen: Vec<String>,
}

/// What came of one setting.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Line {
    /// What is other than configured.
    pub set: BTreeMap<String, String>,
    /// Why it cannot be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<AlertsLine>,
    /// What happened to the events of a pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<PatternTally>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionsLine>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<NumbersLine>,
}

/// When it would have fired.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct AlertsLine {
    pub alerts: u64,
    /// Alerts for each week of the time that was looked at.
    pub a_week: Option<f64>,
    pub newest: Option<EpochMs>,
    /// How long windows stood out in all, and in the longest alert, ms.
    pub lasted: SpanMs,
    pub longest: SpanMs,
    pub fired: Vec<Fired>,
    /// Alerts that are not in `fired`.
    pub left_out: u64,
}

/// What became of the sessions that ended in the time that was looked at.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct SessionsLine {
    pub sessions: u64,
    pub with_entry: u64,
    pub converted: u64,
    /// abandoned / (abandoned + converted).
    pub rate: Option<f64>,
}

/// The numbers of final windows.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct NumbersLine {
    pub windows: u64,
    pub min: Option<f64>,
    pub median: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
    pub mean: Option<f64>,
    /// Windows that the quantiles are without: there were too many.
    pub left_out: u64,
}

impl Report {
    pub fn of(
        subject: &Subject,
        source: String,
        range: Range,
        settings: &[Setting],
        tried: &[Tried],
    ) -> Report {
        let history = History::of(source, range, tried);
        let span = history.span();
        let mut lines: Vec<Line> = settings.iter().map(Line::of).collect();
        for Tried { settings, seen, .. } in tried {
            for place in settings {
                let line = &mut lines[place.setting];
                match subject {
                    Subject::Rule(_) => {
                        let alerts = seen.alerts[place.tried].clone();
                        line.alerts = Some(AlertsLine::of(alerts, span));
                    }
                    Subject::Pattern(_) => {
                        let matches = seen.alerts[place.tried].clone();
                        line.alerts = Some(AlertsLine::of(matches, span));
                        line.pattern = seen.tallies.get(place.tried).copied();
                    }
                    Subject::Metric(_) => {
                        let numbers = seen.numbers.values().flatten();
                        let numbers = numbers.filter(|(end, _)| range.has(*end));
                        let numbers = numbers.map(|(_, number)| *number).collect();
                        line.numbers = Some(NumbersLine::of(numbers, seen.numbers_left_out));
                    }
                    Subject::Abandoned => {
                        let alerts = seen.abandoned.clone();
                        line.alerts = Some(AlertsLine::of(alerts, span));
                        let totals = seen.ended;
                        line.sessions = Some(SessionsLine {
                            sessions: totals.closed,
                            with_entry: totals.with_entry,
                            converted: totals.converted,
                            rate: totals.rate(),
                        });
                    }
                }
            }
        }
        let (of, name) = match subject {
            Subject::Rule(name) => ("rule", name.clone()),
            Subject::Metric(name) => ("metric", name.clone()),
            Subject::Pattern(name) => (table_of(name, settings), name.clone()),
            Subject::Abandoned => ("abandoned", String::new()),
        };
        Report { of, name, history, settings: lines }
    }

    /// As JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is plain data")
    }
}

/// The list that what is tried is declared in.
fn table_of(name: &str, settings: &[Setting]) -> &'static str {
    let configs = settings.iter().filter_map(|setting| setting.config.as_ref().ok());
    let mut found = configs.flat_map(|config| &config.patterns).filter(|one| one.name == name);
    found.next().map_or("pattern", |pattern| pattern.seeks.table())
}

impl History {
    pub fn of(source: String, range: Range, tried: &[Tried]) -> History {
        let mut history = History { source, ..History::default() };
        if let Some(first) = tried.first() {
            history.ledger = first.numbers.ledger;
            history.unusable.clone_from(&first.numbers.unusable);
            history.never_seen.clone_from(&first.numbers.never_seen);
            (history.first, history.last) = (first.seen.first, first.seen.last);
            history.from = history.first.map(|first| first.max(range.from));
            history.to = history.last.map(|last| last.min(range.to));
        }
        history
    }

    /// How long the time is that was looked at.
    pub fn span(&self) -> Option<SpanMs> {
        self.to.zip(self.from).map(|(to, from)| to - from)
    }
}

impl Line {
    pub fn of(setting: &Setting) -> Line {
        // Of a key of the rule or pattern its name says nothing more.
        let lists = ["rule.", "pattern.", "join.", "funnel.", "sessions."];
        let own = |key: &str| lists.iter().any(|list| key.starts_with(list));
        let short = |key: &str| {
            if own(key) { key.rsplit('.').next().unwrap_or(key).to_owned() } else { key.to_owned() }
        };
        let set = setting.set.iter().map(|(key, value)| (short(key), value.clone()));
        Line {
            set: set.collect(),
            refused: setting.config.as_ref().err().cloned(),
            ..Line::default()
        }
    }

    /// Its cells, by the columns of the table.
    fn cells(&self) -> Vec<(&'static str, String)> {
        if let Some(why) = &self.refused {
            return vec![("", why.lines().next().unwrap_or_default().to_owned())];
        }
        let mut cells = Vec::new();
        if let Some(line) = &self.sessions {
            cells.extend([
                ("sessions", grouped(line.sessions)),
                ("with entry", grouped(line.with_entry)),
                ("converted", grouped(line.converted)),
            ]);
        }
        if let Some(line) = &self.alerts {
            let what = match (&self.sessions, &self.pattern) {
                (Some(_), _) => "abandoned",
                (_, Some(_)) => "matches",
                _ => "alerts",
            };
            cells.extend([
                (what, grouped(line.alerts)),
                ("a week", line.a_week.map_or("-".into(), |rate| format!("{rate:.1}"))),
            ]);
            if self.sessions.is_none() {
                if self.pattern.is_none() {
                    cells.push(("longest", duration(line.longest)));
                }
                cells.push(("last", line.newest.map_or("-".into(), date)));
            }
        }
        if let Some(tally) = &self.pattern {
            cells.extend([
                ("late events", grouped(tally.late)),
                ("for want of room", grouped(tally.lacked_room())),
            ]);
        }
        if let Some(line) = &self.sessions {
            let rate = |rate: f64| format!("{:.1} %", rate * 100.0);
            cells.push(("rate", line.rate.map_or("-".into(), rate)));
        }
        if let Some(line) = &self.numbers {
            let show = |value: Option<f64>| value.map_or("-".to_owned(), number);
            cells.extend([
                ("windows", grouped(line.windows)),
                ("min", show(line.min)),
                ("median", show(line.median)),
                ("p95", show(line.p95)),
                ("p99", show(line.p99)),
                ("max", show(line.max)),
                ("mean", show(line.mean)),
            ]);
        }
        cells
    }
}

impl Line {
    /// The alerts of this setting.
    pub fn fired(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let Some(alerts) = self.alerts.as_ref().filter(|alerts| !alerts.fired.is_empty()) else {
            return Ok(());
        };
        let keyed = self.sessions.is_some() || self.pattern.is_some();
        let what = if self.pattern.is_some() { "found" } else { "fired" };
        writeln!(out, "{} would have {what}:", words(&self.set))?;
        for fired in alerts.fired.iter().take(SHOWN_MAX) {
            write!(out, "  {}  {}", date(fired.at), fired.title)?;
            if keyed {
                write!(out, ", {}", fired.subject)?;
            }
            if let (Some(since), Some(last), None) = (fired.since, fired.last, &self.sessions) {
                write!(out, ", for {}", duration(last - since))?;
            }
            writeln!(out)?;
        }
        match alerts.alerts.saturating_sub(SHOWN_MAX as u64) {
            0 => Ok(()),
            more => {
                writeln!(out, "  and {} more: --json lists {}", grouped(more), alerts.fired.len())
            }
        }
    }
}

impl AlertsLine {
    pub fn of(mut alerts: Alerts, span: Option<SpanMs>) -> AlertsLine {
        // Within a commit they come by group.
        alerts.list.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        let span = span.filter(|span| *span > 0);
        AlertsLine {
            alerts: alerts.count,
            a_week: span.map(|span| alerts.count as f64 * WEEK as f64 / span as f64),
            newest: alerts.newest,
            lasted: alerts.lasted,
            longest: alerts.longest,
            left_out: alerts.count - alerts.list.len() as u64,
            fired: alerts.list,
        }
    }
}

impl NumbersLine {
    fn of(mut numbers: Vec<f64>, left_out: u64) -> NumbersLine {
        numbers.sort_unstable_by(f64::total_cmp);
        let last = numbers.len().saturating_sub(1);
        // The nearest rank.
        let at = |share: f64| numbers.get((last as f64 * share).round() as usize).copied();
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        NumbersLine {
            windows: numbers.len() as u64,
            min: at(0.0),
            median: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            max: at(1.0),
            mean: Some(mean).filter(|mean| mean.is_finite()),
            left_out,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.history)?;
        self.table(out)?;
        let one = match &*self.settings {
            // The one that was asked for, where there is one alone.
            [_, varied] => varied,
            [configured, ..] => configured,
            [] => return Ok(()),
        };
        writeln!(out)?;
        one.fired(out)?;
        let History { unusable, never_seen, .. } = &self.history;
        write_unusable(out, unusable, never_seen)
    }
}

/// What is set otherwise, in words.
fn words(set: &BTreeMap<String, String>) -> String {
    if set.is_empty() {
        return "As configured it".to_owned();
    }
    let parts: Vec<String> = set.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    format!("With {} it", parts.join(", "))
}

impl Report {
    pub fn table(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let keys: Vec<&String> = self.settings.iter().flat_map(|line| line.set.keys()).collect();
        let mut names: Vec<&str> = Vec::new();
        for key in keys {
            if !names.contains(&&**key) {
                names.push(key);
            }
        }
        let first = if names.is_empty() { vec![""] } else { names.clone() };
        let sound = self.settings.iter().find(|line| line.refused.is_none());
        let heads: Vec<&str> = sound
            .map(|line| line.cells().iter().map(|(head, _)| *head).collect())
            .unwrap_or_default();
        let mut rows = vec![first.iter().chain(&heads).map(|head| (*head).to_owned()).collect()];
        for line in &self.settings {
            let mut row: Vec<String> = if line.set.is_empty() {
                std::iter::once("as configured".to_owned())
                    .chain(first.iter().skip(1).map(|_| String::new()))
                    .collect()
            } else {
                first.iter().map(|name| line.set.get(*name).cloned().unwrap_or_default()).collect()
            };
            row.extend(line.cells().into_iter().map(|(_, cell)| cell));
            rows.push(row);
        }
        let columns = first.len() + heads.len();
        let full = |row: &&Vec<String>| row.len() == columns;
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = rows.iter().filter(full).map(|row| row[column].chars().count());
                cells.max().unwrap_or(0)
            })
            .collect();
        for row in &rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(line, "  {cell:>width$}")?;
            }
            // A setting that cannot be has a sentence in place of numbers.
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl fmt::Display for History {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ledger = &self.ledger;
        let (Some(from), Some(to)) = (self.from, self.to) else {
            return writeln!(out, "{}: no event was applied", self.source);
        };
        writeln!(
            out,
            "{}: {} events applied of {}, {} to {} ({})",
            self.source,
            grouped(ledger.applied),
            grouped(ledger.received),
            date(from),
            date(to),
            duration((to - from).max(0))
        )?;
        let left_out = [
            ("duplicate", ledger.duplicate),
            ("late", ledger.late),
            ("rejected", ledger.rejected),
            ("gone before they were read", ledger.gap),
        ];
        let left_out = left_out.iter().filter(|(_, count)| *count > 0);
        let left_out: Vec<String> =
            left_out.map(|(what, count)| format!("{} {what}", grouped(*count))).collect();
        if !left_out.is_empty() {
            writeln!(out, "not applied: {}", left_out.join(", "))?;
        }
        if self.first.is_some_and(|first| first < from) {
            writeln!(out, "what was before only taught")?;
        }
        Ok(())
    }
}
