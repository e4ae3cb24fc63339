//! What tables of runs look like, and that no name and no size harms a frame.

use mixdown_runs::MetricsRecord;

use crate::board::{Board, BoardLine, RunStatus};
use crate::description::Description;
use crate::run_data::{RunData, RunState};
use crate::view::board_view;
use crate::view::look::Look;
use crate::view::run_view;
use crate::view::run_view::RunScreen;
use crate::view::view_tests::{
    description, eval, finished, record, run, run_screen, screen, terminal,
};

const HOSTILE: &str = "\u{1b}]0;title\u{7}\u{1b}[2J模型模型模型 Größe 🦀\r\n\u{202e}\u{9b}31m";

fn board_screen(width: u16, height: u16, board: &Board, chosen: usize) -> String {
    let keys = ["q end", "↑↓ choose", "Enter open"].map(str::to_owned);
    screen(width, height, |frame| {
        board_view::draw(frame, board, chosen, &keys, &Look::plain());
    })
}

fn board() -> Board {
    let done = |name: &str, inject: f64, forgetting: f64| BoardLine {
        model_size: Some(1_270_000),
        target_tokens: Some(50_000),
        inject: Some(inject),
        seed: Some(0),
        status: RunStatus::Begun(RunState::Done),
        step: Some(80),
        steps: Some(200),
        target_loss: Some(4.4),
        pretraining_loss: Some(4.1 + forgetting),
        forgetting: Some(forgetting),
        ..BoardLine::planned(name)
    };
    let line = |name: &str, status| BoardLine { status, ..BoardLine::planned(name) };
    let reason = "step 2: expected a finite training loss, got NaN".to_owned();
    Board {
        title: "sweep math".to_owned(),
        lines: vec![
            BoardLine {
                is_base: true,
                ..BoardLine::of_run(&RunData {
                    description: Description::parse("title = 'base 5M'\n[train]\nsteps = 200"),
                    ..run(150, RunState::Running)
                })
            },
            done("math-5M-50k-0pct-seed0", 0.0, 1.6043),
            done("math-5M-50k-1pct-seed0", 0.01, 1.2209),
            BoardLine::of_run(&run(110, RunState::Running)),
            BoardLine::of_run(&run(40, RunState::Stopped(7300))),
            line("math-5M-100k-0pct-seed0", RunStatus::Failed(reason)),
            line("math-5M-100k-1pct-seed0", RunStatus::Planned),
        ],
        damage: None,
    }
}

#[test]
fn a_sweep() {
    insta::assert_snapshot!(board_screen(100, 12, &board(), 3), @"
    sweep math
    2 of 6 runs done   1 running   1 stopped   1 failed   1 waiting   base models left: 1
    run                          N    D    p  state           step  target  pretraining  forgetting
    base 5M                                   running      150/200               4.9625
    math-5M-50k-0pct-seed0   1.27M  50K  0 %  done         best 80  4.4000       5.7043     +1.6043
    math-5M-50k-1pct-seed0   1.27M  50K  1 %  done         best 80  4.4000       5.3209     +1.2209
    runs/math-1                     50K  1 %  running      110/200  4.4625       5.3528     +1.2528
    runs/math-1                     50K  1 %  stopped 2 h   40/200  4.6500       4.7931     +0.6931
    math-5M-100k-0pct-seed0                   failed
    math-5M-100k-1pct-seed0                   waiting

    q end   ↑↓ choose   Enter open
    ");
    insta::assert_snapshot!(board_screen(40, 8, &board(), 5), @"
    sweep math
    2 of 6 runs done   1 running   1 stopped
    run                  state        target
    math-5M-5…pct-seed0  done         4.4000
    runs/math-1          running      4.4625
    runs/math-1          stopped 2 h  4.6500
    math-5M-1…pct-seed0  failed
    step 2: expected a f…ining loss, got NaN
    ");
    let empty = Board { title: "sweep new".to_owned(), ..Board::default() };
    insta::assert_snapshot!(board_screen(40, 5, &empty, 0), @"
    sweep new

    no run has begun yet

    q end   ↑↓ choose   Enter open
    ");
}

#[test]
fn names_cannot_steer_the_terminal() {
    let mut run = RunData { description: Some(description(HOSTILE)), ..finished() };
    let evals = vec![eval(HOSTILE, 3.0)];
    run.curves.extend(vec![MetricsRecord { evals, ..record(201) }]);
    run.damage = Some(HOSTILE.to_owned());
    insta::assert_snapshot!(run_screen(60, 12, &run, RunScreen { panel: 4, is_logarithmic: false }), @"
    ]0;title[2J模型模型模型 Größe 🦀31m                     done
    step 201 of 200   100 %   took 58 s
    ]0;title[2J模型模型模型 Größe 🦀31m
    best 80 target 4.4000 (-1.0000)
    pretraining 5.1986 (+1.0986 forgotten)
    ]0;title[2J模型模型模型 Größe 🦀31m, held out   3.0000
    3.003│                     ⠨
         │                     ⢈                               ⠠
    2.997│                     ⢐
         └──────────────────────────────────────────────────────
         0                          100                      201
    q end   ←→ chart   l log scale
    ");
    let mut board = board();
    board.title = HOSTILE.to_owned();
    board.lines.push(BoardLine::of_run(&run));
    let reason = RunStatus::Failed(HOSTILE.to_owned());
    board.lines.push(BoardLine { status: reason, ..BoardLine::planned(HOSTILE) });
    let look = Look::colored();
    for (width, height) in [(60, 12), (31, 9), (7, 5)] {
        let drawn = [
            terminal(width, height, |frame| {
                run_view::draw(frame, &run, RunScreen::default(), &[HOSTILE.to_owned()], &look);
            }),
            terminal(width, height, |frame| board_view::draw(frame, &board, 8, &[], &look)),
        ];
        for cell in drawn.iter().flat_map(|terminal| &terminal.backend().buffer().content) {
            assert!(!cell.symbol().chars().any(char::is_control), "{:?}", cell.symbol());
        }
    }
}

#[test]
fn any_size_will_do() {
    let (run, board) = (finished(), board());
    for (width, height) in (1..110).step_by(7).flat_map(|w| (1..32).step_by(2).map(move |h| (w, h)))
    {
        run_screen(width, height, &run, RunScreen::default());
        board_screen(width, height, &board, 6);
    }
}
