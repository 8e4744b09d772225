//! How many events chance alone makes, where it makes few.
//!
//! Counts of events that know nothing of each other are Poisson. Deviations say little of few of
//! them: around 0.5 a window, 4 is 5 deviations away and comes once in 600 windows. So the tail
//! itself is added up, and what is as rare as `k` deviations of a normal number stands out.

/// Means from here on are judged by the normal number with Poisson's skew, which is within two
/// events of the tail; so are tails that no sum of floats reaches.
const MANY: f64 = 100.0;
const FAR: f64 = 30.0;

/// The greatest count that is no rarer than `k` deviations, around a mean above 0.
pub fn most(mean: f64, k: f64) -> f64 {
    if mean >= MANY || k > FAR {
        return (mean + k * mean.sqrt() + (k * k - 1.0) / 6.0).floor();
    }
    let rare = tail(k);
    let (mut count, mut chance) = (0.0, (-mean).exp());
    while count < mean || chance > rare * 1e-6 {
        count += 1.0;
        chance *= mean / count;
    }
    // From far out inwards: the small ones first, so that none is lost.
    let mut beyond = chance;
    while beyond < rare && count > 0.0 {
        chance *= count / mean;
        count -= 1.0;
        beyond += chance;
    }
    count
}

/// The least count that is no rarer than `k` deviations; 0 where silence is no surprise.
pub fn least(mean: f64, k: f64) -> f64 {
    if mean >= MANY || k > FAR {
        return (mean - k * mean.sqrt() + (k * k - 1.0) / 6.0).ceil().max(0.0);
    }
    let rare = tail(k);
    let (mut count, mut chance) = (0.0, (-mean).exp());
    let mut within = chance;
    while within < rare {
        count += 1.0;
        chance *= mean / count;
        within += chance;
    }
    count
}

/// The chance of a normal number more than `k` deviations above its mean, to 7 digits (the
/// complementary error function as Press et al., Numerical Recipes, approximate it).
fn tail(k: f64) -> f64 {
    const TERMS: [f64; 10] = [
        -1.26551223,
        1.00002368,
        0.37409196,
        0.09678418,
        -0.18628806,
        0.27886807,
        -1.13520398,
        1.48851587,
        -0.82215223,
        0.17087277,
    ];
    let x = k / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + x / 2.0);
    let sum = TERMS.iter().rev().fold(0.0, |sum, term| sum * t + term);
    t * (sum - x * x).exp() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The chance of each count up to 1,000, each by logarithms of its own.
    fn chances(mean: f64) -> Vec<f64> {
        let mut factorial = 0.0;
        let chance = |count: u32| {
            factorial += f64::from(count.max(1)).ln();
            (f64::from(count) * mean.ln() - mean - factorial).exp()
        };
        (0..1_000).map(chance).collect()
    }

    #[test]
    fn the_tail_is_that_of_the_normal_distribution() {
        for (k, wanted) in
            [(1.0, 0.158655254), (2.0, 0.0227501319), (3.0, 1.34989803e-3), (6.0, 9.86587645e-10)]
        {
            assert!((tail(k) / wanted - 1.0).abs() < 3e-7, "{k}: {}", tail(k));
        }
    }

    proptest! {
        #[test]
        fn the_bounds_are_where_the_tails_are_rare(mean in 0.01f64..100.0, k in 0.1f64..8.0) {
            let (chances, rare) = (chances(mean), tail(k));
            let from = |count: f64| chances[count as usize..].iter().rev().sum::<f64>();
            let to = |count: f64| chances[..=count as usize].iter().sum::<f64>();
            let (low, high) = (least(mean, k), most(mean, k));
            let slack = 1.0 + 1e-6;
            prop_assert!(from(high) * slack >= rare && from(high + 1.0) <= rare * slack, "{high}");
            prop_assert!(to(low) * slack >= rare && (low == 0.0 || to(low - 1.0) <= rare * slack));
        }

        /// Where the tails are not added up any more the bounds go on as they were.
        #[test]
        fn many_events_go_on_where_few_end(k in 0.1f64..8.0) {
            let (few, many) = (MANY - 1e-9, MANY);
            prop_assert!((most(few, k) - most(many, k)).abs() <= 2.0);
            prop_assert!((least(few, k) - least(many, k)).abs() <= 2.0);
        }
    }
}
