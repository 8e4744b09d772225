//! The proof itself: publishing and killing side by side, waiting, reading, comparing.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use super::oracle::{self, Expected};
use super::process::until;
use super::verdict::{Found, Recovery, Verdict, compare, difference};
use super::worker::{Kpi, Pipeline, Worker};
use super::workload::{self, Event, Repeat};
use super::{ProveError, Stage, broker};
use crate::cli::args::ProveArgs;
use crate::clock::{SharedClock, SystemClock};
use crate::nats::publisher::line::{Line, Window};
use crate::nats::publisher::post::Post;
use crate::nats::publisher::{Options, Publisher};

/// Pieces that the events of one cycle are published in.
const PIECES: usize = 10;

/// Pause between two pieces: a kill falls among them.
const PIECE_PAUSE: Duration = Duration::from_millis(30);

/// Longest wait before a kill, in ms: about as long as the pieces of a cycle take.
const MOMENT_MS_MAX: u64 = 300;

/// One in this many restarts is killed too: recovery must survive it.
const EARLY_KILL_ONE_IN: u32 = 5;

/// Longest wait at the end until everything is committed and delivered. Then it is
/// compared as it is.
const SETTLE_MAX: Duration = Duration::from_secs(120);

/// Runs it.
///
/// # Errors
/// When it cannot be done. A difference is not an error.
pub(super) async fn run(stage: &Stage, args: &ProveArgs) -> Result<Verdict, ProveError> {
    let clock = SystemClock::shared();
    let events = workload::events(stage.seed, args.events as usize);
    let expected = oracle::expect(&events);
    let mut worker = Worker::new(stage.folder.path(), &stage.settings, &stage.names)?;
    worker.start().await?;
    let bar = progress(events.len());
    let mut feeder = Feeder::new(stage, bar.clone())?;
    let mut killer = Killer::new(stage.seed, clock.clone());
    let portions = portions(&events, args.cycles as usize);
    for (cycle, portion) in portions.iter().enumerate() {
        bar.set_message(format!("{} kills", killer.kills));
        if cycle < args.cycles as usize {
            tokio::try_join!(feeder.feed(portion), killer.cycle(&mut worker))?;
        } else {
            feeder.feed(portion).await?
        }
    }
    bar.set_message("waiting for the last commit");
    let found = settle(stage, &mut worker, &expected).await?;
    bar.finish_and_clear();
    let checks = compare(&expected, &found);
    let difference = difference(&checks);
    Ok(Verdict {
        equal: difference == 0,
        difference,
        seed: stage.seed,
        events: args.events,
        kills: killer.kills,
        server: stage.link.url().to_owned(),
        server_version: stage.link.client().server_info().version,
        dropped_by_stream: feeder.dropped,
        recovery_ms: Recovery::of(&killer.recoveries),
        elapsed_s: clock.elapsed() as f64 / 1_000.0,
        checks,
    })
}

/// One portion for each kill, and one to come after the last.
fn portions(events: &[Event], cycles: usize) -> Vec<&[Event]> {
    let parts = cycles + 1;
    let begin = |part: usize| events.len() * part / parts;
    (0..parts).map(|part| &events[begin(part)..begin(part + 1)]).collect()
}

/// Drawn on a terminal only.
fn progress(events: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let target = ProgressDrawTarget::stderr();
    let style = ProgressStyle::with_template("{msg:<28} {wide_bar} {pos}/{len} events  {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(events as u64), target).with_style(style)
}

/// Publishes.
struct Feeder<'a> {
    stage: &'a Stage,
    publisher: Publisher,
    subject: String,
    bar: ProgressBar,
    /// Repeats that the stream dropped.
    dropped: u64,
}

impl<'a> Feeder<'a> {
    fn new(stage: &'a Stage, bar: ProgressBar) -> Result<Self, ProveError> {
        let subject = stage.names.events_subject();
        let options = Options::new(stage.link.url(), &subject);
        let publisher = Publisher::on(stage.link.clone(), options)?;
        Ok(Feeder { stage, publisher, subject, bar, dropped: 0 })
    }

