//! The screen of a board.

use mixdown_base::display::{duration_in_one_unit, plural, short};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Row, Table, TableState};

use crate::board::{Board, BoardLine, RunStatus};
use crate::run_data::RunState;
use crate::view::look::Look;
use crate::view::text::{change, clean, fitting, loss, shortened, to_f64, width};
use mixdown_base::display::{percent, thousands};

const GAP: usize = 2;
/// The least width to which a name is cut, or a quarter of the screen.
const NAME_COLUMNS: usize = 14;

/// A column: its head and its value for a run.
struct Column {
    head: &'static str,
    /// The columns of the lowest rank are shown if there is no space for all.
    rank: u8,
    text: fn(&BoardLine) -> String,
}

const COLUMNS: [Column; 10] = [
    Column { head: "run", rank: 0, text: |line| line.name.clone() },
    Column { head: "N", rank: 7, text: |line| count(line.model_size) },
    Column { head: "D", rank: 6, text: |line| count(line.target_tokens) },
    Column { head: "p", rank: 5, text: |line| line.inject.map_or_else(String::new, percent) },
    Column { head: "seed", rank: 9, text: |line| whole(line.seed) },
    Column { head: "state", rank: 1, text: |line| status(&line.status) },
    Column { head: "step", rank: 4, text: steps },
    Column { head: "target", rank: 2, text: |line| value(line.target_loss) },
    Column { head: "pretraining", rank: 8, text: |line| value(line.pretraining_loss) },
    Column { head: "forgetting", rank: 3, text: |line| signed(line.forgetting) },
];

/// Draws a board: counts, the table, and the keys at the bottom.
pub fn draw(frame: &mut Frame, board: &Board, chosen: usize, keys: &[String], look: &Look) {
    let heights = [Constraint::Length(2), Constraint::Min(0), Constraint::Length(1)];
    let [head, body, foot] = Layout::vertical(heights).areas(frame.area());
    let columns = usize::from(head.width);
    let said = match &board.damage {
        Some(damage) => Line::styled(damage.clone(), look.bad),
        None if board.lines.is_empty() => Line::default(),
        None => Line::raw(fitting(&counts(board), columns)),
    };
    let title = Line::styled(shortened(&clean(&board.title), columns), look.title);
    for (line, place) in [title, said].into_iter().zip(head.rows()) {
        frame.render_widget(line, place);
    }
    if board.lines.is_empty() {
        frame.render_widget(Line::styled("no run has begun yet", look.dim), body);
    } else {
        table(frame, body, board, chosen, look);
    }
    // The reason of a failed run does not fit into the table.
    let foot_line = match board.lines.get(chosen).map(|line| &line.status) {
        Some(RunStatus::Failed(reason)) => {
            Line::styled(shortened(&clean(reason), columns), look.bad)
        }
        _ => Line::styled(fitting(keys, columns), look.dim),
    };
    frame.render_widget(foot_line, foot);
}

/// Returns the counts of runs by status, without base models.
pub fn counts(board: &Board) -> Vec<String> {
    let (bases, runs): (Vec<&BoardLine>, Vec<&BoardLine>) =
        board.lines.iter().partition(|line| line.is_base);
    let count =
        |is: &dyn Fn(&RunStatus) -> bool| runs.iter().filter(|line| is(&line.status)).count();
    let done = RunStatus::Begun(RunState::Done);
    let others = [
        (count(&|one| *one == RunStatus::Begun(RunState::Running)), "running"),
        (count(&|one| matches!(one, RunStatus::Begun(RunState::Stopped(_)))), "stopped"),
        (count(&|one| matches!(one, RunStatus::Failed(_))), "failed"),
        (
            count(&|one| matches!(one, RunStatus::Planned | RunStatus::Begun(RunState::Waiting))),
            "waiting",
        ),
    ];
    let others = others.into_iter().filter(|(count, _)| *count > 0);
    let first =
        format!("{} of {} done", count(&|one| *one == done), plural(runs.len() as u64, "run"));
    let left = bases.iter().filter(|base| base.status != done).count();
    let left = (left > 0).then(|| format!("base models left: {left}"));
    let others = others.map(|(count, name)| format!("{count} {name}"));
    std::iter::once(first).chain(others).chain(left).collect()
}

