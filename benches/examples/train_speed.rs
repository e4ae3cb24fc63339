//! Training speed on the CPU, as one line of JSON: the twin of benches/train_torch.py, with the same
//! model folder, tokens, optimizer and clipping.
//!
//! In the timing: forward and backward pass, clipping, AdamW. Not in it: loading, making the tokens and
//! the warm-up steps. RAYON_NUM_THREADS chooses the threads.
//!
//!     cargo run --release -p mixdown-benches --example train_speed -- MODEL --rows 8 --length 256
#![expect(clippy::print_stdout, reason = "an example's result")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use mixdown_mixer::Batch;
use mixdown_train::{AdamW, AdamWOptions, ComputePath, Model, PassOptions, Recompute};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The value of an option, or its default.
fn option(name: &str, default: u64) -> Result<u64, Box<dyn Error>> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    match (arguments.next(), arguments.next()) {
        (None, _) => Ok(default),
        (_, value) => Ok(value.ok_or(format!("{name}: expected a number"))?.parse()?),
    }
}

fn splitmix64(counter: u64) -> u64 {
    let z = (counter + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The batch of a step: the product of two uniform numbers, so that small ids are frequent.
fn batch(step: u64, rows: u64, length: u64, vocabulary: u64) -> Batch {
    let count = rows * (length + 1);
    let tokens = (step * count..(step + 1) * count).map(|counter| {
        let z = splitmix64(counter);
        let product = ((z >> 32) % vocabulary) * ((z & 0xFFFF_FFFF) % vocabulary);
        u32::try_from(product / vocabulary).unwrap_or(u32::MAX)
    });
    Batch { tokens: tokens.collect(), rows, sequence_length: length, ..Batch::default() }
}

fn peak_rss_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("expected a model's folder")?;
    let (rows, length) = (option("--rows", 8)?, option("--length", 256)?);
    let (steps, warmup) = (option("--steps", 5)?, option("--warmup", 2)?);
    let mut model = Model::load(Path::new(&folder))?;
    let micro_batch_size = Some(option("--micro-batch-size", 0)?).filter(|rows| *rows > 0);
    let recompute = match option("--recompute", 0)? {
        0 => Recompute::Nothing,
        _ => Recompute::Blocks,
    };
    let path = match option("--reference", 0)? {
        0 => ComputePath::Fast,
        _ => ComputePath::Reference,
    };
    model.set_pass(PassOptions { micro_batch_size, recompute, path, ..PassOptions::default() })?;
    let options =
        AdamWOptions { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, clip: 1.0 };
    let mut optimizer = AdamW::new(&model, options)?;
    let mut gradients = model.zero_gradients()?;
    let (mut all, mut optimizer_ms, mut losses) = (Vec::new(), Vec::new(), Vec::new());
    for step in 0..warmup + steps {
        let batch = batch(step, rows, length, model.config().vocab_size);
        let start = Instant::now();
        let token_losses = model.losses_and_gradients(&batch, rows * length, &mut gradients)?;
        let middle = Instant::now();
        optimizer.step(&mut model, &mut gradients, 1e-3)?;
        let end = Instant::now();
        let sum: f64 = token_losses.iter().map(|&loss| f64::from(loss)).sum();
        losses.push(sum / token_losses.len() as f64);
        if step >= warmup {
            all.push((end - start).as_secs_f64() * 1e3);
            optimizer_ms.push((end - middle).as_secs_f64() * 1e3);
        }
    }
    let (typical, optimizer_ms) = (median(all.clone()), median(optimizer_ms));
    let first_and_last = [&losses[..losses.len().min(3)], &losses[losses.len() - 1..]].concat();
    let report = json!({
        "implementation": "mixdown",
        "parameters": model.config().parameters(),
        "rows": rows,
        "length": length,
        "milliseconds": all,
        "tokens_per_second": (rows * length) as f64 / typical * 1e3,
        "optimizer_share": optimizer_ms / typical,
        "peak_rss_mb": peak_rss_mb(),
        "losses": if option("--losses", 0)? > 0 { losses } else { first_and_last },
    });
    println!("{report}");
    Ok(())
}
