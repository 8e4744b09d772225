//! A real server and a real broadcaster on a free port, with in-memory ports behind
//! them and a clock that the test moves.
#![allow(dead_code, reason = "each test binary uses its part of the rig")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot;

use tidewatch::actors::broadcaster::{BroadcastStats, Broadcaster, Publish, Settings as Pace};
use tidewatch::actors::directory::Directory;
use tidewatch::actors::flow::Flow;
use tidewatch::actors::ports::*;
use tidewatch::actors::reload::Refusal;
use tidewatch::actors::status::Status;
use tidewatch::clock::{Clock, SharedClock, SystemClock};
use tidewatch::domain::alert::Alert;
use tidewatch::domain::board::{Board, Topic, TopicAbout, TopicState};
use tidewatch::domain::commit::LateEvent;
use tidewatch::domain::incident::{Change, Incident, Notification, Silence};
use tidewatch::domain::time::EpochMs;
use tidewatch::web::dry_run::Refused;
use tidewatch::web::{self, Load, State, server};

/// Longest wait for anything.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A clock that the test moves.
#[derive(Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> EpochMs {
        1_700_000_000_000 + self.elapsed()
    }

    fn elapsed(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A log in memory.
#[derive(Default)]
pub struct MemoryLog {
    pub items: Mutex<Vec<Bytes>>,
    pub refusal: Mutex<Option<AppendError>>,
}

impl MemoryLog {
    pub fn texts(&self) -> Vec<String> {
        self.items.lock().iter().map(|item| String::from_utf8_lossy(item).into_owned()).collect()
    }
}

impl EventLog for MemoryLog {
    fn append(&self, events: Vec<Bytes>) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            if let Some(refusal) = self.refusal.lock().clone() {
                return Err(refusal);
            }
            let mut items = self.items.lock();
            let first = items.len() as u64 + 1;
            items.extend(events);
            Ok(Appended { first, last: items.len() as u64 })
        })
    }

    fn backlog(&self) -> (u64, u64) {
        (0, 1)
    }
}

/// Records in memory.
#[derive(Default)]
pub struct MemoryRecords {
    pub letters: Mutex<Vec<StoredDeadLetter>>,
    pub alerts: Mutex<Vec<Alert>>,
    pub late: Mutex<Vec<LateEvent>>,
    pub incidents: Mutex<Vec<Incident>>,
    pub changes: Mutex<Vec<Change>>,
    pub silences: Mutex<Vec<Silence>>,
    pub notifications: Mutex<Vec<Notification>>,
    pub broken: Mutex<bool>,
}

impl MemoryRecords {
    fn ask<T>(&self, answer: impl FnOnce() -> T) -> Result<T, StoreError> {
        if *self.broken.lock() {
            Err(StoreError::Io { path: "/secret/place".into(), cause: "gone".into() })
        } else {
            Ok(answer())
        }
    }
}

impl Records for MemoryRecords {
    fn dead_letters(&self, after: u64, limit: usize) -> Result<Vec<StoredDeadLetter>, StoreError> {
        let letters = self.letters.lock();
        self.ask(|| letters.iter().filter(|l| l.id > after).take(limit).cloned().collect())
    }

    fn dead_letter(&self, id: u64) -> Result<Option<StoredDeadLetter>, StoreError> {
        self.ask(|| self.letters.lock().iter().find(|letter| letter.id == id).cloned())
    }

    fn mark_redriven(&self, ids: &[u64], at: EpochMs) -> Result<(), StoreError> {
        let mut letters = self.letters.lock();
        letters.iter_mut().filter(|l| ids.contains(&l.id)).for_each(|l| l.redriven = Some(at));
        Ok(())
    }

