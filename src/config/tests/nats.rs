//! `[nats]`: mistakes, several sources, secrets.

use super::*;

#[test]
fn nats_is_off_until_there_is_a_url_and_then_has_a_source() {
    let config = Config::default().nats;
    assert_eq!(config.link, None);
    let nats = |text: &str| Config::parse("t.toml", text).unwrap().nats;
    let one = nats(
        "[nats]\nurl = \"nats://a:4222, tls://b\"\npull_messages = 100\n[pipeline]\nbatch_max = 10\ncredits = 500\ncommit_events = 100",
    );
    let link = one.link.unwrap();
    assert_eq!((link.url.as_str(), link.name.as_str()), ("nats://a:4222, tls://b", "tidewatch"));
    assert_eq!(one.sources.len(), 1);
    let source = &one.sources[0];
    assert_eq!(
        (source.stream.as_str(), &source.subjects[..]),
        ("EVENTS", &["events.>".into()][..])
    );
    assert_eq!((source.pull_messages, source.max_ack_pending), (100, 600));

    let two = nats(
        "[nats]\nurl = \"a\"\non_gap = \"continue\"\n[[nats.source]]\nstream = \"A\"\n\
         subjects = [\"a.>\"]\n[[nats.source]]\nstream = \"B\"\non_gap = \"stop\"\n\
         subject_template = \"shop.{region}\"\n[nats.gateway]\nsubject = \"a.http\"",
    );
    use crate::nats::settings::OnGap;
    let gaps: Vec<OnGap> = two.sources.iter().map(|source| source.on_gap).collect();
    assert_eq!(gaps, [OnGap::Continue, OnGap::Stop]);
    assert_eq!(two.sources[1].subjects, Vec::<String>::new());

    let variable = |key: &str, value: &str| (key.to_string(), value.to_string());
    let env = [
        variable("TIDEWATCH_NATS__URL", "nats://c"),
        variable("TIDEWATCH_NATS__GATEWAY__SUBJECT", "events.posted"),
    ];
    let config = Config::load(None, env, &[]).unwrap();
    assert_eq!(config.nats.gateway.subject, "events.posted");
    assert_eq!(config.nats.link.unwrap().url, "nats://c");
}

#[test]
fn a_mistake_in_nats_is_named() {
    check(&[
        (
            "[nats]\nurl = \"http://a\"",
            "t.toml:2:1: nats.url = \"http://a\": \"http://a\" must begin with nats:// or tls://",
        ),
        (
            "[nats]\nurl = \"nats://u:secret@a\"",
            "t.toml:2:1: nats.url = (not shown): must not hold a user or a password: use nats.user \
             and nats.password_file, which are not shown",
        ),
        (
            "[nats]\ntoken = \"secret\"\nuser = \"u\"\npassword = \"secret\"",
            "t.toml:2:1: nats.token = (not shown): only one way to sign in may be set, not \
             nats.token, nats.user",
        ),
        (
            "[nats]\npassword = \"secret\"",
            "t.toml:2:1: nats.password = (not shown): nats.user and nats.password (or \
             password_file) belong together",
        ),
        (
            "[nats]\ntoken_file = \"/nonexistent/token\"",
            "t.toml:2:1: nats.token_file = \"/nonexistent/token\": cannot be read: No such file or \
             directory (os error 2)",
        ),
        (
            "[nats]\ntls_cert_file = \"c.pem\"",
            "t.toml:2:1: nats.tls_cert_file = \"c.pem\": nats.tls_cert_file and nats.tls_key_file \
             belong together",
        ),
        (
            "[nats]\nduplicate_window = \"1h\"\nmax_age = \"30m\"",
            "t.toml:2:1: nats.duplicate_window = \"1h\": nats.duplicate_window must not be longer \
             than nats.max_age",
        ),
        (
            "[nats]\nreplicas = 2",
            "t.toml:2:1: nats.replicas = 2: must be 1, 3 or 5: an even number survives no more",
        ),
        (
            "[[nats.source]]\nsubjects = [\"a\"]",
            "t.toml:1:1: nats.source.0.stream: is missing: write stream = \"EVENTS\"",
        ),
        (
            "[[nats.source]]\nstream = \"A\"\nsubject_template = \"a.{id}\"",
            "t.toml:3:1: nats.source.0.subject_template = \"a.{id}\": \"id\" cannot come from the \
             subject: all its events would share it",
        ),
        (
            "[[nats.source]]\nstream = \"A\"\n[[nats.source]]\nstream = \"A\"\nfilter = [\"a.b\"]",
            "t.toml:1:8: nats.source = [[nats.source]]: stream A is read twice through consumer \
             \"tidewatch\": give each source a consumer of its own",
        ),
        (
            "[nats]\nurl = \"a\"\n[[nats.source]]\nstream = \"A\"\nsubjects = [\"a.>\"]",
            "t.toml:3:8: nats.source = [[nats.source]]: nats.gateway.subject is \"events.http\", and \
             no source reads it: choose a subject of a source, or \"\" so that nothing can be posted",
        ),
        (
            "[nats.gateway]\nsubject = \"a.>\"",
            "t.toml:2:1: nats.gateway.subject = \"a.>\": \"a.>\" is not a subject such as \
             \"events.http\"",
        ),
        (
            "[nats.out]\nboard = \"x\"",
            "t.toml:2:1: nats.out.board: is not a known key; known here: alerts_stream, \
             alerts_subject, dead_letters_stream, dead_letters_subject, board_subject, board_bucket, \
             board_interval, service, requests_max, max_age, max_bytes, duplicate_window, \
             in_flight_max, poll_interval, retry_max, refused",
        ),
    ]);
}

#[test]
fn secrets_are_read_from_files_and_never_printed() {
    use crate::nats::settings::Auth;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "  s3cret\n").unwrap();
    let text = format!("[nats]\nurl = \"nats://a\"\ntoken_file = {file:?}");
    let config = Config::parse("t.toml", &text).unwrap();
    assert_eq!(config.nats.link.as_ref().unwrap().auth, Auth::Token("s3cret".into()));
    assert!(!config.print().contains("s3cret"));
    assert_eq!(Config::parse("again", &config.print()).unwrap(), config);

    let text = "[nats]\nurl = \"nats://a\"\nuser = \"u\"\npassword = \"s3cret\"";
    let config = Config::parse("t.toml", text).unwrap();
    let auth = Auth::Password("u".into(), "s3cret".into());
    assert_eq!(config.nats.link.as_ref().unwrap().auth, auth);
    let shown = config.print();
    assert!(!shown.contains("s3cret") && !format!("{config:?}").contains("s3cret"), "{shown}");
    assert!(shown.contains("password = \"\" # it is set, and not shown"), "{shown}");
}
