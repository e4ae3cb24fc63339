//! Texts cut where every known pattern of byte-level BPE begins a word whatever the context: before a space between two
//! ASCII letters. The ids of the pieces are the ids of the whole.

use crate::tokenizer::disputed::first_disputed;

/// The size in bytes from which a piece ends at the next cut, so that the ids of a long document are not held twice.
const PIECE_BYTES: usize = 1 << 20;

/// The library that decides on the ids of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judge {
    /// Both libraries give the same ids.
    Either,
    /// 0.23 decides, because the piece has a disputed character.
    Reference,
}

/// Calls a function with the pieces of a text. Pieces with disputed characters, if these are searched for, are as short
/// as the cuts allow.
pub(crate) fn for_each_piece<E>(
    text: &str,
    looks_for_disputed: bool,
    mut show: impl FnMut(&str, Judge) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = text;
    while looks_for_disputed && let Some(place) = first_disputed(rest) {
        let before = rest.as_bytes().get(..place).unwrap_or_default();
        let start = before.windows(3).rposition(is_cut).map_or(0, |cut| cut + 1);
        let (either, later) = rest.split_at(start);
        let (disputed, later) = later.split_at(next_cut(later, place - start));
        show_in_parts(either, &mut show)?;
        show(disputed, Judge::Reference)?;
        rest = later;
    }
    show_in_parts(rest, &mut show)
}

fn show_in_parts<E>(
    mut text: &str,
    show: &mut impl FnMut(&str, Judge) -> Result<(), E>,
) -> Result<(), E> {
    while !text.is_empty() {
        let (part, later) = text.split_at(next_cut(text, PIECE_BYTES));
        show(part, Judge::Either)?;
        text = later;
    }
    Ok(())
}

/// Returns the first cut after `from`; the end of the text if there is none.
fn next_cut(text: &str, from: usize) -> usize {
    let after = text.as_bytes().get(from..).unwrap_or_default();
    after.windows(3).position(is_cut).map_or(text.len(), |cut| from + cut + 1)
}

/// Returns whether a word begins with the second of three bytes.
fn is_cut(bytes: &[u8]) -> bool {
    matches!(bytes, [left, b' ', right] if left.is_ascii_alphabetic() && right.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str, looks_for_disputed: bool) -> Vec<(String, Judge)> {
        let mut pieces = Vec::new();
        let shown: Result<(), ()> = for_each_piece(text, looks_for_disputed, |piece, judge| {
            pieces.push((piece.to_owned(), judge));
            Ok(())
        });
        shown.unwrap();
        pieces
    }

    #[test]
    fn disputed_characters_stand_in_short_pieces() {
        let text = "one two, three fo\u{2e43}ur five six \u{2e43} seven 8 nine";
        let found = pieces(text, true);
        let (either, reference) = (Judge::Either, Judge::Reference);
        let expected = [
            ("one two, three", either),
            (" fo\u{2e43}ur", reference),
            (" five", either),
            (" six \u{2e43} seven 8 nine", reference),
        ];
        assert_eq!(found, expected.map(|(piece, judge)| (piece.to_owned(), judge)));
        assert_eq!(pieces(text, false), [(text.to_owned(), either)]);
        assert_eq!(pieces("", true), []);
        assert_eq!(pieces("\u{2e43}", true), [("\u{2e43}".to_owned(), reference)]);
    }

    #[test]
    fn long_texts_come_in_parts() {
        let text = "abc ".repeat(PIECE_BYTES);
        let found = pieces(&text, true);
        assert_eq!(found.len(), 4);
        assert!(found.iter().all(|(piece, _)| piece.len() <= PIECE_BYTES + 4));
        assert_eq!(found.iter().map(|(piece, _)| piece.as_str()).collect::<String>(), text);
        assert_eq!(pieces(&"é".repeat(PIECE_BYTES), true).len(), 1);
    }
}