    fn late(
        &self,
        before: Option<u64>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(u64, LateEvent)>, StoreError> {
        let late = self.late.lock();
        let numbered = late.iter().enumerate().map(|(n, event)| (n as u64 + 1, event.clone()));
        let older = numbered.rev().filter(|(n, _)| before.is_none_or(|before| *n < before));
        let mut bytes = 0;
        self.ask(|| {
            let room = |(_, event): &(u64, LateEvent)| {
                let room = bytes < bytes_max;
                bytes += event.raw.len();
                room
            };
            older.take(limit).take_while(room).collect()
        })
    }

    fn dead_letters_newest(&self) -> Result<u64, StoreError> {
        self.ask(|| self.letters.lock().last().map_or(0, |letter| letter.id))
    }

    fn alerts_newest(&self) -> Result<u64, StoreError> {
        self.ask(|| self.alerts.lock().last().map_or(0, |alert| alert.n))
    }

    fn alerts(&self, after: u64, limit: usize) -> Result<Vec<Alert>, StoreError> {
        let alerts = self.alerts.lock();
        self.ask(|| alerts.iter().filter(|a| a.n > after).take(limit).cloned().collect())
    }

    fn alert_log(&self, after: u64, limit: usize) -> Result<Vec<Alert>, StoreError> {
        self.alerts(after, limit)
    }
}

impl IncidentRecords for MemoryRecords {
    fn incidents(&self, wanted: &IncidentsWanted) -> Result<Vec<(u64, Incident)>, StoreError> {
        let incidents = self.incidents.lock();
        let numbered = incidents.iter().enumerate().map(|(n, one)| (n as u64 + 1, one.clone()));
        let fits = |(n, one): &(u64, Incident)| {
            *n < wanted.before && wanted.open.is_none_or(|open| open == one.resolved.is_none())
        };
        self.ask(|| numbered.rev().filter(fits).take(wanted.limit).collect())
    }

    fn incident(&self, id: &str) -> Result<Option<Incident>, StoreError> {
        self.ask(|| self.incidents.lock().iter().find(|one| one.id == id).cloned())
    }

    fn incident_log(
        &self,
        after: u64,
        incident: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Change>, StoreError> {
        let fits = |one: &&Change| {
            one.n > after && incident.is_none_or(|incident| one.incident == incident)
        };
        self.ask(|| self.changes.lock().iter().filter(fits).take(limit).cloned().collect())
    }

    fn incident_log_newest(&self) -> Result<u64, StoreError> {
        self.ask(|| self.changes.lock().last().map_or(0, |one| one.n))
    }

    fn silences(&self) -> Result<Vec<Silence>, StoreError> {
        self.ask(|| self.silences.lock().clone())
    }

    fn notifications(
        &self,
        after: u64,
        channel: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Notification>, StoreError> {
        let fits = |one: &&Notification| {
            one.n > after && channel.is_none_or(|channel| one.channel == channel)
        };
        self.ask(|| self.notifications.lock().iter().filter(fits).take(limit).cloned().collect())
    }

    fn notifications_after(&self, after: u64, channel: &str) -> Result<u64, StoreError> {
        let fits = |one: &&Notification| one.n > after && one.channel == channel;
        self.ask(|| self.notifications.lock().iter().filter(fits).count() as u64)
    }

    fn notification_channels(&self) -> Result<Vec<String>, StoreError> {
        self.ask(|| {
            let channels = self.notifications.lock();
            let channels: BTreeSet<String> =
                channels.iter().map(|one| one.channel.clone()).collect();
            channels.into_iter().collect()
        })
    }
}

/// The server and everything behind it. It stops when dropped.
pub struct Rig {
    pub addr: SocketAddr,
    pub broadcaster: Addr<Broadcaster>,
    pub stats: Arc<BroadcastStats>,
    pub status: Arc<Status>,
    pub clock: Arc<ManualClock>,
    pub log: Arc<MemoryLog>,
    pub records: Arc<MemoryRecords>,
    pub load: Load,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), server::ServeError>>>,
}

impl Rig {
    pub fn start(settings: web::Settings) -> Self {
        let settings = web::Settings { listen: ([127, 0, 0, 1], 0).into(), ..settings };
        let (clock, log, records, status) =
            <(Arc<ManualClock>, Arc<MemoryLog>, Arc<MemoryRecords>, Arc<Status>)>::default();
        let load = Load::new(&settings);
        let parts = (clock.clone(), log.clone(), records.clone(), status.clone(), load.clone());
        let (started, wait) = sync_channel(1);
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let (clock, log, records, status, load) = parts;
            System::new().block_on(async move {
                let pace = Pace { tick: 20, ..Pace::default() };
                let broadcaster = Broadcaster::new(pace, clock.clone() as SharedClock);
                let (board, clients) = (broadcaster.board(), broadcaster.stats());
                let broadcaster = broadcaster.start();
                let state = State {
                    log: Some(log),
                    records: records.clone(),
                    incidents: records,
                    directory: nobody(),
                    broadcaster: broadcaster.clone(),
                    board,
                    clients: clients.clone(),
                    status,
                    flow: Flow::shared(),
                    clock,
                    render_metrics: Arc::new(|| "tidewatch_up 1\n".into()),
                    schema: Arc::default(),
                    load,
                    meaning: Arc::default(),
                    reload: Arc::new(|_| Box::pin(std::future::ready(Err(Refusal::NoFile)))),
                    dry_runs: Arc::new(|_| Box::pin(std::future::ready(Err(Refused::Busy(1))))),
                    mailbox: None,
                    settings,
                };
                let bound = server::bind(state).unwrap();
                started.send((bound.addr(), broadcaster, clients)).unwrap();
                bound.run(async { drop(stopped.await) }).await
            })
        });
        let (addr, broadcaster, stats) = wait.recv_timeout(DEADLINE).unwrap();
        let (stop, thread) = (Some(stop), Some(thread));
        Rig { addr, broadcaster, stats, status, clock, log, records, load, stop, thread }
    }

