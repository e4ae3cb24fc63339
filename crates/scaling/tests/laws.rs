//! The fit as a user of the crate meets it: recovery, intervals, refusals.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use mixdown_scaling::{
    AdviceStatus, Error, FinetuningPlan, FitOptions, ForgettingLaw, GridPlan, HoldOutSplit,
    Interval, Observation, Quantity, ScalingFit, Simulation, TargetLaw, Warning, fit_injection,
    fit_scaling, full_grid, plan_grid,
};
use proptest::prelude::{Just, ProptestConfig, Strategy, prop_assert, prop_assert_eq, proptest};

const SIZES: [f64; 5] = [41e6, 109e6, 334e6, 665e6, 1.27e9];
const TOKENS: [f64; 5] = [3e5, 1e6, 3e6, 1e7, 3e7];
const SHARES: [f64; 5] = [0.0, 0.001, 0.005, 0.01, 0.05];
const FEW: FitOptions = FitOptions { draws: 60, seed: 1, huber_delta: None };

/// Laws with so much forgetting at 334M parameters, 3M tokens and p = 0.
fn laws(forgetting: f64, b: f64, alpha: f64, beta: f64, noise: f64) -> Simulation {
    let law = ForgettingLaw { ln_a: 0.0, b, alpha, beta };
    let ln_a = forgetting.ln() - law.ln_forgetting(334e6, 3e6, 0.0);
    let target = TargetLaw { ln_a: 8.0, e: 1.2, alpha: 0.2, beta: 0.25 };
    Simulation { forgetting: ForgettingLaw { ln_a, ..law }, target, noise }
}

fn eighteen() -> Vec<(f64, f64, f64)> {
    full_grid(&[41e6, 334e6, 1.27e9], &[3e5, 3e6, 3e7], &[0.0, 0.01])
}

fn plan(budget: f64) -> FinetuningPlan {
    FinetuningPlan {
        model_size: 1.27e9,
        target_tokens: 30e6,
        budget,
        pretraining_loss_before: None,
    }
}

fn close(got: f64, expected: f64, tolerance: f64) -> bool {
    (got / expected - 1.0).abs() < tolerance
}

/// Relative errors of the predicted pretraining loss at 1.27B, 30M, p = 0 over 14 seeds: root mean
/// square and worst.
fn errors(grid: &[(f64, f64, f64)], simulation: &Simulation) -> (f64, f64) {
    let options = FitOptions { draws: 0, ..FEW };
    let error = |seed: u64| {
        let fit = fit_scaling(&simulation.runs(grid, seed), &options).unwrap();
        let before = 1.69 + 406.0 / 1.27e9_f64.powf(0.34);
        let predicted = fit.forgetting.law.forgetting(1.27e9, 30e6, 0.0) + before;
        let truth = simulation.forgetting.forgetting(1.27e9, 30e6, 0.0) + before;
        (predicted / truth - 1.0).abs()
    };
    let all: Vec<f64> = (0..14).map(error).collect();
    let squares: f64 = all.iter().map(|error| error * error).sum();
    ((squares / 14.0).sqrt(), all.into_iter().fold(0.0, f64::max))
}

#[test]
fn eighteen_runs_predict_the_largest_within_0_8_percent() {
    for simulation in [laws(0.1, 829.0, 0.3, 0.2, 0.003), laws(0.3, 1500.0, 0.45, 0.3, 0.003)] {
        let (_, worst) = errors(&eighteen(), &simulation);
        assert!(worst < 0.008, "{worst}");
        // Models of up to 334M alone, with 30M tokens: a quarter of the largest.
        let (_, worst) =
            errors(&full_grid(&SIZES[..3], &[3e5, 3e6, 3e7], &[0.0, 0.01]), &simulation);
        assert!(worst < 0.008, "{worst}");
    }
}

