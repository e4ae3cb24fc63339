//! The laws as the search sees them: each a sum of terms that are linear in one coefficient.

/// The largest number of coefficients inside the terms of a law.
pub(crate) const NONLINEAR: usize = 5;
/// The largest number of coefficients of a law in all.
pub(crate) const COORDINATES: usize = 10;

/// The coordinates of the search: the coefficients inside the terms, then those before them (their logarithm if they
/// are positive). Unused coordinates are 0.
pub(crate) type Point = [f64; COORDINATES];

/// One observation on normalized inputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NormalizedRow {
    /// The loss that the law's terms are added to: the loss before finetuning, or 0.
    pub base: f64,
    /// ln(N/N₀).
    pub ln_size: f64,
    /// ln(D/D₀).
    pub ln_tokens: f64,
    /// p.
    pub share: f64,
    /// Repetitions of the target data beyond the first pass.
    pub repetitions: f64,
    /// The measured loss.
    pub measured: f64,
    /// Its logarithm.
    pub ln_measured: f64,
    /// Configuration, counted from 0.
    pub configuration: usize,
}

/// The range in which a coefficient inside a term is searched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SearchRange {
    /// Bounds; equal ones freeze it.
    pub low: f64,
    pub high: f64,
    /// The first and the last point of the coarse grid, and the number of points.
    pub grid: (f64, f64, u32),
    /// Whether the grid is even in the logarithm.
    pub logarithmic: bool,
}

impl SearchRange {
    /// The range of a coefficient that is not searched.
    pub fn frozen(at: f64) -> Self {
        Self { low: at, high: at, grid: (at, at, 1), logarithmic: false }
    }

    pub fn is_frozen(&self) -> bool {
        self.low >= self.high
    }

    /// Returns the points of the coarse grid.
    pub fn points(&self) -> Vec<f64> {
        let (first, last, count) = self.grid;
        let step = 1.0 / f64::from(count.saturating_sub(1).max(1));
        let at = |k: u32| {
            let share = step * f64::from(k);
            if self.logarithmic {
                first * (last / first).powf(share)
            } else {
                first + (last - first) * share
            }
        };
        (0..count).map(at).collect()
    }
}

/// The values that a coefficient before a term may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinearCoefficient {
    /// Above 0: its coordinate is its logarithm.
    Positive,
    /// Any number.
    Free,
    /// 1, not searched.
    One,
}

/// A term without its coefficient, and its derivatives by the coefficients inside.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Term {
    pub value: f64,
    pub gradient: [f64; NONLINEAR],
}

/// A law of the form `loss = base + Σ coefficient · term(inside; row)`.
pub(crate) trait Form: Sync {
    /// The coefficients inside the terms.
    fn nonlinear(&self) -> Vec<SearchRange>;
    /// The coefficients before the terms.
    fn linear(&self) -> Vec<LinearCoefficient>;
    /// The terms for one row, as many as [`Self::linear`] has.
    fn terms(&self, inside: &[f64], row: &NormalizedRow, terms: &mut [Term]);
}

/// Returns how many coefficients of a law are searched.
pub(crate) fn searched(form: &dyn Form) -> usize {
    let inside = form.nonlinear().iter().filter(|range| !range.is_frozen()).count();
    inside + form.linear().iter().filter(|kind| **kind != LinearCoefficient::One).count()
}

/// α of the forgetting law.
const ALPHA: SearchRange =
    SearchRange { low: 1e-3, high: 10.0, grid: (0.03, 4.0, 9), logarithmic: true };
/// β of the forgetting law.
const BETA: SearchRange =
    SearchRange { low: -3.0, high: 5.0, grid: (-1.0, 3.0, 9), logarithmic: false };
/// Exponents of the laws of a loss.
const EXPONENT: SearchRange =
    SearchRange { low: 1e-3, high: 5.0, grid: (0.02, 2.0, 12), logarithmic: true };

/// How the share enters the forgetting law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Injection {
    /// `((1 + B·p)·N)^α`.
    Factor,
    /// `(1 + B·p)^γ · N^α`.
    OwnExponent,
    /// `(N + B·N₀·p)^α`.
    Additive,
}

/// `base + A·D^β/((1 + B·p)·N)^α`, and its variants.
#[derive(Debug, Clone)]
pub(crate) struct ForgettingForm {
    pub injection: Injection,
    /// Whether a constant is added.
    pub offset: bool,
    /// Whether D takes several values; with only one, β is fixed.
    pub several_tokens: bool,
    /// Bounds of ln B.
    pub ln_b: (f64, f64),
    /// A row at which the forgetting is given, with the logarithm of that forgetting; it takes the place of A.
    pub through: Option<(NormalizedRow, f64)>,
}

