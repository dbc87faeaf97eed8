//! What recalls and spreads of those who trust some more than others must answer when all is
//! certain: computed again in f64 from the provenance and the confidences that a scan shows.

use std::collections::{BTreeMap, BTreeSet};

use engram_shards::io::Random;

use crate::model::By;
use crate::wire::{Command, Connection, Value};

/// What episodes may say of whom they go back to.
pub const WRITERS: [&str; 3] = ["ada", "ben", "eve"];
pub const SOURCES: [&str; 2] = ["told", "observed"];
const TOLERANCE: f64 = 1e-5;

/// Whom who asks trusts, in eighths: no product of two of them is rounded.
struct Trusted {
    named: Vec<(&'static str, &'static str, f64)>,
    others: Option<f64>,
    least: f64,
}

impl Trusted {
    fn draw(random: &mut Random) -> Self {
        let writers = WRITERS.map(|name| ("writer", name));
        let all = writers.into_iter().chain(SOURCES.map(|name| ("source", name)));
        let mut named = Vec::new();
        for (field, name) in all {
            if random.chance(400_000) {
                named.push((field, name, random.below(9) as f64 / 8.0));
            }
        }
        let others = random.chance(500_000).then(|| random.below(9) as f64 / 8.0);
        Self { named, others, least: random.below(6) as f64 / 8.0 }
    }

    fn options(&self) -> String {
        let named = self
            .named
            .iter()
            .map(|(field, name, trust)| format!(" TRUST {} {name} {trust}", field.to_uppercase()));
        let others = self.others.map(|trust| format!(" TRUST * {trust}"));
        named.chain(others).collect()
    }

    /// In an episode, as a reply with its metadata shows it.
    fn of(&self, reply: &Value) -> f64 {
        let metadata = reply.get("meta").and_then(Value::text).unwrap_or_default();
        let names = |(field, name, _): &&(&str, &str, f64)| {
            metadata.contains(&format!("\"{field}\":\"{name}\""))
        };
        let naming: Vec<f64> = self.named.iter().filter(names).map(|(.., trust)| *trust).collect();
        if naming.is_empty() {
            return self.others.unwrap_or(1.0);
        }
        naming.iter().product()
    }
}

/// Point, low and high.
fn confidence(reply: &Value) -> [f64; 3] {
    let parts = reply.get("confidence").expect("a confidence").list();
    [0, 1, 2].map(|nth| parts[nth].number().expect("a number"))
}

/// Asks with a draw of trust, and compares with what there is, by id. Links may change meanwhile
/// where there are dreams.
pub async fn check_trust(
    connection: &mut Connection,
    (space, dimensions, dreams): (&str, usize, bool),
    found: &BTreeMap<String, Value>,
    random: &mut Random,
) -> Option<()> {
    let believed: BTreeMap<&String, &Value> =
        found.iter().filter(|(_, reply)| By::of(reply).is_none()).collect();
    let trusted = Trusted::draw(random);
    let is_admitted = |id: &String| {
        let reply = believed[id];
        trusted.of(reply) * confidence(reply)[1] >= trusted.least
    };
    let admitted: BTreeSet<String> =
        believed.keys().copied().filter(|id| is_admitted(id)).cloned().collect();
    let condition = format!("MINTRUST {}{}", trusted.least, trusted.options());
    let cue = format!("VALUES {dimensions}{}", " 1".repeat(dimensions));
    for way in [cue.clone(), format!("{cue} EXACT"), "TEXT write".to_owned()] {
        let line = format!("EG.RECALL {space} K 4096 {way} NOREINFORCE WITH belief {condition}");
        let hits = connection.call(&Command::of(&line)).await?;
        assert_eq!(ids_of(hits.list()), admitted, "{line}");
        for hit in hits.list() {
            check_belief(hit, trusted.of(believed[&hit.id().to_owned()]));
        }
    }
    let Some(from) = believed.keys().next() else { return Some(()) };
    let line = format!("EG.SPREAD {space} K 4096 FROM {from} 1 EXACT");
    let all = connection.call(&Command::of(&line)).await?;
    let line = format!("{line} WITH belief {condition}");
    let reply = connection.call(&Command::of(&line)).await?;
    let [all, some] = [&all, &reply].map(|reply| reply.get("hits").expect("hits").list());
    for hit in some {
        check_belief(hit, trusted.of(believed[&hit.id().to_owned()]));
    }
    let (mut expected, some) = (ids_of(all), ids_of(some));
    expected.retain(|id| admitted.contains(id));
    let is_right = if dreams { some.is_subset(&admitted) } else { some == expected };
    assert!(is_right, "{line}: {some:?}, not {expected:?}");
    Some(())
}

/// Trust and retention discount one after the other what was stored.
fn check_belief(hit: &Value, trust: f64) {
    let belief = hit.get("belief").expect("a belief");
    let told = |key: &str| belief.get(key).and_then(Value::number).expect(key);
    let retention = told("retention");
    assert!((0.0..=1.0).contains(&retention) && told("trust") == trust, "{trust}: {hit:?}");
    let discounted = [trust, retention].into_iter().fold(confidence(hit), |own, by| {
        let [point, low, high] = own;
        [by * point + (1.0 - by) / 2.0, by * low, by * high + (1.0 - by)]
    });
    for (key, expected) in ["point", "low", "high"].into_iter().zip(discounted) {
        assert!((told(key) - expected).abs() < TOLERANCE, "{key} is {expected}: {hit:?}");
    }
}

fn ids_of(hits: &[Value]) -> BTreeSet<String> {
    hits.iter().map(|hit| hit.id().to_owned()).collect()
}
