//! Matrix products on slices; no other file calls the `gemm` crate.
//!
//! A product is split into blocks, each computed by one thread; the split does not change the bits of the result.
//!
//! The gain of the unsafe calls on two cores: the scores of 64 heads, 128 × 32 by 32 × 128, take 0.8 ms; vectorized
//! loops in safe Rust take 9.1 ms. candle's `matmul` is as fast for whole tensors but cannot multiply a part of a
//! tensor, which attention and the chunks of cross-entropy need.
#![expect(
    unsafe_code,
    reason = "gemm's only entry takes raw pointers; the views check every bound beforehand"
)]
#![expect(
    clippy::cast_possible_wrap,
    reason = "strides of slices fit isize: no slice is longer than isize::MAX bytes"
)]

use std::marker::PhantomData;
use std::ops::Range;

use gemm::Parallelism;
use rayon::prelude::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use super::number::Number;

/// A read-only matrix in a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, F> {
    data: &'a [F],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, F: Number> Matrix<'a, F> {
    /// A row-major matrix whose rows start `row_stride` numbers apart.
    pub(crate) fn strided(data: &'a [F], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(fits(data.len(), rows, columns, row_stride), "matrix exceeds its slice");
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// A row-major matrix without gaps.
    pub(crate) fn new(data: &'a [F], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// The transposed matrix over the same numbers.
    pub(crate) fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// A range of rows.
    fn rows(self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows exceed the matrix");
        let data = self.data.get(rows.start * self.row_stride..).unwrap_or(&[]);
        Self { data, rows: rows.len(), ..self }
    }

    /// A range of columns.
    fn columns(self, columns: Range<usize>) -> Self {
        self.transposed().rows(columns).transposed()
    }
}

/// A writable row-major matrix.
pub(crate) struct MatrixMut<'a, F> {
    data: *mut F,
    rows: usize,
    columns: usize,
    row_stride: usize,
    slice: PhantomData<&'a mut [F]>,
}

// SAFETY: this is an exclusive borrow of numbers that may be sent to other threads.
unsafe impl<F: Send> Send for MatrixMut<'_, F> {}
// SAFETY: a shared reference only gives blocks, and the caller of `block` guarantees that they are disjoint.
unsafe impl<F: Send> Sync for MatrixMut<'_, F> {}

impl<'a, F: Number> MatrixMut<'a, F> {
    /// A row-major matrix whose rows start `row_stride` numbers apart.
    pub(crate) fn strided(
        data: &'a mut [F],
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Self {
        assert!(fits(data.len(), rows, columns, row_stride), "matrix exceeds its slice");
        Self { data: data.as_mut_ptr(), rows, columns, row_stride, slice: PhantomData }
    }

    /// A row-major matrix without gaps.
    pub(crate) fn new(data: &'a mut [F], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// A part of the matrix.
    ///
    /// # Safety
    /// No two parts that live at the same time share a number.
    unsafe fn block(&self, rows: Range<usize>, columns: Range<usize>) -> MatrixMut<'_, F> {
        assert!(rows.start < rows.end && rows.end <= self.rows, "rows exceed the matrix");
        assert!(columns.start < columns.end && columns.end <= self.columns, "columns exceed it");
        let start = rows.start * self.row_stride + columns.start;
        // SAFETY: the part is not empty and within the matrix, as asserted.
        let data = unsafe { self.data.add(start) };
        let (rows, columns) = (rows.len(), columns.len());
        MatrixMut { data, rows, columns, row_stride: self.row_stride, slice: PhantomData }
    }

    /// Calls `work` with each row and its number.
    fn each_row(&mut self, work: impl Fn(usize, &mut [F])) {
        for row in 0..self.rows {
            // SAFETY: the row is within the matrix, which is borrowed exclusively.
            let numbers = unsafe {
                std::slice::from_raw_parts_mut(self.data.add(row * self.row_stride), self.columns)
            };
            work(row, numbers);
        }
    }
}

/// How a product treats the numbers already in the destination.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// The result overwrites them without reading them.
    Replace,
    /// The result is added to them.
    Add,
}

fn fits(len: usize, rows: usize, columns: usize, row_stride: usize) -> bool {
    let end = |rows: usize| (rows - 1).checked_mul(row_stride)?.checked_add(columns);
    rows == 0 || columns == 0 || end(rows).is_some_and(|end| end <= len)
}

/// `destination = scale · lhs · rhs`, or `destination += scale · lhs · rhs`, on the calling thread.
pub(crate) fn multiply<F: Number>(
    destination: &mut MatrixMut<F>,
    existing: Existing,
    scale: F,
    lhs: Matrix<F>,
    rhs: Matrix<F>,
) {
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
            destination.data,
            1,
            destination.row_stride as isize,
            existing == Existing::Add,
            lhs.data.as_ptr(),
            lhs.column_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.column_stride as isize,
            rhs.row_stride as isize,
            F::ONE,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// The number of blocks per thread: more than one, so that one delayed thread does not delay the whole product.
const BLOCKS_PER_THREAD: usize = 2;
/// The minimum of the longer side of a block in a product that is split: with both sides up to 64, the kernel sums in
/// different pieces. It is a multiple of 48, like the bounds of all parts.
const LEAST_SIDE: usize = 96;

/// The numbers of rows and columns of blocks that a product is split into.
///
/// Every block packs its operands separately, so there are only enough blocks to keep the threads busy, and they are as
/// square as possible (docs/log.md lists what was tried). The bits of the result do not depend on the split: the kernel
/// sums over the inner side in pieces that depend on that side alone.
fn grid(rows: usize, columns: usize, threads: usize) -> (usize, usize) {
    let (mut down, mut across) = (1, 1);
    while down * across < threads * BLOCKS_PER_THREAD {
        let (height, width) = (rows / (2 * down), columns / (2 * across));
        if height.max(width) < LEAST_SIDE {
            break;
        }
        if height >= width { down *= 2 } else { across *= 2 }
    }
    (down, across)
}

/// Returns part `index` of `parts` of a side. Its bounds are multiples of 48, which fit the kernel's tiles of 6 by 16
/// numbers, except at the end of the side.
fn part(len: usize, parts: usize, index: usize) -> Range<usize> {
    let place = |index: usize| if index == parts { len } else { len * index / parts / 48 * 48 };
    place(index)..place(index + 1)
}

/// `destination = lhs · rhs` or `destination += lhs · rhs` for a destination without gaps, block by
/// block in parallel.
pub(crate) fn product<F: Number>(
    destination: &mut [F],
    existing: Existing,
    lhs: Matrix<F>,
    rhs: Matrix<F>,
) {
    in_blocks(destination, lhs, rhs, |_, _, _| existing);
}

/// `destination = start + lhs · rhs`: `start` receives a row's number, the columns and the slice to fill.
pub(crate) fn product_onto<F: Number>(
    destination: &mut [F],
    lhs: Matrix<F>,
    rhs: Matrix<F>,
    start: impl Fn(usize, Range<usize>, &mut [F]) + Sync,
) {
    in_blocks(destination, lhs, rhs, |rows, columns, block| {
        block.each_row(|row, numbers| start(rows.start + row, columns.clone(), numbers));
        Existing::Add
    });
}

/// Multiplies block by block, calling `prepare` on each block first.
fn in_blocks<F: Number>(
    destination: &mut [F],
    lhs: Matrix<F>,
    rhs: Matrix<F>,
    prepare: impl Fn(&Range<usize>, &Range<usize>, &mut MatrixMut<F>) -> Existing + Sync,
) {
    let (rows, columns) = (lhs.rows, rhs.columns);
    assert_eq!(Some(destination.len()), rows.checked_mul(columns), "numbers of a product");
    if rows == 0 || columns == 0 {
        return;
    }
    let (down, across) = grid(rows, columns, rayon::current_num_threads());
    let destination = MatrixMut::new(destination, rows, columns);
    (0..down * across).into_par_iter().with_max_len(1).for_each(|block| {
        let row = part(rows, down, block / across);
        let column = part(columns, across, block % across);
        // SAFETY: each block is taken once, and blocks of a grid are disjoint.
        let mut part = unsafe { destination.block(row.clone(), column.clone()) };
        let existing = prepare(&row, &column, &mut part);
        multiply(&mut part, existing, F::ONE, lhs.rows(row), rhs.columns(column));
    });
}

#[cfg(test)]
mod tests {
    use super::{Existing, Matrix, MatrixMut, grid, multiply, part, product};
    use crate::engine::kernels::check::{numbers, on_threads};

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
        for (m, k, n) in
            [(1, 1, 1), (3, 5, 7), (517, 3, 393), (70, 33, 9), (300, 16, 40), (2, 700, 3)]
        {
            let lhs = numbers::<f32>(m * k, 1);
            let rhs = numbers(k * n, 2);
            let expected = naive(&lhs, &rhs, m, k, n);
            let mut turned = vec![0.0; k * n];
            for i in 0..k {
                for j in 0..n {
                    turned[j * k + i] = rhs[i * n + j];
                }
            }
            let (left, right) = (Matrix::new(&lhs, m, k), Matrix::new(&rhs, k, n));
            let (mut plain, mut other) = (vec![7.0; m * n], vec![7.0; m * n]);
            product(&mut plain, Existing::Replace, left, right);
            let turned = Matrix::new(&turned, n, k).transposed();
            product(&mut other, Existing::Replace, left, turned);
            let mut added = plain.clone();
            product(&mut added, Existing::Add, left, right);
            for i in 0..m * n {
                assert!((f64::from(plain[i]) - expected[i]).abs() < 1e-4);
                assert!((f64::from(other[i]) - expected[i]).abs() < 1e-4);
                assert!((f64::from(added[i]) - 2.0 * expected[i]).abs() < 2e-4);
            }
        }
    }

    #[test]
    fn strided_destinations_leave_the_gaps() {
        let mut out = vec![9.0; 10];
        let mut view = MatrixMut::strided(&mut out, 2, 2, 5);
        let (lhs, rhs) = (numbers(6, 3), numbers(6, 4));
        let (left, right) = (Matrix::new(&lhs, 2, 3), Matrix::new(&rhs, 3, 2));
        multiply(&mut view, Existing::Replace, 0.5, left, right);
        let expected = naive(&lhs, &rhs, 2, 3, 2);
        assert!((f64::from(out[0]) - 0.5 * expected[0]).abs() < 1e-6);
        assert!((f64::from(out[6]) - 0.5 * expected[3]).abs() < 1e-6);
        assert_eq!((&out[2..5], &out[7..]), ([9.0; 3].as_slice(), [9.0; 3].as_slice()));
    }

    #[test]
    fn parts_cover_a_side_once_and_are_not_small() {
        for (rows, columns, threads) in [(1, 1, 8), (95, 4000, 3), (200, 200, 64), (517, 130, 2)] {
            let (down, across) = grid(rows, columns, threads);
            assert!(down * across <= (2 * threads).next_power_of_two());
            for (len, parts) in [(rows, down), (columns, across)] {
                let all: Vec<_> = (0..parts).flat_map(|index| part(len, parts, index)).collect();
                assert_eq!(all, (0..len).collect::<Vec<_>>());
                let least = (0..parts).map(|index| part(len, parts, index).len()).min();
                assert!(parts == 1 || least >= Some(96), "{len} in {parts}");
            }
        }
    }

    #[test]
    fn the_thread_count_changes_no_bit() {
        for (m, k, n) in [(517, 130, 65), (1000, 1100, 900), (97, 2000, 200), (193, 600, 193)] {
            let (lhs, rhs) = (numbers::<f32>(m * k, 5), numbers(k * n, 6));
            let run = || {
                let mut out = vec![0.0; m * n];
                let (left, right) = (Matrix::new(&lhs, m, k), Matrix::new(&rhs, k, n));
                product(&mut out, Existing::Replace, left, right);
                let mut other = vec![0.0; k * n];
                product(&mut other, Existing::Add, left.transposed(), Matrix::new(&out, m, n));
                (out, other)
            };
            let one = on_threads(1, run);
            for threads in [2, 3, 5, 16] {
                assert_eq!(on_threads(threads, run), one);
            }
        }
    }

    #[test]
    fn a_product_of_no_rows_is_empty() {
        let rhs = numbers::<f32>(6, 1);
        product(&mut [], Existing::Add, Matrix::new(&[], 0, 3), Matrix::new(&rhs, 3, 2));
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
