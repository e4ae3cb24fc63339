//! All that a run reads, opened and checked against each other.

use std::collections::BTreeMap;

use mixdown_mixer::{Mixer, Mixture};
use mixdown_shards::{Access, Corpus, Fingerprint, Split, overlap};

use crate::error::Error;
use crate::evaluate::Evaluation;
use crate::files::{WEIGHTS_FILE, read_capped};
use crate::model::Model;
use crate::model_choice::ModelChoice;
use crate::run_config::RunConfig;
use crate::weights_file::LARGEST_WEIGHTS_BYTES;

/// An opened evaluation corpus and what is measured on it.
pub(crate) struct EvalInput {
    pub(crate) corpus: Corpus,
    pub(crate) evaluation: Evaluation,
}

/// The data of a run.
pub(crate) struct Inputs {
    pub(crate) mixer: Mixer,
    pub(crate) evals: Vec<EvalInput>,
    /// The place of `eval.select` among the evaluations.
    pub(crate) select: usize,
}

impl Inputs {
    /// Opens the corpora of `config`, whose paths are resolved.
    pub(crate) fn open(config: &RunConfig) -> Result<Self, Error> {
        // Paths are absolute or relative to the working directory by now.
        let mixer = Mixer::new(Mixture::open(&config.mixture, "".as_ref())?)?;
        mixer.check_run(config.train.steps.saturating_mul(config.mixture.batch_size))?;
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
            };
            evals.push(EvalInput { corpus, evaluation });
        }
        let select = config.eval.corpus.iter().position(|eval| eval.name == config.eval.select);
        let select = select.ok_or_else(|| {
            Error::setting("eval.select", "one of the eval.corpus names", &config.eval.select)
        })?;
        Ok(Self { mixer, evals, select })
    }

    /// The corpus whose loss chooses best/ and whose tokenizer goes with the model.
    pub(crate) fn selecting_corpus(&self) -> &Corpus {
        &self.evals[self.select].corpus
    }

    /// The model that `config` starts from, checked against all corpora.
    pub(crate) fn model(&self, config: &RunConfig) -> Result<Model, Error> {
        let mut model = match &config.model {
            ModelChoice::Init(folder) => Model::load(folder)?,
            ModelChoice::Fresh(fresh) => {
                Model::new(&fresh.config(config.mixture.sequence_length), fresh.seed)?
            }
        };
        let limit = model.config().max_position_embeddings;
        if config.mixture.sequence_length > limit {
            let expected = format!("at most {limit} (the model's max_position_embeddings)");
            let got = config.mixture.sequence_length;
            return Err(Error::setting("mixture.sequence_length", expected, got));
        }
        let sources = self.mixer.mixture().sources().iter().map(|source| &*source.corpus);
        sources
            .chain(self.evals.iter().map(|eval| &eval.corpus))
            .try_for_each(|corpus| model.check_corpus(corpus))?;
        model.note_corpus(self.selecting_corpus().manifest());
        Ok(model)
    }

    /// The fingerprints of all corpora and of the initial weights, by their use and name.
    pub(crate) fn fingerprints(
        &self,
        config: &RunConfig,
    ) -> Result<BTreeMap<String, Fingerprint>, Error> {
        let mut all = BTreeMap::new();
        for source in self.mixer.mixture().sources() {
            all.insert(format!("source {}", source.name), source.corpus.fingerprint());
        }
        for eval in &self.evals {
            all.insert(format!("eval {}", eval.evaluation.name), eval.corpus.fingerprint());
        }
        if let ModelChoice::Init(folder) = &config.model {
            let path = folder.join(WEIGHTS_FILE);
            let bytes = read_capped(&path, LARGEST_WEIGHTS_BYTES)?;
            all.insert("init".to_owned(), Fingerprint::of(&bytes));
        }
        Ok(all)
    }
}

/// Refuses an evaluation corpus of another tokenizer, or one whose held-out documents are trained
/// on by way of another corpus.
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
