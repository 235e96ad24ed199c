//! Rows of numbers, read where they lie in the file.

use bytes::Bytes;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

/// How a number of a [`Table`] is stored, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    F32,
    F64,
    F16,
    BF16,
    I8,
}

impl Number {
    pub(super) fn bytes(self) -> usize {
        match self {
            Number::I8 => 1,
            Number::F16 | Number::BF16 => 2,
            Number::F32 => 4,
            Number::F64 => 8,
        }
    }
}

/// Where the rows begin.
enum Starts {
    /// One after the other from the first byte.
    Even,
    /// Each at a place of its own, as in files that put each word before its row.
    Each(Vec<usize>),
}

/// Rows of a matrix where they lie in a file. A row may begin at any byte.
pub(super) struct Table {
    bytes: Bytes,
    number: Number,
    width: usize,
    starts: Starts,
    stored: usize,
    /// For each row the stored row that it takes; itself without this.
    map: Option<Vec<u32>>,
    /// For each row what its numbers are multiplied by; 1 without this.
    weights: Option<Vec<f32>>,
}

impl Table {
    /// A matrix without gaps; what is left after the last whole row is not looked at.
    pub(super) fn even(bytes: Bytes, number: Number, width: usize) -> Table {
        let stored = bytes.len() / (width * number.bytes()).max(1);
        Table { bytes, number, width, starts: Starts::Even, stored, map: None, weights: None }
    }

    /// Rows of 32-bit floats that begin at the bytes `starts`, all of them checked to fit.
    pub(super) fn scattered(bytes: Bytes, width: usize, starts: Vec<usize>) -> Table {
        debug_assert!(starts.iter().all(|start| start + width * 4 <= bytes.len()));
        let (number, stored) = (Number::F32, starts.len());
        let starts = Starts::Each(starts);
        Table { bytes, number, width, starts, stored, map: None, weights: None }
    }

    /// Rows that share stored ones (`map`, checked to be below their number) and have weights.
    pub(super) fn with(mut self, map: Option<Vec<u32>>, weights: Option<Vec<f32>>) -> Table {
        (self.map, self.weights) = (map, weights);
        self
    }

    /// The first `len` rows.
    pub(super) fn truncate(mut self, len: usize) -> Table {
        match &mut self.map {
            Some(map) => map.truncate(len),
            None => self.stored = self.stored.min(len),
        }
        self
    }

