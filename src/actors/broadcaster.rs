//! Offers every new board to every connected client, and waits for none of them.
//!
//! A thin actor around `domain::board`: `Feeds` writes each message once, one
//! `Subscriber` for each connection decides what it gets. The only sends are
//! `try_send` on the one recipient kept for each client, because a browser that
//! stops reading freezes its own actor; for the same reason the client's liveness
//! is judged here. Boards come from the committer, everything else from `web::socket`.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::prelude::*;
use arc_swap::ArcSwap;
use bytestring::ByteString;
use hashbrown::HashMap;
use metrics::{counter, gauge};

use crate::clock::SharedClock;
use crate::domain::board::Board;
use crate::domain::board::command::{NotACommand, parse};
use crate::domain::board::feed::Feeds;
use crate::domain::board::frame::CloseReason;
use crate::domain::board::subscriber::{Now, Subscriber};
use crate::domain::condition::Condition;
use crate::domain::hash::fingerprint;
use crate::domain::keeper::{AT_RISK, KIND_PANEL};
use crate::domain::time::SpanMs;
use crate::telemetry::names;

/// Messages that wait for the broadcaster from one sender beyond this are refused.
/// The committer sends one board a tick; each client has one message under way.
const MAILBOX_LEN_MAX: usize = 64;

/// A client that is told to come back waits between these, so that a thousand
/// browsers do not return in the same instant.
const RETURN_AFTER_MS: std::ops::Range<u64> = 500..5_000;

/// How the broadcaster behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Names this process towards clients.
    pub node: String,
    /// Distance between two judgements of silence. 10 ms to 5 s.
    pub tick: SpanMs,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { node: "tidewatch".into(), tick: super::Settings::default().tick }
    }
}

/// Counts that others may read at any time.
#[derive(Debug, Default)]
pub struct BroadcastStats {
    clients: AtomicUsize,
    lagging: AtomicUsize,
    at_risk: AtomicUsize,
    kinds: AtomicUsize,
}

impl BroadcastStats {
    /// Connected clients.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// Clients that follow the sessions at risk, which somebody must look for then.
    pub fn at_risk(&self) -> usize {
        self.at_risk.load(Ordering::Relaxed)
    }

    /// Clients that follow a kind of sessions, whose sessions at risk must be looked for then.
    pub fn kinds(&self) -> usize {
        self.kinds.load(Ordering::Relaxed)
    }

    /// Clients that topics wait for.
    pub fn lagging(&self) -> usize {
        self.lagging.load(Ordering::Relaxed)
    }
}

/// What the pipeline has to show. Send it with `try_send` on one kept address; what is
/// refused is made up for by the next one.
#[derive(Message)]
#[rtype(result = "()")]
pub enum Publish {
    /// A new board.
    Board(Arc<Board>),
    /// No boards for now, and why ([`Board::stale`]); the next board ends it.
    NoBoards(Condition),
}

/// A client has connected. The answer is the number of its connection.
#[derive(Message)]
#[rtype(result = "u64")]
pub struct Join {
    /// Where its frames go.
    pub client: Recipient<ToClient>,
    /// Where the end of the connection is written, for a client whose mailbox is full.
    pub ending: Arc<OnceLock<Ending>>,
}

/// A text message of a client.
#[derive(Message)]
#[rtype(result = "()")]
pub struct FromClient {
    /// The connection.
    pub connection: u64,
    /// The message.
    pub text: ByteString,
}

/// A connection is over, by itself or for a reason its own side saw.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Left {
    /// The connection.
    pub connection: u64,
    /// Why, when it was ended by us.
    pub reason: Option<CloseReason>,
}

/// Says goodbye to everybody: the process is stopping.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain;

/// To a client's actor.
#[derive(Message)]
#[rtype(result = "()")]
pub enum ToClient {
    /// Send this.
    Frame(ByteString),
    /// Look at your `ending`.
    End,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Why.
    pub reason: CloseReason,
    /// When the client may come back, from now.
    pub after_ms: i64,
}

