//! PagerDuty, and whatever takes its Events API v2: one alert for each incident, by its id.

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use tidewatch_core::incident::Step;
use tidewatch_core::settings::{Secret, settings};

use super::{Opening, Wrong};
use crate::channel::{Channel, Failure, cut};
use crate::http::{Http, Request, Told, Wire};
use crate::secret::Found;
use crate::template::Escape;
use crate::view::View;

/// Where it is.
const EVENTS: &str = "https://events.pagerduty.com/v2/enqueue";
/// Most characters of a summary.
const SUMMARY_MAX: usize = 1_024;
/// Most bytes of an event, below the 512 KB that it takes.
const EVENT_BYTES_MAX: usize = 500_000;

settings! {
    /// PagerDuty's Events API v2. What is acknowledged and over here is so there; an occurrence stays
    /// open until somebody resolves it there.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Keys in "" {
        /// Needed: the integration key of the service.
        pub routing_key: Secret = Secret::default(), secret();
        /// Where it is. By default https://events.pagerduty.com/v2/enqueue; in Europe that is
        /// https://events.eu.pagerduty.com/v2/enqueue.
        pub url: Secret = Secret::default(), secret();
    }
}

impl Keys {
    pub(super) const SAYS: &'static str = "PagerDuty's Events API v2";

    pub(super) fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Channel>, Wrong> {
        let key = opening.needed("routing_key", &self.routing_key, "0123456789abcdef")?;
        let url = opening.url_or("url", &self.url, EVENTS)?;
        let common = opening.common(Escape::Plain, &[])?;
        let hidden = [&url, &key].map(Clone::clone);
        Ok(Box::new(Http::new(Pagerduty { url, key }, common, &hidden.each_ref())?))
    }
}

struct Pagerduty {
    url: Found,
    key: Found,
}

impl Wire for Pagerduty {
    fn request(&self, told: &Told<'_>, _: Option<&str>) -> Result<Request, Failure> {
        let (action, whole) = match told.notification.step {
            Step::Acknowledged => ("acknowledge", false),
            Step::Resolved => ("resolve", false),
            Step::Fired | Step::Again | Step::Occurred | Step::Digest | Step::Nudge => {
                ("trigger", true)
            }
        };
        // What is collected has no end: each is an alert of its own.
        let about = match told.notification.step {
            Step::Digest => &told.notification.key,
            _ => &told.notification.about,
        };
        let mut event = json!({
            "routing_key": self.key.reveal(),
            "event_action": action,
            "dedup_key": about,
        });
        if whole {
            event["client"] = json!("tidewatch");
            event["payload"] = payload(told)?;
            event["links"] = links(&told.view);
            if !told.view.link.is_empty() {
                event["client_url"] = json!(told.view.link);
            }
        }
        let mut body = serde_json::to_vec(&event).map_err(Failure::never)?;
        if body.len() > EVENT_BYTES_MAX {
            event["payload"]["custom_details"] =
                json!({"text": cut(&told.written.body, EVENT_BYTES_MAX / 10)});
            body = serde_json::to_vec(&event).map_err(Failure::never)?;
        }
        let headers = vec![("content-type", "application/json".to_owned())];
        Ok(Request { url: self.url.reveal().to_owned(), headers, body })
    }
}

fn payload(told: &Told<'_>) -> Result<Json, Failure> {
    let view = &told.view;
    let source =
        [&view.subject, &view.metric, &view.rule].into_iter().find(|text| !text.is_empty());
    let time = Timestamp::from_millisecond(view.at).map_err(Failure::never)?;
    Ok(json!({
        "summary": cut(&told.written.title, SUMMARY_MAX),
        "source": cut(source.map_or("tidewatch", String::as_str), SUMMARY_MAX),
        "severity": severity(&view.severity),
        "timestamp": time.to_string(),
        "component": view.metric,
        "group": view.rule,
        "class": view.kind,
        "custom_details": {
            "text": told.written.body,
            "labels": view.labels,
            "facts": view.detail,
        },
    }))
}

/// It knows critical, error, warning and info.
fn severity(word: &str) -> &'static str {
    match word {
        "critical" => "critical",
        "warning" => "warning",
        _ => "info",
    }
}

fn links(view: &View) -> Json {
    let links = [("Runbook", &view.runbook), ("Page", &view.link)];
    let there = links.into_iter().filter(|(_, href)| !href.is_empty());
    there.map(|(text, href)| json!({"href": href, "text": text})).collect()
}
