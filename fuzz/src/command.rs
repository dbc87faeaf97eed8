//! From arguments to a command. The arguments are the lines of the input, so that the corpus can be
//! read; a line that begins with byte 1 stands for as many bytes as it says, to reach the bounds.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::str;

use bytes::Bytes;
use engram_shards::episode::{Confidence, Durability, Link, Priority, Refusal, SpaceFan};
use engram_shards::filter::check_metadata;
use engram_shards::inquiry::fusion::Weights;
use engram_shards::limits::{
    DIMENSIONS_MAX, ID_BYTES_MAX, KEY_BYTES_MAX, LINK_KIND_BYTES_MAX, LINKS_MAX,
    METADATA_BYTES_MAX, MODEL_BYTES_MAX, RECALL_K_MAX, SHARDS_MAX, SPACE_NAME_BYTES_MAX,
    SPREAD_EDGES_MAX, SPREAD_HOPS_MAX, SPREAD_SEEDS_MAX, SUPERSEDES_MAX, TEXT_BYTES_MAX,
    THREAD_BYTES_MAX,
};
use engram_shards::spread::operator::{DECAY_MAX, THRESHOLD_MAX, THRESHOLD_MIN};
use engram_shards::spread::push::{MASS_MAX, MASS_MIN};
use engram_shards::strength::Decay;
use engramd::protocol::command::{
    COMPLETE_BETA_MAX, COMPLETE_K_MAX, COMPLETE_ROUNDS_MAX, ClientCommand, Command, CommandQuery,
    CompleteCommand, Cue, GIST_ALIKE_MAX, GIST_AMONG_MAX, GIST_K_MAX, GistCommand, Hello,
    LatencyCommand, LinkCommand, MGET_IDS_MAX, MSTORE_ITEMS_MAX, OBSERVE_CREDIT_MAX, ObserveOpen,
    RECALL_CUES_MAX, REPLY_BYTES_MAX, RecallCommand, RecallSpread, SLOWLOG_GET_MAX,
    SPREAD_WEIGHT_MAX, ScanCommand, SlowlogCommand, SpreadCommand, SpreadParameters, StoreCommand,
    SupersedeCommand, WATCH_CREDIT_MAX, WatchCommand, redacted,
};
use engramd::protocol::{Encoder, ParserLimits, ProtocolVersion};

/// What a refusal of a command can begin with; others come from the engine.
const CODES: [&str; 4] = ["SYNTAX", "TOOBIG", "BADVEC", "ERR"];
/// Bytes of an error line at most: a sentence, a usage line and what it repeats of the arguments.
const LINE_BYTES_MAX: usize = 2 << 10;
/// Bytes of the longest keyword, and of a length that stands for content.
const KEYWORD_BYTES_MAX: usize = 24;
/// Bytes of a word that people send: the names of clients, commands, sections.
const WORD_BYTES_MAX: usize = 128;

/// See the top of the file.
pub fn run(bytes: &[u8]) {
    let arguments: Vec<Bytes> = bytes.split(|&byte| byte == b'\n').map(argument).collect();
    match Command::parse_named(arguments.clone()) {
        Ok((name, command)) => {
            check(&command);
            check_redacted(name, &command, &arguments);
            assert_eq!(Command::parse(arguments), Ok(command), "the same once more");
        }
        Err(refusal) => check_refusal(&refusal),
    }
}

/// Of what may be kept of a command every argument is told of, and no content.
fn check_redacted(name: &str, command: &Command, arguments: &[Bytes]) {
    let words = redacted(name, arguments.iter().map(|argument| (&argument[..], argument.len())));
    assert_eq!(words.len(), arguments.len(), "{words:?}");
    let (space, content) = match command {
        Command::Store { space, store } => (space, &store.text),
        Command::Get { space, id, .. } | Command::Erase { space, id } => (space, id),
        _ => return,
    };
    let is_content = |word: &&String| word.as_bytes() == content && *word != space;
    // A short one may be a word of the protocol by chance.
    let shown = words.iter().find(is_content).filter(|word| word.len() > KEYWORD_BYTES_MAX);
    assert_eq!(shown, None);
}

