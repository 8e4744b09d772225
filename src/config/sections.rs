//! The sections of the file: which keys there are, their bounds, and which
//! combinations are impossible. Called by `Config::load` alone.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use jiff::tz::TimeZone;

use crate::actors::{Idle, SessionsFull, Settings};
use crate::config::defaults::{
    DemoConfig, EventsConfig, LogConfig, StoreConfig, TimeMissing, WebConfig,
};
use crate::config::metrics::{self, Days};
use crate::config::nats;
use crate::config::raw::Reader;
use crate::config::{Config, units};
use crate::domain::event::Limits;
use crate::domain::event::number_text::NumberFormat;
use crate::domain::metric::Weekday;
use crate::domain::session::{Deadline, SessionPolicy};
use crate::domain::time::{SpanMs, TimePolicy};
use crate::web::origin_problem;

/// Keys outside the sections.
pub(super) const TOP_KEYS: [&str; 3] = ["data_dir", "zone", "first_weekday"];

const SECOND: SpanMs = 1_000;
const MINUTE: SpanMs = 60 * SECOND;
const HOUR: SpanMs = 60 * MINUTE;
const DAY: SpanMs = 24 * HOUR;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Most steps of a funnel: a session keeps its step in four bits.
const STEPS_MAX: usize = 15;

/// Most attributes of a session key.
const KEYS_MAX: usize = 8;

/// Most entry types, goal types, aliases, host names or origins.
const NAMES_MAX: usize = 64;

/// Reads every section and checks what holds between them.
pub(super) fn read(reader: &mut Reader) -> Config {
    let data_dir = reader.text("data_dir", "tidewatch-data");
    if data_dir.is_empty() {
        reader.problem("data_dir", "must name a folder");
    }
    let zone = reader.read("zone", "UTC".to_string(), |node| zone(node.text("an IANA zone")?));
    let weekdays = Weekday::ALL.map(|day| (day.name(), day));
    let first_weekday = reader.choice("first_weekday", Weekday::Monday, &weekdays);
    let events = events(reader);
    let time = time(reader);
    let session = session(reader, &events);
    let pipeline = pipeline(reader);
    let store = store(reader);
    let log = log(reader);
    let web = web(reader);
    let demo = demo(reader);
    let nats = nats::read(reader, pipeline.credits, events.limits.event_bytes);
    sizes_fit(reader, &events, &log, &web);
    let days = Days { zone: &zone, first_weekday };
    let (metrics, rules) = metrics::read(reader, days, &events.aliases, &session.steps);
    let data_dir = PathBuf::from(data_dir);
    Config {
        data_dir,
        zone,
        first_weekday,
        events,
        time,
        session,
        metrics,
        rules,
        pipeline,
        store,
        log,
        web,
        demo,
        nats,
    }
}

/// A zone that the built-in IANA data knows.
pub(super) fn zone(name: &str) -> Result<String, String> {
    let rule = "is not an IANA zone: write for example \"UTC\" or \"Europe/Berlin\"";
    TimeZone::get(name).map(|_| name.to_string()).map_err(|_| rule.to_string())
}

fn events(reader: &mut Reader) -> EventsConfig {
    let default = EventsConfig::default();
    let limits = Limits {
        event_bytes: reader.size("events.event_bytes", default.limits.event_bytes, 256..=16 * MIB),
        depth: reader.count("events.depth", default.limits.depth, 1..=128),
        key_bytes: reader.size("events.key_bytes", default.limits.key_bytes, 16..=4 * KIB),
        text_bytes: reader.size("events.text_bytes", default.limits.text_bytes, 16..=MIB),
        // Set from the session's rules.
        session_key_bytes: default.limits.session_key_bytes,
        attributes: reader.count("events.attributes", default.limits.attributes, 8..=10_000),
        item_events: reader.count(
            "events.item_events_max",
            default.limits.item_events,
            1..=10_000_000,
        ),
    };
    if limits.text_bytes > limits.event_bytes {
        reader.conflict(
            &["events.text_bytes", "events.event_bytes"],
            "events.text_bytes must not be greater than events.event_bytes",
        );
    }
    let keys = keys(reader, &default.keys);
    let aliases = reader.pairs("events.aliases", &default.aliases);
    if let Some(rule) = wrong_aliases(&aliases) {
        reader.problem("events.aliases", rule);
    }
    let missing = [("reject", TimeMissing::Reject), ("arrival", TimeMissing::Arrival)];
    let events = EventsConfig {
        keys,
        aliases,
        time_format: reader.text("events.time_format", &default.time_format),
        time_zone: reader.text("events.time_zone", &default.time_zone),
        time_missing: reader.choice("events.time_missing", default.time_missing, &missing),
        numbers: reader.pairs("events.numbers", &default.numbers),
        limits,
    };
    if let Err(rule) = events.time_rule() {
        reader.conflict(&["events.time_format", "events.time_zone"], rule);
    }
    if events.numbers.len() > NAMES_MAX {
        reader.problem("events.numbers", format!("must hold at most {NAMES_MAX} attributes"));
    }
    for (name, example) in &events.numbers {
        let rule = metrics::wrong_attribute(name, &events.aliases)
            .or_else(|| NumberFormat::by_example(example).err());
        if let Some(rule) = rule {
            reader.problem("events.numbers", format!("{name}: {rule}"));
        }
    }
    events
}

