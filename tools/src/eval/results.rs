//! What came of an evaluation: measures of all questions and of groups of them, for people, as
//! JSON, and question by question.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::calibration::{Calibration, Forecast, Told};
use super::corpus::{Conversation, Corpus, Question, Unknown};
use super::measures::{Bootstrap, Estimate, Measures, ranks};
use super::ways::Way;
use crate::error::ToolError;
use crate::render::{self, Align, grouped, plural};

/// The answers to a question, by way.
#[derive(Debug)]
pub(super) struct Answered {
    /// Numbers in the corpus and in the conversation.
    pub(super) conversation: usize,
    pub(super) question: usize,
    /// Turns of the conversation, best first.
    pub(super) answers: Vec<Vec<usize>>,
    /// What they came with; nothing of controls.
    pub(super) told: Vec<Vec<Told>>,
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Results<'a> {
    pub(super) corpus: &'a Corpus,
    pub(super) ways: &'a [Way],
    pub(super) k: usize,
    /// The way that all others are compared with.
    pub(super) against: usize,
    pub(super) bootstrap: Bootstrap,
    /// Whether it is to be told how well the daemon's figures are calibrated.
    pub(super) calibrates: bool,
    pub(super) answered: Vec<Answered>,
}

/// One way, over a group of questions.
#[derive(Debug, Clone, Copy, Serialize)]
struct Summary {
    recall: Estimate,
    all: Estimate,
    mrr: Estimate,
    /// How much more than the way to compare with.
    recall_gain: Estimate,
    all_gain: Estimate,
}

/// Questions that are looked at together.
#[derive(Debug)]
struct Group {
    questions: usize,
    /// By way.
    summaries: Vec<Summary>,
}

/// All questions, those of each category and those about each conversation.
#[derive(Debug)]
struct Groups {
    whole: Group,
    categories: BTreeMap<String, Group>,
    spaces: BTreeMap<String, Group>,
}

