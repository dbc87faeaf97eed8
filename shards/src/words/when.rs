//! The times that a question names: "on 7 May 2023", "in August", "last week".
//!
//! A question that names a time is about what happened then, which need not be said in the text of
//! any episode. So named times are a cue of their own, and a soft one: what happened some days
//! before or behind counts less, not nothing, because a conversation tells of last week as well as
//! of today. English only; times in UTC.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// Days from a named time on which the cue is 1/e.
const FADING_DAYS: f32 = 3.0;
/// Times of a question that are looked for.
const TIMES_MAX: usize = 8;
/// Years before this one of which a time of every year is looked up.
const YEARS_BACK: i16 = 16;

/// From one moment to another in microseconds since 1970-01-01 UTC, both included.
pub type Span = (i64, i64);

/// A named time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    /// From the beginning of one day to the end of another.
    Days(Date, Date),
    /// The same of every year: a month, and a day of it.
    Yearly(i8, Option<i8>),
}

/// See the top of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct When {
    times: Vec<Time>,
    spans: Vec<Span>,
}

/// A word of a question that may tell of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Month(i8),
    Weekday(Weekday),
    /// 1 to 31, as a cardinal or an ordinal number.
    Day(i8),
    /// 1900 to 2199.
    Year(i16),
    Date(Date),
    /// A smaller number, which may count something.
    Count(i64),
    Unit(Unit),
    Last,
    This,
    Ago,
    Yesterday,
    Today,
    /// `in`, `on`, `of`, `during` and their like: what stands behind them may be a month that is a
    /// word too.
    Preposition,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Day,
    Week,
    Weekend,
    Month,
    Year,
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const NUMBERS: [&str; 13] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve",
];
const PREPOSITIONS: [&str; 9] = ["in", "on", "of", "during", "since", "by", "early", "late", "mid"];

impl When {
    /// The times that a question names, which is asked now.
    pub fn of(question: &str, now_us: i64) -> Self {
        let Ok(now) = Timestamp::from_microsecond(now_us) else { return Self::default() };
        let today = now.to_zoned(TimeZone::UTC).date();
        let words: Vec<Word> = question
            .split(|c: char| !c.is_alphanumeric() && c != '-')
            .filter(|word| !word.is_empty())
            .map(word)
            .collect();
        let (mut times, mut at) = (Vec::new(), 0);
        while at < words.len() && times.len() < TIMES_MAX {
            match time(&words[at..], at.checked_sub(1).map(|before| words[before]), today) {
                Some((time, taken)) => {
                    times.push(time);
                    at += taken;
                }
                None => at += 1,
            }
        }
        let spans = times.iter().flat_map(|time| time.spans(today)).collect();
        Self { times, spans }
    }

    /// When that was: of a time of every year, this year and the sixteen before.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// How near a moment is to the nearest of the times: 1 within one, less with the days between.
    pub fn nearness(&self, at_us: i64) -> f32 {
        if self.times.is_empty() {
            return 0.0;
        }
        let Ok(at) = Timestamp::from_microsecond(at_us) else { return 0.0 };
        let date = at.to_zoned(TimeZone::UTC).date();
        let days = self.times.iter().map(|time| time.days_from(date)).min();
        days.map_or(0.0, |days| (-(days as f32) / FADING_DAYS).exp())
    }
}

