//! How many transactions, and how many bytes in a second, each may have recorded,
//! where the members agreed on it.

mod support;

use std::time::Duration;

use hufu_machine::{Account, Executed, Load, Over, Period, Whose};
use hufu_proof::budget::end_of_day;
use hufu_proof::transaction::{Look, Proposal};
use hufu_proof::{
    Block, Digest, Height, Outcome, Payload, Quota, Quotas, Transaction, UnixMillis, codec,
};
use hufu_store::Space;
use support::*;

fn a_second(identity: u64, member: u64) -> Quotas {
    let of = |most| Quota { transactions_a_second: Some(most), ..Quota::default() };
    Quotas { identity: of(identity), member: of(member) }
}

/// A node with three devices of the operator.
fn node(quotas: Quotas) -> Node {
    let mut node = Node::new();
    install(&mut node, &["pump", "fan", "lift"]);
    node.enact(Proposal::Quotas { quotas });
    node
}

/// What is recorded whatever becomes of it.
fn any(node: &mut Node, signer: &str) -> Transaction {
    node.sign(&key(signer), append("meters", "reading", 99, vec![reading(1)]))
}

fn look(node: &mut Node, signer: &str) -> Transaction {
    let look = Look { subject: "it".into(), height: Height(0), answer: Digest::of(b"") };
    node.sign(&key(signer), Payload::Look(look))
}

fn at(node: &mut Node, time_ms: UnixMillis, transactions: Vec<Transaction>) -> Executed {
    let mut block = node.block(transactions);
    block.header.time_ms = time_ms;
    node.execute(&block).unwrap()
}

fn outcomes(executed: &Executed) -> Vec<Outcome> {
    executed.entries.iter().map(|entry| entry.outcome).collect()
}

#[test]
fn a_second_takes_so_many_of_an_identity_and_of_its_member() {
    let mut node = node(a_second(2, 4));
    let mut sent = Vec::new();
    for device in ["pump", "pump", "pump", "fan", "fan", "lift"] {
        sent.push(any(&mut node, device));
    }
    let own = look(&mut node, "operator");
    let other = look(&mut node, "maker");
    sent.extend([own, other]);
    let begin = node.machine.header().time_ms.plus(Duration::from_secs(5));
    let executed = at(&mut node, begin, sent);
    // The third of the pump's, and the fifth of the operator's; its own key has a
    // reserve of one.
    let (known, over) = (Outcome::Sequence, Outcome::OverBudget);
    let ok = Outcome::Accepted;
    assert_eq!(outcomes(&executed), [known, known, over, known, known, over, ok, ok]);

    // The second goes on in the next block, and ends.
    let sent = vec![any(&mut node, "lift")];
    let executed = at(&mut node, begin.plus(Duration::from_millis(999)), sent);
    assert_eq!(outcomes(&executed), [over]);
    let sent = vec![any(&mut node, "lift"), any(&mut node, "lift"), any(&mut node, "lift")];
    let next = begin.plus(Duration::from_millis(1_000));
    let executed = at(&mut node, next, sent);
    assert_eq!(outcomes(&executed), [known, known, over]);

    let mut node = node.restart();
    let sent = vec![any(&mut node, "lift")];
    let executed = at(&mut node, next.plus(Duration::from_millis(900)), sent);
    assert_eq!(outcomes(&executed), [over], "it is on the disk");
}

#[test]
fn bytes_of_a_second_and_transactions_of_a_day_count() {
    let mut node = node(Quotas {
        identity: Quota {
            bytes_a_second: Some(codec::MAX_TRANSACTION as u64),
            transactions_a_day: Some(Quota::LEAST_A_DAY),
            ..Quota::default()
        },
        ..Quotas::default()
    });
    let large = |node: &mut Node| {
        let rows = vec![vec![hufu_proof::Value::Text("x".repeat(300_000))]];
        node.sign(&key("pump"), append("meters", "reading", 99, rows))
    };
    let begin = node.machine.header().time_ms.plus(Duration::from_secs(1));
    let sent = vec![large(&mut node), large(&mut node)];
    let executed = at(&mut node, begin, sent);
    let over = Outcome::OverBudget;
    assert_eq!(outcomes(&executed)[1], over);
    let sent = vec![large(&mut node)];
    let executed = at(&mut node, begin.plus(Duration::from_secs(1)), sent);
    assert_ne!(outcomes(&executed)[0], over);

    let sent: Vec<_> = (0..Quota::LEAST_A_DAY).map(|_| any(&mut node, "fan")).collect();
    let more = any(&mut node, "fan");
    let refused =
        |executed: &Executed| outcomes(executed).into_iter().filter(|one| *one == over).count();
    let time_ms = begin.plus(Duration::from_secs(10));
    let executed = at(&mut node, time_ms, sent);
    assert_eq!(refused(&executed), 0);
    let executed = at(&mut node, time_ms.plus(Duration::from_secs(60)), vec![more.clone()]);
    assert_eq!(refused(&executed), 1);
    let again = any(&mut node, "fan");
    let executed = at(&mut node, end_of_day(time_ms), vec![again]);
    assert_eq!(refused(&executed), 0);
}

