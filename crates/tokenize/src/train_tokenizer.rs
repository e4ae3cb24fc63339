//! Training of a byte-level BPE tokenizer on text.

pub(crate) mod training_record;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mixdown_base::files;
use mixdown_base::folder_lock::{FolderLock, Sharing};
use mixdown_base::observer::Observer;
use mixdown_documents::{DocumentReader, InputList, ReadOptions};
use mixdown_shards::Fingerprint;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use tokenizers::pipeline::{PipelinePreTokenizer, PreTokenizer, PreTokenizerScratch};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::trainers::BpeTrainer;
use tokenizers::vocab::bucket_added_vocabulary::AddedToken;
use tokenizers::{ProgressFormat, Trainer};

use crate::error::Error;
use crate::plan::Plan;
use crate::prepare::progress::{PrepareProgress, PrepareStage, say_inputs};
use crate::spill::work_file::write_json;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::model_folder::{MAX_CONFIG_BYTES, read_capped};
use crate::train_tokenizer::training_record::{
    TrainingRecord, TrainingSettings, already_trained, report,
};

/// The token that ends a text, with id 0.
pub(crate) const END_OF_TEXT: &str = "<|endoftext|>";
/// The file that `transformers` reads beside tokenizer.json.
const CONFIG: &str = "tokenizer_config.json";
/// The letters of the 256 bytes, and the end of text.
const MIN_VOCABULARY: u32 = 257;
/// Sixteen times the largest vocabulary in use: the trainer takes memory for all entries at once.
const MAX_VOCABULARY: u32 = 1 << 22;
/// The library counts pairs in 32 signed bits, so a pair must not be able to occur more often.
const MAX_TEXT_BYTES: u64 = (1 << 31) - 1;
/// How long a locked folder is tried again: other trainings hold it while they write three small files.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer texts are split into words piece by piece: the words of a text take more than twenty times its bytes.
const PIECE_BYTES: usize = 1 << 20;
/// Longer words are counted in parts, because each merge scans every word that it changes: a text without blanks takes
/// its bytes times this number. No word of a language is as long.
const WORD_BYTES: usize = 256;

/// The options for training a tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainTokenizerOptions {
    /// The number of tokens, including `<|endoftext|>` and the 256 bytes.
    pub vocab_size: u32,
    /// The conversion of records to documents.
    pub read: ReadOptions,
}

/// The result of [`train_tokenizer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrainTokenizerReport {
    /// Tokens made: fewer than requested if the text has no more pairs to merge.
    pub vocab_size: u64,
    /// Documents read.
    pub documents: u64,
    /// UTF-8 bytes of their text.
    pub text_bytes: u64,
    /// Records skipped.
    pub bad_records: u64,
    /// The id of `<|endoftext|>`.
    pub end_of_text: u32,
    /// The tokenizer's fingerprint.
    pub fingerprint: Fingerprint,
    /// Whether the tokenizer already existed, so that nothing was done.
    pub already_done: bool,
}

