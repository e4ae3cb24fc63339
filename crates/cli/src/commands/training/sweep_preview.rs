//! What `sweep --dry-run` prints.

use std::collections::BTreeMap;

use mixdown_base::display::{duration, plural, thousands};
use mixdown_experiments::{PartPreview, RateOrigin, SweepPreview};

use crate::terminal::output::table;
use crate::terminal::progress::megabytes;

/// The preview as a table, with the memory and disk space that the sweep needs.
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
        RateOrigin::Given => "at the rate given for the largest model",
        RateOrigin::Measured => "at the rate of the finished runs",
        RateOrigin::Machine => "at half of this machine's rate",
    };
    let free = preview.available_disk_bytes;
    let free =
        free.map_or_else(|| "unknown".to_owned(), |free| format!("{} free", megabytes(free)));
    let expected = if preview.expected_seconds < preview.seconds {
        let expected = duration(preview.expected_seconds);
        format!("; {expected} if runs end as early as the finished ones")
    } else {
        String::new()
    };
    format!(
        "{}\n{} and {} to do, {} done; all numbers are upper limits: a run ends when the target loss has not fallen \
         for a while\n\
         {}\ntokens: {}\noperations: {:.2e}, {} {rate}{expected}\nmemory: {}\ndisk: {} ({free})",
        table(&header, &rows),
        counted(preview.bases.len(), "base model"),
        counted(preview.runs.len(), "run"),
        counted(preview.done, "run"),
        recipe(preview),
        thousands(preview.tokens),
        preview.flops,
        duration(preview.seconds),
        megabytes(preview.memory_bytes),
        megabytes(preview.disk_bytes),
    )
}

fn counted(count: usize, noun: &str) -> String {
    plural(u64::try_from(count).unwrap_or(u64::MAX), noun)
}

/// Whether a fit will pool the runs, by the rule of the fit itself.
fn recipe(preview: &SweepPreview) -> String {
    let list = |fields: &BTreeMap<String, String>| {
        let fields: Vec<String> =
            fields.iter().map(|(field, value)| format!("{field} {value}")).collect();
        fields.join(", ")
    };
    if !preview.different.is_empty() {
        let different = list(&preview.different);
        return format!(
            "recipe: runs differ in {different}; `mixdown fit` fits them together only with --pool-recipes"
        );
    }
    let schedule = preview.recipe.get("schedule").map_or("", String::as_str);
    let falls = if matches!(schedule, "cosine" | "linear") {
        "\nthe learning rate falls until the horizon, so a run's lowest loss depends on the horizon; under schedule \
         = \"constant\" it does not"
    } else {
        ""
    };
    format!(
        "recipe: the same for all runs, as `mixdown fit` requires: {}{falls}",
        list(&preview.recipe)
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
