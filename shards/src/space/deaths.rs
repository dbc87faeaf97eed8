//! Which rows of a part live, and when the others died.
//!
//! A row that dies stays where it is: a recall that began before still sees it. Whoever builds a
//! new part from this one needs to know what died meanwhile; [`Deaths::note`] begins a list of it.

use crate::limits::BLOCK_ROWS;

/// The sequence of a death that has not come.
pub const ALIVE: u64 = u64::MAX;

#[derive(Debug)]
struct Block {
    /// Bit *r* is set while row *r* lives.
    alive: u64,
    /// The latest sequence at which a row of this block died.
    last_death: u64,
    /// Made at the first death.
    died: Option<Box<[u64; BLOCK_ROWS]>>,
}

/// See the top of the file.
#[derive(Debug, Default)]
pub struct Deaths {
    blocks: Vec<Block>,
    rows: u32,
    dead: u32,
    /// Rows and the sequences of their deaths, in that order, since somebody wants to know.
    noted: Option<Vec<(u32, u64)>>,
}

impl Deaths {
    /// Of a part of so many rows, all alive.
    pub fn of_rows(rows: u32) -> Self {
        let full = Block { alive: u64::MAX, last_death: 0, died: None };
        let mut blocks: Vec<_> =
            (0..rows as usize / BLOCK_ROWS).map(|_| Block { died: None, ..full }).collect();
        let rest = rows as usize % BLOCK_ROWS;
        if rest > 0 {
            blocks.push(Block { alive: (1 << rest) - 1, ..full });
        }
        Self { blocks, rows, dead: 0, noted: None }
    }

    /// Adds a row.
    pub fn push(&mut self) {
        let nth = self.rows as usize % BLOCK_ROWS;
        if nth == 0 {
            self.blocks.push(Block { alive: 0, last_death: 0, died: None });
        }
        self.blocks.last_mut().expect("just made sure").alive |= 1 << nth;
        self.rows += 1;
    }

    pub fn rows(&self) -> u32 {
        self.rows
    }

    pub fn dead(&self) -> u32 {
        self.dead
    }

    pub fn is_alive(&self, row: u32) -> bool {
        let (block, nth) = (row as usize / BLOCK_ROWS, row as usize % BLOCK_ROWS);
        self.blocks[block].alive & 1 << nth != 0
    }

    /// The sequence that replaced or forgot a row; [`ALIVE`] while it lives.
    pub fn died(&self, row: u32) -> u64 {
        let (block, nth) = (row as usize / BLOCK_ROWS, row as usize % BLOCK_ROWS);
        self.blocks[block].died.as_ref().map_or(ALIVE, |died| died[nth])
    }

    /// Marks a row dead as of a sequence; a dead one stays as it is.
    pub fn kill(&mut self, row: u32, sequence: u64) {
        if !self.is_alive(row) {
            return;
        }
        let (block, nth) = (row as usize / BLOCK_ROWS, row as usize % BLOCK_ROWS);
        let block = &mut self.blocks[block];
        block.alive &= !(1 << nth);
        block.last_death = block.last_death.max(sequence);
        block.died.get_or_insert_with(|| Box::new([ALIVE; BLOCK_ROWS]))[nth] = sequence;
        self.dead += 1;
        if let Some(noted) = &mut self.noted {
            noted.push((row, sequence));
        }
    }

    /// The rows of a block that lived when the shard had applied `snapshot`, as bits.
    pub fn visible(&self, block: usize, snapshot: u64) -> u64 {
        let Block { alive, last_death, died } = &self.blocks[block];
        match died {
            Some(died) if *last_death > snapshot => {
                let gone_later = |nth: usize| died[nth] != ALIVE && died[nth] > snapshot;
                (0..BLOCK_ROWS).fold(*alive, |bits, nth| bits | u64::from(gone_later(nth)) << nth)
            }
            _ => *alive,
        }
    }

    /// Rows that lived when the shard had applied `snapshot`.
    pub fn count_visible(&self, snapshot: u64) -> u64 {
        (0..self.blocks.len()).map(|nth| u64::from(self.visible(nth, snapshot).count_ones())).sum()
    }

    /// The dead rows, with the sequences of their deaths.
    pub fn all(&self) -> impl Iterator<Item = (u32, u64)> {
        let blocks = self.blocks.iter().zip((0..).step_by(BLOCK_ROWS));
        let dead = blocks.filter_map(|(block, first)| Some((block.died.as_ref()?, first)));
        dead.flat_map(|(died, first)| (first..).zip(died.iter().copied()))
            .filter(|(_, died)| *died != ALIVE)
    }

    /// Begins the list of deaths anew.
    pub fn note(&mut self) {
        self.noted = Some(Vec::new());
    }

    /// The list so far.
    pub fn noted(&self) -> &[(u32, u64)] {
        self.noted.as_deref().unwrap_or_default()
    }

    /// Ends the list.
    pub fn forget_noted(&mut self) {
        self.noted = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_visible_until_its_death() {
        let mut deaths = Deaths::of_rows(70);
        deaths.push();
        assert_eq!((deaths.rows(), deaths.dead()), (71, 0));
        assert_eq!(deaths.visible(0, 0), u64::MAX);
        assert_eq!(deaths.visible(1, 0), 0x7f);
        deaths.kill(3, 10);
        deaths.kill(3, 11);
        deaths.kill(70, 12);
        assert_eq!((deaths.died(3), deaths.died(4), deaths.dead()), (10, ALIVE, 2));
        assert_eq!(deaths.visible(0, 9), u64::MAX);
        assert_eq!(deaths.visible(0, 10), !8);
        assert_eq!((deaths.visible(1, 11), deaths.visible(1, 12)), (0x7f, 0x3f));
        assert_eq!(deaths.all().collect::<Vec<_>>(), [(3, 10), (70, 12)]);
    }

    #[test]
    fn only_deaths_since_somebody_asked_are_noted() {
        let mut deaths = Deaths::of_rows(64);
        deaths.kill(1, 5);
        deaths.note();
        deaths.kill(1, 6);
        deaths.kill(2, 7);
        assert_eq!(deaths.noted(), [(2, 7)]);
        deaths.forget_noted();
        deaths.kill(3, 8);
        assert!(deaths.noted().is_empty());
    }
}
