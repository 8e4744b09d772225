//! The way to open sessions for everybody outside of the event path: the aggregator of the
//! key's shard knows whether one is open, and gives its address.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, WeakAddr};
use arc_swap::ArcSwap;
use dashmap::DashMap;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::aggregator::Aggregator;
use super::messages::{AreOpen, Describe, Find};
use super::session::Session;
use crate::domain::hash::{key_hash, shard_of};
use crate::domain::session::SessionView;

/// How long a drill-down waits, behind others and for a busy shard.
const DESCRIBE_WAIT: Duration = Duration::from_secs(5);

/// How long a warning about a late event waits for whether its session is open.
const OPEN_WAIT: Duration = Duration::from_secs(1);

/// The shard of a key did not say in time what is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the shard of this key did not answer in time; ask again")]
pub struct NoAnswer;

/// The shards to ask. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    shards: Arc<ArcSwap<Shards>>,
    places: Arc<Semaphore>,
    asked: Arc<Asked>,
}

/// The sessions that are being asked now, by key: who asks one of them does not have to look for
/// it. The address leaves with the last of those who ask, so there are no more than places.
type Asked = DashMap<String, WeakAddr<Session>, foldhash::fast::RandomState>;

/// An address that was found, noted in `asked` for as long as somebody holds it.
struct Found<'a> {
    asked: &'a Asked,
    key: &'a str,
    session: Option<Addr<Session>>,
}

impl Drop for Found<'_> {
    fn drop(&mut self) {
        self.session = None;
        self.asked.remove_if(self.key, |_, session| session.upgrade().is_none());
    }
}

#[derive(Default)]
struct Shards {
    seed: u64,
    /// actix counts the capacity of a mailbox for each address, so there is one for all.
    aggregators: Vec<Addr<Aggregator>>,
}

impl Directory {
    /// Nothing is running yet. At most `asked_max` questions are under way at once, which bounds
    /// the mailboxes of sessions; who comes later waits.
    pub fn new(asked_max: usize) -> Self {
        Directory {
            shards: Arc::default(),
            places: Arc::new(Semaphore::new(asked_max)),
            asked: Arc::default(),
        }
    }

    /// These are the shards now, of keys hashed with `seed`.
    pub fn connect(&self, seed: u64, aggregators: Vec<Addr<Aggregator>>) {
        self.shards.store(Arc::new(Shards { seed, aggregators }));
    }

    /// Nothing is running any more.
    pub fn disconnect(&self) {
        self.shards.store(Arc::default());
    }

    /// The open sessions of `key`, asked from their actor; `None` when there are none.
    ///
    /// # Errors
    /// [`NoAnswer`] when the shard is so busy that none came for some seconds, or is just being
    /// restarted.
    pub async fn describe(&self, key: &str) -> Result<Option<SessionView>, NoAnswer> {
        let answer = async {
            let _place = self.places.acquire().await.map_err(|_| NoAnswer)?;
            let found = Found { asked: &self.asked, key, session: self.find(key).await? };
            let Some(session) = &found.session else { return Ok(None) };
            // Ended since, it has no mailbox any more.
            Ok(session.send(Describe { key: key.to_owned() }).await.unwrap_or(None))
        };
        timeout(DESCRIBE_WAIT, answer).await.unwrap_or(Err(NoAnswer))
    }

    /// The address of a key's session: from those who are asking it now, else from its shard.
    async fn find(&self, key: &str) -> Result<Option<Addr<Session>>, NoAnswer> {
        // The guard ends with this statement: it must not live over the wait.
        let known = self.asked.get(key).and_then(|session| session.upgrade());
        if let Some(session) = known.filter(Addr::connected) {
            return Ok(Some(session));
        }
        let shards = self.shards.load_full();
        let Some(shard) = shards.of(key) else { return Ok(None) };
        let find = Find { key: key.to_owned() };
        let session = shards.aggregators[shard].send(find).await.map_err(|_| NoAnswer)?;
        if let Some(session) = &session {
            self.asked.insert(key.to_owned(), session.downgrade());
        }
        Ok(session)
    }

    /// Those of the keys that have an open session, as far as that is known within a second.
    pub async fn open_among(&self, keys: HashSet<String>) -> HashSet<String> {
        let shards = self.shards.load_full();
        let mut asked: Vec<Vec<String>> = vec![Vec::new(); shards.aggregators.len()];
        for key in keys {
            if let Some(shard) = shards.of(&key) {
                asked[shard].push(key);
            }
        }
        let mut open = HashSet::new();
        let answers = async {
            let Ok(_place) = self.places.acquire().await else { return };
            for (aggregator, keys) in shards.aggregators.iter().zip(asked) {
                if !keys.is_empty() {
                    open.extend(aggregator.send(AreOpen { keys }).await.unwrap_or_default());
                }
            }
        };
        // Those that were heard of in time are in.
        let _ = timeout(OPEN_WAIT, answers).await;
        open
    }
}

impl Shards {
    /// The shard of a key; `None` when nothing is running.
    fn of(&self, key: &str) -> Option<usize> {
        let num = self.aggregators.len() as u16;
        (num > 0).then(|| shard_of(key_hash(self.seed, key.as_bytes()), num).into())
    }
}
