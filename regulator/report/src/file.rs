//! The report as a file: body, then the signature block.
//!
//! | form | body | after the body |
//! |---|---|---|
//! | JSON | the canonical report | `{"report":` before it, `,"signature":` BLOCK `}` after it |
//! | HTML | the page | who signed, `<!-- hufu report v1 signature: ` BASE64 ` -->` LF, the end of the page |
//! | CSV | the ZIP without its last entry | the last entry, `proof/signature.json`: BLOCK |
//!
//! BLOCK is [`SignatureBlock`] as canonical JSON, BASE64 is RFC 4648 §4 of it.
//! It is the only part in which the files of two members differ.
//!
//! The signature is by the member's statement key over `hufu report v1`, a
//! zero byte, and the SHA-256 of the body. ECDSA signatures are low-S, so that
//! nobody makes a second good file out of a first.

use hufu_proof::ancestry::{MAX_HANDOVERS, follow};
use hufu_proof::finality::FinalityError;
use hufu_proof::membership::Seat;
use hufu_proof::receipt::{ReceiptError, check_header};
use hufu_proof::{Algorithm, Digest, FinalityProof, Genesis, Handover, Name, Signature, Signer};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

pub use crate::block::SignatureBlock;
use crate::canonical;
pub use crate::error::{MAX_REPORT, ReportError, SignerFaultText};
use crate::model::{AsOf, Counts, Report};
use crate::style::Style;
use crate::{archive, first, html};

/// What is signed begins with this and a zero byte.
pub const DOMAIN: &str = "hufu report v1";

const HTML_MARKER: &str = "<!-- hufu report v1 signature: ";
const HTML_END: &str = " -->\n</body>\n</html>\n";
/// How the visible part of the signature begins.
const HTML_SIGNED: &str = "<section id=\"signed\"";

/// The form of a report file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Canonical JSON, to process.
    #[default]
    Json,
    /// A page, to read and print.
    Html,
    /// A ZIP with a table for each control, for a spreadsheet.
    Csv,
}

impl Format {
    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Html => "text/html; charset=utf-8",
            Self::Csv => "application/zip",
        }
    }

    /// How the name of a file of it ends.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Html => "html",
            Self::Csv => "zip",
        }
    }

    /// The code in requests.
    pub fn code(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Html => "html",
            Self::Csv => "csv",
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedReport {
    report: Report,
    signature: SignatureBlock,
}

/// What a verified report was found to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The file's form.
    pub format: Format,
    /// Who signed it, with its statement key.
    pub signer: Name,
    /// SHA-256 of the body: equal for every member that computed this report.
    pub body: Digest,
    /// The control set, `contract/name`.
    pub control_set: String,
    /// The state it speaks of.
    pub as_of: AsOf,
    /// Height of the anchor header, which a quorum of members finalized.
    pub anchor_height: u64,
    /// The state root in it.
    pub state_root: Digest,
    /// The log root in it.
    pub log_root: Digest,
    /// Votes on the anchor or its descendant.
    pub votes: usize,
    /// Sums over the report, which agree with its content; every one of the
    /// log entries in evidence is included under the log root.
    pub counts: Counts,
    /// Whether the page was rendered again from its data and is the same.
    /// False only for pages and tables of the first version of the presentation.
    pub presentation_recomputed: bool,
}

impl Checked {
    /// What was checked, a sentence each, for people.
    pub fn statements(&self) -> Vec<String> {
        let mut said = vec![
            format!("signed by member `{}` of this consortium", self.signer),
            format!(
                "anchored in block {}, finalized with {} votes",
                self.anchor_height, self.votes
            ),
            format!("state root {} covers height {}", self.state_root, self.as_of.height),
            format!(
                "{} log entries in evidence are included under log root {}",
                self.counts.evidence, self.log_root
            ),
            format!(
                "{} controls of `{}` with {} findings, counts and result digests agree",
                self.counts.controls, self.control_set, self.counts.findings
            ),
        ];
        said.push(if self.presentation_recomputed {
            "what is shown is exactly what the data says".into()
        } else {
            "it is of the first version of the presentation, so of what is shown only the signature \
             was checked"
                .into()
        });
        said
    }
}

/// The body of a file: what is signed, and what is the same on every node.
///
/// # Errors
/// [`ReportError`] when the report cannot be written, which is a fault of the
/// program that made it.
pub fn body(report: &Report, format: Format, style: Style) -> Result<Vec<u8>, ReportError> {
    match format {
        Format::Json => Ok(canonical::encode(report)?),
        Format::Html => html::render(report, style),
        Format::Csv => archive::write(&archive::entries(report, style)?),
    }
}

