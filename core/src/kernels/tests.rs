//! Every format, on every backend that is here, against [`ggml::dequantize`] and a plain loop.

use std::sync::Arc;

use burn::tensor::{Device as Place, Int, Tensor, TensorData};
use bytes::Bytes;
use half::f16;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::cpu::Arithmetic;
use super::cpu::pool::{self, Pool};
use crate::device::{Device, GpuChoice, open};
use crate::quant::weights::Packed;
use crate::quant::{Format, ggml};

/// The CPU, and a GPU where there is one, be it software.
pub(crate) fn small_devices() -> Vec<Place> {
    let mut devices = vec![Place::flex()];
    match Device::list().first().and_then(|info| info.index) {
        Some(index) => match open(&Device::Gpu(GpuChoice::Index(index))) {
            Ok(opened) => devices.push(opened.device),
            Err(error) => println!("the GPU part of this test is left out: {error}"),
        },
        None => println!("the GPU part of this test is left out: this machine has no adapter"),
    }
    devices
}

/// Runs a test with activations in floats on the CPU: what is compared to the last digits. The
/// other arithmetic has its tests in [`super::cpu`].
fn in_floats(test: impl FnOnce()) {
    let pool = Pool::new(2).computing(Arithmetic::Floats);
    pool::with(&Arc::new(pool), test);
}

/// Where a block of the format holds f16 numbers.
fn halves(format: Format) -> &'static [usize] {
    match format {
        Format::Q4_0 | Format::Q5_0 | Format::Q8_0 | Format::F16 => &[0],
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
        Format::Q2_K => &[80, 82],
        Format::Q3_K => &[108],
        Format::Q6_K => &[208],
        Format::F32 | Format::BF16 => &[],
    }
}

/// A number between -1 and 1, now and then one that is subnormal as f16.
fn number(random: &mut ChaCha8Rng) -> f32 {
    let value = (random.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0;
    if random.next_u32().is_multiple_of(16) { value * 5e-5 } else { value }
}

/// Random packed rows: any bits, but finite scales.
pub(crate) fn packed(format: Format, rows: usize, width: usize, seed: u64) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut bytes = vec![0; rows * format.row_bytes(width).unwrap()];
    random.fill_bytes(&mut bytes);
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        for &at in halves(format) {
            block[at..at + 2].copy_from_slice(&f16::from_f32(number(&mut random)).to_le_bytes());
        }
        match format {
            Format::F32 => block.copy_from_slice(&number(&mut random).to_le_bytes()),
            Format::BF16 => {
                block.copy_from_slice(&half::bf16::from_f32(number(&mut random)).to_le_bytes());
            }
            _ => {}
        }
    }
    bytes
}

pub(crate) fn floats(count: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| number(&mut random)).collect()
}

fn tensor(values: &[f32], shape: [usize; 2], device: &Place) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn dequantized(format: Format, bytes: &[u8], count: usize) -> Vec<f32> {
    let mut out = vec![0.0; count];
    ggml::dequantize(format, bytes, &mut out);
    out
}

/// Compares with sums in f64; sums in f32 may differ by rounding, which grows with the sizes of
/// what is added and not with the sum.
fn check_product(format: Format, m: usize, k: usize, n: usize, devices: &[Place]) {
    let bytes = packed(format, n, k, (n + k) as u64);
    let weights = dequantized(format, &bytes, n * k);
    let x = floats(m * k, m as u64);
    let bytes = Bytes::from(bytes);
    for device in devices {
        let packed = Packed::new(bytes.clone(), format, n, k, device).unwrap();
        let got = values(packed.matmul(tensor(&x, [m, k], device)));
        assert_eq!(got.len(), m * n);
        for (i, x) in x.chunks_exact(k).enumerate() {
            for (j, w) in weights.chunks_exact(k).enumerate() {
                let products = || x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
                let (sum, size): (f64, f64) = (products().sum(), products().map(f64::abs).sum());
                let error = (f64::from(got[i * n + j]) - sum).abs();
                assert!(
                    error <= 2e-6 * size + 1e-30,
                    "{format} [{m}, {k}] x [{n}, {k}] at [{i}, {j}] on {device:?}: {} is not {sum}",
                    got[i * n + j],
                );
            }
        }
    }
}

/// Widths that a format can have: one block, and more than one turn of a kernel's loop.
fn widths(format: Format) -> &'static [usize] {
    match format.block() {
        1 => &[1, 7, 20, 257, 640],
        32 => &[32, 96, 1056],
        _ => &[256, 1280],
    }
}

