//! What is tried: the settings that `--vary` asks for, each a configuration of its own.

use std::sync::Arc;

use crate::app::reload::Prepare;
use crate::app::scratch;
use crate::config::{Config, Flag, pattern_keys, rule_keys};
use crate::domain::anomaly::Rule;
use crate::domain::metric::MetricSpec;
use crate::domain::settings::Section;

/// Keys with the values that are tried.
pub(super) type Set = Vec<(String, String)>;

/// What a dry run is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// When a rule fires.
    Rule(String),
    /// The numbers of a metric.
    Metric(String),
    /// When a pattern or a join finds a match.
    Pattern(String),
    /// Which sessions end with an entry and without a goal.
    Abandoned,
}

/// The word for [`Subject::Abandoned`]: the kind of its alerts.
const ABANDONED: &str = "abandoned";

impl Subject {
    /// The one of a name.
    ///
    /// # Errors
    /// When there is none: the names that there are.
    pub fn named(config: &Config, name: &str) -> Result<Subject, String> {
        if let Some(rule) = config.rules.iter().find(|rule| rule.name == name) {
            let begins = |metric: &&MetricSpec| metric.window.event().is_some();
            let watched = config.metrics.iter().find(|metric| metric.name == rule.metric);
            if let Some(metric) = watched.filter(begins) {
                return Err(format!(
                    "it watches {}, whose totals begin anew with an event: when they did is not kept \
                     for looking back",
                    metric.name
                ));
            }
            return Ok(Subject::Rule(name.into()));
        }
        if let Some(metric) = config.metrics.iter().find(|metric| metric.name == name) {
            if !metric.aggregate.shape().is_scalar() {
                let word = metric.aggregate.word();
                return Err(format!(
                    "a {word} has no single number to look back on: `tidewatch replay` shows it"
                ));
            }
            return Ok(Subject::Metric(name.into()));
        }
        if config.patterns.iter().any(|pattern| pattern.name == name) {
            return Ok(Subject::Pattern(name.into()));
        }
        if name == ABANDONED {
            return Ok(Subject::Abandoned);
        }
        let names =
            |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Err(format!(
            "{name:?} is no rule ({}), no metric ({}), no pattern or join ({}) and not {ABANDONED:?}",
            names(config.rules.iter().map(|rule| &*rule.name).collect()),
            names(config.metrics.iter().map(|metric| &*metric.name).collect()),
            names(config.patterns.iter().map(|pattern| &*pattern.name).collect()),
        ))
    }

    /// The metrics that it needs, the one that is looked at first.
    pub fn metrics<'c>(&'c self, config: &'c Config) -> Vec<&'c str> {
        let needed: Vec<&str> = match self {
            Subject::Abandoned | Subject::Pattern(_) => Vec::new(),
            Subject::Metric(name) => vec![name],
            Subject::Rule(name) => {
                let rule = config.rules.iter().find(|rule| rule.name == *name);
                let names = |rule: &'c Rule| {
                    std::iter::once(&*rule.metric).chain(rule.why.iter().map(|name| &**name))
                };
                rule.into_iter().flat_map(names).collect()
            }
        };
        scratch::needed(config, needed)
    }

    /// The key of the configuration that a word of `--vary` means.
    fn key(&self, config: &Config, word: &str) -> Result<String, String> {
        let sections: [&dyn Section; 2] = [&config.session, &config.time];
        let keys: Vec<&str> =
            sections.iter().flat_map(|section| section.keys()).map(|key| key.path).collect();
        let (table, own) = match self {
            Subject::Rule(name) => (format!("rule.{name}"), rule_keys()),
            Subject::Pattern(name) => {
                let seeks = config.patterns.iter().find(|one| one.name == *name);
                let seeks = seeks.map(|one| &one.seeks);
                let table = seeks.map_or("pattern", |seeks| seeks.table());
                (format!("{table}.{name}"), seeks.map(pattern_keys).unwrap_or_default())
            }
            _ => (String::new(), Vec::new()),
        };
        if own.contains(&word) {
            return Ok(format!("{table}.{word}"));
        }
        let short = format!("session.{word}");
        match keys.iter().find(|key| **key == word || **key == short) {
            Some(key) => Ok((*key).to_owned()),
            None => {
                let all = own.iter().chain(&keys).copied().collect::<Vec<_>>().join(", ");
                Err(format!("--vary {word}: is not a key that can be varied here; there are {all}"))
            }
        }
    }
}

