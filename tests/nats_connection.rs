//! Shows that every way to sign in works with a real server, that TLS is checked, and that
//! what does not work is said without the secret.
//!
//! How: a nats-server that lets only one user in; `serve` with the same in its configuration
//! must get an event posted over HTTP through the stream and back.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use support::{Broker, Folder, HOLD, until};

/// A pair of keys made for tests.
const NKEY_SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
const NKEY_PUBLIC: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

/// What the server says to those it does not know.
const REFUSED: &str = "authorization violation";

/// What the client says of a handshake that failed: not more, its cause gets lost on the way.
const BROKEN: &str = "IO error";

/// A word that must never be seen.
const SECRET: &str = "hunter2-hunter2";

fn config(url: &str, more: &str) -> String {
    format!("{HOLD}[nats]\nurl = \"{url}\"\nreconnect_max = \"100ms\"\n{more}\n")
}

/// Posts an event; it must be applied, so it went into the stream and came out of it.
#[track_caller]
fn goes_through(folder: &Folder, url: &str, more: &str) {
    let mut server = folder.serve(&config(url, more)).start();
    let event = json!({ "id": "1", "ts": 1_763_800_000_000_i64, "type": "page_view", "user": "u" });
    let answer = server.http.post_json(&server.at("v1/events"), &event);
    assert_eq!(answer.status, 202, "{answer:?}");
    let pipeline = server.wait_settled(1);
    assert_eq!((&pipeline["applied"], &pipeline["balanced"]), (&json!(1), &json!(true)));
    assert_eq!(server.stop().code(), Some(0));
    let log = server.stderr();
    assert!(!log.contains(SECRET) && !log.contains(NKEY_SEED), "{log}");
}

/// `serve` does not get ready, and `readyz` says that NATS is away and `why`.
#[track_caller]
fn stays_out(url: &str, more: &str, why: &str) {
    let folder = Folder::default();
    let mut server = folder.serve(&config(url, more)).listening();
    let told = until(30, &format!("readyz says {why:?}"), || {
        let answer = server.http.get(&server.at("readyz?verbose"));
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let said = text.contains("is away") && text.contains(why);
        (answer.status == 503 && said).then_some(text)
    });
    server.kill_9();
    let log = server.stderr();
    assert!(!told.contains(SECRET) && !log.contains(SECRET), "{told}\n{log}");
    println!("{}", told.lines().find(|line| line.contains("is away")).unwrap_or_default());
}

#[test]
fn a_user_with_a_password_comes_in_and_nobody_else() {
    let broker = Broker::with(&format!("authorization {{ user: ada, password: \"{SECRET}\" }}"));
    let folder = Folder::default();
    let file = folder.write("password", format!("{SECRET}\n"));
    let url = broker.url();
    stays_out(&url, "", REFUSED);
    stays_out(&url, "user = \"ada\"\npassword = \"wrong\"", REFUSED);
    goes_through(&folder, &url, &format!("user = \"ada\"\npassword_file = \"{file}\""));
    let plain = format!("user = \"ada\"\npassword = \"{SECRET}\"");
    let config = folder.write("print.toml", config(&url, &plain));
    let printed = folder.command(&["check", "--print", "--config", &config]).run();
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    assert!(!printed.stdout.contains(SECRET), "{}", printed.stdout);
}

#[test]
fn a_token_comes_in() {
    let broker = Broker::with(&format!("authorization {{ token: \"{SECRET}\" }}"));
    let folder = Folder::default();
    let file = folder.write("token", SECRET);
    goes_through(&folder, &broker.url(), &format!("token_file = \"{file}\""));
    goes_through(&Folder::default(), &broker.url(), &format!("token = \"{SECRET}\""));
}

#[test]
fn a_key_pair_comes_in() {
    let users = format!("authorization {{ users: [ {{ nkey: {NKEY_PUBLIC} }} ] }}");
    let broker = Broker::with(&users);
    let folder = Folder::default();
    let file = folder.write("nkey", NKEY_SEED);
    stays_out(&broker.url(), "", REFUSED);
    goes_through(&folder, &broker.url(), &format!("nkey_file = \"{file}\""));
}

#[test]
fn encryption_is_checked_on_both_sides() {
    let keys = tempfile::tempdir().unwrap();
    let (Some(server), Some(client)) =
        (Pair::make(keys.path(), "server"), Pair::make(keys.path(), "client"))
    else {
        return;
    };
    let broker = Broker::with(&format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        server.cert, server.key, client.cert
    ));
    let url = broker.url();
    let ours = format!(
        "tls_cert_file = {:?}\ntls_key_file = {:?}\ntls_required = true",
        client.cert, client.key
    );
    // The system trusts nobody who signs for himself.
    stays_out(&url, &ours, BROKEN);
    let trusted = format!("tls_ca_file = {:?}", server.cert);
    // We trust it, and it does not know us.
    stays_out(&url, &trusted, BROKEN);
    goes_through(&Folder::default(), &url, &format!("{trusted}\n{ours}"));
    goes_through(&Folder::default(), &url.replace("nats:", "tls:"), &format!("{trusted}\n{ours}"));
}

#[test]
fn encryption_that_is_asked_for_and_not_there_is_refused() {
    let broker = Broker::start();
    stays_out(&broker.url(), "tls_required = true", BROKEN);
}

#[test]
fn a_server_that_is_too_old_is_refused_by_its_version() {
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/nats-2.10/bin/nats-server");
    let broker = Broker::of(old);
    let folder = Folder::default();
    let mut server = folder.serve(&config(&broker.url(), "")).spawn();
    let status = server.wait_exit(60);
    let log = server.stderr();
    assert_eq!(status.code(), Some(1), "{log}");
    let sentence = format!(
        "the NATS server at {} is version 2.10.26; tidewatch needs 2.11 or newer",
        broker.url()
    );
    assert!(log.contains(&sentence), "{log}");
}

/// A certificate that signs for itself, and its key.
struct Pair {
    cert: PathBuf,
    key: PathBuf,
}

impl Pair {
    /// `None` (with a line that says so) where `openssl` is absent.
    fn make(folder: &Path, name: &str) -> Option<Pair> {
        let file = |end: &str| folder.join(format!("{name}.{end}"));
        let pair = Pair { cert: file("pem"), key: file("key") };
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}")])
            .args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-addext", "extendedKeyUsage=serverAuth,clientAuth"])
            .arg("-keyout")
            .arg(&pair.key)
            .arg("-out")
            .arg(&pair.cert)
            .output();
        let Ok(made) = made else {
            support::skipped("there is no openssl to make certificates with");
            return None;
        };
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(pair)
    }
}
