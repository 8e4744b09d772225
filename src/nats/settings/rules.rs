//! What a value under `[nats]` must be.

use tidewatch_connection::check_subject;

use super::template::Template;

/// No server, or a list of them.
pub(super) fn servers(url: &str) -> Result<(), String> {
    if url.is_empty() { Ok(()) } else { check_url(url) }
}

/// Checks a list of servers: `nats://host:4222` or `tls://host`, separated by commas.
///
/// # Errors
/// The rule that is broken.
pub fn check_url(url: &str) -> Result<(), String> {
    for part in url.split(',').map(str::trim) {
        let whole = if part.contains("://") { part.to_owned() } else { format!("nats://{part}") };
        let address = url::Url::parse(&whole).map_err(|error| {
            format!("{part:?} is not a server such as nats://host:4222: {error}")
        })?;
        if !["nats", "tls"].contains(&address.scheme()) {
            return Err(format!("{part:?} must begin with nats:// or tls://"));
        }
        if address.host_str().is_none_or(str::is_empty) {
            return Err(format!("{part:?} names no server, such as nats://host:4222"));
        }
        if !address.username().is_empty() {
            return Err("must not hold a user or a password: use nats.user and \
                        nats.password_file, which are not shown"
                .into());
        }
    }
    Ok(())
}

/// Whether a subject with its wildcards takes in another one (that may have them too).
pub fn covers(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(known), Some(token)) if known == token => {}
            _ => return false,
        }
    }
}

/// Checks the name of a stream, a consumer or a bucket.
///
/// # Errors
/// The rule that is broken.
pub fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        Err(format!("{name:?} must be 1 to 64 letters, digits, - or _"))
    } else {
        Ok(())
    }
}

/// A name, or nothing.
pub(super) fn optional_name(name: &str) -> Result<(), String> {
    if name.is_empty() { Ok(()) } else { check_name(name) }
}

/// A subject without wildcards, or nothing.
pub(super) fn plain_subject(subject: &str) -> Result<(), String> {
    if subject.is_empty() { Ok(()) } else { check_subject(subject, false) }
}

/// A subject with wildcards.
pub(super) fn pattern(subject: &str) -> Result<(), String> {
    check_subject(subject, true)
}

/// The first tokens of a subject, without a dot or a wildcard at their end; or nothing.
pub(super) fn prefix(text: &str) -> Result<(), String> {
    let whole = text.trim_end_matches(".>").trim_end_matches('.');
    match plain_subject(text) {
        Err(_) if whole != text && plain_subject(whole).is_ok() => {
            Err(format!("must be the first words of a subject alone: write {whole:?}"))
        }
        other => other,
    }
}

pub(super) fn template(text: &str) -> Result<(), String> {
    Template::parse(text).map(drop)
}

pub(super) fn monitor(url: &str) -> Result<(), String> {
    if url.is_empty() || url.starts_with("http://") || url.starts_with("https://") {
        return Ok(());
    }
    Err("must begin with http:// or https://, such as http://host:8222".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_names_are_checked() {
        for good in ["nats://localhost:4222", "localhost", "tls://a:1, nats://b:2"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in ["", "nats://", "nats://u:p@host", "http://host", "nats://a:x"] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
        assert!(check_name("EVENTS_1-a").is_ok());
        assert!(check_name("a.b").is_err() && check_name("").is_err());
    }

    #[test]
    fn a_pattern_covers_what_it_matches() {
        for (pattern, subject, covered) in [
            ("events.>", "events.http", true),
            ("events.>", "events", false),
            ("events.*", "events.a", true),
            ("events.*", "events.a.b", false),
            ("events.*", "events.>", false),
            (">", "a.b", true),
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
        ] {
            assert_eq!(covers(pattern, subject), covered, "{pattern} {subject}");
        }
    }
}
