//! Matching: one pass over the metadata's bytes.
//!
//! The walk visits the trie and the JSON together. A field without a node in the trie is skipped
//! by the parser without being decoded; a value at a node is shown to the node's comparisons.

use std::cmp::Ordering;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::scalar::{Number, ScalarRef};
use super::{Comparison, Condition, Filter, Node, Truths};

pub(super) fn judge(filter: &Filter, metadata: &[u8]) -> Option<bool> {
    let mut truths = Truths::default();
    if !metadata.is_empty() {
        let mut deserializer = serde_json::Deserializer::from_slice(metadata);
        let root = Place { nodes: &filter.nodes, index: 0, truths: &mut truths };
        deserializer.deserialize_map(FieldsVisitor(root)).ok()?;
    }
    Some(filter.condition.holds(&truths))
}

impl Condition {
    fn holds(&self, truths: &Truths) -> bool {
        match self {
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(truths)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(truths)),
            Self::Not(condition) => !condition.holds(truths),
            Self::Holds(number) => truths.contains(*number),
        }
    }
}

impl Comparison {
    /// Whether one value, or an element of an array, satisfies it.
    fn holds(&self, value: ScalarRef<'_>) -> bool {
        match self {
            Self::Exists => false,
            Self::Equals(other) => value.compare(other) == Some(Ordering::Equal),
            Self::In(others) => {
                others.iter().any(|other| value.compare(other) == Some(Ordering::Equal))
            }
            Self::Greater(other) => value.compare(other).is_some_and(Ordering::is_gt),
            Self::GreaterOrEqual(other) => value.compare(other).is_some_and(Ordering::is_ge),
            Self::Less(other) => value.compare(other).is_some_and(Ordering::is_lt),
            Self::LessOrEqual(other) => value.compare(other).is_some_and(Ordering::is_le),
        }
    }
}

impl Node {
    pub(super) fn child(&self, name: &str) -> Option<usize> {
        self.children.iter().find(|(other, _)| other == name).map(|&(_, index)| index)
    }
}

/// A node of the trie while its value is read.
struct Place<'a> {
    nodes: &'a [Node],
    index: usize,
    truths: &'a mut Truths,
}

impl Place<'_> {
    fn node(&self) -> &Node {
        &self.nodes[self.index]
    }

    fn at(&mut self, index: usize) -> Place<'_> {
        Place { nodes: self.nodes, index, truths: self.truths }
    }

    fn exists(&mut self) {
        for (number, comparison) in &self.nodes[self.index].comparisons {
            if *comparison == Comparison::Exists {
                self.truths.insert(*number);
            }
        }
    }

    fn compare(&mut self, value: ScalarRef<'_>) {
        for (number, comparison) in &self.nodes[self.index].comparisons {
            if comparison.holds(value) {
                self.truths.insert(*number);
            }
        }
    }
}

/// Reads the fields of an object.
struct FieldsVisitor<'a>(Place<'a>);

impl<'de> Visitor<'de> for FieldsVisitor<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(child) = map.next_key_seed(NameSeed(self.0.node()))? {
            match child {
                Some(index) => {
                    // Of a name that occurs twice the last counts.
                    self.0.truths.remove_all(&self.0.nodes[index].covers);
                    map.next_value_seed(ValueSeed { place: self.0.at(index), is_element: false })?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Reads a name and answers the node's child with that name.
struct NameSeed<'a>(&'a Node);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.child(name))
    }
}

/// Reads the value of a place, or an element of the array that is its value.
struct ValueSeed<'a> {
    place: Place<'a>,
    is_element: bool,
}

impl ValueSeed<'_> {
    fn scalar(mut self, value: ScalarRef<'_>) {
        if !self.is_element {
            self.place.exists();
        }
        self.place.compare(value);
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.scalar(ScalarRef::Null);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.scalar(ScalarRef::Bool(value));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.scalar(ScalarRef::Number(Number::Integer(i128::from(value))));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.scalar(ScalarRef::Number(Number::Integer(i128::from(value))));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.scalar(ScalarRef::Number(Number::Float(value)));
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.scalar(ScalarRef::String(value));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut sequence: A) -> Result<(), A::Error> {
        if self.is_element {
            while sequence.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        self.place.exists();
        let index = self.place.index;
        while sequence
            .next_element_seed(ValueSeed { place: self.place.at(index), is_element: true })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        if self.is_element {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        self.place.exists();
        FieldsVisitor(self.place).visit_map(map)
    }
}
