//! How many connections there are, and who is served when all places are taken: a few
//! more are let in for those who watch over us (`/livez`, `/readyz`, `/metrics`), each
//! only until the next ones need its place.

use std::collections::VecDeque;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use actix_web::rt::net::TcpStream;
use parking_lot::Mutex;
use socket2::SockRef;

/// Most connections beyond the bound that are kept for a moment. A machine that asks
/// `/livez` needs one for a millisecond; whoever opens many only pushes out their own. As
/// many as the system hands over at once (`server::BACKLOG`), so that nobody is pushed out
/// by those who came in the same instant.
const BRIEF_MAX: usize = 1_024;

/// What a brief connection is answered. Everything else is told to come back.
pub const BRIEF_PATHS: [&str; 4] = ["/livez", "/readyz", "/healthz", "/metrics"];

/// Files that the rest of the process needs. Out of files, nobody is let in at all.
const OTHER_FILES: usize = 256;

/// Files that the process may have open.
fn open_files_max() -> usize {
    let bound = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    bound.and_then(|bound| usize::try_from(bound).ok()).unwrap_or(usize::MAX)
}

/// The connections. Clones share them.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: usize,
    brief_max: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: usize,
    made: u64,
    refused: u64,
    /// The brief ones, oldest first.
    brief: VecDeque<(u64, OwnedFd)>,
}

impl Connections {
    /// None yet; the bound is `max`, or what the process may open.
    pub fn new(max: usize) -> Self {
        let files = open_files_max().saturating_sub(OTHER_FILES);
        // A brief one takes two files: its own, and the one it is closed by.
        let brief_max = BRIEF_MAX.min(files / 8).max(1);
        let max = max.min(files.saturating_sub(2 * brief_max)).max(1);
        Connections(Arc::new(Shared { max, brief_max, table: Mutex::default() }))
    }

    /// Most connections that there may ever be, brief ones and those that are being closed
    /// included.
    pub fn ever(&self) -> usize {
        self.0.max + 2 * self.0.brief_max
    }

    /// Most connections that are served.
    pub fn max(&self) -> usize {
        self.0.max
    }

    /// Connections open now, brief ones included.
    pub fn open(&self) -> usize {
        self.0.table.lock().open
    }

    /// Connections that came when all places were taken.
    pub fn refused(&self) -> u64 {
        self.0.table.lock().refused
    }

    /// Counts a connection in. Beyond the bound it is a brief one, and the oldest brief
    /// one is closed for it when there are too many.
    pub fn enter(&self, stream: &TcpStream) -> Connection {
        let mut table = self.0.table.lock();
        table.open += 1;
        table.made += 1;
        let id = table.made;
        let brief = table.open - table.brief.len() > self.0.max;
        if brief {
            table.refused += 1;
            // A second handle is what it takes to close it from here.
            if let Ok(handle) = stream.as_fd().try_clone_to_owned() {
                table.brief.push_back((id, handle));
            }
            if table.brief.len() > self.0.brief_max
                && let Some((_, oldest)) = table.brief.pop_front()
            {
                // It may be closed by itself already.
                let _ = SockRef::from(&oldest).shutdown(Shutdown::Both);
            }
        }
        Connection { shared: Arc::clone(&self.0), id, brief }
    }
}

/// One connection; counted out when dropped.
#[derive(Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    id: u64,
    brief: bool,
}

impl Connection {
    /// True when it came beyond the bound.
    pub fn is_brief(&self) -> bool {
        self.brief
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut table = self.shared.table.lock();
        table.open -= 1;
        if self.brief {
            let id = self.id;
            table.brief.retain(|(other, _)| *other != id);
        }
    }
}
