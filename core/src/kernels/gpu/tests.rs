//! What stands between products on a GPU, against plain loops in 64-bit floats.

use burn::backend::{
    BackendTensor, DType, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, Shape,
};
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_cubecl::kernel::{cast, into_contiguous};
use burn_cubecl::tensor::CubeTensor;

use super::attend::{AttentionArgs, attend, attend_as};
use super::between::{
    Asked, NormArgs, Rotation, Spot, gate, gate_rows, norm, norm_of_sum, place, pool, rotate,
    settle, unit_rows,
};
use super::gemv::{Rms, Words, gated, project};
use super::newest::{self, CubeSplit, HeadNorms, attend_newest, attend_with};
use super::{dots, empty, half};
use crate::kernels::cpu::{self, Activation};
use crate::kernels::tests::{floats, packed, small_devices};
use crate::quant::weights::Packed;
use crate::quant::{Format, ggml};

/// The GPUs among the devices.
pub(super) fn gpus() -> Vec<Device> {
    small_devices().into_iter().skip(1).collect()
}

pub(super) fn on(device: &Device, values: &[f32]) -> CubeTensor {
    let data = TensorData::new(values.to_vec(), [values.len()]);
    match Tensor::<1>::from_data(data, device).into_dispatch().kind {
        DispatchTensorKind::Cube(BackendTensor::Float(tensor)) => tensor,
        _ => panic!("the tensor must be on a GPU"),
    }
}

fn whole(device: &Device, values: Vec<i32>) -> CubeTensor {
    let count = values.len();
    let values = TensorData::new(values, [count]);
    match Tensor::<1, Int>::from_data(values, (device, DType::I32)).into_dispatch().kind {
        DispatchTensorKind::Cube(BackendTensor::Int(tensor)) => tensor,
        _ => panic!("the tensor must be on a GPU"),
    }
}

pub(super) fn read(tensor: CubeTensor) -> Vec<f32> {
    let shape = Shape::from([tensor.meta.num_elements()]);
    let dtype = tensor.dtype;
    let tensor =
        CubeTensor::new_contiguous(tensor.client, tensor.device, shape, tensor.handle, dtype);
    let kind = DispatchTensorKind::Cube(BackendTensor::Float(tensor));
    let tensor = DispatchTensor { kind, autodiff: DispatchAutodiffContext::Disabled };
    Tensor::<1>::from_dispatch(tensor).into_data().try_to_vec().unwrap()
}

fn close(found: &[f32], wanted: &[f64], bar: f64, what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let error = (f64::from(*found) - wanted).abs();
        assert!(error <= bar * (1.0 + wanted.abs()), "{what} at {i}: {found} is not {wanted}");
    }
}

#[test]
fn norms_are_those_of_the_plain_loop() {
    for device in gpus() {
        for (rows, width) in [(1, 1), (3, 7), (5, 64), (2, 130), (70, 384)] {
            let x: Vec<f32> = floats(rows * width, 1).iter().map(|x| x + 0.25).collect();
            let (gamma, beta) = (floats(width, 2), floats(width, 3));
            for (centered, shifted) in [(true, true), (true, false), (false, false)] {
                let eps = 1e-5;
                let mut wanted = Vec::new();
                for x in x.chunks_exact(width) {
                    let mean =
                        |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / width as f64;
                    let middle = match centered {
                        true => mean(&mut x.iter().map(|x| f64::from(*x))),
                        false => 0.0,
                    };
                    let spread = mean(&mut x.iter().map(|x| (f64::from(*x) - middle).powi(2)));
                    let scale = 1.0 / (spread + f64::from(eps)).sqrt();
                    wanted.extend(x.iter().zip(gamma.iter().zip(&beta)).map(
                        |(x, (gamma, beta))| {
                            let y = (f64::from(*x) - middle) * scale * f64::from(*gamma);
                            if shifted { y + f64::from(*beta) } else { y }
                        },
                    ));
                }
                let (gamma, beta) = (on(&device, &gamma), on(&device, &beta));
                let beta = shifted.then_some(&beta);
                let x = on(&device, &x);
                let mut kind = NormArgs { centered, eps, gamma: &gamma, beta, add: None };
                let what = format!("[{rows}, {width}], centered {centered}");
                close(&read(norm(&kind, &x, rows, width)), &wanted, 2e-5, &what);
                kind.add = Some(&x);
                let sums: Vec<f64> =
                    wanted.iter().zip(read(x.clone())).map(|(y, x)| y + f64::from(x)).collect();
                close(&read(norm(&kind, &x, rows, width)), &sums, 2e-5, &what);
            }
        }
    }
}

