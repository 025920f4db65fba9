//! Members are dismissed, suspended and readmitted while there is traffic and nodes
//! die; what holds in every run is said in the module above.

use hufu_proof::transaction::{Look, Proposal};
use hufu_proof::{Digest, FinalityCertificate, Height, Outcome, Payload, Standing};

use super::cluster::Cluster;
use super::epochs::{run, votes};
use super::traffic::{by_member, member, name};
use crate::error::Error;

fn standing(number: u8, to: Standing) -> Proposal {
    let reason = "the test asks for it".to_owned();
    Proposal::Standing { member: name(&member(number)), to, reason }
}

/// Who led the view in which a block of the first epoch was notarized.
fn led_by(cluster: &Cluster, certificate: &FinalityCertificate) -> String {
    let founders = hufu_proof::Membership::founders(&cluster.genesis);
    let validators = founders.validators();
    let view = (certificate.epoch + certificate.view) as usize;
    validators[view % validators.len()].name.to_string()
}

fn look() -> Payload {
    Payload::Look(Look { subject: "it".to_owned(), height: Height(0), answer: Digest::of(b"") })
}

/// What a node says to something that a member signs.
fn said_to(cluster: &Cluster, node: u8, signer: u8, nonce: u64) -> Option<Outcome> {
    let chain = cluster.genesis.digest();
    let transaction = by_member(chain, signer, 1_000_000 + nonce, look());
    match cluster.ledger(node).unwrap().enqueue(vec![transaction]).remove(0) {
        Err(Error::Refused(outcome)) => Some(outcome),
        _ => None,
    }
}

/// In the end, in some of the runs, the very block that dismissed the member was its
/// own.
#[test]
fn a_member_is_dismissed_while_it_leads() {
    let mut own_blocks = 0;
    for seed in 600..616 {
        let own_blocks = &mut own_blocks;
        run(seed, async |cluster, random| {
            cluster.sleep(random.below(800)).await;
            let proposal = standing(3, Standing::Dismissed);
            let digest = proposal.digest();
            cluster.govern(0, Payload::Propose(proposal)).await;
            cluster.govern(1, Payload::Approve(digest)).await;
            cluster.unheard = Some(3);
            cluster.submit(random, 15);
            cluster.sleep(random.below(400)).await;
            cluster.govern(2, Payload::Approve(digest)).await;
            let reader = cluster.ledger(0).unwrap().reader().clone();
            let enacted = reader.state().unwrap().proposal(&digest).unwrap().unwrap().enacted;
            let enacted = enacted.unwrap();
            if seed % 4 == 0 {
                // Its turns in the rest of the epoch are passed over.
                cluster.kill(3).await;
            }
            cluster.submit(random, 15);
            cluster.enter(1).await;
            if let Some(certificate) = reader.finality(enacted).unwrap() {
                *own_blocks += u32::from(led_by(cluster, &certificate) == member(3));
            }
            assert_eq!(reader.epoch().membership.seats.len(), 3);
            let refused = Some(Outcome::MemberDismissed);
            for node in 0..3 {
                assert_eq!(said_to(cluster, node, 3, seed), refused);
            }
            // Nobody waits for its vote.
            cluster.kill(3).await;
            cluster.grow(4).await;
            cluster.start_one(3).await;
        });
    }
    assert!(own_blocks > 0, "it never led when it was dismissed");
}

#[test]
fn a_suspended_member_follows_and_votes_again_when_it_is_readmitted() {
    for seed in 620..626 {
        run(seed, async |cluster, random| {
            cluster.sleep(random.below(800)).await;
            cluster.decide(standing(2, Standing::Suspended), [0, 1, 3]).await;
            cluster.submit(random, 15);
            cluster.enter(1).await;
            assert_eq!(said_to(cluster, 0, 2, seed), Some(Outcome::MemberSuspended));
            cluster.grow(3).await;
            // Without it the others go on; it catches up.
            cluster.kill(2).await;
            cluster.submit(random, 10);
            cluster.grow(4).await;
            cluster.start_one(2).await;
            cluster.grow(2).await;
            cluster.decide(standing(2, Standing::Good), [0, 1, 3]).await;
            cluster.submit(random, 10);
            cluster.enter(2).await;
            cluster.govern(2, look()).await;
            votes(cluster, 2, 1).await;
        });
    }
}
