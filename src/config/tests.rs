//! Each mistake is named with its place, key, value and rule; what is printed reads back as the
//! same configuration.

use std::path::PathBuf;

use super::*;
use crate::domain::metric::aggregate::Distinct;
use crate::domain::metric::{CalendarSpan, Weekday, WindowSpec};
use crate::domain::number::Decimal;
use proptest::prelude::*;

mod tables;

/// The message for a file with this text, or "" when it is accepted.
fn complaint(text: &str) -> String {
    Config::parse("t.toml", text).map_or_else(|error| error.to_string(), |_| String::new())
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (text, message) in cases {
        assert_eq!(complaint(text), *message, "\nfor:\n{text}");
    }
}

#[test]
fn the_shipped_metrics_are_the_documented_ones() {
    let config = Config::default();
    let names: Vec<&str> = config.metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "unique_visitors",
            "errors_by_region_status",
            "event_rate",
            "order_value",
            "revenue",
            "abandonment_rate",
            "sessions_by_step",
            "failed_payments"
        ]
    );
    let visitors = &config.metrics[0];
    assert_eq!(visitors.aggregate, Distinct { exact_up_to: 10_000 }.into());
    assert_eq!(visitors.window, WindowSpec::Hopping { size: 300_000, slide: 30_000 });
    let errors = &config.metrics[1];
    assert_eq!(errors.filter[0].test, Test::Ge(Decimal::from_i64(400)));
    assert_eq!(
        (errors.window.clone(), errors.keep),
        (WindowSpec::Tumbling { size: 1_000 }, 120_000)
    );
    let revenue = &config.metrics[4];
    assert_eq!(revenue.window, WindowSpec::SinceMidnight { zone: "UTC".into(), slide: 1_000 });
    let rule = &config.rules[0];
    assert_eq!((rule.k, rule.over, rule.samples_min, rule.value_min), (3.0, 600_000, 30, 5.0));
}

#[test]
fn the_schema_has_what_the_configuration_names() {
    let schema = Config::default().schema(7);
    assert_eq!(schema.keys, ["user"]);
    assert_eq!(schema.aliases, [("code".to_string(), "status".to_string())]);
    assert_eq!(schema.slots, ["amount", "region", "status", "type"]);
    assert_eq!(
        schema.kinds,
        [
            "page_view",
            "cart_add",
            "payment_initiated",
            "payment_completed",
            "cart_remove",
            "payment_failed"
        ]
    );
    assert_eq!(schema.seed, 7);
}

#[test]
fn a_value_outside_its_bounds_is_named() {
    check(&[
        (
            "[session]\ngap = \"30 bananas\"",
            "t.toml:2:1: session.gap = \"30 bananas\": is not a duration: write whole numbers with \
             units d, h, m, s or ms, such as \"500ms\", \"30m\" or \"2h30m\"",
        ),
        (
            "[session]\n  gap = 30",
            "t.toml:2:3: session.gap = 30: must be a duration in quotes such as \"30m\", \
             this is a whole number",
        ),
        (
            "[pipeline]\ntick = \"50ms\"",
            "t.toml:2:1: pipeline.tick = \"50ms\": must be from \"100ms\" to \"1m\"",
        ),
        ("[pipeline]\nshards = 65", "t.toml:2:1: pipeline.shards = 65: must be from 1 to 64"),
        (
            "pipeline.shards = \"2\"",
            "t.toml:1:10: pipeline.shards = \"2\": must be a whole number, this is text",
        ),
        (
            "[events]\nevent_bytes = \"64kb\"",
            "t.toml:2:1: events.event_bytes = \"64kb\": is not a size: write a whole number with a \
             unit B, KiB, MiB or GiB, such as \"64KiB\"",
        ),
        (
            "[events]\ntext_bytes = \"1GiB\"",
            "t.toml:2:1: events.text_bytes = \"1GiB\": must be from 16B to 1MiB",
        ),
        (
            "[web]\nlisten = \"localhost\"",
            "t.toml:2:1: web.listen = \"localhost\": must be an address with a port such as \
             \"127.0.0.1:7077\"",
        ),
        (
            "[web]\ninsecure_no_auth = 1",
            "t.toml:2:1: web.insecure_no_auth = 1: must be true or false, this is a whole number",
        ),
        (
            "[time]\nidle = \"sleep\"",
            "t.toml:2:1: time.idle = \"sleep\": must be one of \"follow\", \"hold\"",
        ),
        (
            "zone = \"Middle/Earth\"",
            "t.toml:1:1: zone = \"Middle/Earth\": is not an IANA zone: write for example \"UTC\" or \
             \"Europe/Berlin\"",
        ),
        ("[demo]\nrate = nan", "t.toml:2:1: demo.rate = nan: must be a finite number"),
        (
            "[session]\nentry = [1]",
            "t.toml:2:1: session.entry = [1]: must be a list of texts such as [\"a\", \"b\"], \
             this is a whole number",
        ),
        ("data_dir = \"\"", "t.toml:1:1: data_dir = \"\": must name a folder"),
    ]);
}

