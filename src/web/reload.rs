//! Another configuration for the running process.

use actix_web::HttpResponse;
use actix_web::web::{Data, Query};
use serde::Deserialize;

use super::State;
use super::problem::Problem;
use crate::actors::reload::Refusal;

/// Query of `/v1/reload`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// `1`: only say what it would do.
    #[serde(default)]
    plan: u8,
}

/// `POST /v1/reload`: reads the configuration file again and takes it from the next commit on; with
/// `plan=1`, says what that would do.
///
/// # Errors
/// `Refused` when the configuration is not taken: nothing has changed then. `Busy` while another
/// one is being taken.
pub async fn reload(
    state: Data<State>,
    query: Result<Query<Asked>, Problem>,
) -> Result<HttpResponse, Problem> {
    let plan_only = query?.plan != 0;
    let plan = (state.reload)(plan_only).await.map_err(|refusal| match refusal {
        Refusal::UnderWay => Problem::Busy(refusal.to_string()),
        other => Problem::Refused(other),
    })?;
    Ok(HttpResponse::Ok().json(plan))
}
