//! Which shard owns an episode, and what an assigned id looks like.
//!
//! The owner is a pure function of the space and the id, the same on every shard and for ever: it
//! decides in which log an episode is found again after a restart.

use bytes::Bytes;
use engram_shards::episode::{SpaceNumber, SpaceSettings};
use engram_shards::space::Home;
use uuid::{Builder, Uuid};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Tells ids that follow from contents from those that follow from keys.
const CONTENT_SEED: u64 = 0x636f_6e74_656e_7431;

/// The shards that a space spans, and where its episodes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    space: SpaceNumber,
    first: usize,
    span: usize,
    shards: usize,
}

impl Route {
    /// A space spans `settings.shards` shards in a row, from one that its name decides, so that
    /// small spaces spread over all shards.
    pub fn new(space: SpaceNumber, settings: &SpaceSettings, shards: usize) -> Self {
        let first = (xxh3_64(settings.name.as_bytes()) % shards as u64) as usize;
        let span = (settings.shards as usize).clamp(1, shards);
        Self { space, first, span, shards }
    }

    pub fn space(&self) -> SpaceNumber {
        self.space
    }

    /// The shard that owns an id.
    pub fn owner(&self, id: &[u8]) -> usize {
        self.nth(Home::of(self.space, id, self.span as u32) as usize)
    }

    /// What the shards of the space are to each other, in the order of [`all`](Self::all).
    pub fn homes(&self) -> impl Iterator<Item = Home> + use<> {
        let span = self.span as u32;
        (0..span).map(move |nth| Home { nth, span })
    }

    /// The shards of the space, in a fixed order.
    pub fn nth(&self, nth: usize) -> usize {
        (self.first + nth) % self.shards
    }

    pub fn span(&self) -> usize {
        self.span
    }

    pub fn all(self) -> impl Iterator<Item = usize> {
        (0..self.span).map(move |nth| self.nth(nth))
    }

    /// The id of an episode that came without one and is to be stored once: the same for the same
    /// vector and text, so that they find their way to the same shard and the same episode.
    pub fn id_from_content(&self, vector: &[u8], text: &[u8]) -> Bytes {
        let mut hasher = Xxh3::with_seed(CONTENT_SEED);
        hasher.update(&self.space.0.to_le_bytes());
        hasher.update(&(vector.len() as u64).to_le_bytes());
        hasher.update(vector);
        hasher.update(text);
        self::text(Builder::from_custom_bytes(hasher.digest128().to_be_bytes()).into_uuid())
    }

    /// The id of an episode that came without one but with an idempotency key: the same for the
    /// same key, so that a retry finds its way to the same shard and the same episode.
    pub fn id_from_key(&self, key: &[u8]) -> Bytes {
        let mut hasher = Xxh3::new();
        hasher.update(&self.space.0.to_le_bytes());
        hasher.update(key);
        text(Builder::from_custom_bytes(hasher.digest128().to_be_bytes()).into_uuid())
    }
}

/// Makes ids for episodes that came without one: UUIDs of version 7, which sort by time.
#[derive(Debug)]
pub(super) struct IdMaker {
    state: u64,
}

impl IdMaker {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) fn make(&mut self, wall_us: i64) -> Bytes {
        let millis = u64::try_from(wall_us / 1000).unwrap_or(0);
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.next().to_le_bytes());
        random[8..].copy_from_slice(&self.next().to_le_bytes()[..2]);
        text(Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// SplitMix64 (Steele, Lea and Flood 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn text(id: Uuid) -> Bytes {
    let mut buffer = Uuid::encode_buffer();
    Bytes::copy_from_slice(id.hyphenated().encode_lower(&mut buffer).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(span: u32, shards: usize) -> Route {
        let settings = SpaceSettings { shards: span, ..SpaceSettings::usual("notes", 3) };
        Route::new(SpaceNumber(7), &settings, shards)
    }

    #[test]
    fn ids_spread_evenly_over_the_span_and_nowhere_else() {
        let route = route(3, 8);
        let mut counts = [0_u32; 8];
        for nth in 0..9000 {
            counts[route.owner(format!("id-{nth}").as_bytes())] += 1;
        }
        let used: Vec<_> = (0..8).filter(|&shard| counts[shard] > 0).collect();
        let mut spanned: Vec<_> = route.all().collect();
        spanned.sort_unstable();
        assert_eq!(used, spanned);
        assert!(spanned.iter().all(|&shard| counts[shard] > 2700), "{counts:?}");
    }

    #[test]
    fn owners_never_change() {
        // Literal on purpose: another hash would lose every stored episode.
        let route = route(4, 4);
        let owners: Vec<_> =
            ["a", "b", "c", "d", "e", "f"].iter().map(|id| route.owner(id.as_bytes())).collect();
        assert_eq!(owners, [1, 0, 1, 0, 1, 1]);
    }

    #[test]
    fn a_content_always_gives_the_same_id() {
        // Literal on purpose: another hash would store again what is there.
        let route = route(2, 2);
        let id = route.id_from_content(b"vector", b"text");
        assert_eq!(id, "07159563-1445-8e1b-9b05-37839b21f0b8");
        assert_eq!(id, route.id_from_content(b"vector", b"text"));
        assert_ne!(id, route.id_from_content(b"vectort", b"ext"));
        assert_ne!(id, route.id_from_key(b"vectortext"));
    }

    #[test]
    fn a_key_always_gives_the_same_id_and_no_key_never_does() {
        let route = route(2, 2);
        assert_eq!(route.id_from_key(b"k"), route.id_from_key(b"k"));
        assert_ne!(route.id_from_key(b"k"), route.id_from_key(b"l"));
        let mut maker = IdMaker::new(1);
        let (one, two) = (maker.make(1_700_000_000_000_000), maker.make(1_700_000_000_000_000));
        assert_ne!(one, two);
        assert_eq!((one.len(), one[14]), (36, b'7'));
        assert!(maker.make(1_700_000_001_000_000) > two, "later ids sort behind");
    }
}
