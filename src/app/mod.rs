//! The composition root: the only part that knows all others. It turns a configuration
//! into a running pipeline with its store, log, broadcaster and web state, for the
//! commands (`serve`, `demo`, `replay`) and for programs that embed tidewatch.

mod builder;
mod commands;
mod figures;
mod map;
mod nats;
mod nats_out;
mod output;
mod parts;
mod prove;
mod publish;
mod rejections;
mod replay;

pub use crate::nats::out::DRAIN as NATS_DRAIN;
pub use builder::{Builder, Running, StartError};
pub use commands::commands;