/// A line, or `\x01` followed by a length of three bytes and the byte to repeat.
fn argument(line: &[u8]) -> Bytes {
    match *line {
        [1, low, middle, high, byte] => {
            let bytes = u32::from_le_bytes([low, middle, high, 0]) as usize;
            vec![byte; bytes.min(ParserLimits::DEFAULT.bulk_bytes_max)].into()
        }
        _ => Bytes::copy_from_slice(line),
    }
}

fn check_refusal(refusal: &Refusal) {
    assert!(CODES.contains(&refusal.code()), "{refusal:?}");
    let mut line = Vec::new();
    Encoder::new(&mut line, ProtocolVersion::Resp2).refusal(refusal);
    check_line(&line);
}

/// An error on the wire: one line, not too long, with something to read in it.
pub(crate) fn check_line(line: &[u8]) {
    let text = str::from_utf8(line).expect("an error is text");
    let sentence = text.strip_prefix('-').and_then(|rest| rest.strip_suffix("\r\n"));
    let sentence = sentence.unwrap_or_else(|| panic!("not an error line: {text:?}"));
    assert!(sentence.bytes().all(|byte| !byte.is_ascii_control()), "{sentence:?}");
    assert!(sentence.split_once(' ').is_some_and(|(_, words)| words.len() > 10), "{sentence:?}");
    assert!(sentence.len() <= LINE_BYTES_MAX, "{} bytes: {sentence}", sentence.len());
}

fn within(what: &str, bytes: &[u8], from: usize, max: usize) {
    assert!((from..=max).contains(&bytes.len()), "{what} has {} bytes", bytes.len());
}

fn text(what: &str, bytes: &[u8], from: usize, max: usize) {
    within(what, bytes, from, max);
    assert!(str::from_utf8(bytes).is_ok(), "{what} is not UTF-8");
}

fn name(what: &str, name: &str, from: usize, max: usize) {
    within(what, name.as_bytes(), from, max);
    assert!(!name.contains(char::is_control), "{what}: {name:?}");
}

fn words(words: &[String]) {
    for word in words {
        name("a word", word, 0, WORD_BYTES_MAX);
    }
}

fn space(space: &str) {
    name("a space", space, 1, SPACE_NAME_BYTES_MAX);
}

fn id(id: &[u8]) {
    text("an id", id, 1, ID_BYTES_MAX);
}

fn vector(vector: &[u8]) {
    within("a vector", vector, 4, DIMENSIONS_MAX * 4);
    assert!(vector.len().is_multiple_of(4));
}

