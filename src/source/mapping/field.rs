//! One attribute of an event: of which cells it is made, and how.

use std::borrow::Cow;
use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use regex::Regex;
use serde::Serialize;

use super::cell::Cell;
use super::condition::{Condition, pattern};
use super::document::{NumberSpec, Spec};
use super::error::Broken;
use crate::domain::event::time_rule::{NoTime, TimeRule};
use crate::domain::number::text::{NumberFormat, NumberText};
use crate::domain::time::EpochMs;

/// One attribute.
#[derive(Clone, Debug)]
pub(in crate::source) struct Field {
    pub attribute: String,
    /// The first of these that gives a value is taken.
    pub choices: Vec<Choice>,
}

/// One way to make an attribute.
#[derive(Clone, Debug)]
pub(in crate::source) struct Choice {
    /// Indices in `Mapping::wanted`; none when the value is the same in every row.
    pub columns: Vec<usize>,
    join: String,
    cuts: Vec<Cut>,
    makes: Makes,
    /// As declared, for messages.
    form: String,
    map: BTreeMap<String, String>,
    default: Option<String>,
    /// A constant, as JSON.
    value: Option<String>,
    /// Texts that stand for nothing, besides an empty one.
    absent: Option<Vec<String>>,
    when: Vec<Condition>,
}

/// What is made of a cell.
#[derive(Clone, Debug)]
enum Makes {
    /// The event's time.
    Time(TimeRule),
    /// When the file was written last, or standard input was read.
    Arrival,
    Number(NumberFormat),
    Text,
}

/// A piece of a text.
#[derive(Clone, Debug)]
enum Cut {
    Before(String),
    After(String),
    BeforeLast(String),
    AfterLast(String),
    /// The first group, or the whole match.
    Match(Regex),
    Url,
}

/// What became of an attribute in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) enum Made {
    /// The JSON value.
    Value(String),
    /// The event's time.
    Time(EpochMs),
    /// Nothing was there.
    Absent,
    /// Something was there that cannot be used: why, and the text.
    Unusable(&'static str, String),
}

impl Field {
    pub(super) fn checked(
        attribute: String,
        specs: Vec<Spec>,
        absent: Option<&[String]>,
        column: &mut dyn FnMut(String) -> usize,
    ) -> Result<Self, Broken> {
        let key = format!("fields.{attribute}");
        if specs.is_empty() {
            return Err(Broken::new(key, "names no column"));
        }
        let mut choices = Vec::new();
        for spec in specs {
            choices.push(Choice::checked(&key, attribute == "ts", spec, absent, column)?);
        }
        Ok(Field { attribute, choices })
    }

