//! What the black-box tests share: the real binary as a child process, an HTTP and a
//! websocket client that trust nothing, sets of events with their true numbers, and a slow,
//! simple model to compare with.
//!
//! Nothing here uses the library's own code: a fault in it must not hide itself.

#![allow(dead_code, reason = "each test file uses its own part of this")]
#![allow(unused_imports, reason = "each test file uses its own part of this")]

pub mod answers;
pub mod checks;
pub mod disk;
pub mod drawn;
pub mod events;
pub mod funnels;
pub mod generate;
pub mod http;
pub mod js;
pub mod kinds;
pub mod mail;
pub mod model;
pub mod nats;
pub mod oracle;
pub mod patterns;
pub mod places;
pub mod server;
pub mod sets;
pub mod skip;
pub mod wait;
pub mod ws;
pub mod zones;

pub use answers::{Answers, Reply};
pub use checks::check;
pub use disk::Disk;
pub use events::{Event, Random, Session};
pub use http::{Http, Poster, Target};
pub use js::Js;
pub use mail::MailServer;
pub use nats::{Broker, Cluster, Proxy};
pub use server::{Folder, Run, Server, run};
pub use sets::Set;
pub use skip::skipped;
pub use wait::{Stopwatch, pause, until};

/// Only events move time, every bound at its default: sets of long ago come in over HTTP.
pub const HOLD: &str = "[time]\nidle = \"hold\"\n";
