//! Channels, routes and planned work as they are written.

use jiff::civil::time;

use super::*;
use crate::domain::incident::Of;
use crate::domain::settings::terms::{HOUR, MINUTE};

const WHOLE: &str = r#"
zone = "Europe/Berlin"
[incidents]
open_max = 50
notify_max_age = "1h"
page_url = "https://tide.example/"
[[pattern]]
name = "hesitated"
first = { type = "product_view" }
times = 3
within = "10m"
alert = "info"
attributes = { sku = "first.sku" }
[[metric]]
name = "errors"
aggregate = "count"
group_by = ["region"]
window = { tumbling = "1m" }
[[channel]]
name = "pager"
type = "pagerduty"
routing_key = "env:PAGER_KEY"
[[channel]]
name = "ops"
type = "slack"
url = "https://hooks.slack.com/services/T0/B0/hush"
title = "{{ title }} in {{ labels.region }}"
timeout = "3s"
[[channel]]
name = "mail"
type = "email"
host = "smtp.example"
from = "Tide <tide@shop.example>"
to = ["ops@shop.example"]
user = "tide"
password = "file:/run/secrets/smtp"
[[route]]
name = "nights"
when = 'severity == "critical" && region == "eu"'
channel = "pager"
continue = true
after = "5m"
quiet = { from = "22:00", until = "07:00", days = ["saturday", "sunday"], zone = "UTC" }
repeat = "4h"
acknowledged = false
[[route]]
name = "carts"
of = "occurrences"
when = 'kind == "abandoned" && value > 100 || sku == "b"'
channel = "mail"
digest = "10m"
at_most = 6
[[route]]
name = "all"
channel = "ops"
[[maintenance]]
name = "sundays"
hours = { from = "02:00", until = "04:00", days = ["sunday"] }
[[maintenance]]
name = "move"
when = 'metric == "errors"'
from = "2026-12-24 20:00"
until = "2026-12-25T08:00:00Z"
"#;

#[test]
fn what_is_written_is_what_the_desk_goes_by() {
    let config = Config::parse("t.toml", WHOLE).unwrap();
    let desk = config.desk();
    assert_eq!((desk.open_max, desk.max_age, desk.silences_max), (50, HOUR, 1_000));
    for name in ["segment", "step", "sku", "duration_s"] {
        assert!(desk.attributes.iter().any(|known| known == name), "{name}");
    }
    let [nights, carts, all] = &desk.routes[..] else { panic!("{:?}", desk.routes) };
    assert_eq!((nights.after, nights.repeat, nights.goes_on), (5 * MINUTE, 4 * HOUR, true));
    assert_eq!((nights.resolved, nights.acknowledged), (true, false));
    let quiet = nights.quiet.as_ref().unwrap();
    assert_eq!((quiet.from, quiet.until), (time(22, 0, 0, 0), time(7, 0, 0, 0)));
    assert_eq!(quiet.days, [Weekday::Saturday, Weekday::Sunday]);
    assert_eq!(quiet.zone.iana_name(), Some("UTC"));
    assert_eq!((carts.of, carts.digest, carts.at_most), (Of::Occurrences, 10 * MINUTE, 6));
    assert_eq!((all.when.as_ref(), all.per), (None, HOUR));
    let [sundays, once] = &desk.maintenance[..] else { panic!("{:?}", desk.maintenance) };
    assert_eq!(sundays.hours.as_ref().unwrap().zone.iana_name(), Some("Europe/Berlin"));
    // Eight in the evening in Berlin.
    assert_eq!((once.from, once.until), (Some(1_798_138_800_000), Some(1_798_185_600_000)));
    let names: Vec<&str> = config.channels.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["pager", "ops", "mail"]);
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn what_is_printed_reads_back_but_for_secrets() {
    let config = Config::parse("t.toml", WHOLE).unwrap();
    let printed = config.print();
    assert!(!printed.contains("hush"), "{printed}");
    assert!(printed.contains("routing_key = \"env:PAGER_KEY\""), "{printed}");
    let hidden = "url = \"\" # it is set, and not shown";
    assert!(printed.contains(hidden), "{printed}");
    let whole = printed.replace(hidden, "url = \"https://hooks.slack.com/services/T0/B0/hush\"");
    let again = Config::parse("printed", &whole).unwrap_or_else(|error| panic!("{error}\n{whole}"));
    assert_eq!(again, config, "\n{printed}");
}

#[test]
fn whom_to_tell_changes_no_number() {
    let told = Config::parse("t.toml", WHOLE).unwrap();
    let from = WHOLE.find("[[channel]]").unwrap();
    let silent = Config::parse("t.toml", &WHOLE[..from]).unwrap();
    assert_eq!(told.fingerprint(), silent.fingerprint());
    let changes = silent.changes(&told);
    let keys = |changes: &[crate::actors::reload::KeyChange]| -> Vec<String> {
        changes.iter().map(|change| change.key.clone()).collect()
    };
    assert_eq!(
        keys(&changes.taken),
        ["maintenance move", "maintenance sundays", "route all", "route carts", "route nights"]
    );
    assert_eq!(keys(&changes.needs_restart), ["channel mail", "channel ops", "channel pager"]);
    assert!(changes.needs_restart.iter().all(|change| !format!("{change:?}").contains("hush")));
    let other = WHOLE.replace("B0/hush", "B0/other");
    let other = Config::parse("t.toml", &other).unwrap();
    assert_eq!(told, Config::parse("t.toml", WHOLE).unwrap());
    assert_ne!(told, other);
    assert_eq!(
        keys(&told.changes(&other).needs_restart),
        ["channel ops"],
        "a new secret is a change"
    );
}

#[test]
fn what_leads_nowhere_is_said() {
    let text = r#"
[[channel]]
name = "a"
type = "webhook"
url = "https://a.example/"
[[channel]]
name = "b"
type = "webhook"
url = "https://b.example/"
[[route]]
name = "first"
channel = "a"
[[route]]
name = "second"
channel = "a"
[[route]]
name = "carts"
of = "occurrences"
channel = "a"
"#;
    let config = Config::parse("t.toml", text).unwrap();
    assert_eq!(
        config.warnings(),
        [
            "channel.b: no route leads to it",
            "route.second: nothing reaches it, because first before it takes all incidents and has no \
             continue = true"
        ]
    );
}
