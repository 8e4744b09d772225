//! A metric's groups, with their labels as they came: the board shows the beginning of a
//! long one.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::lists::{Items, LetterQuery, limit};
use super::problem::Problem;
use super::{State, answer};
use crate::domain::board::bound::label;
use crate::domain::board::frame::event_time;

/// `GET /v1/groups/{metric}`: the groups in the order in which they came up, in pages.
///
/// # Errors
/// `NotFound` when no metric has the name, `BadRequest`.
pub async fn groups(
    state: Data<State>,
    request: HttpRequest,
    metric: Path<String>,
    query: LetterQuery,
) -> Result<HttpResponse, Problem> {
    let query = query?.into_inner();
    let board = state.board.load_full();
    let figure = board.figures.iter().find(|figure| figure.metric == *metric);
    let Some(figure) = figure else {
        return Err(Problem::NotFound(format!(
            "no metric is called {:?}; /v1/topics lists what there is",
            *metric
        )));
    };
    // `after` is the number of a group; without it the list begins with the first.
    let first = query.after.map_or(0, |after| after.saturating_add(1));
    let first = usize::try_from(first).unwrap_or(usize::MAX);
    let (mut items, mut last) = (Items::default(), None);
    for (n, group) in figure.groups.iter().enumerate().skip(first).take(limit(query.limit)) {
        let short: Vec<_> = group.labels.iter().map(|text| label(text)).collect();
        let item = json!({
            "n": n, "labels": *group.labels, "short": short, "overflow": group.overflow,
            "value": group.value,
        });
        if !items.add(&item, None::<&()>) {
            break;
        }
        last = Some(n);
    }
    let shape = json!(figure.shape);
    let next = last.filter(|last| last + 1 < figure.groups.len());
    let text = items.page(&[
        ("metric", json!(figure.metric)),
        ("title", json!(figure.title)),
        ("unit", json!(figure.unit)),
        ("window", json!(figure.window)),
        ("warming_since", json!(figure.warming_since)),
        ("labels", json!(figure.labels)),
        ("shape", shape["shape"].clone()),
        ("bounds", shape["bounds"].clone()),
        ("at", json!(event_time(board.watermark))),
        ("next", json!(next)),
    ]);
    answer::once(&state, &request, "application/json", text).await
}
