//! The sum of Huber losses of log residuals, with its derivatives.

use crate::laws::forms::{
    COORDINATES, Form, LinearCoefficient, NONLINEAR, NormalizedRow, Point, Term,
};
use crate::solver::linear::{smallest_pivot, solve_scaled};

/// Bounds of the logarithm of a positive coefficient on normalized inputs, in nats.
const LN_COEFFICIENT: (f64, f64) = (-20.0, 10.0);

/// A smaller pivot of the information matrix is a rounding error of 0.
const LEAST_PIVOT: f64 = 1e-10;

/// A law, the rows and their weights: a function of the law's coordinates to minimize.
///
/// Residuals are divided by δ, because at values of 1e-6 common tolerances stop far from the optimum.
pub(crate) struct Objective<'a> {
    form: &'a dyn Form,
    rows: &'a [NormalizedRow],
    weights: &'a [f64],
    delta: f64,
    linear: Vec<LinearCoefficient>,
    nonlinear_len: usize,
    /// Bounds of every coordinate; equal ones freeze it.
    pub bounds: Vec<(f64, f64)>,
}

/// Value, gradient and two curvatures at a point.
pub(crate) struct Curvature {
    pub value: f64,
    pub gradient: Point,
    /// Second derivatives without the law's own curvature (Gauss–Newton): rows beyond δ add none.
    pub newton: [Point; COORDINATES],
    /// The same with the weights of iterated least squares: every row counts, so it is definite.
    pub reweighted: [Point; COORDINATES],
    /// Sums of squares of the columns of the Jacobian and of the clipped residuals, for a gradient
    /// without units.
    pub columns: Point,
    pub clipped: f64,
}

impl<'a> Objective<'a> {
    pub fn new(
        form: &'a dyn Form,
        rows: &'a [NormalizedRow],
        weights: &'a [f64],
        delta: f64,
    ) -> Self {
        let nonlinear = form.nonlinear();
        let linear = form.linear();
        let mut bounds: Vec<(f64, f64)> =
            nonlinear.iter().map(|range| (range.low, range.high)).collect();
        bounds.extend(linear.iter().map(|kind| match kind {
            LinearCoefficient::Positive => LN_COEFFICIENT,
            LinearCoefficient::Free => (-1e3, 1e3),
            LinearCoefficient::One => (1.0, 1.0),
        }));
        Self { form, rows, weights, delta, linear, nonlinear_len: nonlinear.len(), bounds }
    }

    pub fn coordinates(&self) -> usize {
        self.bounds.len()
    }

    /// Returns the coordinate for a coefficient before a term.
    pub fn coordinate_of(kind: LinearCoefficient, coefficient: f64) -> f64 {
        match kind {
            LinearCoefficient::Positive => {
                coefficient.ln().clamp(LN_COEFFICIENT.0, LN_COEFFICIENT.1)
            }
            LinearCoefficient::Free | LinearCoefficient::One => coefficient,
        }
    }

    /// Returns ln measured − ln predicted for every row; `None` if the law predicts a loss that is not above 0.
    pub fn residuals(&self, at: &Point) -> Option<Vec<f64>> {
        let mut gradient = [0.0; COORDINATES];
        let rows = self.rows.iter();
        rows.map(|row| self.residual(at, row, &mut gradient)).collect()
    }

    /// Returns the leverage of every row: how much of its own residual the fit absorbs, by the law's linear expansion
    /// at the optimum. Their sum is the number of coefficients that could move.
    pub fn leverages(&self, at: &Point) -> Option<Vec<f64>> {
        let matrix = self.information(at)?;
        self.rows.iter().map(|row| self.leverage(at, row, &matrix)).collect()
    }

    /// Returns the leverage of a row that need not be among those fitted: the variance of its prediction divided by
    /// that of the noise.
    pub fn leverage_at(&self, at: &Point, row: &NormalizedRow) -> Option<f64> {
        self.leverage(at, row, &self.information(at)?)
    }

    /// Returns whether the rows determine every coordinate that is searched: no change of the coordinates leaves all
    /// predictions as they are. Two values of N, for example, do not determine both an exponent of N and a constant.
    pub fn is_determined(&self, at: &Point) -> bool {
        let pivot = |matrix| smallest_pivot(matrix, self.free().len());
        self.information(at).map(pivot).is_some_and(|pivot| pivot > LEAST_PIVOT)
    }

    /// Returns the logarithm of the predicted loss of a row.
    pub fn ln_predicted(&self, at: &Point, row: &NormalizedRow) -> Option<f64> {
        let mut slope = [0.0; COORDINATES];
        self.residual(at, row, &mut slope).map(|residual| row.ln_measured - residual)
    }