#[test]
fn a_hundred_and_twenty_five_runs_predict_it_within_0_15_percent() {
    let grid = full_grid(&SIZES, &TOKENS, &SHARES);
    for simulation in [laws(0.1, 829.0, 0.3, 0.2, 0.003), laws(0.05, 1e4, 0.7, 0.3, 0.003)] {
        let (_, worst) = errors(&grid, &simulation);
        assert!(worst < 0.0015, "{worst}");
    }
    let (typical, _) = errors(&grid, &laws(0.3, 1500.0, 0.45, 0.3, 0.003));
    assert!(typical < 0.0015, "{typical}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn coefficients_come_back_without_noise(
        forgetting in 0.02_f64..0.6,
        ln_b in 4.0_f64..9.5,
        alpha in 0.15_f64..1.2,
        beta in 0.1_f64..0.9,
    ) {
        let truth = laws(forgetting, ln_b.exp(), alpha, beta, 0.0);
        let options = FitOptions { draws: 0, ..FEW };
        let fit = fit_scaling(&truth.runs(&eighteen(), 0), &options).unwrap();
        let law = fit.forgetting.law;
        prop_assert!(close(law.b, truth.forgetting.b, 1e-3), "{law:?}");
        prop_assert!(close(law.alpha, alpha, 1e-3), "{law:?}");
        prop_assert!(close(law.beta, beta, 1e-3), "{law:?}");
        prop_assert!((law.ln_a - truth.forgetting.ln_a).abs() < 1e-3, "{law:?}");
        let target = fit.target.unwrap().law;
        prop_assert!(close(target.e, 1.2, 1e-3) && close(target.alpha, 0.2, 1e-3), "{target:?}");
        prop_assert!(close(target.beta, 0.25, 1e-3), "{target:?}");
    }
}

/// Runs that leave much to chance: noise of 5 % and laws that do not fit, so that a search has several optima, some
/// hold-outs do not converge and the compared laws are close; two seeds of every configuration, one run twice.
fn doubtful() -> Vec<Observation> {
    let simulation = laws(0.3, 800.0, 0.4, 0.3, 0.05);
    let grid = full_grid(&[41e6, 109e6, 334e6], &[3e5, 3e6], &[0.0, 0.01, 0.05]).repeat(2);
    let mut runs = simulation.runs(&grid, 11);
    for (number, run) in (0_u32..).zip(&mut runs) {
        run.p_realised = Some(run.p * (1.0 + 0.003 * f64::from(number % 3)));
        run.target_tokens_seen = Some(run.target_tokens * f64::from(1 + number % 4));
    }
    let twin = Observation { name: "twin".to_owned(), ..runs[5].clone() };
    runs.push(twin);
    runs
}

fn shuffled<T: Clone + std::fmt::Debug>(items: Vec<T>) -> impl Strategy<Value = Vec<T>> {
    Just(items).prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// A table of runs has no order: every number of a fit and of its advice is the same for any, bit for bit.
    #[test]
    fn a_fit_does_not_depend_on_the_order_of_the_runs(runs in shuffled(doubtful())) {
        let fit = fit_scaling(&doubtful(), &FEW).unwrap();
        let other = fit_scaling(&runs, &FEW).unwrap();
        prop_assert_eq!(&fit, &other);
        // Also where a file has the observations in another order.
        let read = ScalingFit { observations: runs, ..other };
        prop_assert_eq!(fit.advise(&plan(0.2)).unwrap(), read.advise(&plan(0.2)).unwrap());
    }

    #[test]
    fn a_planned_grid_does_not_depend_on_the_order_of_its_lists(
        runs in shuffled(eighteen().repeat(2)),
        candidates in shuffled(full_grid(&SIZES, &TOKENS[..2], &SHARES)),
    ) {
        let simulation = laws(0.3, 1500.0, 0.45, 0.3, 0.003);
        let grid = GridPlan {
            runs: eighteen().repeat(2),
            candidates: full_grid(&SIZES, &TOKENS[..2], &SHARES),
            simulation,
            plan: plan(0.1),
            simulations: 5,
            seed: 3,
        };
        let report = plan_grid(&grid).unwrap();
        prop_assert_eq!(report, plan_grid(&GridPlan { runs, candidates, ..grid }).unwrap());
    }

    #[test]
    fn the_law_of_the_share_does_not_depend_on_the_order_of_the_points(
        pairs in shuffled(share_points()),
    ) {
        let fit = fit_injection(&share_points()).unwrap();
        let other = fit_injection(&pairs).unwrap();
        prop_assert_eq!(fit.law(), other.law());
        prop_assert_eq!(fit.b_range(), other.b_range());
        prop_assert_eq!(fit.alpha_range(), other.alpha_range());
        prop_assert_eq!(fit.identified(), other.identified());
        prop_assert_eq!(fit.root_mean_square().to_bits(), other.root_mean_square().to_bits());
        prop_assert_eq!(fit.p_star(0.3).unwrap(), other.p_star(0.3).unwrap());
        for (pair, residual) in pairs.iter().zip(other.residuals()) {
            let left = pair.1 - fit.law().excess(pair.0);
            prop_assert_eq!(left.to_bits(), residual.to_bits(), "residuals stay with their points");
        }
    }
}

