//! Where the operations of a batch come from: a JSON array, or lines, here or on their way.

use std::fmt;
use std::vec::IntoIter;

use axum::body::Body;
use bytes::{Buf, Bytes, BytesMut};
use serde::Deserializer as _;
use serde::de::{Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::edge::bodies::{self, Taken};
use crate::edge::bounds::{BODY_BYTES_MAX, OPERATIONS_MAX};
use crate::edge::problem::Problem;
use crate::edge::requests::misread;

/// See the top of the file.
#[derive(Debug)]
pub struct Source {
    operations: Operations,
    /// The room that what is here takes.
    taken: Taken,
    /// Operations that may still come.
    left: usize,
    is_done: bool,
}

#[derive(Debug)]
enum Operations {
    List(IntoIter<Bytes>),
    Lines {
        /// What has come and was not taken.
        buffer: BytesMut,
        /// Bytes of that which have no line end among them.
        searched: usize,
        /// Where more comes from; `None` at its end.
        body: Option<Body>,
    },
}

impl Source {
    /// The operations of an array, all of them here.
    pub fn list(whole: &Bytes, taken: Taken) -> Result<Self, Problem> {
        let mut json = serde_json::Deserializer::from_slice(whole);
        let list = json.deserialize_seq(ListVisitor { whole }).and_then(|list| {
            json.end()?;
            Ok(list)
        });
        let list = list.map_err(|error| misread(&error))?;
        let operations = bounded(list.len()).map(|()| Operations::List(list.into_iter()))?;
        Ok(Self { operations, taken, left: OPERATIONS_MAX, is_done: false })
    }

    /// Operations in lines, all of them here.
    pub fn lines(whole: Bytes, taken: Taken) -> Result<Self, Problem> {
        let is_operation = |line: &&[u8]| !line.trim_ascii().is_empty();
        bounded(whole.split(|byte| *byte == b'\n').filter(is_operation).count())?;
        let operations = Operations::Lines { buffer: whole.into(), searched: 0, body: None };
        Ok(Self { operations, taken, left: OPERATIONS_MAX, is_done: false })
    }

    /// Operations in lines, as they come.
    pub fn stream(body: Body, taken: Taken) -> Self {
        let (buffer, body) = (BytesMut::new(), Some(body));
        let operations = Operations::Lines { buffer, searched: 0, body };
        Self { operations, taken, left: OPERATIONS_MAX, is_done: false }
    }

    /// Nothing more will come.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Takes nothing more.
    pub fn close(&mut self) {
        self.is_done = true;
    }

    /// The next operation, if it is all here.
    pub fn ready(&mut self) -> Result<Option<Bytes>, Problem> {
        while !self.is_done {
            let (line, bytes) = match &mut self.operations {
                Operations::List(list) => match list.next() {
                    Some(operation) => (operation, 0),
                    None => {
                        self.is_done = true;
                        break;
                    }
                },
                Operations::Lines { buffer, searched, body } => {
                    match buffer[*searched..].iter().position(|byte| *byte == b'\n') {
                        Some(end) => {
                            let mut line = buffer.split_to(*searched + end + 1);
                            *searched = 0;
                            let bytes = line.len();
                            line.truncate(bytes - 1);
                            (line.freeze(), bytes)
                        }
                        None if body.is_none() => {
                            self.is_done = true;
                            let line = buffer.split().freeze();
                            let bytes = line.len();
                            (line, bytes)
                        }
                        None => {
                            *searched = buffer.len();
                            check_line(buffer.len())?;
                            return Ok(None);
                        }
                    }
                }
            };
            self.taken.shrink(bytes);
            check_line(line.len())?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            self.left = self.left.checked_sub(1).ok_or_else(too_many)?;
            return Ok(Some(line));
        }
        Ok(None)
    }

    /// Waits until more is here.
    pub async fn more(&mut self) -> Result<(), Problem> {
        if let Operations::Lines { buffer, body: from @ Some(_), .. } = &mut self.operations {
            let body = from.as_mut().expect("just seen");
            match bodies::next(body).await? {
                Some(data) => {
                    self.taken.grow(data.len())?;
                    buffer.extend_from_slice(data.chunk());
                }
                None => *from = None,
            }
        }
        Ok(())
    }
}

fn check_line(bytes: usize) -> Result<(), Problem> {
    match bytes <= BODY_BYTES_MAX {
        true => Ok(()),
        false => Err(Problem::too_big("an operation of the batch", BODY_BYTES_MAX)),
    }
}

fn bounded(operations: usize) -> Result<(), Problem> {
    match operations {
        0 => Err(Problem::new("SYNTAX", "a batch has 1 operation at least, got none")),
        1..=OPERATIONS_MAX => Ok(()),
        _ => Err(too_many()),
    }
}

fn too_many() -> Problem {
    let detail = format!("a batch has {OPERATIONS_MAX} operations at most; split it");
    Problem::new("TOOBIG", detail)
}

/// Reads where the elements of an array are, up to one more than are allowed.
struct ListVisitor<'a> {
    whole: &'a Bytes,
}

