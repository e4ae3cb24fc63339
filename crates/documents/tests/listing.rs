//! The selection of files: ignore rules, selections, patterns, lists.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::slice::from_ref;

use mixdown_base::error_kind::ErrorKind;
use mixdown_documents::{
    Document, DocumentReader, IgnoreRules, InputFormat, InputList, ReadOptions, Selection,
};

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn tree(folder: &Path) -> PathBuf {
    let root = folder.join("tree");
    for name in [
        "README.md",
        "src/main.rs",
        "src/lib.rs",
        "src/generated/big.rs",
        "docs/a.md",
        "docs/deep/b.md",
        "target/out.rs",
        "notes.txt",
        ".hidden.rs",
    ] {
        write(&root, name, name);
    }
    write(&root, ".gitignore", "/target\n*.txt\n");
    write(&root, "docs/.ignore", "deep/\n");
    root
}

fn names(paths: &[PathBuf], selection: &Selection) -> Vec<String> {
    let options = ReadOptions { selection: selection.clone(), ..ReadOptions::default() };
    let list = InputList::discover_with(paths, &options).unwrap();
    list.files().iter().map(|file| file.name.clone()).collect()
}

fn patterns(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|&pattern| pattern.to_owned()).collect()
}

#[test]
fn ignore_rules_of_the_folder_count_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let root = tree(folder.path());
    // Rules above the folder do not apply to it.
    write(folder.path(), ".gitignore", "*\n");
    let obeyed = ["README.md", "docs/a.md", "src/generated/big.rs", "src/lib.rs", "src/main.rs"];
    assert_eq!(names(from_ref(&root), &Selection::default()), obeyed);
    let all = [
        "README.md",
        "docs/a.md",
        "docs/deep/b.md",
        "notes.txt",
        "src/generated/big.rs",
        "src/lib.rs",
        "src/main.rs",
        "target/out.rs",
    ];
    let disregard = Selection { ignore_rules: IgnoreRules::Disregard, ..Selection::default() };
    assert_eq!(names(&[root], &disregard), all);
}

#[test]
fn patterns_include_and_exclude() {
    let folder = tempfile::tempdir().unwrap();
    let root = tree(folder.path());
    let cases: [(&[&str], &[&str], &[&str]); 6] = [
        (&["*.rs"], &[], &["src/generated/big.rs", "src/lib.rs", "src/main.rs"]),
        (
            &["*.rs", "*.md"],
            &["generated"],
            &["README.md", "docs/a.md", "src/lib.rs", "src/main.rs"],
        ),
        (&["src/"], &["main.*"], &["src/generated/big.rs", "src/lib.rs"]),
        (&["/src/*.rs"], &[], &["src/lib.rs", "src/main.rs"]),
        (&[], &["/src", "*.md", "!docs/a.md"], &["docs/a.md"]),
        (&[], &["*.rs", "README*"], &["docs/a.md"]),
    ];
    for (include, exclude, expected) in cases {
        let selection = Selection {
            include: patterns(include),
            exclude: patterns(exclude),
            ..Selection::default()
        };
        assert_eq!(names(from_ref(&root), &selection), expected, "{include:?} {exclude:?}");
    }
    let nothing = ReadOptions {
        selection: Selection { include: patterns(&["*.py"]), ..Selection::default() },
        ..ReadOptions::default()
    };
    let error = InputList::discover_with(from_ref(&root), &nothing).unwrap_err().to_string();
    assert!(error.contains("holds no text, expected at least one file"), "{error}");
    let bad = ReadOptions {
        selection: Selection { exclude: patterns(&["a{b"]), ..Selection::default() },
        ..ReadOptions::default()
    };
    let error = InputList::discover_with(&[root], &bad).unwrap_err();
    assert_eq!(error.to_string(), "the pattern \"a{b\" cannot be parsed: correct it");
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[test]
fn patterns_that_no_shell_expanded_are_expanded() {
    let folder = tempfile::tempdir().unwrap();
    let root = tree(folder.path());
    let expand = |pattern: &str| names(&[root.join(pattern)], &Selection::default());
    assert_eq!(expand("src/*.rs"), ["lib.rs", "main.rs"]);
    assert_eq!(expand("*/*.rs"), ["src/lib.rs", "src/main.rs", "target/out.rs"]);
    assert_eq!(expand("**/*.rs").len(), 4);
    assert_eq!(expand("{docs,src}/[al]*"), ["docs/a.md", "src/lib.rs"]);
    assert_eq!(expand("s?c"), ["generated/big.rs", "lib.rs", "main.rs"]);
    // A matching folder is read as a whole, and once.
    assert_eq!(expand("sr[c]**"), ["generated/big.rs", "lib.rs", "main.rs"]);
    // A file of that exact name wins over the pattern.
    let literal = write(&root, "odd[1].txt", "odd");
    assert_eq!(names(&[literal], &Selection::default()), ["odd[1].txt"]);
    let error = InputList::discover(&[root.join("*.parquet")]).unwrap_err();
    let words = "*.parquet, expected at least one: check the pattern";
    assert!(error.to_string().ends_with(words), "{error}");
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let error = InputList::discover(&[root.join("[a")]).unwrap_err().to_string();
    assert!(error.ends_with("[a\" cannot be parsed: correct it"), "{error}");
}

#[test]
fn lists_name_files_and_folders() {
    let folder = tempfile::tempdir().unwrap();
    let root = tree(folder.path());
    let lines = format!(
        "{}\r\n\n{}\n{}",
        root.join("notes.txt").display(),
        root.join("docs").display(),
        root.join("src/main.rs").display()
    );
    let list = write(folder.path(), "list.txt", &lines);
    let given = PathBuf::from(format!("@{}", list.display()));
    assert_eq!(names(from_ref(&given), &Selection::default()), ["notes.txt", "a.md", "main.rs"]);
    write(folder.path(), "list.txt", "/nowhere/at/all.txt\n");
    let error = InputList::discover(from_ref(&given)).unwrap_err().to_string();
    assert!(error.starts_with("input /nowhere/at/all.txt does not exist"), "{error}");
    fs::write(&list, b"\xff").unwrap();
    let error = InputList::discover(from_ref(&given)).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is not UTF-8 text, expected one path a line: save it as UTF-8")
    );
    write(folder.path(), "list.txt", "\n");
    assert!(
        InputList::discover(&[given]).unwrap_err().to_string().starts_with("no input was given")
    );
}

/// The id and the group of a whole text file are its name.
#[test]
fn ids_and_groups_come_from_fields_and_names() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    write(&root, "sub/a.txt", "one");
    let lines = "{\"text\":\"two\",\"meta\":{\"id\":7},\"repo\":\"r\"}\n{\"text\":\"three\",\"meta\":{\"id\":\"x\"},\"repo\":-1}\n";
    write(&root, "z.data", lines);
    let options = ReadOptions {
        id_field: Some("meta.id".to_owned()),
        group_field: Some("repo".to_owned()),
        ..ReadOptions::default()
    };
    let list = InputList::discover_with(&[root], &options).unwrap();
    assert_eq!(list.files()[1].format, InputFormat::JsonLines);
    let documents: Vec<Document> =
        DocumentReader::new(&list, &options).map(Result::unwrap).collect();
    let found: Vec<_> = documents
        .iter()
        .map(|document| {
            (
                document.text.as_str(),
                document.id.as_deref().unwrap(),
                document.group.as_deref().unwrap(),
            )
        })
        .collect();
    assert_eq!(found, [("one", "sub/a.txt", "sub/a.txt"), ("two", "7", "r"), ("three", "x", "-1")]);
}