/// Forgetting at seven shares, two seeds each, with noise.
fn share_points() -> Vec<(f64, f64)> {
    let shares = [0.0, 0.001, 0.005, 0.01, 0.05, 0.2, 0.5];
    let law = |p: f64| 0.83 * (1.0 + 400.0 * p).powf(-0.4);
    let with_noise = |p: f64| [(p, law(p) + 0.013 * (900.0 * p).sin()), (p, law(p) - 0.007)];
    shares.into_iter().flat_map(with_noise).collect()
}

#[test]
fn advice_far_beyond_the_runs_is_no_finding() {
    let fit = fit_scaling(&laws(0.3, 1500.0, 0.45, 0.3, 0.001).runs(&eighteen(), 5), &FEW).unwrap();
    let at = |model_size: f64, target_tokens: f64, budget: f64| {
        let own =
            FinetuningPlan { model_size, target_tokens, budget, pretraining_loss_before: None };
        let advice = fit.advise(&own).unwrap();
        (advice.status(), advice.extrapolation())
    };
    // Budgets that p = 0.4 % and so keep at each place.
    let budget = |n: f64, d: f64| fit.forgetting.law.forgetting(n, d, 0.004);
    let asked = |n: f64, d: f64| at(n, d, budget(n, d));
    assert_eq!(asked(334e6, 3e6), (AdviceStatus::Identified, 1.0));
    let (status, factor) = asked(12.7e9, 30e6);
    assert!(status == AdviceStatus::Identified && close(factor, 10.0, 1e-9), "{factor}");
    for (n, d, expected) in [(13e9, 3e6, 10.2), (4e6, 3e6, 10.2), (334e6, 330e6, 11.0)] {
        let (status, factor) = asked(n, d);
        assert!(status == AdviceStatus::Extrapolated && close(factor, expected, 0.01), "{n} {d}");
    }
    // A share that is far above all that were run is as far from them.
    let (status, factor) = at(334e6, 3e6, fit.forgetting.law.forgetting(334e6, 3e6, 0.2));
    assert!(status == AdviceStatus::Extrapolated && close(factor, 20.0, 0.02), "{factor}");
}

#[test]
fn advice_spends_the_budget_within_an_interval() {
    let truth = laws(0.3, 1500.0, 0.45, 0.3, 0.003);
    let grid = full_grid(&SIZES, &TOKENS, &SHARES);
    let fit = fit_scaling(&truth.runs(&grid, 3), &FEW).unwrap();
    let budget = truth.forgetting.forgetting(1.27e9, 30e6, 0.004);
    let advice = fit.advise(&plan(budget)).unwrap();
    let p = advice.p.unwrap();
    assert!(close(fit.forgetting.law.forgetting(1.27e9, 30e6, p), budget, 1e-9));
    assert!(advice.identified && advice.interval.contains(p) && advice.interval.contains(0.004));
    assert!(advice.interval.low.unwrap() > 0.002 && advice.interval.high.unwrap() < 0.008);
    assert!(close(advice.price.unwrap(), 1.0 / (1.0 - p), 1e-12));
    assert_eq!(advice.predictions.len(), 6);
    for one in &advice.predictions {
        assert!(one.forgetting.interval.contains(one.forgetting.value));
        assert!(
            one.target_loss.as_ref().unwrap().interval.contains(one.target_loss.unwrap().value)
        );
    }
    assert!(advice.warnings.is_empty(), "{:?}", advice.warnings);
}

