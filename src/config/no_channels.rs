//! `[[channel]]` in a build without what delivers: whoever writes one is told what is missing.

use super::attributes::Attributes;
use super::print::{Entry, Setting};
use super::reader::Reader;
use super::routes::Told;
use super::warnings::missing;
use super::windows::Days;

/// There is none.
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {}

pub(super) const KIND: &str = "type";

pub(super) fn kinds() -> Vec<(&'static str, &'static str)> {
    Vec::new()
}

pub(super) fn settings() -> (Vec<Setting>, Vec<(String, Vec<Setting>)>) {
    (Vec::new(), Vec::new())
}

pub(super) fn read(
    reader: &mut Reader,
    _: &Attributes<'_>,
    _: Days<'_>,
    _: (&Told, &str, bool),
) -> Vec<Spec> {
    if reader.tables("channel").is_some() {
        reader.problem("channel", missing("channels", "notify"));
    }
    Vec::new()
}

pub(super) fn keys(spec: &Spec) -> Vec<Entry> {
    match *spec {}
}

pub(super) fn compared(spec: &Spec) -> String {
    match *spec {}
}

pub(super) fn kind(spec: &Spec) -> &'static str {
    match *spec {}
}

pub(super) fn name(spec: &Spec) -> &str {
    match *spec {}
}

pub(super) fn names_nobody(_: &str, _: &[Spec]) -> Option<String> {
    None
}

pub(super) fn unknown(_: &str, _: &[Spec]) -> Option<String> {
    Some(missing("channels", "notify"))
}
