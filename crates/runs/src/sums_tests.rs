//! Any change of a file with a sum is told; nothing else is.

use std::fs;

use super::{
    SUMS_FILE, Unsummed, check_bytes, check_file, faults, faults_of_files, write, write_linked,
    write_summed,
};

fn folder() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("more")).unwrap();
    for (name, len) in [("a", 5_000_000), ("more/b", 3), ("c", 0)] {
        let bytes: Vec<u8> = (0..len).map(|n: u32| n.to_le_bytes()[1]).collect();
        fs::write(place.path().join(name), bytes).unwrap();
    }
    write(place.path()).unwrap();
    place
}

fn told(place: &tempfile::TempDir) -> Vec<String> {
    let faults = faults(place.path(), Unsummed::Damaged, &|name| name.ends_with(".json")).unwrap();
    let name = |path: &std::path::Path| {
        path.strip_prefix(place.path()).unwrap().to_str().unwrap().to_owned()
    };
    faults.iter().map(|fault| format!("{}: {}", name(&fault.path), fault.got)).collect()
}

#[test]
fn any_bit_of_any_file_counts() {
    let place = folder();
    assert!(told(&place).is_empty());
    for (name, byte) in [("a", 0), ("a", 4_999_999), ("more/b", 1)] {
        let path = place.path().join(name);
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[byte] ^= 0x20;
        for damaged in [&flipped[..], &whole[1..], b""] {
            fs::write(&path, damaged).unwrap();
            let told = told(&place);
            assert!(told.len() == 1 && told[0].starts_with(&format!("{name}: ")), "{told:?}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(told(&place), [format!("{name}: no file")]);
        fs::write(&path, whole).unwrap();
    }
    // What is added is not ours to judge, unless it is read.
    fs::write(place.path().join("NOTES"), "mine").unwrap();
    assert!(told(&place).is_empty());
    fs::write(place.path().join("more/d.json"), "{}").unwrap();
    assert_eq!(told(&place), ["more/d.json: a file without a sum: it came later"]);
}

#[test]
fn the_sums_are_those_of_b3sum_and_damage_to_them_is_told() {
    let place = folder();
    let path = place.path().join(SUMS_FILE);
    let text = fs::read_to_string(&path).unwrap();
    // That of no bytes, from the specification.
    let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262  c\n";
    assert!(text.contains(empty), "{text}");
    for (from, to) in [("  c", " c"), ("  c", "  ../c"), ("  c", "  /c"), ("af13", "af12")] {
        fs::write(&path, text.replace(from, to)).unwrap();
        assert_eq!(told(&place).len(), 1, "{to}");
    }
    for len in [0, 1, text.len() / 2, text.len() - 1] {
        fs::write(&path, &text[..len]).unwrap();
        assert!(told(&place)[0].starts_with(SUMS_FILE), "{len}");
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(told(&place), ["BLAKE3SUMS: no file"]);
    // A folder that others wrote is taken as it is.
    assert_eq!(faults(place.path(), Unsummed::Foreign, &|_| true).unwrap(), []);
}

#[test]
fn links_keep_the_sums_of_what_they_are_links_to() {
    let (from, to) = (folder(), tempfile::tempdir().unwrap());
    fs::hard_link(from.path().join("c"), to.path().join("c")).unwrap();
    write_linked(from.path(), to.path()).unwrap();
    assert!(told(&to).is_empty());
    assert_eq!(fs::read_to_string(to.path().join(SUMS_FILE)).unwrap().lines().count(), 1);
    fs::remove_file(from.path().join(SUMS_FILE)).unwrap();
    fs::hard_link(from.path().join("a"), to.path().join("a")).unwrap();
    write_linked(from.path(), to.path()).unwrap();
    assert_eq!(fs::read_to_string(to.path().join(SUMS_FILE)).unwrap().lines().count(), 2);
}

#[test]
fn a_file_has_its_sum_beside_it_at_every_moment() {
    let place = tempfile::tempdir().unwrap();
    let (path, sum) = (place.path().join("t.jsonl"), place.path().join("t.jsonl.blake3"));
    write_summed(&path, b"one").unwrap();
    write_summed(&path, b"two").unwrap();
    check_bytes(&path, b"two").unwrap();
    check_file(&path).unwrap();
    let error = check_bytes(&path, b"one").unwrap_err().to_string();
    assert!(error.contains("remove t.jsonl.blake3 beside it"), "{error}");
    let line = |bytes: &[u8]| format!("{}  t.jsonl\n", blake3::hash(bytes).to_hex());
    assert_eq!(fs::read_to_string(&sum).unwrap(), line(b"two"));
    // As after a kill before and behind the file's rename.
    fs::write(&sum, line(b"two") + &line(b"three")).unwrap();
    check_file(&path).unwrap();
    fs::write(&path, b"three").unwrap();
    check_file(&path).unwrap();
    let told = || faults_of_files(place.path(), &|name| name == "t.jsonl").unwrap();
    assert_eq!(told(), []);
    fs::write(&path, b"four").unwrap();
    assert_eq!(told()[0].path, path);
    fs::remove_file(&path).unwrap();
    assert_eq!(told()[0].got, "no file");
    fs::write(&path, b"three").unwrap();
    fs::write(&sum, "").unwrap();
    assert_eq!(told()[0].path, sum);
    fs::remove_file(&sum).unwrap();
    assert_eq!(told()[0].path, sum);
    // Without one it is a file that others wrote.
    check_file(&path).unwrap();
}
