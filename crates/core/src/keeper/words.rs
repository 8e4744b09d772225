//! Windows and spans in words, for people.

use crate::metric::{CalendarSpan, WindowSpec};
use crate::time::SpanMs;

/// What window a number covers, in words.
pub fn window_words(window: &WindowSpec) -> String {
    match window {
        WindowSpec::Tumbling { size } => format!("every {}", span_words(*size)),
        WindowSpec::Hopping { size, slide } => {
            format!("{}, every {}", span_words(*size), span_words(*slide))
        }
        WindowSpec::Sliding { size, .. } => format!("{}, at each event", span_words(*size)),
        WindowSpec::Calendar { span, panes, zone, .. } => {
            let every = match span {
                CalendarSpan::Days(1) => "day".to_owned(),
                CalendarSpan::Days(days) if days % 7 == 0 => plural(days / 7, "week"),
                CalendarSpan::Days(days) => plural(*days, "day"),
                CalendarSpan::Months(months) => plural(*months, "month"),
            };
            match panes {
                1 => format!("every {every}, {zone}"),
                panes => format!("{panes} times every {every}, {zone}"),
            }
        }
        WindowSpec::SinceMidnight { zone, .. } => format!("since midnight, {zone}"),
        WindowSpec::SinceStart { .. } => "since the first event".to_owned(),
        WindowSpec::Since { event, .. } => format!("since the last {event}"),
        WindowSpec::Burst { gap, .. } => format!("until {} of silence", span_words(*gap)),
        WindowSpec::Last { num, .. } => format!("the last {num}"),
    }
}

fn plural(num: i64, word: &str) -> String {
    match num {
        1 => word.to_owned(),
        num => format!("{num} {word}s"),
    }
}

/// A span in words: `10 min`.
pub fn span_words(span: SpanMs) -> String {
    match span {
        span if span % 3_600_000 == 0 => format!("{} h", span / 3_600_000),
        span if span % 60_000 == 0 => format!("{} min", span / 60_000),
        span if span % 1_000 == 0 => format!("{} s", span / 1_000),
        span => format!("{span} ms"),
    }
}