#[test]
fn an_unknown_key_is_named_with_its_neighbours() {
    check(&[
        (
            "[time]\nout_of_order = \"5s\"",
            "t.toml:2:1: time.out_of_order: is not a known key; known here: \
             out_of_orderness, allowed_lateness, max_future, idle",
        ),
        (
            "[pipeline]\nidle_actors_max = 5",
            "t.toml:2:1: pipeline.idle_actors_max = 5: is not a key any more: no actors are kept \
             for later; leave it out",
        ),
        (
            "[tiem]\nidle = \"hold\"",
            "t.toml:2:1: tiem.idle: is not a known key; known here: data_dir, zone, first_weekday, \
             events, time, session, pipeline, store, log, web, demo, nats, metric, rule; did you \
             mean time.idle?",
        ),
        (
            "[tiem]",
            "t.toml:1:2: tiem: is not a known key; known here: data_dir, zone, first_weekday, events, time, \
             session, pipeline, store, log, web, demo, nats, metric, rule",
        ),
        (
            "session = 5",
            "t.toml:1:1: session: is not a known key; known here: data_dir, zone, first_weekday, events, time, \
             session, pipeline, store, log, web, demo, nats, metric, rule",
        ),
        (
            "[metric]\nname = \"a\"",
            "t.toml:1:2: metric = [metric]: must be written as [[metric]], once for each metric",
        ),
    ]);
}

#[test]
fn text_that_is_no_toml_is_named_with_its_place() {
    let message = complaint("[session]\ngap = ");
    assert!(message.starts_with("t.toml:2:7: not valid TOML: "), "{message}");
    let message = complaint("zone = \"UTC\"\nzone = \"UTC\"");
    assert!(message.starts_with("t.toml:2:1: not valid TOML: duplicate key"), "{message}");
}

#[test]
fn an_impossible_combination_is_named() {
    check(&[
        (
            "[session]\ngoal = [\"cart_add\"]",
            "t.toml:2:1: session.goal = [\"cart_add\"]: \"cart_add\" cannot be an entry and a goal \
             at once",
        ),
        ("[session]\nentry = []", "t.toml:2:1: session.entry = []: must hold 1 to 64 names"),
        (
            "[session]\nentry = [\"a\", \"a\"]",
            "t.toml:2:1: session.entry = [\"a\", \"a\"]: must not name \"a\" twice",
        ),
        (
            "[session]\nsteps = [\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"a\",\"b\",\"c\",\
             \"d\",\"e\",\"f\",\"g\"]",
            "t.toml:2:1: session.steps = \
             [\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"a\",\"b\",\"c\",\"d\",\"e\",\"f\"...: \
             must hold 0 to 15 names",
        ),
        (
            "[session]\nsegment = \"code\"",
            "t.toml:2:1: session.segment = \"code\": \"code\" is an alias of \"status\", \
             write \"status\"",
        ),
        (
            "[pipeline]\ncredits = 100000\ncommit_events = 1000",
            "t.toml:2:1: pipeline.credits = 100000: pipeline.credits must be at least twice \
             pipeline.batch_max, 131072",
        ),
        (
            "[pipeline]\nbatch_max = 1000000",
            "t.toml:2:1: pipeline.batch_max = 1000000: pipeline.credits must be at least twice \
             pipeline.batch_max, 2000000",
        ),
        (
            "[pipeline]\ncommit_events = 2000000",
            "t.toml:2:1: pipeline.commit_events = 2000000: pipeline.commit_events must not be \
             greater than pipeline.credits, 1048576",
        ),
        (
            "[web]\nbody_bytes_max = \"64MiB\"",
            "t.toml:2:1: web.body_bytes_max = \"64MiB\": web.inflated_bytes_max must not be smaller \
             than web.body_bytes_max, 64MiB",
        ),
        (
            "[events]\nevent_bytes = \"16MiB\"\n[web]\nbody_bytes_max = \"16MiB\"",
            "t.toml:2:1: events.event_bytes = \"16MiB\": log.group_bytes_max must not be smaller \
             than events.event_bytes, 16MiB",
        ),
        (
            "[web]\nlisten = \"0.0.0.0:80\"",
            "t.toml:2:1: web.listen = \"0.0.0.0:80\": other machines can reach this address and \
             there is no sign-in: listen on 127.0.0.1, or set web.insecure_no_auth = true if a \
             proxy or a firewall guards it",
        ),
        ("[web]\nlisten = \"0.0.0.0:80\"\ninsecure_no_auth = true", ""),
        (
            "[web]\norigins = [\"shop.example\"]",
            "t.toml:2:1: web.origins = [\"shop.example\"]: \"shop.example\" must start with http:// \
             or https://",
        ),
        (
            "[events]\naliases = { a = \"b\", b = \"c\" }",
            "t.toml:2:1: events.aliases = { a = \"b\", b = \"c\" }: must not lead on to another \
             alias, \"b\" stands on both sides",
        ),
    ]);
}