/// The actor.
pub struct Broadcaster {
    settings: Settings,
    clock: SharedClock,
    feeds: Feeds,
    /// The topics of kinds of sessions, by their number in `feeds`.
    kinds: Vec<u16>,
    board: Arc<ArcSwap<Board>>,
    stats: Arc<BroadcastStats>,
    connections: HashMap<u64, Connection>,
    connections_made: u64,
    draining: bool,
}

struct Connection {
    client: Recipient<ToClient>,
    ending: Arc<OnceLock<Ending>>,
    subscriber: Subscriber,
}

impl Broadcaster {
    /// A broadcaster without clients and boards; start it on an arbiter.
    pub fn new(settings: Settings, clock: SharedClock) -> Self {
        let node = format!("{}-{:x}", settings.node, clock.wall());
        Broadcaster {
            settings,
            clock,
            feeds: Feeds::new(node),
            kinds: Vec::new(),
            board: Arc::default(),
            stats: Arc::default(),
            connections: HashMap::new(),
            connections_made: 0,
            draining: false,
        }
    }

    /// The latest board, for readers that need no diffs.
    pub fn board(&self) -> Arc<ArcSwap<Board>> {
        Arc::clone(&self.board)
    }

    /// Counts for the pipeline panel.
    pub fn stats(&self) -> Arc<BroadcastStats> {
        Arc::clone(&self.stats)
    }

    fn now(&self) -> Now {
        Now { elapsed: self.clock.elapsed(), wall: self.clock.wall() }
    }

    fn absorb(&mut self, board: Arc<Board>) {
        let first = !self.feeds.is_ready();
        self.feeds.absorb(&board);
        let kinds = board.topics.iter().filter(|(_, topic)| topic.about.panel == KIND_PANEL);
        self.kinds = kinds.filter_map(|(name, _)| self.feeds.number(name)).collect();
        self.board.store(board);
        if first {
            for connection in self.connections.values_mut() {
                connection.subscriber.topics_known(&self.feeds);
            }
        }
    }

    /// Offers every client what it is behind by.
    fn offer_all(&mut self) {
        let now = self.now();
        let mut gone = Vec::new();
        let mut coalesced = 0;
        for (number, connection) in &mut self.connections {
            if connection.offer(&mut self.feeds, now) == Offered::Gone {
                gone.push(*number);
            }
            coalesced += u64::from(connection.subscriber.is_lagging());
        }
        counter!(names::WEB_BOARDS_COALESCED).increment(coalesced);
        gone.iter().for_each(|number| self.forget(*number));
        self.count();
    }

    fn command(&mut self, number: u64, text: &ByteString) -> Result<(), CloseReason> {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&number) else { return Ok(()) };
        let commands = parse(text).map_err(|NotACommand| CloseReason::Malformed)?;
        for command in commands {
            let who = (number, self.settings.node.as_str());
            connection.subscriber.command(command, &self.feeds, who, now)?;
        }
        if connection.offer(&mut self.feeds, now) == Offered::Gone {
            self.forget(number);
        }
        Ok(())
    }

    /// Ends a connection. The client's actor may be frozen, so it is told twice: by a
    /// message, and by `ending`, which it looks at as soon as it runs again.
    fn end(&mut self, number: u64, reason: CloseReason) {
        let Some(connection) = self.connections.remove(&number) else { return };
        let spread = RETURN_AFTER_MS.end - RETURN_AFTER_MS.start;
        let after_ms = RETURN_AFTER_MS.start + fingerprint(&number.to_le_bytes()) % spread;
        // Already ended is as good: the first reason stands.
        let _ = connection.ending.set(Ending { reason, after_ms: after_ms as i64 });
        // A full mailbox is expected here; `ending` serves it.
        let _ = connection.client.try_send(ToClient::End);
        count_close(reason);
    }

    fn forget(&mut self, number: u64) {
        self.connections.remove(&number);
    }

    fn judge(&mut self) {
        let now = self.now();
        let overdue: Vec<_> = self
            .connections
            .iter()
            .filter_map(|(number, connection)| Some((*number, connection.subscriber.overdue(now)?)))
            .collect();
        overdue.into_iter().for_each(|(number, reason)| self.end(number, reason));
        self.connections.retain(|_, connection| connection.client.connected());
        self.offer_all();
    }

    fn count(&self) {
        let lagging = self.connections.values().filter(|c| c.subscriber.is_lagging()).count();
        self.stats.clients.store(self.connections.len(), Ordering::Relaxed);
        self.stats.lagging.store(lagging, Ordering::Relaxed);
        let follow = |topics: &[u16]| {
            let follows = |one: &&Connection| topics.iter().any(|n| one.subscriber.follows(*n));
            self.connections.values().filter(follows).count()
        };
        let at_risk = self.feeds.number(AT_RISK);
        self.stats.at_risk.store(follow(at_risk.as_slice()), Ordering::Relaxed);
        self.stats.kinds.store(follow(&self.kinds), Ordering::Relaxed);
        gauge!(names::WEB_CLIENTS).set(self.connections.len() as f64);
        gauge!(names::WEB_CLIENTS_LAGGING).set(lagging as f64);
    }
}

