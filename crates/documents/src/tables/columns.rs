//! Rows of columnar files: the cells of the requested fields.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use mixdown_jinja::Value;

use crate::bytes::chunk::as_u64;
use crate::reading::document::RecordFault;
use crate::reading::wanted::{NotFound, Wanted, find_column};

/// The requested columns of a batch, each with the field's name.
#[derive(Debug, Clone)]
pub(crate) struct Columns<'b> {
    columns: Vec<(String, Result<Column<'b>, RecordFault>)>,
}

/// One column, and the structs around it.
#[derive(Debug, Clone)]
struct Column<'b> {
    around: Vec<&'b dyn Array>,
    own: &'b dyn Array,
    /// For a dictionary: the index of every row's value in it.
    keys: Vec<usize>,
}

impl<'b> Columns<'b> {
    pub(crate) fn new(batch: &'b RecordBatch, wanted: &[Wanted]) -> Self {
        let column = |Wanted { field, .. }: &Wanted| (field.clone(), Column::find(batch, field));
        Self { columns: wanted.iter().map(column).collect() }
    }

    fn get(&self, field: &str) -> Result<&Column<'b>, RecordFault> {
        let found = self.columns.iter().find(|(name, _)| name == field);
        let missing = || no_column(field);
        found.ok_or_else(missing)?.1.as_ref().map_err(Clone::clone)
    }

    /// Returns the string of a row.
    pub(crate) fn string(&self, field: &str, row: usize) -> Result<&'b str, RecordFault> {
        let column = self.get(field)?;
        let fault = |got| RecordFault::NotAString { field: field.to_owned(), got };
        let (array, row) = column.cell(row).ok_or_else(|| fault("null"))?;
        let bytes = bytes(array, row).ok_or_else(|| fault(kind(array.data_type())))?;
        text(bytes).map_err(|invalid| invalid.fault(field))
    }

    /// Returns the string or integer of a row.
    pub(crate) fn key(&self, field: &str, row: usize) -> Result<String, RecordFault> {
        let column = self.get(field)?;
        let fault = |got| RecordFault::NotAKey { field: field.to_owned(), got };
        let (array, row) = column.cell(row).ok_or_else(|| fault("null"))?;
        match json(array, row).map_err(|invalid| invalid.fault(field))? {
            Some(Value::Str(text)) => Ok(text.as_str().to_owned()),
            Some(Value::Int(number)) => Ok(number.to_string()),
            _ => Err(fault(kind(array.data_type()))),
        }
    }

    /// Returns the value of a row, with the fields of structs in order; `None` for null.
    pub(crate) fn value(&self, field: &str, row: usize) -> Result<Value, RecordFault> {
        let Some((array, row)) = self.get(field)?.cell(row) else { return Ok(Value::None) };
        let json = json(array, row).map_err(|invalid| invalid.fault(field))?;
        json.ok_or_else(|| RecordFault::NotJsonLike {
            field: field.to_owned(),
            got: array.data_type().to_string(),
        })
    }
}