/// Floats of 16 bits as such of 32.
fn widened(tensor: CubeTensor) -> CubeTensor {
    assert_eq!(tensor.dtype, DType::F16);
    into_contiguous(cast(tensor, DType::F32))
}

#[test]
fn rows_are_divided_by_their_lengths() {
    for device in gpus() {
        for (rows, width) in [(1, 1), (3, 7), (70, 384)] {
            let mut x = floats(rows * width, 1);
            x[..width].fill(1e-14);
            let found = read(unit_rows(&on(&device, &x), 1e-12, [rows, width]));
            let wanted = x.chunks_exact(width).flat_map(|x| {
                let length: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                x.iter().map(move |x| f64::from(*x) / length.max(1e-12))
            });
            close(&found, &wanted.collect::<Vec<_>>(), 2e-6, &format!("[{rows}, {width}]"));
        }
    }
}

#[test]
fn norms_of_sums_are_norms_of_what_was_added_before() {
    for device in gpus() {
        for (rows, width) in [(1, 1), (3, 7), (5, 64), (70, 384)] {
            let (x, y) = (floats(rows * width, 1), floats(rows * width, 2));
            let (bias, gamma, beta) = (floats(width, 3), floats(width, 4), floats(width, 5));
            for (added, biased, centered) in
                [(false, false, true), (true, false, false), (true, true, true)]
            {
                let sum: Vec<f32> = (0..rows * width)
                    .map(|i| {
                        let y = if added { y[i] } else { 0.0 };
                        x[i] + y + if biased { bias[i % width] } else { 0.0 }
                    })
                    .collect();
                let (gamma, beta) = (on(&device, &gamma), on(&device, &beta));
                let beta = centered.then_some(&beta);
                let kind = NormArgs { centered, eps: 1e-5, gamma: &gamma, beta, add: None };
                let wanted = read(norm(&kind, &on(&device, &sum), rows, width));
                let wanted: Vec<f64> = wanted.into_iter().map(f64::from).collect();
                let exact: Vec<f64> = sum.iter().map(|x| f64::from(*x)).collect();
                let (x, y, bias) = (on(&device, &x), on(&device, &y), on(&device, &bias));
                let (y, bias) = (added.then_some(&y), biased.then_some(&bias));
                for asked in [
                    Asked { sum: true, floats: true, halves: true },
                    Asked { floats: true, ..Asked::default() },
                    Asked { sum: true, halves: true, ..Asked::default() },
                ] {
                    let what = format!("[{rows}, {width}], {added}, {biased}, {asked:?}");
                    let found = norm_of_sum(&kind, &x, y, bias, asked, [rows, width]);
                    assert_eq!(found.sum.is_some(), asked.sum, "{what}");
                    assert_eq!(found.floats.is_some(), asked.floats, "{what}");
                    assert_eq!(found.halves.is_some(), asked.halves, "{what}");
                    found.sum.into_iter().for_each(|sum| close(&read(sum), &exact, 1e-6, &what));
                    found.floats.into_iter().for_each(|y| close(&read(y), &wanted, 2e-5, &what));
                    let halves = found.halves.map(widened);
                    halves.into_iter().for_each(|y| close(&read(y), &wanted, 1e-3, &what));
                }
            }
        }
    }
}

