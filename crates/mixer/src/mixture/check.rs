//! The checks that a mixture's numbers, names, weights and corpora fit each other.

use std::collections::{BTreeMap, BTreeSet};

use mixdown_shards::Corpus;

use crate::config::RunLength;
use crate::config::StageConfig;
use crate::error::Error;
use crate::mixture::{MixtureShape, Source, corpus_error};
use crate::weights::Weight;
use crate::weights::parts::{WeightParts, check_notations, too_many_sources};

/// The longest sequence and the largest batch: token counts of a batch then fit in 64 bits.
const LARGEST_SIDE: u64 = 1 << 31;

pub(crate) fn check_shape(shape: &MixtureShape) -> Result<(), Error> {
    check_side("sequence_length", shape.sequence_length)?;
    check_side("batch_size", shape.batch_size)?;
    match shape.shuffle_block {
        Some(0) => Err(Error::Setting {
            field: "shuffle_block".to_owned(),
            expected: "at least 1 (leave it out to shuffle whole epochs)".to_owned(),
            got: 0,
        }),
        _ => Ok(()),
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

pub(crate) fn check_max_epochs<'a>(
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

/// The sources from which a stage draws, by their position in the mixture, and their weights.
pub(crate) struct Shares {
    pub(crate) members: Vec<u32>,
    pub(crate) weights: Vec<Weight>,
}

impl Shares {
    /// Returns the shares of some sources, checked against each other.
    fn new<'a>(weights: impl Iterator<Item = (&'a str, Option<Weight>)>) -> Result<Self, Error> {
        let (mut members, mut names, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        for (place, (name, weight)) in (0_u32..).zip(weights) {
            if let Some(weight) = weight {
                members.push(place);
                names.push(name);
                shares.push(weight);
            }
        }
        if members.is_empty() {
            return Err(Error::NoWeights);
        }
        check_notations(&names, &shares)?;
        WeightParts::of_weights(&shares)?;
        Ok(Self { members, weights: shares })
    }
}

/// The shares of one stage.
pub(crate) enum StagePlan<'s> {
    Constant(Shares),
    Ramp {
        /// If none, the ramp starts from the previous shares.
        from: Option<Shares>,
        to: Shares,
        over: &'s RunLength,
    },
}

/// Returns the shares at the beginning, if the sources have any, and those of each stage: everything that can be
/// checked without a corpus.
pub(crate) fn shares_of_stages<'a, 's>(
    weights: impl ExactSizeIterator<Item = (&'a str, Option<Weight>)> + Clone,
    stages: &'s [StageConfig],
) -> Result<(Option<Shares>, Vec<StagePlan<'s>>), Error> {
    check_names(weights.clone().map(|(name, _)| name))?;
    let has_weights = weights.clone().any(|(_, weight)| weight.is_some());
    // A ramp from the beginning on may define its own starting shares.
    let brings_own = stages.first().is_some_and(|stage| stage.from.is_some());
    let first = match has_weights || !brings_own {
        true => Some(Shares::new(weights.clone())?),
        false => None,
    };
    let shares = |number, given: &BTreeMap<String, Weight>| {
        let unknown = |name: &&String| weights.clone().all(|(source, _)| source != name.as_str());
        if let Some(name) = given.keys().find(unknown) {
            return Err(Error::StageSource { number, name: name.clone() });
        }
        Shares::new(weights.clone().map(|(name, _)| (name, given.get(name).copied())))
    };
    let plans = (1..).zip(stages).map(|(number, stage)| {
        match (stage.weights.is_empty(), &stage.from, &stage.to, &stage.over) {
            (_, None, None, None) => Ok(StagePlan::Constant(shares(number, &stage.weights)?)),
            (true, from, Some(to), Some(over)) => {
                let from = from.as_ref().map(|from| shares(number, from)).transpose()?;
                Ok(StagePlan::Ramp { from, to: shares(number, to)?, over })
            }
            (true, _, None, _) => Err(Error::StageShape { number, got: "a ramp without `to`" }),
            (true, _, _, None) => Err(Error::StageShape { number, got: "a ramp without `over`" }),
            (false, ..) => Err(Error::StageShape {
                number,
                got: "`weights` and a ramp's `from`, `to` or `over`",
            }),
        }
    });
    let plans = plans.collect::<Result<_, _>>()?;
    Ok((first, plans))
}

pub(crate) fn check_tokenizers(sources: &[Source]) -> Result<(), Error> {
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

/// Holdout documents of one source that the training split of another one contains.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overlap<'s> {
    /// The number of the holdout's source, of those that have one.
    pub(crate) place: usize,
    pub(crate) holdout: &'s Source,
    pub(crate) train: &'s Source,
    pub(crate) documents: u64,
}

/// Returns the first overlap in the order of the holdouts, then of the training splits; `found_in` returns the number
/// of documents of each holdout that a training split contains, `None` where it is unknown.
pub(crate) fn first_overlap<'s>(
    holdouts: &[&'s Source],
    sources: &'s [Source],
    mut found_in: impl FnMut(&Corpus) -> Result<Vec<Option<u64>>, mixdown_shards::Error>,
) -> Result<Option<Overlap<'s>>, Error> {
    let mut first: Option<Overlap<'s>> = None;
    for train in sources {
        let found = found_in(&train.corpus)
            .map_err(|error| corpus_error(&train.name, train.corpus.folder(), error))?;
        for (place, (holdout, documents)) in holdouts.iter().zip(found).enumerate() {
            // `prepare` has compared the parts of one corpus.
            let other = holdout.corpus.fingerprint() != train.corpus.fingerprint();
            let documents = documents.filter(|&documents| other && documents > 0);
            if let Some(documents) = documents
                && first.is_none_or(|first| place < first.place)
            {
                first = Some(Overlap { place, holdout, train, documents });
            }
        }
    }
    Ok(first)
}

impl Overlap<'_> {
    /// Returns the error for near-duplicates.
    pub(crate) fn near(self) -> Error {
        let Self { holdout, train, documents: got, .. } = self;
        Error::NearOverlap {
            holdout: holdout.name.clone(),
            path: holdout.corpus.folder().to_owned(),
            train: train.name.clone(),
            train_path: train.corpus.folder().to_owned(),
            got,
        }
    }

    /// Returns the error for equal texts.
    pub(crate) fn exact(self) -> Error {
        let Self { holdout, train, documents: got, .. } = self;
        Error::Overlap {
            holdout: holdout.name.clone(),
            path: holdout.corpus.folder().to_owned(),
            train: train.name.clone(),
            train_path: train.corpus.folder().to_owned(),
            got,
        }
    }
}
