//! Text as it lies in files: encodings, and a window over a file that hands out its lines and
//! knows their numbers.
//!
//! Every encoding whose ASCII is ASCII is decoded row by row, so that a row that is refused
//! keeps its bytes. UTF-16 is turned into UTF-8 as a whole, before anything else.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

use encoding_rs::{CoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use serde::de::IgnoredAny;

use super::input::Input;
use super::records::read_at;
use crate::actors::ports::SourceError;

/// The encoding of a label, as browsers know them; with the names that people write.
pub(super) fn encoding(label: &str) -> Option<&'static Encoding> {
    let label = label.trim().to_ascii_lowercase();
    let alias = match label.as_str() {
        "latin-1" | "latin_1" | "iso8859_1" => "latin1",
        "utf_8" | "utf-8-sig" => "utf-8",
        "win1252" | "ansi" => "windows-1252",
        "sjis" => "shift_jis",
        other => other,
    };
    Encoding::for_label(alias.as_bytes())
}

/// The encoding and the length of its mark, by the first bytes of a file.
pub(super) fn marked(beginning: &[u8]) -> Option<(&'static Encoding, usize)> {
    Encoding::for_bom(beginning).or_else(|| {
        // Without a mark every second byte of UTF-16 text is zero where it is ASCII.
        let pairs = beginning.chunks_exact(2).take(512);
        let count = pairs.len();
        let (mut high, mut low) = (0, 0);
        for pair in pairs {
            high += usize::from(pair[0] == 0 && pair[1] != 0);
            low += usize::from(pair[1] == 0 && pair[0] != 0);
        }
        let most = |zeros: usize| count >= 4 && zeros * 10 > count * 6;
        match (most(high), most(low)) {
            (true, _) => Some((UTF_16BE, 0)),
            (_, true) => Some((UTF_16LE, 0)),
            _ => None,
        }
    })
}

/// True when `encoding` must be turned into UTF-8 before lines can be found.
pub(super) fn is_wide(encoding: &'static Encoding) -> bool {
    !encoding.is_ascii_compatible()
}

/// A file in an encoding, read as UTF-8.
pub(super) struct Utf8<'f> {
    file: &'f File,
    decoder: encoding_rs::Decoder,
    raw: Vec<u8>,
    text: Vec<u8>,
    at: usize,
    ended: bool,
    /// Pieces that were wrong and became U+FFFD.
    pub wrong: u64,
}

impl<'f> Utf8<'f> {
    /// From where the file stands on.
    pub fn new(file: &'f File, encoding: &'static Encoding) -> Self {
        Utf8 {
            file,
            decoder: encoding.new_decoder_with_bom_removal(),
            raw: vec![0; 1 << 16],
            text: Vec::new(),
            at: 0,
            ended: false,
            wrong: 0,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        let len = self.file.read(&mut self.raw)?;
        self.ended = len == 0;
        let room = self.decoder.max_utf8_buffer_length(len).unwrap_or(len * 3 + 64);
        self.text.resize(room, 0);
        let (result, _, written, wrong) =
            self.decoder.decode_to_utf8(&self.raw[..len], &mut self.text, self.ended);
        debug_assert_eq!(result, CoderResult::InputEmpty, "the room is the most it can need");
        self.wrong += u64::from(wrong);
        self.text.truncate(written);
        self.at = 0;
        Ok(())
    }
}

impl Read for Utf8<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.text.len() && !self.ended {
            self.refill()?;
        }
        let len = out.len().min(self.text.len() - self.at);
        out[..len].copy_from_slice(&self.text[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

/// A row's bytes as text, and whether some were wrong (they become U+FFFD).
pub(super) fn decoded<'a>(bytes: &'a [u8], encoding: &'static Encoding) -> (Cow<'a, str>, bool) {
    if encoding == UTF_8 {
        let text = String::from_utf8_lossy(bytes);
        let wrong = matches!(text, Cow::Owned(_));
        return (text, wrong);
    }
    encoding.decode_without_bom_handling(bytes)
}

/// A window over a file.
pub(super) struct Text<'a> {
    input: &'a Input,
    data: Vec<u8>,
    /// Where in `data` the reader stands.
    at: usize,
    /// Of `data[0]` in the file.
    offset: u64,
    /// What ends a line.
    pub separator: u8,
    /// Number of the line the reader stands on, from 1.
    pub line: u64,
    /// True when nothing of that line was passed yet.
    begins: bool,
    /// Bytes passed so far.
    pub passed: u64,
}

/// The line that a reader stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Its length without its end, and with it.
    Here { len: usize, whole: usize },
    /// Longer than allowed, and passed: its length and its beginning.
    Long { bytes: u64, head: Vec<u8> },
    /// There is none.
    End,
}

/// Bytes asked for at a time.
const STEP: usize = 1 << 18;

/// Bytes kept of a line that is too long.
pub(super) const HEAD: usize = 4_096;

