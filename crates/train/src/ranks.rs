//! The processes of a run on one node, one a GPU: who they are, how they meet, and what they exchange.
//!
//! Each process has the whole model and computes its part of a batch; gradients are summed over all ranks, so that
//! every rank does the same optimizer step. Losses, counts, stop flags and, on the CPU, gradients are sent to rank 0
//! over local sockets, which adds them in the order of ranks. NCCL sums gradients on GPUs.

mod frame;
mod process_group;
mod rendezvous;

use mixdown_mixer::Rank;
use mixdown_shards::Fingerprint;
pub(crate) use process_group::ProcessGroup;

use crate::config::compute::DeviceChoice;
use crate::config::run_config::RunConfig;
use crate::error::Error;
#[cfg(test)]
pub(crate) use process_group::tests;

/// The launchers of a run's processes, by the variables that they set: the rank, the world size, the local rank, and a
/// value that is unique to the start.
const LAUNCHERS: [Launcher; 3] = [
    // `mixdown train --processes`.
    Launcher {
        rank: "MIXDOWN_RANK",
        world_size: "MIXDOWN_WORLD_SIZE",
        local: "MIXDOWN_RANK",
        nodes: None,
        launch: &["MIXDOWN_LAUNCH"],
    },
    // torchrun's; docs.pytorch.org/docs/stable/elastic/run.html.
    Launcher {
        rank: "RANK",
        world_size: "WORLD_SIZE",
        local: "LOCAL_RANK",
        nodes: Some("GROUP_WORLD_SIZE"),
        launch: &["TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_PORT"],
    },
    // srun's. A batch script has SLURM_PROCID and SLURM_NTASKS, too, but no step: it is one process.
    Launcher {
        rank: "SLURM_PROCID",
        world_size: "SLURM_STEP_NUM_TASKS",
        local: "SLURM_LOCALID",
        nodes: Some("SLURM_STEP_NUM_NODES"),
        launch: &["SLURM_JOB_ID", "SLURM_STEP_ID"],
    },
];

struct Launcher {
    rank: &'static str,
    world_size: &'static str,
    local: &'static str,
    nodes: Option<&'static str>,
    /// The variables whose values together are unique to a start.
    launch: &'static [&'static str],
}

/// One of the processes that share the batches of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct World {
    rank: Rank,
    /// The number of its GPU on this machine.
    gpu: u32,
    /// The hash of the values that are unique to the start of these processes. Processes of an earlier, killed start
    /// may still run; they have another hash.
    launch: Fingerprint,
}

impl World {
    /// Returns the world of a single process.
    pub fn single() -> Self {
        Self { rank: Rank::single(), gpu: 0, launch: Fingerprint::of(b"") }
    }

    /// Returns rank `rank` of `world_size` processes on this machine, with the GPU of that number.
    ///
    /// # Errors
    /// The rank is not below the world size.
    ///
    /// ```
    /// use mixdown_train::World;
    ///
    /// let world = World::new(1, 4)?;
    /// assert_eq!((world.rank().rank(), world.world_size()), (1, 4));
    /// assert!(!world.is_main_process() && World::single().is_main_process());
    /// # Ok::<(), mixdown_train::Error>(())
    /// ```
    pub fn new(rank: u32, world_size: u32) -> Result<Self, Error> {
        let launch = Fingerprint::of(b"");
        Ok(Self { rank: Rank::new(rank, world_size)?, gpu: rank, launch })
    }

    /// Reads the environment: the variables of `mixdown train --processes`, of torchrun or of Slurm's srun. Without
    /// them it is a single process.
    ///
    /// # Errors
    /// The variables are not numbers or contradict each other; there is more than one node.
    ///
    /// ```
    /// use mixdown_train::World;
    ///
    /// let variables = [("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")];
    /// let variable = |name: &str| {
    ///     let found = variables.iter().find(|(known, _)| *known == name);
    ///     found.map(|(_, value)| (*value).to_owned())
    /// };
    /// assert_eq!(World::from_environment(variable)?.world_size(), 2);
    /// # Ok::<(), mixdown_train::Error>(())
    /// ```
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let read = |name: &'static str| -> Result<Option<u32>, Error> {
            let Some(text) = variable(name) else { return Ok(None) };
            text.parse().map(Some).map_err(|_| Error::setting(name, "a whole number", text))
        };
        for launcher in LAUNCHERS {
            let (Some(rank), Some(world_size)) = (read(launcher.rank)?, read(launcher.world_size)?)
            else {
                continue;
            };
            if world_size == 1 {
                return Ok(Self::single());
            }
            if let Some(name) = launcher.nodes
                && let Some(nodes) = read(name)?.filter(|nodes| *nodes > 1)
            {
                let expected = "1: a run has all its processes on one node; for more, feed torchrun and FSDP \
                                from Python (docs/guide/feed-a-trainer.md)";
                return Err(Error::setting(name, expected, nodes));
            }
            let local = read(launcher.local)?.unwrap_or(rank);
            // A launcher may show each process its own GPU alone.
            let shown = variable("CUDA_VISIBLE_DEVICES");
            let is_alone = shown.is_some_and(|shown| !shown.is_empty() && !shown.contains(','));
            let gpu = if is_alone { 0 } else { local };
            let launch: Vec<_> = launcher.launch.iter().map(|name| variable(name)).collect();
            let launch = Fingerprint::of(format!("{launch:?}").as_bytes());
            return Ok(Self { rank: Rank::new(rank, world_size)?, gpu, launch });
        }
        Ok(Self::single())
    }

    /// Returns the rank and the world size, which determine this process's part of a batch.
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// Returns whether this is rank 0, the process that writes the run's folder and reports for all.
    pub fn is_main_process(&self) -> bool {
        self.rank.rank() == 0
    }

    /// Returns the hash that only the processes of the same start share.
    pub(crate) fn launch(&self) -> Fingerprint {
        self.launch
    }

    /// Returns the number of processes.
    pub fn world_size(&self) -> u32 {
        self.rank.world_size()
    }

    /// Returns the device of this process for the run's setting `choice`: a separate GPU for each process.
    ///
    /// # Errors
    /// The setting names one GPU for several processes.
    pub(crate) fn device(&self, choice: DeviceChoice) -> Result<DeviceChoice, Error> {
        match choice {
            DeviceChoice::Cuda(0) => Ok(DeviceChoice::Cuda(self.gpu)),
            DeviceChoice::Cuda(_) if self.world_size() > 1 => {
                let expected = format!("\"cuda\" for {} processes", self.world_size());
                Err(Error::setting("train.device", expected, choice))
            }
            choice => Ok(choice),
        }
    }

    /// Checks a run on this number of processes before they are started.
    ///
    /// # Errors
    /// Returns an error if the settings are invalid, or invalid for this number of processes.
    pub fn check(&self, config: &RunConfig) -> Result<(), Error> {
        config.check()?;
        self.device(config.train.device)?;
        self.check_batch(config.mixture.batch_size)
    }

    /// # Errors
    /// The processes cannot share a batch evenly.
    fn check_batch(&self, batch_size: u64) -> Result<(), Error> {
        let world_size = u64::from(self.world_size());
        if batch_size.is_multiple_of(world_size) {
            return Ok(());
        }
        let expected = format!("a multiple of {world_size}, the number of processes");
        Err(Error::setting("mixture.batch_size", expected, batch_size))
    }
}

