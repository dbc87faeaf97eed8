//! Every interleaving of a few threads, by loom: `RUSTFLAGS="--cfg loom" cargo test -p engram-lanes
//! --release --test model`. Of crossbeam's queue, which has its own tests, a model stands in.

#![cfg(loom)]

use std::future::poll_fn;

use engram_lanes::inbox::{Inbox, Rank, Taken, Waits};
use engram_lanes::lane::Lane;
use loom::sync::Arc;
use loom::thread;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Item(u32);

impl Waits for Item {
    fn at_ns(&self) -> u64 {
        0
    }

    fn units(&self) -> u32 {
        1
    }
}

#[test]
fn the_last_unit_goes_to_one() {
    loom::model(|| {
        let lane = Arc::new(Lane::new(2));
        lane.reserve(1).unwrap();
        lane.push(0);
        let other = Arc::clone(&lane);
        let racing = thread::spawn(move || other.reserve(1).map(|_| other.push(1)).is_some());
        let own = lane.reserve(1).map(|_| lane.push(2)).is_some();
        let others = racing.join().unwrap();
        assert!(own ^ others, "one of both has it");
        assert_eq!(lane.depth(), 2);
    });
}

#[test]
fn a_large_item_is_not_promised_room_that_small_ones_took() {
    loom::model(|| {
        let lane = Arc::new(Lane::new(3));
        let other = Arc::clone(&lane);
        let racing = thread::spawn(move || match other.reserve(3) {
            Some(depth) => {
                assert_eq!(depth, 3);
                other.push(3);
                3
            }
            None => 0,
        });
        let own = u32::from(lane.reserve(1).map(|_| lane.push(1)).is_some());
        assert_eq!(lane.depth() % 4, own + racing.join().unwrap());
    });
}

#[test]
fn who_reserved_finds_room_while_the_lane_is_emptied() {
    loom::model(|| {
        let lane = Arc::new(Lane::new(1));
        lane.reserve(1).unwrap();
        lane.push(0);
        let producer = Arc::clone(&lane);
        let pushing =
            thread::spawn(move || producer.reserve(1).map(|_| producer.push(1)).is_some());
        let mut got = Vec::new();
        got.extend(lane.pop());
        lane.release(1);
        let pushed = pushing.join().unwrap();
        got.extend(lane.pop());
        assert_eq!(got, if pushed { vec![0, 1] } else { vec![0] });
    });
}

#[test]
fn whoever_sends_wakes_the_thread_that_serves() {
    // Without a bound the three threads take minutes; what they can get wrong takes two.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let mut inbox: Inbox<Item, Item> = Inbox::new(2);
        let producers = [Rank::Low, Rank::High].map(|rank| {
            let sender = inbox.sender();
            thread::spawn(move || {
                sender.send(rank, Item(rank as u32)).unwrap();
                sender.wake();
            })
        });
        let mut got = Vec::new();
        while got.len() < 2 {
            // Were a wake lost, this would never end, and loom would say so.
            loom::future::block_on(poll_fn(|context| inbox.poll_ready(context)));
            while let Some((rank, Taken::Sent(item))) = inbox.take(0) {
                inbox.served(rank, 1);
                got.push(item);
            }
        }
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        assert!(got.contains(&Item(Rank::Low as u32)) && got.contains(&Item(Rank::High as u32)));
        assert!(Rank::ALL.iter().all(|rank| inbox.depth(*rank).units == 0));
    });
}
