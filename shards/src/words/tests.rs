use std::collections::BTreeMap;

use super::score::{Lent, Spoken, Statistics, stating};
use super::threads::{GrownThreads, Side, ThreadEntry, Threads, entries_of, thread_hash};
use super::*;
use proptest::prelude::*;

fn terms(text: &str) -> Vec<(String, f32, f32)> {
    let mut analyser = Analyser::new(Language::English);
    let document = analyser.analyse(text.as_bytes());
    let terms = document.terms();
    terms.map(|(term, counts)| (term.to_owned(), counts.stated(), counts.asked())).collect()
}

fn names(text: &str) -> Vec<String> {
    terms(text).into_iter().map(|(term, ..)| term).collect()
}

#[test]
fn a_text_becomes_terms() {
    assert_eq!(names("The cats are painting, they painted!"), ["cat", "paint"]);
    assert_eq!(names("Anna's don’t O'Brien rock'n'roll"), ["anna", "o'brien", "rock'n'rol"]);
    assert_eq!(names("Übung ÜBUNG 3.5 2023-05-07"), ["05", "07", "2023", "3.5", "übung"]);
    assert_eq!(names("東京 🙂 … -- \u{0}"), ["京", "東"]);
    assert_eq!(names(&"x".repeat(TERM_BYTES_MAX)).len(), 1);
    assert_eq!(names(&"x".repeat(TERM_BYTES_MAX + 1)).len(), 0);
    let mut analyser = Analyser::new(Language::English);
    assert_eq!(analyser.analyse(b"\xff\xfe no text").extent, Extent::default());
}

#[test]
fn each_language_has_stems_and_stop_words_of_its_own() {
    let names = |language, text: &str| -> Vec<String> {
        let mut analyser = Analyser::new(language);
        let document = analyser.analyse(text.as_bytes());
        document.terms().map(|(term, _)| term.to_owned()).collect()
    };
    assert_eq!(names(Language::German, "Die Häuser und das Haus"), ["haus"]);
    assert_eq!(names(Language::Spanish, "Los gatos corrían, el gato corre"), ["corr", "gat"]);
    assert_eq!(names(Language::French, "L'homme n'aime pas l’eau"), ["aim", "eau", "homm"]);
    assert_eq!(names(Language::Russian, "кошки и кошка"), ["кошк"]);
    assert_eq!(names(Language::Any, "The cats and the CAT"), ["and", "cat", "cats", "the"]);
}

proptest! {
    /// No stemmer may end the daemon, whatever the words: endings of each language, its stop words
    /// and letters in any order.
    #[test]
    fn every_language_takes_every_word(
        pieces in prop::collection::vec((0..64_usize, 0..1000_usize), 1..8),
        letters in "\\PC{0,6}",
    ) {
        let endings = [
            "ισα", "θαίνετε", "κοπεκθετε", "υευρετε", "ing", "ational", "ment", "ungen", "ként",
            "ость", "ами", "ções", "issement", "larında", "ில்", "ات", "eerd", "lleen",
        ];
        for language in Language::all() {
            let (mut analyser, stop) = (Analyser::new(language), language.stop_words());
            let piece = |(nth, other): &(usize, usize)| match stop.len() {
                0 => endings[nth % endings.len()],
                _ if nth % 2 == 0 => endings[nth % endings.len()],
                words => stop[other % words],
            };
            let word: String = pieces.iter().map(piece).chain([&letters[..]]).collect();
            analyser.analyse(word.as_bytes());
        }
    }
}

#[test]
fn a_word_of_a_whole_text_takes_no_time_and_has_no_term() {
    for language in Language::all() {
        let mut analyser = Analyser::new(language);
        let document = analyser.analyse("ay".repeat(512 << 10).as_bytes());
        assert_eq!(document.terms().count(), 0, "{language}");
        for word in ["ισαισα", "θαίνετε", "ίσαίσα", "δραθετε", "κοπεκθετε", "υευρετε"]
        {
            assert_eq!(analyser.analyse(word.as_bytes()).terms().count(), 1, "{language}");
        }
    }
}

#[test]
fn what_is_asked_is_told_from_what_is_stated() {
    let text = "Paint! I like paint. Do you paint? Yes, in Rome";
    let of = |wanted: &str| {
        let found = terms(text).into_iter().find(|(term, ..)| term == wanted).unwrap();
        (found.1, found.2)
    };
    assert_eq!((of("paint"), of("rome"), of("like")), ((2.0, 1.0), (1.0, 0.0), (1.0, 0.0)));
    let mut analyser = Analyser::new(Language::English);
    let extent = analyser.analyse(text.as_bytes()).extent;
    assert_eq!(extent.terms(), 6);
    assert!((extent.asked_share() - 1.0 / 6.0).abs() < 0.01);
    let many = "paint ".repeat(40);
    assert_eq!(terms(&many), [("paint".to_owned(), 15.0, 0.0)]);
    assert_eq!(analyser.analyse(many.as_bytes()).extent.terms(), 40);
}

