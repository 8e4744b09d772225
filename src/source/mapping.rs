//! How the columns of a file become the attributes of events: a small TOML file.
//!
//! ```toml
//! format = "csv"                # or "ndjson", "combined" (web server logs)
//! delimiter = ","               # csv only
//! quoting = true                # csv only: false takes quotes as they are
//! columns = ["user", "at"]      # csv only: when the file has no header
//! encoding = "utf-8"            # or "latin-1"; bytes that are wrong become U+FFFD
//! explode = "events"            # ndjson only: a line holds an array of events; the
//!                               # line's other fields can be used by each of them
//! drop_ts_below_ms = 0          # rows with an earlier time are left out
//!
//! [fields]                      # attribute = "column", or a table
//! user = "user_id"
//! ts = { column = "at", unit = "iso" }    # "ms", "s", "iso" (UTC without a zone), "clf"
//! type = { column = "event", map = { cart = "cart_add" }, default = "page_view" }
//! status = { column = "code", number = true }
//! ```
//!
//! `map` changes a column's texts; a text that is not listed becomes `default`, or stays
//! when there is none. `default` without a column is the same for every row. Empty cells
//! are left out, as is `-` in a number.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use thiserror::Error;

use crate::domain::time::EpochMs;

/// A mapping, checked.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// As it was written: part of the identity of what is read by it.
    text: String,
    pub(super) format: Format,
    pub(super) latin1: bool,
    pub(super) drop_ts_below: Option<EpochMs>,
    /// Columns that are used, each once.
    pub(super) wanted: Vec<String>,
    /// In the order in which they are written: time and type first.
    pub(super) fields: Vec<Field>,
}

/// The form of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Ndjson { explode: Option<String> },
    Csv { delimiter: u8, quoting: bool, columns: Option<Vec<String>> },
    Combined,
}

/// One attribute.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub attribute: String,
    /// Index in `Mapping::wanted`; none when the value is `default` in every row.
    pub column: Option<usize>,
    pub kind: Kind,
}

/// What is made of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The event's time.
    Time(Unit),
    Number,
    Text {
        map: BTreeMap<String, String>,
        default: Option<String>,
    },
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Unit {
    /// Milliseconds since the epoch.
    Ms,
    /// Seconds since the epoch.
    S,
    /// ISO 8601, in UTC where it names no zone.
    Iso,
    /// As in web server logs.
    Clf,
}

/// Why a mapping was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MappingError {
    /// It is not TOML of the known form; the text names line and column.
    #[error("{0}")]
    Form(String),
    /// It says something that cannot be meant.
    #[error("{key}: {rule}")]
    Rule {
        /// The key.
        key: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
}

impl Mapping {
    /// Reads a mapping.
    ///
    /// # Errors
    /// When a key is unknown, a required one is missing, or two do not go together.
    pub fn parse(text: &str) -> Result<Self, MappingError> {
        let document: Document =
            toml::from_str(text).map_err(|error| MappingError::Form(error.to_string()))?;
        let mut mapping = Mapping {
            text: text.to_owned(),
            format: document.format()?,
            latin1: document.encoding == Encoding::Latin1,
            drop_ts_below: document.drop_ts_below_ms,
            wanted: Vec::new(),
            fields: Vec::new(),
        };
        for required in ["ts", "type"] {
            if !document.fields.contains_key(required) {
                let key = format!("fields.{required}");
                return Err(MappingError::Rule { key, rule: "every event needs it" });
            }
        }
        for (attribute, spec) in document.fields {
            let field = mapping.field(attribute, spec)?;
            mapping.fields.push(field);
        }
        mapping.fields.sort_by_key(|field| match field.attribute.as_str() {
            "ts" => 0,
            "type" => 1,
            _ => 2,
        });
        Ok(mapping)
    }

    /// The mapping for lines of a web server's log, common or combined form: `user` is
    /// the host, `type` is `http_request`, with `method`, `path`, `status` and `bytes`.
    pub fn combined() -> Self {
        Mapping::parse(include_str!("combined.toml")).expect("a test parses this constant")
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn field(&mut self, attribute: String, spec: Spec) -> Result<Field, MappingError> {
        let broken = |rule| Err(MappingError::Rule { key: format!("fields.{attribute}"), rule });
        let is_time = attribute == "ts";
        if spec.column.is_none() && (spec.default.is_none() || !spec.map.is_empty() || is_time) {
            return broken("names no column");
        }
        let kind = match (spec.unit, spec.number) {
            (Some(_), _) if !is_time => return broken("only `ts` has a unit"),
            (None, _) if is_time => return broken("`ts` needs a unit: ms, s, iso or clf"),
            (_, number)
                if (is_time || number) && (!spec.map.is_empty() || spec.default.is_some()) =>
            {
                return broken("`map` and `default` are for texts");
            }
            (Some(_), true) => return broken("`ts` is a number by its unit"),
            (Some(unit), false) => Kind::Time(unit),
            (None, true) => Kind::Number,
            (None, false) => Kind::Text { map: spec.map, default: spec.default },
        };
        let column = spec.column.map(|column| {
            self.wanted.iter().position(|known| *known == column).unwrap_or_else(|| {
                self.wanted.push(column);
                self.wanted.len() - 1
            })
        });
        Ok(Field { attribute, column, kind })
    }
}

/// The TOML document as it stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: FormatName,
    delimiter: Option<char>,
    quoting: Option<bool>,
    columns: Option<Vec<String>>,
    explode: Option<String>,
    #[serde(default)]
    encoding: Encoding,
    drop_ts_below_ms: Option<EpochMs>,
    fields: BTreeMap<String, Spec>,
}

