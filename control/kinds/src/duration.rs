//! Ages as `kubectl get` prints them.

use base::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// `seconds` in at most two units, coarser the longer: `90s`, `4m12s`, `3h`, `2d4h`, `400d`, `2y35d`.
pub fn human(seconds: i64) -> String {
    let two = |major: i64, minor: i64, units: [&str; 2]| match minor {
        0 => format!("{major}{}", units[0]),
        _ => format!("{major}{}{minor}{}", units[0], units[1]),
    };
    let (minutes, hours, days) = (seconds / MINUTE, seconds / HOUR, seconds / DAY);
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, seconds % MINUTE, ["m", "s"]),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, minutes % 60, ["h", "m"]),
        _ if hours < 48 => format!("{hours}h"),
        _ if days < 8 => two(days, hours % 24, ["d", "h"]),
        _ if days < 365 * 2 => format!("{days}d"),
        _ if days < 365 * 8 => two(days / 365, days % 365, ["y", "d"]),
        _ => format!("{}y", days / 365),
    }
}

/// How long ago `time` was, `<unknown>` when it is no time.
pub fn since(time: &str, now: Timestamp) -> String {
    time.parse::<Timestamp>()
        .map_or_else(|_| "<unknown>".to_owned(), |then| human(seconds_between(then, now)))
}

/// Whole seconds from `then` to `now`, towards zero.
pub fn seconds_between(then: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(then).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_get_coarser_as_they_grow() {
        let day = DAY;
        let hour = HOUR;
        let ages = [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (252, "4m12s"),
            (600, "10m"),
            (10_799, "179m"),
            (3 * hour, "3h"),
            (3 * hour + 300, "3h5m"),
            (47 * hour, "47h"),
            (2 * day, "2d"),
            (2 * day + 5 * hour, "2d5h"),
            (8 * day, "8d"),
            (729 * day, "729d"),
            (735 * day, "2y5d"),
            (3000 * day, "8y"),
        ];
        for (seconds, text) in ages {
            assert_eq!(human(seconds), text);
        }
    }
}