#[test]
fn a_block_over_a_quota_is_not_voted_for_and_an_honest_leader_makes_none() {
    let mut node = node(a_second(2, 4));
    let now = node.height();
    let sent: Vec<_> = (0..3).map(|_| any(&mut node, "pump")).collect();
    let sizes: Vec<usize> = sent.iter().map(|one| codec::encode(one).len()).collect();
    let judged = |node: &Node, block: &Block, count: usize| {
        node.reader().uncharged(block, &sizes[..count]).unwrap()
    };
    let whole = node.block(sent.clone());
    assert_eq!(judged(&node, &whole, 3), Some((2, Outcome::OverBudget)));
    let good = node.block(sent[..2].to_vec());
    assert_eq!(judged(&node, &good, 2), None);

    // What stands in blocks that are not executed counts for who leads.
    let reader = node.reader();
    let record = reader.signer(&key("pump").identity(), now).unwrap().unwrap();
    let id = key("pump").identity();
    let time_ms = good.header.time_ms;
    let mut tally = reader.tally(now, time_ms).unwrap();
    assert!(tally.has_rates());
    let one = Load::one(100);
    // A block of the second before counts for the day alone.
    let before = UnixMillis(time_ms.get() - 1_000);
    for time_ms in [before, before, time_ms, time_ms] {
        assert_eq!(tally.over(&id, &record, one, one).unwrap(), None);
        tally.charge_at(&id, &record, 100, time_ms).unwrap();
    }
    let over = Over { whose: Whose::Identity, period: Period::Second };
    assert_eq!(tally.over(&id, &record, one, one).unwrap(), Some(over));
    // As much may wait as a second takes.
    let two = one.plus(one);
    let mut tally = reader.tally(now, time_ms).unwrap();
    assert_eq!(tally.over_waiting(&id, &record, two, two).unwrap(), None);
    let three = two.plus(one);
    assert!(tally.over_waiting(&id, &record, three, three).unwrap().is_some());
}

#[test]
fn what_was_recorded_before_there_were_quotas_is_not_counted() {
    let mut node = Node::new();
    install(&mut node, &["fan"]);
    let before: Vec<_> = (0..Quota::LEAST_A_DAY).map(|_| any(&mut node, "fan")).collect();
    node.run(before);
    let quota = Quota { transactions_a_day: Some(Quota::LEAST_A_DAY), ..Quota::default() };
    node.enact(Proposal::Quotas { quotas: Quotas { identity: quota, ..Quotas::default() } });
    // Whether the node was started anew since then or not.
    let one = any(&mut node, "fan");
    assert_eq!(node.run(vec![one]), [Outcome::Sequence]);
    let mut node = node.restart();
    let rest: Vec<_> = (0..Quota::LEAST_A_DAY).map(|_| any(&mut node, "fan")).collect();
    let outcomes = node.run(rest);
    let over = outcomes.iter().filter(|one| **one == Outcome::OverBudget).count();
    assert_eq!(over, 1);
}

#[test]
fn without_quotas_accounts_are_what_they_were() {
    let mut node = Node::new();
    install(&mut node, &["pump"]);
    let row = |node: Node, device: &str| {
        let key = [&b"identity/"[..], key(device).identity().0.as_bytes()].concat();
        let directory = node.close();
        store(directory.path()).read_latest(Space::Usage, &key).unwrap().unwrap().len()
    };
    let one = any(&mut node, "pump");
    node.run(vec![one]);
    assert_eq!(row(node, "pump"), 16);
    let mut node = self::node(a_second(2, 4));
    let one = any(&mut node, "pump");
    node.run(vec![one]);
    let account = Account::Identity(key("pump").identity());
    let time_ms = node.machine.header().time_ms;
    assert!(node.reader().used(&account, node.height(), time_ms).unwrap() > 0);
    assert_eq!(row(node, "pump"), 48);
}

#[test]
fn members_change_the_quotas_and_only_to_what_works() {
    let mut node = Node::new();
    let proposes = |quotas| Payload::Propose(Proposal::Quotas { quotas });
    assert_eq!(node.one(&key("maker"), proposes(Quotas::default())), Outcome::Conflict);
    assert_eq!(node.one(&key("maker"), proposes(a_second(0, 4))), Outcome::Malformed);
    assert_eq!(node.one(&key("maker"), proposes(a_second(5, 4))), Outcome::Malformed);
    node.enact(Proposal::Quotas { quotas: a_second(5, 40) });
    assert_eq!(node.reader().quotas(node.height()).unwrap(), a_second(5, 40));
    node.enact(Proposal::Quotas { quotas: Quotas::default() });
    let node = node.restart();
    assert!(node.reader().quotas(node.height()).unwrap().is_unlimited());
}
