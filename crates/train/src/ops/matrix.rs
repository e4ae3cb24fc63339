//! Matrix products on slices: the one file that calls the `gemm` crate.
//!
//! Every product runs single-threaded on a part of the rows; the parts depend on the shapes alone,
//! so the bits of a result do not depend on the number of threads.
//!
//! What the unsafe calls gain, on two cores: scores of 64 heads, 128 × 32 by 32 × 128, take 0.8 ms;
//! with vectorised loops in safe Rust 9.1 ms. candle's own `matmul` is as fast for whole tensors
//! but takes no part of one, which attention and the chunks of cross-entropy need.
#![expect(
    unsafe_code,
    reason = "gemm's only entry takes raw pointers; the views check every bound beforehand"
)]
#![expect(
    clippy::cast_possible_wrap,
    reason = "strides of slices fit isize: no slice is longer than isize::MAX bytes"
)]

use gemm::Parallelism;
use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

/// A read-only matrix in a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix whose rows start `row_stride` numbers apart.
    pub(crate) fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(fits(data.len(), rows, columns, row_stride), "matrix exceeds its slice");
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// A row-major matrix without gaps.
    pub(crate) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// The same numbers, rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// The rows from `start`, `rows` of them.
    fn rows(self, start: usize, rows: usize) -> Self {
        assert!(start <= self.rows && rows <= self.rows - start, "rows exceed the matrix");
        Self { data: &self.data[start * self.row_stride..], rows, ..self }
    }
}

/// A row-major matrix that is written.
pub(crate) struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// A row-major matrix whose rows start `row_stride` numbers apart.
    pub(crate) fn strided(
        data: &'a mut [f32],
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Self {
        assert!(fits(data.len(), rows, columns, row_stride), "matrix exceeds its slice");
        Self { data, rows, columns, row_stride }
    }

    /// A row-major matrix without gaps.
    pub(crate) fn new(data: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }
}

/// What happens to the numbers already in the destination.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Overwritten without being read.
    Replace,
    /// Added to.
    Add,
}

fn fits(len: usize, rows: usize, columns: usize, row_stride: usize) -> bool {
    let end = |rows: usize| (rows - 1).checked_mul(row_stride)?.checked_add(columns);
    rows == 0 || columns == 0 || end(rows).is_some_and(|end| end <= len)
}

