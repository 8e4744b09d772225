//! Each mistake is named with its place, key, value and rule; what is printed reads back as the
//! same configuration.

use std::path::{Path, PathBuf};

use super::load::read;
use super::*;
use crate::domain::metric::aggregate::Distinct;
use crate::domain::metric::{CalendarSpan, Weekday, WindowSpec};
use crate::domain::number::Decimal;
use proptest::prelude::*;

mod metrics;
mod nats;
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
fn the_schema_has_what_the_configuration_names() {
    let schema = Config::default().schema(7);
    assert_eq!(schema.keys, ["user"]);
    assert_eq!(schema.aliases, [("code".to_string(), "status".to_string())]);
    assert_eq!(schema.slots, ["amount", "region", "status", "type"]);
    assert_eq!(
        schema.event_types,
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
