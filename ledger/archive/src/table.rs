//! A table as a Parquet file: written in row groups, read by row groups.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;

use hufu_proof::Digest;
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::reader::ColumnReader;
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, RowGroupMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::statistics::Statistics;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use sha2::{Digest as _, Sha256};

use crate::about::{About, KEY};
use crate::cell::Cell;
use crate::error::ArchiveError;
use crate::limits::{
    GROUP_BYTES, GROUP_ROWS, MAX_COLUMNS, MAX_FOOTER, MAX_GROUP_BYTES, MAX_GROUP_ROWS,
};
use crate::manifest::FileEntry;
use crate::schema::{self, Column, DECIMAL_LENGTH, Kind};

/// How much processor the size is worth: what zstd calls its default.
const ZSTD_LEVEL: i32 = 3;

/// What is said of the software that wrote it: not its version, so that another one
/// may write the same bytes.
const CREATED_BY: &str = "hufu archive";

/// A file whose bytes are counted and hashed on their way.
struct Hashed {
    file: File,
    digest: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The cells of a column that wait for their row group.
enum Buffer {
    Bool(Vec<bool>),
    Int(Vec<i64>),
    Decimal(Vec<FixedLenByteArray>),
    Bytes(Vec<ByteArray>),
}

impl Buffer {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Bool => Self::Bool(Vec::new()),
            Kind::Int | Kind::Time => Self::Int(Vec::new()),
            Kind::Decimal { .. } => Self::Decimal(Vec::new()),
            Kind::Text | Kind::List | Kind::Bytes => Self::Bytes(Vec::new()),
        }
    }

    /// Takes a cell in; whether it is of the column's kind.
    fn push(&mut self, kind: Kind, cell: Cell) -> bool {
        match (self, kind, cell) {
            (Self::Bool(cells), _, Cell::Bool(truth)) => cells.push(truth),
            (Self::Int(cells), _, Cell::Int(number)) => cells.push(number),
            (Self::Decimal(cells), _, Cell::Int(number)) => {
                let wide = i128::from(number).to_be_bytes();
                let begin = wide.len() - DECIMAL_LENGTH as usize;
                cells.push(FixedLenByteArray::from(wide[begin..].to_vec()));
            }
            (Self::Bytes(cells), Kind::Text | Kind::List, Cell::Text(text)) => {
                cells.push(ByteArray::from(text.into_bytes()));
            }
            (Self::Bytes(cells), Kind::Bytes, Cell::Bytes(bytes)) => {
                cells.push(ByteArray::from(bytes));
            }
            _ => return false,
        }
        true
    }
}

/// A table that is being written.
pub(crate) struct TableWriter {
    name: String,
    columns: Vec<Column>,
    writer: SerializedFileWriter<Hashed>,
    buffers: Vec<(Buffer, Vec<i16>)>,
    waiting: usize,
    bytes: usize,
    rows: u64,
}

impl TableWriter {
    /// The file `name` in `directory`, which must not be there.
    pub(crate) fn new(
        directory: &Path,
        name: &str,
        columns: Vec<Column>,
    ) -> Result<Self, ArchiveError> {
        let path = directory.join(name);
        let file = File::create_new(&path).map_err(ArchiveError::io("cannot make", &path))?;
        let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(|error| broken(name, &error))?;
        let mut properties = WriterProperties::builder()
            .set_created_by(CREATED_BY.to_owned())
            .set_compression(Compression::ZSTD(level))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .set_max_row_group_row_count(None);
        for column in &columns {
            // Each is another one: a dictionary of them would be their list.
            if ["id", "digest", "parent", "signed"].contains(&column.name.as_str()) {
                let path = ColumnPath::from(column.name.as_str());
                properties = properties.set_column_dictionary_enabled(path, false);
            }
            if column.kind == Kind::Bytes {
                let path = ColumnPath::from(column.name.as_str());
                properties =
                    properties.set_column_statistics_enabled(path, EnabledStatistics::None);
            }
        }
        let hashed = Hashed { file, digest: Sha256::new(), bytes: 0 };
        let schema = schema::parquet(&columns).map_err(|error| broken(name, &error))?;
        let writer = SerializedFileWriter::new(hashed, schema, Arc::new(properties.build()))
            .map_err(|error| written(&path, error))?;
        let buffers = columns.iter().map(|column| (Buffer::new(column.kind), Vec::new())).collect();
        let name = name.to_owned();
        Ok(Self { name, columns, writer, buffers, waiting: 0, bytes: 0, rows: 0 })
    }

