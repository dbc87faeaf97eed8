//! What the fake daemon remembers and how it answers.

use std::collections::BTreeMap;

use super::Faults;
use super::wire::Reply;

#[derive(Default, Clone)]
pub(crate) struct State {
    spaces: BTreeMap<String, Space>,
    sequence: i64,
}

#[derive(Default, Clone)]
struct Space {
    dimensions: usize,
    metric: String,
    codes: i64,
    fan: String,
    fan_cap: i64,
    model: String,
    episodes: BTreeMap<String, Episode>,
    /// The sequence that the first store with a key was answered.
    keys: BTreeMap<(String, String), i64>,
}

#[derive(Default, Clone)]
struct Episode {
    sequence: i64,
    vector: Vec<u8>,
    text: String,
    at_us: i64,
    confidence: [f32; 3],
    meta: String,
    thread: String,
    links: Vec<(String, f32, String)>,
    key: Option<String>,
}

type Arguments<'a> = std::iter::Peekable<std::slice::Iter<'a, String>>;

impl State {
    pub(crate) fn lose(&mut self, space: &str, id: &str) {
        assert!(self.spaces.get_mut(space).unwrap().episodes.remove(id).is_some());
    }

    /// Changes one byte of a vector.
    pub(crate) fn alter(&mut self, space: &str, id: &str) {
        let episode = self.spaces.get_mut(space).unwrap().episodes.get_mut(id).unwrap();
        episode.vector[0] ^= 1;
    }

    pub(crate) fn forget_keys(&mut self) {
        self.spaces.values_mut().for_each(|space| space.keys.clear());
    }

    pub(crate) fn ids(&self, space: &str) -> Vec<String> {
        self.spaces[space].episodes.keys().cloned().collect()
    }

    /// Arguments are handled as Latin-1 text, which keeps every byte of a vector.
    pub(crate) fn answer(&mut self, command: &[Vec<u8>], faults: &Faults) -> Reply {
        let arguments: Vec<String> =
            command.iter().map(|argument| argument.iter().map(|b| *b as char).collect()).collect();
        let name = arguments[0].to_uppercase();
        let result = match name.as_str() {
            "HELLO" => Ok(Reply::Map(vec![("proto", Reply::Int(3))])),
            "CLIENT" => Ok(Reply::Simple("OK")),
            "PING" => Ok(Reply::Simple("PONG")),
            "CONFIG" => Ok(Reply::Simple("OK")),
            "EG.STATS" => Ok(Reply::Map(vec![
                ("stores", Reply::Int(self.sequence)),
                ("latency_us", Reply::Map(vec![("recall", latency())])),
                ("per_shard", Reply::Array(vec![Reply::Map(vec![])])),
            ])),
            "EG.SPACE" => self.space_command(&arguments[1..]),
            "EG.STORE" => self.store(&arguments[1], &mut arguments[2..].iter().peekable()),
            "EG.MSTORE" => self.store_batch(&arguments[1..], faults),
            "EG.GET" => {
                let (id, parts) = arguments[2..].split_at(1);
                self.get(&arguments[1], id, parts).map(|mut found| found.remove(0))
            }
            "EG.MGET" => {
                let count: usize = arguments[2].parse().unwrap();
                let (ids, parts) = arguments[3..].split_at(count);
                self.get(&arguments[1], ids, parts).map(Reply::Array)
            }
            "EG.RECALL" => self.recall(&arguments[1..]),
            "EG.SPREAD" => self.spread(&arguments[1..]),
            "EG.LINK" => self.link(&arguments[1..]),
            "EG.UNLINK" => self.unlink(&arguments[1..]),
            "EG.FORGET" => self.forget(&arguments[1], &arguments[2]),
            "EG.SCAN" => self.scan(&arguments[1..]),
            other => Err(format!("SYNTAX unknown command {other}")),
        };
        result.unwrap_or_else(Reply::Error)
    }

    fn space(&mut self, name: &str) -> Result<&mut Space, String> {
        let missing = || format!("NOSPACE no memory space named '{name}'");
        self.spaces.get_mut(name).ok_or_else(missing)
    }

