//! Mails that a channel wrote into a folder, for whoever looks at them.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mail_parser::{Message, MessageParser};
use tidewatch_core::incident::Recipient;
use tidewatch_core::time::EpochMs;

/// How a mail's file ends.
const ENDS: &str = ".eml";

/// Most bytes that are read of a mail.
const MAIL_BYTES_MAX: u64 = 1 << 20;

/// A folder of mails.
#[derive(Clone, Debug)]
pub struct Mailbox {
    path: PathBuf,
}

/// A mail in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key, 32 hex digits.
    pub key: String,
    /// Whom it is to, masked: `a…@example.org`.
    pub to: Vec<String>,
    /// What it is about.
    pub subject: String,
    /// When it was written, in ms.
    pub at: Option<EpochMs>,
}

/// A mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// What a list has of it.
    pub listed: Listed,
    /// Its text.
    pub text: String,
    /// Its HTML.
    pub html: Option<String>,
    /// Where its reader can say that they want no more.
    pub unsubscribe: Option<String>,
}

impl Mailbox {
    /// That of a folder, which need not be there yet.
    pub fn new(path: &Path) -> Mailbox {
        Mailbox { path: path.to_owned() }
    }

    /// The newest mails, at most `most`, and how many there are. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn newest(&self, most: usize) -> io::Result<(Vec<Listed>, usize)> {
        let mut all = match files(&self.path) {
            // Nothing was written yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            all => all?,
        };
        let count = all.len();
        all.sort_by(|a, b| b.cmp(a));
        let mut listed = Vec::new();
        for (_, path) in all.into_iter().take(most) {
            let key = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            listed.extend(self.mail(key)?.map(|mail| mail.listed));
        }
        Ok((listed, count))
    }

    /// One mail; `None` when it is not there, or none. Blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn mail(&self, key: &str) -> io::Result<Option<Mail>> {
        if !is_key(key) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        match File::open(self.path.join(file_name(key))) {
            Ok(file) => file.take(MAIL_BYTES_MAX).read_to_end(&mut bytes)?,
            // It made room for another one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(MessageParser::default().parse(&bytes).map(|message| mail(key, &message)))
    }
}

fn mail(key: &str, message: &Message<'_>) -> Mail {
    let to = message.to().into_iter().flat_map(|to| to.iter());
    let masked =
        |address: &str| Recipient { address: address.to_owned(), unsubscribe: None }.masked();
    let listed = Listed {
        key: key.to_owned(),
        to: to.filter_map(|one| one.address()).map(masked).collect(),
        subject: message.subject().unwrap_or_default().to_owned(),
        at: message.date().map(|date| date.to_timestamp() * 1_000),
    };
    // Of a mail without HTML the text would be returned as such.
    let html = message.html_bodies().find(|part| part.is_text_html());
    let html = html.and_then(|part| part.text_contents()).map(str::to_owned);
    let text = message.body_text(0).unwrap_or_default().into_owned();
    let unsubscribe = message.header_raw("List-Unsubscribe");
    let unsubscribe = unsubscribe.map(|link| link.trim().trim_matches(['<', '>']).to_owned());
    Mail { listed, text, html, unsubscribe }
}

/// The mails of a folder, by when they were written. Other people's files are not among them.
pub(crate) fn files(path: &Path) -> io::Result<Vec<(SystemTime, PathBuf)>> {
    let mut mails = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let key = name.to_str().and_then(|name| name.strip_suffix(ENDS));
        if key.is_some_and(is_key) {
            match entry.metadata().and_then(|metadata| metadata.modified()) {
                Ok(written) => mails.push((written, entry.path())),
                // It has just gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(mails)
}

/// The name of a mail's file.
pub(crate) fn file_name(key: &str) -> String {
    format!("{key}{ENDS}")
}

/// Keys are hex digits, and so no way out of the folder.
pub(crate) fn is_key(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|one| one.is_ascii_hexdigit())
}
