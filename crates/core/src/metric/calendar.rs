//! Days, weeks and months of a zone as stretches of time.
//!
//! A day begins at the first instant of its date in the zone: midnight, or the first
//! instant after it where the clocks skip midnight. The stretches between two beginnings
//! follow each other without a hole and without an overlap, whatever the clocks do: days
//! of 23, 24.5 or 25 hours, dates that a zone never had, and midnights that come twice.

use compact_str::{CompactString, format_compact};
use jiff::Span;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;

use super::spec::{CalendarSpan, Weekday};
use crate::time::EpochMs;

/// A day of 24 hours.
pub const DAY: EpochMs = 86_400_000;

/// The first date counted from: day 0.
const EPOCH: Date = date(1970, 1, 1);

/// The Monday that blocks of days are counted from, as a day.
const MONDAY: i64 = 4;

/// Blocks of whole days or whole months of one zone. Blocks of days are counted from a
/// first day of the week, blocks of months from January.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
    span: CalendarSpan,
    /// The day that block 0 begins with, for blocks of days.
    anchor: i64,
}

impl Calendar {
    /// Blocks of `span` in an IANA zone (UTC when there is no such zone).
    pub fn new(zone: &str, span: CalendarSpan, first_weekday: Weekday) -> Self {
        let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
        Calendar { zone, span, anchor: MONDAY + first_weekday.from_monday() }
    }

    /// The block that holds a time: its beginning, and the beginning of the next. Outside
    /// the years that a calendar knows it is the day of UTC.
    pub fn block_around(&self, at: EpochMs) -> (EpochMs, EpochMs) {
        self.find(at).map_or_else(|| utc_day(at), |(_, start, end)| (start, end))
    }

    /// Beginning of the block `back` blocks before the one that holds a time, by the
    /// calendar: seven days back is the same day of the week.
    pub fn block_before(&self, at: EpochMs, back: i64) -> EpochMs {
        let found = self.find(at).and_then(|(block, ..)| self.start(block.checked_sub(back)?));
        found.unwrap_or_else(|| utc_day(at).0.saturating_sub(back.saturating_mul(DAY)))
    }

    /// The date of a time, `2026-11-27`.
    pub fn date(&self, at: EpochMs) -> CompactString {
        let time = jiff::Timestamp::from_millisecond(at).unwrap_or_default();
        format_compact!("{}", self.zone.to_datetime(time).date())
    }

    fn find(&self, at: EpochMs) -> Option<(i64, EpochMs, EpochMs)> {
        let time = jiff::Timestamp::from_millisecond(at).ok()?;
        let mut block = self.block_of(self.zone.to_datetime(time).date());
        // Around a midnight that comes twice the date is one ahead or one behind; a date
        // that the zone never had is a block without length, stepped over here.
        let (mut start, mut end) = (self.start(block)?, self.start(block + 1)?);
        while at < start {
            block -= 1;
            (start, end) = (self.start(block)?, start);
        }
        while at >= end {
            block += 1;
            (start, end) = (end, self.start(block + 1)?);
        }
        Some((block, start, end))
    }

    fn block_of(&self, date: Date) -> i64 {
        match self.span {
            CalendarSpan::Days(days) => (day_of(date) - self.anchor).div_euclid(days),
            CalendarSpan::Months(months) => month_of(date).div_euclid(months),
        }
    }

    fn start(&self, block: i64) -> Option<EpochMs> {
        let first = match self.span {
            CalendarSpan::Days(days) => {
                let day = block.checked_mul(days)?.checked_add(self.anchor)?;
                EPOCH.checked_add(Span::new().try_days(day).ok()?).ok()?
            }
            CalendarSpan::Months(months) => {
                let month = block.checked_mul(months)?;
                let year = i16::try_from(month.div_euclid(12)).ok()?;
                Date::new(year, month.rem_euclid(12) as i8 + 1, 1).ok()?
            }
        };
        Some(first.to_zoned(self.zone.clone()).ok()?.timestamp().as_millisecond())
    }
}

fn day_of(date: Date) -> i64 {
    i64::from(date.since(EPOCH).map_or(0, |span| span.get_days()))
}

fn month_of(date: Date) -> i64 {
    i64::from(date.year()) * 12 + i64::from(date.month()) - 1
}