#[test]
fn activations_are_those_of_the_cpu() {
    let x: Vec<f32> = floats(1000, 4).iter().map(|x| x * 30.0).collect();
    let up = floats(1000, 5);
    for device in gpus() {
        for kind in [
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Relu,
            Activation::Silu,
            Activation::Tanh,
        ] {
            let mut wanted = x.clone();
            cpu::between::activate(kind, &mut wanted);
            let alone: Vec<f64> = wanted.iter().map(|y| f64::from(*y)).collect();
            let gated: Vec<f64> =
                wanted.iter().zip(&up).map(|(y, up)| f64::from(*y) * f64::from(*up)).collect();
            let (x, up) = (on(&device, &x), on(&device, &up));
            close(&read(gate(kind, &x, None)), &alone, 2e-6, &format!("{kind}"));
            close(&read(gate(kind, &x, Some(&up))), &gated, 2e-6, &format!("{kind}, gated"));
            // What a product has not added is added first.
            let bias = floats(50, 6);
            let shifted: Vec<f32> =
                read(x.clone()).iter().enumerate().map(|(i, x)| x - bias[i % 50]).collect();
            let (shifted, bias) = (on(&device, &shifted), on(&device, &bias));
            for (dtype, bar) in [(DType::F32, 1e-5), (DType::F16, 2e-3)] {
                let y = gate_rows(kind, &shifted, Some(&up), Some(&bias), dtype, [20, 50]);
                let y = if dtype == DType::F16 { widened(y) } else { y };
                close(&read(y), &gated, bar, &format!("{kind}, with a bias, {dtype:?}"));
            }
        }
    }
}

#[test]
fn rotations_are_those_of_the_plain_loop() {
    // Rows of two sequences of three places, two heads of 10, of which 6 are rotated.
    let (rows, heads, dim, half, first) = (6, 2, 10, 3, 2);
    let row = heads * dim;
    let (x, angles) = (floats(rows * row, 6), floats(rows * half, 7));
    let cos: Vec<f32> = angles.iter().map(|angle| (angle * 3.0).cos()).collect();
    let sin: Vec<f32> = angles.iter().map(|angle| (angle * 3.0).sin()).collect();
    for device in gpus() {
        // Both by the same angles, or each by its own.
        for (tokens, adjacent) in [(3, false), (3, true), (6, false), (6, true)] {
            let mut wanted: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            for (i, head) in wanted.chunks_exact_mut(dim).enumerate() {
                let token = i / heads % tokens;
                for pair in 0..half {
                    let (a, b) = match adjacent {
                        true => (2 * pair, 2 * pair + 1),
                        false => (pair, pair + half),
                    };
                    let at = token * half + pair;
                    let (cos, sin) = (f64::from(cos[at]), f64::from(sin[at]));
                    let (left, right) = (head[a], head[b]);
                    head[a] = left * cos - right * sin;
                    head[b] = right * cos + left * sin;
                }
            }
            let all = ..tokens * half;
            let (cos, sin) = (on(&device, &cos[all]), on(&device, &sin[all]));
            let rotation = Rotation { cos: &cos, sin: &sin, tokens, half, adjacent };
            let before = vec![5.0; (first + rows + 1) * row];
            let out = on(&device, &before);
            rotate(Some(&rotation), &on(&device, &x), &out, first, [rows, row, dim]);
            let found = read(out);
            let (start, end) = (first * row, (first + rows) * row);
            close(
                &found[start..end],
                &wanted,
                1e-6,
                &format!("{tokens} places, adjacent {adjacent}"),
            );
            assert!(found[..start].iter().chain(&found[end..]).all(|value| *value == 5.0));
        }
        let out = on(&device, &vec![0.0; rows * row]);
        rotate(None, &on(&device, &x), &out, 0, [rows, row, row]);
        assert_eq!(read(out), x);
        // Queries, keys and values at once, of which queries have twice the heads.
        let (q, v) = (floats(rows * 2 * row, 8), floats(rows * row, 9));
        let [q, k, v] = [&q, &x, &v].map(|x| on(&device, x));
        let (cos, sin) = (on(&device, &cos[..3 * half]), on(&device, &sin[..3 * half]));
        for adjacent in [false, true] {
            let rotation = Rotation { cos: &cos, sin: &sin, tokens: 3, half, adjacent };
            for rotation in [Some(&rotation), None] {
                let buffer = || on(&device, &vec![5.0; (first + rows + 1) * row]);
                let (keys, values, own_keys, own_values) = (buffer(), buffer(), buffer(), buffer());
                let own_q = on(&device, &vec![0.0; rows * 2 * row]);
                rotate(rotation, &q, &own_q, 0, [rows, 2 * row, dim]);
                rotate(rotation, &k, &own_keys, first, [rows, row, dim]);
                rotate(None, &v, &own_values, first, [rows, row, dim]);
                let sizes = [rows, 2 * row, row, dim];
                let found = place(rotation, [&q, &k, &v], [&keys, &values], first, sizes);
                assert_eq!(read(found), read(own_q));
                assert_eq!(read(keys), read(own_keys));
                assert_eq!(read(values), read(own_values));
            }
        }
    }
}

