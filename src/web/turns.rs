//! Turns for work of some size: a few at a time, so that the threads that answer requests and
//! those of the pipeline get theirs. Peers take turns with each other, however many connections
//! each of them has; within one peer who came first is first, and because a connection has one
//! request at a time, its connections take turns too.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::intake::network;
use super::problem::Problem;

/// Longest wait for a turn. The longest turn, 32 MiB to inflate and split, takes a
/// quarter of a second.
const WAIT: Duration = Duration::from_secs(20);

/// The turns. Clones share them.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    waiting_max: usize,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    free: usize,
    /// Who waits, by peer and by when they came. No peer is without one.
    peers: HashMap<Option<IpAddr>, BTreeMap<u64, oneshot::Sender<Turn>>>,
    /// The peers, each once: whose turn is next.
    order: VecDeque<Option<IpAddr>>,
    waiting: usize,
    came: u64,
}

/// A turn; the next one gets it when it is dropped.
#[derive(Debug)]
pub struct Turn(Option<Arc<Shared>>);

impl Turns {
    /// `count` at a time, and at most `waiting_max` who wait.
    pub fn new(count: usize, waiting_max: usize) -> Self {
        let table = Table {
            free: count,
            peers: HashMap::new(),
            order: VecDeque::new(),
            waiting: 0,
            came: 0,
        };
        Turns(Arc::new(Shared { waiting_max, table: Mutex::new(table) }))
    }

    /// Who waits.
    pub fn waiting(&self) -> usize {
        self.0.table.lock().waiting
    }

    /// A turn for a request of `peer`.
    ///
    /// # Errors
    /// `Busy` when too many wait, or it took too long.
    pub async fn take(&self, peer: Option<IpAddr>) -> Result<Turn, Problem> {
        let busy = || Problem::Busy("too many requests wait for their turn".into());
        let mut waiter = match self.come(peer.map(network)) {
            Ok(turn) => return Ok(turn),
            Err(waiter) => waiter.ok_or_else(busy)?,
        };
        match tokio::time::timeout(WAIT, &mut waiter.turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(busy()),
        }
    }

    /// A turn, or a place among those who wait, or neither.
    fn come(&self, peer: Option<IpAddr>) -> Result<Turn, Option<Waiter>> {
        let mut table = self.0.table.lock();
        // A free turn means that nobody waits.
        if table.free > 0 {
            table.free -= 1;
            return Ok(Turn(Some(Arc::clone(&self.0))));
        }
        if table.waiting >= self.0.waiting_max {
            return Err(None);
        }
        let (sender, turn) = oneshot::channel();
        table.came += 1;
        let number = table.came;
        table.waiting += 1;
        let of_peer = table.peers.entry(peer).or_default();
        let first = of_peer.is_empty();
        of_peer.insert(number, sender);
        if first {
            table.order.push_back(peer);
        }
        Err(Some(Waiter { shared: Arc::clone(&self.0), peer, number, turn }))
    }
}

impl Table {
    /// The next one to get a turn.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let peer = self.order.pop_front()?;
        let of_peer = self.peers.get_mut(&peer)?;
        let (_, sender) = of_peer.pop_first()?;
        self.waiting -= 1;
        if of_peer.is_empty() {
            drop(self.peers.remove(&peer))
        } else {
            self.order.push_back(peer)
        }
        Some(sender)
    }

    fn leave(&mut self, peer: Option<IpAddr>, number: u64) {
        let Some(of_peer) = self.peers.get_mut(&peer) else { return };
        if of_peer.remove(&number).is_none() {
            return;
        }
        self.waiting -= 1;
        if of_peer.is_empty() {
            self.peers.remove(&peer);
            self.order.retain(|other| *other != peer);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut mine = self.0.take();
        while let Some(shared) = mine {
            let next = {
                let mut table = shared.table.lock();
                let next = table.next();
                table.free += usize::from(next.is_none());
                next
            };
            let Some(next) = next else { return };
            // Whoever has left meanwhile does not get it.
            mine = match next.send(Turn(Some(shared))) {
                Ok(()) => None,
                Err(mut back) => back.0.take(),
            };
        }
    }
}

