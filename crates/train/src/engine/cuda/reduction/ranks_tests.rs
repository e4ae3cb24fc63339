//! Tests of several decoders that sum their gradients, each on a thread with a separate emulator. The buckets and the
//! order of calls are as on GPUs; the sums are computed on the CPU.

use std::sync::atomic::AtomicBool;

use crate::config::compute::Precision;
use crate::engine::cuda::decoder::{CudaDecoder, CudaPass};
use crate::engine::cuda::device::emulator::device;
use crate::engine::decoder::ActivationPolicy;
use crate::engine::decoder::tests::{parameters, rows};
use crate::engine::kernels::check::close;
use crate::engine::rows::Rows;
use crate::engine::{Engine, NEVER, Resident};
use crate::model::config::ModelConfig;
use crate::model::config::tests::all_kinds;
use crate::model::layout::Layout;
use crate::ranks::tests::on_ranks;
use crate::ranks::{ProcessGroup, World};

fn decoder(config: &ModelConfig, micro_batch: Option<usize>) -> CudaDecoder {
    let layout = Layout::new(config).unwrap();
    let pass = CudaPass { precision: Precision::F32, policy: ActivationPolicy::Keep, micro_batch };
    let device = device(pass.precision, layout.sizes.head_width, 0);
    CudaDecoder::new(config, &layout, pass, device, &parameters::<f32>(&layout)).unwrap()
}

fn gradients(decoder: &mut CudaDecoder, rows: &Rows, len: usize) -> Vec<f32> {
    decoder.losses_and_gradients(&[], rows, 28.0, &mut [], &NEVER).unwrap();
    let mut gradients = vec![0.0; len];
    decoder.read_gradients(&mut gradients).unwrap();
    gradients
}

#[test]
fn ranks_sum_to_the_gradients_of_one_whatever_the_buckets() {
    for config in all_kinds() {
        let len = Layout::new(&config).unwrap().len;
        let whole = rows(4, 7, 3);
        let expected = gradients(&mut decoder(&config, None), &whole, len);
        for (bucket, micro_batch) in [(1, None), (300, Some(1)), (usize::MAX, None)] {
            let folder = tempfile::tempdir().unwrap();
            let never = AtomicBool::new(false);
            let got = on_ranks(2, |world: World| {
                let mut group = ProcessGroup::rendezvous(world, folder.path(), &never).unwrap();
                let mut decoder = decoder(&config, micro_batch);
                decoder.bucket = bucket;
                decoder.join(&mut group).unwrap();
                let part =
                    whole.micro_batches(2).nth(usize::try_from(world.rank().rank()).unwrap());
                let part = part.unwrap();
                let own = Rows {
                    rows: 2,
                    tokens: part.tokens.to_vec(),
                    targets: part.targets.to_vec(),
                    positions: part.positions.to_vec(),
                    starts: part.starts.to_vec(),
                    length: part.length,
                };
                // A rank may evaluate between two steps without the other ranks.
                if world.is_main_process() {
                    decoder.losses(&[], &own, &NEVER).unwrap();
                }
                gradients(&mut decoder, &own, len)
            });
            assert_eq!(got[0], got[1], "{}", config.family);
            let wide: Vec<f64> = expected.iter().map(|&value| f64::from(value)).collect();
            close(&got[0], &wide, 1e-5, &config.family.to_string());
        }
    }
}
