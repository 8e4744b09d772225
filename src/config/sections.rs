//! The sections of the file: the settings of every part, and which combinations of their keys
//! are impossible. Called by `Config::load` alone. What one key may be stands in the table of
//! its part (`domain::settings`).

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::attributes::Attributes;
use super::channels;
use super::events::{self, EventsConfig};
use super::lookups::{self, Around, Lookup};
use super::metrics;
use super::nats;
use super::nudges;
use super::patterns;
use super::possible::no_number;
use super::reader::Reader;
use super::routes;
use super::units;
use super::whole::Config;
use super::windows::Days;
use crate::actors;
use crate::domain::metric::MetricSpec;
use crate::domain::session::SessionPolicy;
use crate::domain::settings::{Key, Section};
use crate::store;
use crate::web;

/// Keys that there were once, and why they are gone.
const GONE: [(&str, &str); 1] =
    [("pipeline.idle_actors_max", "no actors are kept for later; leave it out")];

/// Reads every section and checks what holds between them. `held`: lookups whose rows are known.
pub(super) fn read(reader: &mut Reader, held: &[Lookup]) -> Config {
    for (key, why) in GONE {
        reader.gone(key, why);
    }
    let Config {
        general,
        events,
        time,
        session,
        incidents,
        nudging,
        pipeline,
        store,
        log,
        web,
        dry_run,
        demo,
        ..
    } = untouched();
    let general = reader.section(general);
    let mut events = reader.section(events);
    events.limits = reader.section(events.limits);
    let time = reader.section(time);
    let mut session = reader.section(session);
    let incidents = reader.section(incidents);
    let nudging = reader.section(nudging);
    let pipeline = reader.section(pipeline);
    let store = reader.section(store);
    let log = reader.section(log);
    let web = reader.section(web);
    let dry_run = reader.section(dry_run);
    let demo = reader.section(demo);
    events::check(reader, &events);
    let days = Days { zone: &general.zone, first_weekday: general.first_weekday };
    let nats = nats::read(reader, pipeline.credits, events.limits.event_bytes);
    let around = Around { held, data: &general.data_dir, nats: nats.link.as_ref() };
    let lookups = lookups::read(reader, &Attributes::of(&events, &[]).0, days, &around);
    let (attributes, wrong) = Attributes::of(&events, &lookups);
    for (name, rule) in wrong {
        match lookups.iter().find(|one| one.attributes.iter().any(|(made, _)| *made == name)) {
            Some(lookup) => reader.problem_of("lookup", &lookup.name, "key", rule),
            None => reader.problem_within("events.derived", &name, rule),
        }
    }
    session_fits(reader, &mut session, &events, &attributes);
    pipeline_fits(reader, &pipeline);
    reachable_on_purpose(reader, &web);
    sizes_fit(reader, &events, &log, &web);
    let lists = [&session.steps, &session.entry, &session.goal, &session.remove];
    let of_session: Vec<&String> = lists.into_iter().flatten().collect();
    let (mut patterns, funnels) = patterns::read(reader, &attributes, days, &of_session);
    patterns.extend(funnels.iter().map(|funnel| funnel.pattern.clone()));
    let found = (&patterns[..], &funnels[..]);
    let (metrics, rules) = metrics::read(reader, days, &attributes, &session.steps, found);
    let fills = |metric: &&MetricSpec| metric.backfill > 0;
    if let (Some(_), Some(metric)) = (&nats.link, metrics.iter().find(fills)) {
        reader.problem(
            "nats.url",
            format!(
                "metric {} has backfill, which reads the log of the data folder; with streams there is \
                 none: leave backfill out",
                metric.name
            ),
        );
    }
    let told = routes::Told::of(&metrics, &patterns, &general.zone);
    let place = (&told, incidents.page_url.as_str(), nats.link.is_some());
    let channels = channels::read(reader, &attributes, days, place);
    let (routes, maintenance) = routes::read(reader, &attributes, days, &told, &channels);
    let shown = (&channels[..], [session.segment.as_ref(), session.identify.as_ref()]);
    let nudges =
        nudges::read(reader, (&attributes, days), &nudging, (&mut patterns, &metrics), shown);
    let written = Default::default();
    Config {
        general,
        events,
        time,
        session,
        lookups,
        patterns,
        funnels,
        metrics,
        rules,
        incidents,
        nudging,
        channels,
        routes,
        nudges,
        maintenance,
        pipeline,
        store,
        log,
        web,
        dry_run,
        demo,
        nats,
        written,
    }
}

