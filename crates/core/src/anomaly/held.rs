//! Windows that stood out, while nobody knows yet what they were: they teach a detector nothing.

use std::collections::VecDeque;

use super::{Change, Known, Ring};

/// What stands out, oldest first. As long as the stretch after which that is usual, at most.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Held(Ring<Known>);

/// What a detector learns of a window.
#[derive(Clone, Debug, PartialEq)]
pub enum Lesson {
    /// These windows were nothing unusual, in order of time.
    More(VecDeque<Known>),
    /// Nothing: it stood out.
    Nothing,
    /// These lasted until they were usual.
    Usual(VecDeque<Known>),
}

impl Held {
    /// What was written of it.
    pub fn restored(held: VecDeque<Known>) -> Held {
        Held(Ring::restored(held))
    }

    /// The windows.
    pub fn ring(&mut self) -> &mut Ring<Known> {
        &mut self.0
    }

    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes the next window, after the alarm took it. `was_up`: something was going on before it that is an alert,
    /// or would be one if it did not recur;
    /// `stays`: it stands out.
    pub fn take(
        &mut self,
        known: Option<Known>,
        was_up: bool,
        stays: bool,
        change: Option<Change>,
    ) -> Lesson {
        let over = matches!(change, Some(Change::Over(_) | Change::Recurred(_)));
        if stays {
            known.into_iter().for_each(|known| self.0.push_back(known));
            return if over { Lesson::Usual(self.0.take()) } else { Lesson::Nothing };
        }
        // What did not last long enough for an alert was nothing unusual; what raised one was.
        let mut more = if over || !was_up { self.0.take() } else { VecDeque::new() };
        if was_up {
            more.clear();
        }
        more.extend(known);
        Lesson::More(more)
    }
}
