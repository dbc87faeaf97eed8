//! Just enough of RESP to speak with the daemon: commands out, RESP3 replies in, borrowed from the
//! buffer they arrived in.

use std::str;

use thiserror::Error;

/// Replies of the daemon nest less.
const DEPTH_MAX: u32 = 16;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the reply is not RESP3: {0}")]
pub struct RespError(&'static str);

/// A reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply<'a> {
    Nil,
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Text(&'a [u8]),
    Error(&'a [u8]),
    Array(Vec<Reply<'a>>),
    Map(Vec<(Reply<'a>, Reply<'a>)>),
}

impl<'a> Reply<'a> {
    /// Reads the reply at the front of `bytes` and how long it is; `None` while it is not whole.
    pub fn read(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, RespError> {
        let mut reader = Reader { bytes, at: 0 };
        let reply = reader.reply(DEPTH_MAX)?;
        Ok(reply.map(|reply| (reply, reader.at)))
    }

    /// The value of a map's key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        let is_key = |name: &Self| matches!(name, Self::Text(text) if *text == key.as_bytes());
        entries.iter().find(|(name, _)| is_key(name)).map(|(_, value)| value)
    }

    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(number) => Some(*number as f64),
            Self::Double(number) => Some(*number),
            _ => None,
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn reply(&mut self, depth: u32) -> Result<Option<Reply<'a>>, RespError> {
        if depth == 0 {
            return Err(RespError("it nests too deeply"));
        }
        let Some(line) = self.line() else { return Ok(None) };
        let Some((kind, rest)) = line.split_first() else {
            return Err(RespError("a line is empty"));
        };
        Ok(Some(match kind {
            b'_' => Reply::Nil,
            b'#' => Reply::Boolean(rest == b"t"),
            b'+' => Reply::Text(rest),
            b'-' => Reply::Error(rest),
            b':' => Reply::Integer(number(rest)?),
            b',' => Reply::Double(number(rest)?),
            b'$' => match self.bulk(number(rest)?) {
                Some(text) => Reply::Text(text),
                None => return Ok(None),
            },
            b'*' => match self.many(number(rest)?, depth)? {
                Some(items) => Reply::Array(items),
                None => return Ok(None),
            },
            b'%' => match self.many(2 * number::<usize>(rest)?, depth)? {
                Some(items) => Reply::Map(pairs(items)),
                None => return Ok(None),
            },
            _ => return Err(RespError("its type is unknown")),
        }))
    }

    fn line(&mut self) -> Option<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        self.at += end + 2;
        Some(&rest[..end])
    }

    fn bulk(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let text = self.bytes.get(self.at..)?.get(..bytes + 2)?;
        self.at += bytes + 2;
        Some(&text[..bytes])
    }

    fn many(&mut self, count: usize, depth: u32) -> Result<Option<Vec<Reply<'a>>>, RespError> {
        (0..count).map(|_| self.reply(depth - 1).transpose()).collect::<Option<_>>().transpose()
    }
}

fn pairs(items: Vec<Reply<'_>>) -> Vec<(Reply<'_>, Reply<'_>)> {
    let mut items = items.into_iter();
    std::iter::from_fn(|| items.next().zip(items.next())).collect()
}

fn number<T: str::FromStr>(digits: &[u8]) -> Result<T, RespError> {
    let number = str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    number.ok_or(RespError("a number is none"))
}

/// Appends a command to `out`.
pub fn push_command(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATS: &[u8] = b"%2\r\n$6\r\nstores\r\n:7\r\n$7\r\nlatency\r\n%1\r\n+p50\r\n,1.5\r\n\
        *3\r\n_\r\n-BUSY x\r\n#t\r\n";

    #[test]
    fn replies_are_read_one_after_the_other() {
        let (stats, length) = Reply::read(STATS).unwrap().unwrap();
        assert_eq!(stats.get("stores").and_then(Reply::number), Some(7.0));
        let latency = stats.get("latency").unwrap();
        assert_eq!(latency.get("p50").and_then(Reply::number), Some(1.5));
        let (rest, last) = Reply::read(&STATS[length..]).unwrap().unwrap();
        assert_eq!(
            rest,
            Reply::Array(vec![Reply::Nil, Reply::Error(b"BUSY x"), Reply::Boolean(true)])
        );
        assert_eq!(length + last, STATS.len());
    }

    #[test]
    fn a_reply_that_is_not_whole_is_waited_for() {
        let (_, length) = Reply::read(STATS).unwrap().unwrap();
        for cut in 0..length {
            assert_eq!(Reply::read(&STATS[..cut]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for bad in [&b"?1\r\n"[..], b":x\r\n", b"\r\n", &b"*1\r\n".repeat(20)] {
            assert!(Reply::read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let mut out = Vec::new();
        push_command(&mut out, &[b"GET", b"\r\n"]);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$2\r\n\r\n\r\n");
    }
}
