//! What is decided of each session, and what follows.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use smol_str::SmolStr;

use super::seal::{self, Hash, Suppressed, normalised};
use super::view::ArmView;
use super::{Abandoned, Goal, NudgeSettings, NudgeSpec};
use crate::expr::{Expr, Value, Values};
use crate::hash::key_hash;
use crate::incident::{Notification, Recipient, Step, notification_key};
use crate::number::Decimal;
use crate::time::{BEGINNING, END_OF_TIME, EpochMs};

/// What became of an abandoned session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A message goes out.
    Sent,
    /// It is kept apart, to be compared with.
    HeldOut,
    /// `when` does not hold.
    NotWanted,
    /// It carries no address.
    NoAddress,
    /// It carries no consent.
    NoConsent,
    /// The address wants to hear nothing.
    Suppressed,
    /// A goal of its key came before `after` was over.
    AlreadyBought,
    /// It lies further back than `incidents.notify_max_age`.
    TooOld,
    /// Its key was told as often as it may be.
    Capped,
    /// There was no room to remember it, or none to suppress whoever asks for that.
    NoRoom,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 10] = [
        Outcome::Sent,
        Outcome::HeldOut,
        Outcome::NotWanted,
        Outcome::NoAddress,
        Outcome::NoConsent,
        Outcome::Suppressed,
        Outcome::AlreadyBought,
        Outcome::TooOld,
        Outcome::Capped,
        Outcome::NoRoom,
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Sent => "sent",
            Outcome::HeldOut => "held_out",
            Outcome::NotWanted => "not_wanted",
            Outcome::NoAddress => "no_address",
            Outcome::NoConsent => "no_consent",
            Outcome::Suppressed => "suppressed",
            Outcome::AlreadyBought => "already_bought",
            Outcome::TooOld => "too_old",
            Outcome::Capped => "capped",
            Outcome::NoRoom => "no_room",
        }
    }
}

/// One side of the comparison: decisions whose time is over, and those of them that a goal followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Arm {
    pub decided: u64,
    pub finished: u64,
    pub converted: u64,
}

impl Arm {
    pub fn view(self) -> ArmView {
        let Arm { decided, finished, converted } = self;
        ArmView { finished, converted, running: decided - finished }
    }
}

/// The counts of a nudge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Numbers {
    /// Of what they are: with another holdout they begin anew.
    pub of: String,
    pub outcomes: BTreeMap<String, u64>,
    /// Those who were told, and those who were kept apart.
    pub arms: [Arm; 2],
    /// Decisions that neither arm has: of keys that were decided on before, or without room.
    pub not_compared: u64,
    pub unsubscribed: u64,
}

impl Numbers {
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome.word()).copied().unwrap_or_default()
    }
}

/// What is remembered of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Person {
    /// When it was decided to tell or to keep apart, as long as the cap asks for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub times: Vec<EpochMs>,
    /// Decisions that are compared and whose time is not over: when, and whether a goal followed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub running: Vec<(EpochMs, bool)>,
}

/// A session that waits for `after` to be over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Waiting {
    /// When it ended.
    pub at: EpochMs,
    /// Whom it would go to.
    pub to: Recipient,
    /// A goal came.
    pub bought: bool,
    /// What is told.
    pub facts: Json,
}

/// What is kept of one nudge.
#[derive(Debug, Default)]
pub(super) struct State {
    pub numbers: Numbers,
    /// By the hash of the key.
    pub people: BTreeMap<u64, Person>,
    /// Keys whose first decision is compared, by the hash, for as long as the comparison goes on.
    pub compared: BTreeSet<u64>,
    /// By the hash of the key, and what tells the session.
    pub waiting: BTreeMap<(u64, String), Waiting>,
}

/// What comes by time alone: of the same time, first what is over, then goals, then what is due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: EpochMs,
    /// A session has waited; behind what is only over.
    decides: bool,
    nudge: usize,
    key: u64,
    /// The session that waits; `None`: what is remembered of the key is looked at.
    about: Option<String>,
}

