//! What is not repeated of what others say: they may have been told a secret, and quote it.

use tidewatch_core::settings::MASK;
use url::{Position, Url};

/// What is shorter is no secret as a part of an address, and would be found in everything.
const PART_MIN: usize = 3;
/// The same of a word of a header and of a folder.
const WORD_MIN: usize = 8;

/// What is not repeated of what others say.
#[derive(Clone, Debug, Default)]
pub struct Hidden(Vec<String>);

impl Hidden {
    /// A text, and its longer words.
    pub fn text(&mut self, text: &str) {
        let words = text.split([' ', ',']).filter(|word| word.len() >= WORD_MIN);
        self.0.extend(std::iter::once(text).chain(words).map(str::to_owned));
    }

    /// The query of an address, and each of its values.
    pub fn query(&mut self, url: &Url) {
        let raw = url.query().unwrap_or_default();
        let value = |pair: &str| pair.split_once('=').map_or(pair, |(_, value)| value).to_owned();
        let values = raw.split('&').map(value);
        let decoded = url.query_pairs().map(|(_, value)| value.into_owned());
        let values = values.chain(decoded).filter(|value| value.len() >= PART_MIN);
        self.0.extend(values);
        self.0.push(raw.to_owned());
    }

    /// All of an address.
    pub fn address(&mut self, url: &Url) {
        self.behind_host(url);
        self.0.push(url.as_str().to_owned());
    }

    /// What stands behind the host of an address, as a whole and in its parts.
    pub fn behind_host(&mut self, url: &Url) {
        self.query(url);
        let (path, whole) = (url.path(), &url[Position::BeforePath..]);
        let bare = [path, whole].map(|text| text.trim_start_matches('/'));
        let folders = path.split('/').chain(bare);
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
        assert_eq!(hidden.masked("https://hooks/T0123456 or /T0123456/a"), "*** or /***/a");
    }
}
