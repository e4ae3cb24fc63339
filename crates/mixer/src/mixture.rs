//! A checked mixture: sources that fit each other, and the shape of a batch.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use mixdown_shards::{Access, Corpus, Split};

use crate::config::{MixtureConfig, SourceConfig, WindowOffset};
use crate::error::Error;
use crate::weight::Weight;
use crate::weight_parts::{WeightParts, check_units, too_many_sources};
use crate::window::Windows;

/// One source of a mixture: a corpus, its share and its limits.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name, part of what orders its data.
    pub name: String,
    /// Its corpus, of which the training part is drawn.
    pub corpus: Arc<Corpus>,
    /// Its share.
    pub weight: Weight,
    /// Use only the first tokens of the training part, in whole sequences.
    pub max_tokens: Option<u64>,
    /// Refuse a run that would repeat it more often.
    pub max_epochs: Option<u64>,
}

/// The numbers of a mixture that belong to no source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MixtureShape {
    /// T: inputs (and targets) a sequence, in tokens.
    pub sequence_length: u64,
    /// B: sequences a batch, over all ranks.
    pub batch_size: u64,
    /// Orders the data.
    pub seed: u64,
    /// Where the windows of an epoch begin.
    pub window_offset: WindowOffset,
}

/// The longest sequence and the largest batch: token counts of a batch then fit 64 bits.
const LARGEST_SIDE: u64 = 1 << 31;

/// Sources that can be mixed: at least one, names unique, one tokenizer, exact weights, and in
/// each at least one whole sequence.
#[derive(Debug, Clone)]
pub struct Mixture {
    shape: MixtureShape,
    sources: Vec<Source>,
    parts: WeightParts,
    windows: Vec<Windows>,
}

impl Mixture {
    /// Checks sources that are open already. O(K log K); no token is read.
    ///
    /// Whether one corpus' holdout stands in another's training part is checked by
    /// [`check_overlap`](Self::check_overlap), as that reads all document hashes.
    ///
    /// # Errors
    /// No source; an empty or repeated name; weights that do not fit together; a sequence length,
    /// batch size or `max_epochs` of zero; different tokenizers; a source with a loss mask or
    /// packed rows; a source of less than one sequence.
    pub fn new(sources: Vec<Source>, shape: MixtureShape) -> Result<Self, Error> {
        check_side("sequence_length", shape.sequence_length)?;
        check_side("batch_size", shape.batch_size)?;
        check_names(sources.iter().map(|source| source.name.as_str()))?;
        check_max_epochs(sources.iter().map(|source| (source.name.as_str(), source.max_epochs)))?;
        let parts =
            weight_parts(sources.iter().map(|source| (source.name.as_str(), source.weight)))?;
        check_tokenizers(&sources)?;
        sources.iter().try_for_each(check_unlabelled)?;
        let windows = sources
            .iter()
            .map(|source| windows_of(source, shape.sequence_length))
            .collect::<Result<_, _>>()?;
        Ok(Self { shape, sources, parts, windows })
    }

    /// Opens the corpora of a description, with relative paths taken from `base`, and checks all
    /// that can be checked, overlap included. Corpora are memory-mapped.
    ///
    /// What needs no corpus is checked before any is opened.
    ///
    /// # Errors
    /// As [`new`](Self::new); a corpus that cannot be opened; held-out documents of one source in
    /// the training part of another.
    pub fn open(config: &MixtureConfig, base: &Path) -> Result<Self, Error> {
        check_side("sequence_length", config.sequence_length)?;
        check_side("batch_size", config.batch_size)?;
        check_names(config.source.iter().map(|source| source.name.as_str()))?;
        weight_parts(config.source.iter().map(|source| (source.name.as_str(), source.weight)))?;
        let sources = config
            .source
            .iter()
            .map(|source| open_source(source, base, config.access))
            .collect::<Result<Vec<_>, _>>()?;
        let mixture = Self::new(sources, MixtureShape::of(config))?;
        mixture.check_overlap()?;
        Ok(mixture)
    }

    /// Refuses held-out documents of one source in the training part of another, by the exact
    /// hashes of normalised text that the corpora keep. Near duplicates are not seen.
    ///
    /// Reads the document hashes of all sources, 8 bytes a document.
    ///
    /// # Errors
    /// The first pair with such documents, and their number; hashes that cannot be read.
    pub fn check_overlap(&self) -> Result<(), Error> {
        for holdout in
            self.sources.iter().filter(|source| source.corpus.documents(Split::Holdout) > 0)
        {
            for train in &self.sources {
                // A corpus is split by text, so it never overlaps with itself.
                if train.corpus.fingerprint() != holdout.corpus.fingerprint() {
                    check_pair(holdout, train)?;
                }
            }
        }
        Ok(())
    }

    /// The sources, in the order that breaks ties.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The numbers that belong to no source.
    pub fn shape(&self) -> &MixtureShape {
        &self.shape
    }

    /// The weights as integer parts.
    pub fn parts(&self) -> &WeightParts {
        &self.parts
    }

