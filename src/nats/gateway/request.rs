//! The messages of one request on their way: sent in order, so many at a time, until each is
//! answered.

use async_nats::jetstream::ErrorCode;

use crate::actors::ports::{AppendError, Appended, Offered, Unfit};
use crate::nats::publisher::answer::Answer;
use crate::nats::publisher::line::{Line, Window};
use crate::nats::publisher::post::Post;

/// One event as it is published.
pub(super) struct Message {
    /// Which event of the request it is.
    pub index: usize,
    pub post: Post,
}

/// Publishes all of them.
///
/// # Errors
/// When the stream does not take events now; some may be in it.
pub(super) async fn publish(
    line: &mut Line,
    messages: Vec<Message>,
    window: Window,
) -> Result<Offered, AppendError> {
    let count = messages.len();
    let (indices, units): (Vec<usize>, Vec<Vec<Post>>) =
        messages.into_iter().map(|Message { index, post }| (index, vec![post])).unzip();
    let (mut offered, mut acked) = (Offered::default(), 0);
    let told = |n: usize, answer| judge(answer, indices[n], count, &mut acked, &mut offered);
    line.exchange(units, window, told).await?;
    Ok(offered)
}

/// Whatever may pass is an error of now: the caller sends the same events again.
fn judge(
    answer: Answer,
    index: usize,
    count: usize,
    acked: &mut usize,
    offered: &mut Offered,
) -> Result<(), AppendError> {
    match answer {
        Answer::Acked { sequence, .. } => {
            *acked += 1;
            let one = Appended { first: sequence, last: sequence };
            let known = offered.appended.unwrap_or(one);
            // The sequence of a duplicate is that of the event it repeats.
            offered.appended =
                Some(Appended { first: known.first.min(sequence), last: known.last.max(sequence) });
            Ok(())
        }
        // Too large after all: a bound was lowered meanwhile.
        Answer::Refused(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM, said) => {
            let reason = format!("the event is longer than the stream takes: {said}");
            offered.refused.push(Unfit { index, reason });
            Ok(())
        }
        // A stream that is full, sealed, without a leader.
        Answer::Again(said) | Answer::Refused(_, said) => {
            Err(AppendError::Refused(format!("{said}; {acked} of {count} events are in it")))
        }
        Answer::Unknown(said) => Err(AppendError::Away(said)),
    }
}
