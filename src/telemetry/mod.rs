//! Logs, metrics and panics of the process: installed once, by `main`.
//!
//! Log lines go to stderr, as text or JSON; metrics are collected here and rendered by
//! the web side at `/metrics`. `names` lists the metrics, `happenings` the notable
//! things that are logged and counted together.

pub mod happenings;
pub mod names;

use std::io::IsTerminal;

use metrics::gauge;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

/// What is logged when nobody says otherwise.
const FILTER_DEFAULT: &str = "info";

/// What a part may log, from nothing to everything.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// How to log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Level, or levels by part; `None` takes `RUST_LOG`, and `info` without it.
    pub filter: Option<String>,
    /// One JSON object a line, instead of text.
    pub json: bool,
}

/// Why nothing was installed.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The filter of log lines is wrong.
    #[error("{from} {filter:?}: {cause}")]
    Filter {
        /// Where it was set.
        from: &'static str,
        /// The filter.
        filter: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Logs or metrics were installed already.
    #[error("telemetry is installed already: {0}")]
    Twice(String),
}

/// The collected metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// All metrics as Prometheus text.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds the samples of histograms into their buckets, which bounds their memory.
    /// Call every few seconds; rendering does it too.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// Installs logs, metrics and the panic hook for the whole process.
///
/// # Errors
/// When the filter is wrong or something was installed already.
pub fn install(settings: &Settings) -> Result<Metrics, InstallError> {
    install_logs(settings)?;
    let handle =
        recorder().install_recorder().map_err(|error| InstallError::Twice(error.to_string()))?;
    names::describe(names::TABLE);
    happenings::begin_at_zero();
    gauge!(names::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    std::panic::set_hook(Box::new(|info| happenings::Panicked::from(info).tell()));
    Ok(Metrics { handle })
}

fn install_logs(settings: &Settings) -> Result<(), InstallError> {
    let (from, filter) = match &settings.filter {
        Some(filter) => ("--log", Some(filter.clone())),
        None => ("RUST_LOG", std::env::var("RUST_LOG").ok()),
    };
    let filter = filter.filter(|text| !text.is_empty()).unwrap_or_else(|| FILTER_DEFAULT.into());
    let refused = |cause| InstallError::Filter { from, filter: filter.clone(), cause };
    let directives = parse_filter(&filter).map_err(refused)?;
    let to_stderr = fmt::layer().with_writer(std::io::stderr);
    let layer = if settings.json {
        to_stderr.json().flatten_event(true).boxed()
    } else {
        to_stderr
            .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .boxed()
    };
    registry()
        .with(layer.with_filter(directives))
        .try_init()
        .map_err(|error| InstallError::Twice(error.to_string()))
}

/// Checks what may be logged: levels, alone or of a part.
///
/// # Errors
/// Names the word that is wrong, and the levels.
pub fn check_filter(text: &str) -> Result<(), String> {
    parse_filter(text).map(drop)
}

/// By itself a filter takes any single word for the name of a part, and then logs nothing at all.
fn parse_filter(text: &str) -> Result<EnvFilter, String> {
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let levels = LEVELS.join(", ");
    // Conditions on spans are the filter's own business.
    let directives: Vec<&str> = text.split(',').map(str::trim).collect();
    for directive in directives.iter().filter(|part| !part.contains(['[', '{'])) {
        let wrong = match directive.rsplit_once('=') {
            _ if directive.is_empty() => None,
            Some((part, level)) => (!is_level(level) || part.is_empty()).then_some(level),
            None => (!is_level(directive) && !directive.contains("::")).then_some(*directive),
        };
        if let Some(word) = wrong {
            return Err(format!(
                "{word:?} is not a level; the levels are {levels}. Write for example info, or \
                 info,tidewatch::store=debug"
            ));
        }
    }
    EnvFilter::try_new(directives.join(","))
        .map_err(|error| format!("{error}; the levels are {levels}"))
}

/// A recorder with the buckets of every histogram in the table.
fn recorder() -> PrometheusBuilder {
    names::TABLE.iter().fold(PrometheusBuilder::new(), |builder, metric| match metric.instrument {
        names::Instrument::Histogram(buckets) => builder
            .set_buckets_for_metric(Matcher::Full(metric.name.into()), buckets.bounds())
            .expect("the table's buckets are not empty"),
        names::Instrument::Counter | names::Instrument::Gauge => builder,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::{counter, histogram};

    #[test]
    fn metrics_are_rendered_with_type_and_meaning() {
        let recorder = recorder().build_recorder();
        let metrics = Metrics { handle: recorder.handle() };
        metrics::with_local_recorder(&recorder, || {
            names::describe(names::TABLE);
            counter!(names::EVENTS, "outcome" => names::outcome::APPLIED).increment(3);
            histogram!(names::COMMIT_SECONDS).record(0.003);
        });
        metrics.upkeep();
        let text = metrics.render();
        for line in [
            "# TYPE tidewatch_events_total counter",
            "tidewatch_events_total{outcome=\"applied\"} 3",
            "# TYPE tidewatch_commit_seconds histogram",
            "tidewatch_commit_seconds_bucket{le=\"0.002\"} 0",
            "tidewatch_commit_seconds_bucket{le=\"0.005\"} 1",
            "tidewatch_commit_seconds_count 1",
            "# HELP tidewatch_commit_seconds Time of one durable commit.",
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line:?} in\n{text}");
        }
    }

    #[test]
    fn a_wrong_filter_is_named() {
        let settings = Settings { filter: Some("loud=everything".into()), json: false };
        let message = install_logs(&settings).unwrap_err().to_string();
        assert!(message.starts_with("--log \"loud=everything\": \"everything\""), "{message}");
        for (filter, wrong) in [
            ("", None),
            ("info", None),
            ("WARN", None),
            ("off", None),
            ("info,tidewatch::store=debug", None),
            ("warn, async_nats=trace", None),
            ("tidewatch::store", None),
            ("info,[span{field=1}]=debug", None),
            ("loud", Some("loud")),
            ("verbose,info", Some("verbose")),
            ("info,tidewatch::store=warning", Some("warning")),
            ("info,tidewatch=", Some("")),
            ("=info", Some("info")),
        ] {
            let found = check_filter(filter);
            assert_eq!(found.is_ok(), wrong.is_none(), "{filter}: {found:?}");
            if let (Err(text), Some(word)) = (found, wrong) {
                assert!(text.starts_with(&format!("{word:?} is not a level")), "{text}");
                assert!(text.contains("off, error, warn, info, debug, trace"), "{text}");
            }
        }
    }
}
