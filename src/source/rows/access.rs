//! Lines of a web server's log: common and combined form, and what people made of them.
//!
//! Understood are a virtual host in front, a list of addresses where the client's is expected
//! (`X-Forwarded-For`: the first is the client), user names with spaces, ISO 8601 times in the
//! brackets, anything behind the known fields, and quotes around the whole line.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::LazyLock;

use regex::bytes::Regex;

use super::each_line;
use crate::source::input::OpenError;
use crate::source::mapping::Cell;
use crate::source::text::{self, Text};
use crate::source::writer::Writer;

/// Over bytes: a log holds whatever a client sent.
static LOG_LINE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r#"(?-u)^\s*"?(?P<front>[^\["]{1,2000}?|[^\[]{1,2000}?) \[(?P<time>[^\]]{1,100})\] "#,
        r#""(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}|-) (?P<bytes>\S+)"#,
        r#"(?: "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)"(?P<rest>.*))?"#,
    ))
    .expect("a test matches this constant")
});

/// Quoted texts behind the agent.
static QUOTED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?-u)"((?:[^"\\]|\\.)*)""#).expect("a test matches this constant")
});

/// Columns that a line has.
pub(in crate::source) const COLUMNS: [&str; 14] = [
    "host",
    "vhost",
    "logname",
    "authuser",
    "time",
    "request",
    "method",
    "path",
    "protocol",
    "status",
    "bytes",
    "referer",
    "agent",
    "forwarded",
];

/// True for a line of a web server's log.
pub(in crate::source) fn is_log_line(line: &[u8]) -> bool {
    LOG_LINE.is_match(line)
}

/// What stands before the time.
#[derive(Debug, Default, PartialEq, Eq)]
struct Front<'a> {
    vhost: Option<&'a str>,
    host: Option<&'a str>,
    logname: Option<&'a str>,
    user: Option<&'a str>,
}

fn is_address(word: &str) -> bool {
    let word = word.trim_end_matches(',');
    let bare = word.strip_prefix('[').and_then(|word| word.split(']').next()).unwrap_or(word);
    bare.parse::<IpAddr>().is_ok()
        || bare.rsplit_once(':').is_some_and(|(host, port)| {
            host.parse::<std::net::Ipv4Addr>().is_ok() && port.parse::<u16>().is_ok()
        })
}

