//! `tidewatch dry-run`, `tidewatch tune` and `POST /v1/dry-run`: a rule, a metric, a pattern or the
//! carts over events of the past, at several settings at once, through the pipeline that serves.
//! Nothing is kept and nothing leaves.

mod asked;
mod command;
mod report;
mod seen;
mod tee;
mod trial;
mod tuning;
mod vary;

pub(super) use self::asked::dry_runs;
pub use self::command::{run, tune};

use self::report::Report;
use self::seen::Range;
use self::trial::{Trial, Tried, trials};
use self::vary::{Ground, Subject, settings};
use crate::cli::Exit;
use crate::config::Config;
use crate::domain::event::time_rule::TimeRule;
use crate::domain::time::{BEGINNING, END_OF_TIME};

/// Why there is no answer.
type Failed = (String, Exit);

/// What is asked.
#[derive(Clone, Debug, Default)]
struct Asked {
    name: String,
    vary: Vec<String>,
    /// Times as people write them.
    from: Option<String>,
    to: Option<String>,
}

/// What came of trials, and what the past is called.
type LookedBack = Result<(Vec<Tried>, String), Failed>;

/// Checks what is asked before `past` runs the trials.
fn dry_run(
    ground: &Ground,
    asked: &Asked,
    past: impl FnOnce(Vec<Trial>, Range) -> LookedBack,
) -> Result<Report, Failed> {
    let usage = |why: String| (why, Exit::Usage);
    let config = &ground.config;
    let subject = Subject::named(config, &asked.name).map_err(usage)?;
    let settings = settings(ground, &subject, &asked.vary).map_err(usage)?;
    let range = asked.range(config).map_err(usage)?;
    let pipelines_max = config.dry_run.pipelines_max;
    let trials = trials(&subject, &settings, pipelines_max).map_err(usage)?;
    let (tried, source) = past(trials, range)?;
    Ok(Report::of(&subject, source, range, &settings, &tried))
}

impl Asked {
    /// The time that is asked about.
    fn range(&self, config: &Config) -> Result<Range, String> {
        let rule = TimeRule::declared("", &config.general.zone)?;
        let time = |flag: &str, text: &Option<String>, open| match text {
            None => Ok(open),
            Some(text) => rule.of_text(text).map(|time| time.at).map_err(|_| {
                format!("{flag} {text}: is not a time such as 2025-11-01 or 2025-11-01T08:00:00Z")
            }),
        };
        let from = time("--from", &self.from, BEGINNING)?;
        let to = time("--to", &self.to, END_OF_TIME)?;
        if from >= to {
            return Err("--from must be before --to".into());
        }
        Ok(Range { from, to })
    }
}
