//! Slack: a message of an incoming webhook, or of an app that can change what it wrote.

use serde_json::{Value as Json, json};
use tidewatch_core::incident::Step;
use tidewatch_core::settings::{Secret, settings};

use super::{Opening, Wrong};
use crate::channel::{Channel, Failure, Receipt, cut, shown};
use crate::http::{Answer, Http, Request, Told, Wire};
use crate::secret::Found;
use crate::template::Escape;

/// Most characters of a text of a block.
const TEXT_MAX: usize = 3_000;
/// Errors that go away.
const BUSY: &[&str] = &[
    "ratelimited",
    "rate_limited",
    "message_limit_exceeded",
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "team_added_to_org",
];

settings! {
    /// Slack: by the URL of an incoming webhook, or by the token of an app. With a token the message of an
    /// incident changes when somebody takes care of it and when it is over; that it still holds stands in
    /// its thread.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Keys in "" {
        /// The URL of an incoming webhook. With token where Slack's API is, by default
        /// https://slack.com/api.
        pub url: Secret = Secret::default(), secret();
        /// The token of an app that has chat:write.
        pub token: Secret = Secret::default(), secret();
        /// With token: the id of the conversation, such as "C0123456789". The app must be in it.
        pub room: String = String::new(), text();
    }
}

impl Keys {
    pub(super) const SAYS: &'static str =
        "Slack, by an incoming webhook, or by an app that changes what it wrote";

    pub(super) fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Channel>, Wrong> {
        let wrong = |key, rule: &str| Err(Wrong { key, rule: rule.into() });
        let (url, token) = (!self.url.0.is_empty(), !self.token.0.is_empty());
        if !url && !token {
            return wrong("url", "is missing: write url = \"env:NAME\", or token and room");
        }
        if token && self.room.is_empty() {
            return wrong("room", "is missing: write room = \"C0123456789\"");
        }
        if !token && !self.room.is_empty() {
            return wrong("room", "only belongs to token: an incoming webhook has its own");
        }
        let url = opening.url_or("url", &self.url, "https://slack.com/api")?;
        let token = opening.secret("token", &self.token, "xoxb-0")?;
        let hidden = [&url, &token].map(Clone::clone);
        let app = (!token.reveal().is_empty()).then(|| App { token, room: self.room.clone() });
        let common = opening.common(Escape::Slack, &[])?;
        Ok(Box::new(Http::new(Slack { url, app }, common, &hidden.each_ref())?))
    }
}

struct Slack {
    url: Found,
    app: Option<App>,
}

struct App {
    token: Found,
    room: String,
}

impl Wire for Slack {
    fn request(&self, told: &Told<'_>, before: Option<&str>) -> Result<Request, Failure> {
        let mut message = message(told);
        let json_type = ("content-type", "application/json; charset=utf-8".to_owned());
        let url = self.url.reveal();
        let Some(App { token, room }) = &self.app else {
            let body = serde_json::to_vec(&message).map_err(Failure::never)?;
            return Ok(Request { url: url.to_owned(), headers: vec![json_type], body });
        };
        // A message is known by its room, which may have another name here, and its time.
        let known = before.and_then(|before| before.split_once(' '));
        let method = match (told.notification.step, known) {
            (Step::Acknowledged | Step::Resolved, Some((room, ts))) => {
                message["channel"] = json!(room);
                message["ts"] = json!(ts);
                "chat.update"
            }
            (_, known) => {
                message["channel"] = json!(room);
                message["unfurl_links"] = json!(false);
                if let Some((_, ts)) = known {
                    message["thread_ts"] = json!(ts);
                    message["reply_broadcast"] = json!(true);
                }
                "chat.postMessage"
            }
        };
        let body = serde_json::to_vec(&message).map_err(Failure::never)?;
        let bearer = ("authorization", format!("Bearer {}", token.reveal()));
        Ok(Request {
            url: format!("{}/{method}", url.trim_end_matches('/')),
            headers: vec![json_type, bearer],
            body,
        })
    }

    fn answered(&self, answer: &Answer) -> Result<Receipt, Failure> {
        if self.app.is_none() {
            return Ok(Receipt { says: answer.says(), ..Receipt::default() });
        }
        let Ok(said) = serde_json::from_str::<Json>(&answer.body) else {
            return Err(Failure::later(format!("it answered {}", answer.says())));
        };
        let text = |name: &str| said.get(name).and_then(Json::as_str);
        if said.get("ok") != Some(&Json::Bool(true)) {
            let error = text("error").unwrap_or("no reason");
            let cause = shown(&format!("it answered {error}"), 200);
            return Err(if BUSY.contains(&error) {
                Failure::later(cause)
            } else {
                Failure::never(cause)
            });
        }
        // A reply in a thread is not what is changed later.
        let is_reply = said.pointer("/message/thread_ts").is_some();
        let remember = text("channel").zip(text("ts")).filter(|_| !is_reply);
        let remember = remember.map(|(room, ts)| format!("{room} {ts}"));
        Ok(Receipt { says: "ok".into(), remember, ..Receipt::default() })
    }
}

fn message(told: &Told<'_>) -> Json {
    let colour = match (told.view.step.as_str(), told.view.severity.as_str()) {
        ("resolved", _) => "#2e7d32",
        (_, "critical") => "#c62828",
        (_, "warning") => "#ef6c00",
        _ => "#1565c0",
    };
    let section = |text: String| json!({"type": "section", "text": {"type": "mrkdwn", "text": cut(&text, TEXT_MAX)}});
    let mut blocks = vec![section(format!("*{}*", told.written.title))];
    if !told.written.body.is_empty() {
        blocks.push(section(told.written.body.clone()));
    }
    json!({
        "text": cut(&told.written.title, TEXT_MAX),
        "attachments": [{"color": colour, "blocks": blocks}],
    })
}