#[test]
fn pooled_rows_are_sums_with_weights() {
    let ranges = [(0, 4), (4, 4), (5, 70), (70, 71), (3, 9)];
    for device in gpus() {
        for width in [1, 15, 64, 130] {
            let (x, weights) = (floats(71 * width, 11), floats(71, 12));
            let mut wanted = vec![0.0; ranges.len() * width];
            for (sums, (from, to)) in wanted.chunks_exact_mut(width).zip(ranges) {
                for row in from..to {
                    for (sum, x) in sums.iter_mut().zip(&x[row * width..]) {
                        *sum += f64::from(*x) * f64::from(weights[row]);
                    }
                }
            }
            let ends = ranges.iter().flat_map(|(from, to)| [*from as i32, *to as i32]).collect();
            let (x, weights) = (on(&device, &x), on(&device, &weights));
            let found = read(pool(&x, &weights, &whole(&device, ends), ranges.len(), width));
            close(&found, &wanted, 1e-5, &format!("rows of {width}"));
        }
    }
}

#[test]
fn attention_is_that_of_the_plain_loop() {
    // Tokens, keys, heads, heads of keys, size of a head.
    let shapes = [
        [1, 1, 4, 2, 64],
        [1, 63, 4, 4, 32],
        [1, 64, 16, 2, 64],
        [1, 1000, 12, 2, 30],
        [1, 777, 3, 1, 256],
        [3, 130, 10, 1, 128],
        [8, 8, 2, 1, 80],
        [21, 150, 4, 2, 64],
    ];
    for device in gpus() {
        for [tokens, keys, heads, kv_heads, dim] in shapes {
            let (q_row, k_row) = (heads * dim, kv_heads * dim);
            let q = floats(tokens * q_row, 8);
            let (k, v) = (floats(keys * k_row, 9), floats(keys * k_row, 10));
            let last = |token: usize| (keys - tokens + token + 1) as u32;
            let causal: Vec<_> = (0..tokens).map(|token| (0, last(token))).collect();
            let sliding: Vec<_> =
                (0..tokens).map(|token| (last(token).saturating_sub(40), last(token))).collect();
            let mut padded = vec![(0, keys as u32); tokens];
            padded[tokens / 2] = (0, 0);
            for (ranges, softcap) in [(causal, None), (sliding, Some(5.0f32)), (padded, None)] {
                let scale = 0.7f32;
                let mut wanted = Vec::new();
                for (token, range) in ranges.iter().enumerate() {
                    for head in 0..heads {
                        let kv = head / (heads / kv_heads);
                        let row = |x: &[f32], at: usize| -> Vec<f64> {
                            x[at..at + dim].iter().map(|x| f64::from(*x)).collect()
                        };
                        let query = row(&q, token * q_row + head * dim);
                        let mut sum = 0.0;
                        let mut out = vec![0.0; dim];
                        for key in range.0 as usize..range.1 as usize {
                            let at = key * k_row + kv * dim;
                            let dot: f64 = query.iter().zip(row(&k, at)).map(|(q, k)| q * k).sum();
                            let score = dot * f64::from(scale);
                            let score = match softcap {
                                Some(cap) => f64::from(cap) * (score / f64::from(cap)).tanh(),
                                None => score,
                            };
                            let weight = score.exp();
                            sum += weight;
                            for (out, v) in out.iter_mut().zip(row(&v, at)) {
                                *out += weight * v;
                            }
                        }
                        let whole = if sum > 0.0 { sum } else { 1.0 };
                        wanted.extend(out.iter().map(|value| value / whole));
                    }
                }
                // What counts stands on the device: one token may be told of more keys.
                let (mut wide, mut flat) = (ranges.clone(), vec![]);
                if let ([range], 0) = (&mut wide[..], keys % 2) {
                    *range = (0, (range.1 - range.0).next_power_of_two());
                    flat.push(9);
                }
                let seen_at = flat.len();
                flat.extend(ranges.iter().flat_map(|range| [range.0 as i32, range.1 as i32]));
                let seen = whole(&device, flat);
                let (q, k, v) = (on(&device, &q), on(&device, &k), on(&device, &v));
                let all = AttentionArgs {
                    q: &q,
                    k: &k,
                    v: &v,
                    ranges: &wide,
                    seen: &seen,
                    seen_at,
                    heads,
                    kv_heads,
                    dim,
                    scale,
                    softcap,
                };
                let what = format!("{tokens} tokens, {keys} keys, {heads} heads, {dim}");
                close(&read(attend(&all).out), &wanted, 5e-6, &what);
                // In one launch and in two; a kernel is compiled for each shape, which takes a while.
                if matches!((tokens, keys), (21, 150) | (1, 1000)) {
                    let halves = widened(attend_as(&all, DType::F16).out);
                    close(&read(halves), &wanted, 1e-3, &what);
                }
            }
        }
    }
}

