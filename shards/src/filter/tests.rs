use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{FILTER_COMPARISONS_MAX, Filter, check_metadata};
use crate::episode::Refusal;
use crate::limits::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX};

fn filter(filter: &Value) -> Filter {
    Filter::parse(filter.to_string().as_bytes()).unwrap()
}

fn matches(filter_json: &Value, metadata: &Value) -> bool {
    filter(filter_json).matches(metadata.to_string().as_bytes())
}

fn refusal(filter: &str) -> String {
    Filter::parse(filter.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_field_equals_a_value() {
    let metadata = json!({"lang": "en", "year": 2020, "draft": false, "end": null});
    for yes in [
        json!({"lang": "en"}),
        json!({"year": 2020, "draft": false}),
        json!({"year": 2020.0}),
        json!({"end": null}),
        json!({"nowhere": null}),
        json!({}),
    ] {
        assert!(matches(&yes, &metadata), "{yes}");
    }
    for no in [
        json!({"lang": "EN"}),
        json!({"year": "2020"}),
        json!({"year": 2020, "draft": true}),
        json!({"draft": 0}),
        json!({"lang": null}),
    ] {
        assert!(!matches(&no, &metadata), "{no}");
    }
}

#[test]
fn arrays_match_by_an_element() {
    let metadata = json!({"tags": ["a", "b", ["c"], {"x": 1}], "none": []});
    assert!(matches(&json!({"tags": "b"}), &metadata));
    assert!(matches(&json!({"tags": {"$in": ["z", "a"]}}), &metadata));
    assert!(matches(&json!({"tags": {"$ne": "c"}}), &metadata));
    assert!(!matches(&json!({"tags": {"$nin": ["a"]}}), &metadata));
    assert!(!matches(&json!({"tags.x": 1}), &metadata));
    assert!(matches(&json!({"none": {"$exists": true}}), &metadata));
    assert!(!matches(&json!({"none": {"$gte": 0}}), &metadata));
}

#[test]
fn paths_lead_into_objects() {
    let metadata = json!({"a": {"b": {"c": 7}, "d": "x"}, "a.d": "y"});
    assert!(matches(&json!({"a.b.c": {"$gt": 6, "$lt": 8}, "a.d": "x"}), &metadata));
    assert!(matches(&json!({"a.b": {"$exists": true}}), &metadata));
    assert!(matches(&json!({"a.d.c": {"$exists": false}}), &metadata));
    assert!(!matches(&json!({"a.d": "y"}), &metadata));
}

#[test]
fn integers_compare_exactly() {
    let metadata = json!({"big": u64::MAX, "low": i64::MIN});
    assert!(matches(&json!({"big": u64::MAX}), &metadata));
    assert!(!matches(&json!({"big": u64::MAX - 1}), &metadata));
    assert!(matches(&json!({"big": {"$gt": u64::MAX - 1}}), &metadata));
    assert!(matches(&json!({"big": u64::MAX as f64}), &metadata));
    assert!(matches(&json!({"low": {"$lt": i64::MIN + 1}}), &metadata));
}

#[test]
fn of_a_name_that_occurs_twice_the_last_counts() {
    let matches =
        |filter_json: Value, metadata: &str| filter(&filter_json).matches(metadata.as_bytes());
    assert!(!matches(json!({"a": 1}), r#"{"a": 1, "a": 2}"#));
    assert!(matches(json!({"a": 2}), r#"{"a": 1, "a": 2}"#));
    assert!(matches(json!({"a.b": {"$exists": false}}), r#"{"a": {"b": 1}, "a": 2}"#));
    assert!(matches(json!({"a": 3}), r#"{"\u0061": 3}"#));
}

#[test]
fn no_metadata_is_an_object_without_fields() {
    assert!(filter(&json!({"a": {"$exists": false}})).matches(b""));
    assert!(!filter(&json!({"a": 1})).matches(b""));
    for broken in [&b"[]"[..], b"1", b"{", b"{\"a\": }", b"{\"b\": 1, \"a\xff"] {
        assert!(!filter(&json!({"a": {"$ne": 1}})).matches(broken), "{broken:?}");
    }
}

#[test]
fn what_is_no_filter_is_refused_with_a_remedy() {
    for (text, part) in [
        ("", "not valid JSON"),
        ("{\"a\": 1", "not valid JSON"),
        ("{\"a\": 1} x", "not valid JSON"),
        ("[]", "must be an object"),
        ("{\"a\": 1, \"a\": 2}", "'a' is given twice"),
        ("{\"$nor\": []}", "there are $and, $or, $not"),
        ("{\"$or\": []}", "at least one filter"),
        ("{\"$or\": [1]}", "$or must be an object"),
        ("{\"a\": {\"$regex\": \"x\"}}", "there are $eq"),
        ("{\"a\": {\"b\": 1}}", "a dot leads into an object"),
        ("{\"a\": {}}", "field 'a' must be given"),
        ("{\"a\": [1]}", "field 'a' must be given"),
        ("{\"a\": {\"$in\": 1}}", "needs a list"),
        ("{\"a\": {\"$in\": [[]]}}", "string, number, boolean or null"),
        ("{\"a\": {\"$gt\": null}}", "a number or a string"),
        ("{\"a\": {\"$exists\": 1}}", "true or false"),
        ("{\"a\": {\"$not\": 1}}", "needs an object"),
        ("{\"a..b\": 1}", "empty name"),
    ] {
        let refusal = refusal(text);
        assert!(refusal.contains(part), "{text}: {refusal}");
    }
}

#[test]
fn bounds_are_named() {
    let nested =
        |depth: usize| format!("{}{{}}{}", "{\"$not\":".repeat(depth - 1), "}".repeat(depth - 1));
    assert!(Filter::parse(nested(FILTER_DEPTH_MAX).as_bytes()).is_ok());
    assert_eq!(
        Filter::parse(nested(FILTER_DEPTH_MAX + 1).as_bytes()),
        Err(Refusal::TooBig { what: "nesting of FILTER", got: 17, max: FILTER_DEPTH_MAX })
    );
    assert!(refusal(&nested(5_000)).contains("recursion limit"));
    let long = vec![b' '; FILTER_BYTES_MAX + 1];
    assert_eq!(Filter::parse(&long).unwrap_err().code(), "TOOBIG");
    let fields = |count| -> Value {
        (0..count).map(|field| (format!("f{field}"), json!(1))).collect::<Map<_, _>>().into()
    };
    assert!(matches(&fields(FILTER_COMPARISONS_MAX), &fields(FILTER_COMPARISONS_MAX)));
    let over = fields(FILTER_COMPARISONS_MAX + 1).to_string();
    assert_eq!(Filter::parse(over.as_bytes()).unwrap_err().code(), "TOOBIG");
}

#[test]
fn metadata_is_an_object_that_can_be_read() {
    for good in ["{}", " {\"a\": [1, {\"b\": null}], \"a\": 1e5}\n"] {
        assert_eq!(check_metadata(good.as_bytes()), Ok(()), "{good}");
    }
    let deep = format!("{{\"a\": {}1{}}}", "[".repeat(127), "]".repeat(127));
    let bad = ["", "[]", "1", "{", "{\"a\": 1}}", "{\"a\": 1e999}", "{\"a\": \"\\ud800\"}", &deep];
    for bad in bad {
        assert_eq!(check_metadata(bad.as_bytes()).unwrap_err().code(), "SYNTAX", "{bad}");
    }
    assert!(check_metadata(b"{\"a\": \"\xff\"}").is_err());
    assert!(check_metadata(b"{\"\xff\": 1}").is_err());
}

/// The plainest reading of the rules: walks both documents as trees, field by field.
mod oracle {
    use std::cmp::Ordering;

    use serde_json::Value;

    pub(super) fn matches(filter: &Value, metadata: &Value) -> bool {
        filter.as_object().unwrap().iter().all(|(name, value)| match name.as_str() {
            "$and" => value.as_array().unwrap().iter().all(|each| matches(each, metadata)),
            "$or" => value.as_array().unwrap().iter().any(|each| matches(each, metadata)),
            "$not" => !matches(value, metadata),
            path => field(value, at(metadata, path)),
        })
    }

    fn at<'a>(metadata: &'a Value, path: &str) -> Option<&'a Value> {
        path.split('.').try_fold(metadata, |value, name| value.as_object()?.get(name))
    }

    fn field(required: &Value, value: Option<&Value>) -> bool {
        let Some(operators) = required.as_object() else {
            return equal(required, value);
        };
        operators.iter().all(|(name, operand)| match name.as_str() {
            "$eq" => equal(operand, value),
            "$ne" => !equal(operand, value),
            "$in" => operand.as_array().unwrap().iter().any(|each| equal(each, value)),
            "$nin" => !operand.as_array().unwrap().iter().any(|each| equal(each, value)),
            "$exists" => value.is_some() == operand.as_bool().unwrap(),
            "$not" => !field(operand, value),
            "$gt" => any(value, |each| order(each, operand) == Some(Ordering::Greater)),
            "$lt" => any(value, |each| order(each, operand) == Some(Ordering::Less)),
            "$gte" => any(value, |each| order(each, operand).is_some_and(Ordering::is_ge)),
            "$lte" => any(value, |each| order(each, operand).is_some_and(Ordering::is_le)),
            other => panic!("{other}"),
        })
    }

    fn equal(operand: &Value, value: Option<&Value>) -> bool {
        if operand.is_null() && value.is_none() {
            return true;
        }
        any(value, |each| {
            let are_same = each == operand && !each.is_array() && !each.is_object();
            are_same || order(each, operand) == Some(Ordering::Equal)
        })
    }

    fn any(value: Option<&Value>, holds: impl Fn(&Value) -> bool) -> bool {
        match value {
            None => false,
            Some(Value::Array(items)) => items.iter().any(holds),
            Some(value) => holds(value),
        }
    }

    fn order(one: &Value, other: &Value) -> Option<Ordering> {
        match (one, other) {
            (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
            (Value::Number(one), Value::Number(other)) => {
                let integers = (one.as_i128(), other.as_i128());
                if let (Some(one), Some(other)) = integers {
                    return Some(one.cmp(&other));
                }
                one.as_f64()?.partial_cmp(&other.as_f64()?)
            }
            _ => None,
        }
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..4).prop_map(Value::from),
        (-3_i64..4).prop_map(|half| Value::from(half as f64 / 2.0)),
        prop::sample::select(vec![u64::MAX, u64::MAX - 1, 1 << 53, (1 << 53) + 1])
            .prop_map(Value::from),
        prop::sample::select(vec!["", "a", "b", "é\n\"", "\u{1F600}"]).prop_map(Value::from),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "d\n"]).prop_map(str::to_owned)
}

pub(crate) fn metadata() -> impl Strategy<Value = Value> {
    let value = scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    });
    prop::collection::btree_map(name(), value, 0..5)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

fn one_field(name: impl Into<String>, value: Value) -> Value {
    Value::Object([(name.into(), value)].into_iter().collect())
}

fn operators() -> impl Strategy<Value = Value> {
    let ordered = scalar().prop_filter("ordered", |value| value.is_number() || value.is_string());
    let comparison = prop_oneof![
        (prop::sample::select(vec!["$eq", "$ne"]), scalar()).boxed(),
        (prop::sample::select(vec!["$gt", "$gte", "$lt", "$lte"]), ordered).boxed(),
        (
            prop::sample::select(vec!["$in", "$nin"]),
            prop::collection::vec(scalar(), 0..4).prop_map(Value::from)
        )
            .boxed(),
        (Just("$exists"), any::<bool>().prop_map(Value::from)).boxed(),
    ];
    let comparisons = prop::collection::vec(comparison, 1..3).prop_map(|comparisons| {
        let fields = comparisons.into_iter().map(|(name, value)| (name.to_owned(), value));
        Value::Object(fields.collect())
    });
    prop_oneof![
        3 => comparisons.clone(),
        1 => comparisons.prop_map(|operators| one_field("$not", operators)),
    ]
}

pub(crate) fn filters() -> impl Strategy<Value = Value> {
    let path = prop::collection::vec(name(), 1..4).prop_map(|names| names.join("."));
    let fields = prop::collection::btree_map(path, prop_oneof![scalar(), operators()], 0..3)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()));
    fields.prop_recursive(3, 12, 3, |inner| {
        let list = prop::collection::vec(inner.clone(), 1..3).prop_map(Value::from);
        prop_oneof![
            (prop::sample::select(vec!["$and", "$or"]), list)
                .prop_map(|(name, list)| one_field(name, list)),
            inner.prop_map(|filter| one_field("$not", filter)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn agrees_with_the_oracle(filter_json in filters(), metadata in metadata()) {
        prop_assert_eq!(
            matches(&filter_json, &metadata),
            oracle::matches(&filter_json, &metadata)
        );
        prop_assert!(check_metadata(metadata.to_string().as_bytes()).is_ok());
    }

    #[test]
    fn a_filter_and_its_opposite_never_agree(filter_json in filters(), metadata in metadata()) {
        let opposite = one_field("$not", filter_json.clone());
        prop_assert_ne!(matches(&filter_json, &metadata), matches(&opposite, &metadata));
    }

    #[test]
    fn random_bytes_do_no_harm(
        text in prop::collection::vec(any::<u8>(), 0..60),
        metadata in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        if let Ok(filter) = Filter::parse(&text) {
            filter.matches(&metadata);
        }
        let has_an_object = check_metadata(&metadata).is_ok();
        prop_assert_eq!(
            has_an_object,
            serde_json::from_slice::<Map<String, Value>>(&metadata).is_ok()
        );
    }

    #[test]
    fn cut_metadata_satisfies_nothing(metadata in metadata(), cut in any::<prop::sample::Index>()) {
        let text = metadata.to_string();
        let cut = &text.as_bytes()[..cut.index(text.len())];
        prop_assume!(!cut.is_empty());
        let anything = Filter::parse(b"{}").unwrap();
        prop_assert!(!anything.matches(cut));
        prop_assert!(check_metadata(cut).is_err());
    }
}
