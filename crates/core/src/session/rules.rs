//! The session policy, compiled to what the machine needs for each event.

use std::borrow::Cow;

use super::policy::{Deadline, SessionPolicy};
use crate::event::Schema;
use crate::fault::{Fault, uses};
use crate::metric::{Attr, Fact};
use crate::number::text::NumberFormat;
use crate::number::{Amount, Countable};
use crate::time::{EpochMs, SpanMs, TimePolicy};

/// Event types counted apart in a session: slot 0 is `other`, the rest the configured ones.
pub const COUNTED_KINDS: usize = 8;

/// One event as the machine sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionEvent {
    /// Event time.
    pub at: EpochMs,
    /// The source's watermark just before it.
    pub watermark: EpochMs,
    /// Value of an entry or a removal, if it carries one.
    pub value: Option<Amount>,
    /// Segment, an index of the shard's dictionary; 0 for none.
    pub segment: u16,
    /// Step it reaches (index plus one), 0 for none.
    pub step: u8,
    /// Slot in the counts by type.
    pub counted: u8,
    /// An entry event.
    pub entry: bool,
    /// A goal event.
    pub goal: bool,
    /// An event that takes an entry back.
    pub remove: bool,
    /// It was seen before, and would be late if it had not been: counts as late where it is,
    /// else as the repeat that it is.
    pub repeat: bool,
}

/// What an event type means to a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeMeaning {
    /// See [`SessionEvent::step`].
    pub step: u8,
    /// See [`SessionEvent::counted`].
    pub counted: u8,
    /// See [`SessionEvent::entry`].
    pub entry: bool,
    /// See [`SessionEvent::goal`].
    pub goal: bool,
    /// See [`SessionEvent::remove`].
    pub remove: bool,
}

/// The compiled rules. Shared by all sessions of a shard.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Silence that ends a session.
    pub gap: SpanMs,
    /// Allowed lateness: how long after its deadline a close waits.
    pub lateness: SpanMs,
    /// Longest session; `i64::MAX` for no bound.
    pub length_max: SpanMs,
    /// Most marks of one key, see `carts`.
    pub marks_max: usize,
    /// Abandonment is judged by the time since the last entry.
    pub since_entry: bool,
    /// Names of the counted types; slot 0 is `other`.
    pub counted: Vec<String>,
    /// Names of the steps.
    pub steps: Vec<String>,
    /// Slot that holds an entry event's value.
    pub value_slot: Option<usize>,
    /// How it is written where it is text.
    value_format: NumberFormat,
    /// Slot that holds the segment.
    pub segment_slot: Option<usize>,
    /// Unit of the value.
    pub currency: String,
    meanings: Vec<TypeMeaning>,
}

impl Rules {
    /// Compiles a policy against the schema that events are decoded with.
    pub fn compile(policy: &SessionPolicy, time: &TimePolicy, schema: &Schema) -> Self {
        let mut counted = vec!["other".to_owned()];
        for name in
            policy.entry.iter().chain(&policy.goal).chain(&policy.steps).chain(&policy.remove)
        {
            if !counted.contains(name) && counted.len() < COUNTED_KINDS {
                counted.push(name.clone());
            }
        }
        let slot = |name: &Option<String>| {
            name.as_ref().and_then(|name| schema.slots.iter().position(|slot| slot == name))
        };
        let meanings = schema
            .event_types
            .iter()
            .map(|event_type| meaning(policy, &counted, event_type))
            .collect();
        Rules {
            gap: policy.gap,
            lateness: time.allowed_lateness,
            length_max: policy.max_length.unwrap_or(SpanMs::MAX),
            marks_max: policy.marks_max,
            since_entry: policy.deadline == Deadline::SinceEntry,
            steps: policy.steps.clone(),
            value_slot: slot(&policy.value),
            value_format: schema.number_format(policy.value.as_deref().unwrap_or("")),
            segment_slot: slot(&policy.segment),
            currency: policy.currency.clone(),
            counted,
            meanings,
        }
    }

