//! What is recorded is charged to a known identity and to its member, and each
//! has a budget for a day.

mod support;

use hufu_machine::{Account, Executed};
use hufu_proof::budget::{DAY, end_of_day};
use hufu_proof::transaction::{Proposal, Revocation};
use hufu_proof::{Block, Budget, Height, Outcome, Payload, Transaction, Value, codec};
use support::*;

/// The smallest budget that a consortium can agree on.
const LEAST: Budget =
    Budget { identity_bytes: Budget::LEAST_IDENTITY, member_bytes: Budget::LEAST_MEMBER };

/// A node with three devices of the operator and the smallest budget.
fn node() -> Node {
    let mut node = Node::new();
    install(&mut node, &["pump", "fan", "lift"]);
    node.enact(Proposal::Budget { budget: LEAST });
    node
}

/// A batch that no stream takes: it is recorded as refused.
fn large(node: &mut Node, device: &str, size: usize) -> Transaction {
    let rows = vec![vec![Value::Text("x".repeat(size))]];
    node.sign(&key(device), append("meters", "reading", 1, rows))
}

fn size(transaction: &Transaction) -> u64 {
    codec::encode(transaction).len() as u64
}

fn used(node: &Node, account: &Account) -> u64 {
    let time_ms = node.machine.header().time_ms;
    node.reader().used(account, node.height(), time_ms).unwrap()
}

fn identity(device: &str) -> Account {
    Account::Identity(key(device).identity())
}

fn member(of: &str) -> Account {
    Account::Member(name(of))
}

/// Executes a block of another day than the last one.
fn later(node: &mut Node, transactions: Vec<Transaction>) -> Executed {
    let mut block = node.block(transactions);
    block.header.time_ms = end_of_day(block.header.time_ms);
    node.execute(&block).unwrap()
}

#[test]
fn everything_recorded_of_a_known_signer_is_charged_once() {
    let mut node = node();
    let (pump, operator) = (identity("pump"), member("operator"));
    let (before, all_before) = (used(&node, &pump), used(&node, &operator));
    let good = node.sign(&key("pump"), append("meters", "reading", 1, vec![reading(1)]));
    let refused = large(&mut node, "pump", 1_000);
    let stranger = large(&mut node, "stranger", 1_000);
    let mut forged = large(&mut node, "pump", 1_000);
    forged.body.nonce += 77;
    let outcomes = node.run(vec![good.clone(), refused.clone(), stranger, forged, good.clone()]);
    let unknown = [Outcome::UnknownSigner, Outcome::Signature, Outcome::Duplicate];
    assert_eq!(outcomes[..2], [Outcome::Accepted, Outcome::Sequence]);
    assert_eq!(outcomes[2..], unknown);
    let charged = size(&good) + size(&refused);
    assert_eq!(used(&node, &pump) - before, charged);
    assert_eq!(used(&node, &operator) - all_before, charged);

    // A revoked signer is known, too.
    let revocation = Revocation { serial: serial_number(1), reason: 1 };
    node.must(&key("authority"), Payload::Revoke(revocation));
    let inactive = large(&mut node, "pump", 500);
    assert_eq!(node.run(vec![inactive.clone()]), [Outcome::InactiveSigner]);
    assert_eq!(used(&node, &pump) - before, charged + size(&inactive));

    let node = node.restart();
    assert_eq!(used(&node, &pump) - before, charged + size(&inactive), "it is on the disk");
}

#[test]
fn who_has_used_up_a_day_waits_for_the_next_and_nobody_else_does() {
    let mut node = node();
    let first = large(&mut node, "pump", 500_000);
    let second = large(&mut node, "pump", 30_000);
    let used_up = used(&node, &identity("pump")) + size(&first);
    assert_eq!(node.run(vec![first, second]), [Outcome::Parameter, Outcome::OverBudget]);
    // What is refused is charged, but for what a validator had no right to record.
    assert_eq!(used(&node, &identity("pump")), used_up);
    let over = large(&mut node, "pump", 30_000);
    assert_eq!(node.run(vec![over]), [Outcome::OverBudget]);
    node.must(&key("fan"), append("meters", "reading", 1, vec![reading(1)]));
    node.must(&key("operator"), install_meter("window"));

    let next = node.sign(&key("pump"), append("meters", "reading", 1, vec![reading(1)]));
    let executed = later(&mut node, vec![next.clone()]);
    assert_eq!(executed.entries[0].outcome, Outcome::Accepted);
    assert_eq!(used(&node, &identity("pump")), size(&next));
}

