//! The report for a spreadsheet: a ZIP with a table for each control, and the
//! proof beside them.
//!
//! | entry | is |
//! |---|---|
//! | `README.txt` | what is in it, and how it is verified |
//! | `summary.csv` | a line for each control |
//! | `CONTROL.csv` | the findings of a control, in its own columns |
//! | `evidence.csv` | the log entries that the findings refer to |
//! | `proof/form.json` | version, language and local time of what people read |
//! | `proof/report.json` | the canonical report, from which all of the above follows |
//! | `proof/signature.json` | the signature block; the only entry that differs between members |
//!
//! Entries are stored and not compressed, dated 1980-01-01, in this order: the
//! same report gives the same bytes, whatever version of a compressor a member has.

use std::io::{Cursor, Read as _, Write as _};

use serde::{Deserialize, Serialize};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::canonical;
use crate::csv;
use crate::error::{MAX_REPORT, ReportError};
use crate::html::PRESENTATION;
use crate::message::Language;
use crate::model::Report;
use crate::style::Style;
use crate::time::UtcOffset;

/// How every ZIP with an entry begins.
pub(crate) const BEGIN: &[u8] = b"PK\x03\x04";

const FORM: &str = "proof/form.json";
const REPORT: &str = "proof/report.json";
const SIGNATURE: &str = "proof/signature.json";

/// For whom the tables are written.
#[derive(Serialize, Deserialize)]
struct Written {
    presentation: u32,
    language: Language,
    utc_offset: UtcOffset,
}

/// All entries but the signature.
pub(crate) fn entries(
    report: &Report,
    style: Style,
) -> Result<Vec<(String, Vec<u8>)>, ReportError> {
    let mut entries = csv::tables(report, style);
    let Style { language, utc_offset } = style;
    let written = Written { presentation: PRESENTATION, language, utc_offset };
    entries.push((FORM.to_owned(), canonical::encode(&written)?));
    entries.push((REPORT.to_owned(), canonical::encode(report)?));
    Ok(entries)
}

/// A ZIP of these entries.
pub(crate) fn write(entries: &[(String, Vec<u8>)]) -> Result<Vec<u8>, ReportError> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        add(&mut zip, name, bytes)?;
    }
    Ok(zip.finish().map_err(fault)?.into_inner())
}

/// The ZIP `body` with the signature as its last entry.
pub(crate) fn append(body: Vec<u8>, signature: &[u8]) -> Result<Vec<u8>, ReportError> {
    let mut zip = ZipWriter::new_append(Cursor::new(body)).map_err(fault)?;
    add(&mut zip, SIGNATURE, signature)?;
    Ok(zip.finish().map_err(fault)?.into_inner())
}

fn add(zip: &mut ZipWriter<Cursor<Vec<u8>>>, name: &str, bytes: &[u8]) -> Result<(), ReportError> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    zip.start_file(name, options).map_err(fault)?;
    zip.write_all(bytes).map_err(|error| ReportError::Presentation(error.to_string()))
}

fn fault(error: zip::result::ZipError) -> ReportError {
    ReportError::Presentation(error.to_string())
}

/// Report, style and the bytes of the signature block of a ZIP. That the rest of
/// it is what they render to is for the caller to compare.
pub(crate) fn read(bytes: &[u8]) -> Result<(Report, Style, Vec<u8>), ReportError> {
    let mut zip = ZipArchive::new(Cursor::new(bytes))
        .map_err(|error| ReportError::Malformed(error.to_string()))?;
    let mut entry = |name: &str| {
        let malformed = |what: String| ReportError::Malformed(format!("{name}: {what}"));
        let entry = zip.by_name(name).map_err(|error| malformed(error.to_string()))?;
        let mut content = Vec::new();
        entry
            .take(MAX_REPORT as u64)
            .read_to_end(&mut content)
            .map_err(|error| malformed(error.to_string()))?;
        Ok::<_, ReportError>(content)
    };
    let Written { presentation, language, utc_offset } = canonical::decode(&entry(FORM)?)?;
    if presentation != PRESENTATION {
        return Err(ReportError::OtherPresentation(presentation.to_string()));
    }
    let report = canonical::decode(&entry(REPORT)?)?;
    Ok((report, Style { language, utc_offset }, entry(SIGNATURE)?))
}
