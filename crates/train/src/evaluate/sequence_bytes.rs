//! The exchange of sequences' losses between ranks.

use mixdown_runs::{DocumentLoss, SequenceLoss};

use crate::error::Error;
use crate::ranks::ProcessGroup;

/// Returns the sequences of each rank, given those of this one.
pub(crate) fn gather(
    group: &mut ProcessGroup,
    own: &[SequenceLoss],
) -> Result<Vec<Vec<SequenceLoss>>, Error> {
    let all = group.all_gather(to_bytes(own))?;
    Ok(all.iter().map(|bytes| from_bytes(bytes)).collect())
}

/// Encodes each sequence as its loss, its targets and the number of its documents, and each of its documents as its
/// number, loss and targets: eight little-endian bytes each.
fn to_bytes(sequences: &[SequenceLoss]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for sequence in sequences {
        bytes.extend(sequence.loss.to_le_bytes());
        bytes.extend(sequence.targets.to_le_bytes());
        bytes.extend((sequence.documents.len() as u64).to_le_bytes());
        for part in &sequence.documents {
            bytes.extend(part.document.to_le_bytes());
            bytes.extend(part.loss.to_le_bytes());
            bytes.extend(part.targets.to_le_bytes());
        }
    }
    bytes
}

/// Decodes the sequences that are complete; every rank runs the same program.
fn from_bytes(bytes: &[u8]) -> Vec<SequenceLoss> {
    let mut values = bytes.as_chunks().0.iter();
    let mut next = || values.next().copied();
    let mut sequences = Vec::new();
    while let (Some(loss), Some(targets), Some(documents)) = (next(), next(), next()) {
        let parts = (0..u64::from_le_bytes(documents)).map_while(|_| {
            Some(DocumentLoss {
                document: u64::from_le_bytes(next()?),
                loss: f64::from_le_bytes(next()?),
                targets: u64::from_le_bytes(next()?),
            })
        });
        let documents = parts.collect();
        let (loss, targets) = (f64::from_le_bytes(loss), u64::from_le_bytes(targets));
        sequences.push(SequenceLoss { loss, targets, documents });
    }
    sequences
}

#[cfg(test)]
mod tests {
    use mixdown_runs::{DocumentLoss, SequenceLoss};

    use super::{from_bytes, to_bytes};

    #[test]
    fn sequences_come_back_bit_by_bit() {
        let part = |document: u64, loss: f64| DocumentLoss { document, loss, targets: 3 };
        let sequences = [
            SequenceLoss {
                loss: 1.0 / 3.0,
                targets: 6,
                documents: vec![part(4, 0.1), part(5, 0.2)],
            },
            SequenceLoss { loss: f64::NAN, targets: 0, documents: Vec::new() },
            SequenceLoss { loss: -0.0, targets: 3, documents: vec![part(u64::MAX, 1e-300)] },
        ];
        let back = from_bytes(&to_bytes(&sequences));
        assert_eq!(format!("{back:?}"), format!("{sequences:?}"));
        assert!(from_bytes(&[]).is_empty());
    }
}
