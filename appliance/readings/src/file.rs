//! The file before its rows are looked at: its encoding, its quotes, the
//! separator, and which place of the header is which column.
//!
//! What is refused here would otherwise be read as something else: a header with
//! two columns of one name has two meanings, a quote that is not closed swallows
//! the rows after it.

use anyhow::{Context as _, bail, ensure};
use hufu_contract::ColumnDescription;

/// Other separators that programs write, and their names.
const SEPARATORS: [(char, &str); 3] = [(';', "semicolons"), ('\t', "tabs"), ('|', "bars")];

/// The file as text. A byte order mark of UTF-8 is taken off.
///
/// # Errors
/// The encoding that it seems to be in, and the line.
pub(super) fn text(bytes: &[u8]) -> anyhow::Result<&str> {
    let wide = match bytes {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => true,
        // Without a mark: a zero byte beside each letter of the header.
        [first, second, ..] => (*first == 0) != (*second == 0),
        _ => false,
    };
    ensure!(!wide, "the file is in UTF-16; save it as UTF-8");
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        let wrong = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
        let seems = if in_pairs(bytes) { "GB 18030" } else { "Latin-1 or a relative of it" };
        anyhow::anyhow!(
            "line {line}: the byte {wrong:02X} is not UTF-8; the file seems to be in {seems}: save \
             it as UTF-8"
        )
    })
}

/// Whether bytes over 127 come in even numbers, as Chinese characters in GB 18030
/// do; letters with accents in Latin-1 stand alone.
fn in_pairs(bytes: &[u8]) -> bool {
    let runs = bytes.split(u8::is_ascii).filter(|run| !run.is_empty());
    let (even, odd): (Vec<&[u8]>, Vec<&[u8]>) = runs.partition(|run| run.len().is_multiple_of(2));
    // A second byte may be ASCII, so a few may be odd.
    odd.len() * 10 <= even.len()
}

/// Checks that quotes stand around whole fields, and that each is closed
/// (RFC 4180 §2).
///
/// # Errors
/// The line of the quote.
pub(super) fn quotes(text: &str) -> anyhow::Result<()> {
    let mut line = 1_usize;
    let mut opened = 0_usize;
    let mut before = ',';
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if opened == 0 => {
                ensure!(
                    matches!(before, ',' | '\n' | '\r'),
                    "line {line}: a quote in the middle of a field; put quotes around the whole \
                     field and write each inside it twice, or take it out"
                );
                opened = line;
            }
            '"' if characters.peek() == Some(&'"') => {
                characters.next();
            }
            '"' => {
                opened = 0;
                ensure!(
                    matches!(characters.peek(), None | Some(',' | '\n' | '\r')),
                    "line {line}: something follows a closing quote; put quotes around the whole \
                     field and write each inside it twice"
                );
            }
            '\n' => line += 1,
            _ => {}
        }
        before = character;
    }
    ensure!(opened == 0, "line {opened}: a quote is opened and not closed");
    Ok(())
}

/// Checks the separator by the header's line.
///
/// # Errors
/// The separator found and the one wanted.
pub(super) fn separator(text: &str) -> anyhow::Result<()> {
    let header = text.lines().next().unwrap_or_default();
    if let Some(rest) = header.strip_prefix("sep=") {
        bail!("line 1: `sep={rest}` is for a spreadsheet; take the line out");
    }
    for (separator, name) in SEPARATORS {
        ensure!(
            header.contains(',') || !header.contains(separator),
            "line 1: columns are parted by {name} (`{}`); part them by commas, and write numbers \
             with a point",
            separator.escape_default()
        );
    }
    Ok(())
}

/// The place of each column in the header.
///
/// # Errors
/// A name that stands twice, that no column has, or that is missing.
pub(super) fn places(
    header: &csv::StringRecord,
    columns: &[ColumnDescription],
) -> anyhow::Result<Vec<usize>> {
    let names: Vec<&str> = header.iter().map(super::trimmed).collect();
    let known = || columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    for (place, name) in names.iter().enumerate() {
        if let Some(first) = names[..place].iter().position(|earlier| earlier == name) {
            bail!(
                "the header names `{name}` twice, as columns {} and {}; which of them counts \
                 cannot be known",
                first + 1,
                place + 1
            );
        }
    }
    for (place, name) in names.iter().enumerate() {
        if columns.iter().any(|column| column.name.as_str() == *name) {
            continue;
        }
        let meant = nearest(name, columns, &names);
        let meant = meant.map(|near| format!("; is `{near}` meant?")).unwrap_or_default();
        let name = if name.is_empty() { "without a name".into() } else { format!("`{name}`") };
        bail!("the stream has no column {name} (column {}); it has {}{meant}", place + 1, known());
    }
    let place = |column: &ColumnDescription| {
        names.iter().position(|name| *name == column.name.as_str()).with_context(|| {
            format!("the header lacks `{}`; it must name every column: {}", column.name, known())
        })
    };
    columns.iter().map(place).collect()
}

/// The column whose name is nearest to a misspelt one, of those that the header
/// does not name.
fn nearest<'a>(name: &str, columns: &'a [ColumnDescription], named: &[&str]) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace(['-', ' ', '.'], "_");
    let name: String = plain(name).chars().take(64).collect();
    columns
        .iter()
        .map(|column| column.name.as_str())
        .filter(|column| !named.contains(column))
        .map(|column| (strsim::osa_distance(&name, &plain(column)), column))
        .filter(|(distance, column)| *distance <= column.len().div_ceil(3))
        .min()
        .map(|(_, column)| column)
}
