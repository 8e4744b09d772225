//! A posted body while it comes: blocks of memory, none of which is ever moved, so that the
//! threads that answer requests copy each byte once. One growing buffer would be copied again
//! whenever it is full: some milliseconds for a large body, and as long again for each other
//! one that grows at the same moment, while nobody is answered.

use actix_web::web::Bytes;
use tokio::sync::Semaphore;

/// Size of the first block. Most bodies are no longer, and stay the one block that they came in.
const FIRST_BYTES: usize = 4 * 1024;

/// Largest block: some 60 system pages, which take less than 0.1 ms to get.
const BLOCK_BYTES_MAX: usize = 256 * 1024;

/// Taken of a body at once. While its handler takes what comes, a connection goes on reading.
pub const STEP_BYTES: usize = 32 * 1024;

/// The bodies that one thread reads, a step of one after a step of another. All the others
/// wait, and do not stand between a short request and its answer: with 50 large bodies that
/// come at once it would wait for a step of each of them.
#[derive(Debug)]
pub struct Steps(Semaphore);

impl Default for Steps {
    fn default() -> Self {
        Steps(Semaphore::new(1))
    }
}

impl Steps {
    /// Returns when this body's turn has come, everything else on this thread had its own, and
    /// new connections were looked for.
    pub async fn step(&self) {
        // Never closed.
        let _step = self.0.acquire().await;
        tokio::task::yield_now().await;
    }
}

/// What has come of a body.
#[derive(Debug, Default)]
pub struct Body {
    /// All but the last are full.
    blocks: Vec<Vec<u8>>,
    len: usize,
    /// Bytes of all blocks, used or not.
    capacity: usize,
}

impl Body {
    /// Bytes that have come.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Its first bytes, at least four of them if it has as many.
    pub fn start(&self) -> &[u8] {
        self.blocks.first().map_or(&[], Vec::as_slice)
    }

    /// Bytes that all blocks take once `more` have come, with a block as large as all that came
    /// before, within bounds, and never more than `announced` in all.
    pub fn bytes_with(&self, more: usize, announced: usize) -> usize {
        self.with_block(self.len.clamp(FIRST_BYTES, BLOCK_BYTES_MAX), more, announced)
    }

    /// The same where room is scarce.
    pub fn bytes_at_least(&self, more: usize, announced: usize) -> usize {
        self.with_block(FIRST_BYTES, more, announced)
    }

    fn with_block(&self, block: usize, more: usize, announced: usize) -> usize {
        match self.len + more {
            len if len <= self.capacity => self.capacity,
            len => (self.capacity + block).min(announced).max(len),
        }
    }

    /// Adds what came; all blocks then take `capacity` bytes, if that is enough.
    pub fn add(&mut self, mut chunk: &[u8], capacity: usize) {
        self.len += chunk.len();
        if let Some(last) = self.blocks.last_mut() {
            let room = (last.capacity() - last.len()).min(chunk.len());
            let (now, rest) = chunk.split_at(room);
            last.extend_from_slice(now);
            chunk = rest;
        }
        if chunk.is_empty() {
            return;
        }
        let bytes = capacity.saturating_sub(self.capacity).max(chunk.len());
        let mut block = Vec::with_capacity(bytes);
        self.capacity += block.capacity();
        block.extend_from_slice(chunk);
        self.blocks.push(block);
    }

    /// The body in one piece. Whoever calls it for more than one block copies all of it: not on
    /// a thread that answers requests.
    pub fn whole(mut self) -> Bytes {
        if self.blocks.len() < 2 {
            return self.blocks.pop().unwrap_or_default().into();
        }
        let mut whole = Vec::with_capacity(self.len);
        for block in self.blocks {
            // Given back one by one, so that memory does not double.
            whole.extend_from_slice(&block);
        }
        whole.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However a body comes, it is the same body, and takes what was said before.
        #[test]
        fn a_body_is_what_came_and_takes_what_was_said(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..3_000), 0..40),
            repeat in 1usize..30,
            beyond in prop_oneof![Just(usize::MAX), 0usize..400_000],
            scarce: bool,
        ) {
            let total: usize = chunks.iter().map(|chunk| chunk.len() * repeat).sum();
            let announced = total.saturating_add(beyond);
            let mut body = Body::default();
            let mut came = Vec::new();
            for chunk in &chunks {
                let chunk = chunk.repeat(repeat);
                let said = if scarce { body.bytes_at_least(chunk.len(), announced) } else { body.bytes_with(chunk.len(), announced) };
                let before = body.capacity;
                body.add(&chunk, said);
                came.extend_from_slice(&chunk);
                prop_assert_eq!(body.len(), came.len());
                prop_assert!(body.capacity <= said.max(before), "{} > {said}", body.capacity);
                prop_assert!(said <= came.len() + BLOCK_BYTES_MAX.max(FIRST_BYTES));
            }
            let blocks = body.blocks.iter().map(Vec::len).sum::<usize>();
            prop_assert_eq!(blocks, came.len());
            prop_assert!(body.blocks.len() <= 1 + came.len() / FIRST_BYTES);
            prop_assert!(body.start().len() >= came.len().min(4));
            prop_assert!(body.blocks.iter().all(|block| block.len() <= BLOCK_BYTES_MAX.max(90_000)));
            prop_assert_eq!(&body.whole()[..], &came[..]);
        }
    }

    #[test]
    fn a_short_body_is_the_block_it_came_in() {
        let mut body = Body::default();
        body.add(b"[{}]", body.bytes_with(4, 4));
        let at = body.blocks[0].as_ptr();
        let whole = body.whole();
        assert_eq!((whole.as_ptr(), &whole[..]), (at, &b"[{}]"[..]));
        assert!(Body::default().whole().is_empty());
    }
}
