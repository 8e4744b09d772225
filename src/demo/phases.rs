//! What the hour brings to the shop: its day, bursts of errors, trouble with payments.
//! A function of the seed and the time alone. Called by `Shop` for every event.

use rand::Rng;
use rand::rngs::StdRng;
use std::f64::consts::TAU;

use crate::domain::hash;
use crate::domain::time::{EpochMs, SpanMs};

/// The regions of the shop and their share of the traffic, in percent.
pub(super) const REGIONS: [(&str, u32); 6] = [
    ("eu-west-1", 28),
    ("eu-central-1", 24),
    ("us-east-1", 20),
    ("us-west-2", 12),
    ("ap-south-1", 10),
    ("sa-east-1", 6),
];

/// A whole day of the shop: long enough to see it rise and fall over a coffee.
pub const DAY: SpanMs = 600_000;

/// How far the busiest and the quietest hour lie from the mean.
const DAY_SWING: f64 = 0.4;

/// Events in the quietest hour, relative to the mean of the day.
pub const BUSYNESS_MIN: f64 = 1.0 - DAY_SWING;

/// Bursts of errors: the first one soon enough that whoever looks for a minute sees its incident,
/// one every three minutes.
const BURST: Rhythm =
    Rhythm { first: 20_000, every: 180_000, jitter: 15_000, length: 25_000, salt: 1 };

/// Payment trouble: after two and a half minutes the demo's rule has enough samples to
/// judge by; then every four minutes, so that the one before has left its three-minute
/// window and does not hide the next.
const TROUBLE: Rhythm =
    Rhythm { first: 150_000, every: 240_000, jitter: 10_000, length: 40_000, salt: 2 };

/// Something that comes back.
struct Rhythm {
    first: SpanMs,
    every: SpanMs,
    jitter: SpanMs,
    length: SpanMs,
    salt: u8,
}

impl Rhythm {
    /// The number of the occurrence that is going on at `age`, with its own randomness.
    fn current(&self, seed: u64, age: SpanMs) -> Option<u64> {
        let number = (age - self.first).div_euclid(self.every);
        if number < 0 {
            return None;
        }
        let mut bytes = [self.salt; 9];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        let chance = hash::key_hash(seed, &bytes);
        let begin = self.first + number * self.every + (chance % self.jitter as u64) as SpanMs;
        (begin..begin + self.length).contains(&age).then_some(chance >> 32)
    }
}

/// What the hour brings.
#[derive(Clone, Debug)]
pub struct Phases {
    seed: u64,
    start: EpochMs,
}

impl Phases {
    /// The phases of a shop that opened at `start`.
    pub fn new(seed: u64, start: EpochMs) -> Self {
        Phases { seed, start }
    }

    /// Events at this hour relative to the mean of the day; between 0.6 and 1.4.
    pub fn busyness(&self, at: EpochMs) -> f64 {
        let hour = (at - self.start).rem_euclid(DAY) as f64 / DAY as f64;
        1.0 + DAY_SWING * (TAU * hour).sin()
    }

    /// The region whose machines fail now, if one does.
    pub fn error_burst(&self, at: EpochMs) -> Option<&'static str> {
        let chance = BURST.current(self.seed, at - self.start)?;
        Some(REGIONS[chance as usize % REGIONS.len()].0)
    }

    /// Whether payments fail more than usual.
    pub fn payment_trouble(&self, at: EpochMs) -> bool {
        TROUBLE.current(self.seed, at - self.start).is_some()
    }
}

/// The status of a request, in a burst of errors or outside.
pub fn status(random: &mut StdRng, burst: bool) -> u16 {
    let ticket = random.random_range(0..1_000);
    match (burst, ticket) {
        (true, 0..300) => 503,
        (true, 300..420) => 502,
        (true, 420..480) => 504,
        (_, 0..4) => 503,
        (_, 4..10) => 500,
        (_, 10..14) => 429,
        (_, 14..40) => 404,
        (_, 40..46) => 401,
        (_, 46..110) => 304,
        _ => 200,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_averages_to_one() {
        let phases = Phases::new(1, 5_000);
        let sum: f64 = (0..DAY).step_by(1_000).map(|age| phases.busyness(5_000 + age)).sum();
        assert!((sum / 600.0 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn bursts_and_trouble_come_back_and_pass() {
        for seed in 0..20 {
            let phases = Phases::new(seed, 0);
            let seconds = |is: &dyn Fn(EpochMs) -> bool| {
                (0..1_800).filter(|second| is(second * 1_000)).count()
            };
            let bursts = seconds(&|at| phases.error_burst(at).is_some());
            assert!((225..=275).contains(&bursts), "seed {seed}: {bursts} s of bursts in 30 min");
            let trouble = seconds(&|at| phases.payment_trouble(at));
            assert!((240..=320).contains(&trouble), "seed {seed}: {trouble} s of trouble");
            assert!(!phases.payment_trouble(149_000), "seed {seed}");
        }
    }
}
