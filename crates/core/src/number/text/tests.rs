//! Which texts are numbers, which stand for none, and the law that a number written in any
//! declared format is read back digit for digit.

use proptest::prelude::*;

use super::*;

/// The number as JSON, `""` for absent, `"?"` for no number.
fn read(format: &NumberFormat, text: &str) -> String {
    match format.read(text) {
        NumberText::Absent => String::new(),
        NumberText::Number(number) => number.into_owned(),
        NumberText::Unreadable => "?".to_owned(),
    }
}

#[test]
fn the_plain_form_reads_what_programs_write() {
    let plain = NumberFormat::default();
    for (text, want) in [
        ("30.50", "30.50"),
        ("12", "12"),
        (" 12.5 ", "12.5"),
        ("-0.5", "-0.5"),
        (".5", "0.5"),
        ("-.5", "-0.5"),
        ("+5", "5"),
        ("5.", "5"),
        ("007", "7"),
        ("00.10", "0.10"),
        ("1e3", "1e3"),
        ("1E-7", "1E-7"),
        ("+.5e+2", "0.5e+2"),
        ("\u{2212}3", "-3"),
        ("9007199254740993", "9007199254740993"),
        ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
    ] {
        assert_eq!(read(&plain, text), want, "{text:?}");
    }
    for absent in ["", "  ", "-", "NULL", "null", "\\N", "NaN", "nan", "N/A", "NA", "None"] {
        assert_eq!(read(&plain, absent), "", "{absent:?}");
    }
    for text in [
        "12,50", "1,234.5", "$12.50", "(12.50)", "12 50", "1.2.3", "--5", "+-5", "+", ".", "e5",
        "1e", "1e+", "1e5.0", "0x10", "Infinity", "-inf", "12abc", "1_000", "٣", "5-", "nan5",
        "free",
    ] {
        assert_eq!(read(&plain, text), "?", "{text:?}");
    }
    assert_eq!(read(&plain, &"9".repeat(TEXT_BYTES_MAX + 1)), "?");
}

#[test]
fn a_declared_format_reads_its_own_and_refuses_the_other() {
    for (example, cases) in [
        (
            "12,50",
            &[
                ("12,50", "12.50"),
                ("1200,5", "1200.5"),
                ("-,5", "-0.5"),
                ("12", "12"),
                ("12.50", "?"),
                ("1.200,50", "?"),
            ][..],
        ),
        (
            "1.234,56",
            &[
                ("1.200,50", "1200.50"),
                ("12,50", "12.50"),
                ("1.234.567", "1234567"),
                ("1.234", "1234"),
                ("1234,5", "1234.5"),
                ("12.50", "?"),
                ("1.23.456", "123456"),
                ("1.2345,0", "?"),
                ("1,234.56", "?"),
                ("1..234", "?"),
                (".123", "?"),
                ("-1.234,5", "-1234.5"),
                ("", ""),
            ],
        ),
        (
            "$12.50",
            &[
                ("$12.50", "12.50"),
                ("-$5", "-5"),
                ("$-5", "-5"),
                ("12.5", "12.5"),
                ("€5", "?"),
                ("--$5", "?"),
                ("-$-5", "?"),
            ],
        ),
        ("$1,234.56", &[("$1,234,567.89", "1234567.89"), ("1,234", "1234"), ("12,50", "?")]),
        (
            "1 234,50",
            &[("1\u{a0}234,50", "1234.50"), ("12\u{202f}345,6", "12345.6"), ("1234,5", "1234.5")],
        ),
        ("1'234.56", &[("1\u{2019}234.50", "1234.50"), ("1'234", "1234")]),
        ("1 234,50 €", &[("12,50€", "12.50"), ("12,50 €", "12.50"), ("7", "7"), ("12,50 $", "?")]),
        ("EUR 1.234,56", &[("eur 5,5", "5.5"), ("EUR1.000", "1000"), ("-EUR 3", "-3")]),
        ("12.5%", &[("12.5%", "12.5"), ("3 %", "3")]),
        ("(12.50)", &[("(12.50)", "-12.50"), ("12.50", "12.50"), ("(-5)", "?"), ("(5", "?")]),
        ("($1,234.56)", &[("($1,000.00)", "-1000.00"), ("$2", "2")]),
        ("12.50-", &[("12.50-", "-12.50"), ("3", "3"), ("-3", "-3"), ("-3-", "?")]),
        ("1,234,567", &[("1,000", "1000"), ("1,000.5", "1000.5")]),
        ("1.234.567", &[("1.000", "1000"), ("1.000,5", "1000.5")]),
        ("12,34,567.8", &[("12,34,567.8", "1234567.8"), ("1,234", "1234")]),
        (",5", &[("12,5", "12.5"), ("12.5", "?")]),
        ("Rs. 12.50", &[("Rs. 5", "5"), ("12.5", "12.5")]),
    ] {
        let format = NumberFormat::by_example(example).unwrap_or_else(|e| panic!("{example}: {e}"));
        for (text, want) in cases {
            assert_eq!(read(&format, text), *want, "{text:?} by {example:?}");
        }
    }
}

