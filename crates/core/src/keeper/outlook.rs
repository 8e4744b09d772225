//! What an edited configuration does to what a data folder keeps, as sentences: of what was
//! done, at a start, and of what would be done, before it.

/// One thing that is kept, or declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// `metric orders`, `rule spike`, `session.gap`.
    pub subject: String,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It keeps its history.
    Kept,
    /// It keeps its history, which was kept under this name.
    Renamed(String),
    /// Something else was kept under its name: that is dropped.
    Changed,
    /// It is declared no more: what is kept is dropped.
    Gone,
    /// Nothing is kept of it yet.
    New,
    /// A setting of sessions has another value.
    Setting {
        /// As TOML.
        was: String,
        /// As TOML.
        is: String,
        /// Open sessions.
        open: i64,
    },
}

impl Outlook {
    /// What was done at a start; `None` when there is nothing to say.
    pub fn done(&self) -> Option<String> {
        let subject = &self.subject;
        Some(match &self.fate {
            Fate::Kept | Fate::New => return None,
            Fate::Renamed(was) => format!("{subject} was called {was} and keeps its history"),
            Fate::Changed => format!(
                "{subject} means something else than at the last start: its history is dropped \
                 and begins anew"
            ),
            Fate::Gone => format!("{subject} is declared no more: its history is dropped"),
            Fate::Setting { was, is, open } => {
                format!("{subject} is {is}, it was {was}: {}", of_sessions(subject, is, *open))
            }
        })
    }

    /// What a start would do.
    pub fn ahead(&self) -> String {
        let subject = &self.subject;
        match &self.fate {
            Fate::Kept => format!("{subject} keeps its history"),
            Fate::New => format!("{subject} is new: it begins with the next events"),
            Fate::Renamed(was) => {
                format!("{subject} is what is kept as {was}: it keeps that history under its name")
            }
            Fate::Changed => format!(
                "{subject} means something else than what is kept: that history would be dropped, \
                 and begin anew"
            ),
            Fate::Gone => {
                format!("{subject} is kept and not declared: its history would be dropped")
            }
            Fate::Setting { .. } => self.done().unwrap_or_default(),
        }
    }

    /// True when history is lost by it.
    pub fn loses(&self) -> bool {
        matches!(self.fate, Fate::Changed | Fate::Gone)
    }
}

/// What another value of a setting does to open sessions: their records keep what was counted,
/// and everything else is decided by the settings of the day.
fn of_sessions(key: &str, is: &str, open: i64) -> String {
    if open <= 0 {
        return "no session is open, the next ones go by it".into();
    }
    let what = match key {
        "session.gap" => "end by it, too, so long after their last event",
        "session.deadline" if is.contains("since_entry") => {
            "end as closed: their entries so far are of no cart, and are neither abandoned nor \
             converted, and the number at risk stays off by them"
        }
        "session.deadline" => {
            "are judged by it whole, those of their carts that are open by the former one as \
             well, and the number at risk may stay off by them"
        }
        "session.entry" | "session.goal" | "session.remove" => {
            "keep what they have counted; it holds for their next events"
        }
        "session.steps" => "keep the number of their step, which may be called otherwise now",
        "session.max_length" => "are measured by it from their next event on",
        "session.value" => "keep the value they have added up; it holds for their next events",
        "session.segment" => "keep their segment until an event brings another",
        "session.currency" => "keep their amounts, as all totals do: nothing is converted",
        "events.key" => "are of the former key and end by silence; events open others",
        _ => "go by it from their next event on",
    };
    format!("sessions that are open ({open}) {what}")
}