#[test]
fn a_member_whose_devices_have_used_up_everything_can_still_act() {
    let mut node = Node::new();
    let devices: Vec<String> = (0..12).map(|number| format!("pump-{number}")).collect();
    let names: Vec<&str> = devices.iter().map(String::as_str).collect();
    install(&mut node, &names);
    node.enact(Proposal::Budget { budget: LEAST });
    let mut outcomes = Vec::new();
    for device in names {
        let flood = large(&mut node, device, 500_000);
        outcomes.extend(node.run(vec![flood]));
    }
    let over = outcomes.iter().filter(|one| **one == Outcome::OverBudget).count();
    assert!((3..=4).contains(&over), "{outcomes:?}");
    assert!(used(&node, &member("operator")) > LEAST.member_bytes - 500_000);
    // Its own key has a reserve; other members are not concerned.
    node.must(&key("operator"), install_meter("window"));
    assert_eq!(node.one(&key("maker"), install_meter("door")), Outcome::Policy);
    let flood = |node: &mut Node| {
        let payload = Payload::Invoke(hufu_proof::transaction::Invocation {
            contract: name("meters"),
            action: name("install"),
            asset: "x".to_owned(),
            params: [(name("meter_id"), Value::Text("x".repeat(500_000)))].into(),
        });
        node.one(&key("operator"), payload)
    };
    let outcomes: Vec<Outcome> = (0..6).map(|_| flood(&mut node)).collect();
    assert_eq!(outcomes.last(), Some(&Outcome::OverBudget), "{outcomes:?}");
}

#[test]
fn members_change_the_budget_and_only_to_what_works() {
    let mut node = Node::new();
    let reader = node.reader();
    assert_eq!(reader.budget(node.height()).unwrap(), Budget::default());
    let usual = Proposal::Budget { budget: Budget::default() };
    assert_eq!(node.one(&key("maker"), Payload::Propose(usual)), Outcome::Conflict);
    let none = Budget { identity_bytes: 0, ..Budget::default() };
    let none = Proposal::Budget { budget: none };
    assert_eq!(node.one(&key("maker"), Payload::Propose(none)), Outcome::Malformed);
    let before = node.height();
    node.enact(Proposal::Budget { budget: LEAST });
    assert_eq!(reader.budget(node.height()).unwrap(), LEAST);
    assert_eq!(reader.budget(before).unwrap(), Budget::default(), "the past is as it was");
    drop(reader);
    let node = node.restart();
    assert_eq!(node.reader().budget(node.height()).unwrap(), LEAST);
}

/// What a validator says of a block of these transactions, whose header commits
/// to `executed`.
fn judged(
    node: &Node,
    transactions: Vec<Transaction>,
    executed: Height,
) -> Option<(usize, Outcome)> {
    let sizes: Vec<usize> = transactions.iter().map(|one| size(one) as usize).collect();
    let mut block: Block = node.block(transactions);
    block.header.executed = node.reader().commitment(executed).unwrap().unwrap();
    node.reader().uncharged(&block, &sizes).unwrap()
}

#[test]
fn a_block_with_what_nobody_is_charged_for_is_not_voted_for() {
    let mut node = Node::new();
    let before = node.height();
    install(&mut node, &["pump"]);
    node.enact(Proposal::Budget { budget: LEAST });
    let now = node.height();
    let good = node.sign(&key("pump"), append("meters", "reading", 1, vec![reading(1)]));
    let stranger = large(&mut node, "stranger", 10);
    assert_eq!(judged(&node, vec![good.clone()], now), None);
    let unknown = Some((1, Outcome::UnknownSigner));
    assert_eq!(judged(&node, vec![good.clone(), stranger], now), unknown);
    // As of the height that the header commits to, wherever this node is.
    assert_eq!(
        judged(&node, vec![good.clone()], before),
        Some((0, Outcome::UnknownSigner)),
        "its certificate is recorded later"
    );

    let large: Vec<Transaction> = (0..2).map(|_| large(&mut node, "pump", 300_000)).collect();
    assert_eq!(judged(&node, large.clone(), now), Some((1, Outcome::OverBudget)));
    assert_eq!(judged(&node, vec![large[0].clone()], now), None);
    node.run(vec![large[0].clone()]);
    let after = node.height();
    assert_eq!(judged(&node, vec![large[1].clone()], after), Some((0, Outcome::OverBudget)));
    assert_eq!(judged(&node, vec![large[1].clone()], now), None, "it counts what was used then");

    node.must(
        &key("authority"),
        Payload::Revoke(Revocation { serial: serial_number(1), reason: 1 }),
    );
    let revoked = node.height();
    assert_eq!(judged(&node, vec![good.clone()], revoked), Some((0, Outcome::InactiveSigner)));
    assert_eq!(judged(&node, vec![good.clone()], after), None, "it was not revoked then");
    // Past the end of its certificate.
    let mut block = node.block(vec![good.clone()]);
    block.header.time_ms = START.plus(YEAR + DAY);
    block.header.executed = node.reader().commitment(after).unwrap().unwrap();
    let found = node.reader().uncharged(&block, &[size(&good) as usize]).unwrap();
    assert_eq!(found, Some((0, Outcome::InactiveSigner)));
}
