//! What somebody probably meant to write.

/// What things are called elsewhere, and here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("average", "avg"),
    ("mean", "avg"),
    ("median", "quantile"),
    ("percentile", "quantile"),
    ("p50", "quantile"),
    ("p90", "quantile"),
    ("p95", "quantile"),
    ("p99", "quantile"),
    ("std", "stddev"),
    ("unique", "distinct"),
    ("cardinality", "distinct"),
    ("heavy_hitters", "topk"),
    ("zscore", "sigma"),
    ("mad", "robust"),
    ("deadman", "absence"),
    ("silence", "absence"),
];

/// The candidate that `word` is a slip of the pen away from, if there is one: letters left
/// out, added, changed or swapped, one in three at most, and no more than three. Else the one that
/// is called so elsewhere, or that begins so.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    // Words of one family, "order.paid" and "order.void", are as far apart as their last parts.
    let own = |other: &str| {
        let same = lower.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
        lower.as_bytes()[..same].iter().rposition(|byte| *byte == b'.').map_or(0, |dot| dot + 1)
    };
    let distance = |other: &str| strsim::damerau_levenshtein(&lower, &other.to_lowercase());
    let reach = |other: &str| (lower[own(&other.to_lowercase())..].chars().count() / 3).clamp(1, 3);
    let others: Vec<&str> = candidates.into_iter().filter(|other| *other != word).collect();
    let near = others.iter().map(|other| (distance(other), *other));
    let slip = near
        .filter(|(distance, other)| *distance <= reach(other))
        .min_by_key(|(distance, _)| *distance);
    let called = ELSEWHERE.iter().find(|(name, _)| *name == lower).map(|(_, here)| *here);
    let begun = |other: &&&str| lower.len() >= 3 && other.starts_with(&lower);
    slip.map(|(_, other)| other)
        .or_else(|| others.iter().find(|other| Some(**other) == called).copied())
        .or_else(|| others.iter().find(begun).copied())
}

/// `; did you mean "..."?`, or nothing.
pub fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or_else(String::new, |near| format!("; did you mean {near:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_other_words_are_not() {
        let words = ["abandoned", "converted", "browsed", "closed", "ge", "gt"];
        for (word, want) in [
            ("abandond", Some("abandoned")),
            ("Abandoned", Some("abandoned")),
            ("covnerted", Some("converted")),
            ("gte", Some("ge")),
            ("p95", None),
            ("abandon", Some("abandoned")),
            ("ab", None),
            ("bought", None),
            ("closed", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, words), want, "{word}");
        }
        assert_eq!(nearest("P95", ["sum", "quantile"]), Some("quantile"));
    }
}
