//! Recalling, spreading, completing, and gists.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::conditions::{Conditions, Trust, conditional};
use super::{Asked, FoundParts, GistParts, Parts, ReadParts, Takes, Target, Words};
use crate::edge::problem::Problem;
use crate::edge::vectors::{Vector, VectorForm};

/// What to look for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case", expecting = "an object with vec or id")]
enum Cue {
    /// What is similar to a vector.
    Vec(Vector),
    /// What is similar to a known episode.
    Id(#[schemars(length(min = 1, max = 256))] String),
}

conditional! {
    /// What to recall: the k episodes that fit the cues best, by their mean, or a question in
    /// words, or both. Without `text` there is at least one cue.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, expecting = "an object with k and cues or text")]
    pub struct Recall {
        #[schemars(range(min = 1, max = 4096))]
        k: u64,
        #[serde(default)]
        #[schemars(length(max = 64))]
        cues: Vec<Cue>,
        /// A question in words.
        #[schemars(length(min = 1, max = 65_536))]
        text: Option<String>,
        /// What counts how much in the answer to it, beside an episode's own words.
        weights: Option<FusionWeights>,
        /// Compare every episode.
        exact: Option<bool>,
        #[schemars(range(min = 1, max = 4096))]
        beam: Option<u64>,
        /// The share of the nearest that are to be found on average, above 0 and below 1.
        #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
        target: Option<f64>,
        /// Let associations take part.
        spread: Option<RecallSpread>,
        /// Let the gists that are kept of what is found take part.
        gists: Option<bool>,
        no_reinforce: Option<bool>,
        #[serde(default)]
        #[schemars(with = "FoundParts")]
        with: Parts,
        /// Bytes of texts, vectors and metadata in the answer.
        #[schemars(range(min = 1, max = 67_108_864))]
        bytes: Option<u64>,
        vectors: Option<VectorForm>,
    }
}

/// What counts how much beside an episode's own words.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with five weights")]
pub(super) struct FusionWeights {
    /// Similarity; 0.85 usually.
    #[schemars(range(min = 0.0, max = 1000.0))]
    near: f64,
    /// What the episodes around lend; 1 usually.
    #[schemars(range(min = 0.0, max = 1000.0))]
    around: f64,
    /// That an episode happened when the question says; 0.8 usually.
    #[schemars(range(min = 0.0, max = 1000.0))]
    time: f64,
    /// What an episode loses that has faded altogether; 0.2 usually.
    #[schemars(range(min = 0.0, max = 1.0))]
    strength: f64,
    /// What an episode loses in which there is no confidence at all; 0.5 usually.
    #[schemars(range(min = 0.0, max = 1.0))]
    confidence: f64,
}

impl FusionWeights {
    pub(super) fn put(self, words: &mut Words) {
        let Self { near, around, time, strength, confidence } = self;
        words.word("WEIGHTS").word(near).word(around).word(time);
        words.word(strength).word(confidence);
    }
}

/// How associations take part.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct RecallSpread {
    #[schemars(range(min = 0, max = 32))]
    hops: Option<u64>,
    #[schemars(range(min = 0, max = 1_000_000))]
    budget: Option<u64>,
    #[schemars(range(min = 0.0, max = 0.99))]
    decay: Option<f64>,
    #[schemars(range(min = 1e-9, max = 1.0))]
    threshold: Option<f64>,
    #[schemars(range(min = 0.0, max = 1.0))]
    similar: Option<f64>,
    #[schemars(range(min = 1, max = 60_000_000))]
    deadline_us: Option<u64>,
    #[schemars(range(min = 1, max = 256))]
    seeds: Option<u64>,
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    weight: Option<f64>,
}

impl Takes for Recall {
    fn ask(mut self, target: &Target) -> Result<Asked, Problem> {
        let conditions = self.conditions();
        let mut words = Words::new("EG.RECALL");
        words.word(target.space()?).option("K", Some(self.k)).cues(self.cues);
        words.option("TEXT", self.text);
        if let Some(weights) = self.weights {
            weights.put(&mut words);
        }
        conditions.put(&mut words);
        words.flag("EXACT", self.exact).option("BEAM", self.beam).option("TARGET", self.target);
        if let Some(spread) = self.spread {
            words.word("SPREAD").option("HOPS", spread.hops).option("BUDGET", spread.budget);
            words.option("DECAY", spread.decay).option("THRESHOLD", spread.threshold);
            words.option("SIMILAR", spread.similar).option("DEADLINE", spread.deadline_us);
            words.option("SEEDS", spread.seeds).option("WEIGHT", spread.weight);
        }
        words.flag("GISTS", self.gists).flag("NOREINFORCE", self.no_reinforce).with(self.with);
        Ok(words.option("BYTES", self.bytes).asked(self.vectors))
    }
}

/// A seed and its share of the mass.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with id and mass")]
struct Seed {
    #[schemars(length(min = 1, max = 256))]
    id: String,
    /// 1 unless given.
    #[schemars(range(min = 1e-12, max = 1e12))]
    mass: Option<f64>,
}

