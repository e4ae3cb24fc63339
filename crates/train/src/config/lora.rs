//! `[train.lora]`: adapters of low rank (Hu et al., ICLR 2022) in PEFT's terms.

use mixdown_base::quantity::field;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::model::config::Family;

/// `[train.lora]`: the adapter that is trained instead of the model's weights.
///
/// A target matrix W \[outputs, inputs\] becomes `W + alpha / rank · B · A` with A \[rank, inputs\] and B \[outputs,
/// rank\]. Only A and B are trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rows of A and columns of B.
    #[serde(default = "defaults::rank", deserialize_with = "field::count")]
    pub rank: u64,
    /// The adapter's weight is `alpha / rank`.
    #[serde(default = "defaults::alpha")]
    pub alpha: f64,
    /// The matrices that get an adapter; by default PEFT's choice for the model's family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<LoraTargets>,
}

/// The matrices that get an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "\"all-linear\", or names of modules such as [\"q_proj\", \"v_proj\"]"
)]
pub enum LoraTargets {
    /// A preset.
    Preset(LoraPreset),
    /// Names of modules: the end of a module's path, from a dot on, as in PEFT.
    Names(Vec<String>),
}

/// A known choice of matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoraPreset {
    /// All matrices of all blocks.
    AllLinear,
}

/// The defaults: PEFT's rank, and the usual adapter weight of 2.
mod defaults {
    pub(crate) fn rank() -> u64 {
        8
    }
    pub(crate) fn alpha() -> f64 {
        16.0
    }
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self { rank: defaults::rank(), alpha: defaults::alpha(), targets: None }
    }
}

impl LoraTargets {
    /// Returns PEFT's default targets for a family.
    fn usual(family: Family) -> &'static [&'static str] {
        match family {
            Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => {
                &["q_proj", "v_proj"]
            }
            Family::Gpt2 => &["c_attn"],
            Family::GptNeoX => &["query_key_value"],
        }
    }
}

impl LoraConfig {
    /// Returns the targets by name, and which of a model's `modules` they select.
    ///
    /// # Errors
    /// A name matches the end of no module; there is no name.
    pub(crate) fn chosen(
        &self,
        family: Family,
        modules: &[&str],
    ) -> Result<(Vec<String>, Vec<bool>), Error> {
        let mut candidates: Vec<&str> =
            modules.iter().filter_map(|module| module.rsplit('.').next()).collect();
        candidates.sort_unstable();
        candidates.dedup();
        let names: Vec<&str> = match &self.targets {
            Some(LoraTargets::Preset(LoraPreset::AllLinear)) => candidates.clone(),
            Some(LoraTargets::Names(names)) => names.iter().map(String::as_str).collect(),
            None => LoraTargets::usual(family).to_vec(),
        };
        let is_idle = |name: &&&str| !modules.iter().any(|module| is_named(module, name));
        let idle = names.iter().find(is_idle).map(|name| format!("{name:?}"));
        if let Some(got) = idle.or_else(|| names.is_empty().then(|| "none".to_owned())) {
            let expected = format!("\"all-linear\", or some of {candidates:?}");
            return Err(Error::setting("train.lora.targets", expected, got));
        }
        let chosen = |module: &&str| names.iter().any(|name| is_named(module, name));
        let chosen = modules.iter().map(chosen).collect();
        Ok((names.into_iter().map(str::to_owned).collect(), chosen))
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.rank == 0 {
            return Err(Error::setting("train.lora.rank", "at least 1", self.rank));
        }
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return Err(Error::setting("train.lora.alpha", "a number above 0", self.alpha));
        }
        Ok(())
    }
}

/// Returns whether a module's path is `name`, or ends with a dot and `name`.
fn is_named(module: &str, name: &str) -> bool {
    module.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::{LoraConfig, LoraPreset, LoraTargets};
    use crate::model::config::Family;

    const MODULES: [&str; 4] = ["h.0.attn.c_attn", "h.0.attn.c_proj", "h.0.mlp.c_proj", "h.0.up"];

    fn chosen(targets: Option<LoraTargets>) -> Result<Vec<bool>, String> {
        let config = LoraConfig { targets, ..LoraConfig::default() };
        let chosen = config.chosen(Family::Gpt2, &MODULES);
        chosen.map(|(_, chosen)| chosen).map_err(|error| error.to_string())
    }

    fn names(names: &[&str]) -> Option<LoraTargets> {
        Some(LoraTargets::Names(names.iter().map(|name| (*name).to_owned()).collect()))
    }

    #[test]
    fn targets_are_ends_of_paths_from_a_dot_on() {
        assert_eq!(chosen(None), Ok(vec![true, false, false, false]));
        assert_eq!(chosen(names(&["c_proj", "up"])), Ok(vec![false, true, true, true]));
        assert_eq!(chosen(names(&["mlp.c_proj"])), Ok(vec![false, false, true, false]));
        assert_eq!(chosen(names(&["h.0.up"])), Ok(vec![false, false, false, true]));
        let all = LoraTargets::Preset(LoraPreset::AllLinear);
        assert_eq!(chosen(Some(all)), Ok(vec![true; 4]));
        let expected = "train.lora.targets: expected \"all-linear\", or some of \
                        [\"c_attn\", \"c_proj\", \"up\"], got ";
        for (targets, got) in
            [(vec!["up", "q_proj"], "\"q_proj\""), (vec!["p"], "\"p\""), (vec![], "none")]
        {
            assert_eq!(chosen(names(&targets)).unwrap_err(), format!("{expected}{got}"));
        }
    }

    #[test]
    fn toml_gives_presets_names_and_defaults() {
        let parse = |text: &str| toml::from_str::<LoraConfig>(text).map_err(|e| e.to_string());
        assert_eq!(parse("").unwrap(), LoraConfig { rank: 8, alpha: 16.0, targets: None });
        let all = parse("targets = 'all-linear'").unwrap();
        assert_eq!(all.targets, Some(LoraTargets::Preset(LoraPreset::AllLinear)));
        assert_eq!(parse(&toml::to_string(&all).unwrap()).unwrap(), all);
        assert_eq!(parse("targets = ['a']").unwrap().targets, names(&["a"]));
        assert!(parse("targets = 'al-linear'").unwrap_err().contains("\"all-linear\", or names"));
        assert!(parse("dropout = 0.1").unwrap_err().contains("unknown field `dropout`"));
        let error = |text: &str| parse(text).unwrap().check().unwrap_err().to_string();
        assert_eq!(error("rank = 0"), "train.lora.rank: expected at least 1, got 0");
        for alpha in ["0.0", "-1.0", "nan", "inf"] {
            let error = error(&format!("alpha = {alpha}"));
            assert!(error.starts_with("train.lora.alpha: expected a number above 0"), "{error}");
        }
    }
}
