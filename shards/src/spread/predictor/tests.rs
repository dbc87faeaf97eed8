//! Workloads that are made up: what a push visits and what that takes follow a law that the
//! predictor is not told, with noise, pauses and sudden changes.

use proptest::prelude::*;

use super::*;

/// Pushes that a predictor may need after a sudden change.
const RECOVERED_AFTER: usize = 200;

/// What pushes visit and take.
#[derive(Debug, Clone, Copy)]
struct Law {
    base_ns: f64,
    ns_per_edge: f64,
    ns_per_asked: f64,
    /// The share of what mass could pay that is visited.
    reach: f64,
    /// Standard deviations of the logarithms.
    edges_noise: f64,
    time_noise: f64,
    /// The share of pushes that take fifty times as long.
    pauses: f64,
}

const WARM: Law = Law {
    base_ns: 700.0,
    ns_per_edge: 7.0,
    ns_per_asked: 5.0,
    reach: 0.2,
    edges_noise: 0.05,
    time_noise: 0.05,
    pauses: 0.0,
};
const COLD: Law = Law { base_ns: 2000.0, ns_per_edge: 15.0, ns_per_asked: 30.0, ..WARM };

/// Pushes of a kind: seeds, and a budget.
#[derive(Debug, Clone, Copy)]
struct Kind {
    seeds: u32,
    edges_max: u64,
}

const FEW: Kind = Kind { seeds: 3, edges_max: 256 };
const USUAL: Kind = Kind { seeds: 20, edges_max: 4096 };
const WIDE: Kind = Kind { seeds: 100, edges_max: 65_536 };
const UNBOUNDED: Kind = Kind { seeds: 8, edges_max: u64::MAX };
const KINDS: [Kind; 4] = [FEW, USUAL, WIDE, UNBOUNDED];

struct Simulated(u64);

impl Simulated {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal: the sum of twelve evenly spread numbers.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// A push of a kind from seeds with some links each, and what became of it.
    fn push(&mut self, law: Law, kind: Kind) -> (Known, Work, u64) {
        let mut known = Known { edges_max: kind.edges_max, ..Known::default() };
        for _ in 0..kind.seeds {
            let links = 1.0 + 30.0 * self.unit();
            known.certain += links;
            known.asked += 1.0 + links;
            known.asked_next += links * self.unit();
            let at = (self.unit() * (KNOTS - 1) as f64) as usize;
            let mass = 20_000.0 * (0.5 + self.unit()) / f64::from(kind.seeds);
            let above_by = self.unit();
            known.beyond[at] += mass * (1.0 - above_by);
            known.beyond[at + 1] += mass * above_by;
        }
        let reach = known.certain + law.reach * known.beyond.iter().sum::<f64>();
        let reach = (reach * (law.edges_noise * self.normal()).exp()) as u64;
        let work = Work {
            edges: reach.min(kind.edges_max),
            was_spent: reach > kind.edges_max,
            ..Work::default()
        };
        let edges = work.edges as f64;
        let asked = known.asked_with(edges);
        let ns = law.base_ns + law.ns_per_edge * edges + law.ns_per_asked * asked;
        let pause = if self.unit() < law.pauses { 50.0 } else { 1.0 };
        let noise = (law.time_noise * self.normal()).exp();
        (known, work, (ns * noise * pause) as u64)
    }

    /// Tells a predictor of so many pushes; which were predicted well enough.
    fn teach(&mut self, to: &mut Predictor, law: Law, kind: Kind, pushes: usize) -> Vec<bool> {
        let mut teach = |_| {
            let (known, work, ns) = self.push(law, kind);
            is_within(to.note(&known, &work, ns).ns, ns)
        };
        (0..pushes).map(&mut teach).collect()
    }
}

impl Default for Simulated {
    fn default() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }
}

fn share(of: &[bool]) -> f64 {
    of.iter().filter(|is| **is).count() as f64 / of.len() as f64
}

#[test]
fn each_of_four_workloads_is_predicted_within_a_fifth() {
    for kind in KINDS {
        for law in [WARM, COLD] {
            let mut predictor = Predictor::new();
            let mut simulated = Simulated::default();
            let within = simulated.teach(&mut predictor, law, kind, 2000);
            let share = share(&within[RECOVERED_AFTER..]);
            assert!(share >= 0.95, "{kind:?} under {law:?}: {share}");
        }
    }
}

