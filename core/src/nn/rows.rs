//! Which tokens a pass reads: one description for prompts, steps, padded batches, sequences without
//! padding between them, sequences that are decoded together, and the targets of a source.

use std::ops::Range;

use burn::tensor::{Bool, Device, Tensor, TensorData};

use crate::kernels::cpu::attention::Part;

/// One sequence among the rows of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    /// Its rows among `B T`: those that look.
    pub rows: Range<usize>,
    /// How many of them, from the first on, others may look at: the rest is padding.
    pub real: usize,
    /// Its tokens before these, which a cache holds.
    pub before: usize,
}

/// Which tokens of a batch are no padding.
#[derive(Clone, Debug)]
enum RealTokens {
    /// All.
    All,
    /// The first of each row, as many as [`Sequence::real`] says; the mask is made when it is asked
    /// for.
    First,
    /// The first of each row, with the mask on the device.
    FirstBy(Tensor<2, Bool>),
    /// Those of a mask that the caller gave, which may have holes.
    Exactly(Tensor<2, Bool>),
}

/// The tokens of a pass, `[B, T]`.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    shape: [usize; 2],
    /// The place of each of the T tokens in its sequence, the same in each of the B rows.
    places: Vec<usize>,
    /// The sequences, in the order of their rows.
    sequences: Vec<Sequence>,
    kept: RealTokens,
    /// Tokens of each sequence when all of it was read, for rotations that go by it: one number for
    /// all, or one each.
    lengths: Vec<usize>,
    /// Whether several sequences stand in one row.
    run_together: bool,
}

/// Rows that each matrix is multiplied with, as kernels tell them apart: GEMV, a small batch, GEMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// One token more of one sequence.
    One,
    /// Up to [`Class::FEW`].
    Few,
    /// More rows than that: prefill, or a batch.
    Many,
}

impl Class {
    /// Most rows of [`Class::Few`].
    pub(crate) const FEW: usize = 8;

    /// All of them.
    pub(crate) const ALL: [Class; 3] = [Class::One, Class::Few, Class::Many];

    /// That of so many rows.
    pub(crate) fn of(rows: usize) -> Class {
        match rows {
            0 | 1 => Class::One,
            2..=Class::FEW => Class::Few,
            _ => Class::Many,
        }
    }
}

impl Rows {
    /// B rows of T tokens each, after `before` tokens that a cache holds.
    pub(crate) fn full([b, t]: [usize; 2], before: usize) -> Rows {
        let sequence = |row| Sequence { rows: row * t..(row + 1) * t, real: t, before };
        Rows {
            shape: [b, t],
            places: (before..before + t).collect(),
            sequences: (0..b).map(sequence).collect(),
            kept: RealTokens::All,
            lengths: vec![before + t],
            run_together: false,
        }
    }

    /// B rows of which the first `real` tokens each are no padding. With `beyond` the padding looks,
    /// too, at what is none.
    pub(crate) fn padded(
        [b, t]: [usize; 2],
        real: &[usize],
        kept: Option<Tensor<2, Bool>>,
        beyond: bool,
    ) -> Rows {
        debug_assert_eq!(real.len(), b);
        let sequence = |(row, real): (usize, &usize)| Sequence {
            rows: row * t..row * t + if beyond { t } else { *real },
            real: *real,
            before: 0,
        };
        Rows {
            sequences: real.iter().enumerate().map(sequence).collect(),
            kept: kept.map_or(RealTokens::First, RealTokens::FirstBy),
            lengths: real.to_vec(),
            ..Rows::full([b, t], 0)
        }
    }

    /// B rows of which a mask says what is no padding, `[B, T]` with `true` for real tokens. The mask
    /// is brought from its device, so that padding on the right is known as such.
    pub(crate) fn masked(shape: [usize; 2], kept: Tensor<2, Bool>) -> Rows {
        let [b, t] = shape;
        let values: Vec<bool> = kept.clone().into_data().iter::<bool>().collect();
        let rows = || values.chunks_exact(t.max(1));
        let real: Vec<usize> = rows().map(|row| row.iter().filter(|kept| **kept).count()).collect();
        let first = rows().zip(&real).all(|(row, real)| row[..*real].iter().all(|kept| *kept));
        if first && real.len() == b {
            return Rows::padded(shape, &real, Some(kept), false);
        }
        Rows { kept: RealTokens::Exactly(kept), lengths: real, ..Rows::full(shape, 0) }
    }

    /// Sequences of these lengths one after another in one row, none of which sees another.
    pub(crate) fn packed(lengths: &[usize]) -> Rows {
        let n = lengths.iter().sum();
        let starts = lengths.iter().scan(0, |next, length| {
            let start = *next;
            *next += length;
            Some(start)
        });
        let sequence = |(start, length): (usize, &usize)| Sequence {
            rows: start..start + length,
            real: *length,
            before: 0,
        };
        Rows {
            places: lengths.iter().flat_map(|length| 0..*length).collect(),
            sequences: starts.zip(lengths).map(sequence).collect(),
            lengths: lengths.to_vec(),
            run_together: true,
            ..Rows::full([1, n], 0)
        }
    }

