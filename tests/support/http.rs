//! A plain HTTP client, and a publisher that behaves like a careful one in the field.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::wait::{Stopwatch, pause};

/// Longest time one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(30);

/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 512 << 20;

/// How long a publisher waits before it tries again.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// The client. Every status is an answer; only a broken connection is an error.
#[derive(Clone, Debug)]
pub struct Http(ureq::Agent);

impl Default for Http {
    fn default() -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(REQUEST_MAX))
            .max_redirects(0)
            .build();
        Http(config.into())
    }
}

impl Http {
    pub fn try_get(&self, url: &str) -> Result<Answer, String> {
        self.0.get(url).call().map_err(|error| error.to_string()).and_then(read)
    }

    pub fn get(&self, url: &str) -> Answer {
        self.try_get(url).unwrap_or_else(|error| panic!("GET {url}: {error}"))
    }

    pub fn json(&self, url: &str) -> Value {
        let answer = self.get(url);
        assert_eq!(answer.status, 200, "GET {url}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    pub fn try_post(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, String> {
        let mut request = self.0.post(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send(body).map_err(|error| error.to_string()).and_then(read)
    }

    pub fn try_delete(&self, url: &str) -> Result<Answer, String> {
        self.0.delete(url).call().map_err(|error| error.to_string()).and_then(read)
    }

    pub fn post(&self, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_post(url, headers, body).unwrap_or_else(|error| panic!("POST {url}: {error}"))
    }

    pub fn post_json(&self, url: &str, body: &Value) -> Answer {
        self.post(url, &[("content-type", "application/json")], body.to_string().as_bytes())
    }
}

fn read(answer: ureq::http::Response<ureq::Body>) -> Result<Answer, String> {
    let (parts, mut body) = answer.into_parts();
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let body = body
        .with_config()
        .limit(ANSWER_BYTES_MAX)
        .read_to_vec()
        .map_err(|error| error.to_string())?;
    Ok(Answer { status: parts.status.as_u16(), headers, body })
}

/// Where the server is now: it moves when it is restarted.
#[derive(Clone, Debug, Default)]
pub struct Target(Arc<Mutex<String>>);

impl Target {
    pub fn new(url: &str) -> Self {
        Target(Arc::new(Mutex::new(url.into())))
    }

    pub fn set(&self, url: &str) {
        *self.0.lock().unwrap() = url.into();
    }

    pub fn url(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// A publisher that repeats a batch, with the same ids, until it is accepted.
#[derive(Clone, Debug)]
pub struct Poster {
    pub target: Target,
    pub http: Http,
    /// Batches sent again: after a broken connection, 429 or 5xx.
    pub retries: u64,
    /// Longest time one batch may take in all.
    pub patience: Duration,
}

impl Poster {
    pub fn new(target: Target) -> Self {
        Poster { target, http: Http::default(), retries: 0, patience: Duration::from_secs(120) }
    }

    /// Posts NDJSON lines; returns the answer that accepted them (202, or 400 when none
    /// of them was an event: also durable, also final).
    pub fn post(&mut self, lines: &[impl AsRef<[u8]>]) -> Answer {
        let mut body = Vec::new();
        for line in lines {
            body.extend_from_slice(line.as_ref());
            body.push(b'\n');
        }
        let watch = Stopwatch::start();
        loop {
            let url = format!("{}v1/events", self.target.url());
            let answer =
                self.http.try_post(&url, &[("content-type", "application/x-ndjson")], &body);
            let trouble = match answer {
                Ok(answer) if matches!(answer.status, 202 | 400) => return answer,
                Ok(answer) if answer.status == 429 || answer.status >= 500 => {
                    assert!(answer.header("retry-after").is_some() || answer.status == 500);
                    format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))
                }
                Ok(answer) => panic!("POST refused for good: {answer:?}"),
                Err(error) => error,
            };
            assert!(watch.elapsed() < self.patience, "a batch was never accepted: {trouble}");
            self.retries += 1;
            pause(RETRY_AFTER);
        }
    }
}
