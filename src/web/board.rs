//! The board and its topics, for programs that ask instead of following. Written and
//! compressed once for each board, by whoever asks first.

use std::sync::Arc;

use actix_web::web::{self, Data};
use actix_web::{HttpRequest, HttpResponse};
use flate2::Compression;
use tokio::sync::Mutex;

use super::State;
use super::answer::Text;
use super::problem::Problem;
use crate::domain::board::{Board, frame};

const JSON: &str = "application/json";

/// A tag tells whether it changed.
const ASK: &str = "no-cache";

/// The texts of the latest board that somebody asked for. Clones share them.
#[derive(Clone, Default)]
pub struct Texts(Arc<Mutex<Option<Written>>>);

impl std::fmt::Debug for Texts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Texts")
    }
}

#[derive(Clone)]
struct Written {
    of: Arc<Board>,
    board: Text,
    topics: Text,
}

impl Texts {
    /// Others that ask meanwhile wait, and get the same.
    async fn of(&self, board: Arc<Board>) -> Result<Written, Problem> {
        let mut latest = self.0.lock().await;
        if let Some(written) = latest.as_ref().filter(|written| Arc::ptr_eq(&written.of, &board)) {
            return Ok(written.clone());
        }
        let written = web::block(move || Written {
            board: Text::compressed(frame::board(&board), Compression::fast()),
            topics: Text::compressed(frame::topics(&board), Compression::fast()),
            of: board,
        });
        let written = written.await?;
        *latest = Some(written.clone());
        Ok(written)
    }
}

/// `GET /v1/board`: all topics as they are now.
///
/// # Errors
/// `Busy` when too many answers are under way.
pub async fn snapshot(state: Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let written = state.load.boards.of(state.board.load_full()).await?;
    written.board.counted(&state, &request, JSON, ASK).await
}

/// `GET /v1/topics`: what there is to follow.
///
/// # Errors
/// `Busy` when too many answers are under way.
pub async fn topics(state: Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let written = state.load.boards.of(state.board.load_full()).await?;
    written.topics.counted(&state, &request, JSON, ASK).await
}
