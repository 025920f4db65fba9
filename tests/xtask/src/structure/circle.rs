//! Circles in a graph of names: what reaches itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Where arrows lead from each name.
pub type Graph = BTreeMap<String, BTreeSet<String>>;

/// Groups of names of which each reaches each other, two or more, in order.
pub fn circles(graph: &Graph) -> Vec<Vec<String>> {
    // Graphs here have some dozens of names: what each reaches is looked up, and
    // two that reach each other are in one circle.
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        graph.keys().map(|name| (name, reach(graph, name))).collect();
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for (name, from_here) in &reached {
        if !from_here.contains(name) || seen.contains(name) {
            continue;
        }
        let circle: Vec<&String> = from_here
            .iter()
            .filter(|other| reached.get(*other).is_some_and(|back| back.contains(name)))
            .copied()
            .collect();
        seen.extend(circle.iter().copied());
        if circle.len() > 1 {
            circles.push(circle.into_iter().cloned().collect());
        }
    }
    circles
}

/// All that `name` reaches; itself only in a circle.
fn reach<'a>(graph: &'a Graph, name: &'a String) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut next = vec![name];
    while let Some(name) = next.pop() {
        for to in graph.get(name).into_iter().flatten() {
            if reached.insert(to) {
                next.push(to);
            }
        }
    }
    reached
}

/// A way round in a circle that cannot be made shorter, from a name back to it:
/// the longest of these, which has most of the circle's files in it.
pub fn shortest(graph: &Graph, circle: &[String]) -> Vec<String> {
    let around = |start: &String| -> Option<Vec<String>> {
        let mut ways = VecDeque::from([vec![start.clone()]]);
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop_front() {
            for to in graph.get(way.last()?)? {
                let mut way = way.clone();
                way.push(to.clone());
                if to == start {
                    return Some(way);
                }
                if seen.insert(to.clone()) {
                    ways.push_back(way);
                }
            }
        }
        None
    };
    let ways = circle.iter().filter_map(around);
    // The first of the longest, so that what is said is the same each time.
    ways.reduce(|longest, way| if way.len() > longest.len() { way } else { longest })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(arrows: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::new();
        for (from, to) in arrows {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
            graph.entry((*to).to_owned()).or_default();
        }
        graph
    }

    #[test]
    fn circles_are_found_and_lines_are_not() {
        assert!(circles(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
        let two = graph(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e"), ("e", "d")]);
        assert_eq!(circles(&two), [vec!["a", "b", "c"], vec!["d", "e"]]);
        let circle = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(shortest(&two, &circle), ["a", "b", "c", "a"]);
    }
}
