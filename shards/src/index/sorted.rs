//! A short list of the nearest, in order.

/// A distance and a number, in one word whose order is that of the distances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Key(pub(super) u64);

impl Key {
    #[inline]
    pub fn new(distance: f32, number: u32) -> Self {
        // Floats order like their bits when those of negative ones are turned over.
        let bits = distance.to_bits();
        let ordered = bits ^ (((bits.cast_signed() >> 31).cast_unsigned() >> 1) | 1 << 31);
        Self(u64::from(ordered) << 32 | u64::from(number))
    }

    #[inline]
    pub fn distance(self) -> f32 {
        let ordered = (self.0 >> 32) as u32;
        let mask = ((ordered.cast_signed() >> 31).cast_unsigned() ^ u32::MAX) >> 1 | 1 << 31;
        f32::from_bits(ordered ^ mask)
    }

    #[inline]
    pub fn number(&self) -> u32 {
        self.0 as u32
    }
}

/// Keys in ascending order, the smallest so many of those offered.
#[derive(Debug, Default)]
pub struct Sorted {
    pub(super) keys: Vec<Key>,
    capacity: usize,
}

impl Sorted {
    /// Empties the list and sets how many it holds.
    pub fn reset(&mut self, capacity: usize) {
        self.keys.clear();
        self.keys.reserve(capacity + 1);
        self.capacity = capacity;
    }

    /// What an offer must stay below.
    #[inline]
    pub fn bound(&self) -> f32 {
        match self.keys.last() {
            Some(last) if self.keys.len() >= self.capacity => last.distance(),
            _ => f32::INFINITY,
        }
    }

    /// Takes a key in; its place.
    #[inline]
    pub fn insert(&mut self, key: Key) -> usize {
        let at = self.keys.partition_point(|other| *other < key);
        if self.keys.len() == self.capacity {
            if at == self.capacity {
                return at;
            }
            self.keys.pop();
        }
        self.keys.insert(at, key);
        at
    }

    pub fn iter(&self) -> impl Iterator<Item = &Key> + Clone {
        self.keys.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_like_their_distances() {
        let distances = [f32::NEG_INFINITY, -2.5, -1e-30, -0.0, 0.0, 1e-30, 3.0, f32::INFINITY];
        for pair in distances.windows(2) {
            assert!(Key::new(pair[0], 9) < Key::new(pair[1], 0), "{pair:?}");
        }
        for distance in distances {
            let key = Key::new(distance, 77);
            assert_eq!((key.distance().to_bits(), key.number()), (distance.to_bits(), 77));
        }
    }

    #[test]
    fn the_smallest_stay() {
        let mut sorted = Sorted::default();
        sorted.reset(3);
        for (number, distance) in [4.0, 1.0, 3.0, 2.0, 9.0, 0.5].into_iter().enumerate() {
            sorted.insert(Key::new(distance, number as u32));
        }
        assert_eq!(sorted.iter().map(Key::number).collect::<Vec<_>>(), [5, 1, 3]);
        assert_eq!(sorted.bound(), 2.0);
    }
}
