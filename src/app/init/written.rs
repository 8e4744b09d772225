//! A configuration for what was guessed, with the guesses as comments.

use std::fmt::Write;

use super::funnel::Funnel;
use super::guess::Guess;
use super::panels::{self, Scale};
use crate::domain::event::time_rule::TimeRule;
use crate::domain::time::{EpochMs, SpanMs};
use crate::source::propose::Column;

/// A text as TOML.
pub(super) fn text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A key as TOML.
pub(super) fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { text(name) }
}

/// A text within a comment or a title.
pub(super) fn said(text: &str) -> String {
    crate::source::tally::shortened(text)
}

/// Windows that hold some events each: step, a longer one, and how much is kept.
const SCALES: [(SpanMs, [&str; 3]); 6] = [
    (1_000, ["1s", "1m", "10m"]),
    (10_000, ["10s", "5m", "2h"]),
    (60_000, ["1m", "10m", "6h"]),
    (600_000, ["10m", "2h", "3d"]),
    (3_600_000, ["1h", "24h", "30d"]),
    (86_400_000, ["1d", "7d", "365d"]),
];

/// Events that a window is to hold at least.
const EVENTS_MIN: f64 = 5.0;

/// Form and zone of the times, as `[events]` has them, and first and last of them.
struct Times {
    form: String,
    local: bool,
    doubt: Option<String>,
    span: Option<(EpochMs, EpochMs)>,
}

impl Times {
    fn of(guess: &Guess<'_>) -> Times {
        let column = guess.column(guess.roles.time);
        let form = column.and_then(|column| column.time.as_ref());
        // What the spec of a map says between its quotes.
        let spec = form.and_then(|form| form.spec.split('"').nth(1)).unwrap_or_default();
        let usual = ["iso", "clf", "http", "ms"].contains(&spec);
        let written = if usual { String::new() } else { spec.to_owned() };
        let rule = TimeRule::declared(&written, "").unwrap_or_default();
        let place = guess.roles.time.unwrap_or_default();
        let cells = guess.sample.rows.iter().filter_map(|row| row.get(place)?.as_deref());
        let number = |cell: &str| cell.trim().parse::<i64>().ok().filter(|_| written.is_empty());
        let at = |cell: &str| number(cell).or_else(|| rule.of_text(cell).ok().map(|time| time.at));
        let span = cells.filter_map(at).fold(None, |span: Option<(EpochMs, EpochMs)>, at| {
            span.map_or(Some((at, at)), |(least, most)| Some((least.min(at), most.max(at))))
        });
        Times {
            form: written,
            local: form.is_some_and(|form| form.local),
            doubt: form.and_then(|form| form.doubt.clone()),
            span,
        }
    }
}

/// The whole file; `section` says where events come from.
pub(super) fn written(guess: &Guess<'_>, section: &str) -> String {
    let mut out = String::new();
    let times = Times::of(guess);
    head(guess, &times, &mut out).expect("writing to a text cannot fail");
    out += section;
    events(guess, &times, &mut out).expect("writing to a text cannot fail");
    session(guess, &mut out).expect("writing to a text cannot fail");
    panels::metrics(guess, scale(guess, &times), &mut out).expect("writing to a text cannot fail");
    out
}

fn scale(guess: &Guess<'_>, times: &Times) -> Scale {
    let span = times.span.map_or(0, |(first, last)| last - first) as f64;
    let holds = |step: SpanMs| guess.sample.rows.len() as f64 * step as f64 / span.max(1.0);
    let fits = SCALES.iter().find(|(step, _)| holds(*step) >= EVENTS_MIN);
    let (_, [step, long, keep]) = *fits.unwrap_or(&SCALES[SCALES.len() - 1]);
    Scale { step, long, keep }
}

fn head(guess: &Guess<'_>, times: &Times, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "# Written by `tidewatch init` from {} events of {}.",
        guess.sample.rows.len(),
        said(&guess.sample.name)
    )?;
    writeln!(
        out,
        "# Look it through, above all the lines with a question mark. Every other key is at its"
    )?;
    writeln!(out, "# default: `tidewatch check --defaults` shows them with their reasons.")?;
    if let Some((first, last)) = times.span {
        use crate::cli::report::duration;
        use crate::domain::event::time_text::date;
        writeln!(out, "#")?;
        writeln!(
            out,
            "# These events are from {} to {} ({}).",
            date(first),
            date(last),
            duration(last - first)
        )?;
    }
    let kinds: Vec<String> = guess
        .kinds
        .iter()
        .take(12)
        .map(|(kind, count)| format!("{} {count}", said(kind)))
        .collect();
    let more = if guess.kinds.len() > 12 { ", ..." } else { "" };
    writeln!(out, "# Event types: {}{more}", kinds.join(", "))
}

