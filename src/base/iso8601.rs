/// Appends a time as ISO 8601 has it, in UTC with milliseconds: `2024-01-15T10:30:00.000Z`.
///
/// `unix_ms` is Unix time in milliseconds, up to the year 9999; later times are told as that year's end.
pub fn push_iso8601(unix_ms: u64, out: &mut Vec<u8>) {
    const YEAR_9999_ENDS_MS: u64 = 253_402_300_799_999;
    const DAY_MS: u64 = 86_400_000;
    let unix_ms = unix_ms.min(YEAR_9999_ENDS_MS);
    let (year, month, day) = date(unix_ms / DAY_MS);
    // Both are small: publications of three dialects have a time, and 32 bits divide faster.
    let of_day_ms = (unix_ms % DAY_MS) as u32;
    let mut text = *b"0000-00-00T00:00:00.000Z";
    digits(&mut text[..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], of_day_ms / 3_600_000);
    digits(&mut text[14..16], of_day_ms / 60_000 % 60);
    digits(&mut text[17..19], of_day_ms / 1000 % 60);
    digits(&mut text[20..23], of_day_ms % 1000);
    out.extend_from_slice(&text);
}

/// Fills all of `place` with the last digits of a number.
#[inline(always)]
fn digits(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month and day of a number of days since 1970, at most those to the year 9999, as in Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`: years that begin in March, so that the leap day is
/// the last.
fn date(days: u64) -> (u32, u32, u32) {
    // Days since 0000-03-01, in eras of 400 years.
    let days = days as u32 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u32::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iso8601(unix_ms: u64) -> String {
        let mut out = Vec::new();
        push_iso8601(unix_ms, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_those_of_date() {
        // By `date -u -d @SECONDS +%FT%T` of GNU coreutils.
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_001, "2000-03-01T00:00:00.001Z"),
            (1_704_623_400_000, "2024-01-07T10:30:00.000Z"),
            (1_735_689_599_050, "2024-12-31T23:59:59.050Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(iso8601(unix_ms), text);
        }
    }

    #[test]
    fn each_day_of_eight_centuries_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..292_194_u64 {
            assert_eq!(iso8601(days * 86_400_000), format!("{year:04}-{month:02}-{day:02}T00:00:00.000Z"));
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(is_leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }
}