    /// Bytes that wait for their row group, about.
    pub(crate) fn buffered(&self) -> usize {
        self.bytes
    }

    /// Adds a row, a cell for each column; its size in bytes, about.
    pub(crate) fn push(&mut self, row: Vec<Cell>) -> Result<usize, ArchiveError> {
        if row.len() != self.columns.len() {
            let (has, needs) = (row.len(), self.columns.len());
            let problem = format!("a row of {has} cells, and the table has {needs} columns");
            return Err(ArchiveError::table(&self.name, problem));
        }
        let size = row.iter().map(Cell::size).sum();
        let places = self.columns.iter().zip(&mut self.buffers).zip(row);
        for ((column, (buffer, levels)), cell) in places {
            let there = cell != Cell::Null;
            let fits = if there { buffer.push(column.kind, cell) } else { column.optional };
            if !fits {
                let problem = format!("column {} does not take what there is", column.name);
                return Err(ArchiveError::table(&self.name, problem));
            }
            levels.push(i16::from(there));
        }
        self.waiting += 1;
        self.bytes += size;
        self.rows += 1;
        if self.waiting >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
            self.flush()?;
        }
        Ok(size)
    }

    /// Writes what waits as a row group.
    pub(crate) fn flush(&mut self) -> Result<(), ArchiveError> {
        if self.waiting == 0 {
            return Ok(());
        }
        let buffers: Vec<(Buffer, Vec<i16>)> = self
            .columns
            .iter()
            .zip(&mut self.buffers)
            .map(|(column, waiting)| {
                std::mem::replace(waiting, (Buffer::new(column.kind), Vec::new()))
            })
            .collect();
        (self.waiting, self.bytes) = (0, 0);
        group(&mut self.writer, &self.columns, &buffers)
            .map_err(|error| written(Path::new(&self.name), error))
    }

    /// Writes the rest, with what the file says of itself, durably.
    pub(crate) fn finish(mut self, about: &About) -> Result<(String, FileEntry), ArchiveError> {
        self.flush()?;
        let path = Path::new(&self.name);
        let text = serde_json::to_string(about)
            .map_err(|error| ArchiveError::table(&self.name, error.to_string()))?;
        self.writer.append_key_value_metadata(KeyValue::new(KEY.to_owned(), text));
        let hashed = self.writer.into_inner().map_err(|error| written(path, error))?;
        hashed.file.sync_all().map_err(ArchiveError::io("cannot write", path))?;
        let sha256 = Digest(hashed.digest.finalize().into());
        Ok((self.name, FileEntry { sha256, bytes: hashed.bytes, rows: Some(self.rows) }))
    }
}

fn group(
    writer: &mut SerializedFileWriter<Hashed>,
    columns: &[Column],
    buffers: &[(Buffer, Vec<i16>)],
) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    for (column, (buffer, levels)) in columns.iter().zip(buffers) {
        let Some(mut chunk) = group.next_column()? else { break };
        let levels = column.optional.then_some(levels.as_slice());
        match buffer {
            Buffer::Bool(cells) => chunk.typed::<BoolType>().write_batch(cells, levels, None),
            Buffer::Int(cells) => chunk.typed::<Int64Type>().write_batch(cells, levels, None),
            Buffer::Decimal(cells) => {
                chunk.typed::<FixedLenByteArrayType>().write_batch(cells, levels, None)
            }
            Buffer::Bytes(cells) => chunk.typed::<ByteArrayType>().write_batch(cells, levels, None),
        }?;
        chunk.close()?;
    }
    group.close().map(drop)
}

fn broken(table: &str, error: &ParquetError) -> ArchiveError {
    ArchiveError::table(table, error.to_string())
}

