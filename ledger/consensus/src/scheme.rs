//! How votes are signed and counted: ECDSA P-256 by a guarded token, one
//! signature per validator in a certificate.
//!
//! Signatures are attributable: each is proof of who made it, so contradicting
//! votes are evidence against a member that a third party can check.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::BufMut;
use commonware_codec::types::lazy::Lazy;
use commonware_codec::{
    Buf, EncodeSize, Error as CodecError, FixedSize as _, Read, ReadRangeExt as _, Write, varint,
};
use commonware_consensus::simplex::scheme::Namespace;
use commonware_consensus::simplex::types::{Finalization, Proposal, Subject};
use commonware_consensus::types::{Epoch, Participant, Round as EngineRound, View};
use commonware_cryptography::certificate::{
    self, AssemblyError, Attestation, Membership, Namespace as _, Signers, Subject as _,
    Verification,
};
use commonware_cryptography::{Digest, sha256};
use commonware_parallel::Strategy;
use commonware_utils::iter::NonEmpty;
use commonware_utils::ordered::{Quorum as _, Set};
use commonware_utils::{N3f1, union_unique};
use hufu_proof::FinalityCertificate;
use hufu_proof::finality;
use rand_core::CryptoRng;

use crate::application::Round;
use crate::error::Error;
use crate::guard::{Guard, GuardError, Phase, Vote};
use crate::keys::{Identity, PublicKey, Signature};
use crate::listening::Listening;
use crate::status::Board;

/// A validator's key with the guard before it.
pub(crate) struct Voter {
    pub(crate) identity: Identity,
    pub(crate) guard: Guard,
    /// Without its end there is no vote.
    pub(crate) listening: Listening,
    /// What the guard knew when this node started.
    pub(crate) known: Round,
    /// The first round this node has voted in since.
    pub(crate) first: OnceLock<Round>,
    /// Where it says that it votes.
    pub(crate) board: Arc<Board>,
}

impl Voter {
    pub(crate) fn new(
        identity: Identity,
        guard: Guard,
        listening: Listening,
        board: Arc<Board>,
    ) -> Self {
        let known = guard.latest();
        Self { identity, guard, listening, known, first: OnceLock::new(), board }
    }

    /// Hears which view of the present epoch is final for a validator.
    pub(crate) fn told(&self, validator: u16, round: Round) {
        let Some(view) = self.listening.told(validator, View::new(round.view)) else { return };
        let round = Round { view: view.get(), ..round };
        // Nothing is final yet, so there is no view to keep out of.
        if !view.is_zero()
            && let Err(error) = self.guard.raise_floor(round)
        {
            tracing::error!(%error, "this validator abstains");
            return;
        }
        self.listening.end();
        let Round { epoch, view } = round;
        tracing::info!(epoch, view, "heard how far the others are: this validator votes");
    }
}

/// The validators of an epoch, and this node's place among them.
#[derive(Clone)]
pub struct VoteScheme {
    participants: Arc<Set<PublicKey>>,
    namespace: Arc<Namespace>,
    voter: Option<(Participant, Arc<Voter>)>,
}

impl VoteScheme {
    /// A scheme that verifies but does not vote.
    pub(crate) fn verifier(namespace: &[u8], participants: Set<PublicKey>) -> Self {
        Self {
            participants: Arc::new(participants),
            namespace: Arc::new(Namespace::derive(namespace)),
            voter: None,
        }
    }

    /// Lets `voter` vote, if it is one of the participants.
    pub(crate) fn with_voter(mut self, voter: Arc<Voter>) -> Self {
        let index = self.participants.index(voter.identity.public_key());
        self.voter = index.map(|index| (index, voter));
        self
    }

    fn verify(
        &self,
        subject: &impl certificate::Subject<Namespace = Namespace>,
        key: &PublicKey,
        signature: &Signature,
    ) -> bool {
        let message = union_unique(subject.namespace(&self.namespace), &subject.message());
        key.verifies(&message, signature)
    }
}

impl fmt::Debug for VoteScheme {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("VoteScheme")
            .field("participants", &self.participants.len())
            .field("me", &self.voter.as_ref().map(|(index, _)| index))
            .finish()
    }
}

/// A quorum's signatures on one subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Certificate {
    signers: Signers,
    signatures: Vec<Lazy<Signature>>,
}

impl Write for Certificate {
    fn write(&self, writer: &mut impl BufMut) {
        self.signers.write(writer);
        self.signatures.write(writer);
    }
}

impl EncodeSize for Certificate {
    fn encode_size(&self) -> usize {
        self.signers.encode_size() + self.signatures.encode_size()
    }
}

impl Read for Certificate {
    /// Most participants a certificate may have.
    type Cfg = usize;