    /// Publishes a board of maps.
    pub fn publish(&self, version: u64, topics: &[(&str, TopicState)]) {
        let topic = |state: &TopicState| {
            Arc::new(Topic { about: TopicAbout::default(), state: state.clone() })
        };
        let topics: BTreeMap<_, _> =
            topics.iter().map(|(name, state)| ((*name).to_owned(), topic(state))).collect();
        let board = Arc::new(Board { version, topics, ..Board::default() });
        eventually("the broadcaster takes the board", || {
            self.broadcaster.try_send(Publish::Board(board.clone())).is_ok()
        });
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.request("POST", path, headers, body)
    }

    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        request(self.addr, method, path, headers, body)
    }

    /// Stops the server and waits for its end.
    pub fn stop(&mut self) -> Result<(), server::ServeError> {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sessions of a service that has ended: nobody can be there any more.
fn nobody() -> Directory {
    let directory = Directory::new(16, SystemClock::shared());
    directory.disconnect();
    directory
}

/// A state over the rig's ports, for a second server or a host's app.
pub fn state_for(rig: &Rig, settings: web::Settings) -> State {
    State {
        log: Some(rig.log.clone()),
        records: rig.records.clone(),
        incidents: rig.records.clone(),
        directory: nobody(),
        broadcaster: rig.broadcaster.clone(),
        board: Arc::default(),
        clients: rig.stats.clone(),
        status: rig.status.clone(),
        flow: Flow::shared(),
        clock: rig.clock.clone(),
        render_metrics: Arc::new(String::new),
        schema: Arc::default(),
        meaning: Arc::default(),
        reload: Arc::new(|_| Box::pin(std::future::ready(Err(Refusal::NoFile)))),
        dry_runs: Arc::new(|_| Box::pin(std::future::ready(Err(Refused::Busy(1))))),
        mailbox: None,
        load: Load::new(&settings),
        settings,
    }
}

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// One request on a connection of its own, with exactly these headers.
pub fn request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("Host: {addr}\r\n"));
    }
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding")) {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    head.push_str("\r\n");
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // A server that refuses the head may close before it has read the body.
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let pair = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    Answer { status, headers: lines.map(pair).collect(), body: bytes[end + 4..].to_vec() }
}

/// Waits for a condition, with a deadline.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let clock = SystemClock::shared();
    while !holds() {
        assert!(clock.elapsed() < DEADLINE.as_millis() as i64, "in vain: {what}");
        std::thread::yield_now();
    }
}
