//! Texts that are never shown: where they come from, and what stands for them.

use std::fmt;

use tidewatch_core::settings::{MASK, Secret};
use tidewatch_outside::secret::Origin;

use crate::kind::Wrong;

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
        let origin = Origin::of(text).map_err(|rule| wrong(rule.into()))?;
        let found = match &origin {
            Origin::Variable(_) | Origin::File(_) if self == Secrets::Pretended => form.to_owned(),
            origin => origin.text().map_err(wrong)?,
        };
        if found.is_empty() && !text.is_empty() {
            return Err(wrong(format!("{text} is empty")));
        }
        if found.chars().any(char::is_control) {
            return Err(wrong("must be one line without control characters".into()));
        }
        Ok(Found(found))
    }
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
        assert_eq!(unset.rule, "the environment has no TIDEWATCH_TEST_NO_SUCH");
        let form = Secrets::Pretended.find("token", &Secret("env:NO_SUCH".into()), "form");
        assert_eq!(form.unwrap().reveal(), "form");
        assert_eq!(find("").unwrap().reveal(), "");
        assert!(find("env:").is_err());
    }
}
