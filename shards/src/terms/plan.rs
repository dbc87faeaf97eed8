//! A filter as questions to the terms of one section.

use std::cmp::Ordering;
use std::ops::Range;

use super::column::{Lookup, Terms};
use super::{EXACT_INTEGERS_END, FORWARD_MANY, FORWARD_NONE, tag, term_of};
use crate::filter::{Comparison, Condition, Filter, Scalar};
use crate::limits::BLOCK_ROWS;

/// Terms of a comparison whose postings are searched for a row that has several values.
const SEARCHED_TERMS_MAX: u32 = 8;
/// Ranges of terms that a block of rows is compared with, one after the other.
const RANGES_COMPARED_MAX: usize = 8;

/// What the index knows of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    No,
    Maybe,
    Yes,
}

impl Truth {
    fn opposite(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
            Self::Yes => Self::No,
        }
    }
}

/// What the index knows of the rows of a block, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masks {
    pub yes: u64,
    /// Yes or maybe.
    pub may: u64,
}

impl Masks {
    fn of(truth: Truth) -> Self {
        let all = |is_set: bool| if is_set { u64::MAX } else { 0 };
        Self { yes: all(truth == Truth::Yes), may: all(truth != Truth::No) }
    }
}

/// The logic, with negations only at its leaves.
#[derive(Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Known(Truth),
    /// Whether a row is among those of a comparison.
    Among {
        leaf: usize,
        is_negated: bool,
    },
}

/// A comparison with the values of a field.
#[derive(Debug)]
struct Leaf {
    field: usize,
    /// Terms that satisfy it, ascending and apart, and those that may.
    yes: Vec<Range<u32>>,
    maybe: Vec<Range<u32>>,
    /// Rows that have such terms, at most.
    rows: usize,
}

/// Some rows by a term: where in the postings they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    pub places: Range<usize>,
    leaf: usize,
    truth: Truth,
}

/// See the top of the file. It holds for the terms that it was made for.
#[derive(Debug)]
pub struct Plan {
    root: Node,
    leaves: Vec<Leaf>,
}

impl Plan {
    pub fn new(filter: &Filter, terms: &Terms<'_>) -> Self {
        let mut planner = Planner { terms, leaves: Vec::new(), nodes: Vec::new() };
        for (names, comparison) in filter.comparisons() {
            let node = planner.comparison(&names, comparison);
            planner.nodes.push(node);
        }
        let root = planner.node(filter.condition(), false);
        Self { root, leaves: planner.leaves }
    }

    /// Whether the index knows nothing that tells rows apart.
    pub fn is_blind(&self) -> bool {
        matches!(self.root, Node::Known(Truth::Maybe))
    }

    /// Postings that have all rows that may match, if there are such, and how many rows those are
    /// at most. A row may stand in several.
    pub fn postings(&self, terms: &Terms<'_>) -> Option<(Vec<Posting>, usize)> {
        let mut chosen = Vec::new();
        let rows = self.choose(&self.root, &mut chosen)?;
        let mut postings = Vec::new();
        for leaf in chosen {
            let Leaf { yes, maybe, .. } = &self.leaves[leaf];
            for (ranges, truth) in [(yes, Truth::Yes), (maybe, Truth::Maybe)] {
                let places = ranges.iter().map(|range| terms.places(range));
                postings.extend(places.map(|places| Posting { places, leaf, truth }));
            }
        }
        Some((postings, rows))
    }

    /// The leaves whose rows are all that may match, the fewest; how many rows that are.
    fn choose(&self, node: &Node, chosen: &mut Vec<usize>) -> Option<usize> {
        match node {
            Node::Known(Truth::No) => Some(0),
            Node::Known(_) | Node::Among { is_negated: true, .. } => None,
            Node::Among { leaf, is_negated: false } => {
                chosen.push(*leaf);
                Some(self.leaves[*leaf].rows)
            }
            Node::Any(nodes) => {
                nodes.iter().try_fold(0, |sum, node| Some(sum + self.choose(node, chosen)?))
            }
            Node::All(nodes) => {
                let mut best: Option<(usize, Vec<usize>)> = None;
                for node in nodes {
                    let mut own = Vec::new();
                    let rows = self.choose(node, &mut own);
                    if let Some(rows) =
                        rows.filter(|rows| best.as_ref().is_none_or(|(fewest, _)| rows < fewest))
                    {
                        best = Some((rows, own));
                    }
                }
                let (rows, own) = best?;
                chosen.extend(own);
                Some(rows)
            }
        }
    }