    fn leverage(
        &self,
        at: &Point,
        row: &NormalizedRow,
        matrix: &[Point; COORDINATES],
    ) -> Option<f64> {
        let mut slope = [0.0; COORDINATES];
        self.residual(at, row, &mut slope)?;
        let mut right = [0.0; COORDINATES];
        let free = self.free();
        for (value, coordinate) in right.iter_mut().zip(&free) {
            *value = slope[*coordinate];
        }
        let solution = solve_scaled(*matrix, right, free.len());
        Some(solution.iter().zip(right).map(|(left, right)| left * right).sum())
    }

    /// Sum of the outer products of the slopes, over the coordinates that are searched.
    fn information(&self, at: &Point) -> Option<[Point; COORDINATES]> {
        let free = self.free();
        let mut matrix = [[0.0; COORDINATES]; COORDINATES];
        let mut slope = [0.0; COORDINATES];
        for row in self.rows {
            self.residual(at, row, &mut slope)?;
            for (first, one) in free.iter().enumerate() {
                for (second, other) in free.iter().take(first + 1).enumerate() {
                    matrix[first][second] += slope[*one] * slope[*other];
                }
            }
        }
        Some(matrix)
    }

    fn free(&self) -> Vec<usize> {
        let searched = |index: &usize| self.bounds[*index].0 < self.bounds[*index].1;
        (0..self.coordinates()).filter(searched).collect()
    }

    /// Returns the sum of the scaled Huber losses; infinite if the law predicts a loss that is not above 0.
    pub fn value(&self, at: &Point) -> f64 {
        let mut gradient = [0.0; COORDINATES];
        let mut sum = 0.0;
        for (row, weight) in self.rows.iter().zip(self.weights) {
            match self.residual(at, row, &mut gradient) {
                Some(residual) => sum += weight * huber(residual / self.delta),
                None => return f64::INFINITY,
            }
        }
        sum
    }

    /// Returns value, gradient and curvature; `None` if the law predicts a loss that is not above 0.
    pub fn curvature(&self, at: &Point) -> Option<Curvature> {
        let count = self.coordinates();
        let mut sum = Curvature {
            value: 0.0,
            gradient: [0.0; COORDINATES],
            newton: [[0.0; COORDINATES]; COORDINATES],
            reweighted: [[0.0; COORDINATES]; COORDINATES],
            columns: [0.0; COORDINATES],
            clipped: 0.0,
        };
        let mut slope = [0.0; COORDINATES];
        for (row, weight) in self.rows.iter().zip(self.weights) {
            let scaled = self.residual(at, row, &mut slope)? / self.delta;
            let inside = scaled.abs() <= 1.0;
            let clipped = scaled.clamp(-1.0, 1.0);
            let share = if inside { 1.0 } else { 1.0 / scaled.abs() };
            sum.value += weight * huber(scaled);
            sum.clipped += weight * clipped * clipped;
            for first in 0..count {
                let column = slope[first] / self.delta;
                sum.gradient[first] -= weight * clipped * column;
                sum.columns[first] += weight * column * column;
                for (second, other) in slope.iter().enumerate().take(first + 1) {
                    let product = weight * column * other / self.delta;
                    sum.reweighted[first][second] += share * product;
                    if inside {
                        sum.newton[first][second] += product;
                    }
                }
            }
        }
        Some(sum)
    }

    /// Returns one log residual and fills `slope` with the derivatives of ln predicted.
    fn residual(&self, at: &Point, row: &NormalizedRow, slope: &mut Point) -> Option<f64> {
        let inside = &at[..self.nonlinear_len];
        let mut terms = [Term::default(); NONLINEAR];
        self.form.terms(inside, row, &mut terms[..self.linear.len()]);
        let mut predicted = row.base;
        slope[..self.nonlinear_len].fill(0.0);
        for (index, (kind, term)) in self.linear.iter().zip(&terms).enumerate() {
            let place = self.nonlinear_len + index;
            let coefficient = match kind {
                LinearCoefficient::Positive => at[place].exp(),
                LinearCoefficient::Free => at[place],
                LinearCoefficient::One => 1.0,
            };
            let part = coefficient * term.value;
            predicted += part;
            slope[place] = if *kind == LinearCoefficient::Positive { part } else { term.value };
            for (sum, gradient) in slope[..self.nonlinear_len].iter_mut().zip(&term.gradient) {
                *sum += coefficient * gradient;
            }
        }
        if !(predicted.is_finite() && predicted > 0.0) {
            return None;
        }
        for value in &mut slope[..self.nonlinear_len + self.linear.len()] {
            *value /= predicted;
        }
        Some(row.ln_measured - predicted.ln())
    }
}

/// Huber's loss with its turn at 1.
fn huber(scaled: f64) -> f64 {
    let size = scaled.abs();
    if size <= 1.0 { 0.5 * size * size } else { size - 0.5 }
}
