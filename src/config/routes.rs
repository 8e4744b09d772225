//! `[[route]]` and `[[maintenance]]`: whom to tell of what, and when nobody. Called by `sections.rs`
//! alone; `domain::incident` says what each key does.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;

use super::attributes::Attributes;
use super::channels::{self, Spec};
use super::document::{Node, Value};
use super::general::is_zone;
use super::item::{Item, Items};
use super::print::Entry;
use super::reader::Reader;
use super::toml_text::{span, table, text};
use super::windows::Days;
use crate::domain::expr::Expr;
use crate::domain::incident::{self, Hours, Maintenance, Of, Route};
use crate::domain::metric::{MetricSpec, Weekday};
use crate::domain::near;
use crate::domain::nudge::NudgeSpec;
use crate::domain::pattern::{PatternSpec, Seeks};
use crate::domain::settings::{Word, settings};
use crate::domain::time::{EpochMs, SpanMs};

/// Most routes: each is asked of everything that is told.
const ROUTES_MAX: usize = 200;
/// Most plans of work.
const MAINTENANCE_MAX: usize = 100;

settings! {
    /// One `[[route]]` as it is written.
    #[derive(Clone, Debug)]
    pub(super) struct RouteKeys in "" {
        /// Needed; letters in lower case, digits and _.
        pub name: () = (), shape();
        /// "incidents", what a rule says holds; or "occurrences", moments: abandoned sessions, matches
        /// of patterns and joins.
        pub of: Of = Of::Incidents, word::<Of>();
        /// Which of them, an expression: 'severity == "critical" && region == "eu"'. It may ask for
        /// kind, rule, metric, severity, subject, value, far, labels of metrics, and facts of
        /// occurrences. All where it is left out.
        pub when: () = (), shape();
        /// Needed: the channel that it leads to.
        pub channel: String = String::new(), text();
        /// What takes it goes on to the routes behind it; otherwise it is the last one.
        pub goes_on as "continue": bool = false, truth();
        /// Incidents are told here only when nobody takes care of them and they still hold after this
        /// time: an escalation.
        pub after: SpanMs = 0, span(0, 7 * DAY);
        /// Hours in which nobody is told: { from = "22:00", until = "07:00", days = ["saturday"],
        /// zone = "Europe/Berlin" }. Incidents that still hold then are told at their end, occurrences
        /// together. Without days on each; they are the days on which the hours begin. The zone is that
        /// of the configuration.
        pub quiet: () = (), shape();
        /// What comes within this time is told together; "0s": each on its own.
        pub digest: SpanMs = 0, span(0, 7 * DAY);
        /// An incident that goes on is told again so often; "0s": once.
        pub repeat: SpanMs = 0, span(0, 30 * DAY);
        /// Most notifications within per. Incidents wait for room, occurrences come together.
        pub at_most: usize = 100, count(1, 10_000);
        /// See at_most.
        pub per: SpanMs = HOUR, span(SECOND, 30 * DAY);
        /// That an incident is over is told to those who were told of it.
        pub resolved: bool = true, truth();
        /// So is that somebody takes care of it.
        pub acknowledged: bool = true, truth();
    }
}

settings! {
    /// One `[[maintenance]]` as it is written.
    #[derive(Clone, Debug)]
    pub(super) struct MaintenanceKeys in "" {
        /// Needed; letters in lower case, digits and _.
        pub name: () = (), shape();
        /// Of which incidents and occurrences nobody is told, an expression as in [[route]]. All where
        /// it is left out.
        pub when: () = (), shape();
        /// From when on: "2026-12-24T20:00:00Z", or "2026-12-24 20:00" in the zone of the configuration.
        pub from: () = (), shape();
        /// Until when, not included.
        pub until: () = (), shape();
        /// Hours again and again: { from = "02:00", until = "04:00", days = ["sunday"],
        /// zone = "Europe/Berlin" }.
        pub hours: () = (), shape();
    }
}

/// Facts of abandoned sessions.
const SESSION_FACTS: [&str; 8] =
    ["currency", "cut", "entries", "events", "first", "last", "segment", "step"];

/// The facts of occurrences, but for what all have.
fn facts(patterns: &[PatternSpec]) -> Vec<String> {
    // Of sessions nudges may tell as well.
    let told = |pattern: &&PatternSpec| {
        pattern.alert.is_some() || matches!(pattern.seeks, Seeks::Sessions(_))
    };
    let of_patterns = patterns.iter().filter(told);
    let of_patterns = of_patterns
        .flat_map(|pattern| pattern.seeks.own().iter().copied().chain(pattern.declares()));
    let mut facts: Vec<String> =
        SESSION_FACTS.into_iter().chain(of_patterns).map(str::to_owned).collect();
    facts.sort_unstable();
    facts.dedup();
    // The worth and the name are asked for by names that all have.
    facts.retain(|name| !["value", "type"].contains(&name.as_str()));
    facts
}

/// What can be told, and where.
pub(super) struct Told {
    /// Labels of metrics, and facts of occurrences.
    pub attributes: Vec<String>,
    /// Whose clock people read.
    pub zone: TimeZone,
}

