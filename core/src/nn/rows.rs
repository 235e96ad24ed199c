//! The tokens of a pass through a block on a GPU, in few launches.
//!
//! As [`super::step`] does it for one token: what stands between two products is one launch, with the
//! residual, the norm, biases that the product has not added, and the rounding for the next product
//! where that is one in 16 bits. [`Block::forward`] computes the same by tensors.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod some {
    use burn::backend::DType;
    use burn::tensor::Tensor;
    use burn_cubecl::tensor::CubeTensor;

    use crate::kernels::gpu::between::{self, Asked, Normed};
    use crate::kernels::gpu::half;
    use crate::nn::attention::{Keys, Places};
    use crate::nn::block::Block;
    use crate::nn::gpu::{NormParts, floats, is_plain, is_plain_norm, is_plain_proj, tensor};
    use crate::nn::linear::Proj;
    use crate::nn::mlp::Mlp;
    use crate::nn::moe::FeedForward;
    use crate::nn::norm::Norm;
    use crate::nn::spec::Place;

    /// Rows on their way to matrices, as these want them.
    struct Operand {
        floats: Option<CubeTensor>,
        halves: Option<CubeTensor>,
    }

    /// What matrices want of so many rows.
    #[derive(Clone, Copy)]
    struct Wanted {
        floats: bool,
        halves: bool,
    }

    impl Wanted {
        fn by(projs: &[&Proj], like: &CubeTensor, m: usize) -> Wanted {
            let half = |proj: &&Proj| proj.weight.half_words(like, m).is_some();
            let halves = projs.iter().filter(|proj| half(proj)).count();
            Wanted { floats: halves < projs.len(), halves: halves > 0 }
        }

        /// How one operand for one product is made.
        fn dtype(self) -> DType {
            if self.halves { DType::F16 } else { DType::F32 }
        }
    }

    impl Operand {
        fn of(x: &CubeTensor, wanted: Wanted) -> Operand {
            Operand {
                floats: wanted.floats.then(|| x.clone()),
                halves: wanted.halves.then(|| half::rounded(x.clone())),
            }
        }

        /// Of one product alone.
        fn one(x: CubeTensor, wanted: Wanted) -> Operand {
            match wanted.halves {
                true => Operand { floats: None, halves: Some(x) },
                false => Operand { floats: Some(x), halves: None },
            }
        }
    }

    /// A product, and what is still to be added to each of its rows.
    struct Sums {
        y: CubeTensor,
        bias: Option<CubeTensor>,
    }

    impl Sums {
        fn of(proj: &Proj, x: &Operand, m: usize) -> Option<Sums> {
            let bias = match &proj.bias {
                Some(bias) => Some(floats(&bias.val())?),
                None => None,
            };
            if let Some(x) = &x.halves
                && let Some(words) = proj.weight.half_words(x, m)
            {
                let y = half::product(x, &words, bias.as_ref())?;
                return Some(Sums { y, bias: None });
            }
            let [_, width] = proj.weight.dims();
            let x = tensor(x.floats.clone()?, [m, width]);
            Some(Sums { y: floats(&proj.weight.matmul(x))?, bias })
        }

        /// With all added, where the next kernel does not.
        fn whole(self, m: usize) -> Option<CubeTensor> {
            let Some(bias) = self.bias else { return Some(self.y) };
            let width = bias.meta.num_elements();
            floats(&(tensor(self.y, [m, width]) + tensor(bias, [1, width])))
        }
    }

    /// So many rows of such a width on their way through a block.
    struct Way {
        m: usize,
        width: usize,
    }

    impl Way {
        /// The norm of `x`, or of `x` and what a part adds to it, as it is asked for; the sum alone
        /// where there is no norm.
        fn normed(
            &self,
            norm: Option<&Norm>,
            x: &CubeTensor,
            y: Option<&Sums>,
            asked: Asked,
        ) -> Option<Normed> {
            let Some(norm) = norm else {
                let sum = match y {
                    Some(y) => self.added(x, y)?,
                    None => x.clone(),
                };
                let wanted = Wanted { floats: asked.floats, halves: asked.halves };
                let Operand { floats, halves } = Operand::of(&sum, wanted);
                return Some(Normed { sum: Some(sum), floats, halves });
            };
            let parts = NormParts::of(norm)?;
            let (added, bias) = (y.map(|y| &y.y), y.and_then(|y| y.bias.as_ref()));
            let sizes = [self.m, self.width];
            Some(between::norm_of_sum(&parts.adding(None), x, added, bias, asked, sizes))
        }

        /// `x` and what a part adds to it.
        fn added(&self, x: &CubeTensor, y: &Sums) -> Option<CubeTensor> {
            let rows = |x: &CubeTensor| tensor(x.clone(), [self.m, self.width]);
            let sum = rows(x) + rows(&y.y);
            floats(&match &y.bias {
                Some(bias) => sum + tensor(bias.clone(), [1, self.width]),
                None => sum,
            })
        }

        /// `x` and the norm of what a part adds to it.
        fn around(&self, post: &Norm, x: &CubeTensor, y: Sums) -> Option<CubeTensor> {
            let parts = NormParts::of(post)?;
            let y = y.whole(self.m)?;
            Some(between::norm(&parts.adding(Some(x)), &y, self.m, self.width))
        }

        fn mlp(&self, mlp: &Mlp, x: &Operand) -> Option<Sums> {
            let up = Sums::of(&mlp.up, x, self.m)?;
            let [inner, _] = mlp.up.weight.dims();
            let wanted = Wanted::by(&[&mlp.down], &up.y, self.m);
            let (kind, dtype, sizes) = (mlp.activation(), wanted.dtype(), [self.m, inner]);
            let y = match &mlp.gate {
                Some(gate) => {
                    let gate = Sums::of(gate, x, self.m)?;
                    let up = up.whole(self.m)?;
                    let bias = gate.bias.as_ref();
                    between::gate_rows(kind, &gate.y, Some(&up), bias, dtype, sizes)
                }
                None => between::gate_rows(kind, &up.y, None, up.bias.as_ref(), dtype, sizes),
            };
            Sums::of(&mlp.down, &Operand::one(y, wanted), self.m)
        }
    }

    impl Block {
        /// The MLP, if all of the block is known here.
        fn known_rows(&self) -> Option<&Mlp> {
            let FeedForward::Dense(mlp) = &self.mlp else { return None };
            let projs = [Some(&self.attn.out), mlp.gate.as_ref(), Some(&mlp.up), Some(&mlp.down)];
            let norms =
                [&self.attn_norm, &self.attn_post_norm, &self.mlp_norm, &self.mlp_post_norm];
            let known = matches!(self.place(), Place::Before | Place::Around | Place::After)
                && self.is_bare()
                && self.on_gpu()
                && mlp.clamp().is_none()
                && projs.into_iter().flatten().all(is_plain_proj)
                && norms.into_iter().flatten().all(is_plain_norm);
            known.then_some(mlp)
        }

        /// # Shapes
        /// `x: [B, T, D]` -> `[B, T, D]`; `None`, with nothing changed, for what is not known here.
        pub(crate) fn rows_on_gpu(
            &self,
            x: &Tensor<3>,
            places: &Places<'_>,
            keys: &mut Keys<'_>,
        ) -> Option<Tensor<3>> {
            let (Keys::Own(cache), Some(_)) = (keys, places.view?.memo) else { return None };
            if places.load.is_some() || !self.attn.plain(places) || !is_plain(x) {
                return None;
            }
            let mlp = self.known_rows()?;
            let ([b, t, d], device) = (x.dims(), x.device());
            let way = Way { m: b * t, width: d };
            let m = way.m;
            let x = floats(x)?;
            let after = matches!(self.place(), Place::After);
            let ask = |wanted: Wanted, sum| {
                let Wanted { floats, halves } = wanted;
                Asked { sum, floats, halves }
            };

            let attn = &self.attn;
            let wanted = Wanted::by(&[&attn.q, &attn.k, &attn.v], &x, m);
            let operand = match (&self.attn_norm, after) {
                (Some(norm), false) => {
                    let normed = way.normed(Some(norm), &x, None, ask(wanted, false))?;
                    Operand { floats: normed.floats, halves: normed.halves }
                }
                _ => Operand::of(&x, wanted),
            };
            let [q, k, v] = [&attn.q, &attn.k, &attn.v]
                .map(|proj| Sums::of(proj, &operand, m).and_then(|sums| sums.whole(m)));
            let wanted = Wanted::by(&[&attn.out], &x, m);
            let found = attn.see([q?, k?, v?], places, cache, wanted.dtype(), &device)?;
            let y = Sums::of(&attn.out, &Operand::one(found, wanted), m)?;

            let matrices: Vec<&Proj> = mlp.gate.iter().chain([&mlp.up]).collect();
            let wanted = Wanted::by(&matrices, &x, m);
            let (x, operand) = if after {
                let asked = Asked { floats: true, ..ask(wanted, false) };
                let normed = way.normed(self.attn_norm.as_ref(), &x, Some(&y), asked)?;
                (normed.floats.clone()?, Operand { floats: normed.floats, halves: normed.halves })
            } else {
                let (x, y) = match &self.attn_post_norm {
                    Some(post) => (way.around(post, &x, y)?, None),
                    None => (x, Some(y)),
                };
                let asked = ask(wanted, y.is_some());
                let normed = way.normed(self.mlp_norm.as_ref(), &x, y.as_ref(), asked)?;
                let operand = Operand { floats: normed.floats, halves: normed.halves };
                (normed.sum.unwrap_or(x), operand)
            };
            let y = way.mlp(mlp, &operand)?;
            let out = match (after, &self.mlp_post_norm) {
                (true, _) => {
                    let asked = Asked { floats: true, ..Asked::default() };
                    way.normed(self.mlp_norm.as_ref(), &x, Some(&y), asked)?.floats?
                }
                (false, Some(post)) => way.around(post, &x, y)?,
                (false, None) => way.added(&x, &y)?,
            };
            Some(tensor(out, [b, t, d]))
        }
    }
}

