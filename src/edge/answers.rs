//! From an answer of RESP3 to JSON.
//!
//! One pass, without a tree in between: what a shard's encoder wrote is written again with other
//! punctuation. Numbers keep their digits. A key says how its value is meant: `vec` is a blob,
//! `meta` is JSON already; all other strings are text.

use super::problem::Problem;
use super::vectors::VectorForm;

/// How the answer to an operation stands in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As it is. A status is an object with `status`; nil says that there is no such episode.
    Plain,
    /// An array, or a number, as the value of this key.
    List(&'static str),
    /// A cursor and an array of episodes.
    Scan,
    /// Text of sections, with lines of keys and values.
    Sections,
}

/// An answer to an operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    pub status: u16,
    /// JSON; a [`Problem`] where the status says so.
    pub body: Vec<u8>,
    pub problem: Option<Problem>,
    /// Whether the answer says that pressure has begun to cost something, and how high it is.
    pub is_degraded: bool,
    pub pressure: f64,
}

impl From<Problem> for Answered {
    fn from(problem: Problem) -> Self {
        Self {
            status: problem.status,
            body: problem.json(),
            problem: Some(problem),
            is_degraded: false,
            pressure: 0.0,
        }
    }
}

/// Bytes that no encoder of ours has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbled;

impl From<Garbled> for Problem {
    fn from(_: Garbled) -> Self {
        Self::new("GARBLED", "a shard's answer ended in the middle; this is a bug in Engram")
    }
}

/// Takes one answer off the front of the bytes.
pub fn take(bytes: &mut &[u8], shape: Shape, form: VectorForm) -> Result<Answered, Garbled> {
    let mut reader = Reader { bytes, form, is_degraded: false, pressure: 0.0 };
    let mut body = Vec::new();
    let first = *reader.bytes.first().ok_or(Garbled)?;
    match (first, shape) {
        (b'-', _) => {
            let line = &reader.line()?[1..];
            return Ok(Problem::of_line(&String::from_utf8_lossy(line)).into());
        }
        (b'_', _) => {
            reader.line()?;
            let detail = "no episode of that id in this memory space";
            return Ok(Problem::new("NOEPISODE", detail).into());
        }
        (b'+', _) => {
            let status = &reader.line()?[1..];
            body.extend_from_slice(b"{\"status\":");
            string(status, &mut body);
            body.push(b'}');
        }
        (_, Shape::Plain) => reader.value(b"", &mut body)?,
        (_, Shape::List(name)) => {
            key(name, b'{', &mut body);
            reader.value(b"", &mut body)?;
            body.push(b'}');
        }
        (_, Shape::Scan) => {
            reader.line()?;
            key("cursor", b'{', &mut body);
            reader.value(b"", &mut body)?;
            key("episodes", b',', &mut body);
            reader.value(b"", &mut body)?;
            body.push(b'}');
        }
        (_, Shape::Sections) => sections(reader.string()?, &mut body),
    }
    let Reader { is_degraded, pressure, .. } = reader;
    Ok(Answered { status: 200, body, problem: None, is_degraded, pressure })
}

/// What a shard tells whoever watches, between replies.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// The answer to more credit.
    Credit,
    Episode {
        shard: u64,
        sequence: u64,
        /// As JSON.
        episode: Vec<u8>,
    },
    /// The watch has ended; shards and where another would go on.
    Cut { problem: Problem, at: Vec<(u64, u64)> },
}

