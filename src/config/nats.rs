//! `[nats]`, its sources, gateway and outputs: keys, bounds, and secrets from files. The
//! settings that come of it are those of `crate::nats`; nothing here connects.

mod leaving;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::document::{Node, Value};
use super::print::{self, Entry};
use super::raw::{Problem, Reader};
use crate::domain::time::SpanMs;
use crate::nats::gateway::GatewaySettings;
use crate::nats::out::OutSettings;
use crate::nats::settings::{
    API, Auth, INBOX, LinkSettings, Manage, OnGap, SourceSettings, SourceTime, Tls, check_name,
    check_subject, check_url, covers, domain_api,
};
use crate::nats::wire::Template;

const SECOND: SpanMs = 1_000;
const MINUTE: SpanMs = 60 * SECOND;
const DAY: SpanMs = 86_400 * SECOND;
const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

/// Most sources, and most subjects or filters of one.
const SOURCES_MAX: usize = 16;
/// Most messages asked for ahead: they must fit the client's queue of 65536, with what the
/// server says of the requests.
const PULL_MESSAGES_MAX: i64 = 50_000;
/// Largest file with a secret.
const SECRET_BYTES_MAX: u64 = 64 << 10;

const MANAGES: [(&str, Manage); 2] = [("create", Manage::Create), ("check", Manage::Check)];
const TIMES: [(&str, SourceTime); 3] = [
    ("event", SourceTime::Event),
    ("broker", SourceTime::Broker),
    ("broker_if_absent", SourceTime::BrokerIfAbsent),
];
const ON_GAPS: [(&str, OnGap); 2] = [("stop", OnGap::Stop), ("continue", OnGap::Continue)];

/// Everything about NATS.
#[derive(Clone, Debug, PartialEq)]
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
    keys: Keys,
}

/// The plain keys of `[nats]`.
#[derive(Clone, Debug, PartialEq)]
struct Keys {
    url: String,
    name: String,
    manage: Manage,
    secrets: Secrets,
    tls: Tls,
    tls_cert_file: String,
    tls_key_file: String,
    request_timeout: SpanMs,
    reconnect_max: SpanMs,
    domain: String,
    api_prefix: String,
    inbox_prefix: String,
    monitor_url: String,
    source: SourceSettings,
}

/// How to sign in, as it was set.
#[derive(Clone, Default, PartialEq)]
struct Secrets {
    creds_file: String,
    nkey: String,
    nkey_file: String,
    token: String,
    token_file: String,
    user: String,
    password: String,
    password_file: String,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never a secret.
        out.write_str("Secrets")
    }
}

/// Reads `[nats]` with its sources. `credits` are those of the pipeline.
pub(super) fn read(reader: &mut Reader, credits: usize, event_bytes: usize) -> NatsConfig {
    let mut keys = keys(reader, event_bytes);
    let auth = auth(reader, &keys.secrets);
    keys.tls.client = match (keys.tls_cert_file.as_str(), keys.tls_key_file.as_str()) {
        ("", "") => None,
        (certificate, key) if !certificate.is_empty() && !key.is_empty() => {
            Some((PathBuf::from(certificate), PathBuf::from(key)))
        }
        _ => {
            let both = ["nats.tls_cert_file", "nats.tls_key_file"];
            reader.conflict(&both, "nats.tls_cert_file and nats.tls_key_file belong together");
            None
        }
    };
    let sources = sources(reader, &keys.source, credits);
    let streams = sources.iter().map(|source| source.stream.clone()).collect();
    let gateway = leaving::gateway(reader, streams);
    let out = leaving::out(reader, &keys.source);
    let link = (!keys.url.is_empty()).then(|| LinkSettings {
        url: keys.url.clone(),
        name: keys.name.clone(),
        auth,
        tls: keys.tls.clone(),
        request_timeout: duration(keys.request_timeout),
        reconnect_max: duration(keys.reconnect_max),
        api: match (keys.domain.as_str(), keys.api_prefix.as_str()) {
            ("", "") => API.to_owned(),
            ("", prefix) => prefix.to_owned(),
            (domain, _) => domain_api(domain),
        },
        inbox: match keys.inbox_prefix.as_str() {
            "" => INBOX.to_owned(),
            prefix => prefix.to_owned(),
        },
    });
    if link.is_some() {
        gateway_is_read(reader, &gateway, &sources);
    }
    NatsConfig { link, sources, gateway, out, keys }
}

fn duration(span: SpanMs) -> Duration {
    Duration::from_millis(span.max(0) as u64)
}

fn millis(span: Duration) -> SpanMs {
    SpanMs::try_from(span.as_millis()).unwrap_or(SpanMs::MAX)
}