fn events(guess: &Guess<'_>, times: &Times, out: &mut String) -> std::fmt::Result {
    let rows = guess.sample.rows.len();
    writeln!(out, "\n[events]")?;
    match guess.column(guess.roles.key) {
        Some(column) => writeln!(
            out,
            "# Who does it: {} different ones in {} events.\nkey = {}",
            counted(column),
            column.filled,
            text(&column.name)
        )?,
        None => writeln!(
            out,
            "# ? Nothing looks like a user: without one there are no sessions.\n# key = \"...\""
        )?,
    }
    let names = [(guess.roles.time, "ts"), (guess.roles.kind, "type"), (guess.roles.id, "id")];
    let named = names.iter().filter_map(|(role, here)| Some((guess.column(*role)?, *here)));
    let aliases: Vec<String> = named
        .filter(|(column, here)| column.name != *here)
        .map(|(column, here)| format!("{} = \"{here}\"", key(&column.name)))
        .collect();
    let aliases =
        if aliases.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", aliases.join(", ")) };
    writeln!(
        out,
        "# Which attributes are the time, the type and the id of an event.\naliases = {aliases}"
    )?;
    if guess.roles.id.is_none() {
        writeln!(out, "# ? None is an id: an event that is sent twice counts twice.")?;
    }
    if let Some(doubt) = &times.doubt {
        writeln!(out, "# ? {doubt}")?;
    }
    if !times.form.is_empty() {
        writeln!(out, "time_format = {}", text(&times.form))?;
    }
    if times.local {
        writeln!(
            out,
            "# ? Times name no zone: they are taken as UTC, or as what you write here.\ntime_zone = \"UTC\""
        )?;
    }
    let odd = guess.odd_numbers();
    if !odd.is_empty() {
        let odd: Vec<String> =
            odd.iter().map(|(name, like)| format!("{} = {}", key(name), text(like))).collect();
        writeln!(out, "# How their numbers are written.\nnumbers = {{ {} }}", odd.join(", "))?;
    }
    let without = rows - guess.column(guess.roles.time).map_or(0, |column| column.filled);
    if without > 0 {
        writeln!(out, "# ? {without} of the {rows} have no time: such are rejected.")?;
    }
    Ok(())
}

/// How many different values, as far as they were told apart.
fn counted(column: &Column) -> String {
    let most = if column.values.len() >= 1_000 { " or more" } else { "" };
    format!("{}{most}", column.values.len())
}

fn session(guess: &Guess<'_>, out: &mut String) -> std::fmt::Result {
    writeln!(out, "\n[session]")?;
    match &guess.funnel {
        Some(Funnel { steps, entry, goal, keys, remove, named }) => {
            let reached: Vec<String> = steps
                .iter()
                .zip(keys)
                .map(|(step, keys)| format!("{} {keys}", said(step)))
                .collect();
            let doubt = if *named { "" } else { "? " };
            writeln!(
                out,
                "# {doubt}Steps in the order in which they are first seen, with how many reached them:"
            )?;
            writeln!(out, "# {}.", reached.join(", "))?;
            let list = |names: &[String]| {
                let names: Vec<String> = names.iter().map(|name| text(name)).collect();
                names.join(", ")
            };
            writeln!(out, "entry = [{}]\ngoal = [{}]", text(entry), text(goal))?;
            writeln!(out, "remove = [{}]\nsteps = [{}]", list(remove), list(steps))?;
        }
        None => {
            writeln!(
                out,
                "# ? No order of types was found that leads to a goal. With what a visit is about"
            )?;
            writeln!(out, "# (entry) and what it is to end with (goal), it says who turned back:")?;
            writeln!(out, "# entry = [\"...\"]\n# goal = [\"...\"]")?;
            writeln!(out, "steps = []")?;
        }
    }
    let value = guess.column(guess.roles.amount).map_or("", |column| &column.name);
    let of_text = guess.labels.iter().find(|column| column.number.is_none());
    let segment = of_text.map_or("", |column| &column.name);
    writeln!(out, "# What is at stake, and what sessions are told apart by.")?;
    writeln!(out, "value = {}\nsegment = {}", text(value), text(segment))
}
