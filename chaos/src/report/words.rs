//! Numbers and durations as people read them.

use std::fmt::Write as _;

/// `48,211`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 write`, `3 writes`: the word with an `s`, unless there is one.
pub(super) fn counted(number: u64, word: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {word}{ending}", count(number))
}

/// Three digits and a unit: `17 µs`, `1.25 ms`, `2 min 5 s`.
pub(super) fn duration(ns: u64) -> String {
    const MINUTE: u64 = 60_000_000_000;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => three_digits(ns, 1_000, "µs"),
        1_000_000..1_000_000_000 => three_digits(ns, 1_000_000, "ms"),
        1_000_000_000..MINUTE => three_digits(ns, 1_000_000_000, "s"),
        _ => {
            let seconds = ns / 1_000_000_000;
            let mut text = format!("{} min", count(seconds / 60));
            if !seconds.is_multiple_of(60) {
                let _infallible = write!(text, " {} s", seconds % 60);
            }
            text
        }
    }
}

/// The same, of what is kept in milliseconds; a dash for what there is not.
pub(super) fn milliseconds(ms: Option<u64>) -> String {
    match ms {
        None => "–".to_owned(),
        Some(0) => "< 1 ms".to_owned(),
        Some(ms) => duration(ms * 1_000_000),
    }
}

/// Seconds since the run began: `t+37.2s`.
pub(super) fn moment(ns: u64) -> String {
    format!("t+{}.{:03}s", ns / 1_000_000_000, ns / 1_000_000 % 1_000)
}

/// What a fault was about: links that are named in both directions are told once, `n1⇄n2`.
pub(super) fn targets(all: &[String]) -> String {
    let mut told: Vec<String> = Vec::new();
    for target in all {
        let ends = target.split_once('>');
        let is_twice = ends.is_some_and(|(from, to)| all.contains(&format!("{to}>{from}")));
        match ends.filter(|_| is_twice) {
            Some((from, to)) if from < to => told.push(format!("{from}⇄{to}")),
            Some(_) => {}
            None => told.push(target.clone()),
        }
    }
    told.join(" ")
}

/// At most so many characters, the last of which tells that some are missing.
pub(super) fn shortened(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

fn three_digits(number: u64, unit: u64, name: &str) -> String {
    let (whole, hundredths) = (number / unit, number % unit * 100 / unit);
    match whole {
        0..10 if hundredths > 0 => format!("{whole}.{hundredths:02} {name}"),
        10..100 if hundredths >= 10 => format!("{whole}.{} {name}", hundredths / 10),
        _ => format!("{whole} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let all: Vec<String> = [0, 999, 1_000, 48_211, 1_234_567].map(count).to_vec();
        expect!["0 999 1,000 48,211 1,234,567"].assert_eq(&all.join(" "));
        expect!["1 write, 2 writes"].assert_eq(&format!("{}, {}", counted(1, "write"), counted(2, "write")));
    }

    #[test]
    fn durations_have_three_digits_and_a_unit() {
        let all = [
            0,
            999,
            17_000,
            1_250_000,
            12_345_678,
            830_000_000,
            1_240_000_000,
            60_000_000_000,
            125_000_000_000,
        ];
        let all: Vec<String> = all.map(duration).to_vec();
        expect!["0 ns | 999 ns | 17 µs | 1.25 ms | 12.3 ms | 830 ms | 1.24 s | 1 min | 2 min 5 s"]
            .assert_eq(&all.join(" | "));
        expect!["– < 1 ms 7 ms"].assert_eq(&[None, Some(0), Some(7)].map(milliseconds).join(" "));
        expect!["t+37.204s"].assert_eq(&moment(37_204_999_999));
    }

    #[test]
    fn links_in_both_directions_are_told_once() {
        let all = ["n2>n1", "n2>n3", "n1>n2", "n4"].map(str::to_owned);
        expect!["n2>n3 n1⇄n2 n4"].assert_eq(&targets(&all));
    }

    #[test]
    fn what_is_cut_says_so() {
        expect!["äbcd äb…"].assert_eq(&format!("{} {}", shortened("äbcd", 4), shortened("äbcd", 3)));
    }
}
