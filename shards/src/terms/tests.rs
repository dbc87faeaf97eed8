//! The index against the filter, row by row.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::arena::Region;
use crate::filter::Filter;
use crate::filter::tests::{filters, metadata};
use crate::limits::BLOCK_ROWS;

/// The column of some rows, aligned as a mapped one.
fn column<T: AsRef<[u8]>>(rows: &[T]) -> Region {
    let mut builder = TermsBuilder::new(rows.len());
    rows.iter().for_each(|row| builder.push(row.as_ref()));
    let mut bytes = Vec::new();
    while !builder.step(|some| bytes.extend_from_slice(some)) {}
    let mut region = Region::new(bytes.len()).unwrap();
    region.copy_from_slice(&bytes);
    region
}

fn filter(text: &str) -> Filter {
    Filter::parse(text.as_bytes()).unwrap()
}

/// Metadata of a row, sometimes with names that occur twice.
fn row() -> impl Strategy<Value = String> {
    let twice = (metadata(), metadata()).prop_map(|(one, other)| {
        let inner = |value: &Value| {
            let text = value.to_string();
            text[1..text.len() - 1].to_owned()
        };
        let both = [inner(&one), inner(&other)].into_iter().filter(|text| !text.is_empty());
        format!("{{{}}}", both.collect::<Vec<_>>().join(","))
    });
    prop_oneof![
        6 => metadata().prop_map(|metadata| metadata.to_string()),
        2 => twice,
        1 => Just(String::new()),
    ]
}