conditional! {
    /// Where to spread from, and what to answer: the k episodes most associated with the seeds.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, expecting = "an object with k and from")]
    pub struct Spread {
        #[schemars(range(min = 1, max = 4096))]
        k: u64,
        #[schemars(length(min = 1, max = 256))]
        from: Vec<Seed>,
        #[schemars(range(min = 0, max = 32))]
        hops: Option<u64>,
        #[schemars(range(min = 0, max = 1_000_000))]
        budget: Option<u64>,
        #[schemars(range(min = 0.0, max = 0.99))]
        decay: Option<f64>,
        #[schemars(range(min = 1e-9, max = 1.0))]
        threshold: Option<f64>,
        #[schemars(range(min = 0.0, max = 1.0))]
        similar: Option<f64>,
        #[schemars(range(min = 1, max = 60_000_000))]
        deadline_us: Option<u64>,
        /// Visit all links, as often as it takes.
        exact: Option<bool>,
        #[serde(default)]
        #[schemars(with = "FoundParts")]
        with: Parts,
        /// Bytes of texts, vectors and metadata in the answer.
        #[schemars(range(min = 1, max = 67_108_864))]
        bytes: Option<u64>,
        vectors: Option<VectorForm>,
    }
}

impl Takes for Spread {
    fn ask(mut self, target: &Target) -> Result<Asked, Problem> {
        let conditions = self.conditions();
        let mut words = Words::new("EG.SPREAD");
        words.word(target.space()?).option("K", Some(self.k));
        for Seed { id, mass } in self.from {
            // Each behind a word of its own: an id may be a keyword.
            words.option("FROM", Some(id)).word(mass.unwrap_or(1.0));
        }
        words.option("HOPS", self.hops).option("BUDGET", self.budget);
        words.option("DECAY", self.decay).option("THRESHOLD", self.threshold);
        words.option("SIMILAR", self.similar).option("DEADLINE", self.deadline_us);
        words.flag("EXACT", self.exact);
        conditions.put(&mut words);
        words.with(self.with).option("BYTES", self.bytes);
        Ok(words.asked(self.vectors))
    }
}

conditional! {
    /// A vector, of which some dimensions may be unknown, and how to complete it.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, expecting = "an object with vec")]
    pub struct Complete {
        vec: Vector,
        /// Ranges of dimensions that are not known: the first and the last, from 0.
        #[serde(default)]
        #[schemars(length(max = 4096))]
        unknown: Vec<[u64; 2]>,
        /// Episodes that take part in a round; 64 usually.
        #[schemars(range(min = 1, max = 256))]
        k: Option<u64>,
        /// Rounds at most; 8 usually.
        #[schemars(range(min = 1, max = 32))]
        rounds: Option<u64>,
        /// How sharply the most similar is preferred; 64 usually.
        #[schemars(range(min = 0.0, max = 10_000.0))]
        beta: Option<f64>,
        /// Compare every episode.
        exact: Option<bool>,
        #[serde(default)]
        #[schemars(with = "ReadParts")]
        with: Parts,
        /// Bytes of texts, vectors and metadata of the episodes in the answer.
        #[schemars(range(min = 1, max = 67_108_864))]
        bytes: Option<u64>,
        vectors: Option<VectorForm>,
    }
}

impl Takes for Complete {
    fn ask(mut self, target: &Target) -> Result<Asked, Problem> {
        let conditions = self.conditions();
        let mut words = Words::new("EG.COMPLETE");
        words.word(target.space()?).word("VEC").word(self.vec.0);
        for [first, last] in self.unknown {
            words.word("UNKNOWN").word(first).word(last);
        }
        words.option("K", self.k).option("ROUNDS", self.rounds).option("BETA", self.beta);
        words.flag("EXACT", self.exact);
        conditions.put(&mut words);
        words.with(self.with).option("BYTES", self.bytes);
        Ok(words.asked(self.vectors))
    }
}

conditional! {
    /// Cues of a recall, and how what it finds is put together. Without `text` there is at least
    /// one cue.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, expecting = "an object with k and cues or text")]
    pub struct Gist {
        #[schemars(range(min = 1, max = 64))]
        k: u64,
        #[serde(default)]
        #[schemars(length(max = 64))]
        cues: Vec<Cue>,
        /// A question in words.
        #[schemars(length(min = 1, max = 65_536))]
        text: Option<String>,
        /// How many of the best episodes are put together; 64 usually.
        #[schemars(range(min = 1, max = 256))]
        among: Option<u64>,
        /// How similar two groups must be on average to become one; 0.6 usually.
        #[schemars(range(min = -1e6, max = 1e6))]
        alike: Option<f64>,
        /// Compare every episode.
        exact: Option<bool>,
        #[serde(default)]
        #[schemars(with = "GistParts")]
        with: Parts,
        /// Bytes of texts in the answer.
        #[schemars(range(min = 1, max = 67_108_864))]
        bytes: Option<u64>,
        vectors: Option<VectorForm>,
    }
}

impl Takes for Gist {
    fn ask(mut self, target: &Target) -> Result<Asked, Problem> {
        let conditions = self.conditions();
        let mut words = Words::new("EG.GIST");
        words.word(target.space()?).option("K", Some(self.k)).cues(self.cues);
        words.option("TEXT", self.text).option("AMONG", self.among).option("ALIKE", self.alike);
        words.flag("EXACT", self.exact);
        conditions.put(&mut words);
        words.with(self.with).option("BYTES", self.bytes);
        Ok(words.asked(self.vectors))
    }
}

impl Words {
    fn cues(&mut self, cues: Vec<Cue>) -> &mut Self {
        for cue in cues {
            match cue {
                Cue::Vec(vector) => self.word("VEC").word(vector.0),
                Cue::Id(id) => self.word("ID").word(id),
            };
        }
        self
    }
}
