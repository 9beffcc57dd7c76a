//! Durations as Go and Kubernetes write them: `30s`, `500ms`, `1m30s`.

use std::time::Duration;

/// The units, the longest names first where one begins another (`ms` before `m`).
const UNITS: [(&str, u64); 8] = [
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ns", 1),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
];

/// Reads a duration as `30s` or `1m30s`: one or more numbers, each with a unit. `None` when it is not one, or is longer
/// than 584 years.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut nanos) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|&n| n > 0)?;
        let (whole, after) = rest.split_at(digits);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.find(|c: char| !c.is_ascii_digit())?),
            None => ("", after),
        };
        let &(unit, scale) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        nanos = nanos.checked_add(whole.parse::<u64>().ok()?.checked_mul(scale)?)?;
        nanos = nanos.checked_add(fraction_of(fraction, scale))?;
        rest = &after[unit.len()..];
    }
    (!text.is_empty()).then(|| Duration::from_nanos(nanos))
}

/// `0.digits` of `scale`, rounded down.
fn fraction_of(digits: &str, scale: u64) -> u64 {
    let (mut sum, mut unit) = (0, scale);
    for digit in digits.bytes() {
        unit /= 10;
        sum += u64::from(digit - b'0') * unit;
    }
    sum
}

/// The duration as it would be written: `1m30s`.
#[must_use]
pub fn text(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, scale) in [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ] {
        let count = rest / scale;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            rest %= scale;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_reads_them() {
        let ms = |text: &str| parse(text).map(|d| d.as_millis());
        assert_eq!(ms("30s"), Some(30_000));
        assert_eq!(ms("500ms"), Some(500));
        assert_eq!(ms("1m30s"), Some(90_000));
        assert_eq!(ms("1.5h"), Some(5_400_000));
        assert_eq!(ms("0.25s"), Some(250));
        assert_eq!(ms("0"), Some(0));
        for wrong in ["", "30", "s", "30 s", "-30s", "1.s5", "30sec", "1e3s", "99999999999999h", "."] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for text_form in ["0s", "30s", "1m30s", "500ms", "1h", "1h1s1ms1us1ns"] {
            assert_eq!(text(parse(text_form).unwrap()), text_form);
        }
    }
}
