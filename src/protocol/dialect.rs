//! Telling HTTP from RESP by the first bytes of a connection.
//!
//! A RESP array begins with `*`, an inline command with a word. The words that HTTP begins with
//! name no command, and what follows them is a path, so a few bytes decide: a method, one space,
//! and the beginning of a target. Until they are there, in however many pieces they come, nothing
//! is decided and nothing is lost: an inline command that only begins like a method goes on to be
//! one.

/// Methods that a request may have; none of them is a command's name.
pub const HTTP_METHODS: [&str; 8] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"];
/// What the target of a request begins with: a path, the whole server, or an address.
const HTTP_TARGETS: [&str; 4] = ["/", "*", "http://", "https://"];

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Nobody can tell yet.
    #[default]
    Unknown,
    Resp,
    Http,
}

impl Dialect {
    /// What a connection speaks that began with these bytes.
    pub fn of(first: &[u8]) -> Self {
        let mut dialect = Self::Resp;
        for method in HTTP_METHODS {
            let Some(rest) = behind(first, method.as_bytes()) else { continue };
            let Some(rest) = behind(rest, b" ") else { continue };
            for target in HTTP_TARGETS {
                match behind(rest, target.as_bytes()) {
                    Some(_) if first.len() >= method.len() + 1 + target.len() => return Self::Http,
                    Some(_) => dialect = Self::Unknown,
                    None => {}
                }
            }
        }
        dialect
    }
}

/// What follows a word; `None` when it is another word. Of a word that is not all here, nothing
/// follows yet.
fn behind<'a>(bytes: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    match bytes.len() >= word.len() {
        true => bytes.strip_prefix(word),
        false => word.starts_with(bytes).then_some(&[]),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::protocol::Command;

    #[test]
    fn a_request_is_known_as_soon_as_its_target_begins_and_not_before() {
        for method in HTTP_METHODS {
            for (target, sure) in [("/", 1), ("* HTTP/1.1", 1), ("http://x/", 7), ("https://x", 8)]
            {
                let line = format!("{method} {target}");
                let sure = method.len() + 1 + sure;
                for end in 0..=line.len() {
                    let expected = if end < sure { Dialect::Unknown } else { Dialect::Http };
                    assert_eq!(Dialect::of(&line.as_bytes()[..end]), expected, "{line:?} {end}");
                }
            }
        }
    }

    #[test]
    fn everything_else_is_resp() {
        for bytes in [
            &b"*1\r\n"[..],
            b"PING",
            b"PI",
            b"get /",
            b"GET\r\n",
            b"GET  /",
            b"GET\t/",
            b"GETS /",
            b"GET key",
            b"GET h\r\n",
            b"GET http:/x",
            b"OPTIONS x",
            b"EG.GET notes /",
            b"\r\nGET / HTTP/1.1",
            b"CONNECT a:1 HTTP/1.1",
            b"PRI * HTTP/2.0",
            b"\x16\x03\x01",
        ] {
            assert_eq!(Dialect::of(bytes), Dialect::Resp, "{}", bytes.escape_ascii());
        }
        assert_eq!(Dialect::of(b""), Dialect::Unknown);
    }

    #[test]
    fn no_command_is_called_like_a_method() {
        for method in HTTP_METHODS {
            let refusal = Command::parse(vec![Bytes::from_static(method.as_bytes())]).unwrap_err();
            assert!(refusal.to_string().starts_with("unknown command"), "{refusal}");
        }
    }
}