/// Random packed rows on the device, and as floats.
fn rows(device: &Device, format: Format, shape: [usize; 2], seed: u64) -> (Words, Vec<f32>) {
    let [rows, width] = shape;
    let bytes = packed(format, rows, width, seed);
    let mut floats = vec![0.0; rows * width];
    ggml::dequantize(format, &bytes, &mut floats);
    let weights = Packed::new(bytes.into(), format, rows, width, device).unwrap();
    (Words { words: weights.on_gpu().unwrap(), format, rows, width }, floats)
}

/// The products of `x` with rows, and how large what they add is.
pub(super) fn times(w: &[f32], x: &[f64]) -> Vec<(f64, f64)> {
    let row = |w: &[f32]| {
        let products = || w.iter().zip(x).map(|(w, x)| f64::from(*w) * x);
        (products().sum(), products().map(f64::abs).sum())
    };
    w.chunks_exact(x.len()).map(row).collect()
}

/// Sums in f32 differ by rounding, which grows with what is added and not with the sum.
fn close_sums(found: &[f32], wanted: &[(f64, f64)], bar: f64, what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (i, (found, (wanted, size))) in found.iter().zip(wanted).enumerate() {
        let error = (f64::from(*found) - wanted).abs();
        assert!(error <= bar * size + 1e-6, "{what} at {i}: {found} is not {wanted}");
    }
}

/// How near sums are: in bytes each number of `x` is rounded to 1/65,000 of the largest beside it.
fn bar(in_bytes: bool) -> f64 {
    if in_bytes { 5e-5 } else { 2e-6 }
}

