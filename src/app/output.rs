//! The files a replay writes: ended sessions and final windows, with their digests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::actors::pipeline::Output;
use crate::domain::keeper::Keeper;
use crate::domain::metric::engine::Point;
use crate::domain::session::Cut;
use crate::domain::time::EpochMs;

/// Digests of what was written, for the report.
#[derive(Clone, Debug, Default)]
pub struct Digests {
    /// SHA-256 of the session list; `None` when it was not asked for.
    pub sessions: Option<String>,
    /// SHA-256 of each metric's window lines; empty when they were not asked for.
    pub windows: BTreeMap<String, String>,
}

/// Where to write.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// `user,start,last,events` rows as CSV, sorted by start and user. The row of a session that
    /// was cut ends with `,max_length` or `,displaced`.
    pub sessions: Option<PathBuf>,
    /// `metric,window_end_ms,group,value` rows as CSV, sorted by end, then as the metrics are
    /// configured.
    pub windows: Option<PathBuf>,
    /// Filled by [`Targets::finish`].
    pub digests: Arc<Mutex<Collected>>,
}

/// What is collected until the end. The session list is sorted in memory: some 60 bytes
/// for each session of the replay, only when the list is asked for.
#[derive(Debug, Default)]
pub struct Collected {
    sessions: Vec<(EpochMs, Box<str>, EpochMs, u32, Cut)>,
    windows: BTreeMap<String, Sha256>,
}

struct Files {
    list: bool,
    windows: Option<(PathBuf, BufWriter<File>)>,
    collected: Arc<Mutex<Collected>>,
}

impl Targets {
    /// True when nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_none() && self.windows.is_none()
    }

    /// Opens the files anew.
    ///
    /// # Errors
    /// When one cannot be made: names it.
    pub fn open(&self) -> Result<Box<dyn Output>, String> {
        *self.digests.lock() = Collected::default();
        let windows = match &self.windows {
            Some(path) => Some((path.clone(), create(path)?)),
            None => None,
        };
        let collected = Arc::clone(&self.digests);
        Ok(Box::new(Files { list: self.sessions.is_some(), windows, collected }))
    }

    /// Writes the session list and returns the digests.
    ///
    /// # Errors
    /// When a file cannot be written: names it.
    pub fn finish(&self) -> Result<Digests, String> {
        let mut collected = std::mem::take(&mut *self.digests.lock());
        let windows = collected.windows.into_iter();
        let windows = windows.map(|(metric, hash)| (metric, hex(hash))).collect();
        let Some(path) = &self.sessions else { return Ok(Digests { sessions: None, windows }) };
        collected.sessions.sort_unstable();
        let mut file = create(path)?;
        let mut hash = Sha256::new();
        // Every row has as many cells: the fifth only where a session was cut at all.
        let any_cut = collected.sessions.iter().any(|(.., cut)| !cut.name().is_empty());
        for (first, key, last, events, cut) in &collected.sessions {
            let (first, last, events) = (first.to_string(), last.to_string(), events.to_string());
            let cells = [key, first.as_str(), last.as_str(), events.as_str(), cut.name()];
            let line = row(&cells[..4 + usize::from(any_cut)]);
            hash.update(&line);
            file.write_all(&line).map_err(|error| cannot(path, &error))?;
        }
        file.flush().map_err(|error| cannot(path, &error))?;
        Ok(Digests { sessions: Some(hex(hash)), windows })
    }
}

impl Output for Files {
    fn write(&mut self, keeper: &Keeper) -> Result<(), String> {
        let mut collected = self.collected.lock();
        if self.list {
            let closed = keeper.ended.iter().filter(|ended| ended.ending.closes_session);
            collected.sessions.extend(closed.map(|ended| {
                let ending = &ended.ending;
                (ending.first, ended.key.as_str().into(), ending.last, ending.events, ending.cut)
            }));
        }
        let Some((path, file)) = &mut self.windows else { return Ok(()) };
        // Each barrier's numbers are final after those of the barrier before: sorted within it, they
        // are sorted over all, wherever the barriers fall.
        let final_at =
            |point: &Point| keeper.engine.metrics()[usize::from(point.metric)].final_at(point.end);
        let mut points: Vec<_> = keeper.points.iter().collect();
        points.sort_by_key(|point| (final_at(point), point.end, point.metric, point.group));
        for point in points {
            let index = usize::from(point.metric);
            let metric = &keeper.engine.metrics()[index].spec.name;
            let group = keeper.engine.state(index).groups.text(point.group);
            let line = row(&[&point.end.to_string(), &group, &point.value.to_text()]);
            match collected.windows.get_mut(metric) {
                Some(hash) => hash.update(&line),
                None => {
                    collected.windows.insert(metric.clone(), Sha256::new_with_prefix(&line));
                }
            }
            // A metric's name needs no quotes.
            file.write_all(format!("{metric},").as_bytes())
                .and_then(|()| file.write_all(&line))
                .map_err(|error| cannot(path, &error))?;
        }
        file.flush().map_err(|error| cannot(path, &error))
    }
}

/// A row of CSV with its line end; cells are quoted where they must be.
fn row(cells: &[&str]) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().buffer_capacity(256).from_writer(Vec::new());
    writer.write_record(cells).expect("writing to memory cannot fail");
    writer.into_inner().expect("writing to memory cannot fail")
}

fn create(path: &PathBuf) -> Result<BufWriter<File>, String> {
    File::create(path).map(BufWriter::new).map_err(|error| cannot(path, &error))
}

fn cannot(path: &std::path::Path, error: &std::io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a text cannot fail");
        text
    })
}
