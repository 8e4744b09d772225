//! What it costs to make batches of a file's events, on one thread: lines found, decoded, routed
//! to two shards and laid into their batches. The file is NDJSON of native events.
//!
//!     cargo bench -p tidewatch-core --bench decode -- events.ndjson 9
//!
//! Prints the median and the least of so many rounds, in ns an event.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tidewatch_core::event::decode::Decoder;
use tidewatch_core::event::{CheckedBatch, EventBatch, RawBatch, RawItem, Route, Schema};
use tidewatch_core::time::END_OF_TIME;

/// Bytes of a batch, as files are read.
const BATCH: usize = 512 << 10;

#[allow(clippy::disallowed_methods, reason = "a bench measures real time")]
fn main() {
    // `cargo bench` adds flags of its own.
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let path = words.next().expect("the path of a file");
    let rounds: usize = words.next().map_or(5, |word| word.parse().expect("a number of rounds"));
    let file = std::fs::read(&path).expect("a file that can be read");
    let schema = Arc::new(Schema {
        slots: ["type", "region", "status", "amount"].map(String::from).to_vec(),
        event_types: ["page_view", "cart_add", "checkout_start", "purchase"]
            .map(String::from)
            .to_vec(),
        ..Schema::default()
    });
    let mut each = Vec::new();
    for _ in 0..rounds {
        let mut decoder = Decoder::new(Arc::clone(&schema));
        let mut shards = [EventBatch::default(), EventBatch::default()];
        let (mut rest, mut events) = (&file[..], 0);
        let mut ns = 0;
        while !rest.is_empty() {
            let most = rest.len().min(BATCH);
            let end = memchr::memrchr(b'\n', &rest[..most]).map_or(most, |end| end + 1);
            let data = Bytes::copy_from_slice(&rest[..end]);
            rest = &rest[end..];
            let start = Instant::now();
            let mut from = 0;
            let items = memchr::memchr_iter(b'\n', &data).map(|end| {
                let item =
                    RawItem { start: from as u32, len: (end - from) as u32, position: end as u64 };
                from = end + 1;
                item
            });
            let items = items.collect();
            let raw = RawBatch { data, items, arrived: END_OF_TIME, ..RawBatch::default() };
            let checked = CheckedBatch::from(raw);
            let raw = &checked.raw;
            for shard in &mut shards {
                shard.data = raw.data.clone();
                shard.width = schema.slots.len();
                shard.events.clear();
                shard.slots.clear();
            }
            for (place, item) in raw.items.iter().enumerate() {
                decoder.decode_raw(&checked, place, usize::MAX, |event| {
                    let event = event.expect("an event");
                    let route = Route::of(&schema, &event, 2);
                    let shard = &mut shards[usize::from(route.shard)];
                    shard.push(&event, route, (item.position, event.at), false);
                    events += 1;
                });
            }
            ns += start.elapsed().as_nanos();
        }
        each.push(ns as f64 / f64::from(events));
    }
    each.sort_by(f64::total_cmp);
    println!("ns an event: median {:.0}, least {:.0}", each[each.len() / 2], each[0]);
}
