//! Decisions that were made before.
//!
//! A decision that does not ask for its circumstances is a function of the
//! question and of what the world answered while it was made. Both are kept; a
//! decision is used again only when the question is the same and the world
//! still gives the same answers, so whether it is remembered never shows. A
//! device that appends all day is asked about once, until something of it
//! changes; asking Cedar takes several times as long as asking the world.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use hufu_proof::{Digest, IdentityId, Name, Sequence, codec};

use super::request::{Question, Subject};
use crate::cache::Generations;
use crate::world::{Asset, Member, World};

/// Most decisions remembered in each of two generations, at less than a
/// kilobyte each where assets are small.
const DECISIONS: usize = 16_384;

/// Largest answer of the world that is remembered, in encoded bytes.
const MAX_ANSWER: usize = 4 * 1024;

/// Decisions that were made before.
#[derive(Debug)]
pub(crate) struct Memo(Mutex<Generations<Digest, Arc<Decision>>>);

/// A decision, and what it rests on.
#[derive(Debug)]
struct Decision {
    answers: Vec<Answer>,
    permitted: bool,
}

/// What the world answered.
#[derive(Debug)]
enum Answer {
    Asset { contract: Name, asset_type: Name, key: String, found: Option<Asset> },
    Member { contract: Name, name: Name, found: Option<Member> },
}

impl Answer {
    /// Whether the world still answers so.
    fn stands(&self, world: &dyn World) -> bool {
        match self {
            Self::Asset { contract, asset_type, key, found } => {
                world.asset(contract, asset_type, key) == *found
            }
            Self::Member { contract, name, found } => world.member(contract, name) == *found,
        }
    }
}

impl Default for Memo {
    fn default() -> Self {
        Self(Mutex::new(Generations::new(DECISIONS)))
    }
}

impl Memo {
    /// What `ask` says of `question`, from memory where it was asked before.
    pub(crate) fn decide(
        &self,
        question: &Question<'_>,
        ask: impl FnOnce(&Question<'_>) -> bool,
    ) -> bool {
        let key = key(question);
        let earlier = self.lock().get(&key).cloned();
        if let Some(earlier) = earlier
            && earlier.answers.iter().all(|answer| answer.stands(question.world))
        {
            return earlier.permitted;
        }
        let witness = Witness { world: question.world, answers: RefCell::default() };
        let permitted = ask(&Question { world: &witness, ..*question });
        let answers = witness.answers.into_inner();
        let small = |answer: &Answer| match answer {
            Answer::Asset { found: Some(asset), .. } => codec::encode(asset).len() <= MAX_ANSWER,
            _ => true,
        };
        if answers.iter().all(small) {
            self.lock().insert(key, Arc::new(Decision { answers, permitted }));
        }
        permitted
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations<Digest, Arc<Decision>>> {
        // Every critical section is one look or one insertion.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything of the question but the world and the circumstances.
fn key(question: &Question<'_>) -> Digest {
    let principal = question.principal;
    let who = (&principal.identity, &principal.member, &principal.kind, &principal.subject);
    let subject = match question.subject {
        Subject::Asset { key, asset } => codec::encode(&(0_u8, key, asset)),
        Subject::Stream { contract, asset_type, device } => {
            codec::encode(&(1_u8, contract, asset_type, device))
        }
    };
    codec::digest("hufu decision v1", &(question.action, question.on, who, subject))
}

/// Notes what the world answers.
struct Witness<'a> {
    world: &'a dyn World,
    answers: RefCell<Vec<Answer>>,
}

impl World for Witness<'_> {
    fn asset(&self, contract: &Name, asset_type: &Name, key: &str) -> Option<Asset> {
        let found = self.world.asset(contract, asset_type, key);
        self.answers.borrow_mut().push(Answer::Asset {
            contract: contract.clone(),
            asset_type: asset_type.clone(),
            key: key.to_owned(),
            found: found.clone(),
        });
        found
    }

    fn member(&self, contract: &Name, member: &Name) -> Option<Member> {
        let found = self.world.member(contract, member);
        self.answers.borrow_mut().push(Answer::Member {
            contract: contract.clone(),
            name: member.clone(),
            found: found.clone(),
        });
        found
    }

    fn stream_sequence(&self, contract: &Name, stream: &Name, identity: &IdentityId) -> Sequence {
        // No guard asks for it.
        self.world.stream_sequence(contract, stream, identity)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use hufu_proof::transaction::IdentityKind;

    use super::*;
    use crate::contract::Contract;
    use crate::policy::request::Circumstances;
    use crate::sources::Sources;
    use crate::world::{Principal, PrincipalKind};

    const CONTRACT: &str = r#"
[package]
name = "doors"
version = "1.0.0"
title = { en = "Doors", zh = "门" }

[roles]
keeper = {}

[asset.door]
key = "door_id"
fields.door_id = { type = "id" }
states = ["open", "shut"]

[action.build]
creates = "door"
params = ["door_id"]
"#;

    const POLICY: &str = r#"
permit (principal in Role::"keeper", action == Action::"read", resource is Door)
when { resource.state == "open" };
"#;

    /// One member, in the roles it is given.
    struct Roles(RefCell<Vec<&'static str>>);

    impl World for Roles {
        fn asset(&self, _: &Name, _: &Name, _: &str) -> Option<Asset> {
            None
        }
        fn member(&self, _: &Name, _: &Name) -> Option<Member> {
            let roles = self.0.borrow().iter().map(|role| name(role)).collect();
            Some(Member { roles, ..Member::default() })
        }
        fn stream_sequence(&self, _: &Name, _: &Name, _: &IdentityId) -> Sequence {
            Sequence::ZERO
        }
    }

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn contract() -> Contract {
        let files =
            [("contract.toml", CONTRACT), ("policy.cedar", POLICY), ("README.md", "Doors.\n")];
        let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
        crate::check(&Sources::new(files.into_iter().collect()).unwrap(), &BTreeMap::new()).unwrap()
    }

    #[test]
    fn a_decision_is_made_again_when_anything_it_rests_on_changes() {
        let contract = contract();
        let world = Roles(RefCell::new(vec!["keeper"]));
        let principal = Principal {
            identity: IdentityId(Digest::of(b"key")),
            member: Some(name("owner")),
            kind: PrincipalKind::Signer(IdentityKind::Member),
            subject: "owner".to_owned(),
        };
        let memo = Memo::default();
        let asked = Cell::new(0);
        let decide = |state: &str| {
            let asset = Asset { state: name(state), fields: BTreeMap::new() };
            let door = name("door");
            let question = Question {
                principal: &principal,
                action: "read",
                on: &door,
                subject: Subject::Asset { key: "front", asset: &asset },
                circumstances: Circumstances::Read,
                world: &world,
                catalogue: &contract,
            };
            let permitted = memo.decide(&question, |question| {
                asked.set(asked.get() + 1);
                contract.policies.permits(question)
            });
            (permitted, asked.get())
        };
        assert_eq!(decide("open"), (true, 1));
        assert_eq!(decide("open"), (true, 1), "from memory");
        assert_eq!(decide("shut"), (false, 2), "another question");
        world.0.borrow_mut().clear();
        assert_eq!(decide("open"), (false, 3), "another answer of the world");
        assert_eq!(decide("open"), (false, 3));
        world.0.borrow_mut().push("keeper");
        assert_eq!(decide("open"), (true, 4));
    }
}
