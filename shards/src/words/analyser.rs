//! A text as terms.
//!
//! Words are those of the Unicode standard's annex 29, in lower case. What follows an apostrophe
//! does not count if it is one of the English endings (`don't`, `Anna's`), nor in languages that
//! elide what stands before one (`l'homme`). Stop words of the language do not count at all, and
//! the rest is stemmed by Snowball's stemmer for it (Porter 2001), which leaves words of other
//! languages mostly as they are. A question is what stands between the end of a sentence and a
//! question mark.

use rust_stemmers::Stemmer;
use unicode_segmentation::UnicodeSegmentation;

use super::language::Language;
use super::{Counts, Extent, ROW_TERMS_MAX, TERM_BYTES_MAX};

/// What may stand behind an apostrophe without being part of the word.
const ENDINGS: [&str; 8] = ["s", "t", "d", "ll", "m", "re", "ve", ""];
const APOSTROPHES: [char; 2] = ['\'', '’'];
/// Marks behind which another sentence begins.
const SENTENCE_ENDS: [&str; 9] = [".", "!", "\n", "\r\n", "…", "。", "！", ";", ":"];
const QUESTION_MARKS: [&str; 3] = ["?", "？", "؟"];

/// Bytes of a word; a longer one has no term. It takes a stemmer time in the square of them.
const WORD_BYTES_MAX: usize = 2 * TERM_BYTES_MAX;

/// Turns texts into [`Document`]s. Keeps its memory from one to the next.
pub struct Analyser {
    language: Language,
    /// `None` where words count as they are.
    stemmer: Option<Stemmer>,
    /// The word at hand.
    word: String,
    /// The terms of the text, one behind the other.
    terms: String,
    tokens: Vec<Token>,
}

/// A term at its place in the text.
#[derive(Debug, Clone, Copy)]
struct Token {
    from: usize,
    to: usize,
    is_asked: bool,
}

/// The terms of a text.
#[derive(Debug)]
pub struct Document<'a> {
    terms: &'a str,
    tokens: &'a [Token],
    pub extent: Extent,
}

impl std::fmt::Debug for Analyser {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Analyser").finish_non_exhaustive()
    }
}

impl Default for Analyser {
    fn default() -> Self {
        Self::new(Language::default())
    }
}

impl Analyser {
    /// Of texts in a language.
    pub fn new(language: Language) -> Self {
        let (word, terms, tokens) = (String::new(), String::new(), Vec::new());
        Self { language, stemmer: language.stemmer(), word, terms, tokens }
    }

    /// What is no UTF-8 has no terms.
    pub fn analyse(&mut self, text: &[u8]) -> Document<'_> {
        self.terms.clear();
        self.tokens.clear();
        let text = std::str::from_utf8(text).unwrap_or_default();
        let mut sentence = 0;
        for piece in text.split_word_bounds() {
            if QUESTION_MARKS.contains(&piece) {
                self.tokens[sentence..].iter_mut().for_each(|token| token.is_asked = true);
                sentence = self.tokens.len();
            } else if SENTENCE_ENDS.contains(&piece) {
                sentence = self.tokens.len();
            } else if piece.chars().any(char::is_alphanumeric) {
                self.take(piece);
            }
        }
        let asked = self.tokens.iter().filter(|token| token.is_asked).count();
        let extent = Extent::new(self.tokens.len(), asked);
        let Self { terms, tokens, .. } = self;
        tokens.sort_unstable_by(|a, b| terms[a.from..a.to].cmp(&terms[b.from..b.to]));
        Document { terms, tokens, extent }
    }

    /// Adds the term of a word, if it has one.
    fn take(&mut self, word: &str) {
        if word.len() > WORD_BYTES_MAX {
            return;
        }
        self.word.clear();
        self.word.extend(word.chars().flat_map(char::to_lowercase));
        let ending = self.word.rfind(APOSTROPHES);
        if let Some(at) = ending {
            let behind = self.word[at..].trim_start_matches(APOSTROPHES);
            if self.language.elides() && !behind.is_empty() {
                self.word = behind.to_owned();
            } else if ENDINGS.contains(&behind) {
                self.word.truncate(at);
            }
        }
        let word = &self.word[..];
        if word.is_empty() || self.language.stop_words().binary_search(&word).is_ok() {
            return;
        }
        let term = match &self.stemmer {
            Some(stemmer) => stemmer.stem(word),
            None => word.into(),
        };
        if term.len() <= TERM_BYTES_MAX {
            let from = self.terms.len();
            self.terms.push_str(&term);
            self.tokens.push(Token { from, to: self.terms.len(), is_asked: false });
        }
    }
}

impl<'a> Document<'a> {
    /// The first so many different terms in the order of the text.
    pub fn first_terms(&self, count: usize) -> Vec<&'a str> {
        let (terms, mut tokens) = (self.terms, self.tokens.to_vec());
        tokens.sort_unstable_by_key(|token| token.from);
        let mut first: Vec<&str> = Vec::new();
        for term in tokens.iter().map(|token| &terms[token.from..token.to]) {
            if first.len() < count && !first.contains(&term) {
                first.push(term);
            }
        }
        first
    }

    /// The different terms in the order of their bytes, [`ROW_TERMS_MAX`] at most.
    pub fn terms(&self) -> impl Iterator<Item = (&'a str, Counts)> {
        let (terms, tokens) = (self.terms, self.tokens);
        let term = |token: &Token| &terms[token.from..token.to];
        let same = tokens.chunk_by(move |a, b| term(a) == term(b));
        same.take(ROW_TERMS_MAX).map(move |same| {
            let asked = same.iter().filter(|token| token.is_asked).count();
            (&terms[same[0].from..same[0].to], Counts::new(same.len() - asked, asked))
        })
    }
}