#[test]
fn a_wrong_metric_is_named() {
    let metric = |keys: &str| complaint(&format!("[[metric]]\nname = \"m\"\n{keys}\n"));
    let count = "aggregate = \"count\"\n";
    let second = "window = { tumbling = \"1s\" }\n";
    for (keys, message) in [
        (format!("{count}{second}"), ""),
        (second.into(), "t.toml:1:1: metric.m.aggregate: is missing: write aggregate = \"count\""),
        (
            count.into(),
            "t.toml:1:1: metric.m.window: is missing: write window = { tumbling = \"1s\" }",
        ),
        (
            format!("{count}window = {{ hopping = \"5m\", slide = \"40s\" }}"),
            "t.toml:4:1: metric.m.window = { hopping = \"5m\", slide = \"40s\" }: slide must divide \
             the size, 40s does not divide 5m",
        ),
        (
            format!("{count}window = {{ hopping = \"30d\", slide = \"1s\" }}"),
            "t.toml:4:1: metric.m.window = { hopping = \"30d\", slide = \"1s\" }: size / slide is \
             2592000, at most 86400",
        ),
        (
            format!("{count}window = {{ tumbling = \"5mo\" }}"),
            "t.toml:4:1: metric.m.window = { tumbling = \"5mo\" }: tumbling must be a number of \
             months that divides a year: 1, 2, 3, 4, 6 or 12",
        ),
        (
            format!("{count}window = {{ hopping = \"1mo\", slide = \"1d\" }}"),
            "t.toml:4:1: metric.m.window = { hopping = \"1mo\", slide = \"1d\" }: size and slide \
             must both be in months, or both in days or weeks",
        ),
        (
            format!("{count}window = {{ hopping = \"1mo\", slide = \"1h\" }}"),
            "t.toml:4:1: metric.m.window = { hopping = \"1mo\", slide = \"1h\" }: months only \
             slide by months: write slide = \"1mo\"",
        ),
        (
            format!("{count}window = {{ hopping = \"7d\", slide = \"2d\" }}"),
            "t.toml:4:1: metric.m.window = { hopping = \"7d\", slide = \"2d\" }: slide must \
             divide the size, 2d does not divide 1w",
        ),
        (
            format!("{count}window = {{ tumbling = \"24h\", zone = \"Europe/Berlin\" }}"),
            "t.toml:4:1: metric.m.window = { tumbling = \"24h\", zone = \"Europe/Berlin\" }: zone \
             only belongs to windows of whole days, weeks or months",
        ),
        (
            format!("{count}window = {{ sliding = \"5m\" }}"),
            "t.toml:4:1: metric.m.window = { sliding = \"5m\" }: must be { tumbling = \"1s\" }, \
             { hopping = \"5m\", slide = \"30s\" } or { since_midnight = true, slide = \"1s\" }",
        ),
        (
            format!("{count}window = {{ since_midnight = \"Mars\", slide = \"1s\" }}"),
            "t.toml:4:1: metric.m.window = { since_midnight = \"Mars\", slide = \"1s\" }: \
             since_midnight is not an IANA zone: write for example \"UTC\" or \"Europe/Berlin\"",
        ),
        (
            format!("{count}window = {{ tumbling = \"10s\" }}\nkeep = \"5s\""),
            "t.toml:5:1: metric.m.keep = \"5s\": keep must hold at least one window, \"10s\"",
        ),
        (
            format!("{count}{second}group_by = [\"a\"]\ngroup_limit = 10000"),
            "t.toml:6:1: metric.m.group_limit = 10000: group_limit x keep / step is 36000000 points, \
             at most 4000000",
        ),
        (
            format!("{count}{second}group_by = [\"a\"]\ngroup_limit = 0"),
            "t.toml:6:1: metric.m.group_limit = 0: must be from 1 to 10000",
        ),
        (
            format!("aggregate = \"median\"\n{second}"),
            "t.toml:3:1: metric.m.aggregate = \"median\": must be one of \"count\", \"sum\", \"avg\", \
             \"stddev\", \"min\", \"max\", \"rate\", \"distinct\", \"ratio\"",
        ),
        (
            format!("aggregate = \"sum\"\n{second}"),
            "t.toml:1:1: metric.m.field: is missing: name the attribute to compute from",
        ),
        (
            format!("{count}{second}field = \"amount\""),
            "t.toml:5:1: metric.m.field = \"amount\": has no meaning for this aggregate",
        ),
        (
            format!("aggregate = \"ratio\"\n{second}"),
            "t.toml:1:1: metric.m.numerator: is missing: a ratio needs the conditions counted above \
             the line",
        ),
        (
            format!("{count}{second}exact_up_to = 5"),
            "t.toml:5:1: metric.m.exact_up_to = 5: only belongs to aggregate = \"distinct\"",
        ),
        (
            format!("{count}{second}where = {{ status = {{ above = 5 }} }}"),
            "t.toml:5:1: metric.m.where = { status = { above = 5 } }: status: \"above\" is not a \
             comparison; there are ge, gt, le, lt, exists",
        ),
        (
            format!("{count}{second}where = {{ region = [\"eu\", 5] }}"),
            "t.toml:5:1: metric.m.where = { region = [\"eu\", 5] }: region: a list must hold 1 to 32 \
             texts, or as many numbers",
        ),
        (
            format!("{count}{second}where = {{ code = 500 }}"),
            "t.toml:5:1: metric.m.where = { code = 500 }: \"code\" is an alias of \"status\", write \
             \"status\"",
        ),
        (
            format!("{count}{second}of = \"sessions\"\ngroup_by = [\"region\"]"),
            "t.toml:6:1: metric.m.group_by = [\"region\"]: \"region\" is not an attribute of a session; \
             there are outcome, step, segment, value, events, duration_s",
        ),
        (
            "aggregate = \"rate\"\nwindow = { since_midnight = true, slide = \"1s\" }".into(),
            "t.toml:4:1: metric.m.window = { since_midnight = true, slide = \"1s\" }: must be \
             tumbling or hopping for a rate",
        ),
        (
            format!("{count}{second}of = \"live_sessions\""),
            "t.toml:4:1: metric.m.window = { tumbling = \"1s\" }: has no meaning for live sessions",
        ),
        (
            format!("{count}{second}color = \"red\""),
            "t.toml:5:1: metric.m.color: is not a known key; known here: name, title, of, where, \
             aggregate, numerator, field, group_by, group_limit, window, keep, unit, exact_up_to",
        ),
    ] {
        assert_eq!(metric(&keys), message, "\nfor:\n{keys}");
    }
}

