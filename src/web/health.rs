//! For machines that watch us: alive, ready, which version, how much.

use std::fmt::Write as _;

use actix_web::web::{self, Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use flate2::Compression;
use metrics::gauge;
use serde::Deserialize;
use serde_json::json;

use super::State;
use super::answer::Text;
use super::gauges::gauges;
use super::problem::Problem;
use crate::telemetry::names;

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

/// `GET /metrics`: Prometheus' text format, of the process and then of the board.
///
/// # Errors
/// `Busy` when too many answers are under way.
pub async fn metrics(state: Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let (render, board) = (state.render_metrics.clone(), state.board.load_full());
    let series_max = state.settings.metrics_series_max;
    let text = web::block(move || {
        let ours = gauges(&board.figures, series_max);
        gauge!(names::METRIC_SERIES).set(ours.series as f64);
        gauge!(names::METRIC_SERIES_CAPACITY).set(series_max as f64);
        gauge!(names::METRIC_SERIES_LEFT_OUT).set(ours.left_out as f64);
        let mut text = render();
        text.push_str(&ours.text);
        Text::compressed(text, Compression::fast())
    });
    let text = text.await?;
    text.counted(&state, &request, "text/plain; version=0.0.4; charset=utf-8", "no-store").await
}
