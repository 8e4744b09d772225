//! What a replay found: for a terminal, and as JSON with stable keys for scripts.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::event::time_text::date;
use crate::domain::fault::FaultView;
use crate::domain::ledger::Ledger;
use crate::domain::metric::Number;
use crate::domain::metric::aggregate::Accuracy;
use crate::domain::pattern::PatternTally;
use crate::domain::time::EpochMs;
use crate::source::tally::FileReport;

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
    /// Sessions that were abandoned, and matches, that stand in the feed of alerts.
    pub occurrences: u64,
    /// Incidents of rules that began.
    pub incidents: u64,
    /// Those of them that were over again.
    pub incidents_over: u64,
    /// Totals of each metric by its name.
    pub metrics: BTreeMap<String, MetricReport>,
    /// The patterns by name: matches, and events that were late or found no room.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub patterns: BTreeMap<String, PatternTally>,
    /// Attributes of applied events that were of no use to who needs them.
    pub unusable: Vec<FaultView>,
    /// Attributes that are needed and that no event carried.
    pub never_seen: Vec<String>,
    /// Aliases that no event carried.
    pub unused_aliases: Vec<String>,
    /// From the first event to the last; null where nobody looked at the times.
    pub time: Option<TimeSpan>,
    /// Why events were rejected, the most frequent reason first; those of this run.
    pub rejected: Vec<Rejection>,
    /// Events rejected for further reasons, where there are too many to list.
    pub rejected_others: u64,
    /// The first event that came too late.
    pub first_late: Option<First>,
    /// What was found in each file.
    pub files: Vec<FileReport>,
}

/// A stretch of event time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TimeSpan {
    /// Milliseconds since the epoch.
    pub first_ms: EpochMs,
    /// The same as RFC 3339.
    pub first: String,
    /// Milliseconds since the epoch.
    pub last_ms: EpochMs,
    /// The same as RFC 3339.
    pub last: String,
}

impl TimeSpan {
    /// From the first event time to the last.
    pub fn of(first: EpochMs, last: EpochMs) -> Self {
        TimeSpan { first_ms: first, first: date(first), last_ms: last, last: date(last) }
    }
}

/// Events that were rejected for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// What was wrong with the first of them.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// Where the first stands.
    pub first: Option<First>,
    /// The first, shortened.
    pub example: String,
}