/// Trains a byte-level BPE tokenizer with GPT-2's pre-tokenizer and writes it to `out`, a tokenizer.json that Hugging
/// Face's libraries load. If `out` has that name, `tokenizer_config.json` is written beside it, so that `transformers`
/// can open the folder. The same text gives the same bytes. The inputs and settings of the training are written to
/// `tokenizer.training.json` beside it (the name of `out` with that ending), and repeating the call only reports.
/// Memory: the distinct words of the text.
///
/// # Errors
/// `out` exists and is not the result of this call; the vocabulary size is below 257 or above 4,194,304; the inputs
/// cannot be read, hold no text or more than 2³¹ − 1 bytes of it; a write is refused. [`Error::Interrupted`] if the
/// observer stops the work while text is read.
///
/// ```
/// use mixdown_base::observer::Observer;
/// use mixdown_tokenize::{ReadOptions, TrainTokenizerOptions, train_tokenizer};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let (text, out) = (folder.path().join("text.txt"), folder.path().join("tokenizer.json"));
/// std::fs::write(&text, "the cat sat on the mat").unwrap();
/// let options = TrainTokenizerOptions { vocab_size: 258, read: ReadOptions::default() };
/// let report = train_tokenizer(&[text], &out, &options, Observer::silent())?;
/// assert_eq!((report.vocab_size, report.documents), (258, 1));
/// # Ok::<(), mixdown_tokenize::Error>(())
/// ```
pub fn train_tokenizer(
    inputs: &[PathBuf],
    out: &Path,
    options: &TrainTokenizerOptions,
    observer: Observer<'_, PrepareProgress>,
) -> Result<TrainTokenizerReport, Error> {
    if !(MIN_VOCABULARY..=MAX_VOCABULARY).contains(&options.vocab_size) {
        let got = options.vocab_size.to_string();
        let expected = match options.vocab_size < MIN_VOCABULARY {
            true => "at least 257: the 256 bytes and <|endoftext|>",
            false => "at most 4194304",
        };
        return Err(Error::Option { option: "vocab-size", expected, got });
    }
    let inputs = InputList::discover_with(inputs, &options.read)?;
    let settings = TrainingSettings {
        inputs: Plan::inputs_of(&inputs)?,
        vocab_size: options.vocab_size,
        text_field: options.read.text_field().to_owned(),
        text_separator: options.read.text_separator.clone(),
    };
    if out.exists() {
        let files = [TrainingRecord::path(out), out.with_file_name(CONFIG), out.to_owned()];
        files.iter().for_each(|path| files::remove_abandoned(path));
        return already_trained(out, &inputs, &settings);
    }
    // Conflicts with the output are reported before the work.
    files::make_ready(&TrainingRecord::path(out))?;
    files::make_ready(out)?;
    config_due(out)?;
    say_inputs(&inputs, observer);
    let mut feed = Feed::new(&inputs, &options.read, observer);
    let mut trainer = trainer(options.vocab_size);
    let splitter = splitter()?;
    let training = |source| Error::Training { source };
    let fed = trainer.feed(feed.by_ref(), |text| words(&splitter, text));
    feed.check()?;
    fed.map_err(training)?;
    observer.tell(PrepareProgress { stage: PrepareStage::Training, done: 0, total: 0 });
    let (vocabulary, merges, _) = trainer.train_vocab().map_err(training)?;
    let by_id = vocabulary.into_iter().map(|(token, id)| (id, token)).collect();
    let file = TokenizerFile::new(by_id, merges);
    let json = serde_json::to_string_pretty(&file).map_err(|error| training(error.into()))?;
    // The result is read back before it is written, so that no unusable file is left.
    let tokenizer = Tokenizer::from_json(out.to_owned(), json.clone())?;
    let record = TrainingRecord {
        format: TrainingRecord::FORMAT.to_owned(),
        version: TrainingRecord::VERSION,
        settings,
        documents: feed.documents,
        text_bytes: feed.text_bytes,
        bad_records: feed.reader.bad_records(),
        fingerprint: tokenizer.fingerprint(),
    };
    let folder = lock_folder(out)?;
    if out.exists() {
        // Another process finished first.
        return already_trained(out, &inputs, &record.settings);
    }
    write(out, &json, &record)?;
    drop(folder);
    Ok(report(&tokenizer, &record))
}

fn trainer(vocab_size: u32) -> BpeTrainer {
    BpeTrainer::builder()
        .show_progress(false)
        .progress_format(ProgressFormat::Silent)
        .vocab_size(usize::try_from(vocab_size).unwrap_or(usize::MAX))
        .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build()
}

/// The texts of the documents, until one cannot be read.
struct Feed<'l> {
    inputs: &'l InputList,
    reader: DocumentReader<'l>,
    observer: Observer<'l, PrepareProgress>,
    /// The remaining pieces of the last text.
    pieces: std::vec::IntoIter<String>,
    documents: u64,
    text_bytes: u64,
    error: Option<Error>,
}

impl<'l> Feed<'l> {
    fn new(
        inputs: &'l InputList,
        read: &'l ReadOptions,
        observer: Observer<'l, PrepareProgress>,
    ) -> Self {
        Self {
            inputs,
            reader: DocumentReader::new(inputs, read),
            observer,
            pieces: Vec::new().into_iter(),
            documents: 0,
            text_bytes: 0,
            error: None,
        }
    }

