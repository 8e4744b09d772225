//! What streams held: for dry runs, and for the configuration that is written for one.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;

use crate::actors::ports::{Pull, Resume, Source};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::domain::time::{BEGINNING, EpochMs};
use crate::nats::link::Link;
use crate::nats::manage::{self, Refusal};
use crate::nats::settings::template::Template;
use crate::nats::settings::{LinkSettings, SourceSettings, SourceTime, check_url, without_users};
use crate::nats::source::{Begin, JetSource};
use crate::nats::wire::Unpacker;

/// The name under which the attribute with the subject is asked for.
const SUBJECT: &str = "{subject...}";

/// The stream of the configuration, or the one of this name among several, as a source that ends
/// with what the stream holds now, and what it is called. At most `newest` messages, none stored
/// before `stored`.
///
/// # Errors
/// Which streams there are, where the name is none of theirs; that the server is away.
pub fn past(
    config: &Config,
    stream: Option<&str>,
    newest: u64,
    stored: EpochMs,
) -> Result<(Box<dyn Source>, String), String> {
    let Some(link) = &config.nats.link else {
        return Err("--stream needs nats.url in the configuration".into());
    };
    let streams: Vec<&str> = config.nats.sources.iter().map(|source| &*source.stream).collect();
    let names = streams.join(", ");
    let named = |source: &&SourceSettings| stream.is_none_or(|stream| source.stream == stream);
    let mut fitting = config.nats.sources.iter().filter(named);
    let settings = match (fitting.next(), fitting.next(), stream) {
        (Some(settings), None, _) => settings.clone(),
        (_, _, None) => return Err(format!("--stream says which of {names} is meant")),
        (None, _, Some(stream)) => {
            return Err(format!("--stream {stream}: the configuration has {names}"));
        }
        (Some(_), Some(_), Some(stream)) => {
            return Err(format!("--stream {stream}: two sources of the configuration read it"));
        }
    };
    let link = Link::open(link.clone()).map_err(|error| error.to_string())?;
    let held = held(&link, &settings.stream)?;
    let name = format!("stream {} at {} ({held} messages)", settings.stream, link.url());
    let begin = Begin { newest, stored };
    let source = JetSource::look(link, settings, begin, SystemClock::shared());
    Ok((Box::new(source.map_err(|error| error.to_string())?), name))
}

/// What is to be looked at.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The server; that of the configuration without it.
    pub url: Option<String>,
    pub stream: Option<String>,
    pub subject: Option<String>,
    /// How long a subject is listened to that no stream keeps.
    pub listen: Duration,
    pub messages: usize,
    pub bytes: usize,
}

/// Some messages.
#[derive(Debug)]
pub struct Glimpse {
    pub url: String,
    /// The stream that they are from; without it they came while the subject was listened to.
    pub stream: Option<String>,
    /// The only subjects that are meant.
    pub filter: Option<String>,
    pub messages: Vec<Message>,
}

/// One message, unpacked.
#[derive(Debug)]
pub struct Message {
    pub subject: String,
    pub stored: EpochMs,
    pub bytes: Vec<u8>,
}

/// The newest messages of a stream, or those that come on a subject.
///
/// # Errors
/// That the server is away, or that there is no such stream.
pub fn glimpse(config: &Config, wanted: &Wanted) -> Result<Glimpse, String> {
    let link = Link::open(server(config.nats.link.as_ref(), wanted.url.as_deref())?)
        .map_err(|error| error.to_string())?;
    let only = config.nats.sources.first().filter(|_| wanted.subject.is_none());
    let mut stream = wanted.stream.clone().or_else(|| only.map(|source| source.stream.clone()));
    if let (None, Some(subject)) = (&stream, &wanted.subject) {
        stream = keeper(&link, subject)?;
    }
    let mut glimpse = Glimpse {
        url: link.url().to_owned(),
        stream,
        filter: wanted.subject.clone(),
        messages: Vec::new(),
    };
    match (&glimpse.stream, &wanted.subject) {
        (Some(stream), _) => {
            let held = held(&link, stream)?;
            // A subject may be rare among the others.
            for newest in [1, 16, 256].map(|times| times * wanted.messages as u64) {
                let filter = wanted.subject.iter().cloned().collect();
                let settings = SourceSettings { stream: stream.clone(), filter, ..look(config) };
                let begin = Begin { newest, stored: BEGINNING };
                let source = JetSource::look(link.clone(), settings, begin, SystemClock::shared());
                let source = source.map_err(|error| error.to_string())?;
                glimpse.messages = on(&link, read(source, wanted.messages, wanted.bytes))??;
                let enough = glimpse.messages.len() >= wanted.messages || newest >= held;
                if enough || wanted.subject.is_none() {
                    break;
                }
            }
        }
        (None, Some(subject)) => {
            glimpse.messages = on(&link, listen(link.clone(), subject.clone(), wanted.clone()))??;
        }
        (None, None) => return Err("--stream or --subject says what to look at".into()),
    }
    Ok(glimpse)
}

/// The server that is asked for, or that of the configuration. To another one goes nothing of how this
/// one is signed in to.
fn server(configured: Option<&LinkSettings>, asked: Option<&str>) -> Result<LinkSettings, String> {
    let Some(url) = asked else {
        return configured.cloned().ok_or("--nats says where the server is, or nats.url".into());
    };
    check_url(&without_users(url)).map_err(|rule| format!("--nats: {rule}"))?;
    let known = configured.filter(|settings| settings.url == url);
    Ok(known.cloned().unwrap_or_else(|| LinkSettings::to(url)))
}

