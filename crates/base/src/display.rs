//! Numbers as people read them, and texts made safe for a terminal: the display that the terminal, logs and pages
//! share.
//!
//! ```
//! use mixdown_base::display;
//!
//! assert_eq!(display::plural(1, "document"), "1 document");
//! assert_eq!(display::plural(2_375, "document"), "2,375 documents");
//! assert_eq!(display::short(1_267_072.0), "1.27M");
//! assert_eq!(display::percent(0.973_31), "97.3 %");
//! assert_eq!(display::duration(200.0), "3 min 20 s");
//! assert_eq!(display::bytes(6_540_000), "6.54 MB");
//! assert_eq!(display::escaped("a\u{1b}[31m"), "a\\u{1b}[31m");
//! ```

use std::borrow::Cow;

/// A count with commas between its thousands: `1,234,567`.
///
/// ```
/// assert_eq!(mixdown_base::display::thousands(1_234_567), "1,234,567");
/// ```
pub fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun in the right number: `1 document`, `2,375 documents`, `0 corpora`, `3 batches`.
///
/// ```
/// use mixdown_base::display::plural;
///
/// assert_eq!([plural(1, "corpus"), plural(2_375, "corpus")], ["1 corpus", "2,375 corpora"]);
/// ```
pub fn plural(count: u64, noun: &str) -> String {
    if count == 1 {
        return format!("1 {noun}");
    }
    format!("{} {}", thousands(count), plural_noun(noun))
}

/// The plural of a noun that [`plural`] accepts.
fn plural_noun(noun: &str) -> String {
    let replaced =
        [("corpus", "corpora"), ("entry", "entries"), ("match", "matches"), ("batch", "batches")];
    for (one, many) in replaced {
        if let Some(before) = noun.strip_suffix(one) {
            return format!("{before}{many}");
        }
    }
    format!("{noun}s")
}

/// A number with `digits` decimals; a rounded zero has no sign.
///
/// ```
/// assert_eq!(mixdown_base::display::fixed(-0.0004, 3), "0.000");
/// ```
pub fn fixed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match text.strip_prefix('-') {
        Some(zero) if !zero.contains(|c: char| ('1'..='9').contains(&c) || c.is_alphabetic()) => {
            zero.to_owned()
        }
        _ => text,
    }
}

/// A difference with `digits` decimals, always with its sign: `+0.0040`, `-1.5009`.
///
/// ```
/// use mixdown_base::display::signed;
///
/// assert_eq!([signed(0.004, 4), signed(-1.50094, 4)], ["+0.0040", "-1.5009"]);
/// ```
pub fn signed(value: f64, digits: usize) -> String {
    let text = fixed(value, digits);
    if text.starts_with('-') { text } else { format!("+{text}") }
}

/// A measured share in percent with three significant digits: `97.3 %`, `1.02 %`, `0.0994 %`.
///
/// Only the whole is shown as 100 % or more: `99.99 %`.
///
/// ```
/// use mixdown_base::display::percent;
///
/// assert_eq!([percent(0.0), percent(-1e-9), percent(1.0 / 64.0)], ["0 %", "0 %", "1.56 %"]);
/// ```
pub fn percent(share: f64) -> String {
    format!("{} %", per_cent(share))
}

/// The number that [`percent`] shows, without the percent sign.
///
/// ```
/// assert_eq!(mixdown_base::display::per_cent(0.010_227), "1.02");
/// ```
pub fn per_cent(share: f64) -> String {
    let value = share * 100.0;
    // No measurement here resolves less than a millionth of a percent.
    if value.abs() < 1e-6 {
        return "0".to_owned();
    }
    let mut text = rounded(value, 3);
    if value < 100.0 && text == "100" {
        text = [4, 5, 6]
            .map(|digits| rounded(value, digits))
            .into_iter()
            .find(|one| one != "100")
            .unwrap_or(text);
    }
    text
}

