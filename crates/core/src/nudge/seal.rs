//! Who wants to hear nothing: known by a keyed hash of the address alone.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::desk::Nudges;
use crate::incident::Recipient;
use crate::time::EpochMs;

/// Makes codes that nobody can who does not know the secret: HMAC-SHA256 of the parts, each behind its
/// length.
pub trait Seal: fmt::Debug + Send + Sync {
    /// The code of a text.
    fn code(&self, text: &[u8]) -> [u8; 32];
}

/// What an address is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(pub [u8; 16]);

/// Bytes of a token: a hash, and as many that show that it is ours.
const TOKEN_BYTES: usize = 32;

impl Hash {
    /// 32 hex digits.
    pub fn text(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }

    pub(super) fn read(text: &str) -> Option<Hash> {
        (text.len() == 32).then_some(())?;
        u128::from_str_radix(text, 16).ok().map(|bits| Hash(bits.to_be_bytes()))
    }
}

/// An address as it is compared: in lower case, without blanks around it. `None`: it is no address.
pub fn normalised(address: &str) -> Option<String> {
    let address = address.trim().to_owned();
    let recipient = Recipient { address, unsubscribe: None };
    recipient.fault().is_none().then(|| recipient.address.to_lowercase())
}

fn half(code: [u8; 32]) -> [u8; 16] {
    std::array::from_fn(|at| code[at])
}

/// The hash of an address under a secret.
pub(super) fn hash(seal: &dyn Seal, normalised: &str) -> Hash {
    Hash(half(seal.code(format!("address\0{normalised}").as_bytes())))
}

/// The hashes of an address under each of the secrets.
pub fn hashes(seals: &[Arc<dyn Seal>], normalised: &str) -> impl Iterator<Item = Hash> {
    seals.iter().map(move |seal| hash(&**seal, normalised))
}

/// What tells a secret from others, without giving it away.
pub(super) fn id(seal: &dyn Seal) -> String {
    let code = seal.code(b"id");
    format!("{:08x}", u32::from_be_bytes(std::array::from_fn(|at| code[at])))
}

fn proof(seal: &dyn Seal, nudge: &str, Hash(hash): Hash) -> [u8; 16] {
    let mut text = format!("unsubscribe\0{nudge}\0").into_bytes();
    text.extend_from_slice(&hash);
    half(seal.code(&text))
}

/// What stands behind `?token=` of a nudge to an address.
pub(super) fn token(seal: &dyn Seal, nudge: &str, hash: Hash) -> String {
    let mut bytes = hash.0.to_vec();
    bytes.extend_from_slice(&proof(seal, nudge, hash));
    format!("{nudge}.{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// The nudge and the address of a token; `None`: it is none of ours.
fn read<'a>(seal: &dyn Seal, token: &'a str) -> Option<(&'a str, Hash)> {
    let (nudge, code) = token.split_once('.')?;
    let bytes = URL_SAFE_NO_PAD.decode(code).ok().filter(|bytes| bytes.len() == TOKEN_BYTES)?;
    let hash = Hash(std::array::from_fn(|at| bytes[at]));
    let wanted = proof(seal, nudge, hash);
    // Each byte is looked at, so that how long it takes says nothing.
    let differs = wanted.iter().zip(&bytes[16..]).fold(0, |all, (a, b)| all | (a ^ b));
    (differs == 0).then_some((nudge, hash))
}

/// Somebody who wants to hear nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Suppressed {
    /// Since when, in event time.
    pub at: EpochMs,
    /// Under which secret; see [`id`].
    pub under: String,
    /// Who said so: empty for themselves, by the link in a mail.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

/// What people want.
#[derive(Clone, PartialEq)]
pub enum Command {
    /// Nothing more is sent to these addresses.
    Suppress {
        /// The addresses. They are hashed, and not kept.
        addresses: Vec<String>,
        /// Who says so.
        by: String,
    },
    /// Nothing more is sent to the address that a token stands for.
    Unsubscribe {
        /// What stood behind `?token=`.
        token: String,
    },
}

/// Without addresses and tokens.
impl fmt::Debug for Command {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Suppress { addresses, by } => {
                write!(out, "Suppress({} addresses, by {by})", addresses.len())
            }
            Command::Unsubscribe { .. } => out.write_str("Unsubscribe(…)"),
        }
    }
}

/// Why a command cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is nothing to hash addresses with.
    #[error(
        "nudges.secret is not set, and without it there is no list of who wants to hear nothing"
    )]
    NoSecret,
    /// The token is none of ours, or of a secret that is gone.
    #[error("the token is not one of ours: the link may be cut, or nudges.secret another one")]
    Token,
    /// One of the addresses is none.
    #[error("address {0} of those given is no address such as ada@example.org; none was taken")]
    Address(usize),
    /// There are too many.
    #[error(
        "more addresses would be suppressed than nudges.suppressed_max = {0}: raise it. While so many \
         are, no nudge goes out"
    )]
    Full(usize),
}

impl Nudges {
    /// Carries out a command; it is durable with the next commit. How many addresses are new.
    ///
    /// # Errors
    /// Why it cannot be; nothing has changed then.
    pub fn command(&mut self, command: &Command) -> Result<usize, Refused> {
        let Some(seal) = self.settings.seals.first().cloned() else {
            return Err(Refused::NoSecret);
        };
        match command {
            Command::Suppress { addresses, by } => {
                let mut hashes = Vec::new();
                for (place, address) in addresses.iter().enumerate() {
                    let address = normalised(address).ok_or(Refused::Address(place + 1))?;
                    hashes.push(hash(&*seal, &address));
                }
                self.suppress(hashes, &id(&*seal), by)
            }
            Command::Unsubscribe { token } => {
                let seals = self.settings.seals.clone();
                let known = seals.iter().find_map(|seal| Some((seal, read(&**seal, token)?)));
                let (seal, (nudge, hash)) = known.ok_or(Refused::Token)?;
                let new = self.suppress(vec![hash], &id(&**seal), "")?;
                if new > 0 {
                    self.unsubscribed(nudge);
                }
                Ok(new)
            }
        }
    }

    fn suppress(&mut self, mut hashes: Vec<Hash>, under: &str, by: &str) -> Result<usize, Refused> {
        hashes.sort_unstable();
        hashes.dedup();
        hashes.retain(|hash| !self.suppressed.contains_key(hash));
        let most = self.settings.suppressed_max;
        // Who is on the list already needs no room, also where it is longer than it may be now.
        if !hashes.is_empty() && self.suppressed.len() + hashes.len() > most {
            return Err(Refused::Full(most));
        }
        let new = hashes.len();
        for hash in hashes {
            let entry = Suppressed { at: self.now, under: under.to_owned(), by: by.to_owned() };
            self.suppressed.insert(hash, entry);
            self.changed.suppressed.insert(hash);
        }
        Ok(new)
    }

    /// Whether an address wants to hear nothing, under any of the secrets.
    pub(super) fn is_suppressed(&self, normalised: &str) -> bool {
        hashes(&self.settings.seals, normalised).any(|hash| self.suppressed.contains_key(&hash))
    }

    /// All who want to hear nothing.
    pub fn quiet(&self) -> impl Iterator<Item = Hash> {
        self.suppressed.keys().copied()
    }

    /// Those of them who are in no commit yet.
    pub fn newly_quiet(&self) -> impl Iterator<Item = Hash> {
        self.changed.suppressed.iter().copied()
    }
}
