//! `[nudges]` and `[[nudge]]`: one word to somebody who left something behind. Called by `sections.rs`
//! alone; `domain::nudge` says what each key does.

use super::attributes::Attributes;
use super::channels::{self, Spec};
use super::item::{Item, Items};
use super::print::Entry;
use super::reader::Reader;
use super::toml_text::{span, text};
use super::warnings::missing;
use super::whole::Config;
use super::windows::Days;
use crate::domain::expr::Expr;
use crate::domain::metric::{Aggregate, MetricSpec};
use crate::domain::near;
use crate::domain::nudge::{Asked, Cap, NudgeSettings, NudgeSpec};
use crate::domain::pattern::{PatternSpec, Seeks, SessionsSpec};
use crate::domain::settings::{Secret, settings};
use crate::domain::time::SpanMs;

/// Most nudges: each is asked of every session of its kind.
const NUDGES_MAX: usize = 20;
/// Shortest secret, in bytes: with less, addresses could be guessed from their hashes.
const SECRET_BYTES_MIN: usize = 16;

settings! {
    /// What all nudges have in common. docs/nudge.md says how they are used.
    #[derive(Clone, Debug, PartialEq)]
    pub struct NudgesConfig in "nudges." {
        /// Needed where there is a [[nudge]]: at least 16 bytes that nobody can guess. The list of those
        /// who want to hear nothing holds addresses as hashes under it, and so do links to unsubscribe.
        pub secret: Secret = Secret::default(), secret();
        /// The secret before this one: what was hashed under it still counts. "": there was none.
        pub secret_before: Secret = Secret::default(), secret();
        /// Needed where there is a [[nudge]]: where people reach /v1/unsubscribe of this process,
        /// "https://shop.example/v1/unsubscribe". ?token=... is put behind it.
        pub unsubscribe_url: String = String::new(), checked(web_address);
        /// Most addresses that are suppressed. While there are so many no nudge goes out, for the next
        /// one who asks for it could not be noted.
        pub suppressed_max: usize = 200_000, count(1, 5_000_000);
    }
}

settings! {
    /// One `[[nudge]]` as it is written.
    #[derive(Clone, Debug)]
    pub(super) struct NudgeKeys in "" {
        /// Needed; letters in lower case, digits and _.
        pub name: () = (), shape();
        /// Needed: the kind of [[sessions]] that it is of. Its abandoned ones are looked at.
        pub of: String = String::new(), text();
        /// Which of them, an expression over value, events, duration_s, step, cut, and the attributes and
        /// counts of the kind: 'value >= 20'. All where it is left out.
        pub when: () = (), shape();
        /// Needed: the attribute of the kind that holds the address of the mail, which may be looked
        /// up. It then stands in no alert.
        pub address: String = String::new(), text();
        /// Needed: the attribute of the kind that must be true, or the text "true".
        pub consent: String = String::new(), text();
        /// The list of the kind that names what was left behind; "" for none.
        pub items: Option<String> = None, text();
        /// Needed: the channel that delivers it, of type "email" or "webhook".
        pub channel: String = String::new(), text();
        /// It goes out so long after the session has ended, unless its key reaches a goal before.
        pub after: SpanMs = 0, span(0, 7 * DAY);
        /// Most nudges of one key within per.
        pub at_most: usize = 1, count(1, 100);
        /// See at_most.
        pub per: SpanMs = 7 * DAY, span(MINUTE, 366 * DAY);
        /// The share of keys that get none, to compare with: 0.1 is every tenth. It is drawn from a hash
        /// of the key, so a key is always on one side.
        pub holdout: f64 = 0.1, number(0.0, 0.9);
        /// A goal of the key within this time counts.
        pub within: SpanMs = 3 * DAY, span(MINUTE, 90 * DAY);
        /// Most keys that are remembered for per and within, and most sessions that wait for after. What
        /// finds no room is counted, and nobody is told.
        pub keys_max: usize = 100_000, count(1, 5_000_000);
    }
}

