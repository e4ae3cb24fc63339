//! The start of a run: its data, model and folder, opened and checked against each other.

use std::path::Path;

use mixdown_runs::{RunFolder, RunLock};
use mixdown_shards::Fingerprint;

use crate::checkpoint;
use crate::config::compute::PassOptions;
use crate::config::run_config::RunConfig;
use crate::config::run_file::RunBase;
use crate::config::run_file::{AllowedChanges, RunFile, SettingsMatch, resolved};
use crate::error::Error;
use crate::model::Model;
use crate::ranks::ProcessGroup;
use crate::trainer::estimate;
use crate::trainer::estimate::Estimate;
use crate::trainer::inputs::Inputs;
use crate::trainer::records::RunName;
use crate::trainer::summary;

/// A run whose folder is locked and whose checkpoint is not read yet.
pub(crate) struct OpenedRun {
    pub(crate) name: RunName,
    pub(crate) config: RunConfig,
    pub(crate) inputs: Inputs,
    pub(crate) model: Model,
    pub(crate) estimate: Estimate,
    pub(crate) data_fingerprint: Fingerprint,
    pub(crate) run_file: RunFile,
    pub(crate) folder: RunFolder,
    /// The lock of the folder, on rank 0.
    pub(crate) hold: Option<RunLock>,
    pub(crate) settings_match: SettingsMatch,
    pub(crate) group: ProcessGroup,
}

impl OpenedRun {
    /// # Errors
    /// Those of [`Trainer::open`](crate::Trainer::open), except those of the checkpoint.
    pub(crate) fn new(
        config: &RunConfig,
        base: RunBase,
        out: &Path,
        name: RunName,
        changes: AllowedChanges,
        mut group: ProcessGroup,
    ) -> Result<Self, Error> {
        let device = group.world().device(config.train.device)?;
        let pass = PassOptions { device, ..config.train.pass() };
        let mut config = resolved(config, base.folder)?;
        let inputs = Inputs::open(&config)?;
        let shape = inputs.shape(&config, base.tokenizer)?;
        config.train.complete(&config.model, shape.config.parameters());
        let estimate = estimate::estimate(&config, &shape, out)?;
        // Before any of the model's numbers is there.
        estimate.check(out, checkpoint::taken_bytes(out))?;
        let mut model = inputs.model(&config, shape)?;
        let fingerprints = inputs.fingerprints(&config, &model);
        let run_file = RunFile::new(&name.run_id, &name.title, &config, &fingerprints)?;
        // A folder is not claimed for a device that is not there.
        model.set_pass(pass)?;
        group.check_same_settings(run_file.whole_fingerprint())?;
        // The others wait for the first rank to make the folder and to tidy it.
        let locked = if group.is_main_process() {
            Some(lock_folder(out, &run_file, changes)?)
        } else {
            None
        };
        group.barrier()?;
        let LockedFolder { folder, hold, settings_match } = match locked {
            Some(locked) => locked,
            None => LockedFolder {
                folder: RunFolder::open(out)?,
                hold: None,
                settings_match: SettingsMatch::Same,
            },
        };
        Ok(Self {
            name,
            config,
            inputs,
            model,
            estimate,
            data_fingerprint: summary::data_fingerprint(&fingerprints),
            run_file,
            folder,
            hold,
            settings_match,
            group,
        })
    }
}

/// Returns the folder that rank 0 has locked.
struct LockedFolder {
    folder: RunFolder,
    hold: Option<RunLock>,
    settings_match: SettingsMatch,
}

fn lock_folder(
    out: &Path,
    run_file: &RunFile,
    changes: AllowedChanges,
) -> Result<LockedFolder, Error> {
    let folder = RunFolder::create(out)?;
    let hold = Some(folder.lock()?);
    let settings_match = run_file.match_settings(&folder, changes)?;
    if settings_match == SettingsMatch::New {
        run_file.write(&folder)?;
    }
    checkpoint::recover(&folder)?;
    Ok(LockedFolder { folder, hold, settings_match })
}
