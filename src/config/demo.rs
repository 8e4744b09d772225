//! What `tidewatch demo` sets differently, so that a session's whole life fits into a
//! few minutes of watching. A setting that somebody chose stays as it is.

use std::path::PathBuf;

use super::units::show_span;
use super::whole::Config;
use crate::demo::pause_max;
use crate::domain::anomaly::Detect;
use crate::domain::metric::WindowSpec;
use crate::domain::session::SessionPolicy;
use crate::domain::settings::{Rule, Section as _};
use crate::domain::time::SpanMs;

/// Least silence that ends a session. With the usual 400 visitors and 200 events a second
/// nobody in the shop pauses longer than 44.4 s: after 45 s they are gone. A slower shop
/// gets a longer gap, else its visits would fall apart.
const GAP_MIN: SpanMs = 45_000;

/// The simulated events come at most 0.8 s out of order.
const OUT_OF_ORDERNESS: SpanMs = 1_000;

/// Nothing comes later than that, so alerts need not wait.
const ALLOWED_LATENESS: SpanMs = 2_000;

/// Window of the abandonment rate, long enough for a few hundred sessions.
const ABANDONMENT_WINDOW: SpanMs = 300_000;

/// How far the spike rule looks back, and its fewest samples: two minutes of ten-second
/// windows, so that it can judge the first trouble.
const SPIKE_OVER: SpanMs = 180_000;
const SPIKE_SAMPLES_MIN: usize = 12;

/// What notices that the machines of a region fail.
const OUTAGE: &str = r#"
[[metric]]
name = "server_errors"
title = "Requests that fail, by region"
where = "has(status)"
numerator = "status >= 500"
aggregate = "ratio"
group_by = ["region"]
window = { tumbling = "5s" }
keep = "10m"

[[rule]]
name = "region_fails"
title = "Requests of a region fail"
metric = "server_errors"
detect = "threshold"
limit = 0.2
limit_clear = 0.1
cooldown = "15s"
severity = "critical"
"#;

/// Reminds people of their carts, by mails that are written and not sent. What depends on the rest stands
/// in capitals.
#[cfg(feature = "notify")]
const MAIL: &str = r#"
[nudges]
secret = "addresses of a demo are made up"
unsubscribe_url = "http://LISTEN/v1/unsubscribe"

[[sessions]]
name = "carts"
gap = "GAP"
entry = "cart_add"
goal = "payment_completed"
value = "amount"
lists = { items = "item" }
attributes = { email = "last.email", consent = "last.consent" }

[[channel]]
name = "mailbox"
type = "email"
from = "Tide Shop <shop@example.org>"
folder = "mails"

[[nudge]]
name = "cart"
of = "carts"
address = "email"
consent = "consent"
items = "items"
channel = "mailbox"
per = "10m"
within = "3m"
"#;

fn outage() -> Config {
    Config::parse("the demo", OUTAGE).expect("a test reads it")
}

/// Longest gap that the configuration allows.
fn gap_max() -> SpanMs {
    let policy = SessionPolicy::default();
    let gap = policy.keys().iter().find(|key| key.path == "session.gap");
    match gap.map(|key| key.rule) {
        Some(Rule::Span(_, most)) => most,
        _ => policy.gap,
    }
}

/// Shortens what is still at its default, and keeps simulated numbers out of the usual
/// data folder. Returns the sentence that the page shows about it.
pub fn demo_overrides(config: &mut Config) -> String {
    let usual = Config::default();
    let replace = |value: &mut SpanMs, usual: SpanMs, short: SpanMs| {
        if *value == usual {
            *value = short;
        }
    };
    let pause = pause_max(config.demo.users, config.demo.rate);
    let gap = ((pause / 1_000 + 1) * 1_000).clamp(GAP_MIN, gap_max());
    replace(&mut config.session.gap, usual.session.gap, gap);
    let time = &mut config.time;
    replace(&mut time.out_of_orderness, usual.time.out_of_orderness, OUT_OF_ORDERNESS);
    replace(&mut time.allowed_lateness, usual.time.allowed_lateness, ALLOWED_LATENESS);
    if config.general.data_dir == usual.general.data_dir {
        config.general.data_dir = PathBuf::from("tidewatch-demo");
    }
    for metric in &mut config.metrics {
        if metric.name == "abandonment_rate" && usual.metrics.contains(metric) {
            metric.window = WindowSpec::Hopping { size: ABANDONMENT_WINDOW, slide: 1_000 };
        }
    }
    let is_usual = config
        .metrics
        .iter()
        .map(|metric| &metric.name)
        .eq(usual.metrics.iter().map(|metric| &metric.name));
    if is_usual && config.rules == usual.rules {
        let Config { metrics, rules, .. } = outage();
        config.metrics.extend(metrics);
        config.rules.extend(rules);
    }
    for rule in &mut config.rules {
        if usual.rules.contains(rule)
            && let Detect::Sigma(sigma) = &mut rule.detect
        {
            sigma.over = SPIKE_OVER;
            sigma.samples_min = SPIKE_SAMPLES_MIN;
        }
    }
    format!(
        "Simulated shop. A session ends after {} without an event (normally {}).",
        show_span(config.session.gap),
        show_span(usual.session.gap)
    )
}

