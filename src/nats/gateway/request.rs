//! The messages of one request on their way: sent in order, so many at a time, until each is
//! answered.

use std::collections::VecDeque;

use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{HeaderMap, Subject};
use bytes::Bytes;

use crate::actors::ports::{AppendError, Appended, Offered, Unfit};

/// One event as it is published.
pub(super) struct Message {
    /// Which event of the request it is.
    pub index: usize,
    pub subject: Subject,
    pub headers: HeaderMap,
    pub event: Bytes,
}

/// The events of one append on their way.
pub(super) struct Request {
    context: jetstream::Context,
    window: usize,
    pending: VecDeque<(usize, PublishAckFuture)>,
    offered: Offered,
    acked: usize,
}

impl Request {
    /// With at most `window` messages that are not answered.
    pub fn new(context: jetstream::Context, window: usize) -> Self {
        let (pending, offered) = (VecDeque::new(), Offered::default());
        Request { context, window, pending, offered, acked: 0 }
    }

    /// Publishes all of them.
    ///
    /// # Errors
    /// When the stream does not take events now; some may be in it.
    pub async fn publish(mut self, messages: Vec<Message>) -> Result<Offered, AppendError> {
        let count = messages.len();
        let failed = |acked: usize, error: PublishError| match failed(&error) {
            AppendError::Refused(cause) => {
                AppendError::Refused(format!("{cause}; {acked} of {count} events are in it"))
            }
            error => error,
        };
        for Message { index, subject, headers, event } in messages {
            while self.pending.len() >= self.window {
                self.settle().await.map_err(|error| failed(self.acked, error))?;
            }
            let message = PublishMessage::build().headers(headers).payload(event);
            match self.context.send_publish(subject, message).await {
                Ok(answer) => self.pending.push_back((index, answer)),
                Err(error) => {
                    self.unfit(index, error).map_err(|error| failed(self.acked, error))?;
                }
            }
        }
        while !self.pending.is_empty() {
            self.settle().await.map_err(|error| failed(self.acked, error))?;
        }
        Ok(self.offered)
    }

    /// Waits for the oldest answer.
    async fn settle(&mut self) -> Result<(), PublishError> {
        let Some((index, oldest)) = self.pending.pop_front() else { return Ok(()) };
        let PublishAck { sequence, .. } = match oldest.await {
            Ok(answer) => answer,
            Err(error) => return self.unfit(index, error),
        };
        self.acked += 1;
        let known = self.offered.appended.unwrap_or(Appended { first: sequence, last: sequence });
        // The sequence of a duplicate is that of the event it repeats.
        self.offered.appended =
            Some(Appended { first: known.first.min(sequence), last: known.last.max(sequence) });
        Ok(())
    }

    /// Notes an event that is too large after all: a bound was lowered meanwhile.
    fn unfit(&mut self, index: usize, error: PublishError) -> Result<(), PublishError> {
        let too_large = error.kind() == PublishErrorKind::MaxPayloadExceeded
            || server(&error)
                .is_some_and(|said| said.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM);
        if !too_large {
            return Err(error);
        }
        let reason = format!("the event is longer than the stream takes: {error}");
        self.offered.refused.push(Unfit { index, reason });
        Ok(())
    }
}

fn server(error: &PublishError) -> Option<&jetstream::Error> {
    std::error::Error::source(error).and_then(|cause| cause.downcast_ref())
}

/// Whatever may pass is an error of now: the caller sends the same events again.
fn failed(error: &PublishError) -> AppendError {
    use PublishErrorKind as Kind;
    match (error.kind(), server(error)) {
        // A stream that is full, sealed, without a leader.
        (Kind::Other, Some(said)) => AppendError::Refused(said.to_string()),
        (Kind::StreamNotFound, _) => {
            // So it is too while a stream has no leader.
            AppendError::Refused("no stream takes the subject now".into())
        }
        (Kind::TimedOut | Kind::BrokenPipe | Kind::MaxAckPending | Kind::Other, _) => {
            AppendError::Away(error.to_string())
        }
        (Kind::MaxPayloadExceeded | Kind::WrongLastMessageId | Kind::WrongLastSequence, _) => {
            AppendError::Broken(error.to_string())
        }
    }
}