impl ForgettingForm {
    /// Returns the law for shares from `least` (above 0) to `largest`: B is searched from "one hundredth of an effect
    /// at the largest share" to "saturated at the smallest".
    pub fn new(several_tokens: bool, least: f64, largest: f64) -> Self {
        Self {
            injection: Injection::Factor,
            offset: false,
            several_tokens,
            ln_b: ((1e-2 / largest).ln(), (1e5 / least).ln()),
            through: None,
        }
    }

    /// Returns the logarithm of N·(1 + B·p) and its derivative by ln B.
    fn ln_effective_size(&self, b: f64, row: &NormalizedRow) -> (f64, f64) {
        let injected = b * row.share;
        match self.injection {
            Injection::Additive => {
                let size = row.ln_size.exp();
                ((size + injected).ln(), injected / (size + injected))
            }
            _ => (row.ln_size + injected.ln_1p(), injected / (1.0 + injected)),
        }
    }
}

impl Form for ForgettingForm {
    fn nonlinear(&self) -> Vec<SearchRange> {
        let (low, high) = self.ln_b;
        let ln_b = SearchRange { low, high, grid: (low + 2.0, high - 4.0, 10), logarithmic: false };
        let beta = if self.several_tokens { BETA } else { SearchRange::frozen(0.0) };
        let mut ranges = vec![ALPHA, beta, ln_b];
        if self.injection == Injection::OwnExponent {
            ranges.push(SearchRange { grid: (0.1, 3.0, 4), ..ALPHA });
        }
        ranges
    }

    fn linear(&self) -> Vec<LinearCoefficient> {
        let first = if self.through.is_some() {
            LinearCoefficient::One
        } else {
            LinearCoefficient::Positive
        };
        if self.offset { vec![first, LinearCoefficient::Free] } else { vec![first] }
    }

    fn terms(&self, inside: &[f64], row: &NormalizedRow, terms: &mut [Term]) {
        let [alpha, beta, ln_b, rest @ ..] = inside else { return };
        let b = ln_b.exp();
        let (mut size, mut by_ln_b) = self.ln_effective_size(b, row);
        let (mut tokens, mut ln_value) = (row.ln_tokens, 0.0);
        if let Some((through, ln_forgetting)) = &self.through {
            let (there, slope) = self.ln_effective_size(b, through);
            size -= there;
            by_ln_b -= slope;
            tokens -= through.ln_tokens;
            ln_value = *ln_forgetting;
        }
        let Some((first, others)) = terms.split_first_mut() else { return };
        if let [gamma] = rest {
            let ln_share = (b * row.share).ln_1p();
            first.value = (beta * tokens - alpha * row.ln_size - gamma * ln_share).exp();
            first.gradient = [-row.ln_size, tokens, -gamma * by_ln_b, -ln_share, 0.0];
        } else {
            first.value = (ln_value + beta * tokens - alpha * size).exp();
            first.gradient = [-size, tokens, -alpha * by_ln_b, 0.0, 0.0];
        }
        first.gradient = first.gradient.map(|slope| slope * first.value);
        for constant in others {
            *constant = Term { value: 1.0, gradient: [0.0; 5] };
        }
    }
}

/// `E + A/(N^α·D^β)`, optionally with `C·p`.
#[derive(Debug, Clone)]
pub(crate) struct TargetForm {
    pub several_sizes: bool,
    pub several_tokens: bool,
    pub with_share: bool,
    /// A row at which the loss is given, with that loss; it takes the place of E.
    pub through: Option<(NormalizedRow, f64)>,
}

impl Form for TargetForm {
    fn nonlinear(&self) -> Vec<SearchRange> {
        let searched = |several| if several { EXPONENT } else { SearchRange::frozen(0.0) };
        vec![searched(self.several_sizes), searched(self.several_tokens)]
    }

    fn linear(&self) -> Vec<LinearCoefficient> {
        let constant = if self.through.is_some() {
            LinearCoefficient::One
        } else {
            LinearCoefficient::Positive
        };
        let mut linear = vec![LinearCoefficient::Positive, constant];
        linear.extend(self.with_share.then_some(LinearCoefficient::Free));
        linear
    }

    fn terms(&self, inside: &[f64], row: &NormalizedRow, terms: &mut [Term]) {
        let [alpha, beta] = inside else { return };
        let at = |row: &NormalizedRow| {
            let value = (-alpha * row.ln_size - beta * row.ln_tokens).exp();
            let gradient = [-row.ln_size * value, -row.ln_tokens * value, 0.0, 0.0, 0.0];
            Term { value, gradient }
        };
        let mut reducible = at(row);
        let mut known = 1.0;
        if let Some((through, loss)) = &self.through {
            let there = at(through);
            reducible.value -= there.value;
            reducible.gradient[0] -= there.gradient[0];
            reducible.gradient[1] -= there.gradient[1];
            known = *loss;
        }
        fill(terms, &[reducible, constant(known), constant(row.share)]);
    }
}

