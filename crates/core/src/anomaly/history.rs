//! What a robust rule compares a window with: earlier windows, kept in order of time, and those of
//! them that it is compared with now, in order of size.

use std::collections::VecDeque;

use super::sorted::Sorted;
use super::{Known, Ring};
use crate::time::{EpochMs, SpanMs};

/// Which of the earlier windows a window is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reference {
    /// So many, the newest.
    Newest(usize),
    /// Those at the same time of the last `seasons`, and as long as `width` before and after it.
    Season {
        /// A day or a week.
        period: SpanMs,
        /// How many of them.
        seasons: i64,
        /// Less than half a period.
        width: SpanMs,
    },
}

/// Earlier windows.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In order of time. What leaves it has left `sorted`.
    ring: Ring<Known>,
    /// Those that a window ending at `at` is compared with.
    sorted: Sorted,
    /// `None`: `sorted` is to be made anew.
    at: Option<EpochMs>,
}

/// `sorted` follows from the rest.
impl PartialEq for History {
    fn eq(&self, other: &Self) -> bool {
        self.ring == other.ring
    }
}

impl History {
    /// What was written of it.
    pub fn restored(known: VecDeque<Known>) -> History {
        History { ring: Ring::restored(known), ..History::default() }
    }

    /// All that is kept.
    pub fn ring(&mut self) -> &mut Ring<Known> {
        &mut self.ring
    }

    /// What a window is compared with.
    pub fn sorted(&self) -> &Sorted {
        &self.sorted
    }

    /// True when all of them, if there are any, are this value.
    pub fn are_all(&self, value: f64) -> bool {
        self.ring.iter().all(|(_, known)| *known == value)
    }

    /// Makes it what a window that ends at `end` is compared with. A window moves as many numbers
    /// as there are seasons, each in O(log n).
    pub fn advance(&mut self, reference: Reference, end: EpochMs) {
        let before = self.at.replace(end);
        match reference {
            Reference::Newest(_) => {
                if before.is_none() {
                    self.ring.iter().for_each(|(_, value)| self.sorted.insert(*value));
                }
            }
            Reference::Season { period, seasons, width } => {
                // Far ones are looked up anew: less than what lies between would move.
                let before = before.filter(|before| end - before <= width);
                if before.is_none() {
                    self.sorted.clear();
                }
                for middle in (1..=seasons).map(|season| end - season * period) {
                    let (from, to) = (middle - width, middle + width);
                    let (from, left) = match before {
                        // What lies between the last look and now came in, and some left.
                        Some(before) => (to - (end - before) + 1, Some(from - (end - before))),
                        None => (from, None),
                    };
                    let come = self.ring.between(from, to);
                    come.for_each(|(_, value)| self.sorted.insert(*value));
                    let gone = left.map(|left| self.ring.between(left, middle - width - 1));
                    gone.into_iter().flatten().for_each(|(_, value)| self.sorted.remove(*value));
                }
                let oldest = end - seasons * period - width;
                while self.ring.front().is_some_and(|(known, _)| *known < oldest) {
                    self.ring.pop_front();
                }
            }
        }
    }

    /// Learns windows that end after all that are known.
    pub fn learn(&mut self, reference: Reference, more: VecDeque<Known>) {
        for (end, value) in more {
            self.ring.push_back((end, value));
            if let Reference::Newest(most) = reference {
                self.sorted.insert(value);
                if self.ring.len() > most
                    && let Some((_, oldest)) = self.ring.pop_front()
                {
                    self.sorted.remove(oldest);
                }
            }
        }
    }

    /// What lasted is usual: what was before it is no measure any more.
    pub fn begin_anew(&mut self, reference: Reference, usual: VecDeque<Known>) {
        let since = usual.front().map_or(EpochMs::MAX, |(end, _)| *end);
        let mut all = self.ring.take();
        all.retain(|(end, _)| *end >= since);
        all.extend(usual);
        all.make_contiguous().sort_by_key(|(end, _)| *end);
        self.sorted.clear();
        self.at = match reference {
            // They are counted as they are learned.
            Reference::Newest(_) => self.at,
            Reference::Season { .. } => None,
        };
        self.learn(reference, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PERIOD: i64 = 40;

    fn reference() -> impl Strategy<Value = Reference> {
        prop_oneof![
            (1usize..20).prop_map(Reference::Newest),
            (1i64..4, 0i64..20).prop_map(|(seasons, width)| Reference::Season {
                period: PERIOD,
                seasons,
                width
            }),
        ]
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// The next window after so long; it is learned when `true`.
        Window(i64, bool),
        /// The process ends.
        Restart,
        /// The newest so many lasted.
        Usual(usize),
    }

    proptest! {
        /// Whatever moves, it is what a look at all that was learned gives.
        #[test]
        fn a_window_is_compared_with_what_a_look_at_all_of_them_gives(
            reference in reference(),
            steps in prop::collection::vec(
                prop_oneof![
                    20 => (prop_oneof![9 => Just(1i64), 1 => 2i64..150], any::<bool>())
                        .prop_map(|(after, learned)| Step::Window(after, learned)),
                    1 => Just(Step::Restart),
                    1 => (1usize..30).prop_map(Step::Usual),
                ],
                1..250,
            ),
        ) {
            let (mut history, mut all, mut end) = (History::default(), Vec::<Known>::new(), 0);
            for step in steps {
                match step {
                    Step::Window(after, learned) => {
                        end += after;
                        history.advance(reference, end);
                        let wanted: Vec<f64> = match reference {
                            Reference::Newest(most) => {
                                all.iter().rev().take(most).map(|(_, value)| *value).collect()
                            }
                            Reference::Season { period, seasons, width } => {
                                let is_near = |known: i64, season: i64| {
                                    (known - (end - season * period)).abs() <= width
                                };
                                let same = |known: i64| (1..=seasons).any(|n| is_near(known, n));
                                all.iter().filter(|(known, _)| same(*known)).map(|(_, v)| *v).collect()
                            }
                        };
                        let mut plain = Sorted::default();
                        wanted.iter().for_each(|value| plain.insert(*value));
                        let sorted = history.sorted();
                        prop_assert_eq!(sorted.len(), plain.len());
                        prop_assert_eq!(sorted.median(), plain.median());
                        for share in [0.1, 0.5, 1.0] {
                            prop_assert_eq!(sorted.within(3.0, share), plain.within(3.0, share));
                        }
                        if learned {
                            let known = (end, (end * 7 % 13) as f64);
                            all.push(known);
                            history.learn(reference, [known].into());
                        }
                    }
                    Step::Restart => {
                        history = History::restored(history.ring().iter().copied().collect());
                        history.advance(reference, end);
                    }
                    Step::Usual(newest) => {
                        all.drain(..all.len().saturating_sub(newest));
                        // Half of them were held, the rest was learned meanwhile.
                        let (held, learned): (Vec<Known>, Vec<Known>) =
                            all.iter().enumerate().map(|(n, known)| (n % 2 == 0, *known)).fold(
                                (vec![], vec![]),
                                |(mut held, mut learned), (is_held, known)| {
                                    if is_held { held.push(known) } else { learned.push(known) }
                                    (held, learned)
                                },
                            );
                        if held.is_empty() {
                            continue;
                        }
                        history = History::restored(learned.into());
                        history.advance(reference, end);
                        history.begin_anew(reference, held.into());
                        // What is older than the reference reaches is forgotten either way.
                    }
                }
            }
        }
    }
}