/// What the library met while it wrote: of a full disk what the system said.
fn written(path: &Path, error: ParquetError) -> ArchiveError {
    let source = match error {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(cause) => io::Error::other(cause),
        },
        other => io::Error::other(other),
    };
    ArchiveError::Io { doing: "cannot write", path: path.to_owned(), source }
}

/// A table that is read.
pub(crate) struct TableReader {
    name: String,
    reader: SerializedFileReader<File>,
    pub(crate) about: About,
    pub(crate) columns: Vec<Column>,
}

impl TableReader {
    /// The file `name` in `directory`.
    pub(crate) fn open(directory: &Path, name: &str) -> Result<Self, ArchiveError> {
        let path = directory.join(name);
        let mut file = File::open(&path).map_err(ArchiveError::io("cannot read", &path))?;
        check_footer(&mut file).map_err(|problem| ArchiveError::file(name, problem))?;
        let reader = guarded(name, || SerializedFileReader::new(file))?;
        let metadata = reader.metadata().file_metadata();
        let about = metadata
            .key_value_metadata()
            .into_iter()
            .flatten()
            .find(|one| one.key == KEY)
            .and_then(|one| one.value.as_deref())
            .ok_or_else(|| ArchiveError::file(name, "it does not say what it is"))?;
        let about = About::parse(name, about)?;
        let columns = about.columns(name)?;
        if columns.len() > MAX_COLUMNS {
            return Err(ArchiveError::file(name, format!("it has over {MAX_COLUMNS} columns")));
        }
        let schema = schema::parquet(&columns)
            .map_err(|error| ArchiveError::file(name, error.to_string()))?;
        if metadata.schema() != &*schema {
            return Err(ArchiveError::file(name, "its columns are not those of its description"));
        }
        for group in reader.metadata().row_groups() {
            let rows = usize::try_from(group.num_rows()).is_ok_and(|rows| rows <= MAX_GROUP_ROWS);
            if !rows || !(0..=MAX_GROUP_BYTES).contains(&group.total_byte_size()) {
                return Err(ArchiveError::file(
                    name,
                    format!(
                        "a row group of {} rows and {} bytes; at most {MAX_GROUP_ROWS} and \
                         {MAX_GROUP_BYTES} are read",
                        group.num_rows(),
                        group.total_byte_size()
                    ),
                ));
            }
        }
        Ok(Self { name: name.to_owned(), reader, about, columns })
    }

    /// Rows in all groups.
    pub(crate) fn rows(&self) -> u64 {
        let groups = self.reader.metadata().row_groups();
        groups.iter().map(|group| u64::try_from(group.num_rows()).unwrap_or_default()).sum()
    }

    /// Row groups.
    pub(crate) fn groups(&self) -> usize {
        self.reader.num_row_groups()
    }

    /// Whether a group may have a row with `value` in the column of numbers at `column`,
    /// by what the file says of the group.
    pub(crate) fn may_have(&self, group: usize, column: usize, value: i64) -> bool {
        let group: &RowGroupMetaData = self.reader.metadata().row_group(group);
        match group.columns().get(column).and_then(|column| column.statistics()) {
            Some(Statistics::Int64(known)) => match (known.min_opt(), known.max_opt()) {
                (Some(min), Some(max)) => (*min..=*max).contains(&value),
                _ => true,
            },
            _ => true,
        }
    }

    /// The cells of a group, column by column, of the columns at these places.
    pub(crate) fn read(
        &self,
        group: usize,
        places: &[usize],
    ) -> Result<Vec<Vec<Cell>>, ArchiveError> {
        guarded(&self.name, || {
            let reader = self.reader.get_row_group(group)?;
            // Bounded when the file was opened.
            let rows = usize::try_from(reader.metadata().num_rows()).unwrap_or_default();
            let column = |place: &usize| {
                let column = self.columns.get(*place).ok_or_else(|| odd("no such column"))?;
                cells(column, reader.get_column_reader(*place)?, rows)
            };
            places.iter().map(column).collect()
        })
    }

    /// The rows of a group.
    pub(crate) fn read_rows(&self, group: usize) -> Result<Vec<Vec<Cell>>, ArchiveError> {
        let places: Vec<usize> = (0..self.columns.len()).collect();
        let columns = self.read(group, &places)?;
        let count = columns.first().map_or(0, Vec::len);
        let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
        let row = |_| columns.iter_mut().map(|cells| cells.next().unwrap_or(Cell::Null)).collect();
        Ok((0..count).map(row).collect())
    }
}

