//! Which rows of a part live, and when the others died.
//!
//! A row that dies stays where it is: a recall that began before still sees it. Whoever builds a
//! new part from this one needs to know what died meanwhile; [`Deaths::note`] begins a list of it.
//!
//! A row whose time is over is *hidden* from that moment on, which no frame tells: readers do not
//! see it, and it dies when the log says so. A consolidation writes it like any that lives.

use crate::limits::BLOCK_ROWS;

/// The sequence of a death that has not come.
pub const ALIVE: u64 = u64::MAX;

#[derive(Debug)]
struct Block {
    /// Bit *r* is set while row *r* lives.
    alive: u64,
    /// Rows that readers do not see, alive or dead.
    hidden: u64,
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
    /// Rows that live and are hidden.
    hidden: u32,
    /// Rows and the sequences of their deaths, in that order, since somebody wants to know.
    noted: Option<Vec<(u32, u64)>>,
}

impl Deaths {
    /// Of a part of so many rows, all alive.
    pub fn of_rows(rows: u32) -> Self {
        let full = Block { alive: u64::MAX, hidden: 0, last_death: 0, died: None };
        let mut blocks: Vec<_> =
            (0..rows as usize / BLOCK_ROWS).map(|_| Block { died: None, ..full }).collect();
        let rest = rows as usize % BLOCK_ROWS;
        if rest > 0 {
            blocks.push(Block { alive: (1 << rest) - 1, ..full });
        }
        Self { blocks, rows, dead: 0, hidden: 0, noted: None }
    }

    /// Adds a row.
    pub fn push(&mut self) {
        let nth = self.rows as usize % BLOCK_ROWS;
        if nth == 0 {
            self.blocks.push(Block { alive: 0, hidden: 0, last_death: 0, died: None });
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

    /// Rows that readers do not see although no frame has ended them.
    pub fn hidden(&self) -> u32 {
        self.hidden
    }

    /// Whether readers see a row.
    pub fn is_alive(&self, row: u32) -> bool {
        let (block, nth) = (row as usize / BLOCK_ROWS, row as usize % BLOCK_ROWS);
        let Block { alive, hidden, .. } = &self.blocks[block];
        alive & !hidden & 1 << nth != 0
    }

    /// Whether no frame has ended a row, be it hidden or not.
    pub fn is_kept(&self, row: u32) -> bool {
        let (block, nth) = (row as usize / BLOCK_ROWS, row as usize % BLOCK_ROWS);
        self.blocks[block].alive & 1 << nth != 0
    }

    /// The sequence that replaced or forgot a row; [`ALIVE`] while it lives, 0 for one that is
    /// hidden.
    pub fn died(&self, row: u32) -> u64 {
        let (block, nth) = (row as usize / BLOCK_ROWS, row as usize % BLOCK_ROWS);
        let Block { hidden, died, .. } = &self.blocks[block];
        match hidden & 1 << nth {
            0 => died.as_ref().map_or(ALIVE, |died| died[nth]),
            _ => 0,
        }
    }

    /// The sequence that ended a row, be it hidden or not; [`ALIVE`] while it is kept.
    pub fn ended(&self, row: u32) -> u64 {
        let (block, nth) = (row as usize / BLOCK_ROWS, row as usize % BLOCK_ROWS);
        self.blocks[block].died.as_ref().map_or(ALIVE, |died| died[nth])
    }

    /// Hides a row from readers for ever; whether it was seen until now.
    pub fn hide(&mut self, row: u32) -> bool {
        let was_seen = self.is_alive(row);
        self.hidden += u32::from(was_seen);
        self.blocks[row as usize / BLOCK_ROWS].hidden |= 1 << (row as usize % BLOCK_ROWS);
        was_seen
    }

    /// Marks a row dead as of a sequence; a dead one stays as it is. Whether readers saw it.
    pub fn kill(&mut self, row: u32, sequence: u64) -> bool {
        if !self.is_kept(row) {
            return false;
        }
        let was_seen = self.is_alive(row);
        self.hidden -= u32::from(!was_seen);
        let (block, nth) = (row as usize / BLOCK_ROWS, row as usize % BLOCK_ROWS);
        let block = &mut self.blocks[block];
        block.alive &= !(1 << nth);
        block.last_death = block.last_death.max(sequence);
        block.died.get_or_insert_with(|| Box::new([ALIVE; BLOCK_ROWS]))[nth] = sequence;
        self.dead += 1;
        if let Some(noted) = &mut self.noted {
            noted.push((row, sequence));
        }
        was_seen
    }

    /// The rows of a block that readers see who began when the shard had applied `snapshot`, as
    /// bits.
    pub fn visible(&self, block: usize, snapshot: u64) -> u64 {
        self.kept(block, snapshot) & !self.blocks[block].hidden
    }

    /// The rows of a block that no frame up to `snapshot` had ended, as bits.
    pub fn kept(&self, block: usize, snapshot: u64) -> u64 {
        let Block { alive, last_death, died, .. } = &self.blocks[block];
        match died {
            Some(died) if *last_death > snapshot => {
                let gone_later = |nth: usize| died[nth] != ALIVE && died[nth] > snapshot;
                (0..BLOCK_ROWS).fold(*alive, |bits, nth| bits | u64::from(gone_later(nth)) << nth)
            }
            _ => *alive,
        }
    }

    /// Rows that no frame up to `snapshot` had ended.
    pub fn count_kept(&self, snapshot: u64) -> u64 {
        (0..self.blocks.len()).map(|nth| u64::from(self.kept(nth, snapshot).count_ones())).sum()
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
    fn a_hidden_row_is_seen_by_nobody_and_kept_until_it_dies() {
        let mut deaths = Deaths::of_rows(70);
        deaths.kill(2, 5);
        assert!(deaths.hide(3) && !deaths.hide(3) && !deaths.hide(2) && deaths.hide(69));
        assert_eq!((deaths.hidden(), deaths.dead(), deaths.died(3)), (2, 1, 0));
        assert!(!deaths.is_alive(3) && deaths.is_kept(3) && deaths.is_alive(4));
        // Nor by who began before: row 2 is dead, and hidden besides.
        assert_eq!((deaths.visible(0, 4), deaths.kept(0, 4)), (!12, u64::MAX));
        assert!(!deaths.kill(3, 7) && deaths.kill(4, 8) && !deaths.kill(4, 9));
        assert_eq!((deaths.hidden(), deaths.dead(), deaths.ended(3)), (1, 3, 7));
        assert_eq!((deaths.visible(0, 6), deaths.count_kept(6)), (!12, 69));
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
