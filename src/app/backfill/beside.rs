//! A pipeline that counts new metrics over the log, up to where the one that serves has come.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::actors::Idle;
use crate::actors::ports::StateStore as _;
use crate::actors::reload::FillAt;
use crate::app::builder::Builder;
use crate::app::running::Running;
use crate::app::scratch;
use crate::app::serving::private_folder;
use crate::app::ways::Files;
use crate::clock::{Clock, SharedClock, SystemClock};
use crate::config::Config;
use crate::domain::commit::Snapshot;
use crate::domain::time::{BEGINNING, EpochMs};
use crate::store::log::History;

/// How often it is looked how far it is.
pub(super) const LOOK: Duration = Duration::from_millis(10);
/// Longest time for the rest, while nothing else is counted.
const SETTLES: Duration = Duration::from_secs(60);
/// Without a single event that counts there is no time to wait for.
const NOTHING: Duration = Duration::from_secs(2);

/// Longer than anything waits, in ms.
const LONG: i64 = 3_650 * 24 * 3_600_000;

/// A clock under which only events move time, until it is told where time has come to.
struct Halted {
    real: SharedClock,
    wall: AtomicI64,
    ahead: AtomicI64,
}

impl Clock for Halted {
    fn wall(&self) -> i64 {
        self.wall.load(Ordering::SeqCst)
    }

    fn elapsed(&self) -> i64 {
        self.real.elapsed() + self.ahead.load(Ordering::SeqCst)
    }
}

/// The pipeline.
pub(super) struct Beside {
    running: Option<Running>,
    folder: Option<TempDir>,
    config: Config,
    seed: u64,
    clock: Arc<Halted>,
    /// Up to where it may read.
    upto: watch::Sender<u64>,
    /// The first position that it reads.
    from: u64,
}

impl Beside {
    /// Starts to count `metrics` over what `history` has, up to no position yet.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub fn start(
        config: &Config,
        metrics: &[&str],
        history: History,
        seed: u64,
    ) -> Result<Beside, String> {
        let folder = private_folder("tidewatch-backfill-")
            .map_err(|error| format!("no temporary folder: {error}"))?;
        let mut config = scratch::only(config, metrics);
        config.general.data_dir = folder.path().to_path_buf();
        config.pipeline.idle = Idle::Follow;
        // The shards of the one that serves go first.
        config.pipeline.shards = 1;
        let real = SystemClock::shared();
        let clock = Arc::new(Halted { real, wall: AtomicI64::new(0), ahead: AtomicI64::new(0) });
        let (upto, follows) = watch::channel(0);
        let from = history.next_position();
        let source = history.follow(follows);
        let running = Builder::default()
            .config(config.clone())
            .clock(clock.clone())
            .source(Box::new(move |_| Ok(Box::new(source))))
            .seed(seed)
            .aside()
            .scratch(true)
            .start()
            .map_err(|error| error.to_string())?;
        let (running, folder) = (Some(running), Some(folder));
        Ok(Beside { running, folder, config, seed, clock, upto, from })
    }

    /// Lets it read up to a position.
    pub fn may_read(&self, position: u64) {
        self.upto.send_if_modified(|upto| {
            let moves = *upto < position;
            *upto = position.max(*upto);
            moves
        });
    }

    /// Position of the last event that it has read.
    pub fn position(&self) -> u64 {
        let flow = self.running.as_ref().map(Running::flow);
        let read = flow.and_then(|flow| flow.sources.lock().first().map(|one| one.position));
        read.unwrap_or(0).max(self.from - 1)
    }

    fn watermark(&self) -> EpochMs {
        self.running.as_ref().map_or(BEGINNING, |running| running.board().watermark)
    }

    /// Reads up to a position, lets time come to where it is there, and says what was counted.
    ///
    /// # Errors
    /// When it has read further, or does not come to its end.
    pub async fn end_at(mut self, at: FillAt) -> Result<Snapshot, String> {
        if self.position() > at.position {
            return Err("it has read what is not committed".into());
        }
        if at.position < self.from {
            return Ok(Snapshot::default());
        }
        self.may_read(at.position);
        self.until(SETTLES, |one| one.position() == at.position).await?;
        let wall = at.watermark.saturating_add(self.config.time.out_of_orderness);
        self.clock.wall.store(wall, Ordering::SeqCst);
        self.clock.ahead.store(LONG, Ordering::SeqCst);
        if self.until(NOTHING, |one| one.watermark() > BEGINNING).await.is_ok() {
            self.until(SETTLES, |one| one.watermark() >= at.watermark).await?;
        }
        let running = self.running.take().expect("it ends here");
        running.shutdown().await.map_err(|error| error.to_string())?;
        let (config, clock, seed) = (self.config.clone(), self.clock.clone(), self.seed);
        let load = move || {
            let clock: SharedClock = clock;
            let mut files = Files::open(&config, &clock, Some(seed), true)
                .map_err(|error| error.to_string())?;
            files.state.load().map_err(|error| error.to_string())
        };
        let loaded =
            tokio::task::spawn_blocking(load).await.map_err(|error| error.to_string())??;
        let restored = loaded.unwrap_or_default();
        // Where nothing counts, no event moves its time.
        let applied = &restored.snapshot.entries.get("ledger").map(|ledger| &ledger["applied"]);
        let counts = applied.is_some_and(|applied| applied.as_u64() != Some(0));
        if counts && restored.watermark < at.watermark {
            return Err("it did not come to the time of the commit".into());
        }
        Ok(restored.snapshot)
    }

    /// Waits until something holds.
    async fn until(
        &mut self,
        longest: Duration,
        holds: impl Fn(&Beside) -> bool,
    ) -> Result<(), String> {
        let begin = Instant::now();
        while !holds(self) {
            if begin.elapsed() > longest {
                return Err(format!("it did not come to its end within {} s", longest.as_secs()));
            }
            self.goes_on().await?;
        }
        Ok(())
    }

    /// Waits for a moment.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn goes_on(&mut self) -> Result<(), String> {
        let Some(running) = &mut self.running else { return Ok(()) };
        tokio::select! {
            ended = running.ended() => match ended {
                Ok(_) => Err("it ended by itself".into()),
                Err(error) => Err(error.to_string()),
            },
            () = sleep(LOOK) => Ok(()),
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let (running, folder) = (self.running.take(), self.folder.take());
        if let Some(running) = running {
            // Its folder goes when nobody writes to it any more.
            tokio::spawn(async move {
                let _ = running.shutdown().await;
                drop(folder);
            });
        }
    }
}
