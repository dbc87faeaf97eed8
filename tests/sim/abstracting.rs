//! What completions and gists, made now or kept, must be when all is certain: computed again, by
//! definition and in f64, from what a scan shows.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{By, Measure};
use crate::wire::{Command, Connection, Value};

/// Episodes that both commands take at most.
const EPISODES_MAX: usize = 256;
/// How far the answers may be from f64, for their length.
const TOLERANCE: f64 = 1e-4;

/// Asks for both with a cue, and compares with what there is, by id.
pub async fn check_abstractions(
    connection: &mut Connection,
    (space, measure): (&str, Measure),
    found: &BTreeMap<String, Value>,
    cue: &[f32],
) -> Option<()> {
    let believed: BTreeMap<&String, &Value> =
        found.iter().filter(|(_, reply)| By::of(reply).is_none()).collect();
    if believed.len() > EPISODES_MAX {
        return Some(());
    }
    let blob: Vec<u8> = cue.iter().flat_map(|component| component.to_le_bytes()).collect();
    let ask = |line: &str| {
        let words = line.split(' ').map(|word| match word {
            "@" => blob.clone(),
            word => word.as_bytes().to_vec(),
        });
        Command::new(&words.collect::<Vec<_>>())
    };
    let line = format!("EG.COMPLETE {space} VEC @ K {EPISODES_MAX} ROUNDS 1 BETA 3 EXACT");
    let completed = connection.call(&ask(&line)).await?;
    check_round(&believed, measure, cue, &completed);
    let line = format!("EG.GIST {space} K 64 VEC @ AMONG {EPISODES_MAX} ALIKE 0.7 EXACT");
    let gists = connection.call(&ask(&format!("{line} WITH text WITH vec"))).await?;
    let mut seen = BTreeSet::new();
    for gist in gists.list() {
        check_gist(&believed, measure, gist, &mut seen);
    }
    let line = format!("EG.RECALL {space} K 4096 VEC @ GISTS EXACT NOREINFORCE WITH text WITH vec");
    let recalled = connection.call(&ask(&line)).await?;
    let mut seen = BTreeSet::new();
    let kept: Vec<&Value> =
        recalled.list().iter().filter(|found| found.get("gist").is_some()).collect();
    assert_eq!(recalled.list().len() - kept.len(), believed.len(), "{recalled:?}");
    let cue = if measure == Measure::Cosine { unit(cue) } else { cue.to_vec() };
    for gist in kept {
        check_gist(&believed, measure, gist, &mut seen);
        let expected = measure.similarity(&cue, &vector(gist));
        let scale = expected.abs().max(1.0);
        for key in ["similarity", "score"] {
            let told = gist.get(key).and_then(Value::number).expect(key);
            assert!((told - expected).abs() <= TOLERANCE * scale, "{expected}: {gist:?}");
        }
    }
    Some(())
}

/// One round: the mean of all by their weights.
fn check_round(
    believed: &BTreeMap<&String, &Value>,
    measure: Measure,
    cue: &[f32],
    completed: &Value,
) {
    let vectors: Vec<Vec<f32>> = believed.values().map(|reply| vector(reply)).collect();
    let rounds = completed.count("rounds");
    assert_eq!(rounds, u64::from(!vectors.is_empty()), "{completed:?}");
    if vectors.is_empty() {
        return;
    }
    let cue = if measure == Measure::Cosine { unit(cue) } else { cue.to_vec() };
    let similar: Vec<f64> = vectors.iter().map(|own| measure.similarity(&cue, own)).collect();
    let most = similar.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = similar.iter().map(|own| (3.0 * (own - most)).exp()).collect();
    let expected = mean(measure, vectors.iter().zip(weights));
    assert_near(&vector(completed), &expected, completed);
}

/// Its members are there, and it is what they have in common.
fn check_gist(
    believed: &BTreeMap<&String, &Value>,
    measure: Measure,
    gist: &Value,
    seen: &mut BTreeSet<String>,
) {
    let sources = gist.get("sources").expect("sources").list();
    let ids: Vec<String> = sources.iter().map(|source| source.id().to_owned()).collect();
    assert!(ids.len() >= 3, "{gist:?}");
    for id in &ids {
        assert!(believed.contains_key(id), "{id} is not there: {gist:?}");
        assert!(seen.insert(id.clone()), "{id} is in two: {gist:?}");
    }
    let members: Vec<&Value> = ids.iter().map(|id| believed[id]).collect();
    assert_eq!(gist.get("text"), members[0].get("text"), "the first stands for all");
    let number = |reply: &Value, key: &str| reply.get(key).and_then(Value::number).expect(key);
    let times = || members.iter().map(|reply| number(reply, "happened_at"));
    let (since, until) = (number(gist, "since"), number(gist, "until"));
    assert_eq!(since, times().fold(f64::INFINITY, f64::min), "{gist:?}");
    assert_eq!(until, times().fold(f64::NEG_INFINITY, f64::max), "{gist:?}");
    let bounds = |reply: &Value| -> Vec<f64> {
        let parts = reply.get("confidence").expect("a confidence").list();
        parts.iter().map(|part| part.number().expect("a number")).collect()
    };
    for (nth, own) in bounds(gist).into_iter().enumerate() {
        let sum: f64 = members.iter().map(|reply| bounds(reply)[nth]).sum();
        assert!((own - sum / members.len() as f64).abs() < TOLERANCE, "{gist:?}");
    }
    let vectors: Vec<Vec<f32>> = members.iter().map(|reply| vector(reply)).collect();
    let expected = mean(measure, vectors.iter().map(|vector| (vector, 1.0)));
    assert_near(&vector(gist), &expected, gist);
}

fn vector(reply: &Value) -> Vec<f32> {
    let blob = reply.get("vec").and_then(Value::bytes).expect("a vector");
    blob.chunks_exact(4).map(|le| f32::from_le_bytes(le.try_into().expect("four"))).collect()
}

fn length(vector: &[f64]) -> f64 {
    vector.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn unit(vector: &[f32]) -> Vec<f32> {
    let wide: Vec<f64> = vector.iter().map(|x| f64::from(*x)).collect();
    wide.iter().map(|x| (x / length(&wide)) as f32).collect()
}

/// The weighted mean, of and at unit length under cosine.
fn mean<'a>(measure: Measure, all: impl Iterator<Item = (&'a Vec<f32>, f64)>) -> Vec<f64> {
    let (mut sum, mut total) = (Vec::new(), 0.0);
    for (vector, weight) in all {
        let own = if measure == Measure::Cosine { unit(vector) } else { vector.clone() };
        sum.resize(own.len(), 0.0);
        sum.iter_mut().zip(own).for_each(|(sum, x)| *sum += weight * f64::from(x));
        total += weight;
    }
    sum.iter_mut().for_each(|sum| *sum /= total);
    let own = length(&sum);
    if measure == Measure::Cosine {
        sum.iter_mut().for_each(|sum| *sum /= own);
    }
    sum
}

fn assert_near(told: &[f32], expected: &[f64], reply: &Value) {
    let off: Vec<f64> = told.iter().zip(expected).map(|(a, b)| f64::from(*a) - b).collect();
    let is_near = length(&off) <= TOLERANCE * length(expected).max(1e-3);
    assert!(is_near && told.len() == expected.len(), "{expected:?}, not {reply:?}");
}