/// What was kept of a nudge that there is no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gone {
    pub keys: usize,
    pub waiting: usize,
}

/// What is to be written of it.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub numbers: BTreeSet<usize>,
    pub people: BTreeSet<(usize, u64)>,
    pub compared: BTreeSet<(usize, u64)>,
    pub waiting: BTreeSet<(usize, u64, String)>,
    pub suppressed: BTreeSet<Hash>,
    /// Entries of what there is no more.
    pub dropped: BTreeSet<String>,
}

/// All nudges. See the module.
#[derive(Debug, Default)]
pub struct Nudges {
    pub(super) settings: NudgeSettings,
    pub(super) states: Vec<State>,
    pub(super) suppressed: BTreeMap<Hash, Suppressed>,
    pub(super) changed: Changed,
    /// Comparisons that begin anew, found at a start.
    pub(super) anew: Vec<usize>,
    /// What was dropped at the start.
    pub(super) gone: BTreeMap<String, Gone>,
    due: BTreeSet<Due>,
    /// Up to where it has got, in event time.
    pub(super) now: EpochMs,
    wall: EpochMs,
}

impl Nudges {
    /// Without a memory.
    pub fn new(settings: NudgeSettings) -> Nudges {
        let of = |spec: &NudgeSpec| State {
            numbers: Numbers { of: meaning(spec), ..Numbers::default() },
            ..State::default()
        };
        Nudges {
            states: settings.nudges.iter().map(of).collect(),
            settings,
            now: BEGINNING,
            wall: BEGINNING,
            ..Nudges::default()
        }
    }

    /// Takes what ended and what was reached before `until`, up to which all of it is known, and what
    /// time brings by then. What lies behind it, being known early, is taken as of then. `wall`: the time
    /// of the machine, by which it is told what is too old to be told.
    pub fn run(
        &mut self,
        mut goals: Vec<Goal>,
        mut ended: Vec<Abandoned>,
        until: EpochMs,
        wall: EpochMs,
        out: &mut Vec<Notification>,
    ) {
        if !self.any() {
            return;
        }
        self.wall = wall;
        goals.sort();
        ended.sort_by(|a, b| (a.at, &a.key, &a.name).cmp(&(b.at, &b.key, &b.name)));
        // The end of a replay is no time: nothing more comes of it.
        let last = [goals.last().map(|goal| goal.at), ended.last().map(|one| one.at)];
        let last = last.into_iter().flatten().max().map_or(BEGINNING, |last| last + 1);
        let until = if until >= END_OF_TIME - self.settings.lateness { last } else { until };
        let until = until.max(self.now);
        let mut goals = goals.into_iter().peekable();
        let mut ended = ended.into_iter().peekable();
        loop {
            let at = |time: EpochMs| time.min(until - 1).max(self.now);
            let goal = goals.peek().map(|goal| (at(goal.at), 1u8));
            let session = ended.peek().map(|one| (at(one.at), 3u8));
            let due = self.due.first().filter(|due| due.at < until);
            let due = due.map(|due| (at(due.at), 2 * u8::from(due.decides)));
            let Some(next) = goal.into_iter().chain(session).chain(due).min() else { break };
            self.now = next.0;
            match next.1 {
                1 => goals.next().into_iter().for_each(|goal| self.reached(&goal)),
                3 => ended.next().into_iter().for_each(|one| self.ended(&one, out)),
                _ => self.due.pop_first().into_iter().for_each(|due| self.is_due(due, out)),
            }
        }
        self.now = until;
    }

    pub(super) fn hash_of(&self, nudge: usize, key: &str) -> u64 {
        let name = &self.settings.nudges[nudge].name;
        key_hash(self.settings.seed, format!("{name}\0{key}").as_bytes())
    }

