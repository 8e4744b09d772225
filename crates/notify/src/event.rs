//! What programs are told: the same data in the body of a webhook and in a message of a stream.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use tidewatch_core::incident::{Notification, Step};

use crate::channel::Failure;
use crate::kind::{Common, Place};
use crate::template::{Templates, Written};
use crate::view::View;

/// Why a channel that tells many does not take a nudge.
pub(crate) const FOR_ONE_PERSON: &str = "it is for one person, and this channel tells many";

/// `data` of the event of a notification.
pub(crate) fn data(told: &Notification, view: &View, written: &Written) -> Json {
    let mut data = json!({
        "title": written.title,
        "body": written.body,
        "step": told.step,
        "route": told.route,
        "channel": told.channel,
        "severity": view.severity,
        "facts": told.facts,
    });
    if let Some(recipient) = &told.recipient {
        data["recipient"] = json!(recipient);
    }
    data
}

/// A channel whose notifications are published into a stream: where to, and what is said. Whoever is
/// connected publishes them.
#[derive(Debug)]
pub struct Events {
    /// The stream.
    pub stream: String,
    /// First words of their subjects.
    pub subject: String,
    place: Arc<Place>,
    templates: Templates,
}

impl Events {
    pub(crate) fn new(stream: &str, subject: &str, common: Common) -> Events {
        let Common { place, templates, .. } = common;
        Events { stream: stream.to_owned(), subject: subject.to_owned(), place, templates }
    }

    /// `data` of the event of a notification, as a webhook has it. Where a template fails, which one and
    /// why is in `template`, and the title is the usual one: a stream is to have every notification.
    ///
    /// # Errors
    /// [`Failure::Never`] for a nudge, which is for one person.
    pub fn data(&self, told: &Notification) -> Result<Json, Failure> {
        if told.step == Step::Nudge || told.recipient.is_some() {
            return Err(Failure::never(FOR_ONE_PERSON));
        }
        let view = View::of(told, &self.place.page);
        match self.templates.write(&view) {
            Ok(written) => Ok(data(told, &view, &written)),
            Err(failure) => {
                let written = Written { title: view.title.clone(), body: String::new() };
                let mut data = data(told, &view, &written);
                data["template"] = failure.to_string().into();
                Ok(data)
            }
        }
    }
}
