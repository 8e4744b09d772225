//! Shows that an open session can be asked at any time: while events pour in, by many at once,
//! in bounded number; that an answer never shows half an event; and that whoever asks a session
//! that is over, or that panics, does no harm.
//!
//! How: the real binary; drill-downs over HTTP run beside the events.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use support::events::Event;
use support::{Folder, HOLD, Http, Poster, Server, until};

const START: i64 = 1_700_000_000_000;
const DAY: i64 = 86_400_000;

/// Puts one unit into the cart of a user.
fn one(n: i64, user: &str) -> String {
    let mut event = Event::new(format!("e{n}"), START + n, "cart_add", user);
    event.more.insert("amount".into(), json!(1));
    event.line()
}

fn gauge(server: &Server, name: &str) -> f64 {
    let text = server.http.get(&server.at("metrics")).body;
    let text = String::from_utf8_lossy(&text).into_owned();
    let values = text.lines().filter(|line| line.starts_with(name));
    values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// Sets it when it is dropped.
struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn sessions_answer_while_events_pour_in() {
    const USERS: i64 = 20;
    let folder = Folder::default();
    let config = "[pipeline]\nshards = 2\nsession_mailboxes_max = 3\ncommit_interval = \"20ms\"\n";
    let server = folder.serve(&format!("{HOLD}{config}")).start();
    let user = |n: i64| format!("u{}", n.rem_euclid(USERS));
    let mut poster = Poster::new(server.target());
    poster.post(&(0..USERS).map(|n| one(n, &user(n))).collect::<Vec<_>>());
    server.wait_settled(USERS as u64);

    let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    // Also when the test fails: nobody asks for ever.
    let end = AtEnd(&done);
    let mut sent = USERS;
    std::thread::scope(|scope| {
        let end = end;
        for asker in 0..12 {
            let (server, done, asked) = (&server, &done, &asked);
            scope.spawn(move || {
                let http = Http::default();
                let mut last = vec![0; USERS as usize];
                for n in asker.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    let view = http.json(&server.at(&format!("v1/sessions/{}", user(n))));
                    let session = &view["sessions"][0];
                    let events = session["events"].as_u64().unwrap_or_else(|| panic!("{view}"));
                    // Every event brings one unit: an answer shows all of it or none.
                    assert_eq!(session["value"].as_f64(), Some(events as f64), "{view}");
                    assert_eq!(session["counts"]["cart_add"], events, "{view}");
                    let before = &mut last[n.rem_euclid(USERS) as usize];
                    assert!(events >= std::mem::replace(before, events), "{view}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        until(60, "each session was asked some dozen times while events came", || {
            let batch: Vec<_> = (sent..sent + 500).map(|n| one(n, &user(n))).collect();
            sent += 500;
            poster.post(&batch);
            (asked.load(Ordering::Relaxed) > 400 && sent > 5_000).then_some(())
        });
        drop(end);
    });
    let pipeline = server.wait_settled(sent as u64);
    assert_eq!((&pipeline["applied"], &pipeline["restarts"]), (&json!(sent), &json!(0)));
    let view = server.get("v1/sessions/u0");
    assert_eq!(view["sessions"][0]["events"], (sent + USERS - 1) / USERS, "{view}");
    // Nobody asks any more, and no mailbox is left at the next barriers.
    assert_eq!(gauge(&server, "tidewatch_session_mailboxes_capacity"), 6.0, "3 at each shard");
    until(30, "the mailboxes are gone", || {
        sent += 1;
        poster.post(&[one(sent, "u0")]);
        (gauge(&server, "tidewatch_session_mailboxes{") == 0.0).then_some(())
    });
}

#[test]
fn who_is_not_there_any_more_does_not_answer() {
    let folder = Folder::default();
    let server = folder.serve(HOLD).start();
    let open = |user: &str| server.http.get(&server.at(&format!("v1/sessions/{user}"))).status;
    let mut poster = Poster::new(server.target());
    assert_eq!(open("a"), 404);
    poster.post(&[one(0, "a"), one(1, "b")]);
    server.wait_settled(2);
    assert_eq!([open("a"), open("b"), open("c")], [200, 200, 404]);
    poster.post(&[one(DAY, "b")]);
    server.wait_settled(3);
    until(20, "the session of a is over", || (open("a") == 404).then_some(()));
    assert_eq!(server.get("v1/sessions/b")["sessions"][0]["events"], 1, "another one");
}

#[test]
fn a_question_that_panics_costs_only_its_answer() {
    let folder = Folder::default();
    let server = folder.serve(HOLD).env("FAILPOINTS", "session_describe=1*panic->off").start();
    let mut poster = Poster::new(server.target());
    poster.post(&[one(0, "a")]);
    server.wait_settled(1);
    assert_eq!(server.http.get(&server.at("v1/sessions/a")).status, 503, "no answer came");
    poster.post(&[one(1, "a")]);
    let pipeline = server.wait_settled(2);
    assert_eq!((&pipeline["applied"], &pipeline["restarts"]), (&json!(2), &json!(0)), "{pipeline}");
    let view = server.get("v1/sessions/a");
    assert_eq!(view["sessions"][0]["events"], 2, "{view}");
    assert_eq!(gauge(&server, "tidewatch_session_panics_total"), 1.0);
    assert!(server.stderr().contains("a question made a session panic"), "{}", server.stderr());
}
