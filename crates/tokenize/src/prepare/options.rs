//! The options of `prepare`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use mixdown_base::quantity::{Quantity, not_a_unit};
use mixdown_documents::ReadOptions;
use mixdown_documents::TemplateDate;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::Error;

/// The conversion of documents to a corpus.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PrepareOptions {
    /// The conversion of records to documents.
    pub read: ReadOptions,
    /// The documents that are kept for validation.
    pub holdout: Holdout,
    /// Files and folders whose documents are the holdout, with [`Holdout::Input`]; the given inputs are then the
    /// training data.
    pub holdout_inputs: Vec<PathBuf>,
    /// The similarity from which a held-out document counts as a near-duplicate of a training document, and belongs to
    /// training.
    pub near_duplicates: NearDuplicates,
    /// The side that gives up the near-duplicates of the other one.
    pub yields: YieldingSide,
    /// The documents that are left out of training because they repeat an earlier one.
    pub deduplication: Deduplication,
    /// Corpora, and files or folders of texts: documents that are near-duplicates of the held-out part of these
    /// corpora, or of these texts, are left out of training.
    pub without: Vec<PathBuf>,
    /// The number of first documents of the inputs that are used; `None` for all.
    pub limit: Option<u64>,
    /// The minimum number of characters; shorter documents are left out and counted.
    pub min_chars: u64,
    /// The folder in which the large files of the unfinished work get a separate folder; `None` for the output's
    /// `.work`.
    pub work_dir: Option<PathBuf>,
    /// The seed of the order of documents.
    pub seed: u64,
    /// The order of documents.
    pub shuffle: Shuffle,
    /// The threads that tokenize; 0 uses as many as the machine offers. The corpus is the same for every number.
    pub threads: u32,
    /// The token before every document.
    pub beginning_of_text: BeginningOfText,
    /// The meaning of a special token spelled in a text.
    pub special_text: SpecialText,
    /// The token after every document, by name or decimal id; `None` searches the usual places
    /// ([`Tokenizer::end_of_text`](crate::Tokenizer::end_of_text)).
    pub end_of_text: Option<String>,
    /// The rendering of conversations, if `read.labels` names some.
    pub chat: ChatOptions,
    /// The rows into which documents are packed; `None` for none.
    pub pack: Option<PackOptions>,
}

impl PrepareOptions {
    /// The maximum number of threads: each has its own buffers, and more threads than cores do not help.
    pub const MOST_THREADS: u32 = 1024;

    /// Returns the options as the manifest records them: everything that can change a byte of the corpus, so not the
    /// threads.
    pub(crate) fn record(&self) -> Value {
        // The keys are in alphabetical order: serde_json keeps or sorts them depending on a feature of the build.
        let mut record = json!({
            "beginning_of_text": self.beginning_of_text.to_string(),
            "end_of_text": self.end_of_text,
            "holdout": self.holdout.to_string(),
            "seed": self.seed,
            "shuffle": self.shuffle,
            "skip_bad": self.read.skip_bad,
            "special_text": self.special_text,
            "text_field": self.read.text_field(),
        });
        // Unused options are left out, so the manifest of a corpus with earlier options keeps its bytes.
        let asked = [
            (
                "dedup",
                (self.deduplication != Deduplication::None).then(|| json!(self.deduplication)),
            ),
            ("holdout_by", self.read.group_field.as_ref().map(|field| json!(field))),
            ("id_field", self.read.id_field.as_ref().map(|field| json!(field))),
            ("labels", self.read.labels.as_ref().map(|fields| json!(fields))),
            ("limit", self.limit.map(|limit| json!(limit))),
            ("near_duplicates", self.near_duplicates.threshold().map(|threshold| json!(threshold))),
            ("min_chars", (self.min_chars > 0).then(|| json!(self.min_chars))),
            ("pack", self.pack.map(|pack| json!(pack))),
            ("template_date", self.chat.date.map(|date| json!(date))),
            ("text_separator", self.read.text_separator.as_ref().map(|text| json!(text))),
            ("yields", (self.yields != YieldingSide::default()).then(|| json!(self.yields))),
        ];
        for (name, value) in asked {
            if let (Some(value), Some(record)) = (value, record.as_object_mut()) {
                record.insert(name.to_owned(), value);
            }
        }
        record
    }

