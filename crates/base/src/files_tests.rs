//! The writer's guarantees: a target is the whole new file or the old one, and other files are not touched.

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_file_is_replaced_as_a_whole_and_nothing_stays_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.json");
    for text in ["one", "another"] {
        write(&path, text.as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    let pieces = |out: &mut io::BufWriter<&mut NewFile>| {
        (0..5000).try_for_each(|number| writeln!(out, "{number}"))
    };
    write_with(&path, pieces).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap().lines().last(), Some("4999"));
    let failing = |out: &mut io::BufWriter<&mut NewFile>| {
        out.write_all(b"half")?;
        Err(io::Error::other("the source ended"))
    };
    let error = write_with(&path, failing).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: cannot write", path.display()));
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 5000);
    assert_eq!(names(folder.path()), ["table.json"]);
}

#[test]
fn neighbors_of_any_name_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let neighbors = ["fit.tmp", "fit.json.tmp", "fit.json.0123456789abcdef.tmp", ".tmp"];
    for name in neighbors {
        fs::write(folder.path().join(name), name).unwrap();
    }
    write(&folder.path().join("fit.json"), b"{}").unwrap();
    for name in neighbors {
        assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), name);
    }
    assert_eq!(names(folder.path()).len(), neighbors.len() + 1);
}

#[test]
#[cfg(unix)]
fn a_place_is_made_ready_and_only_dead_writers_files_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/fit.json");
    make_ready(&path).unwrap();
    assert!(names(path.parent().unwrap()).is_empty());
    let living = NewFile::create(&path).unwrap();
    let living_name = living.temporary_path().file_name().unwrap().to_str().unwrap().to_owned();
    let stay = ["fit.json.tmp", "fit.tmp", "runs.json.0123456789abcdef.tmp"];
    for name in stay.iter().chain(&["fit.json.0123456789abcdef.tmp"]) {
        fs::write(path.with_file_name(name), name).unwrap();
    }
    make_ready(&path).unwrap();
    let mut expected = stay.map(str::to_owned).to_vec();
    expected.push(living_name);
    expected.sort_unstable();
    assert_eq!(names(path.parent().unwrap()), expected);
    living.commit().unwrap();
    let error = make_ready(path.parent().unwrap()).unwrap_err();
    assert!(matches!(error, Error::NotAFile { got: "a folder", .. }), "{error}");
    let below_a_file = path.join("fit.json");
    let (action, told, source) = make_ready(&below_a_file).unwrap_err().into_parts();
    assert_eq!((action, told), ("make the folder", path));
    assert!(matches!(source.kind(), ErrorKind::AlreadyExists | ErrorKind::NotADirectory));
}

#[test]
fn writers_of_the_same_file_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut files = [NewFile::create(&path).unwrap(), NewFile::create(&path).unwrap()];
    assert_ne!(files[0].temporary_path(), files[1].temporary_path());
    for (file, text) in files.iter_mut().zip(["first", "second"]) {
        let name = file.temporary_path().file_name().unwrap().to_str().unwrap();
        assert_eq!(unique_finished_name(name), Some("state"));
        file.write_all(text.as_bytes()).unwrap();
    }
    let [one, other] = files;
    assert!(one.commit_first().unwrap());
    assert!(!other.commit_first().unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), "first");
    drop(NewFile::create(&path).unwrap());
    assert_eq!(names(folder.path()), ["state"]);
}

#[test]
fn only_regular_files_are_replaced_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let error = write(folder.path(), b"x").unwrap_err();
    assert!(matches!(error, Error::NotAFile { got: "a folder", .. }), "{error}");
    let path = folder.path().join("four");
    let (_, _, source) = read_capped(&path, 4).unwrap_err().into_parts();
    assert_eq!(source.kind(), ErrorKind::NotFound);
    write(&path, b"four").unwrap();
    assert_eq!(read_capped(&path, 4).unwrap(), b"four");
    let error = read_capped(&path, 3).unwrap_err();
    let words = format!("{}: expected at most 3 bytes, got 4 or more", path.display());
    assert_eq!(error.to_string(), words);
    assert_eq!(error.into_parts().2.kind(), ErrorKind::InvalidData);
    let (_, _, source) = read_capped(folder.path(), 3).unwrap_err().into_parts();
    assert_eq!(source.to_string(), "expected a regular file, got a folder");
    let missing = folder.path().join("no/such/file");
    let (action, told, source) = write(&missing, b"").unwrap_err().into_parts();
    assert_eq!((action, told), ("create", missing));
    assert_eq!(source.to_string(), io::Error::from_raw_os_error(2).to_string());
}