    fn read(&mut self) -> Result<Option<String>, Error> {
        if self.observer.is_stopped() {
            return Err(Error::Interrupted);
        }
        if let Some(piece) = self.pieces.next() {
            return Ok(Some(piece));
        }
        let Some(document) = self.reader.next() else { return Ok(None) };
        let text = document?.text;
        self.documents += 1;
        self.text_bytes += u64::try_from(text.len()).unwrap_or(u64::MAX);
        if self.text_bytes > MAX_TEXT_BYTES {
            return Err(Error::TooMuchText { expected: MAX_TEXT_BYTES });
        }
        let (done, total) = (self.reader.consumed_bytes(), self.inputs.total_bytes());
        self.observer.tell(PrepareProgress { stage: PrepareStage::Reading, done, total });
        if text.len() <= PIECE_BYTES {
            return Ok(Some(text));
        }
        self.pieces = pieces(&text).into_iter();
        Ok(self.pieces.next())
    }

    /// Returns the error that ended the feed, if any.
    fn check(&mut self) -> Result<(), Error> {
        match self.error.take() {
            Some(error) => Err(error),
            None if self.text_bytes == 0 => {
                let bad_records = self.reader.bad_records();
                Err(Error::no_documents(self.inputs, self.documents, bad_records))
            }
            None => Ok(()),
        }
    }
}

impl Iterator for Feed<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.error.is_some() {
            return None;
        }
        match self.read() {
            Ok(text) => text,
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }
}

/// Returns GPT-2's pre-tokenizer, as the library reads it from a tokenizer.json.
fn splitter() -> Result<PipelinePreTokenizer, Error> {
    let letters = ByteLevel::alphabet().map(String::from);
    let vocab = (0..).zip(std::iter::once(END_OF_TEXT.to_owned()).chain(letters)).collect();
    let file = TokenizerFile::new(vocab, Vec::new());
    let json =
        serde_json::to_string(&file).map_err(|error| Error::Training { source: error.into() })?;
    let tokenizer = Tokenizer::from_json(PathBuf::new(), json)?;
    let known = tokenizer.pipeline().ok_or_else(|| Error::BadTokenizer {
        path: PathBuf::new(),
        source: tokenizer.encoder().into(),
    })?;
    Ok(known.get_pre_tokenizer().clone())
}

/// Splits a text into pieces with the same words as the whole: each piece after the first begins with a space after an
/// ASCII mark, letter or digit, where GPT-2's pre-tokenizer always begins a word.
fn pieces(text: &str) -> Vec<String> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    let is_border = |pair: &[u8]| matches!(pair, [before, b' '] if before.is_ascii_graphic());
    while let Some(place) = rest.as_bytes().windows(2).skip(PIECE_BYTES).position(is_border) {
        let (piece, others) = rest.split_at(PIECE_BYTES + place + 1);
        pieces.push(piece.to_owned());
        rest = others;
    }
    pieces.push(rest.to_owned());
    pieces
}

/// Returns a text's words, with each byte as its letter.
fn words(splitter: &PipelinePreTokenizer, text: &str) -> tokenizers::Result<Vec<String>> {
    let (mut scratch, mut spans) = (PreTokenizerScratch::default(), Vec::new());
    splitter.pre_tokenize(text, &mut scratch, &mut spans)?;
    let letters = ByteLevel::alphabet();
    let word = |bytes: &[u8]| bytes.iter().map(|&byte| letters[usize::from(byte)]).collect();
    let spans = spans.iter().filter_map(|span| text.as_bytes().get(span.range()));
    Ok(spans.flat_map(parts).map(word).collect())
}

/// Splits a word into parts of at most [`WORD_BYTES`] that never begin within a character.
fn parts(word: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let most = WORD_BYTES.min(rest.len());
        let begins = |at: &usize| rest.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
        // A character has at most four bytes.
        let len = (1..=most).rev().take(4).find(begins).unwrap_or(most);
        let (part, others) = rest.split_at(len);
        rest = others;
        (!part.is_empty()).then_some(part)
    })
}

