//! `engram eval`: how well a daemon finds what answers questions, beside textbook ways to do it.
//!
//! | File | Answers |
//! |---|---|
//! | `corpus` | Which turns are there, which questions, and which turns answer them? |
//! | `locomo`, `beam` | How do these stand in files? |
//! | `embeddings` | And their vectors? |
//! | `spaces` | How does the daemon get them, and how is it asked? |
//! | `controls` | What would dense search, BM25 and their mix have found? |
//! | `ways` | Which parts of the daemon are switched off, in turn? |
//! | `measures` | How good is an answer, and how sure is that? |
//! | `calibration` | Does what the daemon states come true as often as it says? |
//! | `results` | What came of it? |
//!
//! Every conversation is a memory space of its own, made for the evaluation and dropped behind it.
//! All ways get the same turns, vectors and questions, and are asked for k episodes. What a
//! question says of times counts from the daemon's clock, where it does not name a date.

mod beam;
mod calibration;
mod controls;
mod corpus;
mod embeddings;
mod locomo;
mod measures;
mod results;
mod spaces;
mod ways;

use std::collections::HashMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::Context;
use crate::error::ToolError;
use crate::render::{self, plural};

use beam::Beam;
use controls::Controls;
use corpus::{Corpus, Reader};
use embeddings::Embeddings;
use locomo::Locomo;
use measures::Bootstrap;
use results::{Answered, Results};
use spaces::{Making, Spaces};
use ways::{Asked, Way};

#[derive(Debug, Args)]
#[command(
    after_help = "With --help: examples, the layout of the files, and what the ways leave out."
)]
#[command(after_long_help = "Examples:\n  \
    engram eval --turns turns.jsonl --turn-vectors turns.npy \\\n      \
    --questions questions.jsonl --question-vectors questions.npy --output results.jsonl\n  \
    engram eval --format beam --turns chats/100K --list turns > texts.jsonl\n  \
    engram eval --format beam --turns chats/100K --turn-vectors turns.npy \\\n      \
    --question-vectors questions.npy --way 'exact=VEC TEXT EXACT'\n\n\
    A line of turns has space, id, session, ts (unix seconds), speaker and text; session, ts and\n\
    speaker may be left out. A line of questions has space, question, evidence (ids of turns) and\n\
    category, which may be left out. Vectors stand in the order of the lines; for BEAM in that of\n\
    --list.\n\n\
    A folder of BEAM has for each chat, by its number N:\n  \
    N/chat.json: in turns[][] messages of role, id, content and, where a day begins,\n  \
    time_anchor (March-15-2024);\n  \
    N/probing_questions/probing_questions.json: lists by ability, of question and\n  \
    source_chat_ids, which are ids of messages, in a list or in an object of lists.\n\n\
    Ways of the report:\n  \
    engram      the question and its vector, of sessions stored as threads\n  \
    vector      the vector alone\n  \
    words       the question alone\n  \
    unthreaded  engram, of turns that were stored without threads and links\n\
    With --ablations:\n  \
    no-around   engram without what the episodes around lend\n  \
    no-times    engram without the times that a question names\n  \
    no-decay    engram without what the strength of an episode counts, which fades\n  \
    spread      engram, and associations take part\n\
    Controls, worked out beside the daemon; -win: of windows, a turn with two on either side:\n  \
    dense, dense-win    cosine of the vectors\n  \
    bm25, bm25-win      words by BM25\n  \
    hybrid, hybrid-win  half of each")]
