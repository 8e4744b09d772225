//! Dead letters on their way back into the log: each once, whoever asks and whatever crashes.
//! Used by the web side and by the command line beside an idle folder.
//!
//! - Two requests for the same letter: one waits for the other (`Gate`), and finds it marked.
//! - A crash after the append and before the mark: the letter is sent a second time, as the
//!   same event, because it has an id by then. An event without one gets one that is made of its
//!   letter (`name_of`).
//! - A letter that the log does not take stays as it was, with the reason for whoever asked.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::task::spawn_blocking;

use super::ports::{
    AppendError, EventLog, Offer, Offered, Origin, Records, StoreError, StoredDeadLetter,
};
use crate::domain::event::decode::Decoder;
use crate::domain::event::{NoteTime, Schema};
use crate::domain::time::EpochMs;

/// Dead letters read from the store and appended to the log at a time.
const PAGE: usize = 500;

/// A page of letters that were named ends with the one that reaches this many bytes: beside it
/// at most one more letter is held (`Records::dead_letters` keeps a like bound).
const PAGE_BYTES: usize = 16 << 20;

/// Most dead letters looked at by one request for all; the answer says where to go on.
pub const LETTERS_MAX: usize = 10_000;
const _: () = assert!(PAGE <= LETTERS_MAX, "a page is a part of what is asked for");

/// One page at a time, in the whole process.
pub type Gate = tokio::sync::Mutex<()>;

/// Which letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// These.
    Ids(Vec<u64>),
    /// All with a greater id that were not redriven.
    After(u64),
}

/// What became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redriven {
    /// How many are in the log again.
    pub redriven: u64,
    /// The others, each with the reason.
    pub refused: Vec<Refused>,
    /// There are more than one request looks at: ask again for those after `next`.
    #[serde(default)]
    pub more: bool,
    /// Id of the last letter that was looked at.
    #[serde(default)]
    pub next: u64,
}

/// One dead letter that was not redriven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its id.
    pub id: u64,
    /// Why.
    pub reason: String,
}

/// Why nothing more could be done. What was done before is done.
#[derive(Debug, Error)]
pub enum RedriveError {
    /// The dead letters cannot be read or marked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log does not take events now.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Who does it.
pub struct Redrive<'a> {
    /// Where the letters are.
    pub records: Arc<dyn Records>,
    /// Where they go.
    pub log: &'a dyn EventLog,
    /// What is understood.
    pub schema: Arc<Schema>,
    /// The process's only one.
    pub gate: &'a Gate,
    /// Wall clock.
    pub now: EpochMs,
}

