//! Patterns, compiled against the schema, and which of them an event may concern.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::cohorts::{CohortKey, Cohorts};
use super::found::{Match, More};
use super::held::{self, Held};
use super::needs::Needs;
use super::spec::{
    COHORT, CUT, CohortSpec, DURATION, EVENTS, FunnelSpec, IS_FIRST, JoinSpec, MATCHED, OUTCOME,
    PatternSpec, STEP, Seeks, SequenceSpec, SessionsSpec, Side, VALUE, WAITED,
};
use crate::event::Schema;
use crate::fault::Use;
use crate::hash::fingerprint;
use crate::metric::watch::Notes;
use crate::metric::{Calendar, Conditions, Fact};
use crate::number::Amount;
use crate::number::text::NumberFormat;
use crate::session::Outcome;
use crate::settings::Word as _;
use crate::time::{SpanMs, TimePolicy};

/// The bit of the first event; those of the further steps follow.
pub(super) const FIRST: u32 = 1;
/// The bits of a join's sides.
pub(super) const LEFT: u32 = FIRST;
pub(super) const RIGHT: u32 = FIRST << 1;
/// Most further steps.
pub const THEN_MAX: usize = 16;
/// The bits of what must not come.
pub(super) const WITHOUT: u32 = 1 << 30;
pub(super) const NOT_THEN: u32 = 1 << 31;

/// The bits of sessions: an event of theirs, what it does, the steps and what is counted apart.
pub(super) const BELONGS: u32 = 1;
pub(super) const ENTRY: u32 = 1 << 1;
pub(super) const GOAL: u32 = 1 << 2;
pub(super) const REMOVE: u32 = 1 << 3;
pub(super) const STEPPED: u32 = 1 << 4;
pub(super) const COUNTED: u32 = 1 << 16;
/// Most steps of sessions.
pub const SESSION_STEPS_MAX: usize = 12;
/// Most counts of sessions.
pub const SESSION_COUNTS_MAX: usize = 16;
const _: () = assert!(FIRST << (THEN_MAX + 1) < WITHOUT, "each step has a bit of its own");
const _: () = assert!(STEPPED << (SESSION_STEPS_MAX - 1) < COUNTED, "so has each of a kind");
const _: () =
    assert!(COUNTED.checked_shl(SESSION_COUNTS_MAX as u32 - 1).is_some(), "and each count");

/// A pattern ready to be fed.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// What was declared.
    pub spec: PatternSpec,
    /// The number of its matches' type: behind those of events.
    pub event_type: u16,
    /// Fingerprint of what decides its matches, their type among it: its title and its alert say
    /// nothing of that.
    pub meaning: u64,
    /// Conditions, with the bit that says they are met.
    conditions: Vec<(u32, Conditions)>,
    /// What it needs of the attributes of events.
    needs: Needs,
    /// Slots of the attributes that are kept of its events: first those that they must have in
    /// common, as text.
    slots: Vec<usize>,
    /// Of sessions: the place of the value at stake among `slots`, and how it is written as text.
    worth: Option<(usize, NumberFormat)>,
    /// Of sessions: the places of what they list among `slots`.
    pub(super) lists: Vec<usize>,
    /// Of sessions that are told apart by when their key was first seen.
    cohort: Option<(u64, Calendar)>,
    /// What keys of visitors that are not known yet are kept under.
    pub identify_id: Option<u64>,
    /// By declared attribute: the event it is of, and its place among `slots`.
    taken: Vec<(Side, usize)>,
    /// What the slots of the schema show of a match.
    pub(super) shows: Vec<(usize, Shows)>,
}

/// What an attribute of a match is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// Its type.
    Name,
    /// Its key.
    Key,
    /// How long it took.
    Duration,
    /// Whether it has both sides.
    Matched,
    /// Of a funnel: which step; of sessions: the furthest.
    Step,
    /// Whether it was reached or left; how it ended.
    Outcome,
    /// How long after the step before.
    Waited,
    /// Of sessions: how many events.
    Events,
    /// The value at stake.
    Worth,
    /// Whether it was cut.
    Cut,
    /// The first day of the key's cohort.
    Cohort,
    /// Whether it is the key's first.
    IsFirst,
    /// How many events met what is counted apart.
    Count(usize),
    /// A value of one of its events, by the place among those that are kept.
    Value(Side, usize),
}

