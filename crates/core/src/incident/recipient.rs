//! The one person that a notification is for, where the events said who that is.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// Longest address, in bytes, and longest part before its @: what SMTP takes.
const ADDRESS_BYTES_MAX: usize = 254;
const LOCAL_BYTES_MAX: usize = 64;

/// What stands for what is not shown.
const HIDDEN: &str = "…";

/// Whom a notification goes to. It is shown to nobody: not by `Debug`, and what people see has
/// [`Recipient::masked`] in its place.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// An address as an event had it, or anything else that stood in its place: see
    /// [`Recipient::fault`].
    pub address: String,
    /// Where they say that they want no more of it, a web address with a token in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsubscribe: Option<String>,
}

impl fmt::Debug for Recipient {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Recipient({})", self.masked())
    }
}

impl Recipient {
    /// The address as it may be shown: `a…@example.org`, and `…` for what is no address.
    pub fn masked(&self) -> String {
        match self.parts() {
            Ok((local, domain)) => {
                let first = local.chars().next().map(String::from).unwrap_or_default();
                format!("{first}{HIDDEN}@{domain}")
            }
            Err(_) => HIDDEN.to_owned(),
        }
    }

    /// Why nothing can be sent to the address; `None` where it is one address and nothing else. The
    /// reason does not contain it.
    pub fn fault(&self) -> Option<&'static str> {
        self.parts().err()
    }

    /// What stands before the @ and behind it.
    fn parts(&self) -> Result<(&str, &str), &'static str> {
        if self.address.is_empty() {
            return Err("its address is empty");
        }
        if self.address.len() > ADDRESS_BYTES_MAX {
            return Err("its address is longer than 254 bytes");
        }
        let Some((local, domain)) = self.address.split_once('@') else {
            return Err("its address has no @");
        };
        if local.is_empty() || local.len() > LOCAL_BYTES_MAX || !dotted(local, is_local) {
            return Err("what stands before the @ of its address is no name of a mailbox");
        }
        if !dotted(domain, is_domain) || domain.split('.').any(is_no_label) {
            return Err("what stands behind the @ of its address is no domain");
        }
        Ok((local, domain))
    }

    /// A text without the address, if that is one, however it is written there, and without the link: a
    /// server may repeat them. Words that could be a part of it are hidden as well.
    pub fn hidden_in(&self, text: &str) -> String {
        let local = self.address.split('@').next().unwrap_or_default().to_lowercase();
        let link = self.unsubscribe.as_deref().unwrap_or_default();
        let gives_away = |word: &str| {
            let low = word.to_lowercase();
            word.contains('@')
                || !local.is_empty() && low.contains(&local)
                || !link.is_empty() && word.contains(link)
        };
        let words = text.split(' ').map(|word| if gives_away(word) { HIDDEN } else { word });
        words.collect::<Vec<_>>().join(" ")
    }

    /// Puts the mask in the place of the address in a text that is ours, and hides the link.
    pub fn mask_in(&self, text: &mut String) {
        if !self.address.is_empty() {
            *text = text.replace(&self.address, &self.masked());
        }
        self.hide_in_text(text);
    }

    /// Hides the address in all texts of a value, and the link.
    pub(super) fn hide_in(&self, value: &mut Json) {
        match value {
            Json::String(text) => self.hide_in_text(text),
            Json::Array(items) => items.iter_mut().for_each(|item| self.hide_in(item)),
            Json::Object(fields) => fields.values_mut().for_each(|field| self.hide_in(field)),
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }

    fn hide_in_text(&self, text: &mut String) {
        let secrets = [Some(self.address.as_str()), self.unsubscribe.as_deref()];
        for secret in secrets.into_iter().flatten().filter(|secret| !secret.is_empty()) {
            // Folded to lower case both have the same places only where they are ASCII.
            if text.contains(secret) {
                *text = text.replace(secret, HIDDEN);
            } else if text.to_lowercase().contains(&secret.to_lowercase()) {
                HIDDEN.clone_into(text);
            }
        }
    }
}