#[test]
fn a_row_meets_packed_rows_in_bytes() {
    // Every kind of block on a device that has the instruction, by the test below; here those whose
    // blocks are read in ways of their own, on any device.
    for device in gpus() {
        for (format, n, k) in [
            (Format::Q8_0, [70, 3, 5], 192),
            (Format::Q4_K, [7, 0, 0], 4096),
            (Format::Q8_0, [9, 0, 0], 17_408),
            (Format::Q5_1, [9, 0, 0], 128),
            (Format::Q6_K, [9, 0, 0], 256),
        ] {
            let mut x: Vec<f32> = floats(k, 1).iter().map(|x| x + 0.1).collect();
            // A turn of zeros has no scale.
            x[64..128].fill(0.0);
            let n: Vec<usize> = n.into_iter().filter(|n| *n > 0).collect();
            let made: Vec<_> =
                n.iter().map(|n| rows(&device, format, [*n, k], *n as u64)).collect();
            let words: Vec<&Words> = made.iter().map(|made| &made.0).collect();
            let (gamma, add) = (floats(k, 2), floats(n.iter().sum(), 3));
            let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / k as f64;
            let scale = 1.0 / (mean + 1e-5).sqrt();
            let normed: Vec<f64> =
                x.iter().zip(&gamma).map(|(x, g)| f64::from(*x) * scale * f64::from(*g)).collect();
            let (on_x, gamma, on_add) = (on(&device, &x), on(&device, &gamma), on(&device, &add));
            let norm = Rms { gamma: &gamma, eps: 1e-5 };
            let found = empty(&on_x, [1, add.len()]);
            dots::project(&on_x, &words, Some(&norm), Some(&on_add), &found, 0);
            let mut wanted: Vec<_> = made.iter().flat_map(|(_, w)| times(w, &normed)).collect();
            wanted.iter_mut().zip(&add).for_each(|((sum, _), add)| *sum += f64::from(*add));
            close_sums(&read(found), &wanted, bar(true), &format!("{format} {n:?} x {k}"));
            if k > 256 {
                continue;
            }
            let (up, w) = rows(&device, format, [n[0], k], 9);
            let found = empty(&on_x, [1, n[0]]);
            dots::gated(&on_x, [words[0], &up], Some(&norm), Activation::Relu, &found);
            let both = times(&made[0].1, &normed).into_iter().zip(times(&w, &normed));
            let open = |((gate, size), (up, up_size)): ((f64, f64), (f64, f64))| {
                (gate.max(0.0) * up, (1.0 + size) * (1.0 + up_size))
            };
            let wanted: Vec<_> = both.map(open).collect();
            close_sums(&read(found), &wanted, bar(true), &format!("gate of {format} x {k}"));
            // What is no number stays none.
            x[70] = f32::NAN;
            let found = empty(&on_x, [1, n[0]]);
            dots::project(&on(&device, &x), &words[..1], None, None, &found, 0);
            assert!(read(found).iter().all(|sum| sum.is_nan()), "{format}");
        }
    }
}

#[test]
fn a_row_meets_packed_rows_with_its_norm() {
    for device in gpus() {
        for format in Format::ALL {
            for (n, k) in [([7, 3, 5], 256), ([130, 0, 0], 512), ([33, 66, 0], 4096)] {
                let whole = matches!(format, Format::F16 | Format::Q8_0 | Format::Q4_K);
                if !whole && k > 256 {
                    continue;
                }
                let x: Vec<f32> = floats(k, 1).iter().map(|x| x + 0.1).collect();
                let (gamma, add) = (floats(k, 2), floats(n.iter().sum(), 3));
                let n: Vec<usize> = n.into_iter().filter(|n| *n > 0).collect();
                let made: Vec<_> =
                    n.iter().map(|n| rows(&device, format, [*n, k], *n as u64)).collect();
                let words: Vec<&Words> = made.iter().map(|made| &made.0).collect();
                let (on_x, on_gamma, on_add) =
                    (on(&device, &x), on(&device, &gamma), on(&device, &add));
                let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / k as f64;
                let scale = 1.0 / (mean + 1e-5).sqrt();
                let plain: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
                let normed: Vec<f64> = plain
                    .iter()
                    .zip(&gamma)
                    .map(|(x, gamma)| x * scale * f64::from(*gamma))
                    .collect();
                let norm = Rms { gamma: &on_gamma, eps: 1e-5 };
                for (x, norm, added) in [
                    (&plain, None, true),
                    (&normed, Some(&norm), false),
                    (&normed, Some(&norm), true),
                ] {
                    let mut wanted: Vec<(f64, f64)> =
                        made.iter().flat_map(|(_, w)| times(w, x)).collect();
                    if added {
                        let sums = wanted.iter_mut().zip(&add);
                        sums.for_each(|((sum, _), add)| *sum += f64::from(*add));
                    }
                    let found = project(&on_x, &words, norm, added.then_some(&on_add));
                    let bar = bar(dots::fits(&on_x, format, k));
                    close_sums(&read(found), &wanted, bar, &format!("{format} {n:?} x {k}"));
                }
                let (up, w) = rows(&device, format, [n[0], k], 9);
                let open = |((gate, size), (up, up_size)): ((f64, f64), (f64, f64))| {
                    (gate / (1.0 + (-gate).exp()) * up, (1.0 + size) * (1.0 + up_size))
                };
                let both = times(&made[0].1, &normed).into_iter().zip(times(&w, &normed));
                let wanted: Vec<(f64, f64)> = both.map(open).collect();
                let found = gated(&on_x, [words[0], &up], Some(&norm), Activation::Silu);
                let bar = bar(dots::fits(&on_x, format, k));
                close_sums(&read(found), &wanted, bar, &format!("gate of {format} {n:?} x {k}"));
            }
        }
    }
}

