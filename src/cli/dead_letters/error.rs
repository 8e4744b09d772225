//! Why dead letters could not be listed, shown or redriven.

use thiserror::Error;

use crate::actors::ports::StoreError;
use crate::actors::redrive::RedriveError;
use crate::cli::Exit;
use crate::cli::server::ServerError;

/// Why it did not work.
#[derive(Debug, Error)]
pub enum DeadLettersError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A server uses the folder, and where it listens is not known.
    #[error(
        "{cause}; it is running, so name its address with --listen, or stop it to redrive \
         directly"
    )]
    InUse {
        /// Which process.
        cause: StoreError,
    },
    /// The log did not take the events.
    #[error("cannot redrive: {0}")]
    Redrive(RedriveError),
    /// There is no such dead letter.
    #[error("there is no dead letter {0}; it may have made room for newer ones")]
    Unknown(u64),
    /// The running server did not do it.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// There is neither a server nor a folder.
    #[error(
        "no dead letters found. Looked here:\n{looked}\nName the data folder with --data-dir, or \
         a running server's address with --listen"
    )]
    Nowhere {
        /// A line for each place, and what was there.
        looked: String,
    },
}

impl DeadLettersError {
    /// The exit code that tells what to do.
    pub fn exit(&self) -> Exit {
        match self {
            DeadLettersError::Store(StoreError::Locked { .. }) | DeadLettersError::InUse { .. } => {
                Exit::Locked
            }
            DeadLettersError::Store(StoreError::Damaged { .. } | StoreError::Format { .. }) => {
                Exit::Damaged
            }
            _ => Exit::Failed,
        }
    }
}