#[test]
fn a_wrong_name_or_rule_is_named() {
    let metric = "aggregate = \"count\"\nwindow = { tumbling = \"10s\" }\n";
    let two = |a: &str, b: &str| {
        format!("[[metric]]\nname = \"{a}\"\n{metric}[[metric]]\nname = \"{b}\"\n{metric}")
    };
    let rule = |keys: &str| format!("[[rule]]\nname = \"r\"\n{keys}\n");
    check(&[
        (&two("a", "a"), "t.toml:6:1: metric.a.name = \"a\": is used by another metric or rule"),
        (
            &two("a", "Big Name"),
            "t.toml:6:1: metric.Big Name.name = \"Big Name\": must be a lower-case letter, then \
             letters, digits or _, at most 64",
        ),
        (
            &two("a", "kpi"),
            "t.toml:6:1: metric.kpi.name = \"kpi\": is the name of a built-in topic",
        ),
        (&rule("metric = \"failed_payments\""), ""),
        (
            "[[rule]]\nmetric = \"failed_payments\"",
            "t.toml:1:1: rule.1.name: is missing: write name = \"...\"",
        ),
        (&rule("metric = \"nope\""), "t.toml:3:1: rule.r.metric = \"nope\": names no metric"),
        (
            &rule("metric = \"errors_by_region_status\""),
            "t.toml:3:1: rule.r.metric = \"errors_by_region_status\": must name a metric without \
             group_by",
        ),
        (
            &rule("metric = \"failed_payments\"\nover = \"2m\""),
            "t.toml:4:1: rule.r.over = \"2m\": can never alert: over holds 12 samples of \
             failed_payments, samples_min is 30",
        ),
        (
            &rule("metric = \"failed_payments\"\nk = 0"),
            "t.toml:4:1: rule.r.k = 0: must be from 0.1 to 100",
        ),
        (
            &rule("metric = \"failed_payments\"\nseverity = \"fatal\""),
            "t.toml:4:1: rule.r.severity = \"fatal\": must be one of \"info\", \"warning\", \
             \"critical\"",
        ),
    ]);
}

#[test]
fn all_mistakes_are_shown_at_once() {
    let message = complaint("zoone = 1\n[session]\ngap = \"1\"\n[pipeline]\nshards = 0");
    assert_eq!(message.lines().count(), 3, "{message}");
}

