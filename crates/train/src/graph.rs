//! The record of a forward pass, and gradients from it.
//!
//! Operations are candle custom operations; only the walk backwards is our own. candle's starts
//! every gradient as zeros and adds into a fresh tensor at every edge, on a second thread pool that
//! spins beside rayon's: with the same operations that was a fifth of all processor time. Here the
//! first gradient of a value is kept as it is, values are dropped as soon as they are used, and
//! gradients come in the parameters' order instead of a hash map.

use candle_core::{CustomOp1, CustomOp2, CustomOp3, Result, Tensor, bail};

use crate::ops::embedding;
use crate::ops::host;

/// A tensor, and its place in the record where there is one.
#[derive(Clone)]
pub(crate) struct Value {
    pub(crate) tensor: Tensor,
    node: Option<usize>,
}

/// How a value was made; the numbers are places in the record, all smaller than its own.
enum Origin {
    Leaf,
    Embedding(usize, Vec<u32>),
    Rows(Vec<usize>),
    One(Box<dyn CustomOp1 + Send>, usize),
    Two(Box<dyn CustomOp2 + Send>, [usize; 2]),
    Three(Box<dyn CustomOp3 + Send>, [usize; 3]),
}

struct Node {
    origin: Origin,
    result: Tensor,
}

/// Whether a forward pass is recorded for gradients.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recording {
    /// Kept until the gradients are taken.
    On,
    /// Every value is dropped as soon as it is used.
    Off,
}

/// The record of one forward pass.
pub(crate) struct Graph {
    recording: Recording,
    nodes: Vec<Node>,
}

impl Graph {
    /// A record whose first values are `leaves`, which gradients are for; also those values.
    pub(crate) fn new(
        recording: Recording,
        leaves: impl Iterator<Item = Tensor>,
    ) -> (Self, Vec<Value>) {
        let mut graph = Self { recording, nodes: Vec::new() };
        let leaves = leaves.map(|leaf| graph.record(leaf, |_| Some(Origin::Leaf))).collect();
        (graph, leaves)
    }

    fn record(&mut self, result: Tensor, origin: impl FnOnce(&Self) -> Option<Origin>) -> Value {
        let origin = match self.recording {
            Recording::On => origin(self),
            Recording::Off => None,
        };
        let node = origin.map(|origin| {
            self.nodes.push(Node { origin, result: result.clone() });
            self.nodes.len() - 1
        });
        Value { tensor: result, node }
    }

    /// The rows of `table` that `ids` name.
    pub(crate) fn embedding(&mut self, table: &Value, ids: Vec<u32>) -> Result<Value> {
        let result = embedding::rows(&table.tensor, &ids)?;
        Ok(self.record(result, |_| Some(Origin::Embedding(table.node?, ids))))
    }

    /// Matrices one below the other.
    pub(crate) fn rows(&mut self, parts: &[&Value]) -> Result<Value> {
        let tensors: Vec<&Tensor> = parts.iter().map(|part| &part.tensor).collect();
        let result = Tensor::cat(&tensors, 0)?;
        let nodes: Option<Vec<usize>> = parts.iter().map(|part| part.node).collect();
        Ok(self.record(result, |_| nodes.map(Origin::Rows)))
    }

    /// Applies an operation of one value.
    pub(crate) fn one<C: CustomOp1 + Send + 'static>(&mut self, op: C, a: &Value) -> Result<Value> {
        let result = a.tensor.apply_op1_no_bwd(&op)?;
        Ok(self.record(result, |_| Some(Origin::One(Box::new(op), a.node?))))
    }

    /// Applies an operation of two values.
    pub(crate) fn two<C: CustomOp2 + Send + 'static>(
        &mut self,
        op: C,
        a: &Value,
        b: &Value,
    ) -> Result<Value> {
        let result = a.tensor.apply_op2_no_bwd(&b.tensor, &op)?;
        Ok(self.record(result, |_| Some(Origin::Two(Box::new(op), [a.node?, b.node?]))))
    }

    /// Applies an operation of three values.
    pub(crate) fn three<C: CustomOp3 + Send + 'static>(
        &mut self,
        op: C,
        [a, b, c]: [&Value; 3],
    ) -> Result<Value> {
        let result = a.tensor.apply_op3_no_bwd(&b.tensor, &c.tensor, &op)?;
        let nodes = || Some([a.node?, b.node?, c.node?]);
        Ok(self.record(result, |_| Some(Origin::Three(Box::new(op), nodes()?))))
    }

    /// The gradients of the last recorded value, a scalar, for the leaves in their order; `None`
    /// where it does not depend on a leaf.
    pub(crate) fn gradients(mut self) -> Result<Vec<Option<Tensor>>> {
        let mut gradients: Vec<Option<Tensor>> = self.nodes.iter().map(|_| None).collect();
        if let (Some(last), Some(node)) = (gradients.last_mut(), self.nodes.last()) {
            *last = Some(node.result.ones_like()?);
        }
        while let Some(Node { origin, result }) = self.nodes.pop() {
            if matches!(origin, Origin::Leaf) {
                break;
            }
            if let Some(gradient) = gradients.pop().flatten() {
                self.step_back(origin, &result, &gradient, &mut gradients)?;
            }
        }
        Ok(gradients)
    }

    /// Adds to the gradients of what `result` was made from.
    fn step_back(
        &self,
        origin: Origin,
        result: &Tensor,
        gradient: &Tensor,
        gradients: &mut [Option<Tensor>],
    ) -> Result<()> {
        let value = |node: usize| &self.nodes[node].result;
        match origin {
            Origin::Leaf => Ok(()),
            Origin::Embedding(table, ids) => {
                let sum = gradients[table].take();
                gradients[table] = Some(embedding::add_rows(sum, value(table), &ids, gradient)?);
                Ok(())
            }
            Origin::Rows(parts) => {
                let mut start = 0;
                for part in parts {
                    let rows = value(part).dim(0)?;
                    add(&mut gradients[part], Some(gradient.narrow(0, start, rows)?))?;
                    start += rows;
                }
                Ok(())
            }
            Origin::One(op, a) => add(&mut gradients[a], op.bwd(value(a), result, gradient)?),
            Origin::Two(op, [a, b]) => {
                let (da, db) = op.bwd(value(a), value(b), result, gradient)?;
                add(&mut gradients[a], da)?;
                add(&mut gradients[b], db)
            }
            Origin::Three(op, [a, b, c]) => {
                let (da, db, dc) = op.bwd(value(a), value(b), value(c), result, gradient)?;
                add(&mut gradients[a], da)?;
                add(&mut gradients[b], db)?;
                add(&mut gradients[c], dc)
            }
        }
    }
}

