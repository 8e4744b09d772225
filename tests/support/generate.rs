//! Event sets made from a seed, in the forms that published ones have, so that every test of
//! numbers runs anywhere. What real sets show and invented ones usually don't is put in on
//! purpose: gaps of exactly 30 minutes and one millisecond more, several events of a user at
//! one time, goals without an entry, rows that repeat another one, a row months before the
//! rest, files that are not in the order of time, broken times, bytes that are no UTF-8.

use super::events::{Event, GAP, Random};

const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// 2023-11-01T00:00:00Z.
const BEGIN: i64 = 1_698_796_800_000;

/// What is made: the raw files by name, and the events in them in the order of the rows.
pub struct Made {
    pub files: Vec<(String, Vec<u8>)>,
    pub events: Vec<Event>,
}

/// A shop's clickstream: CSV with a header, in the order of time.
pub fn shop(random: &mut Random) -> Made {
    let mut events = visits(random, "user", 1_000, 12 * DAY, 1);
    events.sort_by_key(|event| event.at);
    let mut text = String::from("user_id,event,timestamp,product\n");
    for event in &events {
        let kind = match event.kind.as_str() {
            "cart_add" => "cart",
            "payment_completed" => "payment_done",
            other => other,
        };
        let product = random.below(900);
        text += &format!("{},{kind},{},{product}\n", event.user, iso(event.at));
    }
    made(vec![("shop.csv", text.into_bytes())], events)
}

/// Visitors' histories: NDJSON, one visitor a line with all the events.
pub fn histories(random: &mut Random) -> Made {
    let mut events = visits(random, "", 120, 10 * DAY, 1);
    events.sort_by(|a, b| (&a.user, a.at).cmp(&(&b.user, b.at)));
    let mut text = String::new();
    for of_user in events.chunk_by(|a, b| a.user == b.user) {
        let events: Vec<String> = of_user
            .iter()
            .map(|event| {
                let kind = match event.kind.as_str() {
                    "cart_add" => "carts",
                    "payment_completed" => "orders",
                    _ => "clicks",
                };
                format!(r#"{{"aid":{},"ts":{},"type":"{kind}"}}"#, random.below(9_999), event.at)
            })
            .collect();
        text += &format!("{{\"session\":{},\"events\":[{}]}}\n", of_user[0].user, events.join(","));
    }
    made(vec![("histories.ndjson", text.into_bytes())], events)
}

/// A marketplace: two CSV files without a header, by user and not by time, times in seconds,
/// a few of them broken, one event months before the rest.
pub fn marketplace(random: &mut Random) -> Made {
    let mut events = visits(random, "", 160, 9 * DAY, 1_000);
    events.sort_by(|a, b| (&a.user, a.at).cmp(&(&b.user, b.at)));
    let odd = random.below(events.len() as u64) as usize;
    events[odd].at -= 74 * DAY;
    let half = events.len() / 2;
    let mut files = Vec::new();
    for (name, part) in [("tail.csv", &events[..half]), ("head.csv", &events[half..])] {
        let mut text = String::new();
        for event in part {
            let kind = match event.kind.as_str() {
                "cart_add" => "cart",
                "payment_completed" => "buy",
                _ => ["pv", "fav"][random.below(2) as usize],
            };
            let (item, category) = (random.below(90_000), random.below(900));
            text += &format!("{},{item},{category},{kind},{}\n", event.user, event.at / SECOND);
            if random.one_in(900) {
                text += &format!("{},{item},{category},pv,{}\n", event.user, random.below(99_999));
            }
        }
        files.push((name, text.into_bytes()));
    }
    made(files, events)
}

/// A web server's requests: tab-separated with a header, quotes and bytes as they come.
pub fn web_log(random: &mut Random) -> Made {
    let mut events = visits(random, "host", 700, 12 * HOUR, 1_000);
    events.sort_by_key(|event| event.at);
    let mut again = Vec::new();
    let mut text = b"host\tlogname\ttime\tmethod\turl\tresponse\tbytes\n".to_vec();
    for mut event in events {
        let status = [200, 200, 200, 200, 304, 302, 404, 404, 403, 500, 503];
        let status = status[random.below(status.len() as u64) as usize];
        event.kind = "request".into();
        event.more.insert("status".into(), status.into());
        let path: &[u8] = match random.below(40) {
            0 => b"/caf\xe9 \"today.html",
            1 => b"\"",
            _ => b"/index.html",
        };
        let size = random.below(90_000);
        let copies = 1 + usize::from(random.one_in(200));
        for _ in 0..copies {
            text.extend(format!("{}\t-\t{}\tGET\t", event.user, event.at / SECOND).bytes());
            text.extend(path);
            text.extend(format!("\t{status}\t{size}\n").bytes());
            again.push(event.clone());
        }
    }
    made(vec![("requests.tsv", text)], again)
}

fn made(files: Vec<(&str, Vec<u8>)>, mut events: Vec<Event>) -> Made {
    for (row, event) in events.iter_mut().enumerate() {
        event.id = format!("e{row}");
    }
    let files = files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
    Made { files, events }
}

/// Visits of `users` users within `span`, times in steps of `step` ms.
fn visits(random: &mut Random, prefix: &str, users: u64, span: i64, step: i64) -> Vec<Event> {
    let mut events = Vec::new();
    for user in 0..users {
        let name = format!("{prefix}{}", user * 7 + 3);
        for _ in 0..1 + random.below(8) {
            let mut at = BEGIN + random.below(span as u64) as i64 / step * step;
            let (entries, buys) = (random.one_in(3), random.one_in(4));
            let mut in_cart = false;
            for _ in 0..1 + random.below(9) {
                let kind = match random.below(10) {
                    0..3 if entries => "cart_add",
                    3 if in_cart && buys => "payment_completed",
                    4 if random.one_in(40) => "payment_completed",
                    _ => "page_view",
                };
                in_cart |= kind == "cart_add";
                events.push(Event::new("", at, kind, &name));
                at += match random.below(60) {
                    0 => GAP,
                    1 => GAP + step,
                    2 => GAP - step,
                    3 => 0,
                    4..10 => random.below(GAP as u64) as i64,
                    _ => random.below(90) as i64 * SECOND,
                } / step
                    * step;
            }
        }
    }
    events
}

/// `2023-11-01 09:05:00.250`, in UTC.
fn iso(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(DAY), ms.rem_euclid(DAY));
    let (mut year, mut day) = (1970, days);
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    while day >= 365 + i64::from(leap(year)) {
        day -= 365 + i64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let (hour, minute) = (rest / HOUR, rest % HOUR / 60_000);
    let (second, milli) = (rest % 60_000 / SECOND, rest % SECOND);
    let (month, day) = (month + 1, day + 1);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{milli:03}")
}
