//! The topics as they go out: every message is written once for each version and
//! shared by all clients that stand at the same position.
//!
//! A few earlier versions are remembered, so that a client that is a little behind
//! gets one diff; one that is further behind gets the whole state. Used by the
//! broadcaster alone.

use std::collections::VecDeque;
use std::sync::Arc;

use bytestring::ByteString;
use hashbrown::HashMap;
use serde_json::Value;

use super::diff::{Difference, diff, log_position, log_tail};
use super::frame::{self, Stamp};
use super::{Board, Topic, TopicState};
use crate::condition::Condition;
use crate::time::EpochMs;

/// Earlier versions of a topic that diffs can start from. At one board a second a
/// client that stalls for 8 s still gets a diff; a series of 600 points costs about
/// 40 KB for each of them.
const HISTORY_VERSIONS: usize = 8;

/// From here on the whole state is sent instead of what changed: a cell that changed
/// takes some ten times the bytes of a cell.
const HEAVY_DIFF_BYTES: usize = 64 * 1024;

/// Most items of a log in one go; older ones are named as missed.
pub const LOG_ITEMS_MAX: usize = 256;

/// Different frames kept for sharing within one version. Clients differ in what
/// they follow and in how far behind they are; most share a handful.
const FRAMES_MAX: usize = 1_024;

/// Where a client is in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Positions of two generations do not compare.
    generation: u64,
    /// The version, or the last item of a log.
    n: u64,
}

/// Subs of a client with their positions, `None` before the first snapshot.
pub type Wanted = Vec<(u16, Option<Position>)>;

/// All topics, with what was already written of them.
pub struct Feeds {
    node: String,
    incarnation: String,
    restarts: u64,
    version: Option<u64>,
    at: EpochMs,
    watermark: EpochMs,
    stale: Option<Condition>,
    stale_since: EpochMs,
    numbers: HashMap<String, u16>,
    feeds: Vec<Feed>,
    /// Numbers of topics that are no more, and that no sub has any more.
    free: Vec<u16>,
    frames: HashMap<Wanted, ByteString>,
}

/// One topic.
struct Feed {
    topic: Arc<Topic>,
    /// It is no more: its subs end.
    over: bool,
    head: Position,
    history: VecDeque<(u64, Arc<Topic>)>,
    snapshot: Option<ByteString>,
    since: HashMap<u64, Vec<ByteString>>,
}

impl Feeds {
    /// No topics yet. `node` names this process in incarnations.
    pub fn new(node: String) -> Self {
        Feeds {
            incarnation: format!("{node}.0"),
            node,
            restarts: 0,
            version: None,
            at: 0,
            watermark: 0,
            stale: None,
            stale_since: 0,
            numbers: HashMap::new(),
            feeds: Vec::new(),
            free: Vec::new(),
            frames: HashMap::new(),
        }
    }

    /// Takes the next board. One whose version does not grow begins a new incarnation:
    /// the engine went on from a commit, and everybody gets snapshots. By another configuration
    /// topics may be gone then, or of another kind: their subs end. Every subscriber must have
    /// looked ([`Feeds::is_over`]) before the next board.
    pub fn absorb(&mut self, board: &Board) {
        let restarted = self.version.is_some_and(|version| board.version <= version);
        if restarted {
            self.restarts += 1;
            self.incarnation = format!("{}.{}", self.node, self.restarts);
            self.end_others(board);
        }
        self.stand(board.stale, board.at);
        (self.version, self.at, self.watermark) = (Some(board.version), board.at, board.watermark);
        self.frames.clear();
        for (name, topic) in &board.topics {
            match self.numbers.get(name) {
                Some(number) => {
                    self.feeds[usize::from(*number)].follow(topic, board.version, restarted);
                }
                None => self.add(name, topic, board.version),
            }
        }
    }

    /// Ends the topics that a board does not have, or has of another kind.
    fn end_others(&mut self, board: &Board) {
        let numbers = 0..self.feeds.len() as u16;
        self.free = numbers.filter(|number| self.is_over(*number)).collect();
        let feeds = &mut self.feeds;
        self.numbers.retain(|name, number| {
            let feed = &mut feeds[usize::from(*number)];
            let kind = board.topics.get(name).map(|topic| frame::kind(&topic.state));
            feed.over = kind != Some(frame::kind(&feed.topic.state));
            !feed.over
        });
    }

    /// True when a topic is no more: a sub to it ends.
    pub fn is_over(&self, number: u16) -> bool {
        self.feeds[usize::from(number)].over
    }

    /// No board comes until further notice, because of `why`: what is known is old.
    pub fn no_boards(&mut self, why: Condition, at: EpochMs) {
        self.stand(Some(why), at);
    }

    fn stand(&mut self, stale: Option<Condition>, at: EpochMs) {
        if self.stale != stale {
            (self.stale, self.stale_since) = (stale, at);
        }
    }

    /// True once a board was taken: before, no topic is known at all.
    pub fn is_ready(&self) -> bool {
        self.version.is_some()
    }

    /// Why the numbers are old, and since when that is so or not.
    pub fn stale(&self) -> (Option<Condition>, EpochMs) {
        (self.stale, self.stale_since)
    }

    /// The number of a topic: also the number of every sub to it.
    pub fn number(&self, topic: &str) -> Option<u16> {
        self.numbers.get(topic).copied()
    }

    /// The `ok` for a sub to a topic.
    pub fn subscribed(&self, id: Option<&Value>, number: u16) -> ByteString {
        let topic = &self.feeds[usize::from(number)].topic;
        frame::subscribed(id, number, frame::kind(&topic.state), &topic.about)
    }