fn keys(reader: &mut Reader, event_bytes: usize) -> Keys {
    let default = SourceSettings::default();
    reader.hide_where("nats.url", '@');
    let url = checked(reader, "nats.url", "", |url| match url {
        "" => Ok(()),
        url => check_url(url),
    });
    let name = checked(reader, "nats.name", "tidewatch", check_name);
    let manage = reader.choice("nats.manage", Manage::Create, &MANAGES);
    let secrets = Secrets {
        creds_file: reader.text("nats.creds_file", ""),
        nkey: reader.secret("nats.nkey"),
        nkey_file: reader.text("nats.nkey_file", ""),
        token: reader.secret("nats.token"),
        token_file: reader.text("nats.token_file", ""),
        user: reader.text("nats.user", ""),
        password: reader.secret("nats.password"),
        password_file: reader.text("nats.password_file", ""),
    };
    let ca_file = reader.text("nats.tls_ca_file", "");
    let tls = Tls {
        required: reader.truth("nats.tls_required", false),
        first: reader.truth("nats.tls_first", false),
        ca_file: (!ca_file.is_empty()).then(|| PathBuf::from(ca_file)),
        client: None,
    };
    let tls_cert_file = reader.text("nats.tls_cert_file", "");
    let tls_key_file = reader.text("nats.tls_key_file", "");
    let wait = 100..=MINUTE;
    let request_timeout = reader.span("nats.request_timeout", 5 * SECOND, wait.clone());
    let reconnect_max = reader.span("nats.reconnect_max", 4 * SECOND, wait);
    let monitor_url = checked(reader, "nats.monitor_url", "", |url| {
        match url.is_empty() || url.starts_with("http://") || url.starts_with("https://") {
            true => Ok(()),
            false => Err("must begin with http:// or https://, such as http://host:8222".into()),
        }
    });
    let domain = checked(reader, "nats.domain", "", optional_name);
    let api_prefix = checked(reader, "nats.api_prefix", "", prefix);
    let inbox_prefix = checked(reader, "nats.inbox_prefix", "", prefix);
    if !domain.is_empty() && !api_prefix.is_empty() {
        reader.conflict(
            &["nats.api_prefix", "nats.domain"],
            format!(
                "set nats.domain or nats.api_prefix, not both: domain {domain:?} is the prefix {:?}",
                domain_api(&domain)
            ),
        );
    }
    let inflated = default.inflated_bytes_max;
    let source = SourceSettings {
        consumer: checked(reader, "nats.consumer", &default.consumer, check_name),
        manage,
        on_gap: reader.choice("nats.on_gap", OnGap::Stop, &ON_GAPS),
        pull_messages: reader.count(
            "nats.pull_messages",
            default.pull_messages,
            1..=PULL_MESSAGES_MAX,
        ),
        inflated_bytes_max: reader.size("nats.inflated_bytes_max", inflated, KIB..=GIB),
        max_age: duration(reader.span("nats.max_age", 7 * DAY, 0..=3_660 * DAY)),
        max_bytes: reader.size("nats.max_bytes", 0, 0..=1_048_576 * GIB) as u64,
        duplicate_window: duration(reader.span("nats.duplicate_window", 10 * MINUTE, 100..=DAY)),
        replicas: reader.count("nats.replicas", 1, 1..=5),
        monitor_url: monitor_url.clone(),
        ..default
    };
    if !url.is_empty() && source.inflated_bytes_max < event_bytes {
        reader.conflict(
            &["nats.inflated_bytes_max", "events.event_bytes"],
            "nats.inflated_bytes_max must not be smaller than events.event_bytes",
        );
    }
    if !source.max_age.is_zero() && source.duplicate_window > source.max_age {
        reader.conflict(
            &["nats.duplicate_window", "nats.max_age"],
            "nats.duplicate_window must not be longer than nats.max_age",
        );
    }
    if source.replicas.is_multiple_of(2) {
        reader.problem("nats.replicas", "must be 1, 3 or 5: an even number survives no more");
    }
    Keys {
        url,
        name,
        manage,
        secrets,
        tls,
        tls_cert_file,
        tls_key_file,
        request_timeout,
        reconnect_max,
        domain,
        api_prefix,
        inbox_prefix,
        monitor_url,
        source,
    }
}

/// A text that keeps a rule.
fn checked(
    reader: &mut Reader,
    key: &'static str,
    default: &str,
    rule: impl FnOnce(&str) -> Result<(), String>,
) -> String {
    reader.read(key, default.to_owned(), |node| {
        let text = node.text("text in quotes")?;
        rule(text).map(|()| text.to_owned())
    })
}

