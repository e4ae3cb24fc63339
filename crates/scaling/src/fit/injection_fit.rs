//! Fits of the forgetting curve in p at one model size and number of target tokens.
//!
//! The fit is least squares in nats by variable projection: F0 is linear and has a closed form, so the search runs only
//! over log B and log α. For every log B on a grid the best α is found. The minimum of that profile is the fit, and its
//! shape shows whether the points determine B. Zooming a grid over both at once was rejected, because it stops short
//! along the curved valley α·B ≈ const.

use serde::Serialize;

use crate::error::Error;
use crate::laws::injection::{InjectionLaw, relative};
use crate::solver::search::{grid, minimize};
use mixdown_base::student::two_sided_95;

/// The number of coefficients of the curve; a fit needs more distinct shares than this.
const COEFFICIENTS: u64 = 3;
const LOWEST_ALPHA: f64 = 0.01;
const HIGHEST_ALPHA: f64 = 20.0;
/// Grid points over log B (about 13 decades) and log α (3.3 decades).
const B_POINTS: u32 = 241;
const ALPHA_POINTS: u32 = 49;

/// A fitted curve with its residuals and the ranges of B and α that the points allow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InjectionFit {
    law: InjectionLaw,
    residuals: Vec<f64>,
    root_mean_square: f64,
    identified: bool,
    b_range: (f64, f64),
    alpha_range: (f64, f64),
    #[serde(skip)]
    accepted: Vec<InjectionLaw>,
}

/// The share that a forgetting budget needs, with its range over all curves that the points allow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ShareRange {
    /// The least share that keeps the budget; `None` if the forgetting exceeds it at every share below 1.
    pub p: Option<f64>,
    /// The lowest such share among the allowed curves.
    pub lowest: Option<f64>,
    /// The highest such share; `None` if one of the allowed curves never keeps the budget.
    pub highest: Option<f64>,
}

impl InjectionFit {
    /// Returns the best curve.
    pub fn law(&self) -> &InjectionLaw {
        &self.law
    }

    /// Returns observed minus fitted forgetting in nats, in the order of the observations.
    pub fn residuals(&self) -> &[f64] {
        &self.residuals
    }

    /// Returns the root mean square of the residuals in nats.
    pub fn root_mean_square(&self) -> f64 {
        self.root_mean_square
    }

    /// Returns whether the 95 % profile ranges of B and α end within the search. If they do not, the points do not
    /// determine B and α, however good the curve looks.
    pub fn identified(&self) -> bool {
        self.identified
    }

    /// Returns the lowest and highest B on the 95 % profile (Student-t threshold on the residuals).
    pub fn b_range(&self) -> (f64, f64) {
        self.b_range
    }

    /// Returns the lowest and highest α along the profile of B.
    pub fn alpha_range(&self) -> (f64, f64) {
        self.alpha_range
    }

    /// Computes p* for a forgetting budget in nats, with its range along the profile of B.
    ///
    /// ```
    /// # use mixdown_scaling::{InjectionLaw, fit_injection};
    /// # let law = InjectionLaw::new(0.83, 829.0, 0.3)?;
    /// let points = [0.0, 0.001, 0.005, 0.01, 0.05].map(|p| (p, law.excess(p)));
    /// let range = fit_injection(&points)?.p_star(0.4)?;
    /// assert!((range.p.unwrap() - law.p_star(0.4)?.unwrap()).abs() < 1e-6);
    /// # Ok::<(), mixdown_scaling::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::BadBudget`] unless the budget is finite and above 0.
    pub fn p_star(&self, budget_nats: f64) -> Result<ShareRange, Error> {
        let p = self.law.p_star(budget_nats)?;
        let mut advice = ShareRange { p, lowest: p, highest: p };
        for law in &self.accepted {
            let p = law.p_star(budget_nats)?;
            advice.lowest = match (advice.lowest, p) {
                (Some(lowest), Some(p)) => Some(lowest.min(p)),
                (lowest, p) => lowest.or(p),
            };
            advice.highest = advice.highest.zip(p).map(|(highest, p)| highest.max(p));
        }
        Ok(advice)
    }
}