#[test]
fn budgets_at_the_ends() {
    let fit = fit_scaling(&laws(0.3, 50.0, 0.3, 0.3, 0.003).runs(&eighteen(), 5), &FEW).unwrap();
    let generous = fit.advise(&plan(5.0)).unwrap();
    assert_eq!(generous.p, Some(0.0));
    assert_eq!(generous.interval, Interval { low: Some(0.0), high: Some(0.0) });
    let impossible = fit.advise(&plan(1e-4)).unwrap();
    assert_eq!((impossible.p, impossible.price, impossible.identified), (None, None, false));
    assert_ne!(impossible.status(), AdviceStatus::Identified);
    for budget in [0.0, -1.0, f64::NAN] {
        assert!(matches!(fit.advise(&plan(budget)), Err(Error::BadBudget { .. })));
    }
    let warned = fit.advise(&plan(0.15)).unwrap().warnings;
    let beyond = |warning: &Warning| matches!(warning, Warning::ShareBeyondGrid { .. });
    assert!(warned.iter().any(beyond), "{warned:?}");
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let runs = laws(0.2, 800.0, 0.5, 0.3, 0.004).runs(&eighteen(), 2);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| fit_scaling(&runs, &FEW).unwrap())
    };
    let fit = with(1);
    assert_eq!(fit, with(3));
    let json = serde_json::to_string(&fit).unwrap();
    let read: ScalingFit = serde_json::from_str(&json).unwrap();
    assert_eq!(read.grid, fit.grid);
    assert_eq!(read.hold_outs.len(), fit.hold_outs.len());
}

#[test]
fn hold_outs_cover_every_split() {
    let fit = fit_scaling(&laws(0.2, 800.0, 0.5, 0.3, 0.003).runs(&eighteen(), 8), &FEW).unwrap();
    let splits: Vec<HoldOutSplit> = fit
        .hold_outs
        .iter()
        .filter(|one| one.quantity == Quantity::PretrainingLoss)
        .map(|one| one.split)
        .collect();
    let sizes = [41e6, 334e6, 1.27e9].map(HoldOutSplit::OneModelSize);
    let all = [HoldOutSplit::LargestModel, HoldOutSplit::LargestTarget, HoldOutSplit::LargestBoth];
    assert_eq!(splits, [all.as_slice(), sizes.as_slice()].concat());
    for one in &fit.hold_outs {
        let errors = one.errors.as_ref().unwrap();
        assert!(errors.mean_relative_error < 0.05, "{one:?}");
    }
    let reported = fit.comparisons.iter().find(|one| one.model == "reported").unwrap();
    assert!(reported.hold_out_error.unwrap() < 0.05 && reported.aicc.is_some());
}

#[test]
fn another_law_is_named_when_it_predicts_better() {
    // Every run ends 0.3 nats lower than the law says: only the offset can tell.
    let mut runs = laws(0.3, 800.0, 0.5, 0.3, 0.0005).runs(&full_grid(&SIZES, &TOKENS, &SHARES), 8);
    for run in &mut runs {
        run.pretraining_loss -= 0.3;
    }
    let fit = fit_scaling(&runs, &FEW).unwrap();
    let better = fit
        .warnings
        .iter()
        .any(|warning| matches!(warning, Warning::BetterLaw { model, .. } if model == "offset"));
    assert!(better, "{:?}", fit.warnings);
    assert!(fit.warnings.iter().any(|one| matches!(one, Warning::NegativeForgetting(_))));
}

