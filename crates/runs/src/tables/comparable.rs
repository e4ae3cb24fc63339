//! The one rule of which runs may be compared and fitted together, for sweeps, fits and pages.
//!
//! Runs have *one recipe* if they were trained with the same settings ([`CommonRecipe`]); a law is fitted to such runs
//! over models, amounts of data and shares. Runs are *comparable by their share* if they also began at the same
//! checkpoint and differ only in p and seed ([`differences`]); "forgetting removed" needs such runs.
//!
//! A length of the schedule (its horizon or warm-up) is the same in two runs if it has the same number of steps or of
//! passes over the target tokens: a run of "4 epochs of target" has more steps if more pretraining data is mixed in,
//! but its schedule is the same. A value that a row does not have agrees with every other; [`CommonRecipe::unknown`]
//! counts the rows that lack it.

use std::collections::BTreeSet;

use crate::tables::row::RunRow;

/// The largest relative difference between losses before finetuning that belong to one checkpoint and the same
/// sequences: processors differ in the last digits.
const SAME_LOSS: f64 = 1e-6;
/// The largest number of values that are listed for a field that differs.
const LISTED: usize = 8;

/// The settings by which a run was trained, as far as its row has them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recipe {
    /// Requested share of pretraining sequences.
    pub p: f64,
    /// D: unique target tokens.
    pub target_tokens: u64,
    /// Peak learning rate.
    pub learning_rate: Option<f64>,
    /// Learning-rate schedule by name.
    pub schedule: Option<String>,
    /// Steps of the whole schedule.
    pub horizon_steps: Option<u64>,
    /// Warm-up steps.
    pub warmup_steps: Option<u64>,
    /// Target tokens of one batch.
    pub batch_tokens: Option<u64>,
    /// Tokens of one sequence.
    pub sequence_length: Option<u64>,
    /// Weight decay.
    pub weight_decay: Option<f64>,
    /// Optimizer by name.
    pub optimizer: Option<String>,
    /// What was trained.
    pub method: Option<String>,
    /// Fingerprint of the tokenizer.
    pub tokenizer: Option<String>,
}

impl From<&RunRow> for Recipe {
    fn from(row: &RunRow) -> Self {
        Self {
            p: row.p_requested,
            target_tokens: row.target_tokens,
            learning_rate: row.learning_rate,
            schedule: row.schedule.clone(),
            horizon_steps: row.horizon_steps,
            warmup_steps: row.warmup_steps,
            batch_tokens: row.batch_tokens,
            sequence_length: row.sequence_length,
            weight_decay: row.weight_decay,
            optimizer: row.optimizer.clone(),
            method: row.method.clone(),
            tokenizer: row.tokenizer.clone(),
        }
    }
}

/// The settings that runs share, and those in which they differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommonRecipe {
    /// Fields with the value of all runs that have one, in the order of the table's columns.
    pub common: Vec<(String, String)>,
    /// Fields with the different values found; empty for runs of one recipe.
    pub different: Vec<(String, String)>,
    /// Fields that some rows have and others lack, with the number of rows that lack it.
    pub unknown: Vec<(String, u64)>,
}

impl CommonRecipe {
    /// Returns the common recipe of these runs.
    ///
    /// ```
    /// use mixdown_runs::{CommonRecipe, Recipe};
    ///
    /// let recipe = |rate| Recipe { learning_rate: Some(rate), ..Recipe::default() };
    /// let common = CommonRecipe::of([recipe(1e-3), recipe(3e-4)]);
    /// assert!(!common.is_one());
    /// assert_eq!(common.different, [("learning_rate".to_owned(), "0.0003, 0.001".to_owned())]);
    /// ```
    pub fn of<R: Into<Recipe>>(runs: impl IntoIterator<Item = R>) -> Self {
        let recipes: Vec<Recipe> = runs.into_iter().map(Into::into).collect();
        let mut found = Self::default();
        for field in FIELDS {
            let values = recipes.iter().map(|recipe| field.value(recipe));
            found.add(field.name, agreement(&field.kind, &values.collect::<Vec<_>>(), &recipes));
        }
        found
    }

    /// Returns whether a law may be fitted to the runs together.
    pub fn is_one(&self) -> bool {
        self.different.is_empty()
    }

    fn add(&mut self, name: &str, (agreement, unknown): (Agreement, u64)) {
        match agreement {
            Agreement::Unknown => return,
            Agreement::Common(value) => self.common.push((name.to_owned(), value)),
            Agreement::Different(values) => self.different.push((name.to_owned(), values)),
        }
        if unknown > 0 {
            self.unknown.push((name.to_owned(), unknown));
        }
    }
}

