//! Changes of single settings of a description: `train.learning_rate=1e-4`.

use std::path::Path;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::error::Error;
use crate::runs::configuration::nearest_key;

/// Keys whose values are paths: in a changed setting, they start from the working folder, not from the folder of the
/// description.
const PATHS: [&str; 2] = ["init", "corpus"];

/// A changed setting: its key in a description, and its value.
///
/// ```
/// use mixdown_experiments::Override;
///
/// assert!("train.learning_rate=1e-4".parse::<Override>().is_ok());
/// assert!("train.learning_rate".parse::<Override>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// The text of the setting as it was given.
    text: String,
    /// The keys that lead to it; a number or a name leads into a list.
    keys: Vec<String>,
    value: Value,
}

impl FromStr for Override {
    type Err = String;

    /// Reads `train.learning_rate=1e-4`. A value that is not TOML is a text: `model.init=base/best`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected KEY=VALUE such as train.learning_rate=1e-4, got {text:?}");
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        let keys: Vec<String> = key.trim().split('.').map(|part| part.trim().to_owned()).collect();
        if keys.iter().any(String::is_empty) {
            return Err(wrong());
        }
        let value = value.trim();
        let read = format!("value = {value}").parse::<Table>().ok();
        // Of several lines only the first would be the value.
        let read =
            read.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
        let value = read.unwrap_or_else(|| Value::String(value.to_owned()));
        Ok(Self { text: text.to_owned(), keys, value })
    }
}