    /// One token more of each of several sequences, in one row, after as many as `before` says.
    pub(crate) fn joined(before: &[usize]) -> Rows {
        let sequence = |(row, before): (usize, &usize)| Sequence {
            rows: row..row + 1,
            real: 1,
            before: *before,
        };
        Rows {
            places: before.to_vec(),
            sequences: before.iter().enumerate().map(sequence).collect(),
            lengths: before.iter().map(|before| before + 1).collect(),
            run_together: true,
            ..Rows::full([1, before.len()], 0)
        }
    }

    /// The same, as parts of sequences that have so many tokens when all was read: one number for
    /// all, or one each. Nothing changes where it is neither.
    pub(crate) fn of_lengths(self, lengths: &[usize]) -> Rows {
        match lengths.len() {
            n if n > 0 && (n == 1 || n == self.sequences.len()) => {
                Rows { lengths: lengths.to_vec(), ..self }
            }
            _ => self,
        }
    }

    /// `[B, T]`
    pub(crate) fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// `B T`
    pub(crate) fn count(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    /// How many rows each matrix is multiplied with.
    pub(crate) fn class(&self) -> Class {
        Class::of(self.count())
    }

    /// The place of each of the T tokens in its sequence.
    pub(crate) fn places(&self) -> &[usize] {
        &self.places
    }

    /// The sequences.
    pub(crate) fn sequences(&self) -> &[Sequence] {
        &self.sequences
    }

    /// Tokens of each sequence when all was read: one number for all, or one each.
    pub(crate) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Whether several sequences stand in one row, so that angles and masks are by token.
    pub(crate) fn run_together(&self) -> bool {
        self.run_together
    }

    /// Whether padding, where there is some, stands after all real tokens of its row.
    pub(crate) fn is_on_the_right(&self) -> bool {
        !matches!(self.kept, RealTokens::Exactly(_))
    }

    /// Whether a token that is no key looks, which then may see none through a window.
    pub(crate) fn looks_beyond(&self) -> bool {
        self.sequences.iter().any(|own| own.rows.len() > own.real)
    }

    /// The sequences as kernels take them, where keys and values are those of the same rows.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let part = |own: &Sequence| Part {
            queries: own.rows.clone(),
            keys: own.rows.start..own.rows.start + own.real,
            before: 0,
        };
        self.sequences.iter().map(part).collect()
    }

    /// `true` for what is no padding, `[B, T]`; `None` where nothing is.
    pub(crate) fn kept(&self, device: &Device) -> Option<Tensor<2, Bool>> {
        match &self.kept {
            RealTokens::All => None,
            RealTokens::FirstBy(kept) | RealTokens::Exactly(kept) => Some(kept.clone()),
            RealTokens::First => {
                let [b, t] = self.shape;
                let row = |own: &Sequence| {
                    let real = own.real;
                    (0..t).map(move |token| token < real)
                };
                let kept: Vec<bool> = self.sequences.iter().flat_map(row).collect();
                Some(Tensor::from_data(TensorData::new(kept, [b, t]), device))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(rows: &[[bool; 3]]) -> Tensor<2, Bool> {
        let data = TensorData::new(rows.concat(), [rows.len(), 3]);
        Tensor::from_data(data, &Device::flex())
    }

    #[test]
    fn padding_is_known_as_such_only_on_the_right() {
        let right = Rows::masked([2, 3], mask(&[[true, true, false], [true, false, false]]));
        assert!(right.is_on_the_right());
        let parts: Vec<_> =
            right.parts().into_iter().map(|part| (part.queries, part.keys)).collect();
        assert_eq!(parts, [(0..2, 0..2), (3..4, 3..4)]);
        for rows in [[[false, true, true]], [[true, false, true]]] {
            assert!(!Rows::masked([1, 3], mask(&rows)).is_on_the_right(), "{rows:?}");
        }
    }

    #[test]
    fn rows_say_where_each_sequence_stands() {
        let packed = Rows::packed(&[2, 0, 3]);
        assert_eq!(packed.places(), [0, 1, 0, 1, 2]);
        assert_eq!(packed.parts()[2].keys, 2..5);
        let joined = Rows::joined(&[7, 4]);
        assert_eq!((joined.places(), joined.lengths()), (&[7, 4][..], &[8, 5][..]));
        let beyond = Rows::padded([1, 4], &[2], None, true);
        assert!(beyond.looks_beyond() && !packed.looks_beyond());
        assert_eq!(Rows::full([2, 3], 5).places(), [5, 6, 7]);
        assert_eq!(Rows::full([1, 3], 5).of_lengths(&[20]).lengths(), [20]);
    }
}