/// The one way to sign in that is set; files are read now.
fn auth(reader: &mut Reader, secrets: &Secrets) -> Auth {
    let nkey = secret(reader, ["nats.nkey", "nats.nkey_file"], &secrets.nkey, &secrets.nkey_file);
    let token =
        secret(reader, ["nats.token", "nats.token_file"], &secrets.token, &secrets.token_file);
    let password = secret(
        reader,
        ["nats.password", "nats.password_file"],
        &secrets.password,
        &secrets.password_file,
    );
    if secrets.user.is_empty() != password.is_empty() {
        let keys = ["nats.user", "nats.password", "nats.password_file"];
        reader.conflict(&keys, "nats.user and nats.password (or password_file) belong together");
    }
    let ways = [
        ("nats.creds_file", !secrets.creds_file.is_empty()),
        ("nats.nkey", !nkey.is_empty()),
        ("nats.token", !token.is_empty()),
        ("nats.user", !secrets.user.is_empty()),
    ];
    let set: Vec<&str> = ways.iter().filter(|(_, set)| *set).map(|(key, _)| *key).collect();
    if set.len() > 1 {
        reader
            .conflict(&set, format!("only one way to sign in may be set, not {}", set.join(", ")));
    }
    match set.first().copied() {
        Some("nats.creds_file") => Auth::Creds(PathBuf::from(&secrets.creds_file)),
        Some("nats.nkey") => Auth::Nkey(nkey),
        Some("nats.token") => Auth::Token(token),
        Some(_) => Auth::Password(secrets.user.clone(), password),
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
        return Err(format!("has more than {SECRET_BYTES_MAX} bytes: that is no secret"));
    }
    let text = std::fs::read_to_string(path).map_err(cannot)?;
    match text.trim() {
        "" => Err("is empty".into()),
        text => Ok(text.to_owned()),
    }
}

/// `[[nats.source]]`; when there is none, the stream of the defaults.
fn sources(reader: &mut Reader, common: &SourceSettings, credits: usize) -> Vec<SourceSettings> {
    let ahead = common.pull_messages;
    let common = SourceSettings { max_ack_pending: (credits + ahead) as i64, ..common.clone() };
    let Some(nodes) = reader.tables("nats.source") else { return vec![common] };
    if nodes.is_empty() || nodes.len() > SOURCES_MAX {
        reader.problem("nats.source", format!("must be 1 to {SOURCES_MAX} sources"));
    }
    let mut sources: Vec<SourceSettings> = Vec::new();
    for (index, node) in nodes.into_iter().take(SOURCES_MAX).enumerate() {
        let Value::Table(entries) = node.value else {
            reader.problem("nats.source", "must be written as [[nats.source]], once for each");
            continue;
        };
        let (source, problems) = source(index, node.place, entries, &common);
        reader.problems.extend(problems);
        let same = |other: &&SourceSettings| {
            other.stream == source.stream && other.consumer == source.consumer
        };
        if let Some(other) = sources.iter().find(same) {
            let rule = format!(
                "stream {} is read twice through consumer {:?}: give each source a consumer of \
                 its own",
                other.stream, other.consumer
            );
            reader.problem("nats.source", rule);
        }
        sources.push(source);
    }
    sources
}

fn source(
    index: usize,
    place: String,
    entries: BTreeMap<String, Node>,
    common: &SourceSettings,
) -> (SourceSettings, Vec<Problem>) {
    let mut reader = Reader::new(format!("nats.source.{index}."), place, entries);
    let stream = reader.required("stream", "stream = \"EVENTS\"", |node| {
        let name = node.text("text in quotes")?;
        check_name(name).map(|()| name.to_owned())
    });
    let subjects = subjects(&mut reader, "subjects");
    let filter = self::subjects(&mut reader, "filter");
    let subject_template =
        checked(&mut reader, "subject_template", "", |text| Template::parse(text).map(drop));
    let time = reader.choice("time", SourceTime::Event, &TIMES);
    let consumer = checked(&mut reader, "consumer", &common.consumer, check_name);
    let on_gap = reader.choice("on_gap", common.on_gap, &ON_GAPS);
    let made = SourceSettings {
        stream,
        subjects,
        filter,
        subject_template,
        time,
        consumer,
        on_gap,
        ..common.clone()
    };
    (made, reader.finish())
}