/// Reads a description with some settings changed; `source` names it in errors.
///
/// # Errors
/// An unknown key, with the nearest known one; a value of a wrong type.
///
/// ```
/// use mixdown_experiments::{TrainSettings, apply_overrides};
///
/// let table = "batch_size = 16\nsequence_length = 128".parse::<toml::Table>()?;
/// let settings: TrainSettings = apply_overrides("the run", &table, &["batch_size=8".parse()?])?;
/// assert_eq!(settings.batch_size, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn apply_overrides<T: DeserializeOwned>(
    source: &str,
    table: &Table,
    overrides: &[Override],
) -> Result<T, Error> {
    let mut changed = table.clone();
    for one in overrides {
        one.apply(&mut changed)?;
    }
    let error = match T::deserialize(changed) {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    // The first change without which the description can be read is the invalid one.
    for count in 0..overrides.len() {
        let mut partly = table.clone();
        for one in overrides.iter().take(count + 1) {
            one.apply(&mut partly)?;
        }
        if let Err(error) = T::deserialize(partly)
            && (count > 0 || T::deserialize(table.clone()).is_ok())
            && let Some(blamed) = overrides.get(count)
        {
            return Err(blamed.refused(&error));
        }
    }
    let hint = nearest_key(error.message()).map(|key| format!("did you mean `{key}`?"));
    Err(Error::configuration(format!("{source}: {}", error.message()), hint.unwrap_or_default()))
}

impl Override {
    fn refused(&self, error: &toml::de::Error) -> Error {
        let hint = nearest_key(error.message()).map(|key| format!("did you mean `{key}`?"));
        self.error(error.message(), hint.unwrap_or_default())
    }

    fn apply(&self, table: &mut Table) -> Result<(), Error> {
        let Some((last, path)) = self.keys.split_last() else { return Ok(()) };
        let mut place: &mut Table = table;
        let mut keys = path.iter();
        while let Some(key) = keys.next() {
            let inner = place.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
            place = match inner {
                Value::Table(table) => table,
                Value::Array(list) => {
                    let wanted = keys.next().map_or(last, |wanted| wanted);
                    self.element(key, list, wanted)?
                }
                other => {
                    let got = format!("{key} is {}", kind(other));
                    return Err(self.wrong("a key that leads into a table", &got));
                }
            };
        }
        place.insert(last.clone(), self.resolved(last));
        Ok(())
    }

    /// Returns the table in a list that a number, counted from 0, or a name selects.
    fn element<'t>(
        &self,
        key: &str,
        list: &'t mut [Value],
        wanted: &str,
    ) -> Result<&'t mut Table, Error> {
        let name = |value: &Value| value.get("name").and_then(Value::as_str).map(str::to_owned);
        let names: Vec<String> = list.iter().filter_map(name).collect();
        let by_name = list.iter().position(|value| name(value).as_deref() == Some(wanted));
        let place = by_name.or_else(|| wanted.parse().ok());
        let found =
            place.and_then(|place: usize| list.get_mut(place)).and_then(Value::as_table_mut);
        found.ok_or_else(|| {
            let expected = format!("a name or a number of {key}: {}", names.join(", "));
            self.wrong(&expected, &format!("{wanted:?}"))
        })
    }

    /// Returns the value; a relative path starts from the working folder.
    fn resolved(&self, last: &str) -> Value {
        let path = self.value.as_str().filter(|_| PATHS.contains(&last)).map(Path::new);
        let absolute = path.and_then(|path| std::path::absolute(path).ok());
        match absolute.as_deref().and_then(Path::to_str) {
            Some(path) => Value::String(path.to_owned()),
            None => self.value.clone(),
        }
    }

    fn wrong(&self, expected: &str, got: &str) -> Error {
        self.error(&format!("expected {expected}, got {got}"), String::new())
    }

    fn error(&self, message: &str, hint: String) -> Error {
        Error::Override { setting: self.text.clone(), message: message.to_owned(), hint }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use mixdown_train::RunConfig;

    use super::*;

    const RUN: &str = "
        model.init = 'base'
        mixture = { sequence_length = 8, batch_size = 4, source = [
            { name = 'target', corpus = 'a', weight = '99%' }, { name = 'general', corpus = 'b', weight = '1%' } ] }
        train.steps = 10
        eval = { every_steps = 5, sequences = 3, corpus = [{ name = 'target', corpus = 'a' }] }";

    fn run(overrides: &[&str]) -> Result<RunConfig, String> {
        let overrides: Vec<Override> = overrides.iter().map(|one| one.parse().unwrap()).collect();
        apply_overrides("run.toml", &RUN.parse().unwrap(), &overrides)
            .map_err(|error| format!("{error}\n{}", error.hint().unwrap_or_default()))
    }

    #[test]
    fn settings_change_one_by_one_and_in_lists_by_name_or_number() {
        let config = run(&[
            "train.learning_rate=1e-4",
            "train.schedule=linear",
            "train.lora.rank = 4",
            "mixture.source.target.weight=95%",
            "mixture.source.1.weight='5%'",
            "train.freeze=['a*', 'b*']",
            "train.steps=20",
        ])
        .unwrap();
        assert_eq!((config.train.learning_rate, config.train.steps), (Some(1e-4), 20));
        assert_eq!(config.train.lora.unwrap().rank, 4);
        assert_eq!(config.train.freeze, ["a*", "b*"]);
        let weights = config.mixture.source.iter().map(|source| source.weight.unwrap().to_string());
        assert_eq!(weights.collect::<Vec<_>>(), ["95%", "5%"]);
        let moved = run(&["mixture.source.target.corpus=elsewhere"]).unwrap();
        assert!(moved.mixture.source[0].corpus.is_absolute());
        assert_eq!(moved.mixture.source[1].corpus, Path::new("b"));
    }

    #[test]
    fn what_is_wrong_is_said_of_the_setting_that_is_wrong() {
        for (overrides, words) in [
            (
                &["train.steps=20", "train.lerning_rate=1"][..],
                "train.lerning_rate=1: unknown field `lerning_rate`",
            ),
            (&["train.lerning_rate=1"], "did you mean `learning_rate`?"),
            (&["train.steps=soon"], "train.steps=soon: "),
            (&["train.steps.a=1"], "expected a key that leads into a table, got steps is a number"),
            (
                &["mixture.source.none.weight=1"],
                "a name or a number of source: target, general, got \"none\"",
            ),
            (&["trian.steps=1"], "did you mean `train`?"),
        ] {
            let report = run(overrides).unwrap_err();
            assert!(report.contains(words), "{overrides:?}: {report}");
        }
        for text in ["train.steps", "=3", "train..steps=3"] {
            assert!(text.parse::<Override>().is_err(), "{text}");
        }
    }
}
