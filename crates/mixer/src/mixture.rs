//! A checked mixture: sources that fit each other, and the shape of a batch.

pub(crate) mod check;
pub(crate) mod identity;
pub(crate) mod shares;
pub(crate) mod stages;

use std::path::Path;
use std::sync::Arc;

use mixdown_shards::{
    Access, Corpus, HoldoutTable, NEAR_DUPLICATE, NearHoldoutTable, Split, Unread,
};

use crate::config::RunLength;
use crate::config::{MixtureConfig, SourceConfig, StageConfig, WeightUnit, WindowOffset};
use crate::error::Error;
use crate::mixture::check::{
    check_max_epochs, check_shape, check_tokenizers, first_overlap, shares_of_stages,
};
use crate::order::window::Windows;
use crate::schedule::timeline::Timeline;
use crate::weights::Weight;

/// One source of a mixture: a corpus, its share and its limits.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name, which is part of what determines its order.
    pub name: String,
    /// Its corpus, whose training split is drawn from.
    pub corpus: Arc<Corpus>,
    /// Its share from the first slot on; if none, it waits for a stage that names it.
    pub weight: Option<Weight>,
    /// The number of tokens at the beginning of the training split that are used, in whole sequences.
    pub max_tokens: Option<u64>,
    /// The number of epochs that a run may not exceed.
    pub max_epochs: Option<u64>,
}

/// The settings of a mixture that belong to no source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MixtureShape {
    /// T: inputs (and targets) per sequence, in tokens.
    pub sequence_length: u64,
    /// B: sequences per batch, over all ranks.
    pub batch_size: u64,
    /// The seed of the order of the data.
    pub seed: u64,
    /// The starts of the windows in an epoch.
    pub window_offset: WindowOffset,
    /// Neighboring sequences that stay together in an epoch's order, if any do.
    pub shuffle_block: Option<u64>,
    /// The unit of the weights.
    pub weight_unit: WeightUnit,
}

/// A set of sources that can be mixed: at least one, with unique names, one tokenizer, exact weights, and at least one
/// whole sequence in each.
#[derive(Debug, Clone)]
pub struct Mixture {
    shape: MixtureShape,
    sources: Vec<Source>,
    windows: Vec<Windows>,
    pub(crate) timeline: Timeline,
}

impl Mixture {
    /// Makes a mixture of sources that are already open. O(K log K), and O(P log K) for a period P ≤ 16,384. No token
    /// is read; a mask is read only beyond a `max_tokens`, if weights are shares of loss tokens.
    ///
    /// [`check_overlap`](Self::check_overlap) checks separately whether one corpus' holdout occurs in another's
    /// training split, because that reads the hashes and sketches of all documents.
    ///
    /// # Errors
    /// No source; an empty or repeated name; weights that do not fit together; stages out of order or
    /// of unknown sources; a sequence length, batch size, `shuffle_block` or `max_epochs` of zero;
    /// different tokenizers; rows packed for another length; a source of less than one sequence.
    ///
    /// ```
    /// use mixdown_mixer::Mixture;
    ///
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let mut sources = mixer.mixture().sources().to_vec();
    /// sources.pop();
    /// // The remaining source has 75 %.
    /// let error = Mixture::new(sources, &[], *mixer.mixture().shape()).unwrap_err();
    /// assert!(error.to_string().contains("expected a sum of 100%, got 75%"));
    /// ```
    pub fn new(
        sources: Vec<Source>,
        stages: &[StageConfig],
        shape: MixtureShape,
    ) -> Result<Self, Error> {
        check_shape(&shape)?;
        let weights = sources.iter().map(|source| (source.name.as_str(), source.weight));
        let (first, plans) = shares_of_stages(weights, stages)?;
        check_max_epochs(sources.iter().map(|source| (source.name.as_str(), source.max_epochs)))?;
        check_tokenizers(&sources)?;
        let windows: Vec<Windows> =
            sources.iter().map(|source| windows_of(source, &shape)).collect::<Result<_, _>>()?;
        let mut mixture = Self { shape, sources, windows, timeline: Timeline::default() };
        mixture.add_stages(first, stages, plans)?;
        Ok(mixture)
    }

