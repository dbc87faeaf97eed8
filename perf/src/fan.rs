//! The fan experiment of Anderson (1974), asked of a daemon.
//!
//! People learned 26 sentences of the form "The hippie is in the park". Each person is in one, two
//! or three places and in each place are one, two or three persons; how many that are is the *fan*
//! of the word. Then they were asked whether they had learned a sentence, or a *foil*, made of a
//! person and a place that they knew from others. The larger a fan, the longer it took.
//!
//! ACT-R explains it so (Anderson and Reder, "The fan effect: New results and new theories",
//! 1999). A sentence is activated by the words that are read, each with the same attention, and a
//! word's strength is divided between the sentences it is in:
//!
//! ```text
//! A  = Σ W (S − ln fan)        over person, place and the word "in", W = 1/3
//! RT = I + F · exp(−A)         S = 1.45, I = 0.845 s, F = 0.613 s
//! ```
//!
//! The formulas are those of every ACT-R. The three numbers are that paper's as we remember them;
//! we had no copy to check them by. Ports of the model in ACT-R's tutorial (unit 5) fit the same
//! experiment with S = 1.6, F = 0.63 and W = ½ for person and place alone: by those a sentence
//! whose words have a fan of 3 takes .25 s longer than one with a fan of 1, as by these.
//!
//! A foil is refused by recalling a sentence with its person or one with its place, either as
//! often, and finding that the rest differs. "In" is in all sentences: S − ln 26 is below zero, and
//! it tells nothing.
//!
//! **What is measured.** Words and sentences are episodes, linked from the word to its sentences. A
//! probe is an `EG.SPREAD … HOPS 1` from its words. Nothing is fitted: latencies follow from the
//! activation *a* that is answered, by the numbers above.
//!
//! | `FAN` of the space | Seeds | a | A |
//! |---|---|---|---|
//! | 1.45 | person, place, in | c · Σ W max(0, S − ln fan) | a / c |
//! | `degree` | person, place | c · mean of 1 / fan | ⅔ (S + ln(a / c)) |
//!
//! A word passes on the part *decay* of its mass and a sentence keeps 1 − decay of what comes to
//! it: c = decay · (1 − decay). But for that, the first *is* ACT-R's activation. The second is a
//! probability, as of a walk that begins at one of the words, where ACT-R adds logarithms of odds:
//! S − ln fan is the logarithm of e^S / fan. So the logarithm is taken of the mean where the theory
//! takes the mean of the logarithms, and both words' attention multiplies it. The two differ where
//! the fans of the words do.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::daemon::{Control, DaemonError};
use crate::resp::Reply;

/// Attention to each of the three words.
const ATTENTION: f64 = 1.0 / 3.0;
/// S, the strength that a word has to divide.
const STRENGTH: f64 = 1.45;
/// I, what takes the same time in every trial.
const INTERCEPT_S: f64 = 0.845;
/// F, the scale of the time of a retrieval.
const LATENCY_S: f64 = 0.613;
/// The part of its mass that an episode passes on.
const DECAY: f64 = 0.5;
/// The part of a word's mass that its sentences keep as activation.
const ARRIVES: f64 = DECAY * (1.0 - DECAY);
/// The word that is in all sentences.
const IN: &str = "in";

/// Sentences, as persons and places. The first thirteen are the ones that the published ACT-R model
/// of the experiment studies; the others repeat their pattern.
pub const SENTENCES: [(&str, &str); 26] = [
    ("hippie", "park"),
    ("hippie", "church"),
    ("hippie", "bank"),
    ("captain", "park"),
    ("captain", "cave"),
    ("debutante", "bank"),
    ("fireman", "park"),
    ("giant", "beach"),
    ("giant", "castle"),
    ("giant", "dungeon"),
    ("earl", "castle"),
    ("earl", "forest"),
    ("lawyer", "store"),
    ("sailor", "harbour"),
    ("sailor", "library"),
    ("sailor", "museum"),
    ("doctor", "harbour"),
    ("doctor", "kitchen"),
    ("singer", "museum"),
    ("farmer", "harbour"),
    ("writer", "garden"),
    ("writer", "tower"),
    ("writer", "cellar"),
    ("judge", "tower"),
    ("judge", "station"),
    ("baker", "theatre"),
];

