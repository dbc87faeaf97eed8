//! The languages whose words can be told apart: how they are stemmed, and which of them say nothing
//! of what a text is about.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use rust_stemmers::{Algorithm, Stemmer};

use super::stop;

/// What language the texts of a space are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Language {
    #[default]
    English = 0,
    Arabic = 1,
    Danish = 2,
    Dutch = 3,
    Finnish = 4,
    French = 5,
    German = 6,
    Greek = 7,
    Hungarian = 8,
    Italian = 9,
    Norwegian = 10,
    Portuguese = 11,
    Romanian = 12,
    Russian = 13,
    Spanish = 14,
    Swedish = 15,
    Tamil = 16,
    Turkish = 17,
    /// Any: words count as they are written, in lower case, and each of them counts.
    Any = 18,
}

/// What there is to know of a language.
struct Known {
    language: Language,
    name: &'static str,
    /// ISO 639-1, of whose stop words; `None` where each word counts.
    code: Option<&'static str>,
    /// Snowball's stemmer; `None` where words are taken as they are.
    algorithm: Option<Algorithm>,
}

const fn known(
    language: Language,
    name: &'static str,
    code: &'static str,
    algorithm: Algorithm,
) -> Known {
    Known { language, name, code: Some(code), algorithm: Some(algorithm) }
}

const LANGUAGES: usize = 19;

/// By number.
static KNOWN: [Known; LANGUAGES] = [
    known(Language::English, "english", "en", Algorithm::English),
    known(Language::Arabic, "arabic", "ar", Algorithm::Arabic),
    known(Language::Danish, "danish", "da", Algorithm::Danish),
    known(Language::Dutch, "dutch", "nl", Algorithm::Dutch),
    known(Language::Finnish, "finnish", "fi", Algorithm::Finnish),
    known(Language::French, "french", "fr", Algorithm::French),
    known(Language::German, "german", "de", Algorithm::German),
    // The stemmer there is for Greek panics at some words, `ισαισα` for one.
    Known { language: Language::Greek, name: "greek", code: Some("el"), algorithm: None },
    known(Language::Hungarian, "hungarian", "hu", Algorithm::Hungarian),
    known(Language::Italian, "italian", "it", Algorithm::Italian),
    known(Language::Norwegian, "norwegian", "no", Algorithm::Norwegian),
    known(Language::Portuguese, "portuguese", "pt", Algorithm::Portuguese),
    known(Language::Romanian, "romanian", "ro", Algorithm::Romanian),
    known(Language::Russian, "russian", "ru", Algorithm::Russian),
    known(Language::Spanish, "spanish", "es", Algorithm::Spanish),
    known(Language::Swedish, "swedish", "sv", Algorithm::Swedish),
    known(Language::Tamil, "tamil", "ta", Algorithm::Tamil),
    known(Language::Turkish, "turkish", "tr", Algorithm::Turkish),
    Known { language: Language::Any, name: "any", code: None, algorithm: None },
];

/// Stop words by number of the language, ascending, from the first time that somebody asks.
static STOP_WORDS: [OnceLock<Vec<&'static str>>; LANGUAGES] =
    [const { OnceLock::new() }; LANGUAGES];

impl Language {
    /// All of them, by number.
    pub fn all() -> impl Iterator<Item = Self> {
        KNOWN.iter().map(|known| known.language)
    }

    /// The language with a number.
    pub fn from_u8(number: u8) -> Option<Self> {
        KNOWN.get(usize::from(number)).map(|known| known.language)
    }

    pub fn name(self) -> &'static str {
        self.known().name
    }

    fn known(self) -> &'static Known {
        &KNOWN[self as usize]
    }

    pub(super) fn stemmer(self) -> Option<Stemmer> {
        self.known().algorithm.map(Stemmer::create)
    }

    /// Words that do not count, ascending: of English the own ones, of the others NLTK's.
    pub(super) fn stop_words(self) -> &'static [&'static str] {
        match self.known().code {
            Some("en") => &stop::WORDS,
            Some(code) => STOP_WORDS[self as usize].get_or_init(|| {
                let mut words = stop_words::lookup(code).unwrap_or_default().to_vec();
                words.sort_unstable();
                words
            }),
            None => &[],
        }
    }

    /// Whether articles and pronouns lose their vowel and stand before the word, behind which is an
    /// apostrophe (`l'homme`).
    pub(super) fn elides(self) -> bool {
        matches!(self, Self::French | Self::Italian)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Why a name is that of no language.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {}", Language::all().map(Language::name).collect::<Vec<_>>().join(", "))]
pub struct NotALanguage;

impl FromStr for Language {
    type Err = NotALanguage;

    fn from_str(name: &str) -> Result<Self, NotALanguage> {
        Self::all().find(|language| language.name().eq_ignore_ascii_case(name)).ok_or(NotALanguage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_its_number_its_name_and_its_stop_words() {
        for (number, language) in Language::all().enumerate() {
            assert_eq!(language as usize, number);
            assert_eq!(Language::from_u8(number as u8), Some(language));
            assert_eq!(language.name().to_uppercase().parse(), Ok(language));
            assert!(language.stop_words().is_sorted());
            assert_eq!(language.stop_words().is_empty(), language == Language::Any, "{language}");
        }
        assert_eq!(Language::from_u8(LANGUAGES as u8), None);
        assert!("klingon".parse::<Language>().is_err());
    }
}
