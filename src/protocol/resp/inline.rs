//! Inline commands: a line of words, as a person types them into `nc -U` or `socat`.
//!
//! Words are separated by spaces or tabs. In double quotes `\n \r \t \b \a \xHH` and a backslash
//! before any other byte are escapes; in single quotes only `\'` is. A closing quote ends the word.
//! Words without quotes are slices of the line.

use bytes::Bytes;

use super::ProtocolError;

/// The words of a line that starts with a letter; so there is at least one.
pub(super) fn split(line: &Bytes) -> Result<Vec<Bytes>, ProtocolError> {
    let mut words = Vec::new();
    let mut position = 0;
    while let Some(&byte) = line.get(position) {
        if byte.is_ascii_whitespace() {
            position += 1;
            continue;
        }
        let (word, end) = word(line, position)?;
        words.push(word);
        position = end;
    }
    Ok(words)
}

/// The word that starts at `start`, and the position behind it.
fn word(line: &Bytes, start: usize) -> Result<(Bytes, usize), ProtocolError> {
    let quote = line[start];
    if quote == b'"' || quote == b'\'' {
        return quoted(line, start + 1, quote);
    }
    let rest = &line[start..];
    let length = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
    if rest[..length].contains(&b'"') {
        return Err(ProtocolError::UnbalancedQuote);
    }
    Ok((line.slice(start..start + length), start + length))
}

fn quoted(line: &[u8], start: usize, quote: u8) -> Result<(Bytes, usize), ProtocolError> {
    let mut word = Vec::new();
    let mut position = start;
    loop {
        let rest = line.get(position..).unwrap_or_default();
        let (byte, length) = match *rest {
            [] => return Err(ProtocolError::UnbalancedQuote),
            [first, ref behind @ ..] if first == quote => {
                return if behind.first().is_none_or(u8::is_ascii_whitespace) {
                    Ok((Bytes::from(word), position + 1))
                } else {
                    Err(ProtocolError::UnbalancedQuote)
                };
            }
            [b'\\', b'\'', ..] if quote == b'\'' => (b'\'', 2),
            [b'\\', escaped, ..] if quote == b'"' => escape(escaped, &rest[2..]),
            [byte, ..] => (byte, 1),
        };
        word.push(byte);
        position += length;
    }
}

/// The byte that `\` and `escaped` stand for, and the length of the whole escape.
fn escape(escaped: u8, behind: &[u8]) -> (u8, usize) {
    match escaped {
        b'n' => (b'\n', 2),
        b'r' => (b'\r', 2),
        b't' => (b'\t', 2),
        b'b' => (8, 2),
        b'a' => (7, 2),
        b'x' => match (behind.first().and_then(hex), behind.get(1).and_then(hex)) {
            (Some(high), Some(low)) => (high * 16 + low, 4),
            _ => (b'x', 2),
        },
        other => (other, 2),
    }
}

fn hex(digit: &u8) -> Option<u8> {
    char::from(*digit).to_digit(16).map(|value| value as u8)
}
