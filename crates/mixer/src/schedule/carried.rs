//! The schedule of a later stage, which continues from what earlier stages owe to the sources.

use crate::mixture::shares::ratio;
use crate::schedule::Placement;
use crate::schedule::fork::ForkSide;
use crate::schedule::residual::Residual;
use crate::schedule::tree::{Child, TreePosition, joins};

/// The sources of a stage after the first one, each of which continues from its residual.
///
/// The tree is the Huffman tree of the stage's parts, and every inner node is a [`CarriedFork`] of its slots. A source
/// that no longer has a part stays in the tree while it is owed sequences or was given too many.
#[derive(Debug, Clone)]
pub(crate) struct Carried {
    nodes: Vec<CarriedNode>,
    /// The parent node of each member and its side; empty with a single member.
    leaves: Vec<TreePosition>,
    /// The proven bound of |count − W| within this stage for each member.
    bounds: Vec<f64>,
}

#[derive(Debug, Clone)]
struct CarriedNode {
    split: CarriedFork,
    first: Child,
    second: Child,
    parent: Option<TreePosition>,
}

/// The growth of the members' expected sequences: after n slots a member's are (`linear`·n + `square`·n²) / `total`.
#[derive(Debug, Clone)]
pub(crate) struct Growth {
    /// The linear coefficient of each member.
    pub(crate) linear: Vec<u64>,
    /// The square coefficient of each member; empty if the weights are constant.
    pub(crate) square: Vec<i64>,
    /// The common denominator, at most 2⁶³ − 1.
    pub(crate) total: u64,
}

/// The slots of a node, split between its two children.
///
/// Of `slots` further slots the first side gets T = ⌊(linear·slots + square·slots² + offset) / total⌋, limited to the
/// range from 0 to `slots`: so each slot goes to exactly one side, even if the earlier weights would have put T outside
/// this range.
#[derive(Debug, Clone, Copy)]
struct CarriedFork {
    linear: u64,
    square: i64,
    total: u64,
    offset: i128,
    /// The offset, if products with it fit in 64 bits.
    narrow: Option<i64>,
}

/// The largest lead and lag of a node, in sequences.
#[derive(Debug, Clone, Copy, Default)]
struct LeadAndLag {
    lead: f64,
    lag: f64,
}

/// Below this total a 64-bit division is enough.
const NARROW: u64 = 1 << 31;

impl Carried {
    /// Makes the schedule of members with this growth that are owed `residuals`. If weights change, there are at most
    /// two members.
    pub(crate) fn new(growth: &Growth, residuals: &[Residual]) -> Self {
        let members = growth.linear.len();
        let mut tree = Self {
            nodes: Vec::with_capacity(members),
            leaves: vec![TreePosition { node: 0, side: ForkSide::First }; members],
            bounds: vec![0.0; members],
        };
        let mut owed: Vec<Residual> = Vec::with_capacity(members);
        let square = growth.square.first().copied().unwrap_or(0);
        let joins = joins(&growth.linear);
        let root = joins.len().saturating_sub(1);
        for [first, second] in joins {
            let node = tree.nodes.len();
            let residual = |child| match child {
                Child::Source(member) => residuals.get(member).copied().unwrap_or_default(),
                Child::Node(node) => owed.get(node).copied().unwrap_or_default(),
            };
            let (one, other) = (residual(first.child), residual(second.child));
            // All sources together are owed nothing.
            let both = if node == root { Residual::default() } else { one.plus(other) };
            owed.push(both);
            let split = match (first.parts, first.parts + second.parts) {
                // If neither has a part, the one that is owed more comes first.
                (_, 0) => CarriedFork::new(1, 0, 2, one, both),
                (part, parts) if square == 0 => CarriedFork::new(part, 0, parts, one, both),
                (part, _) => CarriedFork::new(part, square, growth.total, one, both),
            };
            for (child, side) in [(first.child, ForkSide::First), (second.child, ForkSide::Second)]
            {
                let place = TreePosition { node, side };
                match child {
                    Child::Source(member) => tree.leaves[member] = place,
                    Child::Node(below) => tree.nodes[below].parent = Some(place),
                }
            }
            let (first, second) = (first.child, second.child);
            tree.nodes.push(CarriedNode { split, first, second, parent: None });
        }
        tree.find_bounds(residuals, &owed);
        tree
    }

    /// Finds the bounds from the root down: a side's bound is half a sequence more than its share of the node's, unless
    /// it begins with more, or waits for a source that was given too many.
    fn find_bounds(&mut self, residuals: &[Residual], owed: &[Residual]) {
        let mut reaches = vec![LeadAndLag::default(); self.nodes.len()];
        for (place, node) in self.nodes.iter().enumerate().rev() {
            let own = reaches[place];
            let residual = |child| match child {
                Child::Source(member) => residuals[member].sequences(),
                Child::Node(node) => owed[node].sequences(),
            };
            let sides = [
                (node.first, node.second, ForkSide::First, node.split.target(0) > 0),
                (node.second, node.first, ForkSide::Second, node.split.target(0) < 0),
            ];
            for (child, sibling, side, waits) in sides {
                let share = node.split.share(side);
                let (start, ahead) = (residual(child), -residual(sibling));
                let lead = (0.5 + share * own.lead).max(-start);
                let mut lag = (0.5 + share * own.lag).max(start);
                if waits {
                    lag = lag.max(own.lag + ahead.max(0.0));
                }
                match child {
                    Child::Source(member) => self.bounds[member] = lead.max(lag),
                    Child::Node(below) => reaches[below] = LeadAndLag { lead, lag },
                }
            }
        }
    }

