//! What the tests of the store share: units of made-up content, a clock set by
//! hand, a small disk.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use tempfile::TempDir;
use tidewatch::actors::ports::StateStore as _;
use tidewatch::clock::{Clock, SystemClock};
use tidewatch::domain::alert::{Alert, Detail};
use tidewatch::domain::commit::{
    CommitUnit, LateEvent, Restored, SectionWriter, Snapshot, SourceIdentity, SourcePosition,
};
use tidewatch::domain::event::{DeadLetter, Hints};
use tidewatch::domain::hash::EventIdentity;
use tidewatch::domain::time::EpochMs;
use tidewatch::store::state::StateDb;

use super::skip::skipped;

/// Longest wait for a condition.
const PATIENCE_MS: i64 = 60_000;

/// Asks until it is so, or fails.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let clock = SystemClock::shared();
    while !so() {
        assert!(clock.elapsed() < PATIENCE_MS, "{what} did not come");
        std::thread::yield_now();
    }
}

/// A clock set by hand.
pub struct Hand(AtomicI64);

impl Hand {
    pub fn at(wall: EpochMs) -> Arc<Hand> {
        Arc::new(Hand(AtomicI64::new(wall)))
    }

    pub fn set(&self, wall: EpochMs) {
        self.0.store(wall, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn wall(&self) -> EpochMs {
        self.0.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> i64 {
        self.wall()
    }
}

/// A section of state: 4 KB of event identities that no other section has.
pub fn section(epoch: u64, part: u64) -> Vec<u8> {
    sized_section(epoch, part, 256)
}

/// The same with `len` identities of 16 bytes.
pub fn sized_section(epoch: u64, part: u64, len: usize) -> Vec<u8> {
    let mut state = (epoch << 32 | part).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let next = || EventIdentity { high: next(), low: next() };
    let identities: Vec<_> = std::iter::repeat_with(next).take(len).collect();
    let mut section = SectionWriter::identities();
    section.until((epoch * 1_000 + part) as i64, &identities);
    section.finish()
}

/// A commit with two sections and a position.
pub fn unit(epoch: u64) -> CommitUnit {
    CommitUnit {
        epoch,
        positions: vec![SourcePosition {
            source: SourceIdentity { name: "log".into(), incarnation: "1-2".into() },
            position: epoch * 10,
            fingerprint: epoch.wrapping_mul(u64::MAX / 3),
            cursor: Bytes::default(),
            watermark: epoch as i64 * 1_003,
        }],
        watermark: epoch as i64 * 1_000,
        wall: epoch as i64 * 1_001,
        delta: vec![section(epoch, 0), section(epoch, 1)],
        ..CommitUnit::default()
    }
}

/// Commits `unit` for each epoch.
pub fn commit_all(db: &mut StateDb, epochs: std::ops::RangeInclusive<u64>) {
    for epoch in epochs {
        db.commit(&unit(epoch)).unwrap();
    }
}

/// What these sections make when absorbed in order, as sections again.
pub fn encoded<'a>(sections: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut snapshot = Snapshot::default();
    sections.for_each(|section| snapshot.absorb(section).unwrap());
    snapshot.encode(1 << 20)
}

/// The restored state as sections.
pub fn sections(restored: &Restored) -> Vec<Vec<u8>> {
    restored.snapshot.encode(1 << 20)
}

pub fn some_alerts(range: std::ops::RangeInclusive<u64>) -> Vec<Alert> {
    range
        .map(|n| Alert {
            n,
            id: format!("{n:032x}"),
            kind: "abandoned".into(),
            severity: "info".into(),
            at: n as i64,
            subject: format!("u{n}"),
            title: "A cart was left.".into(),
            detail: Detail::of(&serde_json::json!({"value": 12.5})),
        })
        .collect()
}

pub fn late(position: u64) -> LateEvent {
    let raw = format!("{{\"n\":{position}}}");
    LateEvent {
        source: 0,
        position,
        at: 5,
        behind_ms: 7,
        key: "k".into(),
        reason: String::new(),
        raw,
    }
}

pub fn dead_letter(position: u64) -> DeadLetter {
    DeadLetter {
        source: 0,
        position,
        reason: "no type".into(),
        raw: vec![0xff, position as u8],
        hints: Hints::default(),
    }
}

/// A small file system of its own, unmounted at the end.
pub struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// Mounts one of so many MB; `None` (and the reason printed) when that is not
    /// permitted here.
    pub fn mount(megabytes: u32) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(dir.path())
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(SmallDisk { dir }),
            Ok(output) => {
                skipped(format_args!("mount: {}", String::from_utf8_lossy(&output.stderr)));
                None
            }
            Err(error) => {
                skipped(format_args!("mount: {error}"));
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazy: files may still be open when a test fails.
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).output();
    }
}
