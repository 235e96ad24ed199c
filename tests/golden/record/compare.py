#!/usr/bin/env python3
"""Compare next-token logits dumped by this library with the reference's, prompt by prompt. Needs numpy only.

  python compare.py DUMP REFERENCE.npy [--tensor NAME] [--kl 1e-4] [--margin 0.02]

DUMP and REFERENCE are float32 [prompts, V], .npy or .safetensors (of which NAME is read, default `logits`); the reference
is what record_real.py left as `<model>-logits.npy`, the prompts as `<model>-prompts.json` beside it. KL is
sum p_ref * (log p_ref - log p) in nats. Exit status 1 if a KL exceeds the bar or an arg-max differs where the reference's
two best logits are further apart than the margin.
"""
import argparse
import json
import struct
import sys

import numpy as np


def read(path, tensor):
    if not path.endswith(".safetensors"):
        return np.load(path)
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        if tensor not in header:
            sys.exit(f"{path} has no tensor `{tensor}`; it has {', '.join(k for k in header if k != '__metadata__')}")
        at, base = header[tensor], f.tell()
        if at["dtype"] != "F32":
            sys.exit(f"`{tensor}` is {at['dtype']}, F32 is wanted")
        f.seek(base + at["data_offsets"][0])
        return np.frombuffer(f.read(at["data_offsets"][1] - at["data_offsets"][0]), "<f4").reshape(at["shape"])


def log_softmax(x):
    x = x.astype(np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dump")
    p.add_argument("reference")
    p.add_argument("--tensor", default="logits")
    p.add_argument("--kl", type=float, default=1e-4)
    p.add_argument("--margin", type=float, default=0.02)
    a = p.parse_args()
    ours, ref = read(a.dump, a.tensor), read(a.reference, a.tensor)
    if ours.shape != ref.shape:
        sys.exit(f"shapes differ: {list(ours.shape)} against {list(ref.shape)}")
    if not np.isfinite(ours).all():
        sys.exit(f"not finite in prompts {np.flatnonzero(~np.isfinite(ours).all(-1)).tolist()}")
    lo, lr = log_softmax(ours), log_softmax(ref)
    kl = (np.exp(lr) * (lr - lo)).sum(-1)
    top2 = -np.partition(-ref, 1, axis=-1)[:, :2]
    margin, same = top2[:, 0] - top2[:, 1], ours.argmax(-1) == ref.argmax(-1)
    worst = np.argsort(-kl)[:5]
    print(f"prompts {len(kl)}  vocabulary {ref.shape[1]}")
    print(f"KL      max {kl.max():.3g}  mean {kl.mean():.3g}  median {np.median(kl):.3g}  over {a.kl:g}: {(kl > a.kl).sum()}")
    print("        worst prompts " + ", ".join(f"{i} ({kl[i]:.3g})" for i in worst))
    print(f"logits  max difference {np.abs(ours - ref).max():.3g}  root mean square {np.sqrt(np.square(ours.astype(np.float64) - ref).mean()):.3g}")
    for low, high in [(0, a.margin), (a.margin, 0.1), (0.1, 0.5), (0.5, np.inf)]:
        at = (margin > low) & (margin <= high)
        if at.any():
            print(f"arg-max {same[at].sum()} of {at.sum()} alike where the margin is {low:g} to {high:g}")
    bad = np.flatnonzero(~same & (margin > a.margin))
    for i in bad:
        print(f"        prompt {i}: {ours[i].argmax()} instead of {ref[i].argmax()}, margin {margin[i]:.3g}")
    ok = len(bad) == 0 and (kl <= a.kl).all()
    print("within the bars" if ok else "NOT within the bars")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