    pub(super) fn len(&self) -> usize {
        self.map.as_ref().map_or(self.stored, Vec::len)
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    fn row(&self, i: usize) -> &[u8] {
        let i = self.map.as_ref().map_or(i, |map| map[i] as usize);
        let size = self.width * self.number.bytes();
        let start = match &self.starts {
            Starts::Even => i * size,
            Starts::Each(starts) => starts[i],
        };
        &self.bytes[start..start + size]
    }

    fn weight(&self, i: usize) -> f32 {
        self.weights.as_ref().map_or(1.0, |weights| weights[i])
    }

    /// Writes row `i` to `out`.
    pub(super) fn read(&self, i: usize, out: &mut [f32]) {
        let row = self.row(i);
        match self.number {
            Number::F32 => {
                for (x, b) in out.iter_mut().zip(row.as_chunks().0) {
                    *x = f32::from_le_bytes(*b);
                }
            }
            Number::F64 => {
                for (x, b) in out.iter_mut().zip(row.as_chunks().0) {
                    *x = f64::from_le_bytes(*b) as f32;
                }
            }
            Number::F16 => {
                halves(row, out, |part: &[half::f16], out| part.convert_to_f32_slice(out))
            }
            Number::BF16 => {
                halves(row, out, |part: &[half::bf16], out| part.convert_to_f32_slice(out))
            }
            Number::I8 => {
                for (x, b) in out.iter_mut().zip(row) {
                    *x = f32::from(*b as i8);
                }
            }
        }
        if self.weights.is_some() {
            let weight = self.weight(i);
            out.iter_mut().for_each(|x| *x *= weight);
        }
    }

    /// Adds row `i` to `sum`; `scratch` is as long.
    pub(super) fn add(&self, i: usize, sum: &mut [f32], scratch: &mut [f32]) {
        match (self.number, &self.weights) {
            (Number::F32, None) => {
                for (x, b) in sum.iter_mut().zip(self.row(i).as_chunks().0) {
                    *x += f32::from_le_bytes(*b);
                }
            }
            (Number::I8, Some(weights)) => {
                let weight = weights[i];
                for (x, b) in sum.iter_mut().zip(self.row(i)) {
                    *x += f32::from(*b as i8) * weight;
                }
            }
            _ => {
                self.read(i, scratch);
                sum.iter_mut().zip(scratch).for_each(|(x, y)| *x += *y);
            }
        }
    }

    /// The product of row `i` with `vector`; `scratch` is as long as it.
    fn dot(&self, i: usize, vector: &[f32], scratch: &mut [f32]) -> f32 {
        if self.number == Number::F32 && self.weights.is_none() {
            let (row, rest) = self.row(i).as_chunks::<64>();
            let (parts, last) = vector.as_chunks::<16>();
            let mut sums = [0.0f32; 16];
            for (bytes, part) in row.iter().zip(parts) {
                for k in 0..16 {
                    let b = [bytes[4 * k], bytes[4 * k + 1], bytes[4 * k + 2], bytes[4 * k + 3]];
                    sums[k] += f32::from_le_bytes(b) * part[k];
                }
            }
            let rest = rest.as_chunks().0.iter().zip(last);
            return rest.fold(sums.iter().sum(), |sum, (b, y)| sum + f32::from_le_bytes(*b) * y);
        }
        self.read(i, scratch);
        let (row, rest) = scratch.as_chunks::<16>();
        let (parts, last) = vector.as_chunks::<16>();
        let mut sums = [0.0f32; 16];
        for (row, part) in row.iter().zip(parts) {
            for k in 0..16 {
                sums[k] += row[k] * part[k];
            }
        }
        rest.iter().zip(last).fold(sums.iter().sum(), |sum, (x, y)| sum + x * y)
    }

    /// The length of each row.
    pub(super) fn lengths(&self) -> Vec<f32> {
        let measure = |scratch: &mut Vec<f32>, i| {
            self.read(i, scratch);
            length(scratch)
        };
        (0..self.len())
            .into_par_iter()
            .with_min_len(1024)
            .map_init(|| vec![0.0; self.width], measure)
            .collect()
    }

    /// The `count` rows with the largest product with `vector`, each product divided by the
    /// row's length (0 for rows of zeros): (row, cosine), best first, of equal ones the first.
    /// Rows in `without` are left out. `None` when a product is not finite.
    pub(super) fn nearest(
        &self,
        vector: &[f32],
        lengths: &[f32],
        without: &[usize],
        count: usize,
    ) -> Option<Vec<(usize, f32)>> {
        /// Rows of a task.
        const ROWS: usize = 4096;
        let best = |found: &mut Vec<(usize, f32)>| {
            let order =
                |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
            if found.len() > count && count > 0 {
                found.select_nth_unstable_by(count - 1, order);
            }
            found.truncate(count);
            found.sort_unstable_by(order);
        };
        let part = |part: usize| {
            let mut scratch = vec![0.0; self.width];
            let rows = part * ROWS..((part + 1) * ROWS).min(self.len());
            let mut found = Vec::with_capacity(rows.len());
            for i in rows {
                let cosine = match lengths[i] {
                    0.0 => 0.0,
                    length => self.dot(i, vector, &mut scratch) / length,
                };
                if !cosine.is_finite() {
                    return None;
                }
                if !without.contains(&i) {
                    found.push((i, cosine));
                }
            }
            best(&mut found);
            Some(found)
        };
        let parts: Option<Vec<Vec<(usize, f32)>>> =
            (0..self.len().div_ceil(ROWS)).into_par_iter().map(part).collect();
        let mut found = parts?.concat();
        best(&mut found);
        Some(found)
    }
}

/// The Euclidean length, summed in 64 bits: rows of large numbers stay finite.
pub(super) fn length(values: &[f32]) -> f32 {
    values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt() as f32
}

/// Converts halves that may begin at any byte.
fn halves<T: bytemuck::Pod>(row: &[u8], out: &mut [f32], convert: impl Fn(&[T], &mut [f32])) {
    let mut part = [T::zeroed(); 64];
    for (bytes, out) in row.chunks(128).zip(out.chunks_mut(64)) {
        let part = &mut part[..out.len()];
        bytemuck::cast_slice_mut::<T, u8>(part).copy_from_slice(bytes);
        convert(part, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of `number` at an odd byte, and its rows.
    fn table(number: Number, width: usize) -> (Table, Vec<Vec<f32>>) {
        let mut bytes = vec![0xAA];
        let mut rows = Vec::new();
        for i in 0..9 {
            let row = (0..width).map(|k| ((i * 31 + k * 17) % 41) as f32 - 20.0);
            let row: Vec<f32> = row.collect();
            for x in &row {
                match number {
                    Number::F32 => bytes.extend(x.to_le_bytes()),
                    Number::F64 => bytes.extend(f64::from(*x).to_le_bytes()),
                    Number::F16 => bytes.extend(half::f16::from_f32(*x).to_le_bytes()),
                    Number::BF16 => bytes.extend(half::bf16::from_f32(*x).to_le_bytes()),
                    Number::I8 => bytes.push(*x as i8 as u8),
                }
            }
            rows.push(row);
        }
        (Table::even(Bytes::from(bytes).slice(1..), number, width), rows)
    }

    #[test]
    fn rows_of_every_kind_are_read_added_and_multiplied_where_they_lie() {
        for number in [Number::F32, Number::F64, Number::F16, Number::BF16, Number::I8] {
            for width in [1, 15, 16, 67, 130] {
                let (table, rows) = table(number, width);
                assert_eq!(table.len(), 9);
                let (map, weights) = (vec![3, 3, 8, 0], vec![0.5, -2.0, 1.0, 4.0]);
                let (shared, _) = self::table(number, width);
                let shared = shared.with(Some(map.clone()), Some(weights.clone()));
                let want: Vec<Vec<f32>> = (map.iter().zip(&weights))
                    .map(|(i, w)| rows[*i as usize].iter().map(|x| x * w).collect())
                    .collect();
                for (table, rows) in [(&table, &rows), (&shared, &want)] {
                    let (mut row, mut scratch) = (vec![0.0; width], vec![0.0; width]);
                    for (i, want) in rows.iter().enumerate() {
                        table.read(i, &mut row);
                        assert_eq!(&row, want, "{number:?}");
                        table.add(i, &mut row, &mut scratch);
                        let twice: Vec<f32> = want.iter().map(|x| 2.0 * x).collect();
                        assert_eq!(row, twice, "{number:?}");
                        // Whole numbers: every order of summing gives the same.
                        let want: f32 = want.iter().zip(&rows[0]).map(|(x, y)| x * y).sum();
                        assert_eq!(table.dot(i, &rows[0], &mut scratch), want, "{number:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_nearest_rows_come_best_first_and_without_those_left_out() {
        let (table, rows) = table(Number::F32, 16);
        let lengths = table.lengths();
        let cosine = |i: usize| {
            let dot: f32 = rows[i].iter().zip(&rows[4]).map(|(x, y)| x * y).sum();
            dot / lengths[i]
        };
        let mut want: Vec<(usize, f32)> = (0..9).map(|i| (i, cosine(i))).collect();
        want.sort_by(|a, b| b.1.total_cmp(&a.1));
        assert_eq!(want[0].0, 4, "nothing is nearer than the row itself");
        assert_eq!(table.nearest(&rows[4], &lengths, &[], 9), Some(want.clone()));
        let without = want[1].0;
        want.remove(1);
        want.truncate(3);
        assert_eq!(table.nearest(&rows[4], &lengths, &[without], 3), Some(want));
        assert_eq!(table.nearest(&rows[4], &lengths, &[], 0), Some(vec![]));
        let mut broken = rows[4].clone();
        broken[2] = f32::NAN;
        assert_eq!(table.nearest(&broken, &lengths, &[], 3), None);
    }
}