    /// Opens the corpora of a description, with paths relative to `base`, and checks everything: every file exists with
    /// its size, and [`check_overlap`](Self::check_overlap) passes.
    ///
    /// The description itself is checked before any corpus is opened.
    ///
    /// # Errors
    /// Those of [`new`](Self::new); a corpus that cannot be opened or lacks a file; holdout documents of one source, or
    /// near-duplicates of them, in the training split of another.
    ///
    /// ```
    /// use mixdown_mixer::{Mixture, MixtureConfig};
    ///
    /// # let (folder, _) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let config: MixtureConfig = toml::from_str(r#"
    ///     sequence_length = 10
    ///     batch_size = 4
    ///     source = [
    ///         { name = "target", corpus = "target", weight = "99%" },
    ///         { name = "pretraining", corpus = "pretraining", weight = "1%" },
    ///     ]
    /// "#)?;
    /// let mixture = Mixture::open(&config, folder.path())?;
    /// assert_eq!(mixture.sequences(1), Some(500));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(config: &MixtureConfig, base: &Path) -> Result<Self, Error> {
        let mixture = Self::open_lazily(config, base)?;
        for Source { name, corpus, .. } in &mixture.sources {
            corpus.check_files().map_err(|error| corpus_error(name, corpus.folder(), error))?;
        }
        mixture.check_overlap()?;
        Ok(mixture)
    }

    /// Opens the corpora as [`open`](Self::open) does, for further ranks and resumes of a run that was opened with it:
    /// a shard is checked on first read, and holdouts are not compared.
    ///
    /// # Errors
    /// Those of [`new`](Self::new); a corpus whose manifest cannot be read.
    ///
    /// ```
    /// use mixdown_mixer::{Mixture, MixtureConfig};
    ///
    /// # let (folder, _) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let config: MixtureConfig = toml::from_str(r#"
    ///     sequence_length = 10
    ///     batch_size = 4
    ///     source = [{ name = "target", corpus = "target", weight = "100%" }]
    /// "#)?;
    /// assert_eq!(Mixture::open_lazily(&config, folder.path())?.sources().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_lazily(config: &MixtureConfig, base: &Path) -> Result<Self, Error> {
        let shape = MixtureShape::of(config);
        check_shape(&shape)?;
        let weights = config.source.iter().map(|source| (source.name.as_str(), source.weight));
        shares_of_stages(weights, &config.stage)?;
        let sources = config
            .source
            .iter()
            .map(|source| open_source(source, base, config.access))
            .collect::<Result<Vec<_>, _>>()?;
        Self::new(sources, &config.stage, shape)
    }

    /// Returns the number of slots of a length from the beginning of the run.
    ///
    /// # Errors
    /// The source does not exist or the run never repeats it that often; the length exceeds 64 bits.
    pub(crate) fn slots_of(&self, length: &RunLength) -> Result<u64, Error> {
        let too_long = |got: u64| Error::OutOfRange {
            what: "the sequences of a run",
            expected: u64::MAX,
            got,
        };
        match length {
            RunLength::Steps(steps) => {
                steps.checked_mul(self.shape.batch_size).ok_or_else(|| too_long(*steps))
            }
            RunLength::Sequences(sequences) => Ok(*sequences),
            RunLength::Tokens(tokens) => Ok(tokens.div_ceil(self.shape.sequence_length)),
            RunLength::Epochs { epochs: 0, .. } => Ok(0),
            RunLength::Epochs { epochs, source } => {
                let wrong = |got: String| Error::Epochs { length: length.to_string(), got };
                let place = match source {
                    None => Some(0),
                    Some(name) => self.sources.iter().position(|source| source.name == *name),
                };
                let place = place.and_then(|place| u32::try_from(place).ok());
                let sequences = place.and_then(|place| Some((place, self.sequences(place)?)));
                let (place, sequences) = sequences.ok_or_else(|| {
                    wrong(format!("no source named {:?}", source.as_deref().unwrap_or_default()))
                })?;
                let last = sequences.checked_mul(*epochs).ok_or_else(|| too_long(*epochs))? - 1;
                let slot = self.timeline.slot_of(place, last);
                Ok(slot
                    .ok_or_else(|| wrong("one that no stage draws".to_owned()))?
                    .saturating_add(1))
            }
        }
    }

    /// Refuses holdout documents of one source in the training split of another: equal texts, by the exact hashes of
    /// normalized text that the corpora keep, and near-duplicates, by the sketches of texts that they keep (see
    /// [`NEAR_DUPLICATE`]). Corpora without sketches are compared by their hashes alone.
    ///
    /// Reads the hashes and sketches of all sources once, 136 bytes per document; none if there is no holdout.
    ///
    /// # Errors
    /// The first pair with such documents, and their number; hashes or sketches that cannot be read.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// assert!(mixer.mixture().check_overlap().is_ok());
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn check_overlap(&self) -> Result<(), Error> {
        let has_holdout = |source: &&Source| source.corpus.documents(Split::Holdout) > 0;
        let holdouts: Vec<&Source> = self.sources.iter().filter(has_holdout).collect();
        let corpora = || holdouts.iter().map(|source| &*source.corpus);
        let table = HoldoutTable::new(corpora()).map_err(|(place, error)| {
            corpus_error(&holdouts[place].name, holdouts[place].corpus.folder(), error)
        })?;
        if !table.is_empty() {
            let known = |counts: Vec<u64>| counts.into_iter().map(Some).collect();
            let found_in = |train: &Corpus| table.found_in(train).map(known);
            if let Some(first) = first_overlap(&holdouts, &self.sources, found_in)? {
                return Err(first.exact());
            }
        }
        // Training splits are searched for the holdouts of other corpora only.
        let several = self
            .sources
            .iter()
            .any(|source| source.corpus.fingerprint() != self.sources[0].corpus.fingerprint());
        let near = NearHoldoutTable::new(corpora(), NEAR_DUPLICATE);
        if several && !near.is_empty() {
            let trains: Vec<&Corpus> = self.sources.iter().map(|source| &*source.corpus).collect();
            let found = near.found_in(&trains).map_err(|(unread, error)| {
                let source = match unread {
                    Unread::Holdout(place) => holdouts[place],
                    Unread::Train(place) => &self.sources[place],
                };
                corpus_error(&source.name, source.corpus.folder(), error)
            })?;
            let mut found = found.into_iter();
            let next = |_: &Corpus| Ok(found.next().unwrap_or_default());
            if let Some(first) = first_overlap(&holdouts, &self.sources, next)? {
                return Err(first.near());
            }
        }
        Ok(())
    }

    /// Returns the sources, in the order that breaks ties.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let weights = mixer.mixture().sources().iter().map(|source| source.weight.unwrap().to_string());
    /// assert_eq!(weights.collect::<Vec<_>>(), ["75%", "25%"]);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Returns the numbers that belong to no source.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// assert_eq!(mixer.mixture().shape().seed, 0);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn shape(&self) -> &MixtureShape {
        &self.shape
    }

    /// Returns whether batches have a loss mask, because a source has labels.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// assert!(!mixer.mixture().is_labelled());
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn is_labelled(&self) -> bool {
        self.sources.iter().any(|source| source.corpus.is_labelled(Split::Train))
    }

    /// Returns the targets in an epoch of a source that count for the loss; 0 for a source that does not exist. If
    /// epochs leave out different targets, the result is their rounded mean.
    ///
    /// If a `max_tokens` cuts a shard with labels, its mask is read up to that point.
    ///
    /// # Errors
    /// The mask cannot be read or is damaged.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// assert_eq!(mixer.mixture().loss_tokens(0)?, 100 * 10);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn loss_tokens(&self, source: u32) -> Result<u64, Error> {
        let place = usize::try_from(source).unwrap_or(usize::MAX);
        let (Some(source), Some(windows)) = (self.sources.get(place), self.windows.get(place))
        else {
            return Ok(0);
        };
        let corpus = &source.corpus;
        if !corpus.is_labelled(Split::Train) {
            return Ok(windows.targets());
        }
        let counted = corpus
            .count_loss_tokens(Split::Train, windows.target_tokens())
            .map_err(|error| corpus_error(&source.name, corpus.folder(), error))?;
        let (circle, epoch) = (u128::from(windows.circle()), u128::from(windows.targets()));
        let mean = (u128::from(counted) * epoch * 2 + circle) / (2 * circle);
        Ok(u64::try_from(mean).unwrap_or(counted).max(counted.min(1)))
    }

    /// Returns the timeline, which assigns slots to sources.
    pub(crate) fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Returns S, the sequences of an epoch of a source; `None` for a source that does not exist.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// assert_eq!(mixer.mixture().sequences(0), Some(100));
    /// assert_eq!(mixer.mixture().sequences(2), None);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn sequences(&self, source: u32) -> Option<u64> {
        self.windows.get(usize::try_from(source).ok()?).map(Windows::sequences)
    }

    /// Returns the windows of each source.
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
            shuffle_block: config.shuffle_block,
            weight_unit: config.weight_unit,
        }
    }
}

