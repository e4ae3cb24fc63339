//! Every class of error of every crate, with its exit code and its kind.

use std::io::ErrorKind::{self, NotFound, PermissionDenied, StorageFull};
use std::path::PathBuf;

use mixdown_documents::Error as Documents;
use mixdown_experiments::Error as Experiments;
use mixdown_mixer::Error as Mixer;
use mixdown_report::Error as Report;
use mixdown_runs::Error as Runs;
use mixdown_scaling::Error as Scaling;
use mixdown_shards::Error as Shards;
use mixdown_tokenize::Error as Tokenize;
use mixdown_train::Error as Train;
use mixdown_watch::Error as Watch;

use super::Error;

type Row = (Error, u8, &'static str);

fn path() -> PathBuf {
    PathBuf::from("a")
}

fn shards_io(kind: ErrorKind) -> Shards {
    Shards::Io { action: "read", path: path(), source: kind.into() }
}

fn damaged() -> Shards {
    Shards::Version { path: path(), expected: 5, got: 99 }
}

fn request() -> Shards {
    Shards::Request { path: path(), expected: "a".into(), got: "b".into(), hint: "c" }
}

fn corpus(source: Shards) -> Mixer {
    Mixer::Corpus { name: "math".into(), path: path(), source: Box::new(source) }
}

fn documents_io(kind: ErrorKind) -> Documents {
    Documents::Io { path: path(), source: kind.into() }
}

fn in_folder(source: Documents) -> Documents {
    Documents::InFolder { path: path(), source: Box::new(source) }
}

fn tokenize_io(kind: ErrorKind) -> Tokenize {
    Tokenize::Io { action: "read", path: path(), source: kind.into() }
}

fn runs_io(kind: ErrorKind) -> Runs {
    Runs::Io { path: path(), doing: "read", source: kind.into() }
}

fn train_io(kind: ErrorKind) -> Train {
    Train::Io { path: path(), action: "read", source: kind.into() }
}

fn of_the_binary() -> Vec<Row> {
    let rank = |code| Error::Rank { message: String::new(), code };
    let incomplete = |numerical| Error::Incomplete { message: "1 of 2".into(), numerical };
    vec![
        (Error::usage("no", ""), 2, "usage"),
        (Error::Interrupted { message: "at 1".into() }, 130, "interrupted"),
        (Error::Stopped { message: "at 1".into() }, 130, "interrupted"),
        (Error::Data { message: "no".into(), hint: String::new() }, 3, "data"),
        (incomplete(false), 1, "other"),
        (incomplete(true), 4, "numerical"),
        (rank(1), 1, "other"),
        (rank(2), 2, "other"),
        (rank(3), 3, "other"),
        (rank(4), 4, "numerical"),
        (rank(130), 130, "interrupted"),
        (Error::io("a".as_ref(), "read", NotFound.into()), 2, "usage"),
        (Error::io("a".as_ref(), "read", StorageFull.into()), 1, "other"),
    ]
}

fn of_corpora_and_inputs() -> Vec<Row> {
    vec![
        (shards_io(NotFound).into(), 2, "usage"),
        (shards_io(PermissionDenied).into(), 1, "other"),
        (Shards::NoManifest { path: path() }.into(), 2, "usage"),
        (request().into(), 2, "usage"),
        (damaged().into(), 3, "data"),
        (Shards::Interrupted.into(), 130, "interrupted"),
        (Documents::NoInput.into(), 2, "usage"),
        (Documents::LfsPointer { path: path() }.into(), 3, "data"),
        (documents_io(NotFound).into(), 1, "other"),
        (documents_io(PermissionDenied).into(), 1, "other"),
        (in_folder(Documents::NoInput).into(), 2, "usage"),
        (in_folder(Documents::LfsPointer { path: path() }).into(), 3, "data"),
        (in_folder(documents_io(NotFound)).into(), 1, "other"),
        (Tokenize::TooMuchText { expected: 1 }.into(), 2, "usage"),
        (Tokenize::Training { source: "no".into() }.into(), 3, "data"),
        (Tokenize::Interrupted.into(), 130, "interrupted"),
        (tokenize_io(NotFound).into(), 1, "other"),
        (tokenize_io(StorageFull).into(), 1, "other"),
        (Tokenize::from(Documents::NoInput).into(), 2, "usage"),
        (Tokenize::from(documents_io(NotFound)).into(), 1, "other"),
        (Tokenize::from(shards_io(NotFound)).into(), 2, "usage"),
        (Tokenize::from(shards_io(StorageFull)).into(), 1, "other"),
        (Tokenize::from(Shards::Interrupted).into(), 130, "interrupted"),
        (Tokenize::from(damaged()).into(), 3, "data"),
        (Mixer::NoSources.into(), 2, "usage"),
        (Mixer::State { expected: "a".into(), got: "b".into() }.into(), 3, "data"),
        (Mixer::Thread { source: NotFound.into() }.into(), 1, "other"),
        (Mixer::ThreadEnded { step: 1 }.into(), 3, "data"),
        (corpus(request()).into(), 2, "usage"),
        (corpus(damaged()).into(), 3, "data"),
        (corpus(shards_io(NotFound)).into(), 2, "usage"),
        (corpus(shards_io(StorageFull)).into(), 1, "other"),
        (corpus(Shards::Interrupted).into(), 130, "interrupted"),
    ]
}

fn of_runs_and_laws() -> Vec<Row> {
    let scaling = |source| Error::Scaling { domain: "math".into(), source };
    vec![
        (train_io(NotFound).into(), 2, "usage"),
        (train_io(StorageFull).into(), 1, "other"),
        (Train::Disk { path: path(), expected: 2, got: 1 }.into(), 2, "usage"),
        (Train::Device { action: "read", got: "no".into() }.into(), 3, "data"),
        (Train::NoGradient { name: "w".into() }.into(), 3, "data"),
        (Train::RankLost { rank: 1, got: "no".into() }.into(), 1, "other"),
        (Train::NonFiniteLogits { got: f64::NAN }.into(), 4, "numerical"),
        (Train::Interrupted { step: 1 }.into(), 130, "interrupted"),
        (Train::Stopped { what: "it" }.into(), 130, "interrupted"),
        (Train::Mixer(Mixer::NoSources).into(), 2, "usage"),
        (Train::Mixer(corpus(Shards::Interrupted)).into(), 130, "interrupted"),
        (Train::Mixer(corpus(shards_io(StorageFull))).into(), 1, "other"),
        (Train::Corpus(damaged()).into(), 3, "data"),
        (Train::Corpus(Shards::Interrupted).into(), 130, "interrupted"),
        (Train::Corpus(shards_io(NotFound)).into(), 2, "usage"),
        (Train::Run(Runs::Locked { path: path() }).into(), 2, "usage"),
        (Train::Run(runs_io(StorageFull)).into(), 1, "other"),
        (
            Train::Run(Runs::NotFinite { path: path(), field: "loss", got: f64::NAN }).into(),
            4,
            "numerical",
        ),
        (runs_io(NotFound).into(), 2, "usage"),
        (runs_io(StorageFull).into(), 1, "other"),
        (Runs::Locked { path: path() }.into(), 2, "usage"),
        (scaling(Scaling::BadBudget { got: 0.0 }), 2, "usage"),
        (scaling(Scaling::NothingForgotten { got: 0.0 }), 3, "data"),
        (
            scaling(Scaling::Unconverged { starts: 1, tolerance: 0.1, gradient_norm: 1.0 }),
            4,
            "numerical",
        ),
        (Report::NoRuns { title: "runs".into() }.into(), 2, "usage"),
        (Report::Io { path: path(), source: NotFound.into() }.into(), 2, "usage"),
        (Report::Io { path: path(), source: StorageFull.into() }.into(), 1, "other"),
        (Experiments::Coefficient { coefficient: "a", got: 0.0 }.into(), 2, "usage"),
        (Experiments::Data { message: "no".into(), hint: "".into() }.into(), 3, "data"),
        (Experiments::Stopped { message: "at 1".into() }.into(), 130, "interrupted"),
        (Experiments::Tokenize(tokenize_io(NotFound)).into(), 1, "other"),
        (Watch::File { path: path() }.into(), 2, "usage"),
        (Watch::Damaged { damage: "no".into() }.into(), 3, "data"),
        (Watch::Io { path: path(), action: "read", source: NotFound.into() }.into(), 2, "usage"),
        (Watch::Io { path: path(), action: "read", source: StorageFull.into() }.into(), 1, "other"),
    ]
}

#[test]
fn every_class_of_error_has_its_code_and_its_kind() {
    let rows = of_the_binary().into_iter().chain(of_corpora_and_inputs()).chain(of_runs_and_laws());
    for (error, code, kind) in rows {
        let record = error.record();
        assert_eq!((error.code(), record.kind), (code, kind), "{error:?}");
    }
}

#[test]
fn near_duplicates_in_another_corpus_have_a_way_out() {
    let mixer = || Mixer::NearOverlap {
        holdout: "target".into(),
        path: path(),
        train: "pretraining".into(),
        train_path: "b".into(),
        got: 3,
    };
    let errors = [
        Error::from(mixer()),
        Error::from(Train::Mixer(mixer())),
        Error::from(Train::NearOverlap { path: path(), train: "b".into(), got: 3 }),
    ];
    for error in errors {
        let report = error.report();
        assert!(report.contains("got 3") && report.contains("hint: prepare --without"), "{report}");
        assert_eq!(error.code(), 2);
    }
}
