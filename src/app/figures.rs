//! Shows the exporter what the log, the state store and the web side hold, beside the
//! bounds on it. The committer calls it at each tick, because it ticks anyway.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{counter, gauge};

use crate::actors::committer::Probe;
use crate::actors::flow::Flow;
use crate::actors::ports::EventLog;
use crate::config::Config;
use crate::store::state::Figures;
use crate::telemetry::names;
use crate::web::Load;

/// What shows these parts. `log` is `None` where there is none (a replay).
pub(super) fn probe(
    config: &Config,
    log: Option<Arc<dyn EventLog>>,
    figures: &Arc<Figures>,
    load: &Load,
    flow: &Arc<Flow>,
) -> Probe {
    let (figures, load) = (Arc::clone(figures), load.clone());
    let (letters, letters_bytes) =
        (config.store.dead_letters_max, config.store.dead_letters_bytes_max);
    let (aside, aside_max) = (Arc::clone(flow), config.nats.gateway.refused_bytes_max);
    let capacities = [
        (names::GATEWAY_REFUSED_BYTES_CAPACITY, aside_max),
        (names::STATE_DELTA_BYTES_CAPACITY, config.store.snapshot_delta_bytes as usize),
        (names::WEB_CLIENTS_CAPACITY, config.web.connections_max),
        (names::WEB_INTAKE_BYTES_CAPACITY, config.web.intake_bytes_max),
        (names::WEB_ANSWERS_BYTES_CAPACITY, config.web.answers_bytes_max),
        (names::WEB_CONNECTIONS_CAPACITY, load.connections_max()),
        (names::WEB_TURNS_WAITING_CAPACITY, 2 * config.web.connections_max),
    ];
    Arc::new(move || {
        for (name, capacity) in capacities {
            gauge!(name).set(capacity as f64);
        }
        gauge!(names::WEB_INTAKE_BYTES).set(load.intake_bytes() as f64);
        gauge!(names::WEB_ANSWERS_BYTES).set(load.answers_bytes() as f64);
        gauge!(names::WEB_CONNECTIONS).set(load.connections_open() as f64);
        gauge!(names::WEB_TURNS_WAITING).set(load.turns_waiting() as f64);
        counter!(names::WEB_CONNECTIONS_REFUSED).absolute(load.connections_refused());
        if let Some((backlog, capacity)) = log.as_ref().map(|log| log.backlog()) {
            gauge!(names::LOG_BACKLOG).set(backlog as f64);
            gauge!(names::LOG_BACKLOG_CAPACITY).set(capacity as f64);
        }
        gauge!(names::GATEWAY_REFUSED_BYTES).set(aside.aside.bytes() as f64);
        let times = figures.letters_times();
        gauge!(names::DEAD_LETTERS_KEPT_CAPACITY).set(letters as f64 * times);
        gauge!(names::DEAD_LETTERS_KEPT_BYTES_CAPACITY).set(letters_bytes as f64 * times);
        store(&figures);
    })
}

fn store(figures: &Figures) {
    let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
    // Delivered first: what is committed in between only looks pending.
    let delivered = read(&figures.alerts_delivered);
    let committed = read(&figures.alerts_committed);
    counter!(names::ALERTS_COMMITTED).absolute(committed);
    counter!(names::ALERTS_DELIVERED).absolute(delivered);
    gauge!(names::OUTBOX_PENDING).set(committed.saturating_sub(delivered) as f64);
    gauge!(names::DEAD_LETTERS_KEPT).set(read(&figures.dead_letters) as f64);
    gauge!(names::DEAD_LETTERS_KEPT_BYTES).set(read(&figures.dead_letters_bytes) as f64);
    gauge!(names::DEAD_LETTERS_WAITING).set(read(&figures.dead_letters_waiting) as f64);
    gauge!(names::STATE_DELTA_BYTES).set(read(&figures.delta_bytes) as f64);
    gauge!(names::STATE_SNAPSHOT_BYTES).set(read(&figures.snapshot_bytes) as f64);
    let dropped = [
        ("alerts", &figures.alerts_dropped),
        ("late", &figures.late_dropped),
        ("rollups", &figures.rollups_dropped),
    ];
    for (list, figure) in dropped {
        counter!(names::DROPPED, "list" => list).absolute(read(figure));
    }
    let letters = figures.dead_letters_dropped.lock();
    counter!(names::DROPPED, "list" => "dead_letters").absolute(letters.total());
    for (kind, count) in letters.each() {
        counter!(names::DEAD_LETTERS_DROPPED, "reason" => kind.to_owned()).absolute(count);
    }
    let unpublished = figures.dead_letters_unpublished.lock();
    for (kind, count) in unpublished.each() {
        counter!(names::DEAD_LETTERS_UNPUBLISHED, "reason" => kind.to_owned()).absolute(count);
    }
}
