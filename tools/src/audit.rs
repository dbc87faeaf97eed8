//! `engram audit`: what a memory space consists of, and what of it is needless.
//!
//! | Figure | How |
//! |---|---|
//! | superseded | every episode is read once, and says what superseded it |
//! | exact duplicates | texts and vectors are hashed; all but one of each content count |
//! | near-duplicates | of some episodes the nearest other one with another content is recalled |
//! | never recalled | presentations: the store is the first, a recall or a reinforcement another |
//! | stale | the retention is below a bound, by the decay of the memory space |
//! | archived, would be forgotten | by a policy: that of the memory space, or one to be tried |
//! | sizes | of texts, metadata and vectors as they were stored, and of columns on the disk |
//!
//! Duplicates are looked for among what recalls find, archived or not: an episode that another one
//! supersedes is none. Nothing is changed, and no recall counts as one.
//!
//! In a large memory space near-duplicates are looked for of a sample, drawn evenly (Vitter,
//! "Random sampling with a reservoir", ACM TOMS 1985), the same each time. The rate comes with its
//! 95 % score interval (Wilson, "Probable inference", JASA 1927), which holds for rates near 0 too.

use std::collections::HashMap;

use clap::Args;
use fastrand::Rng;
use redis::Value;
use serde::Serialize;
use serde_json::json;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::cli::Context;
use crate::client::Client;
use crate::commands::options::Part;
use crate::error::ToolError;
use crate::render::{self, Align, grouped};
use crate::reply::{self, EpisodeReply};
use crate::scan::Scan;
use crate::time;

/// The seed of the sample.
const SEED: u64 = 1;
/// Episodes that are recalled to find one with another content.
const NEAREST: usize = 16;
/// The bound of a standard normal variable that leaves 5 % outside.
const NORMAL_95: f64 = 1.959_963_985;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  engram audit notes --threshold 0.97 --sample 5000 --json")]
pub(crate) struct Audit {
    /// The memory space
    space: String,
    /// From which similarity on two episodes count as nearly the same
    #[arg(long, value_name = "SIMILARITY", default_value_t = 0.95, allow_hyphen_values = true)]
    #[arg(value_parser = parse_finite)]
    threshold: f64,
    /// Episodes whose nearest other one is looked for, at most; 0 for all
    #[arg(long, value_name = "EPISODES", default_value_t = 1000)]
    sample: usize,
    /// Below which retention an episode counts as stale
    #[arg(long, value_name = "RETENTION", default_value_t = 0.1, value_parser = parse_probability)]
    stale: f64,
    /// Count what would be archived below this retention, instead of by the memory space's own
    /// policy; nothing is
    #[arg(long, value_name = "RETENTION", value_parser = parse_probability)]
    archive_below: Option<f64>,
    /// And that was stored at least so many seconds ago
    #[arg(long, value_name = "SECONDS", requires = "archive_below")]
    archive_after: Option<u32>,
    /// Count what would be forgotten below this retention, instead of by the memory space's own
    /// policy; nothing is
    #[arg(long, value_name = "RETENTION", value_parser = parse_probability)]
    forget_below: Option<f64>,
    /// And that was stored at least so many seconds ago
    #[arg(long, value_name = "SECONDS", requires = "forget_below")]
    forget_after: Option<u32>,
    /// Compare every episode to find the nearest ones, instead of asking the index
    #[arg(long)]
    exact: bool,
}

/// A part of a whole.
#[derive(Debug, Serialize, PartialEq)]
struct Share {
    count: u64,
    of: u64,
    /// `null` of nothing.
    share: Option<f64>,
}

impl Share {
    fn new(count: u64, of: u64) -> Self {
        Self { count, of, share: (of > 0).then(|| count as f64 / of as f64) }
    }
}

/// Which episodes are archived or forgotten because they have faded.
#[derive(Debug, Clone, Copy, Serialize, PartialEq)]
struct Policy {
    below: f64,
    after_seconds: i64,
}

impl Policy {
    /// Pinned episodes are retained for certain.
    fn takes(&self, episode: &EpisodeReply, now_us: i64) -> bool {
        let kept_us = self.after_seconds.saturating_mul(1_000_000);
        let has_faded = episode.strength.is_some_and(|own| own.retention < self.below);
        has_faded && episode.recorded_at_us.is_some_and(|at_us| now_us - at_us >= kept_us)
    }
}

/// What a policy would do, or does by itself.
#[derive(Debug, Serialize, PartialEq)]
struct Faded {
    #[serde(flatten)]
    policy: Policy,
    #[serde(flatten)]
    share: Share,
}