#[test]
fn the_words_around_an_episode_support_it() {
    let spoken = |stated: usize, asked: usize, terms: usize, asking: usize| {
        let mut spoken = Spoken::new(Extent::new(terms, asking));
        spoken.note(0, Counts::new(stated, asked));
        spoken
    };
    let statistics = Statistics { documents: 100, terms_total: 1000, having: vec![3] };
    let (weights, mean) = (statistics.weights(), statistics.mean_terms());
    assert!((weights[0] - (1.0_f32 + 97.5 / 3.5).ln()).abs() < 1e-6);
    let score = |own: &Spoken, before: &[Spoken], behind: &[Spoken]| {
        let extents = [before, behind].map(|side| side.iter().map(|own| own.extent).collect());
        let [first, second]: [Vec<Extent>; 2] = extents;
        let lent = Lent::new(own.extent, &first, &second, 1.0);
        lent.score(&weights, mean, own, before.iter(), behind.iter())
    };
    let (has, lacks) = (spoken(1, 0, 10, 0), spoken(0, 0, 10, 0));
    let asks = spoken(0, 1, 10, 10);
    let alone = score(&has, &[], &[]);
    assert!((alone - weights[0] / 2.2).abs() < 1e-6, "a tenth of all words: {alone}");
    assert_eq!(score(&lacks, &[], &[]), 0.0);
    let lent = |before: &[Spoken], behind: &[Spoken]| score(&lacks, before, behind);
    let before = std::slice::from_ref(&has);
    assert!(alone > lent(before, &[]) && lent(before, &[]) > lent(&[], before));
    assert!(
        lent(std::slice::from_ref(&asks), &[]) > lent(before, &[]),
        "it is what the answer is about"
    );
    assert!(lent(before, &[]) > lent(&[lacks, has], &[]));
    assert!(lent(&[], before) > 0.0);
    let far = vec![lacks; score::REACH];
    assert_eq!(lent(&[far, vec![has]].concat(), &[]), 0.0, "beyond the reach");
    let long = spoken(1, 0, 400, 0);
    assert!(lent(&[long], &[]) < lent(before, &[]) / 2.0, "a long one stands for itself");
    assert!(stating(asks.extent) < stating(has.extent) && stating(has.extent) == 1.0);
}

#[test]
fn the_entries_of_a_thread_are_found_however_hashes_are_spread() {
    let even: Vec<u64> = (0..700_u64).map(|nth| thread_hash(&nth.to_le_bytes())).collect();
    let low: Vec<u64> = (0..700).map(|nth| nth * 3).collect();
    let ends = vec![0, 1, u64::MAX - 1, u64::MAX];
    for mut threads in [even, low, ends, vec![]] {
        threads.sort_unstable();
        let rows = |nth: usize| if nth % 50 == 7 { 400 } else { nth % 4 + 1 };
        let all = threads.iter().enumerate();
        let entries: Vec<ThreadEntry> = all
            .flat_map(|(nth, thread)| {
                (0..rows(nth)).map(|row| ThreadEntry::new(*thread, row as u32))
            })
            .collect();
        for (nth, thread) in threads.iter().enumerate() {
            let found: Vec<u32> = entries_of(&entries, *thread).iter().map(|e| e.row()).collect();
            assert_eq!(found, (0..rows(nth) as u32).collect::<Vec<_>>(), "{thread}");
        }
        for absent in [2_u64, 1000, 1 << 40, u64::MAX - 2, u64::MAX / 2] {
            if !threads.contains(&absent) {
                assert_eq!(entries_of(&entries, absent), []);
            }
        }
    }
}

/// The words of some texts in memory.
fn grown(texts: &[String]) -> GrownWords {
    let (mut words, mut analyser) = (GrownWords::default(), Analyser::new(Language::English));
    texts.iter().for_each(|text| words.push(&mut analyser, text.as_bytes()));
    words
}

/// The column of what two parts have, where the rows went as `places` says.
fn column(parts: [&GrownWords; 2], places: [&[Option<u32>]; 2], rows: u32) -> Vec<u8> {
    let mut all: BTreeMap<&str, Vec<(u32, Counts)>> = BTreeMap::new();
    let mut extents = vec![Extent::default(); rows as usize];
    for (part, places) in parts.into_iter().zip(places) {
        for (term, postings) in (0..part.terms()).map(|number| part.term(number)) {
            for (row, counts) in postings.rows.iter().zip(postings.counts) {
                if let Some(to) = places[*row as usize] {
                    all.entry(term).or_default().push((to, Counts::from_byte(*counts)));
                }
            }
        }
        for (row, to) in places.iter().enumerate() {
            to.iter().for_each(|to| extents[*to as usize] = part.extent(row as u32));
        }
    }
    let (mut builder, mut bytes) = (WordsBuilder::new(rows), Vec::new());
    for (term, postings) in &mut all {
        postings.sort_unstable_by_key(|(row, _)| *row);
        builder.begin_term(term.as_bytes());
        for (row, counts) in postings {
            builder.posting(*row, *counts, |piece| bytes.extend_from_slice(piece));
        }
        builder.end_term(|piece| bytes.extend_from_slice(piece));
    }
    let put = |extent| builder.extent(extent, |piece| bytes.extend_from_slice(piece));
    extents.into_iter().for_each(put);
    while !builder.step(|piece| bytes.extend_from_slice(piece)) {}
    bytes
}

