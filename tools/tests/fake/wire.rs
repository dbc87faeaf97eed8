//! RESP, the few lines of it that a test needs.

use std::io::BufRead;

pub(crate) enum Reply {
    Nil,
    Simple(&'static str),
    Error(String),
    Int(i64),
    Double(f64),
    Bulk(Vec<u8>),
    Array(Vec<Reply>),
    Map(Vec<(&'static str, Reply)>),
}

impl Reply {
    pub(crate) fn text(text: impl AsRef<str>) -> Self {
        Self::Bulk(text.as_ref().as_bytes().to_vec())
    }
}

/// The arguments of the next command, or `None` at the end of the stream.
pub(crate) fn read_command(reader: &mut impl BufRead) -> Option<Vec<Vec<u8>>> {
    let count = read_length(reader, '*')?;
    (0..count)
        .map(|_| {
            let mut argument = vec![0; read_length(reader, '$')? + 2];
            reader.read_exact(&mut argument).ok()?;
            assert_eq!(argument.split_off(argument.len() - 2), b"\r\n");
            Some(argument)
        })
        .collect()
}

fn read_length(reader: &mut impl BufRead, kind: char) -> Option<usize> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
    Some(line.strip_prefix(kind).expect("a command is an array").trim_end().parse().unwrap())
}

pub(crate) fn encode(reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Nil => b"_\r\n".to_vec(),
        Reply::Simple(text) => format!("+{text}\r\n").into_bytes(),
        Reply::Error(line) => format!("-{line}\r\n").into_bytes(),
        Reply::Int(number) => format!(":{number}\r\n").into_bytes(),
        Reply::Double(number) => format!(",{number}\r\n").into_bytes(),
        Reply::Bulk(bytes) => [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat(),
        Reply::Array(items) => {
            let mut bytes = format!("*{}\r\n", items.len()).into_bytes();
            bytes.extend(items.iter().flat_map(encode));
            bytes
        }
        Reply::Map(entries) => {
            let mut bytes = format!("%{}\r\n", entries.len()).into_bytes();
            for (key, value) in entries {
                bytes.extend(encode(&Reply::text(key)));
                bytes.extend(encode(value));
            }
            bytes
        }
    }
}