    /// Publishes events in pieces, each with the repeats of its events at its end.
    async fn feed(&mut self, events: &[Event]) -> Result<(), ProveError> {
        for piece in events.chunks((events.len() / PIECES).max(1)) {
            let again = piece.iter().filter(|event| event.repeat == Repeat::Dropped);
            for event in piece.iter().chain(again) {
                let published = self.publisher.publish(&event.json()).await;
                published.map_err(|error| ProveError::Publish(error.to_string()))?;
            }
            let report = self.publisher.flush().await;
            self.dropped += report.duplicates;
            if let Some((id, reason)) = report.failed.first() {
                let count = report.failed_count;
                return Err(ProveError::Publish(format!(
                    "{count} events did not get into the stream, the first is {id}: {reason}"
                )));
            }
            self.store_again(piece).await?;
            self.bar.inc(piece.len() as u64);
            sleep(PIECE_PAUSE).await;
        }
        Ok(())
    }

    /// The same events under other message ids, as after the stream's duplicate window.
    async fn store_again(&self, piece: &[Event]) -> Result<(), ProveError> {
        let failed = |cause: String| {
            ProveError::Publish(format!("a repeat did not get into the stream: {cause}"))
        };
        let again = piece.iter().filter(|event| event.repeat == Repeat::Stored).map(|event| {
            let post = Post::new(self.subject.as_str(), event.json().to_string());
            vec![post.id(&format!("{}-again", event.id))]
        });
        let link = &self.stage.link;
        let mut line = Line::open(link, link.request_timeout()).await.map_err(failed)?;
        let window = Window { messages: 256, bytes: 1 << 20 };
        let stored =
            line.exchange(again.collect(), window, |_, answer| answer.sequence().map(drop));
        stored.await.map_err(failed)
    }
}

/// Kills.
struct Killer {
    random: StdRng,
    clock: SharedClock,
    kills: u64,
    /// From each kill to the worker's being ready again, in ms.
    recoveries: Vec<i64>,
}

impl Killer {
    fn new(seed: u64, clock: SharedClock) -> Self {
        // Another stream of numbers than the workload's.
        let random = StdRng::seed_from_u64(seed.wrapping_add(1));
        Killer { random, clock, kills: 0, recoveries: Vec::new() }
    }

    /// One kill at a random moment, now and then one into the recovery, and a start.
    async fn cycle(&mut self, worker: &mut Worker) -> Result<(), ProveError> {
        self.moment().await;
        worker.kill();
        self.kills += 1;
        if self.random.random_ratio(1, EARLY_KILL_ONE_IN) {
            worker.spawn()?;
            self.moment().await;
            worker.kill();
            self.kills += 1;
        }
        let since = self.clock.elapsed();
        worker.start().await?;
        self.recoveries.push(self.clock.elapsed() - since);
        Ok(())
    }

    async fn moment(&mut self) {
        sleep(Duration::from_millis(self.random.random_range(0..=MOMENT_MS_MAX))).await;
    }
}

/// Waits until everything is committed and delivered, and reads what came out.
async fn settle(
    stage: &Stage,
    worker: &mut Worker,
    expected: &Expected,
) -> Result<Found, ProveError> {
    let settled = until(SETTLE_MAX, async || {
        let (pipeline, kpi) = worker.topics().await?;
        let delivered = broker::messages(&stage.link, &stage.names.alerts).await?;
        let quiet = pipeline.received >= expected.messages
            && pipeline.in_flight == 0
            && pipeline.lag_events == 0
            && pipeline.open_sessions <= 1
            && pipeline.alerts_committed == pipeline.alerts_delivered
            && delivered >= pipeline.alerts_committed;
        Ok::<_, ProveError>(quiet.then_some((pipeline, kpi)))
    });
    let (pipeline, kpi) = match settled.await? {
        Some(topics) => topics,
        None => worker.topics().await?,
    };
    read(stage, worker, pipeline, kpi).await
}

async fn read(
    stage: &Stage,
    worker: &Worker,
    pipeline: Pipeline,
    kpi: Kpi,
) -> Result<Found, ProveError> {
    let feed = worker.alerts().await?;
    let abandoned = feed.iter().filter(|alert| alert.kind == "abandoned");
    Ok(Found {
        messages: broker::messages(&stage.link, &stage.names.events).await?,
        received: pipeline.received,
        applied: pipeline.applied,
        repeats: pipeline.duplicate + pipeline.late,
        rejected: pipeline.rejected,
        in_flight: pipeline.in_flight,
        balanced: pipeline.balanced,
        open_sessions: pipeline.open_sessions,
        sessions: kpi.closed,
        abandoned: kpi.abandoned,
        converted: kpi.converted,
        feed: abandoned.map(|alert| (alert.subject.clone(), alert.at)).collect(),
        feed_ids: feed.into_iter().map(|alert| alert.id).collect(),
        stream_ids: broker::alert_ids(&stage.link, &stage.names.alerts).await?,
    })
}