fn web_address(text: &str) -> Result<(), String> {
    let is_one = text.starts_with("https://") || text.starts_with("http://");
    let plain = !text
        .contains(|one: char| one.is_whitespace() || one.is_control() || "<>\"#".contains(one));
    if text.is_empty() || is_one && plain {
        return Ok(());
    }
    Err("must be a web address such as \"https://shop.example/v1/unsubscribe\"".into())
}

/// Reads all of them, and tells their kinds of sessions.
pub(super) fn read(
    reader: &mut Reader,
    (attributes, days): (&Attributes<'_>, Days<'_>),
    common: &NudgesConfig,
    (patterns, metrics): (&mut [PatternSpec], &[MetricSpec]),
    (channels, of_session): (&[Spec], [Option<&String>; 2]),
) -> Vec<NudgeSpec> {
    let declared = reader.tables("nudge").unwrap_or_default();
    if declared.is_empty() {
        return Vec::new();
    }
    if cfg!(not(feature = "notify")) {
        reader.problem("nudge", missing("nudges", "notify"));
    }
    if declared.len() > NUDGES_MAX {
        reader.problem("nudge", format!("must not stand more than {NUDGES_MAX} times"));
    }
    check_common(reader, common);
    let names = &mut Vec::new();
    let known: &[PatternSpec] = patterns;
    let mut items = Items { reader, names, days, attributes, steps: &[], patterns: &[] };
    let mut nudges: Vec<NudgeSpec> = items
        .each("nudge", declared.iter().enumerate(), |item, _| {
            nudge(item, (known, metrics), (channels, of_session))
        })
        .into_iter()
        .flatten()
        .collect();
    hide(&mut nudges, patterns);
    nudges
}

/// What is taken from an attribute of events with an address is shown of no kind, and told by no nudge.
fn hide(nudges: &mut [NudgeSpec], patterns: &mut [PatternSpec]) {
    let of = |nudge: &NudgeSpec| {
        let kind = patterns.iter().find(|pattern| pattern.name == nudge.of)?;
        of_event(kind, &nudge.address).cloned()
    };
    let addresses: Vec<String> = nudges.iter().filter_map(of).collect();
    for pattern in patterns {
        let hidden: Vec<String> = addresses.iter().flat_map(|one| holding(pattern, one)).collect();
        for nudge in nudges.iter_mut().filter(|nudge| nudge.of == pattern.name) {
            nudge.hidden.extend(hidden.iter().cloned());
            nudge.hidden.sort_unstable();
            nudge.hidden.dedup();
        }
        if let Seeks::Sessions(sessions) = &mut pattern.seeks {
            sessions.nudged = nudges.iter().any(|nudge| nudge.of == pattern.name);
            sessions.hidden = hidden;
        }
    }
}

/// The attribute of events that one of a kind is taken from.
fn of_event<'a>(kind: &'a PatternSpec, attribute: &str) -> Option<&'a String> {
    let found = kind.attributes.iter().find(|(known, _)| known == attribute);
    found.map(|(_, taken)| &taken.attribute)
}

/// The attributes and lists of a pattern that are taken from an attribute of events.
fn holding(pattern: &PatternSpec, of_event: &str) -> Vec<String> {
    let lists = match &pattern.seeks {
        Seeks::Sessions(sessions) => &sessions.lists[..],
        _ => &[],
    };
    let taken = pattern.attributes.iter().filter(|(_, taken)| taken.attribute == of_event);
    let lists = lists.iter().filter(|(_, attribute)| attribute == of_event);
    taken.map(|(name, _)| name).chain(lists.map(|(name, _)| name)).cloned().collect()
}

fn check_common(reader: &mut Reader, common: &NudgesConfig) {
    if common.secret.0.is_empty() {
        let rule = "is missing, and [[nudge]] needs one: write secret = \"env:NUDGE_SECRET\" or \
                    \"file:PATH\"";
        reader.problem("nudges.secret", rule);
    }
    if common.unsubscribe_url.is_empty() {
        let rule = "is missing, and nobody may be written to who cannot say that they want no more: \
                    write unsubscribe_url = \"https://shop.example/v1/unsubscribe\"";
        reader.problem("nudges.unsubscribe_url", rule);
    }
}