#[test]
fn the_environment_stands_over_the_file_and_flags_over_both() {
    let env = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect::<Vec<_>>()
    };
    let text = "[session]\ngap = \"20m\"\n[web]\nlisten = \"127.0.0.1:1\"";
    let vars = env(&[
        ("TIDEWATCH_SESSION__GAP", "10m"),
        ("TIDEWATCH_SESSION__ENTRY", "basket, wishlist"),
        ("TIDEWATCH_EVENTS__ALIASES", "code=status,uid=user"),
        ("TIDEWATCH_PIPELINE__SHARDS", "3"),
        ("TIDEWATCH_WEB__LISTEN", "127.0.0.1:2"),
        ("TIDEWATCH_DATA_DIR", "elsewhere"),
        ("TIDEWATCH_PORT", "tcp://10.0.0.1:7077"),
        // What container platforms add, and what the command line reads itself.
        ("TIDEWATCH_PORT_7077_TCP_ADDR", "10.0.0.1"),
        ("TIDEWATCH_SERVICE_HOST", "10.0.0.1"),
        ("TIDEWATCH_WEB_SERVICE_PORT_HTTP", "7077"),
        ("TIDEWATCH_LOG", "info"),
        ("PATH", "/bin"),
    ]);
    let flags = [Flag { key: "web.listen", name: "--listen", value: "127.0.0.1:3".into() }];
    let config = read("t.toml", text, vars, &flags).unwrap();
    assert_eq!(config.session.gap, 600_000);
    assert_eq!(config.session.entry, ["basket", "wishlist"]);
    assert_eq!(config.events.aliases.len(), 2);
    assert_eq!(config.pipeline.shards, 3);
    assert_eq!(config.web.listen.port(), 3);
    assert_eq!(config.general.data_dir, PathBuf::from("elsewhere"));

    for (pair, message) in [
        (
            ("TIDEWATCH_PIPELINE__SHARDS", "many"),
            "TIDEWATCH_PIPELINE__SHARDS: pipeline.shards = \"many\": must be a whole number, this is \
             text",
        ),
        (
            ("TIDEWATCH_TIME__IDEL", "hold"),
            "TIDEWATCH_TIME__IDEL: time.idel: is not a known key; known here: out_of_orderness, \
             allowed_lateness, max_future, idle; did you mean time.idle?",
        ),
        (
            ("TIDEWATCH_SESION__GAP", "10m"),
            "TIDEWATCH_SESION__GAP: sesion.gap: is not a known key; known here: data_dir, zone, \
             first_weekday, events, time, session, pipeline, store, log, web, demo, nats, metric, rule; did you \
             mean session.gap?",
        ),
        (
            ("TIDEWATCH_SESSION_GAP", "10m"),
            "TIDEWATCH_SESSION_GAP: is not a tidewatch variable: a key is TIDEWATCH_SECTION__KEY; \
             did you mean TIDEWATCH_SESSION__GAP?",
        ),
        (
            ("TIDEWATCH_DATADIR", "x"),
            "TIDEWATCH_DATADIR: is not a tidewatch variable: a key is TIDEWATCH_SECTION__KEY; did \
             you mean TIDEWATCH_DATA_DIR?",
        ),
        (
            ("TIDEWATCH_GAP", "10m"),
            "TIDEWATCH_GAP: is not a tidewatch variable: a key is TIDEWATCH_SECTION__KEY; did you \
             mean TIDEWATCH_SESSION__GAP?",
        ),
    ] {
        let error = read("", "", env(&[pair]), &[]).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let flags = [Flag { key: "web.listen", name: "--listen", value: "nowhere".into() }];
    let error = read("", "", [], &flags).unwrap_err();
    assert!(error.to_string().starts_with("--listen: web.listen = \"nowhere\": "), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Some(Path::new("no/such.toml")), [], &[]).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("cannot read the configuration no/such.toml: "), "{message}");
}

