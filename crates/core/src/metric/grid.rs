//! Where the panes of a metric lie, and which of them a window reads.
//!
//! Panes have no length of their own that could be multiplied: a running total's last pane
//! of a day ends at midnight, and a month is as long as it is. So a pane is named by its
//! start, and everything else is asked of the grid.

use super::calendar::Calendar;
use super::spec::{CalendarSpan, Weekday, WindowSpec};
use crate::time::{EpochMs, SpanMs};

/// Length of a roll-up row.
pub const MINUTE: SpanMs = 60_000;

/// The panes of a metric and its windows: each window ends with a pane.
#[derive(Clone, Debug)]
pub enum Grid {
    /// All of one length, aligned to the epoch.
    Fixed {
        /// Length of a pane.
        pane: SpanMs,
        /// Panes in a window.
        panes: i64,
    },
    /// Blocks of a zone's calendar.
    Calendar {
        /// The blocks, one for each pane.
        blocks: Box<Calendar>,
        /// Panes in a window.
        panes: i64,
    },
    /// Slices of a zone's days; a window reaches from midnight to the end of its pane.
    Days {
        /// The days.
        days: Box<Calendar>,
        /// Length of a slice; the last of a day is cut at the next midnight.
        slide: SpanMs,
    },
}

/// `[start, end)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// The first time in it.
    pub start: EpochMs,
    /// The first time after it.
    pub end: EpochMs,
}

impl Stretch {
    /// True when a time lies in it.
    pub fn holds(&self, at: EpochMs) -> bool {
        self.start <= at && at < self.end
    }
}

/// The day or block found last: asking the calendar again costs a hundred times more than
/// looking here. One for each thread that asks.
#[derive(Clone, Debug, Default)]
pub struct Memo(Stretch);

impl Grid {
    /// The grid of a window.
    pub fn new(window: &WindowSpec) -> Grid {
        match window {
            WindowSpec::Tumbling { size } => Grid::Fixed { pane: *size, panes: 1 },
            WindowSpec::Hopping { size, slide } => {
                Grid::Fixed { pane: *slide, panes: size / slide }
            }
            WindowSpec::Calendar { span, panes, zone, first_weekday } => {
                let blocks = Box::new(Calendar::new(zone, *span, *first_weekday));
                Grid::Calendar { blocks, panes: *panes }
            }
            WindowSpec::SinceMidnight { zone, slide } => {
                let days = Calendar::new(zone, CalendarSpan::Days(1), Weekday::Monday);
                Grid::Days { days: Box::new(days), slide: *slide }
            }
        }
    }

    /// True when each window is one pane.
    pub fn tumbles(&self) -> bool {
        matches!(self, Grid::Fixed { panes: 1, .. } | Grid::Calendar { panes: 1, .. })
    }

    /// True when a window reaches from midnight to its end.
    pub fn runs_from_midnight(&self) -> bool {
        matches!(self, Grid::Days { .. })
    }

    /// The pane that holds a time.
    pub fn pane(&self, at: EpochMs, memo: &mut Memo) -> Stretch {
        match self {
            Grid::Fixed { pane, .. } => fixed(at, *pane),
            Grid::Calendar { blocks, .. } => memo.block(blocks, at),
            Grid::Days { days, slide } => {
                let day = memo.block(days, at);
                // A slide of a day is the whole day, however long it is.
                if *slide >= super::calendar::DAY {
                    return day;
                }
                let start = day.start + (at - day.start) / slide * slide;
                Stretch { start, end: (start + slide).min(day.end) }
            }
        }
    }

    /// Start of the window that ends with the pane that holds a time.
    pub fn window_start(&self, at: EpochMs, memo: &mut Memo) -> EpochMs {
        match self {
            Grid::Fixed { pane, panes } => {
                fixed(at, *pane).start.saturating_sub((panes - 1) * pane)
            }
            Grid::Calendar { blocks, panes: 1 } => memo.block(blocks, at).start,
            Grid::Calendar { blocks, panes } => blocks.block_before(at, panes - 1),
            Grid::Days { days, .. } => memo.block(days, at).start,
        }
    }

