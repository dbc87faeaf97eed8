//! Order, bounds and waits of lanes, and that nothing is lost between threads.

#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use engram_lanes::inbox::{
    AGED_EVERY, FREED_SHARE, Inbox, PATIENCE_NS, Rank, Taken, WEIGHTS, Waits,
};
use engram_lanes::mesh::{self, Asked, Ends, Full, Lanes, OPEN_MAX};
use proptest::prelude::*;

/// A request: which one, when it was asked for, and how much of a lane it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Item {
    number: u64,
    at_ns: u64,
    units: u32,
}

impl Item {
    fn new(number: u64) -> Self {
        Self { number, at_ns: 0, units: 1 }
    }
}

impl Waits for Item {
    fn at_ns(&self) -> u64 {
        self.at_ns
    }

    fn units(&self) -> u32 {
        self.units
    }
}

type Own = Inbox<Item, Item>;

/// Puts so many into a lane.
fn fill(inbox: &mut Own, rank: Rank, count: u64) {
    for number in 0..count {
        inbox.send_own(rank, Item::new(number)).unwrap();
    }
}

/// Takes and serves the next; its lane and number.
fn serve(inbox: &mut Own, now_ns: u64) -> Option<(Rank, u64)> {
    let (rank, taken) = inbox.take(now_ns)?;
    let (Taken::Sent(item) | Taken::Own(item)) = taken;
    inbox.served(rank, item.units);
    Some((rank, item.number))
}

fn serve_all(inbox: &mut Own) -> Vec<u64> {
    std::iter::from_fn(|| serve(inbox, 0)).map(|(_, number)| number).collect()
}

#[test]
fn high_goes_before_normal_before_low() {
    let mut inbox = Own::new(16);
    let sent = [(Rank::Low, 1), (Rank::High, 2), (Rank::Normal, 3), (Rank::High, 4)];
    for (rank, number) in sent {
        inbox.sender().send(rank, Item::new(number)).unwrap();
    }
    assert_eq!(serve_all(&mut inbox), [2, 4, 3, 1]);
}

#[test]
fn ten_thousand_random_interleavings_keep_the_order_of_each_sender_in_each_lane() {
    let mut random = 1_u64;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        random >> 33
    };
    for _ in 0..10_000 {
        let mut inbox = Own::new(64);
        let sender = inbox.sender();
        let (mut sent, mut got) = (0, Vec::new());
        while sent < 24 || got.len() < 24 {
            if sent < 24 && next() % 3 > 0 {
                let rank = Rank::ALL[(next() % 3) as usize];
                let item = Item { at_ns: sent, ..Item::new(sent) };
                // Two senders: the thread itself, and another.
                let sent_to = match next() % 2 {
                    0 => sender.send(rank, item),
                    _ => inbox.send_own(rank, item),
                };
                sent_to.unwrap();
                sent += 1;
            } else {
                got.extend(serve(&mut inbox, sent));
            }
        }
        for rank in Rank::ALL {
            let of: Vec<u64> =
                got.iter().filter(|(own, _)| *own == rank).map(|(_, number)| *number).collect();
            assert!(of.is_sorted(), "{rank:?}: {got:?}");
        }
        let mut all: Vec<u64> = got.iter().map(|(_, number)| *number).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..24));
    }
}

#[test]
fn every_lane_has_its_share_while_all_are_full() {
    let mut inbox = Own::new(100);
    let mut served = [0; 3];
    for number in 0..2100 {
        for rank in Rank::ALL {
            while inbox.send_own(rank, Item::new(number)).is_ok() {}
        }
        let (rank, _) = serve(&mut inbox, 0).unwrap();
        served[rank as usize] += 1;
    }
    assert_eq!(served, WEIGHTS.map(|weight| weight * 100));
}

#[test]
fn the_low_lane_waits_no_longer_than_it_says_under_endless_high_load() {
    let mut inbox = Own::new(64);
    fill(&mut inbox, Rank::Low, 64);
    let rounds = WEIGHTS.iter().sum::<u32>() as usize;
    let mut turns_of = Vec::new();
    for turn in 1..=64 * rounds {
        while inbox.send_own(Rank::High, Item::new(1000)).is_ok() {}
        if let Some((Rank::Low, number)) = serve(&mut inbox, 0) {
            assert_eq!(number as usize, turns_of.len());
            turns_of.push(turn);
        }
    }
    assert_eq!(turns_of.len(), 64);
    assert!(turns_of.iter().enumerate().all(|(nth, turn)| *turn <= (nth + 1) * rounds));
}