/// A requested share in percent with up to six significant digits: `12.25 %`, `0.125 %`.
///
/// ```
/// assert_eq!(mixdown_base::display::percent_requested(0.1225), "12.25 %");
/// ```
pub fn percent_requested(share: f64) -> String {
    format!("{} %", rounded(share * 100.0, 6))
}

/// A number rounded to `digits` significant digits, without an exponent and without zeros at its end.
fn rounded(value: f64, digits: i32) -> String {
    if !value.is_finite() || value == 0.0 {
        return fixed(value, 0);
    }
    // Rounding happens in scientific form first: 99.97 gains a digit before the point.
    let places = usize::try_from(digits - 1).unwrap_or(0);
    let text = format!("{value:.places$e}");
    let exponent: i32 = text.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    let decimals = usize::try_from(digits - 1 - exponent).unwrap_or(0);
    let text = fixed(value, decimals);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A size with three significant digits and its suffix: `345K`, `1.27B`, `512`.
///
/// ```
/// use mixdown_base::display::short;
///
/// assert_eq!([short(344_640.0), short(999_999.0)], ["345K", "1M"]);
/// ```
pub fn short(value: f64) -> String {
    let units = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")];
    // The value is rounded before its unit is chosen: 999,999 becomes 1M, not 1000K.
    let found = units.into_iter().find(|(unit, _)| value.abs() >= unit * 0.9995);
    let (unit, name) = found.unwrap_or((1.0, ""));
    format!("{}{name}", rounded(value / unit, 3))
}

/// Seconds in two units: `0.4 s`, `48 s`, `3 min 20 s`, `2 h 05 min`, `3 d 04 h`.
///
/// ```
/// use mixdown_base::display::duration;
///
/// assert_eq!([duration(0.44), duration(7_500.0)], ["0.4 s", "2 h 05 min"]);
/// ```
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "unknown".to_owned();
    }
    if (0.0..9.95).contains(&seconds) {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.max(0.0).round();
    for (unit, name, small, small_name) in
        [(86_400.0, "d", 3_600.0, "h"), (3_600.0, "h", 60.0, "min"), (60.0, "min", 1.0, "s")]
    {
        if whole >= unit {
            let (many, rest) = ((whole / unit).floor(), (whole % unit / small).floor());
            return format!("{many:.0} {name} {rest:02.0} {small_name}");
        }
    }
    format!("{whole:.0} s")
}

