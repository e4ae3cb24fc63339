//! Files of a folder: the same rules as for given files, and everything left out is reported.

use std::fs;
use std::path::{Path, PathBuf};
use std::slice::from_ref;

use mixdown_documents::{InputList, ReadOptions, Unreadable};

use crate::{gzip, read, read_with, texts, write};

fn names(folder: &Path) -> Vec<String> {
    let list = InputList::discover(&[folder.to_owned()]).unwrap();
    list.files().iter().map(|file| file.name.clone()).collect()
}

fn left_out(folder: &Path) -> Vec<(String, String)> {
    let list = InputList::discover(&[folder.to_owned()]).unwrap();
    list.left_out().iter().map(|it| (it.name.clone(), it.reason.clone())).collect()
}

/// One bad byte is one bad record, in a folder as in the file itself.
#[test]
fn a_bad_byte_does_not_drop_a_file() {
    for bad in [&b"{\"text\":\"caf\xe9\"}\n"[..], b"{\"text\":\"a\0b\"}\n", b"\0\0\0\0\0\0"] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.jsonl", b"{\"text\":\"a\"}\n");
        let path = write(folder.path(), "b.jsonl", &[b"{\"text\":\"b\"}\n", bad].concat());
        let message = |path: PathBuf| read(&[path]).unwrap_err().to_string();
        assert_eq!(message(folder.path().to_owned()), message(path));
        let options = ReadOptions { skip_bad: 1, ..ReadOptions::default() };
        let documents = read_with(&[folder.path().to_owned()], &options).unwrap();
        assert_eq!(texts(&documents), ["a", "b"]);
    }
    // A text in another encoding is a bad record, too.
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.txt", b"words\n");
    write(folder.path(), "b.txt", b"one\ncaf\xe9\n");
    let error = read(&[folder.path().to_owned()]).unwrap_err().to_string();
    assert!(error.contains("b.txt: line 2, byte 0: invalid UTF-8 at byte 7 (0xe9)"), "{error}");
}

#[test]
fn what_is_left_out_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.txt", b"words");
    write(folder.path(), "b.png", b"\x89PNG\r\n\x1a\n\0");
    write(folder.path(), "c/d.bin", b"\0\x01");
    write(folder.path(), "e.gz", &gzip(b""));
    write(folder.path(), "f.csv", b"id,body\n1,2\n");
    let named = |name: &str, reason: &str| (name.to_owned(), reason.to_owned());
    let expected = [
        named("b.png", "a PNG image"),
        named("c/d.bin", "binary data"),
        named("e.gz", "empty"),
        named("f.csv", "a table without the column \"text\", it has \"id\", \"body\""),
    ];
    assert_eq!(left_out(folder.path()), expected);
    let list = InputList::discover(&[folder.path().to_owned()]).unwrap();
    assert_eq!(list.skipped_files(), 4);
    let summary = mixdown_documents::summary(list.left_out());
    assert!(summary.starts_with("b.png (a PNG image), c/d.bin (binary data), "), "{summary}");
}

/// An ignore rule that includes names again does not unhide hidden entries.
#[test]
fn hidden_files_stay_out() {
    for rules in ["*\n!.gitignore\n!a.md\n", "!.*\n", "*\n!*/\n!*.md\n", "!.git\n!.git/**\n"] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), ".gitignore", rules.as_bytes());
        write(folder.path(), "a.md", b"seen");
        write(folder.path(), ".checkpoints/a.md", b"hidden");
        write(folder.path(), ".git/hooks/sample", b"hidden");
        write(folder.path(), "b/.secret.md", b"hidden");
        assert_eq!(names(folder.path()), ["a.md"], "{rules}");
        // A given hidden folder is read.
        assert_eq!(names(&folder.path().join(".checkpoints")), ["a.md"]);
    }
}

#[test]
fn corpora_in_a_folder_are_no_inputs() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.txt", b"words");
    write(folder.path(), "out/manifest.json", b"{\n  \"format\": \"mixdown-corpus\",\n");
    write(folder.path(), "out/tokenizer.json", b"{}");
    write(folder.path(), "half/.work/plan.json", b"{\"format\": \"mixdown-prepare-plan\"}");
    write(folder.path(), "half/train/shard-00000.bin", b"ids as text");
    write(folder.path(), "site/manifest.json", b"{\"name\": \"a page\"}");
    assert_eq!(names(folder.path()), ["a.txt", "site/manifest.json"]);
    let corpus = |name: &str| (name.to_owned(), "a mixdown corpus".to_owned());
    assert_eq!(left_out(folder.path()), [corpus("half"), corpus("out")]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_once() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "outside/deep/b.txt", b"linked folder");
    let file = write(folder.path(), "c.txt", b"linked file");
    let root = folder.path().join("root");
    write(&root, "z/own.txt", b"own");
    symlink(folder.path().join("outside"), root.join("link")).unwrap();
    symlink(folder.path().join("outside"), root.join("link2")).unwrap();
    symlink(folder.path().join("outside/deep"), root.join("link3")).unwrap();
    symlink(root.join("z"), root.join("a")).unwrap();
    symlink(&file, root.join("file.txt")).unwrap();
    symlink(&root, root.join("circle")).unwrap();
    symlink(&root, folder.path().join("outside/back")).unwrap();
    symlink(folder.path().join("nowhere"), root.join("broken")).unwrap();
    assert_eq!(names(&root), ["file.txt", "link/deep/b.txt", "z/own.txt"]);
    assert_eq!(left_out(&root), [("broken".to_owned(), "a link to nothing".to_owned())]);
    // A corpus in a hub's cache: a folder of links to blobs.
    let documents = read(&[root]).unwrap();
    assert_eq!(texts(&documents), ["linked file", "linked folder", "own"]);
}

/// A damaged file ends the listing unless such files are left out.
#[test]
fn an_unreadable_file_leaves_a_choice() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.txt", b"words");
    let cut = gzip(&b"other words ".repeat(1000));
    write(folder.path(), "b.txt.gz", &cut[..cut.len() / 2]);
    write(folder.path(), "c.parquet", b"PAR1 is all there is");
    write(folder.path(), "d.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n");
    let root = [folder.path().to_owned()];
    let error = InputList::discover(&root).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("correct it, exclude it, or let files that cannot be read be left out")
    );
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("b.txt.gz: the gzip data end too early"), "{cause}");
    let options = ReadOptions { unreadable: Unreadable::LeaveOut, ..ReadOptions::default() };
    let list = InputList::discover_with(&root, &options).unwrap();
    assert_eq!((list.files().len(), list.skipped_files()), (1, 3));
    assert!(list.left_out()[1].reason.contains("damaged in its index"), "{:?}", list.left_out());
    assert!(list.left_out()[2].reason.contains("Git LFS pointer"), "{:?}", list.left_out());
    // A given file is refused whatever the setting for folders.
    let path = fs::canonicalize(folder.path().join("b.txt.gz")).unwrap();
    assert!(InputList::discover_with(from_ref(&path), &options).is_err());
}
