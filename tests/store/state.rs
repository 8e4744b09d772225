//! The state store: commits, damage, full disks, delivery, snapshots, bounds.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tempfile::TempDir;
use tidewatch::actors::ports::{
    IncidentRecords as _, Records as _, StateStore as _, StoreError, Taker,
};
use tidewatch::domain::commit::{CommitUnit, LateEvent, SourceIdentity, SourcePosition};
use tidewatch::domain::incident::{Notification, Step};
use tidewatch::domain::metric::Number;
use tidewatch::domain::metric::RollupRow;
use tidewatch::store::folder::Folder;
use tidewatch::store::log::{self, EmbeddedLog};
use tidewatch::store::records::StoredRecords;
use tidewatch::store::state::StateDb;
use tidewatch::store::{self, Settings};

use crate::support::{
    self, Hand, SmallDisk, commit_all, dead_letter, late, section, sections, sized_section,
    some_alerts, unit,
};

fn log_of(folder: &Folder) -> EmbeddedLog {
    EmbeddedLog::open(folder, Hand::at(0), log::Settings::default()).unwrap()
}

fn open(folder: &Folder, settings: Settings) -> StateDb {
    StateDb::open(folder, log_of(folder), settings).unwrap()
}

/// A data folder with five commits, closed.
fn some_state() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let mut db = open(&folder, Settings::default());
    commit_all(&mut db, 1..=5);
    db.deliver_alerts().unwrap();
    dir
}

#[test]
fn a_new_folder_has_no_state_and_keeps_its_seed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let mut db = open(&folder, Settings::default());
    assert!(db.load().unwrap().is_none());
    let seed = db.seed();
    drop(db);
    let mut db = open(&folder, Settings::default());
    assert!(db.load().unwrap().is_none());
    assert_eq!(db.seed(), seed);
}

#[test]
fn i1_what_is_committed_is_loaded_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let mut db = open(&folder, Settings::default());
    let position = |name: &str, position| SourcePosition {
        source: SourceIdentity { name: name.into(), incarnation: "i-1".into() },
        position,
        fingerprint: u64::MAX - position,
        cursor: name.repeat(position as usize).into(),
        watermark: position as i64,
    };
    let mut first = unit(1);
    first.positions = vec![position("a", 7), position("b", 9)];
    db.commit(&first).unwrap();
    let mut second = unit(2);
    second.positions = vec![position("b", 12)];
    (second.watermark, second.wall, second.delta) = (-5, 1_234, Vec::new());
    db.commit(&second).unwrap();
    drop(db);

    let restored = open(&folder, Settings::default()).load().unwrap().unwrap();
    assert_eq!((restored.epoch, restored.watermark, restored.wall), (2, -5, 1_234));
    assert_eq!(restored.positions, [position("a", 7), position("b", 12)]);
    assert_eq!(sections(&restored), sections_of(&[first.delta]));
}

#[test]
fn i6_a_commit_must_follow_the_last_one() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let mut db = open(&folder, Settings::default());
    commit_all(&mut db, 1..=2);
    for epoch in [0, 1, 2, 4] {
        let refused = db.commit(&unit(epoch)).unwrap_err();
        assert!(matches!(refused, StoreError::NotParent { epoch: e, .. } if e == epoch));
    }
    db.commit(&unit(3)).unwrap();
}

#[test]
fn i6_a_former_owner_cannot_commit() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let log = log_of(&folder);
    let mut former = StateDb::open(&folder, log.clone(), Settings::default()).unwrap();
    commit_all(&mut former, 1..=1);
    // The lock keeps other processes out; this stands for one that got past it.
    let mut owner = StateDb::open(&folder, log, Settings::default()).unwrap();
    assert!(matches!(former.commit(&unit(2)), Err(StoreError::NotParent { .. })));
    commit_all(&mut owner, 2..=2);
    assert!(matches!(former.commit(&unit(2)), Err(StoreError::NotParent { .. })));
}

