//! A session that ended, as its shard hands it over.

use serde::Serialize;
use smol_str::SmolStr;

use crate::alert::{Alert, Detail, alert_id};
use crate::session::{Ending, Outcome, Rules};
use crate::time::EpochMs;

/// A session that ended, with what its shard alone knows.
#[derive(Clone, Debug, PartialEq)]
pub struct EndedSession {
    /// The session key.
    pub key: SmolStr,
    /// Latest segment.
    pub segment: SmolStr,
    /// How and when.
    pub ending: Ending,
    /// The alert of an abandoned one, without its place in the feed. It is made by the shard: at the end
    /// of a replay all sessions end at once, and the keeper is one.
    pub alert: Option<Box<Alert>>,
}

impl EndedSession {
    /// A session of a key that ended.
    pub fn of(key: SmolStr, segment: SmolStr, ending: Ending, rules: &Rules) -> Self {
        let abandoned = ending.outcome == Outcome::Abandoned;
        let alert = abandoned.then(|| Box::new(abandonment(&key, &segment, &ending, rules)));
        EndedSession { key, segment, ending, alert }
    }
}

fn abandonment(key: &str, segment: &str, ending: &Ending, rules: &Rules) -> Alert {
    let value = ending.value.to_f64();
    Alert {
        n: 0,
        // By the first event and the deadline: final, and different for each session.
        id: alert_id("abandoned", &format!("{key}\u{0}{}", ending.first), ending.at),
        kind: "abandoned".into(),
        severity: "info".into(),
        at: ending.at,
        subject: key.to_owned(),
        title: if ending.value.is_zero() {
            "Abandoned".to_owned()
        } else {
            format!("Abandoned with {value:.2} {} at stake", rules.currency)
        },
        detail: Detail::of(&Abandoned {
            currency: &rules.currency,
            cut: ending.cut.name(),
            entries: ending.entries,
            events: ending.events,
            first: ending.first,
            last: ending.last,
            segment,
            step: rules.step_name(ending.step),
            value,
        }),
    }
}

/// The facts of an abandoned session.
#[derive(Serialize)]
struct Abandoned<'a> {
    currency: &'a str,
    cut: &'a str,
    entries: u32,
    events: u32,
    first: EpochMs,
    last: EpochMs,
    segment: &'a str,
    step: &'a str,
    value: f64,
}
