//! Rows as messages, each fenced: a message is taken only if the feed's last message in the
//! stream is the one before it. A copy that was sent before and comes late, by an old connection
//! for example, finds another last message and is refused. Message ids are the second net, for as
//! long as the broker remembers them.
//!
//! Several messages at once go as an atomic batch, where the stream takes those: all or
//! none, the first one fenced. A fence on each of several messages in flight would have
//! to guess sequences, and another feed in the same stream makes such guesses wrong.
//! Without batches it is one message at a time.
//!
//! What is larger than the stream takes goes alone, in the shorter form that its feed has for
//! it, or not at all: it never stops what comes after it.

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM};
use bytes::Bytes;

use super::{HEADER_FEED, HEADER_N};
use crate::nats::publisher::limit::Limit;
use crate::nats::publisher::post::{Post, header_line};
use crate::sink::Row;

/// Header that widens a fence from one subject to all subjects of a filter (server 2.11).
const FENCE_FILTER: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// Header of a payload that was shortened: how many bytes it had.
pub(super) const TRUNCATED: &str = "Tidewatch-Truncated";

/// A row as a message.
#[derive(Clone, Debug)]
pub struct JetRow {
    /// Position in the feed; grows.
    pub n: u64,
    /// `Nats-Msg-Id`.
    pub id: String,
    /// Token of the subject before the feed's.
    pub token: String,
    /// Its own headers.
    pub headers: Vec<(&'static str, String)>,
    /// The message.
    pub payload: Bytes,
    /// Why it must not be published, for one that must not.
    pub refused: Option<String>,
}

impl Row for JetRow {
    fn n(&self) -> u64 {
        self.n
    }

    fn key(&self) -> &str {
        &self.id
    }

    fn bytes(&self) -> usize {
        self.payload.len()
    }
}

/// The shorter form of a row whose message is too large, in so many bytes: its own headers
/// (see `own_bytes`) and the payload. `None` when there is none as short as that.
pub type Shorten = fn(&JetRow, usize) -> Option<(Vec<(&'static str, String)>, Bytes)>;

/// Where the rows of one feed go.
#[derive(Clone, Debug)]
pub struct Target {
    /// The stream.
    pub stream: String,
    /// First tokens of the subject.
    pub subject: String,
    /// First tokens of the subjects that the stream is made for: the same, or the beginning of it where
    /// feeds of several subjects share a stream.
    pub made_for: String,
    /// Identity of the data folder, a token.
    pub feed: String,
    /// What goes out of a row that is too large.
    pub shorten: Shorten,
}

impl Target {
    /// Matches all subjects of this feed, and no others.
    pub(super) fn filter(&self) -> String {
        format!("{}.*.{}", self.subject, self.feed)
    }

    /// The message of a row after the one with sequence `fence`, and whether it is shorter than its
    /// row; `None` when even its shorter form is too large.
    pub(super) fn alone(&self, row: &JetRow, fence: u64, limit: Limit<'_>) -> Option<(Post, bool)> {
        let common = |payload: &Bytes| self.fenced(self.common(row, payload), fence);
        let whole = with(common(&row.payload), &row.headers);
        if limit.check(&whole).is_ok() {
            return Some((whole, false));
        }
        let room = limit.bytes().checked_sub(common(&row.payload).header_bytes())?;
        let (headers, payload) = (self.shorten)(row, room)?;
        let short = with(common(&payload), &headers);
        limit.check(&short).is_ok().then_some((short, true))
    }

    /// The messages of the first rows, as far as they can go as one batch after the message with
    /// sequence `fence`: one that only just cannot goes alone, and one that must not ends it.
    pub(super) fn batch(&self, rows: &[JetRow], fence: u64, limit: Limit<'_>) -> Vec<Post> {
        let post = |(index, row): (usize, &JetRow)| {
            let post = with(self.common(row, &row.payload), &row.headers);
            let post = if index == 0 { self.fenced(post, fence) } else { post };
            let goes = row.refused.is_none() && limit.takes_in_batch(&post, index + 1);
            goes.then_some(post)
        };
        rows.iter().enumerate().map_while(post).collect()
    }

    fn common(&self, row: &JetRow, payload: &Bytes) -> Post {
        let subject = format!("{}.{}.{}", self.subject, row.token, self.feed);
        Post::new(subject, payload.clone())
            .id(&row.id)
            .header(NATS_EXPECTED_STREAM, &self.stream)
            .header(HEADER_FEED, &self.feed)
            .header(HEADER_N, &row.n.to_string())
    }

    fn fenced(&self, post: Post, sequence: u64) -> Post {
        post.header(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, &sequence.to_string())
            .header(FENCE_FILTER, &self.filter())
    }
}

fn with(post: Post, headers: &[(&'static str, String)]) -> Post {
    headers.iter().fold(post, |post, (name, value)| post.header(*name, value))
}

/// Bytes of headers of a row's own on the wire.
pub(super) fn own_bytes(headers: &[(&'static str, String)]) -> usize {
    headers.iter().map(|(name, value)| header_line(name.len(), value.len())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u64, bytes: usize) -> JetRow {
        JetRow {
            n,
            id: format!("id-{n}"),
            token: "t".into(),
            headers: vec![("A", "a".into())],
            payload: vec![b'x'; bytes].into(),
            refused: None,
        }
    }

    fn target() -> Target {
        fn cut(row: &JetRow, room: usize) -> Option<(Vec<(&'static str, String)>, Bytes)> {
            let room = room.checked_sub(own_bytes(&row.headers)).filter(|room| *room > 0)?;
            Some((row.headers.clone(), row.payload.slice(..room)))
        }
        let (stream, subject, feed) = ("S".into(), "s".into(), "f".into());
        Target { stream, subject, made_for: "s".into(), feed, shorten: cut }
    }

    #[test]
    fn a_row_that_is_a_byte_too_large_is_cut_to_the_limit_and_one_without_room_is_not_sent() {
        let target = target();
        let (whole, _) = target.alone(&row(1, 500), 7, Limit::of(0, None)).unwrap();
        let most = whole.header_bytes() + whole.payload_bytes();
        let sent = |bytes, limit| {
            let sent = target.alone(&row(1, bytes), 7, Limit::of(limit, None));
            sent.map(|(post, short)| (post.header_bytes() + post.payload_bytes(), short))
        };
        assert_eq!(sent(500, most), Some((most, false)));
        assert_eq!(sent(501, most), Some((most, true)));
        assert_eq!(sent(501, whole.header_bytes()), None);
        assert_eq!(sent(501, 10), None);
    }

    #[test]
    fn a_batch_ends_before_the_first_row_that_does_not_fit_into_it() {
        let target = target();
        let rows = [row(1, 10), row(2, 10), row(3, 400), row(4, 10)];
        let len = |limit| target.batch(&rows, 7, Limit::of(limit, None)).len();
        assert_eq!((len(0), len(400), len(10)), (4, 2, 0));
    }
}
