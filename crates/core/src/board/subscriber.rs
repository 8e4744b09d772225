//! What one connection gets, and when: its subs with their positions, what it has
//! not confirmed yet, how long it has been silent. A machine without clock or socket;
//! the broadcaster holds one for each connection and carries out what it says.
//!
//! The policy: nothing is queued for a slow client. What does not fit into
//! [`WINDOW_BYTES`] of unconfirmed bytes waits, topic by topic, and so does everything
//! while its mailbox is full: only its positions are remembered. As soon as it can take
//! something it gets one catch-up frame. It is cut when it does not answer for
//! [`SILENCE_MAX_MS`].

use std::collections::{BTreeMap, VecDeque};

use bytestring::ByteString;
use serde_json::Value;

use super::bound::TOPIC_BYTES_MAX;
use super::command::Command;
use super::feed::{Feeds, Position, Wanted};
use super::frame::{self, CloseReason, CommandError, Welcome};
use crate::condition::Condition;
use crate::time::{EpochMs, SpanMs};

/// Bytes sent and not confirmed by a pong, beyond which topics wait. At 2 KB a tick
/// this is two minutes of unread frames, and with the socket's capped send buffer the
/// most a stalled browser costs.
pub const WINDOW_BYTES: u64 = 256 * 1024;

/// Bytes after which a pong is asked for, so that four of them fit the window.
const PING_BYTES: u64 = 64 * 1024;

/// Distance between two pings.
pub const PING_MS: SpanMs = 10_000;

/// A client may take the connection for dead after this silence: two pings and a half.
const IDLE_MS: SpanMs = 25_000;

/// Silence that ends the connection.
pub const SILENCE_MAX_MS: SpanMs = 30_000;

/// Time for the first message.
pub const HELLO_MAX_MS: SpanMs = 5_000;

/// A client that lagged longer than this is told so.
const LAG_TOLD_MS: SpanMs = 10_000;

/// Most subs of a connection.
pub const SUBS_MAX: usize = 64;

/// Longest message from a client.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Commands a second, and how many at once.
const COMMANDS_PER_S: i64 = 10;
const COMMANDS_BURST: i64 = 20;

/// Answers that wait because the mailbox is full. A client that goes on asking
/// without taking the answers is cut: twice a burst and room for the rest.
const ANSWERS_MAX: usize = 2 * SUBS_MAX;

/// Pings remembered: the window's four, one each 10 s until the cut, and some.
const PINGS_MAX: usize = 16;
const _: () = assert!(
    TOPIC_BYTES_MAX as u64 + PING_BYTES <= WINDOW_BYTES,
    "the largest topic and what measures it go into one window"
);
const _: () = assert!(
    PING_MS < IDLE_MS && IDLE_MS < SILENCE_MAX_MS,
    "who is asked in time is there before silence counts"
);

/// One connection.
#[derive(Debug)]
pub struct Subscriber {
    greeted: bool,
    joined: i64,
    heard: i64,
    commands: Bucket,
    subs: BTreeMap<u16, Option<Position>>,
    /// Subs asked for before the first board.
    waiting: Vec<(Option<Value>, String)>,
    answers: Vec<ByteString>,
    sent: u64,
    confirmed: u64,
    /// Number of each ping and the bytes sent up to and including it.
    pings: VecDeque<(u64, u64)>,
    ping_waits: bool,
    pings_made: u64,
    pinged_at: i64,
    pinged_bytes: u64,
    lagging_since: Option<i64>,
    slow_until: Option<u64>,
    told_stale: Option<Condition>,
}

/// The moment a call is made: interval time for decisions, wall clock for labels.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Milliseconds of a clock that never goes back.
    pub elapsed: i64,
    /// Wall clock.
    pub wall: EpochMs,
}

/// A frame to offer to the client. Tell the subscriber whether it was taken.
#[derive(Debug)]
pub struct Draft {
    /// The bytes.
    pub frame: ByteString,
    answers: usize,
    ping: Option<u64>,
    /// Topics that it brings to their heads.
    topics: Vec<u16>,
    /// No other topic waits.
    all: bool,
}

impl Subscriber {
    /// A connection that was just opened.
    pub fn new(now: Now) -> Self {
        Subscriber {
            greeted: false,
            joined: now.elapsed,
            heard: now.elapsed,
            commands: Bucket { tokens_ms: COMMANDS_BURST * 1_000, at: now.elapsed },
            subs: BTreeMap::new(),
            waiting: Vec::new(),
            answers: Vec::new(),
            sent: 0,
            confirmed: 0,
            pings: VecDeque::new(),
            ping_waits: false,
            pings_made: 0,
            pinged_at: now.elapsed,
            pinged_bytes: 0,
            lagging_since: None,
            slow_until: None,
            told_stale: None,
        }
    }

