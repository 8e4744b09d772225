//! Shows that whoever left something in the cart hears of it once, whenever the process is killed; that those
//! who are kept apart, have not agreed or want to hear nothing hear nothing; and that their addresses are
//! nowhere but in what is delivered: the real binary, a real mail server and a receiver of webhooks.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use support::events::Random;
use support::{Folder, HOLD, MailServer, Poster, Server, until};

const MINUTE: i64 = 60_000;
/// Visitors of each round.
const VISITORS: usize = 30;
/// What all addresses end with.
const DOMAIN: &str = "mail.example";

/// Some hours ago: long enough for all sessions of a test to lie in the past.
#[allow(clippy::disallowed_methods, reason = "notifications are of now")]
fn start() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64 - 6 * 60 * MINUTE
}

/// Takes webhooks, and says yes.
struct Receiver {
    port: u16,
    /// As long as this is true it takes nothing.
    busy: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Receiver {
    fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let own = Arc::clone(&seen);
        let busy: Arc<AtomicBool> = Arc::default();
        let is_busy = Arc::clone(&busy);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if is_busy.load(Ordering::SeqCst) {
                    let _ = request(&stream);
                    let _ = stream.write_all(
                        b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                    );
                    continue;
                }
                if let Some(request) = request(&stream) {
                    own.lock().unwrap().push(request);
                    let _ = stream.write_all(
                        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                    );
                }
            }
        });
        Receiver { port, busy, seen }
    }

    /// What came under each key.
    fn taken(&self) -> BTreeMap<String, Value> {
        self.seen.lock().unwrap().iter().cloned().collect()
    }
}

/// Key and body of a request.
fn request(stream: &TcpStream) -> Option<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut key) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim();
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "webhook-id" => value.trim().clone_into(&mut key),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((key, serde_json::from_slice(&body).ok()?))
}

/// A real SMTP server, which writes each mail as a line.
struct Mail {
    server: MailServer,
    mails: Arc<Mutex<Vec<Value>>>,
}

impl Mail {
    fn start() -> Option<Mail> {
        let (server, lines) = MailServer::start()?;
        let mails: Arc<Mutex<Vec<Value>>> = Arc::default();
        let own = Arc::clone(&mails);
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                own.lock().unwrap().extend(serde_json::from_str::<Value>(&line));
            }
        });
        Some(Mail { server, mails })
    }
}

fn config(receiver: &Receiver, mail: Option<&Mail>) -> String {
    let mut text = format!(
        "{HOLD}out_of_orderness = \"1s\"\nallowed_lateness = \"1s\"\n\
         [incidents]\nnotify_max_age = \"1d\"\n\
         [nudges]\nsecret = \"nobody guesses this secret\"\n\
         unsubscribe_url = \"https://shop.example/v1/unsubscribe\"\n\
         [[sessions]]\nname = \"carts\"\ngap = \"2m\"\nentry = \"cart_add\"\n\
         goal = \"order_completed\"\nremove = \"cart_remove\"\nvalue = \"amount\"\n\
         lists = {{ items = \"product\" }}\nalert = \"info\"\n\
         attributes = {{ email = \"last.email\", newsletter = \"last.newsletter\" }}\n\
         [[sessions]]\nname = \"visits\"\ngap = \"2m\"\nentry = \"cart_add\"\n\
         goal = \"order_completed\"\nalert = \"info\"\nlists = {{ whose = \"email\" }}\n\
         attributes = {{ who = \"last.email\" }}\n\
         [[channel]]\nname = \"hook\"\ntype = \"webhook\"\nallow_private = true\n\
         url = \"http://127.0.0.1:{}/hook\"\ngive_up = \"1d\"\nretry_max = \"1s\"\n",
        receiver.port
    );
    text += &nudge("hooked", "hook");
    if let Some(mail) = mail {
        text += &format!(
            "[[channel]]\nname = \"post\"\ntype = \"email\"\nhost = \"127.0.0.1\"\nport = {}\n\
             security = \"none\"\nallow_private = true\nfrom = \"tide@shop.example\"\n\
             to = [\"ops@shop.example\"]\nretry_max = \"1s\"\ngive_up = \"1d\"\n",
            mail.server.port
        );
        text += &nudge("mailed", "post");
    }
    text
}

fn nudge(name: &str, channel: &str) -> String {
    format!(
        "[[nudge]]\nname = \"{name}\"\nof = \"carts\"\naddress = \"email\"\n\
         consent = \"newsletter\"\nitems = \"items\"\nchannel = \"{channel}\"\nholdout = 0.3\n\
         within = \"20m\"\nper = \"10h\"\n"
    )
}

fn address(visitor: usize) -> String {
    format!("Shopper.{visitor}@{DOMAIN}")
}