#[test]
fn an_example_that_says_nothing_is_refused() {
    for example in ["", "money", "1,2.3,4", "1..5", "12:50", "1 2", "5 or 6", "1.2,3.4"] {
        let error = NumberFormat::by_example(example).unwrap_err();
        assert!(error.contains("not an example of a number"), "{example:?}: {error}");
    }
    for example in ["1,234", "1.234", "$1,234"] {
        let error = NumberFormat::by_example(example).unwrap_err();
        assert!(error.contains("could be a thousand or a decimal"), "{example:?}: {error}");
    }
}

/// A number written with the signs given, grouped by three from the right.
fn written(whole: u64, part: &str, decimal: char, group: &str) -> String {
    let digits = whole.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push_str(group);
        }
        text.push(digit);
    }
    if !part.is_empty() {
        text.push(decimal);
        text.push_str(part);
    }
    text
}

proptest! {
    #[test]
    fn what_a_format_writes_it_reads_digit_for_digit(
        whole: u64,
        part in "[0-9]{0,12}",
        minus: bool,
        (example, decimal, group, before, after) in prop::sample::select(vec![
            ("1.234,56", ',', ".", "", ""),
            ("1,234.56", '.', ",", "", ""),
            ("12,50", ',', "", "", ""),
            ("12.50", '.', "", "", ""),
            ("1 234,50 €", ',', "\u{202f}", "", " €"),
            ("$1,234.56", '.', ",", "$", ""),
            ("CHF 1'234.56", '.', "\u{2019}", "CHF ", ""),
        ]),
    ) {
        let format = NumberFormat::by_example(example).unwrap();
        let sign = if minus { "-" } else { "" };
        let text = format!("{sign}{before}{}{after}", written(whole, &part, decimal, group));
        let want = format!("{sign}{}", written(whole, &part, '.', ""));
        prop_assert_eq!(read(&format, &text), want, "{}", text);
    }

    #[test]
    fn whatever_is_read_is_json_and_plain_numbers_keep_their_value(text in "[-+0-9.,eE $€()' ]{0,12}") {
        for example in ["12.50", "12,50", "1.234,56", "($1,234.56)", "1'234.56 €"] {
            let format = NumberFormat::by_example(example).unwrap();
            if let NumberText::Number(number) = format.read(&text) {
                prop_assert!(is_json_number(&number), "{} from {}", number, text);
            }
        }
        if let (Ok(value), NumberText::Number(number)) =
            (text.trim().parse::<f64>(), NumberFormat::default().read(&text))
        {
            prop_assert_eq!(number.parse::<f64>().unwrap().to_bits(), value.to_bits());
        }
    }

    #[test]
    fn no_text_panics(text: String, example: String) {
        let format = NumberFormat::by_example(&example).unwrap_or_default();
        read(&format, &text);
        read(&format, &example);
    }
}
