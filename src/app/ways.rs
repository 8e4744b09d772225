//! What a pipeline stands on: the files of its folder, and where events come from and go to.

use std::collections::HashSet;
use std::sync::Arc;

use super::builder::{SourceFactory, StartError};
use super::nats::{self, Link};
use super::parts;
use crate::actors::ports::{EventLog, Source};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::domain::event::Schema;
use crate::store;
use crate::store::folder::Folder;
use crate::store::log::EmbeddedLog;
use crate::store::records::StoredRecords;
use crate::store::state::StateDb;

/// A data folder with its files open.
pub(super) struct Files {
    pub folder: Folder,
    pub log: EmbeddedLog,
    pub state: StateDb,
    pub records: Arc<StoredRecords>,
}

impl Files {
    pub(super) fn open(
        config: &Config,
        clock: &SharedClock,
        seed: Option<u64>,
        scratch: bool,
    ) -> Result<Files, StartError> {
        let data_dir = &config.general.data_dir;
        let folder =
            if scratch { Folder::open_scratch(data_dir)? } else { Folder::open(data_dir)? };
        let log = EmbeddedLog::open(&folder, Arc::clone(clock), parts::log_settings(config))?;
        let settings = store::Settings { seed, ..config.store.clone() };
        let state = StateDb::open(&folder, log.clone(), settings)?;
        let records = Arc::new(StoredRecords::of(&folder)?);
        Ok(Files { folder, log, state, records })
    }
}

/// Where events come from, and where posted ones go.
pub(super) struct Ways {
    /// At least one, each with a name of its own.
    pub sources: Vec<Box<dyn Source>>,
    /// None where the sources are the starter's own.
    pub intake: Option<Arc<dyn EventLog>>,
    pub link: Option<Link>,
}

impl Ways {
    /// The embedded log, or the streams of the configuration.
    pub(super) fn open(
        config: &Config,
        clock: &SharedClock,
        files: &Files,
        schema: &Arc<Schema>,
    ) -> Result<Ways, StartError> {
        let Some((link, sources)) = nats::open(config, clock)? else {
            let sources: Vec<Box<dyn Source>> = vec![Box::new(files.log.source()?)];
            return Ok(Ways { sources, intake: Some(Arc::new(files.log.clone())), link: None });
        };
        if !config.nats.out.dead_letters_stream.is_empty() {
            // Before the store's thread begins: none may leave until the output says so.
            files.state.figures().publish_letters();
        }
        let intake = nats::gateway(config, &link, schema)?;
        Ways { sources, intake, link: Some(link) }.checked()
    }

    /// The starter's own sources; nothing can be posted then.
    pub(super) fn own(made: Vec<SourceFactory>, clock: &SharedClock) -> Result<Ways, StartError> {
        let sources = made.into_iter().map(|make| make(Arc::clone(clock)));
        let sources = sources.collect::<Result<_, _>>().map_err(StartError::Source)?;
        Ways { sources, intake: None, link: None }.checked()
    }

    fn checked(self) -> Result<Ways, StartError> {
        let mut names = HashSet::new();
        match self.sources.iter().map(|s| s.name()).find(|name| !names.insert(*name)) {
            Some(twice) => Err(StartError::Source(format!("two sources have the name {twice:?}"))),
            None => Ok(self),
        }
    }
}
