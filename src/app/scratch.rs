//! Pipelines beside the one that serves, in a folder that goes with them: for dry runs, and to fill
//! new metrics from the log.

use crate::actors::pipeline::horizon;
use crate::config::{Config, names_type};
use crate::domain::pattern::PatternSpec;

/// Deltas of a temporary folder before a snapshot is made: nothing starts from it again.
pub(super) const SNAPSHOT_BYTES: u64 = 4 << 30;

/// These metrics, and those that they are made of.
pub(super) fn needed<'c>(config: &'c Config, mut names: Vec<&'c str>) -> Vec<&'c str> {
    let mut at = 0;
    while let Some(name) = names.get(at) {
        let spec = config.metrics.iter().find(|spec| spec.name == *name);
        let formula = spec.and_then(|spec| spec.formula.as_ref());
        for one in formula.iter().flat_map(|of| &of.operands) {
            if !names.contains(&&*one.metric) {
                names.push(&one.metric);
            }
        }
        at += 1;
    }
    names
}

/// A configuration for nothing but these metrics, which counts them as the whole one would.
pub(super) fn only(config: &Config, metrics: &[&str]) -> Config {
    let mut alone = config.clone();
    alone.rules.clear();
    alone.metrics.retain(|spec| metrics.contains(&&*spec.name));
    let counted =
        |pattern: &PatternSpec| alone.metrics.iter().any(|spec| names_type(spec, &pattern.name));
    alone.patterns.retain(counted);
    // None of them speaks.
    alone.patterns.iter_mut().for_each(|pattern| pattern.alert = None);
    // Which repeats are known depends on all metrics.
    let known = horizon(&config.pipeline, config.time, &config.session, config.metrics.iter());
    alone.pipeline.dedup_horizon = Some(known);
    alone.pipeline.restarts_max = 0;
    alone.store.snapshot_delta_bytes = SNAPSHOT_BYTES;
    alone.nats.link = None;
    alone
}