fn check(command: &Command) {
    match command {
        Command::Hello(Hello { client_name, .. }) => words(client_name.as_slice()),
        Command::Command(CommandQuery::Info(names) | CommandQuery::Docs(names)) => words(names),
        Command::Command(query) => check_answer(query),
        Command::Info { sections } => words(sections),
        Command::Client(ClientCommand::SetName(word) | ClientCommand::SetInfo(_, word)) => {
            name("a name", word, 0, WORD_BYTES_MAX);
        }
        Command::Client(_)
        | Command::Ping { .. }
        | Command::Echo { .. }
        | Command::Quit
        | Command::SpaceList
        | Command::ResetStats => {}
        Command::Slowlog(SlowlogCommand::Get(count)) => {
            assert!((1..=SLOWLOG_GET_MAX).contains(count));
        }
        Command::Slowlog(SlowlogCommand::Len | SlowlogCommand::Reset) => {}
        Command::Latency(
            LatencyCommand::Get(names)
            | LatencyCommand::Histogram(names)
            | LatencyCommand::Reset(names),
        ) => words(names),
        Command::SpaceCreate(create) => {
            space(&create.name);
            name("a model", &create.model, 0, MODEL_BYTES_MAX);
            assert!((1..=DIMENSIONS_MAX).contains(&(create.dimensions as usize)));
            let fan = create.fan.hundredths();
            assert_eq!(SpaceFan::of_hundredths(fan), Some(create.fan));
            assert!(create.fan_cap != Some(0));
            assert_eq!(Decay::of_parts(create.decay.to_parts()), Some(create.decay));
            assert!(create.lifetime.ttl_s.is_none_or(|seconds| seconds.get() > 0));
            let weights = create.words.weights;
            assert_eq!(Weights::from_array(weights.to_array()), Some(weights));
            assert!(create.shards.is_none_or(|n| (1..=SHARDS_MAX).contains(&(n as usize))));
        }
        Command::SpaceInfo { space: name } | Command::SpaceDrop { space: name } => space(name),
        Command::Stats { space: name } | Command::Consolidate { space: name } => {
            name.iter().for_each(|name| space(name));
        }
        Command::Snapshot { path } => {
            let path = path.as_os_str().as_bytes();
            within("a path", path, 1, 4095);
            assert!(!path.contains(&0));
        }
        Command::Store { space: name, store } => {
            space(name);
            check_store(store);
        }
        Command::StoreMany { space: name, items } => {
            space(name);
            assert!((1..=MSTORE_ITEMS_MAX).contains(&items.len()));
            for item in items {
                item.as_ref().map_or_else(check_refusal, check_store);
            }
        }
        Command::Recall(recall) => check_recall(recall),
        Command::Spread(spread) => check_spread(spread),
        Command::Complete(complete) => check_complete(complete),
        Command::Gist(gist) => check_gist(gist),
        Command::Scan(ScanCommand { space: name, count, bytes_max, .. }) => {
            space(name);
            assert!((1..=4096).contains(count) && *bytes_max <= REPLY_BYTES_MAX);
        }
        Command::Watch(WatchCommand { space: name, from, credit, .. }) => {
            space(name);
            let shards: BTreeSet<usize> = from.iter().map(|(shard, _)| *shard).collect();
            assert!(shards.len() == from.len() && shards.iter().all(|shard| *shard < SHARDS_MAX));
            assert!((1..=WATCH_CREDIT_MAX).contains(credit));
        }
        Command::ObserveOpen(ObserveOpen { space: name, credit, .. }) => {
            space(name);
            assert!((1..=OBSERVE_CREDIT_MAX).contains(credit));
        }
        Command::Observe { stream, observation } => {
            assert!(*stream > 0);
            match observation.clone() {
                Ok(observation) => {
                    let (priority, durability) = (Priority::default(), Durability::default());
                    check_store(&observation.into_store(priority, durability));
                }
                Err(refusal) => check_refusal(&refusal),
            }
        }
        Command::ObserveClose { stream } => assert!(*stream > 0),
        Command::WatchMore { watch, credit } => {
            assert!(*watch > 0 && (1..=WATCH_CREDIT_MAX).contains(credit));
        }
        Command::Unwatch { watch } => assert!(*watch > 0),
        Command::Get { space: name, id: episode, .. }
        | Command::Reinforce { space: name, id: episode, .. }
        | Command::Forget { space: name, id: episode, .. }
        | Command::Erase { space: name, id: episode } => {
            space(name);
            id(episode);
        }
        Command::Supersede(SupersedeCommand { space: name, id: episode, by, .. }) => {
            space(name);
            id(episode);
            id(by);
            assert_ne!(episode, by);
        }
        Command::Link(LinkCommand { space: name, from, to, kind, weight, .. }) => {
            space(name);
            id(from);
            id(to);
            text("a kind", kind, 0, LINK_KIND_BYTES_MAX);
            assert!(weight.is_none_or(|weight| weight.is_finite() && weight > 0.0));
        }
        Command::GetMany { space: name, ids, .. } => {
            space(name);
            assert!((1..=MGET_IDS_MAX).contains(&ids.len()));
            ids.iter().for_each(|episode| id(episode));
        }
    }
}

fn check_spread(spread: &SpreadCommand) {
    space(&spread.space);
    assert!((1..=RECALL_K_MAX).contains(&spread.k) && spread.bytes_max <= REPLY_BYTES_MAX);
    assert!((1..=SPREAD_SEEDS_MAX).contains(&spread.seeds.len()));
    for (seed, mass) in &spread.seeds {
        id(seed);
        assert!((MASS_MIN..=MASS_MAX).contains(mass), "a mass of {mass}");
    }
    check_parameters(&spread.parameters);
}

