//! Between candle's storage and plain slices of numbers.

use candle_core::{CpuStorage, Device, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

/// The numbers of a contiguous f32 operand.
pub(crate) fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("expected a contiguous operand, got strides {:?}", layout.stride())
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// Lends the numbers of a tensor on the CPU to `work`; copies only what is not contiguous.
pub(crate) fn with_numbers<T>(
    tensor: &Tensor,
    work: impl FnOnce(&[f32]) -> Result<T>,
) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => work(numbers(storage, layout)?),
        Storage::Cuda(_) | Storage::Metal(_) => bail!("expected a tensor on the CPU"),
    }
}

/// A tensor that takes over `values`.
pub(crate) fn tensor(values: Vec<f32>, shape: &Shape) -> Result<Tensor> {
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// The sum of two tensors of one shape, in parallel.
pub(crate) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    const TASK_LEN: usize = 1 << 14;
    let mut values = with_numbers(a, |a| Ok(a.to_vec()))?;
    with_numbers(b, |b| {
        values.par_chunks_mut(TASK_LEN).zip(b.par_chunks(TASK_LEN)).for_each(|(values, b)| {
            values.iter_mut().zip(b).for_each(|(value, b)| *value += b);
        });
        Ok(())
    })?;
    tensor(values, a.shape())
}

/// What a custom op's forward pass gives back.
pub(crate) fn output(values: Vec<f32>, shape: impl Into<Shape>) -> (CpuStorage, Shape) {
    (CpuStorage::F32(values), shape.into())
}
