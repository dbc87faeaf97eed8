//! Large arrays of floats on huge pages, as the engine's arenas are.
#![allow(unsafe_code)]

use std::io;
use std::ops::{Deref, DerefMut};

use memmap2::{Advice, MmapMut};

use crate::random::Random;

/// Floats in anonymous memory that asked for huge pages.
#[derive(Debug)]
pub struct HugeFloats {
    map: MmapMut,
}

impl HugeFloats {
    /// Maps room for `count` floats, all 0.0 and every page touched.
    pub fn zeroed(count: usize) -> io::Result<Self> {
        let map = MmapMut::map_anon(count * size_of::<f32>())?;
        map.advise(Advice::HugePage)?;
        map.advise(Advice::PopulateWrite)?;
        Ok(Self { map })
    }

    /// Maps `count` floats of a fixed pseudo-random sequence, uniform in [-1, 1).
    pub fn random(count: usize) -> io::Result<Self> {
        let mut floats = Self::zeroed(count)?;
        let mut random = Random::default();
        for float in floats.iter_mut() {
            *float = random.next_f32();
        }
        Ok(floats)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.map
    }
}

impl Deref for HugeFloats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: the map is page-aligned, readable, and every bit pattern is an f32.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.map.len() / 4) }
    }
}

impl DerefMut for HugeFloats {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and the map is writable and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), self.map.len() / 4) }
    }
}

/// Bytes of this process on anonymous huge pages, as the kernel counts them.
pub fn huge_page_bytes() -> io::Result<u64> {
    let smaps = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let kibibytes = smaps.lines().find_map(|line| {
        line.strip_prefix("AnonHugePages:")?.strip_suffix("kB")?.trim().parse().ok()
    });
    let kibibytes: u64 = kibibytes.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "smaps_rollup has no AnonHugePages line")
    })?;
    Ok(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_start_zeroed_and_hold_what_is_written() -> io::Result<()> {
        let mut floats = HugeFloats::zeroed(1000)?;
        assert_eq!(floats[..], [0.0; 1000]);
        floats[999] = 1.0;
        assert_eq!(floats.as_bytes()[3996..], 1.0_f32.to_ne_bytes());
        Ok(())
    }

    #[test]
    fn random_floats_are_spread_over_the_interval() -> io::Result<()> {
        let floats = HugeFloats::random(10_000)?;
        assert!(floats.iter().all(|float| (-1.0..1.0).contains(float)));
        let mean = floats.iter().sum::<f32>() / 10_000.0;
        let variance = floats.iter().map(|float| float * float).sum::<f32>() / 10_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0 / 3.0).abs() < 0.02, "{mean} {variance}");
        Ok(())
    }
}