#[test]
fn what_is_overdue_goes_before_its_turn() {
    let mut inbox = Own::new(64);
    Rank::ALL.into_iter().for_each(|rank| fill(&mut inbox, rank, 32));
    let now_ns = PATIENCE_NS[Rank::Low as usize] * 2;
    // All are overdue; the high lane by most.
    let first: Vec<Rank> = (0..AGED_EVERY).map(|_| serve(&mut inbox, now_ns).unwrap().0).collect();
    assert_eq!(first, [Rank::High; 4]);
    let mut inbox = Own::new(64);
    inbox.send_own(Rank::Low, Item::new(7)).unwrap();
    let served = |inbox: &mut Own| {
        let young = Item { at_ns: now_ns, ..Item::new(1) };
        while inbox.send_own(Rank::High, young).is_ok() {}
        serve(inbox, now_ns).unwrap().0
    };
    let first: Vec<Rank> = (0..AGED_EVERY).map(|_| served(&mut inbox)).collect();
    assert_eq!(first, [Rank::High, Rank::High, Rank::High, Rank::Low]);
}

#[test]
fn a_lane_is_crowded_above_four_fifths_and_refuses_at_its_end() {
    let mut inbox = Own::new(10);
    for number in 0..10 {
        let depth = inbox.sender().send(Rank::Normal, Item::new(number)).unwrap();
        assert_eq!((depth.units, depth.is_crowded()), (number as u32 + 1, number >= 8));
    }
    let refused = Item::new(10);
    assert_eq!(inbox.sender().send(Rank::Normal, refused), Err(refused));
    assert_eq!(inbox.send_own(Rank::Normal, refused), Err(refused));
    assert!(inbox.send_own(Rank::High, refused).is_ok(), "other lanes have their own room");
    let (rank, taken) = inbox.take(0).unwrap();
    assert_eq!((rank, taken), (Rank::High, Taken::Own(refused)));
    let (rank, _) = inbox.take(0).unwrap();
    assert_eq!(inbox.send_own(rank, refused), Err(refused), "taken and not served");
    inbox.served(rank, 1);
    assert!(inbox.send_own(rank, refused).is_ok());
}

#[test]
fn an_item_larger_than_the_lane_goes_through_alone() {
    let mut inbox = Own::new(8);
    let large = Item { units: 1000, ..Item::new(1) };
    inbox.send_own(Rank::Normal, Item::new(0)).unwrap();
    assert_eq!(inbox.send_own(Rank::Normal, large), Err(large));
    assert_eq!(serve_all(&mut inbox), [0]);
    assert_eq!(inbox.send_own(Rank::Normal, large).unwrap().units, 8);
    assert_eq!(inbox.sender().send(Rank::Normal, large), Err(large));
    assert_eq!(serve_all(&mut inbox), [1]);
    assert_eq!(inbox.depth(Rank::Normal).units, 0);
}

#[test]
fn what_was_put_back_is_the_next_of_its_lane_once_that_goes_on() {
    let mut inbox = Own::new(8);
    fill(&mut inbox, Rank::Normal, 3);
    let (rank, first) = inbox.take(0).unwrap();
    inbox.put_back(rank, first);
    assert_eq!(inbox.take(0), None, "the lane is stalled");
    inbox.send_own(Rank::High, Item::new(9)).unwrap();
    assert_eq!(serve(&mut inbox, 0), Some((Rank::High, 9)), "others go on");
    assert_eq!(inbox.depth(Rank::Normal).units, 3);
    inbox.resume();
    assert_eq!(serve_all(&mut inbox), [0, 1, 2]);
    assert_eq!(inbox.depth(Rank::Normal).units, 0);
}