/// A target for each pair of fans in either half.
const TARGETS: [(&str, &str); 18] = [
    ("lawyer", "store"),
    ("captain", "cave"),
    ("hippie", "church"),
    ("debutante", "bank"),
    ("earl", "castle"),
    ("hippie", "bank"),
    ("fireman", "park"),
    ("captain", "park"),
    ("hippie", "park"),
    ("baker", "theatre"),
    ("doctor", "kitchen"),
    ("sailor", "library"),
    ("singer", "museum"),
    ("judge", "tower"),
    ("sailor", "museum"),
    ("farmer", "harbour"),
    ("doctor", "harbour"),
    ("sailor", "harbour"),
];

/// And a foil.
const FOILS: [(&str, &str); 18] = [
    ("fireman", "store"),
    ("captain", "store"),
    ("giant", "store"),
    ("fireman", "bank"),
    ("captain", "bank"),
    ("giant", "bank"),
    ("lawyer", "park"),
    ("earl", "park"),
    ("giant", "park"),
    ("farmer", "theatre"),
    ("doctor", "theatre"),
    ("writer", "theatre"),
    ("farmer", "museum"),
    ("doctor", "museum"),
    ("writer", "museum"),
    ("baker", "harbour"),
    ("judge", "harbour"),
    ("writer", "harbour"),
];

/// Latencies in seconds: rows by the fan of the place, columns by that of the person, each 1 to 3.
pub type Table = [[f64; 3]; 3];

/// What Anderson (1974) measured for targets.
pub const ANDERSON_TARGETS: Table =
    [[1.111, 1.174, 1.222], [1.167, 1.198, 1.222], [1.153, 1.233, 1.357]];
/// And for foils.
pub const ANDERSON_FOILS: Table =
    [[1.197, 1.221, 1.264], [1.250, 1.356, 1.291], [1.262, 1.471, 1.465]];

/// How a space divides what a word passes on, and what follows from its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fan {
    Strength,
    Degree,
}

impl Fan {
    /// As behind `FAN`, which is also the name of its space.
    pub fn setting(self) -> String {
        match self {
            Self::Strength => STRENGTH.to_string(),
            Self::Degree => "degree".to_owned(),
        }
    }

    /// ACT-R's activation of what is answered as activation.
    fn activation(self, answered: f64) -> f64 {
        match self {
            Self::Strength => answered / ARRIVES,
            Self::Degree => 2.0 * ATTENTION * (STRENGTH + (answered / ARRIVES).ln()),
        }
    }

    fn seeds(self) -> &'static [&'static str] {
        match self {
            Self::Strength => &[IN],
            Self::Degree => &[],
        }
    }
}

/// Predicted latencies beside those that were measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latencies {
    pub table: Table,
    /// By the fan of the person.
    pub by_person: [f64; 3],
    /// By the fan of the place.
    pub by_place: [f64; 3],
    /// Pearson's r with the nine conditions of the paper.
    pub correlation: f64,
    /// Root mean square error to them, seconds.
    pub rmse_s: f64,
}

impl Latencies {
    fn new(table: Table, paper: &Table) -> Self {
        let (own, other) = (table.as_flattened(), paper.as_flattened());
        let count = own.len() as f64;
        let mean = |of: &[f64]| of.iter().sum::<f64>() / count;
        let (own_mean, other_mean) = (mean(own), mean(other));
        let (mut both, mut of_own, mut of_other, mut errors) = (0.0, 0.0, 0.0, 0.0);
        for (a, b) in own.iter().zip(other) {
            both += (a - own_mean) * (b - other_mean);
            of_own += (a - own_mean).powi(2);
            of_other += (b - other_mean).powi(2);
            errors += (a - b).powi(2);
        }
        Self {
            table,
            by_person: by_person(&table),
            by_place: table.map(|row| row.iter().sum::<f64>() / 3.0),
            correlation: both / (of_own * of_other).sqrt(),
            rmse_s: (errors / count).sqrt(),
        }
    }
}

/// Means of the columns of a table.
pub fn by_person(table: &Table) -> [f64; 3] {
    [0, 1, 2].map(|column| table.iter().map(|row| row[column]).sum::<f64>() / 3.0)
}

/// What one space tells of all probes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Report {
    pub fan: Fan,
    pub targets: Latencies,
    pub foils: Latencies,
}

