//! `hufu verify`: a certificate with its issuance receipt, a receipt, a state proof,
//! or a report, offline, given only the genesis file.

use anyhow::Context as _;
use hufu_configuration::bundle;
use hufu_configuration::config;
use hufu_configuration::files;
use hufu_configuration::keyring::ledger_key;
use hufu_configuration::sentence;
use hufu_contract::Asset;
use hufu_machine::key;
use hufu_proof::text::shown;
use hufu_proof::transaction::Issuance;
use hufu_proof::{Digest, FinalityProof, Genesis, Height, Name, Receipt, StateProof, Value, codec};
use hufu_report::time::iso_time;
use serde::Serialize;

use crate::cli::Verify;
use crate::output::{self, no};

/// Largest file that is verified, in bytes.
const MAX_FILE: u64 = 512 * 1024 * 1024;

/// What was verified.
#[derive(Serialize)]
struct Verdict {
    valid: bool,
    kind: &'static str,
    checked: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proved: Option<Proved>,
}

/// What a state proof proves.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Proved {
    as_of: Height,
    contract: Name,
    asset_type: Name,
    asset: String,
    /// Nothing where there was no such asset.
    present: Option<Asset>,
}

/// Verifies a file.
///
/// # Errors
/// [`hufu_configuration::Exit::No`] with the reason when it does not hold.
pub fn run(arguments: &Verify, json: bool) -> anyhow::Result<()> {
    let genesis = config::read_genesis(&arguments.genesis)?;
    let bytes = files::read(&arguments.file, MAX_FILE)?;
    let (kind, checked, proved) = verify(&genesis, &bytes).map_err(|error| {
        no(format!("{}: does not verify: {}", arguments.file.display(), sentence(&error)))
    })?;
    let verdict = Verdict { valid: true, kind, checked, proved };
    output::print(json, &verdict, |verdict| {
        let mut text = format!("valid: {}\n", verdict.kind);
        for line in &verdict.checked {
            text += &format!("  ✓ {line}\n");
        }
        text
    })
}

