//! What is on its way from a GPU to the host while more is computed.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use burn::tensor::Tensor;
use burn_cubecl::tensor::CubeTensor;
use cubecl::bytes::Bytes;

use super::floats;

type Copy = Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send>>;

/// 32-bit numbers that are read: as they were when this was made, whatever is launched after.
pub(crate) struct Reading {
    /// In a lock so that threads may share what holds it; there is never another owner.
    copy: Mutex<Option<Copy>>,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}

impl Reading {
    /// [`of`](Self::of) a tensor's floats; `None` where they are on no GPU.
    pub(crate) fn begin<const N: usize>(values: &Tensor<N>) -> Option<Reading> {
        floats(values).map(Reading::of)
    }

    /// Orders the copy, and all that was launched before it.
    pub(crate) fn of(tensor: CubeTensor) -> Reading {
        let (client, handle) = (tensor.client, tensor.handle);
        let mut copy: Copy = Box::pin(async move {
            let read = client.read_async(vec![handle]).await.map_err(|error| error.to_string())?;
            read.into_iter().next().ok_or_else(|| "nothing was read".to_string())
        });
        // It is ordered when the future is first asked.
        let asked = copy.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(read) = asked {
            copy = Box::pin(ready(read));
        }
        Reading { copy: Mutex::new(Some(copy)) }
    }

    /// Waits for the numbers, as words.
    pub(crate) fn words(mut self) -> Result<Vec<u32>, String> {
        let bytes = self.wait().unwrap_or_else(|| Err("was read before".to_string()))?;
        let words = bytes.as_chunks::<4>().0.iter();
        Ok(words.map(|word| u32::from_ne_bytes(*word)).collect())
    }

    /// Waits for the numbers, as floats.
    pub(crate) fn floats(self) -> Result<Vec<f32>, String> {
        Ok(self.words()?.into_iter().map(f32::from_bits).collect())
    }

    fn wait(&mut self) -> Option<Result<Bytes, String>> {
        let copy = self.copy.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        copy.map(cubecl::future::block_on)
    }
}

impl Drop for Reading {
    /// The buffer that is read through goes to another reader, and must not be on its way to the
    /// host then.
    fn drop(&mut self) {
        drop(self.wait());
    }
}
