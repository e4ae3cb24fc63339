//! What frames of one run look like, drawn from data alone.

use mixdown_runs::{EvalRecord, MetricsRecord, Summary};
use ratatui::backend::TestBackend;
use ratatui::style::{Color, Modifier};
use ratatui::{Frame, Terminal};

use crate::description::Description;
use crate::run_data::{RunData, RunState};
use crate::view::look::Look;
use crate::view::run_view;
use crate::view::run_view::RunScreen;
use crate::view::text;

pub(crate) fn terminal(
    width: u16,
    height: u16,
    draw: impl FnOnce(&mut Frame),
) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(draw).unwrap();
    terminal
}

pub(crate) fn screen(width: u16, height: u16, draw: impl FnOnce(&mut Frame)) -> String {
    let terminal = terminal(width, height, draw);
    let cells = terminal.backend().buffer().content.chunks(width.into());
    let lines = cells.map(|row| {
        let (mut line, mut column) = (String::new(), 0);
        while let Some(cell) = row.get(column) {
            line.push_str(cell.symbol());
            // A wide letter hides the cell behind it.
            column += text::width(cell.symbol()).max(1);
        }
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

pub(crate) fn run_screen(width: u16, height: u16, run: &RunData, screen_of: RunScreen) -> String {
    let keys = ["q end", "←→ chart", "l log scale"].map(str::to_owned);
    screen(width, height, |frame| run_view::draw(frame, run, screen_of, &keys, &Look::plain()))
}

pub(crate) fn description(title: &str) -> Description {
    let description = "[train]\nsteps = 200\n[eval]\npretraining = 'pretraining'\n[mixture]\nseed = 3\n\
                       [[mixture.source]]\nname = 'target'\nweight = '99'\nmax_tokens = 50000\n\
                       [[mixture.source]]\nname = 'pretraining'\nweight = '1'\n";
    let mut description = Description::parse(description).unwrap();
    description.title = title.to_owned();
    description
}

pub(crate) fn eval(corpus: &str, loss: f64) -> EvalRecord {
    EvalRecord { corpus: corpus.to_owned(), loss, ..EvalRecord::default() }
}

/// A run that was finetuned too long: the target's loss has its bottom at step 80.
pub(crate) fn record(step: u32) -> MetricsRecord {
    let at = f64::from(step);
    let noise = f64::from(step * 7919 % 13) / 26.0;
    let target = 4.4 + ((at - 80.0) / 80.0).powi(2);
    let evals = [eval("target", target), eval("pretraining", 4.1 + (at / 40.0).ln_1p())];
    MetricsRecord {
        step: u64::from(step),
        train_loss: (step > 0).then(|| 5.5 * (-at / 60.0).exp() + 1.5 + noise),
        learning_rate: 2e-3 * (1.0 - at / 200.0),
        tokens: u64::from(step) * 2048,
        tokens_per_second: (step > 0).then_some(13_509.0),
        data_wait: Some(0.002),
        mfu: Some(0.41),
        evals: if step.is_multiple_of(20) { evals.to_vec() } else { Vec::new() },
        ..MetricsRecord::default()
    }
}

pub(crate) fn run(steps: u32, state: RunState) -> RunData {
    let mut run = RunData {
        place: "runs/math-1".to_owned(),
        description: Some(description("runs/math-1")),
        state,
        ..RunData::default()
    };
    run.curves.extend((0..=steps).map(record).collect());
    run
}

fn summary() -> Summary {
    Summary {
        run_id: "math-1".to_owned(),
        title: "math-1".to_owned(),
        best_step: 80,
        steps: 200,
        steps_without_targets: 0,
        before: record(0).evals,
        best: record(80).evals,
        last: Vec::new(),
        shares: Vec::new(),
        row: None,
        model_parameters: 1_100_000,
        tokens_per_second: 13_000.0,
        seconds: 57.9,
    }
}

pub(crate) fn finished() -> RunData {
    RunData { summary: Some(summary()), ..run(200, RunState::Done) }
}

#[test]
fn a_running_run() {
    let run = run(110, RunState::Running);
    insta::assert_snapshot!(run_screen(100, 30, &run, RunScreen::default()), @"
    runs/math-1                                                                                  running
    step 110 of 200   55 %   14 s left   ━━━━━━━━━━━━━━━━━━━━━━──────────────────
    13.5K tokens/s   data wait 0 %   MFU 41 %   225K tokens
    evaluation at step 100   target 4.4625 (-0.9375)   pretraining 5.3528 (+1.2528 forgotten)

    training loss   2.7366                                             learning rate   9.00e-4
    8│                                                                 0.0020│⠈⠒⠤⡀
     │⠠⠤⠤⠤⣀                                                                  │   ⠈⠉⠒⢤⡀
     │    ⠒⠉⠉⠒⠤⣀⣀⡀                                                           │       ⠈⠉⠲⢄⡀
    6│       ⠈⠉⠉⠁⠈⠒⠒⠤⢄⡀                                                0.0015│           ⠈⠑⠢⢄⡀
     │               ⠒⠈⠉⠉⠒⠢⠤⣀⣀                                               │               ⠈⠑⠢⢄⡀
     │                      ⠒⠐⠉⠉⠒⠒⠢⠤⣀⣀⣀⡀                                     │                   ⠈⠑⠢⢄⡀
    4│                             ⠈⠉⠈⠁⠈⠉⠉⠉⠒⠤⠤⠤⠤⣀⣀⣀  ⢀                 0.0010│                       ⠈⠑⠲
     │                                         ⠉  ⠐⠉⠉⠉⠉⠑⠒⠒⠒⠤⠤⠢⠤⠤⠤⣀⣀⣀⣀        │
    2│                                                           ⠉⠁    0.0005│
     └───────────────────────────────────────────────────────────────        └──────────────────────────
     0                               55                           110        0           55          110

    target 4.4625   ┊ best 4.4000 at 80                pretraining 5.3528   ┊ best 5.1986 at 80
    5.40│⠑⢄⡀ ⠉⠉  ⠉⠉  ⠉⠉  ⠉⠉  ⠉⠉ ⠈⠉⠁ ⠈⠉⠁ ⢈⠉⠁ ⠈⠉⠁ ⠈⠉⠁    5.5│                                ⢈      ⢀⣀
        │  ⠈⠢⡀                          ⠠                 │                              ⣀⣀⠤⠤⠒⠒⠒⠉⠉⠁
    5.15│    ⠈⠢⢄                        ⠐                 │                      ⣀⣀⠤⠤⠒⠒⠉⠉  ⠐
        │       ⠑⢄⡀                     ⠈              5.0│               ⢀⣀⠤⠤⠒⠊⠉          ⠈
    4.90│         ⠈⠑⠢⢄                  ⢈                 │          ⢀⡠⠤⠒⠊⠁                ⢈
        │             ⠉⠒⠤⣀              ⠠              4.5│      ⣀⠤⠒⠉⠁                     ⠠
    4.65│                 ⠉⠒⠢⢄⣀         ⠐                 │  ⣀⠤⠒⠉                          ⠐
    4.40│                      ⠉⠒⠒⠒⠤⠤⠤⠤⣀⣀⣀⣀⠤⠤⠤⠤⠒⠒      4.0│⠒⠉  ⠒⠒  ⠒⠒  ⠒⠒  ⠒⠒  ⠒⠒ ⠐⠒⠂ ⠐⠒⠂ ⠐⢈⠂ ⠐⠒⠂ ⠐⠒⠂ ⠐⠂
        └────────────────────────────────────────────     └─────────────────────────────────────────────
        0                    55                   110     0                      55                  110
    q end   ←→ chart   l log scale
    ");
}

#[test]
fn a_finished_run_and_one_of_its_charts_with_a_logarithmic_axis() {
    insta::assert_snapshot!(run_screen(80, 24, &finished(), RunScreen::default()), @"
    runs/math-1                                                                 done
    step 200 of 200   100 %   took 58 s
    13.5K tokens/s   data wait 0 %   MFU 41 %   410K tokens
    best step 80   target 4.4000 (-1.0000)   pretraining 5.1986 (+1.0986 forgotten)

    training loss   1.9623                                learning rate   0
    7.5│⠠⠤⢄⡀                                              0.002│⠈⠢⢄⡀
       │   ⠈⠉⠢⠤⣀⡀                                              │   ⠈⠑⠤⡀
    5.0│        ⠈⠙⠒⠢⠤⢄⣀⡀                                       │      ⠈⠒⠤⣀
       │              ⠉⠈⠉⠉⠑⠒⠢⠤⠤⠤⢄⣀⣀⣀⣀⣀⢀ ⣀                 0.001│          ⠑⠢⢄⡀
    2.5│                          ⠈ ⠉⠈⠁⠉⠉⠉⠉⠉⠉⠑⠉⠒⠑⠒⠒⠒⠒⠒⠒⠒       │             ⠈⠒⠤⣀
    0.0│                                                  0.000│                 ⠑⠢⢄
       └────────────────────────────────────────────────       └────────────────────
       0                       100                   200       0        100      200

    target 6.6500   ┊ best 4.4000 at 80      pretraining 5.8918
    6.65│             ⢈                 ⢀⡠⠊  6│              ⢈            ⢀⣀⣀⣀⡠⠤⠤⠤⠒⠒
        │             ⠐               ⢀⠔⠁     │              ⠐ ⣀⣀⠤⠤⠔⠒⠒⠒⠉⠉⠉⠁
    5.53│⣀⣀  ⣀⣀  ⣀⣀  ⣀⢈  ⣀⡀ ⢀⣀⡀ ⢀⣀⡀⢀⡠⠒⠁ ⢀⣀⡀  5│       ⣀⡠⠤⠔⠒⠒⠉⠉⠉
        │ ⠉⠒⠤⢄⡀       ⠠        ⣀⠤⠔⠊⠁          │  ⢀⡠⠔⠒⠉       ⠠
    4.40│     ⠈⠑⠒⠢⠤⠤⠤⣀⣀⣀⡠⠤⠤⠤⠒⠒⠉              4│⠔⠊⠁ ⠤⠤  ⠤⠤  ⠤⠤⢈ ⠤⠤ ⠠⠤⠄ ⠠⠤⠄ ⠠⠤⠄ ⠠⠤⠄ ⠠⠄
        └──────────────────────────────────   └─────────────────────────────────────
        0               100             200   0                 100              200
    q end   ←→ chart   l log scale
    ");
    let one = RunScreen { panel: 3, is_logarithmic: true };
    insta::assert_snapshot!(run_screen(80, 24, &finished(), one), @"
    runs/math-1                                                                 done
    step 200 of 200   100 %   took 58 s
    13.5K tokens/s   data wait 0 %   MFU 41 %   410K tokens
    best step 80   target 4.4000 (-1.0000)   pretraining 5.1986 (+1.0986 forgotten)

    pretraining, held out   5.8918   ┊ best 5.1986 at 80   ╌ before 4.1000
    5.89│                              ⡁                                ⢀⣀⣀⠤⠤⠤⠒⠒⠒⠒⠉⠉
        │                              ⡀                      ⢀⣀⣀⠤⠤⠔⠒⠒⠉⠉⠁
        │                              ⠄              ⢀⣀⡠⠤⠔⠒⠊⠉⠁
    5.48│                              ⠄       ⢀⣀⡠⠤⠒⠒⠉⠁
        │                              ⠂⣀⣀⠤⠤⠒⠒⠉⠁
        │                          ⣀⠤⠔⠊⠉
    5.10│                     ⢀⡠⠔⠊⠉    ⠁
        │                 ⢀⡠⠔⠊⠁        ⡁
        │              ⣀⠔⠊⠁            ⡀
    4.74│           ⣀⠔⠊                ⠄
        │        ⣀⠔⠊                   ⠄
        │      ⡠⠊                      ⠂
    4.41│    ⡠⠊                        ⠂
        │  ⡠⠊                          ⠁
    4.10│⡠⠊  ⣀⣀  ⣀⣀  ⣀⣀  ⣀⣀  ⣀⣀  ⣀⣀  ⣀⣀⡁ ⣀⣀  ⣀⣀ ⢀⣀⡀ ⢀⣀⡀ ⢀⣀⡀ ⢀⣀⡀ ⢀⣀⡀ ⢀⣀⡀ ⢀⣀⡀ ⢀⣀⡀ ⢀⣀⡀
        └───────────────────────────────────────────────────────────────────────────
        0                                    100                                 200
    q end   ←→ chart   l log scale
    ");
}

#[test]
fn a_small_screen() {
    let run = run(110, RunState::Running);
    insta::assert_snapshot!(run_screen(40, 12, &run, RunScreen::default()), @"
    runs/math-1                      running
    step 110 of 200   55 %   14 s left
    at 100 target 4.4625 (-0.9375)
    pretraining 5.3528 (+1.2528 forgotten)
    training loss   2.7366
    6.99│⠈⠉⠓⠒⢢⣀⣀
        │    ⠉ ⠈⠉⠓⠦⠤⢄⡀
    4.73│          ⠈ ⠈⠉⠑⠒⠒⠤⠤⢄⣀⣀⡀
    2.47│                    ⠈⠉⠈⠉⠉⠉⠉⠒⠒⠒⠲⠤⠤⠤⠤
        └───────────────────────────────────
        0                55              110
    q end   ←→ chart   l log scale
    ");
}

#[test]
fn a_run_that_has_not_begun_and_one_that_stopped() {
    let waiting = RunData { place: "runs/next".to_owned(), ..RunData::default() };
    insta::assert_snapshot!(run_screen(60, 10, &waiting, RunScreen::default()), @"
    runs/next                                            waiting
    waiting for runs/next/metrics.jsonl
    training loss
     nothing measured yet





    q end   ←→ chart   l log scale
    ");
    let stopped = RunData {
        damage: Some("metrics.jsonl, line 3: expected one metrics record".to_owned()),
        ..run(5, RunState::Stopped(400))
    };
    insta::assert_snapshot!(run_screen(60, 14, &stopped, RunScreen::default()), @"
    runs/math-1                       stopped: no step for 7 min
    step 5 of 200   2 %   ──────────────────────────────────────
    metrics.jsonl, line 3: expected one metrics record
    13.5K tokens/s   data wait 0 %   MFU 41 %   10.2K tokens
    evaluation at step 0   target 5.4000   pretraining 4.1000
    training loss   6.9595
    6.9860│          ⠈⠉⠑⠒⠒⠒⠤⠤⠤⢄⣀⣀⡀
          │                     ⠄⠈⠉⠉⠒⠒⠒⠤⠤⢄⣀⣀⡀
    6.9662│                               ⢀ ⠈⠉⠉⠉⠒⠒⠒⠢⠤⠤⠤⣀⣀⣀⡀
          │                                               ⠈⠉⠉⠉⠒⠒
    6.9463│                                          ⠁
          └─────────────────────────────────────────────────────
          0                         2                          5
    q end   ←→ chart   l log scale
    ");
}

#[test]
fn numbers_that_no_chart_can_hold() {
    let mut run = run(20, RunState::Running);
    for (step, loss) in [(21, f64::NAN), (22, 1e300), (23, f64::INFINITY), (24, -1e9), (25, 2.0)] {
        let evals = vec![eval("target", loss), eval("pretraining", f64::NAN)];
        let train_loss = Some(loss);
        let tokens_per_second = Some(f64::NAN);
        let learning_rate = loss;
        let record = MetricsRecord { train_loss, evals, learning_rate, ..record(step) };
        run.curves.extend(vec![MetricsRecord { tokens_per_second, ..record }]);
    }
    insta::assert_snapshot!(run_screen(80, 24, &run, RunScreen::default()), @"
    runs/math-1                                                              running
    step 25 of 200   12 %   ━━━━━───────────────────────────────────
    data wait 0 %   MFU 41 %   51.2K tokens
    evaluation at step 25   target 2.0000 (-3.4000)   pretraining NaN (NaN)

    training loss   1.3e29                                learning rate   2.00e0
    3.0e29│                                               1.0e30│                ⢸
          │                                                     │                ⡇⡇
    2.0e29│                                      ⢠⠋⠒⠤⣀⡀   6.7e29│                ⡇⡇
          │                                     ⢠⠃    ⠈⠑        │               ⢸ ⢸
    1.0e29│                                    ⢠⠃         3.3e29│               ⢸ ⢸
    -1.0e9│  ⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣠⠃     ⢀ ⢀  -1.0e9│⢀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⡇  ⣇
          └─────────────────────────────────────────────        └───────────────────
          0                      12                   25        0        12       25

    target 2.0000   ┊ best -1.0e9 at 24      pretraining NaN   ╌ before 4.1000
    1.0e30│                           ⡜⡄ ⡁   4.505│                     ⢀⣀⠤⠒⠊⠁    ⡁
          │                          ⢠⠃⢣ ⠂        │                ⣀⡠⠔⠒⠉⠁         ⠂
    5.0e29│                          ⡜ ⠘⡄⡁   4.303│          ⢀⣀⠤⠔⠊⠉               ⡁
          │                         ⢠⠃  ⢣⠄        │     ⣀⡠⠤⠒⠉⠁                    ⠄
    -1.0e9│⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⡜ ⢀⣀⠘⣄⣀  4.100│⣀⠤⠔⠊⠉⣀  ⣀⣀  ⣀⣀  ⣀⡀ ⢀⣀⡀ ⢀⣀⡀ ⢀⣀⡀ ⡁⡀
          └────────────────────────────────       └─────────────────────────────────
          0              12              25       0                12             25
    q end   ←→ chart   l log scale
    ");
    for panel in 0..6 {
        for is_logarithmic in [false, true] {
            run_screen(80, 24, &run, RunScreen { panel, is_logarithmic });
        }
    }
}

#[test]
fn without_colors_a_curve_stands_out_by_weight() {
    let colors = |look: Look| {
        let keys = Vec::new();
        let drawn = terminal(80, 24, |frame| {
            run_view::draw(frame, &finished(), RunScreen::default(), &keys, &look);
        });
        let cells = drawn.backend().buffer().content.clone();
        let count = |is: &dyn Fn(&ratatui::buffer::Cell) -> bool| {
            cells.iter().filter(|cell| is(cell)).count()
        };
        (
            count(&|cell| cell.fg != Color::Reset || cell.bg != Color::Reset),
            count(&|cell| cell.modifier.contains(Modifier::DIM)),
            count(&|cell| cell.modifier.contains(Modifier::BOLD)),
        )
    };
    let (colored, plain) = (colors(Look::colored()), colors(Look::plain()));
    assert!(colored.0 > 50 && plain.0 == 0, "{colored:?} {plain:?}");
    assert!(plain.1 > 50 && plain.2 > 50, "{plain:?}");
}
