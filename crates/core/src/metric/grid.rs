//! Where the panes of a metric lie, and which of them a window reads.
//!
//! Panes have no length of their own that could be multiplied: a running total's last pane
//! of a day ends at midnight, and a month is as long as it is. So a pane is named by its
//! start, and everything else is asked of the grid.

use super::calendar::Calendar;
use super::spec::{CalendarSpan, Weekday, WindowSpec};
use crate::time::{BEGINNING, EpochMs, SpanMs};

/// Length of a roll-up row.
pub const MINUTE: SpanMs = 60_000;

/// The panes of a metric and its windows: each window ends with a pane.
#[derive(Clone, Debug)]
pub enum Grid {
    /// All of one length, aligned to the epoch.
    Fixed {
        /// Length of a pane.
        pane: SpanMs,
        /// Length of a window. Where panes do not fill it, windows begin within a pane.
        size: SpanMs,
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
    /// All of one length, aligned to the epoch; every window reaches from the first fact on.
    Ever {
        /// Length of a pane.
        slide: SpanMs,
    },
    /// All of one length, aligned to the epoch; a window ends with the pane in which its group was
    /// silent for long enough.
    Silence {
        /// Length of a pane.
        slide: SpanMs,
        /// The longest silence within a window.
        gap: SpanMs,
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
            WindowSpec::Tumbling { size } => Grid::Fixed { pane: *size, size: *size },
            WindowSpec::Hopping { size, slide } | WindowSpec::Sliding { size, slide, .. } => {
                Grid::Fixed { pane: *slide, size: *size }
            }
            WindowSpec::Calendar { span, panes, zone, first_weekday } => {
                let blocks = Box::new(Calendar::new(zone, *span, *first_weekday));
                Grid::Calendar { blocks, panes: *panes }
            }
            WindowSpec::SinceMidnight { zone, slide } => {
                let days = Calendar::new(zone, CalendarSpan::Days(1), Weekday::Monday);
                Grid::Days { days: Box::new(days), slide: *slide }
            }
            WindowSpec::Burst { gap, slide } => Grid::Silence { slide: *slide, gap: *gap },
            WindowSpec::SinceStart { slide }
            | WindowSpec::Since { slide, .. }
            | WindowSpec::Last { slide, .. } => Grid::Ever { slide: *slide },
        }
    }

    /// True when each window is one pane.
    pub fn tumbles(&self) -> bool {
        match self {
            Grid::Fixed { pane, size } => pane == size,
            Grid::Calendar { panes, .. } => *panes == 1,
            Grid::Days { .. } | Grid::Ever { .. } | Grid::Silence { .. } => false,
        }
    }

    /// True when windows are a running total: each is the one before it and what is new, until
    /// a day is over, or for good.
    pub fn runs(&self) -> bool {
        matches!(self, Grid::Days { .. } | Grid::Ever { .. })
    }

    /// True when windows of a group end by silence.
    pub fn is_silence(&self) -> bool {
        matches!(self, Grid::Silence { .. })
    }

    /// True when a window takes in what enters and reads no pane again.
    pub fn takes_in(&self) -> bool {
        self.runs() || self.is_silence()
    }

