//! tidewatch turns an event stream into live operational numbers.

pub mod actors;
pub mod clock;
pub mod domain;
pub mod source;
