//! Lists in pages: what may be asked for, and answers whose size does not depend on what
//! was sent to us. A page ends by its number of items or by its bytes, whichever comes
//! first; `next` says where the following one begins, and is null at the end.

use actix_web::web::Query;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::PAGE_BYTES_MAX;
use super::problem::Problem;
use crate::actors::ports::StoreError;
use crate::domain::alert::Alert;
use crate::domain::time::EpochMs;

/// Items of a page when the client does not say.
const LIMIT_DEFAULT: usize = 100;

/// Most items of a page.
const LIMIT_MAX: usize = 1_000;

/// Alerts read from the store at a time.
const STEP: usize = 1_000;

/// Most alerts looked at for one page: a filter may pass over most of them.
const SCAN_MAX: usize = 20_000;
const _: () = assert!(
    LIMIT_DEFAULT <= LIMIT_MAX && LIMIT_MAX <= STEP && STEP <= SCAN_MAX,
    "one step can find all that is asked for"
);

/// Items of a page.
pub fn limit(asked: Option<usize>) -> usize {
    asked.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX)
}

/// A query that answers with our own problem when it is malformed.
type Asked<T> = Result<Query<T>, Problem>;

/// Query of `/v1/dead-letters`.
pub type LetterQuery = Asked<AfterId>;

/// Query of `/v1/late`.
pub type LateQuery = Asked<BeforeId>;

/// Query of `/v1/alerts` and `/v1/alert-log`.
pub type AlertQuery = Asked<AlertsAsked>;

/// Items after one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AfterId {
    pub after: Option<u64>,
    pub limit: Option<usize>,
}

/// Items before one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeforeId {
    pub before: Option<u64>,
    pub limit: Option<usize>,
}

/// What may be asked of the alerts.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertsAsked {
    after: Option<u64>,
    before: Option<u64>,
    limit: Option<usize>,
    kind: Option<String>,
    since: Option<String>,
    order: Option<Order>,
}

/// Which end comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Oldest first.
    #[default]
    Asc,
    /// Newest first.
    Desc,
}

/// Which alerts are wanted.
#[derive(Debug)]
pub struct AlertsWanted {
    after: u64,
    before: u64,
    limit: usize,
    kind: Option<String>,
    since: Option<EpochMs>,
    order: Order,
}

impl AlertsAsked {
    /// Checked and with defaults.
    ///
    /// # Errors
    /// `BadRequest` when `since` is not a time.
    pub fn checked(self) -> Result<AlertsWanted, Problem> {
        let since = self.since.as_deref().map(|text| time("since", text)).transpose()?;
        Ok(AlertsWanted {
            after: self.after.unwrap_or(0),
            before: self.before.unwrap_or(u64::MAX),
            limit: limit(self.limit),
            kind: self.kind,
            since,
            order: self.order.unwrap_or_default(),
        })
    }
}

/// Milliseconds since 1970, or RFC 3339.
pub fn time(key: &str, text: &str) -> Result<EpochMs, Problem> {
    let number = text.parse::<EpochMs>().ok();
    // In a query a + that was not encoded arrives as a space.
    let written = || text.replace(' ', "+").parse::<jiff::Timestamp>().ok();
    number.or_else(|| written().map(|time| time.as_millisecond())).ok_or_else(|| {
        Problem::BadRequest(format!(
            "{key}={text:?} is not a time: write milliseconds since 1970 or 2026-01-31T12:00:00Z"
        ))
    })
}

impl AlertsWanted {
    fn fits(&self, alert: &Alert) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == alert.kind)
            && self.since.is_none_or(|since| alert.at >= since)
    }
}

/// Alerts as the store has them.
pub struct Paged<A, N> {
    /// Those after a position, oldest first, at most so many.
    pub after: A,
    /// The newest position.
    pub newest: N,
}

