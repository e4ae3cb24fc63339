//! The index of one task among many, and its order of work.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::error::Error;

/// One of several tasks that make a corpus together. It only determines where the task begins: each task does its own
/// share and then what is missing of the others' shares, so any set of tasks completes the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    index: u64,
    count: u64,
}

const FORMS: &str = "I/N with 0 <= I < N, like 0/4, or auto";

impl Task {
    /// Makes task `index` (from 0) of `count`.
    ///
    /// # Errors
    /// `index` is not below `count`.
    ///
    /// ```
    /// use mixdown_tokenize::Task;
    ///
    /// assert_eq!(Task::new(0, 4)?, "0/4".parse()?);
    /// assert!(Task::new(4, 4).is_err());
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    pub fn new(index: u64, count: u64) -> Result<Self, Error> {
        if index < count {
            Ok(Self { index, count })
        } else {
            Err(bad(&format!("{index}/{count}")))
        }
    }

    /// Returns the number of the task, from 0.
    ///
    /// ```
    /// use mixdown_tokenize::Task;
    ///
    /// assert_eq!("3/4".parse::<Task>()?.index(), 3);
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    pub fn index(self) -> u64 {
        self.index
    }

    /// Returns the number of tasks.
    ///
    /// ```
    /// use mixdown_tokenize::Task;
    ///
    /// assert_eq!("3/4".parse::<Task>()?.count(), 4);
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    pub fn count(self) -> u64 {
        self.count
    }

    /// Returns the task that a scheduler's environment variables define; `variable` looks them up.
    ///
    /// Slurm's SLURM_ARRAY_TASK_ID, _MIN, _STEP and _COUNT are complete. Kubernetes' JOB_COMPLETION_INDEX and AWS
    /// Batch's AWS_BATCH_JOB_ARRAY_INDEX have no count, so `count` provides it. An index beyond the count, as with the
    /// resubmitted `--array=3,7`, wraps around: it only determines where to begin.
    ///
    /// # Errors
    /// No such variable is set, one is not a number, or the count is missing.
    ///
    /// ```
    /// use mixdown_tokenize::Task;
    ///
    /// let variable = |name: &str| (name == "JOB_COMPLETION_INDEX").then(|| "2".to_owned());
    /// assert_eq!(Task::from_environment(variable, Some(4))?, Task::new(2, 4)?);
    /// # Ok::<(), mixdown_tokenize::Error>(())
    /// ```
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
        count: Option<u64>,
    ) -> Result<Self, Error> {
        let number = |name: &'static str| match variable(name) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| Error::Option {
                option: name,
                expected: "a whole number",
                got: text,
            }),
        };
        let array = number("SLURM_ARRAY_TASK_ID")?;
        if let Some(id) = array {
            let least = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
            let step = number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
            let count = count.or(number("SLURM_ARRAY_TASK_COUNT")?);
            return Self::wrapped(id.saturating_sub(least) / step, count);
        }
        for name in ["JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX"] {
            if let Some(index) = number(name)? {
                return Self::wrapped(index, count);
            }
        }
        Err(Error::Option {
            option: "task",
            expected: "auto inside an array job (SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX or \
                       AWS_BATCH_JOB_ARRAY_INDEX is set), else I/N",
            got: "auto".to_owned(),
        })
    }

    fn wrapped(index: u64, count: Option<u64>) -> Result<Self, Error> {
        let count = count.filter(|&count| count > 0).ok_or_else(|| Error::Option {
            option: "task",
            expected: "the number of tasks, which this scheduler does not give",
            got: "auto".to_owned(),
        })?;
        Self::new(index % count, count)
    }

    /// Returns its share of `len` pieces of work.
    pub(crate) fn own_share(self, len: u64) -> Range<u64> {
        let share = |index: u64| {
            let share = u128::from(len) * u128::from(index) / u128::from(self.count);
            u64::try_from(share).unwrap_or(len)
        };
        share(self.index)..share(self.index + 1)
    }

    /// Returns the order in which this task visits `len` pieces of work: its own share forwards, then all others from
    /// the far end backwards, each task on its own stripe first, so that helpers do not meet the owner or each other
    /// before the end.
    pub(crate) fn order(self, len: u64) -> Vec<u64> {
        let Range { start, end } = self.own_share(len);
        let others: Vec<u64> = (end..len).chain(0..start).rev().collect();
        let stripe = |place: u64| (place + self.count - self.index) % self.count;
        let mut striped: Vec<(u64, u64, u64)> =
            (0..).zip(others).map(|(place, piece)| (stripe(place), place, piece)).collect();
        striped.sort_unstable();
        (start..end).chain(striped.into_iter().map(|(_, _, piece)| piece)).collect()
    }
}

