//! Days, weeks and months of some zones, from their clocks as they stand in the tables below (tzdata
//! 2025, read by another program) and the rules of the calendar alone. Shares no code and no table
//! with the engine.

/// A zone: how far its clock is ahead of UTC, in minutes, at first and from each of these times on.
pub struct Zone {
    pub name: &'static str,
    at_first: i64,
    changes: &'static [(i64, i64)],
}

pub const BERLIN: usize = 0;
pub const HAVANA: usize = 1;
pub const ASUNCION: usize = 2;
pub const LORD_HOWE: usize = 3;
pub const APIA: usize = 4;
pub const ST_JOHNS: usize = 5;
pub const KATHMANDU: usize = 6;

/// From July 2010 to the end of 2013.
pub const ZONES: [Zone; 7] = [
    // At 01:00 UTC.
    Zone {
        name: "Europe/Berlin",
        at_first: 120,
        changes: &[
            (1_288_486_800_000, 60),
            (1_301_187_600_000, 120),
            (1_319_936_400_000, 60),
            (1_332_637_200_000, 120),
            (1_351_386_000_000, 60),
            (1_364_691_600_000, 120),
            (1_382_835_600_000, 60),
        ],
    },
    // In autumn midnight comes twice, in spring not at all.
    Zone {
        name: "America/Havana",
        at_first: -240,
        changes: &[
            (1_288_501_200_000, -300),
            (1_300_597_200_000, -240),
            (1_321_160_400_000, -300),
            (1_333_256_400_000, -240),
            (1_352_005_200_000, -300),
            (1_362_891_600_000, -240),
            (1_383_454_800_000, -300),
        ],
    },
    // Without the first hour of a day in spring, twice the last one in autumn.
    Zone {
        name: "America/Asuncion",
        at_first: -240,
        changes: &[
            (1_286_078_400_000, -180),
            (1_302_404_400_000, -240),
            (1_317_528_000_000, -180),
            (1_333_854_000_000, -240),
            (1_349_582_400_000, -180),
            (1_364_094_000_000, -240),
            (1_381_032_000_000, -180),
        ],
    },
    // By half an hour.
    Zone {
        name: "Australia/Lord_Howe",
        at_first: 630,
        changes: &[
            (1_286_033_400_000, 660),
            (1_301_756_400_000, 630),
            (1_317_483_000_000, 660),
            (1_333_206_000_000, 630),
            (1_349_537_400_000, 660),
            (1_365_260_400_000, 630),
            (1_380_987_000_000, 660),
        ],
    },
    // Without 30 December 2011.
    Zone {
        name: "Pacific/Apia",
        at_first: -660,
        changes: &[
            (1_285_498_800_000, -600),
            (1_301_752_800_000, -660),
            (1_316_872_800_000, -600),
            (1_325_239_200_000, 840),
            (1_333_202_400_000, 780),
            (1_348_927_200_000, 840),
            (1_365_256_800_000, 780),
            (1_380_376_800_000, 840),
        ],
    },
    // A minute after midnight it was an hour ago, on the day before, until November 2011.
    Zone {
        name: "America/St_Johns",
        at_first: -150,
        changes: &[
            (1_289_097_060_000, -210),
            (1_299_987_060_000, -150),
            (1_320_553_800_000, -210),
            (1_331_443_800_000, -150),
            (1_352_003_400_000, -210),
            (1_362_893_400_000, -150),
            (1_383_453_000_000, -210),
        ],
    },
    // Never.
    Zone { name: "Asia/Kathmandu", at_first: 345, changes: &[] },
];

const MINUTE: i64 = 60_000;
const DAY: i64 = 86_400_000;

impl Zone {
    /// Stretches between two changes: from, to, and how far ahead, in ms.
    fn stretches(&self) -> impl Iterator<Item = (i64, i64, i64)> {
        let from = [(i64::MIN / 2, self.at_first)].into_iter().chain(self.changes.iter().copied());
        let to = self.changes.iter().map(|(at, _)| *at).chain([i64::MAX / 2]);
        from.zip(to).map(|((from, ahead), to)| (from, to, ahead * MINUTE))
    }