/// Where the rest of a hold-out has two N and two D, the five coefficients of Chinchilla's law are not determined: what
/// it predicted there followed the last bit of the losses.
#[test]
fn compared_laws_do_not_follow_the_last_bit_of_the_losses() {
    let truth = laws(0.3, 1500.0, 0.45, 0.3, 0.01);
    let runs = truth.runs(&full_grid(&SIZES[..3], &TOKENS[..3], &SHARES[..3]), 6);
    let mut moved = runs.clone();
    for (number, run) in (0_u32..).zip(&mut moved) {
        let bits = f64::from(number * 7 % 5) - 2.0;
        run.pretraining_loss *= 1.0 + bits * f64::EPSILON;
        run.target_loss *= 1.0 - bits * f64::EPSILON;
    }
    let options = FitOptions { draws: 0, ..FEW };
    let fit = fit_scaling(&runs, &options).unwrap();
    let other = fit_scaling(&moved, &options).unwrap();
    for (one, two) in fit.comparisons.iter().zip(&other.comparisons) {
        assert_eq!((one.quantity, &one.model), (two.quantity, &two.model), "the same order");
        match (one.hold_out_error, two.hold_out_error) {
            (None, None) => {}
            (Some(one), Some(two)) => assert!(close(one, two, 1e-4), "{one} {two}"),
            both => panic!("{both:?}"),
        }
    }
    let chinchilla = fit.comparisons.iter().find(|one| one.model == "Chinchilla").unwrap();
    assert_eq!((&chinchilla.refusal, chinchilla.hold_out_error), (&None, None));
    let tested = fit.comparisons.iter().filter(|one| one.hold_out_error.is_some());
    assert!(tested.count() >= 5, "{:?}", fit.comparisons);
}

#[test]
fn one_model_size_gives_advice_for_that_size_alone() {
    let truth = laws(0.3, 1500.0, 0.45, 0.3, 0.002);
    let runs = truth.runs(&full_grid(&[334e6], &TOKENS[2..], &SHARES), 4);
    let fit = fit_scaling(&runs, &FEW).unwrap();
    assert!(fit.warnings.contains(&Warning::OneModelSize(334e6)));
    let error = fit.advise(&plan(0.1)).unwrap_err();
    assert!(matches!(error, Error::NoExtrapolation { .. }), "{error}");
    let budget = truth.forgetting.forgetting(334e6, 30e6, 0.004);
    let advice = fit.advise(&FinetuningPlan { model_size: 334e6, ..plan(budget) }).unwrap();
    assert!(advice.interval.contains(0.004), "{advice:?}");
}

#[test]
fn what_injection_does_not_move_is_not_identified() {
    let mut runs = laws(0.3, 1500.0, 0.45, 0.3, 0.004).runs(&eighteen(), 4);
    for pair in 0..9 {
        // The share does nothing but noise.
        runs[2 * pair + 1].pretraining_loss = runs[2 * pair].pretraining_loss * 1.002;
    }
    let fit = fit_scaling(&runs, &FEW).unwrap();
    assert!(!fit.forgetting.identified);
    let advice = fit.advise(&plan(0.05)).unwrap();
    assert!(!advice.identified && advice.interval.high.is_none());
    // No share does anything, and this much is forgotten at each.
    assert_eq!((advice.status(), advice.p), (AdviceStatus::NoShare, None));
    assert!(advice.warnings.contains(&Warning::NotIdentified("p*".to_owned())));
    // Where a little less would do, p* is whatever the end of the search of B makes it: it is not handed out.
    let forgotten = fit.forgetting.law.forgetting(1.27e9, 30e6, 0.01);
    let advice = fit.advise(&plan(0.97 * forgotten)).unwrap();
    assert_eq!((advice.status(), advice.p), (AdviceStatus::NotIdentified, None));
    let shares: Vec<f64> = advice.predictions.iter().map(|one| one.p).collect();
    assert_eq!(shares, [0.0, 0.001, 0.005, 0.01, 0.05]);
    assert!(advice.warnings.contains(&Warning::NotIdentified("p*".to_owned())));
}

