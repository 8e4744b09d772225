//! `[[channel]]`: what delivers notifications. Its kinds and their keys are those of `tidewatch-notify`.
//! Called by `sections.rs` alone.

use tidewatch_notify::{ChannelKeys, Kind, Place};

pub use tidewatch_notify::Spec;

use super::attributes::Attributes;
use super::item::{Item, Items};
use super::print::{Entry, Setting};
use super::reader::Reader;
use super::routes::Told;
use super::toml_text::text;
use super::values;
use super::warnings::missing;
use super::whole::Config;
use super::windows::Days;
use crate::domain::near;
use crate::domain::settings::{Key, Rule, Section, Value, entries, is_elsewhere};

/// Most channels: each has a loop of its own.
const CHANNELS_MAX: usize = 100;

/// The key that names its kind.
pub(super) const KIND: &str = "type";

/// The kinds: their names, and what they are.
pub(super) fn kinds() -> Vec<(&'static str, &'static str)> {
    Kind::all().iter().map(|kind| (kind.word(), kind.says())).collect()
}

/// The keys of every `[[channel]]`, and of each kind those that it has besides, with what it is.
pub(super) fn settings() -> (Vec<Setting>, Vec<(String, Vec<Setting>)>) {
    let of_kind = |kind: &Kind| {
        let heading = format!("{KIND} = {:?}: {}.", kind.word(), kind.says());
        (heading, entries(kind).collect())
    };
    (entries(&ChannelKeys::default()).collect(), Kind::all().iter().map(of_kind).collect())
}

/// Reads all of them. `connects`: there is a server of NATS.
pub(super) fn read(
    reader: &mut Reader,
    attributes: &Attributes<'_>,
    days: Days<'_>,
    (told, page, connects): (&Told, &str, bool),
) -> Vec<Spec> {
    let declared = reader.tables("channel").unwrap_or_default();
    if declared.len() > CHANNELS_MAX {
        reader.problem("channel", format!("must not stand more than {CHANNELS_MAX} times"));
    }
    let place = place(told, page);
    let names = &mut Vec::new();
    let mut items = Items { reader, names, days, attributes, steps: &[], patterns: &[] };
    let found = items.each("channel", declared.iter().enumerate(), |item, _| {
        let spec = channel(item, &place)?;
        if let Some(rule) = spec.kind.publishes().then(|| no_stream(connects)).flatten() {
            item.reader.problem(KIND, rule);
        }
        Some(spec)
    });
    found.into_iter().flatten().collect()
}

/// Why nothing can be published into a stream. `connects`: there is a server.
fn no_stream(connects: bool) -> Option<String> {
    if !cfg!(feature = "nats") {
        return Some(missing("NATS", "nats"));
    }
    (!connects).then(|| "needs nats.url: write url = \"nats://host:4222\" under [nats]".into())
}

/// One `[[channel]]`; `None` where its kind is not known.
fn channel(item: &mut Item<'_>, place: &Place) -> Option<Spec> {
    item.reader.need(KIND, "type = \"webhook\"");
    let keys = item.reader.section(ChannelKeys::default());
    let all = Kind::all();
    let named = Kind::named(&keys.kind);
    let Some(kind) = named else {
        // Whose keys they are is not known, and only that is said.
        item.reader.known.extend(all.iter().flat_map(Section::keys).map(|key| key.path));
        return None;
    };
    let kind = item.reader.section(kind);
    item.reader.only_of(KIND, &kind, all.iter().map(|one| (one.word(), one as &dyn Section)));
    for key in kind.unused() {
        if item.reader.is_set(key) {
            let word = kind.word();
            let rule = format!(
                "has no meaning with {KIND} = {word:?}: [nats] and [nats.out] say how it goes"
            );
            item.reader.problem(key, rule);
        }
    }
    let spec = Spec { name: item.name.clone(), keys, kind };
    if let Err(wrong) = spec.check(place) {
        item.reader.problem(wrong.key, wrong.rule);
    }
    Some(spec)
}

/// All keys of a channel. Of a secret only where it is.
pub(super) fn keys(spec: &Spec) -> Vec<Entry> {
    let entry = |(key, value): Setting| {
        let shown = match &value {
            Value::Text(secret) if matches!(key.rule, Rule::Secret) && is_elsewhere(secret) => {
                text(secret)
            }
            value => values::show(&key.rule, value),
        };
        (key.path, shown)
    };
    let mut keys = vec![("name", text(&spec.name))];
    let own = entries(&spec.keys).chain(entries(&spec.kind));
    let is_shown =
        |key: &Key| !matches!(key.rule, Rule::Shape) && !spec.kind.unused().contains(&key.path);
    keys.extend(own.filter(|(key, _)| is_shown(key)).map(entry));
    keys
}

/// What two channels are compared by: everything, and not to be shown.
pub(super) fn compared(spec: &Spec) -> String {
    format!("{:?} {:?} {:?}", spec.kind.word(), spec.keys.values(), spec.kind.values())
}

/// Its type.
pub(super) fn kind(spec: &Spec) -> &'static str {
    spec.kind.word()
}

/// Its name.
pub(super) fn name(spec: &Spec) -> &str {
    &spec.name
}

/// Why a name is none of a channel.
pub(super) fn unknown(name: &str, channels: &[Spec]) -> Option<String> {
    let names = || channels.iter().map(|channel| channel.name.as_str());
    if names().any(|known| known == name) {
        return None;
    }
    if channels.is_empty() {
        return Some("names no channel: there is no [[channel]]".into());
    }
    let known = names().collect::<Vec<_>>().join(", ");
    Some(format!("names no channel; there are {known}{}", near::hint(name, names())))
}

/// Why no route may lead to a channel.
pub(super) fn names_nobody(name: &str, channels: &[Spec]) -> Option<String> {
    let wrong = channels.iter().find(|channel| channel.name == name)?.check_routes().err()?;
    Some(format!("leads to {name}, and channel.{name}.{} {}", wrong.key, wrong.rule))
}

fn place(told: &Told, page: &str) -> Place {
    Place { page: page.to_owned(), zone: told.zone.clone(), labels: told.attributes.clone() }
}

impl Config {
    /// What channels need to know of where they are.
    pub fn place(&self) -> Place {
        let told = Told::of(&self.metrics, &self.patterns, &self.general.zone);
        place(&told, &self.incidents.page_url)
    }
}
