//! What people do with incidents. A command is in the commit that follows it, with its effect: once it is
//! answered it holds over any crash.

use super::desk::{Desk, Outcome};
use super::silence::{Quiet, Silence};
use super::{Said, Snooze, What};
use crate::expr::Expr;
use crate::time::{BEGINNING, EpochMs, SpanMs};

/// What somebody wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Somebody takes care of an incident.
    Acknowledge {
        /// Its id.
        incident: String,
        /// Who.
        by: String,
        /// What they add; may be empty.
        note: String,
    },
    /// Nobody is told of an incident for a while.
    Snooze {
        /// Its id.
        incident: String,
        /// For how long, from now.
        span: SpanMs,
        /// Who.
        by: String,
    },
    /// Nobody is told of incidents that meet a condition, for a time; with a span, from now on for so
    /// long.
    Silence(Silence, Option<SpanMs>),
    /// A silence ends now.
    Unsilence {
        /// Its id.
        silence: String,
        /// Who.
        by: String,
    },
}

/// Why a command cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No incident has this id, or it left long ago.
    #[error("there is no incident {0}: GET /v1/incidents has those that there are")]
    NoIncident(String),
    /// It is over.
    #[error("incident {0} is over")]
    Over(String),
    /// No silence has this id.
    #[error("there is no silence {0}: GET /v1/silences has those that there are")]
    NoSilence(String),
    /// There are too many.
    #[error(
        "there are {0} silences already, as many as incidents.silences_max allows: end one, or let one cover more"
    )]
    TooMany(usize),
    /// The condition is none.
    #[error("matching {0}")]
    Condition(String),
    /// It would silence nothing.
    #[error("until must lie after from and after now")]
    Past,
}

impl Desk {
    /// Carries out a command, by what is known now.
    ///
    /// # Errors
    /// Why it cannot be; nothing has changed then.
    pub fn command(&mut self, command: Command, out: &mut Outcome) -> Result<(), Refused> {
        match command {
            Command::Acknowledge { incident, by, note } => {
                self.acknowledge(&incident, by, note, out)
            }
            Command::Snooze { incident, span, by } => self.snooze(&incident, span, by, out),
            Command::Silence(silence, span) => self.silence(silence, span, out),
            Command::Unsilence { silence, by } => self.unsilence(&silence, by, out),
        }
    }

    fn acknowledge(
        &mut self,
        id: &str,
        by: String,
        note: String,
        out: &mut Outcome,
    ) -> Result<(), Refused> {
        let at = self.now();
        let incident = self.open_one(id)?;
        // Who was first stays; that others said so, too, is in the log.
        incident.acknowledged.get_or_insert(Said { at, by: by.clone(), note: note.clone() });
        let mut says = format!("{by} takes care of it");
        if !note.is_empty() {
            says += &format!(": {note}");
        }
        self.change(at, What::Acknowledged, id, &by, says, out);
        self.tell_acknowledged(id, out);
        self.look(id, out);
        Ok(())
    }

    fn snooze(
        &mut self,
        id: &str,
        span: SpanMs,
        by: String,
        out: &mut Outcome,
    ) -> Result<(), Refused> {
        let at = self.now();
        let until = self.later().saturating_add(span);
        self.open_one(id)?.snoozed = Some(Snooze { until, by: by.clone() });
        let says =
            format!("{by} wants to hear nothing of it for {:.0} min", span as f64 / 60_000.0);
        self.change(at, What::Snoozed, id, &by, says, out);
        self.look(id, out);
        Ok(())
    }

    /// Now, by the events or by the machine, whichever is later: while the log is caught up with, time
    /// runs fast.
    fn later(&self) -> EpochMs {
        self.now().max(self.wall)
    }

    fn silence(
        &mut self,
        mut silence: Silence,
        span: Option<SpanMs>,
        out: &mut Outcome,
    ) -> Result<(), Refused> {
        let at = self.now();
        if let Some(span) = span {
            silence.until = self.later().max(silence.from).saturating_add(span);
        }
        // Without a beginning: from now on.
        silence.from = if silence.from == BEGINNING { at } else { silence.from };
        if silence.until <= silence.from.max(at) {
            return Err(Refused::Past);
        }
        let when = Expr::condition(&silence.matching, self.attributes())
            .map_err(|error| Refused::Condition(error.to_string()))?;
        // The same once more is the same: whoever got no answer asks again.
        if self.silences.contains_key(&silence.id) {
            return Ok(());
        }
        let most = self.settings.silences_max;
        if self.silences.len() >= most {
            return Err(Refused::TooMany(most));
        }
        let says = format!("silenced what meets {}: {}", silence.matching, silence.reason);
        self.change(at, What::Silenced, "", &silence.by.clone(), says, out);
        out.silences.insert(silence.id.clone(), Some(silence.clone()));
        self.edges.add(&silence, self.timed);
        self.silences.insert(silence.id.clone(), Quiet { silence, when: Some(when) });
        self.look_at_all(out);
        Ok(())
    }

    fn unsilence(&mut self, id: &str, by: String, out: &mut Outcome) -> Result<(), Refused> {
        let at = self.now();
        let Some(quiet) = self.silences.remove(id) else {
            return Err(Refused::NoSilence(id.to_owned()));
        };
        self.edges.forget(&quiet.silence);
        out.silences.insert(id.to_owned(), None);
        let says = format!("ended the silence of what meets {}", quiet.silence.matching);
        self.change(at, What::Unsilenced, "", &by, says, out);
        self.look_at_all(out);
        Ok(())
    }

    fn open_one(&mut self, id: &str) -> Result<&mut super::Incident, Refused> {
        let over = self.is_recent(id);
        self.open.get_mut(id).ok_or_else(|| {
            if over { Refused::Over(id.to_owned()) } else { Refused::NoIncident(id.to_owned()) }
        })
    }

    /// Ends the silences that are over, at their own time.
    pub(super) fn end_silences(&mut self, at: EpochMs, out: &mut Outcome) {
        for id in self.edges.take(at) {
            // It may have begun, and no more.
            if self.silences.get(&id).is_none_or(|quiet| quiet.silence.until > at) {
                continue;
            }
            if let Some(quiet) = self.silences.remove(&id) {
                let says = format!("the silence of what meets {} is over", quiet.silence.matching);
                self.change(at, What::SilenceOver, "", "", says, out);
                out.silences.insert(id, None);
            }
        }
    }
}
