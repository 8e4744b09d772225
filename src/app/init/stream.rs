//! A sample of what comes over NATS, and the section of the configuration that reads it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use serde_json::{Map, Value};

use super::written::{said, text};
use super::{BYTES_MAX, Failed};
use crate::app::past::{Glimpse, Message, Wanted, glimpse};
use crate::cli::Exit;
use crate::cli::args::InitArgs;
use crate::config::Config;
use crate::source::propose::Sample;

/// Types that a token of the subject may name.
const TYPES_MAX: usize = 200;

/// A sample of the newest messages, and `[nats]` of the configuration that reads them.
pub(super) fn stream(config: &Config, args: &InitArgs) -> Result<(Sample, String), Failed> {
    let wanted = Wanted {
        url: args.nats.clone(),
        stream: args.stream.clone(),
        subject: args.subject.clone(),
        listen: Duration::from_secs(args.listen_for),
        messages: args.rows as usize,
        bytes: BYTES_MAX,
    };
    if args.stream.is_none() && args.subject.is_some() {
        eprintln!("Where no stream keeps the subject it is listened to for {} s.", args.listen_for);
    }
    if args.nats.as_ref().is_some_and(|url| url.contains('@')) {
        eprintln!("User and password are not written: set nats.user and nats.password_file.");
    }
    let glimpse = glimpse(config, &wanted).map_err(|why| (why, Exit::Failed))?;
    let name = match (&glimpse.stream, &glimpse.filter) {
        (Some(stream), None) => format!("stream {stream} at {}", glimpse.url),
        (Some(stream), Some(subject)) => format!("{subject} in stream {stream} at {}", glimpse.url),
        (None, subject) => format!("{} at {}", subject.as_deref().unwrap_or(">"), glimpse.url),
    };
    let none = || {
        let came = glimpse.messages.len();
        let why = match came {
            0 if glimpse.stream.is_none() => {
                "no message came: --listen-for waits longer".to_owned()
            }
            0 => "no message is there".to_owned(),
            _ => format!("none of {came} messages is a JSON object"),
        };
        (format!("{name}: {why}"), Exit::Refused)
    };
    let rows = args.rows as usize;
    let sample = Sample::of_events(&name, &lines(&glimpse.messages, None, false), rows);
    let sample = sample.ok_or_else(none)?;
    let (timeless, typeless) = (sample.roles.time.is_none(), sample.roles.kind.is_none());
    let template = typeless.then(|| Template::of(&glimpse.messages));
    let section = section(&glimpse, template.as_ref(), timeless);
    if !timeless && !typeless {
        return Ok((sample, section));
    }
    // As the source will fill them in.
    let text = lines(&glimpse.messages, template.as_ref(), timeless);
    Ok((Sample::of_events(&name, &text, rows).ok_or_else(none)?, section))
}

/// The events, each a line of JSON; with a type of their subject and the broker's time where they
/// have none.
fn lines(messages: &[Message], template: Option<&Template>, timed: bool) -> String {
    let mut out = String::new();
    let mut line = |mut event: Map<String, Value>, message: &Message| {
        if let Some(kind) = template.and_then(|template| template.kind(&message.subject)) {
            event.entry("type").or_insert_with(|| kind.into());
        }
        if timed {
            event.entry("ts").or_insert_with(|| message.stored.into());
        }
        out += &Value::Object(event).to_string();
        out.push('\n');
    };
    for message in messages {
        let values = serde_json::Deserializer::from_slice(&message.bytes).into_iter::<Value>();
        for value in values.map_while(Result::ok) {
            match value {
                Value::Object(event) => line(event, message),
                Value::Array(events) => events.into_iter().for_each(|event| {
                    if let Value::Object(event) = event {
                        line(event, message);
                    }
                }),
                _ => {}
            }
        }
    }
    out
}

/// Which token of a subject is the type.
struct Template {
    text: String,
    place: usize,
}

impl Template {
    /// The last token that differs from one message to another, or the first of all.
    fn of(messages: &[Message]) -> Template {
        let subjects: BTreeSet<&str> = messages.iter().map(|message| &*message.subject).collect();
        let tokens: Vec<Vec<&str>> =
            subjects.iter().map(|subject| subject.split('.').collect()).collect();
        let width = tokens.first().map_or(1, Vec::len);
        if tokens.iter().any(|tokens| tokens.len() != width) {
            return Template { text: "{type}.{rest...}".into(), place: 0 };
        }
        let values =
            |place: usize| tokens.iter().map(|tokens| tokens[place]).collect::<BTreeSet<_>>();
        let differs = |place: &usize| (2..=TYPES_MAX).contains(&values(*place).len());
        let kind = (0..width).rev().find(differs).unwrap_or(0);
        let token = |place: usize| match (values(place).into_iter().next(), values(place).len()) {
            _ if place == kind => "{type}".to_owned(),
            (Some(only), 1) => only.to_owned(),
            _ => format!("{{token_{}}}", place + 1),
        };
        Template { text: (0..width).map(token).collect::<Vec<_>>().join("."), place: kind }
    }

    fn kind<'m>(&self, subject: &'m str) -> Option<&'m str> {
        subject.split('.').nth(self.place)
    }
}

fn section(glimpse: &Glimpse, template: Option<&Template>, timeless: bool) -> String {
    let mut out = format!(
        "\n[nats]\nurl = {}\n\n\
         # Nothing can be posted over HTTP; with a subject of the stream it could.\n\
         [nats.gateway]\nsubject = \"\"\n\n[[nats.source]]\n",
        text(&glimpse.url)
    );
    let mut line = |line: &str| writeln!(out, "{line}").expect("writing to a text cannot fail");
    match (&glimpse.stream, &glimpse.filter) {
        (Some(stream), filter) => {
            line(&format!("stream = {}\nsubjects = []", text(stream)));
            if let Some(filter) = filter {
                line(&format!("filter = [{}]", text(filter)));
            }
        }
        (None, filter) => {
            let subject = filter.as_deref().unwrap_or(">");
            line(&format!(
                "# ? No stream keeps {}: this one is made at the start, and keeps what comes from then on.",
                said(subject)
            ));
            line(&format!("stream = \"TIDEWATCH_EVENTS\"\nsubjects = [{}]", text(subject)));
        }
    }
    if let Some(template) = template {
        line("# ? Events name no type: it is taken from the subject.");
        line(&format!("subject_template = {}", text(&template.text)));
    }
    if timeless {
        line("# Events have no time: that of the broker counts.\ntime = \"broker_if_absent\"");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_says_what_happened() {
        for (subjects, template, kind) in [
            (&["shop.eu.cart", "shop.us.paid"][..], "shop.{token_2}.{type}", "cart"),
            (&["shop.cart", "shop.paid"], "shop.{type}", "cart"),
            (&["readings"], "{type}", "readings"),
            (&["readings.kitchen"], "{type}.kitchen", "readings"),
            (&["a.b", "a.b.c"], "{type}.{rest...}", "a"),
        ] {
            let message =
                |subject: &&str| Message { subject: (*subject).into(), stored: 0, bytes: vec![] };
            let messages: Vec<Message> = subjects.iter().map(message).collect();
            let found = Template::of(&messages);
            assert_eq!((&*found.text, found.kind(subjects[0])), (template, Some(kind)));
            crate::nats::settings::template::Template::parse(&found.text).unwrap();
        }
    }
}