pub(crate) struct Eval {
    /// How turns and questions are written
    #[arg(long, value_enum, default_value_t = Format::Locomo)]
    format: Format,
    /// The turns: JSON lines; with --format beam the folder of the chats
    #[arg(long, value_name = "FILE|FOLDER")]
    turns: PathBuf,
    /// Their embeddings, a row each (f16, f32 or f64), scaled to unit length here
    #[arg(long, value_name = "FILE.npy", required_unless_present = "list")]
    turn_vectors: Option<PathBuf>,
    /// The questions, JSON lines; with --format beam they are in the folder of the chats
    #[arg(long, value_name = "FILE", required_if_eq("format", "locomo"))]
    questions: Option<PathBuf>,
    /// Their embeddings, a row each
    #[arg(long, value_name = "FILE.npy", required_unless_present = "list")]
    question_vectors: Option<PathBuf>,
    /// Print the texts that need an embedding, a JSON string a line in the order of the rows, and
    /// do nothing else
    #[arg(long, value_enum)]
    list: Option<Texts>,
    /// Episodes to recall for each question
    #[arg(short, long, default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=4096))]
    k: u16,
    /// Ask in this way too: what stands behind K in EG.RECALL, VEC and TEXT being those of the
    /// question; may be repeated
    #[arg(long, value_name = "NAME=WORDS")]
    way: Vec<Asked>,
    /// Ask in four ways more: without what the episodes around lend (no-around), without named
    /// times (no-times), without fading (no-decay), and with associations too (spread)
    #[arg(long)]
    ablations: bool,
    /// The way that all others are compared with, question by question
    #[arg(long, value_name = "NAME", default_value = "hybrid-win")]
    against: String,
    /// Report how well scores and confidences of the daemon's ways tell what is evidence
    #[arg(long)]
    calibration: bool,
    /// Resamples of the bootstrap
    #[arg(long, default_value_t = 2_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    resamples: u32,
    /// What resamples are drawn by
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What the names of the memory spaces begin with
    #[arg(long, default_value = "eval-")]
    prefix: String,
    /// Shards that each memory space spans; the daemon takes all when left out
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    /// Have everything consolidated before it is asked for
    #[arg(long)]
    consolidate: bool,
    /// Leave the memory spaces as they are
    #[arg(long)]
    keep: bool,
    /// Write what was found for each question, a JSON object a line
    #[arg(long, value_name = "FILE.jsonl")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// LoCoMo's conversations, or anything else, as JSON lines
    Locomo,
    /// The folders of chats of BEAM, as its repository has them
    Beam,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Texts {
    Turns,
    Questions,
}

/// The vectors of a corpus.
#[derive(Debug)]
struct Vectors {
    turns: Embeddings,
    questions: Embeddings,
}

impl Eval {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let reader = self.reader()?;
        if let Some(texts) = self.list {
            return list(&*reader, texts);
        }
        let ways = Way::all(self.ablations, &self.way).map_err(ToolError::usage)?;
        let against = self.against(&ways)?;
        let corpus = Corpus::read(&*reader)?;
        let vectors = self.vectors(&corpus)?;
        let making = Making {
            prefix: &self.prefix,
            shards: self.shards,
            dimensions: vectors.turns.dimensions(),
            patience: context.timeout(),
        };
        let mut spaces = Spaces::new(context.connect()?, making);
        let answered = self.ask(&corpus, &vectors, &ways, &mut spaces);
        let dropped = if self.keep { Ok(()) } else { spaces.drop_all() };
        let (answered, ()) = (answered?, dropped?);
        let bootstrap = Bootstrap { resamples: self.resamples as usize, seed: self.seed };
        let (k, ways) = (usize::from(self.k), &ways[..]);
        let (corpus, calibrates) = (&corpus, self.calibration);
        let results = Results { corpus, ways, k, against, bootstrap, calibrates, answered };
        if let Some(path) = &self.output {
            results.write(path)?;
        }
        if context.json {
            return render::print_json(&results.json());
        }
        render::print(&results.text())
    }

    fn reader(&self) -> Result<Box<dyn Reader>, ToolError> {
        match (self.format, &self.questions) {
            (Format::Beam, None) => Ok(Box::new(Beam::open(&self.turns)?)),
            (Format::Beam, Some(_)) => Err(ToolError::usage(
                "--questions is not for --format beam: its questions are in the folder of --turns",
            )),
            (Format::Locomo, questions) => {
                let (turns, questions) = (self.turns.clone(), questions.clone());
                Ok(Box::new(Locomo { turns, questions: questions.unwrap_or_default() }))
            }
        }
    }

