//! Batches of a mixture as candle tensors, from threads that make them ahead.
//!
//!     cargo run --release -p mixdown-train --example feed_candle -- MIX.toml [STEPS]
//!
//! Trains the smallest model there is, two tables of 32 numbers a token whose product is a bigram's logit, to
//! show that the loss falls: replace `loss` by your own model. What it costs to feed is the line "waited".

#![expect(clippy::print_stdout, reason = "an example's result")]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor, Var};
use mixdown_mixer::{Batch, Loader, LoaderConfig, Mixer, Mixture, MixtureConfig};

const WIDTH: usize = 32;
const LEARNING_RATE: f64 = 10.0;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, steps @ ..] = arguments.as_slice() else {
        return Err("usage: feed_candle MIX.toml [STEPS]".into());
    };
    let steps = steps.first().map_or(Ok(50), |steps| steps.parse())?;
    let config: MixtureConfig = toml::from_str(&std::fs::read_to_string(path)?)?;
    let base = Path::new(path).parent().unwrap_or(Path::new(""));
    let mixer = Mixer::new(Mixture::open(&config, base)?)?;
    let corpus = &mixer.mixture().sources().first().ok_or("no source")?.corpus;
    let vocabulary = usize::try_from(corpus.manifest().vocab_size)?;
    let device = Device::Cpu;
    let inner = Var::randn(0_f32, 0.1, (vocabulary, WIDTH), &device)?;
    let outer = Var::randn(0_f32, 0.1, (WIDTH, vocabulary), &device)?;
    let config = LoaderConfig { steps: 0..steps, ..LoaderConfig::from_step(0) };
    let mut loader = Loader::<u32>::new(mixer.into(), config)?;
    let mut waited = Duration::ZERO;
    loop {
        let start = Instant::now();
        let Some(batch) = loader.next().transpose()? else { break };
        waited += start.elapsed();
        let (inputs, targets) = tensors(&batch, &device)?;
        let loss = loss(&inputs, &targets, &inner, &outer)?;
        let gradients = loss.backward()?;
        for table in [&inner, &outer] {
            if let Some(gradient) = gradients.get(table) {
                table.set(&(table.as_tensor() - (gradient * LEARNING_RATE)?)?)?;
            }
        }
        if batch.step() % 10 == 0 {
            println!("step {} loss {:.4}", batch.step(), loss.to_scalar::<f32>()?);
        }
    }
    println!("waited {:.3} ms for {steps} batches", waited.as_secs_f64() * 1e3);
    Ok(())
}

/// Inputs and targets, (rows, T) each.
fn tensors(batch: &Batch, device: &Device) -> Result<(Tensor, Tensor), Box<dyn Error>> {
    let (rows, length) = (usize::try_from(batch.rows)?, usize::try_from(batch.sequence_length)?);
    let tokens = Tensor::from_slice(&batch.tokens, (rows, length + 1), device)?;
    Ok((tokens.narrow(1, 0, length)?, tokens.narrow(1, 1, length)?))
}

/// The mean cross-entropy in nats.
fn loss(
    inputs: &Tensor,
    targets: &Tensor,
    inner: &Var,
    outer: &Var,
) -> candle_core::Result<Tensor> {
    let inputs = inputs.flatten_all()?;
    let targets = targets.flatten_all()?.unsqueeze(1)?;
    let logits = inner.index_select(&inputs, 0)?.matmul(outer)?;
    let shifted = logits.broadcast_sub(&logits.max_keepdim(1)?)?;
    let sum = shifted.exp()?.sum_keepdim(1)?.log()?;
    (sum - shifted.gather(&targets, 1)?)?.to_dtype(DType::F32)?.mean_all()
}
