//! Titles and bodies: written by a template, checked when the configuration is read.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{
    AutoEscape, Environment, Output, State, Template, UndefinedBehavior, escape_formatter,
};
use tidewatch_core::near;

use crate::channel::Failure;
use crate::kind::{Place, Wrong};
use crate::view::{View, show_number};

/// Most bytes of a title; what is longer is cut.
const TITLE_BYTES_MAX: usize = 2 << 10;
/// Most bytes of a body; what is longer is cut.
const BODY_BYTES_MAX: usize = 16 << 10;
const _: () = assert!(TITLE_BYTES_MAX < BODY_BYTES_MAX, "a title is the shorter one");
/// Name of the way of [`Escape::Slack`].
const SLACK: &str = "slack";
/// When samples are of: any time is as good.
const SOME_TIME: i64 = 1_795_788_300_000;
/// Steps of the engine that a template may take: a loop in a loop ends.
const FUEL: u64 = 100_000;

/// What values must be written as, so that they are text and nothing else where they arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escape {
    /// As they are: they arrive as plain text.
    Plain,
    /// In Slack's text: `<!channel>` in a value calls nobody.
    Slack,
}

/// The templates of a channel.
#[derive(Debug)]
pub(crate) struct Templates {
    engine: Environment<'static>,
}

/// What they wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// One line.
    pub title: String,
    pub body: String,
}

/// Default of `title`.
pub(crate) const TITLE: &str = include_str!("template/title.txt");
/// Default of `body`.
pub(crate) const BODY: &str = include_str!("template/body.txt");
/// Default of `html`.
pub(crate) const HTML: &str = include_str!("template/mail.html");
/// What stands for the defaults of `body` and `html` in a nudge, whose reader knows nothing of incidents:
/// the key, the name of the template, and its text.
const NUDGE: [(&str, &str, &str); 2] = [
    ("body", "body of a nudge", include_str!("template/nudge.txt")),
    ("html", "html of a nudge", include_str!("template/nudge.html")),
];

/// What a template may name besides what a notification has.
const FUNCTIONS: &[&str] = &["range", "dict", "namespace", "debug", "loop", "self", "caller"];

