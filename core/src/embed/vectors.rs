//! Embeddings as rows of numbers, and what one does with them first: compare and search.

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
            (Some(a), Some(b)) => cosine(a, b),
            _ => 0.0,
        }
    }

    /// The `count` rows nearest to `query` by cosine, best first: (row, cosine).
    pub fn nearest(&self, query: &[f32], count: usize) -> Vec<(usize, f32)> {
        let mut found: Vec<(usize, f32)> =
            self.rows().enumerate().map(|(i, row)| (i, cosine(query, row))).collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(count);
        found
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { (dot(a, b) / lengths) as f32 } else { 0.0 }
}
