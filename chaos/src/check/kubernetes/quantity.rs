//! Kubernetes' quantities (`100m`, `1.5`, `2Gi`, `1e3`) in thousandths, rounded up.
//! (apimachinery, pkg/api/resource/quantity.go.)

use serde_json::Value;

/// None: it is no quantity.
pub(super) fn thousandths(value: &Value) -> Option<i128> {
    match value {
        Value::String(text) => of_text(text),
        Value::Number(number) => of_text(&number.to_string()),
        _ => None,
    }
}

fn of_text(text: &str) -> Option<i128> {
    let end = text.find(|letter: char| !(letter.is_ascii_digit() || matches!(letter, '.' | '+' | '-')));
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let (times, by) = factor(suffix)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{part}").parse().ok()?;
    let times = digits.checked_mul(times)?.checked_mul(1_000)?;
    let by = by.checked_mul(10_i128.checked_pow(u32::try_from(part.len()).ok()?)?)?;
    Some(times.div_euclid(by) + i128::from(times.rem_euclid(by) != 0))
}

/// What a suffix multiplies by, and what it divides by.
fn factor(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power: u32| Some((1_i128 << (10 * power), 1));
    let decimal = |power: u32| Some((10_i128.pow(power), 1));
    match suffix {
        "" => decimal(0),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1_000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let ten = 10_i128.checked_pow(power.unsigned_abs())?;
            Some(if power < 0 { (1, ten) } else { (ten, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        let of = |text: &str| thousandths(&json!(text));
        assert_eq!(of("100m"), Some(100));
        assert_eq!(of("1.5"), Some(1_500));
        assert_eq!(of("0.0001"), Some(1), "rounded up");
        assert_eq!(of("2Gi"), Some(2 * 1024 * 1024 * 1024 * 1_000));
        assert_eq!(of("1e3"), Some(1_000_000));
        assert_eq!(of("5E"), Some(5_000_000_000_000_000_000_000));
        assert_eq!(of("1500u"), Some(2));
        assert_eq!(thousandths(&json!(4)), Some(4_000));
        for wrong in ["", "x", "1x", "1.2.3", "1e", "--1"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
