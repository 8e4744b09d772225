//! The reference of all keys, `config/tidewatch.toml`: written from their tables, so that it
//! cannot say anything else than the program does.
//!
//! The metrics and rules at its end are the other way round: the file is where they stand, and
//! they are taken over as they are.

use super::aggregates::AGGREGATE;
use super::channels::{self, KIND};
use super::funnels::FunnelKeys;
use super::joins::JoinKeys;
use super::kinds::KindKeys;
use super::lookups;
use super::metric_keys::MetricKeys;
use super::nudges::NudgeKeys;
use super::patterns::PatternKeys;
use super::print::{Setting, by_section};
use super::routes::{MaintenanceKeys, RouteKeys};
use super::rules::{DETECT, RuleKeys};
use super::values;
use super::whole::{Config, SHIPPED};
use crate::domain::anomaly::Detect;
use crate::domain::metric::Aggregate;
use crate::domain::settings::{Section, Value, entries};
use crate::nats::settings::SourceKeys;

/// Columns of a line.
const WIDTH: usize = 96;

/// Where the metrics and rules begin.
const LIVE: &str = "# What is counted where a file declares no metric and no rule.\n";

const HEAD: &str = "\
# tidewatch.toml: every key at its default, with the reason and the bounds.
#
# Start from this file: take the \"#\" away in front of a key to set it. The metrics and
# rules at the end are live: they are what tidewatch uses when a file declares none,
# and a file that declares metrics of its own replaces them all.
#
# Order: defaults < this file < environment < flags. In the environment a key is
# TIDEWATCH_SECTION__KEY (TIDEWATCH_SESSION__GAP=20m); lists are separated by commas.
# `tidewatch check --config FILE` names every mistake with line and column,
# `tidewatch check --print` shows what is in force, `tidewatch check --defaults` writes this
# file. `tidewatch check --config FILE --data-dir DIR` says what a start with FILE would do to
# what a data folder keeps: which metrics and rules keep their history, which begin anew, and
# what changed settings do to open sessions.
#
# Durations carry units: \"500ms\", \"30s\", \"2h30m\", \"7d\". Sizes too: \"64KiB\", \"8MiB\".
";

/// What holds for a whole section.
const SECTIONS: [(&str, &str); 1] = [(
    "events",
    "Wherever an attribute is named (here, in session and in metrics) it may be a path into nested \
     objects and arrays: \"properties.price\", \"items.0.price\". An attribute that is literally \
     called like the path goes before it.",
)];

const SOURCES: &str = "Streams to read, 1 to 16, each with a position of its own; this one when \
     none is given.";

const METRICS: &str = "Metrics, [[metric]]. name, aggregate and window are needed, the rest has \
     defaults.";

const SESSIONS: &str = "Sessions have the attributes outcome (\"abandoned\", \"converted\", \
     \"browsed\"), step, segment, value, events and duration_s.";

const PATTERNS: &str = "Patterns, [[pattern]]: sequences of events of one session key. name, first, \
     within and at least one of times, then and not_then are needed. A match is an event whose type \
     is the pattern's name, with the session key, the time of its last event (of not_then: the end of \
     within) and the attributes duration_s and those declared here; a metric counts it by \
     where = { type = \"NAME\" }. docs/patterns.md says which events make a match.";

const JOINS: &str = "Joins, [[join]]: events of two kinds of one session key, brought together by time. \
     name, left, right and within are needed. A result is an event whose type is the join's name, \
     with the session key, the later of both times (where there is no right event: the end of within), \
     duration_s from the left event to the right one, matched (false where there is no right one) and \
     the attributes declared here; a metric counts it by where = { type = \"NAME\" }. docs/joins.md \
     has examples.";

const KINDS: &str = "Sessions of kinds of their own, [[sessions]], beside those of [session]: checkout, \
     support, device. Only name is needed. A session that ended is an event whose type is the name, at \
     its end, with outcome (\"abandoned\", \"converted\", \"browsed\"), step (the furthest), value, \
     events, duration_s, cut, the session key and what is declared here; a metric counts it by \
     where = { type = \"NAME\" }. docs/sessions.md has examples.";

const FUNNELS: &str = "Funnels, [[funnel]]: how many with a session key come how far on a way of steps, \
     in this order, and how long it takes them. name, steps and within are needed. What happens on the \
     way is an event whose type is the funnel's name, with outcome (\"reached\", or \"left\" when the \
     time is over), step, step_s (seconds since the step before), duration_s (since the first event), \
     the session key and what by names. Counted by step they are the metrics NAME_reached, NAME_left \
     and NAME_step_s (the median); with by there are NAME_reached_by, NAME_left_by and NAME_step_s_by \
     as well. docs/funnels.md has an example.";
const LOOKUPS: &str = "Lookups, [[lookup]]: tables beside the stream, whose columns become attributes of \
     events. name, file (or url, or bucket), key and attributes are needed. docs/joins.md has examples.";

