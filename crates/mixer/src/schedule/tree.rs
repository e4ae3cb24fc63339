//! The schedule of long periods: a closed form over a Huffman tree of the sources.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::schedule::Placement;
use crate::schedule::fork::{Fork, ForkSide};

/// Many sources in the proportion of their integer parts, without a table.
///
/// Every inner node is a [`Fork`] between its two children; a slot descends from the root, a sequence climbs from its
/// leaf. Both cost one division per level, and the depth is at most 91, because parts on a path grow at least like
/// Fibonacci numbers; for the same reason no source is ever 1.68 sequences off its share (docs/design/mixing.md has the
/// proof).
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    nodes: Vec<TreeNode>,
    /// The parent node and side of each source.
    leaves: Vec<TreePosition>,
}

#[derive(Debug, Clone)]
struct TreeNode {
    fork: Fork,
    first: Child,
    second: Child,
    /// `None` for the root, which is the last node.
    parent: Option<TreePosition>,
}

/// The child of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Child {
    Source(usize),
    Node(usize),
}

/// The parent node, and the side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TreePosition {
    pub(crate) node: usize,
    pub(crate) side: ForkSide,
}

/// A subtree that waits to be joined: its parts, its first source, and itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subtree {
    pub(crate) parts: u64,
    first_source: usize,
    pub(crate) child: Child,
}

/// Returns the pairs that a Huffman tree over `parts` joins, in order: the n-th becomes node n.
///
/// The two lightest subtrees are joined until one is left; among equals, those whose first source is listed first. In a
/// pair, the child with the source listed first comes first.
pub(crate) fn joins(parts: &[u64]) -> Vec<[Subtree; 2]> {
    let mut joins: Vec<[Subtree; 2]> = Vec::with_capacity(parts.len());
    // The first source makes every key of the heap different, so its order is total.
    let mut heap: BinaryHeap<Reverse<(u64, usize, usize)>> = BinaryHeap::new();
    let mut children: Vec<Child> = (0..parts.len()).map(Child::Source).collect();
    for (source, &part) in parts.iter().enumerate() {
        heap.push(Reverse((part, source, source)));
    }
    while let (Some(Reverse(lightest)), Some(Reverse(next))) = (heap.pop(), heap.pop()) {
        let pair = in_listed_order(lightest, next).map(|(parts, source, child)| Subtree {
            parts,
            first_source: source,
            child: children[child],
        });
        let [first, second] = pair;
        children.push(Child::Node(joins.len()));
        heap.push(Reverse((first.parts + second.parts, first.first_source, children.len() - 1)));
        joins.push(pair);
    }
    joins
}

impl Tree {
    /// Makes a tree over `parts` (at least two, each at least 1, together at most 2⁶³ − 1).
    ///
    /// Its shape is that of [`joins`]; the child with the source listed first gets the ties.
    pub(crate) fn new(parts: &[u64]) -> Self {
        let mut tree = Self {
            nodes: Vec::with_capacity(parts.len()),
            leaves: vec![TreePosition { node: 0, side: ForkSide::First }; parts.len()],
        };
        for [first, second] in joins(parts) {
            tree.join(&first, &second);
        }
        tree
    }

    fn join(&mut self, first: &Subtree, second: &Subtree) {
        let node = self.nodes.len();
        for (child, side) in [(first.child, ForkSide::First), (second.child, ForkSide::Second)] {
            let place = TreePosition { node, side };
            match child {
                Child::Source(source) => self.leaves[source] = place,
                Child::Node(below) => self.nodes[below].parent = Some(place),
            }
        }
        self.nodes.push(TreeNode {
            fork: Fork::new(first.parts, second.parts),
            first: first.child,
            second: second.child,
            parent: None,
        });
    }

    /// Returns the source of a slot of the first period and its sequence there.
    pub(crate) fn at(&self, slot: u64) -> Placement {
        let mut sequence = slot;
        let mut child = Child::Node(self.nodes.len() - 1);
        loop {
            match child {
                Child::Source(source) => {
                    return Placement {
                        source: u32::try_from(source).unwrap_or(u32::MAX),
                        sequence,
                    };
                }
                Child::Node(node) => (child, sequence) = self.nodes[node].descend(sequence),
            }
        }
    }

