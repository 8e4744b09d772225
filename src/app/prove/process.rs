//! Processes of our own: started apart from the terminal's Ctrl-C, ended by their id.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::clock::SystemClock;

/// Distance between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A process that ends with this value.
#[derive(Debug)]
pub(super) struct Process(Child);

impl Process {
    /// Starts it with its output in files.
    ///
    /// # Errors
    /// When there is no such program, or it cannot be started.
    pub fn start(command: &mut Command, out: File, err: File) -> io::Result<Process> {
        // A process group of its own: Ctrl-C reaches us, and we end the others in order.
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        Ok(Process(command.spawn()?))
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<String> {
        match self.0.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// kill -9. It is gone when this returns.
    pub fn kill(&mut self) {
        // It may be gone already, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Looks again and again until there is something to return, or `patience` is over.
///
/// # Errors
/// The first error of `look`.
pub(super) async fn until<T, E>(
    patience: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let clock = SystemClock::shared();
    loop {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        if clock.elapsed() as u128 > patience.as_millis() {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
