//! Metric specs, compiled against the schema: attribute names become slots, event types
//! become sets of event types.

use std::ops::{Range, RangeInclusive};

use super::aggregate::{Cell, Needs};
use super::bursts::Bursts;
use super::check::{Check, Judged};
use super::fact::{Attr, Fact};
use super::formula::Formula;
use super::grid::{Grid, Memo};
use super::groups::Silence;
use super::latest::Latest;
use super::moments::Moments;
use super::number::Number;
use super::spec::{Condition, Facts, MetricSpec, Test, WindowSpec};
use super::{formula, meaning};
use crate::event::Schema;
use crate::fault::{Fault, Use};
use crate::hash::fingerprint;
use crate::number::text::NumberFormat;
use crate::number::{Amount, Decimal};
use crate::time::{EpochMs, SpanMs};

/// Slots of a closed session's attributes, by index.
pub const SESSION_ATTRIBUTES: [&str; 6] =
    ["outcome", "step", "segment", "value", "events", "duration_s"];

/// A metric ready to be fed.
#[derive(Clone, Debug)]
pub struct Metric {
    /// What was declared.
    pub spec: MetricSpec,
    /// Fingerprint of what it is: its name, title, unit and place say nothing of that.
    pub meaning: u64,
    /// Where its panes lie and which of them a window reads.
    pub grid: Grid,
    /// What it is computed of, where that are other metrics.
    pub formula: Option<Formula>,
    /// The types of events that a total begins anew with.
    begins: Vec<u16>,
    filter: Vec<Check>,
    numerator: Vec<Check>,
    group_slots: Vec<usize>,
    field: Field,
    /// What the aggregate needs of a fact.
    needs: Needs,
    /// How numbers are written where the field is text.
    format: NumberFormat,
    /// Types of matches: it takes none that its conditions do not name.
    matches: Range<u16>,
    /// Which attributes it needs, of events: the field, then the conditions in the order of
    /// `filter` and `numerator`, then the labels. A place is kept for a field that it has not.
    pub uses: Vec<Use>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Key,
    Slot(usize),
}

/// Certain values of one attribute that a metric asks for, with the slot.
pub enum Equality<'a> {
    /// One of these texts.
    Texts(usize, &'a [String]),
    /// One of these numbers, which may be written as text in this way.
    Numbers(usize, &'a [Decimal], &'a NumberFormat),
}

impl Metric {
    /// Compiles the specs of a pipeline, those that are computed of others with them; the
    /// configuration sees to it that there are such, and no circles.
    pub fn compile_all(specs: &[MetricSpec], schema: &Schema) -> Vec<Metric> {
        let mut all: Vec<Metric> = specs.iter().map(|spec| Metric::compile(spec, schema)).collect();
        for index in formula::order(specs) {
            if let Some(spec) = &specs[index].formula {
                let formula = Formula::compile(spec, &all);
                let meanings: Vec<u64> =
                    formula.operands().map(|(operand, _)| all[operand].meaning).collect();
                let metric = &mut all[index];
                metric.meaning = meaning::of_formula(spec, &metric.spec.window, &meanings);
                metric.formula = Some(formula);
            }
        }
        all
    }