#[test]
fn what_is_printed_reads_back() {
    let odd = "data_dir = 'a \"b\" \\\\ c'\nzone = \"Europe/Berlin\"\nmetric = []\n\
               [events]\naliases = {}\n[session]\nvalue = \"\"\ndeadline = \"since_entry\"";
    let rich = "[[metric]]\nname = \"m\"\naggregate = \"sum\"\nfield = \"x.y\"\n\
                where = { \"a b\" = { ge = 0.5, lt = 3 }, c = [-1.25, 2], d = true, \
                e = { exists = false }, f = [\"x\", \"y\"], type = \"t\" }\n\
                group_by = [\"f\"]\nwindow = { since_midnight = \"Asia/Tokyo\", slide = \"500ms\" }\n\
                [[rule]]\nname = \"r\"\nmetric = \"n\"\nk = 2.5\nside = \"below\"\n\
                [[metric]]\nname = \"n\"\naggregate = \"distinct\"\nwindow = { tumbling = \"1s\" }";
    for text in ["", odd, rich] {
        let config = Config::parse("t.toml", text).unwrap();
        let printed = config.print();
        let again =
            Config::parse("printed", &printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
        assert_eq!(again, config, "\n{printed}");
        assert_eq!(again.fingerprint(), config.fingerprint());
    }
}

#[test]
fn the_fingerprint_follows_what_changes_results() {
    let default = Config::default().fingerprint();
    let of = |text: &str| Config::parse("t.toml", text).unwrap().fingerprint();
    for same in
        ["[web]\nworkers = 4", "[pipeline]\nshards = 7", "data_dir = \"x\"", "[demo]\nseed = 9"]
    {
        assert_eq!(of(same), default, "{same}");
    }
    for other in [
        "[session]\ngap = \"29m\"",
        "[time]\nallowed_lateness = \"31s\"",
        "[events]\nkey = \"uid\"",
        "zone = \"Europe/Berlin\"",
        "metric = []",
    ] {
        assert_ne!(of(other), default, "{other}");
    }
    let retitled = SHIPPED.replace("Failed payments spike", "Payments fail");
    assert_eq!(of(&retitled), default);
}

#[test]
fn nats_is_off_until_there_is_a_url_and_then_has_a_source() {
    let config = Config::default().nats;
    assert_eq!(config.link, None);
    let nats = |text: &str| Config::parse("t.toml", text).unwrap().nats;
    let one = nats(
        "[nats]\nurl = \"nats://a:4222, tls://b\"\npull_messages = 100\n[pipeline]\nbatch_max = 10\ncredits = 500\ncommit_events = 100",
    );
    let link = one.link.unwrap();
    assert_eq!((link.url.as_str(), link.name.as_str()), ("nats://a:4222, tls://b", "tidewatch"));
    assert_eq!(one.sources.len(), 1);
    let source = &one.sources[0];
    assert_eq!(
        (source.stream.as_str(), &source.subjects[..]),
        ("EVENTS", &["events.>".into()][..])
    );
    assert_eq!((source.pull_messages, source.max_ack_pending), (100, 600));

    let two = nats(
        "[nats]\nurl = \"a\"\non_gap = \"continue\"\n[[nats.source]]\nstream = \"A\"\n\
         subjects = [\"a.>\"]\n[[nats.source]]\nstream = \"B\"\non_gap = \"stop\"\n\
         subject_template = \"shop.{region}\"\n[nats.gateway]\nsubject = \"a.http\"",
    );
    use crate::nats::settings::OnGap;
    let gaps: Vec<OnGap> = two.sources.iter().map(|source| source.on_gap).collect();
    assert_eq!(gaps, [OnGap::Continue, OnGap::Stop]);
    assert_eq!(two.sources[1].subjects, Vec::<String>::new());

    let variable = |key: &str, value: &str| (key.to_string(), value.to_string());
    let env = [
        variable("TIDEWATCH_NATS__URL", "nats://c"),
        variable("TIDEWATCH_NATS__GATEWAY__SUBJECT", "events.posted"),
    ];
    let config = Config::load(None, env, &[]).unwrap();
    assert_eq!(config.nats.gateway.subject, "events.posted");
    assert_eq!(config.nats.link.unwrap().url, "nats://c");
}

#[test]
fn a_mistake_in_nats_is_named() {
    check(&[
        (
            "[nats]\nurl = \"http://a\"",
            "t.toml:2:1: nats.url = \"http://a\": \"http://a\" is not a server such as \
             nats://host:4222: invalid scheme for NATS server URL: http",
        ),
        (
            "[nats]\nurl = \"nats://u:secret@a\"",
            "t.toml:2:1: nats.url = (not shown): must not hold a user or a password: use nats.user \
             and nats.password_file, which are not shown",
        ),
        (
            "[nats]\ntoken = \"secret\"\nuser = \"u\"\npassword = \"secret\"",
            "t.toml:2:1: nats.token = (not shown): only one way to sign in may be set, not \
             nats.token, nats.user",
        ),
        (
            "[nats]\npassword = \"secret\"",
            "t.toml:2:1: nats.password = (not shown): nats.user and nats.password (or \
             password_file) belong together",
        ),
        (
            "[nats]\ntoken_file = \"/nonexistent/token\"",
            "t.toml:2:1: nats.token_file = \"/nonexistent/token\": cannot be read: No such file or \
             directory (os error 2)",
        ),
        (
            "[nats]\ntls_cert_file = \"c.pem\"",
            "t.toml:2:1: nats.tls_cert_file = \"c.pem\": nats.tls_cert_file and nats.tls_key_file \
             belong together",
        ),
        (
            "[nats]\nduplicate_window = \"1h\"\nmax_age = \"30m\"",
            "t.toml:2:1: nats.duplicate_window = \"1h\": nats.duplicate_window must not be longer \
             than nats.max_age",
        ),
        (
            "[nats]\nreplicas = 2",
            "t.toml:2:1: nats.replicas = 2: must be 1, 3 or 5: an even number survives no more",
        ),
        (
            "[[nats.source]]\nsubjects = [\"a\"]",
            "t.toml:1:1: nats.source.0.stream: is missing: write stream = \"EVENTS\"",
        ),
        (
            "[[nats.source]]\nstream = \"A\"\nsubject_template = \"a.{id}\"",
            "t.toml:3:1: nats.source.0.subject_template = \"a.{id}\": \"id\" cannot come from the \
             subject: all its events would share it",
        ),
        (
            "[[nats.source]]\nstream = \"A\"\n[[nats.source]]\nstream = \"A\"\nfilter = [\"a.b\"]",
            "t.toml:1:8: nats.source = [[nats.source]]: stream A is read twice through consumer \
             \"tidewatch\": give each source a consumer of its own",
        ),
        (
            "[nats]\nurl = \"a\"\n[[nats.source]]\nstream = \"A\"\nsubjects = [\"a.>\"]",
            "t.toml:3:8: nats.source = [[nats.source]]: nats.gateway.subject is \"events.http\", and \
             no source reads it: choose a subject of a source, or \"\" so that nothing can be posted",
        ),
        (
            "[nats.gateway]\nsubject = \"a.>\"",
            "t.toml:2:1: nats.gateway.subject = \"a.>\": \"a.>\" is not a subject such as \
             \"events.http\"",
        ),
        (
            "[nats.out]\nboard = \"x\"",
            "t.toml:2:1: nats.out.board: is not a known key; known here: alerts_stream, \
             alerts_subject, dead_letters_stream, dead_letters_subject, board_subject, board_bucket, \
             board_interval, service, requests_max, max_age, max_bytes, duplicate_window, \
             in_flight_max, poll_interval, retry_max",
        ),
    ]);
}

#[test]
fn secrets_are_read_from_files_and_never_printed() {
    use crate::nats::settings::Auth;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "  s3cret\n").unwrap();
    let text = format!("[nats]\nurl = \"nats://a\"\ntoken_file = {file:?}");
    let config = Config::parse("t.toml", &text).unwrap();
    assert_eq!(config.nats.link.as_ref().unwrap().auth, Auth::Token("s3cret".into()));
    assert!(!config.print().contains("s3cret"));
    assert_eq!(Config::parse("again", &config.print()).unwrap(), config);

    let text = "[nats]\nurl = \"nats://a\"\nuser = \"u\"\npassword = \"s3cret\"";
    let config = Config::parse("t.toml", text).unwrap();
    let auth = Auth::Password("u".into(), "s3cret".into());
    assert_eq!(config.nats.link.as_ref().unwrap().auth, auth);
    let shown = config.print();
    assert!(!shown.contains("s3cret") && !format!("{config:?}").contains("s3cret"), "{shown}");
    assert!(shown.contains("password = \"\" # it is set, and not shown"), "{shown}");
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "[\\[\\]a-z_.=\"{}, \n0-9#]{0,80}") {
        let _ = Config::parse("t.toml", &text);
    }
}