/// Makes a space, stores the sentences and probes it.
pub fn run(control: &mut Control, fan: Fan) -> Result<Report, DaemonError> {
    let space = fan.setting();
    control.call(&["EG.SPACE", "CREATE", &space, "DIM", "1", "FAN", &space], |_| ())?;
    study(control, &space)?;
    let mut tables = [Table::default(); 2];
    for (table, probes) in tables.iter_mut().zip([TARGETS, FOILS]) {
        for (person, place) in probes {
            let latency = probe(control, fan, person, place)?;
            let halves = (probes.len() / 9) as f64;
            let [row, column] =
                [(1, place), (0, person)].map(|(side, word)| fan_of(side, word) - 1);
            table[row][column] += latency / halves;
        }
    }
    let [targets, foils] = tables;
    Ok(Report {
        fan,
        targets: Latencies::new(targets, &ANDERSON_TARGETS),
        foils: Latencies::new(foils, &ANDERSON_FOILS),
    })
}

/// Stores sentences and words, each word with links to its sentences.
fn study(control: &mut Control, space: &str) -> Result<(), DaemonError> {
    let mut words: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (person, place) in SENTENCES {
        let (id, text) = (id(person, place), format!("The {person} is in the {place}"));
        let store = ["EG.STORE", space, &id, "VALUES", "1", "1", "TEXT", &text];
        control.call(&store, |_| ())?;
        for word in [person, place, IN] {
            words.entry(word).or_default().push(id.clone());
        }
    }
    for (word, sentences) in &words {
        let mut store = vec!["EG.STORE", space, word, "VALUES", "1", "1"];
        sentences.iter().for_each(|id| store.extend(["LINK", id, "1"]));
        control.call(&store, |_| ())?;
    }
    Ok(())
}

fn id(person: &str, place: &str) -> String {
    format!("{person}:{place}")
}

/// In how many sentences a word is, on one side of them.
fn fan_of(side: usize, word: &str) -> usize {
    SENTENCES.iter().filter(|(person, place)| [*person, *place][side] == word).count()
}

/// How long it takes to say whether a sentence was learned: the mean of recalling by its person and
/// by its place the most active sentence that has it.
fn probe(control: &mut Control, fan: Fan, person: &str, place: &str) -> Result<f64, DaemonError> {
    let (space, decay) = (fan.setting(), DECAY.to_string());
    let mut command = vec!["EG.SPREAD", &space, "K", "64", "HOPS", "1", "DECAY", &decay];
    let seeds = [person, place].into_iter().chain(fan.seeds().iter().copied());
    seeds.for_each(|word| command.extend(["FROM", word, "1"]));
    let active = control.call(&command, |reply| {
        let Some(Reply::Array(hits)) = reply.get("hits") else { return Vec::new() };
        let hit = |hit: &Reply<'_>| {
            let Some(Reply::Text(id)) = hit.get("id") else { return None };
            let activation = hit.get("activation").and_then(Reply::number)?;
            Some((String::from_utf8_lossy(id).into_owned(), activation))
        };
        hits.iter().filter_map(hit).collect()
    })?;
    // Best first: the first that has the word is what comes to mind.
    let recall = |has: &dyn Fn(&str) -> bool| {
        let best = active.iter().find(|(id, _)| has(id)).map_or(0.0, |(_, activation)| *activation);
        INTERCEPT_S + LATENCY_S * (-fan.activation(best)).exp()
    };
    let by_person = recall(&|id| id.starts_with(&format!("{person}:")));
    let by_place = recall(&|id| id.ends_with(&format!(":{place}")));
    Ok((by_person + by_place) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_fans_has_a_target_and_a_foil_in_either_half() {
        for half in 0..2 {
            for nth in 0..9 {
                let fans = |(person, place)| (fan_of(0, person), fan_of(1, place));
                let expected = (nth % 3 + 1, nth / 3 + 1);
                assert_eq!(fans(TARGETS[9 * half + nth]), expected);
                assert_eq!(fans(FOILS[9 * half + nth]), expected);
                assert!(SENTENCES.contains(&TARGETS[9 * half + nth]));
                assert!(!SENTENCES.contains(&FOILS[9 * half + nth]));
            }
        }
    }

    #[test]
    fn the_paper_has_these_means() {
        let rounded = by_person(&ANDERSON_TARGETS).map(|s| (s * 100.0).round() / 100.0);
        assert_eq!(rounded, [1.14, 1.20, 1.27]);
    }
}
