//! What can be set of NATS: the keys of `[nats]` and `[[nats.source]]`, and the settings of a
//! connection and a source that come of them; those of `[nats.gateway]` and `[nats.out]`.
//!
//! They are known and checked in every build, also in one without NATS.

mod bucket;
pub(super) mod gateway;
mod out;
mod rules;
pub mod template;

use std::path::PathBuf;
use std::time::Duration;

pub use tidewatch_connection::{
    API, Auth, INBOX, LinkSettings, Tls, check_subject, domain_api, without_users,
};

use crate::domain::settings::{Secret, Word, settings};

pub use bucket::BucketKeys;
pub use gateway::GatewaySettings;
pub use out::OutSettings;
use rules::{check_name, monitor, optional_name, pattern, prefix, servers, template};
pub use rules::{check_url, covers};

/// Most subjects or filters of one source.
const SUBJECTS_MAX: usize = 16;

/// Most messages asked for ahead: they must fit the client's queue of 65536, with what the
/// server says of the requests.
const PULL_MESSAGES_MAX: i64 = 50_000;

settings! {
    /// The connection, and what holds for every stream that is read.
    #[derive(Clone, Debug, PartialEq)]
    pub struct NatsSettings in "nats." {
        /// NATS servers, separated by commas: "nats://host:4222" or "tls://host:4222", version 2.11
        /// or newer with JetStream. Events then come from the streams below instead of the embedded
        /// log. "" for no NATS.
        pub url: String = String::new(), checked(servers);
        /// Name of the connection, shown by the server. 1 to 64 letters, digits, - or _.
        pub name: String = LinkSettings::to("").name, checked(check_name);
        /// "create" makes streams that are missing and the consumer anew at every start; "check"
        /// makes nothing and names what is missing or does not fit. A stream that exists is never
        /// changed.
        pub manage: Manage = Manage::Create, word::<Manage>();
        /// How to sign in: with this .creds file, or in one of the ways below. At most one is set.
        pub creds_file: String = String::new(), text();
        /// An nkey seed. Better in a file than here or in the environment. Secrets are never
        /// printed.
        pub nkey: Secret = Secret::default(), secret();
        /// File that holds the nkey seed.
        pub nkey_file: String = String::new(), text();
        /// A token.
        pub token: Secret = Secret::default(), secret();
        /// File that holds the token.
        pub token_file: String = String::new(), text();
        /// A user.
        pub user: String = String::new(), text();
        /// The user's password.
        pub password: Secret = Secret::default(), secret();
        /// File that holds the password.
        pub password_file: String = String::new(), text();
        /// Encryption: refuse a server without it.
        pub tls_required: bool = false, truth();
        /// Encryption before the server's greeting; needs the same on the server.
        pub tls_first: bool = false, truth();
        /// Certificates of authorities to trust besides the system's (PEM).
        pub tls_ca_file: String = String::new(), text();
        /// Our own certificate (PEM); needs tls_key_file.
        pub tls_cert_file: String = String::new(), text();
        /// The key of our certificate (PEM).
        pub tls_key_file: String = String::new(), text();
        /// Longest wait for one answer of the server.
        pub request_timeout: Duration = LinkSettings::to("").request_timeout, span(100, MINUTE);
        /// Longest wait between two tries to connect; it is tried for ever.
        pub reconnect_max: Duration = LinkSettings::to("").reconnect_max, span(100, MINUTE);
        /// JetStream in another domain (a hub behind a leaf node). "" for that of the server itself.
        pub domain: String = String::new(), checked(optional_name);
        /// JetStream under another prefix of its API (an import from another account). At most one of
        /// domain and api_prefix is set.
        pub api_prefix: String = String::new(), checked(prefix);
        /// First words of the subjects that answers come to, where this user may not subscribe to
        /// "_INBOX.>": "_INBOX_tidewatch", say, with the permission "_INBOX_tidewatch.>". "" for
        /// "_INBOX".
        pub inbox_prefix: String = String::new(), checked(prefix);
        /// The server's monitoring port, "http://host:8222": asked once at the start whether every
        /// write is synced (sync_interval: always); without that a power loss takes acknowledged
        /// events of a single replica, and there is a warning. "" for not asking.
        pub monitor_url: String = String::new(), checked(monitor);
        /// When events were deleted from a stream before they were read: "stop" and say which, or
        /// count the gap and "continue".
        pub on_gap: OnGap = OnGap::Stop, word::<OnGap>();
        /// Name of the durable consumer. The position that counts is the committed one here; the
        /// consumer only delivers. Two sources on one stream need two names.
        pub consumer: String = "tidewatch".into(), checked(check_name);
        /// Messages asked for ahead of their use: enough that none waits for the network, few
        /// enough that they fit the client's queue. Never more than the free credits.
        pub pull_messages: usize = 8_192, count(1, PULL_MESSAGES_MAX);
        /// Bytes of one message once it is unpacked (content-encoding gzip or zstd): a small
        /// message can unpack to a huge one. At least events.event_bytes.
        pub inflated_bytes_max: usize = 8 << 20, size(KIB, GIB);
        /// How long streams that are made keep messages: longer than the longest outage of this
        /// process. "0s": for ever.
        pub max_age: Duration = Duration::from_secs(7 * 86_400), span(0, 3_660 * DAY);
        /// How many bytes streams that are made keep. "0B": as many as the server allows.
        pub max_bytes: u64 = 0, size(0, 1_048_576 * GIB);
        /// How long the server remembers the ids of messages: a publisher that tries again within
        /// it stores nothing twice. Not longer than max_age.
        pub duplicate_window: Duration = Duration::from_secs(600), span(100, DAY);
        /// Copies of a stream in a cluster that are made. An odd number: an even one survives no more.
        pub replicas: usize = 1, count(1, 5);
    }
}

