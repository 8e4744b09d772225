//! Hours of the day in a zone: quiet hours, maintenance every Sunday morning.

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::metric::Weekday;
use crate::time::EpochMs;

/// Some hours of some days. Those that begin in the evening and end in the morning belong to the day that
/// they begin on. Clocks that are put forward or back make them shorter or longer.
#[derive(Clone, Debug, PartialEq)]
pub struct Hours {
    /// The days that they begin on; none means all.
    pub days: Vec<Weekday>,
    /// When they begin.
    pub from: Time,
    /// When they end; at or before `from`, that is on the next day.
    pub until: Time,
    /// Whose clock.
    pub zone: TimeZone,
}

impl Hours {
    /// When the hours that hold this time end; `None` outside of them.
    pub fn end(&self, at: EpochMs) -> Option<EpochMs> {
        let today = self.clock(at)?.date();
        let days = [today.yesterday().ok()?, today];
        days.into_iter()
            .filter_map(|day| self.of_day(day))
            .find_map(|(from, until)| (from <= at && at < until).then_some(until))
    }

    /// When the next hours after this time begin.
    pub fn next(&self, at: EpochMs) -> Option<EpochMs> {
        let today = self.clock(at)?.date();
        (0..=8).find_map(|days| {
            let day = today.checked_add(Span::new().days(days)).ok()?;
            self.of_day(day).map(|(from, _)| from).filter(|from| *from > at)
        })
    }

    fn clock(&self, at: EpochMs) -> Option<DateTime> {
        Some(self.zone.to_datetime(Timestamp::from_millisecond(at).ok()?))
    }

    fn of_day(&self, day: jiff::civil::Date) -> Option<(EpochMs, EpochMs)> {
        let number = i64::from(day.weekday().to_monday_zero_offset());
        if !self.days.is_empty() && self.days.iter().all(|own| own.from_monday() != number) {
            return None;
        }
        let last = if self.until <= self.from { day.tomorrow().ok()? } else { day };
        let time = |clock: DateTime| {
            Some(self.zone.to_ambiguous_timestamp(clock).compatible().ok()?.as_millisecond())
        };
        Some((time(day.to_datetime(self.from))?, time(last.to_datetime(self.until))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::time;

    fn at(text: &str) -> EpochMs {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn hours_belong_to_the_day_they_begin_on() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let (from, until) = (time(22, 0, 0, 0), time(7, 0, 0, 0));
        // Friday the 27th of November 2026.
        let night = Hours { days: vec![Weekday::Friday], from, until, zone: zone.clone() };
        assert_eq!(night.end(at("2026-11-27T20:59:59Z")), None);
        assert_eq!(night.end(at("2026-11-27T21:00:00Z")), Some(at("2026-11-28T06:00:00Z")));
        assert_eq!(night.end(at("2026-11-28T05:59:59Z")), Some(at("2026-11-28T06:00:00Z")));
        assert_eq!(night.end(at("2026-11-28T06:00:00Z")), None);
        assert_eq!(night.end(at("2026-11-27T03:00:00Z")), None, "the night of Thursday");
        assert_eq!(night.next(at("2026-11-27T21:00:00Z")), Some(at("2026-12-04T21:00:00Z")));
        let daily = Hours { days: Vec::new(), ..night };
        assert_eq!(daily.next(at("2026-11-27T21:00:00Z")), Some(at("2026-11-28T21:00:00Z")));
        assert_eq!(daily.end(at("2026-11-27T03:00:00Z")), Some(at("2026-11-27T06:00:00Z")));
    }

    #[test]
    fn clocks_that_change_make_a_night_longer() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let (from, until) = (time(22, 0, 0, 0), time(7, 0, 0, 0));
        let night = Hours { days: Vec::new(), from, until, zone };
        // Put back on the 25th of October 2026 at 3 in the morning: ten hours.
        assert_eq!(night.end(at("2026-10-24T20:00:00Z")), Some(at("2026-10-25T06:00:00Z")));
    }
}