/// Fits `F0 · (1 + B·p)^(−α)` to pairs of (p, forgetting in nats).
///
/// The order of the pairs affects only the order of the residuals. Shares may be repeated (other seeds), but four
/// distinct ones are needed. The cost is about 60,000 evaluations of the curve at every point, whatever the data.
///
/// ```
/// use mixdown_scaling::{InjectionLaw, fit_injection};
///
/// let law = InjectionLaw::new(0.83, 829.0, 0.3)?;
/// let points = [0.0, 0.001, 0.005, 0.01, 0.05].map(|p| (p, law.excess(p)));
/// let fit = fit_injection(&points)?;
/// assert!((fit.law().b() / 829.0 - 1.0).abs() < 1e-3);
/// assert!(fit.identified());
/// # Ok::<(), mixdown_scaling::Error>(())
/// ```
///
/// # Errors
/// [`Error::TooFewShares`], [`Error::BadObservation`] for a share outside [0, 1] or a number that is
/// not finite, [`Error::NothingForgotten`] if no curve above 0 fits best.
pub fn fit_injection(observations: &[(f64, f64)]) -> Result<InjectionFit, Error> {
    check(observations)?;
    let given = observations;
    let mut sorted = given.to_vec();
    sorted.sort_by(|left, right| {
        (left.0 + 0.0).total_cmp(&(right.0 + 0.0)).then(left.1.total_cmp(&right.1))
    });
    let observations = sorted.as_slice();
    let range = log_b_range(observations);
    let best_log_b =
        minimize(range.0, range.1, B_POINTS, |log_b| best_at(observations, log_b).sum_of_squares);
    let best = best_at(observations, best_log_b.at);
    if best.law.f0() <= 0.0 {
        let got = observations.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
        return Err(Error::NothingForgotten { got });
    }
    let threshold = threshold(observations, best.sum_of_squares);
    let (accepted, open) = profile(observations, range, best_log_b.at, threshold);
    Ok(describe(given, &best, &accepted, open))
}

/// Returns the curves along the profile of B whose sum of squares is within the threshold, and whether they reach an
/// end of the search. The outermost two are found by bisection: a grid step is 10 % of B, wider than the ranges of good
/// data.
fn profile(
    observations: &[(f64, f64)],
    range: (f64, f64),
    best_log_b: f64,
    threshold: f64,
) -> (Vec<FittedCurve>, bool) {
    let within = |log_b: f64| {
        Some(best_at(observations, log_b)).filter(|found| found.sum_of_squares <= threshold)
    };
    let (mut low, mut high) = (best_log_b, best_log_b);
    let mut accepted = vec![best_at(observations, best_log_b)];
    for log_b in grid(range.0, range.1, B_POINTS) {
        if let Some(candidate) = within(log_b) {
            (low, high) = (low.min(log_b), high.max(log_b));
            accepted.push(candidate);
        }
    }
    let step = (range.1 - range.0) / f64::from(B_POINTS - 1);
    for (inside, outside) in [(low, low - step), (high, high + step)] {
        accepted.push(best_at(observations, bisect(inside, outside, |at| within(at).is_some())));
    }
    let open = within(range.0).is_some() || within(range.1).is_some();
    accepted.retain(|candidate| candidate.law.f0() > 0.0);
    (accepted, open)
}

/// Returns the last point between `inside` and `outside` that is still inside, to 1/2^20 of the distance.
fn bisect(mut inside: f64, mut outside: f64, is_inside: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..20 {
        let middle = f64::midpoint(inside, outside);
        if is_inside(middle) { inside = middle } else { outside = middle }
    }
    inside
}

/// A curve with the best F0 and α for its B.
#[derive(Debug, Clone, Copy)]
struct FittedCurve {
    law: InjectionLaw,
    sum_of_squares: f64,
}

fn describe(
    observations: &[(f64, f64)],
    best: &FittedCurve,
    accepted: &[FittedCurve],
    open: bool,
) -> InjectionFit {
    let residuals: Vec<f64> = observations.iter().map(|(p, y)| y - best.law.excess(*p)).collect();
    let alpha_range = range_of(accepted, InjectionLaw::alpha);
    let at_a_bound = alpha_range.0 < LOWEST_ALPHA * 1.01 || alpha_range.1 > HIGHEST_ALPHA / 1.01;
    InjectionFit {
        law: best.law,
        root_mean_square: (best.sum_of_squares / observations.len() as f64).sqrt(),
        residuals,
        identified: !open && !at_a_bound,
        b_range: range_of(accepted, InjectionLaw::b),
        alpha_range,
        accepted: accepted.iter().map(|candidate| candidate.law).collect(),
    }
}

