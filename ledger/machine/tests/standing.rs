//! Members are suspended, readmitted and dismissed by the others; the constitution
//! is changed by its own rule.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use hufu_machine::Event;
use hufu_machine::record::IdentityStatus;
use hufu_proof::transaction::{Issuance, Look, Proposal, Revocation};
use hufu_proof::{
    Algorithm, Block, Constitution, Digest, Height, Member, Outcome, Payload, PublicKey, Signature,
    Signer, SignerFault, Standing, Transaction, codec,
};
use p256::ecdsa::signature::Signer as _;
use support::*;

const OTHERS: [&str; 3] = ["authority", "operator", "regulator"];

fn standing(of: &str, to: Standing) -> Proposal {
    Proposal::Standing { member: name(of), to, reason: "the test asks for it".into() }
}

fn constitution(approvals: u16, algorithms: &[Algorithm], from: u64) -> Proposal {
    let algorithms = algorithms.iter().copied().collect();
    let constitution = Constitution { approvals, algorithms };
    Proposal::Constitution { constitution, from: Height(from) }
}

const ALL: [Algorithm; 3] = [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::EcdsaP384];

fn look(subject: &str) -> Payload {
    Payload::Look(Look { subject: subject.into(), height: Height(0), answer: Digest::of(b"") })
}

/// The first proposes, the others approve.
fn enact(node: &mut Node, by: &[&str], proposal: Proposal) {
    let digest = proposal.digest();
    node.must(&key(by[0]), Payload::Propose(proposal));
    for approver in &by[1..] {
        node.must(&key(approver), Payload::Approve(digest));
    }
}

/// What becomes of a proposal: of the transaction that would enact it.
fn decided(node: &mut Node, by: &[&str], proposal: Proposal) -> Outcome {
    let digest = proposal.digest();
    let mut outcome = node.one(&key(by[0]), Payload::Propose(proposal));
    for approver in &by[1..] {
        if outcome != Outcome::Accepted {
            break;
        }
        outcome = node.one(&key(approver), Payload::Approve(digest));
    }
    outcome
}

fn stands(node: &Node, member: &str) -> Standing {
    node.reader().state().unwrap().standings().unwrap().of(&name(member))
}

fn seats(node: &Node) -> Vec<String> {
    let seats = node.reader().membership().unwrap().seats;
    seats.into_iter().map(|seat| seat.name.to_string()).collect()
}

/// A member of version 2 with its own keys.
fn founder(of: &str) -> Member {
    let members = genesis_v2().members;
    members.into_iter().find(|member| member.name == name(of)).unwrap()
}

fn sizes(transactions: &[Transaction]) -> Vec<usize> {
    transactions.iter().map(|one| codec::encode(one).len()).collect()
}

#[test]
fn a_suspended_member_is_not_heard_until_it_is_readmitted() {
    let mut node = Node::founded(genesis_v2());
    install(&mut node, &["pump"]);
    let others = ["authority", "maker", "regulator"];
    let reading_of = |sequence| append("meters", "reading", sequence, vec![reading(1)]);
    node.must(&key("pump"), reading_of(1));
    let before = node.height();
    enact(&mut node, &others, standing("operator", Standing::Suspended));
    let suspended = node.height();
    assert_eq!(stands(&node, "operator"), Standing::Suspended);
    let told = node.reader().replay(suspended).unwrap().unwrap().events;
    let suspends = |event: &Event| matches!(event, Event::Standing { member, .. } if *member == name("operator"));
    assert!(told.iter().any(suspends));

    // Neither itself nor who acts for it, and nothing for it.
    let refused = Outcome::MemberSuspended;
    assert_eq!(node.one(&key("operator"), look("something")), refused);
    assert_eq!(node.one(&key("operator"), install_meter("fan")), refused);
    assert_eq!(node.one(&key("pump"), reading_of(2)), refused);
    let certify = Payload::Certify(vec![certification(issuance("fan", 7))]);
    assert_eq!(node.one(&key("authority"), certify), refused);
    let grant = Proposal::Grant {
        contract: name("meters"),
        role: name("reader"),
        member: name("operator"),
    };
    assert_eq!(node.one(&key("maker"), Payload::Propose(grant)), refused);
    // As of a height when it was not, a block may hold it; later none does.
    let transactions = vec![node.sign(&key("pump"), reading_of(2))];
    let mut block = node.block(transactions.clone());
    let judged = |node: &Node, block: &Block| node.reader().uncharged(block, &sizes(&transactions));
    assert_eq!(judged(&node, &block).unwrap(), Some((0, refused)));
    block.header.executed = node.reader().commitment(before).unwrap().unwrap();
    assert_eq!(judged(&node, &block).unwrap(), None);

    // Its certificates and assets are as they were; it follows and does not vote.
    let reader = node.reader();
    let state = reader.state().unwrap();
    let identity = state.identity(&key("pump").identity()).unwrap().unwrap();
    assert_eq!(identity.status, IdentityStatus::Active);
    let meter = state.asset_record(&name("meters"), &name("meter"), "pump").unwrap();
    assert!(meter.is_some());
    assert_eq!(seats(&node), ["authority", "maker", "regulator"]);
    let suspended: Vec<_> = reader.suspended().unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(suspended, [name("operator")]);
    assert_eq!((reader.epoch().number, reader.epoch().membership.seats.len()), (1, 3));
    drop((reader, state));

    let mut node = node.restart();
    assert_eq!(node.one(&key("pump"), reading_of(2)), refused);
    // Whoever certified it can revoke.
    node.must(
        &key("authority"),
        Payload::Revoke(Revocation { serial: serial_number(1), reason: 6 }),
    );
    node.must(
        &key("authority"),
        Payload::Revoke(Revocation { serial: serial_number(1), reason: 8 }),
    );
    enact(&mut node, &others, standing("operator", Standing::Good));
    node.must(&key("operator"), install_meter("fan"));
    node.must(&key("pump"), reading_of(2));
    node.settle();
    assert_eq!(node.reader().epoch().number, 2);
    assert_eq!(seats(&node).len(), 4);
    assert!(node.reader().suspended().unwrap().is_empty());
}