const CHANNELS: &str = "Channels, [[channel]]: what delivers notifications. name and type are needed. A \
     secret is written as it is, or as \"env:NAME\" or \"file:PATH\", and is never shown. docs/channels.md \
     has an example of each kind.";

const ROUTES: &str = "Routes, [[route]]: whom to tell of what. name and channel are needed. An incident or an \
     occurrence takes each route that it fits, in this order, up to the first without continue = true.";

const NUDGES: &str = "Nudges, [[nudge]]: one word to somebody who left something behind. name, of, address, consent \
     and channel are needed, and secret and unsubscribe_url of [nudges]. docs/nudge.md has an example.";

const MAINTENANCE: &str =
    "Planned work, [[maintenance]]: nobody is told. name is needed, and until or hours.";

const RULES: [&str; 2] = [
    "Rules, [[rule]]. name and metric are needed. What is expected of a window, and so which stand \
     out, is drawn by a detector; docs/rules.md says which is for what. Windows without events are \
     zeros of counts, sums, rates and distinct counts, from the first event on. A history that is \
     always the same has no deviation, and would make an incident of every change, so there is a \
     least one.",
    "An incident begins when windows have stood out for as long as \"for\" says, one after the other; \
     it holds while windows lie beyond k_clear (or limit_clear), and is over when none did for \
     cooldown. What stands out teaches sigma and robust nothing until then; after over, or \
     usual_after, it is called usual, and the incident is over too.",
];

/// The whole file.
pub fn reference() -> String {
    let mut file = HEAD.to_owned();
    let config = Config::default();
    for (name, settings) in by_section(&config) {
        // The order of TOML: the list stands within [nats], the sections after it do not.
        if name == "nats.gateway" {
            file.push_str(&sources());
        }
        file.push('\n');
        if !name.is_empty() {
            file.push_str(&format!("[{name}]\n"));
        }
        if let Some((_, text)) = SECTIONS.iter().find(|(section, _)| *section == name) {
            paragraph(&mut file, text, "");
            file.push('\n');
        }
        let keys: Vec<String> = settings.iter().map(key).collect();
        file.push_str(&keys.join("\n"));
    }
    rule_off(&mut file);
    paragraph(&mut file, METRICS, "");
    let aggregates = Aggregate::all();
    let all: Vec<&dyn Section> = aggregates.iter().map(|one| one as &dyn Section).collect();
    list(&mut file, &with_choices(&MetricKeys::default(), AGGREGATE, &all));
    paragraph(&mut file, SESSIONS, "");
    rule_off(&mut file);
    paragraph(&mut file, PATTERNS, "");
    list(&mut file, &entries(&PatternKeys::default()).collect::<Vec<_>>());
    file.truncate(file.len() - 2);
    rule_off(&mut file);
    paragraph(&mut file, JOINS, "");
    list(&mut file, &entries(&JoinKeys::default()).collect::<Vec<_>>());
    file.truncate(file.len() - 2);
    rule_off(&mut file);
    paragraph(&mut file, KINDS, "");
    list(&mut file, &entries(&KindKeys::default()).collect::<Vec<_>>());
    file.truncate(file.len() - 2);
    rule_off(&mut file);
    paragraph(&mut file, FUNNELS, "");
    list(&mut file, &entries(&FunnelKeys::default()).collect::<Vec<_>>());
    file.truncate(file.len() - 2);
    rule_off(&mut file);
    paragraph(&mut file, LOOKUPS, "");
    list(&mut file, &lookups::settings());
    file.truncate(file.len() - 2);
    rule_off(&mut file);
    for text in RULES {
        paragraph(&mut file, text, "");
        file.push_str("#\n");
    }
    file.truncate(file.len() - 2);
    let detectors = Detect::all();
    let all: Vec<&dyn Section> = detectors.iter().map(|one| one as &dyn Section).collect();
    list(&mut file, &with_choices(&RuleKeys::default(), DETECT, &all));
    file.truncate(file.len() - 2);
    let (keys, kinds) = channels::settings();
    rule_off(&mut file);
    paragraph(&mut file, CHANNELS, "");
    list(&mut file, &keys);
    for (heading, keys) in kinds {
        paragraph(&mut file, &heading, "");
        list(&mut file, &keys);
    }
    file.truncate(file.len() - 2);
    for (text, keys) in [
        (ROUTES, entries(&RouteKeys::default()).collect::<Vec<_>>()),
        (MAINTENANCE, entries(&MaintenanceKeys::default()).collect()),
        (NUDGES, entries(&NudgeKeys::default()).collect()),
    ] {
        rule_off(&mut file);
        paragraph(&mut file, text, "");
        list(&mut file, &keys);
        file.truncate(file.len() - 2);
    }
    rule_off(&mut file);
    file.push_str(LIVE);
    file.push_str(SHIPPED.split_once(LIVE).map_or("", |(_, live)| live));
    file
}

