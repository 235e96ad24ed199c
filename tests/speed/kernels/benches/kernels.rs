//! Each kernel of the CPU beside the limit of what it does: bytes of weights a second beside the
//! memory, operations a second beside multiply-add on registers.
//!
//! ```text
//! cargo bench --manifest-path tests/speed/kernels/Cargo.toml -- 'limit|Q8_0'
//! THREADS=1 cargo bench ... -- --quick
//! ```
//!
//! Rates that criterion prints are in elements: weights read for `1 row`, else operations (a
//! multiplication and an addition are two). `limit/read` is in bytes, as is attention of one query.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use emberform_kernels::attention::{Attend, Part, attend};
use emberform_kernels::between::{Norm, activate, norm};
use emberform_kernels::pool::{self, Pool};
use emberform_kernels::{Activation, Arithmetic, Format, Matrix, Panels, matmul, matmuls};

/// Rows and columns of a matrix that no cache holds (a vocabulary), and of one that some do.
const LARGE: [usize; 2] = [131_072, 768];
const SMALL: [usize; 2] = [1536, 768];

fn random(count: usize) -> Vec<f32> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Blocks whose floats are near one, as scales and weights: nothing is subnormal, which is slow.
fn weights(format: Format, [n, k]: [usize; 2]) -> Vec<u8> {
    let row = format.row_bytes(k).expect("whole blocks");
    let mut bytes: Vec<u8> =
        (0..n * row).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    // The upper byte of each float of a block.
    let upper: &[usize] = match format {
        Format::F32 => &[3],
        Format::F16 | Format::BF16 | Format::Q4_0 | Format::Q5_0 | Format::Q8_0 => &[1],
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[1, 3],
        Format::Q2_K => &[81, 83],
        Format::Q3_K => &[109],
        Format::Q6_K => &[209],
    };
    for block in bytes.chunks_exact_mut(row / (k / format.block())) {
        for &at in upper {
            block[at] = block[at] & 0x81 | 0x3c;
        }
    }
    bytes
}

fn threads() -> Arc<Pool> {
    let count = std::env::var("THREADS").ok().and_then(|count| count.parse().ok());
    Arc::new(Pool::new(count.unwrap_or_else(pool::processors)).computing(Arithmetic::Integers))
}

fn limits(c: &mut Criterion) {
    let pool = threads();
    let count = pool.threads();
    let memory = vec![1_u64; (256 << 20) / 8];
    let mut group = c.benchmark_group("limit");
    group.throughput(Throughput::Bytes(256 << 20));
    group.bench_function("read", |b| {
        b.iter(|| {
            std::thread::scope(|scope| {
                for part in memory.chunks(memory.len().div_ceil(count)) {
                    scope.spawn(move || black_box(read(part)));
                }
            });
        });
    });
    const STEPS: usize = 4 << 20;
    group.throughput(Throughput::Elements((count * STEPS * 2 * LANES * CHAINS) as u64));
    group.bench_function("multiply-add", |b| {
        b.iter(|| {
            std::thread::scope(|scope| {
                for _ in 0..count {
                    scope.spawn(|| black_box(multiply_add(STEPS)));
                }
            });
        });
    });
}

fn read(from: &[u64]) -> u64 {
    let (chunks, _) = from.as_chunks::<32>();
    let mut sums = [0_u64; 32];
    for chunk in chunks {
        // As the kernels do: a processor does not look past the end of a page by itself.
        #[cfg(target_arch = "x86_64")]
        for line in 0..4 {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let ahead = chunk.as_ptr().cast::<i8>().wrapping_add(4096 + 64 * line);
            // SAFETY: a prefetch reads nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead) };
        }
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum ^= value;
        }
    }
    sums.into_iter().fold(0, |all, sum| all ^ sum)
}

/// Sums that do not wait for each other.
const CHAINS: usize = 10;
#[cfg(target_arch = "x86_64")]
const LANES: usize = 16;
#[cfg(not(target_arch = "x86_64"))]
const LANES: usize = 4;

/// Ten sums of [`LANES`] floats each, as the widest vectors of the processor take them.
fn multiply_add(steps: usize) -> f32 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps, _mm512_fmadd_ps, _mm512_set1_ps};
        #[target_feature(enable = "avx512f")]
        fn wide(steps: usize) -> f32 {
            let (mut sums, by) = ([_mm512_set1_ps(0.5); CHAINS], _mm512_set1_ps(black_box(0.5)));
            for _ in 0..steps {
                for sum in &mut sums {
                    *sum = _mm512_fmadd_ps(*sum, by, by);
                }
            }
            black_box(sums);
            0.0
        }
        #[target_feature(enable = "avx2,fma")]
        fn half(steps: usize) -> f32 {
            let (mut sums, by) = ([_mm256_set1_ps(0.5); CHAINS], _mm256_set1_ps(black_box(0.5)));
            for _ in 0..2 * steps {
                for sum in &mut sums {
                    *sum = _mm256_fmadd_ps(*sum, by, by);
                }
            }
            black_box(sums);
            0.0
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has it.
            return unsafe { wide(steps) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe { half(steps) };
        }
    }
    let (mut sums, by) = ([[0.5_f32; LANES]; CHAINS], black_box(0.5));
    for _ in 0..steps {
        for sum in sums.as_flattened_mut() {
            *sum = *sum * by + by;
        }
    }
    sums.as_flattened().iter().sum()
}