    /// S, the sequences of an epoch of a source; `None` for a source that does not exist.
    pub fn sequences(&self, source: u32) -> Option<u64> {
        self.windows.get(usize::try_from(source).ok()?).map(Windows::sequences)
    }

    /// Per source, its windows.
    pub(crate) fn windows(&self) -> &[Windows] {
        &self.windows
    }
}

impl MixtureShape {
    fn of(config: &MixtureConfig) -> Self {
        Self {
            sequence_length: config.sequence_length,
            batch_size: config.batch_size,
            seed: config.seed,
            window_offset: config.window_offset,
        }
    }
}

fn check_side(field: &str, got: u64) -> Result<(), Error> {
    if (1..=LARGEST_SIDE).contains(&got) {
        return Ok(());
    }
    let expected = format!("a number from 1 to {LARGEST_SIDE}");
    Err(Error::Setting { field: field.to_owned(), expected, got })
}

fn check_names<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Result<(), Error> {
    if names.len() == 0 {
        return Err(Error::NoSources);
    }
    if u32::try_from(names.len()).is_err() {
        return Err(too_many_sources(names.len()));
    }
    let mut seen = BTreeSet::new();
    for (number, name) in (1..).zip(names) {
        if name.is_empty() {
            return Err(Error::EmptyName { number });
        }
        if !seen.insert(name) {
            return Err(Error::DuplicateName { name: name.to_owned() });
        }
    }
    Ok(())
}

fn check_max_epochs<'a>(
    mut limits: impl Iterator<Item = (&'a str, Option<u64>)>,
) -> Result<(), Error> {
    match limits.find(|(_, limit)| *limit == Some(0)) {
        None => Ok(()),
        Some((name, _)) => Err(Error::Setting {
            field: format!("source {name:?}: max_epochs"),
            expected: "at least 1 (leave the source out to have none of it)".to_owned(),
            got: 0,
        }),
    }
}

fn weight_parts<'a>(
    weights: impl Iterator<Item = (&'a str, Weight)>,
) -> Result<WeightParts, Error> {
    let (names, weights): (Vec<_>, Vec<_>) = weights.unzip();
    check_units(&names, &weights)?;
    WeightParts::of_weights(&weights)
}

fn check_tokenizers(sources: &[Source]) -> Result<(), Error> {
    let Some((first, others)) = sources.split_first() else {
        return Err(Error::NoSources);
    };
    let expected = first.corpus.tokenizer_fingerprint();
    for source in others {
        let got = source.corpus.tokenizer_fingerprint();
        if got != expected {
            return Err(Error::Tokenizers {
                first: first.name.clone(),
                first_path: first.corpus.folder().to_owned(),
                second: source.name.clone(),
                path: source.corpus.folder().to_owned(),
                expected: Box::new(expected),
                got: Box::new(got),
            });
        }
    }
    Ok(())
}

/// A mask that is not delivered would be trained over, and rows cut into windows.
fn check_unlabelled(source: &Source) -> Result<(), Error> {
    let manifest = source.corpus.manifest();
    let got = match (manifest.pack, source.corpus.is_labelled(Split::Train)) {
        (Some(_), _) => "packed rows",
        (None, true) => "a loss mask",
        (None, false) => return Ok(()),
    };
    let path = source.corpus.folder().to_owned();
    Err(Error::Labelled { name: source.name.clone(), path, got })
}

fn windows_of(source: &Source, sequence_length: u64) -> Result<Windows, Error> {
    let present = source.corpus.tokens(Split::Train);
    let (got, limit, fix) = match source.max_tokens {
        Some(limit) if limit < present => (limit, "in max_tokens", "raise it"),
        _ => (
            present,
            "in its training part",
            "prepare more text, hold less of it out, or shorten sequence_length",
        ),
    };
    Windows::new(got, sequence_length).ok_or_else(|| Error::TooShort {
        name: source.name.clone(),
        path: source.corpus.folder().to_owned(),
        expected: sequence_length + 1,
        limit,
        got,
        fix,
    })
}

fn open_source(config: &SourceConfig, base: &Path, access: Access) -> Result<Source, Error> {
    let path = base.join(&config.corpus);
    let corpus =
        Corpus::open(&path, access).map_err(|source| corpus_error(&config.name, &path, source))?;
    Ok(Source {
        name: config.name.clone(),
        corpus: Arc::new(corpus),
        weight: config.weight,
        max_tokens: config.max_tokens,
        max_epochs: config.max_epochs,
    })
}

fn check_pair(holdout: &Source, train: &Source) -> Result<(), Error> {
    let got = mixdown_shards::overlap(&holdout.corpus, &train.corpus)
        .map_err(|source| corpus_error(&holdout.name, holdout.corpus.folder(), source))?;
    if got == 0 {
        return Ok(());
    }
    Err(Error::Overlap {
        holdout: holdout.name.clone(),
        path: holdout.corpus.folder().to_owned(),
        train: train.name.clone(),
        train_path: train.corpus.folder().to_owned(),
        got,
    })
}

pub(crate) fn corpus_error(name: &str, path: &Path, source: mixdown_shards::Error) -> Error {
    Error::Corpus { name: name.to_owned(), path: path.to_owned(), source: Box::new(source) }
}
