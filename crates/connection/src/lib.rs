//! Where a NATS server is and how to sign in: settings alone, so that a build without a client
//! knows and checks them, too.

use std::path::PathBuf;
use std::time::Duration;

/// Where the server is and how to sign in.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkSettings {
    /// Servers, `nats://host:4222` or `tls://host:4222`, separated by commas.
    pub url: String,
    /// Name of the connection, shown by the server.
    pub name: String,
    /// How to sign in.
    pub auth: Auth,
    /// Encryption.
    pub tls: Tls,
    /// How long one request to the server may take.
    pub request_timeout: Duration,
    /// Longest wait between two tries to connect.
    pub reconnect_max: Duration,
    /// Where JetStream's API is: [`API`], `$JS.<domain>.API`, or what an account imports it as.
    pub api: String,
    /// First tokens of the subjects that answers come to: [`INBOX`], or what this user may
    /// subscribe to.
    pub inbox: String,
}

/// Where JetStream's API is unless something else is said.
pub const API: &str = "$JS.API";

/// First token of the subjects that answers come to unless something else is said.
pub const INBOX: &str = "_INBOX";

impl LinkSettings {
    /// A server, and the defaults.
    pub fn to(url: impl Into<String>) -> LinkSettings {
        LinkSettings {
            url: url.into(),
            name: "tidewatch".into(),
            auth: Auth::None,
            tls: Tls::default(),
            request_timeout: Duration::from_secs(5),
            reconnect_max: Duration::from_secs(4),
            api: API.into(),
            inbox: INBOX.into(),
        }
    }
}

/// Servers as they may be shown: without users and passwords.
pub fn without_users(url: &str) -> String {
    let server = |server: &str| match server.trim().rsplit_once('@') {
        None => server.trim().to_owned(),
        Some((before, host)) => match before.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://{host}"),
            None => host.to_owned(),
        },
    };
    url.split(',').map(server).collect::<Vec<_>>().join(",")
}

/// Where the API of a JetStream domain is.
pub fn domain_api(domain: &str) -> String {
    format!("$JS.{domain}.API")
}

/// How to sign in. Secrets are read when the connection is made.
#[derive(Clone, Default, PartialEq)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// A `.creds` file (JWT and seed).
    Creds(PathBuf),
    /// An nkey seed.
    Nkey(String),
    /// A token.
    Token(String),
    /// User and password.
    Password(String, String),
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never a secret.
        out.write_str(match self {
            Auth::None => "None",
            Auth::Creds(_) => "Creds",
            Auth::Nkey(_) => "Nkey",
            Auth::Token(_) => "Token",
            Auth::Password(..) => "Password",
        })
    }
}

/// Encryption.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    /// Refuse a server without it.
    pub required: bool,
    /// TLS before the server's greeting.
    pub first: bool,
    /// Certificates of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Checks a subject: words with dots between them; wildcards are allowed where `wild` says so.
///
/// # Errors
/// The rule that is broken.
pub fn check_subject(subject: &str, wild: bool) -> Result<(), String> {
    let last = subject.split('.').count() - 1;
    for (index, token) in subject.split('.').enumerate() {
        let is_wild = token == "*" || (token == ">" && index == last);
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '*' | '>');
        if token.is_empty() || (token.contains(odd) && !(wild && is_wild)) {
            let example = if wild { "events.>" } else { "events.http" };
            return Err(format!("{subject:?} is not a subject such as {example:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_shown_with_their_schemes_and_without_users() {
        for (url, shown) in [
            ("tls://u:p@host:4222", "tls://host:4222"),
            ("nats://u:p@a:1, tls://b:2 ,token@c", "nats://a:1,tls://b:2,c"),
            ("nats://u:p@x@a", "nats://a"),
            ("nats://a:1,b", "nats://a:1,b"),
        ] {
            assert_eq!(without_users(url), shown);
        }
    }

    #[test]
    fn a_subject_has_words_and_a_wildcard_only_where_it_may() {
        for (subject, wild, good) in [
            ("events.>", true, true),
            ("events.*.x", true, true),
            ("events.>", false, false),
            ("events.*", false, false),
            (">.a", true, false),
            ("a..b", true, false),
            ("a.", false, false),
            ("a b", true, false),
            ("a.b", false, true),
            ("events.shop.eu-1", false, true),
            ("", true, false),
        ] {
            assert_eq!(check_subject(subject, wild).is_ok(), good, "{subject:?}");
        }
    }
}
