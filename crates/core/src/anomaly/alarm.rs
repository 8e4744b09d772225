//! When what stands out is an alert, and when that is over: the part that detectors have in
//! common.
//!
//! An alert goes up when windows stand out for as long as the rule says, and is over when none has
//! stood out for `cooldown`, or when it has become usual, for detectors that learn. What comes again
//! and again may be no alert at all.

use serde::{Deserialize, Serialize};

use super::{Change, Past, Peak, Sample, Side, Stands};
use crate::time::{EpochMs, SpanMs};

/// How long is long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Windows must stand out for so long, one after the other, before there is an alert.
    pub hold: SpanMs,
    /// An alert is over when no window has stood out for so long.
    pub cooldown: SpanMs,
    /// Which side stands out.
    pub side: Side,
}

/// What is going on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Alarm {
    /// Nothing.
    #[default]
    Quiet,
    /// Windows stand out, not long enough yet.
    Pending {
        /// When the first of them began.
        since: EpochMs,
        /// The one that stood out most.
        peak: Peak,
    },
    /// Windows stand out, no further than often before: that is no alert.
    Recurs {
        /// When the first of them began.
        since: EpochMs,
        /// End of the last one.
        last: EpochMs,
        /// The one that stood out most.
        peak: Peak,
    },
    /// An alert is up.
    Up {
        /// When the first window that stood out began.
        since: EpochMs,
        /// End of the window that raised it.
        raised: EpochMs,
        /// End of the last window that stood out.
        last: EpochMs,
        /// The one that stood out most.
        peak: Peak,
    },
}

impl Alarm {
    /// True while nothing stands out.
    pub fn is_quiet(&self) -> bool {
        *self == Alarm::Quiet
    }

    /// True while an alert is up, or would be if this were not usual.
    pub fn is_up(&self) -> bool {
        matches!(self, Alarm::Up { .. } | Alarm::Recurs { .. })
    }

    /// When the first window that stands out began; `None` while nothing does.
    pub fn since(&self) -> Option<EpochMs> {
        match self {
            Alarm::Quiet => None,
            Alarm::Pending { since, .. }
            | Alarm::Recurs { since, .. }
            | Alarm::Up { since, .. } => Some(*since),
        }
    }

    /// How far the window lay that stood out most; `None` while nothing does.
    pub fn far(&self) -> Option<f64> {
        match self {
            Alarm::Quiet => None,
            Alarm::Pending { peak, .. } | Alarm::Recurs { peak, .. } | Alarm::Up { peak, .. } => {
                Some(peak.far)
            }
        }
    }

    /// Takes the next window. What stays for as long as `usual` is usual; without it nothing is.
    pub fn step(
        &mut self,
        patience: Patience,
        usual: Option<SpanMs>,
        sample: Sample,
        stands: Stands,
    ) -> Option<Change> {
        let Sample { start, end, value } = sample;
        let Stands { out, stays, far, often } = stands;
        let this = Peak { value, far };
        let further = |peak: Peak| if far > peak.far { this } else { peak };
        let is_often = |peak: Peak| often.is_some_and(|often| peak.far <= often);
        let goes_on = |since: EpochMs, last: EpochMs| {
            let usual = stays && usual.is_some_and(|usual| end - since >= usual);
            (!usual && (stays || end - last < patience.cooldown), usual)
        };
        match *self {
            Alarm::Quiet | Alarm::Pending { .. } if out => {
                let (since, peak) = match *self {
                    Alarm::Pending { since, peak } => (since, further(peak)),
                    _ => (start, this),
                };
                if end - since < patience.hold {
                    *self = Alarm::Pending { since, peak };
                    return None;
                }
                if is_often(peak) {
                    *self = Alarm::Recurs { since, last: end, peak };
                    return None;
                }
                *self = Alarm::Up { since, raised: end, last: end, peak };
                Some(Change::Rises)
            }
            Alarm::Quiet | Alarm::Pending { .. } => {
                *self = Alarm::Quiet;
                None
            }
            Alarm::Recurs { since, peak, .. } if out && !is_often(further(peak)) => {
                *self = Alarm::Up { since, raised: end, last: end, peak: further(peak) };
                Some(Change::Rises)
            }
            Alarm::Recurs { since, last, peak } => {
                let (last, peak) = if stays { (end, further(peak)) } else { (last, peak) };
                let (goes_on, usual) = goes_on(since, last);
                if goes_on {
                    *self = Alarm::Recurs { since, last, peak };
                    return None;
                }
                *self = Alarm::Quiet;
                Some(Change::Recurred(Past { raised: since, since, last, peak, usual }))
            }
            Alarm::Up { since, raised, last, peak } => {
                let (last, peak) = if stays { (end, further(peak)) } else { (last, peak) };
                let (goes_on, usual) = goes_on(since, last);
                if goes_on {
                    *self = Alarm::Up { since, raised, last, peak };
                    return None;
                }
                *self = Alarm::Quiet;
                Some(Change::Over(Past { raised, since, last, peak, usual }))
            }
        }
    }
}
