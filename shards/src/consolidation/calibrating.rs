//! Measuring what beam graphs take: those that were just written, and again those in use, when
//! enough was asked for to know what questions are like.

use super::Ground;
use crate::episode::SpaceNumber;
use crate::index::calibration::Calibrator;
use crate::memory::Memory;
use crate::space::{PartNumber, Section, Space};

/// Does one unit of the measurement of a section; whether that is complete.
pub(super) fn calibrate(
    section: &mut Section,
    asked: Option<&[Vec<f32>]>,
    calibrator: &mut Option<Box<Calibrator>>,
) -> bool {
    let Some(graph) = section.calibrated() else { return true };
    let calibrator = calibrator
        .get_or_insert_with(|| Box::new(Calibrator::new(&graph, asked.unwrap_or_default())));
    let Some(calibration) = calibrator.step(&graph) else { return false };
    section.set_calibration(calibration);
    true
}

/// A section in use that is measured again.
#[derive(Debug)]
pub(super) struct Recalibrating {
    space: SpaceNumber,
    part: PartNumber,
    calibrator: Option<Box<Calibrator>>,
}

impl Recalibrating {
    /// The next section to measure, if there is one: no question was known when it was measured
    /// last, and now there are enough.
    pub(super) fn next(memory: &Memory) -> Option<Self> {
        let spaces = memory.spaces.values().filter(|space| space.asked().is_some());
        let mut sections = spaces.flat_map(Space::sections);
        let due = sections
            .find(|section| section.index().is_some() && !section.calibration().is_of_asked())?;
        Some(Self { space: due.space(), part: due.number(), calibrator: None })
    }

    /// Does one unit of work; whether that was the last.
    pub(super) fn step<I>(&mut self, ground: &mut Ground<'_, I>) -> bool {
        let space = ground.memory.spaces.get_mut(&self.space);
        let Some((section, asked)) = space.and_then(|space| space.section_and_asked(self.part))
        else {
            return true;
        };
        calibrate(section, asked, &mut self.calibrator)
    }
}
