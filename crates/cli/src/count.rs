//! Counts of parameters and tokens as people write them.

use std::str::FromStr;

use crate::error::Error;

/// A count above 0, such as `1.27B`, `30M`, `300K`, `3e6` or `50000`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Count(f64);

impl Count {
    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl FromStr for Count {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let trimmed = text.trim().replace('_', "");
        let (number, factor) = match trimmed.char_indices().last() {
            Some((end, 'k' | 'K')) => (&trimmed[..end], 1e3),
            Some((end, 'm' | 'M')) => (&trimmed[..end], 1e6),
            Some((end, 'b' | 'B' | 'g' | 'G')) => (&trimmed[..end], 1e9),
            Some((end, 't' | 'T')) => (&trimmed[..end], 1e12),
            _ => (trimmed.as_str(), 1.0),
        };
        let value = number.trim().parse::<f64>().ok().map(|number| number * factor);
        match value.filter(|value| value.is_finite() && *value >= 1.0) {
            Some(value) => Ok(Self(value)),
            None => Err(Error::usage(
                format!("expected a count such as 1.27B, 30M, 300K or 50000, got {text:?}"),
                "",
            )),
        }
    }
}

/// A count for people, three digits: `1.27B`, `30M`, `300K`, `512`.
pub fn short(value: f64) -> String {
    let units = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"), (1.0, "")];
    let (size, unit) = units.into_iter().find(|(size, _)| value >= *size).unwrap_or((1.0, ""));
    let scaled = value / size;
    let digits = if scaled >= 100.0 {
        format!("{scaled:.0}")
    } else if scaled >= 10.0 {
        format!("{scaled:.1}")
    } else {
        format!("{scaled:.2}")
    };
    let trimmed = if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        &digits
    };
    format!("{trimmed}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_and_shown() {
        for (text, value) in
            [("1.27B", 1.27e9), ("30M", 3e7), ("300k", 3e5), ("3e6", 3e6), ("50_000", 5e4)]
        {
            assert!((text.parse::<Count>().unwrap().value() / value - 1.0).abs() < 1e-12, "{text}");
        }
        for text in ["", "M", "-3M", "0", "nan", "inf", "3 M M"] {
            assert!(text.parse::<Count>().is_err(), "{text}");
        }
        let shown = [1.27e9, 3e7, 3e5, 512.0, 1_234_567.0].map(short);
        assert_eq!(shown, ["1.27B", "30M", "300K", "512", "1.23M"]);
    }
}
