//! For machines that watch us: alive, ready, which version, how much.

use std::fmt::Write as _;

use actix_web::HttpResponse;
use actix_web::web::{Data, Query};
use serde::Deserialize;
use serde_json::json;

use super::State;

/// Query of `/readyz`.
#[derive(Debug, Deserialize)]
pub struct ReadyQuery {
    verbose: Option<String>,
}

/// `GET /livez`: the web side answers.
pub async fn livez() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

/// `GET /readyz`: 200 when everything works, else 503 with the reasons. `?verbose` gives
/// a line of text for each reason (`[-]`) and each warning (`[!]`), for people.
pub async fn readyz(state: Data<State>, query: Query<ReadyQuery>) -> HttpResponse {
    let reasons = state.status.reasons();
    let mut response = match reasons.is_empty() {
        true => HttpResponse::Ok(),
        false => HttpResponse::ServiceUnavailable(),
    };
    if query.verbose.is_some() {
        let mut text = String::new();
        for (part, reason) in &reasons {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "[-] {part}: {reason}");
        }
        for (part, warning) in state.status.warnings() {
            let _ = writeln!(text, "[!] {part}: {warning}");
        }
        text.push_str(if reasons.is_empty() { "ready\n" } else { "not ready\n" });
        return response.content_type("text/plain; charset=utf-8").body(text);
    }
    let by_part: serde_json::Map<_, _> =
        reasons.iter().map(|(part, reason)| ((*part).into(), reason.as_str().into())).collect();
    response.json(json!({"ready": reasons.is_empty(), "reasons": by_part}))
}

/// `GET /version`.
pub async fn version() -> HttpResponse {
    let about = json!({"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")});
    HttpResponse::Ok().json(about)
}

/// `GET /metrics`: Prometheus' text format.
pub async fn metrics(state: Data<State>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body((state.render_metrics)())
}