impl Told {
    pub fn of(metrics: &[MetricSpec], patterns: &[PatternSpec], zone: &str) -> Told {
        let labels = metrics.iter().flat_map(|metric| metric.group_by.iter().cloned());
        let mut attributes: Vec<String> = facts(patterns).into_iter().chain(labels).collect();
        attributes.sort_unstable();
        attributes.dedup();
        let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
        Told { attributes, zone }
    }

    fn condition(&self, item: &mut Item<'_>) -> Option<Expr> {
        let scope = incident::Attributes(self.attributes.clone());
        item.reader.read("when", None, |node| {
            let text = node.text("an expression in quotes such as 'severity == \"critical\"'")?;
            Expr::condition(text, &scope).map(Some).map_err(|error| error.to_string())
        })
    }

    fn hours(&self, item: &mut Item<'_>, key: &'static str) -> Option<Hours> {
        item.reader.read(key, None, |node| hours(node, &self.zone).map(Some))
    }

    fn time(&self, item: &mut Item<'_>, key: &'static str) -> Option<EpochMs> {
        item.reader.read(key, None, |node| {
            let wanted = "a time such as \"2026-12-24T20:00:00Z\" or \"2026-12-24 20:00\"";
            let text = node.text(wanted)?;
            let here = |text: &str| {
                let clock = text.parse::<DateTime>().ok()?;
                self.zone.to_ambiguous_timestamp(clock).compatible().ok()
            };
            let at = text.parse::<Timestamp>().ok().or_else(|| here(text));
            at.map(|at| Some(at.as_millisecond())).ok_or_else(|| format!("must be {wanted}"))
        })
    }
}

/// Reads all of them.
pub(super) fn read(
    reader: &mut Reader,
    attributes: &Attributes<'_>,
    days: Days<'_>,
    told: &Told,
    channels: &[Spec],
) -> (Vec<Route>, Vec<Maintenance>) {
    let mut list = |key: &'static str, most: usize| {
        let declared = reader.tables(key).unwrap_or_default();
        if declared.len() > most {
            reader.problem(key, format!("must not stand more than {most} times"));
        }
        declared
    };
    let (routes, maintenance) = (list("route", ROUTES_MAX), list("maintenance", MAINTENANCE_MAX));
    let names = &mut Vec::new();
    let mut items =
        Items { reader: &mut *reader, names, days, attributes, steps: &[], patterns: &[] };
    let routes =
        items.each("route", routes.iter().enumerate(), |item, _| route(item, told, channels));
    let names = &mut Vec::new();
    let mut items = Items { reader, names, days, attributes, steps: &[], patterns: &[] };
    let work =
        items.each("maintenance", maintenance.iter().enumerate(), |item, _| work(item, told));
    (routes, work)
}

/// One `[[route]]`.
fn route(item: &mut Item<'_>, told: &Told, channels: &[Spec]) -> Route {
    item.reader.need("channel", "channel = \"...\"");
    let keys = item.reader.section(RouteKeys::default());
    if let Some(rule) = channels::unknown(&keys.channel, channels)
        .filter(|_| item.reader.is_set("channel"))
        .or_else(|| channels::names_nobody(&keys.channel, channels))
    {
        item.reader.problem("channel", rule);
    }
    if keys.of == Of::Occurrences {
        for key in ["after", "repeat", "resolved", "acknowledged"] {
            if item.reader.is_set(key) {
                let rule = "only belongs to of = \"incidents\": an occurrence is a moment";
                item.reader.problem(key, rule);
            }
        }
    }
    Route {
        name: item.name.clone(),
        of: keys.of,
        when: told.condition(item),
        channel: keys.channel,
        goes_on: keys.goes_on,
        after: keys.after,
        quiet: told.hours(item, "quiet"),
        digest: keys.digest,
        repeat: keys.repeat,
        at_most: keys.at_most,
        per: keys.per,
        resolved: keys.resolved,
        acknowledged: keys.acknowledged,
    }
}

/// One `[[maintenance]]`.
fn work(item: &mut Item<'_>, told: &Told) -> Maintenance {
    item.reader.section(MaintenanceKeys::default());
    let work = Maintenance {
        name: item.name.clone(),
        when: told.condition(item),
        from: told.time(item, "from"),
        until: told.time(item, "until"),
        hours: told.hours(item, "hours"),
    };
    if !["until", "hours"].iter().any(|key| item.reader.is_set(key)) {
        let rule = "is missing: write until = \"2026-12-24 20:00\", or hours";
        item.reader.problem("until", format!("{rule}, or nobody would ever be told again"));
    }
    if let (Some(from), Some(until)) = (work.from, work.until)
        && until <= from
    {
        item.reader.conflict(&["until", "from"], "must lie after from");
    }
    work
}

