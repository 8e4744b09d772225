//! `tidewatch check`: is the configuration sound, what is in force, and what would a start do
//! to what a data folder keeps?

use std::sync::Arc;

use thiserror::Error;

use crate::actors::ports::StoreError;
use crate::cli::Exit;
use crate::cli::args::{CheckArgs, Common};
use crate::config::{Config, ConfigError, show_size};
use crate::domain::keeper::{Keeper, Outlook};
use crate::domain::metric::Metric;
use crate::domain::session::Rules;
use crate::store::look::{Seen, look};

/// Why it is not sound.
#[derive(Debug, Error)]
pub enum CheckError {
    /// Every mistake in the configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data folder that was named cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state in it cannot be read.
    #[error("the state in {folder} is damaged: {cause}")]
    State {
        /// The folder.
        folder: String,
        /// What does not fit.
        cause: String,
    },
}

impl CheckError {
    /// The exit code that goes with it.
    pub fn exit(&self) -> Exit {
        match self {
            CheckError::Config(_) => Exit::Usage,
            CheckError::Store(StoreError::Damaged { .. } | StoreError::Format { .. })
            | CheckError::State { .. } => Exit::Damaged,
            CheckError::Store(_) => Exit::Failed,
        }
    }
}

/// The text to print. A data folder is looked at when one was named.
///
/// # Errors
/// Every mistake in the configuration; what is wrong with the data folder.
pub fn run(
    args: &CheckArgs,
    common: &Common,
    loaded: Result<Config, ConfigError>,
) -> Result<String, CheckError> {
    let config = loaded?;
    if args.print {
        return Ok(config.print().trim_end().to_string());
    }
    let mut text = summary(&config);
    if args.plan || common.data_dir.is_some() {
        text.push_str(&history(&config)?);
    }
    if args.plan {
        let bytes = show_size(config.metric_bytes_max());
        text.push_str(&format!("\nThe numbers of all metrics may come to hold {bytes}."));
    }
    Ok(text)
}

fn summary(config: &Config) -> String {
    let schema = config.schema(0);
    let warnings = config.warnings().into_iter().chain(channels(config));
    let warnings = warnings.map(|warning| format!("warning: {warning}\n"));
    format!(
        "{}The configuration is sound (metrics: {}, rules: {}, attributes used: {}, \
         event types named: {}).",
        warnings.collect::<String>(),
        config.metrics.len(),
        config.rules.len(),
        schema.slots.len(),
        schema.event_types.len()
    )
}

/// What keeps a start here from opening channels: a secret that is elsewhere.
#[cfg(feature = "notify")]
fn channels(config: &Config) -> Vec<String> {
    let (place, clock) = (config.place(), crate::clock::SystemClock::shared());
    let wrong = |channel: &tidewatch_notify::Spec| {
        let wrong = channel.open(&place, &clock).err()?;
        Some(format!("channel.{}.{wrong}: nothing starts like this", channel.name))
    };
    config.channels.iter().filter_map(wrong).collect()
}

#[cfg(not(feature = "notify"))]
fn channels(_: &Config) -> Vec<String> {
    Vec::new()
}

/// What a start would do to what the data folder keeps.
fn history(config: &Config) -> Result<String, CheckError> {
    let folder = config.general.data_dir.display().to_string();
    let (epoch, outlook) = match outlook(config)? {
        Kept::NoFolder => {
            return Ok(format!(
                "\nThere is no folder {folder}: a start makes it, and begins anew."
            ));
        }
        Kept::Nothing => {
            return Ok(format!("\nNothing is kept in {folder} yet: a start begins anew."));
        }
        Kept::Commit { epoch, outlook } => (epoch, outlook),
    };
    let lines: String = outlook.iter().map(|one| format!("\n  {}", one.ahead())).collect();
    let lost = match outlook.iter().filter(|one| one.loses()).count() {
        0 => "No history would be lost.".to_owned(),
        lost => format!(
            "A start would lose the history of {lost}. A copy of the folder, made while nothing \
             runs on it, keeps it."
        ),
    };
    Ok(format!("\nIn {folder}, as of commit {epoch}:{lines}\n{lost}"))
}

/// What a data folder keeps, and what a configuration would do to it.
pub enum Kept {
    /// There is no such folder.
    NoFolder,
    /// There is no commit in it.
    Nothing,
    /// As of the last commit.
    Commit {
        /// Its number.
        epoch: u64,
        /// Of everything that is kept or declared.
        outlook: Vec<Outlook>,
    },
}

/// What a configuration would do to what its data folder keeps. Changes nothing.
///
/// # Errors
/// When the folder cannot be read, or is damaged.
pub fn outlook(config: &Config) -> Result<Kept, CheckError> {
    let (epoch, entries) = match look(&config.general.data_dir)? {
        Seen::NoFolder => return Ok(Kept::NoFolder),
        Seen::Nothing => return Ok(Kept::Nothing),
        Seen::Commit { epoch, entries } => (epoch, entries),
    };
    let schema = config.schema(0);
    let metrics = Metric::compile_all(&config.metrics, &schema);
    let rules = Rules::compile(&config.session, &config.time, &schema);
    let mut keeper =
        Keeper::new(Arc::new(metrics), config.rules.clone(), Arc::new(rules), &config.time);
    keeper.note_settings(config.sessions_meaning());
    keeper.note_meanings(config.meanings());
    let folder = config.general.data_dir.display().to_string();
    let damaged = |cause| CheckError::State { folder, cause };
    Ok(Kept::Commit { epoch, outlook: keeper.outlook(entries).map_err(damaged)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_configuration_is_summed_up_or_printed() {
        let check = |print| {
            run(
                &CheckArgs { print, ..CheckArgs::default() },
                &Common::default(),
                Config::parse("t.toml", ""),
            )
        };
        assert_eq!(
            check(false).unwrap(),
            "The configuration is sound (metrics: 8, rules: 1, attributes used: 4, event types named: 6)."
        );
        let printed = check(true).unwrap();
        assert_eq!(Config::parse("printed", &printed).unwrap(), Config::default());
    }

    #[test]
    fn a_mistake_is_handed_on() {
        let loaded = Config::parse("t.toml", "[session]\ngap = \"0s\"");
        let error = run(&CheckArgs::default(), &Common::default(), loaded).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert_eq!(
            error.to_string(),
            "t.toml:2:1: session.gap = \"0s\": must be from \"1s\" to \"7d\""
        );
    }
}
