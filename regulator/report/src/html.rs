//! The report as one HTML page: self-contained, no scripts, printable.
//!
//! The page ends with the report itself as a data block, so that a machine
//! reads the very same file, and after it with who signed:
//!
//! ```text
//! <script type="application/json" id="hufu-report">…</script>      end of the body
//! <section id="signed">…</section>
//! <!-- hufu report v1 signature: … -->
//! </body>
//! </html>
//! ```
//!
//! The data is canonical JSON in which `<` is written `\u003c`, so that
//! nothing in it ends the block. Who signed differs between members and so is not
//! in the body; it is rendered from the signature block, and compared like the
//! rest when a page is opened.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Output, State};
use serde::Serialize;

use crate::block::SignatureBlock;
use crate::canonical;
use crate::error::ReportError;
use crate::message::{Language, messages};
use crate::model::Report;
use crate::page::page;
use crate::style::Style;

/// Version of the page's wording and layout. A verifier that knows the version
/// renders the data again and compares; so every change of the template or the
/// catalogue counts up.
pub const PRESENTATION: u32 = 2;

/// The version before, whose pages are verified by their signature alone.
const PRESENTATION_1: &str = "1";

const TEMPLATE: &str = include_str!("report.html.jinja");
const SIGNED: &str = include_str!("signed.html.jinja");
const DATA_BEGIN: &str = "<script type=\"application/json\" id=\"hufu-report\">";
const DATA_END: &str = "</script>\n";
/// What follows the data in a page of the first version.
const END_1: &str = "</body>\n</html>\n";
const META: &str = "<meta name=\"hufu-presentation\" content=\"";

/// Renders the body of `report`.
///
/// # Errors
/// [`ReportError::Presentation`] when the template fails, which is a fault of
/// this program.
pub fn render(report: &Report, style: Style) -> Result<Vec<u8>, ReportError> {
    let mut out = template(TEMPLATE, &page(report, style, PRESENTATION))?;
    out.push_str(DATA_BEGIN);
    out.push_str(&embedded(report)?);
    out.push_str(DATA_END);
    Ok(out.into_bytes())
}

/// Renders who signed.
///
/// # Errors
/// [`ReportError::Presentation`] as for [`render`].
pub(crate) fn signed(block: &SignatureBlock, language: Language) -> Result<String, ReportError> {
    #[derive(Serialize)]
    struct Signed<'a> {
        t: std::collections::BTreeMap<&'static str, &'static str>,
        sentence: String,
        algorithm: String,
        signature: String,
        member: &'a str,
    }
    let certificate = &block.finality.certificate;
    let (member, votes) = (block.member.as_str(), certificate.votes.len());
    let sentence = match language {
        Language::En => format!(
            "Member “{member}” computed this report on its own node from its own copy of the \
             ledger and signed it with its key, which does not leave its security module. {votes} \
             members voted the block final in which it is anchored."
        ),
        Language::Zh => format!(
            "本报告由成员“{member}”在其自有节点上、依据其自有账本副本计算得出，并以不出安全模块的\
             密钥签名。报告所锚定的区块经 {votes} 家成员投票最终确认。"
        ),
    };
    template(
        SIGNED,
        &Signed {
            t: messages(language),
            sentence,
            algorithm: block.signature.algorithm().to_string(),
            signature: hex(block.signature.as_bytes()),
            member,
        },
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn template(text: &str, values: &impl Serialize) -> Result<String, ReportError> {
    let fault = |error: minijinja::Error| ReportError::Presentation(format!("{error:#}"));
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    // Our own escapes, so that a feature of the template library which another
    // crate switches on does not change the bytes.
    environment.set_formatter(escape);
    let mut out = environment.render_str(text, Serde(values)).map_err(fault)?;
    // The template's last line break, which rendering drops.
    out.push('\n');
    Ok(out)
}

/// What a page says of itself.
pub(crate) struct Opened {
    pub(crate) report: Report,
    /// For whom it is written; `None` in a page of the first version, which says
    /// nothing of who signed and whose text is not recomputed.
    pub(crate) style: Option<Style>,
}

/// Reads the report out of the body of a page, and checks that the page is
/// exactly what this version renders.
///
/// # Errors
/// [`ReportError`].
pub(crate) fn parse(body: &[u8]) -> Result<Opened, ReportError> {
    let malformed = |what: &str| ReportError::Malformed(what.to_owned());
    let page = std::str::from_utf8(body).map_err(|_| malformed("the page is not UTF-8"))?;
    let data = page
        .strip_suffix(END_1)
        .unwrap_or(page)
        .strip_suffix(DATA_END)
        .and_then(|front| front.rsplit_once(DATA_BEGIN))
        .ok_or_else(|| malformed("the page does not end with its data block"))?
        .1;
    let report: Report =
        serde_json::from_str(data).map_err(|error| ReportError::Malformed(error.to_string()))?;
    if embedded(&report)? != data {
        return Err(ReportError::Canonical(canonical::CanonicalError::Form));
    }
    let content = page
        .split_once(META)
        .and_then(|(_, rest)| rest.split_once('"'))
        .ok_or_else(|| malformed("the page does not name its presentation"))?
        .0;
    let mut words = content.split(' ');
    let version = words.next().unwrap_or_default();
    if version == PRESENTATION_1 && page.ends_with(END_1) {
        return Ok(Opened { report, style: None });
    }
    if version != PRESENTATION.to_string() {
        return Err(ReportError::OtherPresentation(version.chars().take(16).collect()));
    }
    let (Some(language), Some(offset), None) = (words.next(), words.next(), words.next()) else {
        return Err(malformed("the page does not name its language and its local time"));
    };
    let style = Style {
        language: language.parse().map_err(ReportError::Malformed)?,
        utc_offset: offset.parse().map_err(ReportError::Malformed)?,
    };
    if render(&report, style)? != body {
        return Err(ReportError::Presentation("the page does not show its data".into()));
    }
    Ok(Opened { report, style: Some(style) })
}

fn embedded(report: &Report) -> Result<String, ReportError> {
    let bytes = canonical::encode(report)?;
    // Canonical JSON is made of texts.
    let text = String::from_utf8(bytes).map_err(|_| ReportError::Malformed("not UTF-8".into()))?;
    Ok(text.replace('<', "\\u003c"))
}

fn escape(
    out: &mut Output<'_>,
    _state: &mut State<'_, '_>,
    value: &minijinja::Value,
) -> Result<(), minijinja::Error> {
    let text = value.to_string();
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    out.write_str(&escaped)
        .map_err(|_| minijinja::Error::new(minijinja::ErrorKind::WriteFailure, "out of memory"))
}
