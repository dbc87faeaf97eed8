//! The bound on what a shard's replies may carry together.

use std::cell::Cell;
use std::rc::Rc;

use engram_shards::episode::Refusal;

use crate::protocol::command::REPLY_BYTES_MAX;

/// Bytes of texts, vectors and metadata in replies that are ready and not written yet, per shard.
const BYTES_MAX: usize = 256 << 20;
/// The hint that goes with a refusal: as long as a client may need to read what it is owed.
const RETRY_MS: u32 = 50;

// The largest reply that can be asked for fits.
const _: () = assert!(REPLY_BYTES_MAX <= BYTES_MAX);

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct ReplyBudget {
    bytes: Rc<Cell<usize>>,
}

/// Bytes held until the reply is written or its connection gone.
#[derive(Debug)]
pub(super) struct Held {
    total: Rc<Cell<usize>>,
    bytes: usize,
}

impl ReplyBudget {
    pub(super) fn hold(&self, bytes: usize) -> Result<Held, Refusal> {
        let total = self.bytes.get() + bytes;
        if total > BYTES_MAX {
            let what = "the room for replies that wait to be read";
            return Err(Refusal::Busy { what, retry_after_ms: RETRY_MS });
        }
        self.bytes.set(total);
        Ok(Held { total: Rc::clone(&self.bytes), bytes })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.total.set(self.total.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_and_given_back() {
        let budget = ReplyBudget::default();
        let held = budget.hold(BYTES_MAX - 1).unwrap();
        assert!(budget.hold(1).is_ok());
        assert_eq!(budget.hold(2).unwrap_err().code(), "BUSY");
        drop(held);
        assert!(budget.hold(BYTES_MAX).is_ok());
    }
}