/// Seconds in a single unit, the largest that fits at least twice: `119 s`, `7 min`, `28 h`, `12 d`.
///
/// ```
/// use mixdown_base::display::duration_in_one_unit;
///
/// assert_eq!([duration_in_one_unit(119.0), duration_in_one_unit(1e5)], ["119 s", "28 h"]);
/// ```
pub fn duration_in_one_unit(seconds: f64) -> String {
    let units = [("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)];
    let found = units.into_iter().find(|(_, length)| seconds >= 2.0 * length);
    let (unit, length) = found.unwrap_or(("s", 1.0));
    format!("{} {unit}", fixed(seconds / length, 0))
}

/// A number of bytes with three significant digits, in powers of 1000: `512 bytes`, `6.54 MB`.
///
/// ```
/// use mixdown_base::display::bytes;
///
/// assert_eq!([bytes(512), bytes(6_540_000)], ["512 bytes", "6.54 MB"]);
/// ```
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub fn bytes(count: u64) -> String {
    if count < 1_000 {
        return plural(count, "byte");
    }
    let value = count as f64;
    let units = [(1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB")];
    let found = units.into_iter().find(|(unit, _)| value >= unit * 0.9995);
    let (unit, name) = found.unwrap_or((1e3, "kB"));
    format!("{} {name}", rounded(value / unit, 3))
}

/// A name or other short text from outside, made safe for one line of a terminal: control characters (so that an escape
/// sequence is plain text and a line stays one line) and marks that change the writing direction are escaped.
///
/// ```
/// use mixdown_base::display::escaped;
/// assert_eq!(escaped("red \u{1b}[31m\n"), r"red \u{1b}[31m\n");
/// assert_eq!(escaped("Größe 大"), "Größe 大");
/// ```
pub fn escaped(text: &str) -> Cow<'_, str> {
    escaped_where(text, is_unfit)
}

/// Like [`escaped`], for texts of several lines: line ends (also CR LF) and tabs stay.
///
/// ```
/// use mixdown_base::display::escaped_lines;
///
/// assert_eq!(escaped_lines("one\n\u{1b}[31mtwo"), "one\n\\u{1b}[31mtwo");
/// ```
pub fn escaped_lines(text: &str) -> Cow<'_, str> {
    if !text.contains("\r\n") {
        return escaped_where(text, |letter| !matches!(letter, '\n' | '\t') && is_unfit(letter));
    }
    let lines: Vec<Cow<'_, str>> = text.split("\r\n").map(escaped_lines).collect();
    Cow::Owned(lines.join("\r\n"))
}

/// A JSON text in which characters that JSON allows but a terminal must not receive are escaped as in JSON; the value
/// stays the same.
///
/// ```
/// use mixdown_base::display::escaped_json;
/// assert_eq!(escaped_json("[\"a\u{9b}31m\u{202e}\"]"), r#"["a\u009b31m\u202e"]"#);
/// ```
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    let is_unfit = |letter: char| !letter.is_ascii_whitespace() && is_unfit(letter);
    if !json.contains(is_unfit) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for letter in json.chars() {
        if is_unfit(letter) {
            // All of them are in the basic multilingual plane, so four digits are enough.
            escaped.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            escaped.push(letter);
        }
    }
    Cow::Owned(escaped)
}

fn escaped_where(text: &str, is_unfit: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_unfit) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            _ if !is_unfit(letter) => escaped.push(letter),
            // `escape_debug` leaves some direction marks unescaped.
            '\n' | '\r' | '\t' => escaped.extend(letter.escape_default()),
            _ => escaped.extend(letter.escape_unicode()),
        }
    }
    Cow::Owned(escaped)
}

