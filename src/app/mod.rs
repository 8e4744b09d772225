//! The composition root: the only part that knows all others. It turns a configuration
//! into a running pipeline with its store, log, broadcaster and web state, for the
//! commands (`serve`, `demo`, `replay`) and for programs that embed tidewatch.

mod backfill;
mod builder;
#[cfg(feature = "notify")]
mod channels;
#[cfg(not(feature = "notify"))]
#[path = "no_channels.rs"]
mod channels;
mod commands;
mod demo;
#[cfg(feature = "replay")]
mod dry_run;
mod figures;
#[cfg(feature = "replay")]
mod init;
#[cfg(feature = "replay")]
mod map;
#[cfg(feature = "nats")]
mod nats;
#[cfg(not(feature = "nats"))]
#[path = "no_nats.rs"]
mod nats;
#[cfg(feature = "nats")]
mod nats_out;
#[cfg(all(feature = "nats", feature = "notify"))]
mod nats_told;
#[cfg(feature = "replay")]
mod output;
mod parts;
#[cfg(all(feature = "nats", feature = "replay"))]
mod past;
#[cfg(feature = "prove")]
mod prove;
#[cfg(feature = "nats")]
mod publish;
#[cfg(feature = "replay")]
mod rejections;
mod reload;
#[cfg(feature = "replay")]
mod replay;
mod running;
mod scratch;
mod serving;
mod tables;
mod thread;
mod ways;

pub use builder::{Builder, StartError};
pub use commands::commands;
pub use running::Running;