/// Opens and loads a copy of `good` with its `state.db` changed.
fn load_changed(
    good: &[u8],
    log: &EmbeddedLog,
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = good.to_vec();
    change(&mut bytes);
    fs::write(dir.path().join("state.db"), bytes).unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let mut db = StateDb::open(&folder, log.clone(), Settings::default())?;
    Ok(db.load()?.map(|restored| sections(&restored)))
}

/// Either the state is the same, or the error names the file: never less state.
fn check_damage(what: &str, good: &[Vec<u8>], got: Result<Option<Vec<Vec<u8>>>, StoreError>) {
    match got {
        Ok(Some(found)) => assert_eq!(found, good, "{what}: another state"),
        Ok(None) => panic!("{what}: a silent start from nothing"),
        Err(error) => assert!(error.to_string().contains("state.db"), "{what}: {error}"),
    }
}

#[test]
fn a_torn_state_file_is_named_and_never_an_empty_start() {
    let dir = some_state();
    let good = fs::read(dir.path().join("state.db")).unwrap();
    assert!(!dir.path().join("state.db-wal").exists(), "a closed file is whole");
    let expected = sections_of(&(1..=5).map(|epoch| unit(epoch).delta).collect::<Vec<_>>());
    let elsewhere = tempfile::tempdir().unwrap();
    let log = log_of(&Folder::open(elsewhere.path()).unwrap());
    check_damage("unchanged", &expected, load_changed(&good, &log, |_| {}));

    let page = 16_384;
    let mut cuts = vec![0, 1, 15, 16, 99, 100, 4_096, good.len() - 1];
    cuts.extend((1..good.len() / page).map(|n| n * page));
    for cut in cuts {
        let got = load_changed(&good, &log, |bytes| bytes.truncate(cut));
        assert!(got.is_err(), "cut at {cut}: {got:?}");
        check_damage(&format!("cut at {cut}"), &expected, got);
    }

    let seed = rand_seed();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let header = 0..100;
    let anywhere = (0..150).map(|_| random.random_range(100..good.len())).collect::<Vec<_>>();
    let mut refused = 0;
    for at in header.chain(anywhere) {
        let flip = 1 << (at % 8);
        let got = load_changed(&good, &log, |bytes| bytes[at] ^= flip);
        refused += u32::from(got.is_err());
        check_damage(&format!("byte {at} flipped"), &expected, got);
    }
    // Most flips hit unused space; what matters is that none of them made another state.
    assert!(refused > 20, "only {refused} of 250 flips were noticed");
}

#[test]
fn a_flipped_byte_in_a_commit_is_damage() {
    let dir = some_state();
    let good = fs::read(dir.path().join("state.db")).unwrap();
    let part = &section(3, 0)[100..164];
    let at = good.windows(part.len()).position(|window| window == part).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let log = log_of(&Folder::open(elsewhere.path()).unwrap());
    let error = load_changed(&good, &log, |bytes| bytes[at + 5] ^= 0x10).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("start again from the log"), "no remedy in: {text}");
}

#[test]
fn a_missing_file_with_its_write_ahead_log_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let log = log_of(&folder);
    fs::write(dir.path().join("state.db-wal"), b"left over").unwrap();
    let error = StateDb::open(&folder, log, Settings::default()).err().unwrap();
    assert!(matches!(&error, StoreError::Damaged { what, .. } if what.contains("state.db-wal")));
}

#[test]
fn another_format_and_a_foreign_file_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let log = log_of(&folder);
    let path = dir.path().join("state.db");
    fs::copy(dir.path().join("log.db"), &path).unwrap();
    let error = StateDb::open(&folder, log.clone(), Settings::default()).err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");

    fs::remove_file(&path).unwrap();
    drop(StateDb::open(&folder, log.clone(), Settings::default()).unwrap());
    let checksum = {
        use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};
        |format: &str| xxh3_64_with_seed(format.as_bytes(), xxh3_64(b"format")) as i64
    };
    // One of a version to come, and those before it that kept their numbers in another way.
    for format in [77, 2, 1] {
        let text = format.to_string();
        let file = rusqlite::Connection::open(&path).unwrap();
        let set = "UPDATE meta SET value = ?1, checksum = ?2 WHERE key = 'format'";
        file.execute(set, rusqlite::params![text, checksum(&text)]).unwrap();
        drop(file);
        let error = StateDb::open(&folder, log.clone(), Settings::default()).err().unwrap();
        let said = error.to_string();
        assert!(
            matches!(error, StoreError::Format { found, known: 5, .. } if found == format),
            "{said}"
        );
        for word in ["state.db", &text, "use the version that wrote it, or stop tidewatch"] {
            assert!(said.contains(word), "{word} in {said}");
        }
    }
}

