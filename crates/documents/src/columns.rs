//! Rows of columnar files: the cells of the fields that are read.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use mixdown_jinja::Value;

use crate::document::RecordFault;
use crate::wanted::{NotFound, Wanted, find_column};

/// The columns of a batch that are read, each with the field's name.
#[derive(Debug, Clone)]
pub(crate) struct Columns<'b> {
    columns: Vec<(String, Result<Column<'b>, RecordFault>)>,
}

/// One column, and the structs around it.
#[derive(Debug, Clone)]
struct Column<'b> {
    around: Vec<&'b dyn Array>,
    own: &'b dyn Array,
    /// For a dictionary: the place of every row's value in it.
    keys: Vec<usize>,
}

impl<'b> Columns<'b> {
    pub(crate) fn new(batch: &'b RecordBatch, wanted: &[Wanted]) -> Self {
        let column = |Wanted { field, .. }: &Wanted| (field.clone(), Column::find(batch, field));
        Self { columns: wanted.iter().map(column).collect() }
    }

    fn get(&self, field: &str) -> Result<&Column<'b>, RecordFault> {
        let found = self.columns.iter().find(|(name, _)| name == field);
        let missing = || RecordFault::NoField { expected: field.to_owned() };
        found.ok_or_else(missing)?.1.as_ref().map_err(Clone::clone)
    }

    /// The string of a row.
    pub(crate) fn string(&self, field: &str, row: usize) -> Result<&'b str, RecordFault> {
        let column = self.get(field)?;
        let fault = |got| RecordFault::NotAString { field: field.to_owned(), got };
        let (array, row) = column.cell(row).ok_or_else(|| fault("null"))?;
        string(array, row).ok_or_else(|| fault(kind(array.data_type())))
    }

    /// The string or integer of a row.
    pub(crate) fn key(&self, field: &str, row: usize) -> Result<String, RecordFault> {
        let column = self.get(field)?;
        let fault = |got| RecordFault::NotAKey { field: field.to_owned(), got };
        let (array, row) = column.cell(row).ok_or_else(|| fault("null"))?;
        if let Some(text) = string(array, row) {
            return Ok(text.to_owned());
        }
        match json(array, row) {
            Some(Value::Int(number)) => Ok(number.to_string()),
            _ => Err(fault(kind(array.data_type()))),
        }
    }

    /// The value of a row, with the fields of structs in their order; `None` where there is nothing.
    pub(crate) fn value(&self, field: &str, row: usize) -> Result<Value, RecordFault> {
        let Some((array, row)) = self.get(field)?.cell(row) else { return Ok(Value::None) };
        json(array, row).ok_or_else(|| RecordFault::NotJsonLike {
            field: field.to_owned(),
            got: array.data_type().to_string(),
        })
    }
}

impl<'b> Column<'b> {
    fn find(batch: &'b RecordBatch, field: &str) -> Result<Self, RecordFault> {
        let missing = || RecordFault::NoField { expected: field.to_owned() };
        let path =
            find_column(batch.schema_ref().fields(), field).map_err(|fault| match fault {
                NotFound::Missing => missing(),
                NotFound::NotAStruct { field, .. } => {
                    RecordFault::NotAnObject { field, got: "another type" }
                }
            })?;
        let mut names = path.iter().map(|column| column.name());
        let first = names.next().ok_or_else(missing)?;
        let mut own: &dyn Array = batch.column_by_name(first).ok_or_else(missing)?;
        let mut around = Vec::new();
        for name in names {
            around.push(own);
            own =
                own.as_struct_opt().and_then(|own| own.column_by_name(name)).ok_or_else(missing)?;
        }
        let keys = match own.as_any_dictionary_opt() {
            Some(dictionary) if !dictionary.values().is_empty() => dictionary.normalized_keys(),
            _ => Vec::new(),
        };
        Ok(Self { around, own, keys })
    }

    /// The array and the place in it that hold a row's value; `None` for null.
    fn cell(&self, row: usize) -> Option<(&'b dyn Array, usize)> {
        if self.own.is_null(row) || self.around.iter().any(|outer| outer.is_null(row)) {
            return None;
        }
        let Some(dictionary) = self.own.as_any_dictionary_opt() else {
            return Some((self.own, row));
        };
        let values: &dyn Array = dictionary.values();
        let place = *self.keys.get(row)?;
        (place < values.len() && !values.is_null(place)).then_some((values, place))
    }
}

