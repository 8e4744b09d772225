//! Codes that nobody makes who does not know the secret.

use std::fmt;
use std::sync::Arc;

use ring::hmac;
use tidewatch_core::nudge::Seal;
use tidewatch_core::settings::Secret;

use crate::kind::Wrong;
use crate::secret::Secrets;

/// HMAC-SHA256 under a secret.
struct Hmac(hmac::Key);

/// Without the secret.
impl fmt::Debug for Hmac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Hmac")
    }
}

impl Seal for Hmac {
    fn code(&self, text: &[u8]) -> [u8; 32] {
        let code = hmac::sign(&self.0, text);
        std::array::from_fn(|at| code.as_ref()[at])
    }
}

/// The seal of a secret, which is found where it is; `None` where none is written. `good` says why one
/// that was found is none.
///
/// # Errors
/// Why there is none, without the secret.
pub fn seal(
    key: &'static str,
    secret: &Secret,
    good: impl Fn(&str) -> Result<(), String>,
) -> Result<Option<Arc<dyn Seal>>, Wrong> {
    let found = Secrets::Real.find(key, secret, "")?;
    if found.reveal().is_empty() {
        return Ok(None);
    }
    good(found.reveal()).map_err(|rule| Wrong { key, rule })?;
    Ok(Some(Arc::new(Hmac(hmac::Key::new(hmac::HMAC_SHA256, found.reveal().as_bytes())))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_standard_and_secrets_are_not_shown() {
        // RFC 4231, test case 2.
        let seal = seal("k", &Secret("Jefe".into()), |_| Ok(())).unwrap().unwrap();
        let code = seal.code(b"what do ya want for nothing?");
        let hex: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(format!("{seal:?}"), "Hmac");
    }

    #[test]
    fn none_is_none_and_a_weak_one_is_refused() {
        assert!(seal("k", &Secret::default(), |_| Ok(())).unwrap().is_none());
        let weak = |_: &str| Err("must be longer".to_owned());
        let wrong = seal("k", &Secret("hush".into()), weak).unwrap_err();
        assert_eq!((wrong.key, wrong.rule.as_str()), ("k", "must be longer"));
    }
}
