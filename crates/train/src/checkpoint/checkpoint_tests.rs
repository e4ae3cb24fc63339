//! Whole runs that were killed: what a folder has then is mended or passed over.

use mixdown_base::error_kind::ErrorKind;
use mixdown_runs::RunFolder;

use crate::trainer::tests::{TEXT, end, open, run, run_until, world};

#[test]
fn a_kill_after_a_checkpoint_changes_no_bit() {
    let place = world();
    run(place.path(), TEXT, "out").unwrap();
    let expected = end(place.path(), "out");
    let folder = RunFolder::open(&place.path().join("out")).unwrap();
    std::fs::remove_dir_all(folder.checkpoint(12)).unwrap();
    std::fs::remove_file(folder.summary()).unwrap();
    std::fs::create_dir(folder.checkpoints().join("step-9.tmp")).unwrap();
    std::fs::rename(folder.best(), place.path().join("out/best.old.tmp")).unwrap();
    run(place.path(), TEXT, "out").unwrap();
    assert_eq!(end(place.path(), "out"), expected);
}

#[test]
fn a_half_removed_checkpoint_is_passed_over_and_remains_are_cleared() {
    let place = world();
    run(place.path(), TEXT, "out").unwrap();
    let expected = end(place.path(), "out");
    let folder = RunFolder::open(&place.path().join("out")).unwrap();
    std::fs::remove_file(folder.checkpoint(12).join("state.json")).unwrap();
    std::fs::remove_file(folder.summary()).unwrap();
    // An old one that has lost its state goes with the others of its age.
    std::fs::create_dir(folder.checkpoint(1)).unwrap();
    let remains = ["checkpoints/step-2.tmp", "checkpoints/step-12.old.tmp", "best.tmp"];
    for name in remains {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let opened = open(place.path(), TEXT, "out").unwrap();
    assert!((8..12).contains(&opened.step()));
    assert!(remains.iter().all(|name| !folder.path().join(name).exists()));
    drop(opened);
    run(place.path(), TEXT, "out").unwrap();
    assert_eq!(end(place.path(), "out"), expected);
    assert!(!folder.checkpoint(1).exists());
}

#[test]
fn a_checkpoint_set_aside_by_a_kill_comes_back() {
    let place = world();
    run(place.path(), TEXT, "out").unwrap();
    let folder = RunFolder::open(&place.path().join("out")).unwrap();
    let aside = folder.checkpoints().join("step-12.old.tmp");
    std::fs::rename(folder.checkpoint(12), &aside).unwrap();
    std::fs::remove_file(folder.summary()).unwrap();
    assert_eq!(open(place.path(), TEXT, "out").unwrap().step(), 12);
    assert!(!aside.exists());
}

#[test]
fn the_last_checkpoint_knows_the_best() {
    let place = world();
    let text = TEXT.replace("checkpoint_every = 4", "checkpoint_every = 100");
    // Told after the evaluation and the step before: 5 is the evaluation of step 3.
    let error = run_until(place.path(), &text, "out", 6).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
    let folder = RunFolder::open(&place.path().join("out")).unwrap();
    assert!(folder.checkpoint(3).exists());
}
