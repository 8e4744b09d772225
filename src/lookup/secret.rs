//! Texts that no message tells: where they come from, and what others say of them.

use std::fs::File;
use std::io::Read as _;

use url::Url;

use crate::domain::settings::{MASK, Secret};

/// Most bytes of a text that lies in a file.
const BYTES_MAX: u64 = 8 << 10;
/// What is shorter is no secret as a part of an address, and would be found in everything.
const PART_MIN: usize = 3;
/// The same of a word of a header and of a folder.
const WORD_MIN: usize = 8;

/// Where a text comes from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// It stands in the configuration.
    Here(Secret),
    Variable(String),
    File(String),
}

impl Origin {
    /// Of what is written for it: `env:NAME`, `file:PATH`, or itself.
    ///
    /// # Errors
    /// That neither is named.
    pub fn of(written: &str) -> Result<Origin, &'static str> {
        match written.split_once(':') {
            Some(("env" | "file", "")) => Err("must name a variable or a file behind the colon"),
            Some(("env", name)) => Ok(Origin::Variable(name.to_owned())),
            Some(("file", path)) => Ok(Origin::File(path.to_owned())),
            _ => Ok(Origin::Here(Secret(written.to_owned()))),
        }
    }

    /// The text as it is now, without spaces around it.
    ///
    /// # Errors
    /// Why it cannot be had, without it.
    pub fn text(&self) -> Result<String, String> {
        let text = match self {
            Origin::Here(Secret(text)) => text.clone(),
            Origin::Variable(variable) => {
                std::env::var(variable).map_err(|_| format!("the environment has no {variable}"))?
            }
            Origin::File(path) => {
                let unreadable = |error| format!("{path} cannot be read: {error}");
                let mut text = String::new();
                let file = File::open(path).map_err(unreadable)?;
                file.take(BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
                text
            }
        };
        Ok(text.trim().to_owned())
    }
}

/// What is not repeated of what others say.
#[derive(Default)]
pub(super) struct Hidden(Vec<String>);

impl Hidden {
    /// A text, and its longer words.
    pub fn text(&mut self, text: &str) {
        let words = text.split([' ', ',']).filter(|word| word.len() >= WORD_MIN);
        self.0.extend(std::iter::once(text).chain(words).map(str::to_owned));
    }

    /// The query of an address, and each of its values.
    pub fn query(&mut self, url: &Url) {
        let raw = url.query().unwrap_or_default();
        let values = raw.split('&').filter_map(|pair| Some(pair.split_once('=')?.1.to_owned()));
        let decoded = url.query_pairs().map(|(_, value)| value.into_owned());
        let values = values.chain(decoded).filter(|value| value.len() >= PART_MIN);
        self.0.extend(values);
        self.0.push(raw.to_owned());
    }

    /// All of an address.
    pub fn address(&mut self, url: &Url) {
        self.query(url);
        self.0.push(url.as_str().to_owned());
        let folders = url.path().split('/').chain([url.path()]);
        self.0.extend(folders.filter(|part| part.len() >= WORD_MIN).map(str::to_owned));
    }

    /// A text without any of it.
    pub fn masked(&self, text: &str) -> String {
        let mut hidden: Vec<&String> = self.0.iter().filter(|part| !part.is_empty()).collect();
        // What is part of another is found in what is left.
        hidden.sort_by_key(|part| std::cmp::Reverse(part.len()));
        hidden.into_iter().fold(text.to_owned(), |text, part| text.replace(part, MASK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_from_where_it_says() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "Bearer abc\n").unwrap();
        let text = |written: &str| Origin::of(written).unwrap().text();
        assert_eq!(text(&format!("file:{}", file.path().display())).unwrap(), "Bearer abc");
        assert_eq!(text("env:PATH").unwrap(), std::env::var("PATH").unwrap().trim());
        assert_eq!(text("https://a").unwrap(), "https://a");
        assert_eq!(
            text("env:NOT_SET_ANYWHERE").unwrap_err(),
            "the environment has no NOT_SET_ANYWHERE"
        );
        assert!(text("file:nowhere").unwrap_err().contains("nowhere cannot be read"));
        assert!(Origin::of("env:").is_err() && Origin::of("file:").is_err());
        assert_eq!(format!("{:?}", Origin::of("abc").unwrap()), "Here(Secret)");
    }

    #[test]
    fn what_is_hidden_is_found_whole_and_in_parts() {
        let mut hidden = Hidden::default();
        hidden.text("Bearer 0123456789");
        hidden.text("abc");
        hidden.query(&Url::parse("https://a/path/to?key=x%2Fyz&page=1").unwrap());
        for (text, shown) in [
            ("no Bearer 0123456789", "no ***"),
            ("no token 0123456789, abc", "no token ***, ***"),
            ("/path/to?key=x%2Fyz&page=1 is no", "/path/to?*** is no"),
            ("the key x%2Fyz", "the key ***"),
            ("the key x/yz of 11", "the key *** of 11"),
        ] {
            assert_eq!(hidden.masked(text), shown);
        }
        hidden.address(&Url::parse("https://hooks/T0123456").unwrap());
        assert_eq!(hidden.masked("https://hooks/T0123456 or /T0123456/a"), "*** or ***/a");
    }
}