    /// Refuses options that exclude each other.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.holdout.check()?;
        self.near_duplicates.check()?;
        if self.near_duplicates == NearDuplicates::Allowed {
            if self.deduplication != Deduplication::None {
                let expected = "a similarity, because documents are compared by their sketches";
                return Err(exclusive("near-duplicates", expected, "off beside a deduplication"));
            }
            let expected = "a similarity that decides what is a near-duplicate";
            if !self.without.is_empty() {
                return Err(exclusive(
                    "near-duplicates",
                    expected,
                    "off beside texts to leave out",
                ));
            }
            if self.yields != YieldingSide::default() {
                return Err(exclusive(
                    "near-duplicates",
                    expected,
                    "off beside a side that yields",
                ));
            }
        }
        self.pack.map_or(Ok(()), PackOptions::check)?;
        if self.threads > Self::MOST_THREADS {
            return Err(exclusive("threads", "0 to 1024", &self.threads.to_string()));
        }
        if self.read.labels.is_some() && self.special_text == SpecialText::Parse {
            let expected = "plain text in the content of labeled documents";
            return Err(exclusive("parse-special", expected, "it beside labels"));
        }
        let by_input = self.holdout == Holdout::Input;
        if by_input == self.holdout_inputs.is_empty() {
            let got =
                if by_input { "none" } else { "some, and a holdout of the inputs themselves" };
            return Err(exclusive("holdout-input", "files where the holdout is of files", got));
        }
        if by_input && self.read.group_field.is_some() {
            let got = "a holdout of files as well";
            return Err(exclusive("holdout-by", "a holdout by share or number of tokens", got));
        }
        if by_input && self.limit.is_some() {
            return Err(exclusive("limit", "no holdout of files beside it", "one"));
        }
        if self.limit == Some(0) {
            return Err(exclusive("limit", "1 or more documents", "0"));
        }
        Ok(())
    }
}

fn exclusive(option: &'static str, expected: &'static str, got: &str) -> Error {
    Error::Option { option, expected, got: got.to_owned() }
}

/// The documents that are kept for validation. Equal texts (up to white space) are never separated, in one corpus and,
/// for a share, across corpora.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Holdout {
    /// None.
    #[default]
    None,
    /// Every document whose hash is below this share of all hashes: about this share of the documents, greater than 0
    /// and less than 1.
    Share(f64),
    /// The documents of separate inputs ([`PrepareOptions::holdout_inputs`]).
    Input,
    /// The documents with the smallest hashes that together fit in this number of tokens.
    Tokens(u64),
}

const HOLDOUT_FORMS: &str = "a share like 1% or 0.01, a number like \"500k tokens\", or 0";

impl Holdout {
    fn bad(got: &str) -> Error {
        Error::Option { option: "holdout", expected: HOLDOUT_FORMS, got: got.to_owned() }
    }

    /// Refuses a share outside of (0, 1) and a number of 0 tokens.
    pub(crate) fn check(self) -> Result<(), Error> {
        match self {
            Self::Share(share) if !(share > 0.0 && share < 1.0) => {
                Err(Self::bad(&share.to_string()))
            }
            Self::Tokens(0) => Err(Self::bad("0 tokens")),
            _ => Ok(()),
        }
    }
}

impl FromStr for Holdout {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |reason: &str| Self::bad(&format!("\"{text}\": {reason}"));
        let quantity = Quantity::parse(text, HOLDOUT_FORMS).map_err(|error| bad(&error.reason))?;
        let holdout = match quantity.unit {
            "token" | "tokens" => Self::Tokens(quantity.whole().map_err(bad)?),
            "" if quantity.number.numerator() == 0 => return Ok(Self::None),
            "" => Self::Share(quantity.number.to_f64()),
            unit => return Err(bad(&not_a_unit(unit))),
        };
        holdout.check().map(|()| holdout).map_err(|_| Self::bad(text))
    }
}

