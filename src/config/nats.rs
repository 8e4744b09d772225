//! `[nats]`, its sources, gateway and outputs: what must hold between their keys, and secrets
//! from files. The keys stand in `crate::nats`; nothing here connects.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::document::{Node, Value};
use super::problem::Problem;
use super::reader::Reader;
use crate::domain::settings::Section;
use crate::nats::settings::{
    Auth, GatewaySettings, LinkSettings, NatsSettings, OutSettings, SourceKeys, SourceSettings,
    covers, domain_api,
};

/// Most sources.
pub(super) const SOURCES_MAX: usize = 16;
/// Largest file with a secret.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Everything about NATS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NatsConfig {
    /// The connection; `None` while `nats.url` is empty.
    pub link: Option<LinkSettings>,
    /// The streams to read, at least one.
    pub sources: Vec<SourceSettings>,
    /// Where `POST /v1/events` publishes.
    pub gateway: GatewaySettings,
    /// What is published.
    pub out: OutSettings,
    /// The keys of `[nats]` as they were set, for the print.
    keys: NatsSettings,
}

impl NatsConfig {
    /// The keys of `[nats]`, as they were set.
    pub(super) fn keys(&self) -> &dyn Section {
        &self.keys
    }
}

/// Reads `[nats]` with its sources. `credits` are those of the pipeline.
pub(super) fn read(reader: &mut Reader, credits: usize, event_bytes: usize) -> NatsConfig {
    reader.hide_where("nats.url", '@');
    let keys = reader.section(NatsSettings::default());
    keys_fit(reader, &keys, event_bytes);
    let auth = auth(reader, &keys);
    let sources = sources(reader, &keys, credits);
    let mut gateway = reader.section(GatewaySettings::default());
    gateway.streams = sources.iter().map(|source| source.stream.clone()).collect();
    let out = out(reader, &keys);
    let link = (!keys.url.is_empty()).then(|| keys.link(auth));
    if link.is_some() {
        gateway_is_read(reader, &gateway, &sources);
    }
    NatsConfig { link, sources, gateway, out, keys }
}

fn out(reader: &mut Reader, keys: &NatsSettings) -> OutSettings {
    let common =
        OutSettings { manage: keys.manage, replicas: keys.replicas, ..OutSettings::default() };
    let out = reader.section(common);
    if !out.max_age.is_zero() && out.duplicate_window > out.max_age {
        reader.conflict(
            &["nats.out.duplicate_window", "nats.out.max_age"],
            "nats.out.duplicate_window must not be longer than nats.out.max_age",
        );
    }
    out
}

fn keys_fit(reader: &mut Reader, keys: &NatsSettings, event_bytes: usize) {
    if keys.tls_cert_file.is_empty() != keys.tls_key_file.is_empty() {
        let both = ["nats.tls_cert_file", "nats.tls_key_file"];
        reader.conflict(&both, "nats.tls_cert_file and nats.tls_key_file belong together");
    }
    if !keys.domain.is_empty() && !keys.api_prefix.is_empty() {
        reader.conflict(
            &["nats.api_prefix", "nats.domain"],
            format!(
                "set nats.domain or nats.api_prefix, not both: domain {:?} is the prefix {:?}",
                keys.domain,
                domain_api(&keys.domain)
            ),
        );
    }
    if !keys.url.is_empty() && keys.inflated_bytes_max < event_bytes {
        reader.conflict(
            &["nats.inflated_bytes_max", "events.event_bytes"],
            "nats.inflated_bytes_max must not be smaller than events.event_bytes",
        );
    }
    if !keys.max_age.is_zero() && keys.duplicate_window > keys.max_age {
        reader.conflict(
            &["nats.duplicate_window", "nats.max_age"],
            "nats.duplicate_window must not be longer than nats.max_age",
        );
    }
    if keys.replicas.is_multiple_of(2) {
        reader.problem("nats.replicas", "must be 1, 3 or 5: an even number survives no more");
    }
}

