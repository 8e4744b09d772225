//! What is written of a mail, whatever stands in it.

use jiff::tz::TimeZone;
use lettre::address::Envelope;
use proptest::prelude::*;
use tidewatch_clock::SystemClock;
use tidewatch_core::incident::Recipient;
use tidewatch_core::settings::{Section as _, Value};

use super::*;
use crate::kind::{ChannelKeys, Place};
use crate::secret::Secrets;

const AT: i64 = 1_795_788_300_000;

fn place() -> Place {
    Place { page: "https://tide.example".into(), zone: TimeZone::UTC, labels: Vec::new() }
}

/// A channel that mails of nobody it names.
fn email(common: &[(&str, &str)]) -> Email {
    let mut keys = ChannelKeys { kind: "email".into(), ..ChannelKeys::default() };
    for (key, value) in common {
        assert!(keys.set(key, Value::Text((*value).into())), "{key}");
    }
    let own = Keys { from: "Shop <shop@shop.example>".into(), ..Keys::default() };
    let (place, clock) = (place(), SystemClock::shared());
    let secrets = Secrets::Pretended;
    let opening = Opening { keys: &keys, place: &place, clock: &clock, secrets, nudges: true };
    let from = mailbox("from", &own.from).unwrap();
    let common = opening.common(Escape::Plain, &[("html", "")]).unwrap();
    let way = Way::Folder(Folder::new("/nowhere", 1));
    Email { way, from, to: Vec::new(), reply_to: None, common }
}

fn nudge(address: &str) -> Notification {
    let mut told = crate::nudge_sample(("nudge", "mails"), &[], (AT, "s1"));
    let unsubscribe = Some("https://shop.example/u/t0ken".into());
    told.recipient = Some(Recipient { address: address.into(), unsubscribe });
    told
}

/// A mail's headers, unfolded.
fn headers(mail: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8(mail.to_vec()).expect("mail is text");
    let (head, _) = text.split_once("\r\n\r\n").expect("an empty line ends them");
    let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let pair = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        (name.to_owned(), value.to_owned())
    };
    unfolded.split("\r\n").map(pair).collect()
}

const NAMES: [&str; 11] = [
    "From",
    "Date",
    "Message-ID",
    "Subject",
    "Auto-Submitted",
    "To",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];

fn written(email: &Email, told: &Notification) -> Result<(Envelope, Vec<u8>), Failure> {
    let to = email.addresses(told)?;
    let message = email.message(told, &to)?;
    Ok((message.envelope().clone(), message.formatted()))
}

