//! Opsgenie, and what takes its Alert API: one alert for each incident, by its alias.

use serde_json::{Value as Json, json};
use tidewatch_core::incident::Step;
use tidewatch_core::settings::{Secret, settings};

use super::{Opening, Wrong};
use crate::channel::{Channel, Failure, cut};
use crate::http::{Http, Request, Told, Wire};
use crate::secret::Found;
use crate::template::Escape;
use crate::view::View;

settings! {
    /// Opsgenie's Alert API. What is acknowledged and over here is so there; an occurrence stays open
    /// until somebody closes it there.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Keys in "" {
        /// Needed: the key of an API integration.
        pub api_key: Secret = Secret::default(), secret();
        /// Where it is. By default https://api.opsgenie.com; in Europe that is
        /// https://api.eu.opsgenie.com.
        pub url: Secret = Secret::default(), secret();
    }
}

impl Keys {
    pub(super) const SAYS: &'static str = "Opsgenie's Alert API";

    pub(super) fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Channel>, Wrong> {
        let key = opening.needed("api_key", &self.api_key, "0123456789abcdef")?;
        let url = opening.url_or("url", &self.url, "https://api.opsgenie.com")?;
        let common = opening.common(Escape::Plain, &[])?;
        let hidden = [&url, &key].map(Clone::clone);
        Ok(Box::new(Http::new(Opsgenie { url, key }, common, &hidden.each_ref())?))
    }
}

struct Opsgenie {
    url: Found,
    key: Found,
}

impl Wire for Opsgenie {
    fn request(&self, told: &Told<'_>, _: Option<&str>) -> Result<Request, Failure> {
        let view = &told.view;
        let alias = match told.notification.step {
            Step::Digest => &told.notification.key,
            _ => &told.notification.about,
        };
        let (path, body) = match told.notification.step {
            Step::Acknowledged => (
                format!("/{alias}/acknowledge?identifierType=alias"),
                json!({
                    "user": cut(&view.by, 100), "source": "tidewatch",
                    "note": cut(&told.written.title, 25_000),
                }),
            ),
            Step::Resolved => (
                format!("/{alias}/close?identifierType=alias"),
                json!({"source": "tidewatch", "note": cut(&told.written.title, 25_000)}),
            ),
            Step::Fired | Step::Again | Step::Occurred | Step::Digest | Step::Nudge => {
                (String::new(), alert(alias, told))
            }
        };
        let body = serde_json::to_vec(&body).map_err(Failure::never)?;
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            ("authorization", format!("GenieKey {}", self.key.reveal())),
        ];
        Ok(Request {
            url: format!("{}/v2/alerts{path}", self.url.reveal().trim_end_matches('/')),
            headers,
            body,
        })
    }
}

fn alert(alias: &str, told: &Told<'_>) -> Json {
    let view = &told.view;
    json!({
        "message": cut(&told.written.title, 130),
        "alias": alias,
        "description": cut(&told.written.body, 15_000),
        "tags": ["tidewatch", cut(&view.rule, 50), view.kind],
        "details": details(view),
        "entity": cut(&view.subject, 512),
        "source": "tidewatch",
        "priority": match view.severity.as_str() {
            "critical" => "P1",
            "warning" => "P3",
            _ => "P5",
        },
    })
}

/// Texts by name, 8,000 characters in all.
fn details(view: &View) -> Json {
    let own = [("rule", &view.rule), ("metric", &view.metric), ("version", &view.version)]
        .map(|(name, value)| (name.to_owned(), value));
    let links = [("runbook", &view.runbook), ("page", &view.link)];
    let links = links.map(|(name, value)| (name.to_owned(), value));
    let labels = view.labels.iter().map(|(name, value)| (format!("label {name}"), value));
    let mut room = 8_000;
    let mut details = serde_json::Map::new();
    for (name, value) in own.into_iter().chain(links).chain(labels) {
        let size = name.chars().count() + value.chars().count();
        if !value.is_empty() && size <= room {
            room -= size;
            details.insert(name, json!(value));
        }
    }
    Json::Object(details)
}
