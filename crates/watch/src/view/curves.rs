//! The curves of a run over its steps, from metrics.jsonl.

use mixdown_runs::{EvalRecord, MetricsRecord};

use crate::view::text::to_f64;

/// The largest loss that is drawn; a larger one only means that the run has diverged. Sums of such numbers stay finite.
const LARGEST: f64 = 1e30;

/// A step and its value; both are finite.
pub type Point = (f64, f64);

/// The measurements of a run so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curves {
    /// Training loss of each step's batch.
    pub train: Vec<Point>,
    /// Learning rate of each step.
    pub learning_rate: Vec<Point>,
    /// Held-out losses, one curve for each corpus.
    pub evals: Vec<EvalCurve>,
    /// The last record.
    pub last: Option<MetricsRecord>,
    /// The steps with an evaluation.
    pub evaluated: Vec<u64>,
}

/// The losses of one held-out corpus.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EvalCurve {
    /// The name of the corpus.
    pub corpus: String,
    /// Its losses.
    pub points: Vec<Point>,
    /// The loss before the first step.
    pub before: Option<f64>,
    /// The last evaluation.
    pub last: EvalRecord,
    /// The step of least loss of the sequences that choose the best step, and that loss.
    pub best: Option<(u64, f64)>,
}

impl Curves {
    /// Appends records.
    pub fn extend(&mut self, records: Vec<MetricsRecord>) {
        for record in records {
            self.push(&record);
            self.last = Some(record);
        }
    }

    fn push(&mut self, record: &MetricsRecord) {
        let step = to_f64(record.step);
        if let Some(loss) = record.train_loss {
            self.train.extend(point(step, loss));
        }
        if record.step > 0 {
            self.learning_rate.extend(point(step, record.learning_rate));
        }
        if !record.evals.is_empty() {
            self.evaluated.push(record.step);
        }
        for eval in &record.evals {
            self.corpus(&eval.corpus).push(record.step, eval);
        }
    }

    fn corpus(&mut self, name: &str) -> &mut EvalCurve {
        let place = self.evals.iter().position(|curve| curve.corpus == name);
        let place = place.unwrap_or_else(|| {
            self.evals.push(EvalCurve { corpus: name.to_owned(), ..EvalCurve::default() });
            self.evals.len() - 1
        });
        &mut self.evals[place]
    }

    /// The last step with an evaluation.
    pub fn evaluated_step(&self) -> Option<u64> {
        self.evaluated.last().copied()
    }

    /// The curve of a corpus.
    pub fn eval(&self, corpus: &str) -> Option<&EvalCurve> {
        self.evals.iter().find(|curve| curve.corpus == corpus)
    }
}

impl EvalCurve {
    fn push(&mut self, step: u64, eval: &EvalRecord) {
        self.points.extend(point(to_f64(step), eval.loss));
        if step == 0 {
            self.before = Some(eval.loss).filter(|loss| loss.is_finite());
        }
        let choosing = eval.selection_loss.unwrap_or(eval.loss);
        // As in the trainer, the first of equal losses is the best.
        if choosing.is_finite() && self.best.is_none_or(|(_, least)| choosing < least) {
            self.best = Some((step, choosing));
        }
        self.last = eval.clone();
    }

    /// Returns the last loss minus that before the first step, sequence by sequence if that is known.
    pub fn change(&self) -> Option<f64> {
        let paired = self.last.change.map(|change| change.mean);
        paired.or_else(|| Some(self.last.loss - self.before?))
    }

    /// The loss at a step.
    pub fn at(&self, step: u64) -> Option<f64> {
        let step = to_f64(step);
        let found = self.points.iter().find(|point| (point.0 - step).abs() < 0.5);
        found.map(|point| point.1)
    }
}

fn point(step: f64, value: f64) -> Option<Point> {
    value.is_finite().then(|| (step, value.clamp(-LARGEST, LARGEST)))
}

/// Returns a moving average whose window is a fiftieth of the curve, at least five points. Early values are averages of
/// the points so far, so that the curve does not begin at 0.
pub fn smoothed(points: &[Point]) -> Vec<Point> {
    let window = to_f64(u64::try_from(points.len()).unwrap_or(u64::MAX) / 50).max(5.0);
    let kept = 1.0 - 1.0 / window;
    let (mut sum, mut weight) = (0.0, 0.0);
    let average = |&(step, value): &Point| {
        sum = kept * sum + value;
        weight = kept * weight + 1.0;
        (step, sum / weight)
    };
    points.iter().map(average).collect()
}

#[cfg(test)]
mod tests {
    use mixdown_runs::{EvalRecord, LossChange, MetricsRecord};

    use super::{Curves, smoothed};

    fn eval(step: u64, loss: f64) -> MetricsRecord {
        let eval = EvalRecord { corpus: "target".to_owned(), loss, ..EvalRecord::default() };
        MetricsRecord { step, evals: vec![eval], ..MetricsRecord::default() }
    }

    #[test]
    fn best_and_change_are_those_of_the_trainer() {
        let mut curves = Curves::default();
        curves.extend(vec![eval(0, 4.0), eval(2, 3.0), eval(4, 3.0), eval(6, 3.5)]);
        let curve = curves.eval("target").unwrap();
        assert_eq!((curve.best, curve.before), (Some((2, 3.0)), Some(4.0)));
        assert!((curve.change().unwrap() + 0.5).abs() < 1e-12);
        let mut paired = eval(8, 3.4);
        paired.evals[0].change = Some(LossChange { mean: -0.7, standard_error: Some(0.1) });
        paired.evals[0].selection_loss = Some(2.5);
        curves.extend(vec![paired]);
        let curve = curves.eval("target").unwrap();
        assert_eq!((curve.best, curve.change()), (Some((8, 2.5)), Some(-0.7)));
        assert_eq!((curve.at(8), curve.at(7)), (Some(3.4), None));
        assert_eq!(curves.evaluated_step(), Some(8));
    }

    #[test]
    fn numbers_that_cannot_be_drawn_are_left_out_or_bounded() {
        let mut curves = Curves::default();
        for (step, loss) in [(1, f64::NAN), (2, f64::INFINITY), (3, f64::MAX), (4, 2.0)] {
            let train_loss = Some(loss);
            curves.extend(vec![MetricsRecord { step, train_loss, ..MetricsRecord::default() }]);
        }
        assert_eq!(curves.train, [(3.0, 1e30), (4.0, 2.0)]);
    }

    #[test]
    fn a_constant_stays_and_noise_shrinks() {
        let constant: Vec<_> = (1..100).map(|step| (f64::from(step), 3.0)).collect();
        assert!(smoothed(&constant).iter().all(|point| (point.1 - 3.0).abs() < 1e-12));
        let noise: Vec<_> = (1..1000).map(|step| (f64::from(step), f64::from(step % 2))).collect();
        assert!((smoothed(&noise)[900].1 - 0.5).abs() < 0.05);
    }
}