#[test]
fn products_are_those_of_the_plain_loop() {
    in_floats(|| {
        let devices = small_devices();
        for format in Format::ALL {
            for &k in widths(format) {
                for m in [1, 3, 17, 70] {
                    check_product(format, m, k, 67, &devices);
                }
                check_product(format, 7, k, 1, &devices);
            }
        }
    });
}

#[test]
fn tables_with_more_rows_than_a_dispatch_has_cubes() {
    in_floats(|| {
        let devices = small_devices();
        let (n, k) = (262_149, 96);
        check_product(Format::Q4_0, 1, k, n, &devices);
        check_product(Format::Q4_0, 5, 32, 65_537, &devices);
        let bytes = Bytes::from(packed(Format::Q4_0, n, k, 9));
        let expected = dequantized(Format::Q4_0, &bytes, n * k);
        for device in &devices {
            let packed = Packed::new(bytes.clone(), Format::Q4_0, n, k, device).unwrap();
            assert!(values(packed.dequantize()) == expected);
        }
    });
}

#[test]
fn rows_are_those_of_the_reference() {
    for device in small_devices() {
        for format in Format::ALL {
            for &k in widths(format) {
                let bytes = packed(format, 9, k, k as u64);
                let table = dequantized(format, &bytes, 9 * k);
                let packed = Packed::new(Bytes::from(bytes), format, 9, k, &device).unwrap();
                let ids = [8, 0, 3, 3, 9, -1];
                let got = values(packed.rows(Tensor::<1, Int>::from_ints(ids, &device)));
                for (row, id) in got.chunks_exact(k).zip(ids) {
                    let zeros = vec![0.0; k];
                    let expected = match usize::try_from(id) {
                        Ok(id) if id < 9 => &table[id * k..(id + 1) * k],
                        _ => &zeros,
                    };
                    for (got, expected) in row.iter().zip(expected) {
                        // A GPU may fuse the product and the offset, and flush subnormals.
                        let close = (got - expected).abs() <= 2e-6 * expected.abs() + 2e-6;
                        assert!(close, "{format} row {id} on {device:?}: {got} is not {expected}");
                    }
                }
            }
        }
    }
}

/// All 65536 halves: subnormals, infinities and all.
#[test]
fn halves_are_exact() {
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for device in small_devices() {
        let packed =
            Packed::new(Bytes::from(bytes.clone()), Format::F16, 256, 256, &device).unwrap();
        for (bits, got) in (0..=u16::MAX).zip(values(packed.dequantize())) {
            let expected = f16::from_bits(bits).to_f32();
            let same = got == expected || (got.is_nan() && expected.is_nan());
            assert!(same, "{bits:#06x} on {device:?}: {got} is not {expected}");
        }
    }
}

/// A view that is not contiguous, and a transposed one.
#[test]
fn views_are_read_as_they_are() {
    let bytes = Bytes::from(packed(Format::Q8_0, 5, 64, 3));
    for device in small_devices() {
        let packed = Packed::new(bytes.clone(), Format::Q8_0, 5, 64, &device).unwrap();
        let x = tensor(&floats(64 * 12, 4), [64, 12], &device);
        let plain = tensor(&values(x.clone().transpose()), [12, 64], &device);
        let got = values(packed.matmul(x.transpose()));
        assert_eq!(got, values(packed.matmul(plain.clone())));
        let middle = values(packed.matmul(plain.slice([2..11, 0..64])));
        assert_eq!(middle, got[10..55]);
    }
}

#[cfg(feature = "train")]
#[test]
fn the_gradient_is_that_of_the_plain_product() {
    in_floats(|| {
        let (m, k, n) = (3, 64, 7);
        let bytes = packed(Format::Q5_1, n, k, 5);
        let weights = dequantized(Format::Q5_1, &bytes, n * k);
        let bytes = Bytes::from(bytes);
        for device in small_devices() {
            let packed = Packed::new(bytes.clone(), Format::Q5_1, n, k, &device).unwrap();
            let device = device.autodiff();
            let x = || tensor(&floats(m * k, 6), [m, k], &device).require_grad();
            let weight = tensor(&weights, [n, k], &device);
            let gradient = |x: Tensor<2>, y: Tensor<2>| {
                values(x.grad(&(y.clone() * y).sum().backward()).unwrap())
            };
            let (a, b) = (x(), x());
            let got = gradient(a.clone(), packed.matmul(a));
            let expected = gradient(b.clone(), b.matmul(weight.transpose()));
            for (got, expected) in got.iter().zip(expected) {
                assert!(
                    (got - expected).abs() <= 1e-4 * (1.0 + expected.abs()),
                    "{got} {expected}"
                );
            }
        }
    });
}
