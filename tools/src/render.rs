//! Text for people: numbers with separators, aligned tables that fit the terminal.

use std::io::Write as _;

use console::{Alignment, Term, measure_text_width, pad_str, truncate_str};
use redis::Value;

use crate::error::ToolError;
use crate::reply;

/// Columns to fill when standard output is no terminal.
const WIDTH_DEFAULT: usize = 100;
/// Narrower than this a table is no longer readable: let the terminal wrap it.
const WIDTH_MIN: usize = 60;

/// Writes to standard output, with a line end.
pub(crate) fn print(text: &str) -> Result<(), ToolError> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(ToolError::Output)
}

/// Writes one JSON document to standard output.
pub(crate) fn print_json(value: &serde_json::Value) -> Result<(), ToolError> {
    print(&value.to_string())
}

/// Columns of the terminal on standard output.
pub(crate) fn terminal_width() -> usize {
    let width = Term::stdout().size_checked().map_or(WIDTH_DEFAULT, |(_, columns)| columns.into());
    width.max(WIDTH_MIN)
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of what a noun names that takes an s: `1 turn`, `2,760 turns`.
pub(crate) fn plural(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number as u64), if number == 1 { "" } else { "s" })
}

/// Text on one line, shortened to `width` columns.
pub(crate) fn snippet(text: &str, width: usize) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    truncate_str(&harmless(&line), width, "…").into_owned()
}

/// Text without control characters, line ends aside: what someone stored must not steer the
/// terminal of someone who recalls it.
fn harmless(text: &str) -> String {
    let is_harmful = |c: char| c.is_control() && c != '\n';
    text.chars().map(|c| if is_harmful(c) { '\u{fffd}' } else { c }).collect()
}

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under a header; the last column takes what is left of `width`.
pub(crate) fn table(header: &[(&str, Align)], rows: &[Vec<String>], width: usize) -> String {
    let last = header.len() - 1;
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            let cells = rows.iter().map(|row| measure_text_width(&row[column]));
            cells.max().unwrap_or(0).max(header[column].0.len())
        })
        .collect();
    let used: usize = widths[..last].iter().map(|width| width + 2).sum();
    let room = width.saturating_sub(used).max(20);
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (column, cell) in cells.enumerate() {
            let align = match header[column].1 {
                Align::Left => Alignment::Left,
                Align::Right => Alignment::Right,
            };
            if column < last {
                text.push_str(&pad_str(cell, widths[column], align, None));
                text.push_str("  ");
            } else if align == Alignment::Right {
                text.push_str(&pad_str(cell, widths[column], align, None));
            } else {
                text.push_str(&snippet(cell, room));
            }
        }
        text.trim_end().to_owned()
    };
    let mut lines = vec![line(&mut header.iter().map(|(name, _)| *name))];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

/// A share of a full bar, `cells` wide.
pub(crate) fn bar(share: f64, cells: usize) -> String {
    let filled = (share.clamp(0.0, 1.0) * cells as f64).round() as usize;
    "█".repeat(filled) + &"·".repeat(cells - filled)
}

/// Any reply as indented `key  value` lines. Maps with the same keys become the rows of a table.
pub(crate) fn outline(value: Value) -> String {
    let mut lines = Vec::new();
    outline_into(&mut lines, value, 0);
    lines.join("\n")
}