#[test]
fn senders_know_of_room_when_it_is_a_share_of_the_lane_or_all_is_served() {
    let share = 4;
    let mut inbox = Own::new(FREED_SHARE * share);
    let sender = inbox.sender();
    let send = |number| sender.send(Rank::Normal, Item::new(number)).is_ok();
    let sent = (0..).take_while(|number| send(*number)).count() as u32;
    assert_eq!(sent, FREED_SHARE * share);
    for left in (sent - share..sent).rev() {
        serve(&mut inbox, 0).unwrap();
        assert_eq!(inbox.depth(Rank::Normal).units, left, "who serves knows at once");
        assert!(!send(0), "{left}");
    }
    serve(&mut inbox, 0).unwrap();
    assert!((0..=share).all(|_| send(0)) && !send(0));
    serve(&mut inbox, 0).unwrap();
    // The thread's own requests need not wait for it.
    inbox.send_own(Rank::Normal, Item::new(0)).unwrap();
    assert_eq!(serve_all(&mut inbox).len() as u32, sent);
    let large = Item { units: sent, ..Item::new(0) };
    assert!(sender.send(Rank::Normal, large).is_ok(), "nothing is kept back in the end");
}

#[test]
fn what_stalled_and_what_others_sent_is_all_taken_out() {
    let mut inbox = Own::new(8);
    for rank in Rank::ALL {
        inbox.send_own(rank, Item::new(rank as u64)).unwrap();
        inbox.sender().send(rank, Item::new(3 + rank as u64)).unwrap();
    }
    let (rank, first) = inbox.take(0).unwrap();
    inbox.put_back(rank, first);
    inbox.resume();
    assert_eq!(serve_all(&mut inbox).len(), 6);
    assert!(Rank::ALL.iter().all(|rank| inbox.depth(*rank).units == 0));
}

#[test]
fn many_threads_lose_nothing_and_never_see_more_than_the_capacity() {
    const THREADS: u64 = 4;
    const EACH: u64 = 20_000;
    let mut inbox = Own::new(50);
    let producers: Vec<_> = (0..THREADS)
        .map(|thread| {
            let sender = inbox.sender();
            std::thread::spawn(move || {
                let mut refused = 0_u64;
                for nth in 0..EACH {
                    let item =
                        Item { units: 1 + (nth % 7) as u32, ..Item::new(thread * EACH + nth) };
                    while sender.send(Rank::ALL[(nth % 3) as usize], item).is_err() {
                        refused += 1;
                        std::thread::yield_now();
                    }
                    sender.wake();
                }
                refused
            })
        })
        .collect();
    let mut last = vec![None; (THREADS * 3) as usize];
    let mut got = 0;
    while got < THREADS * EACH {
        assert!(Rank::ALL.iter().all(|rank| inbox.depth(*rank).units <= 50));
        let Some((rank, number)) = serve(&mut inbox, 0) else { continue };
        let last = &mut last[(number / EACH * 3) as usize + rank as usize];
        assert!(last.is_none_or(|last| last < number), "{number} behind {last:?}");
        *last = Some(number);
        got += 1;
    }
    let refused: u64 = producers.into_iter().map(|producer| producer.join().unwrap()).sum();
    assert!(refused > 0, "the lanes were never full");
    assert!(Rank::ALL.iter().all(|rank| inbox.depth(*rank).units == 0));
}

proptest! {
    /// Whatever is sent, taken, put back and resumed: each lane is first in, first out, by age, and
    /// its depth is what is in it.
    #[test]
    fn an_inbox_is_three_queues(
        steps in proptest::collection::vec((0_u8..6, 0_usize..3, 1_u32..5), 1..200),
    ) {
        let mut inbox = Own::new(12);
        let mut model: [std::collections::VecDeque<Item>; 3] = Default::default();
        let mut stalled = [false; 3];
        for (number, (what, rank, units)) in (0_u64..).zip(steps) {
            let (rank, item) = (Rank::ALL[rank], Item { number, at_ns: number, units });
            let own = &mut model[rank as usize];
            let depth = own.iter().map(|item| item.units).sum::<u32>();
            match what {
                0 | 1 => {
                    let sent = match what {
                        0 => inbox.send_own(rank, item).is_ok(),
                        _ => inbox.sender().send(rank, item).is_ok(),
                    };
                    prop_assert_eq!(sent, depth + units <= 12);
                    own.extend(sent.then_some(item));
                }
                2..4 => match inbox.take(number) {
                    Some((rank, taken)) => {
                        let (Taken::Own(item) | Taken::Sent(item)) = taken;
                        prop_assert!(!stalled[rank as usize]);
                        prop_assert_eq!(model[rank as usize].front(), Some(&item));
                        if what == 2 {
                            inbox.served(rank, item.units);
                            model[rank as usize].pop_front();
                        } else {
                            inbox.put_back(rank, taken);
                            stalled[rank as usize] = true;
                        }
                    }
                    None => {
                        let waits = |of: &Rank| !model[*of as usize].is_empty();
                        let goes = |of: &Rank| waits(of) && !stalled[*of as usize];
                        prop_assert!(!Rank::ALL.iter().any(goes));
                    }
                },
                4 => {
                    inbox.resume();
                    stalled = [false; 3];
                }
                _ => prop_assert_eq!(inbox.depth(rank).units, depth),
            }
        }
    }
}

