//! tidewatch turns an event stream into live operational numbers: one actor for each user
//! session with its own timer, windows shared by all metrics, exactly once across crashes,
//! pushed to a browser as differences.
//!
//! # The map
//! - [`domain`]: the pure part. Events, sessions, metrics, the board; values in, values out.
//! - [`actors`]: the shells. Ingestor → aggregators with their sessions → committer →
//!   broadcaster; mailboxes, supervision, commits.
//! - `source`, [`store`], [`web`], [`demo`]: where events come from, what survives, the
//!   page, and an invented shop. They know the actors' ports and never each other.
//! - [`telemetry`], [`config`], [`cli`], [`app`]: names of metrics and logs, the
//!   configuration, the command line, and the composition root.
//!
//! # Embedding
//! ```no_run
//! # async fn embed() -> Result<(), Box<dyn std::error::Error>> {
//! let pipeline = tidewatch::Pipeline::builder().data_dir("numbers").start()?;
//! pipeline.publish(vec![r#"{"id":"1","ts":1763800000000,"type":"cart_add","user":"ada"}"#.into()]).await?;
//! println!("{:?}", pipeline.session("ada").await?);
//! pipeline.shutdown().await?;
//! # Ok(()) }
//! ```
//! [`web::configure`] mounts the page and the API under a path of a host's actix-web `App`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod actors;
pub mod app;
pub mod cli;
pub mod config;
pub mod demo;
mod lookup;
pub mod nats;
#[cfg(feature = "notify")]
pub mod notify;
pub mod sink;
#[cfg(feature = "replay")]
pub mod source;
pub mod store;
pub mod telemetry;
pub mod web;

pub use tidewatch_clock as clock;
pub use tidewatch_core as domain;
#[cfg(feature = "nats")]
pub use tidewatch_publisher as publisher;

/// The way to embed tidewatch; see the crate's documentation.
#[derive(Clone, Copy, Debug)]
pub struct Pipeline;

impl Pipeline {
    /// A builder with the default configuration.
    pub fn builder() -> app::Builder {
        app::Builder::default()
    }
}
