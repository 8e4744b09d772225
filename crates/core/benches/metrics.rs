//! What metrics cost alone: fold, flush, absorb and settle of events as of the four queries, a
//! barrier each 100,000, one thread, processor time. Least of so many runs, each in a process of its
//! own, whose greatest memory is told.
//!
//!     cargo bench -p tidewatch-core --bench metrics -- 1000000 7

use std::process::Command;
use std::sync::Arc;

use tidewatch_core::event::Schema;
use tidewatch_core::expr::{Expr, Kind, Scope};
use tidewatch_core::metric::engine::Engine;
use tidewatch_core::metric::{
    Aggregate, Attr, Condition, Fact, Facts, Fold, FormulaSpec, Metric, MetricSpec, Operand, Order,
    Test, WindowSpec,
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
            3 => Attr::Number(Decimal::from_u64(self.n.wrapping_mul(7_919) % 10_000)),
            _ => Attr::Number(Decimal::from_u64(self.n % 1_000)),
        }
    }
}

fn spec(aggregate: &str, field: bool, groups: &[&str], window: WindowSpec) -> MetricSpec {
    let aggregate = Aggregate::named(aggregate).expect("it is the word of one");
    MetricSpec {
        group_by: groups.iter().map(|group| (*group).to_owned()).collect(),
        group_limit: 10_000,
        field: field.then(|| "amount".to_owned()),
        keep: 10 * MINUTE,
        ..MetricSpec::new("m", aggregate, window)
    }
}

fn schema() -> Schema {
    let slots = ["region", "status", "amount", "place"].map(String::from).to_vec();
    let event_types = (0..300).map(|number| format!("t{number}")).collect();
    Schema { slots, event_types, keys: vec!["user".into()], ..Schema::default() }
}

fn minutes(size: i64, slide: i64) -> WindowSpec {
    WindowSpec::Hopping { size: size * MINUTE, slide }
}

const SECOND: WindowSpec = WindowSpec::Tumbling { size: 1_000 };

/// The four queries.
fn queries() -> Vec<MetricSpec> {
    vec![
        spec("distinct", false, &[], minutes(5, 30_000)),
        spec("count", false, &["region", "status"], SECOND),
        spec("avg", true, &[], minutes(10, MINUTE)),
        spec("stddev", true, &[], minutes(10, MINUTE)),
    ]
}

/// The four queries and counts of so many types, which no event or each event has.
fn among(many: usize, taken: bool) -> Vec<MetricSpec> {
    let more = (0..many).map(|number| {
        let ten = WindowSpec::Tumbling { size: 10_000 };
        let kinds = if taken { 0..7 } else { 10 + number..11 + number };
        let types = Test::TextIn(kinds.map(|kind| format!("t{kind}")).collect());
        MetricSpec {
            filter: vec![Condition { attribute: "type".into(), test: types }],
            ..spec("count", false, &[], ten)
        }
    });
    queries().into_iter().chain(more).collect()
}

struct Operands;

impl Scope for Operands {
    fn kind(&self, _: &str) -> Result<Kind, String> {
        Ok(Kind::Number)
    }
}

/// The four queries, two counts for each region and second, and so many formulas over these.
fn formulas(many: usize) -> Vec<MetricSpec> {
    let count = |name: &str| MetricSpec {
        name: name.to_owned(),
        ..spec("count", false, &["region"], SECOND)
    };
    let operand = |metric: &str| Operand { metric: metric.into(), ago: None };
    let formula = |number: usize| {
        let expr = Expr::parse("a / b", &Operands).expect("it is an expression");
        let formula = FormulaSpec { expr, operands: vec![operand("a"), operand("b")] };
        MetricSpec {
            group_by: vec!["region".into()],
            keep: 10 * MINUTE,
            ..MetricSpec::of_formula(&format!("f{number}"), formula, SECOND)
        }
    };
    let all = queries().into_iter().chain([count("a"), count("b")]);
    all.chain((0..many).map(formula)).collect()
}

