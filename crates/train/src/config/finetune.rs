//! What a model that is finetuned gets where its run does not say: a pretrained model forgets at rates that a fresh one
//! needs.

/// Highest learning rates of full finetuning by the model's parameters: those below the number get the rate.
///
/// They are a tenth of what models of the size are pretrained with (Brown et al., 2020, table 2.1: 6e-4 for 125M, 2e-4
/// for 1.3B, 1.2e-4 for 6.7B), and those in use: 5e-5 for models of GPT-2's size (the default of `transformers`),
/// 2e-5 for 1B (the default of TRL), 1e-5 for 7B.
const RATES: [(u64, Rates); 4] = [
    (10_000_000, Rates { full: 3e-4, adapter: 3e-3 }),
    (50_000_000, Rates { full: 1e-4, adapter: 1e-3 }),
    (500_000_000, Rates { full: 5e-5, adapter: 5e-4 }),
    (3_000_000_000, Rates { full: 2e-5, adapter: 2e-4 }),
];
/// Those of all larger models.
const LEAST_RATES: Rates = Rates { full: 1e-5, adapter: 1e-4 };

/// The highest learning rates for a model of some size: for all of its weights, and for adapters of low rank.
#[derive(Clone, Copy)]
struct Rates {
    full: f64,
    adapter: f64,
}

fn rates(parameters: u64) -> Rates {
    let fits = |(below, _): &(u64, Rates)| parameters < *below;
    RATES.into_iter().find(fits).map_or(LEAST_RATES, |(_, rates)| rates)
}

/// The highest learning rate for finetuning all weights of a model of so many `parameters`, where nothing else is said.
pub fn finetuning_rate(parameters: u64) -> f64 {
    rates(parameters).full
}

/// The highest learning rate for adapters of low rank, where nothing else is said: ten times that of all weights
/// (Biderman et al., LoRA Learns Less and Forgets Less, 2024).
pub fn adapter_rate(parameters: u64) -> f64 {
    rates(parameters).adapter
}

#[cfg(test)]
mod tests {
    use super::{adapter_rate, finetuning_rate};

    #[test]
    fn larger_models_get_lower_rates() {
        let millions = [1, 10, 49, 50, 135, 500, 1300, 3000, 70_000];
        let rates = millions.map(|millions| finetuning_rate(millions * 1_000_000));
        let expected = [3e-4_f64, 1e-4, 1e-4, 5e-5, 5e-5, 2e-5, 2e-5, 1e-5, 1e-5];
        assert_eq!(rates.map(f64::to_bits), expected.map(f64::to_bits));
        assert!((adapter_rate(135_000_000) - 5e-4).abs() < 1e-12);
    }
}
