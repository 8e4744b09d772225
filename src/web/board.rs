//! The board and its topics, for programs that ask instead of following.

use actix_web::HttpResponse;
use actix_web::web::Data;

use super::{State, json};
use crate::domain::board::frame;

/// `GET /v1/board`: all topics as they are now.
pub async fn snapshot(state: Data<State>) -> HttpResponse {
    json(frame::board(&state.board.load()))
}

/// `GET /v1/topics`: what there is to follow.
pub async fn topics(state: Data<State>) -> HttpResponse {
    json(frame::topics(&state.board.load()))
}
