//! What a replay found: for a terminal, and as JSON with stable keys for scripts.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::fault::FaultView;
use crate::domain::ledger::Ledger;

/// The report of one replay.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// What became of every event.
    pub ledger: Ledger,
    /// What became of the sessions.
    pub sessions: SessionsReport,
    /// How long it took, in seconds.
    pub elapsed_s: f64,
    /// Events received, a second.
    pub events_per_s: f64,
    /// Most memory the process held, in MiB; 0 where the system does not tell.
    pub rss_mb: f64,
    /// Alerts raised.
    pub alerts: u64,
    /// Alerts of rules that were over again.
    pub alerts_over: u64,
    /// Totals of each metric by its name.
    pub metrics: BTreeMap<String, MetricReport>,
    /// Attributes of applied events that were of no use to who needs them.
    pub unusable: Vec<FaultView>,
    /// Attributes that are needed and that no event carried.
    pub never_seen: Vec<String>,
    /// Aliases that no event carried.
    pub unused_aliases: Vec<String>,
}

/// What became of the sessions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionsReport {
    /// Sessions closed, at the end of the replay included.
    pub closed: u64,
    /// Closed sessions with an entry event.
    pub with_entry: u64,
    /// Closed sessions with an entry and no goal.
    pub abandoned: u64,
    /// Closed sessions with an entry and a goal.
    pub converted: u64,
    /// abandoned / (abandoned + converted); null without any.
    pub rate: Option<f64>,
    /// Sessions still open when the events ended.
    pub open_at_end: u64,
    /// Of those, the ones with an entry and no goal.
    pub abandoned_open_at_end: u64,
    /// Goals that met no open cart; only with `deadline = "since_entry"`.
    pub stray_goals: u64,
    /// Sessions (with `since_entry`: carts) from which everything was taken back.
    pub emptied: u64,
    /// Sessions cut at `session.max_length`.
    pub split: u64,
    /// Sessions that ended early to make room for others.
    pub displaced: u64,
    /// SHA-256 of the lines `user,start,last,events`, sorted by start and user; null unless
    /// `--sessions-out` asked for the list.
    pub sha256: Option<String>,
}

/// Totals of one metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricReport {
    /// Final windows with a value; null for a metric without windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<u64>,
    /// Greatest value of a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Sum over the windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sum: Option<f64>,
    /// Value of the last window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<f64>,
    /// SHA-256 of the lines `window_end_ms,group,value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Totals that only this metric has.
    #[serde(flatten)]
    pub totals: BTreeMap<String, Value>,
}

