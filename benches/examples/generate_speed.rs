//! Speed of greedy generation on the CPU, as one line of JSON: the twin of benches/generate_torch.py, with the
//! same model folder and prompt.
//!
//! In the timing: from the second new id to the last one, so neither loading nor reading the prompt; the
//! latter is told apart. RAYON_NUM_THREADS chooses the threads.
//!
//!     cargo run --release -p mixdown-benches --example generate_speed -- MODEL --prompt 16 --tokens 256
#![expect(clippy::print_stdout, reason = "an example's result")]

use std::error::Error;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use mixdown_train::{GenerateOptions, Model, Sampling, generate};
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

fn peak_rss_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("expected a model's folder")?;
    let (prompt, max_tokens) = (option("--prompt", 16)?, option("--tokens", 256)?);
    let rows = option("--rows", 1)?;
    let mut model = Model::load(Path::new(&folder))?;
    let prompt: Vec<u32> = (0..u32::try_from(prompt)?).map(|place| 7 * place + 3).collect();
    let prompts = vec![prompt; usize::try_from(rows)?];
    let options = GenerateOptions { max_tokens, sampling: Sampling::GREEDY, seed: 0 };
    let never = AtomicBool::new(false);
    let warm = GenerateOptions { max_tokens: 8, ..options };
    generate(&mut model, &prompts, &warm, &mut |_, _| {}, &never)?;
    let (start, mut first) = (Instant::now(), None);
    let mut on_token = |row: usize, _: u32| {
        if row + 1 == prompts.len() {
            first.get_or_insert_with(Instant::now);
        }
    };
    let generated = generate(&mut model, &prompts, &options, &mut on_token, &never)?;
    let end = Instant::now();
    let first = first.ok_or("no id came")?;
    let tokens: usize = generated.iter().map(|one| one.ids.len() - 1).sum();
    let report = json!({
        "implementation": "mixdown",
        "parameters": model.config().parameters(),
        "rows": rows,
        "tokens": generated[0].ids.len(),
        "prompt_milliseconds": (first - start).as_secs_f64() * 1e3,
        "tokens_per_second": tokens as f64 / (end - first).as_secs_f64(),
        "peak_rss_mb": peak_rss_mb(),
        "ids": generated[0].ids,
    });
    println!("{report}");
    Ok(())
}
