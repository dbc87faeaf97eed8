//! Whether links at rest are what a builder makes.

use thiserror::Error;

use super::csr::Csr;
use super::link::{LINKS_PER_NODE_MAX, Scale};

/// What is wrong with a base, and where.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum Violation {
    #[error("the edges of node {node} begin at {start}, but those before it end at {expected}")]
    Start { node: u32, start: u32, expected: u64 },
    #[error("the edges of node {node} end at {end}, but there are {edges}")]
    End { node: u32, end: u64, edges: usize },
    #[error("{surplus} edges belong to no node")]
    Surplus { surplus: u64 },
    #[error("node {node} has {fan} links, and at most {LINKS_PER_NODE_MAX} are allowed")]
    Fan { node: u32, fan: u32 },
    #[error("node {node} links to {target}, but there are {nodes} nodes")]
    Target { node: u32, target: u32, nodes: u32 },
    #[error("the links of node {node} to {target} are out of order, or there are two of one kind")]
    Order { node: u32, target: u32 },
    #[error("the weight of the link from {node} to {target} is none that can be stored")]
    Weight { node: u32, target: u32 },
    #[error("the scale of node {node} is not what its links say")]
    Scale { node: u32 },
}

/// Looks at everything and tells each violation, at most one for a link and one for a scale. The
/// targets must be below `nodes`, which is more than the base has when others came later.
pub fn verify(base: Csr<'_>, nodes: u32, mut tell: impl FnMut(Violation)) {
    let mut expected = 0_u64;
    for (node, head) in (0..).zip(base.heads) {
        let (start, fan) = (head.start, head.scale.fan);
        if u64::from(start) != expected {
            tell(Violation::Start { node, start, expected });
        }
        let end = u64::from(start) + u64::from(fan);
        expected = end;
        if end > base.edges.len() as u64 {
            tell(Violation::End { node, end, edges: base.edges.len() });
            continue;
        }
        if fan > LINKS_PER_NODE_MAX {
            tell(Violation::Fan { node, fan });
            continue;
        }
        verify_links(base, node, nodes, &mut tell);
    }
    let surplus = (base.edges.len() as u64).saturating_sub(expected);
    if surplus > 0 {
        tell(Violation::Surplus { surplus });
    }
}

fn verify_links(base: Csr<'_>, node: u32, nodes: u32, tell: &mut impl FnMut(Violation)) {
    let mut units = 0_u64;
    let mut before = None;
    for edge in base.edges_of(node) {
        let target = edge.target;
        if target >= nodes {
            tell(Violation::Target { node, target, nodes });
        } else if before.is_some_and(|before| before >= edge.key()) {
            tell(Violation::Order { node, target });
        } else if !edge.weight.is_valid() {
            tell(Violation::Weight { node, target });
        }
        before = Some(edge.key());
        units += edge.weight.units();
    }
    let scale = base.scale(node);
    let meant = Scale::of(scale.fan, units);
    // Logarithms may differ in their last bit from one machine's library to another's.
    let is_close = (scale.ln_fan - meant.ln_fan).abs() <= meant.ln_fan * 1e-6;
    if scale.inverse_sum.to_bits() != meant.inverse_sum.to_bits() || !is_close {
        tell(Violation::Scale { node });
    }
}

#[cfg(test)]
mod tests {
    use super::super::csr::CsrBuf;
    use super::super::link::Link;
    use super::*;

    fn base() -> CsrBuf {
        let links = [(0, 1, 0), (0, 2, 0), (0, 2, 1), (2, 0, 0), (3, 3, 0)];
        let links =
            links.map(|(source, target, kind)| Link::new(source, target, kind, 0.5).unwrap());
        CsrBuf::build(4, links.to_vec()).unwrap()
    }

    fn violations(damage: impl Fn(&mut CsrBuf)) -> Vec<Violation> {
        let mut base = base();
        damage(&mut base);
        let mut violations = Vec::new();
        verify(base.view(), 4, |violation| violations.push(violation));
        violations
    }

    #[test]
    fn what_the_builder_makes_is_in_order() {
        assert_eq!(violations(|_| {}), []);
    }

    #[test]
    fn every_kind_of_damage_is_told() {
        use Violation as V;
        let start = V::Start { node: 1, start: 2, expected: 3 };
        let starts = violations(|base| base.heads[1].start = 2);
        assert_eq!(starts[..], [start, V::Start { node: 2, start: 3, expected: 2 }]);
        let end = violations(|base| base.heads[3].scale.fan = 2);
        assert_eq!(end, [V::End { node: 3, end: 6, edges: 5 }]);
        let surplus = violations(|base| base.heads.truncate(3));
        assert_eq!(surplus, [V::Surplus { surplus: 1 }]);
        let target = violations(|base| base.edges[3].target = 4);
        assert_eq!(target, [V::Target { node: 2, target: 4, nodes: 4 }]);
        let order = violations(|base| base.edges.swap(1, 2));
        assert_eq!(order, [V::Order { node: 0, target: 2 }]);
        let twice = violations(|base| base.edges[2].kind = 0);
        assert_eq!(twice, [V::Order { node: 0, target: 2 }]);
        let scale = violations(|base| base.heads[2].scale.inverse_sum *= 2.0);
        assert_eq!(scale, [V::Scale { node: 2 }]);
        let logarithm = violations(|base| base.heads[0].scale.ln_fan = f32::NAN);
        assert_eq!(logarithm, [V::Scale { node: 0 }]);
        let weight = violations(|base| {
            base.edges[4].weight = zerocopy::FromBytes::read_from_bytes(&[0, 0xFC]).unwrap();
        });
        assert_eq!(weight, [V::Weight { node: 3, target: 3 }, V::Scale { node: 3 }]);
    }
}