#[test]
fn a_file_without_incidents_gets_room_for_them() {
    use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let log = log_of(&folder);
    let mut db = StateDb::open(&folder, log.clone(), Settings::default()).unwrap();
    let mut first = unit(1);
    first.alerts = some_alerts(1..=3);
    db.commit(&first).unwrap();
    drop(db);
    let path = dir.path().join("state.db");
    let file = rusqlite::Connection::open(&path).unwrap();
    for table in ["incidents", "silences", "incident_log", "notifications"] {
        file.execute_batch(&format!("DROP TABLE {table}")).unwrap();
    }
    let checksum = xxh3_64_with_seed(b"3", xxh3_64(b"format")) as i64;
    let set = "UPDATE meta SET value = '3', checksum = ?1 WHERE key = 'format'";
    file.execute(set, [checksum]).unwrap();
    drop(file);
    let mut db = StateDb::open(&folder, log, Settings::default()).unwrap();
    db.commit(&unit(2)).unwrap();
    let records = StoredRecords::open(dir.path()).unwrap();
    assert_eq!(records.alerts(0, 9).unwrap(), some_alerts(1..=3));
    assert_eq!(records.incident_log(0, None, 9).unwrap(), []);
}

/// Notifications `first..` for channels in turn.
fn told(epoch: u64, first: u64, count: u64, channels: &[&str]) -> CommitUnit {
    let mut commit = unit(epoch);
    commit.incidents.notifications = (first..first + count)
        .map(|n| Notification {
            n,
            key: format!("{n:032x}"),
            route: "r".into(),
            channel: channels[n as usize % channels.len()].into(),
            step: Step::Fired,
            at: n as i64,
            about: format!("about {n}"),
            facts: serde_json::json!({"n": n}),
            recipient: None,
        })
        .collect();
    commit
}