impl Faded {
    /// Of all episodes, of which so many have faded.
    fn of(policy: Option<Policy>, count: u64, all: u64) -> Option<Self> {
        policy.map(|policy| Self { policy, share: Share::new(count, all) })
    }

    /// A line of the report.
    fn line(faded: Option<&Self>, what: &'static str) -> Line {
        let Some(Self { policy: Policy { below, after_seconds }, share }) = faded else {
            return counted(what, &Share::new(0, 0), "there is no policy");
        };
        let note = format!("below {below}, {after_seconds} s and more after their store");
        counted(what, share, &note)
    }
}

/// What a line of the report is about, how many, which part of all, and a note.
type Line = (&'static str, String, String, String);

/// How many of some episodes have another one nearby.
#[derive(Debug, Serialize, PartialEq)]
struct Near {
    threshold: f64,
    #[serde(flatten)]
    share: Share,
    is_sampled: bool,
    /// Of the share, at 95 %; `null` when all episodes were looked at.
    interval: Option<[f64; 2]>,
}

/// What all episodes were found to be.
#[derive(Debug, Default)]
struct Read {
    episodes: u64,
    superseded: u64,
    /// Of those that recalls find.
    never_recalled: u64,
    stale: u64,
    /// Of all.
    archived: u64,
    would_be_forgotten: u64,
    text_bytes: u64,
    meta_bytes: u64,
    vector_bytes: u64,
    links: u64,
    /// Of those that recalls find: how many have each content, and the content by a hash of the id.
    contents: HashMap<u128, u64>,
    by_id: HashMap<u64, u128>,
    /// Ids, vectors and contents.
    sample: Vec<(String, Vec<u8>, u128)>,
}

impl Read {
    fn believed(&self) -> u64 {
        self.episodes - self.superseded
    }

    /// All but one of each content.
    fn exact_duplicates(&self) -> u64 {
        self.believed() - self.contents.len() as u64
    }

    fn add(&mut self, episode: EpisodeReply, (sample_max, stale): (usize, f64), rng: &mut Rng) {
        let text = episode.text.unwrap_or_default();
        let vector = episode.vector.unwrap_or_default();
        self.episodes += 1;
        self.text_bytes += text.len() as u64;
        self.meta_bytes += episode.meta.map_or(0, |meta| meta.len() as u64);
        self.vector_bytes += vector.len() as u64;
        self.links += episode.links.len() as u64;
        if episode.superseded_by.is_some() {
            self.superseded += 1;
            return;
        }
        if let Some(strength) = episode.strength {
            self.never_recalled += u64::from(strength.presentations <= 1);
            self.stale += u64::from(strength.retention < stale);
        }
        let content = content(&text, &vector);
        *self.contents.entry(content).or_default() += 1;
        self.by_id.insert(xxh3_64(episode.id.as_bytes()), content);
        let sampled = (episode.id, vector, content);
        if self.sample.len() < sample_max {
            self.sample.push(sampled);
        } else if let nth = rng.u64(..self.believed()) as usize
            && nth < sample_max
        {
            self.sample[nth] = sampled;
        }
    }
}

impl Audit {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let mut client = context.connect()?;
        let info = client.call(redis::cmd("EG.SPACE").arg("INFO").arg(&self.space))?;
        let info = reply::entries(info).unwrap_or_default();
        self.check_threshold(&info)?;
        let policies = self.policies(&info);
        let read = self.read(&mut client, policies)?;
        let near = self.near(&mut client, &read)?;
        let [archive, forget] = policies;
        let archived = Faded::of(archive, read.archived, read.episodes);
        let forgotten = Faded::of(forget, read.would_be_forgotten, read.episodes);
        let stats = client.call(redis::cmd("EG.STATS").arg(&self.space))?;
        let stats = reply::entries(stats).unwrap_or_default();
        let figure = |wanted: &str| {
            reply::entry(&stats, wanted).and_then(reply::integer).unwrap_or_default()
        };
        let [rows, rows_dead, columns_bytes] = ["rows", "rows_dead", "columns_bytes"].map(figure);
        let superseded = Share::new(read.superseded, read.episodes);
        let exact = Share::new(read.exact_duplicates(), read.believed());
        let never_recalled = Share::new(read.never_recalled, read.believed());
        let stale = Share::new(read.stale, read.believed());
        if context.json {
            return render::print_json(&json!({
                "space": self.space,
                "episodes": read.episodes,
                "superseded": superseded,
                "exact_duplicates": exact,
                "near_duplicates": near,
                "never_recalled": never_recalled,
                "stale": stale,
                "archived": archived,
                "would_be_forgotten": forgotten,
                "size": {
                    "rows": rows,
                    "rows_dead": rows_dead,
                    "text_bytes": read.text_bytes,
                    "meta_bytes": read.meta_bytes,
                    "vector_bytes": read.vector_bytes,
                    "links": read.links,
                    "columns_bytes": columns_bytes,
                },
            }));
        }
        let interval = near.interval.map_or(String::new(), |[low, high]| {
            format!(" ({} to {} at 95 %)", percent(low), percent(high))
        });
        let near_note = format!(
            "similarity ≥ {}, {} looked at{interval}",
            self.threshold,
            if near.is_sampled { "a sample" } else { "all" }
        );
        let stale_note = format!("their retention is below {}", self.stale);
        let count = |number: i64| grouped(u64::try_from(number).unwrap_or_default());
        let rows = [
            ("episodes", grouped(read.episodes), String::new(), String::new()),
            counted("superseded", &superseded, "of all; recalls leave them out"),
            counted("exact duplicates", &exact, "of the others: same text and vector"),
            counted("near-duplicates", &near.share, &near_note),
            counted("never recalled", &never_recalled, "nor reinforced since they were stored"),
            counted("stale", &stale, &stale_note),
            Faded::line(archived.as_ref(), "archived"),
            Faded::line(forgotten.as_ref(), "would be forgotten"),
            ("rows", count(rows), String::new(), "dead ones included".into()),
            ("dead rows", count(rows_dead), String::new(), "until they are consolidated".into()),
            ("bytes of texts", grouped(read.text_bytes), String::new(), String::new()),
            ("bytes of metadata", grouped(read.meta_bytes), String::new(), String::new()),
            ("bytes of vectors", grouped(read.vector_bytes), String::new(), String::new()),
            ("links", grouped(read.links), String::new(), String::new()),
            ("bytes of columns", count(columns_bytes), String::new(), "on the disk".into()),
        ];
        let header = [("", Align::Left), ("", Align::Right), ("", Align::Right), ("", Align::Left)];
        let rows = rows.map(|(what, number, share, note)| vec![what.into(), number, share, note]);
        let table = render::table(&header, &rows, render::terminal_width());
        render::print(table.trim_start_matches('\n'))
    }

    /// Of what the daemon tells of the memory space its metric, which bounds similarities: those of
    /// scalar products have no bound.
    fn check_threshold(&self, info: &[(String, Value)]) -> Result<(), ToolError> {
        let metric = reply::entry(info, "metric").and_then(reply::text).unwrap_or_default();
        let (low, high) = match metric.as_str() {
            "cosine" => (-1.0, 1.0),
            "l2" => (0.0, 1.0),
            _ => return Ok(()),
        };
        if (low..=high).contains(&self.threshold) {
            return Ok(());
        }
        let (space, threshold) = (&self.space, self.threshold);
        Err(ToolError::usage(format!(
            "--threshold {threshold}: similarities in '{space}' are from {low} to {high} ({metric})"
        )))
    }

    /// To archive and to forget: the policies that were given, or those of the memory space if it
    /// has any.
    fn policies(&self, info: &[(String, Value)]) -> [Option<Policy>; 2] {
        let policy = |below: Option<f64>, after: Option<u32>, own: [&str; 2]| {
            if let Some(below) = below {
                return Some(Policy { below, after_seconds: after.unwrap_or_default().into() });
            }
            let below =
                reply::entry(info, own[0]).and_then(reply::number).filter(|below| *below > 0.0)?;
            let after_seconds =
                reply::entry(info, own[1]).and_then(reply::integer).unwrap_or_default();
            Some(Policy { below, after_seconds })
        };
        [
            policy(self.archive_below, self.archive_after, ["archive_below", "archive_after"]),
            policy(self.forget_below, self.forget_after, ["forget_below", "forget_after"]),
        ]
    }

    fn read(
        &self,
        client: &mut Client,
        [archive, forget]: [Option<Policy>; 2],
    ) -> Result<Read, ToolError> {
        let now_us = time::now_us();
        let sample_max = if self.sample == 0 { usize::MAX } else { self.sample };
        let (mut read, mut rng) = (Read::default(), Rng::with_seed(SEED));
        let parts = [Part::Text, Part::Vec, Part::Meta, Part::Links, Part::Strength];
        let mut scan = Scan::new(&self.space, &parts);
        while let Some(episodes) = scan.next_page(client)? {
            for episode in episodes {
                let takes = |policy: Policy| policy.takes(&episode, now_us);
                read.archived += u64::from(archive.is_some_and(takes));
                read.would_be_forgotten += u64::from(forget.is_some_and(takes));
                read.add(episode, (sample_max, self.stale), &mut rng);
            }
        }
        Ok(read)
    }

    /// How many of the sample have a near one with another content.
    fn near(&self, client: &mut Client, read: &Read) -> Result<Near, ToolError> {
        let mut found = 0;
        for (id, vector, content) in &read.sample {
            let mut command = redis::cmd("EG.RECALL");
            command.arg(&self.space).arg("K").arg(NEAREST).arg("VEC").arg(vector);
            command.arg("ARCHIVED").arg("NOREINFORCE");
            if self.exact {
                command.arg("EXACT");
            }
            let hits = reply::array(client.call(&command)?, "EG.RECALL")?;
            let hits: Vec<EpisodeReply> = hits
                .into_iter()
                .map(|hit: Value| EpisodeReply::read(hit, "EG.RECALL"))
                .collect::<Result<_, _>>()?;
            let is_near = |hit: &EpisodeReply| {
                let own = read.by_id.get(&xxh3_64(hit.id.as_bytes()));
                hit.id != *id
                    && own.is_some_and(|own| own != content)
                    && hit.similarity.is_some_and(|similarity| similarity >= self.threshold)
            };
            found += u64::from(hits.iter().any(is_near));
        }
        let share = Share::new(found, read.sample.len() as u64);
        let is_sampled = (read.sample.len() as u64) < read.believed();
        let interval = is_sampled.then(|| wilson(&share));
        Ok(Near { threshold: self.threshold, share, is_sampled, interval })
    }
}