/// Says whether what the index knows of the rows is what the filter says.
fn check(filter: &Filter, rows: &[String], column: &[u8]) -> Result<(), TestCaseError> {
    let terms = Terms::open(column, rows.len() as u32).unwrap();
    let plan = Plan::new(filter, &terms);
    let matches: Vec<bool> = rows.iter().map(|row| filter.matches(row.as_bytes())).collect();
    let agrees = |truth, matches| truth == Truth::Maybe || (truth == Truth::Yes) == matches;
    for (row, &matches) in (0..).zip(&matches) {
        prop_assert!(agrees(plan.judge(&terms, row, None), matches), "{}", rows[row as usize]);
        let masks = plan.judge_block(&terms, row as usize / BLOCK_ROWS);
        let bit = |mask: u64| mask >> (row as usize % BLOCK_ROWS) & 1 == 1;
        prop_assert!(bit(masks.may) || !matches, "{}", rows[row as usize]);
        prop_assert!(!bit(masks.yes) || matches, "{}", rows[row as usize]);
        prop_assert!(bit(masks.may) || !bit(masks.yes));
    }
    if let Some((postings, count)) = plan.postings(&terms) {
        let mut seen = vec![false; rows.len()];
        let mut places = 0;
        for posting in &postings {
            let own = terms.postings(&posting.places);
            places += own.len();
            for &row in own {
                seen[row as usize] = true;
                let truth = plan.judge(&terms, row, Some(posting));
                prop_assert!(agrees(truth, matches[row as usize]), "{}", rows[row as usize]);
            }
        }
        prop_assert_eq!(places, count);
        prop_assert!(matches.iter().zip(seen).all(|(matches, seen)| seen || !matches));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_index_knows_what_the_filter_says(
        rows in prop::collection::vec(row(), 1..150),
        filters in prop::collection::vec(filters(), 1..8),
    ) {
        let column = column(&rows);
        for text in filters {
            check(&filter(&text.to_string()), &rows, &column)?;
        }
    }

    #[test]
    fn a_damaged_column_is_read_without_a_panic(
        rows in prop::collection::vec(row(), 1..80),
        text in filters(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30),
    ) {
        let mut column = column(&rows);
        for (at, bits) in flips {
            let at = at.index(column.len());
            column[at] ^= bits;
        }
        let Some(terms) = Terms::open(&column, rows.len() as u32) else { return Ok(()) };
        let plan = Plan::new(&filter(&text.to_string()), &terms);
        for row in 0..rows.len() as u32 + 70 {
            plan.judge(&terms, row, None);
            plan.judge_block(&terms, row as usize / BLOCK_ROWS);
        }
        for posting in plan.postings(&terms).into_iter().flat_map(|(postings, _)| postings) {
            for row in terms.postings(&posting.places) {
                plan.judge(&terms, *row, Some(&posting));
            }
        }
    }

    #[test]
    fn numbers_are_ordered_like_their_terms(a: f64, b: f64) {
        prop_assume!(a.is_finite() && b.is_finite());
        prop_assert_eq!(a.partial_cmp(&b).unwrap(), number_bytes(a).cmp(&number_bytes(b)));
        prop_assert_eq!(number_bytes(0.0), number_bytes(-0.0));
    }
}

/// How many rows a filter finds without looking at metadata; `None` when the index does not know.
fn known(text: &str, rows: &[String]) -> Option<usize> {
    let column = column(rows);
    let terms = Terms::open(&column, rows.len() as u32).unwrap();
    let plan = Plan::new(&filter(text), &terms);
    let truths: Vec<_> = (0..rows.len() as u32).map(|row| plan.judge(&terms, row, None)).collect();
    let is_known = truths.iter().all(|truth| *truth != Truth::Maybe);
    is_known.then(|| truths.iter().filter(|truth| **truth == Truth::Yes).count())
}

#[test]
fn what_is_indexed_is_known() {
    let row = |nth: u32| {
        let (lang, tag) = (["en", "de", "fr"][nth as usize % 3], nth % 7);
        format!(r#"{{"lang":"{lang}","n":{nth},"tags":["t{tag}","all"],"at":{{"y":{nth}}}}}"#)
    };
    let mut rows: Vec<_> = (0..210).map(row).collect();
    for (text, count) in [
        (r#"{"lang": "en"}"#, 70),
        (r#"{"lang": {"$ne": "en"}}"#, 140),
        (r#"{"lang": {"$in": ["en", "fr", "xx"]}}"#, 140),
        (r#"{"lang": {"$gt": "de"}}"#, 140),
        (r#"{"n": {"$gte": 10, "$lt": 20}}"#, 10),
        (r#"{"n": 9, "lang": "en"}"#, 1),
        (r#"{"tags": "t3"}"#, 30),
        (r#"{"tags": {"$nin": ["t3", "t4"]}}"#, 150),
        (r#"{"at.y": {"$lte": 4}}"#, 5),
        (r#"{"at": {"$exists": true}}"#, 210),
        (r#"{"nowhere": null}"#, 210),
        (r#"{"nowhere": {"$gt": 0}}"#, 0),
        (r#"{"$or": [{"n": 1}, {"$not": {"n": {"$ne": 5}}}]}"#, 2),
    ] {
        assert_eq!(known(text, &rows), Some(count), "{text}");
    }
    rows.push(format!(r#"{{"lang":"{}"}}"#, "x".repeat(TERM_STRING_BYTES_MAX + 1)));
    assert_eq!(known(r#"{"lang": "en"}"#, &rows), None);
    assert_eq!(known(r#"{"lang": {"$exists": true}}"#, &rows), Some(211));
    let long = (0..=TERMS_PER_VALUE_MAX).map(|nth| nth.to_string()).collect::<Vec<_>>().join(",");
    rows.push(format!(r#"{{"tags":[{long}]}}"#));
    assert_eq!(known(r#"{"tags": "t3"}"#, &rows), None);
    assert_eq!(known(r#"{"n": 18446744073709551615}"#, &rows), Some(0));
    rows.push(r#"{"n":18446744073709551615}"#.into());
    assert_eq!(known(r#"{"n": 18446744073709551615}"#, &rows), None);
    assert_eq!(known(r#"{"n": {"$gt": 209}}"#, &rows), Some(1));
}

#[test]
fn what_is_left_out_is_known_as_left_out() {
    let deep = |depth: usize| {
        let open: String = (0..depth).map(|_| "{\"d\":").collect();
        format!("{open}1{}", "}".repeat(depth))
    };
    let rows = [deep(FIELD_DEPTH_MAX)];
    let path = ["d"; FIELD_DEPTH_MAX].join(".");
    assert_eq!(known(&format!("{{\"{path}\": 1}}"), &rows), Some(1));
    assert_eq!(known(&format!("{{\"{path}.d\": 1}}"), &rows), Some(0));
    let rows = [deep(FIELD_DEPTH_MAX + 1)];
    assert_eq!(known(&format!("{{\"{path}.d\": 1}}"), &rows), None);
    assert_eq!(known("{\"x\": 1}", &rows), None);
    assert_eq!(known("{\"d\": {\"$exists\": true}}", &rows), Some(1));
    let name = "n".repeat(FIELD_NAME_BYTES_MAX + 1);
    assert_eq!(known(&format!("{{\"{name}\": 1}}"), &[format!("{{\"{name}\": 1}}")]), None);
    let fields: Vec<_> = (0..FIELDS_MAX + 2).map(|nth| format!("{{\"f{nth}\": 1}}")).collect();
    assert_eq!(known(r#"{"f3": 1}"#, &fields), Some(1));
    let last = format!("{{\"f{}\": 1}}", FIELDS_MAX + 1);
    assert_eq!(known(&last, &fields), None);
}

#[test]
fn a_field_with_too_many_terms_is_left_out() {
    let list = |from: usize| {
        let numbers = from * TERMS_PER_VALUE_MAX..(from + 1) * TERMS_PER_VALUE_MAX;
        numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
    };
    let count = TERMS_MIN / (TERMS_PER_VALUE_MAX - TERMS_PER_ROW_MAX) + 2;
    let row = |nth| format!(r#"{{"lang":"en","all":[{}]}}"#, list(nth));
    let rows: Vec<_> = (0..count).map(row).collect();
    assert_eq!(known(r#"{"all": 1}"#, &rows), None);
    assert_eq!(known(r#"{"lang": "en"}"#, &rows), Some(count));
}

#[test]
fn the_field_with_the_most_postings_is_left_out() {
    let list = |of: &str, count: usize| {
        let each = (0..count).map(|nth| format!("\"{of}{nth}\"")).collect::<Vec<_>>();
        each.join(",")
    };
    let count = TERMS_PER_VALUE_MAX;
    let (long, short) = (list("l", count), list("s", count / 2));
    let row = |nth| format!(r#"{{"short":[{short}],"long":[{long}],"last":{nth}}}"#);
    let rows: Vec<_> = (0..POSTINGS_MIN / (count / 2) + 100).map(row).collect();
    assert_eq!(known(r#"{"long": "l1"}"#, &rows), None);
    assert_eq!(known(r#"{"short": "s1"}"#, &rows), Some(rows.len()));
    assert_eq!(known(r#"{"last": 7}"#, &rows), Some(1));
    assert_eq!(known(r#"{"last": 9}"#, &rows[..rows.len() / 4]), Some(1));
}

#[test]
fn common_fields_are_read_by_row_and_others_are_not() {
    let row = |nth: usize| match nth % (FORWARD_SHARE + 1) {
        0 => format!(r#"{{"rare":{nth},"common":{nth}}}"#),
        _ => format!(r#"{{"common":{nth}}}"#),
    };
    let rows: Vec<_> = (0..17 * 40).map(row).collect();
    let column = column(&rows);
    let terms = Terms::open(&column, rows.len() as u32).unwrap();
    let has_forward = |name| match terms.field(&[name]) {
        column::Lookup::Field(field) => terms.forward(field).is_some(),
        other => panic!("{other:?}"),
    };
    assert_eq!((has_forward("rare"), has_forward("common")), (false, true));
}
