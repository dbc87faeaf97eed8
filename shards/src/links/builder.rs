//! Making the link columns of a section: rows go in one by one, edges come out.
//!
//! The edges of a row come out when it is complete, in the order of their keys. Heads, targets and
//! kinds follow when all rows are in, because only then all of them are known. A row is read in
//! pieces: one with thousands of links would stop everything else for milliseconds.

use zerocopy::IntoBytes;

use super::columns::{FarBlock, ListHead};
use super::gist::is_association;
use super::names::{Kinds, Names};
use crate::format::LinkRecords;
use crate::spread::csr::Head;
use crate::spread::link::{Edge, Scale, Weight};

/// Bytes of a table that are written at once.
const PIECE_BYTES: usize = 32 << 10;

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct LinksBuilder {
    rows: u32,
    heads: Vec<Head>,
    /// Of the row under way, in the order in which they came.
    edges: Vec<Edge>,
    /// How far its records were read.
    read: usize,
    edges_before: u32,
    /// Targets that are not in the section.
    far: Names,
    /// The first is that of links without one.
    kinds: Kinds,
}

impl LinksBuilder {
    pub(crate) fn new(rows: usize) -> Self {
        let mut kinds = Kinds::default();
        kinds.number(b"");
        Self {
            rows: u32::try_from(rows).expect("a section has fewer rows"),
            heads: Vec::with_capacity(rows),
            edges: Vec::new(),
            read: 0,
            edges_before: 0,
            far: Names::default(),
            kinds,
        }
    }

    /// Reads up to `count` more links of the next row, whose links these are; `row_of` knows which
    /// ids are rows of the section. Whether the row is complete: then its edges are in `put`.
    pub(crate) fn step<E>(
        &mut self,
        records: &[u8],
        count: usize,
        mut row_of: impl FnMut(&[u8]) -> Result<Option<u32>, E>,
        put: impl FnOnce(&[u8]),
    ) -> Result<bool, E> {
        let mut rest = LinkRecords(&records[self.read..]);
        for (weight, target, kind) in rest.by_ref().take(count) {
            if !is_association(target) {
                continue;
            }
            let target = match row_of(target)? {
                Some(row) => row,
                None => self.rows + self.far.number(target),
            };
            // What a client gave is in the body. A push needs no more than this tells apart.
            let weight = Weight::clamped(weight);
            self.edges.push(Edge { target, weight, kind: self.kinds.number(kind) });
        }
        self.read = records.len() - rest.0.len();
        if rest.next().is_some() {
            return Ok(false);
        }
        self.finish_row();
        put(self.edges.as_bytes());
        self.edges.clear();
        self.read = 0;
        Ok(true)
    }

    /// Of edges with the same key the last one counts: a body of an older build may have two, and
    /// kinds beyond the table are one.
    fn finish_row(&mut self) {
        self.edges.reverse();
        self.edges.sort_by_key(|edge| edge.key());
        self.edges.dedup_by_key(|edge| edge.key());
        let units = self.edges.iter().map(|edge| edge.weight.units()).sum();
        let fan = u32::try_from(self.edges.len()).expect("bounded by EPISODE_LINKS_MAX");
        self.heads.push(Head { start: self.edges_before, scale: Scale::of(fan, units) });
        self.edges_before += fan;
    }

    /// The head of a row that is complete.
    pub(crate) fn head(&self, row: usize) -> &[u8] {
        self.heads[row].as_bytes()
    }

    /// A piece of the column of targets, once all rows are complete; nothing behind its end.
    pub(crate) fn targets(&self, piece: usize) -> Option<Vec<u8>> {
        let Names { entries, bytes, .. } = &self.far;
        if piece == 0 {
            return Some(ListHead::new(entries.len(), bytes.len()).as_bytes().to_vec());
        }
        let mut pieces = entries.as_bytes().chunks(PIECE_BYTES).chain(bytes.chunks(PIECE_BYTES));
        pieces.nth(piece - 1).map(<[u8]>::to_vec)
    }

