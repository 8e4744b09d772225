//! Session key to session actor, for the web side: the one concurrent map, written when
//! a session opens or ends, read by drill-downs, never in the event path.

use std::sync::Arc;
use std::time::Duration;

use actix::WeakAddr;
use dashmap::DashMap;
use smol_str::SmolStr;

use super::messages::Describe;
use super::session::Session;
use crate::domain::session::SessionView;

/// How long a drill-down waits for a busy session.
const DESCRIBE_WAIT: Duration = Duration::from_secs(5);

/// The directory of open sessions. Cheap to clone.
#[derive(Clone, Default)]
pub struct Directory {
    sessions: Arc<DashMap<SmolStr, WeakAddr<Session>, foldhash::fast::RandomState>>,
}

impl Directory {
    /// Notes the actor of a key.
    pub fn insert(&self, key: SmolStr, actor: WeakAddr<Session>) {
        self.sessions.insert(key, actor);
    }

    /// Forgets a key.
    pub fn remove(&self, key: &str) {
        self.sessions.remove(key);
    }

    /// Forgets everything, before a restart.
    pub fn clear(&self) {
        self.sessions.clear();
    }

    /// The open sessions of `key`, asked from their actor; `None` when there are none.
    pub async fn describe(&self, key: &str) -> Option<SessionView> {
        // The guard ends with this statement: it must not live over the wait.
        let actor = self.sessions.get(key)?.upgrade()?;
        let view =
            actor.send(Describe { key: key.to_owned() }).timeout(DESCRIBE_WAIT).await.ok()??;
        // Actors are used again: the answer counts only if it is still this key's actor.
        let now = self.sessions.get(key)?.upgrade()?;
        (now == actor).then_some(view)
    }

    /// True when `key` has an open session.
    pub fn is_open(&self, key: &str) -> bool {
        self.sessions.contains_key(key)
    }

    /// How many keys have an open session.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// True when no session is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