impl Time {
    /// From its first to its last moment, as often as it came until this year.
    fn spans(&self, today: Date) -> Vec<Span> {
        let us = |from: Date, until: Date| {
            let start = |date: Date| date.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp());
            let end = start(until.tomorrow().ok()?)?.as_microsecond() - 1;
            Some((start(from)?.as_microsecond(), end))
        };
        match *self {
            Self::Days(from, until) => us(from, until).into_iter().collect(),
            Self::Yearly(month, day) => {
                let years = today.year().saturating_sub(YEARS_BACK)..=today.year();
                let days = years.filter_map(|year| span(year, month, day));
                days.filter_map(|(from, until)| us(from, until)).collect()
            }
        }
    }

    /// Whole days between a date and the time; 0 within it.
    fn days_from(&self, date: Date) -> i64 {
        let days = |from: Date, until: Date| {
            let gap = |a: Date, b: Date| i64::from((b - a).get_days());
            gap(date, from).max(gap(until, date)).max(0)
        };
        match *self {
            Self::Days(from, until) => days(from, until),
            Self::Yearly(month, day) => {
                let years = date.year().saturating_sub(1)..=date.year().saturating_add(1);
                let spans = years.filter_map(|year| span(year, month, day));
                spans.map(|(from, until)| days(from, until)).min().unwrap_or(i64::MAX)
            }
        }
    }
}

/// The first and the last day of a month, or a day of it.
fn span(year: i16, month: i8, day: Option<i8>) -> Option<(Date, Date)> {
    let first = Date::new(year, month, day.unwrap_or(1)).ok()?;
    Some((first, if day.is_some() { first } else { first.last_of_month() }))
}

fn word(word: &str) -> Word {
    let word = word.to_lowercase();
    let is_name = |name: &&str| word == **name || (word.len() == 3 && name.starts_with(&word));
    let small = |nth: usize| i8::try_from(nth).expect("a handful");
    if let Ok(date) = word.parse::<Date>() {
        return Word::Date(date);
    }
    if let Some(nth) = MONTHS.iter().position(is_name) {
        return Word::Month(small(nth) + 1);
    }
    if let Some(nth) = WEEKDAYS.iter().position(is_name) {
        let weekday = Weekday::from_monday_zero_offset(small(nth));
        return Word::Weekday(weekday.expect("one of seven"));
    }
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let is_ordinal = matches!(&word[digits.len()..], "" | "st" | "nd" | "rd" | "th");
    if let Ok(number) = digits.parse::<i16>()
        && is_ordinal
    {
        return match number {
            1..=31 => Word::Day(number as i8),
            32..1900 => Word::Count(i64::from(number)),
            1900..=2199 => Word::Year(number),
            _ => Word::Other,
        };
    }
    if let Some(count) = NUMBERS.iter().position(|name| *name == word) {
        return Word::Count(i64::try_from(count).expect("a dozen at most"));
    }
    match &word[..] {
        "a" | "an" => Word::Count(1),
        "day" | "days" => Word::Unit(Unit::Day),
        "week" | "weeks" => Word::Unit(Unit::Week),
        "weekend" | "weekends" => Word::Unit(Unit::Weekend),
        "month" | "months" => Word::Unit(Unit::Month),
        "year" | "years" => Word::Unit(Unit::Year),
        "last" | "past" | "previous" => Word::Last,
        "this" | "current" => Word::This,
        "ago" => Word::Ago,
        "yesterday" => Word::Yesterday,
        "today" | "tonight" => Word::Today,
        word if PREPOSITIONS.contains(&word) => Word::Preposition,
        _ => Word::Other,
    }
}