/// Adds to a gradient; the first one is taken as it is.
fn add(sum: &mut Option<Tensor>, gradient: Option<Tensor>) -> Result<()> {
    let Some(gradient) = gradient else {
        return Ok(());
    };
    *sum = match sum.take() {
        None => Some(gradient),
        Some(sum) if sum.dims() == gradient.dims() => Some(host::sum(&sum, &gradient)?),
        Some(sum) => bail!("gradient: expected shape {:?}, got {:?}", sum.dims(), gradient.dims()),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor, Var};

    use super::{Graph, Recording};
    use crate::ops::check::numbers;
    use crate::ops::cross_entropy::CrossEntropy;
    use crate::ops::linear::{Linear, LinearAdd};
    use crate::ops::rms_norm::RmsNorm;
    use crate::ops::swiglu::SwiGlu;

    /// The same operations through candle's own walk backwards.
    #[test]
    fn gradients_are_candles_own() {
        let shapes: [&[usize]; 4] = [&[9, 4], &[6, 4], &[4, 3], &[4]];
        let vars: Vec<Var> = shapes
            .iter()
            .zip(1..)
            .map(|(shape, seed)| {
                let values = numbers(shape.iter().product(), seed);
                Var::from_vec(values, *shape, &Device::Cpu).unwrap()
            })
            .collect();
        let (ids, targets) = (vec![1, 8, 1, 0, 5], vec![3, 3, 0, 7, 8]);

        let index = Tensor::new(ids.as_slice(), &Device::Cpu).unwrap();
        let t: Vec<&Tensor> = vars.iter().map(Var::as_tensor).collect();
        let x = t[0].index_select(&index, 0).unwrap();
        let normed = x.apply_op2(t[3], RmsNorm { epsilon: 1e-3 }).unwrap();
        let gate_up = Tensor::cat(&[t[1], t[1]], 0).unwrap().narrow(0, 0, 6).unwrap();
        let gated = normed.apply_op2(&gate_up.contiguous().unwrap(), Linear).unwrap();
        let y = gated.apply_op1(SwiGlu).unwrap().apply_op3(t[2], &x, LinearAdd).unwrap();
        let loss = y.apply_op2(t[0], CrossEntropy::new(targets.clone(), 5.0)).unwrap();
        let expected = loss.backward().unwrap();

        let leaves = vars.iter().map(|var| var.as_tensor().detach());
        let (mut graph, leaves) = Graph::new(Recording::On, leaves);
        let x = graph.embedding(&leaves[0], ids).unwrap();
        let normed = graph.two(RmsNorm { epsilon: 1e-3 }, &x, &leaves[3]).unwrap();
        let gate_up = graph.rows(&[&leaves[1]]).unwrap();
        let gated = graph.two(Linear, &normed, &gate_up).unwrap();
        let gated = graph.one(SwiGlu, &gated).unwrap();
        let y = graph.three(LinearAdd, [&gated, &leaves[2], &x]).unwrap();
        let loss = CrossEntropy::new(targets, 5.0);
        graph.two(loss, &y, &leaves[0]).unwrap();
        let gradients = graph.gradients().unwrap();
        assert_eq!(gradients.len(), 4);
        for (var, gradient) in vars.iter().zip(gradients) {
            let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let expected = flat(expected.get(var).unwrap());
            for (got, expected) in flat(&gradient.unwrap()).iter().zip(expected) {
                assert!((got - expected).abs() < 1e-6, "{got} {expected}");
            }
        }
    }

    #[test]
    fn leaves_that_are_not_used_have_no_gradient() {
        let one = || Tensor::ones((2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let (mut graph, leaves) = Graph::new(Recording::On, [one(), one(), one()].into_iter());
        let loss = CrossEntropy::new(vec![0, 1], 2.0);
        graph.two(loss, &leaves[0], &leaves[2]).unwrap();
        let gradients = graph.gradients().unwrap();
        let present: Vec<bool> = gradients.iter().map(Option::is_some).collect();
        assert_eq!(present, [true, false, true]);
    }
}
