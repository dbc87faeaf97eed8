//! Content that is the same on every run and different for every number.

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// In [-1, 1).
    pub fn component(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// A vector for a number.
pub fn vector(number: u64, dimensions: usize) -> Vec<f32> {
    let mut random = Random::new(number);
    (0..dimensions).map(|_| random.component()).collect()
}

/// As `VEC` takes it.
pub fn blob(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|component| component.to_le_bytes()).collect()
}

/// Back from what `WITH vec` answers.
pub fn floats(blob: &[u8]) -> Vec<f32> {
    blob.chunks_exact(4).map(|le| f32::from_le_bytes(le.try_into().unwrap())).collect()
}