/// The time that some words begin with, and how many of them tell it.
fn time(words: &[Word], before: Option<Word>, today: Date) -> Option<(Time, usize)> {
    let nth = |nth: usize| words.get(nth).copied().unwrap_or(Word::Other);
    // "the 7th of May" names it as "7 May" does.
    let behind = if nth(1) == Word::Preposition { 2 } else { 1 };
    let dated = |year: Word, month: i8, day: Option<i8>, taken: usize| match year {
        Word::Year(year) => {
            span(year, month, day).map(|(from, until)| (Time::Days(from, until), taken + 1))
        }
        _ => Some((Time::Yearly(month, day), taken)),
    };
    let days = |from: Date, until: Date, taken: usize| Some((Time::Days(from, until), taken));
    match (nth(0), nth(behind)) {
        (Word::Date(date), _) => days(date, date, 1),
        (Word::Day(day), Word::Month(month)) => {
            dated(nth(behind + 1), month, Some(day), behind + 1)
        }
        (Word::Month(month), Word::Day(day)) if behind == 1 => dated(nth(2), month, Some(day), 2),
        (Word::Month(month), Word::Year(_)) => dated(nth(behind), month, None, behind),
        // Some months are words too.
        (Word::Month(month), _) if before == Some(Word::Preposition) => {
            Some((Time::Yearly(month, None), 1))
        }
        (Word::Year(year), _) => {
            days(Date::new(year, 1, 1).ok()?, Date::new(year, 12, 31).ok()?, 1)
        }
        (Word::Today, _) => days(today, today, 1),
        (Word::Yesterday, _) => {
            let day = today.yesterday().ok()?;
            days(day, day, 1)
        }
        (Word::Last, Word::Weekday(weekday)) => {
            let day = today.nth_weekday(-1, weekday).ok()?;
            days(day, day, 2)
        }
        (Word::Last | Word::This, Word::Unit(unit)) => {
            let (from, until) = around(unit, today, nth(0) == Word::Last)?;
            days(from, until, 2)
        }
        (Word::Last, Word::Day(_) | Word::Count(_)) => {
            let Word::Unit(unit) = nth(2) else { return None };
            let from = today.checked_sub(spans(unit, count(nth(1))?)).ok()?;
            days(from, today, 3)
        }
        (Word::Day(_) | Word::Count(_), Word::Unit(unit)) if nth(2) == Word::Ago => {
            let day = today.checked_sub(spans(unit, count(nth(0))?)).ok()?;
            let (from, until) = around(unit, day, false)?;
            days(from, until, 3)
        }
        _ => None,
    }
}

fn count(word: Word) -> Option<i64> {
    match word {
        Word::Day(count) => Some(i64::from(count)),
        Word::Count(count) => Some(count),
        _ => None,
    }
}

fn spans(unit: Unit, count: i64) -> jiff::Span {
    match unit {
        Unit::Day => count.days(),
        Unit::Week | Unit::Weekend => count.weeks(),
        Unit::Month => count.months(),
        Unit::Year => count.years(),
    }
}

