//! What `sweep --dry-run` prints.

use crate::output::{duration, table, thousands};
use crate::progress::megabytes;
use crate::sweep::{PartPreview, Rate, SweepPreview};

/// The preview as a table, and whether it fits.
pub fn describe(preview: &SweepPreview) -> String {
    let base = |part: &PartPreview| row(&format!("base {}", part.name), part);
    let rows: Vec<Vec<String>> = preview
        .bases
        .iter()
        .map(base)
        .chain(preview.runs.iter().map(|part| row(&part.name, part)))
        .collect();
    let header = ["to do", "steps", "tokens", "evaluation tokens", "operations", "time"];
    let rate = match preview.rate {
        Rate::Given => "at the rate given for the largest model",
        Rate::Measured => "at the rate of what is done",
        Rate::Machine => "at half of this machine's rate",
    };
    let free = preview.available_disk_bytes;
    let free =
        free.map_or_else(|| "unknown".to_owned(), |free| format!("{} free", megabytes(free)));
    let expected = if preview.expected_seconds < preview.seconds {
        let expected = duration(preview.expected_seconds);
        format!("; {expected} if runs end as early as those that are done")
    } else {
        String::new()
    };
    format!(
        "{}\n{} base models and {} runs to do, {} runs done; all at most: a run ends where the target's loss has not \
         fallen for a while\ntokens: {}\noperations: {:.2e}, {} {rate}{expected}\nmemory: {}\ndisk: {} ({free})",
        table(&header, &rows),
        preview.bases.len(),
        preview.runs.len(),
        preview.done,
        thousands(preview.tokens),
        preview.flops,
        duration(preview.seconds),
        megabytes(preview.memory_bytes),
        megabytes(preview.disk_bytes),
    )
}

fn row(name: &str, part: &PartPreview) -> Vec<String> {
    vec![
        name.to_owned(),
        thousands(part.steps),
        thousands(part.cost.tokens),
        thousands(part.cost.evaluation_tokens),
        format!("{:.2e}", part.cost.flops),
        duration(part.seconds),
    ]
}
