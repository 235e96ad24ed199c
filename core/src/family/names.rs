//! Tables of names with `{i}` for a block's number and `{j}` for that of a part in it: exact, first
//! match wins, read both ways.

/// Pairs of (checkpoint's name, our name), without `.weight` and `.bias`.
pub(crate) type Names = &'static [(&'static str, &'static str)];

/// The numbers that stand where `pattern` has `{i}` and `{j}`; 0 for one that it has not.
fn fit(pattern: &str, name: &str) -> Option<[usize; 2]> {
    let (mut pattern, mut name, mut numbers) = (pattern, name, [0; 2]);
    for (place, number) in ["{i}", "{j}"].into_iter().zip(&mut numbers) {
        let Some((before, after)) = pattern.split_once(place) else { continue };
        let rest = name.strip_prefix(before)?;
        let digits = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
        // Only the plain form of a number, so that two names never mean one tensor.
        *number = digits.parse().ok()?;
        if number.to_string() != digits {
            return None;
        }
        (pattern, name) = (after, &rest[digits.len()..]);
    }
    (pattern == name).then_some(numbers)
}

fn fill(pattern: &str, [i, j]: [usize; 2]) -> String {
    pattern.replace("{i}", &i.to_string()).replace("{j}", &j.to_string())
}

/// Splits `a.b.weight` into `a.b` and `weight`. Norms of old exports say `gamma` and `beta`.
fn suffix(name: &str) -> Option<(&str, &'static str)> {
    let (stem, last) = name.rsplit_once('.')?;
    match last {
        "weight" | "gamma" => Some((stem, "weight")),
        "bias" | "beta" => Some((stem, "bias")),
        _ => None,
    }
}

/// Our name of a checkpoint's tensor. A name without a suffix is that of a weight: so stand experts
/// that were stacked.
pub(crate) fn ours(tables: &[Names], prefixes: &[&str], name: &str) -> Option<String> {
    let (stem, suffix) = suffix(name).unwrap_or((name, "weight"));
    let bare = prefixes.iter().find_map(|prefix| stem.strip_prefix(prefix));
    for stem in bare.into_iter().chain([stem]) {
        for (theirs, ours) in tables.iter().copied().flatten() {
            if let Some(numbers) = fit(theirs, stem) {
                return Some(format!("{}.{suffix}", fill(ours, numbers)));
            }
        }
    }
    None
}

/// A checkpoint's name of our tensor: the first of the tables that has it.
pub(crate) fn theirs(tables: &[Names], name: &str) -> Option<String> {
    let (stem, suffix) = suffix(name)?;
    tables.iter().copied().flatten().find_map(|(theirs, ours)| {
        fit(ours, stem).map(|numbers| format!("{}.{suffix}", fill(theirs, numbers)))
    })
}

/// Whether `name`, with or without a prefix, is one of `patterns`.
pub(crate) fn listed(patterns: &[&str], prefixes: &[&str], name: &str) -> bool {
    let bare = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
    bare.into_iter().chain([name]).any(|name| {
        patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => fit(pattern, name).is_some(),
        })
    })
}

/// Longest name that is compared, and most names that it is compared with: what a file claims must
/// not decide how long an error takes.
const MOST_BYTES: usize = 128;
const MOST_NAMES: usize = 4096;

/// The name of `known` that is fewest edits from `name`, when it is near.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = name.len() / 3;
    known
        .take(MOST_NAMES)
        .filter(|other| name.len() <= MOST_BYTES && other.len().abs_diff(name.len()) <= near)
        .map(|other| (distance(name, other), other))
        .min()
        .filter(|(edits, _)| *edits <= near)
        .map(|(_, other)| other)
}

/// Insertions, deletions and replacements between two names (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<u8> = b.bytes().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::{FAMILIES, gguf};

    #[test]
    fn every_table_reads_both_ways() {
        let tables =
            FAMILIES.iter().map(|f| (f.tensors, f.prefixes)).chain([(gguf::TENSORS, &[][..])]);
        for (tables, prefixes) in tables {
            for (pattern, _) in tables.iter().copied().flatten() {
                for suffix in ["weight", "bias"] {
                    let name = format!("{}.{suffix}", fill(pattern, [17, 5]));
                    let mine = ours(tables, prefixes, &name).unwrap();
                    // A table before may claim our name for another spelling; that one must lead
                    // back to the same tensor.
                    let back = theirs(tables, &mine).unwrap();
                    assert_eq!(ours(tables, prefixes, &back).unwrap(), mine, "{name}");
                    for prefix in prefixes {
                        let long = format!("{prefix}{name}");
                        assert_eq!(ours(tables, prefixes, &long).unwrap(), mine, "{long}");
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_have_one_spelling() {
        assert_eq!(fit("h.{i}.x", "h.12.x"), Some([12, 0]));
        assert_eq!(fit("h.{i}.x.{j}", "h.12.x.3"), Some([12, 3]));
        assert_eq!(fit("h.x", "h.x"), Some([0, 0]));
        for bad in ["h.012.x", "h.+1.x", "h..x", "h.x", "h.1.y", "h.99999999999999999999999.x"] {
            assert_eq!(fit("h.{i}.x", bad), None, "{bad}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_finds_its_neighbour() {
        let known = ["layers.0.self_attn.q_proj", "layers.0.self_attn.k_proj", "norm"];
        assert_eq!(nearest("layers.0.self_atn.q_proj", known.into_iter()), Some(known[0]));
        assert_eq!(nearest("something.else", known.into_iter()), None);
    }
}