    fn space_command(&mut self, arguments: &[String]) -> Result<Reply, String> {
        match arguments[0].as_str() {
            "CREATE" => {
                let find = |name: &str| {
                    let at = arguments.iter().position(|argument| argument == name)?;
                    arguments.get(at + 1).cloned()
                };
                let space = Space {
                    dimensions: arguments[3].parse().unwrap(),
                    metric: find("METRIC").unwrap_or_else(|| "cosine".to_owned()),
                    codes: find("CODES").map_or(1, |bits| bits.parse().unwrap()),
                    fan: find("FAN").unwrap_or_else(|| "degree".to_owned()),
                    fan_cap: find("FANCAP").map_or(0, |links| links.parse().unwrap()),
                    model: find("MODEL").unwrap_or_default(),
                    ..Space::default()
                };
                self.spaces.insert(arguments[1].clone(), space);
                Ok(Reply::Simple("OK"))
            }
            "DROP" => {
                self.spaces.remove(&arguments[1]);
                Ok(Reply::Simple("OK"))
            }
            "LIST" => Ok(Reply::Array(self.spaces.keys().map(Reply::text).collect())),
            _ => self.space(&arguments[1]).map(|space| describe(&arguments[1], space)),
        }
    }

    fn store(&mut self, space: &str, arguments: &mut Arguments<'_>) -> Result<Reply, String> {
        let id = arguments.next().unwrap().clone();
        let mut episode = Episode::read(arguments);
        let sequence = self.sequence + 1;
        let space = self.space(space)?;
        let got = episode.vector.len() / 4;
        if got != space.dimensions {
            return Err(format!("DIM the space has {} dimensions, got {got}", space.dimensions));
        }
        let stored = |sequence, outcome| {
            Reply::Map(vec![("seq", Reply::Int(sequence)), ("outcome", Reply::text(outcome))])
        };
        if let Some(key) = episode.key.clone() {
            let first = *space.keys.entry((id.clone(), key)).or_insert(sequence);
            if first != sequence {
                return Ok(stored(first, "existing"));
            }
        }
        episode.sequence = sequence;
        let replaced = space.episodes.insert(id, episode);
        self.sequence = sequence;
        Ok(stored(sequence, if replaced.is_some() { "replaced" } else { "created" }))
    }

    fn store_batch(&mut self, arguments: &[String], faults: &Faults) -> Result<Reply, String> {
        let count: usize = arguments[1].parse().unwrap();
        self.space(&arguments[0])?;
        let mut rest = arguments[2..].iter().peekable();
        let replies = (0..count)
            .map(|_| {
                assert_eq!(rest.next().map(String::as_str), Some("ITEM"));
                if faults.is_busy() {
                    rest.next();
                    Episode::read(&mut rest);
                    return Reply::Error("BUSY the lane is full; retry in 1 ms".to_owned());
                }
                self.store(&arguments[0], &mut rest).unwrap_or_else(Reply::Error)
            })
            .collect();
        assert!(rest.next().is_none(), "arguments behind the last item");
        Ok(Reply::Array(replies))
    }

    fn get(&mut self, space: &str, ids: &[String], parts: &[String]) -> Result<Vec<Reply>, String> {
        let space = self.space(space)?;
        let find =
            |id: &String| space.episodes.get(id).map_or(Reply::Nil, |e| e.describe(id, parts));
        Ok(ids.iter().map(find).collect())
    }

    /// `space from to weight [KIND k] [MUTUAL]`.
    fn link(&mut self, arguments: &[String]) -> Result<Reply, String> {
        let [space, from, to, weight, options @ ..] = arguments else { unreachable!() };
        let kind = options.iter().position(|word| word == "KIND").map(|at| &options[at + 1]);
        let kind = kind.cloned().unwrap_or_default();
        let ends: &[_] = match options.iter().any(|word| word == "MUTUAL") {
            true => &[(from, to), (to, from)],
            false => &[(from, to)],
        };
        let weight: f32 = weight.parse().unwrap();
        for (from, to) in ends {
            let missing = || format!("NOEPISODE no episode '{from}' in this memory space");
            let episode = self.space(space)?.episodes.get_mut(*from).ok_or_else(missing)?;
            episode.links.push(((*to).clone(), weight, kind.clone()));
        }
        self.sequence += 1;
        let links = self.space(space)?.episodes[from].links.len();
        let (sequence, links) = (Reply::Int(self.sequence), Reply::Int(links as i64));
        let outcome = ("outcome", Reply::text("created"));
        Ok(Reply::Map(vec![("seq", sequence), outcome, ("links", links)]))
    }