impl<'de> Visitor<'de> for ListVisitor<'de> {
    type Value = Vec<Bytes>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of operations")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Bytes>, A::Error> {
        let mut operations = Vec::new();
        while let Some(operation) = list.next_element::<&'de RawValue>()? {
            if operations.len() > OPERATIONS_MAX {
                return Err(A::Error::custom(too_many().detail));
            }
            operations.push(self.whole.slice_ref(operation.get().as_bytes()));
        }
        Ok(operations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::bodies::Room;

    fn all(mut source: Source) -> Vec<Bytes> {
        let mut operations = Vec::new();
        while let Some(operation) = source.ready().unwrap() {
            operations.push(operation);
        }
        assert!(source.is_done());
        operations
    }

    #[test]
    fn arrays_and_lines_have_the_same_operations() {
        let room = Room::default();
        let list = Bytes::from_static(b" [ {\"op\": \"ping\"} , 1,\"a\nb\" ] ");
        // A line end inside a string is no JSON.
        assert!(Source::list(&list, room.take()).is_err());
        let list = Bytes::from_static(b" [ {\"op\": \"ping\"} , 1,\n\"a b\" ] ");
        let lines = Bytes::from_static(b"{\"op\": \"ping\"}\r\n\n 1\n  \n\"a b\"");
        let trimmed = |all: Vec<Bytes>| -> Vec<Vec<u8>> {
            all.iter().map(|operation| operation.trim_ascii().to_vec()).collect()
        };
        let of_list = trimmed(all(Source::list(&list, room.take()).unwrap()));
        assert_eq!(of_list, trimmed(all(Source::lines(lines, room.take()).unwrap())));
        assert_eq!(of_list.len(), 3);
    }

    #[test]
    fn as_many_operations_as_are_allowed_and_one_more() {
        let room = Room::default();
        for (operations, is_allowed) in
            [(0, false), (1, true), (OPERATIONS_MAX, true), (OPERATIONS_MAX + 1, false)]
        {
            let list = format!("[{}]", vec!["1"; operations].join(","));
            let source = Source::list(&list.into(), room.take());
            assert_eq!(source.is_ok(), is_allowed, "{operations}");
            let source = Source::lines("1\n".repeat(operations).into(), room.take());
            assert_eq!(source.is_ok(), is_allowed, "{operations}");
        }
        let far_too_many = format!("[{}]", vec!["1"; OPERATIONS_MAX * 3].join(","));
        assert!(Source::list(&far_too_many.into(), room.take()).is_err());
    }

    #[test]
    fn a_line_is_as_long_as_a_body_may_be() {
        let room = Room::default();
        let line = |bytes: usize| Bytes::from("x".repeat(bytes));
        let mut source = Source::lines(line(BODY_BYTES_MAX), room.take()).unwrap();
        assert_eq!(source.ready().unwrap().unwrap().len(), BODY_BYTES_MAX);
        let mut source = Source::lines(line(BODY_BYTES_MAX + 1), room.take()).unwrap();
        assert_eq!(source.ready().unwrap_err().code, "TOOBIG");
    }
}