#[test]
fn all_of_them_at_once_are_predicted_within_a_fifth() {
    let (mut predictor, mut simulated) = (Predictor::new(), Simulated::default());
    let mut within = Vec::new();
    for nth in 0..4000 {
        within.extend(simulated.teach(&mut predictor, WARM, KINDS[nth % 4], 1));
    }
    let share = share(&within[4 * RECOVERED_AFTER..]);
    assert!(share >= 0.95, "{share}");
}

#[test]
fn the_first_guesses_are_forgotten() {
    // Ten times slower than what was measured once.
    let law = Law { base_ns: 5000.0, ns_per_edge: 110.0, ns_per_asked: 50.0, ..WARM };
    let (mut predictor, mut simulated) = (Predictor::new(), Simulated::default());
    let within = simulated.teach(&mut predictor, law, USUAL, 200);
    assert!(!within[0]);
    assert!(share(&within[50..]) >= 0.95, "{within:?}");
}

#[test]
fn it_recovers_from_each_sudden_change() {
    let slow = Law { ns_per_edge: 90.0, ..COLD };
    let sparse = Law { reach: 0.03, ..WARM };
    let blocks = [
        (WARM, FEW),
        (WARM, USUAL),
        (COLD, USUAL),
        (WARM, WIDE),
        (sparse, UNBOUNDED),
        (slow, FEW),
        (WARM, UNBOUNDED),
        (slow, USUAL),
        (sparse, USUAL),
        (COLD, WIDE),
    ];
    let (mut predictor, mut simulated) = (Predictor::new(), Simulated::default());
    for (law, kind) in blocks {
        let within = simulated.teach(&mut predictor, law, kind, 1000);
        let share = share(&within[RECOVERED_AFTER..]);
        assert!(share >= 0.95, "{kind:?} under {law:?}: {share}");
    }
    assert!(predictor.accuracy().changes > 0);
}

#[test]
fn pauses_do_not_spoil_it() {
    let law = Law { pauses: 0.02, ..WARM };
    let (mut predictor, mut simulated) = (Predictor::new(), Simulated::default());
    let within = simulated.teach(&mut predictor, law, USUAL, 5000);
    // The pushes with a pause are missed themselves.
    let share = share(&within[RECOVERED_AFTER..]);
    assert!(share >= 0.95, "{share}");
    assert_eq!(predictor.accuracy().changes, 0);
    // Right after one it is as good as before.
    let (known, work, ns) = simulated.push(WARM, USUAL);
    let before = predictor.predict(&known).ns as f64;
    predictor.note(&known, &work, 50 * ns);
    let after = predictor.predict(&known).ns as f64;
    assert!((after / before - 1.0).abs() < 0.02, "from {before} to {after}");
}

#[test]
fn pushes_that_were_cut_off_do_not_lower_what_is_expected() {
    let (mut predictor, mut simulated) = (Predictor::new(), Simulated::default());
    simulated.teach(&mut predictor, WARM, UNBOUNDED, 500);
    let (known, _, _) = simulated.push(WARM, UNBOUNDED);
    let before = predictor.predict(&known).edges;
    let cut = Kind { edges_max: 100, ..UNBOUNDED };
    simulated.teach(&mut predictor, WARM, cut, 500);
    assert_eq!(predictor.predict(&known).edges, before);
    // They do raise it, where more was visited than was expected.
    let (known, _, ns) = simulated.push(WARM, UNBOUNDED);
    let far = Work { edges: 3 * before, was_spent: true, ..Work::default() };
    for _ in 0..20 {
        predictor.note(&known, &far, 3 * ns);
    }
    assert!(predictor.predict(&known).edges > 2 * before);
}