settings! {
    /// One `[[nats.source]]` as it is written.
    #[derive(Clone, Debug, PartialEq)]
    pub struct SourceKeys in "" {
        /// Needed. 1 to 64 letters, digits, - or _.
        pub stream: String = "EVENTS".into(), checked(check_name);
        /// Of the stream, to make it; compared when it is there. []: not compared.
        pub subjects: Vec<String> = vec!["events.>".into()], each(SUBJECTS_MAX, pattern);
        /// Only these subjects of it. []: all.
        pub filter: Vec<String> = Vec::new(), each(SUBJECTS_MAX, pattern);
        /// Attributes from the subject, where an event leaves them open: "shop.{region}.{type}";
        /// the last may be {name...}, the rest.
        pub subject_template: String = String::new(), checked(template);
        /// Whose time counts: "event", an event's own; "broker", when the broker stored it,
        /// whatever the event says; "broker_if_absent", the broker's for an event without a time.
        pub time: SourceTime = SourceTime::Event, word::<SourceTime>();
        /// As above, for this source.
        pub consumer: String = NatsSettings::default().consumer, checked(check_name);
        /// As above, for this source: "stop" or "continue".
        pub on_gap: OnGap = NatsSettings::default().on_gap, word::<OnGap>();
    }
}
impl NatsSettings {
    /// The connection; `auth` is the way to sign in that was chosen.
    pub fn link(&self, auth: Auth) -> LinkSettings {
        let path = |file: &String| (!file.is_empty()).then(|| PathBuf::from(file));
        let default = LinkSettings::to(self.url.clone());
        LinkSettings {
            name: self.name.clone(),
            auth,
            tls: Tls {
                required: self.tls_required,
                first: self.tls_first,
                ca_file: path(&self.tls_ca_file),
                client: path(&self.tls_cert_file).zip(path(&self.tls_key_file)),
            },
            request_timeout: self.request_timeout,
            reconnect_max: self.reconnect_max,
            api: match (self.domain.as_str(), self.api_prefix.as_str()) {
                ("", "") => default.api,
                ("", prefix) => prefix.to_owned(),
                (domain, _) => domain_api(domain),
            },
            inbox: match self.inbox_prefix.as_str() {
                "" => default.inbox,
                prefix => prefix.to_owned(),
            },
            url: default.url,
        }
    }
}

