//! tidewatch turns an event stream into live operational numbers.

pub mod actors;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod domain;
pub mod telemetry;