    /// A goal: decisions of the key that it follows in time are converted, and what waits is bought.
    fn reached(&mut self, goal: &Goal) {
        for nudge in 0..self.states.len() {
            if self.settings.nudges[nudge].of != goal.of {
                continue;
            }
            let (key, within) =
                (self.hash_of(nudge, &goal.key), self.settings.nudges[nudge].within);
            let state = &mut self.states[nudge];
            if let Some(person) = state.people.get_mut(&key) {
                for (at, converted) in &mut person.running {
                    *converted |= *at < goal.at && goal.at <= *at + within;
                }
                self.changed.people.insert((nudge, key));
            }
            let after = (key, String::new());
            for ((of, about), waiting) in state.waiting.range_mut(after..) {
                if *of != key {
                    break;
                }
                waiting.bought |= goal.at > waiting.at;
                self.changed.waiting.insert((nudge, key, about.clone()));
            }
        }
    }

    /// A session ended abandoned: what can be decided of it is, and what has to wait does.
    fn ended(&mut self, session: &Abandoned, out: &mut Vec<Notification>) {
        for nudge in 0..self.states.len() {
            let spec = &self.settings.nudges[nudge];
            if spec.of != session.of {
                continue;
            }
            let to = match address(spec, session) {
                Ok(address) => Recipient { address, unsubscribe: None },
                Err(outcome) => {
                    self.count(nudge, outcome);
                    continue;
                }
            };
            let key = self.hash_of(nudge, &session.key);
            let about = about(self.settings.seed, &spec.name, &session.name);
            let facts = facts(spec, session, &self.settings.currency);
            let waiting = Waiting { at: session.at, to, bought: false, facts };
            if spec.after == 0 {
                self.decide(nudge, (key, about), waiting, out);
            } else if self.states[nudge].waiting.len() >= spec.keys_max {
                self.count(nudge, Outcome::NoRoom);
            } else {
                let at = session.at.saturating_add(spec.after);
                self.due.insert(Due { at, decides: true, nudge, key, about: Some(about.clone()) });
                self.changed.waiting.insert((nudge, key, about.clone()));
                self.states[nudge].waiting.insert((key, about), waiting);
            }
        }
    }

    fn is_due(&mut self, due: Due, out: &mut Vec<Notification>) {
        let Due { nudge, key, about, .. } = due;
        let Some(about) = about else { return self.look(nudge, key) };
        if let Some(waiting) = self.states[nudge].waiting.remove(&(key, about.clone())) {
            self.changed.waiting.insert((nudge, key, about.clone()));
            self.decide(nudge, (key, about), waiting, out);
        }
    }

    /// Decides now. What keeps somebody from being told keeps them from being compared with as well, so
    /// both sides are of the same sort. Only the first decision of a key is compared: what follows from a
    /// message, one who unsubscribes or buys, changes which further ones there are on the told side alone.
    fn decide(
        &mut self,
        nudge: usize,
        (key, about): (u64, String),
        waiting: Waiting,
        out: &mut Vec<Notification>,
    ) {
        let outcome = self.outcome(nudge, key, &waiting);
        self.count(nudge, outcome);
        if !matches!(outcome, Outcome::Sent | Outcome::HeldOut) {
            return;
        }
        let (at, spec) = (self.now, &self.settings.nudges[nudge]);
        let over = [at.saturating_add(spec.cap.per), at.saturating_add(spec.within) + 1];
        self.due.extend(over.map(|at| Due { at, decides: false, nudge, key, about: None }));
        let state = &mut self.states[nudge];
        let person = state.people.entry(key).or_default();
        person.times.push(at);
        if state.compared.len() < spec.keys_max && state.compared.insert(key) {
            state.numbers.arms[usize::from(outcome == Outcome::HeldOut)].decided += 1;
            person.running.push((at, false));
            self.changed.compared.insert((nudge, key));
        } else {
            state.numbers.not_compared += 1;
        }
        self.changed.people.insert((nudge, key));
        if outcome == Outcome::Sent {
            out.push(self.message(nudge, about, waiting));
        }
    }

