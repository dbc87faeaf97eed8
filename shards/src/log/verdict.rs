//! The truth tables of recovery, as data.
//!
//! Three questions are answered by looking up what was found: where a start begins ([`FOOTINGS`]),
//! how a walk ended ([`ENDINGS`]), and what to do when the whole log has been read ([`DECISIONS`]).
//! A row says what must hold (`Some`) or does not matter (`None`). The tests go over every
//! combination: exactly one row answers each.

/// What is there beside the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grounds {
    /// A slot of the manifest verifies.
    pub(super) has_manifest: bool,
    /// Every file that it names is there, as long as it says.
    pub(super) is_complete: bool,
    /// There are columns or state files.
    pub(super) has_files: bool,
    /// The file of segment 1 is there.
    pub(super) has_first_segment: bool,
}

/// Where a start begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Footing {
    /// Behind what the manifest's files hold.
    Manifest,
    /// Before the first segment.
    Beginning,
    RefuseFile,
    RefuseManifest,
}

/// Manifest, its files complete, any files, first segment: where to begin.
const FOOTINGS: [(Tri, Tri, Tri, Tri, Footing); 5] = [
    (Some(true), Some(true), None, None, Footing::Manifest),
    (Some(true), Some(false), None, None, Footing::RefuseFile),
    (Some(false), None, Some(false), None, Footing::Beginning),
    (Some(false), None, Some(true), Some(true), Footing::Beginning),
    (Some(false), None, Some(true), Some(false), Footing::RefuseManifest),
];

/// What lies behind the end of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Evidence {
    /// The anchor, or a batch header behind, calls the next sequence durable.
    pub(super) is_called_durable: bool,
    /// The batch at the end fails although none of it is missing.
    pub(super) is_whole_and_fails: bool,
    /// Not all that lies behind is zero.
    pub(super) is_dirty: bool,
}

/// How a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Clean,
    Torn,
    Damage,
}

type Tri = Option<bool>;

/// Called durable, whole and failing, dirty: how the walk ended.
const ENDINGS: [(Tri, Tri, Tri, Ending); 4] = [
    (Some(true), None, None, Ending::Damage),
    (Some(false), Some(true), None, Ending::Damage),
    (Some(false), Some(false), Some(true), Ending::Torn),
    (Some(false), Some(false), Some(false), Ending::Clean),
];

/// What is known when the whole log has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Findings {
    /// Frames are lost that no later erase names.
    pub(super) is_lossy: bool,
    /// A segment is missing, and mending did not need it.
    pub(super) is_segment_missing: bool,
    pub(super) may_lose: bool,
    pub(super) may_write: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Write what was mended, cut what was torn, go on.
    GoOn,
    /// Go on and leave every file as it is.
    GoOnUnchanged,
    RefuseDamage,
    RefuseMissing,
}

/// Others are lost, a segment is missing, losing is allowed, writing is allowed: what to do.
const DECISIONS: [(Tri, Tri, Tri, Tri, Decision); 6] = [
    (Some(true), None, Some(false), None, Decision::RefuseDamage),
    (Some(false), Some(true), Some(false), None, Decision::RefuseMissing),
    (Some(false), Some(false), Some(false), Some(true), Decision::GoOn),
    (Some(false), Some(false), Some(false), Some(false), Decision::GoOnUnchanged),
    (None, None, Some(true), Some(true), Decision::GoOn),
    (None, None, Some(true), Some(false), Decision::GoOnUnchanged),
];

fn holds(wanted: Tri, found: bool) -> bool {
    wanted.is_none_or(|wanted| wanted == found)
}

impl Grounds {
    fn matches(&self, row: &(Tri, Tri, Tri, Tri, Footing)) -> bool {
        holds(row.0, self.has_manifest)
            && holds(row.1, self.is_complete)
            && holds(row.2, self.has_files)
            && holds(row.3, self.has_first_segment)
    }

    pub(super) fn footing(&self) -> Footing {
        let row = FOOTINGS.iter().find(|row| self.matches(row));
        row.expect("a row answers every combination").4
    }
}

impl Evidence {
    fn matches(&self, row: &(Tri, Tri, Tri, Ending)) -> bool {
        holds(row.0, self.is_called_durable)
            && holds(row.1, self.is_whole_and_fails)
            && holds(row.2, self.is_dirty)
    }

    pub(super) fn ending(&self) -> Ending {
        let row = ENDINGS.iter().find(|row| self.matches(row));
        row.expect("a row answers every combination").3
    }
}

impl Findings {
    fn matches(&self, row: &(Tri, Tri, Tri, Tri, Decision)) -> bool {
        holds(row.0, self.is_lossy)
            && holds(row.1, self.is_segment_missing)
            && holds(row.2, self.may_lose)
            && holds(row.3, self.may_write)
    }

    pub(super) fn decision(&self) -> Decision {
        let row = DECISIONS.iter().find(|row| self.matches(row));
        row.expect("a row answers every combination").4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [bool; 2] = [false, true];

    #[test]
    fn every_ground_has_exactly_one_footing_and_nothing_of_use_is_passed_over() {
        let combinations = (0..16_u8).map(|bits| Grounds {
            has_manifest: bits & 1 > 0,
            is_complete: bits & 2 > 0,
            has_files: bits & 4 > 0,
            has_first_segment: bits & 8 > 0,
        });
        for grounds in combinations {
            let rows = FOOTINGS.iter().filter(|row| grounds.matches(row)).count();
            assert_eq!(rows, 1, "{grounds:?}");
            let footing = grounds.footing();
            let stands_on_files = footing == Footing::Manifest;
            assert_eq!(stands_on_files, grounds.has_manifest && grounds.is_complete);
            // Files that are not used are only given up where the log has what they hold.
            let gives_up = footing == Footing::Beginning && grounds.has_files;
            assert!(!gives_up || grounds.has_first_segment, "{grounds:?}");
            assert!(!gives_up || !grounds.has_manifest, "{grounds:?}");
        }
    }

    #[test]
    fn every_evidence_has_exactly_one_ending() {
        for is_called_durable in BOTH {
            for is_whole_and_fails in BOTH {
                for is_dirty in BOTH {
                    let evidence = Evidence { is_called_durable, is_whole_and_fails, is_dirty };
                    let rows = ENDINGS.iter().filter(|row| evidence.matches(row)).count();
                    assert_eq!(rows, 1, "{evidence:?}");
                    let ending = evidence.ending();
                    let may_be_acknowledged = is_called_durable || is_whole_and_fails;
                    assert_eq!(ending == Ending::Damage, may_be_acknowledged, "{evidence:?}");
                    assert!(ending != Ending::Torn || is_dirty, "{evidence:?}");
                }
            }
        }
    }

    #[test]
    fn every_finding_has_exactly_one_decision_and_no_loss_goes_unasked() {
        let combinations = (0..16_u8).map(|bits| Findings {
            is_lossy: bits & 1 > 0,
            is_segment_missing: bits & 2 > 0,
            may_lose: bits & 4 > 0,
            may_write: bits & 8 > 0,
        });
        for findings in combinations {
            let rows = DECISIONS.iter().filter(|row| findings.matches(row)).count();
            assert_eq!(rows, 1, "{findings:?}");
            let decision = findings.decision();
            let goes_on = matches!(decision, Decision::GoOn | Decision::GoOnUnchanged);
            let is_at_stake = findings.is_lossy || findings.is_segment_missing;
            assert_eq!(goes_on, !is_at_stake || findings.may_lose, "{findings:?}");
            assert!(decision != Decision::GoOn || findings.may_write, "{findings:?}");
        }
    }
}
