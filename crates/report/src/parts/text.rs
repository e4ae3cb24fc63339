//! The numbers of a page: those of [`mixdown_base::display`] with a true minus sign and no-break spaces.

use mixdown_base::display;

/// No-break space between a number and its unit.
const SPACE: &str = "\u{a0}";

/// A number with `digits` decimals and a true minus sign; a rounded zero has no sign.
pub(crate) fn fixed(value: f64, digits: usize) -> String {
    display::fixed(value, digits).replace('-', "−")
}

/// A difference, always with its sign.
pub(crate) fn signed(value: f64, digits: usize) -> String {
    display::signed(value, digits).replace('-', "−")
}

/// A share in percent with up to four significant digits and without trailing zeros: 0.01 → "1 %".
pub(crate) fn percent(share: f64) -> String {
    format!("{}{SPACE}%", per_cent(share))
}

/// The number of [`percent`] without its unit.
pub(crate) fn per_cent(share: f64) -> String {
    let value = share * 100.0;
    // Digits before the point leave room for the others behind it: 12.5 → 2, 0.1 → 4.
    let limits = [(100.0, 0_usize), (10.0, 2), (1.0, 3), (0.1, 4), (0.01, 5), (0.001, 6)];
    let digits = limits.iter().find(|(least, _)| value.abs() >= *least).map_or(7, |found| found.1);
    let text = fixed(value, digits);
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A share in percent with a fixed number of decimals.
pub(crate) fn percent_fixed(share: f64, digits: usize) -> String {
    format!("{}{SPACE}%", fixed(share * 100.0, digits))
}

/// A share in percent, rounded to `digits` (at most four) significant digits: 0.00994 → "0.994 %".
pub(crate) fn percent_rounded(share: f64, digits: i32) -> String {
    percent(rounded(share, digits))
}

/// A positive number rounded to `digits` significant digits; others become 0.
pub(crate) fn rounded(value: f64, digits: i32) -> f64 {
    if value <= 0.0 {
        return 0.0;
    }
    let unit = 10.0_f64.powf(value.log10().floor() - f64::from(digits - 1));
    (value / unit).round() * unit
}

/// A count with spaces between its thousands.
pub(crate) fn count(value: u64) -> String {
    display::thousands(value).replace(',', "\u{202f}")
}

/// A size with three significant digits and its unit: 344,640 → "345K".
pub(crate) fn short(value: f64) -> String {
    display::short(value)
}

/// A number with `digits` significant digits, in powers of ten where it is very large or small.
pub(crate) fn significant(value: f64, digits: usize) -> String {
    let size = value.abs();
    if !value.is_finite() || size == 0.0 {
        return fixed(value, 0);
    }
    if !(1e-4..1e6).contains(&size) {
        return format!("{value:.*e}", digits.saturating_sub(1)).replace('-', "−");
    }
    let mut decimals = digits.saturating_sub(1);
    let mut least = 10.0;
    while size >= least && decimals > 0 {
        decimals -= 1;
        least *= 10.0;
    }
    let mut below = 1.0;
    while size < below {
        decimals += 1;
        below /= 10.0;
    }
    let text = fixed(value, decimals);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Seconds as "48 s", "3 min 20 s" or "2 h 05 min".
pub(crate) fn duration(seconds: f64) -> String {
    display::duration(seconds).replace(' ', SPACE)
}

#[cfg(test)]
mod tests {
    use super::{
        count, duration, fixed, percent, percent_rounded, rounded, short, signed, significant,
    };

    #[test]
    fn sizes_are_short() {
        for (value, expected) in [
            (344_640.0, "345K"),
            (1_267_072.0, "1.27M"),
            (3e7, "30M"),
            (999.0, "999"),
            (999_999.0, "1M"),
        ] {
            assert_eq!(short(value), expected);
        }
        for (value, expected) in [
            (0.45236, "0.452"),
            (1568.2, "1568"),
            (5.61e5, "561000"),
            (0.0541, "0.0541"),
            (1.2e9, "1.20e9"),
        ] {
            assert_eq!(significant(value, 3), expected);
        }
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        let plain = |text: String| text.replace(['\u{a0}', '\u{202f}'], " ");
        for (share, expected) in [
            (0.0, "0 %"),
            (0.01, "1 %"),
            (0.001, "0.1 %"),
            (0.0005, "0.05 %"),
            (0.05, "5 %"),
            (0.125, "12.5 %"),
            (0.010_071, "1.007 %"),
            (0.999, "99.9 %"),
            (1.0, "100 %"),
            (1.0 / 64.0, "1.562 %"),
        ] {
            assert_eq!(plain(percent(share)), expected);
        }
        for (share, expected) in [
            (0.0, "0 %"),
            (0.009_937_5, "0.994 %"),
            (0.000_993_75, "0.0994 %"),
            (0.050_06, "5.01 %"),
            (1.0 / 3.0, "33.3 %"),
            (0.999_9, "100 %"),
        ] {
            assert_eq!(plain(percent_rounded(share, 3)), expected);
        }
        assert!((rounded(0.015_54, 2) - 0.016).abs() < 1e-12);
        assert_eq!(fixed(-0.0004, 3), "0.000");
        assert_eq!(fixed(-0.004, 3), "−0.004");
        assert_eq!(fixed(f64::NAN, 3), "NaN");
        assert_eq!(signed(0.004, 3), "+0.004");
        assert_eq!(signed(-1.5, 1), "−1.5");
        assert_eq!(plain(count(1_234_567)), "1 234 567");
        assert_eq!(plain(count(100)), "100");
        assert_eq!(plain(duration(48.2)), "48 s");
        assert_eq!(plain(duration(200.0)), "3 min 20 s");
        assert_eq!(plain(duration(7500.0)), "2 h 05 min");
    }
}
