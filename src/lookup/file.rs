//! Rows in a CSV file.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tidewatch_connection::LinkSettings;

use super::rows::{Rows, TOO_LARGE};
use super::{Kind, Read, Source, Wanted, Wrong};
use crate::domain::event::Table;
use crate::domain::near;
use crate::domain::settings::settings;

settings! {
    /// A CSV file.
    #[derive(Clone, Debug)]
    pub struct FileKeys in "" {
        /// A CSV file whose first line has the names of its columns.
        pub file: String = String::new(), text();
        /// Of file: what stands between two cells.
        pub delimiter: String = ",".into(), text();
    }
}

impl Kind for FileKeys {
    fn choice(&self) -> &'static str {
        "file"
    }

    fn is_chosen(&self) -> bool {
        !self.file.is_empty()
    }

    fn open(&self, _: Option<&LinkSettings>) -> Result<Arc<dyn Source>, Wrong> {
        let [delimiter] = *self.delimiter.as_bytes() else {
            return Err(Wrong::of("delimiter", "must be one character, such as \";\" or \"\\t\""));
        };
        Ok(Arc::new(CsvFile {
            path: self.file.clone().into(),
            delimiter,
            looked: Mutex::default(),
        }))
    }
}

#[derive(Debug)]
struct CsvFile {
    path: PathBuf,
    delimiter: u8,
    /// What the last look found.
    looked: Mutex<Option<Looked>>,
}

#[derive(Debug)]
struct Looked {
    version: String,
    /// Why this version cannot be used.
    refused: Option<String>,
}

impl Source for CsvFile {
    fn read(&self, wanted: &Wanted, since: Option<&str>) -> Result<Option<Read>, String> {
        let found = fs::metadata(&self.path).map_err(unreadable)?;
        let (ino, len, at) = (found.ino(), found.len(), (found.mtime(), found.mtime_nsec()));
        let version = format!("{ino}-{len}-{}.{:09}", at.0, at.1);
        let mut looked = self.looked.lock();
        if let Some(since) = since {
            // What is being written is read when it is done: when two looks find the same.
            let before = looked.take().filter(|before| before.version == version);
            let again = before.is_some();
            let refused = before.and_then(|before| before.refused);
            *looked = Some(Looked { version: version.clone(), refused: refused.clone() });
            match refused {
                Some(cause) => return Err(cause),
                None if since == version || !again => return Ok(None),
                None => {}
            }
        }
        match self.table(wanted) {
            Ok(table) => Ok(Some(Read { version, table })),
            Err(cause) => {
                *looked = Some(Looked { version, refused: Some(cause.clone()) });
                Err(cause)
            }
        }
    }

    fn is_far(&self) -> bool {
        false
    }
}

fn unreadable(error: std::io::Error) -> String {
    format!("cannot be read: {error}")
}

impl CsvFile {
    fn table(&self, wanted: &Wanted) -> Result<Table, String> {
        let mut bytes = Vec::new();
        let file = File::open(&self.path).map_err(unreadable)?;
        file.take(wanted.bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() > wanted.bytes_max {
            return Err(TOO_LARGE.into());
        }
        let mut reader = csv::ReaderBuilder::new().delimiter(self.delimiter).from_reader(&*bytes);
        let malformed = |error: csv::Error| format!("is not such a table: {error}");
        let columns = reader.headers().map_err(malformed)?.clone();
        let place = |wanted: &String| {
            columns.iter().position(|column| column == wanted).ok_or_else(|| {
                let known = columns.iter().collect::<Vec<_>>().join(", ");
                let hint = near::hint(wanted, columns.iter());
                format!("has no column {wanted:?} in its first line; there are {known}{hint}")
            })
        };
        let key = place(wanted.column.as_ref().unwrap_or(&wanted.key))?;
        let cells = wanted.cells.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        let (mut table, mut row) = (Rows::of(wanted), csv::StringRecord::new());
        while reader.read_record(&mut row).map_err(malformed)? {
            let cell = |at: usize| row.get(at).unwrap_or_default();
            let line = row.position().map_or(0, csv::Position::line);
            table.put(cell(key), cells.iter().map(|at| cell(*at)), &format_args!("line {line}"))?;
        }
        table.finish()
    }
}
