//! What a column seems to hold: times and their form, numbers and their form, a key, a type.

use std::collections::{BTreeSet, HashSet};

use super::words;
use crate::domain::event::time_rule::{Guess, TimeRule, Unit};
use crate::domain::number::text::{NumberFormat, NumberText, is_absent};

/// A column of the first rows.
#[derive(Debug)]
pub struct Column {
    /// Its name; of a nested attribute its path.
    pub name: String,
    /// What it is called where it comes from.
    pub title: String,
    /// Cells that hold something.
    pub filled: usize,
    /// Different values, at most `VALUES_MAX` of them.
    pub values: BTreeSet<String>,
    /// How its times are written, if it holds any.
    pub time: Option<TimeForm>,
    /// How its numbers are written, if it holds any.
    pub number: Option<NumberForm>,
    /// Times of day, without a date.
    pub is_clock: bool,
    /// Dates without a time of day.
    pub is_date: bool,
    is_unique: bool,
    first: String,
}

/// Different values that are told apart.
const VALUES_MAX: usize = 1_000;

/// Share of the cells that must be of a form, in percent.
const MOST: usize = 95;

/// How the times of a column are written.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeForm {
    /// The key and its value: `unit = "s"`, `format = "%d.%m.%Y"`.
    pub spec: String,
    /// No zone is in the text.
    pub local: bool,
    /// What else it could be.
    pub doubt: Option<String>,
    /// A number that may be something else: 10 digits, or outside the years 2000 to 2035.
    pub vague: bool,
}

/// How the numbers of a column are written.
#[derive(Clone, Debug, PartialEq)]
pub enum NumberForm {
    /// As everywhere.
    Plain,
    /// By an example.
    Like(String),
}

/// Patterns of dates that are not ISO, the more likely first where two fit.
const PATTERNS: [&str; 24] = [
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%y %H:%M",
    "%d.%m.%Y",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %I:%M %p",
    "%m/%d/%y %H:%M",
    "%m/%d/%Y",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y",
    "%d-%m-%Y %H:%M:%S",
    "%d-%m-%Y %H:%M",
    "%d-%m-%Y",
    "%d %b %Y %H:%M:%S",
    "%b %d, %Y %I:%M:%S %p",
    "%b %d, %Y",
    "%Y%m%d%H%M%S",
    "%Y%m%d",
];

