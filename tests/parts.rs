//! Shows what a build without its optional parts does: it runs, knows the keys of what it lacks, and
//! says what is missing where that is asked for.
//!
//! How: starts the binary. With the parts built in there is nothing to show:
//! `cargo nextest run --no-default-features --test parts`.
#![cfg(not(any(feature = "nats", feature = "replay", feature = "prove")))]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

fn tidewatch(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    command.args(args).current_dir(folder).env_clear();
    command
}

fn run(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = tidewatch(folder, args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn config(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.toml"), text).unwrap();
    folder
}

const NATS: &str = "this build has no NATS: build with --features nats";

#[test]
fn a_command_that_is_not_built_in_names_its_part() {
    let folder = config("");
    for (args, says) in [
        (&["publish", "t.toml", "--subject", "a.b"][..], NATS),
        (&["prove"], "this build has no proof: build with --features prove"),
        (&["replay", "t.toml"], "this build has no reading of files: build with --features replay"),
        (&["map", "t.toml"], "this build has no reading of files: build with --features replay"),
    ] {
        let (code, out, error) = run(folder.path(), args);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {error}");
        assert_eq!(error, format!("tidewatch: {says}\n"), "{args:?}");
    }
}

#[test]
fn a_configuration_that_needs_nats_is_checked_and_does_not_start() {
    let folder = config("[nats]\nurl = \"nats://127.0.0.1:1\"\n[nats.out]\nservice = \"here\"\n");
    let start = ["--config", "t.toml", "--data-dir", "data"];
    let (code, _, error) = run(folder.path(), &[&["serve"], &start[..]].concat());
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains(&format!("nats.url is set; {NATS}")), "{error}");
    let letters = [&["dead-letters", "redrive", "--all"], &start[..]].concat();
    let (code, _, error) = run(folder.path(), &letters);
    assert!(code != Some(0) && error.contains(NATS), "{code:?} {error}");
    let (code, out, _) = run(folder.path(), &["check", "--config", "t.toml"]);
    assert!(code == Some(0) && out.starts_with(&format!("warning: {NATS}\n")), "{code:?} {out}");
    let (code, out, _) = run(folder.path(), &["check", "--config", "t.toml", "--print"]);
    assert!(code == Some(0) && out.contains("service = \"here\""), "{code:?} {out}");

    let folder = config("[nats]\nurl = \"http://a\"\nserver = \"a\"\n");
    let (code, _, error) = run(folder.path(), &["check", "--config", "t.toml"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("must begin with nats:// or tls://"), "{error}");
    assert!(error.contains("t.toml:3:1: nats.server: is not a known key"), "{error}");
}

#[test]
fn what_needs_no_part_runs() {
    let folder = config("[nats]\nurl = \"\"\n");
    let args = ["serve", "--config", "t.toml", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    let mut command = tidewatch(folder.path(), &args);
    let mut server = Ended(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut said = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let host = said.trim().strip_prefix("dashboard: http://").unwrap().trim_end_matches('/');
    let event = r#"{"id":"1","ts":1700000000000,"type":"page_view","user":"ada"}"#;
    let mut http = TcpStream::connect(host).unwrap();
    http.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(
        http,
        "POST /v1/events HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{event}",
        event.len()
    )
    .unwrap();
    let mut answer = String::new();
    http.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
}

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
