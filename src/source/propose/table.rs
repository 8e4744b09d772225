//! The first rows of a file as a table, whatever their form: columns by name, cells as text.

use serde_json::Value;

use super::column::Column;
use crate::source::mapping::quoted;
use crate::source::rows::csv::{Cells, Dialect};
use crate::source::sniff;

/// How a file is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    Json { explode: Option<String> },
    Csv { delimiter: u8, quoting: bool, header: bool, comment: bool, skip_lines: usize },
}

/// Rows of a file.
#[derive(Debug)]
pub(super) struct Table {
    pub form: Form,
    /// Names of the columns, in the order in which they were met.
    pub columns: Vec<String>,
    /// Places of columns that have a dot in their name and lie in another: a map can ask for them,
    /// and a configuration can not.
    pub dotted: Vec<usize>,
    /// A cell for each column, `None` where there is none.
    pub rows: Vec<Vec<Option<String>>>,
}

impl Table {
    /// What its columns seem to hold.
    pub fn looked_at(&self) -> Vec<Column> {
        let cells = |place: usize| self.rows.iter().filter_map(move |row| row[place].as_deref());
        let columns = self.columns.iter().enumerate();
        columns.map(|(place, name)| Column::of(name, cells(place))).collect()
    }
}

/// Most columns that are looked at.
const COLUMNS_MAX: usize = 500;

/// How deep objects are looked into.
const DEPTH: usize = 4;

/// JSON values of `text`, at most `max`.
pub(super) fn json(text: &str, max: usize) -> Option<Table> {
    let mut objects = Vec::new();
    let mut rest = text;
    while objects.len() < max {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '[' | ',' | ']'));
        if rest.is_empty() {
            break;
        }
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                rest = &rest[values.byte_offset()..];
                if value.is_object() {
                    objects.push(value);
                }
            }
            _ => rest = rest.split_once('\n').map_or("", |(_, rest)| rest),
        }
    }
    let explode = exploded(objects.first()?);
    if let Some(path) = &explode {
        let holders = std::mem::take(&mut objects);
        for mut holder in holders {
            let Some(events) = take(&mut holder, path) else { continue };
            for event in events {
                let mut whole = holder.clone();
                if let (Some(whole), Value::Object(event)) = (whole.as_object_mut(), event) {
                    whole.extend(event);
                }
                objects.push(whole);
            }
        }
        objects.truncate(max);
    }
    let form = Form::Json { explode };
    let (columns, rows, dotted) = (Vec::new(), Vec::new(), Vec::new());
    let mut table = Table { form, columns, dotted, rows };
    for object in &objects {
        let mut row = vec![None; table.columns.len()];
        flatten(object, ("", false), 0, &mut |path, dotted, text| {
            let place = table.columns.iter().position(|column| column == path);
            let place = place.or_else(|| {
                (table.columns.len() < COLUMNS_MAX).then(|| {
                    table.columns.push(path.to_owned());
                    table.dotted.extend(dotted.then(|| table.columns.len() - 1));
                    row.push(None);
                    table.columns.len() - 1
                })
            });
            if let Some(place) = place {
                row[place] = Some(text);
            }
        });
        table.rows.push(row);
    }
    let width = table.columns.len();
    table.rows.iter_mut().for_each(|row| row.resize(width, None));
    (width > 0).then_some(table)
}

/// The field that holds the events of an object, if it looks like a holder: an array of
/// objects, in an object that has no time of its own.
fn exploded(object: &Value) -> Option<String> {
    let fields = object.as_object()?;
    let is_events = |value: &Value| {
        value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_object))
    };
    let is_time = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["ts", "time", "timestamp", "date"].iter().any(|word| name.contains(word))
    };
    if fields.iter().any(|(name, value)| is_time(name) && !value.is_array()) {
        return None;
    }
    let mut lists = fields.iter().filter(|(_, value)| is_events(value));
    match (lists.next(), lists.next()) {
        (Some((name, _)), None) => Some(name.clone()),
        _ => None,
    }
}

fn take(holder: &mut Value, name: &str) -> Option<Vec<Value>> {
    match holder.as_object_mut()?.remove(name)? {
        Value::Array(events) => Some(events),
        _ => None,
    }
}

fn flatten(
    value: &Value,
    (path, dotted): (&str, bool),
    depth: usize,
    each: &mut impl FnMut(&str, bool, String),
) {
    let Some(fields) = value.as_object() else { return };
    for (name, value) in fields {
        let dotted = dotted || (name.contains('.') && (depth > 0 || value.is_object()));
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::Null | Value::Array(_) => {}
            Value::Object(_) if depth < DEPTH => flatten(value, (&path, dotted), depth + 1, each),
            Value::Object(_) => {}
            Value::String(text) => each(&path, dotted, text.clone()),
            other => each(&path, dotted, other.to_string()),
        }
    }
}