    /// How long the end of a closed session is remembered, counted from the time up to which
    /// it makes events late: the longest that an event may be behind and open a session, and
    /// one gap, which that session reaches back.
    pub fn memory(&self) -> SpanMs {
        2 * self.gap + self.lateness
    }

    /// What an event type means; types without a name mean nothing special.
    pub fn meaning(&self, event_type: u16) -> TypeMeaning {
        self.meanings.get(usize::from(event_type)).copied().unwrap_or_default()
    }

    /// What a session takes of the attributes of an event with a key.
    #[inline]
    pub fn needs<'f>(&self, fact: &'f impl Fact) -> Needs<'f> {
        let meaning = self.meaning(fact.event_type());
        let mut needs = Needs { segmented: self.segment_slot.is_some(), ..Needs::default() };
        if let Some(slot) = self.value_slot.filter(|_| meaning.entry || meaning.remove) {
            let (value, fault) = self.value_of(fact.attr(slot));
            // A removal need not say what it takes back.
            let concerned = meaning.entry || fault != Some(Fault::Absent);
            (needs.value, needs.value_use) = (value, concerned.then_some(fault));
        }
        if let Some(slot) = self.segment_slot {
            needs.segment = fact.attr(slot);
        }
        needs
    }

    /// The value of an entry event's attribute, and what is wrong with it.
    #[inline]
    fn value_of(&self, attr: Attr<'_>) -> (Option<Amount>, Option<Fault>) {
        let number = attr.as_number(&self.value_format);
        if let Attr::Number(number) = number
            && let Countable::Exact(amount) = number.countable()
        {
            return (Some(amount), None);
        }
        (number.amount(), attr.amount_fault(&self.value_format))
    }

    /// Name of a step as kept in a session (0 is the empty name).
    pub fn step_name(&self, step: u8) -> &str {
        match usize::from(step).checked_sub(1) {
            None => "",
            Some(index) => self.steps.get(index).map_or("", String::as_str),
        }
    }
}

/// What a session takes of an event's attributes, and what is wrong with them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs<'f> {
    /// Value of an entry or a removal, if it carries one.
    pub value: Option<Amount>,
    /// What is wrong with the value, where the event is to carry one.
    value_use: Option<Option<Fault>>,
    segment: Attr<'f>,
    /// Events are to carry a segment.
    segmented: bool,
}

impl<'f> Needs<'f> {
    /// The segment that the event names: its text, numbers included.
    #[inline]
    pub fn segment(&self) -> Option<Cow<'f, [u8]>> {
        let owned = |text: String| Some(Cow::Owned(text.into_bytes()));
        match self.segment {
            Attr::Text(text) => Some(Cow::Borrowed(text)),
            Attr::Number(number) => owned(number.to_string()),
            Attr::Amount(amount) => owned(amount.to_string()),
            Attr::Bool(value) => owned(value.to_string()),
            Attr::Missing | Attr::Unusable(_) => None,
        }
    }

    /// Each use that the event concerns, with what is wrong.
    #[inline]
    pub fn each(&self, mut each: impl FnMut(usize, Option<Fault>)) {
        if let Some(fault) = self.value_use {
            each(uses::VALUE, fault);
        }
        if self.segmented {
            let fault = match self.segment {
                Attr::Missing => Some(Fault::Absent),
                Attr::Unusable(why) => Some(why.into()),
                _ => None,
            };
            each(uses::SEGMENT, fault);
        }
    }
}

fn meaning(policy: &SessionPolicy, counted: &[String], event_type: &str) -> TypeMeaning {
    let position = |names: &[String]| names.iter().position(|name| name == event_type);
    TypeMeaning {
        step: position(&policy.steps).map_or(0, |index| index as u8 + 1),
        counted: position(counted).unwrap_or(0) as u8,
        entry: position(&policy.entry).is_some(),
        goal: position(&policy.goal).is_some(),
        remove: position(&policy.remove).is_some(),
    }
}