impl<'a> Front<'a> {
    fn of(front: &'a str) -> Front<'a> {
        let words: Vec<&str> = front.split(' ').filter(|word| !word.is_empty()).collect();
        let is_list = words.first().is_some_and(|word| word.ends_with(','));
        let named = |word: &str| word.contains(['.', ':']) || word == "localhost" || word == "_";
        // A virtual host goes before an address, or is one word more than there are fields.
        let shifted = words.len() >= 4
            && !is_list
            && ((!is_address(words[0]) && (is_address(words[1]) || words[1].ends_with(',')))
                || (words.len() == 4 && named(words[0]) && words[1] != "-" && words[2] == "-")
                || (is_address(words[0]) && is_address(words[1])));
        let from = usize::from(shifted);
        let mut hosts = from + 1;
        while words.get(hosts - 1).is_some_and(|word| word.ends_with(',')) && hosts < words.len() {
            hosts += 1;
        }
        let first = words.get(from).map(|word| word.split(',').next().unwrap_or(word));
        let user = words.get(hosts + 1).map(|word| {
            let start = word.as_ptr() as usize - front.as_ptr() as usize;
            front[start..].trim_end()
        });
        Front {
            vhost: shifted.then(|| words[0]),
            host: first.filter(|word| !word.is_empty()),
            logname: words.get(hosts).copied(),
            user,
        }
    }
}

/// Reads all lines.
pub(in crate::source) fn read(
    text: &mut Text<'_>,
    writer: &mut Writer<'_>,
) -> Result<(), OpenError> {
    writer.has_columns(&COLUMNS.map(str::to_owned))?;
    each_line(text, writer, |line, number, writer| {
        writer.row_line();
        row(line, number, writer)
    })
}

fn row(line: &[u8], number: u64, writer: &mut Writer<'_>) -> Result<(), OpenError> {
    let Some(found) = LOG_LINE.captures(line) else {
        return writer.fault(number, line, "not a line of a web server's log (combined)");
    };
    let encoding = writer.encoding();
    let group =
        |name: &str| found.name(name).map(|group| text::decoded(group.as_bytes(), encoding).0);
    let (front, request) = (group("front").unwrap_or_default(), group("request"));
    let front = Front::of(front.trim_start_matches('"'));
    let request = request.unwrap_or_default();
    let mut words = request.split_ascii_whitespace();
    let (method, path, protocol) = (words.next(), words.next(), words.next());
    writer.note_wrong(number, text::decoded(line, encoding).1);
    let word = |word: Option<&str>| word.map(|word| Cow::Owned(word.to_owned()));
    let cell = |column: &str| match column {
        "host" => word(front.host),
        "vhost" => word(front.vhost),
        "logname" => word(front.logname),
        "authuser" => word(front.user),
        "method" => word(method),
        "path" => word(path),
        "protocol" => word(protocol),
        "forwarded" => group("rest").and_then(|rest| forwarded(&rest)).map(Cow::Owned),
        column => group(column),
    };
    let cells: Vec<Option<Cell<'_>>> = writer
        .wanted()
        .iter()
        .map(|column| cell(column).filter(|text| text != "-").map(Cell::Text))
        .collect();
    writer.row(number, line, &cells)
}

/// The first address of a quoted list behind the agent.
fn forwarded(rest: &str) -> Option<String> {
    let lists = QUOTED.captures_iter(rest.as_bytes());
    lists.into_iter().find_map(|found| {
        let list = std::str::from_utf8(found.get(1)?.as_bytes()).ok()?;
        let first = list.split(',').next()?.trim();
        is_address(first).then(|| first.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_the_time_is_told_apart() {
        for (front, vhost, host, user) in [
            ("192.0.2.1 - -", None, Some("192.0.2.1"), Some("-")),
            ("host.example - ada", None, Some("host.example"), Some("ada")),
            ("host.example - ada lovelace", None, Some("host.example"), Some("ada lovelace")),
            ("192.0.2.1 - ada lovelace king", None, Some("192.0.2.1"), Some("ada lovelace king")),
            (
                "shop.example:443 192.0.2.1 - -",
                Some("shop.example:443"),
                Some("192.0.2.1"),
                Some("-"),
            ),
            (
                "shop.example 2001:db8::1 - bo",
                Some("shop.example"),
                Some("2001:db8::1"),
                Some("bo"),
            ),
            (
                "shop.example dial.example - -",
                Some("shop.example"),
                Some("dial.example"),
                Some("-"),
            ),
            ("192.0.2.1, 198.51.100.2 - -", None, Some("192.0.2.1"), Some("-")),
            ("192.0.2.1,198.51.100.2 - -", None, Some("192.0.2.1"), Some("-")),
            ("192.0.2.1, 198.51.100.2, 203.0.113.3 - -", None, Some("192.0.2.1"), Some("-")),
            ("shop 192.0.2.1, 198.51.100.2 - -", Some("shop"), Some("192.0.2.1"), Some("-")),
            ("- - -", None, Some("-"), Some("-")),
        ] {
            let found = Front::of(front);
            assert_eq!((found.vhost, found.host, found.user), (vhost, host, user), "{front}");
        }
    }

    #[test]
    fn any_bytes_may_stand_in_a_line() {
        for line in [
            &b"h - - [01/Aug/1995:00:00:01 -0400] \"GET /caf\xe9 HTTP/1.0\" 200 1839"[..],
            b"h - jos\xe9 [01/Aug/1995:00:00:01 -0400] \"GET / HTTP/1.0\" 200 1839 \"\xff\" \"\xfe\"",
            b"h - u [x] \"\\x16\\x03 \\\"\" 400 - \"-\" \"agent \\\"x\\\"\" \"203.0.113.9, 10.0.0.1\" 0.2",
        ] {
            assert!(is_log_line(line), "{}", String::from_utf8_lossy(line));
        }
        assert!(!is_log_line(b"{\"a\": [1], \"b\": \"x\" 200 3}"));
        assert_eq!(forwarded(r#" "-" "203.0.113.9, 10.0.0.1" 0.2"#).unwrap(), "203.0.113.9");
        assert_eq!(forwarded(r#" "-" "v. 2, x" 0.2"#), None);
    }
}