    /// Compiles a spec. Attributes must be in the schema (or among
    /// [`SESSION_ATTRIBUTES`]); the configuration checks that before.
    pub fn compile(spec: &MetricSpec, schema: &Schema) -> Metric {
        let slot = |name: &str| -> usize {
            let found = match spec.of {
                Facts::Events => schema.slots.iter().position(|slot| slot == name),
                _ => SESSION_ATTRIBUTES.iter().position(|slot| *slot == name),
            };
            found.unwrap_or(usize::MAX)
        };
        let check = |condition: &Condition| match &condition.test {
            _ if spec.of == Facts::Events => Check::of_events(condition, schema),
            Test::Holds(expr) => {
                Check::Holds(expr.clone(), expr.names().iter().map(|name| slot(name)).collect())
            }
            test => {
                let format = schema.number_format(&condition.attribute);
                Check::Slot(slot(&condition.attribute), test.clone(), format)
            }
        };
        let mut filter: Vec<(&Condition, Check)> =
            spec.filter.iter().map(|condition| (condition, check(condition))).collect();
        filter.sort_by_key(|(_, check)| check.rank());
        let named = |key: &str, attribute: &str| Use {
            key: format!("metric.{}.{key}", spec.name),
            attribute: attribute.to_owned(),
        };
        let mut uses = vec![named("field", spec.field.as_deref().unwrap_or(""))];
        uses.extend(filter.iter().map(|(condition, _)| named("where", &condition.attribute)));
        uses.extend(spec.numerator.iter().map(|c| named("numerator", &c.attribute)));
        uses.extend(spec.group_by.iter().map(|label| named("group_by", label)));
        let filter: Vec<Check> = filter.into_iter().map(|(_, check)| check).collect();
        let attributes: Vec<&str> = spec.attributes().map(String::as_str).collect();
        let derived = match spec.of {
            Facts::Events => schema.derived_among(&attributes),
            _ => Vec::new(),
        };
        Metric {
            meaning: meaning::meaning(spec, &schema.keys.join("\n"), &derived),
            matches: schema.match_types(),
            grid: Grid::new(&spec.window),
            formula: None,
            begins: match &spec.window {
                WindowSpec::Since { event, .. } => schema.type_number(event).into_iter().collect(),
                _ => Vec::new(),
            },
            filter,
            numerator: spec.numerator.iter().map(check).collect(),
            group_slots: spec.group_by.iter().map(|name| slot(name)).collect(),
            field: match &spec.field {
                Some(name) if [name.as_str()] != schema.keys[..] => Field::Slot(slot(name)),
                _ => Field::Key,
            },
            needs: spec.aggregate.needs(),
            format: schema.number_format(spec.field.as_deref().unwrap_or("")),
            uses,
            spec: spec.clone(),
        }
    }

    /// The types of events that its conditions name.
    pub fn event_types(&self) -> impl Iterator<Item = u16> {
        self.type_checks().flatten().chain(&self.begins).copied()
    }

    /// The end of all numbers of types, those of matches included.
    pub fn types_end(&self) -> u16 {
        self.event_types().map(|named| named + 1).max().unwrap_or(0).max(self.matches.end)
    }

    fn type_checks(&self) -> impl Iterator<Item = &Vec<u16>> {
        self.filter.iter().filter_map(|check| match check {
            Check::Types(types) => Some(types),
            _ => None,
        })
    }

    /// True when it takes events of a type, as far as that goes. Matches of patterns are no events
    /// of the log: a metric that counts those does not count them.
    pub fn admits(&self, event_type: u16) -> bool {
        if self.begins.contains(&event_type) {
            return true;
        }
        let mut named = self.type_checks().peekable();
        (named.peek().is_some() || !self.matches.contains(&event_type))
            && named.all(|types| types.contains(&event_type))
    }

    /// True when its totals begin anew with events of a type.
    pub fn begins(&self) -> bool {
        matches!(self.spec.window, WindowSpec::Since { .. })
    }

    /// True when it has a number at each fact.
    pub fn slides(&self) -> bool {
        matches!(self.spec.window, WindowSpec::Sliding { .. })
    }

    /// What must be settled before a number is final that ends at a time: its end, or that of the slide
    /// within which it lies.
    pub fn final_at(&self, end: EpochMs) -> EpochMs {
        if self.slides() { self.grid.pane(end - 1, &mut Memo::default()).end } else { end }
    }

    /// True when a total begins anew with a fact, whether it counts or not.
    #[inline]
    pub fn begins_with(&self, fact: &impl Fact) -> bool {
        !self.begins.is_empty() && self.begins.contains(&fact.event_type())
    }