    /// The date of a time, in days since 1970.
    fn date(&self, at: i64) -> i64 {
        let mut stretches = self.stretches();
        let (.., ahead) = stretches.find(|(from, to, _)| (*from..*to).contains(&at)).unwrap();
        (at + ahead).div_euclid(DAY)
    }

    /// The first time of a date; `None` when the zone never had it.
    fn first_of(&self, date: i64) -> Option<i64> {
        let first = |(from, to, ahead): (i64, i64, i64)| {
            let first = (date * DAY - ahead).max(from);
            (first < to && (first + ahead).div_euclid(DAY) == date).then_some(first)
        };
        self.stretches().filter_map(first).min()
    }

    /// The first time of a date, or of the first one after it that there was.
    fn first_from(&self, date: i64) -> i64 {
        (date..).find_map(|date| self.first_of(date)).unwrap()
    }

    /// When its clock changes.
    pub fn changes(&self) -> impl Iterator<Item = i64> {
        self.changes.iter().map(|(at, _)| *at)
    }
}

/// Windows of so many blocks that hold a time, by their ends. `first` is the first date of a block,
/// `block` the one of a date.
fn windows(
    zone: &Zone,
    panes: i64,
    at: i64,
    block: impl Fn(i64) -> i64,
    first: impl Fn(i64) -> i64,
) -> Vec<(i64, i64)> {
    let begin = |block: i64| zone.first_from(first(block));
    // Dates may be one off where clocks go back over midnight; one that never was has no length.
    let near = block(zone.date(at));
    let own = (near - 2..=near + 2).rev().find(|block| begin(*block) <= at).unwrap();
    let all = own..own + panes + 2;
    let whole = all.filter(|last| begin(*last) < begin(last + 1));
    let holding = whole.map(|last| (begin(last - panes + 1), begin(last + 1)));
    holding.filter(|(begin, end)| (*begin..*end).contains(&at)).collect()
}

/// The day of a zone that holds a time.
pub fn day(zone: &Zone, at: i64) -> (i64, i64) {
    windows(zone, 1, at, |date| date, |block| block)[0]
}

/// Windows of so many days of a zone, every day.
pub fn days<const ZONE: usize, const DAYS: i64>(at: i64) -> Vec<(i64, i64)> {
    windows(&ZONES[ZONE], DAYS, at, |date| date, |block| block)
}

/// 4 January 1970, in days.
const SUNDAY: i64 = 3;

/// Windows of so many weeks that begin with Sunday, every week.
pub fn weeks<const ZONE: usize, const WEEKS: i64>(at: i64) -> Vec<(i64, i64)> {
    let block = |date: i64| (date - SUNDAY).div_euclid(7);
    windows(&ZONES[ZONE], WEEKS, at, block, |block| block * 7 + SUNDAY)
}

/// Windows of so many blocks of so many months, every block.
pub fn months<const ZONE: usize, const MONTHS: i64, const BLOCKS: i64>(at: i64) -> Vec<(i64, i64)> {
    let block = |date: i64| {
        // A month has 31 days at most.
        let month = (date / 31..).find(|month| first_of_month(month + 1) > date).unwrap();
        month / MONTHS
    };
    windows(&ZONES[ZONE], BLOCKS, at, block, |block| first_of_month(block * MONTHS))
}

/// The first day of a month that is counted from January 1970.
fn first_of_month(month: i64) -> i64 {
    let leaps = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let of_years: i64 = (1970..1970 + month / 12).map(|year| 365 + i64::from(leaps(year))).sum();
    let february = 28 + i64::from(leaps(1970 + month / 12));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    of_years + lengths[..(month % 12) as usize].iter().sum::<i64>()
}

/// From the beginning of a day to each point of it, so many ms from it on, and to the next one.
pub fn today<const ZONE: usize, const SLIDE: i64>(at: i64) -> Vec<(i64, i64)> {
    let (midnight, next) = days::<ZONE, 1>(at)[0];
    let first = midnight + ((at - midnight) / SLIDE + 1) * SLIDE;
    let ends = (first..next).step_by(SLIDE as usize).chain([next]);
    ends.map(|end| (midnight, end)).collect()
}

/// When the day of a time began.
pub fn midnight<const ZONE: usize>(at: i64) -> i64 {
    days::<ZONE, 1>(at)[0].0
}
