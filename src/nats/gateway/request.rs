//! The messages of one request on their way: sent in order, so many at a time, until each is
//! answered.

use std::collections::VecDeque;

use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{HeaderMap, Subject};
use bytes::Bytes;

use crate::actors::ports::{AppendError, Appended, Offered, Unfit};
use crate::nats::publisher::answer::Answer;

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
        for Message { index, subject, headers, event } in messages {
            while self.pending.len() >= self.window {
                self.settle(count).await?;
            }
            let message = PublishMessage::build().headers(headers).payload(event);
            match self.context.send_publish(subject, message).await {
                Ok(answer) => self.pending.push_back((index, answer)),
                Err(error) => self.judge(index, Answer::published(Err(error)), count)?,
            }
        }
        while !self.pending.is_empty() {
            self.settle(count).await?;
        }
        Ok(self.offered)
    }

    /// Waits for the oldest answer.
    async fn settle(&mut self, count: usize) -> Result<(), AppendError> {
        let Some((index, oldest)) = self.pending.pop_front() else { return Ok(()) };
        self.judge(index, Answer::published(oldest.await), count)
    }

    /// Whatever may pass is an error of now: the caller sends the same events again.
    fn judge(&mut self, index: usize, answer: Answer, count: usize) -> Result<(), AppendError> {
        match answer {
            Answer::Acked { sequence, .. } => {
                self.acked += 1;
                let one = Appended { first: sequence, last: sequence };
                let known = self.offered.appended.unwrap_or(one);
                // The sequence of a duplicate is that of the event it repeats.
                self.offered.appended = Some(Appended {
                    first: known.first.min(sequence),
                    last: known.last.max(sequence),
                });
                Ok(())
            }
            // Too large after all: a bound was lowered meanwhile.
            Answer::Refused(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM, said) => {
                let reason = format!("the event is longer than the stream takes: {said}");
                self.offered.refused.push(Unfit { index, reason });
                Ok(())
            }
            // A stream that is full, sealed, without a leader.
            Answer::Again(said) | Answer::Refused(_, said) => {
                let acked = self.acked;
                Err(AppendError::Refused(format!("{said}; {acked} of {count} events are in it")))
            }
            Answer::Unknown(said) => Err(AppendError::Away(said)),
        }
    }
}