/// The patterns of one key that an event concerns, with what is kept of it for each.
pub type Hits = SmallVec<[(u16, Held); 1]>;

/// What an event is to patterns.
#[derive(Debug, Default)]
pub struct Concerns<'a> {
    /// To those of its session key.
    pub hits: Hits,
    /// To those with a key of their own, pattern by pattern.
    pub own: Vec<Concern<'a>>,
}

/// What an event is to a pattern with a key of its own.
#[derive(Debug)]
pub struct Concern<'a> {
    /// The pattern.
    pub pattern: u16,
    /// The key.
    pub key: Cow<'a, [u8]>,
    /// What stands for the key from now on.
    pub anonymous: Option<Cow<'a, [u8]>>,
    /// What is kept of it; `None` where it only says who is who.
    pub held: Option<Held>,
}

/// All patterns of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    /// In the order of the file.
    pub list: Vec<Pattern>,
    /// By type of event; the last is that of every type that no pattern names.
    routes: Vec<Vec<u16>>,
    /// Those that any event may tell who is who.
    identifying: Vec<u16>,
    /// How long after an event's time it is decided what becomes of it.
    pub lateness: SpanMs,
    /// Most events and attempts that one key holds for one pattern.
    pub held_max: usize,
}

impl Patterns {
    /// Compiles them. Names and attributes are in the schema; the configuration sees to it.
    pub fn compile(
        specs: &[PatternSpec],
        time: &TimePolicy,
        held_max: usize,
        schema: &Schema,
    ) -> Self {
        let mut num_uses = 0;
        let list = specs.iter().map(|spec| {
            let pattern = Pattern::compile(spec, schema, num_uses);
            num_uses += pattern.needs.uses.len();
            pattern
        });
        let list: Vec<Pattern> = list.collect();
        let types = (0..schema.event_types.len() as u16).chain([Schema::OTHER_TYPE]);
        let routes = types.map(|event_type| {
            let concerned = (0u16..).zip(&list).filter(|(_, pattern)| pattern.admits(event_type));
            concerned.map(|(index, _)| index).collect()
        });
        let routes = routes.collect();
        let identifies = |(number, pattern): (u16, &Pattern)| pattern.identify_id.map(|_| number);
        let identifying = (0u16..).zip(&list).filter_map(identifies).collect();
        Patterns { routes, identifying, list, lateness: time.allowed_lateness, held_max }
    }

    /// What each means.
    pub fn meanings(&self) -> Box<[u64]> {
        self.list.iter().map(|pattern| pattern.meaning).collect()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What they need of the attributes of events, by number.
    pub fn uses(&self) -> impl Iterator<Item = &Use> {
        self.list.iter().flat_map(|pattern| &pattern.needs.uses)
    }

    /// Some go by a key of their own.
    pub fn any_own(&self) -> bool {
        self.list.iter().any(Pattern::has_own_key)
    }

    /// The patterns that an event concerns. What of it is of no use to them is noted by the number
    /// of the use.
    #[inline]
    pub fn concerns<'a>(&self, fact: &'a impl Fact, notes: &mut impl Notes) -> Concerns<'a> {
        let route = usize::from(fact.event_type()).min(self.routes.len() - 1);
        let mut concerns = Concerns::default();
        for number in &self.routes[route] {
            let pattern = &self.list[usize::from(*number)];
            if !pattern.has_own_key() {
                // One without a session key is of no such pattern.
                if !fact.key().is_empty()
                    && let Some(meets) = pattern.meets(fact, notes)
                {
                    concerns.hits.push((*number, pattern.hold(meets, fact, notes)));
                }
            } else if let Some(meets) = pattern.meets(fact, notes)
                && let Some(key) = pattern.needs.key(fact, notes)
            {
                let held = Some(pattern.hold(meets, fact, notes));
                let both = pattern.needs.identifies(fact);
                let anonymous = both.map(|[anonymous, _]| anonymous);
                concerns.own.push(Concern { pattern: *number, key, anonymous, held });
            }
        }
        for number in &self.identifying {
            if concerns.own.iter().all(|one| one.pattern != *number)
                && let Some([anonymous, key]) =
                    self.list[usize::from(*number)].needs.identifies(fact)
            {
                let anonymous = Some(anonymous);
                concerns.own.push(Concern { pattern: *number, key, anonymous, held: None });
            }
        }
        concerns
    }
}