#[test]
fn a_dismissed_member_is_gone_for_good_and_its_history_stays() {
    let mut node = Node::founded(genesis_v2());
    install(&mut node, &["pump"]);
    node.must(&key("pump"), append("meters", "reading", 1, vec![reading(1)]));
    let certified = certification(issuance("pump", 1));
    let others = ["authority", "maker", "regulator"];
    enact(&mut node, &others, standing("operator", Standing::Dismissed));
    let refused = Outcome::MemberDismissed;
    for signer in ["operator", "pump"] {
        assert_eq!(node.one(&key(signer), look("something")), refused, "{signer}");
    }
    let state = node.reader().state().unwrap();
    let status = |seed: &str| state.identity(&key(seed).identity()).unwrap().unwrap().status;
    assert_eq!(status("operator"), IdentityStatus::Revoked);
    assert_eq!(
        status("pump"),
        IdentityStatus::Active,
        "its certificate is the authority's to revoke"
    );
    assert!(state.certificate(&serial_number(1)).unwrap().is_some());
    assert!(state.asset_record(&name("meters"), &name("meter"), "pump").unwrap().is_some());
    assert!(state.member_record(&name("operator")).unwrap().is_some());
    // Contracts know it no more.
    let known = |member| hufu_contract::World::member(&state, &name("meters"), &name(member));
    assert!(known("operator").is_none() && known("maker").is_some());
    drop(state);

    // Neither name nor keys come back.
    let proposes = |member: Member| Payload::Propose(Proposal::Member { member });
    let back = |to| Payload::Propose(standing("operator", to));
    for to in [Standing::Good, Standing::Suspended, Standing::Dismissed] {
        assert_eq!(node.one(&key("maker"), back(to)), refused);
    }
    let again = Member { vote_key: vote_public("auditor"), ..founder("operator") };
    assert_eq!(node.one(&key("maker"), proposes(again)), refused);
    let title = BTreeMap::from([("en".into(), "Auditor".into())]);
    let auditor = Member {
        name: name("auditor"),
        title,
        names: BTreeSet::from(["operator.example".parse().unwrap()]),
        vote_key: vote_public("auditor"),
        statement_key: key("auditor").public(),
        node_key: None,
        ..founder("operator")
    };
    let stolen = Member { vote_key: founder("operator").vote_key, ..auditor.clone() };
    assert_eq!(node.one(&key("maker"), proposes(stolen)), Outcome::Conflict);
    let stolen = Member { statement_key: key("operator").public(), ..auditor.clone() };
    assert_eq!(node.one(&key("maker"), proposes(stolen)), Outcome::Conflict);
    // What it called its own on the network is free, and so are its devices' names.
    enact(&mut node, &others, Proposal::Member { member: auditor });
    let mut taken = certified;
    taken.issuance = Issuance {
        owner: name("auditor"),
        key: key("pump again").public(),
        serial: serial_number(9),
        ..taken.issuance
    };
    node.must(&key("authority"), Payload::Certify(vec![taken.clone()]));
    let state = node.reader().state().unwrap();
    assert_eq!(state.device_owner("pump").unwrap(), Some(name("auditor")));
    taken.issuance.owner = name("maker");
    taken.issuance.serial = serial_number(10);
    let foreign = node.one(&key("authority"), Payload::Certify(vec![taken]));
    assert_eq!(foreign, Outcome::Conflict, "the key is the auditor's now");
}

