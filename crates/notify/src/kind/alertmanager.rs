//! Prometheus' Alertmanager, by its API v2: it routes, groups and silences on its own.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;
use tidewatch_core::incident::Step;
use tidewatch_core::settings::{Secret, settings};
use tidewatch_core::time::{EpochMs, SpanMs};

use super::{Opening, Wrong};
use crate::channel::{Channel, Failure};
use crate::http::{Http, Request, Told, Wire};
use crate::secret::Found;
use crate::template::Escape;
use crate::view::View;

settings! {
    /// Alertmanager's API v2.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Keys in "" {
        /// Needed: where it is, without /api/v2/alerts.
        pub url: Secret = Secret::default(), secret();
        /// The header Authorization, such as "Basic ...".
        pub authorization: Secret = Secret::default(), secret();
        /// How long it holds an incident for firing that it hears nothing more of. The repeat of a route
        /// begins it anew; the end of an incident ends it at once.
        pub hold: SpanMs = 7 * DAY, span(MINUTE, 366 * DAY);
        /// How long it holds an occurrence, or several that are told together, for firing.
        pub occurrence_hold: SpanMs = 15 * MINUTE, span(MINUTE, 366 * DAY);
    }
}

impl Keys {
    pub(super) const SAYS: &'static str = "Prometheus' Alertmanager";

    pub(super) fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Channel>, Wrong> {
        let url = opening.url("url", &self.url)?;
        let authorization = opening.secret("authorization", &self.authorization, "Basic x")?;
        let common = opening.common(Escape::Plain, &[])?;
        let hidden = [&url, &authorization].map(Clone::clone);
        let (hold, occurrence_hold) = (self.hold, self.occurrence_hold);
        let wire = Alertmanager { url, authorization, hold, occurrence_hold };
        Ok(Box::new(Http::new(wire, common, &hidden.each_ref())?))
    }
}

struct Alertmanager {
    url: Found,
    authorization: Found,
    hold: SpanMs,
    occurrence_hold: SpanMs,
}

impl Wire for Alertmanager {
    fn request(&self, told: &Told<'_>, _: Option<&str>) -> Result<Request, Failure> {
        let (view, now) = (&told.view, told.now * 1_000);
        let starts = view.since.unwrap_or(view.at).min(view.at);
        let ends = match told.notification.step {
            Step::Resolved => view.until.unwrap_or(view.at).max(starts + 1),
            // It compares with its own clock: what is told late is not over for that.
            Step::Fired | Step::Again | Step::Acknowledged => now + self.hold,
            Step::Occurred | Step::Digest | Step::Nudge => now + self.occurrence_hold,
        };
        let mut annotations = BTreeMap::from([
            ("summary", told.written.title.as_str()),
            ("description", told.written.body.as_str()),
            ("incident", view.id.as_str()),
        ]);
        if !view.runbook.is_empty() {
            annotations.insert("runbook_url", &view.runbook);
        }
        if !view.by.is_empty() {
            annotations.insert("acknowledged_by", &view.by);
        }
        let alert = json!([{
            "labels": labels(view),
            "annotations": annotations,
            "startsAt": time(starts)?,
            "endsAt": time(ends)?,
            "generatorURL": view.link,
        }]);
        let body = serde_json::to_vec(&alert).map_err(Failure::never)?;
        let mut headers = vec![("content-type", "application/json".to_owned())];
        if !self.authorization.reveal().is_empty() {
            headers.push(("authorization", self.authorization.reveal().to_owned()));
        }
        let url = format!("{}/api/v2/alerts", self.url.reveal().trim_end_matches('/'));
        Ok(Request { url, headers, body })
    }
}

/// What it tells alerts apart by: the same for all steps of an incident. Of an occurrence its facts are
/// no labels, but who it is about is.
fn labels(view: &View) -> BTreeMap<String, String> {
    let own = [
        ("alertname", view.rule.as_str()),
        ("severity", &view.severity),
        ("metric", &view.metric),
        ("kind", view.kind),
        ("source", "tidewatch"),
    ];
    let mut labels: BTreeMap<String, String> =
        own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    match view.kind {
        "incident" => {
            for (name, value) in &view.labels {
                let name = label_name(name);
                let taken = labels.contains_key(&name);
                let name = if taken { format!("label_{name}") } else { name };
                labels.insert(name, value.clone());
            }
        }
        _ => {
            labels.insert("subject".into(), view.subject.clone());
        }
    }
    // An empty label is none.
    labels.retain(|_, value| !value.is_empty());
    labels
}

/// Letters, digits and _, and no digit first.
fn label_name(name: &str) -> String {
    let good = |one: char| one.is_ascii_alphanumeric() || one == '_';
    let name: String = name.chars().map(|one| if good(one) { one } else { '_' }).collect();
    if name.starts_with(|first: char| first.is_ascii_digit()) { format!("_{name}") } else { name }
}

fn time(at: EpochMs) -> Result<String, Failure> {
    Timestamp::from_millisecond(at).map(|at| at.to_string()).map_err(Failure::never)
}
