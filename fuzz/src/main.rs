//! Lets libFuzzer run one target: `TIDEWATCH_FUZZ_TARGET` names it. `./test --fuzz SECONDS`
//! builds this with coverage and runs all of them in turn.
#![no_main]

mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use targets::TARGETS;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("TIDEWATCH_FUZZ_TARGET").expect("TIDEWATCH_FUZZ_TARGET is set");
    let found = TARGETS.iter().find(|(known, ..)| *known == name);
    found.unwrap_or_else(|| panic!("no target is called {name:?}")).1
});

fuzz_target!(|data: &[u8]| TARGET(data));
