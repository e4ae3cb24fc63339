//! Little-endian bytes to f32 and back.

use safetensors::Dtype;

/// Returns the bytes of one value of a type; `None` for a type that is not supported.
pub(super) fn width_bytes(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::F32 => Some(4),
        Dtype::F16 | Dtype::BF16 => Some(2),
        _ => None,
    }
}

/// Fills `numbers` from `bytes`, which hold the same number of values of a type that [`width_bytes`] knows.
pub(super) fn decode(dtype: Dtype, bytes: &[u8], numbers: &mut [f32]) {
    match dtype {
        Dtype::F32 => {
            let values = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            numbers.iter_mut().zip(values).for_each(|(number, value)| *number = value);
        }
        Dtype::F16 => halves(bytes, numbers, from_f16),
        _ => halves(bytes, numbers, |bits| f32::from_bits(u32::from(bits) << 16)),
    }
}

fn halves(bytes: &[u8], numbers: &mut [f32], convert: impl Fn(u16) -> f32) {
    let values = bytes.as_chunks().0.iter().map(|bytes| convert(u16::from_le_bytes(*bytes)));
    numbers.iter_mut().zip(values).for_each(|(number, value)| *number = value);
}

/// Returns the exact value of an IEEE 754 half.
fn from_f16(bits: u16) -> f32 {
    /// 2^112: the exponents' offsets are 15 and 127.
    const OFFSET: f32 = f32::from_bits((112 + 127) << 23);
    let sign = u32::from(bits & 0x8000) << 16;
    let rest = u32::from(bits & 0x7fff) << 13;
    if bits & 0x7c00 == 0x7c00 {
        return f32::from_bits(sign | 0x7f80_0000 | rest);
    }
    // A product, so that subnormal halves need no separate case.
    f32::from_bits(sign | (f32::from_bits(rest) * OFFSET).to_bits())
}

/// Fills `bytes` with `numbers` as F32, in place of what it held.
pub(super) fn encode(numbers: &[f32], bytes: &mut Vec<u8>) {
    bytes.resize(size_of_val(numbers), 0);
    let places = bytes.as_chunks_mut().0.iter_mut();
    places.zip(numbers).for_each(|(place, number)| *place = number.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::{decode, encode, width_bytes};
    use safetensors::Dtype;

    #[test]
    fn every_half_is_its_number() {
        for bits in 0..=u16::MAX {
            let mut got = [0.0];
            decode(Dtype::F16, &bits.to_le_bytes(), &mut got);
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
            let magnitude = match exponent {
                31 if fraction > 0.0 => f64::NAN,
                31 => f64::INFINITY,
                0 => fraction * 2.0_f64.powi(-24),
                _ => (1024.0 + fraction) * 2.0_f64.powi(exponent - 25),
            };
            let expected = if bits >> 15 == 1 { -magnitude } else { magnitude };
            assert_eq!(got[0].is_nan(), expected.is_nan());
            assert!(expected.is_nan() || f64::from(got[0]).to_bits() == expected.to_bits());
            assert_eq!(got[0].is_sign_negative(), bits >> 15 == 1);
        }
    }

    #[test]
    fn other_types_keep_their_bits() {
        let mut got = [0.0; 2];
        decode(Dtype::BF16, &[0x80, 0x3f, 0x01, 0x80], &mut got);
        assert_eq!(got.map(f32::to_bits), [0x3f80_0000, 0x8001_0000]);
        let mut bytes = vec![7];
        encode(&[1.5, f32::from_bits(0x7fc0_1234)], &mut bytes);
        decode(Dtype::F32, &bytes, &mut got);
        assert_eq!(got.map(f32::to_bits), [1.5_f32.to_bits(), 0x7fc0_1234]);
        assert_eq!([Dtype::F64, Dtype::I8].map(width_bytes), [None, None]);
    }
}
