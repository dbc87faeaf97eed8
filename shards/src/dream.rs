//! Dream: what replaying an episode offline does to its associations.
//!
//! Links of a kind of their own, [`KIND`], say which episodes were active together when an episode
//! was replayed. After each replay the weight of a link moves towards the activity *a* of its
//! target, 0 where that was not among the active:
//!
//! ```text
//! w ← w + η (a − w)        η = 0.25, 0 ≤ a ≤ 1
//! ```
//!
//! It is Hebb's rule with a decay that keeps it bounded: of an episode whose own activity is 1,
//! Oja's rule in one dimension ("A simplified neuron model as a principal component analyzer",
//! 1982). A weight never leaves [0, 1], settles at what is usual, and halves in 2.4 replays without
//! its target. A link that is next to nothing goes, and so do the weakest beyond [`LINKS_MAX`].

use bytes::Bytes;

use crate::episode::{Sequence, SpaceNumber};

/// The kind of links that replay makes.
pub const KIND: &[u8] = b"dream";
/// Links of that kind that one episode has at most.
pub const LINKS_MAX: usize = 8;
/// η.
const RATE: f32 = 0.25;
/// What weighs less goes.
const WEIGHT_MIN: f32 = 0.05;
/// A smaller change is not worth a write.
const CHANGE_MIN: f32 = 0.01;

/// What is to become of a link.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub target: Bytes,
    /// `None` for a link that goes.
    pub weight: Option<f32>,
}

/// A change of a link of the episode that was stored with a sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct RelearnRequest {
    pub space: SpaceNumber,
    pub stored: Sequence,
    pub change: Change,
}

/// What a replay makes of the links of an episode, by targets, where these were active with it.
pub fn relearn(links: &[(Bytes, f32)], active: &[(Bytes, f32)]) -> Vec<Change> {
    let activity = |target: &Bytes| {
        let found = active.iter().find(|(own, _)| own == target);
        found.map_or(0.0, |(_, activity)| activity.clamp(0.0, 1.0))
    };
    let weight_of = |target: &Bytes| links.iter().find(|(own, _)| own == target).map(|own| own.1);
    let is_new = |(target, _): &&(Bytes, f32)| weight_of(target).is_none();
    let targets = links.iter().chain(active.iter().filter(is_new)).map(|(target, _)| target);
    let mut after: Vec<(&Bytes, Option<f32>, f32)> = targets
        .map(|target| {
            let before = weight_of(target);
            let weight = before.unwrap_or(0.0).clamp(0.0, 1.0);
            (target, before, weight + RATE * (activity(target) - weight))
        })
        .collect();
    // The strongest first; among equals by id, however they came.
    after.sort_by(|a, b| b.2.total_cmp(&a.2).then_with(|| a.0.cmp(b.0)));
    let change = |(nth, (target, before, weight)): (usize, (&Bytes, Option<f32>, f32))| {
        let stays = nth < LINKS_MAX && weight >= WEIGHT_MIN;
        let weight = match before {
            _ if stays && before.is_none_or(|own| (own - weight).abs() >= CHANGE_MIN) => {
                Some(weight)
            }
            Some(_) if !stays => None,
            _ => return None,
        };
        Some(Change { target: target.clone(), weight })
    };
    after.into_iter().enumerate().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(of: &[(&str, f32)]) -> Vec<(Bytes, f32)> {
        of.iter().map(|(id, weight)| (Bytes::copy_from_slice(id.as_bytes()), *weight)).collect()
    }

    /// What the links are after a replay.
    fn replay(before: &[(Bytes, f32)], active: &[(Bytes, f32)]) -> Vec<(Bytes, f32)> {
        let mut after = before.to_vec();
        for Change { target, weight } in relearn(before, active) {
            after.retain(|(own, _)| *own != target);
            after.extend(weight.map(|weight| (target, weight)));
        }
        after
    }

    #[test]
    fn weights_grow_towards_what_is_usual_and_stop_there() {
        let active = links(&[("a", 0.8), ("b", 2.0), ("c", 0.1)]);
        let mut own = Vec::new();
        for _ in 0..40 {
            own = replay(&own, &active);
            assert!(own.iter().all(|(_, weight)| (0.0..=1.0).contains(weight)));
        }
        own.sort_by(|a, b| a.0.cmp(&b.0));
        let weights: Vec<f32> = own.iter().map(|(_, weight)| *weight).collect();
        assert_eq!(own.len(), 2, "what is hardly active is not learned: {own:?}");
        // Within the changes that are too small to be written.
        assert!((weights[0] - 0.8).abs() < 0.05 && (weights[1] - 1.0).abs() < 0.05, "{own:?}");
        assert_eq!(relearn(&own, &active), []);
    }

    #[test]
    fn what_is_not_active_any_more_decays_and_goes() {
        let mut own = links(&[("a", 0.9), ("b", 0.6)]);
        let active = links(&[("b", 0.6)]);
        for nth in 0..20 {
            let before = own.iter().find(|(id, _)| id == "a").map(|own| own.1);
            own = replay(&own, &active);
            let after = own.iter().find(|(id, _)| id == "a").map(|own| own.1);
            match (before, after) {
                (Some(before), Some(after)) => assert_eq!(after, before * 0.75, "replay {nth}"),
                (before, after) => assert!(after.is_none() && before.is_none_or(|w| w < 0.07)),
            }
        }
        assert_eq!(own, active);
    }

    #[test]
    fn an_episode_keeps_the_strongest_in_whatever_order_they_come() {
        let many: Vec<(String, f32)> =
            (0..20).map(|nth| (format!("e{nth:02}"), 0.5 + 0.02 * nth as f32)).collect();
        let many: Vec<(&str, f32)> = many.iter().map(|(id, own)| (&id[..], *own)).collect();
        let mut changes = relearn(&[], &links(&many));
        assert_eq!(changes.len(), LINKS_MAX);
        assert!(changes.iter().all(|change| change.target >= Bytes::from_static(b"e12")));
        let mut reversed = many.clone();
        reversed.reverse();
        assert_eq!(relearn(&[], &links(&reversed)), changes);
        // A stronger one takes the place of the weakest.
        let own: Vec<(Bytes, f32)> = changes
            .drain(..)
            .map(|change| (change.target, change.weight.expect("they are new")))
            .collect();
        let mut active = own.clone();
        active.push(("z".into(), 1.0));
        let after = replay(&own, &active);
        assert_eq!(after.len(), LINKS_MAX);
        assert!(after.iter().any(|(id, _)| id == "z") && after.iter().all(|(id, _)| id != "e12"));
    }
}
