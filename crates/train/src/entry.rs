//! The start of a run: all that it is made of, checked against each other and against its folder.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use mixdown_runs::RunFolder;
use mixdown_shards::Fingerprint;

use crate::checkpoint;
use crate::error::Error;
use crate::inputs::Inputs;
use crate::memory::Estimate;
use crate::model::{Model, PassOptions};
use crate::preview;
use crate::progress::RunName;
use crate::ranks::{Team, World};
use crate::run_config::RunConfig;
use crate::run_file::{Changes, Claim, RunFile, resolved};
use crate::summary;

/// A run before its checkpoint is read, with its folder claimed and the other processes met.
pub(crate) struct Entry {
    pub(crate) name: RunName,
    pub(crate) config: RunConfig,
    pub(crate) inputs: Inputs,
    pub(crate) model: Model,
    pub(crate) estimate: Estimate,
    pub(crate) data_fingerprint: Fingerprint,
    pub(crate) run_file: RunFile,
    pub(crate) folder: RunFolder,
    pub(crate) claim: Claim,
    pub(crate) team: Team,
}

impl Entry {
    /// # Errors
    /// As [`Trainer::open`](crate::Trainer::open), but for the checkpoint.
    pub(crate) fn new(
        config: &RunConfig,
        base: &Path,
        out: &Path,
        name: RunName,
        changes: Changes,
        world: World,
        stop: &AtomicBool,
    ) -> Result<Self, Error> {
        world.check(config)?;
        let device = world.device(config.train.device)?;
        let pass = PassOptions { device, ..config.train.pass() };
        let config = resolved(config, base);
        let inputs = Inputs::open(&config)?;
        let mut model = inputs.model(&config)?;
        let estimate = preview::estimate(&config, &model, out)?;
        let fingerprints = inputs.fingerprints(&config, &model);
        let run_file = RunFile::new(&name.run_id, &name.title, &config, &fingerprints)?;
        estimate.check(out, checkpoint::taken_bytes(out))?;
        // A folder is not claimed for a device that is not there.
        model.set_pass(pass)?;
        let data_fingerprint = summary::data_fingerprint(&fingerprints);
        // The others wait for the first rank to make the folder and to tidy it.
        let claimed = if world.leads() { Some(claim(out, &run_file, changes)?) } else { None };
        let team = Team::meet(world, out, run_file.whole_fingerprint(), stop)?;
        let (folder, claim) = match claimed {
            Some(claimed) => claimed,
            None => (RunFolder::open(out)?, Claim::Same),
        };
        Ok(Self {
            name,
            config,
            inputs,
            model,
            estimate,
            data_fingerprint,
            run_file,
            folder,
            claim,
            team,
        })
    }
}

fn claim(out: &Path, run_file: &RunFile, changes: Changes) -> Result<(RunFolder, Claim), Error> {
    let folder = RunFolder::create(out)?;
    let claim = run_file.claim(&folder, changes)?;
    if claim == Claim::New {
        run_file.write(&folder)?;
    }
    checkpoint::recover(&folder)?;
    Ok((folder, claim))
}