    /// Whether a row matches, as far as the index knows. The row is one of these postings, if any
    /// is given.
    pub fn judge(&self, terms: &Terms<'_>, row: u32, from: Option<&Posting>) -> Truth {
        self.judge_node(&self.root, terms, row, from)
    }

    fn judge_node(
        &self,
        node: &Node,
        terms: &Terms<'_>,
        row: u32,
        from: Option<&Posting>,
    ) -> Truth {
        let own = |node| self.judge_node(node, terms, row, from);
        match node {
            Node::Known(truth) => *truth,
            Node::All(nodes) => {
                let mut truth = Truth::Yes;
                for node in nodes {
                    truth = truth.min(own(node));
                    if truth == Truth::No {
                        break;
                    }
                }
                truth
            }
            Node::Any(nodes) => nodes.iter().map(own).max().unwrap_or(Truth::No),
            Node::Among { leaf, is_negated } => {
                let known = from.filter(|posting| posting.leaf == *leaf);
                let truth = match known.map(|posting| posting.truth) {
                    Some(Truth::Yes) => Truth::Yes,
                    _ => self.leaves[*leaf].judge(terms, row),
                };
                if *is_negated { truth.opposite() } else { truth }
            }
        }
    }

    /// The same for the rows of a block.
    pub fn judge_block(&self, terms: &Terms<'_>, block: usize) -> Masks {
        self.block_node(&self.root, terms, block)
    }

    fn block_node(&self, node: &Node, terms: &Terms<'_>, block: usize) -> Masks {
        match node {
            Node::Known(truth) => Masks::of(*truth),
            Node::All(nodes) => nodes.iter().fold(Masks::of(Truth::Yes), |masks, node| {
                if masks.may == 0 {
                    return masks;
                }
                let Masks { yes, may } = self.block_node(node, terms, block);
                Masks { yes: masks.yes & yes, may: masks.may & may }
            }),
            Node::Any(nodes) => nodes.iter().fold(Masks::of(Truth::No), |masks, node| {
                let Masks { yes, may } = self.block_node(node, terms, block);
                Masks { yes: masks.yes | yes, may: masks.may | may }
            }),
            Node::Among { leaf, is_negated } => {
                let masks = self.leaves[*leaf].judge_block(terms, block);
                match is_negated {
                    true => Masks { yes: !masks.may, may: !masks.yes },
                    false => masks,
                }
            }
        }
    }
}

impl Leaf {
    fn judge(&self, terms: &Terms<'_>, row: u32) -> Truth {
        let own = terms.forward(self.field).map(|forward| forward.get(row as usize));
        match own {
            Some(None | Some(&FORWARD_NONE)) => Truth::No,
            Some(Some(&number)) if number != FORWARD_MANY => {
                let term = terms.terms(self.field).start.saturating_add(number - 1);
                match (is_within(&self.yes, term), is_within(&self.maybe, term)) {
                    (true, _) => Truth::Yes,
                    (false, true) => Truth::Maybe,
                    (false, false) => Truth::No,
                }
            }
            _ => self.search(terms, row),
        }
    }

    /// Looks a row up in the postings, where that is not too much work.
    fn search(&self, terms: &Terms<'_>, row: u32) -> Truth {
        let count =
            |ranges: &[Range<u32>]| ranges.iter().map(|range| range.end - range.start).sum();
        let (yes, maybe): (u32, u32) = (count(&self.yes), count(&self.maybe));
        if yes.saturating_add(maybe) > SEARCHED_TERMS_MAX {
            return Truth::Maybe;
        }
        let has = |ranges: &[Range<u32>]| {
            let mut each = ranges.iter().flat_map(|range| range.clone());
            each.any(|term| {
                let rows = terms.postings(&terms.places(&(term..term + 1)));
                rows.binary_search(&row).is_ok()
            })
        };
        match has(&self.yes) {
            true => Truth::Yes,
            false if has(&self.maybe) => Truth::Maybe,
            false => Truth::No,
        }
    }

