//! The inputs of a run: corpora and model, opened and checked against each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use mixdown_mixer::{Mixer, Mixture};
use mixdown_shards::{
    Access, Corpus, Fingerprint, NEAR_DUPLICATE, NearHoldoutTable, Split, overlap,
};
use rayon::prelude::ParallelIterator;
use rayon::slice::ParallelSlice;

use crate::config::model_choice::ModelChoice;
use crate::config::run_config::RunConfig;
use crate::config::run_file::OF_BASE;
use crate::error::Error;
use crate::evaluate::{Attention, Evaluation};
use crate::model::Model;
use crate::model::folder;
use crate::model::shape::{ModelShape, TokenizerFingerprint};

/// An opened evaluation corpus and its evaluation.
pub(crate) struct EvalInput {
    pub(crate) corpus: Corpus,
    /// The sequences of the reported loss; for the corpus that chooses the best step, they differ from those of the
    /// choice.
    pub(crate) evaluation: Evaluation,
}

/// The data of a run.
pub(crate) struct Inputs {
    pub(crate) mixer: Arc<Mixer>,
    pub(crate) evals: Vec<EvalInput>,
    /// The index of `eval.select` among the evaluations.
    pub(crate) select: usize,
    /// The range of attention.
    pub(crate) attention: Attention,
}

impl Inputs {
    /// Opens the corpora of `config`, whose paths are resolved.
    pub(crate) fn open(config: &RunConfig) -> Result<Self, Error> {
        // Paths are absolute or relative to the working directory by now.
        let mixer = Arc::new(Mixer::new(Mixture::open(&config.mixture, "".as_ref())?)?);
        mixer.check_run(config.train.steps.saturating_mul(config.mixture.batch_size))?;
        let attention = attention(config, &mixer);
        let mut evals = Vec::new();
        for eval in &config.eval.corpus {
            let corpus = Corpus::open(&eval.corpus, Access::Map)?;
            check_against_training(&corpus, eval.split, &mixer)?;
            let evaluation = Evaluation {
                name: eval.name.clone(),
                split: eval.split,
                sequence_length: config.mixture.sequence_length,
                sequences: config.eval.sequences,
                batch_size: config.mixture.batch_size,
                attention,
                part: config.eval.part(&eval.name),
            };
            evals.push(EvalInput { corpus, evaluation });
        }
        check_near_overlap(&evals, mixer.mixture())?;
        let select = config.eval.corpus.iter().position(|eval| eval.name == config.eval.select);
        let select = select.ok_or_else(|| {
            Error::setting("eval.select", "one of the eval.corpus names", &config.eval.select)
        })?;
        Ok(Self { mixer, evals, select, attention })
    }

    /// The corpus whose loss chooses best/ and whose tokenizer goes with the model.
    pub(crate) fn selecting_corpus(&self) -> &Corpus {
        &self.evals[self.select].corpus
    }

    /// Returns the shape of the model that `config` starts from, checked against all corpora, without its weights.
    pub(crate) fn shape(
        &self,
        config: &RunConfig,
        tokenizer: TokenizerFingerprint,
    ) -> Result<ModelShape, Error> {
        let length = config.mixture.sequence_length;
        let shape = match &config.model {
            ModelChoice::Init(folder) => {
                let mut shape = ModelShape::read(folder)?;
                shape.take_tokenizer(folder, tokenizer)?;
                shape
            }
            ModelChoice::Fresh(fresh) => ModelShape::fresh(&fresh.config(length))?,
        };
        let limit = shape.config.max_position_embeddings;
        if length > limit {
            let expected = format!("at most {limit} (the model's max_position_embeddings)");
            return Err(Error::setting("mixture.sequence_length", expected, length));
        }
        let sources = self.mixer.mixture().sources().iter().map(|source| &*source.corpus);
        sources
            .chain(self.evals.iter().map(|eval| &eval.corpus))
            .try_for_each(|corpus| shape.check_corpus(corpus))?;
        Ok(shape)
    }