fn range_of(accepted: &[FittedCurve], of: impl Fn(&InjectionLaw) -> f64) -> (f64, f64) {
    let values = accepted.iter().map(|candidate| of(&candidate.law));
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}

fn check(observations: &[(f64, f64)]) -> Result<(), Error> {
    for (observation, (p, forgetting)) in (1_u64..).zip(observations) {
        if !(0.0..=1.0).contains(p) {
            let expected = "a share in [0, 1]";
            return Err(Error::BadObservation { observation, expected, got: *p });
        }
        if !forgetting.is_finite() {
            let expected = "a finite forgetting in nats";
            return Err(Error::BadObservation { observation, expected, got: *forgetting });
        }
    }
    let mut shares: Vec<u64> = observations.iter().map(|(p, _)| (p + 0.0).to_bits()).collect();
    shares.sort_unstable();
    shares.dedup();
    let got = u64::try_from(shares.len()).unwrap_or(u64::MAX);
    let needed = COEFFICIENTS + 1;
    if got < needed { Err(Error::TooFewShares { needed, got }) } else { Ok(()) }
}

/// The range of log B that is searched: from "one hundredth of an effect at the largest share" to "saturated at the
/// smallest share".
fn log_b_range(observations: &[(f64, f64)]) -> (f64, f64) {
    let shares = observations.iter().map(|(p, _)| *p).filter(|p| *p > 0.0);
    let (least, largest) =
        shares.fold((1.0_f64, 0.0_f64), |(least, largest), p| (least.min(p), largest.max(p)));
    ((1e-2 / largest).ln(), (1e6 / least).ln())
}

/// The best F0 and α for one B.
fn best_at(observations: &[(f64, f64)], log_b: f64) -> FittedCurve {
    let b = log_b.exp();
    let at = |log_alpha: f64| project(observations, b, log_alpha.exp());
    let (low, high) = (LOWEST_ALPHA.ln(), HIGHEST_ALPHA.ln());
    let best = minimize(low, high, ALPHA_POINTS, |log_alpha| at(log_alpha).sum_of_squares);
    at(best.at)
}

/// The closed form of F0 ≥ 0 for given B and α, with the sum of squares that is left.
fn project(observations: &[(f64, f64)], b: f64, alpha: f64) -> FittedCurve {
    let (mut cross, mut square) = (0.0, 0.0);
    for (p, forgetting) in observations {
        let factor = relative(b, alpha, *p);
        cross += factor * forgetting;
        square += factor * factor;
    }
    let f0 = if square > 0.0 { (cross / square).max(0.0) } else { 0.0 };
    let law = InjectionLaw::from_checked(f0, b, alpha);
    let squares = observations.iter().map(|(p, forgetting)| (forgetting - law.excess(*p)).powi(2));
    FittedCurve { law, sum_of_squares: squares.sum() }
}

/// The largest sum of squares that belongs to the 95 % profile. Its floor is the rounding error of data without noise.
fn threshold(observations: &[(f64, f64)], least: f64) -> f64 {
    let count = u64::try_from(observations.len()).unwrap_or(u64::MAX);
    let degrees_of_freedom = count.saturating_sub(COEFFICIENTS);
    let quantile = two_sided_95(degrees_of_freedom);
    let total: f64 = observations.iter().map(|(_, forgetting)| forgetting * forgetting).sum();
    least * (1.0 + quantile * quantile / degrees_of_freedom as f64) + 1e-14 * total
}

#[cfg(test)]
mod tests {
    use super::fit_injection;
    use crate::error::Error;
    use crate::laws::injection::InjectionLaw;

    const SHARES: [f64; 7] = [0.0, 0.001, 0.005, 0.01, 0.05, 0.2, 0.5];

