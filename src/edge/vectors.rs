//! Vectors in JSON: an array of numbers, or little-endian f32 in base64.
//!
//! An array is what people write; base64 is a third of the bytes and costs next to nothing to read.
//! Numbers are read as f32 at once, as behind `VALUES`, not as f64 that is rounded afterwards.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engram_shards::limits::DIMENSIONS_MAX;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// How vectors are written in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VectorForm {
    #[default]
    Base64,
    Array,
}

impl VectorForm {
    /// Appends a blob as it stands in an answer.
    pub fn write(self, blob: &[u8], out: &mut Vec<u8>) {
        if self == Self::Base64 {
            out.extend_from_slice(b"{\"base64\":\"");
            out.extend_from_slice(STANDARD.encode(blob).as_bytes());
            return out.extend_from_slice(b"\"}");
        }
        out.push(b'[');
        for (nth, bytes) in blob.chunks_exact(size_of::<f32>()).enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            let component = f32::from_le_bytes(bytes.try_into().expect("chunks of four"));
            if !component.is_finite() {
                // Nothing of the kind is stored.
                out.extend_from_slice(b"null");
                continue;
            }
            let mut buffer = zmij::Buffer::new();
            let text = buffer.format_finite(component);
            out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
        }
        out.push(b']');
    }
}

/// A vector of a request, as the blob that RESP has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vector(pub Bytes);

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VectorVisitor)
    }
}

struct VectorVisitor;

impl<'de> Visitor<'de> for VectorVisitor {
    type Value = Vector;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vector: an array of numbers or {\"base64\": \"…\"}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vector, A::Error> {
        let mut blob = Vec::new();
        // One too many is enough to be refused for it.
        while blob.len() <= DIMENSIONS_MAX * size_of::<f32>() {
            match list.next_element::<f32>()? {
                Some(component) => blob.extend_from_slice(&component.to_le_bytes()),
                None => return Ok(Vector(blob.into())),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Vector(blob.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vector, A::Error> {
        let mut vector = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key != "base64" || vector.is_some() {
                return Err(A::Error::custom(format!("expected base64 once, got {key:?}")));
            }
            let text = map.next_value::<Cow<'de, str>>()?;
            let blob = STANDARD.decode(text.as_bytes()).map_err(|error| {
                A::Error::custom(format!("a vector must be padded base64: {error}"))
            })?;
            vector = Some(Vector(blob.into()));
        }
        vector.ok_or_else(|| A::Error::custom("expected base64"))
    }
}

impl JsonSchema for Vector {
    fn schema_name() -> Cow<'static, str> {
        "Vector".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Components as numbers, or as little-endian f32 in base64.",
            "oneOf": [
                {
                    "type": "array",
                    "items": { "type": "number", "minimum": -1e18, "maximum": 1e18 },
                    "minItems": 1,
                    "maxItems": DIMENSIONS_MAX,
                },
                {
                    "type": "object",
                    "properties": {
                        "base64": {
                            "type": "string",
                            "contentEncoding": "base64",
                            "minLength": 8,
                        },
                    },
                    "required": ["base64"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Bytes, String> {
        serde_json::from_str::<Vector>(json).map(|vector| vector.0).map_err(|e| e.to_string())
    }

    fn blob(components: &[f32]) -> Vec<u8> {
        components.iter().flat_map(|component| component.to_le_bytes()).collect()
    }

    #[test]
    fn both_forms_read_back_what_was_written() {
        let vector = blob(&[0.1, -3.0, f32::MIN_POSITIVE, 16_777_217.0, 1e18, f32::MAX]);
        for form in [VectorForm::Base64, VectorForm::Array] {
            let mut out = Vec::new();
            form.write(&vector, &mut out);
            assert_eq!(read(std::str::from_utf8(&out).unwrap()).unwrap(), vector);
        }
        let mut out = Vec::new();
        VectorForm::Array.write(&blob(&[0.1, 2.0]), &mut out);
        assert_eq!(out, b"[0.1,2]");
    }

    #[test]
    fn numbers_are_rounded_once() {
        // Rounded to f64 first, this is the middle between two f32, and then the lower one.
        let text = "1.00000005960464477540";
        assert_eq!(read(&format!("[{text}]")).unwrap(), blob(&[text.parse().unwrap()]));
    }

    #[test]
    fn what_is_too_long_is_read_far_enough_to_be_refused() {
        let of = |n: usize| read(&format!("[{}]", vec!["1"; n].join(",")));
        assert_eq!(of(DIMENSIONS_MAX).unwrap().len(), DIMENSIONS_MAX * 4);
        assert_eq!(of(DIMENSIONS_MAX + 1).unwrap().len(), DIMENSIONS_MAX * 4 + 4);
        assert_eq!(of(DIMENSIONS_MAX * 2).unwrap().len(), DIMENSIONS_MAX * 4 + 4);
    }

    #[test]
    fn everything_else_is_refused() {
        for json in ["1", "\"AA==\"", "{}", "{\"hex\":\"00\"}", "[null]", "[\"1\"]", "[NaN]"] {
            assert!(read(json).is_err(), "{json}");
        }
        assert!(read("{\"base64\":\"?\"}").is_err());
        assert!(read("{\"base64\":\"AAAA\",\"base64\":\"AAAA\"}").is_err());
    }
}