/// Takes one message of a watch, or the answer to a command about it, off the front of the bytes.
pub fn take_told(bytes: &mut &[u8], form: VectorForm) -> Result<Told, Garbled> {
    let mut reader = Reader { bytes, form, is_degraded: false, pressure: 0.0 };
    let line = reader.line()?;
    match line.first() {
        Some(b'>') => {}
        // Of a watch that was cut meanwhile there is nothing, and no more credit.
        Some(b':' | b'_') => return Ok(Told::Credit),
        _ => return Err(Garbled),
    }
    let kind = reader.string()?;
    let _watch = reader.number()?;
    match kind {
        b"eg.watch" => {
            let (shard, sequence) = (reader.number()?, reader.number()?);
            let mut episode = Vec::new();
            reader.value(b"", &mut episode)?;
            Ok(Told::Episode { shard, sequence, episode })
        }
        b"eg.cut" => {
            let problem = Problem::of_line(&String::from_utf8_lossy(reader.string()?));
            let numbers = Reader::length(reader.line()?)?;
            let pairs = (0..numbers / 2).map(|_| Ok((reader.number()?, reader.number()?)));
            Ok(Told::Cut { problem, at: pairs.collect::<Result<_, _>>()? })
        }
        _ => Err(Garbled),
    }
}

struct Reader<'r, 'b> {
    bytes: &'r mut &'b [u8],
    form: VectorForm,
    is_degraded: bool,
    pressure: f64,
}

impl<'b> Reader<'_, 'b> {
    /// The next line, without its end.
    fn line(&mut self) -> Result<&'b [u8], Garbled> {
        let end = self.bytes.windows(2).position(|two| two == b"\r\n").ok_or(Garbled)?;
        let (line, rest) = self.bytes.split_at(end);
        *self.bytes = &rest[2..];
        Ok(line)
    }

    /// The length behind the type of a value.
    fn length(line: &[u8]) -> Result<usize, Garbled> {
        let digits = std::str::from_utf8(line.get(1..).ok_or(Garbled)?).map_err(|_| Garbled)?;
        digits.parse().map_err(|_| Garbled)
    }

    /// A whole number.
    fn number(&mut self) -> Result<u64, Garbled> {
        let line = self.line()?;
        if line.first() != Some(&b':') {
            return Err(Garbled);
        }
        Self::length(line).map(|number| number as u64)
    }

    /// A string, without what verbatim strings have in front.
    fn string(&mut self) -> Result<&'b [u8], Garbled> {
        let line = self.line()?;
        let length = Self::length(line)?;
        let (text, rest) = self.bytes.split_at_checked(length).ok_or(Garbled)?;
        *self.bytes = rest.strip_prefix(b"\r\n").ok_or(Garbled)?;
        match line[0] {
            b'$' => Ok(text),
            b'=' => text.get(4..).ok_or(Garbled),
            _ => Err(Garbled),
        }
    }

    /// Writes the next value, which is that of a key.
    fn value(&mut self, key: &[u8], out: &mut Vec<u8>) -> Result<(), Garbled> {
        match *self.bytes.first().ok_or(Garbled)? {
            b'$' | b'=' => {
                let text = self.string()?;
                match key {
                    b"vec" => self.form.write(text, out),
                    // An episode without metadata.
                    b"meta" if text.is_empty() => out.extend_from_slice(b"null"),
                    // Line ends stand between its tokens alone, and mean nothing there.
                    b"meta" => out.extend(text.iter().map(|byte| match byte {
                        b'\r' | b'\n' => b' ',
                        byte => *byte,
                    })),
                    _ => string(text, out),
                }
            }
            b'*' | b'%' => self.collection(out)?,
            _ => self.scalar(key, out)?,
        }
        Ok(())
    }

    fn collection(&mut self, out: &mut Vec<u8>) -> Result<(), Garbled> {
        let line = self.line()?;
        let (length, is_map) = (Self::length(line)?, line[0] == b'%');
        out.push(if is_map { b'{' } else { b'[' });
        for nth in 0..length {
            if nth > 0 {
                out.push(b',');
            }
            let key = if is_map { self.string()? } else { b"" };
            if is_map {
                string(key, out);
                out.push(b':');
            }
            self.value(key, out)?;
        }
        out.push(if is_map { b'}' } else { b']' });
        Ok(())
    }

    /// What is one line.
    fn scalar(&mut self, key: &[u8], out: &mut Vec<u8>) -> Result<(), Garbled> {
        let line = self.line()?;
        let text = &line[1..];
        match line[0] {
            b':' => out.extend_from_slice(text),
            b',' => {
                // JSON has no word for what is no number.
                let is_number =
                    text.iter().all(|byte| !byte.is_ascii_alphabetic() || *byte == b'e');
                out.extend_from_slice(if is_number { text } else { b"null" });
                if key == b"pressure" && is_number {
                    let pressure =
                        std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
                    self.pressure = self.pressure.max(pressure.unwrap_or(0.0));
                }
            }
            b'#' => {
                let is_so = text == b"t";
                self.is_degraded |= is_so && key == b"degraded";
                out.extend_from_slice(if is_so { b"true" } else { b"false" });
            }
            b'_' => out.extend_from_slice(b"null"),
            b'+' => string(text, out),
            b'-' => {
                let problem = Problem::of_line(&String::from_utf8_lossy(text));
                self::key("problem", b'{', out);
                out.extend_from_slice(&problem.json());
                out.push(b'}');
            }
            _ => return Err(Garbled),
        }
        Ok(())
    }
}