/// What the settings are made from: a configuration, and what the command sets differently
/// whatever its keys say.
pub(super) struct Ground {
    pub config: Config,
    pub prepare: Prepare,
}

impl From<Config> for Ground {
    fn from(config: Config) -> Self {
        Ground { config, prepare: Arc::new(|_| {}) }
    }
}

/// A configuration that is tried.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// What is other than configured; nothing in the first one.
    pub set: Set,
    /// The whole, or why it cannot be.
    pub config: Result<Config, String>,
}

/// The configuration as it stands, and one for each combination of values.
///
/// # Errors
/// What is wrong with the words of `--vary`, or that they are too many.
pub(super) fn settings(
    ground: &Ground,
    subject: &Subject,
    vary: &[String],
) -> Result<Vec<Setting>, String> {
    let config = &ground.config;
    let mut sets: Vec<Set> = vec![Vec::new()];
    for text in vary {
        let (word, values) = text
            .split_once('=')
            .ok_or_else(|| format!("--vary {text}: write KEY=VALUES, such as k=2..6"))?;
        let key = subject.key(config, word.trim())?;
        let most = config.dry_run.settings_max;
        let values = values_of(values, most).map_err(|rule| format!("--vary {text}: {rule}"))?;
        if sets.len() * values.len() > most {
            return Err(format!(
                "--vary: more than {most} settings at once (dry_run.settings_max)"
            ));
        }
        let with = |set: &Set, value: &String| {
            set.iter().cloned().chain([(key.clone(), value.clone())]).collect()
        };
        sets =
            sets.iter().flat_map(|set| values.iter().map(move |value| with(set, value))).collect();
    }
    let mut found = vec![Setting { set: Vec::new(), config: Ok(config.clone()) }];
    let varied = sets.into_iter().filter(|set| !set.is_empty());
    found.extend(varied.map(|set| setting(ground, set)));
    Ok(found)
}

/// A configuration with some keys set otherwise.
pub(super) fn setting(ground: &Ground, set: Set) -> Setting {
    let flag = |(key, value): &(String, String)| Flag {
        key: key.clone().into(),
        name: "--vary".into(),
        value: value.clone(),
    };
    let flags: Vec<Flag> = set.iter().map(flag).collect();
    let mut config = ground.config.with(&flags).map_err(|error| error.to_string());
    config.iter_mut().for_each(|config| (ground.prepare)(config));
    Setting { config, set }
}