fn table(frame: &mut Frame, area: Rect, board: &Board, chosen: usize, look: &Look) {
    let shown = shown(board, usize::from(area.width));
    let heads = shown.iter().map(|(column, columns)| cell(column.head, *columns, column.rank));
    let header = Row::new(heads.collect::<Vec<_>>()).style(look.dim);
    let rows = board.lines.iter().map(|line| {
        let cells = shown.iter().map(|(column, columns)| {
            let text = shortened(&(column.text)(line), *columns);
            let style = if column.rank == 1 { color(&line.status, look) } else { Style::new() };
            cell(&text, *columns, column.rank).style(style)
        });
        Row::new(cells.collect::<Vec<_>>())
    });
    let widths = shown
        .iter()
        .map(|(_, columns)| Constraint::Length(u16::try_from(*columns).unwrap_or(u16::MAX)));
    let gap = u16::try_from(GAP).unwrap_or(1);
    let table = Table::new(rows, widths).header(header).column_spacing(gap);
    let mut state = TableState::new().with_selected(Some(chosen));
    frame.render_stateful_widget(table.row_highlight_style(look.chosen), area, &mut state);
}

/// Formats a cell: names and states are left-aligned, numbers right-aligned.
fn cell(text: &str, columns: usize, rank: u8) -> Cell<'static> {
    let gap = if rank < 2 { 0 } else { columns.saturating_sub(width(text)) };
    Cell::new(Text::raw(format!("{}{text}", " ".repeat(gap))))
}

/// Returns the columns that fit, with their widths: by rank, with a shorter name if that helps.
fn shown(board: &Board, room: usize) -> Vec<(&'static Column, usize)> {
    let widest = |column: &Column| {
        let cells = board.lines.iter().map(|line| width(&(column.text)(line)));
        cells.max().unwrap_or(0).max(width(column.head))
    };
    let is_said = |column: &Column| {
        column.rank < 2 || board.lines.iter().any(|line| !(column.text)(line).is_empty())
    };
    let mut by_rank: Vec<(&Column, usize)> = COLUMNS
        .iter()
        .filter(|column| is_said(column))
        .map(|column| (column, widest(column)))
        .collect();
    by_rank.sort_by_key(|(column, _)| column.rank);
    let total = |columns: &[(&Column, usize)]| {
        columns.iter().map(|(_, width)| width + GAP).sum::<usize>().saturating_sub(GAP)
    };
    let name = by_rank.first().map_or(0, |(_, width)| *width);
    let least = name.min(NAME_COLUMNS.max(room / 4));
    while by_rank.len() > 1 && total(&by_rank) - (name - least) > room {
        by_rank.pop();
    }
    let excess = total(&by_rank).saturating_sub(room);
    if let Some((_, width)) = by_rank.first_mut() {
        *width = width.saturating_sub(excess);
    }
    let place = |column: &Column| COLUMNS.iter().position(|one| one.rank == column.rank);
    by_rank.sort_by_key(|(column, _)| place(column));
    by_rank
}

fn color(status: &RunStatus, look: &Look) -> Style {
    match status {
        RunStatus::Begun(RunState::Running) => look.good,
        RunStatus::Begun(RunState::Stopped(_)) | RunStatus::Failed(_) => look.bad,
        RunStatus::Begun(RunState::Waiting) | RunStatus::Planned => look.dim,
        RunStatus::Begun(RunState::Done) => Style::new(),
    }
}

/// Formats the status of a run in a word or two.
pub fn status(status: &RunStatus) -> String {
    match status {
        RunStatus::Planned => "waiting".to_owned(),
        RunStatus::Failed(_) => "failed".to_owned(),
        RunStatus::Begun(RunState::Stopped(seconds)) => {
            format!("stopped {}", duration_in_one_unit(to_f64(*seconds)))
        }
        RunStatus::Begun(state) => state.name().to_owned(),
    }
}

fn steps(line: &BoardLine) -> String {
    let is_done = line.status == RunStatus::Begun(RunState::Done);
    match (line.step, line.steps) {
        (Some(step), _) if is_done => format!("best {}", thousands(step)),
        (Some(step), Some(steps)) => format!("{}/{}", thousands(step), thousands(steps)),
        (Some(step), None) => thousands(step),
        (None, _) => String::new(),
    }
}

fn count(count: Option<u64>) -> String {
    count.map_or_else(String::new, |count| short(to_f64(count)))
}

fn whole(count: Option<u64>) -> String {
    count.map_or_else(String::new, |count| count.to_string())
}

fn value(value: Option<f64>) -> String {
    value.map_or_else(String::new, loss)
}

fn signed(value: Option<f64>) -> String {
    value.map_or_else(String::new, change)
}
