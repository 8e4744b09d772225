//! One key's open sessions, asked from their actor.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

use super::State;
use super::problem::Problem;

/// `GET /v1/sessions/{key}`. The key may hold slashes.
///
/// # Errors
/// `NotFound` when the key has no open session.
pub async fn session(state: Data<State>, key: Path<String>) -> Result<HttpResponse, Problem> {
    match state.directory.describe(&key).await {
        Some(view) => Ok(HttpResponse::Ok().json(view)),
        None => Err(Problem::NotFound("this key has no open session".into())),
    }
}