type Verified = (&'static str, Vec<String>, Option<Proved>);

fn verify(genesis: &Genesis, bytes: &[u8]) -> anyhow::Result<Verified> {
    let mut checked = vec![founded(genesis)];
    if bytes.starts_with(b"-----BEGIN CERTIFICATE-----") {
        let (certificate, receipt) = bundle::parse_certificate(bytes)?;
        check_certificate(genesis, &certificate, &receipt, &mut checked)?;
        Ok(("certificate", checked, None))
    } else if bytes.starts_with(b"-----BEGIN HUFU RECEIPT-----") {
        let receipt = bundle::parse_receipt(bytes)?;
        check_receipt(genesis, &receipt, &mut checked)?;
        Ok(("receipt", checked, None))
    } else if bytes.starts_with(b"-----BEGIN HUFU STATE PROOF-----") {
        let proof = bundle::parse_state_proof(bytes)?;
        let (proved, checked) = state_proof(genesis, &proof)?;
        Ok(("state proof", checked, Some(proved)))
    } else {
        let report = hufu_report::verify_report(bytes, genesis)
            .context("neither a certificate nor a receipt nor a state proof; as a report")?;
        checked.extend(report.statements());
        Ok(("report", checked, None))
    }
}

/// Which genesis file it was.
pub fn founded(genesis: &Genesis) -> String {
    format!("genesis file of consortium {}, digest {}", genesis.consortium, genesis.digest())
}

/// Verifies a state proof: what it proves, and what was checked in words.
///
/// # Errors
/// A sentence that says what does not fit.
pub fn state_proof(genesis: &Genesis, proof: &StateProof) -> anyhow::Result<(Proved, Vec<String>)> {
    proof.verify(genesis)?;
    let (contract, asset_type, asset) = key::of_asset(&proof.key).with_context(|| {
        format!("it is of `{}`, and only those of assets are read here", proof.key.escape_ascii())
    })?;
    let decoded = proof.value.as_deref().map(|value| codec::decode("asset", value, Asset::MAX));
    let present: Option<Asset> = decoded.transpose()?;
    let (as_of, name) = (proof.as_of(), shown(asset));
    let mut checked = vec![founded(genesis)];
    match &present {
        Some(found) => {
            checked.push(format!(
                "as of height {as_of}, {asset_type} {name} of contract {contract} is {}",
                found.state
            ));
            checked.extend(found.fields.iter().map(|(name, value)| field(name, value)));
        }
        None => checked
            .push(format!("as of height {as_of}, contract {contract} has no {asset_type} {name}")),
    }
    checked.push(format!(
        "state root {} in the header of block {}",
        proof.header.executed.state_root, proof.header.height
    ));
    finalized(genesis, &proof.finality, &mut checked);
    let asset = asset.to_owned();
    Ok((Proved { as_of, contract, asset_type, asset, present }, checked))
}

/// A field as it is on the ledger: its scale and unit are the contract's, which is
/// not in the file.
fn field(name: &Name, value: &Value) -> String {
    let said = said(value);
    let unit = match value {
        Value::Decimal(_) => " (in units of its last decimal)",
        _ => "",
    };
    format!("{name}: {} {said}{unit}", value.type_name())
}

fn said(value: &Value) -> String {
    let several = |values: &mut dyn Iterator<Item = &Value>| {
        let said: Vec<String> = values.map(said).collect();
        if said.is_empty() { "of nothing".to_owned() } else { said.join(", ") }
    };
    match value {
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Int(number) | Value::Decimal(number) => number.to_string(),
        Value::Text(text) | Value::Symbol(text) | Value::Id(text) | Value::Ref(text) => {
            shown(text).into_owned()
        }
        Value::Bytes(bytes) => {
            format!("of {} bytes with SHA-256 {}", bytes.len(), Digest::of(bytes))
        }
        Value::Digest(digest) => digest.to_string(),
        Value::Time(time) => iso_time(i64::try_from(*time).unwrap_or(i64::MAX)),
        Value::Member(member) => member.to_string(),
        Value::Identity(identity) => identity.to_string(),
        Value::List(values) => several(&mut values.iter()),
        Value::Set(values) => several(&mut values.iter()),
    }
}

/// Who finalized the header.
fn finalized(genesis: &Genesis, finality: &FinalityProof, checked: &mut Vec<String>) {
    checked.push(format!(
        "finalized by {} of {} validators in view {} of epoch {}",
        finality.certificate.votes.len(),
        finality.membership(genesis).seats.len(),
        finality.certificate.view,
        finality.certificate.epoch
    ));
    if let Some(last) = finality.handovers.last() {
        checked.push(format!(
            "the validators follow from the founders by {} handovers, the last in block {}",
            finality.handovers.len(),
            last.header.height
        ));
    }
}

/// Checks a receipt; what it says, added to `checked`.
///
/// # Errors
/// What does not hold.
pub fn check_receipt(
    genesis: &Genesis,
    receipt: &Receipt,
    checked: &mut Vec<String>,
) -> anyhow::Result<()> {
    receipt.verify(genesis)?;
    let signer = receipt.transaction.body.signer.identity();
    checked.push(format!("transaction {}, signed by {signer}", receipt.entry.transaction));
    checked.push(format!(
        "outcome {}, entry {} of the log, block {}",
        receipt.entry.outcome, receipt.log_index, receipt.entry.height
    ));
    checked.push(format!(
        "log root {} in the header of block {}",
        receipt.header.executed.log_root, receipt.header.height
    ));
    finalized(genesis, &receipt.finality, checked);
    Ok(())
}

fn check_certificate(
    genesis: &Genesis,
    certificate: &[u8],
    receipt: &Receipt,
    checked: &mut Vec<String>,
) -> anyhow::Result<()> {
    let authority = &genesis.authority;
    let (parsed, tbs) = hufu_issuance::check_certificate(
        certificate,
        &authority.issuing_certificate,
        &authority.root_certificate,
    )
    .context("certificate")?;
    checked.push(format!(
        "certificate {} of {}, signed by the issuing CA, which the root CA of the genesis file signed",
        parsed.serial, parsed.subject
    ));
    receipt.verify(genesis).context("issuance receipt")?;
    anyhow::ensure!(
        receipt.entry.outcome.is_accepted(),
        "the ledger did not accept the issuance: {}",
        receipt.entry.outcome
    );
    let members = receipt.finality.membership(genesis);
    let member = members
        .seat(&authority.member)
        .context("the authority's member is not one of the consortium")?;
    anyhow::ensure!(
        receipt.transaction.body.signer == member.statement_key,
        "the issuance was not signed by the authority `{}`",
        member.name
    );
    let payload = &receipt.transaction.body.payload;
    anyhow::ensure!(payload.issuances().next().is_some(), "the receipt is not of an issuance");
    let entry: &Issuance = payload
        .issuances()
        .find(|entry| entry.tbs == tbs)
        .context("the receipt is of the issuance of other certificates")?;
    anyhow::ensure!(
        entry.key == ledger_key(&parsed.public_key)?,
        "the ledger registered another key than the certificate's"
    );
    checked.push("the certificate's TBS is on the ledger, recorded by the authority".to_owned());
    check_receipt(genesis, receipt, checked)
}

#[cfg(test)]
mod tests {
    use hufu_proof::{IdentityId, UnixMillis};

    use super::*;

    #[test]
    fn fields_are_read_by_people() {
        let digest = Digest([0xab; 32]);
        let id = digest.to_string();
        let name = |text| Name::new(text).unwrap();
        for (value, line) in [
            (Value::Bool(false), "x: bool no".to_owned()),
            (Value::Decimal(-1500), "x: decimal -1500 (in units of its last decimal)".to_owned()),
            (Value::Text("a\u{202e}\nb".into()), "x: text a\\u{202e}\\nb".to_owned()),
            (Value::Bytes(vec![]), format!("x: bytes of 0 bytes with SHA-256 {}", Digest::of(b""))),
            (Value::Time(UnixMillis(1).get()), "x: time 1970-01-01T00:00:00.001Z".to_owned()),
            (Value::Member(name("maker")), "x: member maker".to_owned()),
            (Value::Identity(IdentityId(digest)), format!("x: identity {id}")),
            (Value::List(vec![]), "x: list of nothing".to_owned()),
            (Value::Set([Value::Int(1), Value::Int(2)].into()), "x: set 1, 2".to_owned()),
        ] {
            assert_eq!(field(&name("x"), &value), line);
        }
    }
}
