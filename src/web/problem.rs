//! Errors as `application/problem+json`. One `match` maps kinds to status codes;
//! what a client reads leaves out what only the log should say.

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Value, json};
use thiserror::Error;

use crate::actors::ports::{AppendError, StoreError};
use crate::actors::reload::Refusal;

/// Why a request was not carried out. The text is for the client.
#[derive(Debug, Error)]
pub enum Problem {
    /// The request cannot be understood.
    #[error("{0}")]
    BadRequest(String),
    /// The `Host` header names a host that is not ours.
    #[error("this server does not answer for the host named in the request; see `web.hosts`")]
    HostRefused,
    /// The `Origin` header names another site.
    #[error("requests from other origins are refused; see `web.origins`")]
    OriginRefused,
    /// No such thing.
    #[error("{0}")]
    NotFound(String),
    /// The path knows other methods.
    #[error("this path does not answer to this method; it answers to {allow}")]
    MethodNotAllowed {
        /// Its methods, as an `Allow` header has them.
        allow: String,
    },
    /// The body took too long.
    #[error("the body did not arrive within {seconds} s")]
    Timeout {
        /// The bound.
        seconds: i64,
    },
    /// The body stopped arriving, or hardly moved while others waited.
    #[error("{0}")]
    Stalled(String),
    /// The body, or what it inflates to, is too large.
    #[error("the {what} exceeds {bound}")]
    TooLarge {
        /// Body, inflated body, number of events.
        what: &'static str,
        /// The bound with its unit.
        bound: String,
    },
    /// An event is larger than the log can take.
    #[error("{0}")]
    Unfit(String),
    /// A body in a format that is not understood.
    #[error("{0}")]
    MediaType(String),
    /// A body in a coding that is not understood.
    #[error("the content coding {0:?} is not supported; send gzip, zstd, deflate or none")]
    Coding(String),
    /// Another configuration was not taken.
    #[error("{0}")]
    Refused(Refusal),
    /// Too much at once: try again after some seconds.
    #[error("{0}")]
    Busy(String),
    /// Not now: try again after some seconds.
    #[error("{0}")]
    Unavailable(String),
    /// A failure of ours. The text is for the log.
    #[error("{0}")]
    Internal(String),
}

/// What the `Content-Encoding` header may say, for `Accept-Encoding` of a refusal.
pub const CODINGS: &str = "gzip, zstd, deflate";

/// Seconds after which a refused request may be tried again: a commit takes half a
/// second, so a backlog moves within one.
const RETRY_AFTER_S: u32 = 1;

/// What a publisher reads when the log is away.
const AWAY: &str = "the log does not answer; what it holds of these events is not known: \
                    send all of them again, with the same ids";

/// What a publisher does when the log took some of the events at most.
const SEND_AGAIN: &str = "send all of them again later, with the same ids";

impl Problem {
    /// A body, or what it inflates to, of more than `bound` bytes.
    pub fn too_large(what: &'static str, bound: usize) -> Self {
        Problem::TooLarge { what, bound: format!("{bound} bytes") }
    }

    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Problem::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad-request", "Bad request"),
            Problem::HostRefused => (StatusCode::FORBIDDEN, "host-refused", "Host refused"),
            Problem::OriginRefused => (StatusCode::FORBIDDEN, "origin-refused", "Origin refused"),
            Problem::NotFound(_) => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Problem::MethodNotAllowed { .. } => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
            }
            Problem::Timeout { .. } | Problem::Stalled(_) => {
                (StatusCode::REQUEST_TIMEOUT, "timeout", "Too slow")
            }
            Problem::TooLarge { .. } | Problem::Unfit(_) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large")
            }
            Problem::MediaType(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "Unknown media type")
            }
            Problem::Coding(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-coding", "Unknown content coding")
            }
            Problem::Refused(Refusal::NoFile | Refusal::NeedsRestart(_) | Refusal::UnderWay) => {
                (StatusCode::CONFLICT, "configuration-kept", "The configuration was not taken")
            }
            Problem::Refused(Refusal::Invalid { .. }) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "configuration-invalid",
                "The configuration is not sound",
            ),
            Problem::Refused(Refusal::Failed(_)) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "configuration-failed",
                "The configuration could not be taken",
            ),
            Problem::Busy(_) => (StatusCode::TOO_MANY_REQUESTS, "busy", "Too much at once"),
            Problem::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now")
            }
            Problem::Internal(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error")
            }
        }
    }
}

impl Problem {
    /// As RFC 9457 has it.
    pub fn json(&self) -> Value {
        let (status, kind, title) = self.kind();
        let detail = match self {
            Problem::Internal(cause) => {
                tracing::error!(cause, "a request failed");
                "the server's log says more".to_owned()
            }
            other => other.to_string(),
        };
        let kind = format!("urn:tidewatch:problem:{kind}");
        let status = status.as_u16();
        let mut body = json!({"type": kind, "title": title, "status": status, "detail": detail});
        match self {
            Problem::Refused(Refusal::Invalid { problems, .. }) => {
                body["problems"] = problems.clone().into();
            }
            Problem::Refused(Refusal::NeedsRestart(keys)) => body["needs_restart"] = json!(keys),
            _ => {}
        }
        body
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind().0
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        if matches!(self, Problem::Busy(_) | Problem::Unavailable(_)) {
            response.insert_header((RETRY_AFTER, RETRY_AFTER_S));
        }
        match self {
            Problem::MethodNotAllowed { allow } => {
                response.insert_header((ALLOW, allow.as_str()));
            }
            Problem::Coding(_) => {
                response.insert_header((ACCEPT_ENCODING, CODINGS));
            }
            _ => {}
        }
        response.body(self.json().to_string())
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Full { .. } => Problem::Busy(error.to_string()),
            AppendError::DiskFull { .. } => Problem::Unavailable("the disk is full".into()),
            AppendError::Away(cause) => {
                tracing::warn!(cause, "events were not taken: the log is away");
                Problem::Unavailable(AWAY.into())
            }
            AppendError::Refused(cause) => {
                tracing::warn!(cause, "events were not taken: the log refuses them");
                Problem::Unavailable(format!("{cause}; {SEND_AGAIN}"))
            }
            AppendError::TooLarge(cause) => Problem::Unfit(cause),
            AppendError::Broken(cause) => Problem::Internal(cause),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DiskFull { .. } => Problem::Unavailable("the disk is full".into()),
            StoreError::Damaged { .. }
            | StoreError::Format { .. }
            | StoreError::Locked { .. }
            | StoreError::NotParent { .. }
            | StoreError::Io { .. } => Problem::Internal(error.to_string()),
        }
    }
}

impl From<actix_web::error::BlockingError> for Problem {
    fn from(error: actix_web::error::BlockingError) -> Self {
        Problem::Internal(error.to_string())
    }
}