    fn read_cfg(reader: &mut impl Buf, participants: &usize) -> Result<Self, CodecError> {
        let signers = Signers::read_cfg(reader, participants)?;
        let signatures = Vec::<Lazy<Signature>>::read_range(reader, ..=*participants)?;
        if signers.count() == 0 || signers.count() != signatures.len() {
            return Err(CodecError::Invalid("Certificate", "signers and signatures differ"));
        }
        Ok(Self { signers, signatures })
    }
}

impl certificate::Verifier for VoteScheme {
    type Subject<'a, D: Digest> = Subject<'a, D>;
    type Faults = N3f1;
    type PublicKey = PublicKey;
    type Certificate = Certificate;

    fn verify_certificate<R, D>(
        &self,
        _: &mut R,
        subject: Subject<'_, D>,
        certificate: &Certificate,
        strategy: &impl Strategy,
    ) -> bool
    where
        R: CryptoRng,
        D: Digest,
    {
        let quorum = self.participants.quorum::<N3f1>() as usize;
        if certificate.signers.len() != self.participants.len()
            || certificate.signers.count() != certificate.signatures.len()
            || certificate.signers.count() < quorum
        {
            return false;
        }
        let message = union_unique(subject.namespace(&self.namespace), &subject.message());
        let pairs: Vec<_> = certificate.signers.iter().zip(&certificate.signatures).collect();
        strategy
            .map_collect_vec(pairs, |(signer, signature)| {
                let key = self.participants.key(signer);
                key.zip(signature.get())
                    .is_some_and(|(key, signature)| key.verifies(&message, signature))
            })
            .into_iter()
            .all(|valid| valid)
    }

    fn is_batchable() -> bool {
        false
    }

    fn max_certificate_size(participants: u32) -> usize {
        // A bitmap with its length, and as many signatures with theirs.
        let participants = participants as usize;
        let bitmap = u64::SIZE + participants.div_ceil(8);
        bitmap + varint::MAX_U32_VARINT_SIZE + participants * Signature::SIZE
    }

    fn certificate_codec_config(&self) -> usize {
        self.participants.len()
    }

    fn certificate_codec_config_unbounded() -> usize {
        hufu_proof::genesis::MAX_MEMBERS
    }
}

impl certificate::Scheme for VoteScheme {
    type Signature = Signature;

    fn me(&self) -> Option<Membership> {
        self.voter.as_ref().map(|(index, _)| Membership::Signer(*index))
    }

    fn participants(&self) -> &Set<PublicKey> {
        &self.participants
    }

    /// Blocks while the token signs and the guard's record is synced.
    fn sign<D: Digest>(&self, subject: Subject<'_, D>) -> Option<Attestation<Self>> {
        let (index, voter) = self.voter.as_ref()?;
        if voter.listening.waits() {
            return None;
        }
        let (round, phase) = match &subject {
            Subject::Notarize { proposal } => (proposal.round, Phase::Notarize),
            Subject::Nullify { round } => (*round, Phase::Nullify),
            Subject::Finalize { proposal } => (proposal.round, Phase::Finalize),
        };
        let message = union_unique(subject.namespace(&self.namespace), &subject.message());
        let round = Round::from(round);
        let vote = Vote { round, phase, message: crate::sha256(&message) };
        match voter.guard.sign(&vote, || voter.identity.sign(&message)) {
            Ok(signature) => {
                if round > voter.known {
                    voter.first.get_or_init(|| round);
                }
                voter.board.saw_vote(usize::from(*index), View::new(round.view));
                Some(Attestation { signer: *index, signature: signature.into() })
            }
            // Said in the status, for as long as it is so.
            Err(Error::Guard(GuardError::Restored)) => None,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let Round { epoch, view } = round;
                tracing::error!(epoch, view, %phase, %error, cause, "this validator abstains");
                None
            }
        }
    }

    fn verify_attestation<R, D>(
        &self,
        _: &mut R,
        subject: Subject<'_, D>,
        attestation: &Attestation<Self>,
        _: &impl Strategy,
    ) -> bool
    where
        R: CryptoRng,
        D: Digest,
    {
        let key = self.participants.key(attestation.signer);
        key.zip(attestation.signature.get())
            .is_some_and(|(key, signature)| self.verify(&subject, key, signature))
    }

    fn verify_attestations<R, D, I>(
        &self,
        _: &mut R,
        subject: Subject<'_, D>,
        attestations: I,
        strategy: &impl Strategy,
    ) -> Verification<Self>
    where
        R: CryptoRng,
        D: Digest,
        I: IntoIterator<Item = Attestation<Self>>,
        I::IntoIter: Send,
    {
        let message = union_unique(subject.namespace(&self.namespace), &subject.message());
        let attestations: Vec<_> = attestations.into_iter().collect();
        let judged = strategy.map_collect_vec(attestations, |attestation| {
            let key = self.participants.key(attestation.signer);
            let valid = key
                .zip(attestation.signature.get())
                .is_some_and(|(key, signature)| key.verifies(&message, signature));
            (attestation, valid)
        });
        let mut verified = Vec::with_capacity(judged.len());
        let mut invalid = BTreeSet::new();
        for (attestation, valid) in judged {
            if valid {
                verified.push(attestation);
            } else {
                invalid.insert(attestation.signer);
            }
        }
        Verification::new(verified, invalid.into_iter().collect())
    }

    fn optimistic_assemble<'a, R, D, I, J>(
        &self,
        rng: &mut R,
        subject: Subject<'_, D>,
        pending: I,
        verified: J,
        strategy: &impl Strategy,
    ) -> Result<Certificate, Verification<Self>>
    where
        R: CryptoRng,
        D: Digest,
        I: IntoIterator<Item = Attestation<Self>>,
        I::IntoIter: ExactSizeIterator + Send,
        J: IntoIterator<Item = &'a Attestation<Self>>,
        J::IntoIter: Send,
    {
        // ECDSA gains nothing from checking a whole certificate at once.
        certificate::verify_then_assemble::<Self, _, D, _, _>(
            self, rng, subject, pending, verified, strategy,
        )
    }

    fn assemble<I>(
        &self,
        attestations: NonEmpty<I>,
        _: &impl Strategy,
    ) -> Result<Certificate, AssemblyError>
    where
        I: Iterator<Item = Attestation<Self>> + Send,
    {
        let mut entries = Vec::new();
        for Attestation { signer, signature } in attestations {
            if self.participants.key(signer).is_none() {
                return Err(AssemblyError::UnknownSigner(signer));
            }
            let signature =
                signature.get().cloned().ok_or(AssemblyError::MalformedSignature(signer))?;
            entries.push((signer, signature));
        }
        entries.sort_by_key(|(signer, _)| *signer);
        let found = entries.len() as u32;
        let (signers, signatures): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        let signers = Signers::try_from((&*self.participants, signers))?;
        let required = self.participants.quorum::<N3f1>();
        if found < required {
            return Err(AssemblyError::InsufficientAttestations(required, found));
        }
        Ok(Certificate { signers, signatures: signatures.into_iter().map(Lazy::from).collect() })
    }

    fn is_attributable() -> bool {
        true
    }
}

