//! Starting points: a coarse grid over the coefficients inside the terms, with those before them in closed form.

use crate::laws::forms::{
    COORDINATES, Form, LinearCoefficient, NONLINEAR, NormalizedRow, Point, Term,
};
use crate::solver::linear::solve_scaled;
use crate::solver::objective::Objective;

/// The terms of every row at every grid point. They do not depend on the weights, so bootstrap draws share them.
pub(crate) struct StartGrid {
    linear: Vec<LinearCoefficient>,
    nodes: Vec<Node>,
}

struct Node {
    /// Indices on the axes of the grid, by which neighbors are recognized.
    indices: Vec<usize>,
    inside: Vec<f64>,
    /// Terms, row by row.
    terms: Vec<[f64; NONLINEAR]>,
}

impl StartGrid {
    pub fn new(form: &dyn Form, rows: &[NormalizedRow]) -> Self {
        let axes: Vec<Vec<f64>> = form.nonlinear().iter().map(|range| range.points()).collect();
        let linear = form.linear();
        let count: usize = axes.iter().map(Vec::len).product();
        let node = |index| Self::node(form, rows, &axes, linear.len(), index);
        let nodes = (0..count).map(node).collect();
        Self { linear, nodes }
    }

    fn node(
        form: &dyn Form,
        rows: &[NormalizedRow],
        axes: &[Vec<f64>],
        len: usize,
        mut node: usize,
    ) -> Node {
        let mut indices = Vec::with_capacity(axes.len());
        let mut inside = Vec::with_capacity(axes.len());
        for axis in axes {
            indices.push(node % axis.len());
            inside.push(axis[node % axis.len()]);
            node /= axis.len();
        }
        let mut terms = [Term::default(); NONLINEAR];
        let of_row = |row: &NormalizedRow| {
            form.terms(&inside, row, &mut terms[..len]);
            terms.map(|term| term.value)
        };
        let terms = rows.iter().map(of_row).collect();
        Node { indices, inside, terms }
    }

    /// Keeps only the best nodes under equal weights.
    pub fn best(self, rows: &[NormalizedRow], most: usize) -> Self {
        let weights = vec![1.0; rows.len()];
        let value = |node: &Node| self.project(node, rows, &weights).map_or(f64::INFINITY, |p| p.0);
        let mut order: Vec<(f64, usize)> =
            self.nodes.iter().enumerate().map(|(index, node)| (value(node), index)).collect();
        order.sort_by(|left, right| left.0.total_cmp(&right.0));
        let mut kept: Vec<usize> = order.iter().take(most).map(|(_, index)| *index).collect();
        kept.sort_unstable();
        let mut index = 0;
        let mut nodes = self.nodes;
        nodes.retain(|_| {
            index += 1;
            kept.binary_search(&(index - 1)).is_ok()
        });
        Self { linear: self.linear, nodes }
    }

    /// Returns starting points from the best nodes that are not neighbors of one another, the best first.
    pub fn starts(&self, rows: &[NormalizedRow], weights: &[f64], most: usize) -> Vec<Point> {
        let mut solved: Vec<(f64, Vec<f64>, &Node)> = self
            .nodes
            .iter()
            .filter_map(|node| {
                let (value, coefficients) = self.project(node, rows, weights)?;
                Some((value, coefficients, node))
            })
            .collect();
        solved.sort_by(|left, right| left.0.total_cmp(&right.0));
        let mut chosen: Vec<&(f64, Vec<f64>, &Node)> = Vec::new();
        for candidate in &solved {
            if chosen.len() == most {
                break;
            }
            if !chosen.iter().any(|one| are_neighbors(&one.2.indices, &candidate.2.indices)) {
                chosen.push(candidate);
            }
        }
        chosen.iter().map(|(_, coefficients, node)| self.point(node, coefficients)).collect()
    }

    fn point(&self, node: &Node, coefficients: &[f64]) -> Point {
        let mut point = [0.0; COORDINATES];
        let outside = self.linear.iter().zip(coefficients);
        let outside = outside.map(|(kind, value)| Objective::coordinate_of(*kind, *value));
        for (place, value) in point.iter_mut().zip(node.inside.iter().copied().chain(outside)) {
            *place = value;
        }
        point
    }

    /// Solves for the coefficients before the terms by weighted least squares relative to the measured loss; positive
    /// ones that come out negative are set to 1e-6, and the others are solved again.
    fn project(
        &self,
        node: &Node,
        rows: &[NormalizedRow],
        weights: &[f64],
    ) -> Option<(f64, Vec<f64>)> {
        let mut coefficients = vec![1.0; self.linear.len()];
        let mut open: Vec<usize> = (0..self.linear.len())
            .filter(|index| self.linear[*index] != LinearCoefficient::One)
            .collect();
        let fixed = |index: &usize| self.linear[*index] == LinearCoefficient::One;
        let ones: Vec<usize> = (0..self.linear.len()).filter(fixed).collect();
        while !open.is_empty() {
            let solution = normal_equations(node, rows, weights, &open, &ones);
            let negative = open.iter().enumerate().find(|(row, index)| {
                self.linear[**index] == LinearCoefficient::Positive && solution[*row] <= 0.0
            });
            let dropped = negative.map(|(row, _)| row);
            for (row, index) in open.iter().enumerate() {
                coefficients[*index] = solution[row];
            }
            match dropped {
                None => break,
                Some(row) => {
                    coefficients[open[row]] = 1e-6;
                    open.remove(row);
                }
            }
        }
        let mut sum = 0.0;
        for ((row, terms), weight) in rows.iter().zip(&node.terms).zip(weights) {
            let parts =
                coefficients.iter().zip(terms).map(|(coefficient, term)| coefficient * term);
            let relative = (row.base + parts.sum::<f64>()) / row.measured - 1.0;
            sum += weight * relative * relative;
        }
        sum.is_finite().then_some((sum, coefficients))
    }
}

fn normal_equations(
    node: &Node,
    rows: &[NormalizedRow],
    weights: &[f64],
    open: &[usize],
    ones: &[usize],
) -> Point {
    let mut matrix = [[0.0; COORDINATES]; COORDINATES];
    let mut right = [0.0; COORDINATES];
    for ((row, terms), weight) in rows.iter().zip(&node.terms).zip(weights) {
        let scale = weight / (row.measured * row.measured);
        let known: f64 = ones.iter().map(|index| terms[*index]).sum();
        for (first, left) in open.iter().enumerate() {
            right[first] += scale * terms[*left] * (row.measured - row.base - known);
            for (second, other) in open.iter().take(first + 1).enumerate() {
                matrix[first][second] += scale * terms[*left] * terms[*other];
            }
        }
    }
    solve_scaled(matrix, right, open.len())
}

fn are_neighbors(left: &[usize], right: &[usize]) -> bool {
    left.iter().zip(right).all(|(left, right)| left.abs_diff(*right) <= 1)
}
