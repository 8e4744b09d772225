//! One key's open sessions, asked from their actor.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

use super::State;
use super::problem::Problem;

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
