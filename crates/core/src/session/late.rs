//! When an event is late for its session, and why.

use jiff::Timestamp;

use super::rules::Rules;
use crate::time::EpochMs;

/// Why an event comes too late for its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// It lies at or before this time, up to which the sessions of its key have been closed
    /// (a session's last event and the gap, or the cut behind it).
    Closed(EpochMs),
    /// No open session reaches it, and one of its own would have closed at this time.
    Alone(EpochMs),
    /// Up to this time it is settled which cart of its key held what.
    Cart(EpochMs),
    /// It is not late: it was seen before.
    Repeat,
    /// Its id is older than every id that is remembered: it may be a repeat.
    Forgotten,
}

impl Late {
    /// In words, for the late list.
    pub fn reason(self) -> String {
        match self {
            Late::Closed(until) => format!("its session was closed at {}", time(until)),
            Late::Alone(at) => {
                format!("its session was closed: it would have ended at {}", time(at))
            }
            Late::Cart(until) => format!("its cart was settled up to {}", time(until)),
            Late::Repeat => "it was seen before".into(),
            Late::Forgotten => {
                "its id is older than the ids that are remembered: it may be a repeat".into()
            }
        }
    }
}

fn time(at: EpochMs) -> String {
    Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |at| at.to_string())
}

/// Whether an event of a key without open sessions is late. `floor`: up to where the key's
/// sessions have been closed.
///
/// A function of the event, its stamp and what was closed: the same for any batch and shard.
pub fn late_alone(rules: &Rules, floor: EpochMs, at: EpochMs, stamp: EpochMs) -> Option<Late> {
    if at <= floor {
        return Some(Late::Closed(floor));
    }
    let end = at + rules.gap;
    (end + rules.lateness < stamp).then_some(Late::Alone(end))
}