#[test]
fn a_nudge_goes_to_one_person_who_can_say_no() {
    let mut email = email(&[]);
    // Whom the channel names is somebody else.
    email.to = vec![mailbox("to", "ops@shop.example").unwrap()];
    let (envelope, mail) = written(&email, &nudge("ada@example.org")).unwrap();
    let to: Vec<&str> = envelope.to().iter().map(AsRef::as_ref).collect();
    assert_eq!(to, ["ada@example.org"]);
    let headers = headers(&mail);
    let header = |name: &str| headers.iter().find(|(own, _)| own == name).unwrap().1.as_str();
    assert_eq!(header("To"), "ada@example.org");
    assert_eq!(header("Subject"), "You left something in your cart");
    assert_eq!(header("List-Unsubscribe"), "<https://shop.example/u/t0ken>");
    assert_eq!(header("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    let text = String::from_utf8(mail).unwrap();
    for part in ["You were about to buy for 129.90 EUR", "- Wool socks", "and 2 more"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.contains("<li>Rain jacket</li>") && !text.contains("tide.example"), "{text}");
}

#[test]
fn a_link_without_tls_is_no_one_click_and_a_wrong_one_is_none() {
    let email = email(&[]);
    let with = |link: Option<&str>| {
        let mut told = nudge("ada@example.org");
        told.recipient.as_mut().unwrap().unsubscribe = link.map(str::to_owned);
        written(&email, &told).map(|(_, mail)| headers(&mail))
    };
    let names = |link| {
        let headers = with(link).unwrap();
        headers.iter().filter(|(name, _)| name.starts_with("List-")).count()
    };
    assert_eq!(names(None), 0);
    assert_eq!(names(Some("http://127.0.0.1:8080/u/x")), 1);
    assert_eq!(names(Some("https://shop.example/u/x")), 2);
    let long = format!("https://shop.example/{}", "x".repeat(900));
    for wrong in [
        "",
        "mailto:a@b.example",
        "https://a/>,<https://b",
        "https://a/ b",
        "https://a/\r\nBcc: x",
        &long,
    ] {
        assert!(matches!(with(Some(wrong)), Err(Failure::Never { .. })), "{wrong}");
    }
}

#[test]
fn without_a_recipient_or_anybody_to_tell_nothing_is_sent() {
    let email = email(&[]);
    let mut nobody = nudge("ada@example.org");
    nobody.recipient = None;
    let incident = crate::samples(("r", "mails"), &[], (AT, "i")).remove(0);
    for (told, why) in [
        (nobody, "it is for one person, and nobody is named"),
        (incident, "the channel names nobody: to is empty"),
        (nudge("ada"), "its address has no @"),
    ] {
        assert_eq!(written(&email, &told).unwrap_err(), Failure::never(why));
    }
}

#[test]
fn a_preview_has_a_mask_in_place_of_the_address() {
    let shown = email(&[]).preview(&nudge("ada@example.org")).unwrap();
    assert!(shown.contains("To: a…@example.org"), "{shown}");
    assert!(!shown.contains("ada") && !shown.contains("t0ken"), "{shown}");
}

/// Texts that would like to be more than a text.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = [
        "\r\n",
        "\n",
        "\r",
        "\r\nBcc: eve@example.org",
        "\n\n",
        "\0",
        "\"",
        "<",
        ">",
        ",",
        ";",
        ":",
        "@",
        "ada@example.org",
        "eve@example.org",
        " ",
        "\t",
        "=?utf-8?q?=0D=0ABcc:_x?=",
        "\u{2028}",
        "\u{85}",
        "\u{202e}",
        "ä",
        "名前",
        "🛒",
        "(x)",
        "\\",
        "[127.0.0.1]",
        "%0d%0a",
        ".",
        "a",
    ];
    let piece = prop_oneof![
        5 => prop::sample::select(pieces.to_vec()).prop_map(str::to_owned),
        1 => "(?s).{1,5}",
        1 => Just("x".repeat(10 << 10)),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Whatever an event carries as address, item and link: what is sent goes to one address, which is
    /// that, and has the headers of a mail once each; or nothing is sent, and why has no part of it.
    #[test]
    fn no_text_becomes_a_header_or_a_second_recipient(
        address in prop_oneof![hostile(), Just("ada@example.org".to_owned())],
        item in hostile(),
        link in prop_oneof![hostile(), hostile().prop_map(|rest| format!("https://a.example/{rest}"))],
    ) {
        let email = email(&[("title", "{{ items | join(' ') }}")]);
        let mut told = nudge(&address);
        told.facts["items"] = vec![item.clone(), item].into();
        for link in [None, Some(link)] {
            if let Some(recipient) = &mut told.recipient {
                recipient.unsubscribe.clone_from(&link);
            }
            let (envelope, mail) = match written(&email, &told) {
                Ok(written) => written,
                Err(Failure::Never { cause }) => {
                    prop_assert!(address.chars().count() < 6 || !cause.contains(&address), "{}", cause);
                    continue;
                }
                Err(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
            };
            prop_assert_eq!(envelope.to().len(), 1);
            prop_assert_eq!(AsRef::<str>::as_ref(&envelope.to()[0]), address.as_str());
            let headers = headers(&mail);
            let mut names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
            prop_assert!(names.iter().all(|name| NAMES.contains(name)), "{:?}", names);
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            prop_assert_eq!(names.len(), count);
            prop_assert!(mail.split(|byte| *byte == b'\n').all(|line| line.len() <= 999));
        }
    }
}

/// What a channel wrote into its folder is what somebody reads there.
#[test]
fn a_mail_of_the_folder_is_read_back_and_masked() {
    let own = tempfile::tempdir().unwrap();
    let folder = own.path().join("mails");
    let mut spec = crate::Spec {
        name: "mails".into(),
        keys: ChannelKeys::default(),
        kind: crate::Kind::named("email").unwrap(),
    };
    let text = |text: &str| Value::Text(text.into());
    for (key, value) in
        [("from", text("Shop <shop@shop.example>")), ("folder", text(folder.to_str().unwrap()))]
    {
        assert!(spec.kind.set(key, value));
    }
    let mailbox = crate::Mailbox::new(&folder);
    assert_eq!(mailbox.newest(9).unwrap(), (vec![], 0));
    let channel = spec.open(&place(), &SystemClock::shared()).unwrap().delivers().unwrap();
    let mut told = nudge("ada@example.org");
    told.facts["items"] = serde_json::json!(["Söckchen <b>", "x".repeat(300)]);
    for _ in 0..2 {
        channel.deliver(&told, None).unwrap();
    }
    let (newest, count) = mailbox.newest(9).unwrap();
    assert_eq!((newest.len(), count), (1, 1));
    assert_eq!((newest[0].key.as_str(), newest[0].to[0].as_str()), (&*told.key, "a…@example.org"));
    assert_eq!(newest[0].subject, "You left something in your cart");
    assert!(newest[0].at.is_some());
    let mail = mailbox.mail(&told.key).unwrap().unwrap();
    let (plain, html) = ("- Söckchen <b>", "<li>Söckchen &lt;b&gt;</li>");
    assert!(mail.text.contains(plain) && mail.html.unwrap().contains(html), "{}", mail.text);
    assert!(mail.text.contains(&"x".repeat(300)));
    assert_eq!(mail.unsubscribe.as_deref(), Some("https://shop.example/u/t0ken"));
    for none in ["", "../secret", "00000000000000000000000000000000"] {
        assert_eq!(mailbox.mail(none).unwrap(), None);
    }
    assert_eq!(mailbox.newest(0).unwrap(), (vec![], 1));
}
