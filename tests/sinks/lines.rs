//! A sink of one's own: alerts are appended to a file, a line each. The example of
//! `docs/extending.md`.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::PathBuf;

use tidewatch::nats::out::JetRow;
use tidewatch::sink::{Delivery, Reached, Resumed, Row as _, Sink, Stop};

/// A file that rows are appended to, by their keys. It cannot say where it stands, so the feed's
/// note does: a crash may append a page twice, with the same keys.
pub struct Lines {
    pub path: PathBuf,
}

impl Lines {
    fn append(&self, page: &[JetRow]) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        let lines: String = page.iter().map(|row| format!("{}\n", row.key())).collect();
        file.write_all(lines.as_bytes())?;
        file.sync_data()
    }
}

impl Sink for Lines {
    type Row = JetRow;

    async fn resume(&mut self) -> Result<Resumed, Stop> {
        Ok(Resumed { reached: Reached::Unknown, identity: self.path.display().to_string() })
    }

    async fn deliver(&mut self, page: &[JetRow]) -> Delivery {
        match self.append(page) {
            Ok(()) => Delivery::taken(page.len()),
            Err(error) => Delivery::stopped(Stop::failed(error)),
        }
    }
}