fn check_complete(complete: &CompleteCommand) {
    space(&complete.space);
    vector(&complete.vector);
    assert!(complete.unknown.len() <= DIMENSIONS_MAX);
    assert!(complete.unknown.iter().all(|(first, last)| first <= last && *last < DIMENSIONS_MAX));
    assert!((1..=COMPLETE_K_MAX).contains(&complete.k));
    assert!((1..=COMPLETE_ROUNDS_MAX).contains(&complete.rounds));
    assert!((0.0..=COMPLETE_BETA_MAX).contains(&complete.beta));
    assert!(complete.bytes_max <= REPLY_BYTES_MAX);
}

fn check_gist(gist: &GistCommand) {
    space(&gist.space);
    assert!((1..=GIST_K_MAX).contains(&gist.k) && (1..=GIST_AMONG_MAX).contains(&gist.among));
    assert!((-GIST_ALIKE_MAX..=GIST_ALIKE_MAX).contains(&gist.alike));
    let cues_min = usize::from(gist.text.is_none());
    assert!((cues_min..=RECALL_CUES_MAX).contains(&gist.cues.len()));
    assert!(gist.bytes_max <= REPLY_BYTES_MAX);
}

fn check_parameters(parameters: &SpreadParameters) {
    let SpreadParameters { hops, edges_max, decay, threshold, similar, .. } = *parameters;
    assert!((0.0..=1.0).contains(&similar));
    assert!(hops.is_none_or(|hops| hops <= SPREAD_HOPS_MAX) && edges_max <= SPREAD_EDGES_MAX);
    assert!(decay.is_none_or(|decay| (0.0..=DECAY_MAX).contains(&decay)));
    assert!(threshold.is_none_or(|of| (THRESHOLD_MIN..=THRESHOLD_MAX).contains(&of)));
}

fn check_answer(query: &CommandQuery) {
    let mut answer = Vec::new();
    query.answer(&mut Encoder::new(&mut answer, ProtocolVersion::Resp3));
    assert!(answer.ends_with(b"\r\n"));
}

fn check_store(store: &StoreCommand) {
    store.id.iter().for_each(|given| id(given));
    vector(&store.vector);
    text("a text", &store.text, 0, TEXT_BYTES_MAX);
    text("a thread", &store.thread, 0, THREAD_BYTES_MAX);
    within("a key", &store.key, 0, KEY_BYTES_MAX);
    within("metadata", &store.metadata, 0, METADATA_BYTES_MAX);
    if !store.metadata.is_empty() {
        assert_eq!(check_metadata(&store.metadata), Ok(()));
    }
    let Confidence { point, low, high } = store.confidence;
    assert!(0.0 <= low && low <= point && point <= high && high <= 1.0, "{:?}", store.confidence);
    assert!(store.links.len() <= LINKS_MAX);
    assert!(store.supersedes.len() <= SUPERSEDES_MAX);
    for superseded in &store.supersedes {
        id(superseded);
        assert_ne!(Some(superseded), store.id.as_ref());
    }
    assert!(store.near.is_none_or(f32::is_finite));
    for Link { target, weight, kind } in &store.links {
        id(target);
        assert!(weight.is_finite() && *weight > 0.0, "a weight of {weight}");
        text("a kind", kind, 0, LINK_KIND_BYTES_MAX);
    }
}

fn check_recall(recall: &RecallCommand) {
    space(&recall.space);
    assert!((1..=RECALL_K_MAX).contains(&recall.k));
    let cues_min = usize::from(recall.text.is_none());
    assert!((cues_min..=RECALL_CUES_MAX).contains(&recall.cues.len()));
    assert!((1..=REPLY_BYTES_MAX).contains(&recall.bytes_max));
    assert!(recall.conditions.confidence_min.is_none_or(|p| (0.0..=1.0).contains(&p)));
    if let Some(RecallSpread { parameters, seeds, weight }) = &recall.spread {
        check_parameters(parameters);
        assert!(
            (1..=SPREAD_SEEDS_MAX).contains(seeds) && (0.0..=SPREAD_WEIGHT_MAX).contains(weight)
        );
    }
    assert!(recall.weights.is_none_or(|own| Weights::from_array(own.to_array()) == Some(own)));
    for cue in &recall.cues {
        match cue {
            Cue::Vector(given) => vector(given),
            Cue::Id(given) => id(given),
        }
    }
}