/// What a channel took leaves at the bound, what it did not at twice the bound, counted; what nothing
/// takes leaves at the bound as well.
#[test]
fn notifications_wait_for_their_channel_and_what_leaves_before_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let settings = Settings { incident_log_max: 100, ..Settings::default() };
    let mut db = StateDb::open(&folder, log_of(&folder), settings).unwrap();
    let (quick, slow) = (Arc::new(Taker::default()), Arc::new(Taker::default()));
    let takers = [("quick".into(), Arc::clone(&quick)), ("slow".into(), Arc::clone(&slow))];
    db.figures().keep_for(takers.into());
    let records = StoredRecords::open(dir.path()).unwrap();
    let channels = ["quick", "slow", "gone"];
    let kept = |channel: &str| {
        let rows = records.notifications(0, Some(channel), 1_000).unwrap();
        rows.iter().map(|one| one.n).collect::<Vec<_>>()
    };
    let of = |channel: usize, from: u64, to: u64| {
        (from..=to).filter(|n| *n as usize % 3 == channel).collect::<Vec<_>>()
    };
    for epoch in 1..=19 {
        db.commit(&told(epoch, (epoch - 1) * 10 + 1, 10, &channels)).unwrap();
        quick.taken.store(epoch * 10, Ordering::Release);
    }
    // Each has 63 or 64; what nothing takes goes by the numbers of all.
    assert_eq!(kept("quick"), of(0, 1, 190));
    assert_eq!(kept("gone"), of(2, 91, 190));
    for epoch in 20..=90 {
        db.commit(&told(epoch, (epoch - 1) * 10 + 1, 10, &channels)).unwrap();
        quick.taken.store(epoch * 10, Ordering::Release);
    }
    // 300 of each: the last hundred, and of what waits twice as many.
    let newest = |channel: usize, upto: u64, count: usize| {
        let all = of(channel, 1, upto);
        all[all.len() - count..].to_vec()
    };
    assert_eq!(kept("quick"), newest(0, 900, 100));
    assert_eq!(kept("slow"), newest(1, 900, 200));
    assert_eq!(kept("gone"), of(2, 801, 900));
    let lost = 100;
    assert_eq!(slow.lost.load(Ordering::Relaxed), lost);
    assert_eq!(quick.lost.load(Ordering::Relaxed), 0);
    // A flood for one is nothing to the others.
    for epoch in 91..=290 {
        db.commit(&told(epoch, (epoch - 1) * 10 + 1, 10, &["quick"])).unwrap();
        quick.taken.store(epoch * 10, Ordering::Release);
    }
    assert_eq!(kept("slow"), newest(1, 900, 200));
    assert_eq!(kept("quick"), (2_801..=2_900).collect::<Vec<_>>());
    assert_eq!((kept("gone"), slow.lost.load(Ordering::Relaxed)), (Vec::new(), lost));
    // It is there again, and takes all; the bound is kept with the next one.
    slow.taken.store(2_900, Ordering::Release);
    db.commit(&told(291, 2_901, 10, &channels)).unwrap();
    let mut wanted = newest(1, 900, 200);
    wanted.extend(of(1, 2_901, 2_910));
    assert_eq!(kept("slow"), wanted[wanted.len() - 100..]);
    assert_eq!(slow.lost.load(Ordering::Relaxed), lost);
    assert_eq!(records.notification_channels().unwrap(), ["gone", "quick", "slow"]);
}

/// Lines of rules stood in the feed up to format 4: they stay readable until they leave by its bounds.
#[test]
fn a_feed_of_before_keeps_its_lines_of_rules() {
    use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let log = log_of(&folder);
    let mut db = StateDb::open(&folder, log.clone(), Settings::default()).unwrap();
    let mut alerts = some_alerts(1..=3);
    alerts[1].kind = "anomaly".into();
    let mut first = unit(1);
    first.alerts.clone_from(&alerts);
    db.commit(&first).unwrap();
    db.deliver_alerts().unwrap();
    drop(db);
    let file = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
    let checksum = xxh3_64_with_seed(b"4", xxh3_64(b"format")) as i64;
    let set = "UPDATE meta SET value = '4', checksum = ?1 WHERE key = 'format'";
    file.execute(set, [checksum]).unwrap();
    drop(file);
    drop(StateDb::open(&folder, log, Settings::default()).unwrap());
    let records = StoredRecords::open(dir.path()).unwrap();
    assert_eq!(records.alerts(0, 9).unwrap(), alerts);
    assert_eq!(records.alert_log(0, 9).unwrap(), alerts);
    assert_eq!(alerts.iter().filter(|alert| alert.is_occurrence()).count(), 2);
    assert_eq!(records.incident_log_newest().unwrap(), 0);
}

#[test]
fn a_full_disk_is_named_and_the_same_commit_succeeds_when_there_is_room() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![1; 24 << 20]).unwrap();
    let folder = Folder::open(&disk.path().join("data")).unwrap();
    let mut db = open(&folder, Settings::default());
    let big = |epoch| {
        let mut unit = unit(epoch);
        unit.delta = (0..16).map(|part| sized_section(epoch, part, 16 << 10)).collect();
        unit
    };
    let mut epoch = 1;
    let refused = loop {
        match db.commit(&big(epoch)) {
            Ok(()) => epoch += 1,
            Err(error) => break error,
        }
        // Housekeeping may find the disk full as well; it must not harm.
        let _ = db.tidy();
        assert!(epoch < 20, "the small disk never got full");
    };
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
    assert!(matches!(db.commit(&big(epoch)), Err(StoreError::DiskFull { .. })));
    fs::remove_file(&ballast).unwrap();
    db.commit(&big(epoch)).unwrap();
    db.tidy().unwrap();
    drop(db);
    let restored = open(&folder, Settings::default()).load().unwrap().unwrap();
    let all: Vec<_> = (1..=epoch).map(|epoch| big(epoch).delta).collect();
    assert_eq!(restored.epoch, epoch);
    assert_eq!(sections(&restored), sections_of(&all));
}

