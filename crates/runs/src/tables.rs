//! Tables of runs, with one row for each run.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::Error;
use crate::records::json_lines;
use crate::sums;
use crate::sums::read_capped;
use crate::tables::fields::{Fields, list_columns};
use crate::tables::row::RunRow;

pub(crate) mod comparable;
pub(crate) mod fields;
pub(crate) mod parquet;
pub(crate) mod row;

/// The largest table of runs.
const LIMIT_BYTES: u64 = 1 << 30;
/// The bytes that some programs put before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Runs with unique ids and valid numbers, in the order they were given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunsTable {
    rows: Vec<RunRow>,
}

impl RunsTable {
    /// Returns a table of these rows.
    ///
    /// ```
    /// use mixdown_runs::RunsTable;
    ///
    /// let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("runs.csv");
    /// RunsTable::new(Vec::new())?.write(&path)?;
    /// assert!(RunsTable::read(&path)?.rows().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::BadValue`] or [`Error::DuplicateRun`] with the row's number.
    pub fn new(rows: Vec<RunRow>) -> Result<Self, Error> {
        Self::checked(Path::new(""), rows)
    }

    /// Returns the rows.
    pub fn rows(&self) -> &[RunRow] {
        &self.rows
    }

    /// Reads `.jsonl`, `.csv` or `.parquet`, which the extension distinguishes. Columns that [`RunRow`] does not have
    /// are ignored; an incomplete last JSON line is dropped. A table with its sum beside it (`NAME.blake3`) must match
    /// it.
    ///
    /// # Errors
    /// [`Error::MissingColumn`], [`Error::BadValue`] and [`Error::DuplicateRun`] with row and
    /// column, [`Error::Damaged`] with the line, [`Error::UnknownTableFormat`], [`Error::Io`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let rows = match Format::of(path)? {
            Format::JsonLines => read_json_lines(path)?,
            Format::Csv => read_csv(path)?,
            Format::Parquet => parquet::read(path, LIMIT_BYTES)?,
        };
        Self::checked(path, rows)
    }

    /// Writes `.jsonl`, `.csv` or `.parquet`, which the extension distinguishes, by rename and with its sum beside it,
    /// or nothing if both are the same already.
    ///
    /// # Errors
    /// [`Error::UnknownTableFormat`], [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let contents = match Format::of(path)? {
            Format::JsonLines => self.to_json_lines(path)?,
            Format::Csv => self.to_csv(path)?,
            Format::Parquet => parquet::to_bytes(path, &self.rows)?,
        };
        sums::write_summed(path, &contents)
    }

    fn checked(path: &Path, rows: Vec<RunRow>) -> Result<Self, Error> {
        let mut first_rows = BTreeMap::new();
        for (number, row) in (1_u64..).zip(&rows) {
            row.check(path, number)?;
            if let Some(first_row) = first_rows.insert(row.run_id.as_str(), number) {
                return Err(Error::DuplicateRun {
                    path: path.to_path_buf(),
                    row: number,
                    first_row,
                    run_id: row.run_id.clone(),
                });
            }
        }
        Ok(Self { rows })
    }

    fn to_json_lines(&self, path: &Path) -> Result<Vec<u8>, Error> {
        let mut contents = Vec::new();
        for row in &self.rows {
            contents.extend(json_lines::to_line(path, row, "a row as JSON")?);
        }
        Ok(contents)
    }

    fn to_csv(&self, path: &Path) -> Result<Vec<u8>, Error> {
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        writer.write_record(RunRow::COLUMNS).map_err(|error| not_csv(path, &error))?;
        for row in &self.rows {
            writer.serialize(row).map_err(|error| not_csv(path, &error))?;
        }
        writer.into_inner().map_err(|error| Error::io(path, "write it", error.into_error()))
    }
}

enum Format {
    JsonLines,
    Csv,
    Parquet,
}

impl Format {
    fn of(path: &Path) -> Result<Self, Error> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("jsonl") => Ok(Self::JsonLines),
            Some("csv") => Ok(Self::Csv),
            Some("parquet") => Ok(Self::Parquet),
            other => Err(Error::UnknownTableFormat {
                path: path.to_path_buf(),
                got: other.map_or_else(|| "no extension".to_owned(), |name| format!(".{name}")),
            }),
        }
    }
}

