//! Following the folder of one run: each poll reads only what is new.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mixdown_base::display::duration_in_one_unit;
use mixdown_runs::{MetricsTail, RunFolder, TailUpdate};

use crate::description::Description;
use crate::error::Error;
use crate::run_data::{RunData, RunState};
use crate::view::curves::Curves;
use crate::view::text::to_f64;

/// A run that no process of this machine has locked counts as stopped if it has written nothing for this time and for
/// longer than [`STEPS_OF_SILENCE`] steps take: on another machine an evaluation may take as long as many steps.
const SILENCE: Duration = Duration::from_secs(60);
const STEPS_OF_SILENCE: f64 = 20.0;
/// The rate of a run is that of the last minutes; it is known after the run was watched for some seconds.
const PACE: Duration = Duration::from_secs(300);
const PACE_AT_LEAST: Duration = Duration::from_secs(20);

/// Follows the folder of one run.
#[derive(Debug)]
pub struct RunFollower {
    folder: RunFolder,
    tail: MetricsTail,
    data: RunData,
    /// The stamps of run.toml and summary.json when they were read.
    stamps: [Stamp; 2],
    /// The times at which the run was seen at a step.
    pace: VecDeque<(SystemTime, u64)>,
}

/// The time and size by which a changed file is recognized; `None` if there is no file.
pub type Stamp = Option<(SystemTime, u64)>;

/// Returns the stamp of a file.
pub fn stamp(path: &Path) -> Stamp {
    let there = fs::metadata(path).ok()?;
    Some((there.modified().ok()?, there.len()))
}

impl RunFollower {
    /// Follows the run in `path`, which may not have begun.
    ///
    /// # Errors
    /// A folder of something else.
    pub fn new(path: &Path) -> Result<Self, Error> {
        let folder = RunFolder::expected(path).map_err(refused)?;
        let data = RunData { place: path.display().to_string(), ..RunData::default() };
        Ok(Self {
            tail: MetricsTail::new(folder.metrics()),
            folder,
            data,
            stamps: [None, None],
            pace: VecDeque::new(),
        })
    }

