//! Texts that no message tells: where they come from.

use std::fs::File;
use std::io::Read as _;

use tidewatch_core::settings::Secret;

/// Most bytes of a text that lies in a file.
const BYTES_MAX: u64 = 16 << 10;

/// Where a text comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// It stands in the configuration.
    Here(Secret),
    /// It is the value of a variable of this name.
    Variable(String),
    /// It is what a file of this path holds, at most 16 KiB.
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
                file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
                if text.len() as u64 > BYTES_MAX {
                    return Err(format!("{path} has more than {BYTES_MAX} bytes"));
                }
                text
            }
        };
        Ok(text.trim().to_owned())
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
        std::fs::write(&file, "x".repeat(BYTES_MAX as usize + 1)).unwrap();
        let large = text(&format!("file:{}", file.path().display())).unwrap_err();
        assert!(large.ends_with("has more than 16384 bytes"), "{large}");
        assert!(text("file:nowhere").unwrap_err().contains("nowhere cannot be read"));
        assert!(Origin::of("env:").is_err() && Origin::of("file:").is_err());
        assert_eq!(format!("{:?}", Origin::of("abc").unwrap()), "Here(Secret)");
    }
}
