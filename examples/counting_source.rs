//! A source of one's own: it counts, ten events a second of event time, a hundred thousand in
//! all.
//!
//!     cargo run --release --example counting_source -- numbers
//!
//! Stopped (Ctrl-C) or killed and started again, it goes on after the last commit in the folder
//! that was named, and each number counts once.

use std::future::{pending, ready};

use tidewatch::actors::ports::{BoxFuture, Opened, Pull, Resume, Source, SourceError};
use tidewatch::domain::commit::SourceIdentity;
use tidewatch::domain::event::RawBatch;
use tidewatch::domain::hash::fingerprint;
use tidewatch::domain::time::END_OF_TIME;

const LAST: u64 = 100_000;

/// Position n is the number n.
struct Counter {
    next: u64,
}

fn event(n: u64) -> String {
    let at = 1_700_000_000_000 + n * 100;
    format!(r#"{{"id":"{n}","ts":{at},"type":"page_view","user":"user-{}"}}"#, n % 50)
}

impl Source for Counter {
    fn name(&self) -> &str {
        "counter"
    }

    fn open(&mut self, resume: Resume) -> BoxFuture<'_, Result<Opened, SourceError>> {
        self.next = resume.position + 1;
        let known = SourceIdentity { name: "counter".into(), incarnation: "1".into() };
        let found = || Ok(Some(fingerprint(event(resume.position).as_bytes())));
        let same = resume.check(&known, found);
        let opened = same.map(|()| Opened { incarnation: known.incarnation, warnings: vec![] });
        Box::pin(ready(opened))
    }

    fn pull(&mut self, max: usize) -> BoxFuture<'_, Result<Pull, SourceError>> {
        let numbers = self.next..(self.next + max as u64).min(LAST + 1);
        self.next = numbers.end;
        let batch = RawBatch::of(END_OF_TIME, numbers.map(|n| (n, event(n))));
        let pulled = if batch.items.is_empty() { Pull::End } else { Pull::Batch(batch) };
        Box::pin(ready(Ok(pulled)))
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(pending())
    }

    fn ack(&mut self, _: u64) {}

    fn lag(&self) -> Option<u64> {
        Some(LAST + 1 - self.next)
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "counted".into());
    let counter = Box::new(Counter { next: 1 });
    let mut pipeline = tidewatch::Pipeline::builder()
        .data_dir(folder)
        .source(Box::new(|_clock| Ok(counter)))
        .start()?;
    let numbers = pipeline.ended().await?;
    println!("{} events counted", numbers.ledger.applied);
    pipeline.shutdown().await?;
    Ok(())
}
