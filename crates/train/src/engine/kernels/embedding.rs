//! Lookup of rows in an embedding table, and its gradient.

use super::elementwise::add;
use super::number::Number;

/// Copies the rows of `table` \[entries, width\] with the given `ids` to `rows` \[ids, width\].
pub(crate) fn forward<F: Number>(table: &[F], width: usize, ids: &[u32], rows: &mut [F]) {
    for (row, &id) in rows.chunks_exact_mut(width).zip(ids) {
        row.copy_from_slice(entry(table, width, id));
    }
}

/// Adds the rows of `table` with the given `ids` to `rows`.
pub(crate) fn forward_add<F: Number>(table: &[F], width: usize, ids: &[u32], rows: &mut [F]) {
    for (row, &id) in rows.chunks_exact_mut(width).zip(ids) {
        add(row, entry(table, width, id));
    }
}

/// Adds the rows of `gradient` to the rows of `dtable` with the given `ids`, in the order of `ids`.
pub(crate) fn backward<F: Number>(gradient: &[F], width: usize, ids: &[u32], dtable: &mut [F]) {
    for (row, &id) in gradient.chunks_exact(width).zip(ids) {
        let start = id as usize * width;
        add(&mut dtable[start..start + width], row);
    }
}

fn entry<F>(table: &[F], width: usize, id: u32) -> &[F] {
    let start = id as usize * width;
    &table[start..start + width]
}

#[cfg(test)]
mod tests {
    use super::{backward, forward, forward_add};
    use crate::engine::kernels::check::{Operation, check, numbers};
    use crate::engine::kernels::number::Number;

    const IDS: [u32; 5] = [1, 8, 1, 0, 5];

    struct Case;

    impl Operation for Case {
        fn forward<F: Number>(&self, operands: &[Vec<F>]) -> Vec<F> {
            let mut rows = vec![F::ZERO; IDS.len() * 3];
            forward(&operands[0], 3, &IDS, &mut rows);
            forward_add(&operands[1], 3, &IDS, &mut rows);
            rows
        }

        fn backward<F: Number>(&self, _operands: &[Vec<F>], gradient: &[F]) -> Vec<Vec<F>> {
            let mut dtable = vec![F::ZERO; 27];
            backward(gradient, 3, &IDS, &mut dtable);
            vec![dtable.clone(), dtable]
        }
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        check(&Case, &[numbers(27, 1), numbers(27, 2)], 1e-6);
    }
}
