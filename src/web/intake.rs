//! The memory of posted bodies: counted as the bytes come, never as they were
//! announced, and shared so that nobody can hold all of it.
//!
//! A body that waits for room may take it from one that hardly moves: whoever sends
//! next to nothing keeps its place only while nobody needs it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Settings;

/// The first bytes of a body count as small: a batch of some hundred events. Some room
/// is kept for small bodies alone, so that a few large ones do not shut them out.
pub const SMALL_BYTES: usize = 64 * 1024;

/// Bytes in a window below which a body that still arrives gives way to others: a tenth
/// of a poor mobile link.
const SLOW_BYTES: usize = 4 * 1024;

/// The window of a body's rate. It is watched for a whole one before it is called slow.
const RATE_WINDOW_MS: i64 = 1_000;

/// Most bodies that give way for one piece of another.
const CUTS_MAX: usize = 64;

/// How long a body waits for room before it is refused: others give way within
/// milliseconds, and a decoded body leaves within a commit.
pub const ROOM_WAIT: Duration = Duration::from_secs(2);

/// No room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// The bytes in use. Clones share them.
#[derive(Clone, Debug)]
pub struct Intake(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    shares: Shares,
    table: Mutex<Table>,
    freed: Notify,
}

/// Who may hold how much.
#[derive(Clone, Copy, Debug)]
struct Shares {
    all: usize,
    /// What goes beyond `SMALL_BYTES` of each body, over all of them.
    large: usize,
    one_peer: usize,
    one_peer_large: usize,
}

#[derive(Debug, Default)]
struct Table {
    bodies: HashMap<u64, Body>,
    peers: HashMap<IpAddr, Use>,
    all: Use,
    bodies_made: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Use {
    bytes: usize,
    large: usize,
    bodies: usize,
}

#[derive(Debug)]
struct Body {
    peer: IpAddr,
    bytes: usize,
    /// True until it is complete, or had to give way.
    arriving: bool,
    /// The window it came in, and the latest in which bytes came.
    entered: i64,
    window: i64,
    /// Bytes of that window, and of the one before it.
    in_window: usize,
    in_last: usize,
    cut: Arc<Notify>,
}

impl Intake {
    /// Nothing in use.
    pub fn new(settings: &Settings) -> Self {
        let all = settings.intake_bytes_max.max(1);
        // A body of the largest size must be able to pass whatever the shares are.
        let one = settings.body_bytes_max.saturating_add(settings.inflated_bytes_max);
        let share = |bytes: usize| bytes.max(one).min(all);
        let shares = Shares {
            all,
            large: share(all / 4 * 3),
            one_peer: share(all / 8 * 7),
            one_peer_large: share(all / 2),
        };
        Intake(Arc::new(Shared { shares, table: Mutex::default(), freed: Notify::new() }))
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.0.table.lock().all.bytes
    }

    /// Bodies under way.
    pub fn bodies(&self) -> usize {
        self.0.table.lock().all.bodies
    }

    /// A place for a body that begins to arrive at `now` (interval time); nothing is
    /// held for it yet.
    pub fn enter(&self, peer: Option<IpAddr>, now: i64) -> Admission {
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), network);
        let cut = Arc::new(Notify::new());
        let mut table = self.0.table.lock();
        table.bodies_made += 1;
        let id = table.bodies_made;
        table.all.bodies += 1;
        table.peers.entry(peer).or_default().bodies += 1;
        table.bodies.insert(
            id,
            Body {
                peer,
                bytes: 0,
                arriving: true,
                entered: window(now),
                window: window(now),
                in_window: 0,
                in_last: 0,
                cut: Arc::clone(&cut),
            },
        );
        Admission { shared: Arc::clone(&self.0), id, cut }
    }
}

/// Of IPv6 the network: one host has all its addresses.
pub(super) fn network(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => IpAddr::V4(four),
            None => IpAddr::V6(Ipv6Addr::from(u128::from(six) >> 64 << 64)),
        },
        four => four,
    }
}

/// One body that was let in. What it holds is free again when it is dropped.
#[derive(Debug)]
pub struct Admission {
    shared: Arc<Shared>,
    id: u64,
    cut: Arc<Notify>,
}

impl Admission {
    /// Holds `bytes` in all from now on; a smaller number changes nothing.
    ///
    /// # Errors
    /// When there is no room; slow bodies may have been told to give way then.
    pub fn hold(&self, bytes: usize, now: i64) -> Result<(), NoRoom> {
        let mut table = self.shared.table.lock();
        let Some(body) = table.bodies.get(&self.id) else { return Err(NoRoom) };
        let (peer, held) = (body.peer, body.bytes);
        if bytes <= held {
            return Ok(());
        }
        let more = Use { bytes: bytes - held, large: large(bytes) - large(held), bodies: 0 };
        let of_peer = table.peers.get(&peer).copied().unwrap_or_default();
        let shares = &self.shared.shares;
        let full = !fits(table.all, more, shares.all, shares.large);
        let peer_full = !fits(of_peer, more, shares.one_peer, shares.one_peer_large);
        if full || peer_full {
            table.cut_slow(self.id, more.bytes, (!full).then_some(peer), now);
            return Err(NoRoom);
        }
        table.add(self.id, peer, more);
        Ok(())
    }

