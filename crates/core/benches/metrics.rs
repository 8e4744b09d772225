//! What metrics cost alone: fold, flush, absorb and settle of events as of the four queries, a
//! barrier each 100,000, one thread, processor time. Least of so many runs.
//!
//!     cargo bench -p tidewatch-core --bench metrics -- 1000000 7

use std::sync::Arc;

use tidewatch_core::event::Schema;
use tidewatch_core::metric::engine::Engine;
use tidewatch_core::metric::{
    Aggregate, Attr, Fact, Facts, Fold, Metric, MetricSpec, Order, WindowSpec,
};
use tidewatch_core::number::Decimal;
use tidewatch_core::time::{BEGINNING, END_OF_TIME};

const MINUTE: i64 = 60_000;
const BARRIER: u64 = 100_000;
const USERS: u64 = 100_000;
const REGIONS: [&[u8]; 4] = [b"eu-west-1", b"eu-north-1", b"us-east-1", b"ap-south-1"];

/// Event `n` of a log of 2,000 events a second.
struct Event {
    n: u64,
    user: [u8; 12],
}

impl Event {
    fn of(n: u64) -> Event {
        let mut user = *b"user-0000000";
        let mut id = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        id %= USERS;
        for digit in user.iter_mut().rev().take(7) {
            (*digit, id) = (b'0' + (id % 10) as u8, id / 10);
        }
        Event { n, user }
    }
}

impl Fact for Event {
    fn at(&self) -> i64 {
        self.n as i64 / 2
    }
    fn event_type(&self) -> u16 {
        (self.n % 7) as u16
    }
    fn key(&self) -> &[u8] {
        &self.user
    }
    fn order(&self) -> Order {
        Order::Event { batch: 0, position: self.n, part: 0 }
    }
    fn in_order(&self) -> bool {
        true
    }
    fn attr(&self, slot: usize) -> Attr<'_> {
        match slot {
            0 => Attr::Text(REGIONS[self.n as usize % 4]),
            1 => Attr::Number(Decimal::from_u64(200 + self.n % 5)),
            _ => Attr::Number(Decimal::from_u64(self.n % 1_000)),
        }
    }
}

fn metric(aggregate: Aggregate, field: bool, groups: &[&str], window: WindowSpec) -> Metric {
    let spec = MetricSpec {
        group_by: groups.iter().map(|group| (*group).to_owned()).collect(),
        field: field.then(|| "amount".to_owned()),
        keep: 10 * MINUTE,
        ..MetricSpec::new("m", aggregate, window)
    };
    let slots = ["region", "status", "amount"].map(String::from).to_vec();
    Metric::compile(&spec, &Schema { slots, keys: vec!["user".into()], ..Schema::default() })
}

/// Nanoseconds of processor time of this thread.
fn spent() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says it");
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("it is a number")
}

fn run(metrics: &[Metric], events: u64) -> u64 {
    let metrics = Arc::new(metrics.to_vec());
    let mut fold = Fold::new(Arc::clone(&metrics), MINUTE);
    let mut engine = Engine::new(metrics, MINUTE);
    let (mut points, mut rollups) = (Vec::new(), Vec::new());
    let before = spent();
    let mut watermark = BEGINNING;
    for n in 0..events {
        let event = Event::of(n);
        fold.add(Facts::Events, &event, watermark);
        watermark = event.at();
        if n % BARRIER == BARRIER - 1 || n == events - 1 {
            engine.absorb(vec![fold.flush()]);
            engine.settle(watermark, |_| false, |_| false, &mut points, &mut rollups);
            rollups.clear();
        }
    }
    engine.settle(END_OF_TIME, |_| true, |_| false, &mut points, &mut rollups);
    assert!(!points.is_empty(), "nothing was counted");
    spent() - before
}

fn main() {
    // `cargo bench` adds flags of its own.
    let mut numbers = std::env::args().skip(1).filter_map(|word| word.parse().ok());
    let events = numbers.next().unwrap_or(1_000_000);
    let runs = numbers.next().unwrap_or(5);
    let aggregate = |word: &str| Aggregate::named(word).expect("it is the word of one");
    let hop = |size, slide| WindowSpec::Hopping { size: size * MINUTE, slide };
    let second = WindowSpec::Tumbling { size: 1_000 };
    let users = metric(aggregate("distinct"), false, &[], hop(5, 30_000));
    let groups = metric(aggregate("count"), false, &["region", "status"], second.clone());
    let mean = metric(aggregate("avg"), true, &[], hop(10, MINUTE));
    let deviation = metric(aggregate("stddev"), true, &[], hop(10, MINUTE));
    let most = metric(aggregate("max"), true, &["region"], second);
    let top_users = metric(aggregate("topk"), false, &[], hop(5, 30_000));
    let top_amounts = metric(aggregate("topk"), true, &[], hop(5, 30_000));
    let buckets = metric(aggregate("histogram"), true, &[], hop(10, MINUTE));
    let cases: [(&str, &[Metric]); 9] = [
        ("distinct users, 5 min each 30 s", std::slice::from_ref(&users)),
        ("count by region and status, 1 s", std::slice::from_ref(&groups)),
        ("mean, 10 min each 1 min", std::slice::from_ref(&mean)),
        ("deviation, 10 min each 1 min", std::slice::from_ref(&deviation)),
        ("greatest by region, 1 s", std::slice::from_ref(&most)),
        ("users that come most of 100,000, 5 min each 30 s", std::slice::from_ref(&top_users)),
        ("amounts that come most of 1,000, 5 min each 30 s", std::slice::from_ref(&top_amounts)),
        ("histogram, 10 min each 1 min", std::slice::from_ref(&buckets)),
        ("the four queries", &[users.clone(), groups.clone(), mean.clone(), deviation.clone()]),
    ];
    for (name, metrics) in cases {
        let least = (0..runs).map(|_| run(metrics, events)).min().unwrap_or(0);
        println!("{name}: {} ns an event", least / events.max(1));
    }
}