#[test]
fn a_row_of_heads_settles() {
    for device in gpus() {
        for (adjacent, rotates) in [(false, true), (true, true), (false, false)] {
            let (heads, kv, dim, half, at) = (4, 2, 6, 2, 3);
            let (q_row, k_row) = (heads * dim, kv * dim);
            let x = floats(q_row + 2 * k_row, 1);
            let (cos, sin) = (on(&device, &floats(half, 2)), on(&device, &floats(half, 3)));
            let rotation =
                rotates.then_some(Rotation { cos: &cos, sin: &sin, tokens: 1, half, adjacent });
            let room = || on(&device, &vec![7.0; 5 * k_row]);
            let (keys, values) = (room(), room());
            let row = on(&device, &x);
            let bits = |x: Vec<f32>| x.into_iter().map(|x| x.to_bits() as i32).collect::<Vec<_>>();
            let words = [vec![0, at as i32], bits(floats(half, 2)), bits(floats(half, 3))].concat();
            let spot = Spot { row: 1, angles: rotates.then_some(2), half, adjacent };
            let words = whole(&device, words);
            let q = settle(spot, &words, &row, [&keys, &values], [q_row, k_row, dim]);
            let turned = |x: &[f32], row: usize| {
                let (x, out) = (on(&device, x), on(&device, &vec![0.0; row]));
                rotate(rotation.as_ref(), &x, &out, 0, [1, row, dim]);
                read(out)
            };
            assert_eq!(read(q), turned(&x[..q_row], q_row));
            let held = |tensor| {
                let all = read(tensor);
                assert!(all[..at * k_row].iter().all(|x| *x == 7.0));
                assert!(all[(at + 1) * k_row..].iter().all(|x| *x == 7.0));
                all[at * k_row..(at + 1) * k_row].to_vec()
            };
            assert_eq!(held(keys), turned(&x[q_row..q_row + k_row], k_row));
            assert_eq!(held(values), x[q_row + k_row..]);
        }
    }
}

