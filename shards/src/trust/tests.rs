//! Discounts against the formulas of the book, and whom entries name.

use proptest::prelude::*;

use super::*;

fn confidence(point: f32, low: f32, high: f32) -> Confidence {
    Confidence::interval(point, low, high).unwrap()
}

fn any_confidence() -> impl Strategy<Value = Confidence> {
    prop::array::uniform3(0.0_f32..=1.0).prop_map(|mut bounds| {
        bounds.sort_by(f32::total_cmp);
        confidence(bounds[1], bounds[0], bounds[2])
    })
}

fn bits(confidence: Confidence) -> [u32; 3] {
    [confidence.point, confidence.low, confidence.high].map(f32::to_bits)
}

/// Trust discounting as the book has it (Jøsang 2016, 14.3), on belief, disbelief, uncertainty and
/// base rate: b' = t·b, d' = t·d, u' = 1 − t·(b + d), a' = a.
fn textbook([b, d, a]: [f64; 3], t: f64) -> [f64; 3] {
    let (belief, disbelief) = (t * b, t * d);
    let uncertainty = 1.0 - belief - disbelief;
    [belief + a * uncertainty, belief, 1.0 - disbelief]
}

proptest! {
    #[test]
    fn a_discount_is_a_confidence(stored in any_confidence(), t in 0.0_f32..=1.0) {
        let Confidence { point, low, high } = stored.discounted(t);
        prop_assert!(Confidence::interval(point, low, high).is_ok(), "{point} {low} {high}");
        prop_assert!(low <= stored.low && high >= stored.high - 1e-6);
    }

    #[test]
    fn whole_trust_changes_no_bit_and_none_leaves_nothing(stored in any_confidence()) {
        prop_assert_eq!(bits(stored.discounted(1.0)), bits(stored));
        prop_assert_eq!(stored.discounted(0.0), confidence(0.5, 0.0, 1.0));
    }

    #[test]
    fn with_the_point_in_the_middle_it_is_that_of_the_book(
        middle in 0.0_f32..=1.0,
        width in 0.0_f32..=1.0,
        t in 0.0_f32..=1.0,
    ) {
        let half = width * middle.min(1.0 - middle);
        let own = confidence(middle, middle - half, (middle + half).min(1.0));
        let stated = [f64::from(own.low), 1.0 - f64::from(own.high), 0.5];
        let Confidence { point, low, high } = own.discounted(t);
        let expected = textbook(stated, f64::from(t));
        for (own, expected) in [point, low, high].into_iter().zip(expected) {
            prop_assert!((f64::from(own) - expected).abs() < 1e-6, "{own} {expected}");
        }
    }

    /// Belief, disbelief and uncertainty are those of the book wherever the point is.
    #[test]
    fn bounds_are_those_of_the_book(stored in any_confidence(), t in 0.0_f32..=1.0) {
        let stated = [f64::from(stored.low), 1.0 - f64::from(stored.high), 0.5];
        let [_, low, high] = textbook(stated, f64::from(t));
        let own = stored.discounted(t);
        prop_assert!((f64::from(own.low) - low).abs() < 1e-6);
        prop_assert!((f64::from(own.high) - high).abs() < 1e-6);
    }

    #[test]
    fn discounts_in_a_row_are_one_in_any_order(
        stored in any_confidence(),
        s in 0.0_f32..=1.0,
        t in 0.0_f32..=1.0,
    ) {
        let all = [stored.discounted(s).discounted(t), stored.discounted(t).discounted(s)];
        let once = stored.discounted(s * t);
        for own in all {
            for (own, once) in [
                (own.point, once.point),
                (own.low, once.low),
                (own.high, once.high),
            ] {
                prop_assert!((own - once).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn less_trust_leaves_no_surer_low_end(
        stored in any_confidence(),
        s in 0.0_f32..=1.0,
        t in 0.0_f32..=1.0,
    ) {
        let (less, more) = (s.min(t), s.max(t));
        prop_assert!(stored.discounted(less).low <= stored.discounted(more).low);
    }
}

#[test]
fn a_discount_by_hand() {
    let own = confidence(0.75, 0.5, 1.0).discounted(0.5);
    assert_eq!(own, confidence(0.625, 0.25, 1.0));
    // Who is not trusted does not choose what is expected of his word.
    let sly = confidence(1.0, 0.875, 1.0).discounted(0.0);
    assert_eq!(sly, confidence(0.5, 0.0, 1.0));
    let opinion = Opinion::new(confidence(1.0, 1.0, 1.0), 0.5, 0.5);
    assert_eq!(opinion.confidence, confidence(0.625, 0.25, 1.0));
}

fn trust(entries: &[(Role, &str, f32)], others: Option<f32>) -> Trust {
    let mut trust = Trust::default();
    for (role, name, degree) in entries {
        trust.add(*role, (*name).to_owned(), *degree).unwrap();
    }
    if let Some(others) = others {
        trust.set_others(others).unwrap();
    }
    trust
}

#[test]
fn an_episode_is_trusted_by_all_entries_that_name_it() {
    use Role::{Source, Writer};
    let entries = [(Writer, "ada", 0.5), (Source, "told", 0.25), (Writer, "eve", 0.0)];
    let with_others = trust(&entries, Some(0.125));
    for (metadata, expected) in [
        ("", 0.125),
        ("{}", 0.125),
        (r#"{"writer":"ada"}"#, 0.5),
        (r#"{"source":"told"}"#, 0.25),
        (r#"{"writer":"ada","source":"told"}"#, 0.125),
        (r#"{"source":"told","n":1,"writer":"ada"}"#, 0.125),
        (r#"{"writer":"eve","source":"told"}"#, 0.0),
        // A name of the other kind, in another place or of another type is nobody's.
        (r#"{"writer":"told","source":"ada"}"#, 0.125),
        (r#"{"a":{"writer":"ada"}}"#, 0.125),
        (r#"{"writer":{"writer":"ada"}}"#, 0.125),
        (r#"{"writer":"Ada"}"#, 0.125),
        (r#"{"writer":7}"#, 0.125),
        // An array stands for its elements, as in filters.
        (r#"{"writer":["bob","ada"]}"#, 0.5),
        (r#"{"writer":["ada","ada"]}"#, 0.5),
        (r#"{"writer":["ada","eve"]}"#, 0.0),
        // The last counts.
        (r#"{"writer":"eve","writer":"ada"}"#, 0.5),
        (r#"{"writer":"ada","writer":"bob"}"#, 0.125),
        (r#"{"writer":"ada","source":"told","writer":"bob"}"#, 0.25),
        (r#"{"\u0077riter":"\u0061da"}"#, 0.5),
    ] {
        assert_eq!(with_others.of(metadata.as_bytes(), 7), Some(expected), "{metadata}");
    }
    assert_eq!(with_others.of(b"[1]", 7), None);
    assert_eq!(with_others.of(br#"{"writer":"ada""#, 7), None);
    assert_eq!(trust(&entries, None).of(b"{}", 7), Some(1.0));
    assert_eq!(trust(&entries, None).of(br#"{"writer":"ada"}"#, 7), Some(0.5));
    assert_eq!(Trust::default().of(br#"{"writer":"ada"}"#, 7), Some(1.0));
}

#[test]
fn entries_have_bounds() {
    let mut trust = Trust::default();
    for nth in 0..TRUST_ENTRIES_MAX {
        trust.add(Role::ALL[nth % 2], format!("n{nth}"), 1.0 / (nth + 1) as f32).unwrap();
    }
    let refused = trust.add(Role::Writer, "one more".into(), 1.0).unwrap_err();
    assert_eq!(refused.code(), "TOOBIG");
    // Whoever is not named is none of them.
    trust.set_others(0.25).unwrap();
    assert_eq!(trust.set_others(0.25).unwrap_err().code(), "SYNTAX");
    let last = format!(r#"{{"source":"n{}"}}"#, TRUST_ENTRIES_MAX - 1);
    assert_eq!(trust.of(last.as_bytes(), 7), Some(1.0 / TRUST_ENTRIES_MAX as f32));
    assert_eq!(trust.of(br#"{"source":"one more"}"#, 7), Some(0.25));

    let mut trust = Trust::default();
    for degree in [f32::NAN, -0.1, 1.000_001, f32::INFINITY] {
        assert_eq!(trust.add(Role::Writer, "a".into(), degree).unwrap_err().code(), "SYNTAX");
        assert_eq!(trust.set_others(degree).unwrap_err().code(), "SYNTAX");
    }
    let longest = "x".repeat(PROVENANCE_BYTES_MAX);
    for name in [String::new(), "a\nb".into()] {
        assert_eq!(trust.add(Role::Writer, name, 1.0).unwrap_err().code(), "SYNTAX");
    }
    assert_eq!(trust.add(Role::Writer, longest.clone() + "x", 1.0).unwrap_err().code(), "TOOBIG");
    trust.add(Role::Writer, longest.clone(), 0.0).unwrap();
    assert_eq!(trust.add(Role::Writer, longest.clone(), 0.0).unwrap_err().code(), "SYNTAX");
    trust.add(Role::Source, longest, 1.0).unwrap();
}

#[test]
fn provenance_is_one_field_more() {
    let with = |metadata: &str, role, name: &str| {
        let metadata = Bytes::copy_from_slice(metadata.as_bytes());
        let told = with_provenance(metadata, role, name).map(Vec::from);
        told.map(|told| String::from_utf8(told).unwrap())
    };
    let (writer, source) = (Role::Writer, Role::Source);
    assert_eq!(with("", writer, "ada").unwrap(), r#"{"writer":"ada"}"#);
    assert_eq!(with(" { } ", source, "told").unwrap(), r#"{"source":"told"}"#);
    assert_eq!(with("{\"a\": 1 }\n", writer, "ada").unwrap(), r#"{"a": 1 ,"writer":"ada"}"#);
    assert_eq!(with("{}", writer, "a\"\\é").unwrap(), r#"{"writer":"a\"\\é"}"#);
    // Only the field of the object itself says it.
    let nested = r#"{"a":{"writer":"eve"}}"#;
    assert_eq!(with(nested, writer, "ada").unwrap(), r#"{"a":{"writer":"eve"},"writer":"ada"}"#);
    for same in [
        r#"{"writer":"ada"}"#,
        r#"{"writer":"\u0061da","a":1}"#,
        r#"{"writer":["ada"]}"#,
        r#"{"writer":"eve","writer":"ada"}"#,
    ] {
        assert_eq!(with(same, writer, "ada").unwrap(), same);
    }
    for other in [
        r#"{"writer":"eve"}"#,
        r#"{"writer":null}"#,
        r#"{"writer":{}}"#,
        r#"{"writer":[]}"#,
        r#"{"writer":["eve","ada"]}"#,
        r#"{"writer":["ada","eve"]}"#,
        r#"{"writer":"ada","writer":"eve"}"#,
    ] {
        let refused = with(other, writer, "ada").unwrap_err();
        assert_eq!(refused.code(), "SYNTAX");
        assert!(refused.to_string().contains("another 'writer' than WRITER"), "{refused}");
    }
    let all = |longest: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(longest));
    let added = r#","writer":"ada""#.len();
    let room = METADATA_BYTES_MAX - all(0).len() - added;
    assert_eq!(with(&all(room), writer, "ada").unwrap().len(), METADATA_BYTES_MAX);
    assert_eq!(with(&all(room + 1), writer, "ada").unwrap_err().code(), "TOOBIG");
}

#[test]
fn a_user_is_trusted_whatever_the_metadata_says() {
    let mut trust = trust(&[(Role::Writer, "ada", 0.5)], Some(0.25));
    trust.add_user(1000, 0.125).unwrap();
    trust.add_user(0, 0.75).unwrap();
    for (metadata, uid, expected) in [
        (r#"{}"#, 1000, 0.125),
        (r#"{}"#, 0, 0.75),
        (r#"{}"#, 1, 0.25),
        (r#"{"writer":"ada"}"#, 1, 0.5),
        (r#"{"writer":"ada"}"#, 1000, 0.0625),
        (r#"{"writer":"1000"}"#, 1, 0.25),
        // Of a name that occurs twice the last counts; the user stays.
        (r#"{"writer":"ada","writer":"eve"}"#, 1000, 0.125),
    ] {
        assert_eq!(trust.of(metadata.as_bytes(), uid), Some(expected), "{metadata} {uid}");
    }
    assert_eq!(trust.of(b"[1]", 1000), None);
    let refused = trust.add_user(1000, 1.0).unwrap_err().to_string();
    assert!(refused.contains("the user 1000 twice"), "{refused}");
    assert_eq!(trust.add_user(1, 1.5).unwrap_err().code(), "SYNTAX");
    (3..TRUST_ENTRIES_MAX as u32).for_each(|uid| trust.add_user(uid + 5, 1.0).unwrap());
    assert_eq!(trust.add_user(u32::MAX, 1.0).unwrap_err().code(), "TOOBIG");
}