/// The one way to sign in that is set; files are read now.
fn auth(reader: &mut Reader, keys: &NatsSettings) -> Auth {
    let nkey = secret(reader, ["nats.nkey", "nats.nkey_file"], &keys.nkey.0, &keys.nkey_file);
    let token = secret(reader, ["nats.token", "nats.token_file"], &keys.token.0, &keys.token_file);
    let password = secret(
        reader,
        ["nats.password", "nats.password_file"],
        &keys.password.0,
        &keys.password_file,
    );
    if keys.user.is_empty() != password.is_empty() {
        let keys = ["nats.user", "nats.password", "nats.password_file"];
        reader.conflict(&keys, "nats.user and nats.password (or password_file) belong together");
    }
    let ways = [
        ("nats.creds_file", !keys.creds_file.is_empty()),
        ("nats.nkey", !nkey.is_empty()),
        ("nats.token", !token.is_empty()),
        ("nats.user", !keys.user.is_empty()),
    ];
    let set: Vec<&str> = ways.iter().filter(|(_, set)| *set).map(|(key, _)| *key).collect();
    if set.len() > 1 {
        reader
            .conflict(&set, format!("only one way to sign in may be set, not {}", set.join(", ")));
    }
    match set.first().copied() {
        Some("nats.creds_file") => Auth::Creds(PathBuf::from(&keys.creds_file)),
        Some("nats.nkey") => Auth::Nkey(nkey),
        Some("nats.token") => Auth::Token(token),
        Some(_) => Auth::Password(keys.user.clone(), password),
        None => Auth::None,
    }
}

/// A secret as it was set, or from its file.
fn secret(reader: &mut Reader, keys: [&str; 2], text: &str, file: &str) -> String {
    if file.is_empty() {
        return text.to_owned();
    }
    if !text.is_empty() {
        reader.conflict(&[keys[1], keys[0]], format!("set {} or {}, not both", keys[0], keys[1]));
    }
    match secret_file(file) {
        Ok(secret) => secret,
        Err(cause) => {
            reader.problem(keys[1], cause);
            String::new()
        }
    }
}

fn secret_file(path: &str) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    if std::fs::metadata(path).map_err(cannot)?.len() > SECRET_BYTES_MAX {
        return Err(format!("has more than {SECRET_BYTES_MAX} bytes: that is not a secret"));
    }
    let text = std::fs::read_to_string(path).map_err(cannot)?;
    match text.trim() {
        "" => Err("is empty".into()),
        text => Ok(text.to_owned()),
    }
}

/// `[[nats.source]]`; when there is none, the stream of the defaults.
fn sources(reader: &mut Reader, common: &NatsSettings, credits: usize) -> Vec<SourceSettings> {
    let inherited = SourceKeys {
        consumer: common.consumer.clone(),
        on_gap: common.on_gap,
        ..SourceKeys::default()
    };
    let Some(nodes) = reader.tables("nats.source") else {
        return vec![SourceSettings::of(common, inherited, credits)];
    };
    if nodes.is_empty() || nodes.len() > SOURCES_MAX {
        reader.problem("nats.source", format!("must be 1 to {SOURCES_MAX} sources"));
    }
    // What is read is said, once there is a table for it.
    let blank = SourceKeys { stream: String::new(), subjects: Vec::new(), ..inherited };
    let mut sources: Vec<SourceSettings> = Vec::new();
    for (index, node) in nodes.into_iter().take(SOURCES_MAX).enumerate() {
        let Value::Table(entries) = node.value else {
            reader.problem("nats.source", "must be written as [[nats.source]], a table for each");
            continue;
        };
        let (keys, problems) = source(index, node.place.clone(), entries, blank.clone());
        reader.problems.extend(problems);
        let source = SourceSettings::of(common, keys, credits);
        let same = |other: &&SourceSettings| {
            other.stream == source.stream && other.consumer == source.consumer
        };
        if let Some(other) = sources.iter().find(same) {
            let rule = format!(
                "stream {} is read above through consumer {:?} already: give each source a \
                 consumer of its own",
                other.stream, other.consumer
            );
            let (key, value) = (format!("nats.source.{}.consumer", index + 1), String::new());
            reader.problems.push(Problem { place: node.place, key, value, rule });
        }
        sources.push(source);
    }
    sources
}

fn source(
    index: usize,
    place: String,
    entries: BTreeMap<String, Node>,
    blank: SourceKeys,
) -> (SourceKeys, Vec<Problem>) {
    let mut reader = Reader::new(format!("nats.source.{}.", index + 1), place, entries);
    reader.need("stream", "stream = \"EVENTS\"");
    let keys = reader.section(blank);
    (keys, reader.finish())
}

/// What is posted must come back through a source.
fn gateway_is_read(reader: &mut Reader, gateway: &GatewaySettings, sources: &[SourceSettings]) {
    let subject = &gateway.subject;
    let reads = |source: &SourceSettings| {
        // Without a list the stream's own subjects decide, and they are not known here.
        let read = if source.filter.is_empty() { &source.subjects } else { &source.filter };
        read.is_empty() || read.iter().any(|pattern| covers(pattern, subject))
    };
    if !subject.is_empty() && !sources.iter().any(reads) {
        reader.conflict(
            &["nats.gateway.subject", "nats.source", "nats.url"],
            format!(
                "nats.gateway.subject is {subject:?}, and no source reads it: choose a subject of \
                 a source, or \"\" so that nothing can be posted"
            ),
        );
    }
}
