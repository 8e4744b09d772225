//! Channels against servers: real ones where there are some, and those that misbehave.

mod alertmanager;
mod http;
mod mail;
mod rig;
#[path = "../../../../tests/support/skip.rs"]
mod skip;