/// A line of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct First {
    /// The file's name.
    pub file: String,
    /// Number of the line, from 1.
    pub line: u64,
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
    /// Open sessions of anonymous keys that went on under a known one (`session.identify`).
    #[serde(default)]
    pub identified: u64,
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
    /// Unit of its values; absent for plain counts.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub unit: String,
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
    pub last: Option<Number>,
    /// How exact the numbers are; absent where they are exact always.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub accuracy: Option<Accuracy>,
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
        if let Some(time) = &self.time {
            let span = duration(time.last_ms - time.first_ms);
            writeln!(out, "  from {} to {} ({span})\n", time.first, time.last)?;
        }
        for file in &self.files {
            write_file(file, out)?;
        }
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
        self.write_rejected(out)?;
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
            (sessions.identified, "of an anonymous key went on under a known one"),
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
        writeln!(out, "  {} occurrences in the feed of alerts", grouped(self.occurrences))?;
        writeln!(
            out,
            "  {} incidents, {} of them are over",
            grouped(self.incidents),
            grouped(self.incidents_over)
        )?;
        self.write_patterns(out)?;
        if !self.metrics.is_empty() {
            self.write_metrics(out)?;
        }
        self.write_unusable(out)
    }

    fn write_patterns(&self, out: &mut String) -> std::fmt::Result {
        if !self.patterns.is_empty() {
            writeln!(out, "\n  {:<28} {:>14}", "pattern or join", "matches")?;
        }
        for (name, tally) in &self.patterns {
            writeln!(out, "  {name:<28} {:>14}", grouped(tally.matches))?;
            let notes = [
                (tally.left_alone, "left events found no right one"),
                (tally.right_alone, "right events found no left one"),
                (tally.late, "events came too late for it"),
                (tally.left_late, "of them left ones"),
                (tally.right_late, "of them right ones"),
                (
                    tally.left_out,
                    "events found no room (pipeline.pattern_keys_max, pattern_bytes_max)",
                ),
                (tally.settled_early, "events were looked at early (pipeline.pattern_held_max)"),
                (tally.given_up, "attempts were given up (pipeline.pattern_held_max)"),
                (tally.pairs_left_out, "pairs were not made (pairs_max)"),
            ];
            for (count, note) in notes.into_iter().filter(|(count, _)| *count > 0) {
                writeln!(out, "    {} {note}", grouped(count))?;
            }
        }
        Ok(())
    }

    /// What was lost of events that count, and names that never occurred.
    fn write_unusable(&self, out: &mut String) -> std::fmt::Result {
        write_unusable(out, &self.unusable, &self.never_seen)?;
        for alias in &self.unused_aliases {
            writeln!(out, "  no event carries {alias}, an alias (events.aliases)")?;
        }
        Ok(())
    }

    fn write_rejected(&self, out: &mut String) -> std::fmt::Result {
        if let (late, Some(first)) = (self.ledger.late, &self.first_late) {
            writeln!(out, "  {} late, the first on {}\n", grouped(late), place(first))?;
        }
        if self.ledger.rejected == 0 {
            return Ok(());
        }
        writeln!(out, "  rejected, because")?;
        for rejection in &self.rejected {
            let first = rejection.first.as_ref().map(place).unwrap_or_default();
            writeln!(out, "  {:>12}  {}", grouped(rejection.count), rejection.reason)?;
            writeln!(out, "                first {first}: {}", rejection.example)?;
        }
        if self.rejected_others > 0 {
            writeln!(out, "  {:>12}  of further reasons", grouped(self.rejected_others))?;
        }
        let listed: u64 = self.rejected.iter().map(|rejection| rejection.count).sum();
        let rest = self.ledger.rejected.saturating_sub(listed + self.rejected_others);
        if rest > 0 {
            writeln!(out, "  {:>12}  in an earlier run on this data folder", grouped(rest))?;
        }
        writeln!(out)
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
            let last = metric.last.as_ref();
            for value in [metric.max, metric.sum, last.and_then(Number::scalar)] {
                write!(out, " {:>14}", value.map_or("-".into(), number))?;
            }
            if !metric.unit.is_empty() {
                write!(out, "  {}", metric.unit)?;
            }
            for (name, total) in &metric.totals {
                match (name.as_str(), total.as_i64()) {
                    ("max_end", Some(at)) => write!(out, "  max at {}", date(at))?,
                    _ => write!(out, "  {name} {total}")?,
                }
            }
            writeln!(out)?;
            if let Some(last) = last.filter(|last| last.scalar().is_none()) {
                writeln!(out, "  {:<28} {}", "", list(last))?;
            }
        }
        for (name, metric) in &self.metrics {
            if let Some(accuracy) = metric.accuracy {
                writeln!(out, "  {name}: {accuracy}")?;
            }
        }
        Ok(())
    }
}

/// A ranked list, or the counts of a histogram, in a line.
fn list(number: &Number) -> String {
    let parts: Vec<String> = match number {
        Number::Scalar(_) => Vec::new(),
        Number::Ranked(ranking) => {
            let one = |(value, count, error): &(String, u64, u64)| match error {
                0 => format!("{value} {}", grouped(*count)),
                error => format!("{value} {} ± {}", grouped(*count), grouped(*error)),
            };
            ranking.top.iter().map(one).collect()
        }
        Number::Histogram(counts) => counts.iter().map(|count| grouped(*count)).collect(),
    };
    parts.join(", ")
}

