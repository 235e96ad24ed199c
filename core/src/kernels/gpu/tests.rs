//! What stands between products on a GPU, against plain loops in 64-bit floats.

use burn::backend::{
    BackendTensor, DType, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, Shape,
};
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_cubecl::tensor::CubeTensor;

use super::attend::{Attend, attend};
use super::between::{Norm, Rotation, gate, norm, pool, rotate};
use crate::kernels::cpu::{self, Activation};
use crate::kernels::tests::{floats, small_devices};

/// The GPUs among the devices.
fn gpus() -> Vec<Device> {
    small_devices().into_iter().skip(1).collect()
}

fn on(device: &Device, values: &[f32]) -> CubeTensor {
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

fn read(tensor: CubeTensor) -> Vec<f32> {
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
                let kind = Norm { centered, eps, gamma: &gamma, beta };
                let found = read(norm(&kind, &on(&device, &x), rows, width));
                close(&found, &wanted, 2e-5, &format!("[{rows}, {width}], centered {centered}"));
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
                let flat: Vec<i32> =
                    ranges.iter().flat_map(|range| [range.0 as i32, range.1 as i32]).collect();
                let seen = whole(&device, flat);
                let (q, k, v) = (on(&device, &q), on(&device, &k), on(&device, &v));
                let found = read(attend(&Attend {
                    q: &q,
                    k: &k,
                    v: &v,
                    ranges: &ranges,
                    seen: &seen,
                    heads,
                    kv_heads,
                    dim,
                    scale,
                    softcap,
                }));
                let what = format!("{tokens} tokens, {keys} keys, {heads} heads, {dim}");
                close(&found, &wanted, 5e-6, &what);
            }
        }
    }
}