#[test]
fn i5_alerts_are_delivered_once_although_the_mark_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let mut db = open(&folder, Settings::default());
    let mut first = unit(1);
    first.alerts = some_alerts(1..=9_000);
    db.commit(&first).unwrap();
    drop(db);
    // A crash between the two files leaves state.db as it was before the delivery.
    let before = fs::read(dir.path().join("state.db")).unwrap();
    let mut db = open(&folder, Settings::default());
    assert_eq!(db.deliver_alerts().unwrap(), 9_000);
    assert_eq!(db.deliver_alerts().unwrap(), 0);
    drop(db);
    fs::write(dir.path().join("state.db"), before).unwrap();
    let mut db = open(&folder, Settings::default());
    assert_eq!(db.deliver_alerts().unwrap(), 9_000);
    let mut second = unit(2);
    second.alerts = some_alerts(9_001..=9_010);
    db.commit(&second).unwrap();
    assert_eq!(db.deliver_alerts().unwrap(), 10);

    let records = StoredRecords::open(dir.path()).unwrap();
    let delivered: Vec<_> = (0..10_000)
        .step_by(1_000)
        .flat_map(|after| records.alert_log(after, 1_000).unwrap())
        .collect();
    assert_eq!(delivered, some_alerts(1..=9_010));
}

#[test]
fn alerts_that_go_back_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let mut db = open(&folder, Settings::default());
    let mut first = unit(1);
    first.alerts = some_alerts(1..=3);
    db.commit(&first).unwrap();
    let mut second = unit(2);
    second.alerts = some_alerts(3..=4);
    assert!(matches!(db.commit(&second), Err(StoreError::Io { .. })));
    commit_all(&mut db, 2..=2);
}

#[test]
fn records_list_what_was_committed_while_the_store_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let mut db = open(&folder, Settings::default());
    let records = StoredRecords::open(dir.path()).unwrap();
    let mut all_late = Vec::new();
    for epoch in 1..=4u64 {
        let mut unit = unit(epoch);
        unit.alerts = some_alerts(epoch * 5_000 - 4_999..=epoch * 5_000);
        unit.late = (0..3).map(|n| late(epoch * 10 + n)).collect();
        unit.dead_letters = (0..2).map(|n| dead_letter(epoch * 10 + n)).collect();
        all_late.extend(unit.late.clone());
        db.commit(&unit).unwrap();
    }
    let feed = records.alerts(7_499, 3).unwrap();
    assert_eq!(feed, some_alerts(7_500..=7_502));
    assert_eq!(records.alerts(20_000, 10).unwrap(), []);
    assert_eq!(records.alerts(u64::MAX, 10).unwrap(), []);
    assert_eq!(records.alerts(4_990, 6_000).unwrap(), some_alerts(4_991..=10_990));
    assert_eq!(records.alert_log(0, 10).unwrap(), []);

    all_late.reverse();
    let page = |before, limit, bytes| records.late(before, limit, bytes).unwrap();
    let events =
        |page: &[(u64, LateEvent)]| page.iter().map(|(_, e)| e.clone()).collect::<Vec<_>>();
    assert_eq!(events(&page(None, 5, usize::MAX)), all_late[..5]);
    assert_eq!(events(&page(None, 100, usize::MAX)), all_late);
    assert_eq!(events(&page(None, 100, 1)), all_late[..1], "one at least, whatever its size");
    let (mut found, mut before) = (Vec::new(), None);
    while let Some((number, event)) = page(before, 1, 1).pop() {
        assert!(before.is_none_or(|before| number < before));
        found.push(event);
        before = Some(number);
    }
    assert_eq!(found, all_late, "page by page the same");
    assert_eq!(records.alerts_newest().unwrap(), 20_000);

    let letters = records.dead_letters(0, 100).unwrap();
    let ids: Vec<u64> = letters.iter().map(|letter| letter.id).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(letters[2].raw, dead_letter(20).raw);
    assert_eq!((letters[2].source.as_str(), letters[2].position), ("log", 20));
    assert_eq!(records.dead_letters(6, 1).unwrap()[0].id, 7);
    records.mark_redriven(&[3, 99], 777).unwrap();
    assert_eq!(records.dead_letter(3).unwrap().unwrap().redriven, Some(777));
    assert_eq!(records.dead_letter(4).unwrap().unwrap().redriven, None);
    assert_eq!(records.dead_letter(99).unwrap(), None);
}