    fn outcome(&self, nudge: usize, key: u64, waiting: &Waiting) -> Outcome {
        let (spec, state) = (&self.settings.nudges[nudge], &self.states[nudge]);
        let person = state.people.get(&key);
        let known = self.now.saturating_add(self.settings.lateness);
        let address = normalised(&waiting.to.address);
        match () {
            () if address.is_none_or(|address| self.is_suppressed(&address)) => Outcome::Suppressed,
            () if waiting.bought => Outcome::AlreadyBought,
            () if known < self.wall.saturating_sub(self.settings.max_age) => Outcome::TooOld,
            () if person.is_some_and(|one| one.times.len() >= spec.cap.times) => Outcome::Capped,
            () if person.is_none() && state.people.len() >= spec.keys_max => Outcome::NoRoom,
            () if self.suppressed.len() >= self.settings.suppressed_max => Outcome::NoRoom,
            () if is_held_out(spec, key) => Outcome::HeldOut,
            () => Outcome::Sent,
        }
    }

    /// Its number is that of all notifications, and the caller's to give.
    fn message(&self, nudge: usize, about: String, waiting: Waiting) -> Notification {
        let spec = &self.settings.nudges[nudge];
        let link = self.settings.seals.first().zip(normalised(&waiting.to.address));
        let link = link.map(|(seal, address)| {
            let token = seal::token(&**seal, &spec.name, seal::hash(&**seal, &address));
            let url = &self.settings.unsubscribe_url;
            let mark = if url.contains('?') { '&' } else { '?' };
            format!("{url}{mark}token={token}")
        });
        Notification {
            n: 0,
            key: notification_key(&about, &spec.name, Step::Nudge, 0),
            route: spec.name.clone(),
            channel: spec.channel.clone(),
            step: Step::Nudge,
            at: self.now,
            about,
            facts: waiting.facts,
            recipient: Some(Recipient { unsubscribe: link, ..waiting.to }),
        }
    }

    /// Forgets what the cap asks for no more, and closes decisions whose time is over.
    fn look(&mut self, nudge: usize, key: u64) {
        let (now, spec) = (self.now, &self.settings.nudges[nudge]);
        let State { people, numbers, .. } = &mut self.states[nudge];
        let Some(person) = people.get_mut(&key) else { return };
        person.times.retain(|at| now < at.saturating_add(spec.cap.per));
        let arm = &mut numbers.arms[usize::from(is_held_out(spec, key))];
        person.running.retain(|(at, converted)| {
            let over = now > at.saturating_add(spec.within);
            arm.finished += u64::from(over);
            arm.converted += u64::from(over && *converted);
            !over
        });
        if person.times.is_empty() && person.running.is_empty() {
            people.remove(&key);
        }
        self.changed.numbers.insert(nudge);
        self.changed.people.insert((nudge, key));
    }

    fn count(&mut self, nudge: usize, outcome: Outcome) {
        let counts = &mut self.states[nudge].numbers.outcomes;
        *counts.entry(outcome.word().to_owned()).or_default() += 1;
        self.changed.numbers.insert(nudge);
    }

    /// Somebody followed the link of this nudge, the first time.
    pub(super) fn unsubscribed(&mut self, nudge: &str) {
        let place = self.settings.nudges.iter().position(|spec| spec.name == nudge);
        if let Some(nudge) = place {
            self.states[nudge].numbers.unsubscribed += 1;
            self.changed.numbers.insert(nudge);
        }
    }

    /// Notes what is to be done when, of all that is remembered.
    pub(super) fn schedule(&mut self) {
        for (nudge, (spec, state)) in self.settings.nudges.iter().zip(&self.states).enumerate() {
            for (key, person) in &state.people {
                let capped = person.times.iter().map(|at| at.saturating_add(spec.cap.per));
                let running = person.running.iter();
                let running = running.map(|(at, _)| at.saturating_add(spec.within) + 1);
                let key = *key;
                let due = |at| Due { at, decides: false, nudge, key, about: None };
                self.due.extend(capped.chain(running).map(due));
            }
            for ((key, about), waiting) in &state.waiting {
                let at = waiting.at.saturating_add(spec.after);
                let about = Some(about.clone());
                self.due.insert(Due { at, decides: true, nudge, key: *key, about });
            }
        }
    }
}