/// The attributes of the session key: one name, or a list of them.
fn keys(reader: &mut Reader, default: &[String]) -> Vec<String> {
    let keys = reader.read("events.key", default.to_vec(), |node| match node.text("") {
        Ok(name) if !name.contains(',') => Ok(vec![name.to_string()]),
        _ => node.texts().map_err(|_| {
            "must be an attribute such as \"user\", or a list of some such as \
             [\"ip\", \"agent\"]"
                .to_string()
        }),
    });
    if keys.is_empty() || keys.iter().any(String::is_empty) {
        reader.problem("events.key", "must name an attribute");
    }
    if keys.len() > KEYS_MAX {
        reader.problem("events.key", format!("must name at most {KEYS_MAX} attributes"));
    }
    if let Some((_, twice)) = keys.iter().enumerate().find(|(at, key)| keys[..*at].contains(key)) {
        reader.problem("events.key", format!("must not name {twice:?} twice"));
    }
    keys
}

fn wrong_aliases(aliases: &[(String, String)]) -> Option<String> {
    if aliases.len() > NAMES_MAX {
        return Some(format!("must hold at most {NAMES_MAX} names"));
    }
    if aliases.iter().any(|(from, to)| from.is_empty() || to.is_empty()) {
        return Some("must not hold an empty name".into());
    }
    let is_target = |name: &String| aliases.iter().any(|(_, to)| to == name);
    let chained = aliases.iter().find(|(from, _)| is_target(from))?;
    Some(format!("must not lead on to another alias, {:?} stands on both sides", chained.0))
}

fn time(reader: &mut Reader) -> TimePolicy {
    let default = TimePolicy::default();
    TimePolicy {
        out_of_orderness: reader.span("time.out_of_orderness", default.out_of_orderness, 0..=HOUR),
        allowed_lateness: reader.span("time.allowed_lateness", default.allowed_lateness, 0..=DAY),
        max_future: reader.span("time.max_future", default.max_future, SECOND..=DAY),
    }
}

fn session(reader: &mut Reader, events: &EventsConfig) -> SessionPolicy {
    let default = SessionPolicy::default();
    let deadlines = [("inactivity", Deadline::Inactivity), ("since_entry", Deadline::SinceEntry)];
    let mut policy = SessionPolicy {
        gap: reader.span("session.gap", default.gap, SECOND..=7 * DAY),
        deadline: reader.choice("session.deadline", default.deadline, &deadlines),
        entry: names(reader, "session.entry", &default.entry, 1..=NAMES_MAX),
        goal: names(reader, "session.goal", &default.goal, 1..=NAMES_MAX),
        remove: names(reader, "session.remove", &default.remove, 0..=NAMES_MAX),
        max_length: Some(reader.span("session.max_length", 0, 0..=3_660 * DAY))
            .filter(|span| *span > 0),
        marks_max: reader.count("session.marks_max", default.marks_max, 16..=1_000_000),
        identify: attribute(reader, "session.identify", default.identify, events),
        identify_keep: reader.span(
            "session.identify_keep",
            default.identify_keep,
            MINUTE..=3_660 * DAY,
        ),
        aliases_max: reader.count("session.aliases_max", default.aliases_max, 100..=100_000_000),
        aliases_bytes_max: reader.size(
            "session.aliases_bytes_max",
            default.aliases_bytes_max,
            MIB..=1_024 * GIB,
        ),
        key_bytes_max: reader.size("session.key_bytes_max", default.key_bytes_max, 16..=64 * KIB),
        steps: names(reader, "session.steps", &default.steps, 0..=STEPS_MAX),
        value: attribute(reader, "session.value", default.value, events),
        segment: attribute(reader, "session.segment", default.segment, events),
        currency: reader.text("session.currency", &default.currency),
    };
    if let Some(both) = policy.entry.iter().find(|kind| policy.goal.contains(kind)) {
        reader.conflict(
            &["session.goal", "session.entry"],
            format!("{both:?} cannot be an entry and a goal at once"),
        );
    }
    let taken = |kind: &&String| policy.entry.contains(kind) || policy.goal.contains(kind);
    // The default gives way to a file that uses its name for something else.
    match policy.remove.iter().find(taken).cloned() {
        Some(both) if reader.is_set("session.remove") => reader.conflict(
            &["session.remove"],
            format!("{both:?} cannot be a removal and an entry or a goal at once"),
        ),
        Some(both) => policy.remove.retain(|kind| *kind != both),
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
            "session.max_length must not be shorter than session.gap, or \"0s\" for no bound",
        );
    }
    policy
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