#[test]
fn budgets_for_a_deadline_keep_it() {
    let (mut predictor, mut simulated) = (Predictor::new(), Simulated::default());
    let law = Law { time_noise: 0.15, ..WARM };
    simulated.teach(&mut predictor, law, USUAL, 1000);
    for deadline_ns in [5_000, 10_000, 20_000] {
        let mut in_time = Vec::new();
        for _ in 0..1000 {
            let (known, _, _) = simulated.push(law, UNBOUNDED);
            let edges_max = predictor.edges_within(&known, deadline_ns);
            assert!(edges_max > 0);
            let kind = Kind { edges_max, ..UNBOUNDED };
            let (known, work, ns) = simulated.push(law, kind);
            predictor.note(&known, &work, ns);
            in_time.push(ns <= deadline_ns);
        }
        let share = share(&in_time);
        assert!((0.92..=0.99).contains(&share), "{deadline_ns}: {share}");
    }
}

#[test]
fn a_deadline_that_nothing_fits_into_has_no_budget() {
    let predictor = Predictor::new();
    let known = Known { edges_max: 4096, asked: 20.0, ..Known::default() };
    assert_eq!(predictor.edges_within(&known, 0), 0);
    assert_eq!(predictor.edges_within(&known, 500), 0);
    assert_eq!(predictor.edges_within(&known, u64::MAX), 4096);
}

#[test]
fn a_budget_that_ends_before_a_round_does_not_pay_for_it() {
    let (predictor, mut known) = (Predictor::new(), Known::default());
    (known.edges_max, known.certain, known.asked_next) = (4096, 1000.0, 3000.0);
    let budget = |ns| predictor.edges_within(&known, ns);
    // Asking 3,000 nodes takes a while; until there is time for it, the push ends before.
    let asking_us = 3.0 * COSTS_FIRST[2] * LATE_FIRST.exp();
    let ends_before: Vec<u64> =
        (1..100).map(|us| us * 1000).filter(|ns| budget(*ns) == 1000).collect();
    assert!(ends_before.len().abs_diff(asking_us as usize) <= 1, "{ends_before:?}");
    for ns in [5_000, ends_before[0], ends_before[ends_before.len() - 1], 90_000] {
        let known = Known { edges_max: budget(ns), ..known };
        let work = predictor.time.sum(&amounts(&known, budget(ns) as f64));
        assert!(work <= ns as f64, "{work} in {ns}");
    }
}

proptest! {
    #[test]
    fn more_time_never_gives_a_smaller_budget(
        teach in prop::collection::vec((any::<u32>(), 0_u64..1 << 40), 0..50),
        deadlines in prop::collection::vec(any::<u64>(), 2..20),
        certain in any::<u32>(),
        asked in any::<[u32; 2]>(),
    ) {
        let mut predictor = Predictor::new();
        let [asked, asked_next] = asked.map(f64::from);
        let (edges_max, certain) = (u64::MAX, f64::from(certain));
        let known = Known { edges_max, certain, asked, asked_next, ..Known::default() };
        for (edges, ns) in teach {
            let work = Work { edges: u64::from(edges), ..Work::default() };
            predictor.note(&known, &work, ns);
        }
        let mut deadlines = deadlines;
        deadlines.sort_unstable();
        let budgets: Vec<u64> =
            deadlines.iter().map(|ns| predictor.edges_within(&known, *ns)).collect();
        prop_assert!(budgets.is_sorted(), "{budgets:?}");
    }

    #[test]
    fn whatever_it_is_told_it_stays_sane(
        notes in prop::collection::vec(
            (any::<u32>(), any::<u64>(), any::<u64>(), any::<bool>(), any::<u64>(), 0.0..1e15_f64),
            0..100,
        ),
    ) {
        let mut predictor = Predictor::new();
        for (asked, edges_max, edges, was_spent, ns, beyond) in notes {
            let mut known = Known { edges_max, certain: beyond / 7.0, ..Known::default() };
            (known.asked, known.asked_next) = (f64::from(asked), beyond / 3.0);
            known.beyond[edges as usize % KNOTS] = beyond;
            let work = Work { edges, was_spent, ..Work::default() };
            let predicted = predictor.note(&known, &work, ns);
            prop_assert!(predicted.ns > 0 && predicted.edges <= edges_max);
            predictor.check();
        }
        // And it still learns.
        let mut simulated = Simulated::default();
        simulated.teach(&mut predictor, WARM, USUAL, 1000);
        let within = simulated.teach(&mut predictor, WARM, USUAL, 500);
        prop_assert!(share(&within) >= 0.95, "{}", share(&within));
    }
}