fn count_close(reason: CloseReason) {
    counter!(names::WEB_CLOSES, "code" => reason.code().to_string()).increment(1);
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offered {
    /// Taken, or there was nothing to take, or it must wait.
    Fine,
    /// The client's actor is no more.
    Gone,
}

impl Connection {
    fn offer(&mut self, feeds: &mut Feeds, now: Now) -> Offered {
        let Some(draft) = self.subscriber.draft(feeds, now) else { return Offered::Fine };
        match self.client.try_send(ToClient::Frame(draft.frame.clone())) {
            Ok(()) => {
                counter!(names::WEB_SENT_BYTES).increment(draft.frame.len() as u64);
                self.subscriber.sent(&draft, feeds, now);
                Offered::Fine
            }
            Err(SendError::Full(_)) => {
                self.subscriber.not_taken(&draft, now);
                Offered::Fine
            }
            Err(SendError::Closed(_)) => Offered::Gone,
        }
    }
}

impl Actor for Broadcaster {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_LEN_MAX);
        let tick = Duration::from_millis(self.settings.tick.clamp(10, 5_000) as u64);
        ctx.run_interval(tick, |this, _| this.judge());
    }
}

impl Handler<Publish> for Broadcaster {
    type Result = ();

    fn handle(&mut self, publish: Publish, _: &mut Self::Context) {
        match publish {
            Publish::Board(board) => self.absorb(board),
            Publish::NoBoards(why) => {
                self.feeds.no_boards(why, self.clock.wall());
                let known = Board::clone(&self.board.load());
                self.board.store(Arc::new(Board { stale: Some(why), ..known }));
            }
        }
        self.offer_all();
    }
}

impl Handler<Join> for Broadcaster {
    type Result = u64;

    fn handle(&mut self, join: Join, _: &mut Self::Context) -> u64 {
        self.connections_made += 1;
        let number = self.connections_made;
        let subscriber = Subscriber::new(self.now());
        let connection = Connection { client: join.client, ending: join.ending, subscriber };
        self.connections.insert(number, connection);
        if self.draining {
            self.end(number, CloseReason::Drain);
        }
        self.count();
        number
    }
}

impl Handler<FromClient> for Broadcaster {
    type Result = ();

    fn handle(&mut self, FromClient { connection, text }: FromClient, _: &mut Self::Context) {
        if let Err(reason) = self.command(connection, &text) {
            self.end(connection, reason);
        }
        self.count();
    }
}

impl Handler<Left> for Broadcaster {
    type Result = ();

    fn handle(&mut self, Left { connection, reason }: Left, _: &mut Self::Context) {
        let known = self.connections.remove(&connection).is_some();
        if let Some(reason) = reason.filter(|_| known) {
            count_close(reason);
        }
        self.count();
    }
}

impl Handler<Drain> for Broadcaster {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.draining = true;
        let numbers: Vec<_> = self.connections.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.end(number, CloseReason::Drain));
        self.count();
    }
}
