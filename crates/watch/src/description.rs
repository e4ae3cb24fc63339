//! The part of a run's description that a view shows.

use mixdown_mixer::Weight;
use serde::Deserialize;

use crate::view::text::to_f64;

/// The part of run.toml that a view needs. Everything may be missing and other keys may be present, so that a view does
/// not fail because of a file of another version.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Description {
    /// The id of the run in tables.
    pub run_id: String,
    /// The name that is shown to people.
    pub title: String,
    train: Train,
    eval: Eval,
    mixture: Mixture,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Train {
    steps: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Eval {
    select: Option<String>,
    pretraining: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Mixture {
    seed: Option<u64>,
    source: Vec<Source>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Source {
    name: String,
    weight: Option<Weight>,
    max_tokens: Option<u64>,
}

impl Description {
    /// Reads the description from the text of a run.toml; `None` if the text is something else.
    pub fn parse(text: &str) -> Option<Self> {
        toml::from_str(text).ok()
    }

    /// Returns the largest number of steps.
    pub fn steps(&self) -> Option<u64> {
        self.train.steps
    }

    /// Returns the corpus whose loss chooses the best step.
    pub fn select(&self) -> &str {
        self.eval.select.as_deref().unwrap_or("target")
    }

    /// Returns the corpus on which the change of the loss is forgetting.
    pub fn pretraining(&self) -> Option<&str> {
        self.eval.pretraining.as_deref()
    }

    /// Returns the seed of the order of the data.
    pub fn seed(&self) -> Option<u64> {
        self.mixture.seed
    }

    /// Returns D, the largest number of unique target tokens.
    pub fn target_tokens(&self) -> Option<u64> {
        self.mixture.source.iter().find(|source| source.name == self.select())?.max_tokens
    }

    /// Returns p, the share of pretraining data; `None` for a pretraining run.
    pub fn inject(&self) -> Option<f64> {
        let pretraining = self.pretraining()?;
        let weight = |source: &Source| {
            let weight = source.weight.as_ref()?;
            Some(to_f64(weight.numerator()) / to_f64(weight.denominator()))
        };
        let sources = &self.mixture.source;
        let total: f64 = sources.iter().map(weight).sum::<Option<f64>>()?;
        let own = sources.iter().filter(|source| source.name == pretraining);
        let share = own.filter_map(weight).sum::<f64>() / total;
        share.is_finite().then_some(share)
    }
}

#[cfg(test)]
mod tests {
    use super::Description;

    const RUN: &str = "title = 'p'\n[train]\nsteps = 9\nnew_setting = [1]\n[eval]\npretraining = 'general'\n\
                       [mixture]\nseed = 7\n[[mixture.source]]\nname = 'target'\nweight = '99'\nmax_tokens = 500\n\
                       [[mixture.source]]\nname = 'general'\nweight = '1'\n";

    #[test]
    fn what_is_there_is_read_and_the_rest_is_passed_over() {
        let run = Description::parse(RUN).unwrap();
        assert_eq!((run.title.as_str(), run.steps(), run.select()), ("p", Some(9), "target"));
        assert_eq!((run.seed(), run.target_tokens()), (Some(7), Some(500)));
        assert!((run.inject().unwrap() - 0.01).abs() < 1e-12);
        assert_eq!(Description::parse(""), Some(Description::default()));
        assert_eq!(Description::default().inject(), None);
        assert_eq!(Description::parse("title = "), None);
    }
}
