//! Shows the mailbox of a demo: what its channel would have sent is there to look at, in frames that may
//! do nothing, and is nowhere without `--mail`.

mod support;

use std::fs;

use serde_json::Value;

use support::{Folder, Server, until};

/// Sessions end after two seconds, so that there are abandoned carts at once.
const CONFIG: &str = "[session]\ngap = \"2s\"\n";

fn demo(folder: &Folder, more: &[&str]) -> Server {
    let (data, config) = (folder.data().display().to_string(), folder.write("demo.toml", CONFIG));
    folder
        .command(&["demo", "--users", "200", "--rate", "200", "--seed", "7", "--config", &config])
        .args(&["--data-dir", &data, "--listen", "127.0.0.1:0"])
        .args(more)
        .start()
}

fn page(server: &Server, path: &str) -> (String, String) {
    let answer = server.http.get(&server.at(path));
    assert_eq!(answer.status, 200, "{path}");
    let policy = answer.header("content-security-policy").unwrap().to_owned();
    (String::from_utf8(answer.body).unwrap(), policy)
}

fn notice_link(server: &Server) -> Value {
    let pipeline = server.wait_pipeline("it is a demo", |pipeline| pipeline["mode"] == "demo");
    pipeline["notice_link"].clone()
}

#[test]
fn a_demo_with_mail_shows_what_it_would_send() {
    let folder = Folder::default();
    let mut server = demo(&folder, &["--mail"]);
    assert_eq!(notice_link(&server)["href"], "mailbox");
    let list = until(60, "there is a mail", || {
        let (list, _) = page(&server, "mailbox");
        list.contains("<li>").then_some(list)
    });
    let key = list.split("href=\"mailbox/").nth(1).unwrap().split('"').next().unwrap();
    assert!(list.contains("…@example.org"), "{list}");
    let (mail, policy) = page(&server, &format!("mailbox/{key}"));
    assert!(mail.contains("<iframe class=\"mail\" sandbox"), "{mail}");
    assert!(policy.contains("frame-src 'self'") && !policy.contains("unsafe"), "{policy}");
    let (html, policy) = page(&server, &format!("mailbox/{key}/html"));
    assert!(html.contains("your cart is still there") && html.contains("<li>"), "{html}");
    assert!(mail.contains("List-Unsubscribe: <a href=\"http://127.0.0.1:"), "{mail}");
    let told = server.all("v1/notifications");
    assert!(told.iter().all(|one| one["step"] == "nudge"), "{told:?}");
    let address = told[0]["recipient"]["address"].as_str().unwrap();
    assert!(address.starts_with("v…@"), "{address}");
    assert!(!told[0].to_string().contains("visitor-"), "{}", told[0]);
    assert!(policy.contains("default-src 'none'") && policy.ends_with("sandbox"), "{policy}");
    for (path, status) in [("mailbox/nothing", 404), ("mailbox/..%2fstate.db", 404)] {
        assert_eq!(server.http.get(&server.at(path)).status, status, "{path}");
    }
    assert!(fs::read_dir(folder.data().join("mails")).unwrap().count() > 0);
    assert!(server.stop().success());
}

#[test]
fn a_demo_without_it_has_no_mailbox_and_no_addresses() {
    let folder = Folder::default();
    let mut server = demo(&folder, &[]);
    assert_eq!(notice_link(&server), Value::Null);
    assert_eq!(server.http.get(&server.at("mailbox")).status, 404);
    server.wait_pipeline("a cart was left", |pipeline| pipeline["alerts_delivered"] != 0);
    assert_eq!(server.all("v1/notifications"), [Value::Null; 0]);
    assert!(!folder.data().join("mails").exists());
    assert!(server.stop().success());
}