impl Column {
    /// Looks at its cells.
    pub(super) fn of<'t>(name: &str, cells: impl Iterator<Item = &'t str> + Clone) -> Column {
        let filled = cells.clone().filter(|cell| !is_absent(cell));
        let count = filled.clone().count();
        let (mut values, mut once) = (BTreeSet::new(), HashSet::new());
        for value in filled.clone() {
            if values.len() >= VALUES_MAX {
                break;
            }
            values.insert(value.to_owned());
        }
        let most = |fits: &dyn Fn(&str) -> bool| {
            count > 0 && filled.clone().filter(|cell| fits(cell)).count() * 100 >= count * MOST
        };
        let clock = |text: &str| {
            let parts: Vec<&str> = text.trim().split(':').collect();
            (2..=3).contains(&parts.len())
                && parts.iter().all(|part| {
                    !part.is_empty() && part.chars().all(|c| c.is_ascii_digit() || c == '.')
                })
        };
        let date = |text: &str| text.parse::<jiff::civil::Date>().is_ok() && text.len() <= 10;
        Column {
            name: name.to_owned(),
            title: name.to_owned(),
            filled: count,
            time: time_form(&most, &filled.clone().collect::<Vec<_>>()),
            number: number_form(&most, filled.clone()),
            is_clock: most(&clock),
            is_date: most(&date),
            is_unique: count > 1 && filled.clone().all(|cell| once.insert(cell)),
            first: filled.clone().next().unwrap_or_default().to_owned(),
            values,
        }
    }

    /// Few values that come again and again: something to group by.
    pub fn is_label(&self) -> bool {
        let few = self.values.len() <= 50 && self.filled > 0;
        few && (self.values.len() * 3 <= self.filled || self.values.len() <= 3)
            && self.values.iter().all(|value| value.len() <= 64)
    }

    /// No value comes twice.
    pub fn is_unique(&self) -> bool {
        self.is_unique
    }

    /// An address with a port behind it.
    pub fn is_socket(&self) -> bool {
        self.first.parse::<std::net::SocketAddr>().is_ok()
            && self.values.iter().all(|value| value.parse::<std::net::SocketAddr>().is_ok())
    }

    /// Values come again, and each could stand in a list.
    pub fn recurs(&self) -> bool {
        let short = self.values.iter().all(|value| value.len() <= 128);
        self.filled > 0 && self.values.len() * 2 <= self.filled && short
    }

    /// What answers of a web server say of their success: "200", "404".
    pub fn is_http_status(&self) -> bool {
        let status = |text: &String| text.parse().is_ok_and(|code: u16| (100..600).contains(&code));
        self.is(words::STATUS) && self.filled > 0 && self.values.iter().all(status)
    }

    /// How well its title is one of `words`: the whole of it or a part; of a path the last part,
    /// alone or with the one before it.
    pub fn fits(&self, words: &[&str]) -> Option<Fit> {
        let mut path = self.title.rsplit('.').map(plain);
        let (leaf, holder) = (path.next().unwrap_or_default(), path.next().unwrap_or_default());
        let (pair, ends) = (format!("{holder}{leaf}"), self.endings());
        let whole = words.iter().position(|word| *word == leaf || *word == pair);
        let part = |word: &&str| {
            word.len() > 3 && leaf.contains(*word) || ends.iter().any(|end| end == word)
        };
        let depth = self.title.matches('.').count();
        match whole {
            Some(word) => Some(Fit { part: false, word, depth }),
            None => words.iter().position(part).map(|word| Fit { part: true, word, depth }),
        }
    }

    /// Its title is one of `words`.
    pub fn is(&self, words: &[&str]) -> bool {
        self.fits(words).is_some_and(|fit| !fit.part)
    }

    /// Its title ends with one of `words`: "assigned_user_id" with "userid", "bid" not with "id".
    pub fn ends(&self, words: &[&str]) -> bool {
        self.endings().iter().any(|end| words.contains(&end.as_str()))
    }

    /// The last word of its name, the last two, and so on.
    fn endings(&self) -> Vec<String> {
        let leaf = self.title.rsplit('.').next().unwrap_or_default();
        let mut parts: Vec<String> = vec![String::new()];
        let mut before = ' ';
        for c in leaf.chars() {
            if !c.is_alphanumeric() || (before.is_lowercase() && c.is_uppercase()) {
                parts.push(String::new());
            }
            if let Some(part) = parts.last_mut().filter(|_| c.is_alphanumeric()) {
                part.extend(c.to_lowercase());
            }
            before = c;
        }
        parts.retain(|part| !part.is_empty());
        (0..parts.len()).map(|from| parts[from..].concat()).collect()
    }
}

/// How well a name fits; the least is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fit {
    part: bool,
    word: usize,
    depth: usize,
}

/// Letters and digits alone, in lower case.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// How a map would declare this time: the key and its value.
pub(in crate::source) fn form_of(cell: &str) -> Option<String> {
    time_form(&|fits| fits(cell), &[cell]).map(|form| form.spec)
}

/// Letters that stand beside an amount of money.
const CURRENCIES: [&str; 22] = [
    "EUR", "USD", "GBP", "CHF", "JPY", "CNY", "INR", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF",
    "BRL", "CAD", "AUD", "TRY", "KR", "RS", "ZŁ", "TL", "US",
];

/// Says whether most cells meet a test.
type Most<'m> = &'m dyn Fn(&dyn Fn(&str) -> bool) -> bool;

