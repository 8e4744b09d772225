//! The way to open sessions for everybody outside of the event path: the aggregator of the
//! key's shard knows whether one is open, and gives its address.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, WeakAddr};
use arc_swap::ArcSwap;
use dashmap::DashMap;
use futures_util::future::{OptionFuture, try_join, try_join_all};
use thiserror::Error;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use super::aggregator::Aggregator;
use super::committer::Committer;
use super::messages::{
    AreOpen, AskPermit, Attend, Describe, DescribeKinds, Find, LookAtKinds, LookAtRisk, LookNudges,
    NudgesStand, Suppress,
};
use super::session::Session;
use crate::clock::SharedClock;
use crate::domain::at_risk::AtRisk;
use crate::domain::hash::{key_hash, shard_of};
use crate::domain::incident::{Command, Refused};
use crate::domain::nudge;
use crate::domain::pattern::{Pattern, Patterns};
use crate::domain::session::{OpenOfKind, SessionView};
use crate::domain::time::{BEGINNING, EpochMs, SpanMs};

/// How long a drill-down waits, behind others and for a busy shard.
const DESCRIBE_WAIT: Duration = Duration::from_secs(5);

/// How long a warning about a late event waits for whether its session is open.
const OPEN_WAIT: Duration = Duration::from_secs(1);

/// Sessions at risk in each list, at most.
pub const AT_RISK_MAX: usize = 200;

/// What is at risk in each kind of sessions of its own, by name.
pub type KindsAtRisk = BTreeMap<String, Arc<AtRisk>>;

/// What was seen of the sessions at risk is shown for so long to all who ask, in ms.
const LOOK_AGAIN: SpanMs = 250;

/// A look walks over all open sessions, and no shard does anything else meanwhile: it comes again
/// only after so many times as long as it took, so that it costs a shard a twentieth of its time.
const LOOK_SHARE: SpanMs = 20;

/// The shard of a key did not say in time what is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a shard did not answer in time; ask again")]
pub struct NoAnswer;

/// Why there is no list of what is at risk.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotSeen {
    /// Nobody answered.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// Nothing is called so.
    #[error("no kind of sessions is called {asked:?}; {}", kinds(there))]
    NoSuchKind {
        /// What was asked for.
        asked: String,
        /// The kinds that there are.
        there: Vec<String>,
    },
}

fn kinds(there: &[String]) -> String {
    match there {
        [] => "there are none but [session], which is asked for without \"of\"".into(),
        _ => format!("there are {}", there.join(", ")),
    }
}

/// The shards to ask. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    shards: Arc<ArcSwap<Shards>>,
    permits: Arc<Semaphore>,
    asked: Arc<Asked>,
    clock: SharedClock,
    looked: Arc<Mutex<Looked<AtRisk>>>,
}

/// The last look at the sessions at risk.
#[derive(Default)]
struct Looked<T> {
    found: Arc<T>,
    /// Monotonic time until which it is shown.
    until: SpanMs,
}

/// The sessions that are being asked now, by key, and by how many: who asks one of them does not
/// have to look for it. The address leaves with the last of those who ask, so there are no more
/// than permits.
type Asked = DashMap<String, (Addr<Session>, usize), foldhash::fast::RandomState>;

/// One of those who ask a session.
struct Asking<'a> {
    asked: &'a Asked,
    key: &'a str,
    session: Addr<Session>,
}

impl<'a> Asking<'a> {
    /// With those who ask it already, if there are any.
    fn join(asked: &'a Asked, key: &'a str) -> Option<Self> {
        let mut entry = asked.get_mut(key).filter(|entry| entry.0.connected())?;
        entry.1 += 1;
        Some(Asking { asked, key, session: entry.0.clone() })
    }

    /// At an address that was just found.
    fn at(asked: &'a Asked, key: &'a str, session: Addr<Session>) -> Self {
        let mut entry = asked.entry(key.to_owned()).or_insert_with(|| (session.clone(), 0));
        entry.0 = session.clone();
        entry.1 += 1;
        Asking { asked, key, session }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.asked.remove_if_mut(self.key, |_, entry| {
            entry.1 -= 1;
            entry.1 == 0
        });
    }
}

