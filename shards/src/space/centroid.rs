//! The centroid of a part's rows, which tells how near to a vector just any of them is.
//!
//! What rows are ordered by is linear in a row and in its squared length, so its mean over all rows
//! takes no more to know than the means of those two:
//!
//! ```text
//! cosine, dot     mean of q · xᵢ        =  q · mean of xᵢ
//! l2              mean of −|q − xᵢ|²    =  2 q · mean of xᵢ − |q|² − mean of |xᵢ|²
//! ```
//!
//! Under cosine the rows are of unit length. The dead count until they are consolidated, as they do
//! in how common a word is.

use zerocopy::FromBytes;

use super::Section;
use super::part::Part;
use crate::episode::Metric;
use crate::format::columns::ColumnKind;

/// Rows added up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Centroid {
    rows: u32,
    /// By dimension, those that rows are padded with as well.
    sum: Vec<f64>,
    squares: f64,
}

/// The same as a reader sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CentroidView<'a> {
    rows: u32,
    sum: &'a [f64],
    squares: f64,
}

impl Centroid {
    /// Adds a vector as rows are kept, times its scale.
    pub fn add(&mut self, vector: &[f32], scale: f32) {
        self.sum.resize(vector.len(), 0.0);
        let mut squares = 0.0;
        for (sum, own) in self.sum.iter_mut().zip(vector) {
            let own = f64::from(own * scale);
            *sum += own;
            squares += own * own;
        }
        self.squares += squares;
        self.rows += 1;
    }

    pub fn view(&self) -> CentroidView<'_> {
        let Self { rows, sum, squares } = self;
        CentroidView { rows: *rows, sum, squares: *squares }
    }

    /// As a section keeps it: the sum in each dimension, then that of the squared lengths.
    pub fn to_bytes(&self, dimensions: u32) -> Vec<u8> {
        let numbers = self.sum.iter().take(dimensions as usize).chain([&self.squares]);
        numbers.flat_map(|number| number.to_le_bytes()).collect()
    }

    /// Bytes of memory, roughly.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.sum[..])
    }
}

impl<'a> CentroidView<'a> {
    /// Of a column that a section of so many rows has.
    pub fn open(column: &'a [u8], rows: u32) -> Option<Self> {
        let (squares, sum) = <[f64]>::ref_from_bytes(column).ok()?.split_last()?;
        Some(Self { rows, sum, squares: *squares })
    }

    /// What all rows are ordered by for a query, added up, and how many they are.
    pub fn keys(self, metric: Metric, query: &[f32]) -> (f64, u64) {
        let Self { rows, sum, squares } = self;
        let own = query.iter().map(|own| f64::from(*own));
        let dot: f64 = own.clone().zip(sum).map(|(own, sum)| own * sum).sum();
        let keys = match metric {
            Metric::Cosine | Metric::Dot => dot,
            Metric::L2 => {
                let square: f64 = own.map(|own| own * own).sum();
                2.0 * dot - f64::from(rows) * square - squares
            }
        };
        (keys, u64::from(rows))
    }
}

impl<'a> Part<'a> {
    /// Of the rows whose texts were read: all of them where there are [words](Self::words).
    pub fn centroid(self) -> Option<CentroidView<'a>> {
        match self {
            Self::Tail(tail, _) => Some(tail.text.centroid().view()),
            Self::Section(section) => match section.grown_text() {
                Some(text) => Some(text.centroid().view()),
                None => section.centroid(),
            },
        }
    }
}

impl Section {
    /// Of all rows; `None` in files of builds that wrote none, until it was tried, and if it is
    /// damaged.
    pub(super) fn centroid(&self) -> Option<CentroidView<'_>> {
        CentroidView::open(self.tried_column(ColumnKind::Centroid)?, self.rows())
    }

    /// The vectors come to the same centroid again.
    pub(super) fn verify_centroid(&self, faults: &mut Vec<String>) {
        let Some(column) = self.opaque(ColumnKind::Centroid) else { return };
        let (mut again, part) = (Centroid::default(), Part::Section(self));
        (0..self.rows()).for_each(|row| again.add(part.vector(row), part.columns(row).scale));
        if again.to_bytes(self.dimensions()) != column {
            faults.push("the centroid is not that of the vectors".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::{key, padded};

    const DIMENSIONS: u32 = 19;

    fn vectors() -> impl Strategy<Value = Vec<Vec<f32>>> {
        let vector = prop::collection::vec(-4.0_f32..4.0, DIMENSIONS as usize);
        prop::collection::vec(vector, 2..40)
    }

    proptest! {
        /// What a centroid tells is the mean of what each row tells, under every metric.
        #[test]
        fn it_tells_the_mean_of_the_keys_of_its_rows(vectors in vectors(), scale in 0.1_f32..2.0) {
            let (query, rows) = vectors.split_first().expect("at least two");
            let query = padded(query);
            for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
                let scale = if metric == Metric::Cosine { scale } else { 1.0 };
                let mut centroid = Centroid::default();
                rows.iter().for_each(|row| centroid.add(&padded(row), scale));
                let each = rows.iter().map(|row| key(metric, &query, &padded(row), || scale));
                let all: f64 = each.map(f64::from).sum();
                let (keys, count) = centroid.view().keys(metric, &query);
                prop_assert_eq!(count, rows.len() as u64);
                prop_assert!((keys - all).abs() <= 1e-4 * all.abs().max(10.0), "{keys} {all}");
                // As a column it is the same.
                let column = centroid.to_bytes(DIMENSIONS);
                let kept = CentroidView::open(&column, centroid.rows);
                let kept = kept.map(|own| own.keys(metric, &query));
                prop_assert_eq!(kept, Some((keys, count)));
            }
        }
    }

    #[test]
    fn no_rows_have_no_keys() {
        assert_eq!(Centroid::default().view().keys(Metric::L2, &[1.0; 16]), (0.0, 0));
    }
}
