//! What a push knows about a node.
//!
//! Two layouts, and a push is made for either. The small one is eight bytes, so that the state of
//! eight nodes shares a line of the cache. The large one has in the same line by which link most of
//! the mass came, for whoever asks why.

use std::fmt::Debug;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Mass of a node: what waits to be passed on, and what stays.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Amounts {
    /// Mass that waits; its sign is set while the node is in a queue.
    waiting: f32,
    activation: f32,
}

impl Amounts {
    #[inline]
    pub fn residual(self) -> f32 {
        self.waiting.abs()
    }

    #[inline]
    pub fn activation(self) -> f32 {
        self.activation
    }

    /// Whether mass ever arrived. Whoever takes mass away leaves a trace, see [`Self::take_all`].
    #[inline]
    pub(super) fn is_touched(self) -> bool {
        (self.waiting.to_bits() | self.activation.to_bits()) != 0
    }

    /// Whether more waits than the trace of what was taken.
    #[inline]
    pub(super) fn has_waiting(self) -> bool {
        self.residual() > f32::MIN_POSITIVE
    }

    #[inline]
    pub(super) fn is_queued(self) -> bool {
        self.waiting.is_sign_negative()
    }

    #[inline]
    pub(super) fn set_queued(&mut self, queued: bool) {
        let residual = self.residual();
        self.waiting = if queued { -residual } else { residual };
    }

    #[inline]
    pub(super) fn add(&mut self, mass: f32) {
        self.waiting = (self.residual() + mass).copysign(self.waiting);
    }

    /// Adds mass, and puts the node into the queue if so much is enough; whether it was not there
    /// before. Has no branch.
    #[inline]
    pub(super) fn add_and_queue(&mut self, mass: f32, enough: f32) -> bool {
        let sum = self.residual() + mass;
        let was_queued = self.waiting.to_bits() >> 31;
        let is_queued = was_queued | u32::from(sum >= enough);
        self.waiting = f32::from_bits(sum.to_bits() | is_queued << 31);
        is_queued != was_queued
    }

    /// Leaves the queue, with the mass that waits or without; what is taken.
    #[inline]
    pub(super) fn take_if(&mut self, takes: bool) -> f32 {
        let mass = self.residual();
        self.waiting = if takes { f32::MIN_POSITIVE } else { mass };
        mass
    }

    /// Takes the mass that waits and leaves the queue. As little as a float can hold stays, so that
    /// the node still counts as touched.
    #[inline]
    pub(super) fn take_all(&mut self) -> f32 {
        let mass = self.residual();
        self.waiting = f32::MIN_POSITIVE;
        mass
    }

    #[inline]
    pub(super) fn keep(&mut self, mass: f32) {
        self.activation += mass;
    }
}

/// The state of a node in a push.
pub trait State:
    Copy + Default + Debug + FromBytes + IntoBytes + Immutable + KnownLayout + 'static
{
    /// Whether it notes by which link mass came.
    const TRACED: bool;

    fn amounts(&self) -> Amounts;
    fn amounts_mut(&mut self) -> &mut Amounts;

    /// Notes that mass came, in a push whose next arrival will have this number; whether it is the
    /// most so far that came at once.
    fn note(&mut self, mass: f32, arrival: u32) -> bool;

    /// The arrival that brought most; [`NONE`] for a seed.
    fn arrival(&self) -> u32;
}

/// No arrival: the mass came from outside.
pub const NONE: u32 = u32::MAX;

/// Eight bytes: mass alone.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Packed {
    amounts: Amounts,
}

/// Sixteen bytes: mass, and where most of it came from.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Traced {
    amounts: Amounts,
    /// The most mass that came at once.
    brought: f32,
    arrival: u32,
}

const _: () = assert!(size_of::<Packed>() == 8 && size_of::<Traced>() == 16);

impl State for Packed {
    const TRACED: bool = false;

    #[inline]
    fn amounts(&self) -> Amounts {
        self.amounts
    }

    #[inline]
    fn amounts_mut(&mut self) -> &mut Amounts {
        &mut self.amounts
    }

    #[inline]
    fn note(&mut self, _: f32, _: u32) -> bool {
        false
    }

    fn arrival(&self) -> u32 {
        NONE
    }
}

impl State for Traced {
    const TRACED: bool = true;

    #[inline]
    fn amounts(&self) -> Amounts {
        self.amounts
    }

    #[inline]
    fn amounts_mut(&mut self) -> &mut Amounts {
        &mut self.amounts
    }

    #[inline]
    fn note(&mut self, mass: f32, arrival: u32) -> bool {
        let most = mass > self.brought;
        if most {
            (self.brought, self.arrival) = (mass, arrival);
        }
        most
    }

    fn arrival(&self) -> u32 {
        self.arrival
    }
}