    /// The column of kinds, likewise.
    pub(crate) fn kinds(&self) -> Vec<u8> {
        let Names { entries, bytes, .. } = &self.kinds.0;
        let mut column = ListHead::new(entries.len(), bytes.len()).as_bytes().to_vec();
        for end in entries.iter().skip(1).map(FarBlock::offset).chain([bytes.len()]) {
            let end = u32::try_from(end).expect("bounded by LINK_KIND_BYTES_MAX");
            column.extend_from_slice(&end.to_le_bytes());
        }
        column.extend_from_slice(bytes);
        column
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::super::columns::{KIND_OTHER, LinkColumns, SectionLinks};
    use super::*;
    use crate::format::link_record;
    use crate::spread::link::{KIND_SIMILAR, WEIGHT_MAX, WEIGHT_MIN};

    type Row<'a> = &'a [(&'a str, &'a str, f32)];

    /// The columns of these rows, read `count` links at a time.
    fn build(rows: &[Row<'_>], count: usize) -> [Vec<u8>; 4] {
        let mut builder = LinksBuilder::new(rows.len());
        let (mut heads, mut edges) = (Vec::new(), Vec::new());
        for (nth, row) in rows.iter().enumerate() {
            let mut records = Vec::new();
            for (target, kind, weight) in *row {
                let record = link_record(*weight, target.as_bytes(), kind.as_bytes());
                record.parts().iter().for_each(|part| records.extend_from_slice(part));
            }
            // Targets that are numbers are rows.
            let row_of = |id: &[u8]| {
                Ok::<_, Infallible>(std::str::from_utf8(id).unwrap().parse::<u32>().ok())
            };
            let mut is_complete = false;
            while !is_complete {
                let put = |bytes: &[u8]| edges.extend_from_slice(bytes);
                let Ok(done) = builder.step(&records, count, row_of, put);
                is_complete = done;
            }
            heads.extend_from_slice(builder.head(nth));
        }
        let targets = (0..).map_while(|piece| builder.targets(piece)).flatten().collect();
        [heads, edges, targets, builder.kinds()]
    }

    fn open(columns: &[Vec<u8>; 4], rows: u32) -> Option<SectionLinks<'_>> {
        let [heads, edges, targets, kinds] = columns;
        SectionLinks::open(LinkColumns { heads, edges, targets, kinds }, rows)
    }

    #[test]
    fn edges_are_in_the_order_of_their_keys_whatever_pieces_they_are_read_in() {
        let rows: [Row<'_>; 4] = [
            &[("2", "b", 1.0), ("far", "", 2.0), ("0", "", 0.25), ("2", "", 4.0)],
            &[],
            &[("far", "a", 1.0), ("farther", "b", 1.0)],
            &[("1", "a", 1e-30), ("1", "b", 1e30)],
        ];
        let whole = build(&rows, usize::MAX);
        assert_eq!(build(&rows, 1), whole);
        let links = open(&whole, 4).unwrap();
        let edges = |row| {
            let edges = links.csr().edges_of(row).iter();
            edges
                .map(|edge| (edge.target, links.kind(edge.kind).unwrap(), edge.weight.get()))
                .collect::<Vec<_>>()
        };
        let none = &b""[..];
        assert_eq!(edges(0), [(0, none, 0.25), (2, none, 4.0), (2, b"b", 1.0), (4, none, 2.0)]);
        assert_eq!(edges(1), []);
        assert_eq!(edges(2), [(4, &b"a"[..], 1.0), (5, b"b", 1.0)]);
        assert_eq!(edges(3), [(1, &b"b"[..], WEIGHT_MAX), (1, b"a", WEIGHT_MIN)]);
        let far: Vec<_> = (0..3).map_while(|nth| links.far(nth)).map(|(_, id)| id).collect();
        assert_eq!((links.far_count(), far), (2, vec![&b"far"[..], b"farther"]));
        assert_eq!((links.kind_count(), links.kind(3)), (3, None));
        assert_eq!(links.csr().scale(0).inverse_sum, 1.0 / 7.25);
        crate::spread::verify::verify(links.csr(), 6, |violation| panic!("{violation}"));
    }

    #[test]
    fn kinds_beyond_the_table_are_one() {
        let names: Vec<String> = (0..u32::from(KIND_OTHER) + 9).map(|n| format!("k{n}")).collect();
        let all: Vec<_> = names.iter().map(|name| ("0", name.as_str(), 1.0)).collect();
        let columns = build(&[&all], usize::MAX);
        let links = open(&columns, 1).unwrap();
        let edges = links.csr().edges_of(0);
        assert_eq!(edges.len(), usize::from(KIND_SIMILAR), "those without a name are one edge");
        assert_eq!(links.kind(KIND_SIMILAR - 1), Some(&b"k65532"[..]));
        assert_eq!((edges.last().unwrap().kind, links.kind(KIND_OTHER)), (KIND_OTHER, None));
    }

    #[test]
    fn columns_of_other_lengths_are_not_opened() {
        let columns = build(&[&[("far", "kind", 1.0)], &[]], usize::MAX);
        assert!(open(&columns, 2).is_some());
        assert!(open(&columns, 3).is_none());
        for nth in 0..4 {
            let mut cut = columns.clone();
            cut[nth].pop();
            assert!(open(&cut, 2).is_none(), "column {nth}");
        }
    }
}
