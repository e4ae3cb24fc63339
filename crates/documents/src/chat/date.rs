//! The date that a chat template receives: an option, because a clock would change the corpus.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A date, written `2026-01-31`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TemplateDate {
    year: u16,
    month: u8,
    day: u8,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl TemplateDate {
    /// Formats the date at midnight as `strftime` of C and Python does.
    ///
    /// # Errors
    /// The first unknown directive.
    pub(crate) fn format(self, pattern: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = pattern.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut directive: String = rest.next().into_iter().collect();
            if directive == "-" {
                directive.extend(rest.next());
            }
            out.push_str(&self.directive(&directive).ok_or(format!("%{directive}"))?);
        }
        Ok(out)
    }

    fn directive(self, directive: &str) -> Option<String> {
        let (month, day) = (self.month_name(), self.day_name());
        let short = |name: &str| name.chars().take(3).collect();
        Some(match directive {
            "Y" => format!("{:04}", self.year),
            "y" => format!("{:02}", self.year % 100),
            "m" => format!("{:02}", self.month),
            "-m" => self.month.to_string(),
            "d" => format!("{:02}", self.day),
            "e" => format!("{:2}", self.day),
            "-d" => self.day.to_string(),
            "B" => month.to_owned(),
            "b" | "h" => short(month),
            "A" => day.to_owned(),
            "a" => short(day),
            "F" => self.to_string(),
            "H" | "M" | "S" => "00".to_owned(),
            "I" => "12".to_owned(),
            "p" => "AM".to_owned(),
            "T" | "X" => "00:00:00".to_owned(),
            "%" => "%".to_owned(),
            _ => return None,
        })
    }

    fn month_name(self) -> &'static str {
        MONTHS.get(usize::from(self.month) - 1).copied().unwrap_or_default()
    }

    /// Returns the weekday by Sakamoto's congruence.
    fn day_name(self) -> &'static str {
        const SHIFTS: [u32; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let year = u32::from(self.year) - u32::from(self.month < 3);
        let shift = SHIFTS.get(usize::from(self.month) - 1).copied().unwrap_or_default();
        let days = year + year / 4 - year / 100 + year / 400 + shift + u32::from(self.day);
        DAYS.get(usize::try_from(days % 7).unwrap_or_default()).copied().unwrap_or_default()
    }
}

fn days_of(year: u16, month: u8) -> u8 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl FromStr for TemplateDate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.trim().split('-').collect();
        let date = match parts.as_slice() {
            [year, month, day] => year.parse().ok().zip(month.parse().ok()).zip(day.parse().ok()),
            _ => None,
        };
        date.map(|((year, month), day)| Self { year, month, day })
            .filter(|date| (1..=9999).contains(&date.year) && (1..=12).contains(&date.month))
            .filter(|date| (1..=days_of(date.year, date.month)).contains(&date.day))
            .ok_or_else(|| {
                format!("expected a day like 2026-01-31, got \"{}\"", text.escape_debug())
            })
    }
}

impl TryFrom<String> for TemplateDate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TemplateDate> for String {
    fn from(date: TemplateDate) -> Self {
        date.to_string()
    }
}

impl fmt::Display for TemplateDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected texts are what Python 3.11's strftime prints.
    #[test]
    fn days_are_written_as_python_writes_them() {
        let cases = [
            ("2024-07-26", "Friday 26 Jul 2024 | Fri July 26 07/26/24 00:00:00 %"),
            ("2000-02-29", "Tuesday 29 Feb 2000 | Tue February 29 02/29/00 00:00:00 %"),
            ("1900-01-01", "Monday 1 Jan 1900 | Mon January 01 01/01/00 00:00:00 %"),
            ("2026-11-02", "Monday 2 Nov 2026 | Mon November 02 11/02/26 00:00:00 %"),
        ];
        for (day, expected) in cases {
            let date: TemplateDate = day.parse().unwrap();
            let text = date.format("%A %-d %b %Y | %a %B %d %m/%d/%y %H:%M:%S %%").unwrap();
            assert_eq!(text, expected);
            assert_eq!(date.to_string(), day);
        }
        let date: TemplateDate = "2026-11-02".parse().unwrap();
        assert_eq!(date.format("%Y %Q"), Err("%Q".to_owned()));
        assert_eq!(date.format("%"), Err("%".to_owned()));
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for text in ["", "today", "2026-02-29", "1900-02-29", "2026-13-01", "2026-00-01", "0-1-1"] {
            let error = text.parse::<TemplateDate>().unwrap_err();
            assert!(error.contains("2026-01-31") && error.contains(text), "{error}");
        }
    }
}
