//! Which columns hold what every event has, by their names and by what they hold.

use super::column::{Column, NumberForm};
use super::words::{
    ANONYMOUS, CODES, CURRENCY, IDS, KEYS, LEVELS, MESSAGES, MONEY, NAMES, REQUESTS, STATES, TIMES,
    TYPES, VALUES,
};

/// What happened, where no column says it.
pub const EVENT: &str = "event";

/// What happened in the log of a web server, as in the maps of those that are known.
const REQUEST: &str = "http_request";

/// Which columns hold what every event has, as places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// When it happened.
    pub time: Option<usize>,
    /// The time of day, where `time` is the date alone.
    pub clock: Option<usize>,
    /// What happened.
    pub kind: Option<usize>,
    /// What happened more precisely, in those events that have it: "track" and "Order Completed".
    pub detail: Option<usize>,
    /// Who did it.
    pub key: Option<usize>,
    /// Who did it where `key` is not known yet.
    pub anonymous: Option<usize>,
    /// Different for each event.
    pub id: Option<usize>,
    /// Money.
    pub amount: Option<usize>,
}

impl Roles {
    /// By the names of columns and by what they hold; `named`: the file names them.
    pub fn of(columns: &[Column], named: bool) -> Roles {
        let mut free = Free::of(columns);
        let mut roles = Roles::default();
        roles.time(&mut free, named);
        roles.kind(&mut free);
        // No value comes twice in a small sample, too.
        let again = |column: &Column| is_key(column) && !(column.is_unique() && column.filled > 20);
        roles.key = free.take(KEYS, &again).or_else(|| free.first_again().filter(|_| !named));
        roles.key.iter().for_each(|place| free.used[*place] = true);
        if let Some(key) = roles.key {
            let absent = columns[key].filled < free.rows_max();
            let before = |column: &Column| absent && column.is(ANONYMOUS);
            roles.anonymous = free.take(ANONYMOUS, &before);
        }
        roles.id = free.take(IDS, &is_id);
        roles.amount = roles.money(&mut free);
        roles
    }

    /// Those of events that a map has made.
    pub fn made(columns: &[Column]) -> Roles {
        let place = |name: &str| columns.iter().position(|column| column.name == name);
        Roles {
            time: place("ts"),
            kind: place("type"),
            key: place("user"),
            id: place("id"),
            amount: place("amount"),
            ..Roles::default()
        }
    }

    fn time(&mut self, free: &mut Free<'_>, named: bool) {
        let day = free.columns.iter().position(|column| column.is_date);
        let clock = free.columns.iter().position(|column| column.is_clock);
        let telling =
            |column: &Column| column.time.as_ref().is_some_and(|time| !time.vague || !named);
        self.time = free.take(TIMES, &|column| column.time.is_some() && !column.is_date);
        if self.time.is_none()
            && let (Some(day), Some(clock)) = (day, clock)
        {
            (self.time, self.clock) = (Some(day), Some(clock));
        }
        self.time = self
            .time
            .or_else(|| free.take(TIMES, &|column| column.time.is_some()))
            .or_else(|| free.columns.iter().position(telling));
        self.time.iter().chain(&self.clock).for_each(|place| free.used[*place] = true);
    }

    fn kind(&mut self, free: &mut Free<'_>) {
        // One value deep in an envelope says nothing of what happened.
        let telling = |column: &Column| {
            is_type(column) && (column.values.len() > 1 || !column.title.contains('.'))
        };
        let named = free.take(TYPES, &|column| telling(column) && column.is(TYPES));
        if let Some(kind) = named {
            let finer = |column: &Column| {
                let (coarse, filled) = (&free.columns[kind], column.filled);
                column.is(&["event", "eventname"])
                    && is_type(column)
                    && filled < coarse.filled
                    && column.values.len() > 1
            };
            self.detail = free.best(TYPES, &finer);
        }
        self.kind = named
            .or_else(|| {
                let of = |words: &&[&str]| {
                    let tells = |column: &Column| {
                        column.is(words)
                            && (*words != NAMES || !column.title.contains('.'))
                            && is_type(column)
                            && column.values.len() > 1
                            && column.is_label()
                            && column.filled * 2 > free.rows_max()
                    };
                    free.best(words, &tells)
                };
                let mut lists = [MESSAGES, STATES, NAMES].iter();
                (!free.is_web()).then(|| lists.find_map(of)).flatten()
            })
            .or_else(|| {
                let ends = |column: &Column| telling(column) && column.ends(TYPES);
                (!free.is_web()).then(|| free.best(TYPES, &ends)).flatten()
            })
            .or_else(|| free.best(TYPES, &|column| is_type(column) && column.is(TYPES)));
        self.kind.iter().chain(&self.detail).for_each(|place| free.used[*place] = true);
    }

