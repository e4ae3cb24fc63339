//! The requested fields of every record, and their positions among a file's columns.

use std::path::Path;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields};

use crate::chat::labeler::LabelFields;
use crate::error::Error;
use crate::reading::document::ReadOptions;

/// A requested field of every record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Its name, or names between dots.
    pub(crate) field: String,
    /// The type that it must have.
    pub(crate) need: Need,
}

/// The accepted type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Strings.
    Text,
    /// Strings or integers.
    Key,
    /// Any value with a JSON form.
    Json,
}

impl ReadOptions {
    /// Returns every field that the options name: of columnar files nothing else is read.
    pub(crate) fn wanted(&self) -> Vec<Wanted> {
        let wanted = |field: &String, need| Wanted { field: field.clone(), need };
        let keys = [&self.id_field, &self.group_field].into_iter().flatten();
        let text = match &self.labels {
            None => vec![wanted(&self.text_field().to_owned(), Need::Text)],
            Some(LabelFields::Chat { messages, tools, .. }) => [Some(messages), tools.as_ref()]
                .into_iter()
                .flatten()
                .map(|field| wanted(field, Need::Json))
                .collect(),
            Some(LabelFields::Completion { prompt, completion }) => {
                vec![wanted(prompt, Need::Text), wanted(completion, Need::Text)]
            }
        };
        text.into_iter().chain(keys.map(|field| wanted(field, Need::Key))).collect()
    }
}

impl Need {
    fn words(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Key => "text or integers",
            Self::Json => "text, numbers, booleans, lists or structs",
        }
    }

    fn holds(self, data_type: &DataType) -> bool {
        match self {
            Self::Text => is_text(data_type),
            Self::Key => is_text(data_type) || data_type.is_integer(),
            Self::Json => true,
        }
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        // Impala and older writers of Hive and Spark store strings as binary data: each value is checked.
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// Returns the same type with bytes in place of strings, which are checked row by row: a decoder that checks them would
/// refuse a whole page because of one.
pub(crate) fn with_bytes(data_type: &DataType) -> DataType {
    let inner = |field: &FieldRef| {
        let data_type = with_bytes(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    match data_type {
        DataType::Utf8 => DataType::Binary,
        DataType::LargeUtf8 => DataType::LargeBinary,
        DataType::Utf8View => DataType::BinaryView,
        DataType::Dictionary(keys, values) => {
            DataType::Dictionary(keys.clone(), Box::new(with_bytes(values)))
        }
        DataType::List(field) => DataType::List(inner(field)),
        DataType::LargeList(field) => DataType::LargeList(inner(field)),
        DataType::FixedSizeList(field, len) => DataType::FixedSizeList(inner(field), *len),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::Map(field, sorted) => DataType::Map(inner(field), *sorted),
        other => other.clone(),
    }
}

/// The reason why a field is not found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotFound {
    /// There is no column of that name.
    Missing,
    /// A column on the path to it has no fields.
    NotAStruct {
        /// That column.
        field: String,
        /// Its type.
        got: String,
    },
}

/// Returns the columns from the outermost one to that of `field`: the column of that exact name, or else its parts
/// between dots as nested names.
pub(crate) fn find_column<'f>(
    mut fields: &'f Fields,
    field: &str,
) -> Result<Vec<&'f Field>, NotFound> {
    let named = |fields: &'f Fields, name: &str| fields.iter().find(|field| field.name() == name);
    let (mut rest, mut found) = (field, Vec::new());
    loop {
        if let Some(column) = named(fields, rest) {
            found.push(column.as_ref());
            return Ok(found);
        }
        let (head, tail) = rest.split_once('.').ok_or(NotFound::Missing)?;
        let outer = named(fields, head).ok_or(NotFound::Missing)?;
        let DataType::Struct(below) = outer.data_type() else {
            let path = field.get(..field.len() - tail.len() - 1).unwrap_or_default();
            let got = outer.data_type().to_string();
            return Err(NotFound::NotAStruct { field: path.to_owned(), got });
        };
        found.push(outer.as_ref());
        (fields, rest) = (below, tail);
    }
}

/// Finds every requested field, as names from the outermost column on, and checks its type.
pub(crate) fn find_columns(
    path: &Path,
    fields: &Fields,
    wanted: &[Wanted],
) -> Result<Vec<Vec<String>>, Error> {
    let names = |columns: &[&Field]| columns.iter().map(|column| column.name().clone()).collect();
    let find = |Wanted { field, need }: &Wanted| {
        let columns =
            find_column(fields, field).map_err(|fault| not_found(path, fields, field, fault))?;
        match columns.last() {
            Some(column) if !need.holds(column.data_type()) => Err(Error::ColumnType {
                path: path.to_owned(),
                field: field.clone(),
                expected: need.words(),
                got: column.data_type().to_string(),
            }),
            _ => Ok(names(&columns)),
        }
    };
    wanted.iter().map(find).collect()
}

fn not_found(path: &Path, fields: &Fields, field: &str, fault: NotFound) -> Error {
    let path = path.to_owned();
    match fault {
        NotFound::Missing => {
            Error::NoColumn { path, expected: field.to_owned(), got: names_of(fields) }
        }
        NotFound::NotAStruct { field, got } => {
            Error::ColumnType { path, field, expected: "a struct", got }
        }
    }
}

/// Returns the existing columns, nested ones with their paths.
fn names_of(fields: &Fields) -> String {
    const NAMES_AT_MOST: usize = 40;
    let mut names = Vec::new();
    let outer = fields.iter().rev();
    let mut pending: Vec<_> = outer.map(|field| (field.name().clone(), field.as_ref())).collect();
    while let Some((name, field)) = pending.pop() {
        if names.len() == NAMES_AT_MOST {
            names.push("...".to_owned());
            break;
        }
        if let DataType::Struct(below) = field.data_type() {
            let inner = below.iter().rev();
            pending.extend(inner.map(|field| (format!("{name}.{}", field.name()), field.as_ref())));
        } else {
            names.push(format!("\"{}\"", name.escape_debug()));
        }
    }
    if names.is_empty() { "none at all".to_owned() } else { names.join(", ") }
}