impl Document {
    fn format(&self) -> Result<Format, MappingError> {
        let only = |present: bool, key: &str, rule| match present {
            true => Err(MappingError::Rule { key: key.to_owned(), rule }),
            false => Ok(()),
        };
        if self.format != FormatName::Csv {
            only(self.delimiter.is_some(), "delimiter", "only for format = \"csv\"")?;
            only(self.quoting.is_some(), "quoting", "only for format = \"csv\"")?;
            only(self.columns.is_some(), "columns", "only for format = \"csv\"")?;
        }
        if self.format != FormatName::Ndjson {
            only(self.explode.is_some(), "explode", "only for format = \"ndjson\"")?;
        }
        let delimiter = self.delimiter.unwrap_or(',');
        only(!delimiter.is_ascii(), "delimiter", "must be an ASCII character")?;
        Ok(match self.format {
            FormatName::Ndjson => Format::Ndjson { explode: self.explode.clone() },
            FormatName::Csv => Format::Csv {
                delimiter: delimiter as u8,
                quoting: self.quoting.unwrap_or(true),
                columns: self.columns.clone(),
            },
            FormatName::Combined => Format::Combined,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FormatName {
    Ndjson,
    Csv,
    Combined,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum Encoding {
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "latin-1")]
    Latin1,
}

/// One line under `[fields]`.
#[derive(Default)]
struct Spec {
    column: Option<String>,
    unit: Option<Unit>,
    number: bool,
    map: BTreeMap<String, String>,
    default: Option<String>,
}

/// The table form of a [`Spec`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecTable {
    column: Option<String>,
    unit: Option<Unit>,
    #[serde(default)]
    number: bool,
    #[serde(default)]
    map: BTreeMap<String, String>,
    default: Option<String>,
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Spec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a column, or a table")
            }

            fn visit_str<E>(self, column: &str) -> Result<Spec, E> {
                Ok(Spec { column: Some(column.to_owned()), ..Spec::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Spec, A::Error> {
                let table = SpecTable::deserialize(MapAccessDeserializer::new(map))?;
                let SpecTable { column, unit, number, map, default } = table;
                Ok(Spec { column, unit, number, map, default })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUIRED: &str = "[fields]\nts = {column=\"t\", unit=\"ms\"}\ntype = \"e\"\n";

    #[track_caller]
    fn refuses(text: &str, want: &str) {
        let found = Mapping::parse(text).unwrap_err().to_string();
        assert!(found.contains(want), "{found}");
    }

    #[test]
    fn mistakes_are_named() {
        refuses(&format!("format=\"csv\"\ndelimeter=\";\"\n{REQUIRED}"), "line 2");
        refuses(
            &format!("format=\"csv\"\ndelimeter=\";\"\n{REQUIRED}"),
            "unknown field `delimeter`",
        );
        refuses(&format!("format=\"csv\"\n{REQUIRED}a={{colum=\"x\"}}"), "line 5");
        refuses(&format!("format=\"csv\"\n{REQUIRED}a=5"), "the name of a column, or a table");
        refuses(&format!("format=\"xml\"\n{REQUIRED}"), "unknown variant `xml`");
        refuses(&format!("format=\"ndjson\"\ncolumns=[]\n{REQUIRED}"), "columns: only for format");
        refuses(&format!("format=\"csv\"\nexplode=\"e\"\n{REQUIRED}"), "explode: only for format");
        refuses(
            &format!("format=\"csv\"\ndelimiter=\"→\"\n{REQUIRED}"),
            "delimiter: must be an ASCII",
        );
        refuses("format=\"csv\"\n[fields]\ntype=\"e\"", "fields.ts: every event needs it");
        refuses("format=\"csv\"\n[fields]\ntype=\"e\"\nts=\"t\"", "fields.ts: `ts` needs a unit");
        refuses(&format!("format=\"csv\"\n{REQUIRED}a={{}}"), "fields.a: names no column");
        refuses(
            &format!("format=\"csv\"\n{REQUIRED}a={{column=\"x\",unit=\"s\"}}"),
            "fields.a: only `ts`",
        );
        refuses(
            &format!("format=\"csv\"\n{REQUIRED}a={{column=\"x\",number=true,default=\"1\"}}"),
            "fields.a: `map` and `default` are for texts",
        );
    }

    #[test]
    fn a_column_used_twice_is_wanted_once() {
        let text = format!("format=\"csv\"\n{REQUIRED}a=\"x\"\nb={{column=\"x\",number=true}}");
        let mapping = Mapping::parse(&text).unwrap();
        assert_eq!(mapping.wanted, ["x", "t", "e"]);
        assert_eq!(mapping.fields[0].attribute, "ts");
        assert_eq!(mapping.fields[2].column, mapping.fields[3].column);
    }

    #[test]
    fn the_built_in_mapping_is_well_formed() {
        assert_eq!(Mapping::combined().format, Format::Combined);
    }
}