impl<A, N> Paged<A, N>
where
    A: Fn(u64, usize) -> Result<Vec<Alert>, StoreError>,
    N: Fn() -> Result<u64, StoreError>,
{
    /// One page as JSON text: `items`, `last` (everything up to there, in this order, was
    /// looked at) and `next`.
    pub fn find(&self, wanted: &AlertsWanted) -> Result<String, StoreError> {
        let mut page = AlertPage { items: Items::default(), last: wanted.after, more: false };
        match wanted.order {
            Order::Asc => self.up(wanted, &mut page)?,
            Order::Desc => self.down(wanted, &mut page)?,
        }
        let next = page.more.then_some(page.last);
        Ok(page.items.page(&[("last", json!(page.last)), ("next", json!(next))]))
    }

    fn up(&self, wanted: &AlertsWanted, page: &mut AlertPage) -> Result<(), StoreError> {
        let mut seen = 0;
        loop {
            let found = (self.after)(page.last, STEP)?;
            if found.is_empty() {
                return Ok(());
            }
            for alert in &found {
                if alert.n >= wanted.before {
                    return Ok(());
                }
                if !page.take(alert, wanted) {
                    return Ok(());
                }
            }
            seen += found.len();
            if seen >= SCAN_MAX {
                page.more = true;
                return Ok(());
            }
        }
    }

    fn down(&self, wanted: &AlertsWanted, page: &mut AlertPage) -> Result<(), StoreError> {
        let mut end = wanted.before.min((self.newest)()?.saturating_add(1));
        page.last = end;
        let mut seen = 0;
        while end > wanted.after + 1 {
            let from = end.saturating_sub(1).saturating_sub(STEP as u64).max(wanted.after);
            let found = (self.after)(from, STEP)?;
            let below = found.iter().rev().filter(|alert| alert.n < end);
            let mut any = false;
            for alert in below {
                any = true;
                if !page.take(alert, wanted) {
                    return Ok(());
                }
            }
            if !any {
                // What was there has left the store, and everything older with it.
                return Ok(());
            }
            end = from + 1;
            seen += STEP;
            if seen >= SCAN_MAX && end > wanted.after + 1 {
                (page.more, page.last) = (true, end);
                return Ok(());
            }
        }
        Ok(())
    }
}

struct AlertPage {
    items: Items,
    last: u64,
    more: bool,
}

impl AlertPage {
    /// False when the page is full: this alert begins the next one.
    fn take(&mut self, alert: &Alert, wanted: &AlertsWanted) -> bool {
        if wanted.fits(alert)
            && (self.items.len >= wanted.limit || !self.items.add(alert, None::<&()>))
        {
            self.more = true;
            return false;
        }
        self.last = alert.n;
        true
    }
}

/// Items written as JSON, as many as a page may hold.
#[derive(Debug, Default)]
pub struct Items {
    text: String,
    /// How many were added.
    pub len: usize,
}

impl Items {
    /// Adds an item, with the fields of another one if there is one; false when the page
    /// is full. The first item is always taken.
    pub fn add<T: Serialize, U: Serialize>(&mut self, item: &T, more: Option<&U>) -> bool {
        let mut text = text_of(item);
        if let Some(more) = more {
            // Two objects become one.
            text.pop();
            text.push(',');
            text.push_str(&text_of(more)[1..]);
        }
        if self.len > 0 && self.text.len() + text.len() > PAGE_BYTES_MAX {
            return false;
        }
        if self.len > 0 {
            self.text.push(',');
        }
        self.text.push_str(&text);
        self.len += 1;
        true
    }

    /// The page: `items`, and what else is said of it.
    pub fn page(self, fields: &[(&str, Value)]) -> String {
        let mut page = format!("{{\"items\":[{}]", self.text);
        for (name, value) in fields {
            page.push_str(&format!(",\"{name}\":{value}"));
        }
        page.push('}');
        page
    }
}

