//! Rows of different lengths side by side: which go together, and their padding.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// Rows of ids of any lengths as one padded batch.
pub(crate) struct Padded {
    pub ids: Tensor<2, Int>,
    pub types: Option<Tensor<2, Int>>,
    /// `true` for real tokens; `None` when all are.
    pub kept: Option<Tensor<2, Bool>>,
    /// Tokens of each row that `kept` keeps.
    pub real: Vec<usize>,
    /// Tokens of the longest row (T).
    pub tokens: usize,
    /// Lengths of the sequences in the one row; see [`Run::packed`](super::Run).
    pub packed: Option<Vec<usize>>,
    /// Tokens of each row, those included that other batches bring.
    pub lengths: Vec<usize>,
    /// See [`Run::beyond`](super::Run).
    pub beyond: bool,
}

impl Padded {
    /// # Shapes
    /// B rows -> `[B, T]`, T the longest; padding stands on the right.
    pub(crate) fn new(rows: &[&[u32]], types: Option<&[&[u32]]>, device: &Device) -> Padded {
        let (b, tokens) = (rows.len(), rows.iter().map(|row| row.len()).max().unwrap_or(0));
        let pad = |rows: &[&[u32]]| {
            let mut values = Vec::with_capacity(b * tokens);
            for row in rows {
                values.extend(row.iter().map(|id| *id as i32));
                values.resize(values.len() + tokens - row.len(), 0);
            }
            Tensor::<2, Int>::from_data(TensorData::new(values, [b, tokens]), device)
        };
        let kept = rows.iter().any(|row| row.len() < tokens).then(|| {
            let mut values = Vec::with_capacity(b * tokens);
            for row in rows {
                values.extend((0..tokens).map(|t| t < row.len()));
            }
            Tensor::from_data(TensorData::new(values, [b, tokens]), device)
        });
        let types = types.filter(|types| types.iter().any(|row| row.iter().any(|kind| *kind != 0)));
        let (ids, types) = (pad(rows), types.map(pad));
        let lengths: Vec<usize> = rows.iter().map(|row| row.len()).collect();
        let real = lengths.clone();
        Padded { ids, types, kept, real, tokens, packed: None, lengths, beyond: false }
    }

    /// Lets all tokens of a row see its first `seen` alone, and keeps the states of the others.
    pub(crate) fn see(&mut self, seen: &[usize], device: &Device) {
        if seen.iter().all(|seen| *seen == self.tokens) {
            return;
        }
        let values: Vec<bool> =
            seen.iter().flat_map(|seen| (0..self.tokens).map(move |t| t < *seen)).collect();
        self.kept =
            Some(Tensor::from_data(TensorData::new(values, [seen.len(), self.tokens]), device));
        self.real = seen.to_vec();
        self.beyond = true;
    }
}

/// Rows of like length together, each batch within `bound` tokens with its padding; a longer row is
/// a batch by itself, and one without tokens is in none. Lists of indices, the longest rows first.
pub(crate) fn by_length(lengths: &[usize], bound: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).filter(|i| lengths[*i] > 0).collect();
    order.sort_by_key(|i| std::cmp::Reverse(lengths[*i]));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for i in order {
        match batches.last_mut() {
            // The first of a batch is its longest.
            Some(batch) if (batch.len() + 1) * lengths[batch[0]] <= bound => batch.push(i),
            _ => batches.push(vec![i]),
        }
    }
    batches
}