    /// The pane that holds a time.
    pub fn pane(&self, at: EpochMs, memo: &mut Memo) -> Stretch {
        match self {
            Grid::Fixed { pane, .. }
            | Grid::Ever { slide: pane }
            | Grid::Silence { slide: pane, .. } => fixed(at, *pane),
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

    /// The part of a pane that holds a time: all windows hold the whole of it, or nothing.
    pub fn part(&self, at: EpochMs, memo: &mut Memo) -> Stretch {
        let pane = self.pane(at, memo);
        let Grid::Fixed { pane: len, size } = self else { return pane };
        // Where windows begin within the pane.
        let cut = pane.end.saturating_sub(size % len);
        if cut == pane.end || at >= cut {
            Stretch { start: if cut == pane.end { pane.start } else { cut }, end: pane.end }
        } else {
            Stretch { start: pane.start, end: cut }
        }
    }

    /// Start of the window that ends with the pane that holds a time.
    pub fn window_start(&self, at: EpochMs, memo: &mut Memo) -> EpochMs {
        match self {
            Grid::Fixed { pane, size } => fixed(at, *pane).end.saturating_sub(*size),
            Grid::Calendar { blocks, panes: 1 } => memo.block(blocks, at).start,
            Grid::Calendar { blocks, panes } => blocks.block_before(at, panes - 1),
            Grid::Days { days, .. } => memo.block(days, at).start,
            Grid::Ever { .. } | Grid::Silence { .. } => BEGINNING,
        }
    }

    /// When a running total begins anew after a time; never, for other windows.
    pub fn day_end(&self, at: EpochMs, memo: &mut Memo) -> EpochMs {
        match self {
            Grid::Days { days, .. } => memo.block(days, at).end,
            _ => EpochMs::MAX,
        }
    }

    /// True when a fact still counts at `settled`, though its pane is final: some window that may
    /// hold it is not.
    pub fn still_takes(&self, at: EpochMs, settled: EpochMs, memo: &mut Memo) -> bool {
        match self {
            // It would be the last of its window.
            Grid::Silence { gap, .. } => at.saturating_add(*gap) >= self.pane(settled, memo).start,
            _ => self.window_start(settled, memo) <= self.part(at, memo).start,
        }
    }

    /// The window that ends with the pane that holds a time.
    pub fn window(&self, at: EpochMs, memo: &mut Memo) -> Stretch {
        let end = self.pane(at, memo).end;
        Stretch { start: self.window_start(at, memo), end }
    }
}

/// How far a formula looks back: by whole panes, so that what it finds are ends of windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ago {
    /// So long, on a grid of one length.
    Span(SpanMs),
    /// So many blocks of the calendar.
    Blocks(i64),
    /// So many days, to the same time since midnight.
    Days(i64),
}

impl Grid {
    /// The end of a window so much earlier than `end`, which is one.
    pub fn earlier(&self, end: EpochMs, ago: Ago, memo: &mut Memo) -> EpochMs {
        match ago {
            Ago::Span(span) => end.saturating_sub(span),
            Ago::Blocks(blocks) | Ago::Days(blocks) => self.blocks_before(end, blocks, memo),
        }
    }

    /// The first end of a window from which `end` is seen by looking back. Where days differ in
    /// length others may see it, too, at which nothing else is new.
    pub fn later(&self, end: EpochMs, ago: Ago, memo: &mut Memo) -> EpochMs {
        match ago {
            Ago::Span(span) => end.saturating_add(span),
            Ago::Blocks(blocks) | Ago::Days(blocks) => self.blocks_before(end, -blocks, memo),
        }
    }

    fn blocks_before(&self, end: EpochMs, back: i64, memo: &mut Memo) -> EpochMs {
        let within = end.saturating_sub(1);
        match self {
            Grid::Calendar { blocks, .. } => blocks.block_before(within, back - 1),
            Grid::Days { days, .. } => {
                let day = memo.block(days, within);
                let start = days.block_before(within, back);
                let next = days.block_before(within, back - 1);
                // The last of a day is the last of the other, however long both are.
                if end == day.end { next } else { next.min(start + (end - day.start)) }
            }
            // The configuration does not look back by days here.
            Grid::Fixed { .. } | Grid::Ever { .. } | Grid::Silence { .. } => end,
        }
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
        (zone, slide, span, 0..6).prop_map(|(zone, slide, (span, panes), kind)| match kind {
            4 => WindowSpec::SinceStart { slide },
            5 => WindowSpec::Hopping { size: slide * 5 + 700, slide },
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
            // Windows begin where a part of a pane does.
            if window.start > BEGINNING {
                prop_assert_eq!(grid.part(window.start, memo).start, window.start);
            }
            let part = grid.part(at, memo);
            prop_assert!(part.holds(at) && part.start >= pane.start && part.end <= pane.end);
            prop_assert_eq!(grid.part(part.start, memo), part);
            prop_assert_eq!(grid.part(part.end - 1, memo), part);
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