#[test]
fn too_few_runs_say_what_is_there_and_what_is_needed() {
    let simulation = laws(0.3, 1500.0, 0.45, 0.3, 0.002);
    let message = |grid: &[(f64, f64, f64)]| {
        fit_scaling(&simulation.runs(grid, 0), &FEW).unwrap_err().to_string()
    };
    assert_eq!(
        message(&full_grid(&[41e6, 334e6], &[3e5, 3e6], &[0.0])),
        "forgetting law: expected at least two shares p and 5 configurations (N, D, p), got 4 rows with \
         4 configurations: N 4.1e7, 3.34e8; D 3e5, 3e6; p 0"
    );
    assert_eq!(
        message(&full_grid(&[41e6], &[3e5, 3e6, 3e7], &[0.0, 0.01])),
        "forgetting law: expected at least three shares p (there is only one N) and 5 configurations \
         (N, D, p), got 6 rows with 6 configurations: N 4.1e7; D 3e5, 3e6, 3e7; p 0, 0.01"
    );
    // Ten seeds of two configurations are two configurations.
    let seeds = [(41e6, 3e5, 0.0), (334e6, 3e5, 0.01)].repeat(10);
    assert!(message(&seeds).contains("got 20 rows with 2 configurations"));
    assert!(message(&[]).contains("got 0 rows with 0 configurations: N none"));
}

#[test]
fn bad_numbers_are_named() {
    let runs = laws(0.3, 1500.0, 0.45, 0.3, 0.002).runs(&eighteen(), 0);
    let with = |change: fn(&mut Observation)| {
        let mut runs = runs.clone();
        change(&mut runs[4]);
        fit_scaling(&runs, &FEW).unwrap_err()
    };
    for error in [
        with(|run| run.p = 1.0),
        with(|run| run.p = f64::NAN),
        with(|run| run.p_realised = Some(1.1)),
        with(|run| run.model_size = 0.0),
        with(|run| run.target_loss = f64::NAN),
        with(|run| run.pretraining_loss = -1.0),
    ] {
        assert!(matches!(error, Error::BadObservation { observation: 5, .. }), "{error}");
    }
    let nothing: Vec<Observation> = runs
        .iter()
        .map(|run| Observation {
            pretraining_loss: run.pretraining_loss_before - 0.1,
            ..run.clone()
        })
        .collect();
    assert!(matches!(fit_scaling(&nothing, &FEW), Err(Error::NothingForgotten { .. })));
    let options = FitOptions { huber_delta: Some(0.0), ..FEW };
    assert!(matches!(fit_scaling(&runs, &options), Err(Error::BadOption { .. })));
}

#[test]
fn one_damaged_run_moves_the_law_little() {
    let truth = laws(0.3, 1500.0, 0.45, 0.3, 0.001);
    let mut runs = truth.runs(&full_grid(&SIZES, &TOKENS, &SHARES), 4);
    runs[30].pretraining_loss *= 2.0;
    let fit = fit_scaling(&runs, &FEW).unwrap();
    assert!(close(fit.forgetting.law.alpha, 0.45, 0.02), "{:?}", fit.forgetting.law);
}

#[test]
fn a_planned_grid_tells_its_interval_and_the_next_run() {
    let simulation = laws(0.3, 1500.0, 0.45, 0.3, 0.003);
    let budget = simulation.forgetting.forgetting(1.27e9, 30e6, 0.004);
    let grid = GridPlan {
        runs: eighteen(),
        candidates: full_grid(&SIZES, &TOKENS, &SHARES),
        simulation,
        plan: plan(budget),
        simulations: 100,
        seed: 0,
    };
    let report = plan_grid(&grid).unwrap();
    assert!(close(report.true_p.unwrap(), 0.004, 1e-6));
    assert!(report.share.interval.contains(0.004) && report.fitted == 100, "{report:?}");
    assert!(report.candidates[0].width_factor < 0.95);
    assert!(report.candidates.iter().all(|one| one.width_factor <= 1.0 + 1e-9));
    let doubled = GridPlan { runs: eighteen().repeat(4), ..grid };
    let narrower = plan_grid(&doubled).unwrap().share.interval;
    let width = |interval: Interval| interval.high.unwrap() / interval.low.unwrap();
    assert!(width(narrower) < width(report.share.interval));
}