/// Everything at its default, without sources, metrics and rules.
fn untouched() -> Config {
    Config {
        general: Default::default(),
        events: Default::default(),
        time: Default::default(),
        session: Default::default(),
        lookups: Vec::new(),
        patterns: Vec::new(),
        funnels: Vec::new(),
        metrics: Vec::new(),
        rules: Vec::new(),
        incidents: Default::default(),
        nudging: Default::default(),
        channels: Vec::new(),
        routes: Vec::new(),
        nudges: Vec::new(),
        maintenance: Vec::new(),
        pipeline: Default::default(),
        store: Default::default(),
        log: Default::default(),
        web: Default::default(),
        dry_run: Default::default(),
        demo: Default::default(),
        nats: Default::default(),
        written: Default::default(),
    }
}

/// The names of all sections, `nats` and `nats.out`.
pub(super) fn names() -> &'static BTreeSet<&'static str> {
    static NAMES: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
        let untouched = untouched();
        let keys = all(&untouched).into_iter().flat_map(|section| section.keys());
        keys.map(Key::section).filter(|name| !name.is_empty()).collect()
    });
    &NAMES
}

/// The tables of all keys that stand in sections, or outside of them, in the order of the file.
/// `[[nats.source]]`, `[[pattern]]`, `[[metric]]` and `[[rule]]` have their own.
pub(super) fn all(config: &Config) -> [&dyn Section; 16] {
    [
        &config.general,
        &config.events,
        &config.events.limits,
        &config.time,
        &config.session,
        &config.incidents,
        &config.nudging,
        &config.pipeline,
        &config.store,
        &config.log,
        &config.web,
        &config.dry_run,
        &config.demo,
        config.nats.keys(),
        &config.nats.gateway,
        &config.nats.out,
    ]
}

fn session_fits(
    reader: &mut Reader,
    policy: &mut SessionPolicy,
    events: &EventsConfig,
    attributes: &Attributes<'_>,
) {
    let named = [
        ("session.identify", &policy.identify),
        ("session.value", &policy.value),
        ("session.segment", &policy.segment),
    ];
    for (key, name) in named {
        if let Some(rule) = name.as_ref().and_then(|name| attributes.wrong(name)) {
            reader.problem(key, rule);
        }
    }
    if let Some(rule) = policy.value.as_ref().and_then(|name| no_number(name, attributes)) {
        reader.problem("session.value", rule);
    }
    if policy.identify.as_ref().is_some_and(|name| attributes.derived(name).is_some()) {
        reader.problem("session.identify", "must be what events carry, and this is derived");
    }
    if let Some(both) = policy.entry.iter().find(|event_type| policy.goal.contains(event_type)) {
        reader.conflict(
            &["session.goal", "session.entry"],
            format!("{both:?} cannot be an entry and a goal at once"),
        );
    }
    let taken = |event_type: &&String| {
        policy.entry.contains(event_type) || policy.goal.contains(event_type)
    };
    // The default gives way to a file that uses its name for something else.
    match policy.remove.iter().find(taken).cloned() {
        Some(both) if reader.is_set("session.remove") => reader.conflict(
            &["session.remove"],
            format!("{both:?} cannot be a removal and an entry or a goal at once"),
        ),
        Some(both) => policy.remove.retain(|event_type| *event_type != both),
        None => {}
    }
    if let Some(rule) = policy.identify.as_ref().and_then(|name| wrong_identify(name, events)) {
        reader.conflict(&["session.identify", "events.key"], rule);
    }
    let events_hold = events.limits.text_bytes;
    if policy.key_bytes_max > events_hold {
        policy.key_bytes_max = events_hold;
        if reader.is_set("session.key_bytes_max") {
            reader.conflict(
                &["session.key_bytes_max", "events.text_bytes"],
                "session.key_bytes_max must not be greater than events.text_bytes",
            );
        }
    }
    if policy.max_length.is_some_and(|longest| longest < policy.gap) {
        reader.conflict(
            &["session.max_length", "session.gap"],
            format!(
                "session.max_length must not be shorter than session.gap, \"{}\"; \"0s\" is no bound",
                units::show_span(policy.gap)
            ),
        );
    }
}

