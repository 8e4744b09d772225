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
use crate::domain::condition::Severity;
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
/// a line of text, for people, for each condition: `[-]` makes it fail, `[!]` should be looked at,
/// `[i]` is good to know.
pub async fn readyz(state: Data<State>, query: Query<ReadyQuery>) -> HttpResponse {
    let standing = state.status.standing();
    let ready = !standing.iter().any(|standing| standing.condition.stops());
    let mut response = if ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    if query.verbose.is_some() {
        let mut text = String::new();
        for standing in &standing {
            let mark = match (standing.condition.stops(), standing.condition.severity()) {
                (true, _) => '-',
                (false, Severity::Note) => 'i',
                (false, Severity::Warning | Severity::Critical) => '!',
            };
            // Writing to a text cannot fail.
            let _ = writeln!(text, "[{mark}] {}: {standing}", standing.condition.name());
        }
        text.push_str(if ready { "ready\n" } else { "not ready\n" });
        return response.content_type("text/plain; charset=utf-8").body(text);
    }
    response.json(state.status.ready())
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
