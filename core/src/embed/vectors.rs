//! Embeddings as rows of numbers, and what one does with them first: compare and search.

use crate::error::{Error, Result};

/// Embeddings, one row a text in the order of the texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    values: Vec<f32>,
    width: usize,
    cut: Vec<usize>,
}

impl Embeddings {
    pub(crate) fn new(values: Vec<f32>, width: usize, cut: Vec<usize>) -> Self {
        debug_assert_eq!(values.len(), width * cut.len());
        Embeddings { values, width, cut }
    }

    /// Numbers in a row (D).
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows, which is texts.
    pub fn len(&self) -> usize {
        self.cut.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.cut.is_empty()
    }

    /// Row `i`; `None` beyond the last.
    pub fn get(&self, i: usize) -> Option<&[f32]> {
        (i < self.len()).then(|| &self.values[i * self.width..(i + 1) * self.width])
    }

    /// The rows in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        (0..self.len()).map(|i| &self.values[i * self.width..(i + 1) * self.width])
    }

    /// Tokens of each text that were left out: those beyond the limit, and of word vectors those
    /// that are not known.
    pub fn cut(&self) -> &[usize] {
        &self.cut
    }

    /// All numbers, row after row.
    pub fn as_slice(&self) -> &[f32] {
        &self.values
    }

    /// All numbers, row after row, without a copy.
    pub fn into_vec(self) -> Vec<f32> {
        self.values
    }

    /// The cosine of the angle between rows `i` and `j`, from -1 to 1; 0 when a row is all zeros
    /// or is not there.
    pub fn cosine(&self, i: usize, j: usize) -> f32 {
        match (self.get(i), self.get(j)) {
            (Some(a), Some(b)) => between(a, b),
            _ => 0.0,
        }
    }

    /// The `count` rows nearest to `query` by cosine, best first: (row, cosine).
    ///
    /// # Errors
    /// [`Error::Argument`] for a query of another width.
    pub fn nearest(&self, query: &[f32], count: usize) -> Result<Vec<(usize, f32)>> {
        Embeddings::nearest_among(query, &self.values, self.width, count)
    }

    /// The cosine of the angle between two vectors, from -1 to 1; 0 when one is all zeros.
    ///
    /// # Errors
    /// [`Error::Argument`] for vectors of different widths.
    pub fn cosine_between(a: &[f32], b: &[f32]) -> Result<f32> {
        if a.len() != b.len() {
            let problem = format!("has {} numbers; `a` has {}", b.len(), a.len());
            return Err(Error::argument("b", problem));
        }
        Ok(between(a, b))
    }

    /// The `count` rows nearest to `query` by cosine, best first: (row, cosine). Of equals the first
    /// row comes first. For rows that are kept elsewhere; [`nearest`](Self::nearest) is the same.
    ///
    /// # Shapes
    /// query `[D]`, rows `[N, D]` row after row, D = `width`
    ///
    /// # Errors
    /// [`Error::Argument`] for a width of 0, a query of another width, or numbers that do not make
    /// whole rows.
    pub fn nearest_among(
        query: &[f32],
        rows: &[f32],
        width: usize,
        count: usize,
    ) -> Result<Vec<(usize, f32)>> {
        if width == 0 {
            return Err(Error::argument("width", "is 0; a row has at least one number"));
        }
        if query.len() != width {
            let problem = format!("has {} numbers; the rows have {width}", query.len());
            return Err(Error::argument("query", problem));
        }
        if !rows.len().is_multiple_of(width) {
            let problem = format!("have {} numbers, which are no rows of {width}", rows.len());
            return Err(Error::argument("rows", problem));
        }
        let rows = rows.chunks_exact(width).enumerate();
        let mut found: Vec<(usize, f32)> = rows.map(|(i, row)| (i, between(query, row))).collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(count);
        Ok(found)
    }
}

/// The cosine of vectors of one width.
fn between(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { (dot(a, b) / lengths) as f32 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_their_angle_and_of_equals_the_first() {
        let rows = vec![1.0, 0.0, 0.0, 3.0, 2.0, 0.0, 0.0, 0.0, -1.0, 1.0];
        let rows = Embeddings::new(rows, 2, vec![0; 5]);
        let found = rows.nearest(&[0.5, 0.0], 4).expect("rows");
        assert_eq!(found[..3], [(0, 1.0), (2, 1.0), (1, 0.0)]);
        assert_eq!(found[3], (3, 0.0), "zeros have no angle");
        assert!(rows.nearest(&[0.5, 0.0], 0).expect("none").is_empty());
        assert_eq!(rows.nearest(&[0.5, 0.0], 99).expect("all").len(), 5);
        assert!((rows.cosine(0, 4) + 0.5f32.sqrt()).abs() < 1e-7);
        assert_eq!((rows.cosine(0, 3), rows.cosine(0, 9)), (0.0, 0.0));
    }

    #[test]
    fn what_is_no_row_of_that_width_is_named() {
        let problem = |error: Error| error.to_string();
        let rows = Embeddings::new(vec![1.0, 2.0], 2, vec![0]);
        let wide = problem(rows.nearest(&[1.0; 4], 1).expect_err("another width"));
        assert!(wide.contains("`query` has 4 numbers; the rows have 2"), "{wide}");
        let among = |query: &[f32], rows: &[f32], width| {
            problem(Embeddings::nearest_among(query, rows, width, 1).expect_err("no rows"))
        };
        assert!(among(&[], &[], 0).contains("`width` is 0"));
        assert!(among(&[1.0; 2], &[1.0; 3], 2).contains("`rows` have 3 numbers"));
        let error = problem(Embeddings::cosine_between(&[1.0], &[1.0; 2]).expect_err("widths"));
        assert!(error.contains("`b` has 2 numbers; `a` has 1"), "{error}");
    }
}