impl Pattern {
    /// Its uses come behind so many others.
    fn compile(spec: &PatternSpec, schema: &Schema, uses: usize) -> Pattern {
        let conditions = spec.seeks.conditions().into_iter().zip(bits(&spec.seeks));
        let conditions =
            conditions.map(|((_, list), bit)| (bit, Conditions::of_events(list, schema)));
        let conditions: Vec<(u32, Conditions)> = conditions.collect();
        let slot = |name: &str| schema.slots.iter().position(|slot| slot == name);
        let on = spec.seeks.on().iter().map(|name| slot(name).unwrap_or(usize::MAX));
        let (mut slots, mut taken): (Vec<usize>, _) = (on.collect(), Vec::new());
        let common = slots.len();
        let mut shows: Vec<(usize, Shows)> = Vec::new();
        let mut show = |name: &str, what: Shows| shows.extend(slot(name).map(|slot| (slot, what)));
        show("type", Shows::Name);
        show(DURATION, Shows::Duration);
        match &spec.seeks {
            Seeks::Sequence(_) => {}
            Seeks::Join(_) => show(MATCHED, Shows::Matched),
            Seeks::Funnel(_) => {
                let own = [(STEP, Shows::Step), (OUTCOME, Shows::Outcome), (WAITED, Shows::Waited)];
                own.into_iter().for_each(|(name, what)| show(name, what));
            }
            Seeks::Sessions(sessions) => {
                let own = [(STEP, Shows::Step), (OUTCOME, Shows::Outcome), (EVENTS, Shows::Events)];
                let own = own.into_iter().chain([(VALUE, Shows::Worth), (CUT, Shows::Cut)]);
                own.for_each(|(name, what)| show(name, what));
                let counts = sessions.counts.iter().enumerate();
                counts.for_each(|(which, (name, _))| show(name, Shows::Count(which)));
                if sessions.cohort.is_some() {
                    show(COHORT, Shows::Cohort);
                    show(IS_FIRST, Shows::IsFirst);
                }
            }
        }
        for (name, from) in &spec.attributes {
            let slot = slot(&from.attribute).unwrap_or(usize::MAX);
            let known = slots.iter().skip(common).position(|known| *known == slot);
            let known = known.map(|known| common + known);
            let at = known.unwrap_or_else(|| {
                slots.push(slot);
                slots.len() - 1
            });
            taken.push((from.side, at));
            show(name, Shows::Value(from.side, at));
        }
        let keys = keys(spec, schema);
        if let [key] = keys {
            show(key, Shows::Key);
        }
        let worth = match &spec.seeks {
            Seeks::Sessions(SessionsSpec { value: Some(name), .. }) => {
                slots.push(schema.slots.iter().position(|slot| slot == name).unwrap_or(usize::MAX));
                Some((slots.len() - 1, schema.number_format(name)))
            }
            _ => None,
        };
        let mut lists = Vec::new();
        if let Seeks::Sessions(sessions) = &spec.seeks {
            for (_, name) in &sessions.lists {
                let found = schema.slots.iter().position(|slot| slot == name);
                slots.push(found.unwrap_or(usize::MAX));
                lists.push(slots.len() - 1);
            }
        }
        let cohort = match &spec.seeks {
            Seeks::Sessions(SessionsSpec { cohort: Some(cohort), .. }) => {
                let CohortSpec { span, zone, first_weekday } = cohort;
                // What sessions are is no part of it: keys stay known when that is another.
                let words = format!("cohort {} {keys:?} {cohort:?}", spec.name);
                let calendar = Calendar::new(zone, *span, *first_weekday);
                Some((fingerprint(words.as_bytes()), calendar))
            }
            _ => None,
        };
        let identify_id = match &spec.seeks {
            Seeks::Sessions(SessionsSpec { identify: Some(name), .. }) => {
                Some(fingerprint(format!("identify {} {keys:?} {name}", spec.name).as_bytes()))
            }
            _ => None,
        };
        let number = schema.patterns.iter().position(|name| *name == spec.name).unwrap_or(0);
        Pattern {
            event_type: schema.match_types().start + number as u16,
            meaning: meaning(spec, schema),
            needs: Needs::new(spec, &conditions, schema, uses),
            conditions,
            slots,
            worth,
            lists,
            cohort,
            identify_id,
            taken,
            shows,
            spec: spec.clone(),
        }
    }

