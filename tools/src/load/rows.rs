//! Rows of a `.npy` file that a command line names: `FIRST..END`, counted from 0, without END.

use std::ops::Range;

use crate::error::ToolError;
use crate::npy::NpyReader;

/// Both ends may be left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rows {
    first: Option<u64>,
    end: Option<u64>,
}

impl Rows {
    /// For the command line.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is no range of rows; write e.g. 0..1000, 1000.. or ..1000");
        let (first, end) = text.split_once("..").ok_or_else(wrong)?;
        let number = |text: &str| match text {
            "" => Ok(None),
            number => number.parse().map(Some).map_err(|_| wrong()),
        };
        let rows = Self { first: number(first)?, end: number(end)? };
        if rows.first.zip(rows.end).is_some_and(|(first, end)| first >= end) {
            return Err(format!("the rows {text} are none; the end lies behind the first"));
        }
        Ok(rows)
    }

    /// The rows of a file; at least one.
    pub(super) fn of(self, file: &NpyReader) -> Result<Range<u64>, ToolError> {
        let rows = file.rows();
        let range = self.first.unwrap_or(0)..self.end.unwrap_or(rows);
        if range.end > rows || range.is_empty() {
            let Range { start, end } = range;
            let reason = format!("there are no rows {start}..{end}: the file has {rows} rows");
            return Err(ToolError::format(file.path(), reason));
        }
        Ok(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_may_be_left_out_and_none_is_no_range() {
        let rows = |first, end| Ok(Rows { first, end });
        assert_eq!(Rows::parse("5..9"), rows(Some(5), Some(9)));
        assert_eq!(Rows::parse("..9"), rows(None, Some(9)));
        assert_eq!(Rows::parse("5.."), rows(Some(5), None));
        assert_eq!(Rows::parse(".."), rows(None, None));
        for wrong in ["5", "a..b", "5..x", "9..9", "9..5", "-1..4"] {
            assert!(Rows::parse(wrong).is_err(), "{wrong}");
        }
    }
}