    /// Uniform noise in ±`size` from a small fixed generator.
    fn noise(state: &mut u64, size: f64) -> f64 {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((*state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0) * size
    }

    fn points(law: &InjectionLaw, shares: &[f64], size: f64, seed: u64) -> Vec<(f64, f64)> {
        let mut state = seed;
        shares.iter().map(|p| (*p, law.excess(*p) + noise(&mut state, size))).collect()
    }

    #[test]
    fn exact_data_give_the_coefficients_back() {
        for (f0, b, alpha) in
            [(0.83, 829.0, 0.3), (2.29, 1e4, 0.7), (0.1, 50.0, 1.2), (5.0, 120.0, 0.45)]
        {
            let law = InjectionLaw::new(f0, b, alpha).unwrap();
            for shares in [&SHARES[..], &SHARES[..4], &SHARES[1..6]] {
                let fit = fit_injection(&points(&law, shares, 0.0, 0)).unwrap();
                assert!(fit.identified(), "{law:?} {fit:?}");
                assert!((fit.law().b() / b - 1.0).abs() < 1e-3, "{law:?} {fit:?}");
                assert!((fit.law().alpha() / alpha - 1.0).abs() < 1e-3, "{law:?} {fit:?}");
                assert!((fit.law().f0() / f0 - 1.0).abs() < 1e-3, "{law:?} {fit:?}");
                assert!(fit.root_mean_square() < 1e-6 * f0);
            }
        }
    }

    #[test]
    fn small_noise_leaves_the_truth_within_the_ranges() {
        let law = InjectionLaw::new(0.83, 400.0, 0.4).unwrap();
        let (mut inside, mut identified) = (0, 0);
        for seed in 1..=40 {
            let fit = fit_injection(&points(&law, &SHARES, 0.01, seed)).unwrap();
            let (low, high) = fit.b_range();
            inside += u32::from((low..=high).contains(&400.0));
            identified += u32::from(fit.identified());
            assert!((fit.law().excess(0.02) / law.excess(0.02) - 1.0).abs() < 0.05, "{fit:?}");
        }
        assert!(inside >= 36, "{inside} of 40 ranges hold the true B");
        assert!(identified >= 35, "{identified} of 40 fits are identified");
    }

    #[test]
    fn points_that_do_not_determine_b_say_so() {
        // All injected shares in the power-law tail and no p = 0: only F0·B^(−α) is determined.
        let law = InjectionLaw::new(1.0, 1e5, 0.5).unwrap();
        let tail = points(&law, &[0.05, 0.1, 0.2, 0.4], 1e-4, 3);
        assert!(!fit_injection(&tail).unwrap().identified());
        // Forgetting that p does not touch.
        let flat: Vec<(f64, f64)> =
            SHARES.iter().map(|p| (*p, 0.5 + if *p > 0.008 { 0.01 } else { 0.0 })).collect();
        assert!(!fit_injection(&flat).unwrap().identified());
        // Pure exponential decay: the limit α → ∞ with α·B fixed.
        let exponential: Vec<(f64, f64)> = SHARES.iter().map(|p| (*p, (-2.0 * p).exp())).collect();
        assert!(!fit_injection(&exponential).unwrap().identified());
    }

    #[test]
    fn advice_spends_the_budget_and_widens_with_noise() {
        let law = InjectionLaw::new(0.83, 400.0, 0.4).unwrap();
        let exact = fit_injection(&points(&law, &SHARES, 0.0, 0)).unwrap().p_star(0.4).unwrap();
        let truth = law.p_star(0.4).unwrap().unwrap();
        assert!((exact.p.unwrap() / truth - 1.0).abs() < 1e-3);
        let noisy = fit_injection(&points(&law, &SHARES, 0.02, 5)).unwrap().p_star(0.4).unwrap();
        assert!(noisy.lowest.unwrap() < noisy.p.unwrap());
        assert!(noisy.highest.unwrap() > noisy.p.unwrap());
        let fit = fit_injection(&points(&law, &SHARES, 0.0, 0)).unwrap();
        assert_eq!(fit.p_star(1e-6).unwrap().p, None);
        assert!(fit.p_star(-1.0).is_err());
    }

    #[test]
    fn too_few_shares_and_bad_numbers_are_refused() {
        let few = [(0.0, 0.8), (0.01, 0.4), (0.05, 0.3), (0.01, 0.41), (-0.0, 0.79)];
        assert_eq!(fit_injection(&few), Err(Error::TooFewShares { needed: 4, got: 3 }));
        for bad in [(1.1, 0.5), (-0.1, 0.5), (f64::NAN, 0.5), (0.3, f64::NAN)] {
            let observations = [(0.0, 0.8), (0.01, 0.4), bad];
            let result = fit_injection(&observations);
            assert!(matches!(result, Err(Error::BadObservation { observation: 3, .. })));
        }
        let nothing = [(0.0, -0.1), (0.01, -0.2), (0.05, -0.1), (0.2, -0.1)];
        assert_eq!(fit_injection(&nothing), Err(Error::NothingForgotten { got: -0.1 }));
    }
}
