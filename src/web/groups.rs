//! A metric's groups, with their labels as they came: the board shows the beginning of a
//! long one.

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;

use super::lists::{Items, limit};
use super::problem::Problem;
use super::{State, answer};
use crate::domain::board::bound::label;
use crate::domain::board::figure::Figure;
use crate::domain::board::frame::event_time;

/// Query of `/v1/groups/{metric}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupsAsked {
    after: Option<u64>,
    limit: Option<usize>,
    #[serde(default)]
    by: By,
}

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    /// What came up first.
    #[default]
    Order,
    /// The greatest.
    Value,
}

impl GroupsAsked {
    /// The numbers of the groups that may be on the page.
    fn wanted(&self, figure: &Figure) -> Result<Vec<usize>, Problem> {
        let limit = limit(self.limit);
        match (self.by, self.after) {
            (By::Value, Some(_)) => Err(Problem::BadRequest(
                "after goes by the number of a group, and by=value lists the greatest: leave out one \
                 of them, or ask for more with limit"
                    .into(),
            )),
            (By::Value, None) => Ok(figure.greatest(limit)),
            // `after` is the number of a group; without it the list begins with the first.
            (By::Order, after) => {
                let first = after.map_or(0, |after| after.saturating_add(1));
                let first = usize::try_from(first).unwrap_or(usize::MAX);
                Ok((0..figure.groups.len()).skip(first).take(limit).collect())
            }
        }
    }
}

/// `GET /v1/groups/{metric}`: the groups in the order in which they came up, in pages; or the
/// greatest.
///
/// # Errors
/// `NotFound` when no metric has the name, `BadRequest`.
pub async fn groups(
    state: Data<State>,
    request: HttpRequest,
    metric: Path<String>,
    query: Result<Query<GroupsAsked>, Problem>,
) -> Result<HttpResponse, Problem> {
    let asked = query?.into_inner();
    let board = state.board.load_full();
    let figure = board.figures.iter().find(|figure| figure.metric == *metric);
    let Some(figure) = figure else {
        return Err(Problem::NotFound(format!(
            "no metric is called {:?}; /v1/topics lists what there is",
            *metric
        )));
    };
    let (mut items, mut last) = (Items::default(), None);
    for n in asked.wanted(figure)? {
        let group = &figure.groups[n];
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
    let all = figure.groups.len();
    let (next, more) = match asked.by {
        By::Order => {
            let next = last.filter(|last| last + 1 < all);
            (next, next.map_or(0, |last| all - last - 1))
        }
        By::Value => (None, all - items.len),
    };
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
        ("more", json!(more)),
    ]);
    answer::once(&state, &request, "application/json", text).await
}
