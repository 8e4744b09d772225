//! Another configuration while the process runs: what would become of what is kept (the plan), and
//! how the pipeline takes it.
//!
//! A generation ends with a last commit, and the next one goes on from it by the other course, as a
//! start of the process would: metrics and rules are recognised by what they mean. So whatever a
//! reload does, a restart does the same, and a crash in between is one.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::oneshot;

use super::pipeline::Course;
use crate::domain::commit::SourcePosition;
use crate::domain::condition::Condition;
use crate::domain::keeper::Filling;
use crate::domain::time::{EpochMs, SpanMs};

/// To the pipeline: count by another course from the next commit on.
pub struct Change {
    /// The course.
    pub course: Course,
    /// Something to be put into the last commit of the former one.
    pub fill: Option<Fill>,
    /// Told when it is taken, or why it cannot be; the former one goes on then. Dropped when the
    /// engine stopped or died before.
    pub done: oneshot::Sender<Result<Taken, String>>,
}

/// Where the pipeline stands when something is put in.
#[derive(Clone, Copy, Debug)]
pub struct FillAt {
    /// Position of its first source.
    pub position: u64,
    /// Its watermark.
    pub watermark: EpochMs,
}

/// Makes the sections of a commit that is put behind the last one, at the same position. Nothing is
/// counted meanwhile.
pub type Fill = Box<dyn FnOnce(FillAt) -> BoxFuture<'static, Result<Vec<Vec<u8>>, String>> + Send>;

/// The metrics that a generation would have filled from the log.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The watermark when it began.
    pub watermark: EpochMs,
    /// None, mostly.
    pub fillings: Vec<Filling>,
}

/// A course that was taken.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Taken {
    /// The last commit of the former one.
    pub epoch: u64,
    /// Position of each source in it: what is new counts from the next item on.
    pub positions: Vec<At>,
    /// How long nothing was counted, in ms.
    pub stood_ms: SpanMs,
}

/// A position in a source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct At {
    /// The source.
    pub source: String,
    /// Position of the last item.
    pub position: u64,
}

/// A change that is being made: from the last commit of a generation until the next one runs.
#[derive(Default)]
pub(super) struct Switch {
    /// Goes on when the other one cannot be begun.
    pub former: Option<Course>,
    pub done: Option<oneshot::Sender<Result<Taken, String>>>,
    pub fill: Option<Fill>,
    /// Why nothing was put in, although it was asked for.
    pub unfilled: Option<String>,
    /// Monotonic time when nothing was counted any more.
    pub since: SpanMs,
}

impl Switch {
    /// What is said while the last commit is taken up.
    pub(super) fn restoring(&self) -> Condition {
        if self.former.is_some() { Condition::Reloading } else { Condition::Restoring }
    }

    /// The generation of the other course runs.
    pub(super) fn taken(&mut self, (epoch, positions): (u64, Vec<SourcePosition>), now: SpanMs) {
        self.former = None;
        let at = |at: SourcePosition| At { source: at.source.name, position: at.position };
        let positions = positions.into_iter().map(at).collect();
        let taken = Taken { epoch, positions, stood_ms: now - self.since };
        let answer = self.unfilled.take().map_or(Ok(taken), Err);
        self.answer(answer);
    }

    pub(super) fn answer(&mut self, answer: Result<Taken, String>) {
        if let Some(done) = self.done.take() {
            // Who asked may have gone.
            let _ = done.send(answer);
        }
    }
}

/// What another configuration does, or did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The keys that are others, and every metric and rule that is.
    pub changes: Vec<KeyChange>,
    /// What becomes of what is kept and of what is declared.
    pub outlook: Vec<Prospect>,
    /// Metrics and rules whose history is dropped.
    pub loses: usize,
    /// Most bytes that the numbers of all metrics can take.
    pub metric_bytes_max: u64,
    /// The same before.
    pub metric_bytes_max_was: u64,
    /// `None` where it was only asked for, or there is nothing to do.
    pub taken: Option<Taken>,
}

/// A key that has another value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeyChange {
    /// `session.gap`, `metric orders`.
    pub key: String,
    /// As TOML; `None` where it was not declared.
    pub was: Option<String>,
    /// As TOML; `None` where it is not declared any more.
    pub is: Option<String>,
}

/// What becomes of one thing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prospect {
    /// `metric orders`, `rule spike`, `session.gap`.
    pub subject: String,
    /// `kept`, `renamed`, `changed`, `gone`, `new` or `setting`.
    pub fate: &'static str,
    /// For people.
    pub says: String,
}

/// Why a configuration was not taken. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Refusal {
    /// It was not read from a file.
    #[error(
        "there is nothing to read again: this process was started without a configuration file (--config), or reads something that ends"
    )]
    NoFile,
    /// Another one is being taken.
    #[error("another reload is under way; ask again when it is done")]
    UnderWay,
    /// The file cannot be read, or something in it breaks a rule.
    #[error("{text}")]
    Invalid {
        /// Every mistake with its place, key, value and rule, a line each.
        text: String,
        /// The same for machines: `place`, `key`, `value`, `rule`.
        problems: Vec<Value>,
    },
    /// Keys that hold from the start of the process to its end have other values.
    #[error("{}", needs_restart(.0))]
    NeedsRestart(Vec<KeyChange>),
    /// The engine could not take it.
    #[error("{0}")]
    Failed(String),
}

fn needs_restart(keys: &[KeyChange]) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".into());
    let one =
        |key: &KeyChange| format!("{} was {}, is {}", key.key, value(&key.was), value(&key.is));
    let all: Vec<String> = keys.iter().map(one).collect();
    format!(
        "needs a restart: {}. Nothing of the file was taken; restart the process, or set back what \
         cannot change while it runs",
        all.join("; ")
    )
}

/// Reads the configuration again and takes it; or, asked for the plan alone, only says what would
/// become of everything.
pub type Reload = Arc<dyn Fn(bool) -> BoxFuture<'static, Result<Plan, Refusal>> + Send + Sync>;
