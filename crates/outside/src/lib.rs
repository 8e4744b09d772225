//! What parts share that reach outside, each thing in one place:
//!
//! - [`secret`]: a text that stands in the configuration, in a variable or in a file.
//! - [`hidden`]: what is not repeated of what others say.
//! - [`mod@file`]: a file that is replaced whole or not at all.
//! - `tls`, with the feature of that name: whom to trust.

pub mod file;
pub mod hidden;
pub mod secret;
#[cfg(feature = "tls")]
pub mod tls;