/// What was found in one file: every line and every row by what it was.
fn write_file(file: &FileReport, out: &mut String) -> std::fmt::Result {
    let packing = file.packing.map(|packing| format!(", {packing}")).unwrap_or_default();
    writeln!(out, "  {}: {}, {}{packing}", file.name, file.format, file.encoding)?;
    let parts = |parts: &[(u64, &str)]| {
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<_> =
            parts.map(|(count, what)| format!("{} {what}", grouped(*count))).collect();
        if parts.is_empty() { "none".to_owned() } else { parts.join(" + ") }
    };
    let lines = parts(&[
        (file.row_lines, "with rows"),
        (file.continued, "that go on with one or hold brackets only"),
        (file.header, "of header"),
        (file.comment, "of comment"),
        (file.blank, "blank"),
    ]);
    writeln!(out, "    {} lines = {lines}", grouped(file.lines))?;
    let rows = parts(&[
        (file.mapped, "read as events"),
        (file.filtered, "left out by the map"),
        (file.rejected, "rejected"),
    ]);
    writeln!(out, "    {} rows = {rows}", grouped(file.rows))?;
    if !file.balances() {
        writeln!(out, "    THESE COUNTS DO NOT BALANCE")?;
    }
    if let Some(wrong) = &file.wrong_bytes {
        writeln!(
            out,
            "    {} rows have bytes that are wrong in {}, which became U+FFFD (first on line {}); \
             another --encoding may be right",
            grouped(wrong.count),
            file.encoding,
            wrong.first_line
        )?;
    }
    for cell in &file.cells {
        writeln!(
            out,
            "    {}: {} cells left out: {} (first on line {}: {:?})",
            cell.attribute,
            grouped(cell.count),
            cell.reason,
            cell.first_line,
            cell.example
        )?;
    }
    for column in &file.never_seen {
        let near = column.near.as_ref().map(|near| format!("; did you mean {near:?}?"));
        let near = near.unwrap_or_default();
        writeln!(out, "    column {:?} never held anything{near}", column.column)?;
    }
    for notice in &file.notices {
        writeln!(out, "    {notice}")?;
    }
    writeln!(out)
}

fn place(first: &First) -> String {
    format!("{} line {}", first.file, first.line)
}

/// A span in its two greatest units.
pub(crate) fn duration(ms: i64) -> String {
    const UNITS: [(i64, &str); 5] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms")];
    let Some(at) = UNITS.iter().position(|(unit, _)| ms >= *unit) else {
        return "0 s".to_owned();
    };
    let (unit, name) = UNITS[at];
    let mut text = format!("{} {name}", ms / unit);
    if let Some((next, name)) = UNITS.get(at + 1)
        && ms % unit / next > 0
    {
        text.push_str(&format!(" {} {name}", ms % unit / next));
    }
    text
}

/// Most memory this process held so far, in MiB, where the system tells (Linux).
pub fn rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1_024.0)
}