/// What the comparison is of: with another of these it begins anew.
pub(super) fn meaning(spec: &NudgeSpec) -> String {
    let NudgeSpec { of, when, after, holdout, within, .. } = spec;
    let when = when.as_ref().map(ToString::to_string).unwrap_or_default();
    let words = format!("first of each key\0{of}\0{when}\0{after}\0{holdout}\0{within}");
    format!("{:016x}", key_hash(0, words.as_bytes()))
}

/// The same key always falls on the same side of a nudge, and stays apart when the share grows.
pub(super) fn is_held_out(spec: &NudgeSpec, key: u64) -> bool {
    // The hash is of the key, the nudge and the seed; mixed once more, for it also tells records apart.
    let drawn = key_hash(key, b"holdout") >> 11;
    (drawn as f64) < spec.holdout * (1u64 << 53) as f64
}

/// What the notification is about: it gives away neither key nor address.
fn about(seed: u64, nudge: &str, session: &str) -> String {
    let text = format!("nudge\0{nudge}\0{session}");
    let seeds = [seed, seed.rotate_left(32) ^ 0x006e_7564_6765];
    let [a, b] = seeds.map(|seed| key_hash(seed, text.as_bytes()));
    format!("{a:016x}{b:016x}")
}

/// The address of a session that wants to be told, or why it is not.
fn address(spec: &NudgeSpec, session: &Abandoned) -> Result<String, Outcome> {
    let wanted = |when: &Expr| {
        let facts = Facts { facts: &session.facts, names: when.names() };
        when.holds(&facts) == Value::Bool(true)
    };
    if !spec.when.as_ref().is_none_or(wanted) {
        return Err(Outcome::NotWanted);
    }
    let address = session.facts.get(&spec.address).and_then(Json::as_str).unwrap_or_default();
    if normalised(address).is_none() {
        return Err(Outcome::NoAddress);
    }
    let consents = match session.facts.get(&spec.consent) {
        Some(Json::Bool(said)) => *said,
        // Tables that are looked up in have texts.
        Some(Json::String(said)) => said == "true",
        _ => false,
    };
    if consents { Ok(address.trim().to_owned()) } else { Err(Outcome::NoConsent) }
}

/// What is told: all but the address and what is of no use to anybody.
fn facts(spec: &NudgeSpec, session: &Abandoned, currency: &str) -> Json {
    let mut facts: Map<String, Json> = session.facts.clone();
    facts.retain(|name, value| !spec.hidden.contains(name) && !value.is_null());
    facts.remove(&spec.address);
    facts.remove(&spec.consent);
    if let Some(list) = &spec.items {
        let more = facts.remove(&crate::pattern::list_more(list));
        let items = facts.remove(list);
        facts.insert("items".into(), items.unwrap_or_default());
        facts.insert("more".into(), more.unwrap_or_default());
    }
    if !currency.is_empty() {
        facts.insert("currency".into(), currency.into());
    }
    facts.into()
}

/// The facts of a session, as `when` asks for them.
struct Facts<'a> {
    facts: &'a Map<String, Json>,
    names: &'a [String],
}

impl Values for Facts<'_> {
    fn value(&self, name: usize) -> Value<'_> {
        match self.facts.get(&self.names[name]) {
            Some(Json::String(text)) if !text.is_empty() => Value::Text(text.into()),
            Some(Json::Bool(value)) => Value::Bool(*value),
            Some(Json::Number(number)) => {
                let number = number.as_f64().and_then(Decimal::from_f64);
                number.map_or(Value::Missing, Value::Number)
            }
            _ => Value::Missing,
        }
    }
}

impl Goal {
    /// Of a session of a kind.
    pub fn new(of: &str, key: SmolStr, at: EpochMs) -> Goal {
        Goal { at, key, of: of.into() }
    }
}