    /// Returns how many of the first `slots` of a period belong to `source`.
    pub(crate) fn count(&self, source: u32, slots: u64) -> u64 {
        self.count_below(self.leaf(source), slots)
    }

    fn count_below(&self, place: TreePosition, slots: u64) -> u64 {
        let node = &self.nodes[place.node];
        let arriving = node.parent.map_or(slots, |parent| self.count_below(parent, slots));
        node.fork.count(place.side, arriving)
    }

    /// Returns the slot within the period of a source's sequence within the period.
    pub(crate) fn slot_of(&self, source: u32, sequence: u64) -> u64 {
        let mut place = Some(self.leaf(source));
        let mut slot = sequence;
        while let Some(TreePosition { node, side }) = place {
            slot = self.nodes[node].fork.slot_of(side, slot);
            place = self.nodes[node].parent;
        }
        slot
    }

    /// Returns the proven bound of one source: ½·Σ w(leaf)/w(node) over its path without the root.
    pub(crate) fn deviation_bound(&self, source: u32) -> f64 {
        let leaf = self.leaf(source);
        let leaf_parts = self.nodes[leaf.node].fork.parts(leaf.side);
        let mut bound = 0.0;
        let mut place = Some(leaf);
        while let Some(TreePosition { node, side }) = place {
            let parts = self.nodes[node].fork.parts(side);
            bound += 0.5 * crate::mixture::shares::ratio(leaf_parts, parts);
            place = self.nodes[node].parent;
        }
        bound
    }

    fn leaf(&self, source: u32) -> TreePosition {
        self.leaves[usize::try_from(source).unwrap_or(usize::MAX)]
    }
}

impl TreeNode {
    /// Returns the child that takes this node's slot, and the number of its earlier slots.
    fn descend(&self, slot: u64) -> (Child, u64) {
        let step = self.fork.step(slot);
        match step.side {
            ForkSide::First => (self.first, step.first_count),
            ForkSide::Second => (self.second, slot - step.first_count),
        }
    }
}

type Key = (u64, usize, usize);

fn in_listed_order(one: Key, other: Key) -> [Key; 2] {
    if one.1 < other.1 { [one, other] } else { [other, one] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_on_a_path_grow_like_fibonacci_numbers() {
        let mut state = 7_u64;
        for sources in 3..80_usize {
            let parts: Vec<u64> = (0..sources)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                    1 + (state >> 33) % (1 << (state >> 59))
                })
                .collect();
            let tree = Tree::new(&parts);
            for (source, &part) in parts.iter().enumerate() {
                let mut weights = vec![part];
                let mut place = Some(tree.leaves[source]);
                while let Some(TreePosition { node, .. }) = place {
                    let fork = tree.nodes[node].fork;
                    weights.push(fork.parts(ForkSide::First) + fork.parts(ForkSide::Second));
                    place = tree.nodes[node].parent;
                }
                assert!(weights.windows(3).all(|w| w[2] >= w[1] + w[0]), "{weights:?}");
                assert_eq!(*weights.last().unwrap(), parts.iter().sum::<u64>());
                assert!(tree.deviation_bound(u32::try_from(source).unwrap()) < 1.68);
            }
        }
    }

    #[test]
    fn the_deepest_tree_stays_within_the_bound_and_the_stack() {
        let mut parts = vec![1_u64, 1];
        while parts.iter().sum::<u64>() < u64::MAX >> 3 {
            parts.push(parts[parts.len() - 1] + parts[parts.len() - 2]);
        }
        let tree = Tree::new(&parts);
        let period: u64 = parts.iter().sum();
        for slot in [0, 1, period / 3, period / 2, period - 1] {
            let placement = tree.at(slot);
            assert_eq!(tree.slot_of(placement.source, placement.sequence), slot);
            assert_eq!(tree.count(placement.source, slot), placement.sequence);
        }
        assert!(tree.deviation_bound(0) < 1.680);
    }
}
