//! Accepted and refused spellings of quantities.

use super::*;

fn parts(text: &str) -> (u64, u64) {
    let number: Number = text.parse().unwrap();
    (number.numerator, number.denominator)
}

#[test]
fn every_spelling_of_fifty_thousand_is_the_same() {
    for text in [
        "50000",
        "50_000",
        "50,000",
        "50k",
        "50K",
        "50 k",
        " 50k ",
        "0.05M",
        ".05m",
        "5e4",
        "5E4",
        "5e+4",
        "5_0.0k",
        "0.5e-1M",
        "100_000/2",
        "100k/2",
        "50k tokens",
        "50,000 tokens",
        "50000tokens",
        "50_000 token",
        "0.000_05B",
        "0.00005g",
        "0.00000005T",
    ] {
        assert_eq!(tokens::<u64>(text), Ok(50_000), "{text}");
    }
}

#[test]
fn counts_are_exact_to_the_last_digit() {
    assert_eq!(count::<u64>("18446744073709551615"), Ok(u64::MAX));
    assert_eq!(count::<u64>("9.007199254740993e15"), Ok((1 << 53) + 1));
    assert_eq!(count::<u64>("1,234,567,890,123"), Ok(1_234_567_890_123));
    assert_eq!(count::<u64>("18446744.073709551615T"), Ok(u64::MAX));
    assert_eq!(count::<u64>("1.0"), Ok(1));
    assert_eq!(count::<u64>("0e999"), Ok(0));
}

#[test]
fn shares_are_exact_fractions() {
    for (text, fraction) in [
        ("1%", (1, 100)),
        ("1 %", (1, 100)),
        ("0.1%", (1, 1000)),
        ("0.01", (1, 100)),
        ("1e-2", (1, 100)),
        ("100/3%", (1, 3)),
        ("2/6", (1, 3)),
        ("0.1/0.3", (1, 3)),
        (" 12.50 % ", (1, 8)),
        ("0.000000001", (1, 1_000_000_000)),
        ("0", (0, 1)),
        ("0.00%", (0, 1)),
    ] {
        assert_eq!(parts(text), fraction, "{text}");
    }
}

#[test]
fn what_is_written_reads_back() {
    for text in
        ["1%", "0.5%", "100/3%", "99", "0.001", "1/3", "12.5%", "100%", "2/7%", "0", "50000"]
    {
        let number: Number = text.parse().unwrap();
        assert_eq!(number.to_string(), text);
    }
}

#[test]
fn what_is_not_a_number_is_refused_with_its_reason() {
    for (text, reason) in [
        ("", "empty"),
        ("  ", "empty"),
        ("-1", "negative"),
        ("−1", "negative"),
        ("%", "begin with a number"),
        (".", "begin with a number"),
        ("k", "begin with a number"),
        ("NaN", "begin with a number"),
        ("inf", "begin with a number"),
        ("+1", "begin with a number"),
        ("1,5", "separator"),
        ("0,125", "separator"),
        ("1000,000", "separator"),
        ("1,0000", "separator"),
        ("1,000_000", "separator"),
        ("1_", "separator"),
        ("_1", "separator"),
        ("1__0", "separator"),
        ("1..5", "separator"),
        ("1.5.0", "separator"),
        ("1/2/3", "separator"),
        ("1%%", "separator"),
        ("1/0", "divides by zero"),
        ("1/", "begin with a number"),
        ("99999999999999999999", "64 bits"),
        ("0.00000000000000000001", "64 bits"),
        ("1e99999999999", "64 bits"),
        ("1e2000000000M", "64 bits"),
        ("99999999T", "64 bits"),
        ("50.000", "thousands"),
    ] {
        let error = text.parse::<Number>().unwrap_err();
        assert!(error.reason.contains(reason), "{text:?}: {error}");
        assert!(error.to_string().starts_with("expected a number such as 0.01, 1%"), "{error}");
    }
}

#[test]
fn what_is_not_a_count_is_refused_with_its_reason() {
    for (text, reason) in [
        ("1.5", "not whole"),
        ("1/3", "not whole"),
        ("0.0001k", "not whole"),
        ("5e-1", "not whole"),
        ("100%", "percentage"),
        ("3 M M", "\"M\" is not a unit here"),
        ("20 mugs", "\"mugs\" is not a unit here"),
        ("20 steps", "\"steps\" is not a unit here"),
        ("5e", "\"e\" is not a unit here"),
        ("1x", "\"x\" is not a unit here"),
        ("1 \u{1b}[2J", "\"\\u{1b}[2J\" is not a unit here"),
    ] {
        let error = tokens::<u64>(text).unwrap_err();
        assert!(error.reason.contains(reason), "{text:?}: {error}");
        assert!(error.to_string().starts_with("expected a whole number of tokens such as 300,"));
    }
    assert_eq!(count::<u32>("5B").unwrap_err().reason, "it is too large here");
    assert_eq!(positive::<u64>("0").unwrap_err().reason, "it is zero");
    assert_eq!(count::<u64>("0"), Ok(0));
    assert_eq!(steps::<u64>("2,000 steps"), Ok(2_000));
    assert_eq!(sequences::<u64>("1 sequence"), Ok(1));
    assert_eq!(documents::<u64>("1e3 documents"), Ok(1_000));
}

#[test]
fn words_behind_a_number_are_its_unit() {
    for (text, number, unit) in [
        ("2epochs", 2, "epochs"),
        ("2 epochs of target", 2, "epochs of target"),
        ("1.5B tokens", 1_500_000_000, "tokens"),
        ("3 mugs", 3, "mugs"),
        ("1k e5", 1_000, "e5"),
    ] {
        let quantity = Quantity::parse(text, "a length").unwrap();
        assert_eq!((quantity.whole(), quantity.unit), (Ok(number), unit), "{text}");
    }
}

#[test]
fn fields_of_files_read_numbers_and_texts() {
    use serde::de::IntoDeserializer;
    use serde::de::value::{
        Error as ValueError, F64Deserializer, I64Deserializer, StrDeserializer,
    };

    let text = |text: &'static str| -> Result<u64, ValueError> {
        let deserializer: StrDeserializer<'static, ValueError> = text.into_deserializer();
        field::steps(deserializer)
    };
    let float = |number: f64| -> Result<u64, ValueError> {
        let deserializer: F64Deserializer<ValueError> = number.into_deserializer();
        field::count(deserializer)
    };
    let integer = |number: i64| -> Result<u32, ValueError> {
        let deserializer: I64Deserializer<ValueError> = number.into_deserializer();
        field::count(deserializer)
    };
    assert_eq!(text("1k steps"), Ok(1_000));
    assert!(text("1k tokens").unwrap_err().to_string().contains("\"tokens\" is not a unit here"));
    assert_eq!(float(3e6), Ok(3_000_000));
    assert!(float(1.5).unwrap_err().to_string().contains("not whole"));
    assert!(float(f64::NAN).is_err() && float(-1.0).is_err());
    assert_eq!(integer(7), Ok(7));
    assert!(integer(-7).unwrap_err().to_string().contains("got \"-7\": it is negative"));
    assert!(integer(1 << 40).unwrap_err().to_string().contains("too large"));
}
