//! Low-rank adapters on the device: the steps of kernels/low_rank.rs on device addresses.
//!
//! The parameters are the matrices without the adapter; the copy for products is merged after each step. The scale s of
//! an adapter is the same for all its parts, so gradients do not contain it, and the gradient norm and the optimizer
//! step multiply by it.

use crate::adapter::{AdapterLayout, AdapterPart};
use crate::engine::cuda::decoder::CudaDecoder;
use crate::engine::cuda::decoder::tracked::Tracked;
use crate::engine::cuda::device::{Address, Form, Product};
use crate::error::Error;
use crate::model::layout::LinearRange;

/// An adapter's shape with the memory of its products.
pub(crate) struct DeviceAdapter {
    pub(crate) layout: AdapterLayout,
    /// The product B · A of the largest target.
    delta: Address,
    /// \[tokens, rank\] for this number of tokens: x · Aᵀ, and dy · B.
    thin: [Address; 2],
    thin_tokens: usize,
}

impl DeviceAdapter {
    /// Returns the scale s, by which gradients must be multiplied.
    #[expect(clippy::cast_possible_truncation, reason = "kernels compute in f32")]
    pub(crate) fn scale(&self) -> f32 {
        self.layout.scale() as f32
    }
}

impl CudaDecoder {
    pub(crate) fn adapter_of(&mut self, layout: &AdapterLayout) -> Result<DeviceAdapter, Error> {
        let largest = layout.parts().iter().map(|part| part.weight.len()).max().unwrap_or(0);
        let bytes = largest * self.pass.precision.bytes();
        let delta = self.kernels.device.allocate(bytes as u64)?;
        let thin = [Address::NULL; 2];
        Ok(DeviceAdapter { layout: layout.clone(), delta, thin, thin_tokens: 0 })
    }

    /// Writes `W + s · B · A` over every target in the copy for products.
    pub(crate) fn merge_adapter(&mut self) -> Result<(), Error> {
        let Some((tracked, adapter)) = self.adapter() else { return Ok(()) };
        let (delta, scale, rank) = (adapter.delta, adapter.scale(), adapter.layout.rank());
        let (numbers, narrow, len) = (tracked.numbers, tracked.narrow, tracked.len);
        let parts = adapter.layout.parts().to_vec();
        self.kernels.cast(narrow, numbers, len)?;
        for part in parts {
            let [a, b] = self.sides(narrow, &part);
            let outputs = part.weight.len() / part.inputs();
            let sides = [outputs, part.inputs(), rank];
            self.kernels.product(Form::Input, [delta, a, b], sides)?;
            let (to, base) =
                (self.narrow(part.weight.start), self.parameters.f32(part.weight.start));
            self.kernels.merge(to, base, delta, scale, part.weight.len())?;
        }
        Ok(())
    }

    /// Adds the gradients, without the scale s, of the targets that are rows of a projection.
    pub(crate) fn add_low_rank(
        &mut self,
        range: &LinearRange,
        [x, dy]: [Address; 2],
        [inputs, outputs]: [usize; 2],
        tokens: usize,
    ) -> Result<(), Error> {
        self.fit_thin(tokens)?;
        let Some((tracked, adapter)) = self.adapter() else { return Ok(()) };
        let ([thin, dthin], rank) = (adapter.thin, adapter.layout.rank());
        let (narrow, gradients) = (tracked.narrow, tracked.gradients);
        for part in adapter.layout.within(&range.weight).to_vec() {
            let [a, b] = self.sides(narrow, &part);
            let [da, db] = [&part.a.range, &part.b.range].map(|range| gradients.f32(range.start));
            let first = (part.weight.start - range.weight.start) / inputs;
            let dy = dy + first * self.pass.precision.bytes();
            // The gradient of B is a product of dy and x · Aᵀ; the gradient of A is a product of dy · B and x.
            let of_b = Product {
                form: Form::Weight,
                x: thin,
                weight: db,
                y: dy,
                rows: tokens,
                inputs: rank,
                outputs: part.weight.len() / inputs,
                pitch: outputs,
            };
            let of_a = Product {
                form: Form::Weight,
                x,
                weight: da,
                y: dthin,
                rows: tokens,
                inputs,
                outputs: rank,
                pitch: rank,
            };
            let device = &mut self.kernels.device;
            device.product(Product { form: Form::Output, weight: a, y: thin, ..of_a })?;
            device.product(of_b)?;
            device.product(Product { form: Form::Input, x: dthin, weight: b, ..of_b })?;
            device.product(of_a)?;
        }
        Ok(())
    }

    fn adapter(&self) -> Option<(&Tracked, &DeviceAdapter)> {
        let tracked = self.tracked.as_ref()?;
        Some((tracked, tracked.adapter.as_ref()?))
    }

    /// Returns A and B in the number format of products.
    fn sides(&self, narrow: Address, part: &AdapterPart) -> [Address; 2] {
        let bytes = self.pass.precision.bytes();
        [&part.a.range, &part.b.range].map(|range| narrow + range.start * bytes)
    }

    /// Grows the memory of both thin products to `tokens`; the memory never shrinks.
    fn fit_thin(&mut self, tokens: usize) -> Result<(), Error> {
        let (device, bytes) = (&mut self.kernels.device, self.pass.precision.bytes());
        let adapter = self.tracked.as_mut().and_then(|tracked| tracked.adapter.as_mut());
        let Some(adapter) = adapter.filter(|adapter| adapter.thin_tokens < tokens) else {
            return Ok(());
        };
        let bytes = (tokens * adapter.layout.rank() * bytes) as u64;
        for thin in &mut adapter.thin {
            if *thin != Address::NULL {
                device.free(*thin)?;
            }
            *thin = device.allocate(bytes)?;
        }
        adapter.thin_tokens = tokens;
        Ok(())
    }
}
