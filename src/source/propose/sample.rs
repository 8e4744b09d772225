//! The first events of a file, as the engine would get them.

use super::column::Column;
use super::roles::Roles;
use super::{Looked, NO_OBJECTS, Settings, events_of, look, made, table, written};
use crate::clock::SharedClock;
use crate::source::input::OpenError;
use crate::source::progress::Progress;
use crate::source::sniff::{self, Sniffed};

/// Some events.
#[derive(Debug)]
pub struct Sample {
    /// Where they come from, for people.
    pub name: String,
    /// The map that makes them, where a replay needs one.
    pub map: Option<String>,
    /// Their attributes.
    pub columns: Vec<Column>,
    /// Which of these hold what every event has.
    pub roles: Roles,
    /// A cell for each attribute, in the order of the events; `None` where there is none.
    pub rows: Vec<Vec<Option<String>>>,
}

impl Sample {
    /// Of events that are JSON objects, or arrays of them; `None` where there are none.
    pub fn of_events(name: &str, text: &str, most: usize) -> Option<Sample> {
        let mut table = table::json(text, most)?;
        for place in std::mem::take(&mut table.dotted).into_iter().rev() {
            table.columns.remove(place);
            table.rows.iter_mut().for_each(|row| drop(row.remove(place)));
        }
        let (columns, rows) = (table.looked_at(), table.rows);
        let roles = Roles::of(&columns, true);
        Some(Sample { name: name.to_owned(), map: None, columns, roles, rows })
    }

    /// A time and a type, each in one attribute: what can be said of events without a map.
    fn is_native(&self) -> bool {
        let Roles { time, clock, kind, detail, .. } = self.roles;
        time.is_some() && kind.is_some() && clock.is_none() && detail.is_none()
    }
}

/// Looks at the first events of a file.
///
/// # Errors
/// When it cannot be read, or nothing in it looks like events.
pub fn sample(settings: &Settings, clock: &SharedClock) -> Result<Sample, OpenError> {
    let progress = Progress::default();
    let Looked { opened, bytes, decoded, guessed } = look(settings, clock, &progress)?;
    let name = opened.input.name.clone();
    let other = |what: String| OpenError::Form { name: name.clone(), what };
    let none = || other(NO_OBJECTS.into());
    let ((map, titles), needed) = match sniff::sniff(&bytes, opened.encoding, &[]) {
        Sniffed::Known(mapping) => ((mapping.text().to_owned(), Vec::new()), false),
        Sniffed::Native => {
            let found = table::json(&decoded, settings.rows).ok_or_else(none)?;
            let plain = found.dotted.is_empty()
                && matches!(found.form, table::Form::Json { explode: None });
            let own = Sample::of_events(&name, &decoded, settings.rows).ok_or_else(none)?;
            if plain && own.is_native() {
                return Ok(own);
            }
            (written(&found, &opened, guessed, false), true)
        }
        Sniffed::Other(what) => {
            let found = table::csv(&decoded, settings.rows).ok_or_else(|| other(what))?;
            (written(&found, &opened, guessed, false), true)
        }
    };
    let events = events_of(&made(&map, opened, bytes.len(), &progress)?, settings.rows)?;
    let sample = Sample::of_events(&name, &events.join("\n"), settings.rows);
    let mut sample =
        sample.ok_or_else(|| other("makes no events: none of its first rows is one".into()))?;
    for column in &mut sample.columns {
        let made_of = titles.iter().find(|(attribute, _)| *attribute == column.name);
        made_of.into_iter().for_each(|(_, title)| column.title.clone_from(title));
    }
    sample.roles = Roles::made(&sample.columns);
    sample.map = needed.then_some(map);
    Ok(sample)
}