impl Templates {
    /// Reads templates, by their key: `title`, `body`, `html`. Empty ones are the default. They are
    /// tried with a sample of each kind and step, and with `nudges` also of a nudge.
    ///
    /// # Errors
    /// The key, the line, and what is wrong.
    pub fn new(
        written: &[(&'static str, &str)],
        escape: Escape,
        (place, nudges): (&Place, bool),
    ) -> Result<Templates, Wrong> {
        let mut engine = Environment::new();
        engine.set_syntax(syntax()?);
        engine.set_fuel(Some(FUEL));
        engine.set_auto_escape_callback(move |name| match (name, escape) {
            (html, _) if html.starts_with("html") => AutoEscape::Html,
            (_, Escape::Slack) => AutoEscape::Custom(SLACK.into()),
            (_, Escape::Plain) => AutoEscape::None,
        });
        engine.set_formatter(format);
        let zone = Arc::new(place.zone.clone());
        engine.add_filter("time", move |value: Value| show_time(&value, &zone));
        engine.add_filter("span", |value: f64| show_span(value));
        engine.add_filter("num", |value: Value| {
            f64::try_from(value.clone()).map_or_else(|_| value.to_string(), show_number)
        });
        for (key, text) in written {
            let own = match (*key, text.trim()) {
                ("title", "") => TITLE,
                ("body", "") => BODY,
                ("html", "") => HTML,
                _ => text,
            };
            let added = engine.add_template_owned(*key, own.to_owned());
            added.map_err(|error| wrong(key, &error))?;
            // Whoever writes one writes it for nudges as well.
            for (_, name, own) in
                NUDGE.iter().filter(|(of, ..)| of == key && text.trim().is_empty())
            {
                engine.add_template(name, own).map_err(|error| wrong(key, &error))?;
            }
        }
        let mut templates = Templates { engine };
        let keys: Vec<&'static str> = written.iter().map(|(key, _)| *key).collect();
        templates.check(place)?;
        templates.try_samples(&keys, place, nudges)?;
        Ok(templates)
    }

    /// Names that nothing has.
    fn check(&self, place: &Place) -> Result<(), Wrong> {
        let names = names();
        for (key, template) in self.engine.templates() {
            let key = static_key(key);
            let mut unknown: Vec<String> =
                template.undeclared_variables(true).into_iter().collect();
            unknown.sort();
            for name in unknown {
                let (root, rest) = name.split_once('.').unwrap_or((&name, ""));
                let rule = if !names.iter().any(|known| known == root) {
                    if FUNCTIONS.contains(&root) {
                        continue;
                    }
                    let hint = near::hint(root, names.iter().map(String::as_str));
                    format!(
                        "{root} is not known of a notification: there are {}{hint}",
                        names.join(", ")
                    )
                } else if root == "labels"
                    && !rest.is_empty()
                    && !place.labels.contains(&rest.to_owned())
                {
                    let known = place.labels.join(", ");
                    let hint = near::hint(rest, place.labels.iter().map(String::as_str));
                    format!(
                        "labels.{rest}: no metric and no pattern has it; there are {known}{hint}"
                    )
                } else {
                    continue;
                };
                let line = line_of(template.source(), if rest.is_empty() { root } else { rest });
                return Err(Wrong { key, rule: format!("line {line}: {rule}") });
            }
        }
        Ok(())
    }

    /// What cannot be written of a sample.
    fn try_samples(
        &mut self,
        keys: &[&'static str],
        place: &Place,
        nudges: bool,
    ) -> Result<(), Wrong> {
        self.engine.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        let about = (("sample", "sample"), &*place.labels, (SOME_TIME, "sample"));
        let mut samples = crate::samples(about.0, about.1, about.2);
        if nudges {
            samples.push(crate::nudge_sample(about.0, about.1, about.2));
        }
        for (told, key) in samples.iter().flat_map(|told| keys.iter().map(move |key| (told, *key)))
        {
            let mut view = View::of(told, &place.page);
            let labels = place.labels.iter().map(|name| (name.clone(), "sample".to_owned()));
            view.labels.extend(labels);
            let template = self.template(key, &view);
            let rendered = template.and_then(|one| one.render(Value::from(Serde(view))));
            rendered.map_err(|error| {
                let Wrong { key, rule } = wrong(key, &error);
                Wrong { key, rule: format!("{rule} (in a sample that has {})", told.step.word()) }
            })?;
        }
        // A label that a notification lacks must not keep it from going out.
        self.engine.set_undefined_behavior(UndefinedBehavior::Chainable);
        Ok(())
    }

    /// The template of a key for such a thing.
    fn template(&self, key: &str, view: &View) -> Result<Template<'_, '_>, minijinja::Error> {
        let of_nudges = NUDGE.iter().find(|(of, ..)| *of == key && view.kind == "nudge");
        let own = of_nudges.and_then(|(_, name, _)| self.engine.get_template(name).ok());
        own.map_or_else(|| self.engine.get_template(key), Ok)
    }

    /// Title and body.
    pub fn write(&self, view: &View) -> Result<Written, Failure> {
        let title = self.one("title", view, TITLE_BYTES_MAX)?;
        let words: Vec<&str> = title.split_whitespace().collect();
        let body = self.one("body", view, BODY_BYTES_MAX)?;
        Ok(Written { title: words.join(" "), body: body.trim().to_owned() })
    }

    /// The HTML of a mail; `None` where it would be too long.
    pub fn html(&self, view: &View) -> Result<Option<String>, Failure> {
        let html = self.one("html", view, 8 * BODY_BYTES_MAX)?;
        Ok((!html.ends_with('…')).then_some(html))
    }

    fn one(&self, key: &str, view: &View, most: usize) -> Result<String, Failure> {
        let failed = |error: minijinja::Error| {
            let Wrong { key, rule } = wrong(static_key(key), &error);
            Failure::never(format!("the template {key} fails: {rule}"))
        };
        let mut text = Bounded { text: Vec::new(), most };
        let template = self.template(key, view).map_err(failed)?;
        template.render_captured_to(Value::from(Serde(view)), &mut text).map_err(failed)?;
        Ok(text.finish())
    }
}

/// A line with nothing but a tag is no line.
fn syntax() -> Result<SyntaxConfig, Wrong> {
    let built = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    built.map_err(|error| wrong("body", &error))
}

/// Takes so many bytes, and drops the others.
struct Bounded {
    text: Vec<u8>,
    most: usize,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = (self.most + 1).saturating_sub(self.text.len());
        self.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Bounded {
    fn finish(self) -> String {
        let whole = self.text.len() <= self.most;
        let text = String::from_utf8_lossy(&self.text);
        if whole {
            return text.into_owned();
        }
        let end = text.floor_char_boundary(self.most - '…'.len_utf8());
        format!("{}…", &text[..end])
    }
}

/// The names that every notification has.
fn names() -> Vec<String> {
    let view = serde_json::to_value(View::default()).unwrap_or_default();
    view.as_object().map(|view| view.keys().cloned().collect()).unwrap_or_default()
}

fn static_key(key: &str) -> &'static str {
    match key {
        "title" => "title",
        html if html.starts_with("html") => "html",
        _ => "body",
    }
}

fn wrong(key: &'static str, error: &minijinja::Error) -> Wrong {
    let says = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    let piece =
        error.range().zip(error.template_source()).and_then(|(range, source)| source.get(range));
    let piece = piece.map(|piece| format!(" at {piece}")).unwrap_or_default();
    Wrong { key, rule: format!("line {}: {says}{piece}", error.line().unwrap_or(1)) }
}

fn line_of(source: &str, name: &str) -> usize {
    source.lines().position(|line| line.contains(name)).map_or(1, |at| at + 1)
}

fn format(out: &mut Output, state: &mut State, value: &Value) -> Result<(), minijinja::Error> {
    // What is not there is nothing, and not the word "none".
    if value.is_none() {
        return Ok(());
    }
    match state.auto_escape() {
        AutoEscape::Custom(_) if !value.is_safe() => {
            let text = value.to_string();
            let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            out.write_str(&text).map_err(minijinja::Error::from)
        }
        _ => escape_formatter(out, state, value),
    }
}

fn show_time(value: &Value, zone: &TimeZone) -> String {
    let at = i64::try_from(value.clone()).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    let Some(at) = at else { return String::new() };
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// `4 s`, `12 min`, `3 h 5 min`, `2 d 4 h`.
fn show_span(ms: f64) -> String {
    let seconds = (ms / 1_000.0).max(0.0) as u64;
    let (minutes, hours) = (seconds / 60, seconds / 3_600);
    match hours {
        _ if minutes == 0 => format!("{seconds} s"),
        0 => format!("{minutes} min"),
        1..=47 if minutes % 60 == 0 => format!("{hours} h"),
        1..=47 => format!("{hours} h {} min", minutes % 60),
        _ if hours % 24 == 0 => format!("{} d", hours / 24),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}