    /// `space from to`, and options that are not looked at.
    fn unlink(&mut self, arguments: &[String]) -> Result<Reply, String> {
        let [space, from, to, ..] = arguments else { unreachable!() };
        let Some(episode) = self.space(space)?.episodes.get_mut(from) else {
            return Ok(Reply::Nil);
        };
        let before = episode.links.len();
        episode.links.retain(|(target, ..)| target != to);
        let removed = Reply::Int((before - episode.links.len()) as i64);
        Ok(Reply::Map(vec![("outcome", Reply::text("unlinked")), ("removed", removed)]))
    }

    fn forget(&mut self, space: &str, id: &str) -> Result<Reply, String> {
        if self.space(space)?.episodes.remove(id).is_none() {
            return Ok(Reply::Nil);
        }
        self.sequence += 1;
        let sequence = ("seq", Reply::Int(self.sequence));
        Ok(Reply::Map(vec![sequence, ("outcome", Reply::text("forgotten"))]))
    }

    /// By inner product, with `SINCE` as the only condition. The second best is missed, unless it
    /// is to be exact or the beam is wide. With `SPREAD` the best is the only seed.
    fn recall(&mut self, arguments: &[String]) -> Result<Reply, String> {
        let space = self.space(&arguments[0])?;
        let find =
            |name: &str| arguments.iter().position(|a| a == name).map(|at| &arguments[at + 1]);
        let k: usize = find("K").unwrap().parse().unwrap();
        let since_us: i64 = find("SINCE").map_or(i64::MIN, |us| us.parse().unwrap());
        let cue = match find("ID") {
            Some(id) => match space.episodes.get(id) {
                Some(episode) => floats(&episode.vector),
                None => return Err(format!("NOEPISODE no episode '{id}'")),
            },
            None => floats(&find("VEC").unwrap().chars().map(|c| c as u8).collect::<Vec<_>>()),
        };
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        let mut hits: Vec<(f32, &String, &Episode)> = space
            .episodes
            .iter()
            .filter(|(_, episode)| episode.at_us >= since_us)
            .map(|(id, episode)| (dot(&cue, &floats(&episode.vector)), id, episode))
            .collect();
        hits.sort_by(|a, b| b.0.total_cmp(&a.0));
        let is_wide = find("BEAM").is_some_and(|beam| beam.parse::<u32>().unwrap() >= 64);
        if !is_wide && !arguments.iter().any(|argument| argument == "EXACT") && hits.len() > k {
            hits.remove(1);
        }
        if arguments.iter().any(|argument| argument == "SPREAD") {
            let seed = (hits[0].1.clone(), 1.0);
            let active = space.activate(&[seed], arguments);
            let weight = find("WEIGHT").map_or(1.0, |weight| weight.parse().unwrap());
            let mut hits: Vec<_> = hits.into_iter().map(|hit| (hit, active.get(hit.1))).collect();
            let score = |(hit, active): &((f32, &String, &Episode), Option<&Active>)| {
                f64::from(hit.0) + weight * active.map_or(0.0, |active| active.activation)
            };
            hits.sort_by(|a, b| score(b).total_cmp(&score(a)));
            let describe = |hit: &((f32, &String, &Episode), Option<&Active>)| {
                let ((similarity, id, episode), active) = *hit;
                let activation = active.map_or(0.0, |active| active.activation);
                let scores = [
                    ("score", score(hit)),
                    ("similarity", similarity.into()),
                    ("activation", activation),
                ];
                let mut entries = episode.scored(id, &scores, arguments, active);
                entries.extend(find("DEADLINE").map(|_| ("partial", Reply::Int(1))));
                Reply::Map(entries)
            };
            return Ok(Reply::Array(hits.iter().take(k).map(describe).collect()));
        }
        let describe = |(score, id, episode): (f32, &String, &Episode)| {
            Reply::Map(episode.scored(id, &[("score", score.into())], arguments, None))
        };
        Ok(Reply::Array(hits.into_iter().take(k).map(describe).collect()))
    }