/// One that nobody else has an event like.
fn event(at: i64, kind: &str, visitor: usize, more: Value) -> String {
    let mut event = json!({
        "id": format!("{kind}-{visitor}-{at}"), "ts": at, "type": kind, "user": format!("u{visitor}"),
        "email": address(visitor), "newsletter": !visitor.is_multiple_of(5),
    });
    for (name, value) in more.as_object().unwrap() {
        event[name] = value.clone();
    }
    event.to_string()
}

/// Carts of new visitors, of which every third buys some minutes later, and somebody long after.
fn round(start: i64, round: usize) -> Vec<String> {
    let at = start + round as i64 * 40 * MINUTE;
    let mut lines: Vec<String> = Vec::new();
    for visitor in round * VISITORS..(round + 1) * VISITORS {
        let at = at + visitor as i64 * 10;
        let add = |more: i64, product: &str| {
            event(at + more, "cart_add", visitor, json!({"product": product, "amount": 20}))
        };
        lines.extend([add(0, "tea"), add(1, "pot"), add(2, "cup")]);
        lines.push(event(at + 3, "cart_remove", visitor, json!({"product": "pot", "amount": 20})));
        if visitor.is_multiple_of(3) {
            lines.push(event(at + 10 * MINUTE, "cart_add", visitor, json!({"amount": 5})));
            lines.push(event(at + 11 * MINUTE, "order_completed", visitor, json!({})));
        }
    }
    lines.push(clock(at + 35 * MINUTE));
    let ts = |line: &String| serde_json::from_str::<Value>(line).unwrap()["ts"].as_i64();
    lines.sort_by_cached_key(ts);
    lines
}

/// Somebody looks at a page, and time goes on.
fn clock(at: i64) -> String {
    json!({"id": format!("c{at}"), "ts": at, "type": "page_view", "user": "clock"}).to_string()
}

fn nudges(server: &Server) -> BTreeMap<String, Value> {
    let all = server.get("v1/nudges")["nudges"].as_array().unwrap().clone();
    all.into_iter().map(|one| (one["name"].as_str().unwrap().to_owned(), one)).collect()
}

fn outcome(nudge: &Value, word: &str) -> u64 {
    nudge["outcomes"][word].as_u64().unwrap()
}