#[test]
fn what_events_look_like_is_checked_and_reaches_the_schema() {
    let config = Config::parse(
        "t.toml",
        "[events]\nkey = [\"ip\", \"agent\"]\ntime_format = \"%d.%m.%Y %H:%M\"\n\
         time_zone = \"Europe/Berlin\"\ntime_missing = \"arrival\"\n\
         numbers = { amount = \"1.234,56\" }\naliases = { \"properties.price\" = \"amount\" }\n",
    )
    .unwrap();
    let schema = config.schema(0);
    assert_eq!(schema.keys, ["ip", "agent"]);
    assert!(schema.arrival_is_time);
    assert_eq!(schema.time.of_text("24.12.2023 18:00").unwrap().at, 1_703_437_200_000);
    assert_eq!(schema.number_format("amount").example(), "1.234,56");
    assert_eq!(schema.number_format("other").example(), "");
    assert_eq!(Config::parse("printed", &config.print()).unwrap(), config);
    let env = [("TIDEWATCH_EVENTS__KEY".to_string(), "ip, agent".to_string())];
    let from_env = Config::load(None, env, &[]).unwrap();
    assert_eq!(from_env.events.keys, ["ip", "agent"]);
    for (text, part) in [
        ("key = []", "must name an attribute"),
        ("key = [\"a\", \"a\"]", "must not name \"a\" twice"),
        ("key = 5", "must be an attribute such as"),
        ("time_format = \"sec\"", "is not a time format"),
        ("time_format = \"%H\"", "must hold year, month and day"),
        ("time_zone = \"Berlin\"", "is not an IANA zone"),
        ("time_missing = \"now\"", "must be one of \"reject\", \"arrival\""),
        ("numbers = { amount = \"1,234\" }", "amount: \"1,234\" could be a thousand"),
        ("numbers = { code = \"1,5\" }", "\"code\" is an alias of \"status\""),
    ] {
        let error = Config::parse("t.toml", &format!("[events]\n{text}")).unwrap_err().to_string();
        assert!(error.contains(part) && error.starts_with("t.toml:2:1: events."), "{error}");
    }
}

