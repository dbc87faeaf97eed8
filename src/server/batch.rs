//! Many answers that make one reply: the items of `EG.MSTORE` and the ids of `EG.MGET`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;

use super::budget::{Held, ReplyBudget};
use super::connection::Connection;
use super::notify::Notify;
use super::outgoing::{EncodedReply, Outgoing, encode_answer};
use super::request::Answer;
use crate::protocol::Encoder;

/// Items of one batch that may be under way at once; the others wait their turn, so that one large
/// batch neither fills the log nor keeps other connections out of it.
pub(super) const UNDER_WAY_MAX: usize = 512;

/// An item's answer, with the id that was assigned to it.
type Item = (Option<Bytes>, Option<Answer>);

/// Collects the answers of a batch and fulfils the connection's slot with the last.
#[derive(Debug)]
pub(super) struct Batch {
    connection: Rc<Connection>,
    slot: u64,
    items: RefCell<Vec<Item>>,
    /// What the episodes among the items hold of the shard's bound on replies.
    held: RefCell<Vec<Held>>,
    left: Cell<usize>,
    under_way: Cell<usize>,
    progress: Notify,
}

impl Batch {
    pub(super) fn new(connection: Rc<Connection>, slot: u64, items: usize) -> Rc<Self> {
        Rc::new(Self {
            connection,
            slot,
            held: RefCell::default(),
            items: RefCell::new((0..items).map(|_| (None, None)).collect()),
            left: Cell::new(items),
            under_way: Cell::new(0),
            progress: Notify::default(),
        })
    }

    /// Announces an item; its answer will come.
    pub(super) fn begin(&self, index: usize, assigned: Option<Bytes>) {
        self.items.borrow_mut()[index].0 = assigned;
        self.under_way.set(self.under_way.get() + 1);
    }

    /// An item has waited so long in a lane.
    pub(super) fn waited(&self, queued_us: u32) {
        self.connection.waited(self.slot, queued_us);
    }

    /// Waits until another item may begin.
    pub(super) async fn wait_for_room(&self) {
        self.wait_until(UNDER_WAY_MAX - 1).await;
    }

    /// Waits until at most so many items are under way.
    pub(super) async fn wait_until(&self, under_way: usize) {
        while self.under_way.get() > under_way {
            self.progress.wait().await;
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.under_way.get() >= UNDER_WAY_MAX
    }

    pub(super) fn fulfil(&self, replies: &ReplyBudget, index: usize, answer: Answer) {
        let answer = self.hold(replies, answer);
        self.items.borrow_mut()[index].1 = Some(answer);
        self.under_way.set(self.under_way.get() - 1);
        self.left.set(self.left.get() - 1);
        self.progress.notify();
        if self.left.get() == 0 {
            let items = self.items.take();
            let held = self.held.take();
            let bytes = items.len() * size_of::<Item>();
            let reply = EncodedReply::new(move |encoder: &mut Encoder<'_>| {
                encoder.array(items.len());
                for (assigned, answer) in &items {
                    let answer = answer.as_ref().expect("the last answer completes the batch");
                    encode_answer(encoder, assigned.as_deref(), answer);
                }
            });
            self.connection
                .fulfil(self.slot, Outgoing::Encode(reply.holding(held).weighing(bytes)));
        }
    }

    /// Holds an episode against the bound on replies; the refusal when it does not fit.
    fn hold(&self, replies: &ReplyBudget, answer: Answer) -> Answer {
        let Answer::Episode(Ok(Some(episode))) = &answer else { return answer };
        match replies.hold(episode.optional_bytes()) {
            Ok(held) => {
                self.held.borrow_mut().push(held);
                answer
            }
            Err(refusal) => Answer::Episode(Err(refusal)),
        }
    }
}
