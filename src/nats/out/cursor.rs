//! How far a feed got. The stream itself says it: its last message of the feed carries
//! the position. So nothing has to be written after a message, and nothing can be lost
//! in between.
//!
//! A stream forgets, though (`max_age`, a purge). When it holds no message of the feed any
//! more, a note in the data folder says how far the feed got in this incarnation of the
//! stream. A stream that was made again gets everything that is still kept.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use serde::{Deserialize, Serialize};

use super::{HEADER_FEED, HEADER_N};

/// Where a feed stands in its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Position of the last item that the stream got, 0 for none.
    pub n: u64,
    /// Sequence of its message, 0 when the stream holds none of the feed: what the next
    /// message is fenced with.
    pub sequence: u64,
}

/// Reads the cursor from the stream; `filter` matches the feed's messages and no others.
///
/// # Errors
/// When the server does not answer, or the message is none of ours.
pub(super) async fn read(stream: &Stream, filter: &str, feed: &str) -> Result<Cursor, String> {
    let message = match stream.get_last_raw_message_by_subject(filter).await {
        Ok(message) => message,
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
            return Ok(Cursor::default());
        }
        Err(error) => return Err(format!("the last message of {filter}: {error}")),
    };
    let header = |name: &str| message.headers.get(name).map(|value| value.as_str());
    let n = header(HEADER_N).and_then(|text| text.parse().ok());
    match n.filter(|_| header(HEADER_FEED) == Some(feed)) {
        Some(n) => Ok(Cursor { n, sequence: message.sequence }),
        None => Err(format!(
            "message {} on {} was not written by tidewatch; delete it, or choose another subject",
            message.sequence, message.subject
        )),
    }
}

/// True when the message with this sequence is there and has this id.
pub(super) async fn holds(stream: &Stream, sequence: u64, id: &str) -> bool {
    let message = stream.get_raw_message(sequence).await.ok();
    message.is_some_and(|message| {
        message.headers.get(NATS_MESSAGE_ID).is_some_and(|value| value.as_str() == id)
    })
}

/// What the note says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// The stream, and when it was made: its incarnation.
    pub stream: String,
    pub created: String,
    /// The feed.
    pub feed: String,
    /// Position of the last item that the stream got.
    pub n: u64,
}

impl Note {
    /// The position the note vouches for.
    pub fn position(&self, now: &Note) -> u64 {
        let same =
            (&self.stream, &self.created, &self.feed) == (&now.stream, &now.created, &now.feed);
        if same { self.n } else { 0 }
    }
}

/// The file of a note.
#[derive(Clone, Debug)]
pub(super) struct NoteFile {
    path: PathBuf,
}

impl NoteFile {
    pub fn new(folder: &Path, name: &str) -> NoteFile {
        NoteFile { path: folder.join(name) }
    }

    /// The note, if there is a readable one. It is only ever a lower bound, so one that
    /// cannot be read counts as none. Blocks.
    pub fn read(&self) -> Option<Note> {
        serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()
    }

    /// Replaces the note. Blocks.
    pub fn write(&self, note: &Note) -> std::io::Result<()> {
        let draft = self.path.with_extension("json.new");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(&serde_json::to_vec(note)?)?;
        std::fs::rename(&draft, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_vouches_for_its_own_stream_and_feed_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = NoteFile::new(folder.path(), "nats-alerts.json");
        assert_eq!(file.read(), None);
        let note = Note { stream: "S".into(), created: "1".into(), feed: "f".into(), n: 12 };
        file.write(&Note { n: 3, ..note.clone() }).unwrap();
        file.write(&note).unwrap();
        let read = file.read().unwrap();
        assert_eq!(read.position(&Note { n: 0, ..note.clone() }), 12);
        assert_eq!(read.position(&Note { created: "2".into(), ..note.clone() }), 0);
        assert_eq!(read.position(&Note { feed: "g".into(), ..note }), 0);
        std::fs::write(folder.path().join("nats-alerts.json"), "{").unwrap();
        assert_eq!(file.read(), None);
    }
}