#[test]
fn a_folder_without_state_has_no_records() {
    let dir = tempfile::tempdir().unwrap();
    let error = StoredRecords::open(dir.path()).err().unwrap();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
}

#[test]
fn a_snapshot_holds_the_same_as_its_deltas_and_replaces_them() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let settings = Settings {
        snapshot_delta_bytes: 32 << 10,
        snapshot_part_bytes: 4 << 10,
        ..Settings::default()
    };
    let mut db = open(&folder, settings.clone());
    let figures = db.figures();
    let mut epoch = 0;
    support::until("a second snapshot", || {
        epoch += 1;
        commit_all(&mut db, epoch..=epoch);
        db.tidy().unwrap();
        let bytes = figures.snapshot_bytes.load(std::sync::atomic::Ordering::Relaxed);
        bytes > 96 << 10
    });
    for _ in 0..8 {
        db.tidy().unwrap();
    }
    let all: Vec<_> = (1..=epoch).map(|epoch| unit(epoch).delta).collect();
    assert_eq!(sections(&db.load().unwrap().unwrap()), sections_of(&all));
    let conn = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
    let one = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let valid = one("SELECT snapshot_epoch FROM head");
    assert!(valid > 1);
    assert_eq!(one("SELECT min(epoch) FROM deltas"), valid + 1);
    assert_eq!(one("SELECT count(DISTINCT epoch) FROM snapshot"), 1);

    // What an interrupted installation leaves behind is ignored and cleared away.
    conn.execute("INSERT INTO snapshot VALUES (?1, 0, 0, x'00')", [valid + 1]).unwrap();
    drop(db);
    let mut db = open(&folder, settings);
    assert_eq!(sections(&db.load().unwrap().unwrap()), sections_of(&all));
    db.tidy().unwrap();
    assert_eq!(one("SELECT count(DISTINCT epoch) FROM snapshot"), 1);
}

#[test]
fn i9_one_commit_brings_no_list_over_its_bound() {
    use std::sync::atomic::Ordering::Relaxed;
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let settings = Settings { late_max: 50, dead_letters_max: 50, ..Settings::default() };
    let mut db = open(&folder, settings.clone());
    for epoch in 1..=3u64 {
        let mut unit = unit(epoch);
        unit.late = (0..20_000).map(late).collect();
        unit.dead_letters = (0..20_000).map(|n| dead_letter(epoch * 20_000 + n)).collect();
        db.commit(&unit).unwrap();
        // Nothing was tidied: it holds at once.
        let conn = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
        let one = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(one("SELECT count(*) FROM dead_letters"), 50);
        assert_eq!(one("SELECT max(position) FROM dead_letters"), epoch as i64 * 20_000 + 19_999);
        assert!(one("SELECT sum(count) FROM late") <= 50);
        let figures = db.figures();
        assert_eq!(figures.dead_letters_dropped.lock().total(), epoch * 20_000 - 50);
        let kept = one("SELECT sum(count) FROM late") as u64;
        assert_eq!(figures.late_dropped.load(Relaxed) + kept, epoch * 20_000);
    }
    drop(db);
    // The numbers go on after those that were never written, and narrower bounds hold.
    let mut db = open(&folder, Settings { dead_letters_max: 10, ..settings });
    db.tidy().unwrap();
    assert_eq!(db.figures().dead_letters_dropped.lock().total(), 60_000 - 10);
    let mut last = unit(4);
    last.dead_letters = vec![dead_letter(1)];
    db.commit(&last).unwrap();
    let records = StoredRecords::open(dir.path()).unwrap();
    let letters = records.dead_letters(0, 100).unwrap();
    assert_eq!((letters.len(), letters.last().unwrap().id), (10, 60_001));
}