impl Redrive<'_> {
    /// Appends what is understood by now to the log again, and marks it once that is durable.
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// When the store or the log fails.
    pub async fn run(&self, wanted: Wanted) -> Result<Redriven, RedriveError> {
        let mut done = Redriven::default();
        match wanted {
            Wanted::Ids(ids) => {
                let mut ids = once_each(ids, &mut done);
                while !ids.is_empty() {
                    let _one = self.gate.lock().await;
                    let letters = self.named(&mut ids, &mut done).await?;
                    self.page(letters, &mut done).await?;
                }
            }
            Wanted::After(after) => {
                let mut seen = 0;
                done.next = after;
                while !done.more {
                    let _one = self.gate.lock().await;
                    let from = done.next;
                    let page = self.read(move |records| records.dead_letters(from, PAGE)).await?;
                    let Some(last) = page.last() else { break };
                    done.next = last.id;
                    let fresh = page.into_iter().filter(|letter| letter.redriven.is_none());
                    let letters: Vec<_> = fresh.collect();
                    seen += letters.len();
                    self.page(letters, &mut done).await?;
                    done.more = seen >= LETTERS_MAX;
                }
            }
        }
        done.refused.sort_by_key(|refused| refused.id);
        Ok(done)
    }

    /// The next page of those that were named, which leave `ids`.
    async fn named(
        &self,
        ids: &mut VecDeque<u64>,
        done: &mut Redriven,
    ) -> Result<Vec<StoredDeadLetter>, RedriveError> {
        let mut rest = std::mem::take(ids);
        let read = move |records: &dyn Records| {
            let (mut letters, mut refused, mut bytes) = (Vec::new(), Vec::new(), 0);
            while bytes < PAGE_BYTES
                && letters.len() + refused.len() < PAGE
                && let Some(id) = rest.pop_front()
            {
                match records.dead_letter(id)? {
                    None => refused.push((
                        id,
                        "there is no such dead letter; it may have made room for newer ones",
                    )),
                    Some(letter) if letter.redriven.is_some() => {
                        refused.push((id, "was redriven already"));
                    }
                    Some(letter) => {
                        bytes += letter.raw.len();
                        letters.push(letter);
                    }
                }
            }
            Ok((letters, refused, rest))
        };
        let (letters, refused, rest) = self.read(read).await?;
        *ids = rest;
        refused.into_iter().for_each(|(id, reason)| done.refuse(id, reason));
        Ok(letters)
    }

    async fn page(
        &self,
        letters: Vec<StoredDeadLetter>,
        done: &mut Redriven,
    ) -> Result<(), RedriveError> {
        let schema = Arc::clone(&self.schema);
        let judged = blocking(move || {
            let mut decoder = Decoder::new(schema);
            Ok(letters.into_iter().map(|letter| offers(&mut decoder, letter)).collect::<Vec<_>>())
        });
        let (mut owners, mut all) = (Vec::new(), Vec::new());
        for (id, judged) in judged.await? {
            match judged {
                Ok(offers) => {
                    owners.resize(owners.len() + offers.len(), id);
                    all.extend(offers);
                }
                Err(reason) => done.refuse(id, &reason),
            }
        }
        if all.is_empty() {
            return Ok(());
        }
        let Offered { refused, .. } = self.log.offer(all).await?;
        let mut unfit: Vec<u64> = Vec::new();
        for refused in &refused {
            if let Some(id) = owners.get(refused.index).filter(|id| !unfit.contains(id)) {
                unfit.push(*id);
                done.refuse(*id, &refused.reason);
            }
        }
        owners.dedup();
        owners.retain(|id| !unfit.contains(id));
        let (count, now) = (owners.len() as u64, self.now);
        self.read(move |records| records.mark_redriven(&owners, now)).await?;
        done.redriven += count;
        Ok(())
    }

    async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Records) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, RedriveError> {
        let records = Arc::clone(&self.records);
        blocking(move || ask(&*records)).await
    }
}

impl Redriven {
    fn refuse(&mut self, id: u64, reason: &str) {
        self.refused.push(Refused { id, reason: reason.into() });
    }
}

/// The ids in their order; one that comes again is refused.
fn once_each(ids: Vec<u64>, done: &mut Redriven) -> VecDeque<u64> {
    let mut known = HashSet::new();
    let (once, again): (Vec<u64>, Vec<u64>) = ids.into_iter().partition(|id| known.insert(*id));
    again.into_iter().for_each(|id| done.refuse(id, "is named twice"));
    once.into()
}

/// On a thread for blocking work.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, RedriveError> {
    let failed = |error: tokio::task::JoinError| StoreError::Io {
        path: "dead letters".into(),
        cause: error.to_string(),
    };
    Ok(spawn_blocking(work).await.map_err(failed)??)
}

/// The id of an event that has none: the same however often its letter is redriven.
fn name_of(letter: &StoredDeadLetter) -> String {
    format!("dead-letter {} {} {}", letter.source, letter.position, letter.id)
}

/// The events of a letter, as they are sent.
fn offers(decoder: &mut Decoder, letter: StoredDeadLetter) -> (u64, Result<Vec<Offer>, String>) {
    let name = name_of(&letter);
    let origin = Origin {
        position: if letter.hints.was_sent() { letter.position } else { 0 },
        source: letter.source,
        stored: match letter.hints.time() {
            NoteTime::None => None,
            NoteTime::Fills(at) | NoteTime::Rules(at) => Some(at),
        },
    };
    let events = decoder.again(letter.raw, &letter.hints, &name);
    let offer = |event: Vec<u8>| Offer { event: Bytes::from(event), origin: Some(origin.clone()) };
    (letter.id, events.map(|events| events.into_iter().map(offer).collect()))
}
