//! The Parquet form of a runs table, with one column for each field, as data frames write it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal32Type, Decimal64Type, Decimal128Type, Float16Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema};
use mixdown_base::panics;
use serde_json::{Map, Number, Value};

use crate::error::Error;
use crate::sums;
use crate::tables::fields::{Fields, list_columns, shorten};
use crate::tables::row::RunRow;

/// Reads every row; unknown columns are left out.
pub(crate) fn read(path: &Path, limit_bytes: u64) -> Result<Vec<RunRow>, Error> {
    let file = File::open(path).map_err(|source| Error::io(path, "read it", source))?;
    let got = file.metadata().map_err(|source| Error::io(path, "read it", source))?.len();
    if got > limit_bytes {
        return Err(Error::TooLarge { path: path.to_path_buf(), limit_bytes, got });
    }
    sums::check_file(path)?;
    // The library panics on some damaged pages; that is damage of the file, not of this program.
    let batches = panics::caught(|| read_batches(path, file))
        .unwrap_or_else(|_| Err(damaged(path, "a damaged page".to_owned())))?;
    let mut rows = Vec::new();
    for batch in &batches {
        check_columns(path, batch)?;
        for index in 0..batch.num_rows() {
            let row = u64::try_from(rows.len()).map_or(u64::MAX, |len| len.saturating_add(1));
            let cells = cells(batch, index);
            rows.push(RunRow::from_fields(&Fields { path, row, cells: &cells })?);
        }
    }
    Ok(rows)
}

fn read_batches(path: &Path, file: File) -> Result<Vec<RecordBatch>, Error> {
    // Without Arrow's own schema in the file a data frame's categories are plain texts.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
        .map_err(|error| damaged(path, error.to_string()))?;
    let schema = Arc::clone(builder.schema());
    let reader = builder.build().map_err(|error| damaged(path, error.to_string()))?;
    let mut batches = Vec::new();
    for batch in reader {
        batches.push(batch.map_err(|error| damaged(path, error.to_string()))?);
    }
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema));
    }
    Ok(batches)
}

/// Checks the columns, which a table without rows must have too.
fn check_columns(path: &Path, batch: &RecordBatch) -> Result<(), Error> {
    let schema = batch.schema();
    let has = |column: &str| schema.fields().iter().any(|field| field.name() == column);
    match RunRow::COLUMNS.iter().take(RunRow::REQUIRED_COLUMNS).find(|column| !has(column)) {
        None => Ok(()),
        Some(column) => Err(Error::MissingColumn {
            path: path.to_path_buf(),
            row: 0,
            column,
            got: list_columns(schema.fields().iter().map(|field| field.name().as_str())),
        }),
    }
}

fn cells(batch: &RecordBatch, index: usize) -> Map<String, Value> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let known = columns.filter(|(field, _)| RunRow::COLUMNS.contains(&field.name().as_str()));
    known.map(|(field, column)| (field.name().clone(), cell(column.as_ref(), index))).collect()
}

/// Reads one cell. A NaN becomes a text, so that a message names it; in an optional column it means no value, as in
/// CSV.
fn cell(column: &dyn Array, index: usize) -> Value {
    if column.is_null(index) {
        return Value::Null;
    }
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => Value::Array(vec![Value::String("bytes that are no text".to_owned())]),
    };
    let float = |value: f64| {
        Number::from_f64(value).map_or_else(|| Value::String(value.to_string()), Value::Number)
    };
    match column.data_type() {
        DataType::Int8 => i64::from(column.as_primitive::<Int8Type>().value(index)).into(),
        DataType::Int16 => i64::from(column.as_primitive::<Int16Type>().value(index)).into(),
        DataType::Int32 => i64::from(column.as_primitive::<Int32Type>().value(index)).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(index).into(),
        DataType::UInt8 => u64::from(column.as_primitive::<UInt8Type>().value(index)).into(),
        DataType::UInt16 => u64::from(column.as_primitive::<UInt16Type>().value(index)).into(),
        DataType::UInt32 => u64::from(column.as_primitive::<UInt32Type>().value(index)).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(index).into(),
        // A column that has no value at all has no type either.
        DataType::Null => Value::Null,
        DataType::Float16 => float(f64::from(column.as_primitive::<Float16Type>().value(index))),
        DataType::Float32 => float(f64::from(column.as_primitive::<Float32Type>().value(index))),
        DataType::Float64 => float(column.as_primitive::<Float64Type>().value(index)),
        DataType::Utf8 => column.as_string::<i32>().value(index).into(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(index).into(),
        DataType::Utf8View => column.as_string_view().value(index).into(),
        // Texts of writers that do not say so, and exact decimals of databases.
        DataType::Binary => text(column.as_binary::<i32>().value(index)),
        DataType::LargeBinary => text(column.as_binary::<i64>().value(index)),
        DataType::BinaryView => text(column.as_binary_view().value(index)),
        DataType::Decimal32(..) => {
            column.as_primitive::<Decimal32Type>().value_as_string(index).into()
        }
        DataType::Decimal64(..) => {
            column.as_primitive::<Decimal64Type>().value_as_string(index).into()
        }
        DataType::Decimal128(..) => {
            column.as_primitive::<Decimal128Type>().value_as_string(index).into()
        }
        DataType::Boolean => column.as_boolean().value(index).into(),
        // Neither a number nor a text: the reader of the field reports what it expected.
        other => Value::Array(vec![Value::String(shorten(&other.to_string()))]),
    }
}