#[test]
fn dead_letters_that_are_to_be_published_are_held_over_a_restart_and_leave_while_idle() {
    use std::sync::atomic::Ordering::Relaxed;
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let settings = Settings { dead_letters_max: 50, ..Settings::default() };
    let letters = |epoch: u64| {
        let mut unit = unit(epoch);
        unit.dead_letters = (0..40).map(|n| dead_letter(epoch * 100 + n)).collect();
        unit
    };
    let ids = || -> Vec<u64> {
        let records = StoredRecords::open(dir.path()).unwrap();
        records.dead_letters(0, 1_000).unwrap().iter().map(|letter| letter.id).collect()
    };
    let mut db = open(&folder, settings.clone());
    let figures = db.figures();
    let published = figures.publish_letters();
    db.commit(&letters(1)).unwrap();
    published.store(10, Relaxed);
    db.commit(&letters(2)).unwrap();
    db.tidy().unwrap();
    assert_eq!(ids(), (11..=80).collect::<Vec<_>>(), "the published ones left, and no others");
    assert_eq!(figures.dead_letters_waiting.load(Relaxed), 70);
    assert!(db.letters_held_words().unwrap().contains("beyond 100"));
    drop(db);
    // How far they were published is known again, before the output says it.
    let mut db = open(&folder, settings.clone());
    let figures = db.figures();
    let published = figures.publish_letters();
    assert_eq!(published.load(Relaxed), 10);
    db.tidy().unwrap();
    assert_eq!(ids(), (11..=80).collect::<Vec<_>>());
    // Nothing comes, and what was published meanwhile leaves, as far as it must.
    published.store(20, Relaxed);
    db.tidy().unwrap();
    assert_eq!(ids(), (21..=80).collect::<Vec<_>>());
    // The stream was made again and holds none; that too is known again after a restart.
    published.store(0, Relaxed);
    db.tidy().unwrap();
    drop(db);
    let mut db = open(&folder, settings.clone());
    let figures = db.figures();
    let published = figures.publish_letters();
    assert_eq!(published.load(Relaxed), 0);
    published.store(80, Relaxed);
    db.tidy().unwrap();
    assert_eq!(ids(), (31..=80).collect::<Vec<_>>());
    assert_eq!(db.letters_held_words(), None);
    assert_eq!(figures.dead_letters_unpublished.lock().total(), 0);
    for epoch in 3..=6 {
        db.commit(&letters(epoch)).unwrap();
    }
    assert_eq!(ids(), (141..=240).collect::<Vec<_>>(), "at most twice as many");
    assert_eq!(figures.dead_letters_unpublished.lock().total(), 60);
    drop(db);
    // Without an output the bound is the bound again; what was counted is kept.
    let mut db = open(&folder, settings);
    db.tidy().unwrap();
    assert_eq!(ids(), (191..=240).collect::<Vec<_>>());
    assert_eq!(db.figures().dead_letters_unpublished.lock().total(), 60);
}