impl fmt::Display for Holdout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("0"),
            Self::Input => f.write_str("input"),
            Self::Share(share) => write!(f, "{share}"),
            Self::Tokens(tokens) => write!(f, "{tokens} tokens"),
        }
    }
}

/// The similarity from which two documents are near-duplicates: the Jaccard similarity of their sets of runs of five
/// words. A held-out document that has a near-duplicate among the training documents moves there, with its group.
///
/// ```
/// use mixdown_tokenize::NearDuplicates;
///
/// assert_eq!("0.75".parse::<NearDuplicates>()?, NearDuplicates::From(0.75));
/// assert_eq!("50%".parse::<NearDuplicates>()?, NearDuplicates::default());
/// assert_eq!("off".parse::<NearDuplicates>()?, NearDuplicates::Allowed);
/// assert!("1.5".parse::<NearDuplicates>().is_err());
/// # Ok::<(), mixdown_tokenize::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NearDuplicates {
    /// Held-out documents may have near-duplicates among the training documents; the corpus has no sketches.
    Allowed,
    /// Documents of this similarity or more are near-duplicates: above 0, at most 1.
    From(f64),
}

impl Default for NearDuplicates {
    fn default() -> Self {
        Self::From(0.5)
    }
}

const NEAR_DUPLICATES_FORMS: &str = "a similarity above 0 and at most 1 like 0.5, or off";

impl NearDuplicates {
    /// Returns the threshold, if there is one.
    pub(crate) fn threshold(self) -> Option<f64> {
        match self {
            Self::Allowed => None,
            Self::From(threshold) => Some(threshold),
        }
    }

    fn check(self) -> Result<(), Error> {
        match self {
            Self::From(threshold) if !(threshold > 0.0 && threshold <= 1.0) => {
                Err(Self::bad(&threshold.to_string()))
            }
            _ => Ok(()),
        }
    }

    fn bad(got: &str) -> Error {
        Error::Option {
            option: "near-duplicates",
            expected: NEAR_DUPLICATES_FORMS,
            got: got.to_owned(),
        }
    }
}

impl FromStr for NearDuplicates {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.trim() == "off" {
            return Ok(Self::Allowed);
        }
        let bad = |reason: &str| Self::bad(&format!("\"{text}\": {reason}"));
        let quantity = Quantity::parse(text, NEAR_DUPLICATES_FORMS);
        let quantity = quantity.map_err(|error| bad(&error.reason))?;
        if !quantity.unit.is_empty() {
            return Err(bad(&not_a_unit(quantity.unit)));
        }
        let found = Self::From(quantity.number.to_f64());
        found.check().map(|()| found).map_err(|_| Self::bad(text))
    }
}

impl fmt::Display for NearDuplicates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed => f.write_str("off"),
            Self::From(threshold) => write!(f, "{threshold}"),
        }
    }
}

/// The documents that are left out of training because they repeat an earlier one, in the order of the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deduplication {
    /// None.
    #[default]
    None,
    /// Documents of equal text, up to white space.
    Exact,
    /// Near-duplicates of each other, directly or by others between them, and equal texts.
    Near,
}

/// The side that gives up near-duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum YieldingSide {
    /// Held-out documents that have near-duplicates among the training documents move to training.
    #[default]
    Holdout,
    /// Training documents that have near-duplicates in the holdout are left out.
    Training,
}

/// The order of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shuffle {
    /// One random order over all inputs, determined by the seed and each document's place.
    #[default]
    Global,
    /// The order of the inputs.
    Keep,
}

/// The token before every document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BeginningOfText {
    /// The token that the tokenizer's post-processor puts there, if any.
    #[default]
    Auto,
    /// No token.
    None,
    /// This id.
    Id(u32),
}

