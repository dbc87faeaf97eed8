//! The ways in which questions are asked: of the daemon, with parts of it switched off in turn, and
//! of the controls.

use std::str::FromStr;

use super::controls::{CONTROLS, Control};

/// A part of `EG.RECALL space K k …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// `VEC` and the vector of the question.
    Vector,
    /// `TEXT` and the question.
    Text,
    /// As it stands.
    Word(String),
}

/// A way to ask the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(super) name: String,
    pub(super) parts: Vec<Part>,
    /// Whether sessions were stored as threads.
    pub(super) is_threaded: bool,
}

impl Asked {
    fn new(name: &str, parts: &[Part], is_threaded: bool) -> Self {
        Self { name: name.to_owned(), parts: parts.to_vec(), is_threaded }
    }

    /// Everything, then without words, without vectors, without threads.
    pub(super) fn usual() -> Vec<Self> {
        let both = [Part::Vector, Part::Text];
        vec![
            Self::new("engram", &both, true),
            Self::new("vector", &both[..1], true),
            Self::new("words", &both[1..], true),
            Self::new("unthreaded", &both, false),
        ]
    }

    /// Everything but one part of it, and everything with associations, which take part only where
    /// they are asked for.
    pub(super) fn ablations() -> Vec<Self> {
        [
            ("no-around", "VEC TEXT WEIGHTS 0.85 0 0.8 0.2 0.5"),
            ("no-times", "VEC TEXT WEIGHTS 0.85 1 0 0.2 0.5"),
            ("no-decay", "VEC TEXT WEIGHTS 0.85 1 0.8 0 0.5"),
            ("spread", "VEC TEXT SPREAD"),
        ]
        .map(|(name, words)| Self { name: name.to_owned(), ..Self::told(words) })
        .into()
    }

    /// Of words as they stand behind K in EG.RECALL.
    fn told(words: &str) -> Self {
        let part = |word: &str| match word.to_ascii_uppercase().as_str() {
            "VEC" => Part::Vector,
            "TEXT" => Part::Text,
            _ => Part::Word(word.to_owned()),
        };
        let parts = words.split_whitespace().map(part).collect();
        Self { name: String::new(), parts, is_threaded: true }
    }
}

/// `NAME=WORDS`.
impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, words) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or(
            "give NAME=WORDS, the words as they stand behind K in EG.RECALL: exact=VEC EXACT",
        )?;
        Ok(Self { name: name.to_owned(), ..Self::told(words) })
    }
}

/// Any way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    Daemon(Asked),
    Control(Control),
}

impl Way {
    /// All of them: the usual ones of the daemon, ablations if they are wanted, and further ones,
    /// then the controls. No two may have the same name.
    pub(super) fn all(with_ablations: bool, further: &[Asked]) -> Result<Vec<Self>, String> {
        let ablations = if with_ablations { Asked::ablations() } else { Vec::new() };
        let daemon = Asked::usual().into_iter().chain(ablations).chain(further.iter().cloned());
        let daemon = daemon.map(Self::Daemon);
        let ways: Vec<Self> = daemon.chain(CONTROLS.into_iter().map(Self::Control)).collect();
        for (nth, way) in ways.iter().enumerate() {
            if ways[..nth].iter().any(|other| other.name() == way.name()) {
                return Err(format!("--way {0}=…: '{0}' is there already", way.name()));
            }
        }
        Ok(ways)
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Daemon(asked) => &asked.name,
            Self::Control(control) => control.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_further_way_is_words_of_a_recall() {
        let way: Asked = "spread=vec SPREAD HOPS 2".parse().unwrap();
        let word = |word: &str| Part::Word(word.into());
        assert_eq!(way.parts, [Part::Vector, word("SPREAD"), word("HOPS"), word("2")]);
        assert!("exact".parse::<Asked>().unwrap_err().contains("NAME=WORDS"));
        assert!("=VEC".parse::<Asked>().is_err());
    }

    #[test]
    fn names_are_there_once() {
        let way = |text: &str| text.parse::<Asked>().unwrap();
        let ways = Way::all(false, &[way("exact=VEC EXACT")]).unwrap();
        assert_eq!((ways[0].name(), ways[4].name(), ways.len()), ("engram", "exact", 11));
        assert!(Way::all(false, &[way("bm25=TEXT")]).unwrap_err().contains("'bm25' is there"));
        assert!(Way::all(false, &[way("a=TEXT"), way("a=VEC")]).is_err());
        let ways = Way::all(true, &[]).unwrap();
        let names: Vec<&str> = ways[4..8].iter().map(Way::name).collect();
        assert_eq!(names, ["no-around", "no-times", "no-decay", "spread"]);
        assert!(Way::all(true, &[way("spread=VEC")]).is_err());
    }
}