    /// Carries one command out. `connection` and `node` are for the welcome.
    ///
    /// # Errors
    /// Why the connection must end.
    pub fn command(
        &mut self,
        command: Command,
        feeds: &Feeds,
        (connection, node): (u64, &str),
        now: Now,
    ) -> Result<(), CloseReason> {
        if !self.commands.take(now.elapsed) {
            return Err(CloseReason::RateLimited);
        }
        match command {
            Command::Hello { id, version_fits, subs } if !self.greeted => {
                if !version_fits {
                    return Err(CloseReason::Version);
                }
                self.greeted = true;
                self.heard = now.elapsed;
                self.answers.push(welcome(id.as_ref(), connection, node, now));
                subs.into_iter().for_each(|sub| self.subscribe_or_refuse(sub, feeds));
            }
            _ if !self.greeted => return Err(CloseReason::Malformed),
            Command::Hello { id, .. } => {
                self.answers.push(frame::refused(id.as_ref(), CommandError::BadRequest));
            }
            Command::Pong { number } => self.pong(number, now),
            Command::Unsub { id, sub } => self.unsubscribe(id.as_ref(), sub),
            sub => self.subscribe_or_refuse(sub, feeds),
        }
        match self.answers.len() {
            0..=ANSWERS_MAX => Ok(()),
            _ => Err(CloseReason::Slow),
        }
    }

    /// Whether it follows a topic.
    pub fn follows(&self, topic: u16) -> bool {
        self.subs.contains_key(&topic)
    }

    /// The first board has come: answers what was asked before it.
    pub fn topics_known(&mut self, feeds: &Feeds) {
        for (id, topic) in std::mem::take(&mut self.waiting) {
            self.subscribe(id, topic, feeds);
        }
    }

    /// Judges silence. Call it about once a second.
    pub fn overdue(&self, now: Now) -> Option<CloseReason> {
        if !self.greeted {
            return (now.elapsed - self.joined > HELLO_MAX_MS).then_some(CloseReason::HelloTimeout);
        }
        let silent = now.elapsed - self.heard > SILENCE_MAX_MS;
        let reason = match self.lagging_since {
            Some(_) => CloseReason::Slow,
            None => CloseReason::NoPong,
        };
        silent.then_some(reason)
    }

    /// The next frame, if there is anything to send that the window allows.
    pub fn draft(&mut self, feeds: &mut Feeds, now: Now) -> Option<Draft> {
        if !self.greeted {
            return None;
        }
        self.tell_stale(feeds);
        self.end_subs(feeds);
        let mut wanted = self.wanted(feeds);
        let behind = wanted.len();
        let room = WINDOW_BYTES.saturating_sub(self.in_flight());
        let topics_len = feeds.take_fitting(&mut wanted, room, self.in_flight() == 0);
        self.ping(topics_len, now);
        let all = wanted.len() == behind;
        if !all {
            self.lagging_since.get_or_insert(now.elapsed);
        }
        let frame = match (self.answers.is_empty(), wanted.is_empty()) {
            (true, true) => return None,
            (true, false) => feeds.frame(&wanted)?,
            (false, _) => {
                let mut messages = self.answers.clone();
                messages.extend(wanted.iter().flat_map(|(s, from)| feeds.messages(*s, *from)));
                frame::join(&messages)
            }
        };
        let ping = self.ping_waits.then_some(self.pings_made);
        let topics = wanted.into_iter().map(|(number, _)| number).collect();
        Some(Draft { frame, answers: self.answers.len(), ping, topics, all })
    }

    /// The draft is on its way.
    pub fn sent(&mut self, draft: &Draft, feeds: &Feeds, now: Now) {
        self.sent += draft.frame.len() as u64;
        self.answers.drain(..draft.answers);
        if let Some(number) = draft.ping {
            self.ping_waits = false;
            (self.pinged_at, self.pinged_bytes) = (now.elapsed, self.sent);
            if self.pings.len() == PINGS_MAX {
                self.pings.pop_front();
            }
            self.pings.push_back((number, self.sent));
        }
        if !draft.topics.is_empty() {
            for number in &draft.topics {
                if let Some(position) = self.subs.get_mut(number) {
                    *position = Some(feeds.head(*number));
                }
            }
            if draft.all
                && let Some(since) = self.lagging_since.take()
                && now.elapsed - since > LAG_TOLD_MS
            {
                self.slow_until = Some(self.sent);
            }
        }
    }

    /// The draft was not taken: the client's mailbox is full.
    pub fn not_taken(&mut self, draft: &Draft, now: Now) {
        if !draft.topics.is_empty() {
            self.lagging_since.get_or_insert(now.elapsed);
        }
    }

    /// True while topics wait for the client.
    pub fn is_lagging(&self) -> bool {
        self.lagging_since.is_some()
    }

