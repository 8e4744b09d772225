//! `[nats]`: several sources, secrets.

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