    fn spread(&mut self, arguments: &[String]) -> Result<Reply, String> {
        let space = self.space(&arguments[0])?;
        let find =
            |name: &str| arguments.iter().position(|a| a == name).map(|at| &arguments[at + 1]);
        let k: usize = find("K").unwrap().parse().unwrap();
        let seeds = arguments.windows(3).filter(|words| words[0] == "FROM");
        let seeds: Vec<(String, f64)> =
            seeds.map(|words| (words[1].clone(), words[2].parse().unwrap())).collect();
        if let Some((id, _)) = seeds.iter().find(|(id, _)| !space.episodes.contains_key(id)) {
            return Err(format!("NOEPISODE no episode '{id}' in this memory space"));
        }
        let active = space.activate(&seeds, arguments);
        let mut hits: Vec<_> = active
            .iter()
            .filter(|(id, _)| space.episodes.contains_key(*id))
            .filter(|(id, _)| seeds.iter().all(|(seed, _)| seed != *id))
            .collect();
        hits.sort_by(|a, b| b.1.activation.total_cmp(&a.1.activation));
        let describe = |(id, active): &(&String, &Active)| {
            let scores = [("score", active.activation), ("activation", active.activation)];
            Reply::Map(space.episodes[*id].scored(id, &scores, arguments, Some(active)))
        };
        Ok(Reply::Map(vec![
            ("hits", Reply::Array(hits.iter().take(k).map(describe).collect())),
            ("edges", Reply::Int(1234)),
            ("nodes", Reply::Int(active.len() as i64)),
            ("missing_max", Reply::Double(0.125)),
            ("partial", Reply::Int(find("DEADLINE").is_some().into())),
        ]))
    }

    /// Three episodes a step; the cursor is the last id.
    fn scan(&mut self, arguments: &[String]) -> Result<Reply, String> {
        let space = self.space(&arguments[0])?;
        let cursor = &arguments[2];
        let rest = space.episodes.iter().filter(|(id, _)| *cursor == "0" || *id > cursor);
        let step: Vec<_> = rest.take(3).collect();
        let next = if step.len() < 3 { "0" } else { step[2].0.as_str() };
        let episodes = step.iter().map(|(id, episode)| episode.describe(id, arguments)).collect();
        Ok(Reply::Array(vec![Reply::text(next), Reply::Array(episodes)]))
    }
}

fn latency() -> Reply {
    Reply::Map(vec![("p50", Reply::Double(12.5)), ("p99", Reply::Double(99.0))])
}

fn describe(name: &str, space: &Space) -> Reply {
    Reply::Map(vec![
        ("name", Reply::text(name)),
        ("dim", Reply::Int(space.dimensions as i64)),
        ("metric", Reply::text(&space.metric)),
        ("codes", Reply::Int(space.codes)),
        ("fan", Reply::text(&space.fan)),
        ("fan_cap", Reply::Int(space.fan_cap)),
        ("model", Reply::text(&space.model)),
        ("shards", Reply::Int(1)),
        ("episodes", Reply::Int(space.episodes.len() as i64)),
    ])
}

/// What mass has come to an id, and by which links: from, to, kind.
#[derive(Default)]
struct Active {
    activation: f64,
    path: Vec<(String, String, String)>,
}

impl Space {
    /// Round after round, `HOPS` of them or three; half of the mass stays, or what `DECAY` says.
    fn activate(&self, seeds: &[(String, f64)], arguments: &[String]) -> BTreeMap<String, Active> {
        let number = |name: &str, usual: f64| {
            let at = arguments.iter().position(|argument| argument == name);
            at.map_or(usual, |at| arguments[at + 1].parse().unwrap())
        };
        let (hops, decay) = (number("HOPS", 3.0), number("DECAY", 0.5));
        let total: f64 = seeds.iter().map(|(_, mass)| mass).sum();
        let mut now: BTreeMap<String, f64> =
            seeds.iter().map(|(id, mass)| (id.clone(), mass / total)).collect();
        let mut active: BTreeMap<String, Active> = BTreeMap::new();
        for hop in 0..=hops as u32 {
            let mut next = BTreeMap::new();
            for (id, mass) in now {
                let own = active.entry(id.clone()).or_default();
                own.activation += (1.0 - decay) * mass;
                let path = own.path.clone();
                let links = self.episodes.get(&id).map_or(&[][..], |episode| &episode.links);
                let sum: f32 = links.iter().map(|(_, weight, _)| weight).sum();
                for (to, weight, kind) in links.iter().filter(|_| f64::from(hop) < hops) {
                    *next.entry(to.clone()).or_default() += decay * mass * f64::from(weight / sum);
                    let is_new = !active.contains_key(to);
                    let target = active.entry(to.clone()).or_default();
                    if is_new {
                        target.path.clone_from(&path);
                        target.path.push((id.clone(), to.clone(), kind.clone()));
                    }
                }
            }
            now = next;
        }
        active
    }
}