    /// As [`hold`](Self::hold), and waits a little until there is room.
    ///
    /// # Errors
    /// When there was none within [`ROOM_WAIT`].
    pub async fn hold_soon(&self, bytes: usize, now: impl Fn() -> i64) -> Result<(), NoRoom> {
        let in_time = async {
            loop {
                let freed = self.shared.freed.notified();
                let mut freed = std::pin::pin!(freed);
                freed.as_mut().enable();
                if self.hold(bytes, now()).is_ok() {
                    return;
                }
                // Others become slow only by the time that passes.
                let _ = tokio::time::timeout(Duration::from_millis(250), freed).await;
            }
        };
        if self.hold(bytes, now()).is_ok() {
            return Ok(());
        }
        tokio::time::timeout(ROOM_WAIT, in_time).await.map_err(|_| NoRoom)
    }

    /// Notes that `bytes` have come: what tells a slow body from others.
    pub fn came(&self, bytes: usize, now: i64) {
        if let Some(body) = self.shared.table.lock().bodies.get_mut(&self.id) {
            body.note(bytes, now);
        }
    }

    /// The body is complete: it no longer has to give way.
    pub fn arrived(&self) {
        if let Some(body) = self.shared.table.lock().bodies.get_mut(&self.id) {
            body.arriving = false;
        }
    }

    /// Resolves when the body must give way to others.
    pub async fn cut(&self) {
        self.cut.notified().await;
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.shared.table.lock().leave(self.id);
        self.shared.freed.notify_waiters();
    }
}

impl Body {
    fn note(&mut self, bytes: usize, now: i64) {
        let current = window(now);
        if current != self.window {
            self.in_last = if current == self.window + 1 { self.in_window } else { 0 };
            (self.window, self.in_window) = (current, 0);
        }
        self.in_window += bytes;
    }

    /// Bytes of the last whole window; `None` before it was watched for one.
    fn rate(&self, now: i64) -> Option<usize> {
        let current = window(now);
        let last = match current - self.window {
            0 => self.in_last,
            1 => self.in_window,
            _ => 0,
        };
        (current > self.entered).then_some(last)
    }
}

impl Table {
    fn add(&mut self, id: u64, peer: IpAddr, more: Use) {
        let of_peer = self.peers.entry(peer).or_default();
        for held in [&mut self.all, of_peer] {
            held.bytes += more.bytes;
            held.large += more.large;
        }
        if let Some(body) = self.bodies.get_mut(&id) {
            body.bytes += more.bytes;
        }
    }

    fn leave(&mut self, id: u64) {
        let Some(body) = self.bodies.remove(&id) else { return };
        let Some(of_peer) = self.peers.get_mut(&body.peer) else { return };
        for held in [&mut self.all, &mut *of_peer] {
            held.bytes -= body.bytes;
            held.large -= large(body.bytes);
            held.bodies -= 1;
        }
        if of_peer.bodies == 0 {
            self.peers.remove(&body.peer);
        }
    }

    /// Tells the slowest bodies to give way, until `wanted` bytes come free.
    fn cut_slow(&mut self, not: u64, wanted: usize, of: Option<IpAddr>, now: i64) {
        let mut slow: Vec<(usize, usize, u64)> = self
            .bodies
            .iter()
            .filter(|(id, body)| **id != not && body.arriving && body.bytes > 0)
            .filter(|(_, body)| of.is_none_or(|peer| body.peer == peer))
            .filter_map(|(id, body)| Some((body.rate(now)?, body.bytes, *id)))
            .filter(|(rate, ..)| *rate < SLOW_BYTES)
            .collect();
        slow.sort_unstable_by_key(|(rate, bytes, id)| (*rate, std::cmp::Reverse(*bytes), *id));
        let mut free = 0;
        for (_, bytes, id) in slow.into_iter().take(CUTS_MAX) {
            if free >= wanted {
                return;
            }
            if let Some(body) = self.bodies.get_mut(&id) {
                body.arriving = false;
                body.cut.notify_one();
                free += bytes;
            }
        }
    }
}

fn window(now: i64) -> i64 {
    now.div_euclid(RATE_WINDOW_MS)
}

fn large(bytes: usize) -> usize {
    bytes.saturating_sub(SMALL_BYTES)
}

fn fits(held: Use, more: Use, bytes_max: usize, large_max: usize) -> bool {
    held.bytes + more.bytes <= bytes_max
        && (more.large == 0 || held.large + more.large <= large_max)
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