fn read_json_lines(path: &Path) -> Result<Vec<RunRow>, Error> {
    let bytes = read_capped(path, LIMIT_BYTES)?;
    let bytes = with_quoted_numbers(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes));
    let lines: Vec<(u64, Map<String, Value>)> =
        json_lines::parse(path, &bytes, "a row as a JSON object")?;
    let rows = (1_u64..).zip(&lines);
    rows.map(|(row, (_, cells))| RunRow::from_fields(&Fields { path, row, cells })).collect()
}

/// Returns the text with quotes around NaN and infinities, which Python's json writes without and JSON does not have.
fn with_quoted_numbers(text: &[u8]) -> Cow<'_, [u8]> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
    let mut quoted: Vec<u8> = Vec::new();
    let (mut kept, mut at, mut in_string) = (0, 0, false);
    while let Some(&byte) = text.get(at) {
        let rest = text.get(at..).unwrap_or_default();
        let word = WORDS.into_iter().find(|word| !in_string && rest.starts_with(word));
        match (byte, word) {
            (_, Some(word)) => {
                quoted.extend_from_slice(text.get(kept..at).unwrap_or_default());
                quoted.extend([b"\"".as_slice(), word, b"\""].concat());
                at += word.len();
                kept = at;
                continue;
            }
            (b'\\', None) if in_string => at += 1,
            // A text does not continue on the next line, so a damaged line does not affect the others.
            (b'\n', None) => in_string = false,
            (b'"', None) => in_string = !in_string,
            _ => {}
        }
        at += 1;
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    quoted.extend_from_slice(text.get(kept..).unwrap_or_default());
    Cow::Owned(quoted)
}

fn read_csv(path: &Path) -> Result<Vec<RunRow>, Error> {
    let bytes = read_capped(path, LIMIT_BYTES)?;
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(bytes.as_slice());
    let header = reader.headers().map_err(|error| not_csv(path, &error))?.clone();
    check_header(path, &header)?;
    let mut rows = Vec::new();
    for (row, record) in (1_u64..).zip(reader.records()) {
        let record = record.map_err(|error| not_csv(path, &error))?;
        let cells = header.iter().zip(&record);
        let cells =
            cells.map(|(name, cell)| (name.to_owned(), Value::String(cell.to_owned()))).collect();
        rows.push(RunRow::from_fields(&Fields { path, row, cells: &cells })?);
    }
    Ok(rows)
}

/// Checks the header, which a table without rows must have too.
fn check_header(path: &Path, header: &csv::StringRecord) -> Result<(), Error> {
    let missing = |column: &&&str| !header.iter().any(|name| name == **column);
    match RunRow::COLUMNS.iter().take(RunRow::REQUIRED_COLUMNS).find(missing) {
        None => Ok(()),
        Some(column) => Err(Error::MissingColumn {
            path: path.to_path_buf(),
            row: 0,
            column,
            got: list_columns(header.iter()),
        }),
    }
}