    /// The attribute in a row. `arrival`: for rows that are stamped when they arrive.
    pub fn make(&self, cells: &[Option<Cell<'_>>], arrival: EpochMs) -> Made {
        let mut first = Made::Absent;
        for choice in &self.choices {
            match choice.make(cells, arrival) {
                made @ (Made::Value(_) | Made::Time(_)) => return made,
                Made::Absent => {}
                unusable if first == Made::Absent => first = unusable,
                Made::Unusable(..) => {}
            }
        }
        first
    }

    /// How a time is declared, for a message.
    pub fn form(&self) -> &str {
        &self.choices[0].form
    }
}

impl Choice {
    fn checked(
        key: &str,
        is_time: bool,
        spec: Spec,
        absent: Option<&[String]>,
        column: &mut dyn FnMut(String) -> usize,
    ) -> Result<Self, Broken> {
        let Spec { columns, table } = spec;
        let broken = |rule: &str| Err(Broken::new(key, rule));
        if table.column.is_some() && !table.columns.is_empty() {
            return broken("has both `column` and `columns`: write one of them");
        }
        if table.join.is_some() && table.columns.len() < 2 {
            return broken("`join` stands between several `columns`");
        }
        let is_number = !matches!(table.number, NumberSpec::Plain(false));
        let makes = match (&table.unit, &table.format) {
            (Some(_), _) | (_, Some(_)) if !is_time => {
                return broken("only `ts` has a unit or a format");
            }
            (Some(_), Some(_)) => return broken("write `unit` or `format`, not both"),
            (None, None) if is_time && table.value.is_none() => {
                return broken(
                    "`ts` needs a unit: ms, s, us, ns, iso, clf, http, auto or arrival; or a format",
                );
            }
            (Some(unit), None) if unit == "arrival" => Makes::Arrival,
            (unit, format) if is_time => {
                let form = unit.as_deref().or(format.as_deref()).unwrap_or_default();
                let zone = table.zone.as_deref().unwrap_or_default();
                Makes::Time(TimeRule::declared(form, zone).map_err(|rule| Broken::new(key, rule))?)
            }
            _ if table.zone.is_some() => return broken("only `ts` has a zone"),
            _ => match &table.number {
                NumberSpec::Plain(false) => Makes::Text,
                NumberSpec::Plain(true) => Makes::Number(NumberFormat::default()),
                NumberSpec::Example(example) => Makes::Number(
                    NumberFormat::by_example(example).map_err(|rule| Broken::new(key, rule))?,
                ),
            },
        };
        let constant = table.value.is_some() || table.default.is_some();
        let arrival = matches!(makes, Makes::Arrival);
        if columns.is_empty() && !arrival && (!constant || !table.map.is_empty() || is_time) {
            return broken("names no column");
        }
        if is_time && is_number {
            return broken("`ts` is a number by its unit");
        }
        if (is_time || is_number) && (!table.map.is_empty() || table.default.is_some()) {
            return broken("`map` and `default` are for texts");
        }
        if table.value.is_some() && (!columns.is_empty() || table.default.is_some()) {
            return broken("`value` is the same in every row: it goes without a column or default");
        }
        let value = table.value.as_ref().map(|value| constant_json(key, value)).transpose()?;
        let conditions = table.when.0.clone().into_iter();
        let when = conditions.map(|spec| Condition::checked(key, spec, column));
        Ok(Choice {
            when: when.collect::<Result<_, _>>()?,
            columns: columns.into_iter().map(column).collect(),
            join: table.join.clone().unwrap_or_else(|| " ".to_owned()),
            cuts: cuts(key, &table)?,
            form: match (table.unit, table.format) {
                (Some(unit), _) => format!("unit = {unit:?}"),
                (_, Some(format)) => format!("format = {format:?}"),
                _ => String::new(),
            },
            makes,
            map: table.map,
            default: table.default,
            value,
            absent: absent.map(<[String]>::to_vec),
        })
    }

    fn make(&self, cells: &[Option<Cell<'_>>], arrival: EpochMs) -> Made {
        if !self.when.iter().all(|condition| condition.holds(cells)) {
            return Made::Absent;
        }
        if let Some(value) = &self.value {
            return Made::Value(value.clone());
        }
        if matches!(self.makes, Makes::Arrival) {
            return Made::Time(arrival);
        }
        let text = match self.text(cells) {
            Ok(text) => text,
            Err(reason) => {
                let cell = self.columns.first().and_then(|column| cells[*column].as_ref());
                let cell = cell.map(|cell| cell.text().to_owned()).unwrap_or_default();
                return Made::Unusable(reason, cell);
            }
        };
        match &self.makes {
            Makes::Time(rule) => match text {
                None => Made::Absent,
                Some(text) => match rule.of_text(&text) {
                    Ok(time) => Made::Time(time.at),
                    Err(NoTime::Absent) => Made::Absent,
                    Err(NoTime::Form) => {
                        Made::Unusable("no time in the declared form", text.into())
                    }
                    Err(NoTime::Range) => {
                        Made::Unusable("a time outside the years 0 to 9999", text.into())
                    }
                },
            },
            Makes::Number(format) => match text {
                None => Made::Absent,
                Some(text) => match format.read(&text) {
                    NumberText::Absent => Made::Absent,
                    NumberText::Number(number) => Made::Value(number.into_owned()),
                    NumberText::Unreadable => Made::Unusable("not a number", text.into()),
                },
            },
            Makes::Arrival | Makes::Text => self.named(text, cells),
        }
    }

    /// A text by `map` and `default`.
    fn named(&self, text: Option<Cow<'_, str>>, cells: &[Option<Cell<'_>>]) -> Made {
        let listed = text.as_deref().and_then(|text| self.map.get(text));
        if let Some(text) = listed.or(self.default.as_ref()) {
            return Made::Value(quoted(text));
        }
        let as_it_is = self.columns.len() == 1 && self.cuts.is_empty();
        match (text, self.columns.first().and_then(|column| cells[*column].as_ref())) {
            (None, _) => Made::Absent,
            (Some(_), Some(Cell::Json(json))) if as_it_is => match json.as_bytes().first() {
                Some(b'{') => Made::Unusable("an object", json.to_string()),
                Some(b'[') => Made::Unusable("an array", json.to_string()),
                _ => Made::Value(json.to_string()),
            },
            (Some(text), _) => Made::Value(quoted(&text)),
        }
    }

