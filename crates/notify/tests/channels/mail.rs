//! Mail to a real SMTP server (aiosmtpd).

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use crate::rig::{later, never, place, sample};
use serde_json::Value as Json;
use tidewatch_clock::SystemClock;
use tidewatch_core::incident::{Step, notification_key};
use tidewatch_core::settings::{Section as _, Value};
use tidewatch_notify::Channel;

struct Server {
    process: Child,
    lines: BufReader<ChildStdout>,
    port: i64,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// With these options; `None`, and the test counted as skipped, without its package.
    fn start(options: &[&str]) -> Option<Server> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = folder.join("../../target/mail/bin/python");
        if !python.exists() {
            crate::skip::skipped("no aiosmtpd under target/mail: ./test installs it");
            return None;
        }
        let mut process = Command::new(python)
            .arg(folder.join("tests/channels/mail.py"))
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        let mut server = Server { process, lines, port: 0 };
        server.port = server.line().trim().parse().expect("it prints its port");
        Some(server)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    fn mail(&mut self) -> Json {
        serde_json::from_str(&self.line()).unwrap()
    }
}

/// A certificate for localhost and its key, made now.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let made = Command::new("openssl")
        .args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(' '),
        )
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-out"])
        .arg(&cert)
        .arg("-keyout")
        .arg(&key)
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success(), "openssl makes a certificate");
    (cert, key)
}

fn mailer(port: i64, keys: &[(&str, &str)], to: &[&str]) -> Box<dyn Channel> {
    let mut all = vec![("host", "localhost"), ("from", "Tide <alerts@shop.example>")];
    all.extend(keys);
    let mut spec = crate::rig::spec("email", &all, true);
    spec.kind.set("port", Value::Int(port));
    spec.kind.set("to", Value::Texts(to.iter().map(ToString::to_string).collect()));
    spec.open(&place(), &SystemClock::shared()).unwrap().delivers().unwrap()
}

const PLAIN: (&str, &str) = ("security", "none");

#[test]
fn the_mails_of_an_incident_are_a_thread_of_text_and_html() {
    let Some(mut server) = Server::start(&[]) else { return };
    let channel = mailer(server.port, &[PLAIN], &["Ops <ops@shop.example>", "b@shop.example"]);
    let mut fired = sample(Step::Fired);
    fired.facts["title"] = "Bestellungen: <b>zu wenig</b> für 5 €\r\nBcc: evil@example.org".into();
    let receipt = channel.deliver(&fired, None).unwrap();
    assert_eq!((receipt.says.as_str(), receipt.lacks), ("250 taken", None));
    let mail = server.mail();
    assert_eq!(mail["to"], serde_json::json!(["ops@shop.example", "b@shop.example"]));
    let text = mail["text"].as_str().unwrap();
    let (headers, body) = text.split_once("\r\n\r\n").unwrap();
    let header = |name: &str| headers.lines().find_map(|line| line.strip_prefix(name));
    let first =
        format!("<{}@shop.example>", notification_key(&fired.about, "oncall", Step::Fired, 0));
    assert_eq!(header("Message-ID: "), Some(first.as_str()));
    assert_eq!(header("Auto-Submitted: "), Some("auto-generated"));
    assert_eq!((header("Bcc"), header("In-Reply-To")), (None, None), "{headers}");
    assert!(headers.contains("multipart/alternative"), "{headers}");
    assert!(body.contains("text/plain") && body.contains("text/html"), "{body}");
    for step in [Step::Acknowledged, Step::Resolved] {
        channel.deliver(&sample(step), None).unwrap();
        let mail = server.mail();
        let text = mail["text"].as_str().unwrap();
        assert!(text.contains(&format!("In-Reply-To: {first}\r\n")), "{text}");
        assert!(text.contains(&format!("References: {first}\r\n")), "{text}");
    }
    let shown = channel.preview(&fired).unwrap();
    assert!(shown.starts_with(&format!("SMTP to localhost:{}\n", server.port)), "{shown}");
    assert!(shown.contains("Value: 12, expected 60"), "{shown}");
}

#[test]
fn values_are_escaped_in_html() {
    let Some(mut server) = Server::start(&[]) else { return };
    let channel =
        mailer(server.port, &[PLAIN, ("html", "<p>{{ title }}</p>")], &["a@shop.example"]);
    let mut fired = sample(Step::Fired);
    fired.facts["title"] = "<script>".into();
    channel.deliver(&fired, None).unwrap();
    let mail = server.mail();
    let text = mail["text"].as_str().unwrap();
    assert!(text.contains("<p>&lt;script&gt;</p>"), "{text}");
}