    fn money(&self, free: &mut Free<'_>) -> Option<usize> {
        let number = |column: &Column| column.number.is_some() && !is_code(column);
        let signed = |column: &Column| {
            let sign = |c: char| !c.is_ascii() || c == '$';
            matches!(&column.number, Some(NumberForm::Like(like)) if like.chars().any(sign))
        };
        let currency = free.columns.iter().any(|column| column.is(CURRENCY));
        let place = free
            .best(MONEY, &number)
            .or_else(|| free.best(VALUES, &number).filter(|_| currency))
            .or_else(|| free.open().find(|(_, column)| signed(column)).map(|(place, _)| place))?;
        free.used[place] = true;
        Some(place)
    }
}

/// What every event of a table is, where no column says it: `stem` is what its file is called.
pub fn one_type(columns: &[Column], stem: &str) -> String {
    if Free::of(columns).is_web() { REQUEST.to_owned() } else { stem.to_owned() }
}

/// A number that is no quantity.
pub fn is_code(column: &Column) -> bool {
    column.ends(CODES) && !column.is(MONEY)
}

fn is_type(column: &Column) -> bool {
    let few = column.values.len() * 2 <= column.filled || column.filled < 20;
    column.number.is_none()
        && column.time.is_none()
        && column.values.len() <= 200
        && few
        && column.filled > 0
}

fn is_key(column: &Column) -> bool {
    let plain = column.filled > 0 && column.time.is_none() && column.ends(KEYS);
    plain || column.filled > 0 && column.is(KEYS)
}

fn is_id(column: &Column) -> bool {
    column.is_unique() && column.is(IDS)
}

/// Columns that have no role yet.
struct Free<'c> {
    columns: &'c [Column],
    used: Vec<bool>,
}

impl<'c> Free<'c> {
    fn of(columns: &'c [Column]) -> Free<'c> {
        Free { columns, used: unusable(columns) }
    }

    fn open(&self) -> impl Iterator<Item = (usize, &'c Column)> + '_ {
        self.columns.iter().enumerate().filter(|(place, _)| !self.used[*place])
    }

    /// The one with the best name among those that fit.
    fn best(&self, words: &[&str], fits: &dyn Fn(&Column) -> bool) -> Option<usize> {
        let fitting = self.open().filter(|(_, column)| fits(column));
        let named = fitting.filter_map(|(place, column)| Some((column.fits(words)?, place)));
        named.min().map(|(_, place)| place)
    }

    fn take(&mut self, words: &[&str], fits: &dyn Fn(&Column) -> bool) -> Option<usize> {
        let place = self.best(words, fits)?;
        self.used[place] = true;
        Some(place)
    }

    /// By convention who did it stands first: the first whose values come again.
    fn first_again(&self) -> Option<usize> {
        let again = |column: &Column| {
            column.filled > 0 && column.time.is_none() && !column.is_label() && !column.is_unique()
        };
        self.open().find(|(_, column)| again(column)).map(|(place, _)| place)
    }

    /// Cells of the fullest column.
    fn rows_max(&self) -> usize {
        self.columns.iter().map(|column| column.filled).max().unwrap_or_default()
    }

    /// Requests to a web server: a status as HTTP has it, and what was asked. An application's log
    /// has levels besides.
    fn is_web(&self) -> bool {
        let any = |fits: &dyn Fn(&Column) -> bool| self.columns.iter().any(fits);
        any(&Column::is_http_status)
            && any(&|column| column.is(REQUESTS))
            && !any(&|column| column.is(LEVELS))
    }
}

/// Columns without a name, and those that have the name of one before: they cannot be asked for.
pub(super) fn unusable(columns: &[Column]) -> Vec<bool> {
    let unusable = columns.iter().enumerate().map(|(place, column)| {
        let twice = columns[..place].iter().any(|other| other.name == column.name);
        twice || column.name.is_empty()
    });
    unusable.collect()
}
