//! Whether many ids of one key stay apart: every id is new once and known ever after. And
//! whether the hash behind them is as good as chance, which the odds for more ids than fit here
//! rely on: of each 48 of its bits as many are the same as of dice.
//!
//!     cargo bench -p tidewatch-core --bench ids -- 50000000
//!
//! Takes some 2 GiB for 50 million.

use tidewatch_core::hash::{EventIdentity, key_hash};
use tidewatch_core::seen::{Seen, Sight};

/// Bits of a part of the hash that is looked at alone.
const BITS: u32 = 48;

const SEED: u64 = 0x5eed;

/// Ids a millisecond, as in a busy log.
const RATE: u64 = 100;

const HOUR: i64 = 3_600_000;

/// A part of an identity.
type Part = fn(EventIdentity) -> u64;

fn main() {
    // `cargo bench` adds flags of its own.
    let count = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let count: u64 = count.unwrap_or(1_000_000);
    let key = key_hash(SEED, b"one key");
    let id = |n: u64| EventIdentity::of(SEED, key, n.to_string().as_bytes());
    let time = |n: u64| (n / RATE) as i64;

    let mut seen = Seen::new(24 * HOUR, 2 * count as usize);
    let mut look = |name: &str, right: Sight| {
        let end = time(count);
        let wrong = (0..count).filter(|n| seen.insert(id(*n), time(*n), end) != right).count();
        println!("{count} ids of one key, {name}: {wrong} wrong");
        wrong
    };
    let wrong = look("first time", Sight::New) + look("second time", Sight::Known);
    drop(seen);

    let pairs = (count as f64).powi(2) / 2.0;
    let parts: [(&str, Part); 3] = [
        ("low bits", |id| id.low),
        ("middle bits", |id| (id.low >> BITS) | (id.high << (64 - BITS))),
        ("high bits", |id| id.high),
    ];
    let mut bits: Vec<u64> = Vec::with_capacity(count as usize);
    for (name, part) in parts {
        bits.clear();
        bits.extend((0..count).map(|n| part(id(n)) & ((1 << BITS) - 1)));
        bits.sort_unstable();
        let same = bits.windows(2).filter(|two| two[0] == two[1]).count();
        let expected = pairs / f64::from(BITS).exp2();
        println!(
            "{name}: of {BITS} bits alone {same} are the same, {expected:.1} expected of chance"
        );
    }
    println!("chance of one false duplicate among them: {:.1e}", pairs / 112f64.exp2());
    println!("among 10^12: {:.1e}", 1e24 / 2.0 / 112f64.exp2());
    assert_eq!(wrong, 0);
}
