//! What the columns of a table are, as Parquet has them.

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::errors::ParquetError;
use parquet::schema::types::{Type, TypePtr};

/// Bytes of a decimal: as few as hold every number of 64 bits.
pub(crate) const DECIMAL_LENGTH: i32 = 9;

/// Digits of a decimal.
const DECIMAL_DIGITS: i32 = 19;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `BOOLEAN`.
    Bool,
    /// `INT64`.
    Int,
    /// `DECIMAL(19, scale)`.
    Decimal {
        /// Decimals.
        scale: u8,
    },
    /// `TIMESTAMP(MILLIS, UTC)`.
    Time,
    /// `STRING`.
    Text,
    /// `STRING` with a JSON array, as in queries.
    List,
    /// `BYTE_ARRAY`.
    Bytes,
}

impl Kind {
    /// How values of a contract's type are held.
    pub(crate) fn of(ty: &hufu_contract::Type) -> Self {
        use hufu_contract::Type;
        match ty {
            Type::Bool => Self::Bool,
            Type::Int { .. } => Self::Int,
            Type::Decimal { scale, .. } => Self::Decimal { scale: *scale },
            Type::Time { .. } => Self::Time,
            Type::Bytes { .. } => Self::Bytes,
            Type::List { .. } | Type::Set { .. } => Self::List,
            Type::Text { .. }
            | Type::Symbol
            | Type::Id
            | Type::Digest
            | Type::Member
            | Type::Identity
            | Type::Ref { .. } => Self::Text,
        }
    }

    /// As the description of a file names it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Bool => "bool".to_owned(),
            Self::Int => "int".to_owned(),
            Self::Decimal { scale } => format!("decimal({scale})"),
            Self::Time => "time".to_owned(),
            Self::Text => "text".to_owned(),
            Self::List => "list".to_owned(),
            Self::Bytes => "bytes".to_owned(),
        }
    }

    /// The kind with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "bool" => Self::Bool,
            "int" => Self::Int,
            "time" => Self::Time,
            "text" => Self::Text,
            "list" => Self::List,
            "bytes" => Self::Bytes,
            other => {
                let scale = other.strip_prefix("decimal(")?.strip_suffix(')')?.parse().ok()?;
                (scale <= hufu_contract::types::MAX_SCALE).then_some(Self::Decimal { scale })?
            }
        })
    }

    pub(crate) fn physical(self) -> Physical {
        match self {
            Self::Bool => Physical::BOOLEAN,
            Self::Int | Self::Time => Physical::INT64,
            Self::Decimal { .. } => Physical::FIXED_LEN_BYTE_ARRAY,
            Self::Text | Self::List | Self::Bytes => Physical::BYTE_ARRAY,
        }
    }
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Whether a cell may be empty.
    pub(crate) optional: bool,
}

impl Column {
    /// One whose every cell has something.
    pub(crate) fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self { name: name.into(), kind, optional: false }
    }

    /// One whose cells may be empty.
    pub(crate) fn optional(name: impl Into<String>, kind: Kind) -> Self {
        Self { optional: true, ..Self::new(name, kind) }
    }

    fn parquet(&self) -> Result<TypePtr, ParquetError> {
        let logical = match self.kind {
            Kind::Bool | Kind::Int | Kind::Bytes => None,
            Kind::Text | Kind::List => Some(LogicalType::String),
            Kind::Time => Some(LogicalType::timestamp(true, TimeUnit::MILLIS)),
            Kind::Decimal { scale } => Some(LogicalType::decimal(i32::from(scale), DECIMAL_DIGITS)),
        };
        let repetition = if self.optional { Repetition::OPTIONAL } else { Repetition::REQUIRED };
        let mut builder = Type::primitive_type_builder(&self.name, self.kind.physical())
            .with_repetition(repetition)
            .with_logical_type(logical);
        if let Kind::Decimal { scale } = self.kind {
            builder = builder
                .with_length(DECIMAL_LENGTH)
                .with_precision(DECIMAL_DIGITS)
                .with_scale(i32::from(scale));
        }
        builder.build().map(Arc::new)
    }
}

/// The schema of a table with these columns.
pub(crate) fn parquet(columns: &[Column]) -> Result<TypePtr, ParquetError> {
    let fields = columns.iter().map(Column::parquet).collect::<Result<_, _>>()?;
    Type::group_type_builder("hufu").with_fields(fields).build().map(Arc::new)
}

/// `blocks.parquet`: what headers are made of.
pub(crate) fn blocks() -> Vec<Column> {
    use Kind::{Int, Text, Time};
    [
        ("height", Int),
        ("time", Time),
        ("digest", Text),
        ("parent", Text),
        ("version", Int),
        ("transactions", Int),
        ("transactions_root", Text),
        ("executed_height", Int),
        ("executed_state_root", Text),
        ("executed_log_size", Int),
        ("executed_log_root", Text),
    ]
    .map(|(name, kind)| Column::new(name, kind))
    .into()
}

/// `transactions.parquet`.
pub(crate) fn transactions() -> Vec<Column> {
    use Kind::{Bytes, Int, Text, Time};
    vec![
        Column::new("height", Int),
        Column::new("position", Int),
        Column::new("log_index", Int),
        Column::new("time", Time),
        Column::new("id", Text),
        Column::new("outcome", Text),
        Column::new("signer", Text),
        Column::optional("member", Text),
        Column::new("kind", Text),
        Column::optional("contract", Text),
        Column::optional("action", Text),
        Column::optional("asset", Text),
        Column::new("signed", Bytes),
    ]
}

/// What the tables of contracts begin with.
pub(crate) const RECORDED: [(&str, Kind); 3] =
    [("recorded_height", Kind::Int), ("recorded_time", Kind::Time), ("log_index", Kind::Int)];

/// What tables of streams have next.
pub(crate) const OF_STREAM: [(&str, Kind); 3] =
    [("device", Kind::Text), ("sequence", Kind::Int), ("position", Kind::Int)];
