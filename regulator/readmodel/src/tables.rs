//! The catalogue as the file holds it: which tables and columns there are from
//! which height on, and under which physical names.

use std::collections::{BTreeMap, BTreeSet};

use hufu_proof::Name;
use rusqlite::{Connection, OptionalExtension as _};

use crate::catalogue::{
    Column, ColumnType, LEDGER, Table, TableSpec, height_of, reserved_schemas, sql_name,
};

/// The end of validity of what is valid now.
pub(crate) const OPEN: i64 = i64::MAX;

/// The name of `contract` in queries: the one it has, or a free one.
pub(crate) fn schema_of(connection: &Connection, contract: &Name) -> rusqlite::Result<String> {
    let known: Option<String> = connection
        .query_row(
            "SELECT sql_schema FROM _table WHERE contract = ?1 AND sql_schema <> ?2 LIMIT 1",
            [contract.as_str(), LEDGER],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(schema) = known {
        return Ok(schema);
    }
    let mut taken = reserved_schemas();
    let mut statement = connection.prepare_cached("SELECT DISTINCT sql_schema FROM _table")?;
    for schema in statement.query_map([], |row| row.get::<_, String>(0))? {
        taken.insert(schema?);
    }
    Ok(sql_name(contract.as_str(), &taken))
}

/// Makes a table, or brings its columns to those of `spec`, as of `height`.
pub(crate) fn declare(
    connection: &Connection,
    contract: &Name,
    schema: &str,
    spec: &TableSpec,
    height: u64,
) -> rusqlite::Result<()> {
    let known: Option<i64> = connection
        .query_row(
            "SELECT number FROM _table WHERE sql_schema = ?1 AND name = ?2 AND kind = ?3",
            (schema, spec.name.as_str(), spec.kind),
            |row| row.get(0),
        )
        .optional()?;
    let number = match known {
        Some(number) => number,
        None => create_table(connection, contract, schema, spec, height)?,
    };
    let physical = format!("t{number}");
    let mut statement = connection.prepare_cached(
        "SELECT number, name, sql_name, type FROM _column WHERE table_number = ?1 AND until = ?2",
    )?;
    let mut open: BTreeMap<String, (i64, String, ColumnType)> = BTreeMap::new();
    for row in statement.query_map((number, OPEN), |row| {
        Ok((row.get::<_, String>(1)?, (row.get(0)?, row.get(2)?, row.get(3)?)))
    })? {
        let (name, column) = row?;
        open.insert(name, column);
    }
    let mut next: i64 = connection.query_row(
        "SELECT coalesce(max(number), 0) + 1 FROM _column WHERE table_number = ?1",
        [number],
        |row| row.get(0),
    )?;
    let height = height_of(height);
    let mut kept = Vec::new();
    let mut added = Vec::new();
    for (name, column_type) in &spec.columns {
        match open.get(name) {
            Some((at, sql, found)) if found == column_type => kept.push((*at, sql.clone())),
            _ => added.push((name, column_type)),
        }
    }
    for (at, _, _) in open.values() {
        if !kept.iter().any(|(number, _)| number == at) {
            connection.execute(
                "UPDATE _column SET until = ?3 WHERE table_number = ?1 AND number = ?2",
                (number, at, height),
            )?;
        }
    }
    let mut taken: BTreeSet<String> = kept.into_iter().map(|(_, sql)| sql).collect();
    for (name, column_type) in added {
        let sql = sql_name(name, &taken);
        taken.insert(sql.clone());
        connection.execute(
            "INSERT INTO _column VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (number, next, name, &sql, column_type, height, OPEN),
        )?;
        let storage = column_type.storage();
        connection
            .execute_batch(&format!("ALTER TABLE {physical} ADD COLUMN c{next} {storage}"))?;
        next += 1;
    }
    let telling = serde_json::to_string(&spec.telling)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    connection
        .execute("INSERT OR REPLACE INTO _telling VALUES (?1, ?2, ?3)", (number, height, telling))
        .map(drop)
}

fn create_table(
    connection: &Connection,
    contract: &Name,
    schema: &str,
    spec: &TableSpec,
    height: u64,
) -> rusqlite::Result<i64> {
    let mut taken = BTreeSet::new();
    let mut statement =
        connection.prepare_cached("SELECT sql_name FROM _table WHERE sql_schema = ?1")?;
    for name in statement.query_map([schema], |row| row.get::<_, String>(0))? {
        taken.insert(name?);
    }
    let number: i64 =
        connection
            .query_row("SELECT coalesce(max(number), 0) + 1 FROM _table", [], |row| row.get(0))?;
    let name = sql_name(spec.name.as_str(), &taken);
    connection.execute(
        "INSERT INTO _table VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        (
            number,
            contract.as_str(),
            spec.name.as_str(),
            schema,
            &name,
            spec.kind,
            height_of(height),
        ),
    )?;
    let table = Table {
        contract: contract.clone(),
        name: spec.name.clone(),
        sql_schema: schema.to_owned(),
        sql_name: name,
        physical: format!("t{number}"),
        kind: spec.kind,
        columns: Vec::new(),
        telling: spec.telling.clone(),
    };
    connection.execute_batch(&table.create())?;
    if let Some(index) = table.create_index() {
        connection.execute_batch(&index)?;
    }
    Ok(number)
}

/// The tables as they stand after `height`.
pub(crate) fn load_tables(connection: &Connection, height: u64) -> rusqlite::Result<Vec<Table>> {
    let height = height_of(height);
    let mut tables = Vec::new();
    let mut statement = connection.prepare_cached(
        "SELECT number, contract, name, sql_schema, sql_name, kind FROM _table
         WHERE since <= ?1 ORDER BY number",
    )?;
    let mut columns = connection.prepare_cached(
        "SELECT number, name, sql_name, type FROM _column
         WHERE table_number = ?1 AND since <= ?2 AND until > ?2 ORDER BY number",
    )?;
    let mut tellings = connection.prepare_cached(
        "SELECT telling FROM _telling WHERE table_number = ?1 AND since <= ?2
         ORDER BY since DESC LIMIT 1",
    )?;
    let mut rows = statement.query([height])?;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let name = |index: usize| {
            Name::new(&row.get::<_, String>(index)?).map_err(|error| unreadable(index, error))
        };
        let telling: String = tellings.query_row((number, height), |row| row.get(0))?;
        let mut table = Table {
            contract: name(1)?,
            name: name(2)?,
            sql_schema: row.get(3)?,
            sql_name: row.get(4)?,
            physical: format!("t{number}"),
            kind: row.get(5)?,
            columns: Vec::new(),
            telling: serde_json::from_str(&telling).map_err(|error| unreadable(0, error))?,
        };
        for column in columns.query_map((number, height), |row| {
            Ok(Column {
                physical: format!("c{}", row.get::<_, i64>(0)?),
                name: row.get(1)?,
                sql_name: row.get(2)?,
                column_type: row.get(3)?,
            })
        })? {
            table.columns.push(column?);
        }
        tables.push(table);
    }
    Ok(tables)
}

fn unreadable(
    index: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
}