    /// Loads or makes the model of that shape.
    pub(crate) fn model(&self, config: &RunConfig, shape: ModelShape) -> Result<Model, Error> {
        let mut model = match &config.model {
            ModelChoice::Init(folder) => Model::load_shape(folder, shape)?,
            ModelChoice::Fresh(fresh) => Model::fresh(shape, fresh.seed)?,
        };
        model.note_corpus(self.selecting_corpus().manifest());
        folder::complete(&mut model, self.selecting_corpus())?;
        Ok(model)
    }

    /// Returns the fingerprints of all corpora and of the initial model, by their use and name.
    pub(crate) fn fingerprints(
        &self,
        config: &RunConfig,
        model: &Model,
    ) -> BTreeMap<String, Fingerprint> {
        let mut all = BTreeMap::new();
        for source in self.mixer.mixture().sources() {
            all.insert(format!("source {}", source.name), source.corpus.fingerprint());
        }
        for eval in &self.evals {
            all.insert(format!("eval {}", eval.evaluation.name), eval.corpus.fingerprint());
        }
        if let ModelChoice::Init(_) = &config.model {
            let [weights, architecture] = OF_BASE.map(str::to_owned);
            all.insert(weights, weights_fingerprint(model.parameters()));
            all.insert(architecture, model.config().architecture_fingerprint());
        }
        all
    }
}

/// Returns a hash of the weights in the order of the layout, which does not depend on their files and precision.
fn weights_fingerprint(parameters: &[f32]) -> Fingerprint {
    let hashes: Vec<[u8; 32]> = parameters
        .par_chunks(1 << 20)
        .map(|part| {
            let bytes: Vec<u8> = part.iter().flat_map(|value| value.to_le_bytes()).collect();
            *Fingerprint::of(&bytes).as_bytes()
        })
        .collect();
    Fingerprint::of(hashes.as_flattened())
}

/// Returns the range of attention that the run sets; by default it is within documents if rows are packed.
fn attention(config: &RunConfig, mixer: &Mixer) -> Attention {
    let sources = mixer.mixture().sources().iter().map(|source| &*source.corpus);
    config.train.attention(sources)
}

/// Refuses an evaluation corpus of another tokenizer, or one whose held-out documents are training documents of another
/// corpus.
fn check_against_training(corpus: &Corpus, split: Split, mixer: &Mixer) -> Result<(), Error> {
    for source in mixer.mixture().sources() {
        let (expected, got) =
            (source.corpus.tokenizer_fingerprint(), corpus.tokenizer_fingerprint());
        if expected != got {
            return Err(Error::Tokenizer { path: corpus.folder().to_owned(), expected, got });
        }
        if split == Split::Train || corpus.fingerprint() == source.corpus.fingerprint() {
            continue;
        }
        let got = overlap(corpus, &source.corpus)?;
        if got > 0 {
            let train = source.corpus.folder().to_owned();
            return Err(Error::Overlap { path: corpus.folder().to_owned(), train, got });
        }
    }
    Ok(())
}

/// Refuses an evaluation corpus if near-duplicates of its held-out documents are trained on. The mixture has already
/// compared the corpora that are both.
fn check_near_overlap(evals: &[EvalInput], mixture: &Mixture) -> Result<(), Error> {
    let is_source = |corpus: &Corpus| {
        let mut sources = mixture.sources().iter();
        sources.any(|source| source.corpus.fingerprint() == corpus.fingerprint())
    };
    let held_out = evals.iter().filter(|eval| eval.evaluation.split == Split::Holdout);
    let corpora: Vec<&Corpus> =
        held_out.map(|eval| &eval.corpus).filter(|corpus| !is_source(corpus)).collect();
    let table = NearHoldoutTable::new(corpora.iter().copied(), NEAR_DUPLICATE);
    if table.is_empty() {
        return Ok(());
    }
    let trains: Vec<&Corpus> = mixture.sources().iter().map(|source| &*source.corpus).collect();
    let found = table.found_in(&trains).map_err(|(_, error)| error)?;
    for (source, found) in mixture.sources().iter().zip(found) {
        let mut found = corpora.iter().zip(found);
        if let Some((corpus, Some(got))) = found.find(|&(_, got)| got.is_some_and(|got| got > 0)) {
            let (path, train) = (corpus.folder().to_owned(), source.corpus.folder().to_owned());
            return Err(Error::NearOverlap { path, train, got });
        }
    }
    Ok(())
}