#[test]
fn a_member_has_no_say_in_how_it_stands() {
    let mut node = Node::new();
    let suspend = standing("maker", Standing::Suspended);
    assert_eq!(node.one(&key("maker"), Payload::Propose(suspend.clone())), Outcome::Forbidden);
    node.must(&key("authority"), Payload::Propose(suspend.clone()));
    let approve = Payload::Approve(suspend.digest());
    assert_eq!(node.one(&key("maker"), approve.clone()), Outcome::Forbidden);
    node.must(&key("operator"), approve.clone());
    // What the maker has approved counts while it has a seat.
    let other = standing("operator", Standing::Suspended);
    node.must(&key("maker"), Payload::Propose(other.clone()));
    node.must(&key("authority"), Payload::Approve(other.digest()));
    node.must(&key("regulator"), approve);
    assert_eq!(stands(&node, "maker"), Standing::Suspended);
    node.must(&key("regulator"), Payload::Approve(other.digest()));
    assert_eq!(stands(&node, "operator"), Standing::Good, "an approval counts without a seat");

    let readmit = standing("maker", Standing::Good);
    assert_eq!(
        node.one(&key("maker"), Payload::Propose(readmit.clone())),
        Outcome::MemberSuspended
    );
    enact(&mut node, &OTHERS, readmit);
    assert_eq!(stands(&node, "maker"), Standing::Good);
}

#[test]
fn who_is_needed_to_decide_stays() {
    let mut node = Node::new();
    let by = ["maker", "operator", "regulator"];
    for to in [Standing::Suspended, Standing::Dismissed] {
        assert_eq!(decided(&mut node, &by, standing("authority", to)), Outcome::Undecidable);
    }
    enact(&mut node, &OTHERS, standing("maker", Standing::Suspended));
    // Three are left, and three approvals are needed.
    for to in [Standing::Suspended, Standing::Dismissed] {
        assert_eq!(decided(&mut node, &OTHERS, standing("operator", to)), Outcome::Undecidable);
    }
    assert_eq!(decided(&mut node, &OTHERS, constitution(4, &ALL, 0)), Outcome::Undecidable);
    // What was decided and has not begun counts, too.
    let begins = node.height().get() + 20;
    enact(&mut node, &OTHERS, constitution(2, &ALL, begins));
    assert_eq!(
        decided(&mut node, &OTHERS, standing("operator", Standing::Dismissed)),
        Outcome::Undecidable
    );
    while node.height().get() < begins {
        node.run(vec![]);
    }
    let two = ["authority", "regulator"];
    let later = node.height().get() + 50;
    enact(&mut node, &two, constitution(3, &ALL, later));
    let dismissed = standing("operator", Standing::Dismissed);
    assert_eq!(decided(&mut node, &two, dismissed.clone()), Outcome::Undecidable);
    enact(&mut node, &two, constitution(1, &ALL, later));
    enact(&mut node, &two, dismissed);
    assert_eq!(seats(&node), ["authority", "regulator"]);
    // A suspended member can be dismissed, though it leaves no seat behind; an epoch
    // begins so that its node is no peer any more.
    let version = node.reader().membership().unwrap().version;
    enact(&mut node, &["authority", "regulator"], standing("maker", Standing::Dismissed));
    assert_eq!(node.reader().membership().unwrap().version, version + 1);
    assert_eq!(
        decided(&mut node, &["authority"], standing("nobody", Standing::Good)),
        Outcome::NotFound
    );
}

#[test]
fn a_suspended_member_gets_new_keys_and_comes_back_with_them() {
    let mut node = Node::founded(genesis_v2());
    enact(&mut node, &OTHERS, standing("maker", Standing::Suspended));
    let version = node.reader().membership().unwrap().version;
    let renewed = Member {
        vote_key: vote_public("maker 2"),
        statement_key: key("maker 2").public(),
        ..founder("maker")
    };
    enact(&mut node, &OTHERS, Proposal::Member { member: renewed });
    assert_eq!(node.reader().membership().unwrap().version, version, "it has no seat");
    assert_eq!(node.one(&key("maker 2"), look("something")), Outcome::MemberSuspended);
    enact(&mut node, &OTHERS, standing("maker", Standing::Good));
    node.must(&key("maker 2"), look("something"));
    assert_eq!(node.one(&key("maker"), look("something")), Outcome::InactiveSigner);
    let membership = node.reader().membership().unwrap();
    assert_eq!(membership.seat(&name("maker")).unwrap().vote_key, vote_public("maker 2"));
    // Its names are still its own.
    let thief = Member { names: founder("maker").names, ..founder("operator") };
    let payload = Payload::Propose(Proposal::Member { member: thief });
    assert_eq!(node.one(&key("authority"), payload), Outcome::Conflict);
}