/// A place among those who wait; given up when dropped.
#[derive(Debug)]
struct Waiter {
    shared: Arc<Shared>,
    peer: Option<IpAddr>,
    number: u64,
    turn: oneshot::Receiver<Turn>,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.shared.table.lock().leave(self.peer, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn peer(n: u8) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)))
    }

    /// Those of `waiters` that have got their turn by now.
    fn served(waiters: &mut Vec<(u8, Waiter)>) -> Vec<(u8, Turn)> {
        let mut served = Vec::new();
        waiters.retain_mut(|(who, waiter)| match waiter.turn.try_recv() {
            Ok(turn) => {
                served.push((*who, turn));
                false
            }
            Err(_) => true,
        });
        served
    }

    #[test]
    fn a_peer_with_many_connections_waits_behind_one_with_few() {
        let turns = Turns::new(1, 1_000);
        let mut turn = turns.come(peer(9)).unwrap();
        let wait = |who: u8| (who, turns.come(peer(who)).unwrap_err().unwrap());
        let mut waiters: Vec<_> = (0..50).map(|_| wait(1)).collect();
        waiters.extend((0..2).map(|_| wait(2)));
        waiters.push(wait(3));
        let mut order = Vec::new();
        for _ in 0..7 {
            drop(turn);
            let (who, next) = served(&mut waiters).pop().unwrap();
            order.push(who);
            turn = next;
        }
        assert_eq!(order, [1, 2, 3, 1, 2, 1, 1]);
        assert_eq!(turns.waiting(), 46);
    }

    #[test]
    fn no_more_wait_than_the_bound_and_a_turn_that_nobody_wants_is_free_again() {
        let turns = Turns::new(1, 2);
        let first = turns.come(peer(1)).unwrap();
        let second = turns.come(peer(1)).unwrap_err().unwrap();
        let third = turns.come(peer(2)).unwrap_err();
        assert!(turns.come(peer(3)).unwrap_err().is_none());
        drop(third);
        assert_eq!(turns.waiting(), 1);
        // It is handed over and never looked at.
        drop(first);
        assert_eq!(turns.waiting(), 0);
        assert!(turns.come(peer(1)).unwrap_err().is_some());
        drop(second);
        assert!(turns.come(peer(3)).is_ok());
        assert!(turns.0.table.lock().peers.is_empty() && turns.0.table.lock().order.is_empty());
    }

    proptest! {
        /// Whatever comes and leaves: no more than `count` turns are out, none is lost, and
        /// between two turns of a peer every other peer that waited all the while had one.
        #[test]
        fn turns_are_fair_and_none_is_lost(
            count in 1usize..4,
            steps in proptest::collection::vec((0u8..3, 0u8..4, any::<prop::sample::Index>()), 1..200),
        ) {
            let turns = Turns::new(count, 40);
            let (mut out, mut waiters) = (Vec::<(u8, Turn)>::new(), Vec::<(u8, Waiter)>::new());
            // For each peer, who has been served since it began to wait or was served last.
            let mut since: [Vec<u8>; 4] = Default::default();
            for (what, who, index) in steps {
                match what {
                    0 => match turns.come(peer(who)) {
                        Ok(turn) => out.push((who, turn)),
                        Err(Some(waiter)) => {
                            if waiters.iter().all(|(other, _)| *other != who) {
                                since[usize::from(who)].clear();
                            }
                            waiters.push((who, waiter));
                        }
                        Err(None) => prop_assert_eq!(waiters.len(), 40),
                    },
                    1 if !out.is_empty() => {
                        let at = index.index(out.len());
                        drop(out.swap_remove(at));
                        let waited = waiters.len();
                        let next = served(&mut waiters);
                        prop_assert_eq!(next.len(), waited.min(1));
                        for (who, _) in &next {
                            since[usize::from(*who)].clear();
                            for (_, seen) in (0u8..).zip(&mut since).filter(|(n, _)| n != who) {
                                seen.push(*who);
                            }
                        }
                        out.extend(next);
                        for (who, _) in &waiters {
                            let seen = &since[usize::from(*who)];
                            for other in 0..4u8 {
                                let times = seen.iter().filter(|seen| **seen == other).count();
                                prop_assert!(times <= 1, "{other} before {who}: {times} times");
                            }
                        }
                    }
                    2 if !waiters.is_empty() => {
                        let at = index.index(waiters.len());
                        drop(waiters.swap_remove(at));
                    }
                    _ => {}
                }
                prop_assert!(out.len() <= count);
                prop_assert_eq!(turns.waiting(), waiters.len());
                prop_assert!(waiters.is_empty() || out.len() == count, "a turn was lost");
            }
            drop(out);
            let rest: Vec<_> = std::iter::from_fn(|| served(&mut waiters).pop().map(|(who, turn)| {
                drop(turn);
                who
            }))
            .collect();
            prop_assert!(waiters.is_empty(), "{rest:?}");
            prop_assert_eq!(turns.0.table.lock().free, count);
        }
    }
}