/// Why an attribute cannot hold the key of a visitor who is not known yet.
fn wrong_identify(name: &str, events: &EventsConfig) -> Option<String> {
    let base = |name: &str| {
        let alias = events.aliases.iter().find(|(from, _)| from == name);
        alias.map_or_else(|| name.to_owned(), |(_, to)| to.clone())
    };
    if let [several, _, ..] = &*events.keys {
        return Some(format!(
            "session.identify needs a session key of one attribute, and events.key names \
             {several:?} and others"
        ));
    }
    if events.keys.first().is_some_and(|key| base(key) == base(name)) {
        return Some(format!(
            "session.identify must name another attribute than events.key: the one that holds a \
             visitor's key before {name:?} is known"
        ));
    }
    let reserved = ["ts", "type", "id"].contains(&name);
    reserved.then(|| format!("session.identify must not be {name:?}, which each event has"))
}

fn pipeline_fits(reader: &mut Reader, settings: &actors::Settings) {
    // One batch is read while the one before it is on its way to the commit.
    if settings.credits < 2 * settings.batch_max {
        reader.conflict(
            &["pipeline.credits", "pipeline.batch_max"],
            format!(
                "pipeline.credits must be at least twice pipeline.batch_max, {}",
                2 * settings.batch_max
            ),
        );
    }
    // Else the credits run out first, and every commit waits for the interval.
    if settings.commit_events > settings.credits {
        reader.conflict(
            &["pipeline.commit_events", "pipeline.credits"],
            format!(
                "pipeline.commit_events must not be greater than pipeline.credits, {}",
                settings.credits
            ),
        );
    }
}

fn reachable_on_purpose(reader: &mut Reader, web: &web::Settings) {
    if !web.listen.ip().is_loopback() && !web.insecure_no_auth {
        reader.conflict(
            &["web.listen"],
            "other machines can reach this address and there is no sign-in: listen on \
             127.0.0.1, or set web.insecure_no_auth = true if a proxy or a firewall guards it",
        );
    }
}

/// What one part lets in must fit into the next.
fn sizes_fit(
    reader: &mut Reader,
    events: &EventsConfig,
    log: &store::log::Settings,
    web: &web::Settings,
) {
    let event = events.limits.event_bytes;
    let pairs = [
        ("log.group_bytes_max", log.group_bytes, "events.event_bytes", event),
        ("web.body_bytes_max", web.body_bytes_max, "events.event_bytes", event),
        (
            "web.inflated_bytes_max",
            web.inflated_bytes_max,
            "web.body_bytes_max",
            web.body_bytes_max,
        ),
        (
            "web.intake_bytes_max",
            web.intake_bytes_max,
            "web.inflated_bytes_max",
            web.inflated_bytes_max,
        ),
    ];
    for (outer, bytes, inner, least) in pairs {
        if bytes < least {
            let least = units::show_size(least as u64);
            reader.conflict(
                &[outer, inner],
                format!("{outer} must not be smaller than {inner}, {least}"),
            );
        }
    }
}