    fn judge_block(&self, terms: &Terms<'_>, block: usize) -> Masks {
        let Some(forward) = terms.forward(self.field) else { return Masks::of(Truth::Maybe) };
        let first = block * BLOCK_ROWS;
        let until = forward.len().min(first + BLOCK_ROWS);
        let numbers = forward.get(first..until).unwrap_or_default();
        let base = terms.terms(self.field).start;
        let yes = bits_within(numbers, base, &self.yes);
        let maybe = bits_within(numbers, base, &self.maybe);
        let many = bits(numbers, |number| number == FORWARD_MANY);
        Masks { yes, may: yes | maybe | many }
    }
}

fn is_within(ranges: &[Range<u32>], term: u32) -> bool {
    let nth = ranges.partition_point(|range| range.end <= term);
    ranges.get(nth).is_some_and(|range| range.start <= term)
}

/// A bit for each number that satisfies something.
#[inline]
fn bits(numbers: &[u32], satisfies: impl Fn(u32) -> bool) -> u64 {
    let mut flags = [0_u8; BLOCK_ROWS];
    flags.iter_mut().zip(numbers).for_each(|(flag, number)| *flag = u8::from(satisfies(*number)));
    flags.chunks_exact(8).rev().fold(0, |bits, eight| {
        let eight = u64::from_le_bytes(eight.try_into().expect("eight bytes"));
        // Gathers the lowest bit of each byte in the highest byte.
        bits << 8 | eight.wrapping_mul(0x0102_0408_1020_4080) >> 56
    })
}

/// A bit for each row whose one term is within ranges.
fn bits_within(numbers: &[u32], base: u32, ranges: &[Range<u32>]) -> u64 {
    if ranges.len() > RANGES_COMPARED_MAX {
        return bits(numbers, |number| {
            number != FORWARD_NONE
                && number != FORWARD_MANY
                && is_within(ranges, base.saturating_add(number - 1))
        });
    }
    ranges.iter().fold(0, |all, range| {
        let (first, count) = (range.start - base + 1, range.end - range.start);
        all | bits(numbers, |number| number.wrapping_sub(first) < count)
    })
}

/// Turns comparisons into leaves.
struct Planner<'a> {
    terms: &'a Terms<'a>,
    leaves: Vec<Leaf>,
    /// Each comparison by its number: its leaf, or what is known without one.
    nodes: Vec<Result<usize, Truth>>,
}

impl Planner<'_> {
    fn node(&self, condition: &Condition, is_negated: bool) -> Node {
        let each = |conditions: &[Condition]| {
            conditions.iter().map(|condition| self.node(condition, is_negated)).collect()
        };
        match (condition, is_negated) {
            (Condition::Not(condition), _) => self.node(condition, !is_negated),
            (Condition::All(conditions), false) | (Condition::Any(conditions), true) => {
                all(each(conditions))
            }
            (Condition::Any(conditions), false) | (Condition::All(conditions), true) => {
                any(each(conditions))
            }
            (Condition::Holds(number), _) => match self.nodes[*number] {
                Ok(leaf) => Node::Among { leaf, is_negated },
                Err(truth) if is_negated => Node::Known(truth.opposite()),
                Err(truth) => Node::Known(truth),
            },
        }
    }

    fn comparison(&mut self, names: &[&str], comparison: &Comparison) -> Result<usize, Truth> {
        let field = match self.terms.field(names) {
            Lookup::Nowhere => return Err(Truth::No),
            Lookup::LeftOut => return Err(Truth::Maybe),
            Lookup::Field(field) => field,
        };
        let all = self.terms.terms(field);
        let mut ranges = Ranges { terms: self.terms, all, yes: Vec::new(), maybe: Vec::new() };
        match comparison {
            Comparison::Exists => ranges.yes.push(ranges.all.clone()),
            Comparison::Equals(scalar) => ranges.equal(scalar),
            Comparison::In(scalars) => scalars.iter().for_each(|scalar| ranges.equal(scalar)),
            Comparison::Greater(scalar) => ranges.ordered(scalar, Ordering::Greater, false),
            Comparison::GreaterOrEqual(scalar) => ranges.ordered(scalar, Ordering::Greater, true),
            Comparison::Less(scalar) => ranges.ordered(scalar, Ordering::Less, false),
            Comparison::LessOrEqual(scalar) => ranges.ordered(scalar, Ordering::Less, true),
        }
        if *comparison != Comparison::Exists {
            let other = ranges.equal_to(&[tag::OTHER]);
            ranges.maybe.push(other);
        }
        let (yes, maybe) = (merged(ranges.yes), merged(ranges.maybe));
        let each = yes.iter().chain(&maybe);
        let rows = each.map(|range| self.terms.places(range).len()).sum();
        if yes.is_empty() && maybe.is_empty() {
            return Err(Truth::No);
        }
        self.leaves.push(Leaf { field, yes, maybe, rows });
        Ok(self.leaves.len() - 1)
    }
}

