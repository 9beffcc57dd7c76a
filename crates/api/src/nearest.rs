//! "Did you mean": the known word that is nearest to a mistyped one.

/// The nearest of `known`, if it is near enough to be what was meant.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // A third of the letters: closer guesses help, wilder ones mislead.
    let limit = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// A hint: the nearest word, or all of them when none is near.
#[must_use]
pub fn hint<'k>(word: &str, what: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> String {
    if let Some(near) = nearest(word, known.clone()) {
        return format!("did you mean \"{near}\"?");
    }
    let all: Vec<&str> = known.into_iter().take(20).collect();
    if all.is_empty() {
        format!("there are no {what}")
    } else {
        format!("the {what} are: {}", all.join(", "))
    }
}

/// All of `known`, the nearest to `word` first; those equally near in the order given.
#[must_use]
pub fn nearest_first<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Vec<&'k str> {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_by_cached_key(|candidate| distance(word, candidate));
    known
}

/// How many letters must be added, removed, changed or swapped with their neighbour (optimal string alignment),
/// case not counted.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_the_word_and_a_stranger_does_not() {
        let known = ["failover", "failoverDelay", "failoverThreshold", "failback"];
        assert_eq!(nearest("failoverTreshold", known), Some("failoverThreshold"));
        assert_eq!(nearest("Failover", known), Some("failover"));
        assert_eq!(nearest("failvoer", known), Some("failover"));
        assert_eq!(nearest("timeout", known), None);
    }
}