    /// Returns what is known of the run.
    pub fn data(&self) -> &RunData {
        &self.data
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Reads the new parts of the files and returns whether anything that is shown has changed.
    pub fn poll(&mut self, now: SystemTime) -> bool {
        self.data.damage = None;
        let mut changed = self.poll_settings();
        // A long file comes in parts.
        while self.read_metrics(&mut changed) {}
        self.data.step_seconds = self.seen_pace(now);
        let silence = stamp(self.tail.path()).map(|(at, _)| now.duration_since(at));
        let silence = silence.map(|since| since.unwrap_or_default());
        self.data.silent_seconds = silence.map(|since| since.as_secs());
        let state = self.state(silence);
        changed |= label(state) != label(self.data.state);
        self.data.state = state;
        changed
    }

    /// Reads some of the new records and returns whether there may be more.
    fn read_metrics(&mut self, changed: &mut bool) -> bool {
        let curves = &mut self.data.curves;
        match self.tail.poll() {
            Ok(TailUpdate::Missing) => {
                *changed |= curves.last.is_some();
                *curves = Curves::default();
                false
            }
            Ok(TailUpdate::Appended(records)) => {
                let is_more = !records.is_empty();
                *changed |= is_more;
                curves.extend(records);
                is_more
            }
            Ok(TailUpdate::Replaced(records)) => {
                *changed = true;
                self.pace.clear();
                *curves = Curves::default();
                curves.extend(records);
                true
            }
            Err(error) => {
                *changed = true;
                self.data.damage = Some(error.to_string());
                *curves = Curves::default();
                false
            }
        }
    }

    /// Reads only run.toml and summary.json, if they changed since the last poll, and returns whether they did.
    pub fn poll_settings(&mut self) -> bool {
        let stamps = [stamp(&self.folder.run_toml()), stamp(&self.folder.summary())];
        let [is_new_description, is_new_summary] =
            [stamps[0] != self.stamps[0], stamps[1] != self.stamps[1]];
        self.stamps = stamps;
        if is_new_description {
            let text = self.folder.read_run_toml().ok();
            self.data.description = text.as_deref().and_then(Description::parse);
        }
        if is_new_summary {
            // If the summary cannot be read, the state of the run follows from its metrics.
            self.data.summary = self.folder.read_summary().ok();
        }
        is_new_description || is_new_summary
    }

    /// Returns the seconds per step while this process watched, with evaluations.
    fn seen_pace(&mut self, now: SystemTime) -> Option<f64> {
        let step = self.data.step();
        if self.pace.back().is_none_or(|(_, last)| *last != step) {
            self.pace.push_back((now, step));
        }
        let age = |at: SystemTime| now.duration_since(at).unwrap_or_default();
        while self.pace.len() > 2 && self.pace.front().is_some_and(|(at, _)| age(*at) > PACE) {
            self.pace.pop_front();
        }
        let (first, last) = (self.pace.front()?, self.pace.back()?);
        let (seconds, steps) =
            (last.0.duration_since(first.0).ok()?, last.1.saturating_sub(first.1));
        (seconds >= PACE_AT_LEAST && steps > 0).then(|| seconds.as_secs_f64() / to_f64(steps))
    }

    fn state(&self, silence: Option<Duration>) -> RunState {
        // A run that is repeated keeps the summary of its first training until the end of the second.
        let at_end = |steps| self.data.curves.last.is_none() || self.data.step() >= steps;
        if self.data.summary.as_ref().is_some_and(|summary| at_end(summary.steps)) {
            return RunState::Done;
        }
        let Some(silence) = silence else { return RunState::Waiting };
        let step = self.data.step_seconds.or_else(|| self.data.training_seconds());
        let patience = SILENCE.as_secs_f64().max(STEPS_OF_SILENCE * step.unwrap_or(0.0));
        if silence.as_secs_f64() <= patience || self.folder.is_locked() {
            RunState::Running
        } else {
            RunState::Stopped(silence.as_secs())
        }
    }
}

/// Converts an error, because the advice to a command that writes into the folder does not suit one that only reads.
fn refused(error: mixdown_runs::Error) -> Error {
    match error {
        mixdown_runs::Error::NotARunFolder { path, got } => Error::OtherFolder { path, got },
        other => other.into(),
    }
}

/// Formats a state; it changes every minute, not every second.
pub fn label(state: RunState) -> String {
    match state {
        RunState::Stopped(seconds) => {
            format!("stopped: no step for {}", duration_in_one_unit(to_f64(seconds)))
        }
        other => other.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use mixdown_runs::{MetricsRecord, RunFolder, Summary};

    use super::{RunFollower, label};
    use crate::run_data::RunState;

    fn record(step: u64) -> MetricsRecord {
        let tokens_per_second = Some(10.0);
        MetricsRecord { step, tokens: step * 100, tokens_per_second, ..MetricsRecord::default() }
    }

    fn summary(steps: u64) -> Summary {
        Summary {
            run_id: "a".to_owned(),
            title: "a".to_owned(),
            best_step: 1,
            steps,
            steps_without_targets: 0,
            before: Vec::new(),
            best: Vec::new(),
            last: Vec::new(),
            shares: Vec::new(),
            row: None,
            model_parameters: 1,
            tokens_per_second: 1.0,
            seconds: 1.0,
        }
    }

    #[test]
    fn a_run_waits_runs_stops_goes_on_and_ends() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("run");
        let mut follower = RunFollower::new(&path).unwrap();
        let now = SystemTime::now();
        assert!(!follower.poll(now));
        assert_eq!(follower.data().state, RunState::Waiting);
        assert!(!path.exists(), "a view makes nothing");
        let folder = RunFolder::create(&path).unwrap();
        folder.write_run_toml("title = 'x'\n[train]\nsteps = 4\n").unwrap();
        assert!(follower.poll(now));
        assert_eq!((follower.data().title().as_str(), follower.data().steps()), ("x", Some(4)));
        folder.append_metrics(&record(1)).unwrap();
        assert!(follower.poll(now));
        assert_eq!(follower.data().state, RunState::Running);
        // 10 s a step, so that 200 s of silence are in order.
        assert_eq!(follower.data().seconds_left(), Some(30.0));
        follower.poll(now + Duration::from_secs(190));
        assert_eq!(follower.data().state, RunState::Running);
        #[cfg(unix)]
        {
            let hold = folder.lock().unwrap();
            assert!(!follower.poll(now + Duration::from_secs(301)), "a long evaluation");
            drop(hold);
        }
        assert!(follower.poll(now + Duration::from_secs(301)));
        assert_eq!(label(follower.data().state), "stopped: no step for 5 min");
        assert!(!follower.poll(now + Duration::from_secs(302)));
        for step in 2..=4 {
            folder.append_metrics(&record(step)).unwrap();
        }
        folder.write_summary(&summary(4)).unwrap();
        assert!(follower.poll(now + Duration::from_secs(400)));
        assert_eq!(follower.data().state, RunState::Done);
        assert!(!follower.poll(now + Duration::from_secs(900)));
    }

    #[test]
    fn an_old_summary_does_not_end_a_run_that_is_done_anew() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(place.path()).unwrap();
        folder.write_summary(&summary(4)).unwrap();
        folder.append_metrics(&record(4)).unwrap();
        let mut follower = RunFollower::new(place.path()).unwrap();
        follower.poll(SystemTime::now());
        assert_eq!(follower.data().state, RunState::Done);
        folder.truncate_after(None).unwrap();
        folder.append_metrics(&record(1)).unwrap();
        assert!(follower.poll(SystemTime::now()));
        assert_eq!((follower.data().state, follower.data().step()), (RunState::Running, 1));
    }

    #[test]
    fn the_pace_that_was_seen_is_taken() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(place.path()).unwrap();
        folder.write_run_toml("[train]\nsteps = 12\n").unwrap();
        let mut follower = RunFollower::new(place.path()).unwrap();
        let now = SystemTime::now();
        for step in 1..=4 {
            folder.append_metrics(&record(step)).unwrap();
            follower.poll(now + Duration::from_secs(step * 15));
        }
        assert_eq!(follower.data().step_seconds, Some(15.0));
        assert_eq!(follower.data().seconds_left(), Some(120.0));
    }

    #[test]
    fn damage_is_said_and_does_not_end_the_watching() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(place.path()).unwrap();
        std::fs::write(folder.metrics(), "no metrics\n").unwrap();
        let mut follower = RunFollower::new(place.path()).unwrap();
        follower.poll(SystemTime::now());
        let damage = follower.data().damage.clone().unwrap();
        assert!(damage.contains("metrics.jsonl, line 1"), "{damage}");
        std::fs::remove_file(folder.metrics()).unwrap();
        folder.append_metrics(&record(1)).unwrap();
        follower.poll(SystemTime::now());
        assert_eq!((follower.data().damage.clone(), follower.data().step()), (None, 1));
    }
}