#[derive(Default)]
struct Shards {
    seed: u64,
    /// actix counts the capacity of a mailbox for each address, so there is one for all.
    aggregators: Vec<Addr<Aggregator>>,
    /// They have come to their end, and nothing is open any more.
    over: bool,
    /// Who keeps the incidents, and what is open by keys of kinds. It is not kept alive by those who ask.
    committer: Option<WeakAddr<Committer>>,
    /// The kinds of sessions among them.
    patterns: Arc<Patterns>,
    looked_at_kinds: Mutex<Looked<KindsAtRisk>>,
}

impl Directory {
    /// Nothing is running yet. At most `asked_max` questions are under way at once, which bounds
    /// the mailboxes of sessions; who comes later waits.
    pub fn new(asked_max: usize, clock: SharedClock) -> Self {
        Directory {
            shards: Arc::default(),
            permits: Arc::new(Semaphore::new(asked_max)),
            asked: Arc::default(),
            clock,
            looked: Arc::default(),
        }
    }

    /// These are the shards now, of keys hashed with `seed`, who adds them up, and what they look for.
    pub fn connect(
        &self,
        seed: u64,
        aggregators: Vec<Addr<Aggregator>>,
        committer: &Addr<Committer>,
        patterns: &Arc<Patterns>,
    ) {
        let (committer, patterns) = (Some(committer.downgrade()), Arc::clone(patterns));
        let shards = Shards { seed, aggregators, committer, patterns, ..Shards::default() };
        self.shards.store(Arc::new(shards));
    }

    /// Everything is done, and nothing is open any more. Between two generations the shards of
    /// the former one stay: they do not answer, which says that whoever asks may ask again.
    pub fn disconnect(&self) {
        let patterns = Arc::clone(&self.shards.load().patterns);
        self.shards.store(Arc::new(Shards { over: true, patterns, ..Shards::default() }));
    }

    /// The open sessions of `key`, asked from their actor, and those of kinds of their own; `None` when
    /// there are none.
    ///
    /// # Errors
    /// [`NoAnswer`] when the shard is so busy that none came for some seconds, is just being
    /// started, or the question made the session panic.
    pub async fn describe(&self, key: &str) -> Result<Option<SessionView>, NoAnswer> {
        let answer = async {
            let permit = self.permit().await?;
            let view = self.describe_session(key, &permit).await?;
            let (watermark, kinds) = self.describe_kinds(key, &permit).await?;
            let none = || SessionView { key: key.to_owned(), watermark, ..SessionView::default() };
            let view = view.or_else(|| (!kinds.is_empty()).then(none));
            Ok(view.map(|view| SessionView { kinds, ..view }))
        };
        timeout(DESCRIBE_WAIT, answer).await.unwrap_or(Err(NoAnswer))
    }

    async fn describe_session(
        &self,
        key: &str,
        permit: &AskPermit,
    ) -> Result<Option<SessionView>, NoAnswer> {
        let asking = match Asking::join(&self.asked, key) {
            Some(asking) => asking,
            None => match self.find(key, permit).await? {
                Some(session) => Asking::at(&self.asked, key, session),
                None => return Ok(None),
            },
        };
        match asking.session.send(Describe { key: key.to_owned() }).await {
            Ok(view) => Ok(view),
            // It ended since, and has no mailbox any more; or it is there and said nothing.
            Err(_) => match self.find(key, permit).await? {
                None => Ok(None),
                Some(_) => Err(NoAnswer),
            },
        }
    }

    /// What is open of a key in kinds: as session key with its shard, as key of their own with the
    /// committer. Nobody is asked where there are no such kinds.
    async fn describe_kinds(
        &self,
        key: &str,
        permit: &AskPermit,
    ) -> Result<(EpochMs, Vec<OpenOfKind>), NoAnswer> {
        let shards = self.shards.load_full();
        let question = || DescribeKinds { key: key.to_owned(), permit: Arc::clone(permit) };
        let by_session = shards.of(key).filter(|_| shards.any_kind(false));
        let by_session = by_session.map(|shard| shards.aggregators[shard].send(question()));
        let by_own = shards.committer_of_kinds()?.map(|committer| committer.send(question()));
        let answers = [OptionFuture::from(by_session).await, OptionFuture::from(by_own).await];
        let (mut watermark, mut kinds) = (BEGINNING, Vec::new());
        for answer in answers.into_iter().flatten() {
            let (at, more) = answer.map_err(|_| NoAnswer)?;
            watermark = watermark.max(at);
            kinds.extend(more);
        }
        Ok((watermark, kinds))
    }