/// `E + A/N^α + B/D^β` (Hoffmann et al. 2022); with `data_constrained` D becomes
/// `U + U·R*·(1 − e^(−R/R*))` for U unique tokens and R repetitions (Muennighoff et al. 2023).
#[derive(Debug, Clone)]
pub(crate) struct ChinchillaForm {
    pub data_constrained: bool,
}

impl Form for ChinchillaForm {
    fn nonlinear(&self) -> Vec<SearchRange> {
        let mut ranges = vec![EXPONENT, EXPONENT];
        if self.data_constrained {
            ranges.push(SearchRange {
                low: -3.0,
                high: 7.0,
                grid: (0.0, 5.0, 4),
                logarithmic: false,
            });
        }
        ranges
    }

    fn linear(&self) -> Vec<LinearCoefficient> {
        vec![LinearCoefficient::Positive; 3]
    }

    fn terms(&self, inside: &[f64], row: &NormalizedRow, terms: &mut [Term]) {
        let [alpha, beta, rest @ ..] = inside else { return };
        let size = (-alpha * row.ln_size).exp();
        let (mut ln_tokens, mut slope) = (row.ln_tokens, 0.0);
        if let [ln_worth] = rest {
            // worth·(1 − e^(−R/worth)) repetitions' worth of fresh data.
            let worth = ln_worth.exp();
            let decay = (-row.repetitions / worth).exp();
            let fresh = worth * -(-row.repetitions / worth).exp_m1();
            ln_tokens += fresh.ln_1p();
            slope = (fresh - row.repetitions * decay) / (1.0 + fresh);
        }
        let tokens = (-beta * ln_tokens).exp();
        let by_size = [-row.ln_size * size, 0.0, 0.0, 0.0, 0.0];
        let by_tokens = [0.0, -ln_tokens * tokens, -beta * slope * tokens, 0.0, 0.0];
        let all = [
            Term { value: size, gradient: by_size },
            Term { value: tokens, gradient: by_tokens },
            constant(1.0),
        ];
        fill(terms, &all);
    }
}

/// `E + A/N^α + B·r^η/D^β + C/(r + ε)^γ`, r the share of the corpus evaluated (Que et al. 2024).
#[derive(Debug, Clone)]
pub(crate) struct DomainSharesForm {
    /// Whether r is p (pretraining loss) or 1 − p (target loss).
    pub of_pretraining: bool,
}

impl Form for DomainSharesForm {
    fn nonlinear(&self) -> Vec<SearchRange> {
        let coarse = |points| SearchRange { grid: (0.05, 1.0, points), ..EXPONENT };
        let epsilon =
            SearchRange { low: -14.0, high: 0.0, grid: (-9.0, -3.0, 3), logarithmic: false };
        vec![coarse(4), coarse(4), coarse(3), coarse(4), epsilon]
    }

    fn linear(&self) -> Vec<LinearCoefficient> {
        vec![LinearCoefficient::Positive; 4]
    }

    fn terms(&self, inside: &[f64], row: &NormalizedRow, terms: &mut [Term]) {
        let [alpha, beta, eta, gamma, ln_epsilon] = inside else { return };
        let share = if self.of_pretraining { row.share } else { 1.0 - row.share };
        let size = (-alpha * row.ln_size).exp();
        let ln_share = share.max(1e-12).ln();
        let tokens = (eta * ln_share - beta * row.ln_tokens).exp();
        let epsilon = ln_epsilon.exp();
        let ln_rest = (share + epsilon).ln();
        let rest = (-gamma * ln_rest).exp();
        let by_epsilon = -gamma * rest * epsilon / (share + epsilon);
        let all = [
            constant(1.0),
            Term { value: size, gradient: [-row.ln_size * size, 0.0, 0.0, 0.0, 0.0] },
            Term {
                value: tokens,
                gradient: [0.0, -row.ln_tokens * tokens, ln_share * tokens, 0.0, 0.0],
            },
            Term { value: rest, gradient: [0.0, 0.0, 0.0, -ln_rest * rest, by_epsilon] },
        ];
        fill(terms, &all);
    }
}

fn constant(value: f64) -> Term {
    Term { value, gradient: [0.0; 5] }
}