impl Report {
    /// One JSON object.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain structs with text keys")
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("writing to a text cannot fail");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let ledger = &self.ledger;
        writeln!(
            out,
            "{} events in {} s ({} events/s, {:.0} MiB)\n",
            grouped(ledger.received),
            number(self.elapsed_s),
            grouped(self.events_per_s as u64),
            self.rss_mb
        )?;
        let counts = [
            ("applied", ledger.applied),
            ("duplicate", ledger.duplicate),
            ("late", ledger.late),
            ("rejected", ledger.rejected),
            ("in flight", ledger.in_flight),
        ];
        for (name, count) in counts {
            writeln!(out, "  {name:<12} {:>14}", grouped(count))?;
        }
        let verdict = if ledger.balances() { "balances" } else { "DOES NOT BALANCE" };
        writeln!(out, "  the ledger {verdict}\n")?;
        let sessions = &self.sessions;
        let counts = [
            ("sessions", sessions.closed),
            ("with entry", sessions.with_entry),
            ("converted", sessions.converted),
            ("abandoned", sessions.abandoned),
        ];
        for (name, count) in counts {
            writeln!(out, "  {name:<12} {:>14}", grouped(count))?;
        }
        if let Some(rate) = sessions.rate {
            writeln!(out, "  abandonment  {:>13.2}%", rate * 100.0)?;
        }
        let notes = [
            (sessions.emptied, "emptied again: everything was taken back"),
            (sessions.split, "cut at session.max_length; what came next is a session of its own"),
            (sessions.displaced, "ended early to make room for others (pipeline.sessions_full)"),
            (sessions.stray_goals, "goals met no open cart"),
        ];
        for (count, note) in notes.into_iter().filter(|(count, _)| *count > 0) {
            writeln!(out, "  {} {note}", grouped(count))?;
        }
        let (open, at_risk) = (sessions.open_at_end, sessions.abandoned_open_at_end);
        writeln!(
            out,
            "  {} were open at the end, {} of them at risk",
            grouped(open),
            grouped(at_risk)
        )?;
        writeln!(out, "  {} alerts", grouped(self.alerts))?;
        if self.alerts_over > 0 {
            writeln!(out, "  {} of them are over", grouped(self.alerts_over))?;
        }
        if !self.metrics.is_empty() {
            self.write_metrics(out)?;
        }
        self.write_unusable(out)
    }

    /// What was lost of events that count, and names that never occurred.
    fn write_unusable(&self, out: &mut String) -> std::fmt::Result {
        if !self.unusable.is_empty() {
            writeln!(out, "\n  attributes of no use")?;
        }
        for view in &self.unusable {
            let of = match view.of {
                0 => String::new(),
                of => format!(" of {}", grouped(of)),
            };
            let (attribute, key) = (&view.attribute, &view.key);
            writeln!(out, "  {attribute} ({key}): {}{of} {}", grouped(view.count), view.words)?;
        }
        for name in &self.never_seen {
            writeln!(out, "  no event carries {name}")?;
        }
        for alias in &self.unused_aliases {
            writeln!(out, "  no event carries {alias}, an alias (events.aliases)")?;
        }
        Ok(())
    }

    fn write_metrics(&self, out: &mut String) -> std::fmt::Result {
        let columns = ["windows", "max", "sum", "last"];
        write!(out, "\n  {:<28}", "metric")?;
        for column in columns {
            write!(out, " {column:>14}")?;
        }
        writeln!(out)?;
        for (name, metric) in &self.metrics {
            let windows = metric.windows.map_or("-".into(), grouped);
            write!(out, "  {name:<28} {windows:>14}")?;
            for value in [metric.max, metric.sum, metric.last] {
                write!(out, " {:>14}", value.map_or("-".into(), number))?;
            }
            for (name, total) in &metric.totals {
                write!(out, "  {name} {total}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// Most memory this process held so far, in MiB, where the system tells (Linux).
pub fn rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1_024.0)
}

/// 1234567 as `1 234 567`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A number with at most three decimals.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let windowed = MetricReport {
            windows: Some(3),
            max: Some(7.5),
            sum: Some(12.0),
            last: Some(0.25),
            sha256: Some("ab".into()),
            totals: BTreeMap::new(),
        };
        let totals = BTreeMap::from([("errors".to_string(), Value::from(4))]);
        let plain = MetricReport { totals, ..MetricReport::default() };
        Report {
            ledger: Ledger {
                received: 1_234_567,
                applied: 1_234_560,
                late: 7,
                ..Ledger::default()
            },
            sessions: SessionsReport {
                closed: 10,
                with_entry: 4,
                abandoned: 1,
                converted: 3,
                rate: Some(0.25),
                open_at_end: 2,
                abandoned_open_at_end: 1,
                stray_goals: 0,
                emptied: 0,
                split: 2,
                displaced: 0,
                sha256: Some("cd".into()),
            },
            elapsed_s: 2.5,
            events_per_s: 493_826.8,
            rss_mb: 81.2,
            alerts: 3,
            alerts_over: 1,
            metrics: BTreeMap::from([("order_value".into(), windowed), ("errors".into(), plain)]),
            unusable: vec![FaultView {
                key: "metric.order_value.field".into(),
                attribute: "amount".into(),
                reason: "text",
                words: "text that is no number",
                count: 1_200,
                of: 40_000,
            }],
            never_seen: vec!["region (session.segment)".into()],
            unused_aliases: vec!["cost".into()],
        }
    }

    #[test]
    fn the_keys_of_the_json_are_stable() {
        let json: Value = serde_json::from_str(&report().json()).unwrap();
        let keys =
            |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
        assert_eq!(
            keys(&json),
            [
                "alerts",
                "alerts_over",
                "elapsed_s",
                "events_per_s",
                "ledger",
                "metrics",
                "never_seen",
                "rss_mb",
                "sessions",
                "unusable",
                "unused_aliases"
            ]
        );
        for key in ["received", "applied", "duplicate", "late", "rejected", "in_flight"] {
            assert!(json["ledger"][key].is_u64(), "{key}");
        }
        assert_eq!(
            keys(&json["sessions"]),
            [
                "abandoned",
                "abandoned_open_at_end",
                "closed",
                "converted",
                "displaced",
                "emptied",
                "open_at_end",
                "rate",
                "sha256",
                "split",
                "stray_goals",
                "with_entry"
            ]
        );
        assert_eq!(
            keys(&json["metrics"]["order_value"]),
            ["last", "max", "sha256", "sum", "windows"]
        );
        assert_eq!(json["metrics"]["errors"], serde_json::json!({ "errors": 4 }));
    }

    #[test]
    fn people_read_grouped_numbers_and_the_verdict() {
        let text = report().text();
        for part in [
            "1 234 567 events in 2.5 s (493 826 events/s, 81 MiB)",
            "the ledger balances",
            "25.00%",
            "2 were open at the end, 1 of them at risk",
            "2 cut at session.max_length",
            "errors 4",
            "amount (metric.order_value.field): 1 200 of 40 000 text that is no number",
            "no event carries region (session.segment)",
            "no event carries cost, an alias",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        let mut unbalanced = report();
        unbalanced.ledger.applied = 0;
        assert!(unbalanced.text().contains("DOES NOT BALANCE"));
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [(0.0, "0"), (2.5, "2.5"), (1.23456, "1.235"), (100.0, "100")] {
            assert_eq!(number(value), text);
        }
        for (count, text) in [(0, "0"), (999, "999"), (1_000, "1 000"), (12_345_678, "12 345 678")]
        {
            assert_eq!(grouped(count), text);
        }
    }
}