/// The bytes that a member's statement key signs.
pub fn message(body: &[u8]) -> Vec<u8> {
    [DOMAIN.as_bytes(), &[0], Digest::of(body).as_bytes()].concat()
}

/// Signs `report` and writes the file.
///
/// # Errors
/// [`ReportError`] when the signer does not answer or the file grows over
/// [`MAX_REPORT`].
pub fn seal(
    report: &Report,
    format: Format,
    style: Style,
    member: &Name,
    signer: &dyn Signer,
    finality: FinalityProof,
    later: Vec<Handover>,
) -> Result<Vec<u8>, ReportError> {
    let body = body(report, format, style)?;
    let signature = low_s(signer.sign(&message(&body))?)
        .ok_or_else(|| ReportError::Signature(member.clone()))?;
    let block = SignatureBlock { member: member.clone(), signature, finality, later };
    let file = join(body, format, style, &block)?;
    if file.len() > MAX_REPORT { Err(ReportError::TooLarge(file.len())) } else { Ok(file) }
}

/// Verifies a report file against the genesis file, offline. Any change of any
/// byte of the file is an error.
///
/// # Errors
/// [`ReportError`] says which link does not hold.
pub fn verify_report(bytes: &[u8], genesis: &Genesis) -> Result<Checked, ReportError> {
    let opened = open(bytes)?;
    let Opened { report, block, format, body, presentation_recomputed } = &opened;
    let digest = genesis.digest();
    if report.genesis != digest || report.consortium != genesis.consortium {
        return Err(ReportError::OtherConsortium {
            name: report.consortium.clone(),
            digest: report.genesis,
        });
    }
    // Who is said to be the members now, of which the proof is verified below.
    let members = match block.later.last() {
        Some(last) => last.membership.clone(),
        None => block.finality.membership(genesis),
    };
    let member = members
        .seat(&block.member)
        .ok_or_else(|| ReportError::UnknownSigner(block.member.clone()))?;
    check_signature(member, body, &block.signature)?;
    report.check().map_err(ReportError::Content)?;
    let then = check_header(genesis, &report.anchor.header, &block.finality)
        .map_err(ReportError::Anchor)?;
    if block.later.len() > MAX_HANDOVERS {
        let (epoch, found) = (block.finality.certificate.epoch, block.later.len());
        let error = FinalityError::Handovers { epoch, found };
        return Err(ReportError::Anchor(ReceiptError::Finality(error)));
    }
    follow(&digest, block.finality.certificate.epoch, then, &block.later)
        .map_err(|error| ReportError::Anchor(ReceiptError::Finality(error)))?;
    let executed = &report.anchor.header.executed;
    Ok(Checked {
        format: *format,
        signer: block.member.clone(),
        body: Digest::of(body),
        control_set: format!("{}/{}", report.control_set.contract, report.control_set.name),
        as_of: report.as_of,
        anchor_height: report.anchor.header.height.get(),
        state_root: executed.state_root,
        log_root: executed.log_root,
        votes: block.finality.certificate.votes.len(),
        counts: report.counts.clone(),
        presentation_recomputed: *presentation_recomputed,
    })
}

/// A file taken apart, with nothing verified but its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What it says.
    pub report: Report,
    /// Who signed it.
    pub block: SignatureBlock,
    /// Its form.
    pub format: Format,
    /// The signed bytes.
    pub body: Vec<u8>,
    /// See [`Checked::presentation_recomputed`].
    pub presentation_recomputed: bool,
}

/// Takes a file apart; its form is recognised by how it begins.
///
/// # Errors
/// [`ReportError`] when the bytes are not exactly of one of the forms. Nothing
/// is said about signature and proofs: that is [`verify_report`].
pub fn open(bytes: &[u8]) -> Result<Opened, ReportError> {
    if bytes.len() > MAX_REPORT {
        return Err(ReportError::TooLarge(bytes.len()));
    }
    if bytes.starts_with(b"{") {
        let SignedReport { report, signature } = canonical::decode(bytes)?;
        let body = canonical::encode(&report)?;
        return Ok(Opened {
            report,
            block: signature,
            format: Format::Json,
            body,
            presentation_recomputed: true,
        });
    }
    if bytes.starts_with(archive::BEGIN) {
        return open_archive(bytes);
    }
    if bytes.starts_with(first::CSV_BEGIN) {
        let (body, block) = split(bytes, first::CSV_MARKER, first::CSV_END)?;
        let report = first::parse_csv(body)?;
        return Ok(Opened {
            report,
            block,
            format: Format::Csv,
            body: body.to_vec(),
            presentation_recomputed: false,
        });
    }
    if !bytes.starts_with(b"<!DOCTYPE html>") {
        return Err(ReportError::Malformed("it begins like none of JSON, HTML and ZIP".into()));
    }
    open_page(bytes)
}

