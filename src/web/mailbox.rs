//! The mailbox of a demo: what its channel wrote instead of sending it, for people to look at. Pages
//! without a script; a mail is shown in a frame that may do nothing.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{self, Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use jiff::Timestamp;

use super::problem::Problem;
use super::{State, answer};
use crate::domain::time::EpochMs;

/// Mails in the list.
const LISTED_MAX: usize = 50;

const HTML: &str = "text/html; charset=utf-8";

/// Of a page that shows a mail: its frame is ours.
const FRAMES: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      frame-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'";

/// Of a mail itself: it is text, colours and nothing else, wherever it is opened.
const ALONE: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                     form-action 'none'; frame-ancestors 'self'; sandbox";

/// A mail in the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Its key: letters and digits.
    pub key: String,
    /// Whom it is to, as it may be shown.
    pub to: String,
    /// What it is about.
    pub subject: String,
    /// When it was written, in ms.
    pub at: Option<EpochMs>,
}

/// A mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    /// What the list has of it.
    pub listed: Listed,
    /// Its text.
    pub text: String,
    /// Its HTML.
    pub html: Option<String>,
    /// Where its reader can say that they want no more.
    pub unsubscribe: Option<String>,
}

/// Where mails are that were written and not sent. Calls block.
pub trait Mailbox: Send + Sync {
    /// The newest, at most `most`, and how many there are.
    ///
    /// # Errors
    /// When they cannot be read.
    fn newest(&self, most: usize) -> io::Result<(Vec<Listed>, usize)>;

    /// One of them; `None` when it is not there.
    ///
    /// # Errors
    /// As of [`Mailbox::newest`].
    fn mail(&self, key: &str) -> io::Result<Option<Mail>>;
}

type Answer = Result<HttpResponse, Problem>;

/// `GET /mailbox`: the newest mails.
///
/// # Errors
/// `Unavailable` when they cannot be read.
pub async fn list(state: Data<State>, request: HttpRequest) -> Answer {
    let (mails, count) = read(&state, &request, |mailbox| mailbox.newest(LISTED_MAX)).await?;
    answer::once(&state, &request, HTML, list_page(&mails, count)).await
}

/// `GET /mailbox/{key}`: one mail.
///
/// # Errors
/// `NotFound`, or as of [`list`].
pub async fn mail(state: Data<State>, request: HttpRequest, key: Path<String>) -> Answer {
    let mail = one(&state, &request, key.into_inner()).await?;
    let answer = answer::once(&state, &request, HTML, mail_page(&mail)).await?;
    Ok(framed(answer, FRAMES, "DENY"))
}

/// `GET /mailbox/{key}/html`: the HTML of one mail, for its frame.
///
/// # Errors
/// As of [`mail`].
pub async fn html(state: Data<State>, request: HttpRequest, key: Path<String>) -> Answer {
    let mail = one(&state, &request, key.into_inner()).await?;
    let html = mail.html.ok_or_else(|| Problem::NotFound("this mail has no HTML".into()))?;
    let answer = answer::once(&state, &request, HTML, html).await?;
    Ok(framed(answer, ALONE, "SAMEORIGIN"))
}

fn framed(mut answer: HttpResponse, policy: &'static str, by: &'static str) -> HttpResponse {
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static(by));
    answer
}

async fn one(state: &State, request: &HttpRequest, key: String) -> Result<Mail, Problem> {
    let found = read(state, request, move |mailbox| mailbox.mail(&key)).await?;
    found.ok_or_else(|| Problem::NotFound("there is no such mail, or not any more".into()))
}

async fn read<T: Send + 'static>(
    state: &State,
    request: &HttpRequest,
    ask: impl FnOnce(&dyn Mailbox) -> io::Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let mailbox = state.mailbox.as_ref().map(Arc::clone);
    let mailbox = mailbox.ok_or_else(|| Problem::NotFound("there is no mailbox here".into()))?;
    let turn = state.load.turn(request).await?;
    let work = move || {
        let _turn = turn;
        ask(&*mailbox)
    };
    let failed = |error| Problem::Unavailable(format!("the mails cannot be read: {error}"));
    web::block(work).await?.map_err(failed)
}