    /// The cells' text, joined and cut; `None` when nothing is there.
    fn text<'c>(
        &self,
        cells: &'c [Option<Cell<'_>>],
    ) -> Result<Option<Cow<'c, str>>, &'static str> {
        let present = |column: &usize| {
            let cell = cells[*column].as_ref()?;
            Some(cell.text()).filter(|text| !self.is_absent(text, cell))
        };
        let mut text = match self.columns.as_slice() {
            [column] => match present(column) {
                Some(text) => Cow::Borrowed(text),
                None => return Ok(None),
            },
            columns => {
                let parts: Vec<&str> = columns.iter().filter_map(present).collect();
                if parts.is_empty() {
                    return Ok(None);
                }
                Cow::Owned(parts.join(&self.join))
            }
        };
        for cut in &self.cuts {
            text = cut.of(text)?;
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    fn is_absent(&self, text: &str, cell: &Cell<'_>) -> bool {
        match (&self.absent, cell) {
            (Some(absent), _) => text.is_empty() || absent.iter().any(|absent| absent == text),
            (None, Cell::Json(_)) => false,
            (None, Cell::Text(_)) => {
                text.is_empty() || text.eq_ignore_ascii_case("null") || text == "\\N"
            }
        }
    }
}

impl Cut {
    /// A text without the separator stays whole.
    fn of<'t>(&self, text: Cow<'t, str>) -> Result<Cow<'t, str>, &'static str> {
        let part = match self {
            Cut::Before(sign) => text.split_once(sign.as_str()).map(|(part, _)| part.to_owned()),
            Cut::After(sign) => text.split_once(sign.as_str()).map(|(_, part)| part.to_owned()),
            Cut::BeforeLast(sign) => {
                text.rsplit_once(sign.as_str()).map(|(part, _)| part.to_owned())
            }
            Cut::AfterLast(sign) => {
                text.rsplit_once(sign.as_str()).map(|(_, part)| part.to_owned())
            }
            Cut::Match(pattern) => {
                let found = pattern.captures(&text).ok_or("does not match")?;
                let group = found.get(1).or_else(|| found.get(0));
                Some(group.map(|group| group.as_str().to_owned()).unwrap_or_default())
            }
            Cut::Url => {
                let spaced = text.replace('+', " ");
                Some(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
            }
        };
        Ok(part.map_or(text, |part| Cow::Owned(part.trim().to_owned())))
    }
}

fn cuts(key: &str, table: &super::document::SpecTable) -> Result<Vec<Cut>, Broken> {
    let signs = [
        ("before", &table.before, Cut::Before as fn(String) -> Cut),
        ("after", &table.after, Cut::After),
        ("before_last", &table.before_last, Cut::BeforeLast),
        ("after_last", &table.after_last, Cut::AfterLast),
    ];
    let mut cuts = Vec::new();
    if table.url_decode {
        cuts.push(Cut::Url);
    }
    if let Some(text) = &table.pattern {
        cuts.push(Cut::Match(pattern(key, text)?));
    }
    for (name, sign, make) in signs {
        match sign.as_deref() {
            Some("") => return Err(Broken::new(key, format!("`{name}` is empty"))),
            Some(sign) => cuts.push(make(sign.to_owned())),
            None => {}
        }
    }
    Ok(cuts)
}

fn constant_json(key: &str, value: &toml::Value) -> Result<String, Broken> {
    match value {
        toml::Value::String(text) => Ok(quoted(text)),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) if number.is_finite() => Ok(number.to_string()),
        toml::Value::Boolean(flag) => Ok(flag.to_string()),
        _ => Err(Broken::new(key, "`value` must be a text, a number, or true or false")),
    }
}

/// A text as JSON.
pub(in crate::source) fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    text.serialize(&mut serde_json::Serializer::new(&mut out))
        .expect("text can always be written as JSON to memory");
    String::from_utf8(out).expect("JSON is UTF-8")
}
