//! The 512 bytes before every entry of a tar, and the records of pax. Pure.

use super::UnpackError;

pub(super) const BLOCK: usize = 512;

/// The fields that all dialects share. Numbers are octal text, or binary when the first bit is set.
pub(super) struct Header<'a>(pub(super) &'a [u8; BLOCK]);

impl Header<'_> {
    /// Fails when it is none: its sum must be right.
    pub(super) fn check(&self) -> Result<(), UnpackError> {
        let sum = |byte: fn(u8) -> i64| -> i64 {
            let counted = |(at, b): (usize, &u8)| if (148..156).contains(&at) { 32 } else { byte(*b) };
            self.0.iter().enumerate().map(counted).sum()
        };
        let wanted = number(&self.0[148..156])?;
        // Some old programs added signed bytes.
        let right = wanted == sum(i64::from) || wanted == sum(|byte| i64::from(byte.cast_signed()));
        if right { Ok(()) } else { Err(UnpackError::Damaged("a header's checksum is wrong")) }
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn path(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = if &self.0[257..263] == b"ustar\0" { text(&self.0[345..500]) } else { b"" };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(super) fn target(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    pub(super) fn mode(&self) -> Result<u32, UnpackError> {
        // The upper bits, if any, are the file's type.
        Ok(u32::try_from(number(&self.0[100..108])? & 0o7777).unwrap_or_default())
    }

    pub(super) fn owner(&self) -> Result<(u32, u32), UnpackError> {
        Ok((id(number(&self.0[108..116])?)?, id(number(&self.0[116..124])?)?))
    }

    pub(super) fn size(&self) -> Result<u64, UnpackError> {
        size(number(&self.0[124..136])?)
    }

    pub(super) fn modified(&self) -> Result<i64, UnpackError> {
        number(&self.0[136..148])
    }

    pub(super) fn device(&self) -> Result<(u64, u64), UnpackError> {
        Ok((size(number(&self.0[329..337])?)?, size(number(&self.0[337..345])?)?))
    }
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

pub(super) fn id(number: i64) -> Result<u32, UnpackError> {
    u32::try_from(number).map_err(|_| UnpackError::Damaged("an owner is out of range"))
}

pub(super) fn size(number: i64) -> Result<u64, UnpackError> {
    u64::try_from(number).map_err(|_| UnpackError::Damaged("a size is negative"))
}

/// Empty is zero.
pub(super) fn number(field: &[u8]) -> Result<i64, UnpackError> {
    const BAD: UnpackError = UnpackError::Damaged("a header's number is none");
    if field[0] & 0x80 != 0 {
        // Two's complement, big end first, without the mark.
        let negative = field[0] & 0x40 != 0;
        let first = if negative { field[0] } else { field[0] & 0x7f };
        let start = if negative { -1_i64 } else { 0 };
        return std::iter::once(&first).chain(&field[1..]).try_fold(start, |sum, byte| {
            let shifted = sum.checked_mul(256).ok_or(BAD)?;
            Ok(shifted | i64::from(*byte))
        });
    }
    let digits = field.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii();
    if digits.is_empty() {
        return Ok(0);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| BAD)?;
    if digits.starts_with(['+', '-']) {
        return Err(BAD);
    }
    i64::from_str_radix(digits, 8).map_err(|_| BAD)
}

/// A key and its value.
type PaxRecord<'a> = (&'a [u8], &'a [u8]);

/// The records of a pax header: `length key=value\n`, the length counting all of it.
pub(super) fn pax(mut bytes: &[u8]) -> Result<Vec<PaxRecord<'_>>, UnpackError> {
    const BAD: UnpackError = UnpackError::Damaged("a pax record is none");
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or(BAD)?;
        let length: usize = decimal(&bytes[..space])?;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(BAD);
        }
        let record = &bytes[space + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(BAD)?;
        records.push((&record[..equals], &record[equals + 1..]));
        bytes = &bytes[length..];
    }
    Ok(records)
}

pub(super) fn decimal<T: std::str::FromStr>(digits: &[u8]) -> Result<T, UnpackError> {
    const BAD: UnpackError = UnpackError::Damaged("a pax number is none");
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(BAD);
    }
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(BAD)
}

/// Seconds and nanoseconds of a pax time: `-1.5`.
pub(super) fn time(value: &[u8]) -> Result<(i64, u32), UnpackError> {
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let mut parts = digits.splitn(2, |byte| *byte == b'.');
    let seconds: i64 = decimal(parts.next().unwrap_or_default())?;
    let fraction = parts.next().unwrap_or_default();
    let mut nanos = [b'0'; 9];
    let kept = fraction.len().min(9);
    nanos[..kept].copy_from_slice(&fraction[..kept]);
    let nanos: u32 = decimal(&nanos)?;
    Ok(match (negative, nanos) {
        (false, nanos) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, nanos) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(number(b"0000644\0").unwrap(), 0o644);
        assert_eq!(number(b"  12 \0\0\0").unwrap(), 0o12);
        assert_eq!(number(b"\0\0\0\0").unwrap(), 0);
        assert_eq!(number(&[0x80, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]).unwrap(), 2 << 56);
        assert_eq!(number(&[0xff; 12]).unwrap(), -1);
        assert!(number(&[0x80, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(number(b"9").is_err());
        assert!(number(b"-1").is_err());
    }

    #[test]
    fn pax_records_are_read_by_their_lengths() {
        let records = pax(b"12 path=a=b\n9 uid=1\x0a").unwrap_err();
        assert!(records.to_string().contains("pax record"));
        let records = pax(b"12 path=a=b\n8 uid=1\n").unwrap();
        assert_eq!(records, [(&b"path"[..], &b"a=b"[..]), (b"uid", b"1")]);
        for bad in [&b"99 path=a\n"[..], b"1 a", b"0 a=b\n", b"x", b"18446744073709551616 a=b\n", b"5 ab\n"] {
            assert!(pax(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times_before_the_epoch_round_down() {
        assert_eq!(time(b"1.5").unwrap(), (1, 500_000_000));
        assert_eq!(time(b"-1.5").unwrap(), (-2, 500_000_000));
        assert_eq!(time(b"-1").unwrap(), (-1, 0));
        assert!(time(b"1.x").is_err());
    }
}
