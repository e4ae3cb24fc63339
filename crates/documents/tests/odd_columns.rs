//! Columns from other writers: invalid strings, text without its annotation, values that many rows share.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, DictionaryArray, Int32Array, LargeBinaryArray, RecordBatch, StringArray,
};
use arrow_ipc::writer::FileWriter;
use mixdown_documents::{ChunkReader, DocumentReader, Error, InputList, ReadOptions};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

fn read(path: &Path, skip_bad: u64) -> Result<Vec<String>, Error> {
    let options = ReadOptions { skip_bad, ..ReadOptions::default() };
    let list = InputList::discover_with(&[path.to_owned()], &options)?;
    DocumentReader::new(&list, &options).map(|document| Ok(document?.text)).collect()
}

/// A Parquet file with one column of these bytes, annotated or not.
fn parquet(folder: &Path, annotation: &str, values: &[&[u8]]) -> PathBuf {
    let path = folder.join("a.parquet");
    let schema = format!("message m {{ required binary text{annotation}; }}");
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer =
        SerializedFileWriter::new(File::create(&path).unwrap(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let values: Vec<ByteArray> = values.iter().map(|value| value.to_vec().into()).collect();
    column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    path
}

fn arrow(folder: &Path, column: ArrayRef) -> PathBuf {
    let path = folder.join("a.arrow");
    let batch = RecordBatch::try_from_iter([("text", column)]).unwrap();
    let mut writer = FileWriter::try_new(File::create(&path).unwrap(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    path
}

#[test]
fn one_string_that_is_none_is_one_bad_record() {
    let folder = tempfile::tempdir().unwrap();
    let values: [&[u8]; 3] = [b"one", b"caf\xe9!", b"three"];
    for annotation in [" (UTF8)", " (STRING)", " (JSON)", ""] {
        check_bad(&parquet(folder.path(), annotation, &values));
    }
    // The writer accepts only strings, so the bytes are replaced in the file.
    let path = arrow(folder.path(), Arc::new(StringArray::from(vec!["one", "caf#!", "three"])));
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(5).position(|window| window == b"caf#!").unwrap();
    bytes[at + 3] = 0xe9;
    fs::write(&path, bytes).unwrap();
    check_bad(&path);
}

fn check_bad(path: &Path) {
    let error = read(path, 0).unwrap_err().to_string();
    let words = ": row 1: invalid UTF-8 in \"text\", at its byte 3 (0xe9); bad records so far 1";
    assert!(error.contains(words), "{error}");
    assert_eq!(read(path, 1).unwrap(), ["one", "three"], "{}", path.display());
}

#[test]
fn bytes_that_are_text_are_text() {
    let folder = tempfile::tempdir().unwrap();
    let values: [&[u8]; 2] = ["schön".as_bytes(), b""];
    assert_eq!(read(&parquet(folder.path(), "", &values), 0).unwrap(), ["schön", ""]);
    let columns: [ArrayRef; 2] = [
        Arc::new(BinaryArray::from(values.to_vec())),
        Arc::new(LargeBinaryArray::from(values.to_vec())),
    ];
    for column in columns {
        assert_eq!(read(&arrow(folder.path(), column), 0).unwrap(), ["schön", ""]);
    }
}

/// Rows that share a dictionary value become separate documents, so each counts with the value's length when rows are
/// grouped.
#[test]
fn shared_values_count_with_every_row() {
    let folder = tempfile::tempdir().unwrap();
    let long = "long ".repeat(60_000);
    let values = Arc::new(StringArray::from(vec![long.as_str(), "short"]));
    let keys = Int32Array::from_iter((0..40).map(|row| (row != 7).then_some(row % 2)));
    let column = DictionaryArray::<Int32Type>::try_new(keys, values).unwrap();
    let path = arrow(folder.path(), Arc::new(column));
    let options = ReadOptions { skip_bad: 1, ..ReadOptions::default() };
    let list = InputList::discover_with(&[path], &options).unwrap();
    let mut reader = ChunkReader::open(&list, 0, 0).unwrap();
    let (mut rows, mut most) = (0, 0);
    while let Some(chunk) = reader.next_before(u64::MAX).unwrap() {
        let texts: Vec<usize> = chunk
            .records(&options)
            .map(|it| it.map_or(0, |document| document.text.len()))
            .collect();
        let bytes: usize = texts.iter().sum();
        assert!(chunk.len_bytes() >= u64::try_from(bytes).unwrap());
        (rows, most) = (rows + texts.len(), most.max(bytes));
    }
    assert_eq!(rows, 40);
    assert!(most <= 512 * 1024, "{most} bytes of text in one chunk");
}

#[test]
fn a_row_has_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(2_000_000);
    let path = parquet(folder.path(), " (UTF8)", &[b"one", long.as_bytes(), b"three"]);
    let with = |max_record_bytes| {
        let options = ReadOptions { max_record_bytes, ..ReadOptions::default() };
        let list = InputList::discover_with(std::slice::from_ref(&path), &options)?;
        DocumentReader::new(&list, &options).map(|one| Ok(one?.text.len())).collect()
    };
    let lengths: Result<Vec<usize>, Error> = with(Some(3_000_000));
    assert_eq!(lengths.unwrap(), [3, long.len(), 5]);
    let error = with(Some(1_000_000)).unwrap_err().to_string();
    assert!(error.contains("the record at row 1 is longer than expected"), "{error}");
}
