//! The tables of contracts, as they are written: one for each asset type and stream that
//! something happened to, and another part where its columns changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hufu_contract::Asset;
use hufu_machine::{MachineError, Reader};
use hufu_proof::transaction::Batch;
use hufu_proof::{Digest, Name};

use crate::about::{About, Described, OfContract, TableKind};
use crate::cell::Cell;
use crate::error::ArchiveError;
use crate::limits::{BUFFERED, MAX_FILES};
use crate::manifest::FileEntry;
use crate::rows::Recorded;
use crate::schema::{Column, Kind, OF_STREAM, RECORDED};
use crate::table::TableWriter;

/// A table with its columns.
struct Spec {
    of: OfContract,
    columns: Vec<Column>,
    described: Vec<Described>,
    /// The places of declared columns, by their names in the contract.
    places: BTreeMap<String, usize>,
}

struct Open {
    spec: Spec,
    writer: TableWriter,
}

/// The tables of contracts of a partition.
pub(crate) struct Tables<'a> {
    reader: &'a Reader,
    directory: &'a Path,
    /// The package of each contract that is active.
    active: BTreeMap<Name, Digest>,
    open: BTreeMap<(TableKind, Name, Name), Open>,
    /// Earlier parts.
    ended: Vec<Open>,
}

impl<'a> Tables<'a> {
    /// `active` are the packages as of the height before the first.
    pub(crate) fn new(
        reader: &'a Reader,
        directory: &'a Path,
        active: BTreeMap<Name, Digest>,
    ) -> Self {
        Self { reader, directory, active, open: BTreeMap::new(), ended: Vec::new() }
    }

    /// A package became the active one.
    pub(crate) fn deployed(&mut self, contract: &Name, package: Digest) {
        self.active.insert(contract.clone(), package);
    }

    /// An asset was created or changed; bytes that were added, about.
    pub(crate) fn asset(
        &mut self,
        at: Recorded,
        (contract, asset_type, key): (&Name, &Name, &str),
        created: bool,
        asset: &Asset,
    ) -> Result<usize, ArchiveError> {
        let Open { spec, writer } = self.table(TableKind::Asset, contract, asset_type)?;
        let mut row = at.cells();
        row.extend([Cell::Bool(created), Cell::text(key), Cell::text(&asset.state)]);
        row.resize(spec.columns.len(), Cell::Null);
        for (name, value) in &asset.fields {
            let place = spec.places.get(name.as_str()).and_then(|place| row.get_mut(*place));
            let Some(cell) = place else {
                let problem = format!("its asset type has no field {name}");
                return Err(ArchiveError::table(&spec.of.file(), problem));
            };
            *cell = Cell::from(value);
        }
        writer.push(row)
    }

    /// Rows were appended to a stream; bytes that were added, about.
    pub(crate) fn rows(
        &mut self,
        at: Recorded,
        device: &str,
        batch: &Batch,
    ) -> Result<usize, ArchiveError> {
        let Batch { contract, stream, sequence, rows } = batch;
        let Open { writer, .. } = self.table(TableKind::Stream, contract, stream)?;
        let mut bytes = 0;
        for (position, values) in (0..).zip(rows) {
            let mut row = at.cells();
            let numbers = [sequence.get(), position].map(Cell::number);
            row.push(Cell::text(device));
            row.extend(numbers);
            row.extend(values.iter().map(Cell::from));
            bytes += writer.push(row)?;
        }
        Ok(bytes)
    }

    /// The table with its present columns.
    fn table(
        &mut self,
        kind: TableKind,
        contract: &Name,
        name: &Name,
    ) -> Result<&mut Open, ArchiveError> {
        let key = (kind, contract.clone(), name.clone());
        let package = self.active.get(contract).copied().unwrap_or_default();
        let known = self.open.get(&key).map(|open| open.spec.of.package);
        if known != Some(package) {
            self.renew(&key, package)?;
        }
        self.open.get_mut(&key).ok_or_else(|| ArchiveError::table(name.as_str(), "it is not open"))
    }

