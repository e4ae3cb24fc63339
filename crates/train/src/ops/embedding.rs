//! Rows of a table, and the way back.

use candle_core::{Result, Tensor, bail};

use super::host;

fn place(id: u32, width: usize, len: usize) -> Result<std::ops::Range<usize>> {
    let start = usize::try_from(id).ok().and_then(|id| id.checked_mul(width));
    match start.map(|start| start..start + width).filter(|range| range.end <= len) {
        Some(range) => Ok(range),
        None => bail!("embedding: expected ids below {}, got {id}", len / width.max(1)),
    }
}

/// The rows of `table` \[vocabulary, width\] that `ids` name: \[ids, width\].
pub(crate) fn rows(table: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let (_, width) = table.dims2()?;
    let mut rows = Vec::with_capacity(ids.len() * width);
    host::with_numbers(table, |table| {
        ids.iter().try_for_each(|&id| {
            rows.extend_from_slice(&table[place(id, width, table.len())?]);
            Ok(())
        })
    })?;
    host::tensor(rows, &(ids.len(), width).into())
}

/// Adds the rows of `gradient` to those rows of `sum` (zeros, where it is none) that `ids` name,
/// in the order of `ids`.
pub(crate) fn add_rows(
    sum: Option<Tensor>,
    table: &Tensor,
    ids: &[u32],
    gradient: &Tensor,
) -> Result<Tensor> {
    let (_, width) = table.dims2()?;
    let mut values = match sum {
        Some(sum) => host::with_numbers(&sum, |values| Ok(values.to_vec()))?,
        None => vec![0.0; table.elem_count()],
    };
    host::with_numbers(gradient, |gradient| {
        for (&id, row) in ids.iter().zip(gradient.chunks_exact(width)) {
            let place = place(id, width, values.len())?;
            values[place].iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        Ok(())
    })?;
    host::tensor(values, table.shape())
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::{add_rows, rows};

    #[test]
    fn repeated_rows_add_up() {
        let table = Tensor::new(&[[1f32, 2.0], [3.0, 4.0], [5.0, 6.0]], &Device::Cpu).unwrap();
        let taken = rows(&table, &[2, 0, 2]).unwrap();
        assert_eq!(taken.to_vec2::<f32>().unwrap(), [[5.0, 6.0], [1.0, 2.0], [5.0, 6.0]]);
        let fresh = add_rows(None, &table, &[2, 0, 2], &taken).unwrap();
        assert_eq!(fresh.to_vec2::<f32>().unwrap(), [[1.0, 2.0], [0.0, 0.0], [10.0, 12.0]]);
        let onto = add_rows(Some(fresh), &table, &[1], &table).unwrap();
        assert_eq!(onto.to_vec2::<f32>().unwrap(), [[1.0, 2.0], [1.0, 2.0], [10.0, 12.0]]);
        let error = rows(&table, &[3]).unwrap_err().to_string();
        assert!(error.contains("expected ids below 3, got 3"), "{error}");
    }
}
