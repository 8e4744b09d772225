//! What will become of an event, for whoever publishes it: told before it is read from the
//! log, by the same decoder, conditions and rules that will decide.
//!
//! A verdict about time is as good as what is known of it: the watermark of the last board,
//! moved on by the events of the same body. It only grows, so an event that is late by it
//! stays late, unless a session of its key is open and takes it in.

use std::sync::Arc;

use super::arrival::timed;
use super::event::decode::{Decoder, Parsed};
use super::event::{Schema, Value};
use super::fault::{Fault, Use, uses};
use super::metric::watch::{Watch, all_uses};
use super::metric::{Attr, Fact, Facts, Metric, MetricSpec, Order};
use super::pattern::{PatternSpec, Patterns};
use super::session::{Rules, SessionPolicy};
use super::time::{EpochMs, TimePolicy};

/// Most warnings of one event; the last says how many more there are.
const WARNINGS_MAX: usize = 8;

/// What a configuration makes of events. Shared by all who judge.
#[derive(Debug)]
pub struct Meaning {
    schema: Arc<Schema>,
    metrics: Vec<Metric>,
    patterns: Patterns,
    rules: Rules,
    watch: Watch,
    uses: Vec<Use>,
    time: TimePolicy,
}

/// What will become of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Good,
    /// It counts, but not all of it, or perhaps not where it was to.
    Doubtful(Vec<String>),
    /// It ends in the dead letters, for this reason.
    Bad(String),
}

/// What is known of time when a body is judged.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// When it arrives.
    pub arrived: EpochMs,
    /// The watermark, as far as it is known.
    pub watermark: EpochMs,
}

impl Meaning {
    /// What these settings make of events.
    pub fn new(
        schema: Arc<Schema>,
        metrics: &[MetricSpec],
        patterns: &[PatternSpec],
        policy: &SessionPolicy,
        time: TimePolicy,
    ) -> Self {
        let metrics: Vec<Metric> = Metric::compile_all(metrics, &schema);
        // No key holds anything here.
        let patterns = Patterns::compile(patterns, &time, 0, &schema);
        let named = |name: &Option<String>| name.clone().unwrap_or_default();
        let (value, segment) = (named(&policy.value), named(&policy.segment));
        Meaning {
            rules: Rules::compile(policy, &time, &schema),
            watch: Watch::new(&metrics),
            uses: all_uses(&schema.keys, &value, &segment, &metrics, patterns.uses()),
            metrics,
            patterns,
            schema,
            time,
        }
    }

    /// Someone who judges the events of one body, in their order.
    pub fn judge(&self, now: Now) -> Judge<'_> {
        let mut decoder = Decoder::new(Arc::clone(&self.schema));
        decoder.arrive(now.arrived);
        Judge { meaning: self, decoder, now }
    }
}

/// Judges the events of one body.
#[derive(Debug)]
pub struct Judge<'m> {
    meaning: &'m Meaning,
    decoder: Decoder,
    now: Now,
}

impl Judge<'_> {
    /// What will become of the next item. `is_open`: whether a key has an open session.
    /// An item of several events is as bad as its worst.
    pub fn verdict(&mut self, item: &[u8], is_open: impl Fn(&str) -> bool) -> Verdict {
        let Judge { meaning, decoder, now } = self;
        let mut found = None;
        decoder.decode(item, |event| {
            let verdict = match event {
                Err(rejected) => Verdict::Bad(rejected.reason),
                Ok(event) => meaning.look_at(&event, now, &is_open),
            };
            let before = found.take();
            found = Some(match (before, verdict) {
                (Some(bad @ Verdict::Bad(_)), _) | (_, bad @ Verdict::Bad(_)) => bad,
                (Some(doubt @ Verdict::Doubtful(_)), _) => doubt,
                (_, verdict) => verdict,
            });
        });
        found.unwrap_or_else(|| Verdict::Bad("empty: an event must be a JSON object".into()))
    }
}

