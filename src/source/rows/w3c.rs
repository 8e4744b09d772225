//! W3C extended logs (IIS, CloudFront, load balancers): the columns are those of the last
//! `#Fields` line, so they may change in the middle of a file.

use std::borrow::Cow;

use super::next_line;
use crate::source::input::OpenError;
use crate::source::mapping::Cell;
use crate::source::text::{self, Text};
use crate::source::writer::Writer;

/// True for a line with which such a log begins.
pub(in crate::source) fn is_directive(line: &[u8]) -> bool {
    ["#fields:", "#version:", "#software:", "#date:", "#start-date:", "#remark:"]
        .iter()
        .any(|word| line.get(..word.len()).is_some_and(|l| l.eq_ignore_ascii_case(word.as_bytes())))
}

/// Reads all lines.
pub(in crate::source) fn read(
    text: &mut Text<'_>,
    writer: &mut Writer<'_>,
) -> Result<(), OpenError> {
    let mut columns: Option<Vec<String>> = None;
    // A log without a column for it says the date in a line of its own.
    let mut date = None;
    while let Some((len, whole, number)) = next_line(text, writer)? {
        let line = text.rest()[..len].trim_ascii().to_vec();
        text.advance(whole);
        writer.progress(text);
        if line[0] == b'#' {
            let (line, _) = text::decoded(&line, writer.encoding());
            let (word, rest) = line.split_once(':').unwrap_or((&line, ""));
            match word.to_ascii_lowercase().as_str() {
                "#fields" => {
                    writer.report.header += 1;
                    let names: Vec<String> =
                        rest.split_ascii_whitespace().map(str::to_owned).collect();
                    writer.saw_names(names.iter().map(String::as_str));
                    columns = Some(names);
                }
                word => {
                    writer.report.comment += 1;
                    if word == "#date" {
                        date = rest.split_ascii_whitespace().next().map(str::to_owned);
                    }
                }
            }
            continue;
        }
        writer.row_line();
        row(&line, number, columns.as_deref(), date.as_deref(), writer)?;
    }
    Ok(())
}

fn row(
    line: &[u8],
    number: u64,
    columns: Option<&[String]>,
    date: Option<&str>,
    writer: &mut Writer<'_>,
) -> Result<(), OpenError> {
    let Some(columns) = columns else {
        return writer.fault(number, line, "no #Fields line stands before it");
    };
    let (decoded, wrong) = text::decoded(line, writer.encoding());
    let values = values(&decoded);
    if values.len() > columns.len() {
        let reason =
            format!("it has {} values where #Fields names {} columns", values.len(), columns.len());
        return writer.fault(number, line, &reason);
    }
    writer.note_wrong(number, wrong);
    let cells: Vec<Option<Cell<'_>>> = writer
        .wanted()
        .iter()
        .map(|wanted| {
            let place = columns.iter().position(|column| column.eq_ignore_ascii_case(wanted));
            let value = match place {
                Some(place) => values.get(place).cloned(),
                None if wanted == "date" => date.map(Cow::Borrowed),
                None => None,
            };
            value.filter(|value| value != "-").map(Cell::Text)
        })
        .collect();
    writer.row(number, line, &cells)
}

/// The values of a line: between tabs where there are some, else between spaces; a quoted one
/// may hold them.
fn values(line: &str) -> Vec<Cow<'_, str>> {
    if line.contains('\t') {
        return line.split('\t').map(|value| Cow::Borrowed(value.trim())).collect();
    }
    let mut values = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches(' ');
        if rest.is_empty() {
            return values;
        }
        let closed = rest.strip_prefix('"').and_then(|quoted| {
            let mut end = 0;
            loop {
                end += quoted[end..].find('"')?;
                match quoted.as_bytes().get(end + 1) {
                    Some(b'"') => end += 2,
                    None | Some(b' ') => return Some((&quoted[..end], &quoted[end + 1..])),
                    Some(_) => return None,
                }
            }
        });
        if let Some((value, after)) = closed {
            values.push(Cow::Owned(value.replace("\"\"", "\"")));
            rest = after;
        } else {
            let end = rest.find(' ').unwrap_or(rest.len());
            values.push(Cow::Borrowed(&rest[..end]));
            rest = &rest[end..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_between_spaces_tabs_or_quotes() {
        for (line, want) in [
            ("a b  c", vec!["a", "b", "c"]),
            ("a\tb c\t", vec!["a", "b c", ""]),
            (r#"a "b ""c"" d" e"#, vec!["a", r#"b "c" d"#, "e"]),
            (r#"a "b c"#, vec!["a", r#""b"#, "c"]),
            (r#"5" x"#, vec![r#"5""#, "x"]),
        ] {
            assert_eq!(values(line), want, "{line}");
        }
    }
}