    fn admits(&self, event_type: u16) -> bool {
        self.conditions.iter().any(|(_, conditions)| conditions.admit(event_type))
    }

    /// It goes by a key of its own.
    pub fn has_own_key(&self) -> bool {
        self.spec.key.is_some()
    }

    /// The bits of the conditions that an event meets; `None` when it is none of its events.
    fn meets(&self, fact: &impl Fact, notes: &mut impl Notes) -> Option<u32> {
        let mut meets = 0;
        for (list, (bit, conditions)) in self.conditions.iter().enumerate() {
            let note = |at, fault| notes.note(self.needs.of_condition(list, at), fault);
            if conditions.hold(fact, note) {
                meets |= bit;
            } else if *bit == BELONGS && self.is_of_sessions() {
                return None;
            }
        }
        (meets != 0).then_some(meets)
    }

    /// What is kept of an event that meets this.
    fn hold(&self, meets: u32, fact: &impl Fact, notes: &mut impl Notes) -> Held {
        self.needs.look_at(meets, fact, notes);
        let (common, others) = self.slots.split_at(self.spec.seeks.on().len());
        let attr = |slot: &usize| fact.attr(*slot);
        let values = held::values(common.iter().map(attr), others.iter().map(attr));
        Held { at: fact.at(), meets, values }
    }

    fn is_of_sessions(&self) -> bool {
        matches!(self.spec.seeks, Seeks::Sessions(_))
    }

    /// The attributes that it declares: name, the event, and the place among its values.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (&str, Side, usize)> {
        let names = self.spec.attributes.iter().map(|(name, _)| name.as_str());
        names.zip(&self.taken).map(|(name, (side, at))| (name, *side, *at))
    }

    /// What keys of its cohorts are kept under; `None` when it has none.
    pub fn cohort_id(&self) -> Option<u64> {
        self.cohort.as_ref().map(|(id, _)| *id)
    }

    /// Tells a session which cohort its key is of, of those that are known. False where there was no
    /// room for its key.
    pub fn tell_cohort(&self, found: &mut Match, key: CohortKey, known: &mut Cohorts) -> bool {
        let (Some((_, calendar)), More::Visited(visited)) = (&self.cohort, &mut found.more) else {
            return true;
        };
        let of = known.of(key, calendar.block_around(found.first.at).0);
        visited.cohort = of.map(|(start, first)| (calendar.date(start), first));
        of.is_some()
    }

    /// Whether a match raises an alert: of a funnel who left, of sessions an abandoned one.
    pub fn alarms(&self, found: &Match) -> bool {
        let alarms = match &found.more {
            More::Nothing => true,
            More::Reach(reach) => reach.left,
            More::Visited(visited) => visited.outcome == Outcome::Abandoned,
        };
        self.spec.alert.is_some() && alarms
    }

    /// Whether nobody is shown an attribute: people's addresses are in it.
    pub fn is_hidden(&self, name: &str) -> bool {
        matches!(&self.spec.seeks, Seeks::Sessions(one) if one.hidden.iter().any(|one| one == name))
    }

    /// Whether nudges are to know of a match.
    pub fn nudges(&self, found: &Match) -> bool {
        let Seeks::Sessions(sessions) = &self.spec.seeks else { return false };
        sessions.nudged
            && matches!(&found.more, More::Visited(one) if one.outcome == Outcome::Abandoned)
    }

    /// What an event puts at stake, or takes back.
    pub(super) fn value_of(&self, held: &Held) -> Option<Amount> {
        let (at, format) = self.worth.as_ref()?;
        let values = held::attrs(&held.values, self.num_values()).ok()?;
        values[*at].as_number(format).amount()
    }

    /// How many values are kept of each event.
    pub(super) fn num_values(&self) -> usize {
        self.slots.len()
    }

    /// Every bit that its conditions can set.
    pub(super) fn all_bits(&self) -> u32 {
        self.conditions.iter().fold(0, |all, (bit, _)| all | bit)
    }
}