/// One `[[nudge]]`; `None` where its kind is not known.
fn nudge(
    item: &mut Item<'_>,
    (patterns, metrics): (&[PatternSpec], &[MetricSpec]),
    (channels, of_session): (&[Spec], [Option<&String>; 2]),
) -> Option<NudgeSpec> {
    item.reader.need("of", "of = \"carts\"");
    item.reader.need("address", "address = \"email\"");
    item.reader.need("channel", "channel = \"post\"");
    if !item.reader.is_set("consent") {
        let rule = "is missing: nobody may be written to who has not agreed to it. Name the attribute \
                    of the sessions that is true for those who have, consent = \"newsletter\"";
        item.reader.problem("consent", rule);
    }
    let keys = item.reader.section(NudgeKeys::default());
    check_channel(item, &keys.channel, channels);
    let (kind, sessions) = kind(item, &keys.of, patterns)?;
    let attributes = || kind.attributes.iter().map(|(name, _)| name.as_str());
    for (key, name) in [("address", &keys.address), ("consent", &keys.consent)] {
        if item.reader.is_set(key) && !attributes().any(|known| known == name) {
            let known = attributes().collect::<Vec<_>>().join(", ");
            let hint = near::hint(name, attributes());
            item.reader.problem(
                key,
                format!(
                    "is none of the attributes of {}, which declares them as attributes = {{ {name} = \
                     \"last.{name}\" }}; there are {known}{hint}",
                    keys.of
                ),
            );
        }
    }
    if let Some(items) = &keys.items
        && !sessions.lists.iter().any(|(name, _)| name == items)
    {
        let rule = format!(
            "is none of the lists of {}: declare it there, lists = {{ {items} = \"product\" }}",
            keys.of
        );
        item.reader.problem("items", rule);
    }
    if let Some(of_event) = of_event(kind, &keys.address) {
        check_shown(item, (patterns, metrics), of_session, of_event);
    }
    Some(NudgeSpec {
        name: item.name.clone(),
        when: condition(item, kind),
        of: keys.of,
        address: keys.address,
        consent: keys.consent,
        items: keys.items,
        // What the events' attribute is called anywhere; see `hide`.
        hidden: Vec::new(),
        channel: keys.channel,
        after: keys.after,
        cap: Cap { times: keys.at_most, per: keys.per },
        holdout: keys.holdout,
        within: keys.within,
        keys_max: keys.keys_max,
    })
}

fn check_channel(item: &mut Item<'_>, name: &str, channels: &[Spec]) {
    if !item.reader.is_set("channel") {
        return;
    }
    if let Some(rule) = channels::unknown(name, channels) {
        return item.reader.problem("channel", rule);
    }
    let found = channels.iter().find(|channel| channels::name(channel) == name);
    if let Some(other) = found.map(channels::kind)
        && !["email", "webhook"].contains(&other)
    {
        let rule = format!(
            "is of type {other:?}, which does not write to single people: name one of type \"email\" or \
             \"webhook\""
        );
        item.reader.problem("channel", rule);
    }
}

fn kind<'a>(
    item: &mut Item<'_>,
    name: &str,
    patterns: &'a [PatternSpec],
) -> Option<(&'a PatternSpec, &'a SessionsSpec)> {
    let mut kinds = patterns.iter().filter_map(|pattern| match &pattern.seeks {
        Seeks::Sessions(sessions) => Some((pattern, sessions)),
        _ => None,
    });
    let names: Vec<&str> = kinds.clone().map(|(kind, _)| kind.name.as_str()).collect();
    let found = kinds.find(|(kind, _)| kind.name == name);
    match found {
        None if item.reader.is_set("of") => {
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let hint = near::hint(name, names.iter().copied());
            let rule = format!("is no kind of [[sessions]]; there are {known}{hint}");
            item.reader.problem("of", rule);
        }
        Some((_, sessions)) if sessions.entry.is_empty() || sessions.goal.is_empty() => {
            let rule = "needs a kind with entry and goal: only what was entered and has no goal is \
                        abandoned";
            item.reader.problem("of", rule);
        }
        _ => {}
    }
    found
}