/// A column that identifies where a run starts, as text.
type Start = (&'static str, fn(&RunRow) -> String);

/// Returns the settings besides p and seed in which runs differ, as fields with the values found; empty for runs whose
/// forgetting may be compared by p.
///
/// ```
/// # let row = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_row.in"));
/// use mixdown_runs::differences;
///
/// let (one, mut other) = (row(0.0, 0, 3.9), row(0.01, 1, 3.2));
/// assert!(differences(&[&one, &other]).is_empty());
/// other.learning_rate = Some(1e-3);
/// assert_eq!(differences(&[&one, &other])[0].0, "learning_rate");
/// ```
pub fn differences(rows: &[&RunRow]) -> Vec<(String, String)> {
    let values = |of: fn(&RunRow) -> String| {
        let all: BTreeSet<String> = rows.iter().map(|row| of(row)).collect();
        all.into_iter().collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    let starts: [Start; 3] = [
        ("domain", |row| format!("{:?}", row.domain)),
        ("model_size", |row| row.model_size.to_string()),
        ("target_tokens", |row| row.target_tokens.to_string()),
    ];
    for (name, of) in starts {
        let values = values(of);
        if values.len() > 1 {
            found.push((name.to_owned(), list(&values)));
        }
    }
    // The loss before finetuning identifies the checkpoint, which a row does not name.
    let before = rows.iter().map(|row| row.pretraining_loss_before);
    let (low, high) =
        before.fold((f64::INFINITY, 0.0_f64), |(low, high), loss| (low.min(loss), high.max(loss)));
    if high - low > SAME_LOSS * high {
        let values = values(|row| row.pretraining_loss_before.to_string());
        found.push(("pretraining_loss_before".to_owned(), list(&values)));
    }
    found.extend(CommonRecipe::of(rows.iter().copied()).different);
    found
}

/// Returns the index of the run at p = 0 that a run is compared with: one that differs from it only in p and seed, with
/// the same seed if there is one.
///
/// ```
/// # let row = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_row.in"));
/// use mixdown_runs::baseline;
///
/// let rows = [row(0.01, 0, 3.2), row(0.0, 0, 3.9), row(0.0, 1, 3.8)];
/// assert_eq!(baseline(&rows, &rows[0]), Some(1));
/// ```
pub fn baseline<'r>(rows: impl IntoIterator<Item = &'r RunRow>, of: &RunRow) -> Option<usize> {
    let mut other_seed = None;
    for (place, row) in rows.into_iter().enumerate() {
        if row.p_requested > 0.0 || !differences(&[row, of]).is_empty() {
            continue;
        }
        if row.seed == of.seed {
            return Some(place);
        }
        other_seed = other_seed.or(Some(place));
    }
    other_seed
}

/// A column with a setting of the training.
struct Field {
    name: &'static str,
    kind: Kind,
}

/// The rule by which values of a column agree.
enum Kind {
    /// Values agree if they are the same text.
    Same(fn(&Recipe) -> Option<String>),
    /// Values agree if they are the same number of steps or of passes over the target tokens.
    Length(fn(&Recipe) -> Option<u64>),
}

/// A value of a field.
enum Value {
    Text(String),
    Steps(u64),
}

impl Field {
    fn value(&self, recipe: &Recipe) -> Option<Value> {
        match self.kind {
            Kind::Same(of) => of(recipe).map(Value::Text),
            Kind::Length(of) => of(recipe).map(Value::Steps),
        }
    }
}

const fn same(name: &'static str, of: fn(&Recipe) -> Option<String>) -> Field {
    Field { name, kind: Kind::Same(of) }
}

const fn length(name: &'static str, of: fn(&Recipe) -> Option<u64>) -> Field {
    Field { name, kind: Kind::Length(of) }
}

/// The columns with the settings of the training.
const FIELDS: [Field; 10] = [
    same("learning_rate", |recipe| recipe.learning_rate.map(|rate| rate.to_string())),
    same("schedule", |recipe| recipe.schedule.clone()),
    length("horizon_steps", |recipe| {
        // The horizon counts only if the learning rate depends on it before the minimum of the loss.
        let flat = matches!(recipe.schedule.as_deref(), Some("constant" | "wsd"));
        recipe.horizon_steps.filter(|_| !flat)
    }),
    length("warmup_steps", |recipe| recipe.warmup_steps),
    same("batch_tokens", |recipe| recipe.batch_tokens.map(|tokens| tokens.to_string())),
    same("sequence_length", |recipe| recipe.sequence_length.map(|tokens| tokens.to_string())),
    same("weight_decay", |recipe| recipe.weight_decay.map(|decay| decay.to_string())),
    same("optimizer", |recipe| recipe.optimizer.clone()),
    same("method", |recipe| recipe.method.clone()),
    same("tokenizer", |recipe| {
        recipe.tokenizer.as_ref().map(|name| name.chars().take(12).collect())
    }),
];

/// Whether the values of a field agree.
enum Agreement {
    /// No row has one.
    Unknown,
    Common(String),
    Different(String),
}

/// Returns the agreement of a field's values and the number of rows without one.
fn agreement(kind: &Kind, values: &[Option<Value>], recipes: &[Recipe]) -> (Agreement, u64) {
    let texts: BTreeSet<String> = values.iter().flatten().map(Value::text).collect();
    let texts: Vec<String> = texts.into_iter().collect();
    let unknown = values.iter().filter(|value| value.is_none()).count();
    let unknown = u64::try_from(unknown).unwrap_or(u64::MAX);
    let agreement = match texts.as_slice() {
        [] => Agreement::Unknown,
        [only] => Agreement::Common(only.clone()),
        several => {
            let passes = matches!(kind, Kind::Length(_)).then(|| passes(values, recipes)).flatten();
            passes.map_or_else(|| Agreement::Different(list(several)), Agreement::Common)
        }
    };
    (agreement, unknown)
}

impl Value {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Steps(steps) => steps.to_string(),
        }
    }
}

