//! What each rule makes of numbers and texts, what it guesses, and the law that a time is
//! read back from every unit, whole or with a fraction.

use proptest::prelude::*;

use super::*;

fn rule(form: &str, zone: &str) -> TimeRule {
    TimeRule::declared(form, zone).unwrap()
}

/// `at`, with what was guessed.
fn shown(read: Result<Time, NoTime>) -> String {
    match read {
        Ok(Time { at, guess: None }) => at.to_string(),
        Ok(Time { at, guess: Some(guess) }) => format!("{at} {guess}"),
        Err(why) => format!("{why:?}"),
    }
}

#[test]
fn native_numbers_are_milliseconds_or_guessed_within_bounds() {
    let native = TimeRule::default();
    for (number, want) in [
        (0, "0"),
        (1_700_000_000, "1700000000"),
        (1_700_000_000_000, "1700000000000"),
        (-1, "-1"),
        (LATEST, "253402300799999"),
        (LATEST + 1, "Range"),
        (1_620_291_751_177_123, "1620291751177 taken as microseconds"),
        (1_620_291_751_177_123_456, "1620291751177 taken as nanoseconds"),
        (i64::MAX, "Range"),
        (i64::MIN, "Range"),
    ] {
        assert_eq!(shown(native.of_integer(number)), want, "{number}");
        assert_eq!(shown(native.of_text(&number.to_string())), want, "{number} as text");
    }
    for (number, want) in [
        (1_200.0, "1200"),
        (1_509_575_121.648, "1509575121648 taken as seconds"),
        (1_700_000_000.0, "1700000000000 taken as seconds"),
        (1_700_000_000_123.0, "1700000000123"),
        (1_700_000_000_123.75, "1700000000123 taken as milliseconds"),
        (1_620_291_751_177_123.5, "1620291751177 taken as microseconds"),
        (1.5, "Form"),
        (-0.25, "Form"),
        (1e300, "Range"),
        (f64::NAN, "Range"),
    ] {
        assert_eq!(shown(native.of_float(number)), want, "{number}");
    }
}

#[test]
fn native_texts_are_told_by_their_form() {
    let native = TimeRule::default();
    for (text, want) in [
        ("2019-10-01T00:00:00Z", "1569888000000"),
        ("2019-10-01 00:00:00", "1569888000000 without a zone, taken as UTC"),
        ("2019-10-01", "1569888000000 without a zone, taken as UTC"),
        ("1509575121.648", "1509575121648 taken as seconds"),
        ("1509575121.6489999999999999999", "1509575121648 taken as seconds"),
        ("Sun, 06 Nov 1994 08:49:37 GMT", "784111777000"),
        ("[01/Aug/1995:00:00:01 -0400]", "807249601000"),
        ("", "Absent"),
        ("null", "Absent"),
        ("tomorrow", "Form"),
        ("24.12.2023 18:00:00", "Form"),
        ("1.5", "Form"),
        ("999999999999999999999", "Form"),
    ] {
        assert_eq!(shown(native.of_text(text)), want, "{text}");
    }
}

#[test]
fn a_declared_rule_is_sure() {
    for (form, zone, value, want) in [
        ("s", "", "1700000000", "1700000000000"),
        ("s", "", "1509575121.648", "1509575121648"),
        ("s", "", "-0.001", "-1"),
        ("s", "", "2019-10-01T00:00:00Z", "1569888000000"),
        ("us", "", "1620291751177123", "1620291751177"),
        ("ns", "", "1620291751177123456", "1620291751177"),
        ("ms", "", "1620291751177.9", "1620291751177"),
        ("s", "", "999999999999", "Range"),
        ("auto", "", "1700000000", "1700000000000 taken as seconds"),
        ("auto", "", "1700000000000", "1700000000000 taken as milliseconds"),
        ("iso", "", "2019-10-01 00:00:00 UTC", "1569888000000"),
        ("iso", "Europe/Berlin", "2023-07-01 12:00:00", "1688205600000"),
        ("iso", "UTC", "2023-07-01 12:00:00", "1688212800000"),
        ("iso", "", "soon", "Form"),
        ("%d.%m.%Y %H:%M:%S", "Europe/Berlin", "24.12.2023 18:00:00", "1703437200000"),
        ("%Y%m%d", "", "20231224", "1703376000000"),
        ("http", "", "2019-10-01T00:00:00Z", "Form"),
        ("clf", "", "01/Aug/1995:00:00:01 -0400", "807249601000"),
    ] {
        assert_eq!(shown(rule(form, zone).of_text(value)), want, "{value} as {form:?}");
    }
    assert_eq!(shown(rule("s", "").of_integer(1_700_000_000)), "1700000000000");
    assert_eq!(shown(rule("s", "").of_float(1_700_000_000.123)), "1700000000123");
    assert_eq!(shown(rule("%Y%m%d", "").of_integer(20_231_224)), "1703376000000");
    assert_eq!(shown(rule("iso", "").of_integer(5)), "Form");
}

#[test]
fn what_cannot_be_a_rule_is_refused_with_the_remedy() {
    for (form, zone, part) in [
        ("sec", "", "write \"s\", \"ms\""),
        ("iso", "Berlin", "not an IANA zone"),
        ("%H:%M", "", "must hold year, month and day"),
        ("%Y-%m", "", "must hold year, month and day"),
        ("%Y-%m-%d %!", "", "is not understood"),
    ] {
        let error = TimeRule::declared(form, zone).unwrap_err();
        assert!(error.contains(part), "{form:?} {zone:?}: {error}");
    }
    for pattern in ["%Y-%m-%d %H:%M:%S%.f", "%m/%d/%y %I:%M %p", "%s", "%F %T", "%d %B %Y %z"] {
        TimeRule::declared(pattern, "").unwrap_or_else(|error| panic!("{pattern}: {error}"));
    }
}

proptest! {
    #[test]
    fn a_time_comes_back_from_every_unit(millis in 631_152_000_000i64..4_102_444_800_000) {
        let (whole, part) = (millis / 1_000, millis % 1_000);
        let forms = [
            ("s", format!("{whole}.{part:03}")),
            ("ms", millis.to_string()),
            ("us", format!("{millis}000")),
            ("us", format!("{millis}999")),
            ("ns", format!("{millis}000000")),
            ("ns", format!("{millis}999999")),
        ];
        for (unit, text) in forms {
            let (declared, auto) = (rule(unit, ""), rule("auto", ""));
            prop_assert_eq!(declared.of_text(&text).unwrap(), Time { at: millis, guess: None });
            prop_assert_eq!(auto.of_text(&text).unwrap().at, millis, "{}", text);
            let number: f64 = text.parse().unwrap();
            if unit != "ns" {
                prop_assert_eq!(declared.of_float(number).unwrap().at, millis, "{}", text);
            }
            if let Ok(number) = text.parse::<i64>() {
                prop_assert_eq!(declared.of_integer(number).unwrap().at, millis);
                prop_assert_eq!(TimeRule::default().of_integer(number).unwrap().at, millis);
            }
        }
    }

    #[test]
    fn no_value_panics(text: String, number: i64, float: f64) {
        for form in ["", "auto", "s", "ns", "iso", "http", "clf", "%d.%m.%Y"] {
            let rule = rule(form, "");
            let _ = (rule.of_text(&text), rule.of_integer(number), rule.of_float(float));
            let _ = (rule.of_text(&number.to_string()), rule.of_text(&float.to_string()));
        }
    }
}