    /// Returns the member of a slot of the stage, and the number of its earlier sequences in the stage.
    pub(crate) fn at(&self, slot: u64) -> Placement {
        let mut sequence = slot;
        let Some(root) = self.nodes.len().checked_sub(1) else {
            return Placement { source: 0, sequence };
        };
        let mut child = Child::Node(root);
        loop {
            match child {
                Child::Source(member) => {
                    let source = u32::try_from(member).unwrap_or(u32::MAX);
                    return Placement { source, sequence };
                }
                Child::Node(node) => {
                    let node = &self.nodes[node];
                    let before = node.split.count(sequence);
                    (child, sequence) = match node.split.count(sequence.saturating_add(1)) > before
                    {
                        true => (node.first, before),
                        false => (node.second, sequence - before),
                    };
                }
            }
        }
    }

    /// Returns how many of the stage's first `slots` belong to a member.
    pub(crate) fn count(&self, member: usize, slots: u64) -> u64 {
        if self.nodes.is_empty() {
            return slots;
        }
        self.leaves.get(member).map_or(0, |&leaf| self.count_below(leaf, slots))
    }

    fn count_below(&self, place: TreePosition, slots: u64) -> u64 {
        let node = &self.nodes[place.node];
        let arriving = node.parent.map_or(slots, |parent| self.count_below(parent, slots));
        node.split.count_of(place.side, arriving)
    }

    /// Returns the slot of a member's sequence within the stage, if it is among the first `slots`.
    pub(crate) fn slot_of(&self, member: usize, sequence: u64, slots: u64) -> Option<u64> {
        if self.count(member, slots) <= sequence {
            return None;
        }
        let mut slot = sequence;
        let mut place = self.leaves.get(member).copied().filter(|_| !self.nodes.is_empty());
        while let Some(TreePosition { node, side }) = place {
            let node = &self.nodes[node];
            let end = node.parent.map_or(slots, |parent| self.count_below(parent, slots));
            slot = node.split.slot_of(side, slot, end);
            place = node.parent;
        }
        Some(slot)
    }

    /// Returns the proven bound of a member's |count − W|.
    pub(crate) fn bound(&self, member: usize) -> f64 {
        self.bounds.get(member).copied().unwrap_or(0.0)
    }
}

impl CarriedFork {
    fn new(linear: u64, square: i64, total: u64, first: Residual, both: Residual) -> Self {
        let offset = first.fork_offset(linear, total, both);
        let narrow = i64::try_from(offset).ok().filter(|offset| offset.unsigned_abs() < 1 << 62);
        let narrow = narrow.filter(|_| square == 0 && total < NARROW);
        Self { linear, square, total, offset, narrow }
    }

    /// Returns how many of `slots` the first side gets by its share and what it is owed.
    #[inline]
    fn target(&self, slots: u64) -> i128 {
        if self.square != 0 {
            let slots = i128::from(slots);
            let grown = i128::from(self.linear) * slots + i128::from(self.square) * slots * slots;
            return (grown + self.offset).div_euclid(i128::from(self.total));
        }
        let (periods, rest) = (slots / self.total, slots % self.total);
        let whole = i128::from(periods) * i128::from(self.linear);
        let product = i64::try_from(rest.wrapping_mul(self.linear));
        if let (Some(offset), Ok(product), Ok(total)) =
            (self.narrow, product, i64::try_from(self.total))
        {
            return whole + i128::from((product + offset).div_euclid(total));
        }
        let numerator = i128::from(rest) * i128::from(self.linear) + self.offset;
        whole + numerator.div_euclid(i128::from(self.total))
    }

    /// Returns how many of `slots` the first side gets.
    #[inline]
    fn count(&self, slots: u64) -> u64 {
        u64::try_from(self.target(slots).max(0)).unwrap_or(u64::MAX).min(slots)
    }

    fn count_of(&self, side: ForkSide, slots: u64) -> u64 {
        let first = self.count(slots);
        match side {
            ForkSide::First => first,
            ForkSide::Second => slots - first,
        }
    }

    /// Returns the slot, among the first `end`, that is number `index` (from 0) of `side`, if it lies there.
    fn slot_of(&self, side: ForkSide, index: u64, end: u64) -> u64 {
        let (mut least, mut most) = (index, end);
        // `side` has more than `index` of the first `most` slots.
        while least < most {
            let middle = least + (most - least) / 2;
            if self.count_of(side, middle) > index { most = middle } else { least = middle + 1 }
        }
        most.saturating_sub(1)
    }

    /// Returns the largest share of a further slot that a side is due. If weights change, there is only one node, and
    /// nothing from above it to share.
    fn share(&self, side: ForkSide) -> f64 {
        let parts = match side {
            _ if self.square != 0 => self.total,
            ForkSide::First => self.linear,
            ForkSide::Second => self.total - self.linear,
        };
        ratio(parts, self.total)
    }
}