/// Returns the number of passes over the target tokens that lengths of different steps have in common.
///
/// `s` steps are s·b·(1 − p)/D passes for batches of b tokens. A length of E passes is rounded to a step, so E is less
/// than the passes of one step away from it. The lengths agree if some E fits all of them.
#[expect(clippy::cast_precision_loss, reason = "counts of tokens and steps are far below 2^53")]
fn passes(values: &[Option<Value>], recipes: &[Recipe]) -> Option<String> {
    let (mut low, mut high) = (0.0_f64, f64::INFINITY);
    let (mut completed, mut batch_tokens) = (f64::INFINITY, None);
    for (value, recipe) in values.iter().zip(recipes) {
        let Some(Value::Steps(steps)) = value else { continue };
        // The passes of one step, by the tokens of a batch, which are the same in all runs of one recipe.
        let step = (1.0 - recipe.p) / recipe.target_tokens.max(1) as f64;
        let steps = *steps as f64;
        low = low.max((steps - 1.0) * step);
        high = high.min((steps + 1.0) * step);
        completed = completed.min(steps * step);
        batch_tokens = batch_tokens.or(recipe.batch_tokens);
    }
    if low >= high {
        return None;
    }
    let Some(batch_tokens) = batch_tokens else {
        return Some("in proportion to the passes over the target tokens".to_owned());
    };
    let batch_tokens = batch_tokens as f64;
    let (low, completed) = (low * batch_tokens, completed * batch_tokens);
    // Rounded up to a step, as the trainer does, so that all runs complete whole passes.
    let whole = (completed * (1.0 + 1e-9)).floor();
    Some(match whole {
        whole if whole > low && whole > 1.5 => format!("{whole:.0} passes over the target tokens"),
        whole if whole > low && whole > 0.5 => "1 pass over the target tokens".to_owned(),
        _ => format!("about {completed:.2} passes over the target tokens"),
    })
}

