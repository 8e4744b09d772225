//! What somebody probably meant to write.

/// The candidate that `word` is a slip of the pen away from, if there is one: letters left
/// out, added, changed or swapped, one in three at most, and no more than three.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let reach = (word.chars().count() / 3).clamp(1, 3);
    let lower = word.to_lowercase();
    let distance = |other: &str| strsim::damerau_levenshtein(&lower, &other.to_lowercase());
    let near = candidates.into_iter().filter(|other| *other != word);
    near.map(|other| (distance(other), other))
        .filter(|(distance, _)| *distance <= reach)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// `; did you mean "..."?`, or nothing.
pub(super) fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
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
            ("bought", None),
            ("closed", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, words), want, "{word}");
        }
    }
}