    /// Where a topic is now.
    pub fn head(&self, number: u16) -> Position {
        self.feeds[usize::from(number)].head
    }

    /// The messages that bring a topic from `from` to its head; none when it is there.
    pub fn messages(&mut self, number: u16, from: Option<Position>) -> Vec<ByteString> {
        let stamp =
            Stamp { incarnation: &self.incarnation, n: 0, at: self.at, watermark: self.watermark };
        self.feeds[usize::from(number)].messages(number, from, stamp)
    }

    /// Leaves of `wanted` what fits into `room` bytes, in order, and with `one` the first
    /// whatever its size; the bytes of what is left.
    ///
    /// Invariant: a topic's state is bounded (`bound::TOPIC_BYTES_MAX`), so `one` makes no
    /// frame larger than the window.
    pub fn take_fitting(&mut self, wanted: &mut Wanted, room: u64, one: bool) -> u64 {
        let (mut bytes, mut taken) = (0, 0);
        for (number, from) in wanted.iter() {
            let len = self.messages(*number, *from).iter().map(|m| m.len() as u64 + 1).sum::<u64>();
            let first = one && taken == 0;
            if bytes + len > room && !first {
                break;
            }
            (bytes, taken) = (bytes + len, taken + 1);
        }
        wanted.truncate(taken);
        bytes
    }

    /// One frame that brings all of `wanted` to their heads; `None` when they are there.
    pub fn frame(&mut self, wanted: &Wanted) -> Option<ByteString> {
        if let Some(frame) = self.frames.get(wanted) {
            return Some(frame.clone());
        }
        let messages: Vec<_> =
            wanted.iter().flat_map(|(number, from)| self.messages(*number, *from)).collect();
        if messages.is_empty() {
            return None;
        }
        let frame = frame::join(&messages);
        if self.frames.len() < FRAMES_MAX {
            self.frames.insert(wanted.clone(), frame.clone());
        }
        Some(frame)
    }

    /// Topics come from the configuration, far fewer than numbers; one too many would
    /// only be missing here.
    fn add(&mut self, name: &str, topic: &Arc<Topic>, version: u64) {
        let feed = Feed {
            topic: Arc::clone(topic),
            over: false,
            head: Position { generation: 0, n: position(&topic.state, version) },
            history: VecDeque::with_capacity(HISTORY_VERSIONS),
            snapshot: None,
            since: HashMap::new(),
        };
        if let Some(number) = self.free.pop() {
            self.numbers.insert(name.to_owned(), number);
            self.feeds[usize::from(number)] = feed;
        } else if let Ok(number) = u16::try_from(self.feeds.len()) {
            self.numbers.insert(name.to_owned(), number);
            self.feeds.push(feed);
        }
    }
}

impl Feed {
    fn follow(&mut self, topic: &Arc<Topic>, version: u64, restarted: bool) {
        if !restarted && (Arc::ptr_eq(&self.topic, topic) || self.topic == *topic) {
            return;
        }
        let is_log = matches!(topic.state, TopicState::Log(_));
        let broken = is_log && diff(&self.topic.state, &topic.state) == Difference::Whole;
        if restarted || broken {
            self.head.generation += 1;
            self.history.clear();
        } else if !is_log {
            if self.history.len() == HISTORY_VERSIONS {
                self.history.pop_front();
            }
            self.history.push_back((self.head.n, Arc::clone(&self.topic)));
        }
        self.head.n = position(&topic.state, version);
        self.topic = Arc::clone(topic);
        self.snapshot = None;
        self.since.clear();
    }

    fn messages(
        &mut self,
        number: u16,
        from: Option<Position>,
        stamp: Stamp<'_>,
    ) -> Vec<ByteString> {
        let stamp = Stamp { n: self.head.n, ..stamp };
        match from {
            Some(from) if from == self.head => Vec::new(),
            Some(from) if from.generation == self.head.generation => {
                if let Some(messages) = self.since.get(&from.n) {
                    return messages.clone();
                }
                let messages = self.since(number, from.n, stamp);
                self.since.insert(from.n, messages.clone());
                messages
            }
            _ => vec![self.snapshot(number, stamp)],
        }
    }

    /// At most one entry for each remembered version, or for each item of the log.
    fn since(&mut self, number: u16, from: u64, stamp: Stamp<'_>) -> Vec<ByteString> {
        if let TopicState::Log(log) = &self.topic.state {
            return frame::events(number, &log_tail(log, from, LOG_ITEMS_MAX));
        }
        let old = self.history.iter().find(|(n, _)| *n == from).map(|(_, topic)| topic);
        // New columns need their names: a diff has none.
        let old = old.filter(|old| old.about == self.topic.about);
        match old.map(|old| diff(&old.state, &self.topic.state)) {
            Some(Difference::Change(change)) => {
                let messages = frame::diff(number, from, stamp, &change);
                // A diff that is heavier than the whole would break the bound of a frame.
                if messages.iter().map(|message| message.len()).sum::<usize>() > HEAVY_DIFF_BYTES {
                    vec![self.snapshot(number, stamp)]
                } else {
                    messages
                }
            }
            // The same again after a change there and back: only the position moves.
            Some(Difference::Same) | Some(Difference::Whole) | None => {
                vec![self.snapshot(number, stamp)]
            }
        }
    }

    fn snapshot(&mut self, number: u16, stamp: Stamp<'_>) -> ByteString {
        let topic = &self.topic;
        self.snapshot.get_or_insert_with(|| frame::snapshot(number, stamp, topic)).clone()
    }
}

fn position(state: &TopicState, version: u64) -> u64 {
    match state {
        TopicState::Log(log) => log_position(log),
        _ => version,
    }
}