#[test]
fn nothing_is_sent_in_the_clear_or_to_a_stranger() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path());
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let options = ["--tls", cert, key, "--auth", "me", "hush-hush"];
    let Some(mut server) = Server::start(&options) else { return };
    let login = [("user", "me"), ("password", "hush-hush"), ("ca_file", cert)];
    mailer(server.port, &login, &["a@shop.example"]).deliver(&sample(Step::Fired), None).unwrap();
    assert_eq!(server.mail()["tls"], true);
    let wrong = [("user", "me"), ("password", "something"), ("ca_file", cert)];
    let refused =
        mailer(server.port, &wrong, &["a@shop.example"]).deliver(&sample(Step::Fired), None);
    let refused = never(refused);
    assert!(refused.contains("535") && !refused.contains("something"), "{refused}");
    let stranger = [("user", "me"), ("password", "hush-hush")];
    let stranger = mailer(server.port, &stranger, &["a@shop.example"]);
    let said = later(stranger.deliver(&sample(Step::Fired), None)).0;
    assert!(said.contains("certificate") || said.contains("UnknownIssuer"), "{said}");
    let Some(bare) = Server::start(&[]) else { return };
    let said =
        never(mailer(bare.port, &[], &["a@shop.example"]).deliver(&sample(Step::Fired), None));
    assert_eq!(said, "it offers no STARTTLS, and nothing is sent in the clear");
}

#[test]
fn what_a_server_refuses_is_told_apart() {
    let Some(mut server) = Server::start(&[]) else { return };
    let deliver =
        |to: &[&str]| mailer(server.port, &[PLAIN], to).deliver(&sample(Step::Fired), None);
    let busy = later(deliver(&["later@shop.example"])).0;
    assert!(busy.contains("451"), "{busy}");
    let gone = never(deliver(&["never@shop.example"]));
    assert!(gone.contains("550"), "{gone}");
    later(deliver(&["never@shop.example", "later@shop.example"]));
    let lacks = deliver(&["never@shop.example", "ops@shop.example"]).unwrap().lacks.unwrap();
    assert!(lacks.starts_with("address 1 of to: ") && lacks.contains("550"), "{lacks}");
    assert!(!lacks.contains("never@"), "an address is in no log: {lacks}");
    assert_eq!(server.mail()["to"], serde_json::json!(["ops@shop.example"]));
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let channel = mailer(port.into(), &[PLAIN], &["a@shop.example"]);
    let (cause, _) = later(channel.deliver(&sample(Step::Fired), None));
    assert_eq!(cause, "it took too long to answer");
}

/// Each answer comes in time, and all of them do not.
#[test]
fn a_server_that_takes_its_time_has_no_more_than_the_timeout_in_all() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (_hold, never) = sync_channel::<()>(0);
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut seen = Vec::new();
        let mut answer = "220 slow";
        loop {
            let _ = never.recv_timeout(Duration::from_millis(250));
            if write!(stream, "{answer}\r\n").is_err() {
                return seen;
            }
            let Some(Ok(line)) = lines.next() else { return seen };
            answer = if line == "DATA" { "354 go on" } else { "250 fine" };
            seen.push(line.split([' ', ':']).next().unwrap().to_owned());
        }
    });
    let clock = SystemClock::shared();
    let channel = mailer(port.into(), &[PLAIN], &["a@shop.example"]);
    let (cause, _) = later(channel.deliver(&sample(Step::Fired), None));
    assert_eq!(cause, "it took too long to answer");
    // 700 ms, of which greeting and EHLO took 500; not the 1500 of six answers.
    assert!(clock.elapsed() < 1_400, "{} ms", clock.elapsed());
    let seen = server.join().unwrap();
    assert_eq!(seen[..2], ["EHLO", "MAIL"]);
    assert!(!seen.contains(&"DATA".to_owned()), "{seen:?}");
}

#[test]
fn private_servers_and_wrong_addresses_are_refused() {
    let clock = SystemClock::shared();
    let open = |keys: &[(&str, &str)], to: &str| {
        let mut spec = crate::rig::spec("email", keys, false);
        spec.kind.set("to", Value::Texts(vec![to.to_owned()]));
        spec.open(&place(), &clock).map(|way| way.delivers().unwrap())
    };
    let host = |host| [("host", host), ("from", "a@shop.example")];
    for (name, words) in [("127.0.0.1", "this machine"), ("169.254.169.254", "link-local")] {
        let said =
            never(open(&host(name), "b@shop.example").unwrap().deliver(&sample(Step::Fired), None));
        assert!(said.contains(words), "{said}");
    }
    let clear = [("host", "198.51.100.7"), ("from", "a@shop.example"), PLAIN];
    let said = never(open(&clear, "b@shop.example").unwrap().deliver(&sample(Step::Fired), None));
    assert_eq!(said, "198.51.100.7 is 198.51.100.7: in the clear mail goes to this machine only");
    for (keys, to, wanted) in [
        (host("smtp.example"), "b@shop.example\r\nBcc: c@d.example", "to: \"b@shop.example\\r\\n"),
        (host("smtp.example"), "nobody", "to: \"nobody\" is no address"),
        (host("a b"), "b@shop.example", "host: is no name"),
        ([("host", "smtp.example"), ("from", "")], "b@shop.example", "from: is missing"),
    ] {
        let wrong = open(&keys, to).err().unwrap().to_string();
        assert!(wrong.starts_with(wanted), "{wrong}");
    }
}