impl Meaning {
    fn look_at(
        &self,
        event: &Parsed<'_>,
        now: &mut Now,
        is_open: &impl Fn(&str) -> bool,
    ) -> Verdict {
        let timed = match timed(event.at, event.guess, now.arrived, &self.time) {
            Ok(timed) => timed,
            Err(reason) => return Verdict::Bad(reason),
        };
        let stamp = now.watermark;
        now.watermark = stamp.max(timed.seen);
        let mut warnings = Vec::new();
        let closes = event.at.saturating_add(self.rules.gap).saturating_add(self.rules.lateness);
        if closes < stamp && !(event.key.is_empty() || is_open(event.key)) {
            let behind = stamp - event.at;
            warnings.push(format!(
                "late: {behind} ms behind the watermark, its session would have been closed by \
                 now (session.gap and time.allowed_lateness); it ends in the late list"
            ));
        }
        let mut faults = Vec::new();
        faults.extend(timed.fault.map(|fault| (uses::TS, fault)));
        let fact = Posted(event);
        if !event.key.is_empty() {
            self.rules.needs(&fact).each(|number, fault| {
                faults.extend(fault.map(|fault| (number, fault)));
            });
        }
        for (index, metric) in self.metrics.iter().enumerate() {
            if metric.spec.of == Facts::Events {
                self.watch.passes(index, metric, &fact, &mut faults);
            }
        }
        let mut of_patterns = Vec::new();
        self.patterns.concerns(&fact, &mut of_patterns);
        let before = self.watch.num_uses();
        faults.extend(of_patterns.into_iter().map(|(number, fault)| (before + number, fault)));
        faults.retain(|(number, fault)| self.is_worth_telling(*number, *fault));
        self.tell(&faults, &mut warnings);
        if warnings.is_empty() { Verdict::Good } else { Verdict::Doubtful(warnings) }
    }

    /// That an event concerns nobody, or leaves its segment open, is nobody's mistake.
    fn is_worth_telling(&self, number: usize, fault: Fault) -> bool {
        let may_be_absent = [uses::KEY, uses::SEGMENT].contains(&number)
            || self.uses.get(number).is_some_and(|it| self.schema.keys.contains(&it.attribute));
        fault != Fault::Absent || !may_be_absent
    }

    /// One warning for each attribute and fault, naming who needs it.
    fn tell(&self, faults: &[(usize, Fault)], warnings: &mut Vec<String>) {
        let mut told: Vec<(&str, Fault, Vec<&str>)> = Vec::new();
        for (number, fault) in faults {
            let Some(it) = self.uses.get(*number) else { continue };
            let same = |(attribute, other, _): &&mut (&str, Fault, Vec<&str>)| {
                *attribute == it.attribute && other == fault
            };
            match told.iter_mut().find(same) {
                Some((.., keys)) if keys.contains(&it.key.as_str()) => {}
                Some((.., keys)) => keys.push(&it.key),
                None => told.push((&it.attribute, *fault, vec![&it.key])),
            }
        }
        let more = (told.len() + warnings.len()).saturating_sub(WARNINGS_MAX);
        for (attribute, fault, keys) in told.into_iter().take(WARNINGS_MAX - warnings.len()) {
            let fault = fault.sentence();
            warnings.push(format!("{attribute}: {fault} (needed by {})", keys.join(", ")));
        }
        if more > 0 {
            warnings.push(format!("and {more} more"));
        }
    }
}

/// A decoded event as metrics see it.
struct Posted<'a>(&'a Parsed<'a>);

impl Fact for Posted<'_> {
    fn at(&self) -> EpochMs {
        self.0.at
    }

    fn event_type(&self) -> u16 {
        self.0.event_type
    }

    fn key(&self) -> &[u8] {
        self.0.key.as_bytes()
    }

    /// Nothing is counted here, so nothing has an order.
    fn order(&self) -> Order {
        Order::Event { batch: 0, position: 0, part: 0 }
    }

    fn in_order(&self) -> bool {
        true
    }

    fn attr(&self, slot: usize) -> Attr<'_> {
        match self.0.values.get(slot) {
            None | Some(Value::Missing) => Attr::Missing,
            Some(Value::Number(number)) => Attr::Number(*number),
            Some(Value::Text(text)) => Attr::Text(self.0.text(*text)),
            Some(Value::Bool(value)) => Attr::Bool(*value),
            Some(Value::Unusable(why)) => Attr::Unusable(*why),
        }
    }
}