fn list_page(mails: &[Listed], count: usize) -> String {
    let mut page = opening("Mailbox", "", true);
    page += "<h1>Mailbox</h1>\n<p class=\"says\">What the demo would have sent. Nothing leaves this \
             machine: each mail is a file, and the addresses are made up.</p>\n";
    if mails.is_empty() {
        page += "<p class=\"none\">No mail yet: a cart must be left alone first. This page looks again \
                 by itself.</p>\n";
    } else {
        page += "<ol class=\"mails\">\n";
        for mail in mails {
            let _ = writeln!(
                page,
                "<li><a href=\"mailbox/{}\"><span class=\"subject\">{}</span> \
                 <span class=\"to\">to {}</span> {}</a></li>",
                escaped(&mail.key),
                escaped(&mail.subject),
                escaped(&mail.to),
                time(mail.at)
            );
        }
        page += "</ol>\n";
        let older = count.saturating_sub(mails.len());
        if older > 0 {
            let _ = writeln!(page, "<p class=\"none\">and {older} older ones</p>");
        }
    }
    page + CLOSING
}

fn mail_page(mail: &Mail) -> String {
    let Mail { listed, text, html, unsubscribe } = mail;
    let mut page = opening(&listed.subject, "../", false);
    let subject = escaped(&listed.subject);
    let _ = write!(
        page,
        "<p class=\"back\"><a href=\"../mailbox\">All mails</a></p>\n<h1>{subject}</h1>\n\
         <p class=\"says\">to {} {}</p>\n",
        escaped(&listed.to),
        time(listed.at)
    );
    if html.is_some() {
        let _ = writeln!(
            page,
            "<iframe class=\"mail\" sandbox title=\"The mail as HTML\" src=\"{}/html\"></iframe>",
            escaped(&listed.key)
        );
    }
    let _ = writeln!(page, "<h2>As text</h2>\n<pre class=\"mail\">{}</pre>", escaped(text));
    if let Some(link) = unsubscribe {
        // A mail program offers it beside the mail; what else stands there is no link.
        let shown = escaped(link);
        let is_link = link.starts_with("https://") || link.starts_with("http://");
        let shown = if is_link { format!("<a href=\"{shown}\">{shown}</a>") } else { shown };
        let _ = writeln!(page, "<p class=\"says\">List-Unsubscribe: {shown}</p>");
    }
    page + CLOSING
}

const CLOSING: &str = "</main>\n</body>\n</html>\n";

/// A page up to what it shows; `up` leads to where the mailbox lies. With `again` it looks again.
fn opening(title: &str, up: &str, again: bool) -> String {
    let again = if again { "<meta http-equiv=\"refresh\" content=\"5\">\n" } else { "" };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n{again}\
         <title>{} · tidewatch</title>\n\
         <link rel=\"icon\" type=\"image/svg+xml\" href=\"{up}static/icon.svg\">\n\
         <link rel=\"stylesheet\" href=\"{up}static/css/tokens.css\">\n\
         <link rel=\"stylesheet\" href=\"{up}static/css/mailbox.css\">\n\
         <script src=\"{up}static/js/theme-early.js\"></script>\n</head>\n<body>\n\
         <header><a href=\"{up}./\"><img src=\"{up}static/icon.svg\" alt=\"\" width=\"20\" height=\"20\"> \
         tidewatch</a></header>\n<main>\n",
        escaped(title)
    )
}

fn time(at: Option<EpochMs>) -> String {
    let at = at.and_then(|at| Timestamp::from_millisecond(at).ok());
    at.map(|at| {
        let shown = at.strftime("%Y-%m-%d %H:%M:%S UTC");
        format!("<time datetime=\"{at}\">{shown}</time>")
    })
    .unwrap_or_default()
}

/// Text as text, whatever stands in it, also between quotes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            _ => out.push(one),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed() -> Listed {
        Listed {
            key: "k1".into(),
            to: "a…@example.org".into(),
            subject: "\"><script>alert(1)</script>".into(),
            at: Some(1_795_788_300_000),
        }
    }

    #[test]
    fn a_mail_is_text_on_our_pages() {
        let list = list_page(&[listed()], 3);
        assert!(list.contains("&quot;&gt;&lt;script&gt;alert(1)"), "{list}");
        assert!(list.contains("<a href=\"mailbox/k1\">") && list.contains("and 2 older"), "{list}");
        assert!(list.contains("2026-11-27 14:05:00 UTC"), "{list}");
        let mail = Mail {
            listed: listed(),
            text: "</pre><b>".into(),
            html: Some("<b>never on this page</b>".into()),
            unsubscribe: Some("javascript:alert(1)".into()),
        };
        let page = mail_page(&mail);
        assert!(page.contains("&lt;/pre&gt;&lt;b&gt;") && !page.contains("never on"), "{page}");
        assert!(page.contains("sandbox title") && page.contains("src=\"k1/html\""), "{page}");
        assert!(!page.contains("href=\"javascript"), "{page}");
        let scripts = page.matches("<script").count();
        assert_eq!((scripts, page.matches("theme-early.js").count()), (1, 1), "{page}");
        assert!(list_page(&[], 0).contains("No mail yet"));
    }
}
