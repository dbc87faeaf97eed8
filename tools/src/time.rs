//! Times as people write them and as the wire carries them: microseconds since 1970-01-01 UTC.

use jiff::Timestamp;

/// The time.
pub(crate) fn now_us() -> i64 {
    Timestamp::now().as_microsecond()
}

/// Reads microseconds since 1970-01-01 UTC or an RFC 3339 time with its offset.
pub(crate) fn parse_us(text: &str) -> Result<i64, String> {
    if let Ok(us) = text.parse::<i64>() {
        return Ok(us);
    }
    text.parse::<Timestamp>().map(Timestamp::as_microsecond).map_err(|_| {
        format!(
            "'{text}' is no time; give microseconds since 1970-01-01 UTC or RFC 3339, like \
             2026-03-01T12:00:00Z"
        )
    })
}

/// The time to the second in UTC, `YYYY-MM-DD HH:MM:SS`, or the number when no calendar has it.
pub(crate) fn format_us(us: i64) -> String {
    Timestamp::from_microsecond(us)
        .map_or_else(|_| us.to_string(), |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_microseconds_and_rfc_3339() {
        assert_eq!(parse_us("-12"), Ok(-12));
        assert_eq!(parse_us("1970-01-01T00:00:01.5Z"), Ok(1_500_000));
        assert_eq!(parse_us("2026-03-01T12:00:00+02:00"), parse_us("2026-03-01T10:00:00Z"));
        assert!(parse_us("yesterday").unwrap_err().contains("RFC 3339"));
        assert!(parse_us("2026-03-01T12:00:00").is_err(), "an offset is required");
    }

    #[test]
    fn formats_seconds_and_falls_back_to_the_number() {
        assert_eq!(format_us(1_500_000), "1970-01-01 00:00:01");
        assert_eq!(format_us(i64::MAX), i64::MAX.to_string());
    }
}