#[cfg(test)]
mod world_tests {
    use super::World;
    use crate::config::compute::DeviceChoice;

    fn world(variables: &[(&str, &str)]) -> Result<World, String> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        World::from_environment(variable).map_err(|error| error.to_string())
    }

    #[test]
    fn launchers_are_known_by_their_variables() {
        assert_eq!(world(&[]), Ok(World::single()));
        assert_eq!(world(&[("RANK", "0"), ("WORLD_SIZE", "1")]), Ok(World::single()));
        let place =
            |variables: &[(&str, &str)]| world(variables).map(|world| (world.rank(), world.gpu));
        let third = Ok((World::new(2, 4).unwrap().rank(), 2));
        assert_eq!(place(&[("MIXDOWN_RANK", "2"), ("MIXDOWN_WORLD_SIZE", "4")]), third);
        let torchrun =
            [("RANK", "2"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "2"), ("GROUP_WORLD_SIZE", "1")];
        assert_eq!(place(&torchrun), third);
        let slurm = [("SLURM_PROCID", "2"), ("SLURM_LOCALID", "2"), ("SLURM_NTASKS", "4")];
        assert_eq!(world(&slurm), Ok(World::single()), "a batch script is no step");
        let step = [&slurm[..], &[("SLURM_STEP_NUM_TASKS", "4")]].concat();
        assert_eq!(place(&step), third);
        let own = [&step[..], &[("CUDA_VISIBLE_DEVICES", "5")]].concat();
        let device = |world: World| world.device(DeviceChoice::Cuda(0)).unwrap();
        assert_eq!(world(&own).map(device), Ok(DeviceChoice::Cuda(0)));
        assert_eq!(world(&step).map(device), Ok(DeviceChoice::Cuda(2)));
    }

    #[test]
    fn two_starts_are_two_worlds() {
        let launchers = [
            ["MIXDOWN_RANK", "MIXDOWN_WORLD_SIZE", "MIXDOWN_LAUNCH"],
            ["RANK", "WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT"],
            ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_ID"],
        ];
        for [rank, size, name] in launchers {
            let launch = |number, start| {
                world(&[(rank, number), (size, "2"), (name, start)]).unwrap().launch()
            };
            assert_eq!(launch("0", "1"), launch("1", "1"), "{name}");
            assert_ne!(launch("0", "1"), launch("0", "2"), "{name}");
        }
    }

    #[test]
    fn what_no_world_can_be_is_refused_by_name() {
        let nodes = [("RANK", "0"), ("WORLD_SIZE", "8"), ("GROUP_WORLD_SIZE", "2")];
        assert!(world(&nodes).unwrap_err().starts_with("GROUP_WORLD_SIZE: expected 1: "));
        let wrong = world(&[("RANK", "x"), ("WORLD_SIZE", "2")]);
        assert_eq!(wrong, Err("RANK: expected a whole number, got x".to_owned()));
        assert!(world(&[("RANK", "2"), ("WORLD_SIZE", "2")]).is_err());
        let pair = World::new(1, 2).unwrap();
        let text = |result: Result<(), crate::Error>| result.unwrap_err().to_string();
        let expected =
            "mixture.batch_size: expected a multiple of 2, the number of processes, got 5";
        assert_eq!(text(pair.check_batch(5)), expected);
        let expected = "train.device: expected \"cuda\" for 2 processes, got cuda:3";
        assert_eq!(text(pair.device(DeviceChoice::Cuda(3)).map(|_| ())), expected);
        assert_eq!(pair.device(DeviceChoice::Cpu).unwrap(), DeviceChoice::Cpu);
    }
}