/// The bit of each of its lists of conditions.
fn bits(seeks: &Seeks) -> Vec<u32> {
    match seeks {
        Seeks::Sequence(SequenceSpec { then, without, not_then, .. }) => {
            let steps = (0..=then.len()).map(|step| FIRST << step);
            let without = without.iter().map(|_| WITHOUT);
            steps.chain(without).chain(not_then.iter().map(|_| NOT_THEN)).collect()
        }
        Seeks::Join(_) => vec![LEFT, RIGHT],
        Seeks::Funnel(FunnelSpec { steps, without, .. }) => {
            let steps = (0..steps.len()).map(|step| FIRST << step);
            steps.chain(without.iter().map(|_| WITHOUT)).collect()
        }
        Seeks::Sessions(SessionsSpec { entry, goal, remove, steps, counts, .. }) => {
            let lists = [(entry, ENTRY), (goal, GOAL), (remove, REMOVE)];
            let lists = lists.into_iter().flat_map(|(list, bit)| list.iter().map(move |_| bit));
            let steps = (0..steps.len()).map(|step| STEPPED << step);
            let counts = (0..counts.len()).map(|count| COUNTED << count);
            std::iter::once(BELONGS).chain(lists).chain(steps).chain(counts).collect()
        }
    }
}

/// The attributes that its key is made of.
fn keys<'a>(spec: &'a PatternSpec, schema: &'a Schema) -> &'a [String] {
    spec.key.as_ref().map_or(&schema.keys, std::slice::from_ref)
}

/// Part of the state on disk: texts here never change.
fn meaning(spec: &PatternSpec, schema: &Schema) -> u64 {
    let keys = keys(spec, schema);
    let attributes: Vec<&str> = spec.of_events().into_iter().map(String::as_str).collect();
    let derived = schema.derived_among(&attributes);
    let computed: String =
        derived.iter().map(|one| format!("derived {} = {}\n", one.name, one.how)).collect();
    let lists = |lists: &[Vec<_>]| {
        let words: Vec<String> = lists.iter().map(|list| Conditions::words(list)).collect();
        words.join("\n")
    };
    let sides = spec.seeks.sides();
    let taken = spec.attributes.iter();
    let taken = taken.map(|(_, taken)| (sides[taken.side as usize], &taken.attribute));
    let seeks = match &spec.seeks {
        Seeks::Sequence(SequenceSpec { first, times, then, without, not_then, within }) => format!(
            "first {}\ntimes {times}\nthen {}\nwithout {}\nnot_then {}\nwithin {within}",
            Conditions::words(first),
            lists(then),
            lists(without),
            lists(not_then),
        ),
        Seeks::Join(JoinSpec { left, right, on, before, within, kind, pairs_max }) => format!(
            "join {}\nleft {}\nright {}\non {on:?}\nbefore {before}\nwithin {within}\npairs_max \
             {pairs_max}",
            kind.word(),
            Conditions::words(left),
            Conditions::words(right),
        ),
        Seeks::Funnel(FunnelSpec { names, steps, without, within }) => format!(
            "funnel {names:?}\nsteps {}\nwithout {}\nwithin {within}",
            lists(steps),
            lists(without),
        ),
        Seeks::Sessions(sessions) => {
            let SessionsSpec { events, entry, goal, remove, names, steps, .. } = sessions;
            let SessionsSpec { counts, value, gap, max_length, cohort, identify, .. } = sessions;
            let listed = match &sessions.lists[..] {
                [] => String::new(),
                lists => format!("\nlists {lists:?} {}", sessions.list_max),
            };
            let identify = identify.iter().map(|name| format!("\nidentify {name}"));
            let counted = counts.iter().map(|(name, list)| (name, Conditions::words(list)));
            format!(
                "sessions {}\nentry {}\ngoal {}\nremove {}\nsteps {names:?} {}\ncounts {:?}\nvalue \
                 {value:?}\ngap {gap}\nmax_length {max_length:?}\ncohort {cohort:?}{}{listed}",
                Conditions::words(events),
                lists(entry),
                lists(goal),
                lists(remove),
                lists(steps),
                counted.collect::<Vec<_>>(),
                identify.collect::<String>(),
            )
        }
    };
    let words = format!(
        "name {}\n{seeks}\ntaken {:?}\nkey {keys:?}\n",
        spec.name,
        taken.collect::<Vec<_>>(),
    );
    fingerprint((words + &computed).as_bytes())
}