impl Episode {
    /// The parts of a hit.
    fn scored(
        &self,
        id: &str,
        scores: &[(&'static str, f64)],
        arguments: &[String],
        active: Option<&Active>,
    ) -> Vec<(&'static str, Reply)> {
        let Reply::Map(mut entries) = self.describe(id, arguments) else { unreachable!() };
        entries.extend(scores.iter().map(|(name, score)| (*name, Reply::Double(*score))));
        if arguments.windows(2).any(|pair| pair[0] == "WITH" && pair[1] == "why") {
            let step = |(from, to, kind): &(String, String, String)| {
                let ends = [("from", from), ("to", to), ("kind", kind)].into_iter();
                let ends = ends.filter(|(_, text)| !text.is_empty());
                Reply::Map(ends.map(|(name, text)| (name, Reply::text(text))).collect())
            };
            let path = active.map_or(&[][..], |active| &active.path).iter().map(step).collect();
            let tier = ("tier", Reply::text("spread"));
            entries.push(("why", Reply::Map(vec![tier, ("path", Reply::Array(path))])));
        }
        entries
    }

    /// Reads fields up to the first argument that names none.
    fn read(arguments: &mut Arguments<'_>) -> Self {
        let mut episode = Self { confidence: [1.0; 3], ..Self::default() };
        while let Some(field) = arguments.next_if(|field| *field != "ITEM") {
            let mut next = || arguments.next().unwrap().clone();
            match field.as_str() {
                "VEC" => episode.vector = next().chars().map(|c| c as u8).collect(),
                "TEXT" => episode.text = next(),
                "AT" => episode.at_us = next().parse().unwrap(),
                "CONF" => {
                    episode.confidence = [next().parse().unwrap(); 3];
                    if let Some(low) = arguments.next_if(|next| next.parse::<f32>().is_ok()) {
                        episode.confidence[1] = low.parse().unwrap();
                        episode.confidence[2] = arguments.next().unwrap().parse().unwrap();
                    }
                }
                "META" => episode.meta = next(),
                "THREAD" => episode.thread = next(),
                "LINK" => episode.links.push((next(), next().parse().unwrap(), String::new())),
                "KIND" => episode.links.last_mut().unwrap().2 = next(),
                "KEY" => episode.key = Some(next()),
                "DUR" => drop(next()),
                other => panic!("unknown field {other}"),
            }
        }
        assert!(episode.links.len() <= 256, "a store takes no more links");
        episode
    }

    /// The episode with the parts that follow a `WITH` in the arguments.
    fn describe(&self, id: &str, arguments: &[String]) -> Reply {
        let bytes = |text: &str| Reply::Bulk(text.chars().map(|c| c as u8).collect());
        let link = |(target, weight, kind): &(String, f32, String)| {
            Reply::Map(vec![
                ("id", bytes(target)),
                ("weight", Reply::Double((*weight).into())),
                ("kind", bytes(kind)),
            ])
        };
        let mut entries = vec![
            ("id", bytes(id)),
            ("seq", Reply::Int(self.sequence)),
            ("happened_at", Reply::Int(self.at_us)),
            ("confidence", Reply::Array(self.confidence.map(|c| Reply::Double(c.into())).into())),
            ("thread", bytes(&self.thread)),
        ];
        for pair in arguments.windows(2).filter(|pair| pair[0] == "WITH") {
            entries.push(match pair[1].as_str() {
                "text" => ("text", bytes(&self.text)),
                "vec" => ("vec", Reply::Bulk(self.vector.clone())),
                "meta" => ("meta", bytes(&self.meta)),
                "links" => ("links", Reply::Array(self.links.iter().map(link).collect())),
                "why" => continue,
                other => panic!("unknown part {other}"),
            });
        }
        Reply::Map(entries)
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}