fn key(name: &str, before: u8, out: &mut Vec<u8>) {
    out.push(before);
    string(name.as_bytes(), out);
    out.push(b':');
}

/// Text as a string of JSON. What is no UTF-8, as a path may be, is shown as far as it is.
fn string(text: &[u8], out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(text);
    serde_json::to_writer(out, &*text).expect("a string can be written to memory");
}

/// `# Name` and `key:value` as an object of objects.
fn sections(text: &[u8], out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(text);
    let mut sections = serde_json::Map::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("# ") {
            name = title.to_lowercase();
            sections.insert(name.clone(), serde_json::Map::new().into());
        } else if let (Some((key, value)), Some(section)) =
            (line.split_once(':'), sections.get_mut(&name))
        {
            section[key] = value.into();
        }
    }
    serde_json::to_writer(out, &sections).expect("strings can be written to memory");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Encoder, ProtocolVersion, reply};

    fn told(encode: impl FnOnce(&mut Encoder<'_>), shape: Shape) -> Answered {
        let mut out = Vec::new();
        encode(&mut Encoder::new(&mut out, ProtocolVersion::Resp3));
        let mut bytes = &out[..];
        let answered = take(&mut bytes, shape, VectorForm::Array).unwrap();
        assert!(bytes.is_empty());
        for end in 0..out.len() {
            let cut = take(&mut &out[..end], shape, VectorForm::Array);
            assert_eq!(cut, Err(Garbled), "{}", out[..end].escape_ascii());
        }
        answered
    }

    fn text(encode: impl FnOnce(&mut Encoder<'_>), shape: Shape) -> String {
        String::from_utf8(told(encode, shape).body).unwrap()
    }

    #[test]
    fn values_keep_what_they_say() {
        let json = text(
            |encoder| {
                encoder.map(9);
                encoder.bulk(b"id");
                encoder.bulk("a \"b\"\n\u{1f600}".as_bytes());
                encoder.bulk(b"vec");
                encoder.bulk(&[0, 0, 128, 63, 0, 0, 0, 64]);
                encoder.bulk(b"meta");
                encoder.bulk(b"{\"n\":\r\n 1e400}");
                encoder.bulk(b"seq");
                encoder.count(u64::MAX);
                encoder.bulk(b"score");
                encoder.double_f32(0.1);
                encoder.bulk(b"tiny");
                encoder.double(1e-300);
                encoder.bulk(b"none");
                encoder.double(f64::NAN);
                encoder.bulk(b"far");
                encoder.double(f64::NEG_INFINITY);
                encoder.bulk(b"all");
                encoder.array(3);
                encoder.boolean(true);
                encoder.null();
                encoder.error("NOSPACE", "no memory space");
            },
            Shape::Plain,
        );
        assert_eq!(
            json,
            concat!(
                r#"{"id":"a \"b\"\n😀","vec":[1,2],"meta":{"n":   1e400},"#,
                r#""seq":9223372036854775807,"score":0.1,"tiny":1e-300,"none":null,"far":null,"#,
                r#""all":[true,null,{"problem":{"type":"about:blank","#,
                r#""title":"No such memory space","status":404,"code":"NOSPACE","#,
                r#""detail":"no memory space"}}]}"#
            )
        );
    }

    #[test]
    fn shapes_give_names_to_what_has_none() {
        let list = |encoder: &mut Encoder<'_>| {
            encoder.array(1);
            encoder.bulk(b"notes");
        };
        assert_eq!(text(list, Shape::List("spaces")), r#"{"spaces":["notes"]}"#);
        let scan = |encoder: &mut Encoder<'_>| {
            encoder.array(2);
            encoder.bulk(b"18446744073709551615");
            encoder.array(0);
        };
        let expected = r#"{"cursor":"18446744073709551615","episodes":[]}"#;
        assert_eq!(text(scan, Shape::Scan), expected);
        assert_eq!(text(|encoder| encoder.simple("OK"), Shape::Plain), r#"{"status":"OK"}"#);
        let info = "# Server\r\nversion:1\r\n\r\n# Stats\r\na:b:c\r\n";
        let json = text(|encoder| encoder.verbatim(info), Shape::Sections);
        assert_eq!(json, r#"{"server":{"version":"1"},"stats":{"a":"b:c"}}"#);
    }

    #[test]
    fn refusals_and_nil_are_problems() {
        let refused = told(|encoder| encoder.error("DIM", "3, not 4"), Shape::List("hits"));
        assert_eq!(refused.status, 400);
        assert_eq!(refused.problem.unwrap(), Problem::new("DIM", "3, not 4"));
        let nil = told(|encoder| encoder.null(), Shape::Plain);
        assert_eq!(nil.status, 404);
    }

    #[test]
    fn messages_of_a_watch_are_told_from_replies() {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out, ProtocolVersion::Resp3);
        encoder.push(5);
        encoder.bulk(b"eg.watch");
        [7, 1, 99].into_iter().for_each(|number| encoder.count(number));
        encoder.map(1);
        encoder.bulk(b"id");
        encoder.bulk(b"kettle");
        encoder.count(1_024);
        encoder.null();
        reply::cut(&mut encoder, 7, "BUSY too slow; retry in 9 ms", &[(0, 4), (1, 99)]);
        let mut bytes = &out[..];
        let mut next = || take_told(&mut bytes, VectorForm::Array).unwrap();
        let episode = br#"{"id":"kettle"}"#.to_vec();
        assert_eq!(next(), Told::Episode { shard: 1, sequence: 99, episode });
        assert_eq!((next(), next()), (Told::Credit, Told::Credit));
        let problem = Problem::new("BUSY", "too slow; retry in 9 ms");
        assert_eq!(next(), Told::Cut { problem, at: vec![(0, 4), (1, 99)] });
        assert!(bytes.is_empty());
        for garbled in [&b""[..], b"\r\n", b"$1\r\na\r\n", b">2\r\n$1\r\na\r\n:1\r\n", b">2\r\n"] {
            assert_eq!(take_told(&mut &garbled[..], VectorForm::Array), Err(Garbled));
        }
    }

    #[test]
    fn pressure_is_noticed() {
        let answered = told(
            |encoder| {
                encoder.map(2);
                encoder.bulk(b"pressure");
                encoder.double_f32(0.75);
                encoder.bulk(b"degraded");
                encoder.boolean(true);
            },
            Shape::Plain,
        );
        assert_eq!((answered.pressure, answered.is_degraded), (0.75, true));
    }
}
