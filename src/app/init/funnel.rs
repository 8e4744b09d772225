//! What a visit leads to, by the order in which event types are first seen of each key.

use std::collections::BTreeMap;

use crate::source::propose::meaning;

/// Most steps that are proposed.
const STEPS_MAX: usize = 8;

/// Of so many keys in a hundred that have both, the earlier type must come first.
const MOST: usize = 60;

/// Parts of words that a goal is called by, the most telling first.
const ENDS: [&str; 16] = [
    "paid",
    "purchas",
    "bought",
    "bezahlt",
    "kauf",
    "bestell",
    "placed",
    "complete",
    "order",
    "signup",
    "signed_up",
    "registered",
    "subscrib",
    "upgrade",
    "success",
    "convert",
];

/// What was seen of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Funnel {
    /// In the order in which they are reached; the last one is the goal.
    pub steps: Vec<String>,
    pub entry: String,
    pub goal: String,
    /// Keys that reached each step.
    pub keys: Vec<usize>,
    /// What is put aside again, of what puts something at stake.
    pub remove: Vec<String>,
    /// The goal is one by its name.
    pub named: bool,
}

/// Types by key in the order of the events.
#[derive(Debug, Default)]
pub(super) struct Seen<'s> {
    /// Number of the type's first event of a key.
    by_key: BTreeMap<&'s str, BTreeMap<&'s str, usize>>,
}

impl<'s> Seen<'s> {
    /// The next event.
    pub fn event(&mut self, key: &'s str, kind: &'s str) {
        let first = self.by_key.entry(key).or_default();
        let place = first.len();
        first.entry(kind).or_insert(place);
    }

    /// How many keys have a type.
    fn keys_of(&self, kind: &str) -> usize {
        self.by_key.values().filter(|first| first.contains_key(kind)).count()
    }

    /// Of keys with both: how many had `a` first, and how many `b`.
    fn order(&self, a: &str, b: &str) -> (usize, usize) {
        let both = self.by_key.values().filter_map(|first| Some((first.get(a)?, first.get(b)?)));
        both.fold(
            (0, 0),
            |(before, after), (a, b)| {
                if a < b { (before + 1, after) } else { (before, after + 1) }
            },
        )
    }

    /// The funnel, where there seems to be one.
    pub fn funnel(&self) -> Option<Funnel> {
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for kind in self.by_key.values().flat_map(BTreeMap::keys) {
            *kinds.entry(*kind).or_default() += 1;
        }
        let is = |kind: &str, wanted: &str| kind == wanted || meaning(kind) == Some(wanted);
        let has = |kind: &str, words: &[&str]| {
            let plain = kind.to_lowercase();
            words.iter().any(|word| plain.contains(word))
        };
        let fails = |kind: &str| has(kind, &["fail", "error", "denied", "declined", "cancel"]);
        let removes = |kind: &str| has(kind, &["remove"]) && has(kind, &["cart", "basket", "item"]);
        let least = (self.by_key.len() / 200).max(2);
        let usual =
            kinds.iter().filter(|(kind, keys)| **keys >= least && !fails(kind) && !removes(kind));
        let mut usual: Vec<&str> = usual.map(|(kind, _)| *kind).collect();
        let precedes = |a: &str, b: &str| {
            let (before, after) = self.order(a, b);
            before * 100 >= (before + after) * MOST && before > 0
        };
        let named = kinds.keys().copied().find(|kind| is(kind, "payment_completed"));
        let named = named.or_else(|| {
            let of = |word: &&str| usual.iter().copied().find(|kind| has(kind, &[word]));
            ENDS.iter().find_map(of)
        });
        let goal = match named {
            Some(goal) => goal,
            None if usual.len() >= 3 => {
                // Most keys never get there, and those that do had the others before.
                let rare = |kind: &&&str| self.keys_of(kind) * 10 <= self.by_key.len() * 7;
                let last = |kind: &&&str| {
                    usual.iter().filter(|other| *other != *kind).all(|a| precedes(a, kind))
                };
                usual.iter().filter(rare).find(last).copied()?
            }
            None => return None,
        };
        usual.retain(|kind| *kind != goal && (is(kind, "cart_add") || precedes(kind, goal)));
        // What comes first of most comes first.
        let wins = |kind: &str| usual.iter().filter(|other| precedes(kind, other)).count();
        let mut steps: Vec<(usize, &str)> = usual.iter().map(|kind| (wins(kind), *kind)).collect();
        steps.sort_by(|a, b| b.cmp(a));
        let mut steps: Vec<&str> = steps.into_iter().map(|(_, kind)| kind).collect();
        let entry = steps.iter().copied().find(|kind| is(kind, "cart_add"));
        let entry = entry.or_else(|| steps.last().copied())?;
        let cut = steps.len().saturating_sub(STEPS_MAX - 1);
        let mut left = cut;
        // The first ones are the most usual, and say least.
        steps.retain(|kind| {
            let keep = *kind == entry || left == 0;
            left -= usize::from(!keep);
            keep
        });
        steps.push(goal);
        Some(Funnel {
            keys: steps.iter().map(|kind| self.keys_of(kind)).collect(),
            steps: steps.into_iter().map(str::to_owned).collect(),
            entry: entry.to_owned(),
            goal: goal.to_owned(),
            remove: kinds.keys().filter(|kind| removes(kind)).map(|k| (*k).to_owned()).collect(),
            named: named.is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn funnel(visits: &[&str]) -> Option<Funnel> {
        let mut seen = Seen::default();
        let keys: Vec<String> = (0..visits.len()).map(|n| format!("u{n}")).collect();
        for (key, visit) in keys.iter().zip(visits) {
            visit.split(' ').for_each(|kind| seen.event(key, kind));
        }
        seen.funnel()
    }

    #[test]
    fn steps_stand_in_the_order_in_which_they_are_reached() {
        let shop =
            ["view view cart", "view cart pay", "view", "view cart remove_cart", "view cart pay"];
        let found = funnel(&shop).unwrap();
        assert_eq!(found.steps, ["view", "cart", "pay"]);
        assert_eq!((&*found.entry, &*found.goal, found.named), ("cart", "pay", true));
        assert_eq!((found.keys, found.remove), (vec![5, 4, 2], vec!["remove_cart".to_owned()]));
        // Words that nobody knows.
        let odd = ["a b c", "a b", "a b", "a", "b a c", "a", "a b c"];
        let found = funnel(&odd).unwrap();
        assert_eq!(found.steps, ["a", "b", "c"]);
        assert_eq!((&*found.entry, &*found.goal, found.named), ("b", "c", false));
        // No order.
        assert_eq!(funnel(&["a b c", "b c a", "c a b", "a c b", "b a c", "c b a"]), None);
        assert_eq!(funnel(&["a", "a", "b"]), None);
        assert_eq!(funnel(&[]), None);
    }
}