    fn against(&self, ways: &[Way]) -> Result<usize, ToolError> {
        let names = || ways.iter().map(Way::name).collect::<Vec<_>>().join(", ");
        let place = ways.iter().position(|way| way.name() == self.against);
        place.ok_or_else(|| {
            ToolError::usage(format!("--against '{}': there are {}", self.against, names()))
        })
    }

    fn vectors(&self, corpus: &Corpus) -> Result<Vectors, ToolError> {
        let (turns, questions) = (corpus.turns(), corpus.questions() + corpus.questions_skipped);
        let path = |path: &Option<PathBuf>| path.clone().unwrap_or_default();
        let turns = Embeddings::read(&path(&self.turn_vectors), turns, "turns")?;
        let file = path(&self.question_vectors);
        let questions = Embeddings::read(&file, questions, "questions")?;
        if turns.dimensions() != questions.dimensions() {
            let (own, other) = (questions.dimensions(), turns.dimensions());
            let reason = format!("{own} dimensions, but those of the turns have {other}");
            return Err(ToolError::format(&file, reason));
        }
        Ok(Vectors { turns, questions })
    }

    /// Stores everything, then asks every question in every way.
    fn ask(
        &self,
        corpus: &Corpus,
        vectors: &Vectors,
        ways: &[Way],
        spaces: &mut Spaces<'_>,
    ) -> Result<Vec<Answered>, ToolError> {
        eprintln!("engram: storing {} twice", plural(corpus.turns(), "turn"));
        for conversation in &corpus.conversations {
            for is_threaded in [true, false] {
                spaces.fill(conversation, &vectors.turns, is_threaded)?;
            }
        }
        if self.consolidate {
            spaces.consolidate()?;
        }
        let questions = plural(corpus.questions(), "question");
        eprintln!("engram: asking {questions} in {} ways", ways.len());
        let mut answered = Vec::with_capacity(corpus.questions());
        for (number, conversation) in corpus.conversations.iter().enumerate() {
            let controls = Controls::new(conversation, &vectors.turns);
            let turns: HashMap<&str, usize> =
                conversation.turns.iter().enumerate().map(|(nth, turn)| (&*turn.id, nth)).collect();
            for (nth, question) in conversation.questions.iter().enumerate() {
                let (cue, k) = (vectors.questions.row(question.row), usize::from(self.k));
                let mut answer = |way: &Way| match way {
                    Way::Daemon(way) => spaces.ask((conversation, &turns), (question, cue), way, k),
                    Way::Control(control) => {
                        let found = controls.answer(*control, &question.text, cue, k);
                        Ok((found, Vec::new()))
                    }
                };
                let answers = ways.iter().map(&mut answer).collect::<Result<Vec<_>, _>>()?;
                let (answers, told) = answers.into_iter().unzip();
                answered.push(Answered { conversation: number, question: nth, answers, told });
            }
        }
        Ok(answered)
    }
}

fn list(reader: &dyn Reader, texts: Texts) -> Result<(), ToolError> {
    let texts: Vec<String> = match texts {
        Texts::Turns => reader.turns()?.into_iter().map(|turn| turn.text).collect(),
        Texts::Questions => reader.questions()?.into_iter().map(|own| own.text).collect(),
    };
    let lines: Vec<String> =
        texts.into_iter().map(|text| serde_json::Value::String(text).to_string()).collect();
    render::print(&lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_way() {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            _eval: Eval,
        }
        let help = <Command as clap::CommandFactory>::command().render_long_help().to_string();
        for way in Way::all(true, &[]).unwrap() {
            let is_named = |line: &str| {
                let names = line.split("  ").find(|part| !part.is_empty()).unwrap_or_default();
                line.starts_with("  ") && names.split(", ").any(|name| name == way.name())
            };
            assert!(help.lines().any(is_named), "{help} should name {}", way.name());
        }
    }
}
