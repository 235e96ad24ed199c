//! Several sequences that are decoded together.

use std::collections::BTreeMap;
use std::sync::Mutex;

use emberform::{CancelToken, GenerateOptions, Result};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use crate::error::{raise, raise_of};
use crate::generate::{FinishReason, Piece, Stats, claim, lock};
use crate::numpy::{Count, Given, Ids};
use crate::run::{is_long, run};

/// Sequences that are decoded together, from `Model.generate_all()` or `Model.batch()`: an iterator
/// of pieces, each with the number of its sequence, counted from 0 over all that were ever added.
///
/// A token of all living sequences is one forward pass on the CPU, which reads each weight once for
/// all. Each has its own prompt, options, draws and end, and its tokens are those that it has
/// alone, except where two logits are as good as equal. Those that have ended leave the pass; more
/// may be added at any time, and are read when the next piece is asked for. On a GPU, for
/// encoder-decoders and for some kinds of attention (ALiBi, learned distances, sinks, latent
/// vectors, chunks) the sequences have their steps one after the other, with the same result.
///
/// What goes wrong with a sequence is raised where its next piece would come, with its number in
/// `sequence`: it has no more pieces then, and the others go on when the next piece is asked for.
/// Dropping the batch ends the work.
///
/// One thread at a time, but for `cancel`: a second one gets ValueError.
#[pyclass(frozen, module = "emberform")]
pub struct Batch {
    inner: Mutex<emberform::Batch>,
    /// Beside the lock, as those of `parts`, so that a running call can be cancelled.
    cancel: CancelToken,
    /// Those of the sequences, by number.
    parts: Mutex<BTreeMap<usize, CancelToken>>,
    parameters: usize,
}

impl Batch {
    pub fn new(batch: emberform::Batch, parameters: usize) -> Self {
        let cancel = batch.cancel_token();
        let part = |sequence| Some((sequence, batch.cancel_token_of(sequence)?));
        let parts = Mutex::new(batch.sequences().into_iter().filter_map(part).collect());
        Batch { inner: Mutex::new(batch), cancel, parts, parameters }
    }

    pub fn join_text(
        &self,
        py: Python<'_>,
        prompt: PyBackedStr,
        options: &GenerateOptions,
    ) -> PyResult<usize> {
        self.join(py, |batch| batch.add(&prompt, options))
    }

    pub fn join_ids(&self, py: Python<'_>, ids: Ids, options: &GenerateOptions) -> PyResult<usize> {
        self.join(py, |batch| batch.add_ids(&ids.0, options))
    }

    fn join(
        &self,
        py: Python<'_>,
        add: impl FnOnce(&mut emberform::Batch) -> Result<usize> + Send,
    ) -> PyResult<usize> {
        let added = py.detach(|| {
            let mut batch = claim("batch", &self.inner)?;
            let sequence = add(&mut batch)?;
            let token = batch.cancel_token_of(sequence);
            lock(&self.parts).extend(token.map(|token| (sequence, token)));
            Ok(sequence)
        });
        added.map_err(|error| raise(py, error))
    }

    fn next(&self, py: Python<'_>) -> PyResult<Option<(usize, emberform::Piece)>> {
        // Loops in C, such as that of `list`, never come to look for signals themselves.
        py.check_signals()?;
        let long = is_long(self.parameters, self.read(py, emberform::Batch::tokens_ahead)?);
        let next = run(py, long, &self.cancel, || Ok(claim("batch", &self.inner)?.next()))?;
        let given = next.map(|(sequence, piece)| match piece {
            Ok(piece) => Ok((sequence, piece)),
            Err(error) => Err(raise_of(py, error, sequence)),
        });
        given.transpose()
    }

    fn read<T>(&self, py: Python<'_>, read: impl FnOnce(&emberform::Batch) -> T) -> PyResult<T> {
        let batch = claim("batch", &self.inner).map_err(|error| raise(py, error))?;
        Ok(read(&batch))
    }
}

#[pymethods]
impl Batch {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<(usize, Piece)>> {
        Ok(self.next(py)?.map(|(sequence, piece)| (sequence, piece.into())))
    }

    /// All text that is still to come, of each sequence that was not removed, in the order of their
    /// numbers; a cancelled one gives what it has.
    ///
    /// Raises the first thing that goes wrong with one of them, such as DeviceError.
    fn texts(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let numbers = self.sequences(py)?;
        let mut texts = vec![String::new(); numbers.len()];
        while let Some((sequence, piece)) = self.next(py)? {
            if let Ok(place) = numbers.binary_search(&sequence) {
                texts[place].push_str(&piece.text);
            }
        }
        Ok(texts)
    }

    /// Ends a sequence, if it has not ended, and forgets what is known of it, its pieces that were not
    /// taken included. A batch that lives long remembers the end of each sequence until then.
    ///
    /// Returns whether there was one of this number.
    fn remove(&self, py: Python<'_>, sequence: Count) -> PyResult<bool> {
        let sequence = sequence.given(py, "sequence")?;
        let removed = py.detach(|| {
            let removed = claim("batch", &self.inner)?.remove(sequence);
            lock(&self.parts).remove(&sequence);
            Ok(removed)
        });
        removed.map_err(|error| raise(py, error))
    }

    /// Stops all sequences from any thread, later ones too, also while a prompt is read; their
    /// `finish_reason` is then "cancelled".
    ///
    /// `sequence`: stop only this one, before its next step or while its prompt is read; nothing
    /// happens where there is none of this number.
    #[pyo3(signature = (sequence=None))]
    fn cancel(&self, py: Python<'_>, sequence: Option<Count>) -> PyResult<()> {
        match sequence.given(py, "sequence")? {
            None => self.cancel.cancel(),
            Some(sequence) => {
                if let Some(token) = lock(&self.parts).get(&sequence) {
                    token.cancel();
                }
            }
        }
        Ok(())
    }

    /// Why a sequence ended; None until its last piece was given, after an error, and where there is
    /// none of this number.
    fn finish_reason(&self, py: Python<'_>, sequence: Count) -> PyResult<Option<FinishReason>> {
        let sequence = sequence.given(py, "sequence")?;
        self.read(py, |batch| batch.finish_reason(sequence).map(FinishReason))
    }

    /// Counts and times of a sequence so far; the time of a step of several counts for each of them.
    /// None where there is none of this number.
    fn stats(&self, py: Python<'_>, sequence: Count) -> PyResult<Option<Stats>> {
        let sequence = sequence.given(py, "sequence")?;
        self.read(py, |batch| batch.stats(sequence).map(Stats::from))
    }

    /// The numbers of the sequences that were not removed, ended or not, in order.
    #[getter]
    fn sequences(&self, py: Python<'_>) -> PyResult<Vec<usize>> {
        self.read(py, emberform::Batch::sequences)
    }

    /// Sequences that have not ended.
    #[getter]
    fn running(&self, py: Python<'_>) -> PyResult<usize> {
        self.read(py, emberform::Batch::running)
    }

    /// Bytes that keys and values of all sequences take.
    #[getter]
    fn cache_bytes(&self, py: Python<'_>) -> PyResult<usize> {
        self.read(py, emberform::Batch::cache_bytes)
    }

    fn __repr__(&self) -> String {
        match claim("batch", &self.inner) {
            Ok(batch) => {
                let megabytes = batch.cache_bytes() as f64 / 1e6;
                format!("<Batch {} running, caches of {megabytes:.1} MB>", batch.running())
            }
            Err(_) => "<Batch at work>".to_string(),
        }
    }
}
