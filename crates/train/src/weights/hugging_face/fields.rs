//! Fields of a config.json, with errors that name the field.

use std::path::Path;

use mixdown_shards::Fingerprint;
use serde_json::Value;

use super::config::TOKENIZER_FIELD;
use crate::error::Error;

/// A config.json, or an object within it.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) value: &'a Value,
    pub(super) path: &'a Path,
}

impl<'a> Fields<'a> {
    /// Returns the field's value; null if it is missing.
    pub(super) fn get(&self, field: &str) -> &'a Value {
        &self.value[field]
    }

    /// Returns whether the field is missing, which for some fields differs from null.
    pub(super) fn lacks(&self, field: &str) -> bool {
        self.value.get(field).is_none()
    }

    /// Returns the error for the field with its value.
    pub(super) fn refuse(&self, field: &'static str, expected: impl Into<String>) -> Error {
        self.refuse_as(field, expected, &self.value[field])
    }

    /// Returns the error for a field with the value `got`.
    pub(super) fn refuse_as(
        &self,
        field: &'static str,
        expected: impl Into<String>,
        got: impl ToString,
    ) -> Error {
        let (path, expected, got) = (self.path.to_owned(), expected.into(), got.to_string());
        Error::UnsupportedModel { path, field, expected, got }
    }

    /// Reads a required count.
    pub(super) fn count(&self, field: &'static str) -> Result<u64, Error> {
        self.value[field].as_u64().ok_or_else(|| self.refuse(field, "a positive whole number"))
    }

    /// Reads a count, with a default for a field that is null or missing.
    pub(super) fn count_or(&self, field: &'static str, default: u64) -> Result<u64, Error> {
        if self.value[field].is_null() { Ok(default) } else { self.count(field) }
    }

    /// Reads a required number.
    pub(super) fn number(&self, field: &'static str) -> Result<f64, Error> {
        self.value[field].as_f64().ok_or_else(|| self.refuse(field, "a number"))
    }

    /// Reads a number, with a default for a field that is null or missing.
    pub(super) fn number_or(&self, field: &'static str, default: f64) -> Result<f64, Error> {
        if self.value[field].is_null() { Ok(default) } else { self.number(field) }
    }

    /// Reads a switch, with a default for a field that is null or missing.
    pub(super) fn switch(&self, field: &'static str, default: bool) -> Result<bool, Error> {
        match &self.value[field] {
            Value::Null => Ok(default),
            value => value.as_bool().ok_or_else(|| self.refuse(field, "true or false")),
        }
    }

    /// Refuses a switch with an unsupported value.
    pub(super) fn fixed(&self, field: &'static str, expected: bool) -> Result<(), Error> {
        if self.switch(field, expected)? == expected {
            return Ok(());
        }
        Err(self.refuse(field, expected.to_string()))
    }

    /// Reads a token id, or the first of a list. Null means none, and a missing field means the family's default.
    pub(super) fn token(&self, field: &'static str, default: Option<u64>) -> Option<u64> {
        if self.lacks(field) {
            return default;
        }
        let value = &self.value[field];
        value.as_u64().or_else(|| value[0].as_u64())
    }

    pub(super) fn tokenizer_fingerprint(&self) -> Result<Option<Fingerprint>, Error> {
        serde_json::from_value(self.value[TOKENIZER_FIELD].clone())
            .map_err(|_| self.refuse(TOKENIZER_FIELD, "64 hex digits"))
    }
}
