//! A mapping as it is written: the TOML document and its shapes.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use encoding_rs::Encoding;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};

use super::error::{Broken, MappingError};
use crate::domain::time::EpochMs;
use crate::source::text;

/// The form of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) enum Format {
    /// JSON values: a line each, or in arrays, or over several lines.
    Json { explode: Option<String> },
    /// Delimited text.
    Csv { delimiter: u8, quoting: bool, escape: Option<u8>, columns: Option<Vec<String>> },
    /// Lines of a web server's log.
    Combined,
    /// W3C extended log: `#Fields` names the columns.
    W3c,
}

impl Format {
    /// As in a mapping.
    pub fn name(&self) -> &'static str {
        match self {
            Format::Json { .. } => "json",
            Format::Csv { .. } => "csv",
            Format::Combined => "combined",
            Format::W3c => "w3c",
        }
    }
}

/// Reads the document.
pub(super) fn read(text: &str) -> Result<Document, MappingError> {
    toml::from_str(text).map_err(|error| MappingError::Form(error.to_string()))
}

/// The TOML document as it stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    format: FormatName,
    delimiter: Option<String>,
    quoting: Option<bool>,
    escape: Option<char>,
    columns: Option<Vec<String>>,
    explode: Option<String>,
    encoding: Option<String>,
    pub comment: Option<String>,
    pub skip_lines: Option<u64>,
    pub absent: Option<Vec<String>>,
    pub drop_ts_below_ms: Option<EpochMs>,
    #[serde(default)]
    pub keep: OneOrMore<ConditionSpec>,
    #[serde(default)]
    pub drop: OneOrMore<ConditionSpec>,
    pub fields: BTreeMap<String, OneOrMore<Spec>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FormatName {
    Ndjson,
    Json,
    Csv,
    Combined,
    W3c,
}

impl Document {
    /// The format, with the keys that go with it.
    pub fn format(&self) -> Result<Format, Broken> {
        let only = |present: bool, key: &str, rule: &str| {
            if present { Err(Broken::new(key, rule)) } else { Ok(()) }
        };
        if self.format != FormatName::Csv {
            let rule = "only for format = \"csv\"";
            only(self.delimiter.is_some(), "delimiter", rule)?;
            only(self.quoting.is_some(), "quoting", rule)?;
            only(self.escape.is_some(), "escape", rule)?;
            only(self.columns.is_some(), "columns", rule)?;
        }
        if !matches!(self.format, FormatName::Ndjson | FormatName::Json) {
            only(self.explode.is_some(), "explode", "only for format = \"json\" or \"ndjson\"")?;
        }
        Ok(match self.format {
            FormatName::Ndjson | FormatName::Json => Format::Json { explode: self.explode.clone() },
            FormatName::Csv => Format::Csv {
                delimiter: self.delimiter()?,
                quoting: self.quoting.unwrap_or(true),
                escape: self.escape()?,
                columns: self.columns.clone(),
            },
            FormatName::Combined => Format::Combined,
            FormatName::W3c => Format::W3c,
        })
    }

    fn delimiter(&self) -> Result<u8, Broken> {
        let delimiter = match self.delimiter.as_deref() {
            None => return Ok(b','),
            Some("tab" | "\\t") => "\t",
            Some(delimiter) => delimiter,
        };
        match delimiter.as_bytes() {
            [b'\n' | b'\r' | b'"', ..] => {
                Err(Broken::new("delimiter", "cannot be a line end or a quote"))
            }
            [byte] if byte.is_ascii() => Ok(*byte),
            _ => Err(Broken::new("delimiter", "must be an ASCII character, one")),
        }
    }

    fn escape(&self) -> Result<Option<u8>, Broken> {
        match self.escape {
            Some(_) if self.quoting == Some(false) => {
                Err(Broken::new("escape", "means nothing with quoting = false"))
            }
            Some(escape) if !escape.is_ascii() => {
                Err(Broken::new("escape", "must be an ASCII character, such as \"\\\\\""))
            }
            escape => Ok(escape.map(|escape| escape as u8)),
        }
    }

    pub fn encoding(&self) -> Result<Option<&'static Encoding>, Broken> {
        let Some(label) = &self.encoding else { return Ok(None) };
        text::encoding(label).map(Some).ok_or_else(|| {
            let rule = format!(
                "{label:?} is not an encoding: write for example \"utf-8\", \"latin-1\", \
                 \"windows-1252\", \"utf-16le\" or \"shift_jis\""
            );
            Broken::new("encoding", rule)
        })
    }
}

/// One way to make an attribute.
#[derive(Clone, Debug, Default)]
pub(super) struct Spec {
    pub columns: Vec<String>,
    pub table: SpecTable,
}

/// The table form of a [`Spec`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpecTable {
    pub column: Option<String>,
    #[serde(default)]
    pub columns: Vec<String>,
    pub join: Option<String>,
    pub value: Option<toml::Value>,
    pub unit: Option<String>,
    pub format: Option<String>,
    pub zone: Option<String>,
    #[serde(default)]
    pub number: NumberSpec,
    pub before: Option<String>,
    pub after: Option<String>,
    pub before_last: Option<String>,
    pub after_last: Option<String>,
    #[serde(rename = "match")]
    pub pattern: Option<String>,
    #[serde(default)]
    pub url_decode: bool,
    #[serde(default)]
    pub map: BTreeMap<String, String>,
    pub default: Option<String>,
    #[serde(default)]
    pub when: OneOrMore<ConditionSpec>,
}

/// `number = true`, or an example of how numbers are written.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum NumberSpec {
    Plain(bool),
    Example(String),
}

impl Default for NumberSpec {
    fn default() -> Self {
        NumberSpec::Plain(false)
    }
}

/// A condition on a row.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConditionSpec {
    pub column: String,
    pub is: Option<OneOrMore<toml::Value>>,
    pub not: Option<OneOrMore<toml::Value>>,
    #[serde(rename = "match")]
    pub pattern: Option<String>,
    pub present: Option<bool>,
    pub min: Option<f64>,
    pub max: Option<f64>,
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Spec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a column, a table, or a list of these")
            }

            fn visit_str<E>(self, column: &str) -> Result<Spec, E> {
                Ok(Spec { columns: vec![column.to_owned()], table: SpecTable::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Spec, A::Error> {
                let table = SpecTable::deserialize(MapAccessDeserializer::new(map))?;
                let columns = table.column.iter().chain(&table.columns).cloned().collect();
                Ok(Spec { columns, table })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A thing, or a list of them.
#[derive(Clone, Debug)]
pub(super) struct OneOrMore<T>(pub Vec<T>);

impl<T> Default for OneOrMore<T> {
    fn default() -> Self {
        OneOrMore(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMore<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a column, a table, or a list of these")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let one = T::deserialize(serde::de::value::StrDeserializer::<E>::new(text))?;
                Ok(OneOrMore(vec![one]))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
                let one = T::deserialize(serde::de::value::I64Deserializer::<E>::new(number))?;
                Ok(OneOrMore(vec![one]))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Self::Value, E> {
                let one = T::deserialize(serde::de::value::F64Deserializer::<E>::new(number))?;
                Ok(OneOrMore(vec![one]))
            }

            fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Self::Value, E> {
                let one = T::deserialize(serde::de::value::BoolDeserializer::<E>::new(flag))?;
                Ok(OneOrMore(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(OneOrMore)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let one = T::deserialize(MapAccessDeserializer::new(map))?;
                Ok(OneOrMore(vec![one]))
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}
