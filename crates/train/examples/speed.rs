//! Training speed of the demo's model on random tokens.
//!
//! In the timing: forward pass, backward pass and optimiser step. Not in it: making the model and
//! the batches, and two steps of warm-up. Run with
//! `cargo run --release -p mixdown-train --example speed`, RAYON_NUM_THREADS chooses the threads.
#![expect(clippy::print_stdout, reason = "an example's result")]

use std::time::Instant;

use mixdown_mixer::Batch;
use mixdown_train::{AdamW, AdamWOptions, Error, Model, ModelConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STEPS: u64 = 20;

fn config() -> ModelConfig {
    ModelConfig {
        vocab_size: 2048,
        hidden_size: 128,
        intermediate_size: 384,
        layers: 4,
        heads: 4,
        max_position_embeddings: 128,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        bos_token_id: None,
        eos_token_id: None,
        tokenizer_fingerprint: None,
    }
}

fn batch(step: u64) -> Batch {
    let tokens = (0..16 * 129_u64).map(|i| u32::try_from((i * i + step * 77) % 2048).unwrap_or(0));
    let tokens = tokens.collect();
    Batch { tokens, rows: 16, sequence_length: 128, ..Batch::default() }
}

fn main() -> Result<(), Error> {
    let model = Model::new(&config(), 1)?;
    let options =
        AdamWOptions { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, clip: 1.0 };
    let mut optimiser = AdamW::new(model.parameters(), options);
    let mut seconds = [0.0; 3];
    let mut best = f64::INFINITY;
    let mut loss = 0.0;
    for step in 0..STEPS + 2 {
        if step == 2 {
            seconds = [0.0; 3];
        }
        let batch = batch(step);
        let start = Instant::now();
        let forward = model.loss(&batch, 16 * 128)?;
        let middle = Instant::now();
        loss = forward.value();
        let gradients = model.gradients(forward)?;
        let late = Instant::now();
        optimiser.step(model.parameters(), &gradients, 1e-3)?;
        drop(gradients);
        let end = Instant::now();
        seconds[0] += (middle - start).as_secs_f64();
        seconds[1] += (late - middle).as_secs_f64();
        seconds[2] += (end - late).as_secs_f64();
        best = best.min((end - start).as_secs_f64());
    }
    let steps = f64::from(u32::try_from(STEPS).unwrap_or(u32::MAX));
    let total: f64 = seconds.iter().sum();
    println!("parameters: {}", model.config().parameters());
    println!("tokens/s: {:.0} mean, {:.0} best", steps * 2048.0 / total, 2048.0 / best);
    println!(
        "ms a step: {:.1} forward, {:.1} backward, {:.1} optimiser; last loss {loss:.9}",
        1e3 * seconds[0] / steps,
        1e3 * seconds[1] / steps,
        1e3 * seconds[2] / steps
    );
    Ok(())
}