#[test]
fn lengths_in_days_weeks_and_months_are_the_calendars_of_the_zone() {
    let window = |text: &str| {
        let text = format!(
            "zone = \"Europe/Berlin\"\nfirst_weekday = \"sunday\"\n[[metric]]\nname = \"m\"\n\
             aggregate = \"count\"\nwindow = {{ {text} }}\nkeep = \"400d\"\n"
        );
        let config = Config::parse("t.toml", &text).unwrap();
        let printed = config.print();
        let again = Config::parse("printed.toml", &printed).unwrap();
        assert_eq!(config.metrics, again.metrics, "{printed}");
        config.metrics[0].window.clone()
    };
    let calendar = |span, panes, zone: &str| WindowSpec::Calendar {
        span,
        panes,
        zone: zone.into(),
        first_weekday: Weekday::Sunday,
    };
    for (text, span, panes, zone) in [
        ("tumbling = \"1d\"", CalendarSpan::Days(1), 1, "Europe/Berlin"),
        ("tumbling = \"1w\"", CalendarSpan::Days(7), 1, "Europe/Berlin"),
        ("tumbling = \"3mo\"", CalendarSpan::Months(3), 1, "Europe/Berlin"),
        (
            "tumbling = \"1d\", zone = \"Asia/Kathmandu\"",
            CalendarSpan::Days(1),
            1,
            "Asia/Kathmandu",
        ),
        ("hopping = \"1w\", slide = \"1d\"", CalendarSpan::Days(1), 7, "Europe/Berlin"),
        ("hopping = \"12mo\", slide = \"1mo\"", CalendarSpan::Months(1), 12, "Europe/Berlin"),
    ] {
        assert_eq!(window(text), calendar(span, panes, zone), "{text}");
    }
    // Hours are hours.
    assert_eq!(window("tumbling = \"24h\""), WindowSpec::Tumbling { size: 86_400_000 });
    let hopping = WindowSpec::Hopping { size: 86_400_000, slide: 3_600_000 };
    assert_eq!(window("hopping = \"1d\", slide = \"1h\""), hopping);
}

#[test]
fn conditions_that_can_never_hold_are_refused_with_the_near_miss() {
    let metric = |body: &str| {
        let text = format!("[[metric]]\nname = \"m\"\nwindow = {{ tumbling = \"1m\" }}\n{body}");
        complaint(&text)
    };
    let sessions = "of = \"sessions\"\naggregate = \"count\"\n";
    for (body, part) in [
        (
            format!("{sessions}where = {{ outcome = \"abandond\" }}"),
            "outcome: \"abandond\" can never be; there are browsed, abandoned, converted, closed; did \
             you mean \"abandoned\"?",
        ),
        (
            format!("{sessions}where = {{ step = [\"cart_ad\"] }}"),
            "step: \"cart_ad\" can never be; there are page_view, cart_add, payment_initiated, \
             payment_completed; did you mean \"cart_add\"?",
        ),
        (
            format!("{sessions}where = {{ value = \"10\" }}"),
            "value: is a number: write for example",
        ),
        (format!("{sessions}where = {{ outcome = {{ ge = 1 }} }}"), "outcome: is text"),
        (
            format!("{sessions}where = {{ outcom = \"abandoned\" }}"),
            "\"outcom\" is not an attribute of a session; there are outcome, step, segment, value, \
             events, duration_s; did you mean \"outcome\"?",
        ),
        (
            "of = \"sessions\"\naggregate = \"sum\"\nfield = \"outcome\"".into(),
            "\"outcome\" is not a number of a session; there are value, events, duration_s",
        ),
        (
            "aggregate = \"count\"\nwhere = { status = \">= 400\" }".into(),
            "status: the text \">= 400\" is compared letter by letter; write { ge = 400 }",
        ),
        (
            "aggregate = \"ratio\"\nnumerator = { status = [\"<500\"] }".into(),
            "status: the text \"<500\" is compared letter by letter; write { lt = 500 }",
        ),
        (
            "aggregate = \"count\"\nwhere = { status = { gte = 400 } }".into(),
            "\"gte\" is not a comparison; there are ge, gt, le, lt, exists; did you mean \"ge\"?",
        ),
        (
            "aggregate = \"count\"\nwhere = { status = { ge = 500, lt = 400 } }".into(),
            "status: no number meets both bounds",
        ),
        ("aggregate = \"cuont\"".into(), "did you mean \"count\"?"),
    ] {
        let message = metric(&body);
        assert!(message.contains(part), "{body}: {message}");
    }
    let sound = "[[metric]]\nname = \"m\"\nwindow = { tumbling = \"1m\" }\nof = \"sessions\"\n\
                 aggregate = \"sum\"\nfield = \"value\"\n\
                 where = { outcome = \"abandoned\", step = [\"cart_add\", \"\"], value = { ge = 5, le = 5 } }";
    assert_eq!(Config::parse("t.toml", sound).unwrap().warnings(), Vec::<String>::new());
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    let config = Config::parse(
        "t.toml",
        "[events]\naliases = { cost = \"amout\" }\nnumbers = { amuont = \"12,50\" }\n\
         [[metric]]\nname = \"adds\"\naggregate = \"count\"\nwhere = { type = \"cart_adds\" }\n\
         window = { tumbling = \"1m\" }\n",
    )
    .unwrap();
    assert_eq!(
        config.warnings(),
        [
            "events.aliases: \"cost\" leads nowhere: nothing uses the attribute \"amout\"; did you \
             mean \"amount\"?",
            "events.numbers: nothing uses the attribute \"amuont\"; did you mean \"amount\"?",
            "metric.adds: the event type \"cart_adds\" is not the \"cart_add\" of [session]",
        ]
    );
    assert_eq!(Config::default().warnings(), Vec::<String>::new());
}
