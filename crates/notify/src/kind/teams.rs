//! Microsoft Teams: an adaptive card for the webhook of a workflow.

use serde_json::{Value as Json, json};
use tidewatch_core::settings::{Secret, settings};

use super::{Opening, Wrong};
use crate::channel::{Channel, Failure, cut};
use crate::http::{Http, Request, Told, Wire};
use crate::secret::Found;
use crate::template::Escape;

/// Most characters of the text: a card may have 28 KB.
const TEXT_MAX: usize = 6_000;

settings! {
    /// Microsoft Teams: by the webhook of a workflow ("When a Teams webhook request is received").
    #[derive(Clone, Debug, PartialEq)]
    pub struct Keys in "" {
        /// Needed: the URL of the workflow.
        pub url: Secret = Secret::default(), secret();
    }
}

impl Keys {
    pub(super) const SAYS: &'static str = "Microsoft Teams, by the webhook of a workflow";

    pub(super) fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Channel>, Wrong> {
        let url = opening.url("url", &self.url)?;
        let common = opening.common(Escape::Plain, &[])?;
        let hidden = url.clone();
        Ok(Box::new(Http::new(Teams { url }, common, &[&hidden])?))
    }
}

struct Teams {
    url: Found,
}

impl Wire for Teams {
    fn request(&self, told: &Told<'_>, _: Option<&str>) -> Result<Request, Failure> {
        let view = &told.view;
        let colour = match (view.step.as_str(), view.severity.as_str()) {
            ("resolved", _) => "good",
            (_, "critical") => "attention",
            (_, "warning") => "warning",
            _ => "accent",
        };
        let title = json!({
            "type": "TextRun", "text": cut(&told.written.title, 1_000), "weight": "bolder",
            "size": "medium", "color": colour,
        });
        let mut body = vec![json!({"type": "RichTextBlock", "inlines": [title]})];
        // Plain runs: in a text block what stands in a value would be markdown, and a link.
        for line in cut(&told.written.body, TEXT_MAX).lines().filter(|line| !line.is_empty()) {
            let run = json!({"type": "TextRun", "text": line});
            body.push(json!({"type": "RichTextBlock", "inlines": [run], "spacing": "small"}));
        }
        let card = json!({
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "msteams": {"width": "Full"},
            "body": body,
            "actions": actions(&[("Runbook", &view.runbook), ("Page", &view.link)]),
        });
        let message = json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": card,
            }],
        });
        let body = serde_json::to_vec(&message).map_err(Failure::never)?;
        let headers = vec![("content-type", "application/json".to_owned())];
        Ok(Request { url: self.url.reveal().to_owned(), headers, body })
    }
}

fn actions(links: &[(&str, &String)]) -> Json {
    let there = links.iter().filter(|(_, url)| url.starts_with("http"));
    there
        .map(|(title, url)| json!({"type": "Action.OpenUrl", "title": title, "url": url}))
        .collect()
}