impl<'b> Column<'b> {
    fn find(batch: &'b RecordBatch, field: &str) -> Result<Self, RecordFault> {
        let missing = || no_column(field);
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

    /// Returns the array and the index in it that hold a row's value; `None` for null.
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

/// Returns the fault for a column that was found when the file was listed but is not in its batch.
fn no_column(field: &str) -> RecordFault {
    RecordFault::NoField { expected: field.to_owned(), got: "other columns".to_owned() }
}

/// An invalid string: the position of its first invalid byte, and that byte.
struct Invalid {
    offset_bytes: u64,
    got: u8,
}

impl Invalid {
    fn fault(self, field: &str) -> RecordFault {
        let Self { offset_bytes, got } = self;
        RecordFault::InvalidUtf8InField { field: field.to_owned(), offset_bytes, got }
    }
}

/// Returns the bytes of a string; `None` for other types. Strings are read as bytes
/// ([`with_bytes`](crate::reading::wanted::with_bytes)).
fn bytes(array: &dyn Array, row: usize) -> Option<&[u8]> {
    match array.data_type() {
        DataType::Binary => Some(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Some(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => Some(array.as_binary_view().value(row)),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> Result<&str, Invalid> {
    std::str::from_utf8(bytes).map_err(|error| Invalid {
        offset_bytes: as_u64(error.valid_up_to()),
        got: bytes.get(error.valid_up_to()).copied().unwrap_or_default(),
    })
}

/// Returns the value of a cell; `None` for types without a JSON form.
fn json(array: &dyn Array, row: usize) -> Result<Option<Value>, Invalid> {
    if array.is_null(row) {
        return Ok(Some(Value::None));
    }
    Ok(Some(match array.data_type() {
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
        DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::List(_) => return list(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => return list(&array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => return list(&array.as_fixed_size_list().value(row)),
        DataType::Struct(_) => {
            let own = array.as_struct();
            let mut entries = Vec::new();
            for (field, column) in own.fields().iter().zip(own.columns()) {
                let Some(value) = json(column, row)? else { return Ok(None) };
                entries.push((Value::foreign(field.name()), value));
            }
            Value::dict(entries)
        }
        DataType::Map(..) => return map(&array.as_map().value(row)),
        DataType::Dictionary(..) => {
            let own = array.slice(row, 1);
            let Some(dictionary) = own.as_any_dictionary_opt() else { return Ok(None) };
            let values = dictionary.values();
            let place = (!values.is_empty()).then(|| dictionary.normalized_keys());
            let Some(&place) = place.as_ref().and_then(|keys| keys.first()) else {
                return Ok(None);
            };
            return json(values, place);
        }
        _ => match bytes(array, row) {
            Some(bytes) => Value::foreign(text(bytes)?),
            None => return Ok(None),
        },
    }))
}

fn list(values: &ArrayRef) -> Result<Option<Value>, Invalid> {
    let items = (0..values.len()).map(|row| json(values, row).transpose());
    let items = items.map_while(|item| item).collect::<Result<Vec<_>, _>>()?;
    Ok((items.len() == values.len()).then(|| Value::list(items)))
}

fn map(entries: &dyn Array) -> Result<Option<Value>, Invalid> {
    let Some([keys, values]) = entries.as_struct_opt().map(|entries| entries.columns()) else {
        return Ok(None);
    };
    let mut pairs = Vec::new();
    for row in 0..entries.len() {
        let Some(key) = bytes(keys, row) else { return Ok(None) };
        let Some(value) = json(values, row)? else { return Ok(None) };
        pairs.push((Value::foreign(text(key)?), value));
    }
    Ok(Some(Value::dict(pairs)))
}

/// Adds the bytes of each row's value; the value of a dictionary is counted for every row that uses it: rows become
/// documents, which do not share memory.
pub(crate) fn add_row_bytes(array: &dyn Array, rows: &mut [u64]) {
    /// The bytes of a number or a boolean.
    const PLAIN_BYTES: u64 = 8;
    let of_values = |values: &dyn Array| {
        let mut lengths = vec![0; values.len()];
        add_row_bytes(values, &mut lengths);
        lengths
    };
    let add_ranges =
        |rows: &mut [u64], values: &dyn Array, ranges: &mut dyn Iterator<Item = (usize, usize)>| {
            let lengths = of_values(values);
            for (row, (start, end)) in rows.iter_mut().zip(ranges) {
                let own = lengths.get(start..end).unwrap_or_default();
                *row = own.iter().fold(*row, |sum, &len| sum.saturating_add(len));
            }
        };
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        let lengths = of_values(dictionary.values());
        let keys = if lengths.is_empty() { Vec::new() } else { dictionary.normalized_keys() };
        for (row, key) in rows.iter_mut().zip(keys) {
            *row = row.saturating_add(lengths.get(key).copied().unwrap_or(0));
        }
        return;
    }
    match array.data_type() {
        DataType::Struct(_) => {
            array.as_struct().columns().iter().for_each(|column| add_row_bytes(column, rows));
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            add_ranges(rows, list.values(), &mut ranges(list.value_offsets()));
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            add_ranges(rows, list.values(), &mut ranges(list.value_offsets()));
        }
        DataType::Map(..) => {
            let map = array.as_map();
            add_ranges(rows, map.entries(), &mut ranges(map.value_offsets()));
        }
        DataType::FixedSizeList(..) => {
            let list = array.as_fixed_size_list();
            let len = usize::try_from(list.value_length()).unwrap_or(0);
            let starts = (0..rows.len()).map(|row| row * len);
            add_ranges(rows, list.values(), &mut starts.map(|start| (start, start + len)));
        }
        _ => {
            for (place, row) in rows.iter_mut().enumerate() {
                let len = bytes(array, place).map_or(PLAIN_BYTES, |bytes| as_u64(bytes.len()));
                *row = row.saturating_add(len);
            }
        }
    }
}

/// Returns the ranges between neighboring offsets.
fn ranges<O: Copy + TryInto<usize>>(offsets: &[O]) -> impl Iterator<Item = (usize, usize)> {
    let place = |offset: &O| (*offset).try_into().unwrap_or(0);
    offsets.windows(2).map(move |pair| match pair {
        [start, end] => (place(start), place(end)),
        _ => (0, 0),
    })
}

/// Returns the name of a type's values, for messages.
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
    use crate::bytes::chunk::Content;
    use crate::bytes::chunk_reader::ChunkReader;
    use crate::inputs::input_list::InputList;
    use crate::reading::document::ReadOptions;
    use crate::reading::record::Record;
    use crate::reading::wanted::Need;

    /// Lists of structs, as chats are stored, give the same values in every format.
    #[test]
    fn nested_columns_become_json() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/documents");
        let wanted: Vec<Wanted> = ["messages", "meta", "repo"]
            .map(|field| Wanted { field: field.to_owned(), need: Need::Json })
            .into();
        let list = InputList::discover_with(&[folder], &ReadOptions::default()).unwrap();
        for file in list.files() {
            // A list made for other fields would leave these columns out.
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