/// Bytes as they would be mapped.
fn aligned(bytes: &[u8]) -> Vec<u64> {
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(word)
    });
    words.collect()
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof!["[a-f]{1,2}", "[.?!]", "the"], 0..12)
        .prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn a_column_says_what_its_parts_said(
        first in proptest::collection::vec(text(), 0..20),
        second in proptest::collection::vec(text(), 1..20),
        dead in proptest::collection::vec(any::<bool>(), 40),
    ) {
        let parts = [grown(&first), grown(&second)];
        let mut rows = 0;
        let mut place = |nth: usize| (!dead[nth]).then(|| { rows += 1; rows - 1 });
        let places: [Vec<Option<u32>>; 2] = [
            (0..first.len()).map(&mut place).collect(),
            (20..20 + second.len()).map(&mut place).collect(),
        ];
        // The last row becomes the first.
        let turned = places.map(|places| {
            places.iter().map(|to| to.map(|to| rows - 1 - to)).collect::<Vec<_>>()
        });
        prop_assume!(rows > 0);
        let bytes = column([&parts[0], &parts[1]], [&turned[0], &turned[1]], rows);
        let mapped = aligned(&bytes);
        let bytes = zerocopy::IntoBytes::as_bytes(mapped.as_slice());
        let section = SectionWords::open(bytes, rows).unwrap();
        let mut totals = (0, 0);
        for (part, places) in parts.iter().zip(&turned) {
            for (row, to) in places.iter().enumerate() {
                let Some(to) = *to else { continue };
                let extent = part.extent(row as u32);
                prop_assert_eq!(section.extent(to), extent);
                totals.0 += u64::from(extent.terms() > 0);
                totals.1 += u64::from(extent.terms());
                for (term, _) in (0..part.terms()).map(|number| part.term(number)) {
                    let mut found = Counts::default();
                    section.postings(term).for_each_of(&[to], |_, counts| found = counts);
                    prop_assert_eq!(found, part.counts(term, row as u32));
                }
            }
        }
        prop_assert_eq!(section.totals(), totals);
        for nth in 0..section.terms() {
            let postings = section.postings_at(nth);
            prop_assert!(postings.rows.is_sorted() && !postings.rows.is_empty());
            let term = std::str::from_utf8(section.term(nth)).unwrap();
            prop_assert_eq!(section.postings(term).rows, postings.rows);
        }
        prop_assert!(section.postings("zebra").rows.is_empty());
        // No damage may do worse than find nothing, or what is not there.
        for at in (0..bytes.len()).step_by(7) {
            let mut damaged = mapped.clone();
            damaged[at / 8] ^= 1 << (at * 13 % 64);
            let damaged = zerocopy::IntoBytes::as_bytes(damaged.as_slice());
            if let Some(section) = SectionWords::open(damaged, rows) {
                for nth in 0..section.terms().min(50) {
                    section.postings_at(nth).for_each_of(&[0, 1, 2], |_, _| {});
                    section.postings(&String::from_utf8_lossy(section.term(nth)));
                }
            }
            prop_assert!(SectionWords::open(&bytes[..at], rows).is_none());
        }
    }

    #[test]
    fn neighbours_are_found_in_memory_and_in_a_column(
        rows in proptest::collection::vec((0_u8..4, 0_i64..9), 1..60),
        asked in (0_u8..5, -1_i64..10, 0_u64..60),
    ) {
        let moments: Vec<_> =
            rows.iter().enumerate().map(|(row, at)| (at.1, 0, row as u64)).collect();
        let mut grown = GrownThreads::default();
        for (row, (thread, _)) in rows.iter().enumerate() {
            grown.insert(&[*thread], moments[row], row as u32);
        }
        let mut entries: Vec<_> = (0..rows.len()).collect();
        entries.sort_by_key(|row| (thread_hash(&[rows[*row].0]), moments[*row]));
        let entry = |row: usize| ThreadEntry::new(thread_hash(&[rows[row].0]), row as u32);
        let entries: Vec<_> = entries.into_iter().map(entry).collect();
        let (thread, moment) = (asked.0, (asked.1, 0, asked.2));
        let mut own: Vec<_> = (0..rows.len()).filter(|row| rows[*row].0 == thread).collect();
        own.sort_by_key(|row| moments[*row]);
        let (mut earlier, mut later): (Vec<_>, Vec<_>) =
            own.into_iter().filter(|row| moments[*row] != moment)
                .partition(|row| moments[*row] < moment);
        earlier.reverse();
        earlier.truncate(2);
        later.truncate(2);
        for threads in [Threads::Grown(&grown), Threads::Section(&entries)] {
            let (mut before, mut behind) = (Vec::new(), Vec::new());
            threads.around(
                thread_hash(&[thread]),
                moment,
                |row| moments[row as usize],
                |side, row| {
                    let own = if side == Side::Before { &mut before } else { &mut behind };
                    own.push(row as usize);
                    own.len() < 2
                },
            );
            prop_assert_eq!((&before, &behind), (&earlier, &later));
        }
    }
}
