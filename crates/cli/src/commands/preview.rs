//! What `train --dry-run` prints.

use mixdown_train::Preview;

use crate::output::{table, thousands};
use crate::progress::megabytes as bytes;

/// The preview as a table, and whether it fits.
pub fn describe(preview: &Preview) -> String {
    let estimate = &preview.estimate;
    let row = |use_of: &str, size: u64| vec![use_of.to_owned(), bytes(size)];
    let rows = [
        row("parameters", estimate.parameters_bytes),
        row("gradients", estimate.gradients_bytes),
        row("AdamW's moments", estimate.moments_bytes),
        row("copy for checkpoints", estimate.snapshot_bytes),
        row("rows computed at once", estimate.pass_bytes),
        row("all", estimate.memory_bytes),
    ];
    let free = |free: Option<u64>| {
        free.map_or_else(|| "unknown".to_owned(), |free| format!("{} free", bytes(free)))
    };
    format!(
        "{} parameters, {} steps of {} target tokens: {:.2e} floating point operations, about {} at half of \
         this machine's rate\n{}\nmemory: {}\ncheckpoints: {} ({})",
        thousands(preview.parameters),
        thousands(preview.steps),
        thousands(preview.batch_tokens),
        preview.flops,
        duration(preview.seconds),
        table(&["memory", "bytes"], &rows),
        free(estimate.available_memory_bytes),
        bytes(estimate.disk_bytes),
        free(estimate.available_disk_bytes),
    )
}

/// Seconds in the largest unit that leaves at least two of it.
fn duration(seconds: f64) -> String {
    for (unit, length) in [("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)] {
        if seconds >= 2.0 * length {
            return format!("{:.0} {unit}", seconds / length);
        }
    }
    format!("{seconds:.0} seconds")
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_have_a_unit_that_fits() {
        for (seconds, text) in [
            (0.4, "0 seconds"),
            (119.0, "119 seconds"),
            (150.0, "2 minutes"),
            (1e5, "28 hours"),
            (1e6, "12 days"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