/// JSON text.
pub fn text_of<T: Serialize>(item: &T) -> String {
    serde_json::to_string(item).expect("keys are texts and nothing else can fail in memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::Detail;

    fn alert(n: u64, kind: &str, at: EpochMs) -> Alert {
        Alert {
            n,
            id: format!("{n:032x}"),
            kind: kind.into(),
            severity: "info".into(),
            at,
            subject: "u".repeat((n % 7) as usize * 1_000),
            title: "t".into(),
            detail: Detail::of(&json!({})),
        }
    }

    /// Follows `next` to the end; the positions found, and how many pages it took.
    fn all(alerts: &[Alert], query: &str) -> (Vec<u64>, usize) {
        let feed = Paged {
            after: |after, limit| {
                Ok(alerts.iter().filter(|a| a.n > after).take(limit).cloned().collect())
            },
            newest: || Ok(alerts.last().map_or(0, |alert| alert.n)),
        };
        let (mut found, mut pages, mut cursor) = (Vec::new(), 0, None::<u64>);
        loop {
            let name = if query.contains("desc") { "before" } else { "after" };
            let cursor_text = cursor.map_or(String::new(), |at| format!("&{name}={at}"));
            let asked: AlertsAsked = serde_urlencoded_like(&format!("{query}{cursor_text}"));
            let page: Value =
                serde_json::from_str(&feed.find(&asked.checked().unwrap()).unwrap()).unwrap();
            let items = page["items"].as_array().unwrap();
            assert!(page.to_string().len() < PAGE_BYTES_MAX + 10_000);
            found.extend(items.iter().map(|item| item["n"].as_u64().unwrap()));
            pages += 1;
            match page["next"].as_u64() {
                Some(next) => cursor = Some(next),
                None => return (found, pages),
            }
            assert!(pages < 1_000, "{query}: it does not end");
        }
    }

    fn serde_urlencoded_like(query: &str) -> AlertsAsked {
        Query::<AlertsAsked>::from_query(query.trim_start_matches('&')).unwrap().into_inner()
    }

    #[test]
    fn every_alert_is_on_one_page_in_either_order() {
        let kinds = ["abandoned", "join"];
        // The first 500 have left the store.
        let alerts: Vec<_> =
            (501..=5_500).map(|n| alert(n, kinds[usize::from(n % 97 == 0)], n as i64)).collect();
        let expected = |keep: &dyn Fn(&Alert) -> bool| {
            alerts.iter().filter(|a| keep(a)).map(|a| a.n).collect::<Vec<_>>()
        };
        for (filter, keep) in [
            ("limit=300", Box::new(|_: &Alert| true) as Box<dyn Fn(&Alert) -> bool>),
            ("limit=7&kind=join", Box::new(|a: &Alert| a.kind == "join")),
            ("limit=1000&since=4000", Box::new(|a: &Alert| a.at >= 4_000)),
            ("limit=9&kind=nothing", Box::new(|_: &Alert| false)),
        ] {
            let (up, pages) = all(&alerts, filter);
            assert_eq!(up, expected(&keep), "{filter}");
            assert!(pages > 1 || up.is_empty() || up.len() < 1_000);
            let (mut down, _) = all(&alerts, &format!("{filter}&order=desc"));
            down.reverse();
            assert_eq!(down, up, "{filter} newest first");
        }
        assert_eq!(all(&[], "limit=5").0, [0u64; 0]);
        assert_eq!(all(&[], "limit=5&order=desc").0, [0u64; 0]);
    }

    #[test]
    fn times_are_numbers_or_rfc_3339() {
        for (text, at) in [
            ("1700000000000", 1_700_000_000_000),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000),
            ("2023-11-14T23:13:20 01:00", 1_700_000_000_000),
        ] {
            assert_eq!(time("since", text).unwrap(), at, "{text}");
        }
        for text in ["", "yesterday", "2023-11-14"] {
            assert!(matches!(time("since", text), Err(Problem::BadRequest(_))), "{text}");
        }
    }

    #[test]
    fn a_query_that_asks_for_something_else_is_refused() {
        for query in ["knd=join", "order=newest", "limit=x", "after=-1"] {
            assert!(Query::<AlertsAsked>::from_query(query).is_err(), "{query}");
        }
    }
}
