//! What a metadata object says, field by field: for who wants to know it before there is a filter.
//!
//! The rules are those of matching: only objects lead on, an array stands for its elements, and of
//! a name that occurs twice in an object the last counts.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::scalar::{Number, ScalarRef};

/// Who is told.
pub(crate) trait FieldSink {
    /// A field of the object at `parent`, 0 for the metadata itself, is about to be read: its own
    /// number, or `None` to skip it. What was said before of a field with the same number, or of
    /// those below it, does not hold.
    fn field(&mut self, parent: usize, name: &str) -> Option<usize>;

    /// The value of a field, or of an element of the array that is its value.
    fn value(&mut self, field: usize, value: ScalarRef<'_>);
}

/// Tells all fields of an object; whether it could be read to its end.
pub(crate) fn tell_fields(metadata: &[u8], sink: &mut impl FieldSink) -> bool {
    if metadata.is_empty() {
        return true;
    }
    let mut deserializer = serde_json::Deserializer::from_slice(metadata);
    deserializer.deserialize_map(Object { sink, number: 0 }).is_ok()
}

/// Reads the fields of an object.
struct Object<'a, S> {
    sink: &'a mut S,
    number: usize,
}

impl<'de, S: FieldSink> Visitor<'de> for Object<'_, S> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) =
            map.next_key_seed(Name { sink: &mut *self.sink, parent: self.number })?
        {
            match field {
                Some(number) => {
                    map.next_value_seed(Value {
                        sink: &mut *self.sink,
                        number,
                        is_element: false,
                    })?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Reads a name; the number of the field, if the sink wants it.
struct Name<'a, S> {
    sink: &'a mut S,
    parent: usize,
}

impl<'de, S: FieldSink> DeserializeSeed<'de> for Name<'_, S> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<S: FieldSink> Visitor<'_> for Name<'_, S> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.sink.field(self.parent, name))
    }
}

/// Reads the value of a field, or an element of the array that is its value.
struct Value<'a, S> {
    sink: &'a mut S,
    number: usize,
    is_element: bool,
}

impl<S: FieldSink> Value<'_, S> {
    fn tell<E>(self, value: ScalarRef<'_>) -> Result<(), E> {
        self.sink.value(self.number, value);
        Ok(())
    }
}

impl<'de, S: FieldSink> DeserializeSeed<'de> for Value<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: FieldSink> Visitor<'de> for Value<'_, S> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.tell(ScalarRef::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.tell(ScalarRef::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.tell(ScalarRef::Number(Number::Integer(i128::from(value))))
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.tell(ScalarRef::Number(Number::Integer(i128::from(value))))
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.tell(ScalarRef::Number(Number::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.tell(ScalarRef::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        let Self { sink, number, is_element } = self;
        if is_element {
            while sequence.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        while sequence
            .next_element_seed(Value { sink: &mut *sink, number, is_element: true })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.is_element {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        Object { sink: self.sink, number: self.number }.visit_map(map)
    }
}
