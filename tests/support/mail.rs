//! A real mail server (aiosmtpd), which writes each mail it takes as a line of JSON.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::skipped;

/// The server; it ends with this.
pub struct MailServer {
    process: Child,
    /// Where it listens on this machine.
    pub port: u16,
}

impl Drop for MailServer {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl MailServer {
    /// Starts one, with the lines that it writes; `None`, and said, where it is not installed.
    pub fn start() -> Option<(MailServer, BufReader<ChildStdout>)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/mail/bin/python");
        if !python.exists() {
            skipped("no aiosmtpd under target/mail: ./test installs it");
            return None;
        }
        let mut process = Command::new(python)
            .arg(root.join("crates/notify/tests/channels/mail.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let mut port = String::new();
        lines.read_line(&mut port).unwrap();
        Some((MailServer { process, port: port.trim().parse().unwrap() }, lines))
    }
}
