//! PURE. Small texts: what comes from a cluster made fit for a terminal, ages, names that were meant.

use std::time::Duration;

/// A text without control characters: whoever may write a status or a name must not steer the reader's terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// How long ago, as kubectl writes it: two units where the first is small, else one.
pub fn age(span: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let pair = |all: u64, unit: u64, name: char, smaller: u64, smaller_name: char| {
        let (whole, rest) = (all / unit, all % unit / smaller);
        if rest == 0 { format!("{whole}{name}") } else { format!("{whole}{name}{rest}{smaller_name}") }
    };
    match span.as_secs() {
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => pair(s, MINUTE, 'm', 1, 's'),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => pair(s, HOUR, 'h', MINUTE, 'm'),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => pair(s, DAY, 'd', HOUR, 'h'),
        s => format!("{}d", s / DAY),
    }
}

/// Most names that are proposed.
const MOST: usize = 3;

/// Names that may have been meant, the closest first.
pub fn close_matches(wanted: &str, names: &[String]) -> Vec<String> {
    let tolerance = (wanted.chars().count() / 3).max(2);
    let mut close: Vec<(usize, &String)> = names
        .iter()
        .filter_map(|name| {
            let distance = edits(wanted, name);
            let part = wanted.len() >= 3 && name.contains(wanted);
            (distance <= tolerance || part).then_some((distance, name))
        })
        .collect();
    close.sort();
    close.into_iter().take(MOST).map(|(_, name)| name.clone()).collect()
}

/// How many letters have to be put in, taken out or replaced (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (to, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let above = *cell;
            left = (diagonal + usize::from(from != *to)).min(above + 1).min(left + 1);
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_those_of_kubectl() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (10_799, "179m"),
            (3 * 3600, "3h"),
            (5 * 3600 + 120, "5h2m"),
            (47 * 3600, "47h"),
            (3 * 86_400 + 7200, "3d2h"),
            (400 * 86_400, "400d"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn the_name_that_was_meant_comes_first() {
        let names: Vec<String> = ["alice", "alice-gpu", "bob", "carol"].map(str::to_owned).into();
        assert_eq!(close_matches("alcie", &names), ["alice"]);
        assert_eq!(close_matches("ali", &names)[0], "alice");
        assert!(close_matches("ali", &names).contains(&"alice-gpu".to_owned()));
        assert_eq!(close_matches("zzzzzz", &names), Vec::<String>::new());
        assert_eq!((edits("", "abc"), edits("abc", ""), edits("kitten", "sitting")), (3, 3, 3));
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\nc\u{9b}"), "a [31mb c ");
    }
}