/// The end of the file says how long its description is; that is bounded before it is
/// read.
fn check_footer(file: &mut File) -> Result<(), String> {
    let mut end = [0; 8];
    let read = file
        .seek(SeekFrom::End(-8))
        .and_then(|_| file.read_exact(&mut end))
        .and_then(|()| file.rewind());
    read.map_err(|error| format!("it is no Parquet file: {error}"))?;
    let [a, b, c, d, magic @ ..] = end;
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    if magic != *b"PAR1" {
        return Err("it is no Parquet file".to_owned());
    }
    if length > MAX_FOOTER {
        return Err(format!("{length} bytes describe it; at most {MAX_FOOTER} are read"));
    }
    Ok(())
}

/// What the library says of a file that somebody else may have made. Where it panics, the
/// file is refused as well.
fn guarded<T>(
    name: &str,
    read: impl FnOnce() -> Result<T, ParquetError>,
) -> Result<T, ArchiveError> {
    match panic::catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) => Err(ArchiveError::file(name, error.to_string())),
        Err(_) => Err(ArchiveError::file(name, "it is no Parquet file of ours")),
    }
}

fn odd(problem: &str) -> ParquetError {
    ParquetError::General(problem.to_owned())
}

/// All cells of a column of a group.
fn cells(column: &Column, reader: ColumnReader, rows: usize) -> Result<Vec<Cell>, ParquetError> {
    let mut levels: Vec<i16> = Vec::new();
    macro_rules! all {
        ($reader:expr) => {{
            let (mut reader, mut values) = ($reader, Vec::new());
            let known = column.optional.then_some(&mut levels);
            let (records, ..) = reader.read_records(rows, known, None, &mut values)?;
            if records != rows {
                return Err(odd("a column has fewer rows than the others"));
            }
            values
        }};
    }
    let cells: Vec<Cell> = match (reader, column.kind) {
        (ColumnReader::BoolColumnReader(reader), Kind::Bool) => {
            all!(reader).into_iter().map(Cell::Bool).collect()
        }
        (ColumnReader::Int64ColumnReader(reader), Kind::Int | Kind::Time) => {
            all!(reader).into_iter().map(Cell::Int).collect()
        }
        (ColumnReader::FixedLenByteArrayColumnReader(reader), Kind::Decimal { .. }) => {
            let values: Vec<FixedLenByteArray> = all!(reader);
            values.iter().map(|value| decimal(value.data())).collect::<Result<_, _>>()?
        }
        (ColumnReader::ByteArrayColumnReader(reader), Kind::Text | Kind::List) => {
            let values: Vec<ByteArray> = all!(reader);
            let text = |value: &ByteArray| {
                let text = std::str::from_utf8(value.data());
                text.map(Cell::text).map_err(|_| odd("a text that is not UTF-8"))
            };
            values.iter().map(text).collect::<Result<_, _>>()?
        }
        (ColumnReader::ByteArrayColumnReader(reader), Kind::Bytes) => {
            let values: Vec<ByteArray> = all!(reader);
            values.iter().map(|value| Cell::Bytes(value.data().to_vec())).collect()
        }
        _ => return Err(odd("a column is not of its type")),
    };
    if !column.optional {
        return Ok(cells);
    }
    let mut cells = cells.into_iter();
    let spread = levels.iter().map(|level| match level {
        0 => Ok(Cell::Null),
        _ => cells.next().ok_or_else(|| odd("a column has fewer cells than it says")),
    });
    spread.collect()
}

fn decimal(bytes: &[u8]) -> Result<Cell, ParquetError> {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    let begin = wide.len().checked_sub(bytes.len()).ok_or_else(|| odd("a decimal is too long"))?;
    wide[begin..].copy_from_slice(bytes);
    let number = i64::try_from(i128::from_be_bytes(wide));
    number.map(Cell::Int).map_err(|_| odd("a decimal is over 64 bits"))
}

#[cfg(test)]
mod tests {
    use hufu_proof::{Height, Name};
    use proptest::prelude::*;