fn products(c: &mut Criterion) {
    let pool = threads();
    for format in Format::ALL {
        let mut group = c.benchmark_group(format.to_string());
        for (size, rows) in [(LARGE, &[1, 4, 8][..]), (SMALL, &[1, 8, 16, 64, 512][..])] {
            let [n, k] = size;
            let w = weights(format, size);
            for &m in rows {
                let x = random(m * k);
                let mut out = vec![0.0; m * n];
                let name = if n == LARGE[0] { "memory" } else { "cache" };
                match m {
                    1 => group.throughput(Throughput::Bytes(w.len() as u64)),
                    _ => group.throughput(Throughput::Elements((2 * m * k * n) as u64)),
                };
                group.bench_function(format!("{name}/{m} rows"), |b| {
                    pool::with(&pool, || {
                        b.iter(|| matmul(format, &w, &x, [m, k, n], None, black_box(&mut out)));
                    });
                });
            }
        }
    }
}

/// Floats that are panels already, as an encoder has them.
fn panels(c: &mut Criterion) {
    let pool = threads();
    let mut group = c.benchmark_group("panels");
    let [n, k] = SMALL;
    let w = weights(Format::F32, SMALL);
    let floats = Panels::new(Format::F32, &w, SMALL);
    let rounded = Panels::rounded(Format::F32, &w, SMALL);
    for (name, panels) in [("F32", &floats), ("BF16", &rounded)] {
        let panels = panels.as_ref();
        let matrix = Matrix { format: Format::F32, w: &w, n, bias: None, panels, then: None };
        for m in [8, 16, 32, 64, 512] {
            let x = random(m * k);
            let mut out = vec![0.0; m * n];
            group.throughput(Throughput::Elements((2 * m * k * n) as u64));
            group.bench_function(format!("{name}/{m} rows"), |b| {
                pool::with(&pool, || b.iter(|| matmuls(&[matrix], &x, [m, k], &mut [&mut out])));
            });
        }
    }
}

fn between(c: &mut Criterion) {
    let pool = threads();
    let mut group = c.benchmark_group("attention");
    // Queries, keys, heads of each, their size: a text, and what one more token of Gemma 3 270M and
    // of Qwen2.5 0.5B looks at.
    let cases = [
        [1, 512, 12, 4, 64],
        [1, 8192, 12, 4, 64],
        [512, 512, 12, 4, 64],
        [1, 512, 4, 1, 256],
        [1, 8000, 4, 1, 256],
        [1, 512, 14, 2, 64],
        [1, 8000, 14, 2, 64],
    ];
    for [queries, keys, heads, kv_heads, dim] in cases {
        let q = random(queries * heads * dim);
        // Of many keys, those of several layers in turn: no cache holds them.
        let layers = if keys < 8000 { 1 } else { (256 << 20) / (8 * keys * kv_heads * dim) };
        let sides: Vec<_> =
            (0..layers).map(|_| [(); 2].map(|()| random(keys * kv_heads * dim))).collect();
        let mut out = vec![0.0; q.len()];
        let parts = [Part { queries: 0..queries, keys: 0..keys, before: keys - queries }];
        let pairs: usize = (0..queries).map(|i| keys - queries + i + 1).sum();
        if queries == 1 {
            group.throughput(Throughput::Bytes((8 * keys * kv_heads * dim) as u64));
        } else {
            group.throughput(Throughput::Elements((4 * pairs * heads * dim) as u64));
        }
        group.bench_function(format!("{queries} of {keys}, {heads} of {kv_heads} of {dim}"), |b| {
            let mut turn = sides.iter().cycle();
            let mut step = || {
                let [k, v] = turn.next().expect("a layer");
                let all = Attend {
                    q: &q,
                    sides: &[(k, v)],
                    heads,
                    kv_heads,
                    dim,
                    scale: 0.125,
                    softcap: None,
                    window: None,
                    after: Some(0),
                    parts: &parts,
                };
                attend(all, black_box(&mut out));
            };
            pool::with(&pool, || b.iter(&mut step));
        });
    }
    group.finish();
    let mut group = c.benchmark_group("between");
    let (from, gamma) = (random(512 * 768), random(768));
    let mut x = from.clone();
    group.throughput(Throughput::Elements(x.len() as u64));
    pool::with(&pool, || {
        group.bench_function("layer norm", |b| {
            let how = Norm { centered: true, eps: 1e-5, gamma: &gamma, beta: Some(&gamma) };
            b.iter(|| {
                x.copy_from_slice(&from);
                norm(how, black_box(&mut x));
            });
        });
        for kind in [Activation::Gelu, Activation::GeluTanh, Activation::Silu] {
            group.bench_function(kind.to_string(), |b| {
                b.iter(|| {
                    x.copy_from_slice(&from);
                    activate(kind, black_box(&mut x));
                });
            });
        }
    });
}

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(20).without_plots();
    targets = limits, products, panels, between
}
criterion_main!(all);