fn open_page(bytes: &[u8]) -> Result<Opened, ReportError> {
    let of_first = !bytes.ends_with(HTML_END.as_bytes());
    let end = if of_first { first::HTML_END } else { HTML_END };
    let (front, block) = split(bytes, HTML_MARKER, end)?;
    let (body, signed) = if of_first {
        (front, "")
    } else {
        let text = std::str::from_utf8(front)
            .map_err(|error| ReportError::Malformed(error.to_string()))?;
        let at = text
            .rfind(HTML_SIGNED)
            .ok_or_else(|| ReportError::Malformed("it does not say who signed".into()))?;
        (&front[..at], &text[at..])
    };
    let html::Opened { report, style } = html::parse(body)?;
    let expected = match style {
        Some(style) => html::signed(&block, style.language)?,
        None => String::new(),
    };
    if expected != signed {
        return Err(ReportError::Presentation("the page does not show who signed it".into()));
    }
    Ok(Opened {
        report,
        block,
        format: Format::Html,
        body: body.to_vec(),
        presentation_recomputed: style.is_some(),
    })
}

fn open_archive(bytes: &[u8]) -> Result<Opened, ReportError> {
    let (report, style, block) = archive::read(bytes)?;
    let block: SignatureBlock = canonical::decode(&block)?;
    let body = body(&report, Format::Csv, style)?;
    if join(body.clone(), Format::Csv, style, &block)? != bytes {
        return Err(ReportError::Presentation("the tables do not show their data".into()));
    }
    Ok(Opened { report, block, format: Format::Csv, body, presentation_recomputed: true })
}

fn join(
    body: Vec<u8>,
    format: Format,
    style: Style,
    block: &SignatureBlock,
) -> Result<Vec<u8>, ReportError> {
    let bytes = canonical::encode(block)?;
    match format {
        Format::Json => Ok([b"{\"report\":", &*body, b",\"signature\":", &bytes, b"}"].concat()),
        Format::Html => {
            let signed = html::signed(block, style.language)?;
            let encoded = STANDARD.encode(bytes);
            let tail = [&signed, HTML_MARKER, &encoded, HTML_END].concat();
            Ok([body, tail.into_bytes()].concat())
        }
        Format::Csv => archive::append(body, &bytes),
    }
}

fn split<'a>(
    bytes: &'a [u8],
    marker: &str,
    end: &str,
) -> Result<(&'a [u8], SignatureBlock), ReportError> {
    let malformed = |what: String| ReportError::Malformed(what);
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8".into()))?;
    let (body, block) = text
        .strip_suffix(end)
        .and_then(|front| front.rsplit_once(marker))
        .ok_or_else(|| malformed("it does not end with its signature".into()))?;
    let block = STANDARD
        .decode(block)
        .map_err(|error| malformed(format!("the signature block: {error}")))?;
    Ok((body.as_bytes(), canonical::decode(&block)?))
}

fn check_signature(member: &Seat, body: &[u8], signature: &Signature) -> Result<(), ReportError> {
    let refused = || ReportError::Signature(member.name.clone());
    if low_s(signature.clone()).as_ref() != Some(signature) {
        return Err(refused());
    }
    member.statement_key.verify(&message(body), signature).map_err(|_| refused())
}

/// The same signature with the smaller of its two possible `s`; `None` when it
/// is no signature.
fn low_s(signature: Signature) -> Option<Signature> {
    let bytes = match signature.algorithm() {
        Algorithm::EcdsaP256 => p256::ecdsa::Signature::from_slice(signature.as_bytes())
            .ok()?
            .normalize_s()
            .to_bytes()
            .to_vec(),
        Algorithm::EcdsaP384 => p384::ecdsa::Signature::from_slice(signature.as_bytes())
            .ok()?
            .normalize_s()
            .to_bytes()
            .to_vec(),
        _ => return Some(signature),
    };
    Signature::new(signature.algorithm(), &bytes).ok()
}