fn sum(nudge: &Value) -> u64 {
    nudge["outcomes"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

/// Whatever the server says of itself.
fn all_answers(server: &Server) -> String {
    let routes = [
        "v1/nudges",
        "v1/notifications?limit=1000",
        "v1/alerts?limit=1000",
        "v1/alert-log?limit=1000",
        "v1/incident-log?limit=1000",
        "v1/board",
        "v1/topics",
        "v1/incidents?state=all",
        "v1/at-risk",
        "v1/at-risk?of=carts",
        "v1/at-risk?of=visits",
        "v1/sessions/u2",
        "v1/late",
        "v1/dead-letters",
        "metrics",
        "readyz?verbose",
        "version",
    ];
    let answer = |route: &str| {
        let answer = server.http.get(&server.at(route));
        assert!(answer.status < 300, "{route}: {}", answer.status);
        format!("{route}\n{}\n", String::from_utf8(answer.body).unwrap())
    };
    routes.map(answer).concat()
}

#[test]
fn who_left_something_hears_of_it_once_and_nobody_sees_their_address() {
    let cycles: usize = 5;
    let mut random = Random::seeded("who_left_something_hears_of_it_once");
    let (receiver, mail) = (Receiver::start(), Mail::start());
    let folder = Folder::default();
    let text = config(&receiver, mail.as_ref());
    let mut server = folder.serve(&text).start();
    let (start, mut received, mut said) = (start(), 0, String::new());
    for n in 0..cycles {
        let lines = round(start, n);
        Poster::new(server.target()).post(&lines);
        received += lines.len() as u64;
        support::pause(Duration::from_millis(random.below(400)));
        said += &server.stderr();
        server.kill_9();
        server = folder.serve(&text).start();
    }
    server.wait_settled(received);
    let carts = (cycles * VISITORS) as u64;
    let found = until(60, "all are decided", || {
        let found = nudges(&server);
        found.values().all(|nudge| sum(nudge) == carts).then_some(found)
    });
    let all = server.all("v1/notifications");
    let keys = |channel: &str| -> BTreeSet<String> {
        let own = all.iter().filter(|one| one["channel"] == channel);
        own.map(|one| one["key"].as_str().unwrap().to_owned()).collect()
    };
    let hooked = &found["hooked"];
    assert_eq!(outcome(hooked, "no_consent"), carts / 5);
    let (sent, held_out) = (outcome(hooked, "sent"), outcome(hooked, "held_out"));
    assert_eq!(sent + held_out, carts - carts / 5, "{hooked}");
    // Six standard deviations of a binomial share of 120.
    assert!((held_out as f64 - 36.0).abs() < 6.0 * 5.02, "{held_out} of 120");
    assert_eq!(keys("hook").len() as u64, sent, "a key for each");

    let taken = until(60, "all are told", || {
        let taken = receiver.taken();
        (taken.len() as u64 >= sent).then_some(taken)
    });
    assert_eq!(taken.keys().cloned().collect::<BTreeSet<_>>(), keys("hook"));
    let twice = receiver.seen.lock().unwrap().len() - taken.len();
    assert!(twice <= cycles, "{twice} came twice in {cycles} kills");
    let mut told: BTreeSet<String> = BTreeSet::new();
    for body in taken.values() {
        let data = &body["data"];
        assert_eq!(data["facts"]["items"], json!(["tea", "cup"]), "{data}");
        assert_eq!((&data["facts"]["value"], &data["facts"]["more"]), (&json!(40.0), &json!(0)));
        let to = data["recipient"]["address"].as_str().unwrap().to_owned();
        let visitor: usize = to.split(['.', '@']).nth(1).unwrap().parse().unwrap();
        assert_eq!(to, address(visitor));
        assert!(!visitor.is_multiple_of(5), "{to} has not agreed");
        assert!(told.insert(to), "one each");
    }
    if let Some(mail) = &mail {
        let wanted = outcome(&found["mailed"], "sent");
        let texts = until(60, "all mails are there", || {
            let mails = mail.mails.lock().unwrap();
            let texts = mails.iter().map(|mail| mail["text"].as_str().unwrap());
            let by_id: BTreeMap<String, String> = texts
                .map(|text| {
                    let id = text.split("Message-ID: <").nth(1).unwrap().split('@').next().unwrap();
                    (id.to_owned(), text.to_owned())
                })
                .collect();
            (by_id.len() as u64 >= wanted).then_some(by_id)
        });
        let ids: BTreeSet<String> = texts.keys().cloned().collect();
        assert_eq!(ids, keys("post"), "one each, whoever is killed");
        for text in texts.values() {
            assert!(text.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"), "{text}");
            assert!(text.contains(DOMAIN) && !text.contains("ops@shop.example"), "{text}");
        }
    }
    unsubscribes(&server, taken.values().next().unwrap(), start, &mut received);
    let by_hand =
        folder.command(&["nudge", "list", "--data-dir", &folder.data().display().to_string()]);
    let listed = by_hand.run().stdout;
    assert!(
        listed.contains("hooked (of carts, by hook)") && listed.contains("2 addresses"),
        "{listed}"
    );

    // A cart is open, with an address.
    let open = start + 331 * MINUTE;
    let lines = [event(open, "cart_add", 2, json!({"amount": 5})), clock(open + MINUTE)];
    Poster::new(server.target()).post(&lines);
    received += lines.len() as u64;
    server.wait_settled(received);
    let answers = all_answers(&server);
    said += &server.stderr();
    for (what, text) in [("an answer", &answers), ("the log", &said), ("a list", &listed)] {
        let low = text.to_lowercase();
        let at = low
            .find("shopper.")
            .map(|at| &text[at.saturating_sub(200)..(at + 100).min(text.len())]);
        assert_eq!(at, None, "{what} has an address");
    }
    let masked = |one: &Value| one["recipient"]["address"].as_str().unwrap().contains('…');
    assert!(!all.is_empty() && all.iter().all(masked), "{all:?}");
    until(60, "the addresses have left the notifications", || {
        let state = rusqlite::Connection::open(folder.data().join("state.db")).unwrap();
        let sql = "SELECT count(*) FROM notifications WHERE instr(lower(doc), 'shopper.') > 0";
        let left: i64 = state.query_row(sql, [], |row| row.get(0)).unwrap();
        (left == 0).then_some(())
    });
    assert!(server.stop().success());
}

/// The link of a message works once it is posted, and holds from then on.
fn unsubscribes(server: &Server, body: &Value, start: i64, received: &mut u64) {
    let link = body["data"]["recipient"]["unsubscribe"].as_str().unwrap();
    let path = link.strip_prefix("https://shop.example/").unwrap();
    let asked = server.http.get(&server.at(path));
    let page = String::from_utf8(asked.body.clone()).unwrap();
    assert!(asked.status == 200 && page.contains("<form method=\"post\">"), "{page}");
    assert_eq!(server.get("v1/nudges")["suppressed"], 0, "a look changes nothing");
    let cut = server.http.get(&server.at("v1/unsubscribe"));
    assert_eq!(cut.status, 400);
    let form = [("Content-Type", "application/x-www-form-urlencoded"), ("Host", "shop.example")];
    let wrong = server.http.post(&server.at(&format!("{path}x")), &form, b"");
    assert_eq!(wrong.status, 400);
    let done = server.http.post(&server.at(path), &form, b"List-Unsubscribe=One-Click");
    assert_eq!(done.status, 200, "{}", String::from_utf8_lossy(&done.body));
    assert_eq!(server.get("v1/nudges")["suppressed"], 1);
    assert_eq!(nudges(server)["hooked"]["unsubscribed"], 1);
    let more = json!({"addresses": [address(1), "no address"], "by": "ada"});
    let refused = server.http.post_json(&server.at("v1/suppressions"), &more);
    assert_eq!(refused.status, 400);
    let why = String::from_utf8_lossy(&refused.body).to_lowercase();
    assert!(why.contains("address 2") && !why.contains("shopper."), "{why}");
    let one = json!({"addresses": ["someone@else.example"], "by": "ada"});
    let taken = server.http.post_json(&server.at("v1/suppressions"), &one);
    assert_eq!(taken.json(), json!({"new": 1}));

    // They come back, and leave something again.
    let to = body["data"]["recipient"]["address"].as_str().unwrap();
    let visitor: usize = to.split(['.', '@']).nth(1).unwrap().parse().unwrap();
    let later = start + 5 * 60 * MINUTE;
    let lines = [
        event(later, "cart_add", visitor, json!({"product": "tea", "amount": 20})),
        clock(later + 30 * MINUTE),
    ];
    Poster::new(server.target()).post(&lines);
    *received += lines.len() as u64;
    until(30, "it is decided", || {
        (outcome(&nudges(server)["hooked"], "suppressed") == 1).then_some(())
    });
}

/// What was decided while the receiver was down does not go out to whoever wants to hear nothing since then,
/// also behind a crash; and links work when there is no nudge any more.
#[test]
fn who_wants_no_more_before_it_is_delivered_gets_nothing() {
    let receiver = Receiver::start();
    receiver.busy.store(true, Ordering::SeqCst);
    let folder = Folder::default();
    let text = config(&receiver, None).replace("holdout = 0.3", "holdout = 0.0");
    let mut server = folder.serve(&text).start();
    let lines = round(start(), 0);
    Poster::new(server.target()).post(&lines);
    server.wait_settled(lines.len() as u64);
    until(60, "all are decided", || {
        (sum(&nudges(&server)["hooked"]) == VISITORS as u64).then_some(())
    });
    let quiet = VISITORS / 2;
    let addresses: Vec<String> = (0..quiet).map(address).collect();
    let said = json!({"addresses": addresses, "by": "ada"});
    let taken = server.http.post_json(&server.at("v1/suppressions"), &said);
    assert_eq!(taken.json(), json!({"new": quiet}));
    server.kill_9();
    let said = server.stderr();
    server = folder.serve(&text).start();
    receiver.busy.store(false, Ordering::SeqCst);

    let wanted: BTreeSet<String> =
        (quiet..VISITORS).filter(|one| !one.is_multiple_of(5)).map(address).collect();
    // They come one after the other, those who want to hear nothing first.
    let taken = until(120, "the others are told", || {
        let taken = receiver.taken();
        (taken.len() >= wanted.len()).then_some(taken)
    });
    let told = |body: &Value| body["data"]["recipient"]["address"].as_str().unwrap().to_owned();
    assert_eq!(taken.values().map(told).collect::<BTreeSet<_>>(), wanted);
    let routes =
        ["v1/notifications?limit=1000", "v1/alerts?limit=1000", "metrics", "readyz?verbose"];
    let answers = routes.map(|route| server.http.get(&server.at(route)).body);
    let answers = answers.map(|body| String::from_utf8(body).unwrap()).concat();
    let said = said + &server.stderr() + &answers;
    assert!(!said.to_lowercase().contains("shopper."), "an address is said");

    // Without a nudge the links of those before are still good.
    assert!(server.stop().success());
    let without = text.split("[[nudge]]").next().unwrap();
    let mut server = folder.serve(without).start();
    let body = taken.values().next().unwrap();
    let link = body["data"]["recipient"]["unsubscribe"].as_str().unwrap();
    let path = link.strip_prefix("https://shop.example/").unwrap();
    let done = server.http.post(&server.at(path), &[], b"List-Unsubscribe=One-Click");
    assert_eq!(done.status, 200, "{}", String::from_utf8_lossy(&done.body));
    assert_eq!(server.get("v1/nudges")["suppressed"], quiet + 1);
    assert!(server.stop().success());
}