fn is_unfit(letter: char) -> bool {
    let turns_direction = matches!(
        letter,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    letter.is_control() || turns_direction || matches!(letter, '\u{2028}' | '\u{2029}')
}

/// A text of several lines, each cut to at most `columns` characters: a message that quotes a line of a file must not
/// print a megabyte.
///
/// ```
/// use mixdown_base::display::cut_lines;
/// assert_eq!(cut_lines("key = [1, 2, 3]\n          ^\nexpected a key", 8), "key = [1…\n\nexpected…");
/// assert_eq!(cut_lines("short", 8), "short");
/// ```
pub fn cut_lines(text: &str, columns: usize) -> String {
    let cut = |line: &str| match line.char_indices().nth(columns) {
        None => line.to_owned(),
        Some((end, _)) => {
            let kept = line.get(..end).unwrap_or_default();
            let is_blank = kept.chars().all(|letter| letter == ' ' || letter == '|');
            // A cut-off mark far to the right is not worth an ellipsis.
            if is_blank { kept.trim_end().to_owned() } else { format!("{kept}…") }
        }
    };
    text.lines().map(cut).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_their_thousands_and_their_noun() {
        for (value, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(value), text);
        }
        assert_eq!(plural(0, "document"), "0 documents");
        assert_eq!(plural(1, "corpus"), "1 corpus");
        assert_eq!(plural(2, "corpus"), "2 corpora");
        assert_eq!(plural(3, "held-out document"), "3 held-out documents");
        assert_eq!(plural(4, "vocabulary entry"), "4 vocabulary entries");
        assert_eq!(plural(1_000, "batch"), "1,000 batches");
    }

    #[test]
    fn shares_have_three_digits_and_no_sign_of_zero() {
        for (share, text) in [
            (0.0, "0 %"),
            (-0.0, "0 %"),
            (-1e-12, "0 %"),
            (0.01, "1 %"),
            (0.001_25, "0.125 %"),
            (0.973_31, "97.3 %"),
            (0.010_227, "1.02 %"),
            (0.000_993_75, "0.0994 %"),
            (1.0 / 3.0, "33.3 %"),
            (0.099_96, "10 %"),
            (0.999, "99.9 %"),
            (0.999_9, "99.99 %"),
            (0.999_999_999_9, "100 %"),
            (1.0, "100 %"),
            (5.754, "575 %"),
            (-0.42, "-42 %"),
            (f64::NAN, "NaN %"),
        ] {
            assert_eq!(percent(share), text, "{share}");
        }
        for (share, text) in
            [(0.1225, "12.25 %"), (0.001_25, "0.125 %"), (0.0, "0 %"), (1e-6, "0.0001 %")]
        {
            assert_eq!(percent_requested(share), text);
        }
    }

    #[test]
    fn sizes_are_short() {
        for (value, text) in [
            (344_640.0, "345K"),
            (1_267_072.0, "1.27M"),
            (3e7, "30M"),
            (1.27e9, "1.27B"),
            (512.0, "512"),
            (999.0, "999"),
            (999_999.0, "1M"),
            (999_400.0, "999K"),
            (0.0, "0"),
        ] {
            assert_eq!(short(value), text, "{value}");
        }
        for (count, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1_000, "1 kB"),
            (6_540_000, "6.54 MB"),
            (999_999, "1 MB"),
            (2_500_000_000_000, "2.5 TB"),
        ] {
            assert_eq!(bytes(count), text, "{count}");
        }
    }

    #[test]
    fn durations_have_units_that_fit() {
        for (seconds, text) in [
            (0.0, "0.0 s"),
            (0.44, "0.4 s"),
            (9.97, "10 s"),
            (48.2, "48 s"),
            (59.6, "1 min 00 s"),
            (200.0, "3 min 20 s"),
            (7_500.0, "2 h 05 min"),
            (3_599.7, "1 h 00 min"),
            (273_600.0, "3 d 04 h"),
            (-3.0, "0 s"),
            (f64::INFINITY, "unknown"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn one_unit_says_the_size_of_a_duration() {
        for (seconds, text) in
            [(0.4, "0 s"), (119.0, "119 s"), (150.0, "2 min"), (1e5, "28 h"), (1e6, "12 d")]
        {
            assert_eq!(duration_in_one_unit(seconds), text);
        }
    }

    #[test]
    fn differences_have_a_sign_unless_they_round_to_zero() {
        assert_eq!(fixed(-0.0004, 3), "0.000");
        assert_eq!(fixed(-0.004, 3), "-0.004");
        assert_eq!(fixed(f64::NAN, 3), "NaN");
        assert_eq!(fixed(f64::NEG_INFINITY, 3), "-inf");
        assert_eq!(signed(0.004, 3), "+0.004");
        assert_eq!(signed(-1.5, 1), "-1.5");
        assert_eq!(signed(-0.0, 4), "+0.0000");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let hostile: String = (0_u32..0x2100).filter_map(char::from_u32).collect();
        for text in [escaped(&hostile), escaped_lines(&hostile)] {
            assert!(!text.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
            assert!(!text.contains('\u{202e}') && text.contains("\\u{202e}"));
        }
        assert!(!escaped(&hostile).contains(['\n', '\t']));
    }

    #[test]
    fn line_ends_and_tabs_of_texts_stay_and_lone_returns_do_not() {
        assert_eq!(escaped_lines("a\tb\nc\r\nd"), "a\tb\nc\r\nd");
        assert_eq!(escaped_lines("100 %\rfake\r\n"), "100 %\\rfake\r\n");
        assert!(matches!(escaped_lines("plain\n"), Cow::Borrowed(_)));
    }
}
