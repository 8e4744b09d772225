//! Whether the state and the log go as far as the other, and the marks, know them to have gone.

use rusqlite::Connection;

use super::folder::Folder;
use super::log::EmbeddedLog;
use super::marks::Mark;
use super::sqlite::DbFile;
use crate::actors::ports::StoreError;

/// Entry of `meta`: position of the log's last event at the last commit, and which log.
pub(super) const LOG_END: &str = "log_end";

/// That the state goes as far as it is known to have gone.
pub(super) fn compare(
    folder: &Folder,
    db: &DbFile,
    mark: Mark,
    mark_of: u64,
    epoch: u64,
) -> Result<(), StoreError> {
    let last = mark.last;
    let what = if mark.of != mark_of {
        "it is another state than the one of this folder".to_owned()
    } else if last > epoch {
        format!(
            "it ends at commit {epoch}, and {last} were made: state.db-wal is damaged, cut or \
             missing, or an older copy was put back"
        )
    } else {
        return Ok(());
    };
    Err(StoreError::Damaged {
        path: db.name(),
        what,
        remedy: format!(
            "stop tidewatch, then put state.db and state.db-wal back as they were; or move both \
             away to start again from the log; or move {} away to go on from commit {epoch} \
             with what is still in the log",
            folder.marks().name()
        ),
    })
}

/// That the log goes as far as it went at the last commit.
pub(super) fn compare_log(
    db: &DbFile,
    conn: &Connection,
    log: &EmbeddedLog,
) -> Result<(), StoreError> {
    let Some(text) = db.meta_opt(conn, LOG_END)? else { return Ok(()) };
    let Some((last, incarnation)) = text.split_once(' ') else {
        return Err(db.damaged(format!("`{LOG_END}` is {text:?}")));
    };
    let last: u64 = last.parse().map_err(|_| db.damaged(format!("`{LOG_END}` is {text:?}")))?;
    let end = log.last_position();
    // Another log is told from this one by whoever reads it.
    if incarnation != log.identity().incarnation || end >= last {
        return Ok(());
    }
    let what = format!("it ends at event {end}, and {last} were in it at the last commit");
    Err(log.lost(what, end + 1, last))
}
