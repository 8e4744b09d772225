//! Open sessions: one key's, asked from their actor; and those at risk, asked from their shards.

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::answer::PAGE_BYTES_MAX;
use super::lists::limit;
use super::problem::Problem;
use super::{State, answer};
use crate::actors::directory::NotSeen;
use crate::domain::at_risk::By;

/// `GET /v1/sessions/{key}`. The key may hold slashes.
///
/// # Errors
/// `NotFound` when the key has no open session, `Unavailable` when its shard does not answer.
pub async fn session(state: Data<State>, key: Path<String>) -> Result<HttpResponse, Problem> {
    match state.directory.describe(&key).await {
        Ok(Some(view)) => Ok(HttpResponse::Ok().json(view)),
        Ok(None) => Err(Problem::NotFound("this key has no open session".into())),
        Err(no_answer) => Err(Problem::Unavailable(no_answer.to_string())),
    }
}

/// Query of `/v1/at-risk`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtRiskAsked {
    #[serde(default)]
    by: By,
    limit: Option<usize>,
    /// A kind of its own; without it `[session]`.
    of: Option<String>,
}

/// `GET /v1/at-risk`: open sessions with an entry and no goal, by deadline or by value, with what
/// is at stake in all of them; of `[session]`, or of a kind of its own.
///
/// # Errors
/// `BadRequest`, `NotFound` when there is no such kind, `Unavailable` when a shard does not answer.
pub async fn at_risk(
    state: Data<State>,
    request: HttpRequest,
    query: Result<Query<AtRiskAsked>, Problem>,
) -> Result<HttpResponse, Problem> {
    let asked = query?.into_inner();
    let found = state.directory.at_risk_of(asked.of.as_deref()).await;
    let found = found.map_err(|why| match why {
        NotSeen::NoAnswer(why) => Problem::Unavailable(why.to_string()),
        NotSeen::NoSuchKind { .. } => Problem::NotFound(why.to_string()),
    })?;
    let page = found.page(asked.by, limit(asked.limit), PAGE_BYTES_MAX);
    answer::once(&state, &request, "application/json", page.to_string()).await
}
