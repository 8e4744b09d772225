//! What a pattern needs of the attributes of an event, and what of that is of no use.

use std::borrow::Cow;

use super::compile::{BELONGS, ENTRY, FIRST, LEFT, REMOVE, RIGHT};
use super::spec::{PatternSpec, Seeks, SessionsSpec, Side};
use crate::event::Schema;
use crate::fault::{Fault, Use};
use crate::metric::watch::Notes;
use crate::metric::{Attr, Conditions, Fact};
use crate::number::text::NumberFormat;

/// The uses of one pattern: each key of its table with each attribute once.
#[derive(Clone, Debug)]
pub struct Needs {
    /// In the order of their numbers.
    pub uses: Vec<Use>,
    /// The number of the first, among those of all patterns.
    first: usize,
    /// A key of its own: slot and use.
    key: Option<(usize, usize)>,
    /// The key of a visitor who is not known yet: its slot.
    anonymous: Option<usize>,
    /// Of each condition of each list.
    conditions: Vec<Vec<usize>>,
    /// What its events must have in common: slot and use.
    on: Vec<(usize, usize)>,
    /// What matches take: slot, use, and of which events, by what they meet.
    taken: Vec<(usize, usize, u32)>,
    /// What sessions put at stake.
    value: Option<(usize, usize, NumberFormat)>,
}

impl Needs {
    /// Of a pattern and its compiled lists of conditions; its uses come behind `first` others.
    pub fn new(
        spec: &PatternSpec,
        conditions: &[(u32, Conditions)],
        schema: &Schema,
        first: usize,
    ) -> Self {
        let mut needs = Needs {
            uses: Vec::new(),
            first,
            key: None,
            anonymous: None,
            conditions: Vec::new(),
            on: Vec::new(),
            taken: Vec::new(),
            value: None,
        };
        let table = spec.seeks.table();
        let slot = |name: &String| {
            let place = schema.slots.iter().position(|slot| slot == name);
            place.unwrap_or(usize::MAX)
        };
        let mut number = |key: &str, attribute: &str| {
            let key = format!("{table}.{}.{key}", spec.name);
            let one = Use { key, attribute: attribute.to_owned() };
            let known = needs.uses.iter().position(|known| *known == one);
            known.unwrap_or_else(|| {
                needs.uses.push(one);
                needs.uses.len() - 1
            })
        };
        needs.key = spec.key.as_ref().map(|name| (slot(name), number("key", name)));
        for ((key, _), (_, list)) in spec.seeks.conditions().into_iter().zip(conditions) {
            let numbers = list.attributes().map(|attribute| number(key, attribute)).collect();
            needs.conditions.push(numbers);
        }
        for name in spec.seeks.on() {
            needs.on.push((slot(name), number("on", name)));
        }
        if let Seeks::Sessions(SessionsSpec { identify: Some(name), .. }) = &spec.seeks {
            needs.anonymous = Some(slot(name));
        }
        let key = if let Seeks::Funnel(_) = spec.seeks { "by" } else { "attributes" };
        for (_, taken) in &spec.attributes {
            let (slot, number) = (slot(&taken.attribute), number(key, &taken.attribute));
            let of = events_of(&spec.seeks, taken.side);
            match needs.taken.iter_mut().find(|(_, known, _)| *known == number) {
                Some((.., known)) => *known |= of,
                None => needs.taken.push((slot, number, of)),
            }
        }
        if let Seeks::Sessions(SessionsSpec { value: Some(name), .. }) = &spec.seeks {
            needs.value = Some((slot(name), number("value", name), schema.number_format(name)));
        }
        needs
    }

    /// Of condition `at` of list `list`.
    pub fn of_condition(&self, list: usize, at: usize) -> usize {
        self.first + self.conditions[list][at]
    }

    /// The key of an event that meets some of its conditions, where it goes by a key of its own: that
    /// of a visitor who is not known yet, where there is no other. `None`: the event has none, which
    /// is noted.
    pub fn key<'a>(&self, fact: &'a impl Fact, notes: &mut impl Notes) -> Option<Cow<'a, [u8]>> {
        let (slot, number) = self.key?;
        notes.concern(self.first + number);
        let key = key(fact, slot).or_else(|| key(fact, self.anonymous?));
        if key.is_none() {
            notes.note(self.first + number, of_text(fact.attr(slot)).unwrap_or(Fault::Absent));
        }
        key
    }

    /// The key of a visitor before they were known, and after that, where an event has both.
    pub fn identifies<'a>(&self, fact: &'a impl Fact) -> Option<[Cow<'a, [u8]>; 2]> {
        let (anonymous, known) = (key(fact, self.anonymous?)?, key(fact, self.key?.0)?);
        (anonymous != known).then_some([anonymous, known])
    }

    /// Looks at what is kept of an event that meets this.
    pub fn look_at(&self, meets: u32, fact: &impl Fact, notes: &mut impl Notes) {
        for (slot, number) in &self.on {
            notes.concern(self.first + number);
            if let Some(fault) = of_text(fact.attr(*slot)) {
                notes.note(self.first + number, fault);
            }
        }
        for (slot, number, of) in &self.taken {
            // That an event does not carry what a match shows of it is nobody's mistake.
            if meets & of != 0
                && let Attr::Unusable(why) = fact.attr(*slot)
            {
                notes.note(self.first + number, why.into());
            }
        }
        if let Some((slot, number, format)) = &self.value
            && meets & (ENTRY | REMOVE) != 0
        {
            let fault = fact.attr(*slot).amount_fault(format);
            // A removal need not say what it takes back.
            if meets & ENTRY != 0 || fault != Some(Fault::Absent) {
                notes.concern(self.first + number);
                fault.into_iter().for_each(|fault| notes.note(self.first + number, fault));
            }
        }
    }
}

fn key(fact: &impl Fact, slot: usize) -> Option<Cow<'_, [u8]>> {
    let text = match fact.attr(slot) {
        Attr::Missing | Attr::Unusable(_) => return None,
        Attr::Text(text) => Cow::Borrowed(text),
        attr => Cow::Owned(attr.to_string().into_bytes()),
    };
    (!text.is_empty()).then_some(text)
}

fn of_text(attr: Attr<'_>) -> Option<Fault> {
    match attr {
        Attr::Missing => Some(Fault::Absent),
        Attr::Unusable(why) => Some(why.into()),
        _ => None,
    }
}

/// What events meet whose attributes a match takes for a side.
fn events_of(seeks: &Seeks, side: Side) -> u32 {
    match (seeks, side) {
        (Seeks::Sequence(_) | Seeks::Funnel(_), Side::First) => FIRST,
        (Seeks::Sequence(sequence), Side::Last) => FIRST << sequence.then.len(),
        (Seeks::Funnel(funnel), Side::Last) => FIRST << (funnel.steps.len() - 1),
        (Seeks::Join(_), Side::First) => LEFT,
        (Seeks::Join(_), Side::Last) => RIGHT,
        (Seeks::Sessions(_), _) => BELONGS,
    }
}