fn utc_day(at: EpochMs) -> (EpochMs, EpochMs) {
    let start = at.div_euclid(DAY) * DAY;
    (start, start + DAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Word as _;
    use proptest::prelude::*;

    const ZONES: [&str; 18] = [
        "UTC",
        "Europe/Berlin",
        "Europe/Amsterdam",
        "Asia/Kathmandu",
        "Asia/Kolkata",
        "Australia/Lord_Howe",
        "America/Asuncion",
        "America/Sao_Paulo",
        "America/Havana",
        "America/St_Johns",
        "Asia/Beirut",
        "Africa/Cairo",
        "Pacific/Apia",
        "Pacific/Kiritimati",
        "Africa/Casablanca",
        "America/New_York",
        "Asia/Tehran",
        "Antarctica/Troll",
    ];

    fn spans() -> impl Strategy<Value = CalendarSpan> {
        let days = prop::sample::select(vec![1, 2, 7, 14, 30]).prop_map(CalendarSpan::Days);
        let months = prop::sample::select(vec![1, 3, 12]).prop_map(CalendarSpan::Months);
        prop_oneof![days, months]
    }

    fn weekday() -> impl Strategy<Value = Weekday> {
        prop::sample::select(Weekday::WORDS).prop_map(|(_, day)| day)
    }

    proptest! {
        #[test]
        fn blocks_follow_each_other_and_begin_on_the_dates_of_the_calendar(
            zone in prop::sample::select(ZONES.to_vec()),
            span in spans(),
            weekday in weekday(),
            // 1900 to 2100.
            at in -2_208_988_800_000i64..4_102_444_800_000,
        ) {
            let calendar = Calendar::new(zone, span, weekday);
            let (start, end) = calendar.block_around(at);
            prop_assert!(start <= at && at < end, "{start} {at} {end}");
            for inside in [start, end - 1, start + (end - start) / 2] {
                prop_assert_eq!(calendar.block_around(inside), (start, end));
            }
            prop_assert_eq!(calendar.block_around(start - 1).1, start);
            prop_assert_eq!(calendar.block_around(end).0, end);
            prop_assert_eq!(calendar.block_before(at, 0), start);
            // The beginning is the first instant of a date that begins a block.
            let zone = TimeZone::get(zone).unwrap();
            let instant = jiff::Timestamp::from_millisecond(start).unwrap();
            let date = zone.to_datetime(instant).date();
            let first = date.to_zoned(zone.clone()).unwrap();
            prop_assert!((first.timestamp().as_millisecond() - start).abs() < 3_600_000 * 24);
            match span {
                CalendarSpan::Days(1) => {
                    prop_assert_eq!(first.timestamp().as_millisecond(), start);
                }
                CalendarSpan::Days(7) if date.to_zoned(zone).unwrap().timestamp() == instant => {
                    let days = i64::from(date.weekday().to_monday_zero_offset());
                    // A week whose first date was skipped begins a day later.
                    prop_assert!(days == weekday.from_monday()
                        || days == (weekday.from_monday() + 1) % 7);
                }
                CalendarSpan::Months(months) => {
                    prop_assert_eq!(date.day(), 1);
                    prop_assert_eq!((i64::from(date.month()) - 1) % months, 0);
                }
                CalendarSpan::Days(_) => {}
            }
        }

        #[test]
        fn a_time_lies_in_the_day_of_its_date(
            zone in prop::sample::select(vec![
                "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Asuncion",
                "Asia/Beirut", "Pacific/Apia", "America/New_York",
            ]),
            // 1980 to 2060.
            at in 315_532_800_000i64..2_840_140_800_000,
        ) {
            // None of these sets its clocks back over midnight, so dates never go back.
            let calendar = Calendar::new(zone, CalendarSpan::Days(1), Weekday::Monday);
            let zone = TimeZone::get(zone).unwrap();
            let local = jiff::Timestamp::from_millisecond(at).unwrap().to_zoned(zone);
            let start = local.start_of_day().unwrap().timestamp().as_millisecond();
            prop_assert_eq!(calendar.block_around(at).0, start);
        }
    }

    #[test]
    fn days_are_as_long_as_the_clocks_make_them() {
        let hours = |zone: &str, at: &str| {
            let at: jiff::Timestamp = at.parse().unwrap();
            let calendar = Calendar::new(zone, CalendarSpan::Days(1), Weekday::Monday);
            let (start, end) = calendar.block_around(at.as_millisecond());
            (end - start) as f64 / 3_600_000.0
        };
        assert_eq!(hours("Europe/Berlin", "2025-03-30T12:00:00Z"), 23.0);
        assert_eq!(hours("Europe/Berlin", "2025-10-26T12:00:00Z"), 25.0);
        assert_eq!(hours("Australia/Lord_Howe", "2025-04-05T18:00:00Z"), 24.5);
        assert_eq!(hours("Australia/Lord_Howe", "2025-10-04T18:00:00Z"), 23.5);
        // Clocks went from 23:59:59 to 01:00: the day begins at 01:00.
        assert_eq!(hours("America/Asuncion", "2023-10-01T12:00:00Z"), 23.0);
        assert_eq!(hours("Asia/Beirut", "2024-03-31T12:00:00Z"), 23.0);
        // Samoa had no 30 December 2011.
        assert_eq!(hours("Pacific/Apia", "2011-12-30T09:00:00Z"), 24.0);
        assert_eq!(hours("Pacific/Apia", "2011-12-30T11:00:00Z"), 24.0);
        // St. John's went from 00:01 back to 23:01 of the day before: one long day, no hole.
        assert_eq!(hours("America/St_Johns", "2010-11-07T02:35:00Z"), 25.0);
    }

    #[test]
    fn weeks_begin_where_the_configuration_says() {
        let monday = |weekday| {
            let calendar = Calendar::new("UTC", CalendarSpan::Days(7), weekday);
            // 2025-01-01 was a Wednesday.
            calendar.block_around(1_735_689_600_000).0
        };
        assert_eq!(monday(Weekday::Monday), 1_735_516_800_000);
        assert_eq!(monday(Weekday::Sunday), 1_735_430_400_000);
        assert_eq!(monday(Weekday::Wednesday), 1_735_689_600_000);
    }
}