/// Make streams and consumers, or only look whether they are as they should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manage {
    /// Make what is missing.
    #[default]
    Create,
    /// Make nothing.
    Check,
}

impl Word for Manage {
    const WORDS: &'static [(&'static str, Self)] =
        &[("create", Manage::Create), ("check", Manage::Check)];
}

/// What to do when the stream no longer holds what was not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnGap {
    /// Stop and say so.
    #[default]
    Stop,
    /// Count it and go on.
    Continue,
}

impl Word for OnGap {
    const WORDS: &'static [(&'static str, Self)] =
        &[("stop", OnGap::Stop), ("continue", OnGap::Continue)];
}

/// Whose time is the time of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceTime {
    /// The event's own; one without is refused.
    #[default]
    Event,
    /// The broker's, whatever the event says.
    Broker,
    /// The event's own; the broker's for one without.
    BrokerIfAbsent,
}

impl Word for SourceTime {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("event", SourceTime::Event),
        ("broker", SourceTime::Broker),
        ("broker_if_absent", SourceTime::BrokerIfAbsent),
    ];
}

/// One source: a stream, and which of its subjects.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceSettings {
    /// The stream.
    pub stream: String,
    /// Subjects of the stream when it is made.
    pub subjects: Vec<String>,
    /// Only these subjects of the stream; empty for all.
    pub filter: Vec<String>,
    /// Name of the durable consumer.
    pub consumer: String,
    /// `shop.{region}.{type}`: attributes taken from the subject; empty for none.
    pub subject_template: String,
    /// Whose time counts.
    pub time: SourceTime,
    /// Make or check.
    pub manage: Manage,
    /// What to do about a gap.
    pub on_gap: OnGap,
    /// How long the stream keeps messages when it is made.
    pub max_age: Duration,
    /// Bytes the stream keeps when it is made.
    pub max_bytes: u64,
    /// How long the server remembers message ids when the stream is made.
    pub duplicate_window: Duration,
    /// Copies of the stream in a cluster when it is made.
    pub replicas: usize,
    /// Messages asked for at once; never more than the free credits.
    pub pull_messages: usize,
    /// Bytes of one message after it was unpacked.
    pub inflated_bytes_max: usize,
    /// Unacknowledged messages the consumer may have out: the pipeline's credits and what is
    /// asked for ahead.
    pub max_ack_pending: i64,
    /// The server's monitoring port, `http://host:8222`, to ask how often it syncs; empty
    /// for none.
    pub monitor_url: String,
}

impl SourceSettings {
    /// A source as it is set; `credits` are those of the pipeline.
    pub fn of(common: &NatsSettings, source: SourceKeys, credits: usize) -> SourceSettings {
        SourceSettings {
            stream: source.stream,
            subjects: source.subjects,
            filter: source.filter,
            consumer: source.consumer,
            subject_template: source.subject_template,
            time: source.time,
            manage: common.manage,
            on_gap: source.on_gap,
            max_age: common.max_age,
            max_bytes: common.max_bytes,
            duplicate_window: common.duplicate_window,
            replicas: common.replicas,
            pull_messages: common.pull_messages,
            inflated_bytes_max: common.inflated_bytes_max,
            max_ack_pending: (credits + common.pull_messages) as i64,
            monitor_url: common.monitor_url.clone(),
        }
    }

    /// Its keys.
    pub fn keys(&self) -> SourceKeys {
        SourceKeys {
            stream: self.stream.clone(),
            subjects: self.subjects.clone(),
            filter: self.filter.clone(),
            subject_template: self.subject_template.clone(),
            time: self.time,
            consumer: self.consumer.clone(),
            on_gap: self.on_gap,
        }
    }
}

impl Default for SourceSettings {
    fn default() -> Self {
        let credits = crate::actors::Settings::default().credits;
        SourceSettings::of(&NatsSettings::default(), SourceKeys::default(), credits)
    }
}
