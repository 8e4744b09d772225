//! A configuration from its four sources: defaults, then the file, then the environment, then
//! flags.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::document::{self, Node, Value};
use super::general::General;
use super::lookups::Lookup;
use super::metrics;
use super::problem::Problem;
use super::reader::Reader;
use super::units::show_size;
use super::whole::Config;
use super::{rules, sections};
use crate::domain::near;
use crate::domain::settings::Section as _;

/// Variables of the environment that set a key: `TIDEWATCH_SECTION__KEY`.
pub const ENV_PREFIX: &str = "TIDEWATCH_";

/// Largest configuration file. The shipped one has 10 KiB.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Most mistakes shown at once; more rarely help.
const PROBLEMS_SHOWN_MAX: usize = 20;

/// A key set by a flag of the command line, above everything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The key, `web.listen`; of a metric or a rule with its name, `rule.spike.k`.
    pub key: Cow<'static, str>,
    /// The flag, `--listen`, for messages.
    pub name: Cow<'static, str>,
    /// Its value.
    pub value: String,
}

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: String,
        /// The system's words.
        cause: String,
    },
    /// Something in it breaks a rule; at least one problem.
    Invalid(Vec<Problem>),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems = match self {
            ConfigError::Unreadable { path, cause } => {
                return write!(out, "cannot read the configuration {path}: {cause}");
            }
            ConfigError::Invalid(problems) => problems,
        };
        for (index, problem) in problems.iter().take(PROBLEMS_SHOWN_MAX).enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(out, "{end}{problem}")?;
        }
        match problems.len().saturating_sub(PROBLEMS_SHOWN_MAX) {
            0 => Ok(()),
            more => write!(out, "\nand {more} more"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads `file` (if any), the environment and the flags, in that order.
    ///
    /// # Errors
    /// When the file cannot be read, or with every mistake found.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        flags: &[Flag],
    ) -> Result<Config, ConfigError> {
        read_written(Written::of(file, env, flags)?, &[])
    }

    /// Reads a configuration from text; `name` stands for the file in messages.
    ///
    /// # Errors
    /// With every mistake found.
    pub fn parse(name: &str, text: &str) -> Result<Config, ConfigError> {
        read(name, text, [], &[])
    }
}

impl Config {
    /// The same configuration with some keys set otherwise: read anew from the same file,
    /// environment and flags, with these flags above them, and with the rows of its lookups.
    ///
    /// # Errors
    /// With every mistake found.
    pub fn with(&self, flags: &[Flag]) -> Result<Config, ConfigError> {
        let mut written = (*self.written.0).clone();
        written.flags.extend_from_slice(flags);
        read_written(written, &self.lookups)
    }

    /// The names of the tables of a text.
    pub fn names_of_tables(text: &str) -> Vec<String> {
        let mut table = document::parse("", text).unwrap_or_default();
        let lists = LISTS.iter().filter_map(|list| match table.remove(*list)?.value {
            Value::List(items) => Some(items),
            _ => None,
        });
        lists.flatten().filter_map(|item| named(&item).map(String::from)).collect()
    }

    /// The same configuration with these tables besides its own (all lists but lookups), or in place
    /// of those of their names; `name` stands for their text in messages.
    ///
    /// # Errors
    /// With every mistake found, and when there is anything else in the text.
    pub fn with_tables(&self, name: &str, text: &str) -> Result<Config, ConfigError> {
        let mut written = (*self.written.0).clone();
        written.besides = Some((name.to_owned(), text.to_owned()));
        read_written(written, &self.lookups)
    }
}

impl Config {
    /// The file it was read from, if there was one.
    pub fn file(&self) -> Option<&Path> {
        let file = &self.written.0.file;
        (!file.is_empty()).then_some(Path::new(file))
    }

    /// Reads it again: the file and the environment as they are now, and the same flags. Rows of lookups
    /// that are not on this machine stay as they are.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn read_again(&self) -> Result<Config, ConfigError> {
        let written = Written::of(self.file(), environment(), &self.written.0.flags)?;
        // That a server is away is no reason to refuse a file.
        let far = self.lookups.iter().filter(|lookup| lookup.is_far());
        read_written(written, &far.cloned().collect::<Vec<_>>())
    }
}

/// What a configuration was read from. Not to be shown: secrets may stand in it.
#[derive(Clone, Default)]
struct Written {
    file: String,
    text: String,
    env: Vec<(String, String)>,
    flags: Vec<Flag>,
    /// Tables besides those of the file: what their text is called, and the text.
    besides: Option<(String, String)>,
}