/// All cases by name.
fn cases() -> Vec<(String, Vec<MetricSpec>)> {
    let one = |name: &str, spec| (name.to_owned(), vec![spec]);
    let mut all = vec![
        one("distinct users, 5 min each 30 s", queries().swap_remove(0)),
        one("count by region and status, 1 s", queries().swap_remove(1)),
        one("mean, 10 min each 1 min", queries().swap_remove(2)),
        one("deviation, 10 min each 1 min", queries().swap_remove(3)),
        one("greatest by region, 1 s", spec("max", true, &["region"], SECOND)),
        one(
            "most frequent of 100,000 users, 5 min each 30 s",
            spec("topk", false, &[], minutes(5, 30_000)),
        ),
        one(
            "most frequent of 1,000 amounts, 5 min each 30 s",
            spec("topk", true, &[], minutes(5, 30_000)),
        ),
        one("histogram, 10 min each 1 min", spec("histogram", true, &[], minutes(10, MINUTE))),
        one("count, 1 min each 1 s", spec("count", false, &[], minutes(1, 1_000))),
        one("count, 10 min each 1 s", spec("count", false, &[], minutes(10, 1_000))),
        one("mean, 1 min each 1 s", spec("avg", true, &[], minutes(1, 1_000))),
        one("mean, 10 min each 1 s", spec("avg", true, &[], minutes(10, 1_000))),
        one("greatest, 1 min each 1 s", spec("max", true, &[], minutes(1, 1_000))),
        one("greatest, 10 min each 1 s", spec("max", true, &[], minutes(10, 1_000))),
        one(
            "count of 10,000 groups, 10 s",
            spec("count", false, &["place"], WindowSpec::Tumbling { size: 10_000 }),
        ),
        one(
            "mean of 10,000 groups, 10 min each 1 min",
            spec("avg", true, &["place"], minutes(10, MINUTE)),
        ),
        ("the four queries".to_owned(), queries()),
    ];
    for many in [1, 10, 50, 200] {
        all.push((format!("and {many} that take no event"), among(many, false)));
        all.push((format!("and {many} that take each event"), among(many, true)));
    }
    for many in [1, 10, 50, 200] {
        let ten = || WindowSpec::Tumbling { size: 10_000 };
        let alike = |name| vec![spec(name, name == "avg", &["region", "status"], ten()); many];
        all.push((format!("{many} counts by region and status, 10 s"), alike("count")));
        all.push((format!("{many} means by region and status, 10 s"), alike("avg")));
    }
    for many in [0, 1, 10] {
        all.push((format!("and two counts by region, {many} formulas"), formulas(many)));
    }
    all
}

/// Nanoseconds of processor time of this thread.
fn spent() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says it");
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("it is a number")
}

/// Greatest memory of this process, in KiB.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux says it");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().split(' ').next());
    number.and_then(|number| number.parse().ok()).expect("it is a number")
}

fn run(specs: &[MetricSpec], events: u64) -> u64 {
    let metrics = Arc::new(Metric::compile_all(specs, &schema()));
    let mut fold = Fold::new(Arc::clone(&metrics), MINUTE);
    let mut engine = Engine::new(metrics, MINUTE);
    engine.begins.fill(BEGINNING);
    let (mut points, mut rollups) = (Vec::new(), Vec::new());
    let before = spent();
    let mut watermark = BEGINNING;
    for n in 0..events {
        let event = Event::of(n);
        fold.add(Facts::Events, &event, watermark);
        watermark = event.at();
        if n % BARRIER == BARRIER - 1 || n == events - 1 {
            engine.absorb(vec![fold.flush()]);
            engine.settle(watermark, None, |_| false, |_| false, &mut points, &mut rollups);
            rollups.clear();
        }
    }
    engine.settle(END_OF_TIME, None, |_| true, |_| false, &mut points, &mut rollups);
    assert!(!points.is_empty(), "nothing was counted");
    spent() - before
}

/// The case that a process of its own runs once.
const CASE: &str = "TIDEWATCH_BENCH_CASE";

fn main() {
    // `cargo bench` adds flags of its own.
    let mut numbers = std::env::args().skip(1).filter_map(|word| word.parse::<u64>().ok());
    let events = numbers.next().unwrap_or(1_000_000);
    let runs = numbers.next().unwrap_or(5);
    if let Some(case) = std::env::var(CASE).ok().and_then(|case| case.parse::<usize>().ok()) {
        let spent = run(&cases()[case].1, events);
        println!("{spent} {}", memory());
        return;
    }
    let program = std::env::current_exe().expect("it runs");
    for (case, (name, _)) in cases().iter().enumerate() {
        let once = || {
            let mut process = Command::new(&program);
            process.arg(events.to_string()).env(CASE, case.to_string());
            let told = process.output().expect("it runs").stdout;
            let told = String::from_utf8_lossy(&told).into_owned();
            let (spent, memory) = told.trim().split_once(' ').expect("it says both");
            (spent.parse::<u64>().expect("ns"), memory.parse::<u64>().expect("KiB"))
        };
        let (spent, memory) = (0..runs.max(1)).map(|_| once()).min().unwrap_or_default();
        println!("| {name} | {} | {:.1} |", spent / events.max(1), memory as f64 / 1024.0);
    }
}
