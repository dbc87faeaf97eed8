//! What JSON says as words of a command.

use super::*;
use crate::protocol::Command;

fn target() -> Target {
    Target { space: Some("notes".into()), id: Some("a".into()) }
}

fn words<T: Takes>(json: &str) -> String {
    let asked = ask::<T>(&target(), json.as_bytes()).unwrap();
    let shown: Vec<String> =
        asked.words.iter().map(|word| word.escape_ascii().to_string()).collect();
    // Whatever the table says of a type, a shard understands it.
    Command::parse(asked.words).unwrap();
    shown.join(" ")
}

fn refused<T: Takes + std::fmt::Debug>(json: &str) -> String {
    let problem = ask::<T>(&target(), json.as_bytes()).unwrap_err();
    assert_eq!(problem.code, "SYNTAX");
    problem.detail
}

#[test]
fn a_store_says_everything_that_was_given() {
    assert_eq!(words::<Store>(r#"{"vec":[1]}"#), r"EG.STORE notes a VEC \x00\x00\x80?");
    let json = r#"{"id":"a","vec":{"base64":"AACAPw=="},"text":"t","happened_at":-5,
        "confidence":[0.5,0.25,1],"meta":{"x" : 1e2},"thread":"w","key":"k","priority":"low",
        "source":"told","writer":"ada",
        "links":[{"id":"b","weight":0.5,"kind":"next"},{"id":"c","weight":2}],
        "ttl":"none","durability":"os"}"#;
    assert_eq!(
        words::<Store>(json),
        r#"EG.STORE notes a VEC \x00\x00\x80? TEXT t AT -5 CONF 0.5 0.25 1.0 META {\"x\" : 1e2} "#
            .to_owned()
            + "WRITER ada SOURCE told THREAD w LINK b 0.5 KIND next LINK c 2.0 "
            + "KEY k TTL none PRIO low DUR os"
    );
    let many = r#"{"items":[{"vec":[1]},{"id":"b","vec":[1],"confidence":1}]}"#;
    assert_eq!(
        words::<StoreMany>(many),
        r"EG.MSTORE notes 2 ITEM * VEC \x00\x00\x80? ITEM b VEC \x00\x00\x80? CONF 1.0"
    );
}

#[test]
fn an_id_is_what_path_and_body_agree_on() {
    assert!(refused::<Store>(r#"{"id":"b","vec":[1]}"#).contains("'a'"));
    assert!(refused::<StoreMany>(r#"{"items":[{"id":"*","vec":[1]}]}"#).contains("'*'"));
    let nobody = Target::default();
    assert_eq!(ask::<Get>(&nobody, b"{}").unwrap_err().detail, "space is missing; say which");
}

#[test]
fn reading_says_parts_from_lists_and_from_queries() {
    let expected = "EG.GET notes a WITH text WITH vec";
    assert_eq!(words::<Get>(r#"{"with":["text","vec"]}"#), expected);
    assert_eq!(words::<Get>(r#"{"with":"text,vec"}"#), expected);
    let form = ask::<Get>(&target(), br#"{"vectors":"array"}"#).unwrap().form;
    assert_eq!(form, VectorForm::Array);
    let scan = "EG.SCAN notes CURSOR 18446744073709551615 COUNT 5";
    assert_eq!(words::<Scan>(r#"{"cursor":"18446744073709551615","count":"5"}"#), scan);
    assert_eq!(words::<Scan>(r#"{"cursor":18446744073709551615,"count":5}"#), scan);
    assert_eq!(words::<GetMany>(r#"{"ids":["WITH","b"]}"#), "EG.MGET notes 2 WITH b");
}

#[test]
fn recalls_and_spreads_say_their_options() {
    let recall = r#"{"k":3,"cues":[{"id":"x"},{"vec":[1]}],"since":1,"until":2,
        "min_confidence":0.5,"filter":{"a":1},"exact":true,"min_trust":0.25,
        "trust":{"others":0,"sources":{"told":0.5},"writers":{"b":1,"*":0.75},
        "uids":{"1000":0.125}},
        "spread":{"hops":2,"budget":9,"decay":0.5,"threshold":0.001,"similar":0.1,
        "deadline_us":5,"seeds":4,"weight":2},"text":"a b","gists":true,"no_reinforce":true,
        "weights":{"near":0.5,"around":0,"time":2,"strength":0.25,"confidence":1},
        "with":["why"],"bytes":7}"#;
    assert_eq!(
        words::<Recall>(recall),
        r#"EG.RECALL notes K 3 ID x VEC \x00\x00\x80? TEXT a b WEIGHTS 0.5 0.0 2.0 0.25 1.0 "#
            .to_owned()
            + "SINCE 1 UNTIL 2 MINCONF 0.5 "
            + r#"FILTER {\"a\":1} MINTRUST 0.25 TRUST WRITER * 0.75 TRUST WRITER b 1.0 "#
            + "TRUST SOURCE told 0.5 TRUST UID 1000 0.125 TRUST * 0.0 "
            + "EXACT SPREAD HOPS 2 BUDGET 9 DECAY 0.5 THRESHOLD 0.001 SIMILAR 0.1 DEADLINE 5 "
            + "SEEDS 4 WEIGHT 2.0 GISTS NOREINFORCE WITH why BYTES 7"
    );
    let spread = r#"{"k":3,"from":[{"id":"K"},{"id":"b","mass":2}],"exact":false}"#;
    assert_eq!(words::<Spread>(spread), "EG.SPREAD notes K 3 FROM K 1.0 FROM b 2.0");
}

#[test]
fn trust_is_bounded_by_its_schema_too() {
    let schema = schemars::schema_for!(super::conditions::Trust).to_value();
    let degree = serde_json::json!({ "type": "number", "minimum": 0.0, "maximum": 1.0 });
    for of in ["writers", "sources", "uids"] {
        let own = &schema["properties"][of];
        assert_eq!(own["additionalProperties"], degree, "{schema}");
        assert!(own["maxProperties"] == 64 && own["description"].is_string(), "{schema}");
    }
    let others = &schema["properties"]["others"];
    assert!(others["minimum"] == 0.0 && others["maximum"] == 1.0, "{schema}");
    let ada = ask::<Recall>(&target(), br#"{"k":1,"trust":{"uids":{"ada":1}}}"#);
    assert!(ada.is_err());
}

#[test]
fn a_completion_says_its_options() {
    let complete = r#"{"vec":[1],"unknown":[[2,3],[5,5]],"k":3,"rounds":4,"beta":8,"exact":true,
        "until":2,"with":["text"],"bytes":7}"#;
    assert_eq!(
        words::<Complete>(complete),
        r"EG.COMPLETE notes VEC \x00\x00\x80? UNKNOWN 2 3 UNKNOWN 5 5 K 3 ROUNDS 4 BETA 8.0 EXACT "
            .to_owned()
            + "UNTIL 2 WITH text BYTES 7"
    );
}

#[test]
fn a_gist_says_its_options() {
    let gist = r#"{"k":3,"cues":[{"id":"x"}],"text":"a b","among":9,"alike":0.5,"exact":true,
        "since":-1,"with":["vec","text"]}"#;
    assert_eq!(
        words::<Gist>(gist),
        "EG.GIST notes K 3 ID x TEXT a b AMONG 9 ALIKE 0.5 EXACT SINCE -1 WITH vec WITH text"
    );
}

#[test]
fn links_and_spaces_say_theirs() {
    let link = r#"{"from":"a","to":"b","weight":1,"kind":"k","mutual":true,"durability":"disk"}"#;
    assert_eq!(words::<Link>(link), "EG.LINK notes a b 1.0 KIND k MUTUAL DUR disk");
    let unlink = r#"{"from":"a","to":"b","mutual":"true"}"#;
    assert_eq!(words::<Unlink>(unlink), "EG.UNLINK notes a b MUTUAL");
    let space = r#"{"dim":3,"model":"m","metric":"l2","codes":2,"fan":1.5,"fan_cap":9,
        "ttl":60,"archive":{"below":0.5},"forget":{"below":0.25,"after":9},
        "thread":"chat.id","shards":1}"#;
    assert_eq!(
        words::<SpaceCreate>(space),
        "EG.SPACE CREATE notes DIM 3 MODEL m METRIC l2 CODES 2 FAN 1.5 FANCAP 9 TTL 60 \
         ARCHIVE BELOW 0.5 FORGET \
         BELOW 0.25 AFTER 9 THREAD chat.id SHARDS 1"
    );
    assert_eq!(
        words::<SpaceCreate>(r#"{"dim":3,"fan":"degree"}"#),
        "EG.SPACE CREATE notes DIM 3 FAN degree"
    );
}

#[test]
fn unknown_fields_and_wrong_kinds_are_refused_in_words() {
    let detail = refused::<Recall>(r#"{"k":3,"cues":[],"limit":1}"#);
    assert!(detail.contains("unknown field `limit`") && detail.contains("`k`"), "{detail}");
    for json in [r#"{"k":"3","cues":[]}"#, r#"{"k":-1,"cues":[]}"#, r#"{"k":1.5,"cues":[]}"#] {
        let detail = refused::<Recall>(json);
        assert!(detail.contains("expected a whole number from 0 on"), "{detail}");
    }
    for json in ["[]", "1", "", "{", "null", r#"{"vec":[1]} x"#, "\u{feff}{}"] {
        let detail = refused::<Store>(json);
        assert!(!detail.contains("struct"), "{detail}");
    }
    assert!(refused::<Ping>(r#"{"x":1}"#).contains("unknown field `x`"));
}