impl Default for Meaning {
    /// Of the default schema, without metrics.
    fn default() -> Self {
        let (policy, time) = (SessionPolicy::default(), TimePolicy::default());
        Meaning::new(Arc::default(), &[], &[], &policy, time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::WindowSpec;
    use crate::metric::aggregate::Sum;

    fn meaning() -> Meaning {
        let revenue = MetricSpec {
            group_by: vec!["region".into()],
            field: Some("amount".into()),
            ..MetricSpec::new("revenue", Sum, WindowSpec::Tumbling { size: 1_000 })
        };
        let schema = Schema {
            slots: vec!["amount".into(), "region".into()],
            event_types: vec!["cart_add".into()],
            ..Schema::default()
        };
        let policy = SessionPolicy::default();
        Meaning::new(Arc::new(schema), &[revenue], &[], &policy, TimePolicy::default())
    }

    const NOW: EpochMs = 1_700_000_000_000;

    fn verdict(item: &str, is_open: bool) -> String {
        let meaning = meaning();
        let mut judge = meaning.judge(Now { arrived: NOW, watermark: NOW });
        match judge.verdict(item.as_bytes(), |_| is_open) {
            Verdict::Good => "good".into(),
            Verdict::Doubtful(warnings) => warnings.join("; "),
            Verdict::Bad(reason) => format!("bad: {reason}"),
        }
    }

    #[test]
    fn a_verdict_says_what_will_be_lost_of_an_event_and_who_needs_it() {
        let item = |rest: &str| format!(r#"{{"ts":{NOW},"type":"cart_add","user":"u"{rest}}}"#);
        for (rest, want) in [
            (r#","amount":"2.5","region":"eu""#, "good"),
            (
                r#","amount":"free","region":"eu""#,
                "amount: text that is not a number (needed by session.value, metric.revenue.field)",
            ),
            (r#","amount":1"#, "region: absent (needed by metric.revenue.group_by)"),
            (r#","amount":1e"#, "bad: not JSON in attribute \"amount\""),
        ] {
            let found = verdict(&item(rest), false);
            assert!(found.starts_with(want), "{found}");
        }
    }

    #[test]
    fn a_verdict_says_what_becomes_of_the_time() {
        let item =
            |ts: &str| format!(r#"{{"ts":{ts},"type":"x","user":"u","amount":1,"region":"eu"}}"#);
        let old = (NOW - 7_200_000).to_string();
        for (ts, is_open, want) in [
            ("1700000000000".into(), false, "good"),
            ("1700000300001".into(), false, "bad: ts: 300001 ms in the future"),
            (old.clone(), false, "late: 7200000 ms behind"),
            (old, true, "good"),
            ("1700000000.5".into(), false, "ts: taken as seconds"),
            ("1700000000".to_owned(), true, "ts: in the seventies: looks like seconds"),
        ] {
            let found = verdict(&item(&ts), is_open);
            assert!(found.starts_with(want), "{ts}: {found}");
        }
    }

    #[test]
    fn events_of_one_body_move_the_watermark_for_those_behind_them() {
        let meaning = meaning();
        let mut judge = meaning.judge(Now { arrived: NOW, watermark: 0 });
        let item =
            |ts: i64| format!(r#"{{"ts":{ts},"type":"x","user":"u","amount":1,"region":"eu"}}"#);
        let mut late =
            |ts| matches!(judge.verdict(item(ts).as_bytes(), |_| false), Verdict::Doubtful(_));
        assert!(!late(NOW - 7_200_000));
        assert!(!late(NOW));
        assert!(late(NOW - 7_200_000));
    }

    #[test]
    fn the_warnings_of_one_event_are_bounded() {
        let mut warnings = Vec::new();
        let faults: Vec<(usize, Fault)> =
            Fault::ALL.into_iter().map(|fault| (uses::VALUE, fault)).collect();
        meaning().tell(&faults, &mut warnings);
        assert_eq!(warnings.len(), WARNINGS_MAX + 1);
        assert_eq!(warnings[WARNINGS_MAX], format!("and {} more", faults.len() - WARNINGS_MAX));
    }
}
