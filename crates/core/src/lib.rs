//! The pure part: values in, values out.
//!
//! Nothing here reads a clock, a file, a socket or the environment, and nothing
//! is asynchronous. Time and randomness are arguments. The shells in `actors`,
//! `store`, `source` and `web` call down into this part and carry out what it
//! returns; `tests/layering.rs` keeps it so.
//!
//! Suggested reading order: [`time`], [`number`], [`event`], [`session`], [`metric`],
//! [`commit`], [`board`].
//!
//! Invariants kept here:
//! - I2 (pure step): the same events in the same log order give the same state,
//!   whatever the batch size, the number of shards or the moment of a crash.
//! - I3 (time is an input): decisions use the watermark stamped on an event or
//!   on a barrier, never a clock.
//! - I4 (outputs have names): an alert id is a function of what it says.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod alert;
pub mod anomaly;
pub mod arrival;
pub mod at_risk;
pub mod board;
pub mod commit;
pub mod condition;
pub mod event;
pub mod expr;
pub mod facts;
pub mod fault;
pub mod hash;
pub mod incident;
pub mod keeper;
pub mod keyed;
pub mod lag;
pub mod ledger;
pub mod metric;
pub mod near;
pub mod nudge;
pub mod number;
pub mod pattern;
pub mod readers;
pub mod seen;
pub mod session;
pub mod settings;
pub mod time;
#[cfg(test)]
mod trials;
pub mod unusable;
pub mod verdict;
pub mod wire;
