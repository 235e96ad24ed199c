//! Padded batches: which rows of different lengths go together, and their padding.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use super::rows::Rows;

/// Rows of ids of any lengths as one batch.
pub(crate) struct Padded {
    /// `[B, T]`
    pub ids: Tensor<2, Int>,
    /// Segment types, `[B, T]`, where one is not 0.
    pub types: Option<Tensor<2, Int>>,
    /// `true` for real tokens, `[B, T]`; `None` when all are.
    pub kept: Option<Tensor<2, Bool>>,
    /// Which tokens they are.
    pub rows: Rows,
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
        let types = types.filter(|types| types.iter().any(|row| row.iter().any(|kind| *kind != 0)));
        let (ids, types) = (pad(rows), types.map(pad));
        let lengths: Vec<usize> = rows.iter().map(|row| row.len()).collect();
        match lengths.iter().all(|length| *length == tokens) {
            true => Padded { ids, types, kept: None, rows: Rows::full([b, tokens], 0) },
            false => {
                let kept = first(&lengths, tokens, device);
                let rows = Rows::padded([b, tokens], &lengths, Some(kept.clone()), false);
                Padded { ids, types, kept: Some(kept), rows }
            }
        }
    }

    /// Rows one after another without padding, none of which sees another: `[1, N]`.
    pub(crate) fn packed(rows: &[&[u32]], types: &[&[u32]], device: &Device) -> Padded {
        let lengths: Vec<usize> = rows.iter().map(|row| row.len()).collect();
        let (ids, types) = (rows.concat(), types.concat());
        let batch = Padded::new(&[&ids], Some(&[&types]), device);
        Padded { rows: Rows::packed(&lengths), ..batch }
    }

    /// The same, after `before` tokens that a cache holds; of rows without padding.
    pub(crate) fn after(self, before: usize) -> Padded {
        Padded { rows: Rows::full(self.rows.shape(), before), ..self }
    }

    /// The same, as rows that have so many tokens each when all of them was read.
    pub(crate) fn of_lengths(self, lengths: &[usize]) -> Padded {
        Padded { rows: self.rows.of_lengths(lengths), ..self }
    }

    /// Tokens of the longest row (T).
    pub(crate) fn tokens(&self) -> usize {
        self.rows.shape()[1]
    }

    /// Lets all tokens of a row see its first `seen` alone, and keeps the states of the others.
    pub(crate) fn see(&mut self, seen: &[usize], device: &Device) {
        let tokens = self.tokens();
        if seen.iter().all(|seen| *seen == tokens) {
            return;
        }
        let kept = first(seen, tokens, device);
        let rows = Rows::padded([seen.len(), tokens], seen, Some(kept.clone()), true);
        self.rows = rows.of_lengths(self.rows.lengths());
        self.kept = Some(kept);
    }
}

/// `true` for the first tokens of each row, as many as it says: `[B, T]`.
fn first(counts: &[usize], tokens: usize, device: &Device) -> Tensor<2, Bool> {
    let kept: Vec<bool> =
        counts.iter().flat_map(|count| (0..tokens).map(move |token| token < *count)).collect();
    Tensor::from_data(TensorData::new(kept, [counts.len(), tokens]), device)
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
