//! Shows that the examples run: the pipeline inside another program, and with a source of one's
//! own. And that the documented diffs of another aggregate, detector, source and sink are the
//! sources, and those of another topic and key can still be put in.
//!
//! How: starts each example as it was built with the tests. The one that embeds prints its address
//! as the binary does; the page, the API and a posted event are tried under its own path. The one
//! that counts is killed on its way and started again.

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

#[test]
fn a_source_of_ones_own_is_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let run = || {
        let mut command = Command::new(example("counting_source"));
        command.arg(folder.path()).stdout(Stdio::piped()).spawn().unwrap()
    };
    // Killed as soon as something is committed.
    let mut killed = run();
    let wal = folder.path().join("state.db-wal");
    until(20, "a commit, or the end", || {
        let committed = wal.metadata().is_ok_and(|wal| wal.len() > 200_000);
        (committed || killed.try_wait().unwrap().is_some()).then_some(())
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    let output = run().wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "100000 events counted\n");
}

/// What `docs/extending.md` calls all of it is what is compiled.
#[test]
fn the_diffs_of_another_one_are_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/extending.md")).unwrap();
    let (mut files, mut source, mut from) = (Vec::new(), Vec::new(), 0);
    // What is made up for the page stands in blocks of another kind.
    let blocks = text.split("```diff\n").skip(1);
    for line in blocks.flat_map(|rest| rest.split("```").next().unwrap_or_default().lines()) {
        if let Some(path) = line.strip_prefix("+++ b/") {
            let file = std::fs::read_to_string(root.join(path)).unwrap();
            source = file.lines().map(str::to_owned).collect();
            from = 0;
            files.push(path);
        } else if let Some(added) = line.strip_prefix('+') {
            // In the order of the file; in a file of its own nothing is left out in between.
            let next = source[from..].iter().position(|known| known == added);
            let next = next.unwrap_or_else(|| panic!("{files:?}: {added:?}"));
            let own = !files.last().unwrap().ends_with("mod.rs");
            assert!(next == 0 || from == 0 || !own, "{files:?}: something before {added:?}");
            from += next + 1;
        }
    }
    assert!(files.len() >= 5, "{files:?}");
}

/// What `docs/extending.md` makes up for the page goes into the sources as they are.
#[test]
fn the_patches_of_another_one_apply() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/extending.md")).unwrap();
    let patches = text.split("```patch\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut tried = 0;
    for patch in patches {
        let mut git = Command::new("git");
        git.current_dir(root).args(["apply", "--check", "-"]).stdin(Stdio::piped());
        let mut git = git.spawn().unwrap();
        git.stdin.take().unwrap().write_all(patch.as_bytes()).unwrap();
        assert!(git.wait().unwrap().success(), "it does not apply any more:\n{patch}");
        tried += 1;
    }
    assert!(tried >= 2);
}

fn example(name: &str) -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_tidewatch"));
    let path = binary.with_file_name("examples").join(name);
    assert!(path.exists(), "{} was not built: cargo build --examples", path.display());
    path
}