/// The whole file, snappy-compressed.
pub(crate) fn to_bytes(path: &Path, rows: &[RunRow]) -> Result<Vec<u8>, Error> {
    let batch = batch(rows).map_err(|error| damaged(path, error.to_string()))?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None)
        .map_err(|error| damaged(path, error.to_string()))?;
    writer.write(&batch).map_err(|error| damaged(path, error.to_string()))?;
    writer.close().map_err(|error| damaged(path, error.to_string()))?;
    Ok(bytes)
}

fn batch(rows: &[RunRow]) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let text = |of: fn(&RunRow) -> Option<&str>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<StringArray>())
    };
    let count = |of: fn(&RunRow) -> Option<u64>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<UInt64Array>())
    };
    let number = |of: fn(&RunRow) -> Option<f64>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<Float64Array>())
    };
    // In the order of RunRow::COLUMNS.
    let columns = vec![
        text(|row| Some(&row.run_id)),
        text(|row| Some(&row.domain)),
        count(|row| Some(row.model_size)),
        count(|row| Some(row.non_embedding_parameters)),
        count(|row| Some(row.target_tokens)),
        number(|row| Some(row.p_requested)),
        number(|row| Some(row.p_realised)),
        count(|row| Some(row.best_step)),
        number(|row| Some(row.target_loss)),
        number(|row| Some(row.pretraining_loss)),
        number(|row| Some(row.pretraining_loss_before)),
        count(|row| Some(row.evaluation_tokens)),
        count(|row| Some(row.seed)),
        text(|row| Some(&row.fingerprint)),
        number(|row| row.learning_rate),
        text(|row| row.schedule.as_deref()),
        count(|row| row.horizon_steps),
        count(|row| row.warmup_steps),
        count(|row| row.batch_tokens),
        count(|row| row.sequence_length),
        number(|row| row.weight_decay),
        text(|row| row.optimizer.as_deref()),
        text(|row| row.method.as_deref()),
        text(|row| row.tokenizer.as_deref()),
        count(|row| row.base_tokens),
    ];
    let fields = RunRow::COLUMNS.iter().zip(&columns).enumerate();
    let fields: Vec<Field> = fields
        .map(|(index, (name, column))| {
            Field::new(*name, column.data_type().clone(), index >= RunRow::REQUIRED_COLUMNS)
        })
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn damaged(path: &Path, got: String) -> Error {
    Error::DamagedParquet { path: path.to_path_buf(), got: shorten(&got) }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use ::parquet::basic::{Compression, ZstdLevel};
    use ::parquet::file::properties::WriterProperties;
    use arrow_array::types::Int8Type;
    use arrow_array::{
        ArrayRef, BinaryArray, Decimal128Array, DictionaryArray, Float32Array, Float64Array,
        Int32Array, Int64Array, LargeStringArray, NullArray, StringArray,
    };

    use super::*;
    use crate::tables::RunsTable;

    /// A table as a data frame writes it: narrow numbers, large strings, categories, floats for counts with
    /// gaps, more columns.
    fn frame(
        change: impl Fn(&mut Vec<(&str, ArrayRef)>),
        compression: Compression,
    ) -> (tempfile::TempDir, PathBuf) {
        let texts =
            |values: [&str; 2]| -> ArrayRef { Arc::new(LargeStringArray::from(values.to_vec())) };
        let categories = DictionaryArray::<Int8Type>::from_iter(["math", "math"]);
        let whole = |values: [i64; 2]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
        let real = |values: [f64; 2]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            ("note", texts(["x", "y"])),
            ("run_id", texts(["a", "b"])),
            ("domain", Arc::new(categories)),
            ("model_size", whole([41_000_000, 334_000_000])),
            ("non_embedding_parameters", real([3e7, 3e8])),
            ("target_tokens", Arc::new(Int32Array::from(vec![300_000, 3_000_000]))),
            ("p_requested", Arc::new(Float32Array::from(vec![0.0, 0.25]))),
            ("p_realised", real([0.0, 0.25])),
            ("best_step", whole([10, 20])),
            ("target_loss", real([2.0, 1.9])),
            ("pretraining_loss", real([3.0, 2.9])),
            ("pretraining_loss_before", real([2.5, 2.4])),
            ("evaluation_tokens", whole([1000, 1000])),
            ("seed", whole([0, 1])),
            ("fingerprint", texts(["", ""])),
            ("warmup_steps", real([10.0, f64::NAN])),
        ];
        change(&mut columns);
        let columns = columns.into_iter().map(|(name, values)| (name, values, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frame.parquet");
        let properties = WriterProperties::builder().set_compression(compression).build();
        let file = File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        (folder, path)
    }

    fn error_of(change: impl Fn(&mut Vec<(&str, ArrayRef)>)) -> String {
        let (_folder, path) = frame(change, Compression::SNAPPY);
        let message = RunsTable::read(&path).unwrap_err().to_string();
        message.replace(&format!("{}/", path.parent().unwrap().display()), "")
    }

    #[test]
    fn tables_of_data_frames_are_read() {
        let zstd = Compression::ZSTD(ZstdLevel::default());
        for compression in [Compression::SNAPPY, zstd, Compression::UNCOMPRESSED] {
            let (_folder, path) = frame(|_| {}, compression);
            let table = RunsTable::read(&path).unwrap();
            let [first, second] = table.rows() else { panic!("two rows") };
            assert_eq!(
                (first.model_size, first.non_embedding_parameters),
                (41_000_000, 30_000_000)
            );
            assert_eq!((first.warmup_steps, second.warmup_steps), (Some(10), None));
            assert!((second.p_requested - 0.25).abs() < 1e-12);
            assert_eq!((first.run_id.as_str(), second.domain.as_str()), ("a", "math"));
        }
    }

    #[test]
    fn columns_that_hold_nothing_are_read_whatever_their_type() {
        let nothing: [ArrayRef; 5] = [
            Arc::new(NullArray::new(2)),
            Arc::new(Float64Array::from(vec![f64::NAN, f64::NAN])),
            Arc::new(Int32Array::from(vec![None, None])),
            Arc::new(StringArray::from(vec![None::<&str>, None])),
            Arc::new(LargeStringArray::from(vec!["None", "nan"])),
        ];
        for array in nothing {
            let empty = ["learning_rate", "schedule", "base_tokens", "tokenizer", "optimizer"];
            let change = |columns: &mut Vec<(&str, ArrayRef)>| {
                columns.retain(|(name, _)| *name != "fingerprint");
                columns.push(("fingerprint", Arc::clone(&array)));
                columns.extend(empty.map(|name| (name, Arc::clone(&array))));
            };
            let (_folder, path) = frame(change, Compression::SNAPPY);
            let table = RunsTable::read(&path).unwrap();
            let row = &table.rows()[1];
            assert_eq!((row.fingerprint.as_str(), row.learning_rate), ("", None), "{array:?}");
            assert_eq!((&row.schedule, row.base_tokens), (&None, None), "{array:?}");
        }
    }

    #[test]
    fn decimals_and_texts_without_a_type_are_read() {
        let decimals = Decimal128Array::from(vec![0, 25]).with_precision_and_scale(9, 2).unwrap();
        let decimals: ArrayRef = Arc::new(decimals);
        let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![b"a".as_slice(), b"b"]));
        let change = |columns: &mut Vec<(&str, ArrayRef)>| {
            for (name, values) in columns.iter_mut() {
                match *name {
                    "p_requested" => *values = Arc::clone(&decimals),
                    "run_id" => *values = Arc::clone(&bytes),
                    _ => {}
                }
            }
        };
        let (_folder, path) = frame(change, Compression::SNAPPY);
        let table = RunsTable::read(&path).unwrap();
        assert!((table.rows()[1].p_requested - 0.25).abs() < 1e-12);
        assert_eq!(table.rows()[0].run_id, "a");
    }

    #[test]
    fn missing_columns_and_bad_cells_are_named() {
        let missing = error_of(|columns| columns.retain(|(name, _)| *name != "seed"));
        assert!(
            missing.starts_with("frame.parquet, row 0: expected a column \"seed\""),
            "{missing}"
        );
        let replaced = |column: &'static str, array: ArrayRef| {
            error_of(move |columns| {
                for (name, values) in columns.iter_mut().filter(|(name, _)| *name == column) {
                    let _ = name;
                    *values = Arc::clone(&array);
                }
            })
        };
        let nan = replaced("target_loss", Arc::new(Float64Array::from(vec![2.0, f64::NAN])));
        let expected = "frame.parquet, row 2, column \"target_loss\": expected a finite number";
        assert!(nan.starts_with(expected), "{nan}");
        let null = replaced("seed", Arc::new(Int64Array::from(vec![None, Some(1)])));
        assert!(null.contains("row 1, column \"seed\": expected a whole number"), "{null}");
        let text = replaced("model_size", Arc::new(StringArray::from(vec!["41M", "334M"])));
        assert!(text.contains("row 1, column \"model_size\": expected a whole number"), "{text}");
    }

    #[test]
    fn damage_is_an_error_and_no_table_is_half_read() {
        let (_folder, path) = frame(|_| {}, Compression::SNAPPY);
        let whole = std::fs::read(&path).unwrap();
        for len in [0, 3, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..len]).unwrap();
            let error = RunsTable::read(&path).unwrap_err();
            assert!(matches!(error, Error::DamagedParquet { .. }), "{len}: {error}");
        }
    }
}
