//! Delivers notifications: one thing, over one channel, to the people or the program behind it.
//!
//! A [`Channel`] turns a notification into what its receiver takes and hands it over; it blocks, and
//! keeps nothing. Order, retries, back-off and what becomes of what is refused are the business of
//! whoever calls it. One file for each kind; `kind.rs` has the list. What goes into a stream is written here
//! ([`Events`]) and published by whoever is connected.
//!
//! Nothing here connects to an address that was not checked first, follows a redirect, reads an answer
//! without a bound, or shows a secret.

mod channel;
mod event;
mod guard;
mod http;
mod kind;
mod mailbox;
mod sample;
mod seal;
mod secret;
mod template;
mod view;

pub use channel::{Channel, Failure, Receipt};
pub use event::Events;
pub use kind::{ChannelKeys, Kind, Place, Spec, Way, Wrong};
pub use mailbox::{Listed, Mail, Mailbox};
pub use sample::{nudge_sample, samples};
pub use seal::seal;
