//! How often the laws are tried.

use proptest::prelude::ProptestConfig;

/// So many cases, or `TIDEWATCH_LAW_TIMES` as many: the seldom long run over all of them.
pub fn cases(usual: u32) -> ProptestConfig {
    let times = std::env::var("TIDEWATCH_LAW_TIMES").ok().map(|text| text.parse::<u32>());
    let times = times.map_or(1, |times| times.expect("TIDEWATCH_LAW_TIMES is a whole number"));
    ProptestConfig::with_cases(usual * times)
}
