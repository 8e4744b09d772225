//! How often the laws are tried.

use proptest::prelude::ProptestConfig;

/// So many cases, and as many times more as `PROPTEST_CASES` asks for of the usual 256: the seldom
/// long run over all laws.
pub fn cases(usual: u32) -> ProptestConfig {
    let times = (ProptestConfig::default().cases / 256).max(1);
    ProptestConfig::with_cases(usual * times)
}