/// `{ from = "22:00", until = "07:00", days = ["saturday"], zone = "Europe/Berlin" }`.
fn hours(node: &Node, zone: &TimeZone) -> Result<Hours, String> {
    let example = "{ from = \"22:00\", until = \"07:00\" }";
    let Value::Table(keys) = &node.value else { return Err(format!("must be hours: {example}")) };
    let known = ["from", "until", "days", "zone"];
    if let Some(other) = keys.keys().find(|key| !known.contains(&key.as_str())) {
        let hint = near::hint(other, known);
        return Err(format!("{other} is not known here: there are {}{hint}", known.join(", ")));
    }
    let days = match keys.get("days") {
        None => Vec::new(),
        Some(node) => {
            let texts = node.texts().map_err(|rule| format!("days: {rule}"))?;
            texts.iter().map(|text| day(text)).collect::<Result<_, _>>()?
        }
    };
    let zone = match keys.get("zone") {
        None => zone.clone(),
        Some(node) => {
            let name = node.text("an IANA zone").map_err(|rule| format!("zone: {rule}"))?;
            is_zone(name).map_err(|rule| format!("zone: {name:?} {rule}"))?;
            TimeZone::get(name).map_err(|error| error.to_string())?
        }
    };
    let time = |key: &str| {
        let node = keys.get(key).ok_or_else(|| format!("{key} is missing: write {example}"))?;
        let text = node.text("a time of the day").map_err(|rule| format!("{key}: {rule}"))?;
        let wrong = || format!("{key}: {text:?} is no time of the day such as \"22:00\"");
        Time::strptime("%H:%M", text).map_err(|_| wrong())
    };
    Ok(Hours { days, from: time("from")?, until: time("until")?, zone })
}

fn day(text: &str) -> Result<Weekday, String> {
    let words = || Weekday::WORDS.iter().map(|(word, _)| *word);
    let found = Weekday::WORDS.iter().find(|(word, _)| *word == text).map(|(_, day)| *day);
    found.ok_or_else(|| {
        let known = words().collect::<Vec<_>>().join(", ");
        format!("days: {text:?} is no day; there are {known}{}", near::hint(text, words()))
    })
}

/// All keys of a route that apply to it.
pub(super) fn route_keys(route: &Route) -> Vec<Entry> {
    let mut keys = vec![("name", text(&route.name)), ("of", text(route.of.word()))];
    keys.extend(route.when.as_ref().map(|when| ("when", text(&when.to_string()))));
    keys.push(("channel", text(&route.channel)));
    keys.push(("continue", route.goes_on.to_string()));
    keys.extend(route.quiet.as_ref().map(|quiet| ("quiet", hours_text(quiet))));
    keys.push(("digest", span(route.digest)));
    keys.push(("at_most", route.at_most.to_string()));
    keys.push(("per", span(route.per)));
    if route.of == Of::Incidents {
        keys.push(("after", span(route.after)));
        keys.push(("repeat", span(route.repeat)));
        keys.push(("resolved", route.resolved.to_string()));
        keys.push(("acknowledged", route.acknowledged.to_string()));
    }
    keys
}

/// All keys of planned work that apply to it.
pub(super) fn work_keys(work: &Maintenance) -> Vec<Entry> {
    let at = |at: EpochMs| {
        text(&Timestamp::from_millisecond(at).map(|at| at.to_string()).unwrap_or_default())
    };
    let mut keys = vec![("name", text(&work.name))];
    keys.extend(work.when.as_ref().map(|when| ("when", text(&when.to_string()))));
    keys.extend(work.from.map(|from| ("from", at(from))));
    keys.extend(work.until.map(|until| ("until", at(until))));
    keys.extend(work.hours.as_ref().map(|hours| ("hours", hours_text(hours))));
    keys
}

fn hours_text(hours: &Hours) -> String {
    let clock = |time: Time| text(&time.strftime("%H:%M").to_string());
    let mut parts =
        vec![format!("from = {}", clock(hours.from)), format!("until = {}", clock(hours.until))];
    if !hours.days.is_empty() {
        let days: Vec<String> = hours.days.iter().map(|day| day.word().to_owned()).collect();
        parts.push(format!("days = {}", super::toml_text::texts(&days)));
    }
    parts.extend(hours.zone.iana_name().map(|zone| format!("zone = {}", text(zone))));
    table(&parts)
}

/// Routes that nothing ever reaches, and channels that none leads to.
pub(super) fn warnings(routes: &[Route], nudges: &[NudgeSpec], channels: &[Spec]) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    for route in routes {
        let kind = route.of.word();
        if let Some(before) = last.get(kind) {
            warnings.push(format!(
                "route.{}: nothing reaches it, because {before} before it takes all {kind} and has no \
                 continue = true",
                route.name
            ));
        } else if route.when.is_none() && !route.goes_on {
            last.insert(kind, &route.name);
        }
    }
    for name in channels.iter().map(channels::name) {
        let leads = routes.iter().map(|route| &route.channel);
        let leads = leads.chain(nudges.iter().map(|nudge| &nudge.channel));
        if !leads.into_iter().any(|channel| channel == name) {
            warnings.push(format!("channel.{name}: no route leads to it"));
        }
    }
    warnings
}
