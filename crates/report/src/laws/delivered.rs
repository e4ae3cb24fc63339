//! The requested and the delivered share of every run, with sizes, losses and fingerprints.

use mixdown_runs::RunRow;

use crate::laws::DomainPage;
use crate::laws::forgetting::scale;
use crate::parts::chart::Plot;
use crate::parts::figure::{Cell, Figure, Table, Width};
use crate::parts::plot::points;
use crate::parts::text::{percent, percent_rounded, signed};
use crate::runs::grouping::{Groups, same};

/// Returns the figure of the difference between the delivered and the requested share, for runs with p above 0; its
/// table has all runs.
pub(crate) fn figure(domain: &DomainPage, groups: &Groups) -> Figure {
    let scale = scale(domain);
    let mut data = Vec::new();
    for size in &groups.sizes {
        let label = groups.size_label(*size);
        let own = domain.observations.iter().filter(|one| same(one.model_size, *size));
        let seen = own.map(|one| {
            let difference = one.share() - one.p;
            let hover = format!(
                "{}: requested {}, realized {}",
                one.name,
                percent(one.p),
                percent_rounded(one.share(), 4)
            );
            ((scale.position(one.share()), difference * 100.0), hover)
        });
        let seen = seen.collect();
        data.push(points(seen, &label, &groups.color(*size), groups.symbol(*size)));
    }
    let layout = scale.layout("realized minus requested (points of %)");
    Figure {
        title: "The mix that was delivered".to_owned(),
        caption: "Share of pretraining sequences delivered up to the chosen checkpoint, minus the requested \
                  share. The difference comes from counting whole sequences up to that step, which is at most \
                  half a sequence off."
            .to_owned(),
        plot: Plot { data, layout },
        table: table(domain),
        width: Width::Whole,
    }
}

fn table(domain: &DomainPage) -> Table {
    let mut table = Table::new([
        "Run",
        "N",
        "D",
        "p requested",
        "p realized",
        "difference (points)",
        "target loss",
        "pretraining loss before",
        "pretraining loss",
        "forgetting",
    ]);
    for one in &domain.observations {
        let difference = one.share() - one.p;
        table.push(vec![
            one.name.clone().into(),
            Cell::short(one.model_size),
            Cell::short(one.target_tokens),
            Cell::number(percent(one.p), one.p),
            Cell::percent(one.share()),
            Cell::number(signed(difference * 100.0, 4), difference * 100.0),
            Cell::fixed(one.target_loss, 4),
            Cell::fixed(one.pretraining_loss_before, 4),
            Cell::fixed(one.pretraining_loss, 4),
            Cell::fixed(one.forgetting(), 4),
        ]);
    }
    table
}

/// Returns the table of what identifies every run.
pub(crate) fn fingerprints(rows: &[RunRow]) -> Table {
    let mut table =
        Table::new(["Run", "seed", "best step", "pretraining tokens", "tokenizer", "fingerprint"]);
    for row in rows {
        table.push(vec![
            row.run_id.clone().into(),
            Cell::count(row.seed),
            Cell::count(row.best_step),
            Cell::or_dash(row.base_tokens.map(Cell::count)),
            row.tokenizer.as_ref().map_or("—", String::as_str).to_owned().into(),
            row.fingerprint.clone().into(),
        ]);
    }
    table
}
