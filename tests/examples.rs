//! Shows that the embedding example runs: the pipeline inside another program.
//!
//! How: starts the example as it was built with the tests. It prints its address as the
//! binary does; the page, the API and a posted event are tried under its own path.

mod support;

use std::path::{Path, PathBuf};

use support::events::Event;
use support::{Folder, until};

/// Where the example mounts the routes in its host's application.
const MOUNT: &str = "live/";

#[test]
fn the_embedding_example_takes_events_and_shows_them() {
    let folder = Folder::default();
    let mut server = folder.program(&example("embed"), &[]).listening();
    assert!(server.url.ends_with(MOUNT), "it is mounted under a path: {}", server.url);
    server.wait_ready();
    let page = server.http.get(&server.at(""));
    assert_eq!(page.status, 200);
    assert!(String::from_utf8_lossy(&page.body).contains("data-state"), "the page");
    let before = server.pipeline()["applied"].as_u64().unwrap();
    let line = Event::new("x", 1_700_000_000_000, "page_view", "guest").line();
    assert_eq!(support::Poster::new(server.target()).post(&[line]).status, 202);
    until(20, "the event counts", || {
        (server.pipeline()["applied"].as_u64()? > before).then_some(())
    });
    assert_eq!(server.stop().code(), Some(0), "it drains");
}

fn example(name: &str) -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_tidewatch"));
    let path = binary.with_file_name("examples").join(name);
    assert!(path.exists(), "{} was not built: cargo build --examples", path.display());
    path
}