/// The day, week, weekend, month or year that a day lies in, or the one before.
fn around(unit: Unit, day: Date, is_last: bool) -> Option<(Date, Date)> {
    let day = match is_last {
        true => day.checked_sub(spans(unit, 1)).ok()?,
        false => day,
    };
    let monday = day.checked_sub(i64::from(day.weekday().to_monday_zero_offset()).days()).ok()?;
    Some(match unit {
        Unit::Day => (day, day),
        Unit::Week => (monday, monday.checked_add(6.days()).ok()?),
        Unit::Weekend => (monday.checked_add(5.days()).ok()?, monday.checked_add(6.days()).ok()?),
        Unit::Month => (day.first_of_month(), day.last_of_month()),
        Unit::Year => (day.first_of_year(), day.last_of_year()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Friday 2026-11-20.
    const NOW_US: i64 = 1_795_176_000_000_000;

    fn days(question: &str) -> Vec<String> {
        let times = When::of(question, NOW_US).times;
        let shown = times.into_iter().map(|time| match time {
            Time::Days(from, until) if from == until => from.to_string(),
            Time::Days(from, until) => format!("{from}/{until}"),
            Time::Yearly(month, day) => format!("{month}-{day:?}"),
        });
        shown.collect()
    }

    #[test]
    fn dates_are_understood_as_people_write_them() {
        for (question, expected) in [
            ("What did Anna do on 7 May 2023?", "2023-05-07"),
            ("on May 7th, 2023", "2023-05-07"),
            ("on the 7th of May 2023", "2023-05-07"),
            ("2023-05-07", "2023-05-07"),
            ("in Aug 2023", "2023-08-01/2023-08-31"),
            ("August of 2023?", "2023-08-01/2023-08-31"),
            ("back in 2022", "2022-01-01/2022-12-31"),
            ("When did he go camping in June?", "6-None"),
            ("on 4 July", "7-Some(4)"),
            ("What happened yesterday?", "2026-11-19"),
            ("today", "2026-11-20"),
            ("last week", "2026-11-09/2026-11-15"),
            ("this week", "2026-11-16/2026-11-22"),
            ("last weekend", "2026-11-14/2026-11-15"),
            ("last month", "2026-10-01/2026-10-31"),
            ("last Friday", "2026-11-13"),
            ("three days ago", "2026-11-17"),
            ("2 weeks ago", "2026-11-02/2026-11-08"),
            ("a year ago", "2025-01-01/2025-12-31"),
            ("45 days ago", "2026-10-06"),
            ("in the last 90 days", "2026-08-22/2026-11-20"),
            ("in August on 3 occasions", "8-None"),
            ("in the last ten days", "2026-11-10/2026-11-20"),
        ] {
            assert_eq!(days(question), [expected], "{question}");
        }
    }

    #[test]
    fn what_names_no_time_is_none() {
        for question in [
            "May I ask who marched?",
            "the second of three",
            "room 2023b, 99999, 0",
            "a day in the life",
            "",
        ] {
            assert_eq!(days(question), Vec::<String>::new(), "{question}");
        }
        assert!(When::of("yesterday", i64::MAX).is_empty());
    }

    #[test]
    fn spans_are_from_the_first_moment_to_the_last() {
        let day_us = 86_400_000_000;
        let span = |question: &str| When::of(question, NOW_US).spans().to_vec();
        // 2023-05-07, midnight.
        let midnight_us = 1_683_417_600_000_000;
        assert_eq!(span("on 7 May 2023"), [(midnight_us, midnight_us + day_us - 1)]);
        let may = span("in May 2023");
        assert_eq!(may, [(midnight_us - 6 * day_us, midnight_us + 25 * day_us - 1)]);
        let yearly = span("on 7 May");
        assert_eq!(yearly.len(), 17);
        assert!(yearly.is_sorted() && yearly.contains(&(midnight_us, midnight_us + day_us - 1)));
        assert_eq!(span("on 29 February").len(), 4, "2012, 2016, 2020, 2024");
        assert_eq!(span("9999-12-31"), [], "it does not end within what can be told");
        assert_eq!(span("What did Anna say?"), []);
        for (question, moment) in
            [("yesterday", NOW_US - day_us), ("last week", NOW_US - 7 * day_us)]
        {
            let when = When::of(question, NOW_US);
            let (since, until) = when.spans()[0];
            assert!((since..=until).contains(&moment), "{question}");
            assert_eq!((when.nearness(since), when.nearness(until)), (1.0, 1.0), "{question}");
            assert!(when.nearness(since - 1) < 1.0 && when.nearness(until + 1) < 1.0);
        }
    }

    #[test]
    fn nearness_fades_with_the_days_between() {
        let day_us = 86_400_000_000;
        // 2023-05-07, noon.
        let noon_us = 1_683_460_800_000_000;
        let when = When::of("on 7 May 2023", NOW_US);
        assert_eq!(when.nearness(noon_us), 1.0);
        let near: Vec<f32> = (0..20).map(|days| when.nearness(noon_us + days * day_us)).collect();
        assert!(near.windows(2).all(|pair| pair[1] < pair[0]));
        assert!((near[3] - (-1.0_f32).exp()).abs() < 1e-6);
        assert!((when.nearness(noon_us - 3 * day_us) - near[3]).abs() < 1e-6);
        let yearly = When::of("in January", NOW_US);
        assert!(yearly.nearness(noon_us - 121 * day_us) > 0.99);
        assert!(yearly.nearness(noon_us - 128 * day_us) > 0.5, "the year before ended just now");
        assert_eq!(yearly.nearness(i64::MAX), 0.0);
        let never = When::of("on 30 February", NOW_US);
        assert_eq!(never.nearness(noon_us), 0.0);
        assert_eq!(When::default().nearness(noon_us), 0.0);
    }
}