    /// What is at risk in `[session]`, with at most [`AT_RISK_MAX`] sessions in each list. All who ask
    /// get the same look, which is taken again when it is 250 ms old, and 20 times as old as it
    /// took.
    ///
    /// # Errors
    /// [`NoAnswer`], as of [`Directory::describe`].
    pub async fn at_risk(&self) -> Result<Arc<AtRisk>, NoAnswer> {
        let look = |shards: Arc<Shards>, permit: AskPermit| async move {
            let question = || LookAtRisk { most: AT_RISK_MAX, permit: Arc::clone(&permit) };
            let answers = shards.aggregators.iter().map(|shard| shard.send(question()));
            let answers = try_join_all(answers).await.map_err(|_| NoAnswer)?;
            Ok(AtRisk::merge(answers, AT_RISK_MAX))
        };
        self.look(&self.shards.load_full(), &self.looked, look).await
    }

    /// The same of every kind of its own, by one walk over all of them.
    ///
    /// # Errors
    /// [`NoAnswer`], as of [`Directory::describe`].
    pub async fn kinds_at_risk(&self) -> Result<Arc<KindsAtRisk>, NoAnswer> {
        let shards = self.shards.load_full();
        let look = |shards: Arc<Shards>, permit: AskPermit| async move {
            let question = || LookAtKinds { most: AT_RISK_MAX, permit: Arc::clone(&permit) };
            let asked = shards.aggregators.iter().filter(|_| shards.any_kind(false));
            let asked = asked.map(|shard| shard.send(question()));
            let own = shards.committer_of_kinds()?.map(|committer| committer.send(question()));
            let own = try_join_all(own);
            let (answers, own) = try_join(try_join_all(asked), own).await.map_err(|_| NoAnswer)?;
            Ok(shards.of_kinds(answers.into_iter().chain(own)))
        };
        self.look(&shards, &shards.looked_at_kinds, look).await
    }

    /// The first of these for no kind, or one of the second.
    ///
    /// # Errors
    /// [`NotSeen`], also when there is no such kind.
    pub async fn at_risk_of(&self, kind: Option<&str>) -> Result<Arc<AtRisk>, NotSeen> {
        let Some(kind) = kind else { return Ok(self.at_risk().await?) };
        let shards = self.shards.load_full();
        let there = || shards.patterns.kinds().map(|(_, pattern)| pattern.spec.name.clone());
        if !there().any(|name| name == kind) {
            return Err(NotSeen::NoSuchKind { asked: kind.to_owned(), there: there().collect() });
        }
        // Of another generation it may be gone again.
        Ok(self.kinds_at_risk().await?.get(kind).cloned().ok_or(NoAnswer)?)
    }

    /// What was looked for last, while that is not too old; else by another look.
    async fn look<T, F: Future<Output = Result<T, NoAnswer>>>(
        &self,
        shards: &Arc<Shards>,
        looked: &Mutex<Looked<T>>,
        look: impl FnOnce(Arc<Shards>, AskPermit) -> F,
    ) -> Result<Arc<T>, NoAnswer> {
        let look = async {
            let mut looked = looked.lock().await;
            let begun = self.clock.elapsed();
            if begun < looked.until {
                return Ok(Arc::clone(&looked.found));
            }
            let permit = self.permit().await?;
            if shards.aggregators.is_empty() && !shards.over {
                return Err(NoAnswer);
            }
            looked.found = Arc::new(look(Arc::clone(shards), permit).await?);
            let now = self.clock.elapsed();
            looked.until = now + LOOK_AGAIN.max(LOOK_SHARE * (now - begun));
            Ok(Arc::clone(&looked.found))
        };
        timeout(DESCRIBE_WAIT, look).await.unwrap_or(Err(NoAnswer))
    }

    /// Carries out a command on incidents. Once it is answered it is durable.
    ///
    /// # Errors
    /// [`NoAnswer`] when that took too long, or nobody is there just now: it may have been carried out,
    /// and can be given again. Else why it cannot be carried out.
    pub async fn attend(&self, command: Command) -> Result<Result<(), Refused>, NoAnswer> {
        let answer = async {
            let _permit = self.permit().await?;
            let committer = self.committer()?;
            match committer.send(Attend(command)).await.map_err(|_| NoAnswer)? {
                Ok(durable) => durable.await.map(Ok).map_err(|_| NoAnswer),
                Err(refused) => Ok(Err(refused)),
            }
        };
        timeout(DESCRIBE_WAIT, answer).await.unwrap_or(Err(NoAnswer))
    }

