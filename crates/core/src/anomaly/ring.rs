//! A queue that knows how it came from what was written of it last: so many left in front, and
//! these came behind. A commit holds that and not the whole queue.

use std::collections::VecDeque;

use crate::time::EpochMs;

/// Items in order; the oldest leave first.
#[derive(Clone, Debug)]
pub struct Ring<T> {
    items: VecDeque<T>,
    /// Items that were written and have left.
    gone: usize,
    /// Items in front that were written. Invariant: at most `items.len()`.
    known: usize,
}

/// How a ring differs from what was written of it.
#[derive(Clone, Debug, PartialEq)]
pub struct RingChange<'a, T> {
    /// So many left in front.
    pub gone: usize,
    /// These came behind.
    pub new: Vec<&'a T>,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Ring::restored(VecDeque::new())
    }
}

/// What was written does not matter to what a ring is.
impl<T: PartialEq> PartialEq for Ring<T> {
    fn eq(&self, other: &Self) -> bool {
        self.items == other.items
    }
}

impl<T> Ring<T> {
    /// A ring that holds what was written.
    pub fn restored(items: VecDeque<T>) -> Self {
        Ring { gone: 0, known: items.len(), items }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The oldest.
    pub fn front(&self) -> Option<&T> {
        self.items.front()
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// Adds the newest.
    pub fn push_back(&mut self, item: T) {
        self.items.push_back(item);
    }

    /// Takes the oldest.
    pub fn pop_front(&mut self) -> Option<T> {
        let item = self.items.pop_front()?;
        if self.known > 0 {
            self.known -= 1;
            self.gone += 1;
        }
        Some(item)
    }

    /// Takes all.
    pub fn take(&mut self) -> VecDeque<T> {
        self.gone += std::mem::take(&mut self.known);
        std::mem::take(&mut self.items)
    }

    /// What a commit must hold; `None` when nothing changed.
    pub fn change(&self) -> Option<RingChange<'_, T>> {
        let changed = self.gone > 0 || self.known < self.items.len();
        changed
            .then(|| RingChange { gone: self.gone, new: self.items.range(self.known..).collect() })
    }

    /// It is written as it is now.
    pub fn written(&mut self) {
        (self.gone, self.known) = (0, self.items.len());
    }
}

impl<T> Ring<(EpochMs, T)> {
    /// Of items in order of time those from one time to another, both included.
    pub fn between(&self, from: EpochMs, to: EpochMs) -> impl Iterator<Item = &(EpochMs, T)> {
        let start = self.items.partition_point(|(at, _)| *at < from);
        let end = self.items.partition_point(|(at, _)| *at <= to);
        self.items.range(start..end.max(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(u8),
        Pop,
        Take,
        /// Written, and gone on from what was written when `true`.
        Write(bool),
    }

    proptest! {
        #[test]
        fn what_was_written_and_the_changes_since_are_the_ring(
            steps in prop::collection::vec(
                prop_oneof![
                    6 => any::<u8>().prop_map(Step::Push),
                    3 => Just(Step::Pop),
                    1 => Just(Step::Take),
                    3 => any::<bool>().prop_map(Step::Write),
                ],
                0..80,
            ),
        ) {
            let (mut ring, mut written) = (Ring::default(), VecDeque::new());
            let mut plain: VecDeque<u8> = VecDeque::new();
            for step in steps {
                match step {
                    Step::Push(item) => {
                        ring.push_back(item);
                        plain.push_back(item);
                    }
                    Step::Pop => prop_assert_eq!(ring.pop_front(), plain.pop_front()),
                    Step::Take => prop_assert_eq!(ring.take(), std::mem::take(&mut plain)),
                    Step::Write(restart) => {
                        if let Some(RingChange { gone, new }) = ring.change() {
                            written.drain(..gone);
                            written.extend(new.into_iter().copied());
                        }
                        ring.written();
                        prop_assert_eq!(&written, &plain);
                        prop_assert_eq!(ring.change(), None);
                        if restart {
                            ring = Ring::restored(written.clone());
                        }
                    }
                }
                prop_assert!(ring.iter().eq(&plain));
            }
        }
    }
}