/// `2..6` is 2, 3, 4, 5 and 6; `2..4/0.5` goes by halves; `15m,30m` is what it says.
fn values_of(text: &str, most: usize) -> Result<Vec<String>, String> {
    let list = || text.split(',').map(|value| value.trim().to_owned()).collect::<Vec<_>>();
    let Some((from, rest)) = text.split_once("..") else {
        let list = list();
        return if list.contains(&String::new()) {
            Err("a value is empty".into())
        } else {
            Ok(list)
        };
    };
    let (to, step) = rest.split_once('/').unwrap_or((rest, "1"));
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    let (Some(from), Some(to), Some(step)) = (number(from), number(to), number(step)) else {
        return Err("write numbers such as 2..6 or 2..4/0.5, or a list such as 15m,30m".into());
    };
    let steps = (to - from) / step + 1e-9;
    if !(0.0..most as f64).contains(&steps) {
        return Err(format!("from {from} to {to} by {step} are not 1 to {most} values"));
    }
    let value = |index: u32| {
        // Ten digits: 0.1 three times is 0.3.
        let value = from + f64::from(index) * step;
        format!("{}", (value * 1e10).round() / 1e10)
    };
    Ok((0..=steps as u32).map(value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pattern::Seeks;

    #[test]
    fn values_are_ranges_or_lists() {
        for (text, values) in [
            ("2..6", vec!["2", "3", "4", "5", "6"]),
            ("2..3/0.5", vec!["2", "2.5", "3"]),
            ("0.1..0.3/0.1", vec!["0.1", "0.2", "0.3"]),
            ("15m, 30m", vec!["15m", "30m"]),
            ("5", vec!["5"]),
        ] {
            assert_eq!(values_of(text, 64).unwrap(), values, "{text}");
        }
        for wrong in ["", "a..b", "6..2", "1..2/0", "1..1000", "1,,2", "1..2/-1"] {
            assert!(values_of(wrong, 64).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_word_is_a_key_of_the_rule_of_the_pattern_or_of_sessions() {
        let ground = Ground::from(Config::default());
        let config = &ground.config;
        let rule = Subject::named(config, "failed_payments_spike").unwrap();
        let of = |subject: &Subject, vary: &[&str]| {
            let vary: Vec<String> = vary.iter().map(|text| (*text).to_owned()).collect();
            settings(&ground, subject, &vary)
        };
        let tried = of(&rule, &["k=2..4", "gap=15m,30m"]).unwrap();
        assert_eq!(tried.len(), 7);
        assert_eq!(
            tried[2].set,
            [
                ("rule.failed_payments_spike.k".to_owned(), "2".to_owned()),
                ("session.gap".to_owned(), "30m".to_owned())
            ]
        );
        assert_eq!(tried[1].config.as_ref().unwrap().session.gap, 900_000);
        // A setting that cannot be says why; the others are tried.
        let tried = of(&rule, &["over=1m,10m"]).unwrap();
        assert!(tried[1].config.as_ref().unwrap_err().contains("can never alert"));
        assert!(tried[2].config.is_ok());
        for (vary, part) in [
            (&["k"][..], "write KEY=VALUES"),
            (&["kk=2"], "is not a key that can be varied here"),
            (&["k=1..20", "value_min=1..20"], "more than 64 settings"),
        ] {
            let error = of(&rule, vary).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!(of(&Subject::Abandoned, &["k=2"]).is_err());
        let text = "[dry_run]\nsettings_max = 3\n[[pattern]]\nname = \"p\"\n\
                    first = { type = \"a\" }\ntimes = 2\nwithin = \"1m\"\n";
        let own = Ground::from(Config::parse("t.toml", text).unwrap());
        let pattern = Subject::named(&own.config, "p").unwrap();
        let tried = settings(&own, &pattern, &["within=5m,1s".into()]).unwrap();
        let within = |of: &Setting| match &of.config.as_ref().unwrap().patterns[0].seeks {
            Seeks::Sequence(sequence) => sequence.within,
            Seeks::Join(join) => join.within,
            Seeks::Funnel(funnel) => funnel.within,
            Seeks::Sessions(sessions) => sessions.gap,
        };
        assert_eq!([0, 1, 2].map(|n| within(&tried[n])), [60_000, 300_000, 1_000]);
        let times = settings(&own, &pattern, &["times=1..2".into()]).unwrap();
        assert!(times[1].config.as_ref().unwrap_err().contains("is all there is"));
        let error = settings(&own, &pattern, &["times=1..4".into()]).unwrap_err();
        assert!(error.contains("are not 1 to 3 values"), "{error}");
        let text = "[[join]]\nname = \"j\"\nleft = { type = \"a\" }\nright = { type = \"b\" }\n\
                    within = \"1m\"\n";
        let own = Ground::from(Config::parse("t.toml", text).unwrap());
        let join = Subject::named(&own.config, "j").unwrap();
        let tried = settings(&own, &join, &["within=5m".into(), "before=1s".into()]).unwrap();
        assert_eq!([0, 1].map(|n| within(&tried[n])), [60_000, 300_000]);
        let before = |tried: &Setting| match &tried.config.as_ref().unwrap().patterns[0].seeks {
            Seeks::Join(join) => join.before,
            other => panic!("{other:?}"),
        };
        assert_eq!([0, 1].map(|n| before(&tried[n])), [0, 1_000]);
        assert!(settings(&own, &join, &["times=2".into()]).is_err());
        let unknown = Subject::named(config, "nope").unwrap_err();
        assert!(unknown.contains("failed_payments_spike") && unknown.contains("revenue"));
    }
}
