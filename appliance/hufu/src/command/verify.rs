//! `hufu verify`: a certificate with its issuance receipt, a receipt, or a
//! report, offline, given only the genesis file.

use anyhow::Context as _;
use hufu_configuration::bundle;
use hufu_configuration::config;
use hufu_configuration::files;
use hufu_configuration::keyring::ledger_key;
use hufu_configuration::sentence;
use hufu_proof::transaction::{Issuance, Payload};
use hufu_proof::{Genesis, Receipt};
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
}

/// Verifies a file.
///
/// # Errors
/// [`hufu_configuration::Exit::No`] with the reason when it does not hold.
pub fn run(arguments: &Verify, json: bool) -> anyhow::Result<()> {
    let genesis = config::read_genesis(&arguments.genesis)?;
    let bytes = files::read(&arguments.file, MAX_FILE)?;
    let (kind, checked) = verify(&genesis, &bytes).map_err(|error| {
        no(format!("{}: does not verify: {}", arguments.file.display(), sentence(&error)))
    })?;
    let verdict = Verdict { valid: true, kind, checked };
    output::print(json, &verdict, |verdict| {
        let mut text = format!("valid: {}\n", verdict.kind);
        for line in &verdict.checked {
            text += &format!("  ✓ {line}\n");
        }
        text
    })
}

fn verify(genesis: &Genesis, bytes: &[u8]) -> anyhow::Result<(&'static str, Vec<String>)> {
    let mut checked = vec![format!(
        "genesis file of consortium {}, digest {}",
        genesis.consortium,
        genesis.digest()
    )];
    if bytes.starts_with(b"-----BEGIN CERTIFICATE-----") {
        let (certificate, receipt) = bundle::parse_certificate(bytes)?;
        check_certificate(genesis, &certificate, &receipt, &mut checked)?;
        Ok(("certificate", checked))
    } else if bytes.starts_with(b"-----BEGIN HUFU RECEIPT-----") {
        let receipt = bundle::parse_receipt(bytes)?;
        check_receipt(genesis, &receipt, &mut checked)?;
        Ok(("receipt", checked))
    } else {
        let report = hufu_report::verify_report(bytes, genesis)
            .context("neither a certificate nor a receipt; as a report")?;
        checked.extend(report.statements());
        Ok(("report", checked))
    }
}

fn check_receipt(
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
    checked.push(format!(
        "finalized by {} of {} validators in view {} of epoch {}",
        receipt.finality.certificate.votes.len(),
        receipt.finality.membership(genesis).seats.len(),
        receipt.finality.certificate.view,
        receipt.finality.certificate.epoch
    ));
    if let Some(last) = receipt.finality.handovers.last() {
        checked.push(format!(
            "the validators follow from the founders by {} handovers, the last in block {}",
            receipt.finality.handovers.len(),
            last.header.height
        ));
    }
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
    let Payload::Issue(entries) = &receipt.transaction.body.payload else {
        anyhow::bail!("the receipt is not of an issuance");
    };
    let entry: &Issuance = entries
        .iter()
        .find(|entry| entry.tbs == tbs)
        .context("the receipt is of the issuance of other certificates")?;
    anyhow::ensure!(
        entry.key == ledger_key(&parsed.public_key)?,
        "the ledger registered another key than the certificate's"
    );
    checked.push("the certificate's TBS is on the ledger, recorded by the authority".to_owned());
    check_receipt(genesis, receipt, checked)
}