#[cfg(all(test, any(feature = "wgpu", feature = "cuda")))]
mod tests {
    use std::path::Path;

    use crate::{Device, Model, Precision};

    /// Blocks with norms after, before and around their parts, rounded between products to 16 bits:
    /// near what they are in floats, and not the same. `families.rs` has those in floats.
    #[test]
    fn products_in_halves_get_what_is_between_them_in_halves() {
        let Some(gpu) = Device::list().into_iter().find_map(|info| info.index) else {
            println!("left out: this machine has no adapter");
            return;
        };
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
        for name in ["bert-plain", "llama-q8_0.gguf", "gemma3-pattern", "gpt2-untied"] {
            let open = |precision| {
                let device = format!("gpu:{gpu}").parse().unwrap();
                let options = Model::options().device(device).precision(precision);
                options.open(golden.join(name)).unwrap()
            };
            let (exact, rounded) = (open(Precision::F32), open(Precision::F16));
            let vocab = exact.spec().vocab as u32;
            let ids: Vec<u32> = (0..24).map(|i| (i * 31 + 7) % vocab).collect();
            let [wanted, found] =
                [&exact, &rounded].map(|model| model.forward(&[&ids]).unwrap().as_slice().to_vec());
            let most = wanted.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            let pairs = wanted.iter().zip(&found);
            let worst = pairs.fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs())) / most;
            println!("{name}: {worst:.1e} of the largest");
            assert!(worst > 1e-6 && worst < 1e-2, "{name}: {worst}");
        }
    }
}

/// A build without GPUs.
#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
mod none {
    use burn::tensor::Tensor;

    use crate::nn::attention::{Keys, Places};
    use crate::nn::block::Block;

    impl Block {
        pub(crate) fn rows_on_gpu(
            &self,
            _x: &Tensor<3>,
            _places: &Places<'_>,
            _keys: &mut Keys<'_>,
        ) -> Option<Tensor<3>> {
            None
        }
    }
}
