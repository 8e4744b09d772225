//! The board for other services: each second on a subject, for those that listen, and in
//! a bucket, for those that come later. The latest board is enough, so nothing is kept
//! for a broker that is away.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_nats::jetstream::kv::Store;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::{BOARD_KEY, Parts, streams};
use crate::domain::board::{Board, frame};
use crate::nats::link::Link;
use crate::nats::publisher::limit::Limit;
use crate::nats::publisher::line::{Line, tell};
use crate::nats::publisher::post::Post;
use crate::nats::settings::OutSettings;
use crate::sink::Track;

/// Publishes boards.
pub(super) struct BoardOut {
    link: Link,
    settings: Arc<OutSettings>,
    board: Arc<ArcSwap<Board>>,
    track: Arc<Track>,
    stop: watch::Receiver<bool>,
    /// The way into the bucket; `None` until there is something for it.
    line: Option<Line>,
    /// Where the board goes in the bucket, and the connection that was found on.
    bucket: Option<(String, u64)>,
    /// The board in the bucket.
    written: Option<Arc<Board>>,
}

impl BoardOut {
    pub fn new(
        link: &Link,
        settings: &Arc<OutSettings>,
        parts: &Parts,
        track: Arc<Track>,
        stop: watch::Receiver<bool>,
    ) -> BoardOut {
        BoardOut {
            link: link.clone(),
            settings: Arc::clone(settings),
            board: Arc::clone(&parts.board),
            track,
            stop,
            line: None,
            bucket: None,
            written: None,
        }
    }

    /// Publishes until it is stopped; then the last board once more.
    pub async fn run(mut self) {
        let mut tick = interval(self.settings.board_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let stopping = tokio::select! {
                _ = tick.tick() => false,
                _ = self.stop.changed() => true,
            };
            if self.link.connected() {
                match self.show().await {
                    Ok(()) => self.track.fine(),
                    Err(cause) => self.track.failed(&self.link.explain(cause)),
                }
            } else {
                self.track.waits(&self.link.away().to_string());
            }
            if stopping {
                // The task ends with this; a flush makes sure that the last board left.
                let _ = self.link.client().flush().await;
                return;
            }
        }
    }

    async fn show(&mut self) -> Result<(), String> {
        let board = self.board.load_full();
        if board.version == 0 {
            return Ok(());
        }
        let text = Bytes::from(frame::board(&board));
        if !self.settings.board_subject.is_empty() {
            let post = self.post(&self.settings.board_subject, &text)?;
            let sent = tell(&self.link, post, self.link.request_timeout()).await;
            sent.or_else(|answer| answer.sequence().map(drop))?;
            self.track.delivered(1);
        }
        if !self.settings.board_bucket.is_empty() {
            self.keep(board, text).await?;
        }
        Ok(())
    }

    fn post(&self, subject: &str, text: &Bytes) -> Result<Post, String> {
        let post = Post::new(subject, text.clone());
        let limit = Limit::of(self.link.client().max_payload(), None);
        limit.check(&post).map_err(|_| {
            format!(
                "the board has {} bytes and {limit}: raise it, or give metrics smaller group limits",
                text.len()
            )
        })?;
        Ok(post)
    }

    /// Writes a board into the bucket, unless it says the same as the one there.
    async fn keep(&mut self, board: Arc<Board>, text: Bytes) -> Result<(), String> {
        let connects = self.link.state().borrow().connects;
        if self.bucket.as_ref().is_none_or(|(_, seen)| *seen != connects) {
            let found = streams::bucket(&self.link, &self.settings).await;
            let subject = put_subject(&found.map_err(|error| error.to_string())?, self.link.api());
            self.bucket = Some((subject, connects));
            // The broker may have lost it.
            self.written = None;
        }
        if self.written.as_ref().is_some_and(|written| same(written, &board)) {
            return Ok(());
        }
        let Some((subject, _)) = &self.bucket else { return Ok(()) };
        let post = self.post(subject, &text)?;
        let line = match &mut self.line {
            Some(line) => line,
            none => none.insert(Line::open(&self.link, self.link.request_timeout()).await?),
        };
        if let Err(cause) = line.deliver(vec![post]).await.sequence() {
            self.bucket = None;
            return Err(format!("bucket {}: {cause}", self.settings.board_bucket));
        }
        self.written = Some(board);
        self.track.delivered(1);
        Ok(())
    }
}

/// Where the bucket takes the board.
fn put_subject(bucket: &Store, api: &str) -> String {
    let keys = bucket.put_prefix.as_ref().unwrap_or(&bucket.prefix);
    if bucket.use_jetstream_prefix {
        format!("{api}.{keys}{BOARD_KEY}")
    } else {
        format!("{keys}{BOARD_KEY}")
    }
}

/// True when two boards differ in their version and the wall clock at most.
fn same(one: &Board, other: &Board) -> bool {
    // Why the numbers are old is told without a new version.
    one.stale == other.stale
        && (one.version == other.version
            || (one.watermark == other.watermark && one.topics == other.topics))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::condition::Condition;

    #[test]
    fn a_board_is_the_same_when_only_its_version_differs() {
        let board = Board { version: 1, at: 5, watermark: 3, ..Board::default() };
        assert!(same(&board, &Board { version: 2, at: 9, ..board.clone() }));
        assert!(!same(&board, &Board { version: 2, watermark: 4, ..board.clone() }));
        assert!(!same(
            &board,
            &Board { version: 2, stale: Some(Condition::Replaying), ..board.clone() }
        ));
        assert!(!same(&board, &Board { stale: Some(Condition::Restarting), ..board.clone() }));
    }
}
