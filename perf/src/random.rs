//! A fixed pseudo-random sequence: every run measures the same data.

/// Marsaglia's xorshift64.
#[derive(Debug)]
pub struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }
}

impl Random {
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Uniform in [-1, 1).
    pub fn next_f32(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Overwrites the whole words of `bytes`.
    pub fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for word in bytes.as_chunks_mut().0 {
            *word = self.next_u64().to_ne_bytes();
        }
    }
}
