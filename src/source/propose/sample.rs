//! The first events of a file, as the engine would get them.

use super::column::Column;
use super::fields::Roles;
use super::{Looked, Settings, events_of, look, made, table, written};
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
    /// A cell for each attribute, in the order of the events; `None` where there is none.
    pub rows: Vec<Vec<Option<String>>>,
}

impl Sample {
    /// Of events that are JSON objects, or arrays of them; `None` where there are none.
    pub fn of_events(name: &str, text: &str, most: usize) -> Option<Sample> {
        let table = table::json(text, most)?;
        let columns = table.looked_at();
        Some(Sample { name: name.to_owned(), map: None, columns, rows: table.rows })
    }

    /// A time and a type: what an event must have.
    fn is_native(&self) -> bool {
        let roles = Roles::of(&self.columns);
        roles.time.is_some() && roles.kind.is_some()
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
    let none = || other("holds no JSON objects".into());
    let mut notes = Vec::new();
    let (map, needed) = match sniff::sniff(&bytes, opened.encoding, &[]) {
        Sniffed::Known(mapping) => (mapping.text().to_owned(), false),
        Sniffed::Native => {
            let found = table::json(&decoded, settings.rows).ok_or_else(none)?;
            let plain = matches!(found.form, table::Form::Json { explode: None });
            let own = Sample::of_events(&name, &decoded, settings.rows).ok_or_else(none)?;
            if plain && own.is_native() {
                return Ok(own);
            }
            (written(&found, &opened, guessed, &mut notes), true)
        }
        Sniffed::Other(what) => {
            let found = table::csv(&decoded, settings.rows).ok_or_else(|| other(what))?;
            (written(&found, &opened, guessed, &mut notes), true)
        }
    };
    let events = events_of(&made(&map, opened, bytes.len(), &progress)?, settings.rows)?;
    let sample = Sample::of_events(&name, &events.join("\n"), settings.rows);
    let sample =
        sample.ok_or_else(|| other("makes no events: none of its first rows is one".into()))?;
    Ok(Sample { map: needed.then_some(map), ..sample })
}