/// Of what is known, only what matters.
fn all(nodes: Vec<Node>) -> Node {
    let is = |truth: Truth| move |node: &Node| matches!(node, Node::Known(own) if *own == truth);
    if nodes.iter().any(is(Truth::No)) {
        return Node::Known(Truth::No);
    }
    let mut nodes: Vec<_> = nodes.into_iter().filter(|node| !is(Truth::Yes)(node)).collect();
    match nodes.len() {
        0 => Node::Known(Truth::Yes),
        1 => nodes.remove(0),
        _ if nodes.iter().all(is(Truth::Maybe)) => Node::Known(Truth::Maybe),
        _ => Node::All(nodes),
    }
}

fn any(nodes: Vec<Node>) -> Node {
    let is = |truth: Truth| move |node: &Node| matches!(node, Node::Known(own) if *own == truth);
    if nodes.iter().any(is(Truth::Yes)) {
        return Node::Known(Truth::Yes);
    }
    let mut nodes: Vec<_> = nodes.into_iter().filter(|node| !is(Truth::No)(node)).collect();
    match nodes.len() {
        0 => Node::Known(Truth::No),
        1 => nodes.remove(0),
        _ if nodes.iter().all(is(Truth::Maybe)) => Node::Known(Truth::Maybe),
        _ => Node::Any(nodes),
    }
}

/// The terms that a comparison asks for, while they are found.
struct Ranges<'a> {
    terms: &'a Terms<'a>,
    all: Range<u32>,
    yes: Vec<Range<u32>>,
    maybe: Vec<Range<u32>>,
}

impl Ranges<'_> {
    fn equal_to(&self, term: &[u8]) -> Range<u32> {
        let first = self.terms.first_term(&self.all, |own| own < term);
        first..self.terms.first_term(&self.all, |own| own <= term)
    }

    fn equal(&mut self, scalar: &Scalar) {
        let range = self.equal_to(&term_of(scalar));
        match is_exact(scalar) {
            true => self.yes.push(range),
            false => self.maybe.push(range),
        }
    }

    /// The terms of the same type that are greater or less.
    fn ordered(&mut self, scalar: &Scalar, than: Ordering, or_equal: bool) {
        let term = term_of(scalar);
        let equal = self.equal_to(&term);
        let range = match than {
            Ordering::Greater => {
                equal.end..self.terms.first_term(&self.all, |own| own.first() <= term.first())
            }
            _ => self.terms.first_term(&self.all, |own| own.first() < term.first())..equal.start,
        };
        self.yes.push(range);
        match is_exact(scalar) {
            true if or_equal => self.yes.push(equal),
            true => {}
            false => self.maybe.push(equal),
        }
    }
}

/// Whether values that have the same term as this one are equal to it.
fn is_exact(scalar: &Scalar) -> bool {
    match scalar {
        Scalar::Number(number) => number.as_f64().abs() < EXACT_INTEGERS_END,
        _ => true,
    }
}

/// Ranges in order and apart, without empty ones.
fn merged(mut ranges: Vec<Range<u32>>) -> Vec<Range<u32>> {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u32>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}
