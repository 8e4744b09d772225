//! The running server behind a data folder, asked over HTTP.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// File in the data folder that holds the URL of the server that runs on it.
pub const ENDPOINT_FILE: &str = "endpoint";

/// Longest wait for a server to say that it lives.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest wait for an answer: redriving many takes a durable append each.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Greatest answer read: a full list of greatest events (1000 x 64 KiB), escaped.
const ANSWER_BYTES_MAX: u64 = 512 << 20;

/// HTTP: done, and there is nothing to say.
const NO_CONTENT: u16 = 204;

/// A running server did not do what it was asked.
#[derive(Debug, Error)]
#[error("the server at {url}: {cause}")]
pub struct ServerError {
    /// Its URL.
    pub url: String,
    /// What it said.
    pub cause: String,
}

/// A running server.
pub struct Server {
    agent: ureq::Agent,
    url: String,
}

/// The address that the server of a data folder left there.
pub fn endpoint(data_dir: &Path) -> Option<String> {
    let url = std::fs::read_to_string(data_dir.join(ENDPOINT_FILE)).ok()?;
    let url = url.trim().trim_end_matches('/');
    (!url.is_empty()).then(|| url.to_owned())
}

impl Server {
    /// The server at a URL, if one answers there.
    ///
    /// # Errors
    /// What is there instead.
    pub fn at(url: &str) -> Result<Server, String> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_TIMEOUT))
            .build();
        let server = Server { agent: config.into(), url: url.to_owned() };
        let probe = server.agent.get(format!("{url}/version"));
        let probe = probe.config().timeout_global(Some(PROBE_TIMEOUT)).build();
        let mut answer = probe.call().map_err(|error| format!("no answer ({error})"))?;
        let about: Option<About> = answer.body_mut().read_json().ok();
        match about {
            Some(About { name }) if name == env!("CARGO_PKG_NAME") => Ok(server),
            _ => Err("what answers there is not tidewatch".into()),
        }
    }

    /// Asks for `path`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ServerError> {
        self.answer(self.agent.get(format!("{}{path}", self.url)).call())
    }

    /// Sends `body` to `path`.
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<T, ServerError> {
        let request = self.agent.post(format!("{}{path}", self.url));
        self.answer(request.content_type("application/json").send(body.to_string()))
    }

    /// Asks for `path` as it is.
    pub fn bytes(&self, path: &str) -> Result<Vec<u8>, ServerError> {
        let answer = self.agent.get(format!("{}{path}", self.url)).call();
        let mut answer = answer.map_err(|error| self.failed(error))?;
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        body.read_to_vec().map_err(|error| self.failed(error))
    }

    fn answer<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, ServerError> {
        let mut answer = answer.map_err(|error| self.failed(error))?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        if status.as_u16() == NO_CONTENT {
            return serde_json::from_str("null").map_err(|error| self.failed(error));
        }
        if status.is_success() {
            return body.read_json().map_err(|error| self.failed(error));
        }
        let problem: Problem = body.read_json().unwrap_or_default();
        let said = [problem.detail, problem.title].into_iter().find(|text| !text.is_empty());
        Err(self.failed(said.unwrap_or_else(|| status.to_string())))
    }

    fn failed(&self, cause: impl ToString) -> ServerError {
        ServerError { url: self.url.clone(), cause: cause.to_string() }
    }
}

/// What a server says of itself.
#[derive(Deserialize)]
struct About {
    name: String,
}

/// What a server says when it refuses (`application/problem+json`).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
}