impl Written {
    /// What stands in `file` now.
    fn of(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        flags: &[Flag],
    ) -> Result<Written, ConfigError> {
        let from_env = env.into_iter().filter(|(variable, _)| variable.starts_with(ENV_PREFIX));
        let written =
            Written { env: from_env.collect(), flags: flags.to_vec(), ..Written::default() };
        let Some(path) = file else { return Ok(written) };
        let file = path.display().to_string();
        let unreadable = |cause: String| ConfigError::Unreadable { path: file.clone(), cause };
        let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
        if size > FILE_BYTES_MAX as u64 {
            let bound = show_size(FILE_BYTES_MAX as u64);
            return Err(unreadable(format!("it has {size} bytes, more than {bound}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Ok(Written { file, text, ..written })
    }
}

/// What a configuration was read from, which is no part of what it is: any two are equal.
#[derive(Clone, Default)]
pub struct Origin(Arc<Written>);

impl fmt::Debug for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Origin({:?})", self.0.file)
    }
}

impl PartialEq for Origin {
    fn eq(&self, _: &Origin) -> bool {
        true
    }
}

impl Default for Config {
    fn default() -> Self {
        Config::parse("", "").expect("a test reads the shipped file and all defaults")
    }
}

/// The variables of this process that are text.
pub fn environment() -> Vec<(String, String)> {
    let texts = std::env::vars_os();
    texts
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Reads all sources into one configuration.
pub(super) fn read(
    file: &str,
    text: &str,
    env: impl IntoIterator<Item = (String, String)>,
    flags: &[Flag],
) -> Result<Config, ConfigError> {
    let written = Written {
        file: file.to_owned(),
        text: text.to_owned(),
        env: env.into_iter().collect(),
        flags: flags.to_vec(),
        besides: None,
    };
    read_written(written, &[])
}

/// `held`: lookups whose rows are known.
fn read_written(written: Written, held: &[Lookup]) -> Result<Config, ConfigError> {
    let invalid = |problem| ConfigError::Invalid(vec![problem]);
    let mut table = document::parse(&written.file, &written.text).map_err(invalid)?;
    let (of_items, of_keys): (Vec<&Flag>, Vec<&Flag>) =
        written.flags.iter().partition(|flag| item_of(&flag.key).is_some());
    if !of_items.is_empty() || written.besides.is_some() {
        metrics::declare(&mut table);
    }
    if let Some((name, text)) = &written.besides {
        let besides = document::parse(name, text).map_err(invalid)?;
        add_items(&mut table, besides).map_err(ConfigError::Invalid)?;
    }
    for flag in &of_items {
        set_item(&mut table, flag);
    }
    let mut reader = Reader::new(String::new(), written.file.clone(), flatten(table));
    let mut strange = Vec::new();
    for (variable, value) in &written.env {
        match key_of_variable(variable) {
            Some(key) => reader.overlay(&key, Node::bare(variable, value)),
            None if is_strange(variable) => strange.push(variable.clone()),
            None => {}
        }
    }
    for flag in of_keys {
        reader.overlay(&flag.key, Node::bare(&flag.name, &flag.value));
    }
    let mut config = sections::read(&mut reader, held);
    for variable in strange {
        let rule = unknown_variable(&variable, &reader.known);
        let (key, value) = (String::new(), String::new());
        reader.problems.push(Problem { place: variable, key, value, rule });
    }
    match reader.finish() {
        problems if problems.is_empty() => {
            config.written = Origin(Arc::new(written));
            Ok(config)
        }
        problems => Err(ConfigError::Invalid(problems)),
    }
}

/// List, name and key of `rule.spike.k`.
fn item_of(key: &str) -> Option<(&str, &str, &str)> {
    let (list, rest) = key.split_once('.').filter(|(list, _)| LISTS.contains(list))?;
    rest.split_once('.').map(|(name, key)| (list, name, key))
}

/// Adds the tables of lists to those that are there; one takes the place of another of its name.
fn add_items(
    table: &mut BTreeMap<String, Node>,
    besides: BTreeMap<String, Node>,
) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    for (list, node) in besides {
        let items = match node.value {
            Value::List(items) if POSTED.contains(&&*list) => items,
            _ => {
                let hint = near::hint(&list, POSTED);
                let all: Vec<String> = POSTED.iter().map(|list| format!("[[{list}]]")).collect();
                let rule = format!("only {} may stand here{hint}", all.join(", "));
                let (place, value) = (node.place, String::new());
                problems.push(Problem { place, key: list, value, rule });
                continue;
            }
        };
        let empty = Node { value: Value::List(Vec::new()), ..node };
        let Value::List(own) = &mut table.entry(list).or_insert(empty).value else { continue };
        for item in items {
            let name = named(&item);
            match own.iter_mut().find(|one| name.is_some() && named(one) == name) {
                Some(one) => *one = item,
                None => own.push(item),
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// The name of a table of a list.
fn named(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Table(keys) => keys.get("name")?.text("").ok(),
        _ => None,
    }
}

/// Sets a key of one table of a list. A flag for what is not there sets nothing.
fn set_item(table: &mut BTreeMap<String, Node>, flag: &Flag) {
    let Some((list, name, key)) = item_of(&flag.key) else { return };
    let Some(Value::List(items)) = table.get_mut(list).map(|node| &mut node.value) else { return };
    for item in items {
        let Value::Table(keys) = &mut item.value else { continue };
        let called = keys.get("name").is_some_and(|node| node.text("") == Ok(name));
        if called {
            if key == rules::DETECT {
                keys.retain(|key, _| rules::may_have(&flag.value, key));
            }
            keys.insert(key.to_owned(), Node::bare(&flag.name, &flag.value));
        }
    }
}

/// Tables that may stand several times, and have names.
const LISTS: [&str; 10] = [
    "metric",
    "rule",
    "pattern",
    "join",
    "sessions",
    "funnel",
    "lookup",
    "channel",
    "route",
    "maintenance",
];

/// Those that may be given besides a file, by whoever may ask for a dry run. A lookup names a file of the
/// server, or what the server can reach, which is not theirs to read.
const POSTED: [&str; 6] = ["metric", "rule", "pattern", "join", "sessions", "funnel"];

/// `[session] gap` becomes `session.gap`; those of [`LISTS`] stay whole.
pub(super) fn flatten(table: BTreeMap<String, Node>) -> BTreeMap<String, Node> {
    let mut flat = BTreeMap::new();
    for (name, node) in table {
        let is_list = LISTS.contains(&name.as_str());
        match node.value {
            // An empty section that nobody knows is a mistake, too.
            Value::Table(keys) if !is_list && (!keys.is_empty() || is_section(&name)) => {
                let named = |(key, node): (String, Node)| (format!("{name}.{key}"), node);
                let (inner, plain): (BTreeMap<_, _>, BTreeMap<_, _>) =
                    keys.into_iter().map(named).partition(|(key, node)| {
                        let is_table = matches!(node.value, Value::Table(_));
                        is_table && is_section(key)
                    });
                flat.extend(plain);
                for (name, node) in inner {
                    let Value::Table(keys) = node.value else { continue };
                    let named = |(key, node)| (format!("{name}.{key}"), node);
                    flat.extend(keys.into_iter().map(named));
                }
            }
            _ => {
                flat.insert(name, node);
            }
        }
    }
    flat
}

fn is_section(name: &str) -> bool {
    sections::names().contains(name)
}

/// Variables that the command line reads itself, behind the prefix.
const FLAG_VARIABLES: [&str; 5] = ["CONFIG", "DATA_DIR", "LISTEN", "LOG", "LOG_FORMAT"];

/// Variables of the project's own tests, behind the prefix: a shell that runs them may run the
/// program as well.
const TEST_VARIABLES: [&str; 12] = [
    "CRASH_CYCLES",
    "FAULT_CYCLES",
    "FUZZ_INPUTS",
    "FUZZ_TARGET",
    "LAW_LOGS",
    "NATS_SERVER",
    "OUT_CYCLES",
    "OVERLOAD_CSV",
    "OVERLOAD_S",
    "SET_SEED",
    "SHARED_DATA",
    "SKIPPED",
];

/// Whether a variable looks like ours and sets nothing. Container platforms add names such as
/// `TIDEWATCH_PORT`, `TIDEWATCH_SERVICE_HOST` and `TIDEWATCH_PORT_7077_TCP_ADDR` to every
/// container beside a service called so.
fn is_strange(variable: &str) -> bool {
    let Some(name) = variable.strip_prefix(ENV_PREFIX) else { return false };
    let added = |name: &str| {
        name == "PORT"
            || name == "NAME"
            || name.ends_with("_PORT")
            || ["PORT_", "SERVICE_", "ENV_"].iter().any(|start| name.starts_with(start))
            || ["_SERVICE_HOST", "_SERVICE_PORT", "_TCP", "_UDP"].iter().any(|e| name.contains(e))
    };
    let of_tests = name.starts_with("TEST_") || TEST_VARIABLES.contains(&name);
    !FLAG_VARIABLES.contains(&name) && !of_tests && !added(name)
}

/// What to say of such a variable.
fn unknown_variable(variable: &str, known: &[&str]) -> String {
    let name = variable.trim_start_matches(ENV_PREFIX);
    let of_key = |key: &&str| key.to_uppercase().replace('.', "__");
    let flags = FLAG_VARIABLES.iter().map(|flag| (*flag).to_owned());
    let all: Vec<String> = known.iter().map(of_key).chain(flags).collect();
    let near = near::nearest(name, all.iter().map(String::as_str));
    let tail = format!("__{name}");
    let near = near.or_else(|| all.iter().find(|key| key.ends_with(&tail)).map(String::as_str));
    let hint = near.map_or_else(String::new, |near| format!("; did you mean {ENV_PREFIX}{near}?"));
    format!("is not a tidewatch variable: a key is {ENV_PREFIX}SECTION__KEY{hint}")
}

/// The key that a variable sets. Variables without `__` are only ours when they name a
/// key outside the sections.
pub(super) fn key_of_variable(variable: &str) -> Option<String> {
    let name = variable.strip_prefix(ENV_PREFIX)?.to_ascii_lowercase();
    match name.split_once("__") {
        Some((section, key)) => Some(format!("{section}.{}", key.replace("__", "."))),
        None => General::default().keys().iter().any(|key| key.path == name).then_some(name),
    }
}
