//! The start of a run: all that it is made of, checked against each other and against its folder.

use std::path::Path;

use mixdown_runs::{FolderHold, RunFolder};
use mixdown_shards::Fingerprint;

use crate::checkpoint;
use crate::config::run_base::RunBase;
use crate::config::run_config::RunConfig;
use crate::config::run_file::{Changes, Claim, RunFile, resolved};
use crate::error::Error;
use crate::model::{Model, PassOptions};
use crate::ranks::Team;
use crate::trainer::inputs::Inputs;
use crate::trainer::memory::Estimate;
use crate::trainer::preview;
use crate::trainer::progress::RunName;
use crate::trainer::summary;

/// A run before its checkpoint is read, with its folder claimed.
pub(crate) struct Entry {
    pub(crate) name: RunName,
    pub(crate) config: RunConfig,
    pub(crate) inputs: Inputs,
    pub(crate) model: Model,
    pub(crate) estimate: Estimate,
    pub(crate) data_fingerprint: Fingerprint,
    pub(crate) run_file: RunFile,
    pub(crate) folder: RunFolder,
    /// Of the first rank.
    pub(crate) hold: Option<FolderHold>,
    pub(crate) claim: Claim,
    pub(crate) team: Team,
}

impl Entry {
    /// # Errors
    /// As [`Trainer::open`](crate::Trainer::open), but for the checkpoint.
    pub(crate) fn new(
        config: &RunConfig,
        base: RunBase,
        out: &Path,
        name: RunName,
        changes: Changes,
        mut team: Team,
    ) -> Result<Self, Error> {
        let device = team.world().device(config.train.device)?;
        let pass = PassOptions { device, ..config.train.pass() };
        let mut config = resolved(config, base.folder)?;
        let inputs = Inputs::open(&config)?;
        let shape = inputs.shape(&config, base.tokenizer)?;
        config.train.complete(&config.model, shape.config.parameters());
        let estimate = preview::estimate(&config, &shape, out)?;
        // Before any of the model's numbers is there.
        estimate.check(out, checkpoint::taken_bytes(out))?;
        let mut model = inputs.model(&config, shape)?;
        let fingerprints = inputs.fingerprints(&config, &model);
        let run_file = RunFile::new(&name.run_id, &name.title, &config, &fingerprints)?;
        // A folder is not claimed for a device that is not there.
        model.set_pass(pass)?;
        team.compare(run_file.whole_fingerprint())?;
        // The others wait for the first rank to make the folder and to tidy it.
        let claimed = if team.leads() { Some(claim(out, &run_file, changes)?) } else { None };
        team.wait()?;
        let Claimed { folder, hold, claim } = match claimed {
            Some(claimed) => claimed,
            None => Claimed { folder: RunFolder::open(out)?, hold: None, claim: Claim::Same },
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
            claim,
            team,
        })
    }
}

/// What the first rank has made of the folder.
struct Claimed {
    folder: RunFolder,
    hold: Option<FolderHold>,
    claim: Claim,
}

fn claim(out: &Path, run_file: &RunFile, changes: Changes) -> Result<Claimed, Error> {
    let folder = RunFolder::create(out)?;
    let hold = Some(folder.hold()?);
    let claim = run_file.claim(&folder, changes)?;
    if claim == Claim::New {
        run_file.write(&folder)?;
    }
    checkpoint::recover(&folder)?;
    Ok(Claimed { folder, hold, claim })
}
