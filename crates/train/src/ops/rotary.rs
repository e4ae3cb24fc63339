//! Rotary positions: pairs (i, i + width/2) of a head turned by `position · θ^(−2i/width)`.

/// Cosines and sines for every position and pair, \[positions, width / 2\].
#[derive(Debug)]
pub(crate) struct Rotary {
    half: usize,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

/// Which way to turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// By the position's angle.
    Forward,
    /// Back by the position's angle: the gradient of the forward turn.
    Back,
}

impl Rotary {
    /// Angles for `positions` positions of heads of `width` numbers.
    ///
    /// Frequencies and angles are rounded to f32 before cosine and sine, as the checkpoints'
    /// reference implementation does; without it position 10,000 is off by a thousandth.
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the definition")]
    #[expect(clippy::cast_precision_loss, reason = "positions are far below 2^24")]
    pub(crate) fn new(positions: usize, width: usize, theta: f64) -> Self {
        let half = width / 2;
        let frequencies: Vec<f32> =
            (0..half).map(|i| (1.0 / theta.powf((2 * i) as f64 / width as f64)) as f32).collect();
        let angles = (0..positions)
            .flat_map(|position| frequencies.iter().map(move |f| f64::from(position as f32 * f)));
        let (cosines, sines) = angles.map(|a| (a.cos() as f32, a.sin() as f32)).unzip();
        Self { half, cosines, sines }
    }

    /// Writes `row` turned by its position's angle and multiplied by `scale` to `out`.
    #[inline(always)]
    pub(crate) fn turn(
        &self,
        turn: Turn,
        position: usize,
        scale: f32,
        row: &[f32],
        out: &mut [f32],
    ) {
        let at = position * self.half..(position + 1) * self.half;
        let (cosines, sines) = (&self.cosines[at.clone()], &self.sines[at]);
        let sign = if turn == Turn::Forward { scale } else { -scale };
        let (first, second) = row.split_at(self.half);
        let (out_first, out_second) = out.split_at_mut(self.half);
        for i in 0..self.half {
            let (cosine, sine) = (cosines[i] * scale, sines[i] * sign);
            out_first[i] = first[i] * cosine - second[i] * sine;
            out_second[i] = second[i] * cosine + first[i] * sine;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Rotary, Turn};
    use crate::ops::check::numbers;

    #[test]
    fn turning_back_restores_the_row_and_positions_are_relative() {
        let rotary = Rotary::new(40, 8, 10_000.0);
        let (a, b) = (numbers(8, 1), numbers(8, 2));
        let turned = |row: &[f32], position| {
            let mut out = vec![0.0; 8];
            rotary.turn(Turn::Forward, position, 1.0, row, &mut out);
            out
        };
        let mut back = vec![0.0; 8];
        rotary.turn(Turn::Back, 17, 1.0, &turned(&a, 17), &mut back);
        for i in 0..8 {
            assert!((back[i] - a[i]).abs() < 1e-6);
        }
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
        let near = dot(&turned(&a, 9), &turned(&b, 4));
        let far = dot(&turned(&a, 35), &turned(&b, 30));
        assert!((near - far).abs() < 1e-5);
        assert_eq!(turned(&a, 0), a);
    }
}
