//! Reports of the first version, which are still verified.
//!
//! A page and a table of then are checked by their signature and their data; how
//! they showed it is not computed again. The CSV was one table of all controls,
//! whose last lines were comments with the data and the signature in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::canonical;
use crate::error::ReportError;
use crate::model::Report;

/// How a page ended.
pub(crate) const HTML_END: &str = " -->\n";
/// How a table began.
pub(crate) const CSV_BEGIN: &[u8] = b"control,severity,clause,subject,";
/// What stood in front of the signature of a table.
pub(crate) const CSV_MARKER: &str = "# hufu report v1 signature: ";
/// How a table ended.
pub(crate) const CSV_END: &str = "\r\n";

const DATA: &str = "# hufu report v1 data: ";

/// Reads the report out of the data line of a table.
pub(crate) fn parse_csv(body: &[u8]) -> Result<Report, ReportError> {
    let malformed = |what: &str| ReportError::Malformed(what.to_owned());
    let text = std::str::from_utf8(body).map_err(|_| malformed("the CSV is not UTF-8"))?;
    let data = text
        .strip_suffix(CSV_END)
        .and_then(|front| front.rsplit_once(CSV_END))
        .and_then(|(_, last)| last.strip_prefix(DATA))
        .ok_or_else(|| malformed("the CSV does not end with its data line"))?;
    let data =
        STANDARD.decode(data).map_err(|error| malformed(&format!("the data line: {error}")))?;
    Ok(canonical::decode(&data)?)
}