/// Returns the path of the configuration that must be written beside `out`; none if the right one exists, or if the
/// name of `out` does not go with one.
fn config_due(out: &Path) -> Result<Option<PathBuf>, Error> {
    if out.file_name().is_none_or(|name| name != "tokenizer.json") {
        return Ok(None);
    }
    let config = out.with_file_name(CONFIG);
    match read_capped(&config, MAX_CONFIG_BYTES) {
        Ok(before) if before == config_json().as_bytes() => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(config)),
        Err(error) if error.kind() != ErrorKind::InvalidData => {
            Err(Error::io("read", &config)(error))
        }
        Ok(_) | Err(_) => {
            let got = "another tokenizer's configuration".to_owned();
            Err(Error::OutputTaken { path: config, got })
        }
    }
}

/// Locks the folder of `out` against writes by other trainings, which are short. On a system without locks for folders,
/// nothing is locked.
fn lock_folder(out: &Path) -> Result<Option<FolderLock>, Error> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    match FolderLock::take(folder.unwrap_or(Path::new(".")), Sharing::Alone, PATIENCE) {
        Ok(None) => Err(Error::Busy { path: out.to_owned() }),
        Ok(lock) => Ok(lock),
        Err(_) => Ok(None),
    }
}

/// Writes the tokenizer after the files beside it: a tokenizer.json marks a finished training.
fn write(out: &Path, json: &str, record: &TrainingRecord) -> Result<(), Error> {
    if let Some(config) = config_due(out)? {
        files::make_ready(&config)?;
        files::write(&config, config_json().as_bytes())?;
    }
    write_json(&TrainingRecord::path(out), record)?;
    Ok(files::write(out, json.as_bytes())?)
}

/// Returns the configuration with which `transformers` opens the folder.
fn config_json() -> String {
    format!(
        "{{\n  \"clean_up_tokenization_spaces\": false,\n  \"eos_token\": \"{END_OF_TEXT}\",\n  \
         \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}}\n"
    )
}

/// The tokenizer.json in the form that every version of Hugging Face's libraries reads, with its fields in a fixed
/// order.
#[derive(Serialize)]
struct TokenizerFile {
    version: &'static str,
    truncation: Option<()>,
    padding: Option<()>,
    added_tokens: Value,
    normalizer: Option<()>,
    pre_tokenizer: Value,
    post_processor: Option<()>,
    decoder: Value,
    model: ModelFile,
}

#[derive(Serialize)]
struct ModelFile {
    r#type: &'static str,
    dropout: Option<()>,
    unk_token: Option<()>,
    continuing_subword_prefix: Option<()>,
    end_of_word_suffix: Option<()>,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    #[serde(serialize_with = "tokens_to_ids")]
    vocab: BTreeMap<u32, String>,
    merges: Vec<String>,
}

impl TokenizerFile {
    fn new(vocab: BTreeMap<u32, String>, merges: Vec<(String, String)>) -> Self {
        // The keys are in alphabetical order: serde_json keeps or sorts them depending on a feature of the build.
        let byte_level = json!({
            "add_prefix_space": false,
            "trim_offsets": true,
            "type": "ByteLevel",
            "use_regex": true,
        });
        let end_of_text = json!({
            "content": END_OF_TEXT,
            "id": 0,
            "lstrip": false,
            "normalized": false,
            "rstrip": false,
            "single_word": false,
            "special": true,
        });
        Self {
            version: "1.0",
            truncation: None,
            padding: None,
            added_tokens: Value::Array(vec![end_of_text]),
            normalizer: None,
            pre_tokenizer: byte_level.clone(),
            post_processor: None,
            decoder: byte_level,
            model: ModelFile {
                r#type: "BPE",
                dropout: None,
                unk_token: None,
                continuing_subword_prefix: None,
                end_of_word_suffix: None,
                fuse_unk: false,
                byte_fallback: false,
                ignore_merges: false,
                vocab,
                merges: merges.into_iter().map(|(left, right)| format!("{left} {right}")).collect(),
            },
        }
    }
}

