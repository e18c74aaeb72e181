//! How values are shown to people.

/// Longer ones are cut in the middle.
const LETTERS_MAX: usize = 80;

/// In quotes, and short.
pub(super) fn quoted(value: &str) -> String {
    let letters = value.chars().count();
    if letters <= LETTERS_MAX {
        return format!("\"{value}\"");
    }
    let head: String = value.chars().take(LETTERS_MAX / 2).collect();
    let tail: String = value.chars().skip(letters - LETTERS_MAX / 2).collect();
    format!("\"{head}…{tail}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_in_the_middle() {
        assert_eq!(quoted("a,b"), "\"a,b\"");
        let cut = quoted(&format!("begin{}end", "ä".repeat(1_000)));
        assert!(cut.starts_with("\"begin") && cut.ends_with("end\""), "{cut}");
        assert_eq!(cut.chars().count(), LETTERS_MAX + 3);
    }
}
