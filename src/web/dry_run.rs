//! `POST /v1/dry-run`: a question to the past of this server.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;
use actix_web::web::{Bytes, Data, Query};
use futures_util::stream::unfold;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::{Instant, interval_at};

use super::State;
use super::problem::Problem;
use crate::actors::ports::BoxFuture;
use crate::domain::near;

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// A rule, a metric, a pattern or `abandoned`; `None` for the only one that was posted.
    pub name: Option<String>,
    /// Other values of keys, as `--vary` of `tidewatch dry-run` has them.
    pub vary: Vec<String>,
    /// The first time that counts.
    pub from: Option<String>,
    /// The first time that does not count any more.
    pub to: Option<String>,
    /// How often a rule may fire: settings that would have done it are looked for.
    pub at_most: Option<String>,
    /// The stream that holds the past, where there are several.
    pub stream: Option<String>,
    /// `[[metric]]`, `[[rule]]`, `[[pattern]]` and `[[join]]` besides those in force, as TOML.
    pub tables: String,
}

/// The report as JSON, or why there is none.
pub type Answer = Result<String, String>;

/// Why nothing was begun.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Refused {
    /// What was asked cannot be.
    #[error("{0}")]
    Wrong(String),
    /// As many as may be at a time are under way.
    #[error("{0} dry runs are under way, as many as there may be (dry_run.at_once_max)")]
    Busy(usize),
    /// A failure of ours.
    #[error("{0}")]
    Failed(String),
}

/// Begins a dry run: what is wrong with the question is said at once, and the answer comes later. It
/// is given up when its receiver is dropped.
pub type DryRuns = Arc<
    dyn Fn(Question) -> BoxFuture<'static, Result<oneshot::Receiver<Answer>, Refused>>
        + Send
        + Sync,
>;

/// How often a client that waits is sent a line end, which JSON may begin with: whether it still
/// waits is only known by writing to it.
const BEAT: Duration = Duration::from_secs(1);

const PARAMETERS: [&str; 6] = ["name", "vary", "from", "to", "at_most", "stream"];

/// `POST /v1/dry-run`: what a rule, a metric, a pattern or the carts would have done on the log of
/// this server, at several settings.
///
/// # Errors
/// `BadRequest` when it cannot be asked so, `Busy` while others are answered. What goes wrong later
/// stands in the answer as a problem.
pub async fn dry_run(
    state: Data<State>,
    query: Query<Vec<(String, String)>>,
    body: Result<String, actix_web::Error>,
) -> Result<HttpResponse, Problem> {
    let tables = body.map_err(|error| Problem::BadRequest(format!("the body: {error}")))?;
    let mut question = Question { tables, ..Question::default() };
    for (name, value) in query.into_inner() {
        match name.as_str() {
            "name" => question.name = Some(value),
            "vary" => question.vary.push(value),
            "from" => question.from = Some(value),
            "to" => question.to = Some(value),
            "at_most" => question.at_most = Some(value),
            "stream" => question.stream = Some(value),
            _ => {
                let hint = near::hint(&name, PARAMETERS);
                let known = PARAMETERS.join(", ");
                let why = format!("{name:?} is not a parameter; there are {known}{hint}");
                return Err(Problem::BadRequest(why));
            }
        }
    }
    let answer = (state.dry_runs)(question).await.map_err(|refused| match refused {
        Refused::Wrong(_) => Problem::BadRequest(refused.to_string()),
        Refused::Busy(_) => Problem::Busy(refused.to_string()),
        Refused::Failed(_) => Problem::Unavailable(refused.to_string()),
    })?;
    let beat = interval_at(Instant::now() + BEAT, BEAT);
    let chunks = unfold(Some((answer, beat)), async |waits| {
        let (mut answer, mut beat) = waits?;
        let chunk = tokio::select! {
            answer = &mut answer => return Some((Ok::<_, Problem>(text(answer)), None)),
            _ = beat.tick() => Bytes::from_static(b"\n"),
        };
        Some((Ok(chunk), Some((answer, beat))))
    });
    Ok(HttpResponse::Ok().content_type(ContentType::json()).streaming(Box::pin(chunks)))
}

fn text(answer: Result<Answer, oneshot::error::RecvError>) -> Bytes {
    let answer = answer.unwrap_or_else(|_| Err("the dry run's thread ended".into()));
    match answer {
        Ok(text) => text.into(),
        Err(why) => Problem::Unavailable(why).json().to_string().into(),
    }
}