/// Adds what reminds people of their carts, unless somebody has nudges of their own or something of that
/// name. Returns the folder of the mails.
#[cfg(feature = "notify")]
pub fn demo_mail(config: &mut Config) -> PathBuf {
    let folder = config.general.data_dir.join("mails");
    let text = MAIL.replace("LISTEN", &config.web.listen.to_string());
    let text = text.replace("GAP", &show_span(config.session.gap));
    let Config { mut channels, patterns, nudges, nudging, .. } =
        Config::parse("the demo", &text).expect("a test reads it");
    let channel_of = |name: &str| config.channels.iter().any(|known| known.name == name);
    let named = |name: &str| config.patterns.iter().any(|known| known.name == name);
    let taken = channels.iter().any(|own| channel_of(&own.name))
        || patterns.iter().any(|own| named(&own.name));
    if taken || !config.nudges.is_empty() {
        return folder;
    }
    let path = crate::domain::settings::Value::Text(folder.display().to_string());
    for channel in &mut channels {
        channel.kind.set("folder", path.clone());
    }
    config.channels.extend(channels);
    config.patterns.extend(patterns);
    config.nudges = nudges;
    config.nudging = nudging;
    folder
}

/// There are no mails in a build without channels.
#[cfg(not(feature = "notify"))]
pub fn demo_mail(config: &mut Config) -> PathBuf {
    config.general.data_dir.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_shortened_and_the_page_says_so() {
        let mut config = Config::default();
        let notice = demo_overrides(&mut config);
        assert_eq!(
            notice,
            "Simulated shop. A session ends after 45s without an event (normally 30m)."
        );
        assert_eq!((config.time.allowed_lateness, config.time.out_of_orderness), (2_000, 1_000));
        assert_ne!(config.general.data_dir, Config::default().general.data_dir);
        let again = Config::parse("printed", &config.print()).unwrap();
        assert_eq!(again, config, "what it sets is allowed");
    }

    #[cfg(feature = "notify")]
    #[test]
    fn mails_are_written_beside_the_data_and_what_somebody_has_stays() {
        let mut config = Config::default();
        demo_overrides(&mut config);
        let folder = demo_mail(&mut config);
        assert_eq!(folder, PathBuf::from("tidewatch-demo/mails"));
        assert_eq!(config.nudges.len(), 1);
        assert!(config.print().contains("folder = \"tidewatch-demo/mails\""));
        assert!(config.warnings().iter().all(|says| !says.contains("mailbox")), "it is used");
        let before = config.clone();
        demo_mail(&mut config);
        assert_eq!(config, before, "not twice");
    }

    #[test]
    fn an_outage_is_noticed_unless_somebody_has_rules_of_their_own() {
        let names = |text: &str| {
            let mut config = Config::parse("t.toml", text).unwrap();
            demo_overrides(&mut config);
            config.rules.iter().map(|rule| rule.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["failed_payments_spike", "region_fails"]);
        let own =
            "[[metric]]\nname = \"m\"\naggregate = \"count\"\nwindow = { tumbling = \"1s\" }\n";
        assert_eq!(names(own), [""; 0]);
    }

    #[test]
    fn a_slower_shop_gets_a_longer_gap() {
        let mut config = Config::parse("t.toml", "[demo]\nusers = 4000").unwrap();
        demo_overrides(&mut config);
        assert_eq!(config.session.gap, 445_000);
    }

    #[test]
    fn what_somebody_chose_stays() {
        let text = "data_dir = \"mine\"\n[session]\ngap = \"10m\"\n[[metric]]\n\
                    name = \"abandonment_rate\"\naggregate = \"count\"\n\
                    window = { tumbling = \"1s\" }";
        let mut config = Config::parse("t.toml", text).unwrap();
        let chosen = config.clone();
        demo_overrides(&mut config);
        assert_eq!(config.session.gap, chosen.session.gap);
        assert_eq!(config.general.data_dir, chosen.general.data_dir);
        assert_eq!(config.metrics, chosen.metrics);
    }
}
