//! Which metrics a fact may concern: found by its type and by what conditions ask for, so that
//! an event costs what it concerns, however many metrics there are.
//!
//! Only a first look: whoever asks still puts the fact to each metric that is named. A metric
//! that is left out would refuse the fact and have nothing to note of it.

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use super::compile::{Equality, Metric};
use super::fact::{Attr, Fact};
use super::spec::Facts;
use crate::number::Decimal;
use crate::number::text::NumberFormat;

/// The metrics of a pipeline, by what may concern them. Metrics are named by their index.
#[derive(Clone, Debug)]
pub struct Routes {
    /// By type of event; the last is that of every type that no metric names.
    event_types: Vec<Route>,
    sessions: Vec<u16>,
}

/// Metrics that events of one type may concern.
#[derive(Clone, Debug, Default)]
struct Route {
    /// Those that ask for no particular value.
    always: Vec<u16>,
    /// The others, by the attribute whose value they ask for.
    by_slot: Vec<BySlot>,
}

/// Metrics that ask for certain values of one attribute.
#[derive(Clone, Debug)]
struct BySlot {
    slot: usize,
    format: NumberFormat,
    texts: HashMap<Box<[u8]>, Vec<u16>, FixedState>,
    /// By the bits of the nearest double: near enough for a first look.
    numbers: HashMap<u64, Vec<u16>, FixedState>,
    /// Those that ask for texts, and those that ask for numbers: a value of another type is
    /// noted by each of them.
    want_text: Vec<u16>,
    want_number: Vec<u16>,
}

impl Routes {
    /// For these metrics.
    pub fn new(metrics: &[Metric]) -> Self {
        let of = |facts| {
            let metrics = (0u16..).zip(metrics);
            metrics.filter(move |(_, metric)| metric.spec.of == facts)
        };
        let event_types = of(Facts::Events).map(|(_, metric)| metric.types_end()).max();
        // No type has the greatest number.
        let event_types = (0..event_types.unwrap_or(0)).chain([u16::MAX]);
        let event_types = event_types.map(|event_type| {
            let mut route = Route::default();
            of(Facts::Events)
                .filter(|(_, metric)| metric.admits(event_type))
                .for_each(|(index, metric)| route.add(index, metric));
            route
        });
        let sessions = of(Facts::Sessions).map(|(index, _)| index).collect();
        Routes { event_types: event_types.collect(), sessions }
    }

    /// Names each metric that a fact may concern, once.
    #[inline]
    pub fn each(&self, of: Facts, fact: &impl Fact, mut found: impl FnMut(usize)) {
        let mut all = |metrics: &[u16]| metrics.iter().for_each(|one| found(usize::from(*one)));
        match of {
            Facts::Events => {
                let event_type = usize::from(fact.event_type()).min(self.event_types.len() - 1);
                let route = &self.event_types[event_type];
                all(&route.always);
                for by in &route.by_slot {
                    by.each(fact.attr(by.slot), &mut all);
                }
            }
            Facts::Sessions => all(&self.sessions),
            Facts::LiveSessions | Facts::Metrics => {}
        }
    }
}

impl Route {
    fn add(&mut self, index: u16, metric: &Metric) {
        let Some(equality) = metric.equality() else { return self.always.push(index) };
        let (slot, format) = match &equality {
            Equality::Texts(slot, _) => (*slot, NumberFormat::default()),
            Equality::Numbers(slot, _, format) => (*slot, (*format).clone()),
        };
        let known = self.by_slot.iter().position(|by| by.slot == slot && by.format == format);
        let at = known.unwrap_or_else(|| {
            self.by_slot.push(BySlot::new(slot, format));
            self.by_slot.len() - 1
        });
        let by = &mut self.by_slot[at];
        match equality {
            Equality::Texts(_, texts) => {
                by.want_text.push(index);
                for text in texts.iter().collect::<HashSet<_, FixedState>>() {
                    by.texts.entry(text.as_bytes().into()).or_default().push(index);
                }
            }
            Equality::Numbers(_, numbers, _) => {
                by.want_number.push(index);
                for bits in numbers.iter().map(bits).collect::<HashSet<_, FixedState>>() {
                    by.numbers.entry(bits).or_default().push(index);
                }
            }
        }
    }
}

impl BySlot {
    fn new(slot: usize, format: NumberFormat) -> Self {
        let (texts, numbers) = (HashMap::default(), HashMap::default());
        BySlot { slot, format, texts, numbers, want_text: Vec::new(), want_number: Vec::new() }
    }

    #[inline]
    fn each(&self, attr: Attr<'_>, all: &mut impl FnMut(&[u16])) {
        if !self.want_text.is_empty() {
            match attr {
                Attr::Missing => {}
                Attr::Text(text) => self.texts.get(text).into_iter().for_each(|found| all(found)),
                _ => all(&self.want_text),
            }
        }
        if !self.want_number.is_empty() {
            match attr.as_number(&self.format) {
                Attr::Missing => {}
                Attr::Number(number) => {
                    let found = self.numbers.get(&bits(&number));
                    found.into_iter().for_each(|found| all(found));
                }
                _ => all(&self.want_number),
            }
        }
    }
}

fn bits(number: &Decimal) -> u64 {
    // Minus zero is zero.
    (number.to_f64() + 0.0).to_bits()
}