    /// Carries out a command on nudges: how many addresses are new. Once it is answered it is durable.
    ///
    /// # Errors
    /// As of [`Directory::attend`].
    pub async fn suppress(
        &self,
        command: nudge::Command,
    ) -> Result<Result<usize, nudge::Refused>, NoAnswer> {
        let answer = async {
            let _permit = self.permit().await?;
            let committer = self.committer()?;
            match committer.send(Suppress(command)).await.map_err(|_| NoAnswer)? {
                Ok((new, durable)) => durable.await.map(|()| Ok(new)).map_err(|_| NoAnswer),
                Err(refused) => Ok(Err(refused)),
            }
        };
        timeout(DESCRIBE_WAIT, answer).await.unwrap_or(Err(NoAnswer))
    }

    /// How nudges stand.
    ///
    /// # Errors
    /// [`NoAnswer`] when that took too long, or nobody is there just now.
    pub async fn nudges(&self) -> Result<NudgesStand, NoAnswer> {
        let answer = async {
            let _permit = self.permit().await?;
            self.committer()?.send(LookNudges).await.map_err(|_| NoAnswer)
        };
        timeout(DESCRIBE_WAIT, answer).await.unwrap_or(Err(NoAnswer))
    }

    fn committer(&self) -> Result<Addr<Committer>, NoAnswer> {
        let committer = self.shards.load().committer.as_ref().and_then(WeakAddr::upgrade);
        committer.ok_or(NoAnswer)
    }

    async fn permit(&self) -> Result<AskPermit, NoAnswer> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        permit.map(Arc::new).map_err(|_| NoAnswer)
    }

    /// The address of a key's session, from its shard.
    async fn find(&self, key: &str, permit: &AskPermit) -> Result<Option<Addr<Session>>, NoAnswer> {
        let shards = self.shards.load_full();
        let Some(shard) = shards.of(key) else {
            return if shards.over { Ok(None) } else { Err(NoAnswer) };
        };
        let find = Find { key: key.to_owned(), permit: Arc::clone(permit) };
        shards.aggregators[shard].send(find).await.map_err(|_| NoAnswer)
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
            let Ok(permit) = self.permit().await else { return };
            for (aggregator, keys) in shards.aggregators.iter().zip(asked) {
                if !keys.is_empty() {
                    let question = AreOpen { keys, permit: Arc::clone(&permit) };
                    open.extend(aggregator.send(question).await.unwrap_or_default());
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

    /// Some kinds go by a key of their own, or by the session key.
    fn any_kind(&self, own: bool) -> bool {
        self.patterns.kinds().any(|(_, pattern)| pattern.has_own_key() == own)
    }

    /// Who has what is open by keys of kinds; `None` where there are no such kinds, or nothing is
    /// running any more.
    fn committer_of_kinds(&self) -> Result<Option<Addr<Committer>>, NoAnswer> {
        if self.over || !self.any_kind(true) {
            return Ok(None);
        }
        let committer = self.committer.as_ref().and_then(WeakAddr::upgrade);
        committer.map(Some).ok_or(NoAnswer)
    }

    /// What several answered, of every kind.
    fn of_kinds(&self, answers: impl Iterator<Item = Vec<(u16, AtRisk)>>) -> KindsAtRisk {
        let mut parts: BTreeMap<u16, Vec<AtRisk>> = BTreeMap::new();
        for (number, part) in answers.flatten() {
            parts.entry(number).or_default().push(part);
        }
        let merged = |(number, pattern): (u16, &Pattern)| {
            let parts = parts.remove(&number).unwrap_or_default();
            (pattern.spec.name.clone(), Arc::new(AtRisk::merge(parts, AT_RISK_MAX)))
        };
        self.patterns.kinds().map(merged).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::turn::mailbox;

    #[test]
    fn an_address_leaves_with_the_last_who_asks() {
        let asked = Asked::default();
        assert!(Asking::join(&asked, "a").is_none());
        let (address, open) = mailbox();
        let first = Asking::at(&asked, "a", address);
        let second = Asking::join(&asked, "a").expect("it is being asked");
        drop(first);
        assert_eq!(asked.len(), 1);
        // The session ended; whoever asks the next one of that key finds it anew.
        drop(open);
        assert!(Asking::join(&asked, "a").is_none());
        let (address, _open) = mailbox();
        let third = Asking::at(&asked, "a", address);
        drop(second);
        assert!(Asking::join(&asked, "a").is_some());
        drop(third);
        assert!(asked.is_empty());
    }
}
