//! Keeps account of what each subscriber got: lost, doubled and out of order are counted exactly, and subscribers of
//! one channel must agree on the order in which the events of different publishers came.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::Stamp;

/// One subscriber's account.
pub struct Account {
    channel: u32,
    next: Vec<u32>,
    digest: u64,
}

/// All accounts, and the sums over them.
pub struct Ledger {
    accounts: Vec<Account>,
    /// Numbers that were jumped over, by subscriber and publisher. Empty unless something is wrong.
    skipped: BTreeMap<(usize, u32), BTreeSet<u32>>,
    /// Deliveries owed in all: one per accepted publish and subscriber of its channel.
    pub owed: u64,
    /// Deliveries that came, each counted once.
    pub delivered: u64,
    balance: Balance,
}

/// What went wrong.
#[derive(Default)]
pub struct Balance {
    /// Deliveries that did not come.
    pub lost: u64,
    /// Events that came a second time.
    pub doubled: u64,
    /// Events that came after a later one of the same publisher and channel.
    pub out_of_order: u64,
    /// Events on a channel that the subscriber did not ask for.
    pub misrouted: u64,
    /// Subscribers who got the events of different publishers in another order than the first of their channel.
    pub disagreeing: usize,
}

impl Ledger {
    /// Accounts for `subscribers`, subscriber i on channel i modulo `channels`.
    pub fn new(subscribers: usize, channels: usize, publishers: usize) -> Self {
        let account = |i| Account { channel: (i % channels) as u32, next: vec![0; publishers], digest: 0 };
        Self {
            accounts: (0..subscribers).map(account).collect(),
            skipped: BTreeMap::new(),
            owed: 0,
            delivered: 0,
            balance: Balance::default(),
        }
    }

    /// Deliveries still to come.
    pub fn outstanding(&self) -> u64 {
        self.owed.saturating_sub(self.delivered)
    }

    /// Books one event at one subscriber.
    pub fn receive(&mut self, subscriber: usize, stamp: Stamp) {
        let account = &mut self.accounts[subscriber];
        let next = match account.next.get_mut(stamp.from as usize) {
            Some(next) if stamp.channel == account.channel => next,
            _ => return self.balance.misrouted += 1,
        };
        account.digest = mix(account.digest, stamp);
        if stamp.seq == *next {
            *next += 1;
            self.delivered += 1;
        } else if stamp.seq > *next {
            let jumped = *next..stamp.seq;
            *next = stamp.seq + 1;
            self.delivered += 1;
            self.skipped.entry((subscriber, stamp.from)).or_default().extend(jumped);
        } else if self.skipped.get_mut(&(subscriber, stamp.from)).is_some_and(|s| s.remove(&stamp.seq)) {
            self.delivered += 1;
            self.balance.out_of_order += 1;
        } else {
            self.balance.doubled += 1;
        }
    }

    /// What went wrong since the ledger was opened or last closed; nothing may be under way. What is lost is written off.
    pub fn close(&mut self) -> Balance {
        let balance = Balance {
            lost: self.outstanding(),
            disagreeing: self.disagreeing(),
            ..std::mem::take(&mut self.balance)
        };
        self.owed = self.delivered;
        self.skipped.clear();
        self.accounts.iter_mut().for_each(|account| account.digest = 0);
        balance
    }

    /// Subscribers whose order differs from that of the first subscriber of their channel.
    fn disagreeing(&self) -> usize {
        let mut first = BTreeMap::new();
        self.accounts.iter().filter(|a| *first.entry(a.channel).or_insert(a.digest) != a.digest).count()
    }
}

/// A running number that depends on every event and on their order.
fn mix(digest: u64, stamp: Stamp) -> u64 {
    let event = u64::from(stamp.from) << 32 | u64::from(stamp.seq);
    (digest.rotate_left(5) ^ event).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger_after(seqs: &[u32]) -> Ledger {
        let mut ledger = Ledger::new(1, 1, 1);
        ledger.owed = 4;
        seqs.iter().for_each(|seq| ledger.receive(0, Stamp { channel: 0, from: 0, seq: *seq, at_ns: 0 }));
        ledger
    }

    fn counts(seqs: &[u32]) -> (u64, u64, u64) {
        let balance = ledger_after(seqs).close();
        (balance.lost, balance.doubled, balance.out_of_order)
    }

    #[test]
    fn lost_doubled_and_late_events_are_told_apart() {
        assert_eq!(counts(&[0, 1, 2, 3]), (0, 0, 0));
        assert_eq!(counts(&[0, 2, 3]), (1, 0, 0));
        assert_eq!(counts(&[0, 1, 1, 2, 3]), (0, 1, 0));
        assert_eq!(counts(&[0, 2, 1, 3]), (0, 0, 1));
        assert_eq!(counts(&[0, 2, 1, 1, 3]), (0, 1, 1));
    }

    #[test]
    fn subscribers_that_saw_another_order_disagree() {
        let mut ledger = Ledger::new(2, 1, 2);
        for (subscriber, from) in [(0, 0), (0, 1), (1, 1), (1, 0)] {
            ledger.receive(subscriber, Stamp { channel: 0, from, seq: 0, at_ns: 0 });
        }
        let balance = ledger.close();
        assert_eq!((balance.out_of_order, balance.disagreeing), (0, 1));
    }

    #[test]
    fn event_of_another_channel_is_misrouted() {
        let mut ledger = Ledger::new(1, 2, 1);
        ledger.receive(0, Stamp { channel: 1, from: 0, seq: 0, at_ns: 0 });
        assert_eq!((ledger.close().misrouted, ledger.delivered), (1, 0));
    }

    #[test]
    fn fault_counts_in_the_part_in_which_it_was_made_and_in_no_other() {
        let mut ledger = ledger_after(&[0, 2, 2]);
        let balance = ledger.close();
        assert_eq!((balance.lost, balance.doubled), (2, 1));
        ledger.owed += 1;
        ledger.receive(0, Stamp { channel: 0, from: 0, seq: 3, at_ns: 0 });
        let balance = ledger.close();
        assert_eq!((balance.lost, balance.doubled, balance.disagreeing), (0, 0, 0));
    }
}
