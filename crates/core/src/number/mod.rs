//! Numbers: as an event wrote them, and as they are added up.
//!
//! A [`Decimal`] is what an event says, exactly: conditions, labels, least and greatest use
//! it. An [`Amount`] is the same number as an integer of [`Amount::DECIMALS`] decimals, so
//! that sums do not depend on their order; [`Total`] and [`Moments`] add any number of
//! amounts without overflow. A float is made once, at the edge, and is then the one nearest
//! to the exact result.

mod amount;
mod arithmetic;
mod decimal;
mod far;
mod moments;
mod rounding;
pub mod text;
mod wide;

pub use amount::{Amount, Countable};
pub use decimal::Decimal;
pub use far::FarSum;
pub use moments::{Moments, Total};
pub use wide::Wide;

/// A signed sum of amounts: room for 2^64 of the greatest.
pub type Sum = Wide<3>;
/// A sum of squares of amounts: room for 2^64 of the greatest.
pub type Squares = Wide<5>;
