//! A service that publishes events to NATS JetStream.
//!
//!     NATS_URL=nats://127.0.0.1:4222 cargo run --release --example publish
//!
//! A stream must take the subject, `events.shop` unless `SUBJECT` says otherwise.

use tidewatch::clock::SystemClock;
use tidewatch_publisher::{Options, Publisher};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or(default.into());
    let url = setting("NATS_URL", "nats://127.0.0.1:4222");
    let subject = setting("SUBJECT", "events.shop");
    let publisher = Publisher::connect(Options::new(url, subject)).await?;

    // Returns as soon as there is room in the buffer. These events bring no id: each gets
    // one, which it keeps over all retries.
    let now = SystemClock::shared().wall();
    for (step, kind) in ["page_view", "cart_add", "payment_started"].iter().enumerate() {
        let event = serde_json::json!({
            "ts": now + step as i64, "type": kind, "user": "ada", "region": "eu-1", "amount": 12.5,
        });
        publisher.publish(&event).await?;
    }

    // Only now is it known what became of them.
    let report = publisher.flush().await;
    println!(
        "published {}, duplicates {}, failed {}",
        report.published, report.duplicates, report.failed_count
    );
    for (id, reason) in &report.failed {
        println!("{id}: {reason}");
    }
    match report.failed_count {
        0 => Ok(()),
        failed => Err(format!("{failed} events were not acknowledged").into()),
    }
}