fn bad(got: &str) -> Error {
    Error::Option { option: "task", expected: FORMS, got: got.to_owned() }
}

impl FromStr for Task {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (index, count) = text.split_once('/').ok_or_else(|| bad(text))?;
        let number = |text: &str| text.trim().parse().map_err(|_| bad(text));
        Self::new(number(index)?, number(count)?).map_err(|_| bad(text))
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use mixdown_base::error_kind::ErrorKind;

    use super::*;

    fn from(variables: &[(&str, &str)], count: Option<u64>) -> Result<Task, Error> {
        let find = |name: &str| {
            variables.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned())
        };
        Task::from_environment(find, count)
    }

    #[test]
    fn schedulers_are_understood() {
        let slurm = |id, least, step, count| {
            from(
                &[
                    ("SLURM_ARRAY_TASK_ID", id),
                    ("SLURM_ARRAY_TASK_MIN", least),
                    ("SLURM_ARRAY_TASK_STEP", step),
                    ("SLURM_ARRAY_TASK_COUNT", count),
                ],
                None,
            )
            .unwrap()
            .to_string()
        };
        assert_eq!(slurm("2", "0", "1", "4"), "2/4");
        assert_eq!(slurm("1", "1", "1", "4"), "0/4");
        assert_eq!(slurm("10", "4", "2", "9"), "3/9");
        assert_eq!(slurm("7", "3", "1", "2"), "0/2");
        for name in ["JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX"] {
            assert_eq!(from(&[(name, "3")], Some(8)).unwrap().to_string(), "3/8");
            let error = from(&[(name, "3")], None).unwrap_err();
            assert!(
                error.kind() == ErrorKind::Configuration
                    && error.to_string().contains("the number of tasks"),
                "{error}"
            );
        }
        assert!(from(&[], Some(8)).unwrap_err().to_string().contains("SLURM_ARRAY_TASK_ID"));
        assert!(from(&[("JOB_COMPLETION_INDEX", "x")], Some(8)).is_err());
    }

    #[test]
    fn forms_are_read() {
        assert_eq!("0/4".parse::<Task>().unwrap().to_string(), "0/4");
        for text in ["4/4", "1", "a/4", "1/0", "-1/4", ""] {
            assert_eq!(
                text.parse::<Task>().unwrap_err().kind(),
                ErrorKind::Configuration,
                "{text}"
            );
        }
    }

    #[test]
    fn every_task_sees_every_piece_once_its_own_first() {
        for (len, count) in [(0, 3), (1, 4), (10, 3), (100, 7), (5, 9)] {
            let mut firsts: Vec<u64> = Vec::new();
            for index in 0..count {
                let order = Task::new(index, count).unwrap().order(len);
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..len).collect::<Vec<_>>());
                let own = usize::try_from(len * (index + 1) / count - len * index / count).unwrap();
                firsts.extend(&order[..own]);
            }
            assert_eq!(firsts, (0..len).collect::<Vec<_>>());
        }
        assert_eq!(Task::new(0, 2).unwrap().order(6), [0, 1, 2, 5, 3, 4]);
        assert_eq!(Task::new(1, 2).unwrap().order(6), [3, 4, 5, 1, 2, 0]);
    }
}