    /// Bytes sent and not confirmed.
    pub fn in_flight(&self) -> u64 {
        self.sent - self.confirmed
    }

    fn subscribe_or_refuse(&mut self, command: Command, feeds: &Feeds) {
        match command {
            Command::Sub { id, topic } if feeds.is_ready() => self.subscribe(id, topic, feeds),
            Command::Sub { id, topic } if self.waiting.len() < SUBS_MAX => {
                self.waiting.push((id, topic));
            }
            Command::Sub { id, .. } => self.refuse(id.as_ref(), CommandError::TooManySubs),
            Command::Refused { id, error } => self.refuse(id.as_ref(), error),
            Command::Hello { id, .. } | Command::Unsub { id, .. } => {
                self.refuse(id.as_ref(), CommandError::BadRequest);
            }
            Command::Pong { .. } => self.refuse(None, CommandError::BadRequest),
        }
    }

    /// A second sub to the same topic asks for the whole state again.
    fn subscribe(&mut self, id: Option<Value>, topic: String, feeds: &Feeds) {
        let Some(number) = feeds.number(&topic) else {
            return self.refuse(id.as_ref(), CommandError::UnknownTopic);
        };
        if self.subs.len() >= SUBS_MAX && !self.subs.contains_key(&number) {
            return self.refuse(id.as_ref(), CommandError::TooManySubs);
        }
        self.answers.push(feeds.subscribed(id.as_ref(), number));
        self.subs.insert(number, None);
    }

    fn unsubscribe(&mut self, id: Option<&Value>, sub: u64) {
        let known = u16::try_from(sub).is_ok_and(|sub| self.subs.remove(&sub).is_some());
        if known {
            self.answers.push(frame::ok(id))
        } else {
            self.refuse(id, CommandError::BadRequest)
        }
    }

    fn refuse(&mut self, id: Option<&Value>, error: CommandError) {
        self.answers.push(frame::refused(id, error));
    }

    fn wanted(&self, feeds: &Feeds) -> Wanted {
        let behind = self.subs.iter().filter(|(s, from)| **from != Some(feeds.head(**s)));
        behind.map(|(number, from)| (*number, *from)).collect()
    }

    fn pong(&mut self, number: u64, now: Now) {
        let Some(index) = self.pings.iter().position(|(known, _)| *known == number) else { return };
        self.heard = now.elapsed;
        self.confirmed = self.confirmed.max(self.pings[index].1);
        self.pings.drain(..=index);
        if self.slow_until.is_some_and(|until| self.confirmed >= until) {
            self.slow_until = None;
        }
    }

    /// `upcoming`: bytes of topics in the frame that the ping would be in.
    fn ping(&mut self, upcoming: u64, now: Now) {
        let due = now.elapsed - self.pinged_at >= PING_MS
            || self.sent + upcoming - self.pinged_bytes >= PING_BYTES;
        if due && !self.ping_waits {
            self.ping_waits = true;
            self.pings_made += 1;
            self.answers.push(frame::ping(self.pings_made, now.wall));
        }
    }

    /// Ends the subs to topics that are no more.
    fn end_subs(&mut self, feeds: &Feeds) {
        let Subscriber { subs, answers, .. } = self;
        subs.retain(|number, _| {
            let over = feeds.is_over(*number);
            answers.extend(over.then(|| frame::ended(*number)));
            !over
        });
    }

    fn tell_stale(&mut self, feeds: &Feeds) {
        let (why, since) = feeds.stale();
        let why = why.or(self.slow_until.map(|_| Condition::SlowClient));
        if why != self.told_stale {
            self.told_stale = why;
            self.answers.push(frame::stale(why, since));
        }
    }
}

fn welcome(id: Option<&Value>, connection: u64, node: &str, now: Now) -> ByteString {
    frame::welcome(&Welcome {
        id,
        connection,
        node,
        now: now.wall,
        ping_ms: PING_MS,
        idle_ms: IDLE_MS,
        subs_max: SUBS_MAX,
        message_bytes_max: MESSAGE_BYTES_MAX,
    })
}

/// A token bucket; a token is 1000.
#[derive(Debug)]
struct Bucket {
    tokens_ms: i64,
    at: i64,
}

impl Bucket {
    fn take(&mut self, now: i64) -> bool {
        let earned = (now - self.at).max(0).saturating_mul(COMMANDS_PER_S);
        self.tokens_ms = self.tokens_ms.saturating_add(earned).min(COMMANDS_BURST * 1_000);
        self.at = now;
        let enough = self.tokens_ms >= 1_000;
        if enough {
            self.tokens_ms -= 1_000;
        }
        enough
    }
}

#[cfg(test)]
#[path = "subscriber_tests.rs"]
mod tests;