fn string(array: &dyn Array, row: usize) -> Option<&str> {
    match array.data_type() {
        DataType::Utf8 => Some(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Some(array.as_string::<i64>().value(row)),
        DataType::Utf8View => Some(array.as_string_view().value(row)),
        _ => None,
    }
}

/// What a cell says, as far as JSON has a word for its type.
fn json(array: &dyn Array, row: usize) -> Option<Value> {
    if array.is_null(row) {
        return Some(Value::None);
    }
    Some(match array.data_type() {
        DataType::Null => Value::None,
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Int8 => Value::Int(array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => Value::Int(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => Value::Int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row).into()),
        DataType::UInt8 => Value::Int(array.as_primitive::<UInt8Type>().value(row).into()),
        DataType::UInt16 => Value::Int(array.as_primitive::<UInt16Type>().value(row).into()),
        DataType::UInt32 => Value::Int(array.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt64 => Value::Int(array.as_primitive::<UInt64Type>().value(row).into()),
        DataType::Float16 => {
            Value::Float(f32::from(array.as_primitive::<Float16Type>().value(row)).into())
        }
        DataType::Float32 => Value::Float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row).into()),
        DataType::List(_) => list(&array.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row))?,
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row))?,
        DataType::Struct(_) => {
            let own = array.as_struct();
            let entry =
                |(field, column): (&_, &ArrayRef)| Some((name_of(field), json(column, row)?));
            let entries = own.fields().iter().zip(own.columns()).map(entry);
            Value::dict(entries.collect::<Option<Vec<_>>>()?)
        }
        DataType::Map(..) => map(&array.as_map().value(row))?,
        DataType::Dictionary(..) => {
            let own = array.slice(row, 1);
            let dictionary = own.as_any_dictionary_opt()?;
            let values = Some(dictionary.values()).filter(|values| !values.is_empty())?;
            json(values, *dictionary.normalized_keys().first()?)?
        }
        _ => Value::foreign(string(array, row)?),
    })
}

fn name_of(field: &arrow_schema::FieldRef) -> Value {
    Value::foreign(field.name())
}

fn list(values: &ArrayRef) -> Option<Value> {
    (0..values.len()).map(|row| json(values, row)).collect::<Option<Vec<_>>>().map(Value::list)
}

fn map(entries: &dyn Array) -> Option<Value> {
    let entries = entries.as_struct_opt()?;
    let [keys, values] = entries.columns() else { return None };
    let entry = |row| Some((Value::foreign(string(keys, row)?), json(values, row)?));
    (0..entries.len()).map(entry).collect::<Option<Vec<_>>>().map(Value::dict)
}

/// What values of a type are called in messages.
fn kind(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "a boolean",
        DataType::Struct(_) | DataType::Map(..) => "an object",
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => "a list",
        DataType::Null => "null",
        other if other.is_numeric() => "a number",
        _ => "another type",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mixdown_jinja::Template;
    use serde_json::json;

    use super::*;
    use crate::chunk::Content;
    use crate::chunk_reader::ChunkReader;
    use crate::document::ReadOptions;
    use crate::input_list::InputList;
    use crate::record::Record;
    use crate::wanted::Need;

    /// Lists of structs, as chats are stored, say the same in every format.
    #[test]
    fn nested_columns_become_json() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/documents");
        let wanted: Vec<Wanted> = ["messages", "meta", "repo"]
            .map(|field| Wanted { field: field.to_owned(), need: Need::Json })
            .into();
        let list = InputList::discover_with(&[folder], &ReadOptions::default()).unwrap();
        for file in list.files() {
            // A list for other fields than these would leave their columns out.
            let all = InputList::discover(std::slice::from_ref(&file.path)).unwrap();
            let mut reader = ChunkReader::open(&all, 0, 23).unwrap();
            let chunk = reader.next_before(24).unwrap().unwrap();
            let Content::Rows { batch, .. } = chunk.content() else { unreachable!() };
            let columns = Columns::new(batch, &wanted);
            let record = Record::Row { columns: &columns, row: 0 };
            let json_of = Template::parse("{{ value | tojson }}").unwrap();
            let value = |field| {
                let value = record.value(field).unwrap().unwrap();
                let json = json_of.render([("value", value)]).unwrap();
                serde_json::from_str::<serde_json::Value>(json.as_str()).unwrap()
            };
            let messages = value("messages");
            assert_eq!(
                messages[0],
                json!({"role": "user", "content": "question 23", "weight": null})
            );
            assert_eq!(messages[1]["role"], "assistant", "{}", file.name);
            assert_eq!(messages[1]["weight"], 5.75);
            assert!(messages[1]["content"].as_str().unwrap().starts_with("row 23: "));
            assert_eq!(value("meta"), json!({"text": "nested 23", "n": 23}));
            assert_eq!(value("repo"), "repo-1");
            assert!(record.value("other").is_err());
        }
        assert_eq!(list.files().len(), 11);
    }
}
