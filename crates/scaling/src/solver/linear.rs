//! Small symmetric systems of linear equations.

use crate::laws::forms::{COORDINATES, Point};

/// Solves a symmetric system given by its lower triangle; a pivot that rounding has made 0 or negative is raised.
pub(crate) fn cholesky_solve(
    mut matrix: [Point; COORDINATES],
    right: Point,
    count: usize,
) -> Point {
    for column in 0..count {
        for row in column..count {
            let mut sum = matrix[row][column];
            for (one, other) in matrix[row].iter().zip(&matrix[column]).take(column) {
                sum -= one * other;
            }
            matrix[row][column] =
                if row == column { sum.max(1e-16).sqrt() } else { sum / matrix[column][column] };
        }
    }
    let mut solution = right;
    for row in 0..count {
        for k in 0..row {
            solution[row] -= matrix[row][k] * solution[k];
        }
        solution[row] /= matrix[row][row];
    }
    for row in (0..count).rev() {
        for k in row + 1..count {
            solution[row] -= matrix[k][row] * solution[k];
        }
        solution[row] /= matrix[row][row];
    }
    solution
}

/// Returns the smallest pivot of a matrix scaled to a unit diagonal: 1 if all coordinates are independent, and a
/// rounding error of 0 if one of them is determined by the others.
pub(crate) fn smallest_pivot(mut matrix: [Point; COORDINATES], count: usize) -> f64 {
    let scale: Vec<f64> = (0..count).map(|k| matrix[k][k].max(1e-300).sqrt().recip()).collect();
    let mut smallest = f64::INFINITY;
    for column in 0..count {
        for row in column..count {
            let mut sum = matrix[row][column] * scale[row] * scale[column];
            for (one, other) in matrix[row].iter().zip(&matrix[column]).take(column) {
                sum -= one * other;
            }
            if row == column {
                smallest = smallest.min(sum);
                matrix[row][column] = sum.max(1e-300).sqrt();
            } else {
                matrix[row][column] = sum / matrix[column][column];
            }
        }
    }
    smallest
}

/// Like [`cholesky_solve`], but scales to a unit diagonal first, because coefficients differ by orders of magnitude.
pub(crate) fn solve_scaled(
    mut matrix: [Point; COORDINATES],
    mut right: Point,
    count: usize,
) -> Point {
    let scale: Vec<f64> = (0..count).map(|k| matrix[k][k].max(1e-300).sqrt().recip()).collect();
    for first in 0..count {
        right[first] *= scale[first];
        for second in 0..=first {
            matrix[first][second] *= scale[first] * scale[second];
        }
        matrix[first][first] += 1e-12;
    }
    let mut solution = cholesky_solve(matrix, right, count);
    for (value, scale) in solution.iter_mut().zip(&scale) {
        *value *= scale;
    }
    solution
}
