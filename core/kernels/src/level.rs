//! Which instructions this processor has.

use std::sync::OnceLock;

#[cfg(target_arch = "aarch64")]
use super::features::Neon;
#[cfg(target_arch = "x86_64")]
use super::features::{Avx2, Avx512};
use super::simd::{Kernel, Portable, Simd};

/// An instruction set that this processor has.
#[derive(Clone, Copy)]
pub(super) enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    Portable,
}

impl Level {
    /// The best level, looked for once.
    pub(super) fn best() -> Level {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| Level::detect().next().unwrap_or(Level::Portable))
    }

    /// All levels that this processor has, best first.
    pub(super) fn detect() -> impl Iterator<Item = Level> {
        #[cfg(target_arch = "x86_64")]
        let special = [Avx512::detect().map(Level::Avx512), Avx2::detect().map(Level::Avx2)];
        #[cfg(target_arch = "aarch64")]
        let special = [Neon::detect().map(Level::Neon)];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let special = [None];
        special.into_iter().flatten().chain([Level::Portable])
    }

    /// Floats in a vector.
    pub(super) fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(_) => Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(_) => Avx2::LANES,
            #[cfg(target_arch = "aarch64")]
            Level::Neon(_) => Neon::LANES,
            Level::Portable => Portable::LANES,
        }
    }

    /// Runs `kernel` with this instruction set.
    pub(super) fn run<K: Kernel>(self, kernel: K) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(simd) => simd.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(simd) => simd.run(kernel),
            #[cfg(target_arch = "aarch64")]
            Level::Neon(simd) => simd.run(kernel),
            Level::Portable => Portable.run(kernel),
        }
    }
}