/// No address is a key, the segment, in an alert of a pattern, or a group of a metric: those stand on the
/// page. Of sessions, attributes are left out there.
fn check_shown(
    item: &mut Item<'_>,
    (patterns, metrics): (&[PatternSpec], &[MetricSpec]),
    of_session: [Option<&String>; 2],
    of_event: &String,
) {
    let mut wrong = |rule: String| item.reader.problem("address", rule);
    if item.attributes.keys().contains(of_event) || of_session.contains(&Some(of_event)) {
        let rule = format!(
            "is taken from {of_event}, a key or the segment of [session], which stands in alerts and on \
             the page: go by one that is no address"
        );
        wrong(rule);
    }
    for pattern in patterns {
        let identify = match &pattern.seeks {
            Seeks::Sessions(sessions) => sessions.identify.as_ref(),
            _ => None,
        };
        if [pattern.key.as_ref(), identify].contains(&Some(of_event)) {
            let rule = format!(
                "is the key of {}, which stands in alerts and on the page: go by a key that is no \
                 address",
                pattern.name
            );
            wrong(rule);
        }
        let leaves_out = matches!(pattern.seeks, Seeks::Sessions(_)) || pattern.alert.is_none();
        if let (false, Some(name)) = (leaves_out, holding(pattern, of_event).first()) {
            let rule = format!(
                "stands in the alerts of {} {}, whose {name} is taken from {of_event} too: leave that \
                 out there",
                pattern.seeks.table(),
                pattern.name
            );
            wrong(rule);
        }
    }
    let mut hidden: Vec<String> =
        patterns.iter().flat_map(|pattern| holding(pattern, of_event)).collect();
    hidden.push(of_event.clone());
    for metric in metrics {
        let ranked = metric.field.iter().filter(|_| matches!(metric.aggregate, Aggregate::TopK(_)));
        let mut shown = metric.group_by.iter().chain(ranked);
        if let Some(name) = shown.find(|name| hidden.contains(name)) {
            let rule = format!(
                "stands in metric {}, which shows {name}: addresses would be on the page",
                metric.name
            );
            wrong(rule);
        }
    }
}

fn condition(item: &mut Item<'_>, kind: &PatternSpec) -> Option<Expr> {
    let attributes: Vec<String> = kind.declares().map(str::to_owned).collect();
    item.reader.read("when", None, |node| {
        let text = node.text("an expression in quotes such as 'value >= 20'")?;
        let expr = Expr::condition(text, &Asked { attributes: &attributes });
        expr.map(Some).map_err(|error| error.to_string())
    })
}

/// All keys of a nudge.
pub(super) fn keys(nudge: &NudgeSpec) -> Vec<Entry> {
    let mut keys = vec![("name", text(&nudge.name)), ("of", text(&nudge.of))];
    keys.extend(nudge.when.as_ref().map(|when| ("when", text(&when.to_string()))));
    keys.extend([("address", text(&nudge.address)), ("consent", text(&nudge.consent))]);
    keys.extend(nudge.items.as_ref().map(|items| ("items", text(items))));
    keys.extend([
        ("channel", text(&nudge.channel)),
        ("after", span(nudge.after)),
        ("at_most", nudge.cap.times.to_string()),
        ("per", span(nudge.cap.per)),
        ("holdout", format!("{:?}", nudge.holdout)),
        ("within", span(nudge.within)),
        ("keys_max", nudge.keys_max.to_string()),
    ]);
    keys
}

impl Config {
    /// What nudges go by, without the secrets, which are found at a start, and the seed of the data
    /// folder.
    pub fn nudges(&self) -> NudgeSettings {
        NudgeSettings {
            nudges: self.nudges.clone(),
            unsubscribe_url: self.nudging.unsubscribe_url.clone(),
            suppressed_max: self.nudging.suppressed_max,
            max_age: self.incidents.notify_max_age,
            currency: self.session.currency.clone(),
            ..NudgeSettings::default()
        }
    }
}

/// Why a secret that was found is none.
///
/// # Errors
/// When it is too short.
pub fn strong(secret: &str) -> Result<(), String> {
    if secret.len() >= SECRET_BYTES_MIN {
        return Ok(());
    }
    Err(format!(
        "must have at least {SECRET_BYTES_MIN} bytes: make one with `openssl rand -hex 32`"
    ))
}
