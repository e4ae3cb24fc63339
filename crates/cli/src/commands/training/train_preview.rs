//! What `train --dry-run` prints.

use mixdown_base::display::plural;
use mixdown_train::Preview;

use crate::terminal::output::{duration, percent, table, thousands};
use crate::terminal::progress::megabytes as bytes;

/// The preview as a table, with the free memory and disk space.
pub fn describe(preview: &Preview) -> String {
    let estimate = &preview.estimate;
    let row = |use_of: &str, size: u64| vec![use_of.to_owned(), bytes(size)];
    let own = |use_of, size| (size > 0).then(|| row(use_of, size));
    let rows: Vec<_> = [
        row("parameters", estimate.parameters_bytes),
        row("gradients", estimate.gradients_bytes),
        row("AdamW's moments", estimate.moments_bytes),
    ]
    .into_iter()
    .chain(own("adapter and the weights that it adapts", estimate.adapter_bytes))
    .chain(own("average of the weights", estimate.average_bytes))
    .chain([
        row("copy for checkpoints", estimate.snapshot_bytes),
        row("rows computed at once", estimate.pass_bytes),
        row("total", estimate.memory_bytes),
    ])
    .chain(estimate.device_bytes.map(|size| row("on the GPU", size)))
    .collect();
    let free = |free: Option<u64>| {
        free.map_or_else(|| "unknown".to_owned(), |free| format!("{} free", bytes(free)))
    };
    format!(
        "{} parameters, {} trained ({}), {} of {}: {:.2e} floating point operations, about {} at half of \
         this machine's rate\n{}\n{}\nmemory: {}\ncheckpoints: {} ({})",
        thousands(preview.parameters),
        thousands(preview.trainable_parameters),
        share(preview.trainable_parameters, preview.parameters),
        plural(preview.steps, "step"),
        plural(preview.batch_tokens, "target token"),
        preview.flops,
        duration(preview.seconds),
        recipe(preview),
        table(&["memory", "bytes"], &rows),
        free(estimate.available_memory_bytes),
        bytes(estimate.disk_bytes),
        free(estimate.available_disk_bytes),
    )
}

/// The learning rate, its schedule and the batch.
fn recipe(preview: &Preview) -> String {
    let rate = preview.learning_rate;
    format!(
        "learning rate {rate:e} at most, after a warm-up of {} steps ({}); {} sequences of {} tokens per batch",
        thousands(preview.warmup_steps),
        preview.schedule.name(),
        thousands(preview.batch_tokens / preview.sequence_length.max(1)),
        thousands(preview.sequence_length),
    )
}

/// A share of a model's numbers.
#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
fn share(part: u64, all: u64) -> String {
    percent(part as f64 / all.max(1) as f64)
}
