//! The nearest candidates of every node, gathered from leaves that overlap.
//!
//! A pool takes what it is offered at its end; when it is full it is sorted, candidates that came
//! twice go, and the farther part is cut off. That costs a constant per offer. What is not below a
//! full pool's bound is not offered at all.

/// Candidates that a pool takes beyond its capacity before it is cut.
const SLACK: usize = 32;

/// A distance and a node.
pub(super) type Candidate = (f32, u32);

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Pools {
    capacity: usize,
    counts: Vec<u8>,
    bounds: Vec<f32>,
    candidates: Vec<Candidate>,
}

impl Pools {
    pub(super) fn new(capacity: usize) -> Self {
        assert!(capacity + SLACK <= usize::from(u8::MAX), "{capacity} candidates");
        Self { capacity, counts: Vec::new(), bounds: Vec::new(), candidates: Vec::new() }
    }

    pub(super) fn resize(&mut self, nodes: usize) {
        self.counts.resize(nodes, 0);
        self.bounds.resize(nodes, f32::INFINITY);
        self.candidates.resize(nodes * (self.capacity + SLACK), (0.0, 0));
    }

    /// What an offer to this node must stay below.
    #[inline]
    pub(super) fn bound(&self, of: u32) -> f32 {
        self.bounds[of as usize]
    }

    #[inline]
    pub(super) fn offer(&mut self, to: u32, node: u32, distance: f32) {
        let owner = to as usize;
        if distance >= self.bounds[owner] {
            return;
        }
        let width = self.capacity + SLACK;
        let count = usize::from(self.counts[owner]);
        self.candidates[owner * width + count] = (distance, node);
        self.counts[owner] += 1;
        if count + 1 == width {
            self.sort(to);
        }
    }

    /// The candidates of a node, nearest first, each once.
    pub(super) fn sort(&mut self, of: u32) -> &[Candidate] {
        let owner = of as usize;
        let width = self.capacity + SLACK;
        let count = usize::from(self.counts[owner]);
        let pool = &mut self.candidates[owner * width..][..count];
        pool.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        // The same pair has the same distance in every leaf, so it stands side by side.
        let mut kept = 0;
        for nth in 0..count {
            if kept == 0 || pool[kept - 1] != pool[nth] {
                pool[kept] = pool[nth];
                kept += 1;
            }
        }
        if kept >= self.capacity {
            kept = self.capacity;
            self.bounds[owner] = pool[kept - 1].0;
        }
        self.counts[owner] = kept as u8;
        &pool[..kept]
    }
}
