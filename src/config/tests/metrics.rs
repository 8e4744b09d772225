//! `[[metric]]` and `[[rule]]`: the shipped ones, and every mistake with its words.

use super::*;
use crate::domain::anomaly::{Detector as _, Patience, Side, Sigma};
use crate::domain::metric::{Aggregate, Test};
use crate::domain::settings::Section;

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
    let mut sigma = Sigma { value_min: 5.0, ..Sigma::default() };
    sigma.fill(10_000);
    assert_eq!((sigma.k, sigma.over, sigma.samples_min), (3.0, 600_000, 30));
    assert_eq!(rule.detect, sigma.into());
    assert_eq!(rule.patience, Patience { hold: 0, cooldown: 120_000, side: Side::Above });
}

#[test]
fn a_wrong_metric_is_named() {
    let metric = |keys: &str| complaint(&format!("[[metric]]\nname = \"m\"\n{keys}\n"));
    let count = "aggregate = \"count\"\n";
    let second = "window = { tumbling = \"1s\" }\n";
    let all = Aggregate::all();
    let words: Vec<String> = all.iter().map(|one| format!("{:?}", one.word())).collect();
    let words = words.join(", ");
    let own: Vec<&str> = all.iter().flat_map(Section::keys).map(|key| key.path).collect();
    let own = own.join(", ");
    for (keys, message) in [
        (format!("{count}{second}"), ""),
        (second.into(), "t.toml:1:1: metric.m.aggregate: is missing: write aggregate = \"count\""),
        (
            count.into(),
            "t.toml:1:1: metric.m.window: is missing: write window = { tumbling = \"1s\" }",
        ),
        (
            format!("{count}window = {{ hopping = \"5m\", slide = \"6m\" }}"),
            "t.toml:4:1: metric.m.window = { hopping = \"5m\", slide = \"6m\" }: slide must not be \
             longer than the window: 6m is more than 5m",
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
            format!("{count}window = {{ slides = \"5m\" }}"),
            "t.toml:4:1: metric.m.window = { slides = \"5m\" }: must be one of { tumbling = \"1s\" }, \
             { hopping = \"5m\", slide = \"30s\" }, { sliding = \"1m\" }, \
             { since_midnight = true, slide = \"1s\" }, \
             { since_start = true, slide = \"1s\" }, \
             { since = \"deploy\", slide = \"1s\" }, { session = \"10m\" }, { last = 100 }",
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
            format!("{count}{second}group_silence = \"2h\""),
            "t.toml:5:1: metric.m.group_silence = \"2h\": only belongs to a metric with group_by",
        ),
        (
            format!("{count}{second}group_by = [\"a\"]\nkeep = \"2h\"\ngroup_silence = \"2h\""),
            "t.toml:7:1: metric.m.group_silence = \"2h\": must hold keep, a window and a step of it \
             together, 2h2s, or be \"0s\": groups stay for good",
        ),
        (format!("{count}{second}group_by = [\"a\"]\ngroup_silence = \"0s\""), ""),
        (
            format!("{count}{second}group_by = [\"a\"]\ngroup_limit = 0"),
            "t.toml:6:1: metric.m.group_limit = 0: must be from 1 to 10000",
        ),
        (
            format!("aggregate = \"median\"\n{second}"),
            &format!("t.toml:3:1: metric.m.aggregate = \"median\": must be one of {words}; did you mean \"quantile\"?"),
        ),
        (
            format!("aggregate = \"sum\"\n{second}"),
            "t.toml:1:1: metric.m.field: is missing: name the attribute to compute from",
        ),
        (
            format!("{count}{second}field = \"amount\""),
            "t.toml:5:1: metric.m.field = \"amount\": has no meaning for \"count\": leave it out, or \
             write \"sum\" or \"avg\"",
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
            format!("aggregate = \"topk\"\n{second}keep = \"1h\""),
            "t.toml:5:1: metric.m.keep = \"1h\": has no meaning for a topk: the newest is shown",
        ),
        (
            format!("aggregate = \"histogram\"\n{second}field = \"ms\"\nbounds = [5, 5]"),
            "t.toml:6:1: metric.m.bounds = [5, 5]: must be 1 to 32 numbers in ascending order",
        ),
        (
            "aggregate = \"topk\"\nwindow = { hopping = \"1h\", slide = \"1s\" }\ngroup_by = [\"a\"]"
                .into(),
            "t.toml:4:1: metric.m.window = { hopping = \"1h\", slide = \"1s\" }: 200 groups x 3601 \
             panes may come to hold 454 GiB, at most 4: lower group_limit, or what a pane may hold",
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
             tumbling, hopping or sliding for a rate",
        ),
        (
            format!("{count}{second}of = \"live_sessions\""),
            "t.toml:4:1: metric.m.window = { tumbling = \"1s\" }: has no meaning for live sessions",
        ),
        (
            format!("{count}{second}color = \"red\""),
            &format!(
                "t.toml:5:1: metric.m.color: is not a known key; known here: name, title, of, \
                 formula, where, aggregate, numerator, field, group_by, group_limit, group_silence, window, keep, backfill, unit, {own}"
            ),
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
        (&two("a", "a"), "t.toml:6:1: metric.a.name = \"a\": is taken by the metric at t.toml:1:1"),
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
        (
            &rule("metric = \"failed_payments\"\ndetect = \"threshold\""),
            "t.toml:1:1: rule.r.limit: is missing: write limit = 100",
        ),
        (&rule("metric = \"failed_payments\"\ndetect = \"threshold\"\nlimit = 5"), ""),
        (
            &rule(
                "metric = \"failed_payments\"\ndetect = \"threshold\"\nlimit = 5\nlimit_clear = 6",
            ),
            "t.toml:6:1: rule.r.limit_clear = 6: must be at most limit, which is 5",
        ),
        (
            &rule("metric = \"failed_payments\"\nlimit = 5"),
            "t.toml:4:1: rule.r.limit = 5: only belongs to detect = \"threshold\"",
        ),
        (
            &rule("metric = \"failed_payments\"\nfor = \"11m\""),
            "t.toml:4:1: rule.r.for = \"11m\": must be at most over, which is 10 min",
        ),
        (
            "[[metric]]\nname = \"m\"\naggregate = \"topk\"\nwindow = { tumbling = \"1s\" }\n\
             [[rule]]\nname = \"r\"\nmetric = \"m\"\n",
            "t.toml:7:1: rule.r.metric = \"m\": must have one number for each window: a topk has none",
        ),
        (&rule("metric = \"errors_by_region_status\""), ""),
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

/// What they keep is the newest, and that is one window whatever its shape.
#[test]
fn what_is_more_than_a_number_has_any_window() {
    for window in [
        "{ session = \"10m\" }",
        "{ session = \"15s\", slide = \"5s\" }",
        "{ since = \"deploy\", slide = \"1s\" }",
        "{ last = 4 }",
        "{ sliding = \"1m\" }",
        "{ tumbling = \"3mo\" }",
        "{ since_midnight = true, slide = \"7h\" }",
    ] {
        for aggregate in ["topk", "histogram"] {
            let text = format!(
                "[[metric]]\nname = \"m\"\naggregate = \"{aggregate}\"\nfield = \"f\"\n\
                 window = {window}\n"
            );
            let config = Config::parse("t.toml", &text).unwrap();
            assert_eq!(config.metrics[0].keep, config.metrics[0].window.apart(), "{text}");
            let printed = config.print();
            let again = Config::parse("printed", &printed);
            let again = again.unwrap_or_else(|error| panic!("{error}\n{printed}"));
            assert_eq!(again.metrics[0], config.metrics[0], "{printed}");
        }
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

#[test]
fn a_rule_asks_the_metrics_that_are_its_own_by_group_why() {
    let metric = |name: &str, more: &str| {
        format!(
            "[[metric]]\nname = \"{name}\"\naggregate = \"count\"\nwindow = {{ tumbling = \"1m\" }}\n\
             where = {{ type = \"failed\" }}\n{more}"
        )
    };
    let metrics = metric("failed", "")
        + &metric("by_region", "group_by = [\"region\"]\n")
        + &metric("by_method", "group_by = [\"method\"]\n")
        + &metric("others_by_region", "group_by = [\"region\"]\n")
            .replace("\"failed\"", "\"paid\"");
    let why = |written: &str| {
        let rule = format!(
            "[[rule]]\nname = \"r\"\nmetric = \"failed\"\ndetect = \"threshold\"\nlimit = 5\n{written}"
        );
        Config::parse("t.toml", &(metrics.clone() + &rule)).unwrap().rules[0].why.clone()
    };
    assert_eq!(why(""), ["by_region", "by_method"]);
    assert_eq!(why("why = [\"by_method\"]\n"), ["by_method"]);
    assert_eq!(why("why = []\n"), [] as [String; 0]);
}
