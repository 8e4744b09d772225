//! Shows that no bytes of a stranger make a reader panic or break a law of its own: events,
//! bodies, CloudEvents, maps, files, messages, commands, configurations, expressions, commits.
//!
//! How: each target of `fuzz/src/targets.rs` gets its corpus (`fuzz/corpus`), and then mixtures
//! of it that are changed at random. `TIDEWATCH_TEST_SEED` repeats a run,
//! `TIDEWATCH_FUZZ_INPUTS` says how many inputs a cheap target gets.

#[path = "../fuzz/src/targets.rs"]
mod targets;

#[path = "support/events.rs"]
#[allow(dead_code, reason = "the randomness alone is used here")]
mod events;

use std::panic::catch_unwind;
use std::path::Path;

use events::Random;
use targets::TARGETS;

/// Inputs of a cheap target, unless `TIDEWATCH_FUZZ_INPUTS` says otherwise.
const INPUTS: u64 = 2_000;

/// Longest input.
const BYTES_MAX: usize = 4_096;

/// Pieces that readers look for.
const WORDS: &[&[u8]] = &[
    b"{\"ts\":1700000000000,\"type\":\"cart_add\",\"user\":\"a\",\"amount\":1e400}",
    b"\"ts\":",
    b"\"id\":null",
    b"specversion",
    b"data_base64",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\\u0000",
    b"\\ud800",
    b"[[[[[[[[",
    b"\r\n",
    b"\"",
    b"#Fields: date time cs-uri",
    b"127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.0\" 200 2",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
    b"[[metric]]\n",
    b"name = \"m\"\n",
    b"= \"99999999999999d\"",
    b" && (",
    b".matches(",
    b"-0.0",
    b"1e-400",
    b"9223372036854775808",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
];

#[test]
fn no_bytes_make_a_reader_panic_or_break_its_law() {
    let mut random = Random::seeded("fuzz");
    let inputs = std::env::var("TIDEWATCH_FUZZ_INPUTS")
        .map_or(INPUTS, |text| text.parse().expect("TIDEWATCH_FUZZ_INPUTS is a number"));
    for (name, target, cost) in TARGETS {
        let inputs = inputs / cost;
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "fuzz/corpus/{name} holds something");
        for input in &corpus {
            run(name, target, input);
        }
        for _ in 0..inputs {
            run(name, target, &changed(&corpus, &mut random));
        }
        println!("{name}: {} inputs kept, {inputs} made", corpus.len());
    }
}

fn run(name: &str, target: fn(&[u8]), input: &[u8]) {
    if catch_unwind(|| target(input)).is_err() {
        let path = std::env::temp_dir().join(format!("tidewatch-fuzz-{name}"));
        std::fs::write(&path, input).unwrap();
        panic!("{name}: the input is in {}: {:?}", path.display(), input.escape_ascii());
    }
}

/// The kept inputs of a target, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// An input of the corpus with a few changes.
fn changed(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let any = |random: &mut Random| &corpus[random.below(corpus.len() as u64) as usize];
    let mut input = any(random).clone();
    for _ in 0..1 + random.below(6) {
        let place =
            |random: &mut Random, input: &[u8]| random.below(input.len() as u64 + 1) as usize;
        let at = place(random, &input);
        match random.below(8) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.next() as u8,
            2 => input.truncate(at),
            3 => {
                let end = place(random, &input);
                input.drain(at.min(end)..at.max(end));
            }
            4 => {
                let end = place(random, &input);
                let part = input[at.min(end)..at.max(end)].to_vec();
                input.splice(at..at, part);
            }
            5 => {
                let other = any(random);
                let from = place(random, other);
                let to = place(random, other);
                input.splice(at..at, other[from.min(to)..from.max(to)].iter().copied());
            }
            _ => {
                let word = WORDS[random.below(WORDS.len() as u64) as usize];
                input.splice(at..at, word.iter().copied());
            }
        }
        input.truncate(BYTES_MAX);
    }
    input
}