fn outline_into(lines: &mut Vec<String>, value: Value, depth: usize) {
    let indent = "  ".repeat(depth);
    if let Some(rows) = rows(&value) {
        lines.extend(rows.lines().map(|row| format!("{indent}{row}")));
        return;
    }
    match value {
        Value::Map(_) => {
            let entries = reply::entries(value).unwrap_or_default();
            let width = entries.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
            for (key, value) in entries {
                match inline(&value) {
                    Some(text) => lines.push(format!("{indent}{key:width$}  {text}")),
                    None => {
                        lines.push(format!("{indent}{key}"));
                        outline_into(lines, value, depth + 1);
                    }
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.into_iter().enumerate() {
                match inline(&item) {
                    Some(text) => lines.push(format!("{indent}{text}")),
                    None => {
                        lines.push(format!("{indent}[{at}]"));
                        outline_into(lines, item, depth + 1);
                    }
                }
            }
        }
        other => lines.push(format!("{indent}{}", inline(&other).unwrap_or_default())),
    }
}

/// A table when the value is a map or an array of maps that have the same keys and plain values.
fn rows(value: &Value) -> Option<String> {
    let named: Vec<(String, &Value)> = match value {
        Value::Map(entries) => entries
            .iter()
            .map(|(key, row)| Some((reply::text(key)?, row)))
            .collect::<Option<_>>()?,
        Value::Array(items) => items.iter().map(|item| (String::new(), item)).collect(),
        _ => return None,
    };
    let Value::Map(first) = named.first()?.1 else { return None };
    let names: Vec<String> = first.iter().filter_map(|(key, _)| reply::text(key)).collect();
    let mut cells = Vec::with_capacity(named.len());
    for (name, row) in &named {
        let Value::Map(entries) = row else { return None };
        let mut line = vec![name.clone()];
        for (at, (key, value)) in entries.iter().enumerate() {
            if reply::text(key).as_deref() != names.get(at).map(String::as_str) {
                return None;
            }
            line.push(inline(value)?);
        }
        cells.push(line);
    }
    let is_number = |at: usize| matches!(first[at].1, Value::Int(_) | Value::Double(_));
    let align = |at| if is_number(at) { Align::Right } else { Align::Left };
    let mut header = vec![("", Align::Left)];
    header.extend(names.iter().enumerate().map(|(at, name)| (name.as_str(), align(at))));
    if matches!(value, Value::Array(_)) {
        header.remove(0);
        cells.iter_mut().for_each(|line| drop(line.remove(0)));
    }
    (cells.iter().all(|line| line.len() == header.len()))
        .then(|| table(&header, &cells, terminal_width()))
}

/// A value that fits behind its key.
fn inline(value: &Value) -> Option<String> {
    match value {
        Value::Nil => Some("-".to_owned()),
        Value::Int(number) if *number >= 0 => Some(grouped(number.unsigned_abs())),
        Value::Double(number) => Some(decimal(*number)),
        Value::BulkString(bytes) if bytes.is_empty() => Some("-".to_owned()),
        Value::Array(items) if items.is_empty() => Some("-".to_owned()),
        Value::Array(items) if items.iter().all(|item| matches!(item, Value::Double(_))) => {
            let numbers: Vec<String> = items.iter().filter_map(inline).collect();
            Some(numbers.join(" "))
        }
        other => reply::text(other).map(|text| harmless(&text)),
    }
}

/// As many decimals as the size of the number leaves meaning to, without trailing zeros.
fn decimal(number: f64) -> String {
    if number >= 1000.0 {
        return grouped(number.round() as u64);
    }
    let text = if number >= 10.0 { format!("{number:.1}") } else { format!("{number:.4}") };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        for (number, expected) in cases {
            assert_eq!(grouped(number), expected);
        }
    }

    #[test]
    fn one_is_no_plural() {
        let said = [0, 1, 2, 1_000].map(|number| plural(number, "turn"));
        assert_eq!(said, ["0 turns", "1 turn", "2 turns", "1,000 turns"]);
    }

    #[test]
    fn a_table_fits_its_width() {
        let header = [("#", Align::Right), ("id", Align::Left), ("text", Align::Left)];
        let rows = vec![
            vec!["1".into(), "wordnet-1".into(), "a text that\nis longer ".repeat(9)],
            vec!["10".into(), "x".into(), "короткий".into()],
        ];
        let table = table(&header, &rows, 60);
        for line in table.lines() {
            assert!(measure_text_width(line) <= 60, "{line}");
        }
        assert!(table.lines().nth(1).unwrap().ends_with('…'), "{table}");
        assert_eq!(table.lines().count(), 3);
    }

    #[test]
    fn stored_text_cannot_steer_the_terminal() {
        assert_eq!(snippet("a\x1b[2J\nb\tc", 80), "a\u{fffd}[2J b c");
        let text = Value::BulkString(b"two\nlines\x07".to_vec());
        assert_eq!(outline(text), "two\nlines\u{fffd}");
    }

    #[test]
    fn a_nested_reply_is_indented() {
        let text = |s: &str| Value::SimpleString(s.into());
        let value = Value::Map(vec![
            (text("episodes"), Value::Int(12_000)),
            (text("commit"), Value::Map(vec![(text("p99_us"), Value::Double(1.5))])),
            (text("none"), Value::Nil),
        ]);
        assert_eq!(outline(value), "episodes  12,000\ncommit\n  p99_us  1.5\nnone      -");
    }

    #[test]
    fn maps_with_the_same_keys_are_rows() {
        let text = |s: &str| Value::SimpleString(s.into());
        let row = |count, p50| {
            Value::Map(vec![(text("count"), Value::Int(count)), (text("p50"), Value::Double(p50))])
        };
        let named = Value::Map(vec![(text("commit"), row(1000, 1.5)), (text("x"), row(2, 2048.3))]);
        assert_eq!(
            outline(named),
            "        count    p50\ncommit  1,000    1.5\nx           2  2,048"
        );
        let listed = Value::Array(vec![row(1, 1.0), row(2, 2.0)]);
        assert_eq!(outline(listed), "count  p50\n    1    1\n    2    2");
        let mixed = Value::Array(vec![row(1, 1.0), Value::Map(vec![(text("a"), Value::Int(1))])]);
        assert_eq!(outline(mixed), "[0]\n  count  1\n  p50    1\n[1]\n  a  1");
    }
}