fn fill(terms: &mut [Term], all: &[Term]) {
    for (term, value) in terms.iter_mut().zip(all) {
        *term = *value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(share: f64) -> NormalizedRow {
        NormalizedRow {
            base: 2.0,
            ln_size: 0.7,
            ln_tokens: -0.4,
            share,
            repetitions: 3.0,
            measured: 2.5,
            ln_measured: 2.5_f64.ln(),
            configuration: 0,
        }
    }

    fn values(form: &dyn Form, inside: &[f64], row: &NormalizedRow) -> Vec<Term> {
        let mut terms = [Term::default(); NONLINEAR];
        let len = form.linear().len();
        form.terms(inside, row, &mut terms[..len]);
        terms[..len].to_vec()
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let forgetting = ForgettingForm::new(true, 0.001, 0.05);
        let own = ForgettingForm { injection: Injection::OwnExponent, ..forgetting.clone() };
        let additive = ForgettingForm { injection: Injection::Additive, ..forgetting.clone() };
        let through = ForgettingForm { through: Some((row(0.3), -1.0)), ..forgetting.clone() };
        let target = TargetForm {
            several_sizes: true,
            several_tokens: true,
            with_share: true,
            through: None,
        };
        let target_through = TargetForm { through: Some((row(0.0), 1.5)), ..target.clone() };
        let forms: Vec<(Box<dyn Form>, Vec<f64>)> = vec![
            (Box::new(forgetting), vec![0.5, 0.3, 6.0]),
            (Box::new(own), vec![0.5, 0.3, 6.0, 0.8]),
            (Box::new(additive), vec![0.5, 0.3, 4.0]),
            (Box::new(through), vec![0.5, 0.3, 6.0]),
            (Box::new(target), vec![0.3, 0.2]),
            (Box::new(target_through), vec![0.3, 0.2]),
            (Box::new(ChinchillaForm { data_constrained: false }), vec![0.3, 0.2]),
            (Box::new(ChinchillaForm { data_constrained: true }), vec![0.3, 0.2, 1.5]),
            (Box::new(DomainSharesForm { of_pretraining: true }), vec![0.3, 0.2, 0.4, 0.3, -5.0]),
        ];
        for (number, (form, inside)) in forms.iter().enumerate() {
            let row = NormalizedRow { ln_size: -0.2, ln_tokens: 0.9, ..row(0.01) };
            let exact = values(form.as_ref(), inside, &row);
            for k in 0..inside.len() {
                let step = 1e-6;
                let moved = |sign: f64| {
                    let mut inside = inside.clone();
                    inside[k] += sign * step;
                    values(form.as_ref(), &inside, &row)
                };
                let (up, down) = (moved(1.0), moved(-1.0));
                for (term, (up, down)) in exact.iter().zip(up.iter().zip(&down)) {
                    let slope = (up.value - down.value) / (2.0 * step);
                    let error = (term.gradient[k] - slope).abs();
                    assert!(error < 1e-6 * (1.0 + slope.abs()), "form {number}, {k}: {error}");
                }
            }
        }
    }

    /// The 240 points of the public Chinchilla replication, when MIXDOWN_CHINCHILLA_POINTS names a CSV of
    /// parameters, tokens and loss with one header row.
    #[test]
    fn the_public_chinchilla_replication() {
        let Some(path) = std::env::var_os("MIXDOWN_CHINCHILLA_POINTS") else {
            // Skipped: nothing names a file of the points.
            return;
        };
        let text = std::fs::read_to_string(path).unwrap();
        let mut points: Vec<Vec<f64>> = text
            .lines()
            .skip(1)
            .map(|line| line.split(',').take(3).map(|cell| cell.trim().parse().unwrap()).collect())
            .collect();
        points.sort_by(|left, right| left[2].total_cmp(&right[2]));
        points.truncate(240);
        let rows: Vec<NormalizedRow> = points
            .iter()
            .enumerate()
            .map(|(configuration, point)| NormalizedRow {
                base: 0.0,
                ln_size: point[0].ln(),
                ln_tokens: point[1].ln(),
                share: 0.0,
                repetitions: 0.0,
                measured: point[2],
                ln_measured: point[2].ln(),
                configuration,
            })
            .map(|row| NormalizedRow {
                ln_size: row.ln_size - 20.0,
                ln_tokens: row.ln_tokens - 23.0,
                ..row
            })
            .collect();
        let form = ChinchillaForm { data_constrained: false };
        let solution = crate::solver::solve(&form, &rows, Some(1e-3)).unwrap();
        let [alpha, beta, ln_a, ln_b, ln_e, ..] = solution.at;
        let found = [
            (solution.convergence().objective, 0.001_018_27, 1e-4),
            (ln_e.exp(), 1.8172, 1e-3),
            (alpha, 0.3473, 2e-3),
            (beta, 0.3672, 2e-3),
            (ln_a + alpha * 20.0, 6.169, 5e-3),
            (ln_b + beta * 23.0, 7.670, 5e-3),
        ];
        for (got, expected, tolerance) in found {
            assert!((got / expected - 1.0).abs() < tolerance, "{got}, expected {expected}");
        }
    }
}