    use super::*;
    use crate::about::Described;

    fn columns() -> Vec<Column> {
        vec![
            Column::new("number", Kind::Int),
            Column::optional("yes", Kind::Bool),
            Column::optional("amount", Kind::Decimal { scale: 3 }),
            Column::optional("text", Kind::Text),
            Column::optional("bytes", Kind::Bytes),
            Column::optional("at", Kind::Time),
        ]
    }

    fn about() -> About {
        About {
            format: "x".to_owned(),
            member: Name::new("maker").unwrap(),
            genesis: Digest::default(),
            first: Height(1),
            last: Height(2),
            table: None,
            columns: columns().iter().map(|column| Described::new(column, None)).collect(),
        }
    }

    fn row() -> impl Strategy<Value = Vec<Cell>> {
        let null = |cell: BoxedStrategy<Cell>| prop_oneof![Just(Cell::Null), cell];
        (
            any::<i64>().prop_map(Cell::Int),
            null(any::<bool>().prop_map(Cell::Bool).boxed()),
            null(any::<i64>().prop_map(Cell::Int).boxed()),
            null("\\PC{0,20}".prop_map(Cell::Text).boxed()),
            null(prop::collection::vec(any::<u8>(), 0..20).prop_map(Cell::Bytes).boxed()),
            null((0i64..253_402_300_799_999).prop_map(Cell::Int).boxed()),
        )
            .prop_map(|(a, b, c, d, e, f)| vec![a, b, c, d, e, f])
    }

    fn write(directory: &Path, rows: &[Vec<Cell>], every: usize) -> FileEntry {
        let mut table = TableWriter::new(directory, "t.parquet", columns()).unwrap();
        for (place, row) in rows.iter().enumerate() {
            table.push(row.clone()).unwrap();
            if place % every == 0 {
                table.flush().unwrap();
            }
        }
        // The library takes names relative to where it is.
        table.finish(&about()).unwrap().1
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn what_is_written_is_read(rows in prop::collection::vec(row(), 0..60), every in 1usize..40) {
            let directory = tempfile::tempdir().unwrap();
            let entry = write(directory.path(), &rows, every);
            let bytes = std::fs::read(directory.path().join("t.parquet")).unwrap();
            prop_assert_eq!(entry.sha256, Digest::of(&bytes));
            prop_assert_eq!(entry.bytes, bytes.len() as u64);
            prop_assert_eq!(entry.rows, Some(rows.len() as u64));
            let table = TableReader::open(directory.path(), "t.parquet").unwrap();
            prop_assert_eq!(table.rows(), rows.len() as u64);
            let mut read = Vec::new();
            for group in 0..table.groups() {
                read.append(&mut table.read_rows(group).unwrap());
            }
            prop_assert_eq!(read, rows.clone());
            let other = tempfile::tempdir().unwrap();
            prop_assert_eq!(write(other.path(), &rows, every), entry);
        }
    }

    /// Nobody looks into a file whose digest is wrong; but a forged manifest may name one.
    #[test]
    fn a_changed_file_is_read_or_refused_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let rows: Vec<Vec<Cell>> = (0..40i64)
            .map(|number| {
                vec![
                    Cell::Int(number),
                    Cell::Bool(number % 2 == 0),
                    Cell::Int(-number),
                    Cell::text(number),
                    Cell::Bytes(vec![7; number as usize]),
                    Cell::Null,
                ]
            })
            .collect();
        write(directory.path(), &rows, 16);
        let path = directory.path().join("t.parquet");
        let good = std::fs::read(&path).unwrap();
        let mut refused = 0;
        for at in (0..good.len()).step_by(3) {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bytes).unwrap();
            let read = TableReader::open(directory.path(), "t.parquet").and_then(|table| {
                (0..table.groups())
                    .map(|group| table.read_rows(group))
                    .collect::<Result<Vec<_>, _>>()
            });
            refused += usize::from(read.is_err());
        }
        assert!(refused > 0);
        for length in 0..good.len() {
            std::fs::write(&path, &good[..length]).unwrap();
            assert!(TableReader::open(directory.path(), "t.parquet").is_err(), "{length}");
        }
    }
}