#[test]
fn the_constitution_changes_by_its_own_rule_at_a_height() {
    let mut node = Node::new();
    assert_eq!(decided(&mut node, &OTHERS, constitution(3, &ALL, 0)), Outcome::Conflict);
    assert_eq!(decided(&mut node, &OTHERS, constitution(0, &ALL, 0)), Outcome::Malformed);
    assert_eq!(decided(&mut node, &OTHERS, constitution(5, &ALL, 0)), Outcome::Undecidable);
    assert_eq!(decided(&mut node, &OTHERS, constitution(2, &[], 0)), Outcome::Malformed);
    // Every member signs with Ed25519.
    let retired = constitution(3, &[Algorithm::EcdsaP256], 0);
    assert_eq!(decided(&mut node, &OTHERS, retired), Outcome::Undecidable);
    let far = node.height().get() + Constitution::MAX_AHEAD + 10;
    assert_eq!(decided(&mut node, &OTHERS, constitution(2, &ALL, far)), Outcome::Parameter);

    let from = node.height().get() + 10;
    let two = constitution(2, &[Algorithm::Ed25519], from);
    enact(&mut node, &OTHERS, two);
    let reader = node.reader();
    let approvals = |height: u64| reader.constitution(Height(height)).unwrap().approvals;
    assert_eq!((approvals(from - 2), node.height().get() < from - 2), (3, true));
    let amendments = reader.state().unwrap().amendments().unwrap();
    assert_eq!(amendments.at(Height(from - 1)), None);
    assert_eq!(amendments.at(Height(from)).unwrap().approvals, 2);
    // Two are not enough before that height, and are at it.
    let suspend = standing("maker", Standing::Suspended);
    node.must(&key("authority"), Payload::Propose(suspend.clone()));
    node.must(&key("operator"), Payload::Approve(suspend.digest()));
    assert_eq!(stands(&node, "maker"), Standing::Good);
    while node.height().get() + 1 < from {
        node.run(vec![]);
    }
    node.must(&key("regulator"), Payload::Approve(suspend.digest()));
    assert_eq!((node.height().get(), stands(&node, "maker")), (from, Standing::Suspended));
    enact(&mut node, &["authority", "operator"], standing("maker", Standing::Good));

    // A later decision replaces what has not begun, and nothing else.
    let soon = node.height().get() + 20;
    for (approvals, from) in [(4, soon + 10), (1, soon)] {
        enact(&mut node, &["authority", "operator"], constitution(approvals, &ALL, from));
    }
    drop(reader);
    let node = node.restart();
    let all = node.reader().state().unwrap().amendments().unwrap().all;
    let kept: Vec<_> = all.iter().map(|one| (one.from.get(), one.constitution.approvals)).collect();
    assert_eq!(kept, [(from, 2), (soon, 1)]);
    // Decided too late for its height, it begins with the next.
    let mut node = node;
    enact(&mut node, &["authority", "operator"], constitution(3, &ALL, 1));
    let all = node.reader().state().unwrap().amendments().unwrap().all;
    assert_eq!(all.last().unwrap().from, node.height().next());
}

#[test]
fn a_retired_algorithm_signs_nothing_any_more() {
    let mut node = Node::new();
    install(&mut node, &["pump"]);
    let fan = Fan(p256::ecdsa::SigningKey::from_slice(&Digest::of(b"fan").0).unwrap());
    let certificate = Issuance { key: fan.public_key(), ..issuance("fan", 2) };
    node.certify_devices(vec![certificate]);
    let from = node.height().get() + 6;
    enact(&mut node, &OTHERS, constitution(3, &[Algorithm::Ed25519], from));
    let mut nonce = 0;
    let mut of_fan = |node: &mut Node| {
        nonce += 1;
        let payload = append("meters", "reading", 1, vec![reading(1)]);
        let one = sign(node.chain, nonce, node.height().plus(10), &fan, payload);
        node.run(vec![one])[0]
    };
    // It is known, and installed nowhere.
    let before = of_fan(&mut node);
    assert!(!matches!(before, Outcome::Signature | Outcome::Accepted), "{before}");
    while node.height().get() + 1 < from {
        node.run(vec![]);
    }
    assert_eq!(of_fan(&mut node), Outcome::Signature);
    node.must(&key("pump"), append("meters", "reading", 1, vec![reading(1)]));
}

/// A device whose key is of another algorithm than the members'.
struct Fan(p256::ecdsa::SigningKey);

impl Signer for Fan {
    fn public_key(&self) -> PublicKey {
        let point = self.0.verifying_key().to_sec1_point(true);
        PublicKey::new(Algorithm::EcdsaP256, point.as_bytes()).unwrap()
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignerFault> {
        let signature: p256::ecdsa::Signature = self.0.sign(message);
        Ok(Signature::new(Algorithm::EcdsaP256, &signature.normalize_s().to_bytes()).unwrap())
    }
}
