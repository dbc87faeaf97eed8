//! What who asks may think of rows.

use super::{Damaged, RowAt, Space};
use crate::arena::Arena;
use crate::episode::{Conditions, Fields};
use crate::trust::Opinion;

impl Space {
    /// Of each row, if it is asked for.
    ///
    /// # Panics
    /// When a part is not there any more.
    pub(crate) fn opinions(
        &self,
        arena: &Arena,
        rows: impl Iterator<Item = RowAt>,
        fields: Fields,
        conditions: &Conditions,
    ) -> Result<Vec<Option<Opinion>>, Damaged> {
        let Some(at_us) = fields.belief else { return Ok(rows.map(|_| None).collect()) };
        let opinion = |at: RowAt| {
            let part = self.part(arena, at.part).expect("a row is read while its part is there");
            let retention = self.changed().retention(part.origin(at.row), at_us.get());
            let trust = conditions.trust.as_deref();
            let trust = trust.map(|trust| part.trusted(at.row, trust)).transpose()?;
            Ok(Some(Opinion::new(part.confidence(at.row), trust.unwrap_or(1.0), retention)))
        };
        rows.map(opinion).collect()
    }
}