    /// The first condition after those on the type, if it asks for certain values.
    pub fn equality(&self) -> Option<Equality<'_>> {
        if !self.begins.is_empty() {
            // The event that it begins with need not have them.
            return None;
        }
        let first = self.filter.iter().find(|check| !matches!(check, Check::Types(_)))?;
        match first {
            Check::Slot(slot, Test::TextIn(texts), _) => Some(Equality::Texts(*slot, texts)),
            Check::Slot(slot, Test::NumberIn(numbers), format) => {
                Some(Equality::Numbers(*slot, numbers, format))
            }
            _ => None,
        }
    }

    /// True when it has a number for each of several groups.
    pub fn is_grouped(&self) -> bool {
        !self.group_slots.is_empty()
    }

    /// When groups leave, where facts may be late by `lateness`.
    pub fn silence(&self, lateness: SpanMs) -> Silence {
        Silence::new(if self.is_grouped() { self.spec.group_silence } else { 0 }, lateness)
    }

    /// The group's labels of a fact.
    pub fn labels<'a>(&self, fact: &'a impl Fact) -> impl Iterator<Item = Attr<'a>> {
        self.group_slots.iter().map(move |slot| match fact.attr(*slot) {
            Attr::Unusable(_) => Attr::Missing,
            attr => attr,
        })
    }

    /// What a window holds before the first fact.
    pub fn zero(&self) -> Cell {
        let zero = self.spec.aggregate.zero();
        match self.spec.window {
            WindowSpec::Last { num, .. } => Cell::Latest(Latest::newest(num, zero).into()),
            WindowSpec::Since { .. } => Cell::Moments(Moments::new(zero).into()),
            WindowSpec::Sliding { numbers, .. } => {
                Cell::Moments(Moments::new(zero).at_most(numbers).into())
            }
            WindowSpec::Burst { gap, .. } => Cell::Bursts(Bursts::new(gap, zero).into()),
            _ => zero,
        }
    }

    /// What is kept of a window that takes in what enters, before the first fact.
    pub fn total(&self) -> Cell {
        match self.zero() {
            Cell::Moments(_) => self.spec.aggregate.zero(),
            zero => zero,
        }
    }

    /// What a shard adds facts up in, for windows and minutes.
    pub fn open(&self) -> Cell {
        match self.zero() {
            Cell::Latest(latest) => Cell::Latest(latest.with_others().into()),
            zero => zero,
        }
    }

    /// The number of a window without facts. A window that ends by silence has some.
    pub fn empty(&self) -> Option<Number> {
        match &self.formula {
            Some(formula) => formula.empty(),
            None if self.grid.is_silence() => None,
            None => self.spec.aggregate.empty(),
        }
    }

    /// Adds a fact that was taken to a cell.
    #[inline]
    pub fn add(&self, fact: &impl Fact, cell: &mut Cell) {
        self.spec.aggregate.add(cell, self, fact);
    }

    /// True when its cells are the numbers of their facts.
    pub fn only_counts(&self) -> bool {
        self.needs == Needs::Nothing && !self.open().is_windowed()
    }

    /// The field of a fact, as a number that is added up.
    #[inline]
    pub fn amount(&self, fact: &impl Fact) -> Option<Amount> {
        self.field_as_number(fact).amount()
    }

    /// The field of a fact, as a number that is compared.
    #[inline]
    pub fn number(&self, fact: &impl Fact) -> Option<Decimal> {
        self.field_as_number(fact).number()
    }

    /// True when a fact meets the conditions of the numerator.
    #[inline]
    pub fn meets_numerator(&self, fact: &impl Fact) -> bool {
        self.numerator.iter().all(|check| check.holds(fact))
    }

    #[inline]
    fn field_as_number<'a>(&self, fact: &'a impl Fact) -> Attr<'a> {
        match self.field {
            Field::Key => Attr::Missing,
            Field::Slot(slot) => fact.attr(slot).as_number(&self.format),
        }
    }

    /// True when adding this fact would change something (it has the field).
    pub fn has_field(&self, fact: &impl Fact) -> bool {
        match (self.needs, self.field) {
            (Needs::Nothing | Needs::Numerator, _) => true,
            (Needs::Value, _) => self.value(fact).is_some(),
            (Needs::Number, _) => self.number(fact).is_some(),
            (Needs::Amount, Field::Key) => false,
            (Needs::Amount, Field::Slot(slot)) => match fact.attr(slot) {
                // 64 bits of digits, not too small and no zeros behind them: exact.
                Attr::Number(number) if EXACT_EXPONENTS.contains(&number.exponent()) => true,
                attr => attr.as_number(&self.format).amount().is_some(),
            },
        }
    }

    /// What is wrong with the field of a fact that was taken.
    #[inline]
    pub fn field_fault(&self, fact: &impl Fact, has_field: bool) -> Option<Fault> {
        let attr = match self.field {
            Field::Slot(slot) => fact.attr(slot),
            Field::Key => return (!has_field).then_some(Fault::Absent),
        };
        match attr {
            // What an amount cannot hold to the last digit is seen at the exponent.
            Attr::Number(number) if has_field && number.exponent() >= *EXACT_EXPONENTS.start() => {
                None
            }
            _ if has_field && self.needs != Needs::Amount => None,
            attr => attr.amount_fault(&self.format),
        }
    }

    /// The labels' uses.
    pub fn label_uses(&self) -> Range<usize> {
        self.uses.len() - self.group_slots.len()..self.uses.len()
    }

    /// What is wrong with labels, and the number of their use.
    #[inline]
    pub fn label_faults(&self, fact: &impl Fact) -> impl Iterator<Item = (usize, Fault)> {
        self.label_uses().zip(&self.group_slots).filter_map(|(at, slot)| match fact.attr(*slot) {
            Attr::Missing => Some((at, Fault::Absent)),
            Attr::Unusable(why) => Some((at, why.into())),
            _ => None,
        })
    }

    /// The first condition that a fact does not meet, and whether it may have kept the fact out
    /// because an attribute is of another type: quick, and true more often than
    /// [`Metric::filter_fault`] finds something.
    #[inline]
    pub fn refuses(&self, fact: &impl Fact) -> Option<(usize, bool)> {
        self.filter.iter().enumerate().find_map(|(at, check)| match check.judge(fact) {
            Judged::Met => None,
            Judged::Unmet => Some((at, self.may_misjudge(at, fact))),
            Judged::Misfit => Some((at, true)),
        })
    }

    #[inline]
    fn may_misjudge(&self, at: usize, fact: &impl Fact) -> bool {
        let Check::Slot(slot, test, _) = &self.filter[at] else { return false };
        let attr = fact.attr(*slot);
        match test {
            Test::Exists(_) => false,
            Test::TextIn(_) => !matches!(attr, Attr::Missing | Attr::Text(_)),
            Test::Is(_) => !matches!(attr, Attr::Missing | Attr::Bool(_)),
            _ => !matches!(attr, Attr::Missing | Attr::Number(_)),
        }
    }

    /// Why condition `at` could not be judged, if so, with the number of its use.
    pub fn filter_fault(&self, at: usize, fact: &impl Fact) -> Option<(usize, Fault)> {
        Some((1 + at, self.filter[at].misfit(fact)?))
    }

    /// The conditions of the numerator that could not be judged.
    pub fn numerator_faults(&self, fact: &impl Fact) -> impl Iterator<Item = (usize, Fault)> {
        let first = 1 + self.filter.len();
        let checks = self.numerator.iter().enumerate();
        checks.filter_map(move |(at, check)| Some((first + at, check.misfit(fact)?)))
    }

    /// The field of a fact whatever it is, or its session key; `None` when it has none.
    #[inline]
    pub fn value<'a>(&self, fact: &'a impl Fact) -> Option<Attr<'a>> {
        match self.field {
            Field::Key => Some(fact.key()).filter(|key| !key.is_empty()).map(Attr::Text),
            Field::Slot(slot) => {
                let attr = fact.attr(slot);
                (!matches!(attr, Attr::Missing | Attr::Unusable(_))).then_some(attr)
            }
        }
    }

    /// A hash of that value. Not the hash that places keys on shards: that one has a seed of its
    /// folder, and a sketch must say the same of the same keys everywhere.
    #[inline]
    pub fn hash(&self, fact: &impl Fact) -> Option<u64> {
        Some(match self.value(fact)? {
            Attr::Missing | Attr::Unusable(_) => return None,
            Attr::Number(number) => {
                let mut bytes = Vec::with_capacity(12);
                number.encode(&mut bytes);
                fingerprint(&bytes)
            }
            Attr::Amount(amount) => fingerprint(&amount.parts().to_le_bytes()),
            Attr::Text(text) => fingerprint(text),
            Attr::Bool(value) => fingerprint(&[u8::from(value)]),
        })
    }
}

/// Powers of ten with which an amount holds any digits to the last one.
const EXACT_EXPONENTS: RangeInclusive<i32> = -(Amount::DECIMALS as i32)..=0;
