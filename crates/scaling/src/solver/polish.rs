//! Damped Newton steps within bounds, from a starting point to the optimum next to it.

use crate::laws::forms::{COORDINATES, Point};
use crate::solver::linear::cholesky_solve;
use crate::solver::objective::{Curvature, Objective};

const MOST_STEPS: u32 = 80;
/// Steps without the law's own curvature. Most searches end within them; if a law fits badly they become very small,
/// and the whole second derivative takes over.
const GAUSS_NEWTON_STEPS: u32 = 25;
/// The distance of the points whose gradients give the whole second derivative.
const DIFFERENCE: f64 = 1e-5;
/// The largest gradient without units (the cosine between the clipped residuals and a column of the Jacobian) that
/// counts as an optimum.
pub(crate) const GRADIENT_TOLERANCE: f64 = 1e-6;
/// The mean squared scaled residual below which only rounding is left to fit.
const NOTHING_LEFT: f64 = 1e-20;

/// The point where the steps ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Optimum {
    pub at: Point,
    /// Sum of the scaled Huber losses.
    pub value: f64,
    /// Largest component of the gradient without units.
    pub gradient_norm: f64,
}

impl Optimum {
    pub fn converged(&self) -> bool {
        self.gradient_norm <= GRADIENT_TOLERANCE
    }
}

/// Minimizes from `start`.
///
/// The step solves (H + λ·R) s = −g, where H is Newton's matrix, to which rows beyond δ add nothing, and R is that of
/// iterated reweighted least squares. With λ → 0 it is Newton's step, which needs a few steps; with λ about 1 it is
/// reweighting, which is safe but needs hundreds. Plain L-BFGS stops early, because the objective is flat along the
/// valley of α and B.
pub(crate) fn polish(objective: &Objective<'_>, start: Point) -> Option<Optimum> {
    let mut at = start;
    let mut damping = 1e-2;
    let mut curvature = objective.curvature(&at)?;
    let mut gradient_norm = norm(objective, &at, &curvature);
    for number in 0..MOST_STEPS {
        let enough = if number < GAUSS_NEWTON_STEPS { 0.01 } else { 1.0 };
        if gradient_norm <= enough * GRADIENT_TOLERANCE {
            break;
        }
        let step = solve(objective, &at, &curvature, damping);
        let candidate = moved(objective, &at, &step);
        let value = objective.value(&candidate);
        // Differences below the rounding of the sum count as progress towards a smaller gradient.
        if value <= curvature.value * (1.0 + 1e-15) {
            let next = objective.curvature(&candidate)?;
            let next_norm = norm(objective, &candidate, &next);
            let stalled = value >= curvature.value * (1.0 - 1e-15) && next_norm >= gradient_norm;
            if stalled && damping > 1e6 {
                break;
            }
            if !stalled {
                (at, curvature, gradient_norm) = (candidate, next, next_norm);
                if number >= GAUSS_NEWTON_STEPS {
                    curvature.newton = hessian(objective, &at).unwrap_or(curvature.newton);
                }
                damping = (damping * 0.2).max(1e-12);
                continue;
            }
        }
        damping *= 4.0;
        if damping > 1e12 {
            break;
        }
    }
    Some(Optimum { at, value: curvature.value, gradient_norm })
}

/// The lower triangle of the second derivatives, by central differences of the gradient.
fn hessian(objective: &Objective<'_>, at: &Point) -> Option<[Point; COORDINATES]> {
    let count = objective.coordinates();
    let mut matrix = [[0.0; COORDINATES]; COORDINATES];
    for column in 0..count {
        let gradient = |sign: f64| {
            let mut moved = *at;
            moved[column] += sign * DIFFERENCE;
            objective.curvature(&moved).map(|curvature| curvature.gradient)
        };
        let (up, down) = (gradient(1.0)?, gradient(-1.0)?);
        for row in 0..count {
            let slope = (up[row] - down[row]) / (2.0 * DIFFERENCE);
            let (first, second) = (row.max(column), row.min(column));
            // Both halves of the triangle are averaged; the diagonal stands alone.
            matrix[first][second] += if row == column { slope } else { 0.5 * slope };
        }
    }
    Some(matrix)
}

/// Returns the largest cosine between the clipped residuals and a column, over the coordinates that can move.
fn norm(objective: &Objective<'_>, at: &Point, curvature: &Curvature) -> f64 {
    if curvature.clipped <= NOTHING_LEFT {
        return 0.0;
    }
    let mut largest = 0.0_f64;
    for index in 0..objective.coordinates() {
        if can_move(objective, at, curvature, index) && curvature.columns[index] > 0.0 {
            let size = (curvature.columns[index] * curvature.clipped).sqrt();
            largest = largest.max(curvature.gradient[index].abs() / size);
        }
    }
    largest
}

/// Returns whether a coordinate is neither frozen nor at a bound that the gradient points beyond.
fn can_move(objective: &Objective<'_>, at: &Point, curvature: &Curvature, index: usize) -> bool {
    let (low, high) = objective.bounds[index];
    let slope = curvature.gradient[index];
    let pressed = (at[index] <= low && slope > 0.0) || (at[index] >= high && slope < 0.0);
    low < high && !pressed
}

/// The damped step; 0 where a coordinate cannot move.
fn solve(objective: &Objective<'_>, at: &Point, curvature: &Curvature, damping: f64) -> Point {
    let free: Vec<usize> = (0..objective.coordinates())
        .filter(|index| can_move(objective, at, curvature, *index))
        .collect();
    let mut matrix = [[0.0; COORDINATES]; COORDINATES];
    let mut right = [0.0; COORDINATES];
    // Scaling to a unit diagonal: coordinates differ by orders of magnitude.
    let scale = |index: usize| curvature.reweighted[index][index].max(1e-300).sqrt();
    for (row, first) in free.iter().enumerate() {
        right[row] = -curvature.gradient[*first] / scale(*first);
        for (column, second) in free.iter().take(row + 1).enumerate() {
            let newton = curvature.newton[*first][*second];
            let reweighted = curvature.reweighted[*first][*second];
            let sum = newton + damping * reweighted;
            matrix[row][column] = sum / (scale(*first) * scale(*second));
        }
        matrix[row][row] += 1e-13 + 1e-3 * damping;
    }
    let solution = cholesky_solve(matrix, right, free.len());
    let mut step = [0.0; COORDINATES];
    for (row, index) in free.iter().enumerate() {
        step[*index] = solution[row] / scale(*index);
    }
    step
}

/// The point after a step, kept within the bounds.
fn moved(objective: &Objective<'_>, at: &Point, step: &Point) -> Point {
    let mut next = *at;
    for (index, (low, high)) in objective.bounds.iter().enumerate() {
        // A step of more than 2 in a logarithm or an exponent leaves the range of the expansion.
        next[index] = (at[index] + step[index].clamp(-2.0, 2.0)).clamp(*low, *high);
    }
    next
}
