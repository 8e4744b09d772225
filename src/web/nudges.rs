//! Nudges: how they stand, and who wants to hear nothing.

use actix_web::http::header::{CONTENT_SECURITY_POLICY, ContentType};
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;

use super::State;
use super::answer;
use super::incidents::{Body, name};
use super::problem::Problem;
use crate::domain::nudge::{Command, Refused};

type Answer = Result<HttpResponse, Problem>;

/// Most addresses of one request.
const ADDRESSES_MAX: usize = 1_000;
/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 200;

/// What the page may do that asks: send its form to us.
const POLICY: &str =
    "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// `GET /v1/nudges`: what became of abandoned sessions, and what the nudges bring about.
///
/// # Errors
/// `Unavailable` while nobody can answer.
pub async fn nudges(state: Data<State>, request: HttpRequest) -> Answer {
    let busy = |_| Problem::Unavailable("nobody answered in time: ask again".into());
    let stand = state.directory.nudges().await.map_err(busy)?;
    answer::once(&state, &request, "application/json", json!(stand).to_string()).await
}

/// Body of `/v1/suppressions`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suppress {
    addresses: Vec<String>,
    by: String,
}

/// `POST /v1/suppressions`: nothing more is sent to these addresses. Answered once it is durable.
///
/// # Errors
/// `BadRequest`, or `Unavailable` while nobody can take it.
pub async fn suppress(state: Data<State>, said: Body<Suppress>) -> Answer {
    // What is wrong in it is said without it: it holds addresses.
    let like = r#"{"addresses": ["ada@example.org"], "by": "ada"}"#;
    let said = said.map_err(|_| Problem::BadRequest(format!("expected {like}")))?.into_inner();
    if said.addresses.len() > ADDRESSES_MAX {
        let rule = format!("addresses must hold at most {ADDRESSES_MAX}: send the rest by itself");
        return Err(Problem::BadRequest(rule));
    }
    let command = Command::Suppress { addresses: said.addresses, by: name(said.by)? };
    Ok(HttpResponse::Ok().json(json!({"new": carry_out(&state, command).await?})))
}

/// Query of `/v1/unsubscribe`.
#[derive(Deserialize)]
pub struct Token {
    token: String,
}

/// `GET /v1/unsubscribe?token=...`: a page that asks. It changes nothing, for mail programs and scanners
/// open links on their own.
///
/// # Errors
/// `BadRequest` without a token.
pub async fn ask(query: Result<Query<Token>, Problem>) -> Answer {
    token(query)?;
    Ok(page(
        "Unsubscribe",
        "<p>Do you want no more reminders?</p>\
         <form method=\"post\"><button>Unsubscribe</button></form>",
    ))
}

/// `POST /v1/unsubscribe?token=...`: nothing more is sent to the address that the token stands for. One
/// request is enough (RFC 8058), whatever its body. Answered once it is durable.
///
/// # Errors
/// `BadRequest` when the token is none of ours, or `Unavailable` while nobody can take it.
pub async fn unsubscribe(state: Data<State>, query: Result<Query<Token>, Problem>) -> Answer {
    carry_out(&state, Command::Unsubscribe { token: token(query)? }).await?;
    Ok(page("Done", "<p>You will get no more reminders.</p>"))
}

fn token(query: Result<Query<Token>, Problem>) -> Result<String, Problem> {
    let token = query.ok().map(|query| query.into_inner().token);
    let fits = token.filter(|token| token.len() <= TOKEN_BYTES_MAX);
    fits.ok_or_else(|| Problem::BadRequest("the link has no token: it may have been cut".into()))
}

fn page(title: &str, body: &str) -> HttpResponse {
    let text = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><h1>{title}</h1>{body}"
    );
    HttpResponse::Ok()
        .content_type(ContentType::html())
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .body(text)
}

async fn carry_out(state: &State, command: Command) -> Result<usize, Problem> {
    let busy = |_| Problem::Unavailable("it was not taken in time: say it again".into());
    state.directory.suppress(command).await.map_err(busy)?.map_err(|refused| match refused {
        Refused::NoSecret => Problem::NotFound(refused.to_string()),
        Refused::Full(_) => Problem::Busy(refused.to_string()),
        Refused::Token | Refused::Address(_) => Problem::BadRequest(refused.to_string()),
    })
}