/// 1234567 as `1 234 567`.
pub(crate) fn grouped(count: u64) -> String {
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
pub(crate) fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Attributes that were of no use, and those that no event carried; nothing where there are none.
pub fn write_unusable(
    out: &mut impl std::fmt::Write,
    unusable: &[FaultView],
    never_seen: &[String],
) -> std::fmt::Result {
    if !unusable.is_empty() {
        writeln!(out, "\n  unusable attributes")?;
    }
    for view in unusable {
        let of = match view.of {
            0 => String::new(),
            of => format!(" of {}", grouped(of)),
        };
        let (attribute, key) = (&view.attribute, &view.key);
        writeln!(out, "  {attribute} ({key}): {}{of} {}", grouped(view.count), view.words)?;
    }
    for name in never_seen {
        writeln!(out, "  no event carries {name}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::metric::Aggregate;

    fn report() -> Report {
        let windowed = MetricReport {
            unit: String::new(),
            windows: Some(3),
            max: Some(7.5),
            sum: Some(12.0),
            last: Some(0.25.into()),
            accuracy: None,
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
                identified: 0,
                split: 2,
                displaced: 0,
                sha256: Some("cd".into()),
            },
            elapsed_s: 2.5,
            events_per_s: 493_826.8,
            rss_mb: 81.2,
            occurrences: 5,
            incidents: 3,
            incidents_over: 1,
            metrics: BTreeMap::from([("order_value".into(), windowed), ("errors".into(), plain)]),
            unusable: vec![FaultView {
                key: "metric.order_value.field".into(),
                attribute: "amount".into(),
                reason: "text",
                words: "text that is not a number",
                count: 1_200,
                of: 40_000,
            }],
            never_seen: vec!["region (session.segment)".into()],
            unused_aliases: vec!["cost".into()],
            ..Report::default()
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
                "elapsed_s",
                "events_per_s",
                "files",
                "first_late",
                "incidents",
                "incidents_over",
                "ledger",
                "metrics",
                "never_seen",
                "occurrences",
                "rejected",
                "rejected_others",
                "rss_mb",
                "sessions",
                "time",
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
                "identified",
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
            "amount (metric.order_value.field): 1 200 of 40 000 text that is not a number",
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
    fn people_read_dates_units_and_what_was_refused() {
        let mut report = report();
        report.ledger = Ledger { received: 12, applied: 9, rejected: 3, ..Ledger::default() };
        report.time = Some(TimeSpan::of(1_672_531_200_000, 1_672_617_660_000));
        report.files = vec![FileReport {
            name: "shop.csv".into(),
            format: "csv".into(),
            encoding: "utf-8".into(),
            packing: Some("gzip"),
            lines: 13,
            header: 1,
            row_lines: 12,
            rows: 12,
            mapped: 9,
            rejected: 3,
            events: 9,
            ..FileReport::default()
        }];
        report.rejected = vec![Rejection {
            reason: "ts: nothing in the row to make it of".into(),
            count: 2,
            first: Some(First { file: "shop.csv".into(), line: 4 }),
            example: ",x".into(),
        }];
        let metric = report.metrics.get_mut("order_value").unwrap();
        metric.unit = "EUR".into();
        metric.totals.insert("max_end".into(), 1_672_531_260_000i64.into());
        let text = report.text();
        for part in [
            "from 2023-01-01T00:00:00Z to 2023-01-02T00:01:00Z (1 d)",
            "shop.csv: csv, utf-8, gzip",
            "13 lines = 12 with rows + 1 of header",
            "12 rows = 9 read as events + 3 rejected",
            "2  ts: nothing in the row to make it of",
            "first shop.csv line 4: ,x",
            "1  in an earlier run",
            "EUR  max at 2023-01-01T00:01:00Z",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        report.files[0].blank = 1;
        assert!(report.text().contains("DO NOT BALANCE"));
        let spans = [(0, "0 s"), (61_000, "1 min 1 s"), (90_000_000, "1 d 1 h"), (5, "5 ms")];
        for (ms, text) in spans {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn a_distinct_count_says_how_exact_it_is() {
        let mut report = report();
        let metric = report.metrics.get_mut("order_value").unwrap();
        metric.accuracy = Aggregate::named("distinct").unwrap().accuracy();
        let words = "order_value: exact up to 10000 in a pane, then a standard error of 0.8 % \
                     (95 % within ± 1.6 %)";
        assert!(report.text().contains(words), "{}", report.text());
        let json: Value = serde_json::from_str(&report.json()).unwrap();
        let expected = serde_json::json!({
            "exact_up_to": 10_000, "standard_error_percent": 0.8, "bound_95_percent": 1.6,
        });
        assert_eq!(json["metrics"]["order_value"]["accuracy"], expected);
        assert!(json["metrics"]["errors"].get("accuracy").is_none());
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