fn list(values: &[String]) -> String {
    let shown: Vec<&str> = values.iter().take(LISTED).map(String::as_str).collect();
    match values.len() - shown.len() {
        0 => shown.join(", "),
        rest => format!("{} and {rest} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{CommonRecipe, Recipe, baseline, differences};
    use crate::tables::row::RunRow;
    use crate::tables::tests::row;

    const CHANGES: [fn(&mut RunRow); 13] = [
        |row| row.domain = "prose".to_owned(),
        |row| row.model_size += 1,
        |row| row.target_tokens += 1,
        |row| row.pretraining_loss_before *= 1.000_01,
        |row| row.learning_rate = Some(3e-4),
        |row| row.schedule = Some("linear".to_owned()),
        |row| row.horizon_steps = Some(900),
        |row| row.warmup_steps = Some(99),
        |row| row.batch_tokens = Some(9),
        |row| row.sequence_length = Some(9),
        |row| row.weight_decay = Some(0.2),
        |row| row.optimizer = Some("sgd".to_owned()),
        |row| row.tokenizer = Some("other".to_owned()),
    ];

    #[test]
    fn whatever_moves_a_loss_besides_p_and_seed_parts_runs() {
        let own = row("a", 0.01);
        for (place, change) in CHANGES.iter().enumerate() {
            let mut other = row("b", 0.0);
            change(&mut other);
            assert_eq!(differences(&[&other, &own]).len(), 1, "change {place}");
            assert_eq!(baseline([&other], &own), None, "change {place}");
        }
        let other = RunRow { seed: 3, run_id: "b".to_owned(), ..row("b", 0.0) };
        assert!(differences(&[&other, &own]).is_empty());
        assert_eq!(baseline([&own, &other], &own), Some(1), "another seed where there is no other");
        let twin = RunRow { seed: own.seed, ..row("c", 0.0) };
        assert_eq!(baseline([&other, &own, &twin], &own), Some(2), "the same seed first");
        // The last digits are those of the processor.
        let close = RunRow {
            pretraining_loss_before: own.pretraining_loss_before * (1.0 + 1e-9),
            ..row("b", 0.0)
        };
        assert_eq!(baseline([&close], &own), Some(0));
    }

    /// `epochs` passes over D target tokens with a share p, rounded up to a step of 2,048 tokens, and a warm-up of a
    /// twentieth.
    fn cosine(epochs: f64, target_tokens: u64, p: f64) -> Recipe {
        let steps = (1..)
            .find(|steps| f64::from(*steps) * 2048.0 * (1.0 - p) >= epochs * target_tokens as f64);
        let steps = u64::from(steps.unwrap_or(0_u32));
        Recipe {
            p,
            target_tokens,
            schedule: Some("cosine".to_owned()),
            horizon_steps: Some(steps),
            warmup_steps: Some(steps / 20),
            batch_tokens: Some(2048),
            ..Recipe::default()
        }
    }

    #[test]
    fn a_horizon_of_as_many_passes_is_one_recipe() {
        let mut runs = Vec::new();
        for target_tokens in [30_000, 100_000, 299_904] {
            runs.extend([0.0, 0.001, 0.01, 0.05, 0.5].map(|p| cosine(4.0, target_tokens, p)));
        }
        let found = CommonRecipe::of(runs.clone());
        assert!(found.is_one(), "{found:?}");
        let of = |name: &str| {
            let field = found.common.iter().find(|(field, _)| field == name);
            field.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        assert_eq!(of("horizon_steps"), "4 passes over the target tokens");
        assert!(of("warmup_steps").ends_with("passes over the target tokens"), "{found:?}");
        // Another number of passes at one p is another recipe, and so are fixed steps beside passes.
        for other in [cosine(5.0, 299_904, 0.05), cosine(3.0, 100_000, 0.0)] {
            let mut runs = runs.clone();
            runs.push(other);
            let different = CommonRecipe::of(runs).different;
            assert!(different.iter().any(|(field, _)| field == "horizon_steps"), "{different:?}");
        }
    }

    #[test]
    fn a_horizon_of_as_many_steps_is_one_recipe_too() {
        let fixed = |p| Recipe {
            horizon_steps: Some(220),
            warmup_steps: Some(11),
            ..cosine(4.0, 50_000, p)
        };
        let found = CommonRecipe::of([0.0, 0.01, 0.5].map(fixed));
        assert!(
            found.is_one()
                && found.common.contains(&("horizon_steps".to_owned(), "220".to_owned()))
        );
        // Under a constant rate the horizon moves nothing.
        let constant = |steps| Recipe {
            schedule: Some("constant".to_owned()),
            horizon_steps: Some(steps),
            ..fixed(0.0)
        };
        assert!(CommonRecipe::of([constant(10), constant(1_000)]).is_one());
    }

    #[test]
    fn what_a_row_does_not_say_disagrees_with_nothing_and_is_counted() {
        let known = cosine(4.0, 30_000, 0.0);
        let found = CommonRecipe::of([known.clone(), Recipe::default(), Recipe::default()]);
        assert!(found.is_one(), "{found:?}");
        assert!(found.unknown.contains(&("batch_tokens".to_owned(), 2)), "{found:?}");
        assert!(CommonRecipe::of([Recipe::default()]).unknown.is_empty(), "nobody knows it");
        let other = Recipe { batch_tokens: Some(1), ..Recipe::default() };
        assert!(!CommonRecipe::of([known, Recipe::default(), other]).is_one());
    }
}