/// The engine's finalization as a certificate that needs no engine.
pub(crate) fn export(
    finalization: &Finalization<VoteScheme, sha256::Digest>,
) -> Option<FinalityCertificate> {
    let Certificate { signers, signatures } = &finalization.certificate;
    let votes = signers
        .iter()
        .zip(signatures)
        .map(|(signer, signature)| {
            Some(finality::Vote {
                validator: u16::try_from(signer.get()).ok()?,
                signature: *signature.get()?.as_bytes(),
            })
        })
        .collect::<Option<Vec<_>>>()?;
    let Proposal { round, parent, payload } = &finalization.proposal;
    Some(FinalityCertificate {
        epoch: round.epoch().get(),
        view: round.view().get(),
        parent_view: parent.get(),
        block: hufu_proof::Digest(payload.0),
        votes,
    })
}

/// The other way round: a stored certificate as the engine's finalization.
/// `None` when it is malformed; signatures are not checked.
pub(crate) fn import(
    certificate: &FinalityCertificate,
    validators: usize,
) -> Option<Finalization<VoteScheme, sha256::Digest>> {
    let signers = certificate.votes.iter().map(|vote| Participant::new(u32::from(vote.validator)));
    let signers = Signers::new(u32::try_from(validators).ok()?, signers).ok()?;
    let signatures = certificate
        .votes
        .iter()
        .map(|vote| Signature::strict(vote.signature).map(Lazy::from))
        .collect::<Option<Vec<_>>>()?;
    let round = EngineRound::new(Epoch::new(certificate.epoch), View::new(certificate.view));
    let parent = View::new(certificate.parent_view);
    let payload = sha256::Digest(certificate.block.0);
    Some(Finalization {
        proposal: Proposal::new(round, parent, payload),
        certificate: Certificate { signers, signatures },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::NoRandomness;
    use crate::status::Beginning;
    use crate::testing::SoftwareSigner;
    use commonware_codec::{Decode as _, Encode as _};
    use commonware_cryptography::certificate::{Scheme as _, Verifier as _};
    use commonware_parallel::Sequential;
    use commonware_utils::{Faults as _, TryFromIterator as _};
    use proptest::prelude::*;

    const NAMESPACE: &[u8] = b"namespace";

    fn schemes(directory: &std::path::Path, count: u8) -> Vec<VoteScheme> {
        let identities: Vec<Identity> =
            (0..count).map(|seed| Identity::new(SoftwareSigner::shared(seed)).unwrap()).collect();
        let keys = identities.iter().map(|identity| identity.public_key().clone());
        let participants = Set::try_from_iter(keys).unwrap();
        let mut schemes: Vec<VoteScheme> = identities
            .into_iter()
            .enumerate()
            .map(|(number, identity)| {
                let board = Arc::new(Board::new(Beginning {
                    epoch: Epoch::zero(),
                    applied_height: hufu_proof::Height::ZERO,
                    names: &[],
                    own: None,
                    started: std::time::SystemTime::UNIX_EPOCH,
                    restored_ms: None,
                }));
                let directory = directory.join(number.to_string());
                let guard = Guard::open(&directory, identity.public_key(), NAMESPACE).unwrap();
                VoteScheme::verifier(NAMESPACE, participants.clone())
                    .with_voter(Arc::new(Voter::new(identity, guard, Listening::new(1), board)))
            })
            .collect();
        schemes.sort_by_key(|scheme| scheme.me().map(|me| me.index()));
        schemes
    }

    fn proposal(view: u64, parent: u64, payload: u8) -> Proposal<sha256::Digest> {
        let round = EngineRound::new(Epoch::new(0), View::new(view));
        Proposal::new(round, View::new(parent), sha256::Digest([payload; 32]))
    }

    #[test]
    fn an_exported_certificate_verifies_without_the_engine() {
        use commonware_consensus::simplex::types::Finalize;
        let directory = tempfile::tempdir().unwrap();
        let schemes = schemes(directory.path(), 4);
        let proposal = proposal(300, 298, 9);
        let votes: Vec<_> = schemes[1..]
            .iter()
            .map(|scheme| Finalize::sign(scheme, proposal.clone()).unwrap())
            .collect();
        let votes = NonEmpty::try_new(votes.iter()).unwrap();
        let finalization = Finalization::from_finalizes(&schemes[0], votes, &Sequential).unwrap();
        assert!(finalization.verify(&mut NoRandomness, &schemes[0], &Sequential));
        let encoded = finalization.certificate.encode();
        assert!(encoded.len() <= VoteScheme::max_certificate_size(4));
        assert_eq!(Certificate::decode_cfg(encoded, &4).unwrap(), finalization.certificate);

        let exported = export(&finalization).unwrap();
        let keys = schemes[0].participants();
        exported.verify_votes(keys.as_ref(), NAMESPACE).unwrap();
        let imported = import(&exported, 4).unwrap();
        assert!(imported == finalization);

        // One vote short, one vote wrong.
        let mut short = exported.clone();
        short.votes.pop();
        let short = import(&short, 4).unwrap();
        assert!(!short.verify(&mut NoRandomness, &schemes[0], &Sequential));
        let mut wrong = exported.clone();
        wrong.view += 1;
        let wrong = import(&wrong, 4).unwrap();
        assert!(!wrong.verify(&mut NoRandomness, &schemes[0], &Sequential));
        let mut outside = exported;
        outside.votes[0].validator = 4;
        assert!(import(&outside, 4).is_none());
    }

    #[test]
    fn the_guard_stands_before_the_key() {
        let directory = tempfile::tempdir().unwrap();
        let schemes = schemes(directory.path(), 4);
        let sign = |proposal: &Proposal<sha256::Digest>| {
            schemes[0].sign::<sha256::Digest>(Subject::Notarize { proposal })
        };
        let first = sign(&proposal(5, 4, 1)).unwrap();
        assert_eq!(sign(&proposal(5, 4, 1)).unwrap(), first);
        assert!(sign(&proposal(5, 4, 2)).is_none());
        // The parent is part of what is signed.
        assert!(sign(&proposal(5, 3, 1)).is_none());
    }

    #[test]
    fn quorums_are_those_of_the_engine() {
        for count in 1..=hufu_proof::genesis::MAX_MEMBERS {
            assert_eq!(N3f1::quorum(count) as usize, finality::quorum(count));
        }
    }

    proptest! {
        #[test]
        fn the_signed_bytes_are_those_of_the_engine(
            namespace in prop::collection::vec(any::<u8>(), 0..200),
            epoch: u64, view: u64, parent: u64, payload: [u8; 32],
        ) {
            let round = EngineRound::new(Epoch::new(epoch), View::new(view));
            let proposal = Proposal::new(round, View::new(parent), sha256::Digest(payload));
            let subject = Subject::Finalize { proposal: &proposal };
            let derived = Namespace::derive(&namespace);
            let theirs = union_unique(subject.namespace(&derived), &subject.message());
            let block = hufu_proof::Digest(payload);
            prop_assert_eq!(
                finality::finalize_message(&namespace, epoch, view, parent, &block),
                theirs
            );
        }

        #[test]
        fn arbitrary_certificates_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Certificate::decode_cfg(bytes, &4);
        }
    }
}
