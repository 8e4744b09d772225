//! What is expected of a window, and how far one lies beyond it.

use super::Side;

/// Numbers that are no surprise: from `low` to `high`, around what is expected. A bound that is
/// not known, or that a detector does not draw, is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Band {
    /// The number in the middle: a mean, a median, the number of some time ago.
    pub expected: Option<f64>,
    /// Values below stand out.
    pub low: Option<f64>,
    /// Values above stand out.
    pub high: Option<f64>,
}

impl Band {
    /// So far below and above a number.
    pub fn around(expected: f64, below: f64, above: f64) -> Band {
        Band { expected: Some(expected), low: Some(expected - below), high: Some(expected + above) }
    }

    /// With the bounds of a side alone: nothing stands out beyond the other one.
    pub fn on(self, side: Side) -> Band {
        Band {
            low: self.low.filter(|_| side != Side::Above),
            high: self.high.filter(|_| side != Side::Below),
            ..self
        }
    }

    /// True when a value lies beyond it on this side.
    pub fn excludes(&self, side: Side, value: f64) -> bool {
        let (above, below) = (self.high.is_some_and(|high| value > high), self.is_below(value));
        match side {
            Side::Above => above,
            Side::Below => below,
            Side::Both => above || below,
        }
    }

    /// True when a value lies below it.
    pub fn is_below(&self, value: f64) -> bool {
        self.low.is_some_and(|low| value < low)
    }

    /// The band around the same number with this part of its width.
    pub fn narrowed(&self, part: f64) -> Band {
        let toward = |bound: Option<f64>| {
            bound.zip(self.expected).map(|(bound, expected)| expected + (bound - expected) * part)
        };
        Band { expected: self.expected, low: toward(self.low), high: toward(self.high) }
    }

    /// How far a value lies from what is expected, as a part of the way to the bound on its side:
    /// beyond 1 it stands out. At most `f64::MAX`, which is said of a band without width.
    pub fn far(&self, value: f64) -> f64 {
        let Some(expected) = self.expected else { return 0.0 };
        let bound = if value < expected { self.low } else { self.high };
        match (bound, value - expected) {
            (_, 0.0) | (None, _) => 0.0,
            (Some(bound), away) => (away / (bound - expected)).abs().min(f64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// What is beyond the band is farther than 1, and what is within is not; a narrower one
        /// excludes no less.
        #[test]
        fn far_and_beyond_say_the_same(
            expected in -1e6f64..1e6, below in 0.0f64..1e3, above in 0.0f64..1e3,
            value in -2e6f64..2e6, near: bool, part in 0.0f64..1.0,
        ) {
            let value = if near { expected + value / 1e3 } else { value };
            let band = Band::around(expected, below, above);
            let (out, far) = (band.excludes(Side::Both, value), band.far(value));
            // Where the distance is lost in the digits of the value both are right.
            prop_assert!(out == (far > 1.0) || (far - 1.0).abs() < 1e-6, "{far}");
            let sides = [Side::Above, Side::Below].map(|side| band.excludes(side, value));
            prop_assert_eq!(out, sides[0] || sides[1]);
            let alone = [Side::Above, Side::Below]
                .map(|side| band.on(side).excludes(Side::Both, value));
            prop_assert_eq!(alone, sides);
            prop_assert_eq!(band.on(Side::Both), band);
            prop_assert!(!out || band.narrowed(part).excludes(Side::Both, value));
        }
    }

    #[test]
    fn a_band_without_width_says_so() {
        let band = Band::around(0.0, 0.0, 0.0);
        assert_eq!((band.far(0.0), band.far(1.0)), (0.0, f64::MAX));
        assert!(band.excludes(Side::Above, 1.0) && !band.excludes(Side::Both, 0.0));
    }
}
