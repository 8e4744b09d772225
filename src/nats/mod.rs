//! NATS JetStream: events in, alerts and boards out.
//!
//! - [`gateway`]: the stream as the log behind `POST /v1/events`.
//! - [`link`]: one connection for everything, on a thread of its own; its state is seen,
//!   and what the server does not let it do (`denied`).
//! - [`publisher`]: for services that publish events; `tidewatch publish` uses it too.
//! - [`out`]: alerts, dead letters and boards to streams and buckets; the micro service.
//! - [`settings`]: what can be set; `config` reads it, nothing here does.
//! - [`source`]: a stream as a source of events; [`wire`]: its messages as items;
//!   [`manage`]: streams and consumers, made or checked.
//!
//! Everything here knows the actors' ports and no other shell.

pub mod gateway;
pub mod manage;
pub mod out;
pub mod settings;
pub mod source;
pub mod wire;

pub use tidewatch_publisher as publisher;
pub use tidewatch_publisher::{Denied, NatsError, SERVER_MIN, link};
