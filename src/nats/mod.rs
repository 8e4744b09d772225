//! NATS JetStream: events in, alerts and boards out.
//!
//! - [`settings`]: what can be set; `config` reads it, nothing here does. A build without the
//!   feature `nats` has this alone.
//! - `bucket`: a key-value bucket as the table of a lookup.
//! - `gateway`: the stream as the log behind `POST /v1/events`.
//! - `link`: one connection for everything, on a thread of its own; its state is seen,
//!   and what the server does not let it do (`denied`).
//! - `publisher`: for services that publish events; `tidewatch publish` uses it too.
//! - `out`: alerts, dead letters and boards to streams and buckets; the micro service.
//! - `source`: a stream as a source of events; `wire`: its messages as items;
//!   `manage`: streams and consumers, made or checked.
//!
//! Everything here knows the actors' ports and no other shell.

#[cfg(feature = "nats")]
mod bucket;
#[cfg(feature = "nats")]
pub mod gateway;
#[cfg(feature = "nats")]
pub mod manage;
#[cfg(feature = "nats")]
pub mod out;
pub mod settings;
#[cfg(feature = "nats")]
pub mod source;
#[cfg(feature = "nats")]
pub mod wire;

#[cfg(feature = "nats")]
pub use tidewatch_publisher as publisher;
#[cfg(feature = "nats")]
pub use tidewatch_publisher::{Denied, NatsError, SERVER_MIN, link};