/// A list of different names.
fn names(
    reader: &mut Reader,
    key: &'static str,
    default: &[String],
    bounds: RangeInclusive<usize>,
) -> Vec<String> {
    let names = reader.texts(key, default);
    if !bounds.contains(&names.len()) {
        let rule = format!("must hold {} to {} names", bounds.start(), bounds.end());
        reader.problem(key, rule);
    }
    let twice = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name));
    if let Some((_, name)) = twice {
        reader.problem(key, format!("must not name {name:?} twice"));
    }
    names
}

/// The name of an attribute; an empty text means none.
fn attribute(
    reader: &mut Reader,
    key: &'static str,
    default: Option<String>,
    events: &EventsConfig,
) -> Option<String> {
    let name = reader.text(key, default.as_deref().unwrap_or(""));
    if let Some(rule) = metrics::wrong_attribute(&name, &events.aliases) {
        reader.problem(key, rule);
    }
    (!name.is_empty()).then_some(name)
}

fn pipeline(reader: &mut Reader) -> Settings {
    let default = Settings::default();
    let idle = [("follow", Idle::Follow), ("hold", Idle::Hold)];
    let full = [("refuse", SessionsFull::Refuse), ("displace", SessionsFull::Displace)];
    let shards = reader.count("pipeline.shards", usize::from(default.shards), 1..=64);
    reader.gone("pipeline.idle_actors_max", "no actors are kept for later; leave it out");
    let settings = Settings {
        shards: shards as u16,
        batch_max: reader.count("pipeline.batch_max", default.batch_max, 1..=1_000_000),
        credits: reader.count("pipeline.credits", default.credits, 2..=100_000_000),
        commit_interval: reader.span(
            "pipeline.commit_interval",
            default.commit_interval,
            10..=MINUTE,
        ),
        commit_events: reader.count(
            "pipeline.commit_events",
            default.commit_events,
            1..=10_000_000,
        ),
        commit_bytes: reader.size("pipeline.commit_bytes", default.commit_bytes, 64 * KIB..=GIB),
        tick: reader.span("pipeline.tick", default.tick, 100..=MINUTE),
        idle: reader.choice("time.idle", default.idle, &idle),
        dedup_horizon: reader.span_or_auto("pipeline.dedup_horizon", SECOND..=366 * DAY),
        dedup_ids_max: reader.count(
            "pipeline.dedup_ids_max",
            default.dedup_ids_max,
            1_000..=1_000_000_000,
        ),
        sessions_max: reader.count(
            "pipeline.sessions_max",
            default.sessions_max,
            100..=100_000_000,
        ),
        session_bytes_max: reader.size(
            "pipeline.session_bytes_max",
            default.session_bytes_max,
            MIB..=1_024 * GIB,
        ),
        sessions_full: reader.choice("pipeline.sessions_full", default.sessions_full, &full),
        closed_sessions_max: reader.count(
            "pipeline.closed_sessions_max",
            default.closed_sessions_max,
            100..=1_000_000_000,
        ),
        shard_queue: reader.count("pipeline.shard_queue", default.shard_queue, 1..=16),
        session_mailboxes_max: reader.count(
            "pipeline.session_mailboxes_max",
            default.session_mailboxes_max,
            1..=10_000,
        ),
        restarts_max: reader.count("pipeline.restarts_max", default.restarts_max, 0..=100),
        restart_window: reader.span(
            "pipeline.restart_window",
            default.restart_window,
            SECOND..=DAY,
        ),
        stop_timeout: reader.span(
            "pipeline.stop_timeout",
            default.stop_timeout,
            SECOND..=10 * MINUTE,
        ),
    };
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
    settings
}

fn store(reader: &mut Reader) -> StoreConfig {
    let default = StoreConfig::default();
    let rows = 100..=1_000_000_000;
    let bytes = MIB..=1_024 * GIB;
    StoreConfig {
        snapshot_bytes_min: reader.size(
            "store.snapshot_bytes_min",
            default.snapshot_bytes_min,
            64 * KIB..=4 * GIB,
        ),
        alerts_max: reader.count("store.alerts_max", default.alerts_max, rows.clone()),
        alerts_bytes_max: reader.size(
            "store.alerts_bytes_max",
            default.alerts_bytes_max,
            bytes.clone(),
        ),
        late_max: reader.count("store.late_max", default.late_max, rows.clone()),
        late_bytes_max: reader.size("store.late_bytes_max", default.late_bytes_max, bytes.clone()),
        dead_letters_max: reader.count("store.dead_letters_max", default.dead_letters_max, rows),
        dead_letters_bytes_max: reader.size(
            "store.dead_letters_bytes_max",
            default.dead_letters_bytes_max,
            bytes,
        ),
        rollups_keep: reader.span("store.rollups_keep", default.rollups_keep, HOUR..=3_660 * DAY),
    }
}