impl Results<'_> {
    fn of(&self, answered: &Answered) -> (&Conversation, &Question) {
        let conversation = &self.corpus.conversations[answered.conversation];
        (conversation, &conversation.questions[answered.question])
    }

    fn groups(&self) -> Groups {
        let measures = |answered: &Answered| -> Vec<Measures> {
            let evidence = &self.of(answered).1.evidence;
            answered.answers.iter().map(|own| Measures::of(own, evidence, self.k)).collect()
        };
        let all: Vec<Vec<Measures>> = self.answered.iter().map(measures).collect();
        let by = |key: &dyn Fn(&Answered) -> String| {
            let mut groups: BTreeMap<String, Vec<&[Measures]>> = BTreeMap::new();
            for (answered, measures) in self.answered.iter().zip(&all) {
                groups.entry(key(answered)).or_default().push(measures);
            }
            groups.into_iter().map(|(name, own)| (name, self.group(&own))).collect()
        };
        Groups {
            whole: self.group(&all.iter().map(Vec::as_slice).collect::<Vec<_>>()),
            categories: by(&|answered| self.of(answered).1.category.clone()),
            spaces: by(&|answered| self.of(answered).0.name.clone()),
        }
    }

    fn group(&self, questions: &[&[Measures]]) -> Group {
        let series =
            |of: &dyn Fn(&[Measures]) -> f64| questions.iter().map(|own| of(own)).collect();
        let all: Vec<Vec<f64>> = (0..self.ways.len())
            .flat_map(|way| -> [Vec<f64>; 5] {
                [
                    series(&|own| own[way].recall),
                    series(&|own| own[way].all),
                    series(&|own| own[way].reciprocal_rank),
                    series(&|own| own[way].recall - own[self.against].recall),
                    series(&|own| own[way].all - own[self.against].all),
                ]
            })
            .collect();
        let estimates = self.bootstrap.estimates(&all);
        let summary = |own: &[Estimate; 5]| {
            let [recall, all, mrr, recall_gain, all_gain] = *own;
            Summary { recall, all, mrr, recall_gain, all_gain }
        };
        let summaries = estimates.as_chunks().0.iter().map(summary).collect();
        Group { questions: questions.len(), summaries }
    }

    /// Of each way of the daemon how well its scores are calibrated, and its confidences.
    fn calibrations(&self) -> Vec<(&str, Calibration, Calibration)> {
        let of = |way: usize, forecast: &dyn Fn(&Told, bool) -> Forecast| {
            let question = |answered: &Answered| -> Vec<Forecast> {
                let evidence = &self.of(answered).1.evidence;
                let told = answered.answers[way].iter().zip(&answered.told[way]);
                told.map(|(turn, told)| forecast(told, evidence.contains(turn))).collect()
            };
            let questions: Vec<_> = self.answered.iter().map(question).collect();
            Calibration::of(&questions, self.bootstrap)
        };
        let by_score = |told: &Told, is_true| {
            let stated = told.score.clamp(0.0, 1.0);
            Forecast { stated, interval: None, is_true }
        };
        let by_confidence = |told: &Told, is_true| {
            let [stated, low, high] = told.confidence;
            Forecast { stated, interval: Some((low, high)), is_true }
        };
        let both = |nth| of(nth, &by_score).zip(of(nth, &by_confidence));
        let numbers = (0..self.ways.len()).filter(|_| self.calibrates);
        let named = |nth: usize| {
            let (score, confidence) = both(nth)?;
            Some((self.ways[nth].name(), score, confidence))
        };
        numbers.filter_map(named).collect()
    }

    /// Everything, as one document.
    pub(super) fn json(&self) -> Value {
        let named = |group: &Group| {
            let mut ways = serde_json::Map::new();
            for (way, summary) in self.ways.iter().zip(&group.summaries) {
                ways.insert(way.name().to_owned(), json!(summary));
            }
            json!({ "questions": group.questions, "ways": ways })
        };
        let all = |groups: &BTreeMap<String, Group>| -> serde_json::Map<String, Value> {
            groups.iter().map(|(name, group)| (name.clone(), named(group))).collect()
        };
        let groups = self.groups();
        json!({
            "conversations": self.corpus.conversations.len(),
            "turns": self.corpus.turns(),
            "questions": self.corpus.questions(),
            "questions_skipped": self.corpus.questions_skipped,
            "questions_skipped_for_unknown": self.corpus.unknown.questions_skipped,
            "questions_with_unknown": self.corpus.unknown.questions,
            "evidence_unknown": self.corpus.unknown.ids,
            "k": self.k,
            "against": self.ways[self.against].name(),
            "resamples": self.bootstrap.resamples,
            "seed": self.bootstrap.seed,
            "overall": named(&groups.whole),
            "categories": all(&groups.categories),
            "spaces": all(&groups.spaces),
            "calibration": self.calibrates.then(|| {
                let named = |(way, score, confidence): (&str, Calibration, Calibration)| {
                    (way.to_owned(), json!({ "score": score, "confidence": confidence }))
                };
                let ways = self.calibrations().into_iter().map(named);
                ways.collect::<serde_json::Map<String, Value>>()
            }),
        })
    }

    /// How many ids of evidence are not usable; empty if all are.
    fn unknown(&self) -> String {
        let Unknown { ids, questions, questions_skipped, is_ambiguous } = self.corpus.unknown;
        if ids == 0 {
            return String::new();
        }
        let name = if ids == 1 { "names" } else { "name" };
        let skipped = match questions_skipped {
            0 => String::new(),
            skipped if skipped == questions => ", left out for that".to_owned(),
            skipped => format!(", {} of them left out for that", grouped(skipped as u64)),
        };
        let turns = if is_ambiguous { "no turn or several" } else { "no turn" };
        let (ids, questions) = (plural(ids, "id"), plural(questions, "question"));
        format!("{ids} of evidence {name} {turns}, in {questions}{skipped}\n")
    }

    /// Two tables: every way over all questions, and recall by group.
    pub(super) fn text(&self) -> String {
        let Self { corpus, k, bootstrap, .. } = self;
        let against = self.ways[self.against].name();
        let groups = self.groups();
        let calibration: String = self
            .calibrations()
            .iter()
            .map(|(way, score, confidence)| {
                let (score, confidence) = (score.text("score"), confidence.text("confidence"));
                format!("\n\ncalibration of {way}\n{score}\n\n{confidence}")
            })
            .collect();
        format!(
            "{}, {}, {} ({} without usable evidence left out)\n\
             {}in %, with 95 % intervals of {} resamples; gain: recall@{k} less that of \
             {against}\n\n\
             {}\n\nrecall@{k} by category and by conversation\n\n{}{calibration}",
            plural(corpus.conversations.len(), "conversation"),
            plural(corpus.turns(), "turn"),
            plural(corpus.questions(), "question"),
            corpus.questions_skipped,
            self.unknown(),
            grouped(bootstrap.resamples as u64),
            self.table_of_ways(&groups.whole),
            self.table_of_groups(&groups),
        )
    }

    fn table_of_ways(&self, whole: &Group) -> String {
        let (recall, all, mrr) =
            (format!("recall@{}", self.k), format!("all@{}", self.k), format!("MRR@{}", self.k));
        let names = ["way", &recall, "", &all, "", &mrr, "gain", ""];
        let left = |at: usize| at == 0 || names[at].is_empty();
        let align = |at| if left(at) { Align::Left } else { Align::Right };
        let header: Vec<_> =
            names.iter().enumerate().map(|(at, name)| (*name, align(at))).collect();
        let row = |(way, own): (&Way, &Summary)| {
            let gain = own.recall_gain;
            vec![
                way.name().to_owned(),
                percent(own.recall.mean),
                interval(own.recall),
                percent(own.all.mean),
                interval(own.all),
                percent(own.mrr.mean),
                signed(gain.mean),
                format!("{} to {}", signed(gain.low), signed(gain.high)),
            ]
        };
        let rows: Vec<_> = self.ways.iter().zip(&whole.summaries).map(row).collect();
        render::table(&header, &rows, render::terminal_width())
    }

    fn table_of_groups(&self, groups: &Groups) -> String {
        let mut header = vec![("", Align::Left), ("n", Align::Right)];
        header.extend(self.ways.iter().map(|way| (way.name(), Align::Right)));
        let row = |(name, group): (&String, &Group)| {
            let mut row = vec![name.clone(), grouped(group.questions as u64)];
            row.extend(group.summaries.iter().map(|own| percent(own.recall.mean)));
            row
        };
        let rows: Vec<_> = groups.categories.iter().chain(&groups.spaces).map(row).collect();
        render::table(&header, &rows, render::terminal_width())
    }

    /// A line for each question: what each way found, and at which ranks the evidence is.
    pub(super) fn write(&self, path: &Path) -> Result<(), ToolError> {
        let failed = |error| ToolError::file(path, error);
        let mut file = BufWriter::new(File::create(path).map_err(failed)?);
        for answered in &self.answered {
            let (conversation, question) = self.of(answered);
            let id = |turn: &usize| conversation.turns[*turn].id.as_str();
            let mut ways = serde_json::Map::new();
            for (way, answer) in self.ways.iter().zip(&answered.answers) {
                let ids: Vec<&str> = answer.iter().map(id).collect();
                let ranks = ranks(answer, &question.evidence, self.k);
                ways.insert(way.name().to_owned(), json!({ "evidence_ranks": ranks, "ids": ids }));
            }
            let mut line = json!({
                "space": conversation.name,
                "row": question.row,
                "question": question.text,
                "category": question.category,
                "evidence": question.evidence.iter().map(id).collect::<Vec<_>>(),
                "ways": ways,
            });
            if !question.evidence_unknown.is_empty() {
                line["unknown_evidence"] = json!(question.evidence_unknown);
            }
            writeln!(file, "{line}").map_err(failed)?;
        }
        file.flush().map_err(failed)
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

fn interval(estimate: Estimate) -> String {
    format!("{} to {}", percent(estimate.low), percent(estimate.high))
}

fn signed(share: f64) -> String {
    // Not -0.0.
    format!("{:+.1}", share * 100.0 + 0.0)
}