fn time_form(most: Most<'_>, cells: &[&str]) -> Option<TimeForm> {
    let rule = |form: &str| TimeRule::declared(form, "").ok();
    for form in ["iso", "clf", "http"] {
        let rule = rule(form)?;
        if most(&|cell| rule.of_text(cell).is_ok()) {
            let zone = |cell: &&str| rule.of_text(cell).is_ok_and(|t| t.guess == Some(Guess::Zone));
            let local = cells.iter().any(zone);
            let spec = format!("unit = {form:?}");
            return Some(TimeForm { spec, local, doubt: None, vague: false });
        }
    }
    let auto = rule("auto")?;
    for (unit, name) in [(Unit::S, "s"), (Unit::Ms, "ms"), (Unit::Us, "us"), (Unit::Ns, "ns")] {
        let is_epoch = |cell: &str| {
            let digits = cell.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let time = auto.of_text(cell).ok();
            digits && time.is_some_and(|time| time.guess == Some(Guess::Unit(unit)))
        };
        // Below the years that are guessed for everything counts as milliseconds.
        let at = |cell: &&str| auto.of_text(cell).is_ok_and(|t| t.at >= 631_152_000_000);
        if most(&is_epoch) && cells.iter().any(at) {
            let spec = format!("unit = {name:?}");
            let usual = |cell: &&str| {
                auto.of_text(cell)
                    .is_ok_and(|t| (946_684_800_000..2_051_222_400_000).contains(&t.at))
            };
            let vague = unit == Unit::S || !cells.iter().all(usual);
            return Some(TimeForm { spec, local: false, doubt: None, vague });
        }
    }
    let fits = PATTERNS.iter().filter(|pattern| {
        let rule = rule(pattern);
        rule.is_some_and(|rule| most(&|cell| rule.of_text(cell).is_ok()))
    });
    let fits: Vec<&&str> = fits.collect();
    let first = fits.first()?;
    let swapped = first.replacen("%m/%d", "%d/%m", 1);
    let doubt = fits.iter().any(|other| ***other == swapped && other != first);
    Some(TimeForm {
        spec: format!("format = {first:?}"),
        local: true,
        doubt: doubt.then(|| format!("{swapped:?} fits as well: look which of them is meant")),
        vague: false,
    })
}

fn number_form<'t>(most: Most<'_>, cells: impl Iterator<Item = &'t str>) -> Option<NumberForm> {
    let reads =
        |format: &NumberFormat| most(&|cell| matches!(format.read(cell), NumberText::Number(_)));
    if reads(&NumberFormat::default()) {
        return Some(NumberForm::Plain);
    }
    let mut examples: Vec<&str> = cells.take(100).collect();
    // The longest shows both signs.
    examples.sort_by_key(|cell| std::cmp::Reverse(cell.len()));
    examples.dedup();
    examples.into_iter().take(10).find_map(|example| {
        let letters: String = example.chars().filter(|c| c.is_alphabetic()).collect();
        if !letters.is_empty() && !CURRENCIES.contains(&letters.to_uppercase().as_str()) {
            return None;
        }
        let format = NumberFormat::by_example(example).ok()?;
        reads(&format).then(|| NumberForm::Like(example.trim().to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn time(cells: &[&str], spec: &str) {
        let column = Column::of("x", cells.iter().copied());
        let found = column.time.map(|time| time.spec).unwrap_or_default();
        assert_eq!(found, spec, "{cells:?}");
    }

    #[test]
    fn the_form_of_a_time_is_found() {
        time(&["2023-01-01T00:00:00Z", "2023-01-01 00:00:01+02:00"], "unit = \"iso\"");
        time(&["1700000000", "1700000001"], "unit = \"s\"");
        time(&["1700000000.25", "1700000001.5"], "unit = \"s\"");
        time(&["1700000000000"], "unit = \"ms\"");
        time(&["1700000000000000"], "unit = \"us\"");
        time(&["1700000000000000000"], "unit = \"ns\"");
        time(&["01/Aug/1995:00:00:01 -0400"], "unit = \"clf\"");
        time(&["Sun, 06 Nov 1994 08:49:37 GMT"], "unit = \"http\"");
        time(&["24.12.2023 18:00:00", "01.02.2023 08:00:00"], "format = \"%d.%m.%Y %H:%M:%S\"");
        time(&["12/24/2023 18:00", "02/01/2023 08:00"], "format = \"%m/%d/%Y %H:%M\"");
        time(&["24/12/2023 18:00", "02/01/2023 08:00"], "format = \"%d/%m/%Y %H:%M\"");
        time(&["20231224"], "unit = \"iso\"");
        time(&["1", "2", "17"], "");
        time(&["soon"], "");
        time(&[], "");
        let both = Column::of("x", ["02/01/2023"].into_iter());
        assert!(both.time.unwrap().doubt.is_some());
    }

    #[test]
    fn the_form_of_a_number_is_found() {
        for (cells, form) in [
            (&["1", "2.5", ".5", "NULL"][..], Some(NumberForm::Plain)),
            (&["12,50", "1.200,50"], Some(NumberForm::Like("1.200,50".into()))),
            (&["$12.50", "$1,200.50"], Some(NumberForm::Like("$1,200.50".into()))),
            (&["a", "b"], None),
            (&[], None),
        ] {
            assert_eq!(Column::of("x", cells.iter().copied()).number, form, "{cells:?}");
        }
    }
}
