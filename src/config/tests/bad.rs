//! What is said of wrong configurations, word for word: `bad.txt` has a title, the text (lines with `$`
//! are the environment, lines with `--` flags), and behind `>` what is said of it. After a change
//! `TIDEWATCH_TEST_REFRESH=1 cargo nextest run --lib wrong_configurations` writes the answers anew.

use super::*;

const CASES: &str = include_str!("bad.txt");

/// A wrong configuration.
struct Case<'a> {
    title: &'a str,
    lines: Vec<&'a str>,
    said: Vec<&'a str>,
}

fn cases() -> Vec<Case<'static>> {
    let split = CASES.split("### ").filter(|case| !case.is_empty());
    split
        .map(|case| {
            let mut lines = case.lines().filter(|line| !line.is_empty());
            let title = lines.next().expect("it has a line");
            let (said, lines) = lines.partition(|line| line.starts_with('>'));
            Case { title, lines, said }
        })
        .collect()
}

impl Case<'_> {
    /// What is said now, a line for each mistake.
    fn says(&self) -> Vec<String> {
        let env = self.lines.iter().filter_map(|line| line.strip_prefix("$ ")?.split_once('='));
        let env = env.map(|(variable, value)| (variable.to_owned(), value.to_owned()));
        let flags = self.lines.iter().filter_map(|line| line.strip_prefix("--listen="));
        let flags = flags.map(|value| Flag {
            key: "web.listen".into(),
            name: "--listen".into(),
            value: value.to_owned(),
        });
        let of_file = |line: &&&str| !line.starts_with("$ ") && !line.starts_with("--");
        let text: String =
            self.lines.iter().filter(of_file).flat_map(|line| [line, "\n"]).collect();
        match read("t.toml", &text, env, &flags.collect::<Vec<_>>()) {
            Ok(_) => Vec::new(),
            Err(error) => error.to_string().lines().map(|line| format!("> {line}")).collect(),
        }
    }
}

#[test]
fn wrong_configurations_are_answered_with_place_key_rule_and_fix() {
    let cases = cases();
    assert!(cases.len() >= 60, "{}", cases.len());
    if std::env::var_os(tables::REFRESH).is_some() {
        let text: Vec<String> = cases
            .iter()
            .map(|case| {
                let said = case.says();
                let lines = case.lines.iter().map(ToString::to_string).chain(said);
                format!("### {}\n{}\n", case.title, lines.collect::<Vec<_>>().join("\n"))
            })
            .collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/tests/bad.txt");
        std::fs::write(path, text.join("\n")).unwrap();
        return;
    }
    for case in cases {
        assert!(!case.said.is_empty(), "{}: nothing is said of it", case.title);
        assert_eq!(case.says(), case.said, "\n{}", case.title);
    }
}