/// The default of a key, as people write it on a command line; `None` when it is empty or there
/// is no such key.
pub fn written_default(section: &dyn Section, path: &str) -> Option<String> {
    let (key, value) = entries(section).find(|(key, _)| key.path == path)?;
    let written = match value {
        Value::Text(text) => text,
        value => values::show(&key.rule, &value),
    };
    (!written.is_empty()).then_some(written)
}

fn rule_off(file: &mut String) {
    file.push_str(&format!("\n# {}\n", "-".repeat(75)));
}

/// A key at its default, under its comment.
fn key((key, value): &Setting) -> String {
    let mut text = String::new();
    comment(&mut text, &reason((key, value)), "");
    text.push_str(&format!("#{} = {}\n", key.name(), values::show(&key.rule, value)));
    text
}

fn sources() -> String {
    let keys = SourceKeys::default();
    let mut text = "\n".to_owned();
    paragraph(&mut text, SOURCES, "");
    list(&mut text, &entries(&keys).collect::<Vec<_>>());
    text.truncate(text.len() - 2);
    text.push_str("#[[nats.source]]\n");
    for (key, value) in entries(&keys) {
        text.push_str(&format!("#{} = {}\n", key.name(), values::show(&key.rule, &value)));
    }
    text
}

/// The keys of a table, and behind the one that chooses among several sections their keys.
fn with_choices(own: &dyn Section, choice: &str, all: &[&dyn Section]) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (key, value) in entries(own) {
        settings.push((key, value));
        if key.path == choice {
            settings.extend(all.iter().flat_map(|one| entries(*one)));
        }
    }
    settings
}

/// Keys of a list as a table in a comment: their names, and what there is to say.
fn list(file: &mut String, settings: &[Setting]) {
    let names = settings.iter().map(|(key, _)| key.name().len());
    let column = names.max().unwrap_or(0) + 2;
    file.push_str("#\n");
    for (key, value) in settings {
        let mut text = reason((key, value));
        let said = values::show(&key.rule, value);
        if !matches!(said.as_str(), "" | "\"\"" | "[]") && !key.reason.contains("efault") {
            text.push_str(&format!(" Default {said}."));
        }
        let mut lines = String::new();
        comment(&mut lines, &text, &" ".repeat(column + 2));
        let name = format!("#   {:column$}", key.name());
        let indent = format!("#{}", " ".repeat(column + 3));
        file.push_str(&lines.replacen(&indent, &name, 1));
    }
    file.push_str("#\n");
}

/// The reason of a key, and its bounds.
pub(super) fn reason((key, _): (&crate::domain::settings::Key, &Value)) -> String {
    let lines = key.reason.lines().map(|line| line.strip_prefix(' ').unwrap_or(line));
    let mut text = lines.collect::<Vec<_>>().join("\n");
    let choices: Vec<(&str, &str)> = match key.path {
        AGGREGATE => Aggregate::all().iter().map(|one| (one.word(), one.says())).collect(),
        DETECT => Detect::all().iter().map(|one| (one.word(), one.says())).collect(),
        KIND => channels::kinds(),
        _ => Vec::new(),
    };
    if !choices.is_empty() {
        let words = choices.iter().map(|(word, says)| format!("{word:?}, {says}"));
        text = format!("{} {}.", text.trim_end(), words.collect::<Vec<_>>().join("; "));
    }
    match values::bounds(&key.rule) {
        Some(bounds) => format!("{} {bounds}.", text.trim_end()),
        None => text.trim_end().to_owned(),
    }
}

/// Paragraphs as a comment, with empty lines between them.
fn comment(file: &mut String, text: &str, indent: &str) {
    for (index, text) in text.split("\n\n").enumerate() {
        if index > 0 {
            file.push_str("#\n");
        }
        paragraph(file, text, indent);
    }
}

/// Words as a comment, in lines of at most [`WIDTH`] columns.
fn paragraph(file: &mut String, text: &str, indent: &str) {
    let start = format!("# {indent}");
    let mut line = start.clone();
    for word in words(text) {
        let is_first = line.len() == start.len();
        if !is_first && line.chars().count() + 1 + word.chars().count() > WIDTH {
            file.push_str(&line);
            file.push('\n');
            line = format!("{start}{word}");
            continue;
        }
        if !is_first {
            line.push(' ');
        }
        line.push_str(&word);
    }
    file.push_str(&line);
    file.push('\n');
}

/// Longest piece of TOML that is kept in one line.
const UNBROKEN: usize = 78;

/// The words of a text. A table or a list that is short is one word.
fn words(text: &str) -> Vec<String> {
    let depth = |text: &str| {
        let count = |signs: [char; 2]| text.matches(signs).count();
        count(['{', '[']).saturating_sub(count(['}', ']']))
    };
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match words.last_mut() {
            Some(open) if depth(open) > 0 && open.len() + word.len() < UNBROKEN => {
                open.push(' ');
                open.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}