impl<'a> Text<'a> {
    pub fn new(input: &'a Input, separator: u8) -> Self {
        Text {
            input,
            data: Vec::new(),
            at: 0,
            offset: input.start,
            separator,
            line: 1,
            begins: true,
            passed: 0,
        }
    }

    /// What is in the window from where the reader stands.
    pub fn rest(&self) -> &[u8] {
        &self.data[self.at..]
    }

    /// True when the window reaches the end of the file.
    pub fn is_last(&self) -> bool {
        self.offset + self.data.len() as u64 >= self.input.len
    }

    /// Reads until `want` bytes are in the window, or the file ends.
    pub fn fill(&mut self, want: usize) -> Result<(), SourceError> {
        if self.rest().len() >= want || self.is_last() {
            return Ok(());
        }
        self.offset += self.at as u64;
        self.data.drain(..self.at);
        self.at = 0;
        let from = self.offset + self.data.len() as u64;
        let more = (want - self.data.len()).max(STEP);
        self.data.append(&mut read_at(self.input, from, more)?);
        Ok(())
    }

    /// Passes `len` bytes of the window.
    pub fn advance(&mut self, len: usize) {
        let passed = &self.data[self.at..self.at + len];
        let ends = memchr::memchr_iter(self.separator, passed).count();
        self.line += ends as u64;
        if let Some(last) = passed.last() {
            self.begins = *last == self.separator;
        }
        self.at += len;
        self.passed += len as u64;
    }

    /// Lines of the file, once the reader has passed all of it.
    pub fn lines(&self) -> u64 {
        if self.begins { self.line - 1 } else { self.line }
    }

    /// The line that the reader stands on, of at most `max` bytes. Does not pass it, unless it
    /// is longer.
    pub fn line(&mut self, max: usize) -> Result<Line, SourceError> {
        let mut searched = 0;
        loop {
            if let Some(found) = memchr::memchr(self.separator, &self.rest()[searched..]) {
                let len = searched + found;
                if len > max {
                    return self.pass_long();
                }
                return Ok(Line::Here { len: self.without_return(len), whole: len + 1 });
            }
            searched = self.rest().len();
            if self.is_last() {
                return match searched {
                    0 => Ok(Line::End),
                    len if len > max => self.pass_long(),
                    len => Ok(Line::Here { len: self.without_return(len), whole: len }),
                };
            }
            if searched > max {
                return self.pass_long();
            }
            self.fill(searched + STEP)?;
        }
    }

    fn without_return(&self, len: usize) -> usize {
        len - usize::from(len > 0 && self.separator == b'\n' && self.rest()[len - 1] == b'\r')
    }

    /// Passes a line that is too long, in pieces.
    pub fn pass_long(&mut self) -> Result<Line, SourceError> {
        let head = self.rest()[..self.rest().len().min(HEAD)].to_vec();
        let mut bytes = 0;
        loop {
            self.fill(STEP)?;
            let rest = self.rest();
            match memchr::memchr(self.separator, rest) {
                Some(found) => {
                    bytes += found as u64;
                    self.advance(found + 1);
                    return Ok(Line::Long { bytes, head });
                }
                None if rest.is_empty() => return Ok(Line::Long { bytes, head }),
                None => {
                    bytes += rest.len() as u64;
                    self.advance(rest.len());
                }
            }
        }
    }
}

/// What ends the lines of a file: carriage returns alone only where there is nothing else.
pub(super) fn separator(beginning: &[u8]) -> u8 {
    match memchr::memchr2(b'\n', b'\r', beginning) {
        Some(_) if memchr::memchr(b'\n', beginning).is_some() => b'\n',
        Some(_) => b'\r',
        None => b'\n',
    }
}

impl Text<'_> {
    /// Bytes of the JSON value that the reader stands on; `None` when it is none. Reads on to
    /// its end, in constant memory.
    pub fn measure_json(&self) -> Result<Option<u64>, SourceError> {
        let at = self.offset + self.at as u64;
        let from = BufReader::with_capacity(STEP, At { input: self.input, at });
        let mut values = serde_json::Deserializer::from_reader(from).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => Ok(Some(values.byte_offset() as u64)),
            Some(Err(error)) if error.is_io() => {
                Err(SourceError::Read { what: self.input.name.clone(), cause: error.to_string() })
            }
            _ => Ok(None),
        }
    }

    /// Passes any number of bytes.
    pub fn pass(&mut self, mut bytes: u64) -> Result<(), SourceError> {
        while bytes > 0 {
            self.fill(STEP)?;
            let len = (self.rest().len() as u64).min(bytes) as usize;
            if len == 0 {
                return Ok(());
            }
            self.advance(len);
            bytes -= len as u64;
        }
        Ok(())
    }
}

/// A file from a place on, without moving where others read it.
struct At<'a> {
    input: &'a Input,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.input.file.read_at(out, self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}
