//! Texts that are never shown: where they come from, and what stands for them.

use std::fmt;
use std::fs::File;
use std::io::Read as _;

use tidewatch_core::settings::Secret;

use crate::kind::Wrong;

/// Longest secret, in bytes.
const SECRET_BYTES_MAX: u64 = 16 << 10;

/// Where secrets come from that the configuration only refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secrets {
    /// From their files and variables, now.
    Real,
    /// From nowhere: something of the right form stands for each, so that the rest can be checked where
    /// they are not.
    Pretended,
}

/// A secret that was found.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Found(String);

impl Found {
    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(MASK)
    }
}

/// What stands for a secret.
pub(crate) const MASK: &str = "***";

impl Secrets {
    /// The secret of a key: what is written, or what `file:PATH` and `env:NAME` refer to. Empty where
    /// nothing is written. `form` is what stands for one that is not looked up.
    pub(crate) fn find(
        self,
        key: &'static str,
        secret: &Secret,
        form: &str,
    ) -> Result<Found, Wrong> {
        let wrong = |rule: String| Wrong { key, rule };
        let text = secret.0.trim();
        let (path, name) = (text.strip_prefix("file:"), text.strip_prefix("env:"));
        let found = match (path, name) {
            (Some(""), _) | (_, Some("")) => {
                return Err(wrong("must name a file or a variable behind the colon".into()));
            }
            (None, None) => text.to_owned(),
            _ if self == Secrets::Pretended => form.to_owned(),
            (Some(path), _) => read(path).map_err(|why| wrong(format!("{path} {why}")))?,
            (_, Some(name)) => std::env::var(name)
                .map_err(|_| wrong(format!("the variable {name} is not set, or no text")))?,
        };
        let found = found.trim();
        if found.is_empty() && !text.is_empty() {
            return Err(wrong(format!("{text} is empty")));
        }
        if found.chars().any(char::is_control) {
            return Err(wrong("must be one line without control characters".into()));
        }
        Ok(Found(found.to_owned()))
    }
}

fn read(path: &str) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(format!("has more than {SECRET_BYTES_MAX} bytes"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str) -> Result<Found, Wrong> {
        Secrets::Real.find("token", &Secret(text.into()), "form")
    }

    #[test]
    fn secrets_come_from_files_and_variables_and_are_not_shown() {
        let path = std::env::temp_dir().join(format!("tidewatch-secret-{}", std::process::id()));
        std::fs::write(&path, "  hush\n").unwrap();
        let found = find(&format!("file:{}", path.display())).unwrap();
        assert_eq!((found.reveal(), format!("{found:?}").as_str()), ("hush", "***"));
        std::fs::write(&path, "\n").unwrap();
        let empty = find(&format!("file:{}", path.display())).unwrap_err();
        assert!(empty.rule.ends_with("is empty"), "{empty:?}");
        std::fs::write(&path, "a\nb").unwrap();
        assert!(find(&format!("file:{}", path.display())).unwrap_err().rule.contains("one line"));
        std::fs::remove_file(&path).unwrap();
        let away = find(&format!("file:{}", path.display())).unwrap_err();
        assert!(away.rule.contains("cannot be read"), "{away:?}");
        assert_eq!(find("plain").unwrap().reveal(), "plain");
        let home = std::env::var("PATH").unwrap();
        assert_eq!(find("env:PATH").unwrap().reveal(), home.trim());
        let unset = find("env:TIDEWATCH_TEST_NO_SUCH").unwrap_err();
        assert_eq!(unset.rule, "the variable TIDEWATCH_TEST_NO_SUCH is not set, or no text");
        let form = Secrets::Pretended.find("token", &Secret("env:NO_SUCH".into()), "form");
        assert_eq!(form.unwrap().reveal(), "form");
        assert_eq!(find("").unwrap().reveal(), "");
        assert!(find("env:").is_err());
    }
}
