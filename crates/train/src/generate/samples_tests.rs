//! Samples of whole runs, which a resume leaves as they are.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use mixdown_base::error_kind::ErrorKind;
use mixdown_base::observer::Observer;
use mixdown_runs::RunFolder;

use super::{Prompt, TextCodec};
use crate::error::Error;
use crate::trainer::records::Progress;
use crate::trainer::tests::{TEXT, end, open, world};

/// A codec of digits.
pub(crate) struct Digits;

impl TextCodec for Digits {
    fn prompt(&self, prompt: Prompt<'_>) -> Result<Vec<u32>, Error> {
        let (begin, text) = match prompt {
            Prompt::Text(text) => (Vec::new(), text),
            Prompt::Chat { system, user } => (vec![system.map_or(0, |_| 1), 0], user),
        };
        let digits = text.split_whitespace().map(|digits| digits.parse().unwrap());
        Ok(begin.into_iter().chain(digits).collect())
    }

    fn ends(&self) -> Result<Vec<u32>, Error> {
        Ok((0..6).collect())
    }

    fn continuation(&self, prompt: &[u32], ids: &[u32]) -> Result<String, Error> {
        Ok(format!("{} then {ids:?}", prompt.len()))
    }
}

#[test]
fn samples_are_drawn_at_evaluations_and_a_resume_leaves_the_same_lines() {
    let text = TEXT.replace(
        "[[eval.corpus]]\n    name = \"target\"",
        "[eval.samples]\n prompts = [\"1 2\", \"3\"]\n max_tokens = 3\n[[eval.corpus]]\n name = \"target\"",
    );
    let place = world();
    let run = |out: &str, stop_after: usize| {
        let mut trainer = open(place.path(), &text, out).unwrap();
        trainer.set_text_codec(Box::new(Digits)).unwrap();
        let (stop, told) = (AtomicBool::new(false), Mutex::new(0));
        let progress = |at: Progress| {
            assert_eq!(at.samples.len(), if at.evals.is_some() { 2 } else { 0 });
            let mut told = told.lock().unwrap();
            *told += 1;
            stop.store(*told == stop_after, Ordering::Relaxed);
        };
        trainer.run(Observer::new(&progress, &stop))
    };
    run("straight", usize::MAX).unwrap();
    for stop_after in [1, 4, 5] {
        let out = format!("stopped-{stop_after}");
        assert_eq!(run(&out, stop_after).unwrap_err().kind(), ErrorKind::Interrupted);
        // What a killed process wrote after its checkpoint.
        let folder = RunFolder::open(&place.path().join(&out)).unwrap();
        let later = mixdown_runs::SampleRecord { step: 9, ..Default::default() };
        folder.append_samples(&[later]).unwrap();
        run(&out, usize::MAX).unwrap();
        let lines =
            |out: &str| std::fs::read(place.path().join(out).join("samples.jsonl")).unwrap();
        assert_eq!(lines(&out), lines("straight"));
        assert_eq!(end(place.path(), &out), end(place.path(), "straight"));
    }
    let straight = RunFolder::open(&place.path().join("straight")).unwrap();
    let samples = straight.read_samples().unwrap();
    let steps: Vec<u64> = samples.iter().map(|sample| sample.step).collect();
    assert_eq!(steps, [0, 0, 3, 3, 6, 6, 9, 9, 12, 12]);
    assert!(samples.iter().all(|sample| sample.ids.len() <= 3));
    assert_eq!(samples[0].text, format!("2 then {:?}", samples[0].ids));
    let error = open(place.path(), &text, "mute").unwrap().run(Observer::silent());
    assert!(error.unwrap_err().to_string().contains("set_text_codec"));
    let long = text.replace("\"3\"", "\"1 1 1 1 1 1 1 1 1\"");
    let refused = open(place.path(), &long, "long").unwrap().set_text_codec(Box::new(Digits));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("eval.samples.prompts: expected 1 to 8 tokens"), "{refused}");
    let none = text.replace("max_tokens = 3", "max_tokens = 0");
    let refused = open(place.path(), &none, "none").map(|_| ()).unwrap_err().to_string();
    assert_eq!(refused, "eval.samples.max_tokens: expected at least 1, got 0");
}

/// A codec whose run is stopped while it writes the first sample.
struct Stopping(AtomicBool);

impl TextCodec for Stopping {
    fn prompt(&self, prompt: Prompt<'_>) -> Result<Vec<u32>, Error> {
        Digits.prompt(prompt)
    }

    fn ends(&self) -> Result<Vec<u32>, Error> {
        Digits.ends()
    }

    fn continuation(&self, prompt: &[u32], ids: &[u32]) -> Result<String, Error> {
        match self.0.swap(false, Ordering::Relaxed) {
            true => Err(Error::Stopped { what: "the sampling" }),
            false => Digits.continuation(prompt, ids),
        }
    }
}

/// A stop among the samples of an evaluation once kept its sequences, so that step 0 was compared with itself.
#[test]
fn a_stop_among_the_samples_leaves_the_same_records() {
    let text = TEXT.replace(
        "[[eval.corpus]]\n    name = \"target\"",
        "[eval.samples]\n prompts = [\"1 2\"]\n max_tokens = 3\n[[eval.corpus]]\n name = \"target\"",
    );
    let place = world();
    let run = |out: &str, codec: Box<dyn TextCodec>| {
        let mut trainer = open(place.path(), &text, out).unwrap();
        trainer.set_text_codec(codec).unwrap();
        trainer.run(Observer::silent())
    };
    run("straight", Box::new(Digits)).unwrap();
    let error = run("stopped", Box::new(Stopping(AtomicBool::new(true)))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
    run("stopped", Box::new(Digits)).unwrap();
    assert_eq!(end(place.path(), "stopped"), end(place.path(), "straight"));
    let folder = RunFolder::open(&place.path().join("stopped")).unwrap();
    let first = folder.read_metrics().unwrap().remove(0);
    assert!(first.evals.iter().all(|eval| eval.change.is_none()), "{first:?}");
}

#[test]
fn chats_are_rendered_and_end_with_a_turn() {
    let place = world();
    let samples = |more: &str, out: &str| -> Result<Vec<mixdown_runs::SampleRecord>, Error> {
        let text = TEXT.replace(
            "[[eval.corpus]]\n    name = \"target\"",
            &format!(
                "[eval.samples]\n prompts = [\"1 2\"]\n max_tokens = 3\n {more}\n\
                 [[eval.corpus]]\n name = \"target\""
            ),
        );
        let mut trainer = open(place.path(), &text, out)?;
        trainer.set_text_codec(Box::new(Digits))?;
        trainer.run(Observer::silent())?;
        Ok(RunFolder::open(&place.path().join(out)).unwrap().read_samples().unwrap())
    };
    let (text, chat) = (samples("", "text").unwrap(), samples("chat = true", "chat").unwrap());
    assert!(text.iter().all(|sample| sample.text.starts_with("2 then")));
    assert!(chat.iter().all(|sample| sample.text.starts_with("4 then")));
    assert!(chat.iter().all(|sample| sample.ids.iter().all(|id| *id > 5)), "{chat:?}");
    let error = samples("system = \"be brief\"", "system").unwrap_err().to_string();
    assert!(error.contains("eval.samples.system"), "{error}");
}
