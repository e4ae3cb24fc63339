//! Compares attention on tensor cores with the CPU's, for numbers that bf16 represents exactly, on an emulator
//! (emulator.rs).

use crate::config::compute::Precision;
use crate::engine::cuda::decoder::attention::AttentionGradients;
use crate::engine::cuda::device::Address;
use crate::engine::cuda::device::emulator::device;
use crate::engine::cuda::kernels::{Kernels, Shape};
use crate::engine::kernels::attention::{Attended, Attention};
use crate::engine::kernels::check::{close, numbers};
use crate::model::config::tests::all_kinds;
use crate::model::layout::{Layout, Sizes};

fn rounded(value: f32) -> u16 {
    let bits = value.to_bits();
    u16::try_from((bits + 0x7fff + (bits >> 16 & 1)) >> 16).unwrap()
}

/// Returns numbers that bf16 represents exactly, as f64 and packed.
fn exact(len: usize, seed: u64) -> (Vec<f64>, Vec<u32>) {
    let mut bits: Vec<u16> = numbers::<f32>(len, seed).into_iter().map(rounded).collect();
    let wide = bits.iter().map(|&bits| f64::from(f32::from_bits(u32::from(bits) << 16))).collect();
    bits.resize(len.next_multiple_of(2), 0);
    let pack = |pair: &[u16]| u32::from(pair[0]) | u32::from(pair[1]) << 16;
    (wide, bits.chunks_exact(2).map(pack).collect())
}

fn unpack(packed: &[f32], len: usize) -> Vec<f32> {
    let halves =
        packed.iter().flat_map(|pair| [pair.to_bits() << 16, pair.to_bits() & 0xffff_0000]);
    halves.map(f32::from_bits).take(len).collect()
}

struct Heads {
    heads: usize,
    key_value_heads: usize,
    width: usize,
    length: usize,
    window: usize,
}

/// Compares attention and its gradients on tensor cores with the CPU's in f64, for the same numbers.
fn check_attention(case: Heads, order: u32) {
    let Heads { heads, key_value_heads, width, length, window } = case;
    let (batch, stride) = (2, (heads + 2 * key_value_heads) * width);
    let (tokens, attended) = (batch * length, heads * width);
    let mut starts = vec![0_u32; tokens];
    starts[length / 3..length].fill(u32::try_from(length / 3).unwrap());
    let (qkv, packed) = exact(tokens * stride, 1);
    let (gradient, packed_gradient) = exact(tokens * attended, 2);
    let attention = Attention { length, heads, key_value_heads, width, starts: &starts, window };
    let (mut scratch, mut expected) = (vec![0.0; qkv.len()], vec![0.0; tokens * attended]);
    let (mut log_sums, mut dqkv) = (vec![0.0; tokens * heads], vec![0.0; qkv.len()]);
    attention.forward(&qkv, &mut scratch, &mut log_sums, &mut expected);
    let saved = Attended { qkv: &qkv, result: &expected, log_sums: &log_sums };
    attention.backward(saved, &gradient, &mut scratch, &mut dqkv);

    let sizes = Sizes {
        heads,
        key_value_heads,
        head_width: width,
        ..Layout::new(&all_kinds()[0]).unwrap().sizes
    };
    let mut device = device(Precision::Bf16, width, order);
    let mut place = |bytes: usize| device.allocate(bytes as u64).unwrap();
    let [at_qkv, at_dqkv] = [place(2 * qkv.len()), place(2 * qkv.len())];
    let [result, dresult] = [place(2 * expected.len()), place(2 * expected.len())];
    let [sums, delta, at_starts] =
        [place(4 * tokens * heads), place(4 * tokens * heads), place(4 * tokens)];
    device.write_u32(at_qkv, &packed).unwrap();
    device.write_u32(dresult, &packed_gradient).unwrap();
    device.write_u32(at_starts, &starts).unwrap();
    let window = u32::try_from(window).unwrap_or(u32::MAX);
    let mut kernels = Kernels { device, precision: Precision::Bf16, sizes, epsilon: 0.0, window };
    let shape = Shape { rows: batch, length, starts: at_starts, positions: Address::NULL };
    kernels.attention_forward(result, sums, at_qkv, shape).unwrap();
    let at = AttentionGradients {
        qkv: at_qkv,
        attended: result,
        log_sums: sums,
        dattended: dresult,
        delta,
        dqkv: at_dqkv,
    };
    kernels.attention_backward(at, shape).unwrap();
    let what = format!(
        "{heads} heads of {width}, {key_value_heads} of keys, {length} long, window {window}"
    );
    let mut read = |from: Address, len: usize| {
        let mut to = vec![0.0; len.div_ceil(2)];
        kernels.device.read_f32(&mut to, from).unwrap();
        unpack(&to, len)
    };
    close(&read(result, expected.len()), &expected, 6e-3, &what);
    close(&read(at_dqkv, dqkv.len()), &dqkv, 1e-2, &what);
    let mut got = vec![0.0; log_sums.len()];
    kernels.device.read_f32(&mut got, sums).unwrap();
    close(&got, &log_sums, 1e-4, &what);
}

#[test]
fn attention_on_tensor_cores_is_attention() {
    let case = |heads, key_value_heads, width, length, window| Heads {
        heads,
        key_value_heads,
        width,
        length,
        window,
    };
    for order in [0, 1, 9] {
        check_attention(case(2, 1, 64, 150, usize::MAX), order);
        check_attention(case(2, 2, 128, 130, 70), order);
    }
    check_attention(case(3, 1, 80, 65, 64), 0);
    check_attention(case(2, 2, 64, 64, 1), 0);
    check_attention(case(1, 1, 16, 1, usize::MAX), 0);
    check_attention(case(4, 2, 6, 200, 100), 0);
}
