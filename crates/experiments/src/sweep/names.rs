//! Ids of runs, which are readable, unique, and valid names of folders on every system.

use super::settings::setting;
use crate::error::Error;
use crate::runs::injection::Injection;

/// `math-5M-100k-1pct-seed0`: domain, model, target tokens, share of pretraining data, seed.
pub fn run_id(domain: &str, model: &str, (tokens, inject, seed): (u64, Injection, u64)) -> String {
    let share = inject.to_string().replace('%', "pct").replace('/', "over");
    format!("{domain}-{model}-{}-{share}-seed{seed}", count(tokens))
}

/// Formats `30000` as `30k`, exactly and in the largest unit that divides it.
pub fn count(tokens: u64) -> String {
    for (unit, name) in [(1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k")] {
        if tokens >= unit && tokens.is_multiple_of(unit) {
            return format!("{}{name}", tokens / unit);
        }
    }
    tokens.to_string()
}

/// Refuses names of a `kind` that are not valid in file names and ids.
///
/// # Errors
/// An empty name, other characters, a name that is used twice.
pub fn check_names(kind: &str, names: &[&String]) -> Result<(), Error> {
    if names.is_empty() {
        return Err(setting(&format!("[[{kind}]]"), "at least one", "none"));
    }
    for (place, name) in names.iter().enumerate() {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric());
        if !begins || name.len() > 64 || !name.chars().all(fits) {
            let expected = "a letter or digit, then letters, digits and . _ -, 64 in all at most";
            return Err(setting(&format!("{kind}.name"), expected, format!("{name:?}")));
        }
        if names.iter().take(place).any(|other| other == name) {
            return Err(setting(
                &format!("{kind}.name"),
                "each name once",
                format!("{name:?} twice"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{count, run_id};

    #[test]
    fn ids_say_what_a_run_is() {
        let id = |p: &str| run_id("math", "5M", (100_000, p.parse().unwrap(), 7));
        assert_eq!(id("1%"), "math-5M-100k-1pct-seed7");
        assert_eq!(id("0"), "math-5M-100k-0pct-seed7");
        assert_eq!(id("0.005"), "math-5M-100k-0.5pct-seed7");
        assert_eq!(id("1/3"), "math-5M-100k-100over3pct-seed7");
    }

    #[test]
    fn counts_are_exact() {
        for (tokens, text) in
            [(999, "999"), (30_000, "30k"), (1_500_000, "1500k"), (3_000_000, "3M")]
        {
            assert_eq!(count(tokens), text);
        }
    }
}