fn look(config: &Config) -> SourceSettings {
    let common = config.nats.sources.first().cloned().unwrap_or_default();
    SourceSettings { subject_template: SUBJECT.into(), time: SourceTime::Event, ..common }
}

/// Runs on the connection's thread.
fn on<T: Send + 'static>(
    link: &Link,
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    let (answer, answered) = std::sync::mpsc::sync_channel(1);
    drop(link.spawn(async move { answer.send(future.await) }));
    answered.recv().map_err(|_| "the connection's thread ended".to_owned())
}

/// How many messages a stream holds.
fn held(link: &Link, stream: &str) -> Result<u64, String> {
    let (asked, name) = (link.clone(), stream.to_owned());
    let info = on(link, async move {
        ready(&asked).await?;
        match manage::stream_info(asked.jetstream(), &name).await {
            Ok(info) => Ok(info.state.messages),
            Err(Refusal::Missing) => Err(format!("stream {name} does not exist")),
            Err(Refusal::Away(cause) | Refusal::Refused(cause)) => Err(asked.explain(cause)),
        }
    });
    info?
}

async fn ready(link: &Link) -> Result<(), String> {
    let ready = tokio::time::timeout(link.request_timeout(), link.ready()).await;
    ready.unwrap_or_else(|_| Err(link.away())).map_err(|error| error.to_string())
}

/// The stream that keeps a subject.
fn keeper(link: &Link, subject: &str) -> Result<Option<String>, String> {
    #[derive(serde::Deserialize)]
    struct Names {
        #[serde(default)]
        streams: Option<Vec<String>>,
    }
    let (asked, subject) = (link.clone(), subject.to_owned());
    let names = on(link, async move {
        ready(&asked).await?;
        let question = serde_json::json!({ "subject": subject });
        let names = manage::ask::<Names>(asked.jetstream(), "STREAM.NAMES".into(), &question).await;
        names.map_err(|refusal| match refusal {
            Refusal::Missing => "no streams".to_owned(),
            Refusal::Away(cause) | Refusal::Refused(cause) => asked.explain(cause),
        })
    });
    Ok(names??.streams.unwrap_or_default().into_iter().next())
}

/// All that a look finds, at most so many of the newest messages and so many bytes.
async fn read(mut source: JetSource, most: usize, bytes: usize) -> Result<Vec<Message>, String> {
    let failed = |error: crate::actors::ports::SourceError| error.to_string();
    source.open(Resume::default()).await.map_err(failed)?;
    let (mut messages, mut size) = (std::collections::VecDeque::new(), 0);
    loop {
        match source.pull(most).await.map_err(failed)? {
            Pull::Batch(batch) => {
                for (item, note) in batch.items.iter().zip(&batch.notes) {
                    let (bytes, stored) = (batch.bytes(item).to_vec(), note.arrived);
                    let subject = note.attributes.first().map(|(_, text)| text.to_string());
                    size += bytes.len();
                    messages.push_back(Message {
                        subject: subject.unwrap_or_default(),
                        stored,
                        bytes,
                    });
                }
                while messages.len() > most || size > bytes {
                    size -=
                        messages.pop_front().map_or(size, |message: Message| message.bytes.len());
                }
            }
            Pull::End => return Ok(messages.into()),
            Pull::Gap { .. } => {}
            Pull::CaughtUp => source.wait().await,
            Pull::Away(reason) => return Err(reason),
        }
    }
}

/// What comes on a subject for as long as it is listened to.
async fn listen(link: Link, subject: String, wanted: Wanted) -> Result<Vec<Message>, String> {
    ready(&link).await?;
    let subscribed = link.client().subscribe(subject).await;
    let mut subscriber = subscribed.map_err(|error| error.to_string())?;
    let unpacker = Unpacker::new(Template::default(), SourceTime::Event, wanted.bytes);
    let clock = SystemClock::shared();
    let (mut messages, mut size) = (Vec::new(), 0);
    let collect = async {
        while let Some(message) = subscriber.next().await {
            let (mut bytes, stored) = (Vec::new(), clock.wall());
            let headers = message.headers.as_ref();
            unpacker.unpack(&message.subject, headers, &message.payload, stored, &mut bytes);
            size += bytes.len();
            messages.push(Message { subject: message.subject.to_string(), stored, bytes });
            if messages.len() >= wanted.messages || size >= wanted.bytes {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(wanted.listen, collect).await;
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::settings::Auth;

    #[test]
    fn what_signs_in_to_a_server_goes_to_no_other() {
        let auth = Auth::Token("hush".into());
        let own = LinkSettings { auth, ..LinkSettings::to("tls://own:4222") };
        let server = |asked| server(Some(&own), asked);
        assert_eq!(server(None).unwrap(), own);
        assert_eq!(server(Some("tls://own:4222")).unwrap(), own);
        for other in ["tls://other:4222", "tls://u:p@own:4222", "own"] {
            assert_eq!(server(Some(other)).unwrap(), LinkSettings::to(other));
        }
        for (url, rule) in
            [("http://own", "--nats: \"http://own\" must begin with"), ("", "--nats: ")]
        {
            assert!(server(Some(url)).unwrap_err().starts_with(rule), "{url}");
        }
        assert!(super::server(None, None).unwrap_err().contains("or nats.url"));
    }
}
