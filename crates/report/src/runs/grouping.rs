//! The runs of a grid by model size and target tokens, with the color and symbol of each size.

use mixdown_scaling::Observation;

use crate::parts::chart::Symbol;
use crate::parts::text::{count, short};
use crate::runs::RunPage;
use crate::runs::series::{color_slot, symbol};

/// The distinct N and D of a domain, rising.
pub(crate) struct Groups {
    pub sizes: Vec<f64>,
    pub tokens: Vec<f64>,
}

impl Groups {
    pub fn of(observations: &[Observation]) -> Self {
        Self {
            sizes: distinct(observations.iter().map(|one| one.model_size)),
            tokens: distinct(observations.iter().map(|one| one.target_tokens)),
        }
    }

    pub fn size_label(&self, size: f64) -> String {
        format!("N\u{a0}=\u{a0}{}", name(size, &self.sizes))
    }

    pub fn tokens_label(&self, tokens: f64) -> String {
        format!("D\u{a0}=\u{a0}{}", name(tokens, &self.tokens))
    }

    /// Returns the color of a size, from teal to violet as N grows.
    pub fn color(&self, size: f64) -> String {
        let rank = self.rank(size);
        format!("var(--series-{})", color_slot(rank, self.sizes.len()))
    }

    pub fn symbol(&self, size: f64) -> Symbol {
        symbol(self.rank(size))
    }

    fn rank(&self, size: f64) -> usize {
        self.sizes.iter().position(|one| same(*one, size)).unwrap_or(0)
    }
}

/// Returns the short form of a value, unless another value has the same short form.
fn name(value: f64, all: &[f64]) -> String {
    let text = short(value);
    let alike = all.iter().filter(|other| short(**other) == text).count();
    if alike > 1 { value.to_string() } else { text }
}

/// Compares bit by bit, because both numbers come from the same counts.
pub(crate) fn same(left: f64, right: f64) -> bool {
    left.to_bits() == right.to_bits()
}

fn distinct(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.dedup_by(|left, right| same(*left, *right));
    values
}

/// Runs of one N and one D.
pub(crate) struct PageGroup<'a> {
    size: u64,
    tokens: u64,
    pub pages: Vec<&'a RunPage>,
}

impl PageGroup<'_> {
    pub fn label(&self) -> String {
        format!("N = {}, D = {}", count(self.size), count(self.tokens))
    }
}

/// Returns the runs with rows by N and D in rising order.
pub(crate) fn page_groups(pages: &[RunPage]) -> Vec<PageGroup<'_>> {
    let mut groups: Vec<PageGroup<'_>> = Vec::new();
    for page in pages {
        let Some(row) = &page.summary.row else { continue };
        let (size, tokens) = (row.model_size, row.target_tokens);
        match groups.iter_mut().find(|group| group.size == size && group.tokens == tokens) {
            Some(group) => group.pages.push(page),
            None => groups.push(PageGroup { size, tokens, pages: vec![page] }),
        }
    }
    groups.sort_by_key(|group| (group.size, group.tokens));
    groups
}