fn log(reader: &mut Reader) -> LogConfig {
    let default = LogConfig::default();
    let backlog = default.backlog_max as usize;
    let keep = default.keep_events as usize;
    LogConfig {
        backlog_max: reader.count("log.backlog_max", backlog, 1_000..=10_000_000_000) as u64,
        keep_events: reader.count("log.keep_events", keep, 0..=10_000_000_000) as u64,
        keep_bytes: reader.size("log.keep_bytes", default.keep_bytes, MIB..=1_024 * GIB),
        queue_bytes_max: reader.size("log.queue_bytes_max", default.queue_bytes_max, MIB..=GIB),
        recent_bytes_max: reader.size(
            "log.recent_bytes_max",
            default.recent_bytes_max,
            MIB..=4 * GIB,
        ),
        group_bytes_max: reader.size(
            "log.group_bytes_max",
            default.group_bytes_max,
            64 * KIB..=64 * MIB,
        ),
    }
}

fn web(reader: &mut Reader) -> WebConfig {
    let default = WebConfig::default();
    let web = WebConfig {
        listen: reader.read("web.listen", default.listen, |node| {
            let wanted = "an address with a port such as \"127.0.0.1:7077\"";
            node.text(wanted)?.parse::<SocketAddr>().map_err(|_| format!("must be {wanted}"))
        }),
        insecure_no_auth: reader.truth("web.insecure_no_auth", default.insecure_no_auth),
        hosts: names(reader, "web.hosts", &default.hosts, 0..=NAMES_MAX),
        origins: names(reader, "web.origins", &default.origins, 0..=NAMES_MAX),
        body_bytes_max: reader.size("web.body_bytes_max", default.body_bytes_max, KIB..=GIB),
        inflated_bytes_max: reader.size(
            "web.inflated_bytes_max",
            default.inflated_bytes_max,
            KIB..=4 * GIB,
        ),
        connections_max: reader.count(
            "web.connections_max",
            default.connections_max,
            8..=1_000_000,
        ),
        workers: reader.count("web.workers", default.workers, 1..=64),
        intake_bytes_max: reader.size(
            "web.intake_bytes_max",
            default.intake_bytes_max,
            KIB..=64 * GIB,
        ),
        events_max: reader.count("web.events_max", default.events_max, 1..=10_000_000),
        answers_bytes_max: reader.size(
            "web.answers_bytes_max",
            default.answers_bytes_max,
            MIB..=64 * GIB,
        ),
        metrics_series_max: reader.count(
            "web.metrics_series_max",
            default.metrics_series_max,
            0..=1_000_000,
        ),
        body_timeout: reader.span("web.body_timeout", default.body_timeout, SECOND..=HOUR),
        drain_timeout: reader.span("web.drain_timeout", default.drain_timeout, 0..=MINUTE),
    };
    if !web.listen.ip().is_loopback() && !web.insecure_no_auth {
        reader.conflict(
            &["web.listen"],
            "other machines can reach this address and there is no sign-in: listen on \
             127.0.0.1, or set web.insecure_no_auth = true if a proxy or a firewall guards it",
        );
    }
    let wrong = |origin: &String| Some((origin.clone(), origin_problem(origin)?));
    if let Some((origin, rule)) = web.origins.iter().find_map(wrong) {
        reader.problem("web.origins", format!("{origin:?} {rule}"));
    }
    web
}

fn demo(reader: &mut Reader) -> DemoConfig {
    let default = DemoConfig::default();
    DemoConfig {
        users: reader.count("demo.users", default.users, 1..=1_000_000),
        rate: reader.read("demo.rate", default.rate, |node| match node.number()? {
            rate if (0.1..=1_000_000.0).contains(&rate) => Ok(rate),
            _ => Err("must be from 0.1 to 1000000".into()),
        }),
        seed: reader.count("demo.seed", default.seed as usize, 0..=i64::MAX) as u64,
    }
}

/// What one part lets in must fit into the next.
fn sizes_fit(reader: &mut Reader, events: &EventsConfig, log: &LogConfig, web: &WebConfig) {
    let event = events.limits.event_bytes;
    let pairs = [
        ("log.group_bytes_max", log.group_bytes_max, "events.event_bytes", event),
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