fn parse_finite(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| format!("'{text}' is no finite number"))
}

fn parse_probability(text: &str) -> Result<f64, String> {
    let number = parse_finite(text)?;
    let is_probability = (0.0..=1.0).contains(&number);
    is_probability.then_some(number).ok_or_else(|| format!("'{text}' is not from 0 to 1"))
}

fn content(text: &str, vector: &[u8]) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&(vector.len() as u64).to_le_bytes());
    hasher.update(vector);
    hasher.update(text.as_bytes());
    hasher.digest128()
}

/// The 95 % score interval of a share that was found in a sample.
fn wilson(share: &Share) -> [f64; 2] {
    let (n, z2) = (share.of.max(1) as f64, NORMAL_95 * NORMAL_95);
    let p = share.count as f64 / n;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = NORMAL_95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

fn counted(what: &'static str, share: &Share, note: &str) -> Line {
    let of = share.share.map_or(String::new(), percent);
    (what, grouped(share.count), of, note.to_owned())
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::StrengthReply;

    fn episode(id: &str, text: &str, superseded: bool) -> EpisodeReply {
        EpisodeReply {
            id: id.into(),
            text: Some(text.into()),
            vector: Some(vec![0; 8]),
            superseded_by: superseded.then(|| "z".to_owned()),
            strength: Some(StrengthReply {
                retention: if text == "x" { 0.25 } else { 0.75 },
                presentations: 1,
                is_pinned: false,
            }),
            ..EpisodeReply::default()
        }
    }

    #[test]
    fn all_but_one_of_each_content_are_duplicates() {
        let (mut read, mut rng) = (Read::default(), Rng::with_seed(SEED));
        for (id, text, superseded) in
            [("a", "x", false), ("b", "x", false), ("c", "x", true), ("d", "y", false)]
        {
            read.add(episode(id, text, superseded), (2, 0.5), &mut rng);
        }
        assert_eq!((read.episodes, read.superseded, read.exact_duplicates()), (4, 1, 1));
        assert_eq!((read.never_recalled, read.stale), (3, 2), "what is superseded aside");
        assert_eq!((read.text_bytes, read.vector_bytes, read.sample.len()), (4, 32, 2));
        assert_ne!(content("a", b""), content("", b"a"));
    }

    #[test]
    fn a_sample_is_even() {
        let mut taken = [0; 10];
        for seed in 0..2000 {
            let (mut read, mut rng) = (Read::default(), Rng::with_seed(seed));
            (0..10).for_each(|nth| {
                read.add(episode(&nth.to_string(), "x", false), (3, 0.5), &mut rng);
            });
            read.sample.iter().for_each(|(id, ..)| taken[id.parse::<usize>().unwrap()] += 1);
        }
        // 600 each on average, with a standard deviation of 20.
        assert!(taken.iter().all(|count| (500..700).contains(count)), "{taken:?}");
    }

    #[test]
    fn the_interval_is_that_of_the_textbook() {
        // Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I.
        for (count, of, expected) in
            [(81, 263, [0.2553, 0.3662]), (15, 148, [0.0624, 0.1605]), (0, 20, [0.0, 0.1611])]
        {
            let got = wilson(&Share::new(count, of));
            let is_close =
                got.iter().zip(expected).all(|(got, wanted)| (got - wanted).abs() < 1e-4);
            assert!(is_close, "{count} of {of}: {got:?}");
        }
        assert_eq!(Share::new(0, 0).share, None);
    }
}