fn tokens_to_ids<S: Serializer>(
    vocab: &BTreeMap<u32, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(vocab.len()))?;
    for (id, token) in vocab {
        map.serialize_entry(token, id)?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::AtomicBool;

    use mixdown_base::error_kind::ErrorKind;

    use super::*;

    fn train(folder: &Path, name: &str, vocab_size: u32) -> Result<TrainTokenizerReport, Error> {
        let inputs = [folder.join("in")];
        let options = TrainTokenizerOptions { vocab_size, read: ReadOptions::default() };
        train_tokenizer(&inputs, &folder.join(name), &options, Observer::silent())
    }

    fn folder_with_text() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        let words = ["the", "then", "there", "other", "mother", "schön", "42", "漢字", "\u{a0}x"];
        for file in 0..5_usize {
            let text: Vec<&str> =
                (0..3000_usize).map(|index| words[(index * index + file) % 9]).collect();
            let path = folder.path().join(format!("in/{file}.txt"));
            fs::write(path, text.join([" ", "\n", "  "][file % 3])).unwrap();
        }
        folder
    }

    #[test]
    fn pieces_have_the_words_of_the_whole() {
        let splitter = splitter().unwrap();
        let part = "it's 42  blanks,\n\n and 漢字 schön\u{a0}x   the end. ";
        let text = part.repeat(3 * PIECE_BYTES / part.len());
        let pieces = pieces(&text);
        assert_eq!((pieces.len(), pieces.concat() == text), (3, true));
        let parts = pieces.iter().flat_map(|piece| words(&splitter, piece).unwrap());
        assert!(parts.eq(words(&splitter, &text).unwrap()));
        // There is no place to cut.
        assert_eq!(super::pieces(&"\n".repeat(2 * PIECE_BYTES)).len(), 1);
    }

    #[test]
    fn long_words_are_counted_in_parts() {
        let text = format!("a {}", "x".repeat(2 * WORD_BYTES));
        let lens: Vec<usize> = words(&splitter().unwrap(), &text)
            .unwrap()
            .iter()
            .map(|word| word.chars().count())
            .collect();
        assert_eq!(lens, [1, WORD_BYTES, WORD_BYTES, 1]);
        // No part begins within a character.
        let text = "漢".repeat(2 * WORD_BYTES);
        let parts: Vec<&[u8]> = parts(text.as_bytes()).collect();
        assert_eq!(parts.concat(), text.as_bytes());
        assert!(parts.iter().all(|part| part.len() <= WORD_BYTES && part.len() % 3 == 0));
        // Bytes that are not text are cut as well.
        assert_eq!(super::parts(&[0x80; 600]).map(<[u8]>::len).collect::<Vec<_>>(), [256, 256, 88]);
    }

    #[test]
    fn the_same_text_gives_the_same_tokenizer() {
        let folder = folder_with_text();
        let report = train(folder.path(), "a/tokenizer.json", 280).unwrap();
        let again = train(folder.path(), "b.json", 280).unwrap();
        assert_eq!(report, again);
        let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
        assert_eq!(read("a/tokenizer.json"), read("b.json"));
        assert_eq!((report.vocab_size, report.documents, report.end_of_text), (280, 5, 0));
        assert!(folder.path().join("a/tokenizer_config.json").exists());

        let tokenizer = Tokenizer::load(&folder.path().join("a")).unwrap();
        assert_eq!(tokenizer.end_of_text().unwrap(), 0);
        assert_eq!(tokenizer.fingerprint(), report.fingerprint);
        let text = "then the other\n mother \0 漢 <|endoftext|>";
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        assert!(tokenizer.encode(" mother the then").unwrap().len() < 16);
    }

    /// Users keep the text of a tokenizer.json, so it may change only on purpose.
    #[test]
    fn vocabulary_stands_in_the_order_of_ids() {
        let folder = folder_with_text();
        train(folder.path(), "t.json", 260).unwrap();
        let text = fs::read_to_string(folder.path().join("t.json")).unwrap();
        let at = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words} in {text}"));
        assert!(at("\"<|endoftext|>\": 0") < at("\"!\": 1"));
        assert!(at("\"!\": 1") < at("\"\u{143}\": 256"));
        assert!(at("\"merges\"") > at("\": 259"));
    }

    #[test]
    fn what_cannot_be_trained_is_refused() {
        let folder = folder_with_text();
        let error = train(folder.path(), "t.json", 256).unwrap_err();
        assert!(error.to_string().starts_with("vocab-size: expected at least 257"));
        let error = train(folder.path(), "t.json", u32::MAX).unwrap_err();
        assert!(error.to_string().starts_with("vocab-size: expected at most 4194304"));
        // The name does not belong to a record.
        fs::write(folder.path().join("t.json"), "mine").unwrap();
        let error = train(folder.path(), "t.json", 300).unwrap_err();
        assert!(
            matches!(error, Error::OutputTaken { .. }) && error.kind() == ErrorKind::Configuration
        );
        let config = folder.path().join("c/tokenizer_config.json");
        fs::create_dir(folder.path().join("c")).unwrap();
        fs::write(&config, b"\xff mine").unwrap();
        let error = train(folder.path(), "c/tokenizer.json", 300).unwrap_err();
        assert!(matches!(error, Error::OutputTaken { .. }), "{error}");
        assert_eq!(fs::read(&config).unwrap(), b"\xff mine");
        fs::write(folder.path().join("in/bad.jsonl"), "{\"text\": 1}\n").unwrap();
        let error = train(folder.path(), "u.json", 300).unwrap_err();
        assert!(error.to_string().contains("got a number"), "{error}");
        assert!(!folder.path().join("u.json").exists());
        fs::write(folder.path().join("in/bad.jsonl"), "{\"text\": \"\"}\n").unwrap();
        for file in 0..5 {
            fs::remove_file(folder.path().join(format!("in/{file}.txt"))).unwrap();
        }
        let error = train(folder.path(), "u.json", 300).unwrap_err();
        assert!(matches!(error, Error::NoDocuments { .. }), "{error}");
    }

    #[test]
    fn the_same_call_again_has_nothing_to_do() {
        let folder = folder_with_text();
        let report = train(folder.path(), "a/tokenizer.json", 280).unwrap();
        let before = fs::read(folder.path().join("a/tokenizer.json")).unwrap();
        let again = train(folder.path(), "a/tokenizer.json", 280).unwrap();
        assert_eq!(again, TrainTokenizerReport { already_done: true, ..report });
        assert_eq!(fs::read(folder.path().join("a/tokenizer.json")).unwrap(), before);
        let words = |size| train(folder.path(), "a/tokenizer.json", size).unwrap_err().to_string();
        assert!(words(290).contains("differs in vocab_size (then 280, now 290)"), "{}", words(290));
        let text = folder.path().join("in/3.txt");
        let whole = fs::read(&text).unwrap();
        fs::write(&text, "other").unwrap();
        assert!(words(280).contains("differs in inputs[3].bytes"), "{}", words(280));
        fs::write(&text, whole).unwrap();
        fs::write(folder.path().join("a/tokenizer.json"), "{").unwrap();
        train(folder.path(), "a/tokenizer.json", 280).unwrap_err();
    }

    #[test]
    #[cfg(unix)]
    fn what_killed_trainings_left_goes_and_a_refused_place_is_told_first() {
        let folder = folder_with_text();
        let made = folder.path().join("a");
        fs::create_dir(&made).unwrap();
        let names = ["tokenizer.json", "tokenizer_config.json", "tokenizer.training.json"];
        // This holds before the training, and beside a finished one.
        for _ in 0..2 {
            for name in names.iter().chain(&["notes"]) {
                fs::write(made.join(format!("{name}.0123456789abcdef.tmp")), "half").unwrap();
            }
            train(folder.path(), "a/tokenizer.json", 280).unwrap();
            let left = |name: &&str| made.join(format!("{name}.0123456789abcdef.tmp")).exists();
            assert!(!names.iter().any(left) && left(&"notes"));
        }
        let long = "n".repeat(256);
        fs::remove_dir_all(folder.path().join("in")).unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        fs::write(folder.path().join("in/bad.jsonl"), "{\"text\": 1}\n").unwrap();
        let error = train(folder.path(), &long, 280).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other, "{error}");
    }

    #[test]
    fn the_stop_flag_ends_reading() {
        let folder = folder_with_text();
        let inputs = [folder.path().join("in")];
        let options = TrainTokenizerOptions { vocab_size: 300, read: ReadOptions::default() };
        let (out, stop) = (folder.path().join("t.json"), AtomicBool::new(true));
        let error =
            train_tokenizer(&inputs, &out, &options, Observer::new(&|_| {}, &stop)).unwrap_err();
        assert!(error.kind() == ErrorKind::Interrupted && !out.exists());
    }
}