    /// When a running total begins anew after a time; never, for other windows.
    pub fn day_end(&self, at: EpochMs, memo: &mut Memo) -> EpochMs {
        match self {
            Grid::Days { days, .. } => memo.block(days, at).end,
            Grid::Fixed { .. } | Grid::Calendar { .. } => EpochMs::MAX,
        }
    }

    /// The window that ends with the pane that holds a time.
    pub fn window(&self, at: EpochMs, memo: &mut Memo) -> Stretch {
        let end = self.pane(at, memo).end;
        Stretch { start: self.window_start(at, memo), end }
    }
}

impl Memo {
    fn block(&mut self, calendar: &Calendar, at: EpochMs) -> Stretch {
        if !self.0.holds(at) {
            let (start, end) = calendar.block_around(at);
            self.0 = Stretch { start, end };
        }
        self.0
    }
}

fn fixed(at: EpochMs, len: SpanMs) -> Stretch {
    let start = at.div_euclid(len) * len;
    Stretch { start, end: start.saturating_add(len) }
}

/// The minute that holds a time.
pub fn minute(at: EpochMs) -> Stretch {
    fixed(at, MINUTE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn windows() -> impl Strategy<Value = WindowSpec> {
        let zone = prop::sample::select(vec![
            "UTC",
            "Europe/Berlin",
            "Asia/Kathmandu",
            "Australia/Lord_Howe",
            "America/Asuncion",
            "America/St_Johns",
            "Pacific/Apia",
        ]);
        let slide = prop::sample::select(vec![1_000, 7_000, 2_520_000, 7_200_000, 86_400_000]);
        let span = prop::sample::select(vec![
            (CalendarSpan::Days(1), 1),
            (CalendarSpan::Days(1), 7),
            (CalendarSpan::Days(7), 4),
            (CalendarSpan::Months(1), 3),
        ]);
        (zone, slide, span, 0..4).prop_map(|(zone, slide, (span, panes), kind)| match kind {
            0 => WindowSpec::Tumbling { size: slide },
            1 => WindowSpec::Hopping { size: slide * 5, slide },
            2 => WindowSpec::SinceMidnight { zone: zone.into(), slide },
            _ => {
                let first_weekday = Weekday::Sunday;
                WindowSpec::Calendar { span, panes, zone: zone.into(), first_weekday }
            }
        })
    }

    proptest! {
        #[test]
        fn panes_tile_the_time_and_windows_are_made_of_whole_panes(
            window in windows(),
            at in 1_000_000_000_000i64..1_900_000_000_000,
        ) {
            let grid = Grid::new(&window);
            let memo = &mut Memo::default();
            let pane = grid.pane(at, memo);
            prop_assert!(pane.holds(at));
            prop_assert_eq!(grid.pane(pane.start, memo), pane);
            prop_assert_eq!(grid.pane(pane.end - 1, memo), pane);
            prop_assert_eq!(grid.pane(pane.end, memo).start, pane.end);
            prop_assert_eq!(grid.pane(pane.start - 1, memo).end, pane.start);
            let window = grid.window(at, memo);
            prop_assert!(window.start <= pane.start && window.end == pane.end);
            prop_assert_eq!(grid.pane(window.start, memo).start, window.start);
            // Windows that end later begin no earlier.
            prop_assert!(grid.window_start(pane.end, memo) >= window.start);
            // A memo changes nothing.
            prop_assert_eq!(grid.window(at, &mut Memo::default()), window);
        }
    }

    #[test]
    fn a_running_total_is_cut_at_midnight_for_every_slide() {
        let memo = &mut Memo::default();
        for (zone, slide, midnight) in [
            ("Europe/Berlin", 7_200_000, 1_699_916_400_000),
            ("Asia/Kathmandu", 3_600_000, 1_699_899_300_000),
            ("Europe/Berlin", 86_400_000, 1_699_916_400_000),
            ("Asia/Kathmandu", 900_000, 1_699_899_300_000),
            ("Asia/Kathmandu", 7_000_000, 1_699_899_300_000),
        ] {
            let grid = Grid::new(&WindowSpec::SinceMidnight { zone: zone.into(), slide });
            assert_eq!(grid.pane(midnight - 1, memo).end, midnight, "{zone} {slide}");
            assert_eq!(grid.window_start(midnight + 60_000, memo), midnight, "{zone} {slide}");
            *memo = Memo::default();
        }
    }
}