    /// Opens the table, or another part of it where its columns are others.
    fn renew(
        &mut self,
        key: &(TableKind, Name, Name),
        package: Digest,
    ) -> Result<(), ArchiveError> {
        let mut spec = spec(self.reader, key, package)?;
        if let Some(mut present) = self.open.remove(key) {
            if present.spec.described == spec.described {
                present.spec.of.package = package;
                present.spec.of.version = spec.of.version;
                self.open.insert(key.clone(), present);
                return Ok(());
            }
            spec.of.part = present.spec.of.part + 1;
            present.writer.flush()?;
            self.ended.push(present);
        }
        let file = spec.of.file();
        // Blocks, transactions and proof are files as well.
        if self.open.len() + self.ended.len() + 4 > MAX_FILES {
            let problem =
                format!("a partition has at most {MAX_FILES} files; choose fewer heights");
            return Err(ArchiveError::table(&file, problem));
        }
        let writer = TableWriter::new(self.directory, &file, spec.columns.clone())?;
        self.open.insert(key.clone(), Open { spec, writer });
        Ok(())
    }

    /// Writes what waits in all tables, where it is much.
    pub(crate) fn relieve(&mut self) -> Result<(), ArchiveError> {
        let waiting: usize = self.open.values().map(|open| open.writer.buffered()).sum();
        if waiting >= BUFFERED {
            self.open.values_mut().try_for_each(|open| open.writer.flush())?;
        }
        Ok(())
    }

    /// Ends all tables.
    pub(crate) fn finish(self, about: &About) -> Result<Vec<(String, FileEntry)>, ArchiveError> {
        let all = self.ended.into_iter().chain(self.open.into_values());
        all.map(|Open { spec, writer }| {
            let Spec { of, described, .. } = spec;
            writer.finish(&About { table: Some(of), columns: described, ..about.clone() })
        })
        .collect()
    }
}

/// The table of a contract's package.
fn spec(
    reader: &Reader,
    (kind, contract, name): &(TableKind, Name, Name),
    package: Digest,
) -> Result<Spec, ArchiveError> {
    let damaged =
        || MachineError::Damaged { what: format!("package of contract {contract}"), source: None };
    let compiled = reader.compiled_package(&package)?.ok_or_else(damaged)?;
    let wanted = match kind {
        TableKind::Asset => hufu_contract::TableKind::Asset,
        TableKind::Stream => hufu_contract::TableKind::Stream,
    };
    let tables = compiled.tables();
    let table = tables.iter().find(|table| table.kind == wanted && table.of == *name);
    let table = table.ok_or_else(damaged)?;
    let of = OfContract {
        kind: *kind,
        contract: contract.clone(),
        name: name.clone(),
        version: compiled.version().to_string(),
        package,
        part: 1,
    };
    let fixed = RECORDED.map(|(name, kind)| Column::new(name, kind));
    let mut columns: Vec<Column> = fixed.into();
    let mut units = vec![None; columns.len()];
    let mut taken: BTreeSet<String> = columns.iter().map(|column| column.name.clone()).collect();
    let mut places = BTreeMap::new();
    // What the ledger adds to a table's own columns comes first, and has other names here.
    let (added, own) = match kind {
        TableKind::Asset => (vec![("created", Kind::Bool)], &table.columns[..]),
        TableKind::Stream => (OF_STREAM.to_vec(), table.columns.get(5..).unwrap_or_default()),
    };
    for (name, kind) in added {
        taken.insert(name.to_owned());
        columns.push(Column::new(name, kind));
        units.push(None);
    }
    for (place, column) in own.iter().enumerate() {
        // An asset's key and state are there always; a field may be newer than the asset.
        let always = *kind == TableKind::Asset && place < 2;
        let name = free(&column.name, &taken);
        taken.insert(name.clone());
        if !always {
            places.insert(column.name.clone(), columns.len());
        }
        columns.push(Column { name, kind: Kind::of(&column.ty), optional: !always });
        units.push(unit(&column.ty));
    }
    let described =
        columns.iter().zip(units).map(|(column, unit)| Described::new(column, unit)).collect();
    Ok(Spec { of, columns, described, places })
}

/// As in queries: `_` for `-`, and a number where that is taken.
fn free(name: &str, taken: &BTreeSet<String>) -> String {
    let base = name.replace('-', "_");
    if !taken.contains(&base) {
        return base;
    }
    (2u64..)
        .map(|number| format!("{base}_{number}"))
        .find(|candidate| !taken.contains(candidate))
        .unwrap_or(base)
}

fn unit(ty: &hufu_contract::Type) -> Option<String> {
    match ty {
        hufu_contract::Type::Int { unit, .. } | hufu_contract::Type::Decimal { unit, .. } => {
            (!unit.is_count()).then(|| unit.to_string())
        }
        _ => None,
    }
}
