//! The stages of a mixture, resolved one after another.

use crate::config::RunLength;
use crate::config::{StageConfig, WeightUnit};
use crate::error::Error;
use crate::mixture::check::{Shares, StagePlan};
use crate::mixture::{Mixture, Source};
use crate::schedule::stage_weights::{Parts, StageWeights};
use crate::schedule::timeline::{MixtureStage, Timeline};
use crate::weights::parts::{LossEpoch, WeightParts};

impl Mixture {
    /// Returns the integer parts of some sources' shares.
    fn parts(&self, shares: &Shares) -> Result<Parts, Error> {
        let parts = match self.shape().weight_unit {
            WeightUnit::Sequences => WeightParts::of_weights(&shares.weights)?,
            WeightUnit::LossTokens => {
                let epochs: Vec<LossEpoch> = shares
                    .members
                    .iter()
                    .map(|&source| self.loss_epoch(source))
                    .collect::<Result<_, _>>()?;
                WeightParts::of_loss_tokens(&shares.weights, &epochs)?
            }
        };
        Ok((shares.members.clone(), parts))
    }

    fn loss_epoch(&self, source: u32) -> Result<LossEpoch, Error> {
        let loss_tokens = self.loss_tokens(source)?;
        let sequences = self.sequences(source).unwrap_or(0);
        let place = usize::try_from(source).unwrap_or(usize::MAX);
        match self.sources().get(place).filter(|_| loss_tokens == 0) {
            None => Ok(LossEpoch { sequences, loss_tokens }),
            Some(Source { name, corpus, .. }) => {
                Err(Error::NoLossTokens { name: name.clone(), path: corpus.folder().to_owned() })
            }
        }
    }

    /// Adds the stages in order, the beginning of the run first, because a start may be given in epochs.
    pub(crate) fn add_stages(
        &mut self,
        first: Option<Shares>,
        stages: &[StageConfig],
        plans: Vec<StagePlan<'_>>,
    ) -> Result<(), Error> {
        let mut before = first.map(|first| self.parts(&first)).transpose()?;
        let mut begun = false;
        for ((number, stage), plan) in (1..).zip(stages).zip(plans) {
            let is_ramp = matches!(plan, StagePlan::Ramp { .. });
            let at_beginning = is_ramp
                && number == 1
                && matches!(
                    stage.start,
                    RunLength::Steps(0) | RunLength::Sequences(0) | RunLength::Tokens(0)
                );
            if let (true, Some(_), StagePlan::Ramp { from: Some(_), .. }) =
                (at_beginning, &before, &plan)
            {
                let got = "`from` at the beginning of the run, where the sources have weights, too";
                return Err(Error::StageShape { number, got });
            }
            if !at_beginning && !begun {
                let parts = before.clone().ok_or(Error::NoWeights)?;
                self.begin(StageWeights::constant(parts), false)?;
            }
            begun = true;
            let weights = self.stage_weights(number, plan, before)?;
            before = Some(weights.end()?);
            let in_steps = matches!(stage.start, RunLength::Steps(1..))
                || matches!(stage.over, Some(RunLength::Steps(_)));
            if at_beginning {
                self.begin(weights, in_steps)?;
                continue;
            }
            let got = self.slots_of(&stage.start)?;
            let expected = self.timeline.stages().last().map_or(0, |stage| stage.start);
            if got <= expected {
                return Err(Error::StageStart { number, expected, got });
            }
            self.timeline.push(MixtureStage { start: got, weights, in_steps })?;
        }
        if begun {
            return Ok(());
        }
        self.begin(StageWeights::constant(before.ok_or(Error::NoWeights)?), false)
    }

    fn begin(&mut self, weights: StageWeights, in_steps: bool) -> Result<(), Error> {
        let first = MixtureStage { start: 0, weights, in_steps };
        self.timeline = Timeline::new(self.sources().len(), first)?;
        Ok(())
    }

    fn stage_weights(
        &self,
        number: u64,
        plan: StagePlan<'_>,
        before: Option<Parts>,
    ) -> Result<StageWeights, Error> {
        match plan {
            StagePlan::Constant(shares) => Ok(StageWeights::constant(self.parts(&shares)?)),
            StagePlan::Ramp { from, to, over } => {
                let from = match from {
                    Some(from) => self.parts(&from)?,
                    None => before.ok_or(Error::NoWeights)?,
                };
                let slots = match over {
                    RunLength::Epochs { .. } => 0,
                    over => self.slots_of(over)?,
                };
                if slots == 0 {
                    let got =
                        "an `over` of nothing or in epochs (say it in steps, sequences or tokens)";
                    return Err(Error::StageShape { number, got });
                }
                StageWeights::ramp(&from, &self.parts(&to)?, slots)
            }
        }
    }
}
