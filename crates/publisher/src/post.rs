//! A message that a stream is to take: its headers, and what they weigh. All who publish build
//! it here, so that what is counted is what is sent.

use async_nats::header::{
    IntoHeaderName, NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE,
    NATS_MESSAGE_ID,
};
use async_nats::{HeaderMap, HeaderValue, Subject};
use bytes::Bytes;

/// Messages of an atomic batch: the server takes no more.
pub const BATCH_MAX: usize = 1_000;

/// First server that knows atomic batches.
pub const BATCH_SINCE: (u64, u64) = (2, 12);

/// Bytes of a batch's name; the server takes up to 64.
pub(crate) const BATCH_NAME_BYTES: usize = 22;

/// Bytes around the lines of headers. A message without headers has none of them.
const HEADERS_FRAME: usize = "NATS/1.0\r\n\r\n".len();

/// Bytes on the wire of one header, of the lengths of its name and its value.
pub const fn header_line(name: usize, value: usize) -> usize {
    name + value + ": \r\n".len()
}

/// Bytes of the headers of a message that has an id of so many bytes and nothing else.
pub(crate) const fn id_bytes(id: usize) -> usize {
    HEADERS_FRAME + header_line("Nats-Msg-Id".len(), id)
}

/// Bytes of the headers that make a message the `n`th of a batch, from 1, and its last.
pub(crate) fn batch_bytes(n: usize) -> usize {
    let digits = n.max(1).ilog10() as usize + 1;
    header_line("Nats-Batch-Id".len(), BATCH_NAME_BYTES)
        + header_line("Nats-Batch-Sequence".len(), digits)
        + header_line("Nats-Batch-Commit".len(), NATS_BATCH_COMMIT_FINAL.len())
}

/// A message that a stream is to take.
#[derive(Clone, Debug)]
pub struct Post {
    pub(crate) subject: Subject,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

impl Post {
    /// Without headers.
    pub fn new(subject: impl Into<Subject>, payload: impl Into<Bytes>) -> Post {
        Post { subject: subject.into(), headers: HeaderMap::new(), payload: payload.into() }
    }

    /// With the id that the stream knows it by.
    pub fn id(self, id: &str) -> Post {
        self.header(NATS_MESSAGE_ID, id)
    }

    /// With a header more; its value must be one line.
    pub fn header(mut self, name: impl IntoHeaderName, value: &str) -> Post {
        self.headers.insert(name, value);
        self
    }

    /// Bytes of the headers on the wire; the server counts them with the payload.
    pub fn header_bytes(&self) -> usize {
        if self.headers.is_empty() {
            return 0;
        }
        let lines = self.headers.iter().flat_map(|(name, values)| {
            let name: &str = name.as_ref();
            values.iter().map(|value| header_line(name.len(), value.as_str().len()))
        });
        HEADERS_FRAME + lines.sum::<usize>()
    }

    /// Bytes of its payload.
    pub fn payload_bytes(&self) -> usize {
        self.payload.len()
    }
}

/// Makes messages one atomic batch: the stream takes all of them or none.
pub(crate) fn batch(posts: &mut [Post], name: &str) {
    debug_assert_eq!(name.len(), BATCH_NAME_BYTES, "what is counted is what is sent");
    for (n, post) in (1..).zip(&mut *posts) {
        post.headers.insert(NATS_BATCH_ID, name);
        post.headers.insert(NATS_BATCH_SEQUENCE, HeaderValue::from(n));
    }
    if let Some(last) = posts.last_mut() {
        last.headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_counted_as_they_are_sent() {
        let mut post = Post::new("s", "payload");
        assert_eq!((post.header_bytes(), post.payload_bytes()), (0, 7));
        post.headers.insert("A", "1");
        post.headers.append("A", "22");
        post.headers.insert("Long-Name", "");
        let wire = "NATS/1.0\r\nA: 1\r\nA: 22\r\nLong-Name: \r\n\r\n";
        assert_eq!(post.header_bytes(), wire.len());
        assert_eq!(Post::new("s", "").id("four").header_bytes(), id_bytes(4));
    }

    #[test]
    fn what_a_batch_adds_is_known_before_it_is_made() {
        let mut posts = vec![Post::new("s", "").id("id"); BATCH_MAX];
        batch(&mut posts, &"n".repeat(BATCH_NAME_BYTES));
        for n in 1..=BATCH_MAX {
            let counted = id_bytes(2) + batch_bytes(n);
            // Only the last one has the line that ends the batch.
            let end = if n < BATCH_MAX { header_line("Nats-Batch-Commit".len(), 1) } else { 0 };
            assert_eq!(posts[n - 1].header_bytes() + end, counted, "{n}");
        }
    }
}