fn not_csv(path: &Path, error: &csv::Error) -> Error {
    Error::Damaged {
        path: path.to_path_buf(),
        line: error.position().map_or(0, csv::Position::line),
        expected: "a CSV table with one header row and as many cells in every row",
        got: error.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use std::path::PathBuf;

    use super::RunsTable;
    use crate::error::Error;
    use crate::tables::row::RunRow;

    pub(crate) fn row(run_id: &str, p: f64) -> RunRow {
        RunRow {
            run_id: run_id.to_owned(),
            domain: "a, \"quoted\"\nname".to_owned(),
            model_size: 1_000_000,
            non_embedding_parameters: 700_000,
            target_tokens: 50_000,
            p_requested: p,
            p_realised: p + 1e-4 / 3.0,
            best_step: 120,
            target_loss: 3.1 + 1.0 / 3.0,
            pretraining_loss: 4.2,
            pretraining_loss_before: 3.7,
            evaluation_tokens: 32_768,
            seed: u64::MAX,
            fingerprint: "ab".repeat(32),
            learning_rate: Some(1e-3),
            schedule: Some("cosine".to_owned()),
            horizon_steps: Some(300),
            warmup_steps: Some(10),
            batch_tokens: Some(2048),
            sequence_length: Some(128),
            weight_decay: Some(0.1),
            optimizer: Some("adamw".to_owned()),
            method: None,
            tokenizer: Some("cd".repeat(32)),
            base_tokens: Some(4_000_000),
        }
    }

    fn written(name: &str, contents: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        (folder, path)
    }

    fn csv_text(rows: Vec<RunRow>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        RunsTable::new(rows).unwrap().write(&path).unwrap();
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    #[cfg(unix)]
    fn an_equal_table_is_not_written_again() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        for name in ["t.jsonl", "t.csv", "t.parquet"] {
            let path = folder.path().join(name);
            let file = || std::fs::metadata(&path).unwrap().ino();
            let table = RunsTable::new(vec![row("a", 0.0)]).unwrap();
            table.write(&path).unwrap();
            let first = file();
            table.write(&path).unwrap();
            assert_eq!(file(), first, "{name}");
            RunsTable::new(vec![row("a", 0.0), row("b", 0.01)]).unwrap().write(&path).unwrap();
            assert_eq!(RunsTable::read(&path).unwrap().rows().len(), 2, "{name}");
        }
    }

    #[test]
    fn all_formats_give_back_every_bit() {
        let mut rows: Vec<RunRow> =
            (0..200).map(|k| row(&format!("run-{k}"), f64::from(k) / 777.0)).collect();
        rows[3].schedule = None;
        rows[3].weight_decay = None;
        // Best at the first step of a run with p = 99 %: every sequence so far was injected.
        rows[4].p_realised = 1.0;
        let table = RunsTable::new(rows).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for name in ["t.jsonl", "t.csv", "t.parquet"] {
            let path = folder.path().join(name);
            table.write(&path).unwrap();
            assert_eq!(RunsTable::read(&path).unwrap(), table, "{name}");
        }
    }

    #[test]
    fn the_column_list_is_the_struct() {
        let value = serde_json::to_value(row("a", 0.0)).unwrap();
        let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let mut columns = RunRow::COLUMNS.to_vec();
        names.sort_unstable();
        columns.sort_unstable();
        assert_eq!(names, columns);
        let line = serde_json::to_string(&row("a", 0.0)).unwrap();
        let places: Vec<usize> = RunRow::COLUMNS
            .iter()
            .map(|name| line.find(&format!("\"{name}\":")).unwrap())
            .collect();
        assert!(places.is_sorted(), "CSV cells are written in the struct's order");
    }

    #[test]
    fn foreign_columns_are_left_out_and_the_recipe_may_be_absent() {
        let head = RunRow::COLUMNS[..RunRow::REQUIRED_COLUMNS].join(",");
        let text = format!(
            "note,{head}\nx,a,math,4.1e7,30000000.0,3e6,0.01,0.0101,5,2.0,3.0,2.5,1000,7,ff\n"
        );
        let (_folder, path) = written("t.csv", &text);
        let table = RunsTable::read(&path).unwrap();
        assert_eq!(table.rows()[0].model_size, 41_000_000);
        assert_eq!(table.rows()[0].target_tokens, 3_000_000);
        assert_eq!(table.rows()[0].learning_rate, None);
        assert!((table.rows()[0].forgetting() - 0.5).abs() < 1e-12);
    }

    /// A row in which some columns hold nothing, as other programs say it.
    #[test]
    fn an_empty_cell_is_one_in_whatever_words() {
        let full = RunRow { base_tokens: None, fingerprint: String::new(), ..row("a", 0.25) };
        let expected = RunRow {
            learning_rate: None,
            schedule: None,
            horizon_steps: None,
            tokenizer: None,
            ..full.clone()
        };
        for word in ["", "NaN", "nan", "None", "null", "NULL", "NA", "<NA>", "N/A", " "] {
            let mut cells: Vec<String> = Vec::new();
            let json = serde_json::to_value(&full).unwrap();
            for column in RunRow::COLUMNS {
                let absent = serde_json::to_value(&expected).unwrap()[column].is_null();
                cells.push(match &json[column] {
                    _ if absent || column == "fingerprint" => word.to_owned(),
                    serde_json::Value::String(text) => format!("\"{}\"", text.replace('"', "\"\"")),
                    other => other.to_string(),
                });
            }
            // An index column without a name, as pandas writes it.
            let text = format!(",{}\n0,{}\n", RunRow::COLUMNS.join(","), cells.join(","));
            let (_folder, path) = written("t.csv", &text);
            assert_eq!(
                RunsTable::read(&path).unwrap().rows(),
                std::slice::from_ref(&expected),
                "{word:?}"
            );
        }
    }

    #[test]
    fn lines_of_pythons_json_are_rows() {
        let whole = RunRow {
            domain: "says \\\"NaN\\\" and Infinity".to_owned(),
            ..row("NaN-Infinity", 0.25)
        };
        let line = serde_json::to_string(&whole).unwrap();
        let text = line
            .replace("\"learning_rate\":0.001", "\"learning_rate\": NaN")
            .replace("\"schedule\":\"cosine\"", "\"schedule\": NaN")
            .replace("\"horizon_steps\":300", "\"horizon_steps\": 300.0")
            .replace("\"method\":null", "\"method\": NaN");
        let (_folder, path) = written("t.jsonl", &format!("\u{feff}{text}\n"));
        let read = RunsTable::read(&path).unwrap();
        let expected = RunRow { learning_rate: None, schedule: None, ..whole };
        assert_eq!(read.rows(), [expected]);
        for word in ["NaN", "-Infinity"] {
            let text =
                line.replace("\"pretraining_loss\":4.2", &format!("\"pretraining_loss\":{word}"));
            let (_folder, path) = written("t.jsonl", &text);
            let error = RunsTable::read(&path).unwrap_err().to_string();
            let expected =
                format!("column \"pretraining_loss\": expected a finite number, got \"{word}\"");
            assert!(error.contains(&expected), "{error}");
        }
    }

    #[test]
    fn a_missing_column_is_named_even_without_rows() {
        let (_folder, path) = written("t.csv", "run_id,domain\n");
        let error = RunsTable::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("expected a column \"model_size\", got only run_id, domain"),
            "{error}"
        );
        let (_folder, path) = written("t.jsonl", "{\"run_id\":\"a\"}\n");
        let error = RunsTable::read(&path).unwrap_err().to_string();
        assert!(error.contains("row 1: expected a column \"domain\", got only run_id;"), "{error}");
    }

    #[test]
    fn bad_cells_are_named_by_row_and_column() {
        let good = csv_text(vec![row("a", 0.01), row("b", 0.5)]);
        for (from, to, message) in [
            (",0.5,", ",1,", "row 2, column \"p_requested\": expected a share in [0, 1), got 1"),
            (",0.5,", ",-0.1,", "expected a share in [0, 1), got -0.1"),
            (
                ",0.5,",
                ",NaN,",
                "row 2, column \"p_requested\": expected a finite number, got \"NaN\"",
            ),
            (",0.5,", ",,", "expected a finite number, got an empty cell"),
            (
                "\nb,",
                "\na,",
                "row 2: expected every run_id once, got \"a\", which row 1 has already",
            ),
        ] {
            let at = good.rfind(from).unwrap();
            let text = format!("{}{to}{}", &good[..at], &good[at + from.len()..]);
            let (_folder, path) = written("t.csv", &text);
            let error = RunsTable::read(&path).unwrap_err().to_string();
            assert!(error.contains(message), "{error}\nlacks {message}");
        }
    }

    #[test]
    fn rows_no_run_can_have_are_refused_in_memory_too() {
        let broken = [
            RunRow { target_loss: f64::NAN, ..row("a", 0.0) },
            RunRow { pretraining_loss: -1.0, ..row("a", 0.0) },
            RunRow { p_requested: 1.0, ..row("a", 0.0) },
            RunRow { p_realised: 1.0 + f64::EPSILON, ..row("a", 0.0) },
            RunRow { model_size: 0, ..row("a", 0.0) },
            RunRow { target_tokens: 0, ..row("a", 0.0) },
            RunRow { run_id: String::new(), ..row("a", 0.0) },
            RunRow { learning_rate: Some(f64::INFINITY), ..row("a", 0.0) },
        ];
        for row in broken {
            let result = RunsTable::new(vec![row]);
            assert!(matches!(result, Err(Error::BadValue { row: 1, .. })), "{result:?}");
        }
    }

    #[test]
    fn a_cut_last_line_is_dropped_and_a_cut_csv_refused() {
        let line = |id| serde_json::to_string(&row(id, 0.1)).unwrap();
        let text = format!("{}\n{}", line("a"), &line("b")[..50]);
        let (_folder, path) = written("t.jsonl", &text);
        assert_eq!(RunsTable::read(&path).unwrap().rows().len(), 1);
        let text = csv_text(vec![row("a", 0.1), row("b", 0.1)]);
        let (_folder, path) = written("t.csv", &text[..text.len() - 60]);
        assert!(matches!(RunsTable::read(&path), Err(Error::Damaged { .. })));
    }

    #[test]
    fn other_formats_and_missing_files_are_the_users_to_mend() {
        let error = RunsTable::read("runs.xlsx".as_ref()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert_eq!(
            error.to_string(),
            "runs.xlsx: expected a table named *.parquet, *.csv or *.jsonl, got .xlsx"
        );
        assert_eq!(
            RunsTable::read("/nowhere/runs.csv".as_ref()).unwrap_err().kind(),
            ErrorKind::Configuration
        );
    }
}