/// Rows of delimited text; `None` when nothing separates its cells.
pub(super) fn csv(text: &str, max: usize) -> Option<Table> {
    let end = if text.contains('\n') { '\n' } else { '\r' };
    let all: Vec<&str> = text.split(end).map(str::trim_end).collect();
    let comment = all.iter().find(|line| !line.is_empty())?.starts_with('#');
    let is_comment = |line: &str| comment && line.starts_with('#');
    let is_row = |line: &&str| !line.trim().is_empty() && !is_comment(line);
    let lines: Vec<&str> = all.iter().copied().filter(is_row).collect();
    let declared = lines.first().and_then(|line| line.strip_prefix("sep="));
    let declared = declared.and_then(|sign| sign.bytes().next());
    let body = &lines[usize::from(declared.is_some())..];
    let sample: Vec<String> = body.iter().take(50).map(|line| (*line).to_owned()).collect();
    let width = |line: &str, delimiter: u8, quoting: bool| {
        Cells::new(Dialect { delimiter, quoting, escape: None }).split(line).len()
    };
    let (delimiter, usual) = match declared {
        Some(sign) => (sign, sample.first().map_or(0, |line| width(line, sign, true))),
        None => sniff::delimiter(&sample)?,
    };
    let width = |line: &str, quoting: bool| width(line, delimiter, quoting);
    // A report's title may stand before the table.
    let title = body.iter().take(10).take_while(|line| width(line, true) == 1 && usual > 1).count();
    let skip_lines = match title {
        0 => 0,
        // Lines of the file, blank ones and comments included.
        _ => all.iter().position(|line| *line == body[title]).unwrap_or(0),
    };
    let body = &body[title..];
    let regular = |quoting: bool| {
        let first = body.first().map_or(0, |line| width(line, quoting));
        body.iter().take(200).filter(|line| width(line, quoting) == first).count()
    };
    // Quotes that open and never close: they mean nothing.
    let odd = body.iter().filter(|line| line.matches('"').count() % 2 == 1).count();
    let quoting = odd == 0 || regular(false) < body.len().min(200);
    let mut reader = ::csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(quoting)
        .flexible(true)
        .has_headers(false)
        .from_reader(std::io::Cursor::new(body.join("\n")));
    let mut rows: Vec<Vec<Option<String>>> = Vec::new();
    for record in reader.records().take(max + 1) {
        let Ok(record) = record else { break };
        let cell = |cell: &str| Some(cell.to_owned()).filter(|cell| !cell.is_empty());
        rows.push(record.iter().map(cell).collect());
    }
    let header = rows.first().is_some_and(|first| looks_like_header(first, &rows[1..]));
    let columns: Vec<String> = if header {
        let first = rows.remove(0);
        first.into_iter().map(|name| name.unwrap_or_default().trim().to_owned()).collect()
    } else {
        (1..=rows.first()?.len()).map(|n| format!("column_{n}")).collect()
    };
    rows.iter_mut().for_each(|row| row.resize(columns.len(), None));
    let form = Form::Csv { delimiter, quoting, header, comment, skip_lines };
    Some(Table { form, columns, dotted: Vec::new(), rows })
}

/// True when the first row names the columns: texts that are all different, none of them a
/// number or a time, and none of them usual in its column.
fn looks_like_header(first: &[Option<String>], rows: &[Vec<Option<String>>]) -> bool {
    let names: Vec<&str> = first.iter().map(|cell| cell.as_deref().unwrap_or("").trim()).collect();
    let mut sorted: Vec<&str> = names.iter().copied().filter(|name| !name.is_empty()).collect();
    sorted.sort_unstable();
    let twice = sorted.windows(2).filter(|pair| pair[0] == pair[1]).count();
    let is_name = |name: &&str| {
        let digits = name.chars().filter(char::is_ascii_digit).count();
        digits * 2 <= name.len() && !name.contains("://") && !name.contains('@')
    };
    let repeated = names.iter().enumerate().any(|(place, name)| {
        let same = |row: &&Vec<Option<String>>| {
            row.get(place).and_then(Option::as_deref).is_some_and(|cell| cell == *name)
        };
        !name.is_empty() && rows.iter().filter(same).count() > 1
    });
    !sorted.is_empty() && twice * 4 <= sorted.len() && sorted.iter().all(is_name) && !repeated
}

/// A text as TOML.
pub(super) fn toml_text(text: &str) -> String {
    if text.chars().any(|c| c.is_control() && c != '\t') {
        quoted(text).replace('\u{7f}', "\\u007f")
    } else {
        toml::Value::String(text.to_owned()).to_string()
    }
}

/// A text for a comment.
pub(super) fn one_line(text: &str) -> String {
    crate::source::tally::shortened(text)
}