/// `destination = lhs · rhs`, or `destination += lhs · rhs`, on the calling thread.
pub(crate) fn multiply(destination: &mut MatrixMut, existing: Existing, lhs: Matrix, rhs: Matrix) {
    assert_eq!(destination.rows, lhs.rows, "rows of a product");
    assert_eq!(destination.columns, rhs.columns, "columns of a product");
    assert_eq!(lhs.columns, rhs.rows, "inner sizes of a product");
    // SAFETY: `MatrixMut` and `Matrix` only exist for shapes and strides that stay within their
    // slices, and the destination is borrowed exclusively.
    unsafe {
        gemm::gemm(
            lhs.rows,
            rhs.columns,
            lhs.columns,
            destination.data.as_mut_ptr(),
            1,
            destination.row_stride as isize,
            existing == Existing::Add,
            lhs.data.as_ptr(),
            lhs.column_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.column_stride as isize,
            rhs.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Rows of a product that one task computes: a function of the shape, never of the thread count.
///
/// Every task packs `rhs` for itself, so parts are large (about 192 rows); their number is even for
/// two cores, and a multiple of 24 rows fits the kernel's 6 rows and a vector's 8 lanes.
fn task_rows(rows: usize) -> usize {
    let parts = 2 * ((rows + 192) / 384).max(1);
    rows.div_ceil(parts).max(1).next_multiple_of(24)
}

/// `lhs · rhs` in a fresh vector, in parallel over parts of the rows.
pub(crate) fn product(lhs: Matrix, rhs: Matrix) -> Vec<f32> {
    // Zeroed although all of it is overwritten: without that a training step is at most 4 % faster,
    // which is within the noise and not worth unsafe code.
    let mut values = vec![0.0; len(lhs, rhs)];
    multiply_parts(&mut values, Existing::Replace, lhs, rhs);
    values
}

/// `destination += lhs · rhs`, in parallel over parts of the rows.
pub(crate) fn add_product(destination: &mut [f32], lhs: Matrix, rhs: Matrix) {
    assert_eq!(destination.len(), len(lhs, rhs), "numbers of a product");
    multiply_parts(destination, Existing::Add, lhs, rhs);
}

/// Numbers of a product: no slice has more than `usize::MAX` of them.
fn len(lhs: Matrix, rhs: Matrix) -> usize {
    let len = lhs.rows.checked_mul(rhs.columns);
    assert!(len.is_some(), "a product exceeds memory");
    len.unwrap_or(0)
}

fn multiply_parts(destination: &mut [f32], existing: Existing, lhs: Matrix, rhs: Matrix) {
    if rhs.columns == 0 {
        return;
    }
    let part = task_rows(lhs.rows);
    destination.par_chunks_mut(part * rhs.columns).enumerate().for_each(|(index, chunk)| {
        let rows = chunk.len() / rhs.columns;
        let mut chunk = MatrixMut::new(chunk, rows, rhs.columns);
        multiply(&mut chunk, existing, lhs.rows(index * part, rows), rhs);
    });
}

#[cfg(test)]
mod tests {
    use super::{Existing, Matrix, MatrixMut, add_product, multiply, product};
    use crate::ops::check::{numbers, on_threads};

    fn naive(lhs: &[f32], rhs: &[f32], m: usize, k: usize, n: usize) -> Vec<f64> {
        let mut out = vec![0.0; m * n];
        for (index, value) in out.iter_mut().enumerate() {
            let (i, j) = (index / n, index % n);
            *value = (0..k).map(|x| f64::from(lhs[i * k + x]) * f64::from(rhs[x * n + j])).sum();
        }
        out
    }

    #[test]
    fn products_equal_naive_ones_for_any_layout() {
        for (m, k, n) in [(1, 1, 1), (3, 5, 7), (70, 33, 9), (300, 16, 40), (2, 700, 3)] {
            let lhs = numbers(m * k, 1);
            let rhs = numbers(k * n, 2);
            let expected = naive(&lhs, &rhs, m, k, n);
            let mut turned = vec![0.0; k * n];
            for i in 0..k {
                for j in 0..n {
                    turned[j * k + i] = rhs[i * n + j];
                }
            }
            let plain = product(Matrix::new(&lhs, m, k), Matrix::new(&rhs, k, n));
            let other = product(Matrix::new(&lhs, m, k), Matrix::new(&turned, n, k).transposed());
            let mut added = plain.clone();
            add_product(&mut added, Matrix::new(&lhs, m, k), Matrix::new(&rhs, k, n));
            for i in 0..m * n {
                assert!((f64::from(plain[i]) - expected[i]).abs() < 1e-4);
                assert!((f64::from(other[i]) - expected[i]).abs() < 1e-4);
                assert!((f64::from(added[i]) - 2.0 * expected[i]).abs() < 2e-4);
            }
        }
    }

    #[test]
    fn strided_destinations_leave_the_gaps() {
        let lhs = numbers(6, 3);
        let rhs = numbers(6, 4);
        let mut out = vec![9.0; 10];
        let mut view = MatrixMut::strided(&mut out, 2, 2, 5);
        multiply(&mut view, Existing::Replace, Matrix::new(&lhs, 2, 3), Matrix::new(&rhs, 3, 2));
        let expected = naive(&lhs, &rhs, 2, 3, 2);
        assert!((f64::from(out[0]) - expected[0]).abs() < 1e-6);
        assert!((f64::from(out[6]) - expected[3]).abs() < 1e-6);
        assert_eq!((&out[2..5], &out[7..]), ([9.0; 3].as_slice(), [9.0; 3].as_slice()));
    }

    #[test]
    fn the_thread_count_changes_no_bit() {
        let (m, k, n) = (517, 130, 65);
        let lhs = numbers(m * k, 5);
        let rhs = numbers(k * n, 6);
        let run = || product(Matrix::new(&lhs, m, k), Matrix::new(&rhs, k, n));
        let one = on_threads(1, run);
        for threads in [2, 3, 5] {
            assert_eq!(on_threads(threads, run), one);
        }
    }

    #[test]
    fn a_product_of_no_rows_is_empty() {
        let rhs = numbers(6, 1);
        assert_eq!(product(Matrix::new(&[], 0, 3), Matrix::new(&rhs, 3, 2)), [0.0; 0]);
    }

    #[test]
    #[should_panic(expected = "matrix exceeds its slice")]
    fn a_view_whose_end_overflows_is_refused() {
        let _ = Matrix::strided(&[0.0; 5], 3, 1, usize::MAX / 2 + 1);
    }

    #[test]
    #[should_panic(expected = "matrix exceeds its slice")]
    fn a_view_beyond_its_slice_is_refused() {
        let _ = Matrix::new(&[0.0; 5], 2, 3);
    }
}