#[test]
fn the_newest_token_attends_as_any_other() {
    // Keys held before, the first that is seen, heads, heads of keys, size of a head.
    let shapes = [
        [0, 0, 4, 2, 64],
        [63, 20, 16, 2, 64],
        [255, 0, 8, 2, 32],
        [300, 300, 4, 1, 128],
        [700, 100, 3, 1, 256],
        [1500, 0, 14, 2, 64],
    ];
    for device in gpus() {
        for [held, from, heads, kv_heads, dim] in shapes {
            // The last: which plans are tried, since software takes seconds to compile each.
            for (half, adjacent, softcap, normed, tried) in [
                (dim / 2, false, None, true, 0..3),
                (dim / 4, true, Some(5.0f32), false, 1..2),
                (0, false, None, false, 2..3),
            ] {
                let (q_row, k_row) = (heads * dim, kv_heads * dim);
                let row = on(&device, &floats(q_row + 2 * k_row, 1));
                let norms = normed.then(|| {
                    let [q, k] = [5, 6].map(|seed| on(&device, &floats(dim, seed)));
                    HeadNorms { q, k, eps: 1e-5 }
                });
                let part = |from: usize, to: usize| on(&device, &read(row.clone())[from..to]);
                // The same by other kernels: each head normed by itself, then all put together.
                let plain = match &norms {
                    Some(norms) => {
                        let by = |gamma| NormArgs {
                            centered: false,
                            eps: norms.eps,
                            gamma,
                            beta: None,
                            add: None,
                        };
                        let q = norm(&by(&norms.q), &part(0, q_row), heads, dim);
                        let end = q_row + k_row;
                        let k = norm(&by(&norms.k), &part(q_row, end), kv_heads, dim);
                        let v = read(part(end, end + k_row));
                        on(&device, &[read(q), read(k), v].concat())
                    }
                    None => row.clone(),
                };
                let rows = floats(held * k_row, 2);
                let unset = vec![f32::NAN; 3 * k_row];
                let room = || on(&device, &[&rows[..], &unset].concat());
                let angles = floats(2 * half, 3).into_iter().map(|x| x.to_bits() as i32);
                let mut words = vec![5, held as i32, from as i32, held as i32 + 1];
                words.extend(angles);
                let words = whole(&device, words);
                let spot = Spot { row: 1, angles: (half > 0).then_some(4), half, adjacent };
                let (keys, values) = (room(), room());
                let sizes = [q_row, k_row, dim];
                let q = settle(spot, &words, &plain, [&keys, &values], sizes);
                let wide = ((held + 1 - from) as u32).next_power_of_two().max(64);
                let ranges = [(0, wide)];
                let (seen, scale) = (&words, 0.7);
                let all = AttentionArgs {
                    q: &q,
                    k: &keys,
                    v: &values,
                    ranges: &ranges,
                    seen,
                    seen_at: 2,
                    heads,
                    kv_heads,
                    dim,
                    scale,
                    softcap,
                };
                let wanted = read(attend(&all).out);
                let wanted: Vec<f64> = wanted.into_iter().map(f64::from).collect();
                let plans = [(1, 64), (heads / kv_heads, 100)];
                let [one, shared] = plans.map(|(group, chunk)| Some(CubeSplit { group, chunk }));
                for plan in &[one, shared, None][tried] {
                    let plan = *plan;
                    let own = [room(), room()];
                    let all = AttentionArgs { k: &own[0], v: &own[1], ..all };
                    let found = match plan {
                        Some(plan) if plan.group > 8 => continue,
                        Some(plan) => attend_with(plan, &all, spot, norms.as_ref(), &row),
                        None => attend_newest(&all, spot, norms.as_ref(), &row),
                    };
                    let what = format!("{held} keys, {heads} heads of {dim}, {plan:?}");
                    assert!(newest::fits(dim), "{what}");
                    close(&read(found.out), &wanted, 5e-6, &what);
                    for (own, wanted) in own.into_iter().zip([&keys, &values]) {
                        let (own, wanted) = (read(own), read(wanted.clone()));
                        assert_eq!(own.len(), wanted.len());
                        for (own, wanted) in own.iter().zip(&wanted) {
                            // What is not set stays as it was.
                            let same = own.is_nan() && wanted.is_nan();
                            let near = (own - wanted).abs() <= 2e-6 * (1.0 + wanted.abs());
                            assert!(same || near, "{what}: {own} is not {wanted}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn products_in_halves_are_near() {
    for device in gpus() {
        for format in Format::ALL {
            let (m, n, k) = (70, 96, 512);
            let (words, w) = rows(&device, format, [n, k], 1);
            let x = floats(m * k, 2);
            let x_on = on(&device, &x);
            let x_on = CubeTensor::new_contiguous(
                x_on.client,
                x_on.device,
                Shape::from([m, k]),
                x_on.handle,
                DType::F32,
            );
            let found = read(half::product(&half::rounded(x_on), &words, None).unwrap());
            for (found, x) in found.chunks_exact(n).zip(x.chunks_exact(k)) {
                let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
                let size = |w: &[f32]| {
                    let sum: f64 = w.iter().zip(&x).map(|(w, x)| (f64::from(*w) * x).powi(2)).sum();
                    sum.sqrt()
                };
                let wanted = times(&w, &x);
                for ((found, (wanted, _)), w) in found.iter().zip(wanted).zip(w.chunks_exact(k)) {
                    let error = (f64::from(*found) - wanted).abs();
                    assert!(error <= 2e-3 * size(w) + 1e-5, "{format}: {found} is not {wanted}");
                }
            }
        }
    }
}