#[test]
fn long_names_are_written_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let name = "n".repeat(255);
    write(&folder.path().join(&name), b"x").unwrap();
    assert_eq!(names(folder.path()), [name]);
}

#[test]
fn a_subfolder_is_made_in_a_folder_that_is_there_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/checkpoints");
    let (_, told, source) = make_subfolder(&path).unwrap_err().into_parts();
    assert_eq!((told, source.kind()), (path.clone(), ErrorKind::NotFound));
    fs::create_dir(folder.path().join("run")).unwrap();
    make_subfolder(&path).unwrap();
    make_subfolder(&path).unwrap();
    write(&path.join("file"), b"").unwrap();
    let (_, _, source) = make_subfolder(&path.join("file")).unwrap_err().into_parts();
    assert_eq!(source.kind(), ErrorKind::AlreadyExists);
}

#[test]
fn leftovers_are_removed_by_their_finished_names() {
    let folder = tempfile::tempdir().unwrap();
    let stay =
        ["notes.0123456789abcdef.tmp", "run.toml", "run.toml.0123456789abcde_.tmp", "run.toml.tmp"];
    for name in stay.iter().chain(&["run.toml.0123456789ABCxyz.tmp"]) {
        fs::write(folder.path().join(name), "").unwrap();
    }
    remove_leftovers(folder.path(), &["run.toml", "summary.json"]).unwrap();
    assert_eq!(names(folder.path()), stay);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn links_are_followed_and_devices_refused() {
        let folder = tempfile::tempdir().unwrap();
        let [path, link] = ["file", "link"].map(|name| folder.path().join(name));
        fs::write(&path, "old").unwrap();
        symlink("file", &link).unwrap();
        write(&link, b"new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert!(link.symlink_metadata().unwrap().is_symlink());
        for action in
            [write(Path::new("/dev/null"), b""), read_capped(Path::new("/dev/null"), 9).map(drop)]
        {
            let error = action.unwrap_err();
            assert!(error.to_string().ends_with("got a device, pipe or socket"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_told_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("loop");
        symlink("loop", &link).unwrap();
        let looped = fs::metadata(&link).unwrap_err().to_string();
        for made in [make_ready(&link), make_folder(&link), make_ready(&link.join("file"))] {
            assert_eq!(made.unwrap_err().into_parts().2.to_string(), looped);
        }
        assert!(link.symlink_metadata().unwrap().is_symlink());
        let long = folder.path().join("n".repeat(256));
        let too_long = fs::metadata(&long).unwrap_err().to_string();
        for made in [make_ready(&long), make_folder(&long)] {
            assert_eq!(made.unwrap_err().into_parts().2.to_string(), too_long);
        }
    }

    #[test]
    fn files_have_the_permissions_of_ordinary_ones() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().mode() & 0o777;
        fs::write(folder.path().join("ordinary"), "").unwrap();
        write(&folder.path().join("ours"), b"").unwrap();
        assert_eq!(mode("ours"), mode("ordinary"));
        NewFile::create_private(&folder.path().join("private")).unwrap().commit().unwrap();
        assert_eq!(mode("private"), 0o600);
        // A read-only file is replaced too: the folder's permissions decide.
        fs::set_permissions(folder.path().join("ours"), PermissionsExt::from_mode(0o444)).unwrap();
        write(&folder.path().join("ours"), b"x").unwrap();
        assert_eq!(mode("ours"), mode("ordinary"));
    }

    #[test]
    fn a_file_that_cannot_grow_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let full = |_: &mut io::BufWriter<&mut NewFile>| Err(ErrorKind::StorageFull.into());
        let (action, told, source) = write_with(&path, full).unwrap_err().into_parts();
        assert_eq!(
            (action, told.as_path(), source.kind()),
            ("write", path.as_path(), ErrorKind::StorageFull)
        );
        assert!(names(folder.path()).is_empty());
    }
}