/// A list of subjects, with wildcards.
fn subjects(reader: &mut Reader, key: &'static str) -> Vec<String> {
    reader.read(key, Vec::new(), |node| {
        let subjects = node.texts()?;
        if subjects.len() > SOURCES_MAX {
            return Err(format!("must hold at most {SOURCES_MAX} subjects"));
        }
        subjects.iter().try_for_each(|subject| check_subject(subject, true))?;
        Ok(subjects)
    })
}

/// A subject without wildcards, or nothing.
fn plain_subject(subject: &str) -> Result<(), String> {
    match subject {
        "" => Ok(()),
        subject => check_subject(subject, false),
    }
}

/// The first tokens of a subject, without a dot or a wildcard at their end; or nothing.
fn prefix(text: &str) -> Result<(), String> {
    let whole = text.trim_end_matches(".>").trim_end_matches('.');
    match plain_subject(text) {
        Err(_) if whole != text && plain_subject(whole).is_ok() => {
            Err(format!("must be the first words of a subject alone: write {whole:?}"))
        }
        other => other,
    }
}

/// A name, or nothing.
fn optional_name(name: &str) -> Result<(), String> {
    match name {
        "" => Ok(()),
        name => check_name(name),
    }
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

/// The sections as TOML, without secrets.
pub(super) fn print(config: &NatsConfig) -> Vec<(&'static str, Vec<Entry>)> {
    let mut sections = vec![("[nats]", nats(&config.keys))];
    for source in &config.sources {
        sections.push(("[[nats.source]]", source_keys(source)));
    }
    sections.push(("[nats.gateway]", leaving::gateway_keys(&config.gateway)));
    sections.push(("[nats.out]", leaving::out_keys(&config.out)));
    sections
}

fn nats(keys: &Keys) -> Vec<Entry> {
    let Keys { secrets, source, .. } = keys;
    let manage = match keys.manage {
        Manage::Create => "create",
        Manage::Check => "check",
    };
    let ca_file = keys.tls.ca_file.as_ref().map(|path| path.display().to_string());
    vec![
        ("url", print::text(&keys.url)),
        ("name", print::text(&keys.name)),
        ("manage", print::text(manage)),
        ("creds_file", print::text(&secrets.creds_file)),
        ("nkey", hidden(&secrets.nkey)),
        ("nkey_file", print::text(&secrets.nkey_file)),
        ("token", hidden(&secrets.token)),
        ("token_file", print::text(&secrets.token_file)),
        ("user", print::text(&secrets.user)),
        ("password", hidden(&secrets.password)),
        ("password_file", print::text(&secrets.password_file)),
        ("tls_required", keys.tls.required.to_string()),
        ("tls_first", keys.tls.first.to_string()),
        ("tls_ca_file", print::text(&ca_file.unwrap_or_default())),
        ("tls_cert_file", print::text(&keys.tls_cert_file)),
        ("tls_key_file", print::text(&keys.tls_key_file)),
        ("request_timeout", print::span(keys.request_timeout)),
        ("reconnect_max", print::span(keys.reconnect_max)),
        ("domain", print::text(&keys.domain)),
        ("api_prefix", print::text(&keys.api_prefix)),
        ("inbox_prefix", print::text(&keys.inbox_prefix)),
        ("monitor_url", print::text(&keys.monitor_url)),
        ("on_gap", print::text(on_gap(source.on_gap))),
        ("consumer", print::text(&source.consumer)),
        ("pull_messages", source.pull_messages.to_string()),
        ("inflated_bytes_max", print::size(source.inflated_bytes_max)),
        ("max_age", print::span(millis(source.max_age))),
        ("max_bytes", print::size(source.max_bytes as usize)),
        ("duplicate_window", print::span(millis(source.duplicate_window))),
        ("replicas", source.replicas.to_string()),
    ]
}

/// A secret is never shown; the comment says that there is one.
fn hidden(secret: &str) -> String {
    let remark = if secret.is_empty() { "" } else { " # it is set, and not shown" };
    format!("\"\"{remark}")
}

fn on_gap(on_gap: OnGap) -> &'static str {
    match on_gap {
        OnGap::Stop => "stop",
        OnGap::Continue => "continue",
    }
}

fn time(time: SourceTime) -> &'static str {
    TIMES.iter().find(|(_, known)| *known == time).map_or("event", |(word, _)| word)
}

fn source_keys(source: &SourceSettings) -> Vec<Entry> {
    vec![
        ("stream", print::text(&source.stream)),
        ("subjects", print::texts(&source.subjects)),
        ("filter", print::texts(&source.filter)),
        ("subject_template", print::text(&source.subject_template)),
        ("time", print::text(time(source.time))),
        ("consumer", print::text(&source.consumer)),
        ("on_gap", print::text(on_gap(source.on_gap))),
    ]
}