/// Parts with dots between them, none of them empty, of letters that are good.
fn dotted(text: &str, good: fn(char) -> bool) -> bool {
    text.split('.').all(|part| !part.is_empty() && part.chars().all(good))
}

/// What may stand before the @ without quotes. What needs quotes is refused.
fn is_local(one: char) -> bool {
    one.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(one)
}

fn is_domain(one: char) -> bool {
    one.is_alphanumeric() || one == '-'
}

fn is_no_label(label: &str) -> bool {
    label.starts_with('-') || label.ends_with('-') || label.len() > 63
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn to(address: &str) -> Recipient {
        let unsubscribe = Some("https://shop.example/u/t0ken".into());
        Recipient { address: address.into(), unsubscribe }
    }

    #[test]
    fn one_address_is_good_and_nothing_else() {
        for good in ["ada@example.org", "a.b+c@sub.example.org", "jürgen@bücher.example", "o'x@a.b"]
        {
            assert_eq!(to(good).fault(), None, "{good}");
        }
        for bad in [
            "",
            "ada",
            "@example.org",
            "ada@",
            "ada@.org",
            "ada@example..org",
            "ada@-a.org",
            ".ada@example.org",
            "ada@example.org, eve@example.org",
            "ada@example.org;eve@example.org",
            "ada@example.org eve@example.org",
            "ada@example.org@evil.example",
            "Ada <ada@example.org>",
            "\"ada\"@example.org",
            "ada@example.org\r\nBcc: eve@example.org",
            "ada\n@example.org",
            "ada@[127.0.0.1]",
            "ada\u{202e}@example.org",
            "ada@example.org\0",
            "ada(x)@example.org",
            "ada@example.org>",
        ] {
            assert!(to(bad).fault().is_some(), "{bad:?}");
        }
        assert!(to(&format!("{}@example.org", "a".repeat(65))).fault().is_some());
        assert!(to(&format!("a@{}.org", "a.".repeat(120))).fault().is_some());
    }

    #[test]
    fn nothing_that_is_shown_has_the_address_in_it() {
        let ada = to("ada@example.org");
        assert_eq!(format!("{ada:?}"), "Recipient(a…@example.org)");
        assert_eq!(format!("{:?}", to("ada lovelace")), "Recipient(…)");
        for (said, shown) in [
            ("550 5.1.1 <ADA@example.org>: unknown", "550 5.1.1 … unknown"),
            ("no mailbox Ada here", "no mailbox … here"),
            ("bounce+ada=example.org refused", "… refused"),
            ("too many mails", "too many mails"),
        ] {
            assert_eq!(ada.hidden_in(said), shown);
        }
        let mut facts = json!({"a": ["to ada@example.org"], "b": {"c": "ADA@Example.ORG"}, "d": 1});
        ada.hide_in(&mut facts);
        assert_eq!(facts, json!({"a": ["to …"], "b": {"c": "…"}, "d": 1}));
    }

    proptest! {
        /// Whatever an event had: what is sent to has no blank, no end of a line and one @, and is shown
        /// nowhere as a whole.
        #[test]
        fn any_text_is_one_address_or_none(text in "(?s)(.{0,40}@?.{0,40}|[a-zà-ý0-9.+]{1,30}@[a-z0-9.-]{1,30})") {
            let one = to(&text);
            match one.fault() {
                None => {
                    let bad = "<>,;:\"()[]\\";
                    let bad = |one: char| {
                        one.is_control() || one.is_whitespace() || bad.contains(one)
                    };
                    prop_assert!(!text.contains(bad));
                    prop_assert_eq!(text.matches('@').count(), 1);
                    let shown = format!("{one:?}");
                    prop_assert!(!shown.contains(&text));
                    let said = one.hidden_in(&format!("550 <{text}> is not here, {text}, or RCPT TO:{text}"));
                    prop_assert!(!said.contains(&text), "{}", said);
                }
                Some(_) => prop_assert_eq!(one.masked(), "…"),
            }
        }
    }
}
