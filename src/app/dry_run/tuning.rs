//! `tidewatch tune`: settings of a rule that would not have fired more often than so. One pass over
//! the events yields the metric's windows; every setting is then judged over those.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::report::{AlertsLine, History, Line, Report};
use super::seen::{Alerts, Range, Seen};
use super::trial::{Trial, Tried, trials};
use super::vary::{Ground, Set, Setting, Subject, setting, settings};
use super::{Asked, Failed, LookedBack};
use crate::cli::Exit;
use crate::cli::args::Often;
use crate::cli::report::{duration, grouped};
use crate::config::rule_value;
use crate::domain::anomaly::Rule;
use crate::domain::keeper;
use crate::domain::metric::grid::Memo;
use crate::domain::metric::{Metric, begins};
use crate::domain::time::SpanMs;

/// Settings that are shown besides the one that is configured.
const SHOWN_MAX: usize = 5;

/// What tuning found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Tuned {
    /// How many alerts this history may have.
    allowed: u64,
    at_most: String,
    /// Settings that were judged, those of them that fit, and those that cannot be.
    tried: usize,
    pub fit: usize,
    refused: usize,
    /// Keys whose values were tried.
    keys: Vec<&'static str>,
    /// What to write into `[[rule]]`; empty where nothing is to be changed, or nothing fits.
    toml: String,
    #[serde(flatten)]
    report: Report,
}

/// A setting with what it would have raised.
struct Judged {
    set: Set,
    alerts: Alerts,
}

/// Looks for settings that would have been quiet enough.
pub(super) fn tuned(
    ground: &Ground,
    asked: &Asked,
    at_most: Often,
    past: impl FnOnce(Vec<Trial>, Range) -> LookedBack,
) -> Result<Tuned, Failed> {
    let usage = |why: String| (why, Exit::Usage);
    let config = &ground.config;
    Subject::named(config, &asked.name).map_err(usage)?;
    let rule = config.rules.iter().find(|rule| rule.name == asked.name);
    let rule =
        rule.ok_or_else(|| usage(format!("{:?} is no rule: only rules are tuned", asked.name)))?;
    let range = asked.range(config).map_err(usage)?;
    let metric = Subject::Metric(rule.metric.clone());
    let as_configured = settings(ground, &metric, &[]).map_err(usage)?;
    let trials = trials(&metric, &as_configured, 1).map_err(usage)?;
    let (tried, source) = past(trials, range)?;
    let history = History::of(source, range, &tried);
    let (Some(Tried { seen, .. }), Some(span)) = (tried.first(), history.span()) else {
        return Err((history.to_string(), Exit::Refused));
    };
    let search = Search { ground, rule, seen, range };
    let (sets, keys) = search.sets();
    let tries: Vec<Setting> = sets.into_iter().map(|set| setting(ground, set)).collect();
    let refused = tries.iter().filter(|setting| setting.config.is_err()).count();
    let mut judged: Vec<Judged> =
        tries.iter().filter_map(|setting| search.judge(setting)).collect();
    let allowed = allowed(at_most, span);
    let tried = judged.len();
    let configured = judged.remove(0);
    let fits = |one: &Judged| one.alerts.count <= allowed;
    let mut fitting: Vec<&Judged> = judged.iter().filter(|one| fits(one)).collect();
    let fit = fitting.len() + usize::from(fits(&configured));
    // Those that miss least, then those that change least: the ladders begin with what speaks most.
    fitting.sort_by_key(|one| (std::cmp::Reverse(one.alerts.count), changes(rule, &one.set)));
    let best = fitting
        .first()
        .filter(|best| !fits(&configured) || best.alerts.count > configured.alerts.count);
    let toml = best.map_or_else(String::new, |best| pasted(&best.set));
    let line = |one: &Judged| {
        let alerts = AlertsLine::of(one.alerts.clone(), Some(span));
        let set = Setting { set: one.set.clone(), config: Ok(config.clone()) };
        Line { alerts: Some(alerts), ..Line::of(&set) }
    };
    let shown = fitting.iter().take(SHOWN_MAX).map(|one| line(one));
    let report = Report {
        of: "rule",
        name: asked.name.clone(),
        history,
        settings: std::iter::once(line(&configured)).chain(shown).collect(),
    };
    let at_most = format!("{} in {}", at_most.times, duration(at_most.span));
    Ok(Tuned { allowed, at_most, tried, fit, refused, keys, toml, report })
}

/// So many on average; as many at once are none too many, however short the history is.
fn allowed(often: Often, span: SpanMs) -> u64 {
    let average = often.times * span as f64 / often.span as f64;
    average.max(often.times) as u64
}

/// How many keys differ from what is configured.
fn changes(rule: &Rule, set: &Set) -> usize {
    use crate::domain::settings::entries;
    let is = |key: &str| {
        let hold = crate::domain::settings::Value::Int(rule.patience.hold);
        let own = entries(&rule.detect).find(|(own, _)| own.path == key).map(|(_, value)| value);
        own.or((key == "for").then_some(hold))
    };
    let shown = |key: &str| is(key).map(|value| rule_value(&rule.detect, key, &value));
    let differs = |(key, value): &&(String, String)| {
        let key = key.rsplit('.').next().unwrap_or(key);
        shown(key).is_none_or(|own| own.trim_matches('"') != value)
    };
    set.iter().filter(differs).count()
}