fn windows_of(source: &Source, shape: &MixtureShape) -> Result<Windows, Error> {
    let sequence_length = shape.sequence_length;
    let present = source.corpus.tokens(Split::Train);
    let (got, limit, fix) = match source.max_tokens {
        Some(limit) if limit < present => (limit, "in max_tokens", "raise it"),
        _ => (
            present,
            "in its training part",
            "prepare more text, hold less of it out, or shorten sequence_length",
        ),
    };
    let windows = match source.corpus.manifest().pack {
        None => Windows::new(got, sequence_length),
        Some(pack) if pack.sequence_length == sequence_length => {
            Windows::rows(got, sequence_length)
        }
        Some(pack) => {
            return Err(Error::Pack {
                name: source.name.clone(),
                path: source.corpus.folder().to_owned(),
                expected: sequence_length,
                got: pack.sequence_length,
            });
        }
    };
    let windows = windows.map(|windows| match shape.window_offset {
        WindowOffset::Anywhere => windows.anywhere(),
        WindowOffset::Epoch | WindowOffset::Fixed => windows,
    });
    windows.ok_or_else(|| Error::TooShort {
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
    let corpus = Corpus::open_lazily(&path, access)
        .map_err(|source| corpus_error(&config.name, &path, source))?;
    Ok(Source {
        name: config.name.clone(),
        corpus: Arc::new(corpus),
        weight: config.weight,
        max_tokens: config.max_tokens,
        max_epochs: config.max_epochs,
    })
}

pub(crate) fn corpus_error(name: &str, path: &Path, source: mixdown_shards::Error) -> Error {
    Error::Corpus { name: name.to_owned(), path: path.to_owned(), source: Box::new(source) }
}