// ---- Between shards ------------------------------------------------------------------------

type Mesh = Lanes<Item, u64, Item>;

fn connect(shards: usize, capacity: u32) -> Vec<Mesh> {
    mesh::connect(shards, capacity).into_iter().map(Ends::serve).collect()
}

fn next_request(lanes: &mut Mesh) -> Option<(usize, u32, u64)> {
    let (rank, taken) = lanes.take_request(0)?;
    let Taken::Sent(Asked { from, call, request }) = taken else { panic!("others asked") };
    lanes.inbox.served(rank, 1);
    Some((from, call, request.number))
}

#[test]
fn requests_and_answers_arrive_in_order() {
    let mut lanes = connect(3, 64);
    for call in 0..5 {
        lanes[0].request(2, call, Rank::Normal, Item::new(u64::from(call) * 10)).unwrap();
    }
    for expected in 0..5 {
        let (from, call, number) = next_request(&mut lanes[2]).unwrap();
        assert_eq!((from, call, number), (0, expected, u64::from(expected) * 10));
        lanes[2].answer(0, call, number + 1);
    }
    for expected in 0..5 {
        assert_eq!(lanes[0].take_answer(), Some((expected, u64::from(expected) * 10 + 1)));
    }
    assert!(lanes.iter_mut().all(|lanes| lanes.take_answer().is_none()));
    assert!(lanes.iter_mut().all(|lanes| lanes.take_request(0).is_none()));
}

#[test]
fn a_full_lane_gives_the_request_back_and_answers_always_fit() {
    let mut lanes = connect(2, 8 * OPEN_MAX as u32);
    for nth in 0..OPEN_MAX {
        lanes[0].request(1, 0, Rank::ALL[nth % 3], Item::new(nth as u64)).unwrap();
    }
    let refused = |lanes: &mut Vec<Mesh>| lanes[0].request(1, 0, Rank::High, Item::new(7));
    assert_eq!(refused(&mut lanes), Err((Full::Open, Item::new(7))));
    while let Some((from, call, _)) = next_request(&mut lanes[1]) {
        lanes[1].answer(from, call, 0);
    }
    assert_eq!(refused(&mut lanes), Err((Full::Open, Item::new(7))), "open until it is taken");
    lanes[0].take_answer().unwrap();
    assert!(refused(&mut lanes).is_ok());
    let mut lanes = connect(2, 1);
    assert!(refused(&mut lanes).is_ok());
    assert_eq!(refused(&mut lanes), Err((Full::Lane, Item::new(7))));
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_turn_of_messages_wakes_the_peer_once() {
    let mut lanes = connect(2, 8);
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    assert!(lanes[1].poll_ready(&Context::from_waker(&waker)).is_pending());
    lanes[0].request(1, 0, Rank::Low, Item::new(1)).unwrap();
    lanes[0].request(1, 1, Rank::High, Item::new(2)).unwrap();
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    lanes[0].wake_peers();
    lanes[0].wake_peers();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(lanes[1].poll_ready(&Context::from_waker(&waker)).is_ready());
}

#[test]
fn messages_cross_threads_whole() {
    let mut ends = mesh::connect(2, 256);
    let (b, a) = (ends.pop().unwrap(), ends.pop().unwrap());
    let mut a: Mesh = a.serve();
    let peer = std::thread::spawn(move || {
        let mut b: Mesh = b.serve();
        let mut served = 0;
        while served < 10_000 {
            if let Some((from, call, number)) = next_request(&mut b) {
                b.answer(from, call, number * 3);
                served += 1;
            }
        }
    });
    let (mut sent, mut sum, mut answered) = (0_u64, 0, 0);
    while answered < 10_000 {
        if sent < 10_000 && a.request(1, 0, Rank::Normal, Item::new(sent)).is_ok() {
            sent += 1;
        }
        while let Some((_, answer)) = a.take_answer() {
            sum += answer;
            answered += 1;
        }
    }
    peer.join().unwrap();
    assert_eq!(sum, 3 * (0..10_000).sum::<u64>());
}