/// A setting as it stands in `[[rule]]`.
fn pasted(set: &Set) -> String {
    set.iter().fold(String::new(), |mut toml, (key, value)| {
        let key = key.rsplit('.').next().unwrap_or(key);
        let number = value.parse::<f64>().is_ok();
        let value = if number { value.clone() } else { format!("{value:?}") };
        writeln!(toml, "{key} = {value}").expect("writing to a text cannot fail");
        toml
    })
}

/// What is searched, and over what.
struct Search<'s> {
    ground: &'s Ground,
    rule: &'s Rule,
    seen: &'s Seen,
    range: Range,
}

impl Search<'_> {
    /// All settings worth trying, the configured one first, and the keys that they vary. Where the
    /// history is long the last keys stay as they are.
    fn sets(&self) -> (Vec<Set>, Vec<&'static str>) {
        let Rule { metric, detect, patience, .. } = self.rule;
        let config = &self.ground.config;
        let spec = config.metrics.iter().find(|spec| spec.name == *metric);
        let step = spec.map_or(1, |spec| spec.window.step()).max(1);
        let mut numbers: Vec<f64> =
            self.seen.numbers.values().flatten().map(|(_, number)| *number).collect();
        numbers.sort_unstable_by(f64::total_cmp);
        let span = self.seen.last.zip(self.seen.first).map_or(0, |(last, first)| last - first);
        let groups = self.seen.numbers.len().max(1) as u64;
        let most = config.dry_run.judgements_max / ((span / step).max(1) as u64 * groups);
        let mut sets: Vec<Set> = vec![Vec::new()];
        let mut keys = Vec::new();
        for (key, values) in detect.dials(*patience, step, &numbers) {
            if keys.is_empty() || (sets.len() * values.len()) as u64 <= most {
                keys.push(key);
                let texts: Vec<String> =
                    values.iter().map(|value| rule_value(detect, key, value)).collect();
                let with = |set: &Set, text: &String| {
                    let path = format!("rule.{}.{key}", self.rule.name);
                    let value = text.trim_matches('"').to_owned();
                    set.iter().cloned().chain([(path, value)]).collect()
                };
                sets = sets
                    .iter()
                    .flat_map(|set| texts.iter().map(move |text| with(set, text)))
                    .collect();
            }
        }
        sets.insert(0, Vec::new());
        (sets, keys)
    }

    /// What a setting would have raised; `None` when it cannot be.
    fn judge(&self, setting: &Setting) -> Option<Judged> {
        let config = setting.config.as_ref().ok()?;
        let rule = config.rules.iter().find(|rule| rule.name == self.rule.name)?;
        let metrics = Metric::compile_all(&config.metrics, &config.schema(0));
        let at = metrics.iter().position(|metric| metric.spec.name == rule.metric)?;
        let (metric, spec) = (&metrics[at], &metrics[at].spec);
        let (first, last) = (self.seen.first?, self.seen.last?);
        let whole =
            |plain: usize| Some(metrics[plain].grid.pane(first, &mut Memo::default()).start);
        let first = begins(&metrics, at, &whole)?.max(first);
        let nothing = Vec::new();
        let numbers = |group: u32| self.seen.numbers.get(&group).unwrap_or(&nothing);
        let lateness = config.time.allowed_lateness;
        let back = |kept, group| {
            keeper::look_back(rule, metric, kept, numbers(group), (first, last), lateness)
        };
        let mut said = if spec.group_by.is_empty() {
            back(None, 0)
        } else {
            let groups = self.seen.groups.iter();
            let watched = groups.filter(|(_, kept)| (kept.place as usize) < rule.groups_max);
            watched.flat_map(|(group, kept)| back(Some(kept), *group)).collect()
        };
        said.sort_by_key(|signal| signal.at);
        let mut alerts = Alerts::listing(config.dry_run.listed_max);
        said.iter().for_each(|signal| alerts.hear(self.range, signal, &rule.name));
        Some(Judged { set: setting.set.clone(), alerts })
    }
}

impl Tuned {
    /// As JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is plain data")
    }
}

impl fmt::Display for Tuned {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.report.history)?;
        writeln!(
            out,
            "{} settings of {} tried, {} more cannot be; {} would have fired {} times or less\n",
            grouped(self.tried as u64),
            self.keys.join(", "),
            self.refused,
            grouped(self.fit as u64),
            grouped(self.allowed)
        )?;
        self.report.table(out)?;
        match (&*self.toml, self.fit) {
            (_, 0) => writeln!(out, "\nNo setting of these is quiet enough."),
            ("", _) => writeln!(out, "\nNothing needs to be changed."),
            (toml, _) => {
                writeln!(out, "\nFor [[rule]] {}:\n\n{toml}", self.report.name)?;
                self.report.settings[1].fired(out)
            }
        }
    }
}
