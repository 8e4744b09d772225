//! Deltas are folded into snapshots while commits go on. Whenever the process ends, the files say
//! what was committed: the plain sum of all sections, whatever was folded, half installed or
//! half cleared.

use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tidewatch::actors::ports::StateStore as _;
use tidewatch::domain::commit::{CommitUnit, SectionWriter, Snapshot};
use tidewatch::store::folder::Folder;
use tidewatch::store::log::{self, EmbeddedLog};
use tidewatch::store::state::StateDb;
use tidewatch::store::{Settings, folder};

use crate::support::{Hand, unit};

fn open(folder: &Folder) -> StateDb {
    let log = EmbeddedLog::open(folder, Hand::at(0), log::Settings::default()).unwrap();
    let settings = Settings {
        snapshot_delta_bytes: 24 << 10,
        snapshot_part_bytes: 4 << 10,
        ..Settings::default()
    };
    StateDb::open(folder, log, settings).unwrap()
}

/// Sessions that open, grow, shrink and end, of keys short and long.
fn sessions(random: &mut StdRng) -> Vec<u8> {
    let mut writer = SectionWriter::sessions();
    for _ in 0..random.random_range(1..80) {
        let user: u32 = random.random_range(0..200);
        let key = match user % 7 {
            0 => format!("{user}{}", "x".repeat(300)),
            _ => format!("u{user}"),
        };
        let record = match random.random_range(0..5) {
            0 => Vec::new(),
            _ => vec![random.random(); random.random_range(1..120)],
        };
        writer.record(key.as_bytes(), &record);
    }
    writer.finish()
}

fn copy(from: &Path, to: &Path) {
    for file in [folder::STATE, "state.db-wal", folder::LOG, "log.db-wal", "marks"] {
        if from.join(file).exists() {
            fs::copy(from.join(file), to.join(file)).unwrap();
        }
    }
}

#[test]
fn wherever_the_process_ends_the_files_say_what_was_committed() {
    let seed: u64 = std::env::var("TIDEWATCH_TEST_SEED")
        .map_or_else(|_| rand::rng().random(), |text| text.parse().expect("a number"));
    println!("TIDEWATCH_TEST_SEED={seed}");
    let random = &mut StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let (mut db, mut plain) = (open(&folder), Snapshot::default());
    let (mut ends, mut folded) = (0, 0);
    for epoch in 1..=120 {
        let mut delta = vec![sessions(random), sessions(random)];
        delta.extend(
            (random.random_range(0..4) == 0).then(|| unit(epoch).delta).into_iter().flatten(),
        );
        let floor = (epoch as i64 - 20) * 1_000;
        delta.push(SectionWriter::identity_floor(floor));
        delta.iter().for_each(|section| plain.absorb(section).unwrap());
        db.commit(&CommitUnit { delta, ..unit(epoch) }).unwrap();
        for _ in 0..random.random_range(0..4) {
            db.tidy().unwrap();
            if random.random_range(0..8) != 0 {
                continue;
            }
            ends += 1;
            let end = tempfile::tempdir().unwrap();
            copy(dir.path(), end.path());
            let restored = open(&Folder::open(end.path()).unwrap()).load().unwrap().unwrap();
            assert_eq!(restored.epoch, epoch);
            assert!(restored.snapshot == plain, "another state at commit {epoch}, seed {seed}");
        }
        folded = folded.max(db.figures().snapshot_bytes.load(std::sync::atomic::Ordering::Relaxed));
    }
    assert!(ends > 5 && folded > 0, "{ends} ends, {folded} bytes folded, seed {seed}");
}