impl FromStr for BeginningOfText {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            id => id.parse().map(Self::Id).map_err(|_| Error::Option {
                option: "bos",
                expected: "auto, none or a token id",
                got: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for BeginningOfText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::None => f.write_str("none"),
            Self::Id(id) => write!(f, "{id}"),
        }
    }
}

/// The meaning of a special token spelled in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpecialText {
    /// Plain text; such documents are counted.
    #[default]
    Plain,
    /// The token; such documents are counted too.
    Parse,
}

/// The rendering of conversations, with [`LabelFields::Chat`](mixdown_documents::LabelFields::Chat).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChatOptions {
    /// The file of a template; `None` for the one that comes with the tokenizer.
    pub template: Option<PathBuf>,
    /// The date that the template receives; without one it has no clock at all.
    pub date: Option<TemplateDate>,
}

/// Rows of whole documents, filled with padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackOptions {
    /// T: a row holds T + 1 ids, for T inputs and T targets.
    pub sequence_length: u64,
    /// The treatment of a document that is longer than a row.
    pub too_long: TooLong,
}

/// The treatment of a document that is longer than a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TooLong {
    /// It is an error.
    #[default]
    Error,
    /// It is left out and counted.
    Drop,
    /// Its end is cut off, and it is counted.
    Truncate,
}

/// The longest row, longer than any model's context: rows are padded to their full length in memory and on disk.
const MAX_ROW_TOKENS: u64 = (1 << 24) + 1;

impl PackOptions {
    /// Returns the ids per row.
    pub(crate) fn row_tokens(self) -> u64 {
        self.sequence_length.saturating_add(1)
    }

    /// Refuses rows without an input, or longer than any model accepts.
    pub(crate) fn check(self) -> Result<(), Error> {
        if (2..=MAX_ROW_TOKENS).contains(&self.row_tokens()) {
            return Ok(());
        }
        let (option, expected) = ("pack", "1 to 16777216 inputs a row");
        Err(Error::Option { option, expected, got: self.sequence_length.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use super::*;

    #[test]
    fn threads_have_a_limit() {
        let refused = |threads| {
            let options = PrepareOptions { threads, ..PrepareOptions::default() };
            options.check().err().map(|error| error.to_string())
        };
        assert_eq!((refused(0), refused(1024)), (None, None));
        let message = refused(2_147_483_646).unwrap();
        assert!(message.contains("0 to 1024") && message.contains("2147483646"), "{message}");
    }

    #[test]
    fn holdouts_are_read_in_every_form() {
        let cases = [
            ("1%", Holdout::Share(0.01)),
            (" 0.5 % ", Holdout::Share(0.005)),
            ("0.01", Holdout::Share(0.01)),
            ("0", Holdout::None),
            ("0%", Holdout::None),
            ("500k tokens", Holdout::Tokens(500_000)),
            ("1.5M tokens", Holdout::Tokens(1_500_000)),
            ("2_000 tokens", Holdout::Tokens(2000)),
            ("1B tokens", Holdout::Tokens(1_000_000_000)),
            ("7tokens", Holdout::Tokens(7)),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Holdout>().unwrap(), expected, "{text}");
            let again: Holdout = expected.to_string().parse().unwrap();
            assert_eq!(again, expected, "{text}");
        }
        for text in [
            "",
            "100%",
            "1",
            "-1%",
            "NaN",
            "inf",
            "1.5 tokens",
            "0 tokens",
            "k tokens",
            "500k",
            "tokens",
            "1..5k tokens",
            "99999999999G tokens",
        ] {
            let error = text.parse::<Holdout>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{text}");
        }
    }

    #[test]
    fn beginnings_are_read() {
        for text in ["auto", "none", "7"] {
            assert_eq!(text.parse::<BeginningOfText>().unwrap().to_string(), text);
        }
        assert!("bos".parse::<BeginningOfText>().is_err());
    }
}
