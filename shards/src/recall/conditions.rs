//! Conditions as they are asked of a row.

use crate::episode::Conditions;
use crate::space::{Damaged, Part, Standing};

impl Conditions {
    /// Whether a row fulfils them that stands so.
    pub(crate) fn admit(
        &self,
        part: Part<'_>,
        row: u32,
        standing: Standing<'_>,
    ) -> Result<bool, Damaged> {
        let columns = part.columns(row);
        let is_within = standing.has(part, row)
            && self.since_us.is_none_or(|since| columns.happened_at_us >= since)
            && self.until_us.is_none_or(|until| columns.happened_at_us <= until)
            && self.point_min().is_none_or(|least| columns.confidence >= least);
        if is_within { self.admit_read(part, row) } else { Ok(false) }
    }

    /// Whether there are any that a row itself has to be read for, not its columns alone.
    pub(crate) fn are_read(&self) -> bool {
        self.filter.is_some() || self.trust_min.is_some()
    }

    /// Whether a row fulfils those.
    pub(crate) fn admit_read(&self, part: Part<'_>, row: u32) -> Result<bool, Damaged> {
        if let Some(least) = self.trust_min {
            let stored = part.confidence(row);
            if stored.low < least {
                return Ok(false);
            }
            if let Some(trust) = &self.trust
                && stored.discounted(part.trusted(row, trust)?).low < least
            {
                return Ok(false);
            }
        }
        match &self.filter {
            Some(filter) => part.satisfies(row, filter),
            None => Ok(true),
        }
    }
}
