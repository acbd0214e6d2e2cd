//! How values are written: durations as `54s` or `1m30s`, sizes in bytes as `512000` or `1MiB`.

use std::time::Duration;

/// Units of sizes with their bytes.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// Reads a duration as Go's `time.ParseDuration` does: numbers with units one after the other, `1h30m`, `1.5s`; or a
/// bare `0`. At most some 584 years, so that it has a place in 64 bits of nanoseconds.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    // The library knows blanks, words, days and months as well: `5M`, a slip for `5m`, would be five months.
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || b".hmsun".contains(&byte));
    let duration = humantime::parse_duration(text).ok().filter(|_| is_plain)?;
    u64::try_from(duration.as_nanos()).is_ok().then_some(duration)
}

/// Writes a duration so that [`parse_duration`] reads it back.
pub(super) fn show_duration(value: Duration) -> String {
    let nanos = value.as_nanos();
    let units = [(3_600_000_000_000, "h"), (60_000_000_000, "m"), (1_000_000_000, "s"), (1_000_000, "ms")];
    match units.into_iter().find(|(scale, _)| nanos.is_multiple_of(*scale)) {
        _ if nanos == 0 => "0".to_owned(),
        // Seconds are what the documents write: 60s, not 1m.
        Some((60_000_000_000, _)) if value.as_secs() < 600 => format!("{}s", value.as_secs()),
        Some((scale, unit)) => format!("{}{unit}", nanos / scale),
        None => format!("{nanos}ns"),
    }
}

/// Reads a whole number as YAML 1.2 has it, with underscores between digits too: `1000`, `1_000`, `0x3E8`, `0o1750`.
pub(super) fn parse_number<N: TryFrom<u64>>(text: &str) -> Option<N> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let (digits, radix) = match (digits.strip_prefix("0x"), digits.strip_prefix("0o")) {
        (Some(digits), _) => (digits, 16),
        (_, Some(digits)) => (digits, 8),
        _ => (digits, 10),
    };
    let fine = !digits.is_empty() && digits.split('_').all(|part| !part.is_empty() && !part.starts_with('+'));
    fine.then(|| u64::from_str_radix(&digits.replace('_', ""), radix).ok())?.and_then(|n| n.try_into().ok())
}

/// Reads a size in bytes, with a unit or without.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    if let Some(bytes) = parse_number(text) {
        return Some(bytes);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit.trim_start() {
        "" => 1,
        unit => SIZE_UNITS.into_iter().find(|(name, _)| *name == unit)?.1,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

/// Writes a size so that [`parse_size`] reads it back.
pub(super) fn show_size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, scale)| bytes != 0 && bytes.is_multiple_of(*scale)) {
        Some((unit, scale)) => format!("{}{unit}", bytes / scale),
        None => bytes.to_string(),
    }
}

/// Reads the permissions of a file: up to four octal digits, `0o` before them or not.
pub(super) fn parse_mode(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let fine = (1..=4).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    fine.then(|| u32::from_str_radix(digits, 8).ok())?.filter(|mode| *mode <= 0o777)
}

/// Writes permissions so that [`parse_mode`] reads them back.
pub(super) fn show_mode(mode: u32) -> String {
    format!("{mode:04o}")
}

/// Reads a truth value as YAML 1.2, Go and the shell write it.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Whether a truth value is `false`, which is written by leaving the field out.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
pub(super) const fn is_false(value: &bool) -> bool {
    !*value
}

/// The parts of a comma-separated list, without blanks around them; an empty text is an empty list, and so is `[]`:
/// an empty variable counts as not given.
pub(super) fn split_list(text: &str) -> impl Iterator<Item = &str> {
    let text = if text.trim() == "[]" { "" } else { text };
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis) in
            [("0", 0), ("54s", 54_000), ("1m30s", 90_000), ("1.5s", 1_500), ("500ms", 500), ("1h", 3_600_000)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for wrong in [
            "",
            "54",
            "s",
            "-1s",
            "1.s.",
            ".5s",
            "1 s",
            "5d",
            "5M",
            "5min",
            "1y",
            "5sm",
            "1e3s",
            "99999999999h",
            "1.0000000001s",
        ] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
        for text in ["0", "54s", "60s", "10m", "1500ms", "2h", "17ns"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in
            [("0", 0), ("512000", 512_000), ("64KiB", 65_536), ("1 MB", 1_000_000), ("7B", 7)]
        {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for wrong in ["", "KiB", "-1", "1.5MiB", "1kib", "99999999999GiB", "1 2"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
        assert_eq!([0, 512_000, 1 << 20, 3 << 30].map(show_size), ["0", "500KiB", "1MiB", "3GiB"]);
    }

    #[test]
    fn numbers_are_those_of_yaml() {
        for (text, number) in [
            ("0", 0),
            ("1000", 1000),
            ("+7", 7),
            ("007", 7),
            ("1_000", 1000),
            ("0x3E8", 1000),
            ("0o1750", 1000),
        ] {
            assert_eq!(parse_number(text), Some(number), "{text}");
            assert_eq!(parse_size(text), Some(number), "{text}");
        }
        for wrong in [
            "", "+", "-1", "1.0", "1e3", "_1", "1_", "1__0", "0x", "0xG", "0o8", "++1", "0x+1", "70000", " 1",
        ] {
            assert_eq!(parse_number::<u16>(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn modes_are_octal() {
        for (text, mode) in [("660", 0o660), ("0660", 0o660), ("0o600", 0o600), ("0", 0), ("0777", 0o777)] {
            assert_eq!(parse_mode(text), Some(mode), "{text}");
        }
        for wrong in ["", "0o", "rw-rw----", "1777", "668", "00660", "+660", "-1", "0x1f", "0b11"] {
            assert_eq!(parse_mode(wrong), None, "{wrong}");
        }
        assert_eq!(show_mode(0o60), "0060");
    }

    #[test]
    fn lists_lose_their_blanks() {
        assert_eq!(Vec::from_iter(split_list(" a, b,,c ")), ["a", "b", "c"]);
        assert_eq!([split_list("").count(), split_list(" [] ").count()], [0, 0]);
    }
}
