/// Appends a time as ISO 8601 has it, in UTC with milliseconds: `2024-01-15T10:30:00.000Z`.
///
/// `unix_ms` is Unix time in milliseconds, up to the year 9999; later times are told as that year's end.
///
/// The date comes from the days since 1970 as in Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`: years that begin in March, so that the leap day is the last.
pub fn push_iso8601(unix_ms: u64, out: &mut Vec<u8>) {
    const YEAR_9999_ENDS_MS: u64 = 253_402_300_799_999;
    const DAY_MS: u64 = 86_400_000;
    let unix_ms = unix_ms.min(YEAR_9999_ENDS_MS);
    let (days, of_day) = (unix_ms / DAY_MS, unix_ms % DAY_MS);
    // Days since 0000-03-01, in eras of 400 years.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    for (number, digits, after) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (of_day / 3_600_000, 2, b':'),
        (of_day / 60_000 % 60, 2, b':'),
        (of_day / 1000 % 60, 2, b'.'),
        (of_day % 1000, 3, b'Z'),
    ] {
        let start = out.len();
        out.resize(start + digits, b'0');
        let mut rest = number;
        for digit in out[start..].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        out.push(after);
    }
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