#[test]
fn i9_every_list_keeps_its_bound_and_counts_what_it_drops() {
    use std::sync::atomic::Ordering::Relaxed;
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let settings = Settings {
        alerts_max: 20,
        late_max: 20,
        dead_letters_max: 20,
        rollups_keep: 60 * 60_000,
        ..Settings::default()
    };
    let mut db = open(&folder, settings.clone());
    let minute = |epoch: u64| epoch as i64 * 60_000;
    for epoch in 1..=200u64 {
        let mut unit = unit(epoch);
        unit.delta.clear();
        unit.alerts = some_alerts(epoch * 3 - 2..=epoch * 3);
        unit.late = vec![late(epoch); 2];
        unit.dead_letters = vec![dead_letter(epoch)];
        unit.rollups = ["a", "b"].map(|metric| row(metric, minute(epoch))).into();
        db.commit(&unit).unwrap();
        if epoch == 100 {
            db.tidy().unwrap();
            let feed = StoredRecords::open(dir.path()).unwrap().alerts(0, 1).unwrap();
            assert_eq!(feed[0].n, 1, "alerts that were not delivered never leave");
        }
        if epoch > 100 {
            db.deliver_alerts().unwrap();
            db.tidy().unwrap();
        }
    }
    let figures = db.figures();
    assert_eq!(figures.alerts_committed.load(Relaxed), 600);
    assert_eq!(figures.alerts_delivered.load(Relaxed), 600);
    assert_eq!(figures.dead_letters.load(Relaxed), 20);
    assert_eq!(figures.dead_letters_dropped.lock().total(), 180);
    let dropped = figures.alerts_dropped.load(Relaxed);
    let records = StoredRecords::open(dir.path()).unwrap();
    let feed = records.alerts(0, 1_000).unwrap();
    assert!(feed.len() <= 21 && feed.len() as u64 + dropped == 600, "{} {dropped}", feed.len());
    assert_eq!(feed.last().unwrap().n, 600);
    let late = records.late(None, 1_000, usize::MAX).unwrap();
    assert_eq!(late.len() as u64 + figures.late_dropped.load(Relaxed), 400);
    let conn = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
    let oldest: i64 =
        conn.query_row("SELECT min(minute) FROM rollups", [], |row| row.get(0)).unwrap();
    // Swept once an hour, and then an hour is kept.
    assert!(oldest >= minute(200 - 120), "{}", oldest / 60_000);
    assert!(figures.rollups_dropped.load(Relaxed) > 0);

    let before = figures.dead_letters_dropped.lock().total();
    drop(db);
    let db = open(&folder, settings);
    assert_eq!(db.figures().dead_letters_dropped.lock().total(), before, "counts survive");
}

#[test]
fn roll_ups_are_inserted_or_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let mut db = open(&folder, store::Settings::default());
    for epoch in 1..=2 {
        let mut unit = unit(epoch);
        let mut first = row("m", 60_000);
        (first.count, first.value) = (epoch, f64::NAN.into());
        unit.rollups = vec![first, row("m", 60_000 * epoch as i64)];
        unit.rollups[1].group = "g".into();
        unit.rollups[1].value = Number::Histogram([3, epoch].into());
        db.commit(&unit).unwrap();
    }
    let conn = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
    let sql = "SELECT minute, grp, count FROM rollups ORDER BY minute, grp";
    let mut query = conn.prepare(sql).unwrap();
    let rows: Vec<(i64, String, i64)> = query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let expected =
        [(60_000, "", 2), (60_000, "g", 1), (120_000, "g", 1)].map(|(m, g, c)| (m, g.into(), c));
    assert_eq!(rows, expected);
    // What is more than one number is JSON, which SQLite takes apart.
    let sql = "SELECT value ->> 0, value ->> 1 FROM rollups WHERE grp = 'g' AND minute = 120000";
    let of = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    assert_eq!(conn.query_row(sql, [], of), Ok((3i64, 2i64)));
}

fn row(metric: &str, minute: i64) -> RollupRow {
    let group = String::new();
    RollupRow { metric: metric.into(), minute, group, count: 1, sum: 2.0, value: 3.0.into() }
}

/// The state that these deltas make, as sections.
fn sections_of(deltas: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    support::encoded(deltas.iter().flatten().map(Vec::as_slice))
}

fn rand_seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    let from = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    from.unwrap_or_else(|| RandomState::new().hash_one(0u64))
}
