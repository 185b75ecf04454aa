//! "Did you mean": the known word nearest to an unknown one.

/// Longer words are not compared: nobody mistypes that much, and the comparison is quadratic.
const WORD_CHARACTERS_MAX: usize = 64;

/// The word of `known` with the smallest edit distance from `word`, if it is near enough to be a slip of the finger.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let characters = word.chars().count();
    if characters > WORD_CHARACTERS_MAX {
        return None;
    }
    let near_enough = (characters / 3).max(1);
    known
        .filter(|candidate| candidate.chars().count() <= WORD_CHARACTERS_MAX)
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= near_enough)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many characters must be inserted, deleted, replaced, or swapped with their neighbour to turn `a` into `b`
/// (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, expected: Option<&str>) {
        let known = ["listen", "advertise", "tls", "token_file", "drain_grace"];
        assert_eq!(nearest(word, known.into_iter()), expected, "{word}");
    }

    #[test]
    fn a_slip_of_the_finger_finds_its_word_and_a_stranger_does_not() {
        check("lisen", Some("listen"));
        check("litsen", Some("listen"));
        check("tsl", Some("tls"));
        check("drain-grace", Some("drain_grace"));
        check("tokenfile", Some("token_file"));
        check("colour", None);
        check("", None);
        check(&"x".repeat(10_000), None);
    }
}
