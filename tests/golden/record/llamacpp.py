#!/usr/bin/env python3
"""llama.cpp's own numbers of GGUF twins beside what was recorded from transformers: it must take the files, and agree.

Run by hand, with llama-cpp-python 0.3.36 (it holds llama.cpp):  python llamacpp.py NAME...

Its GELU is a table of 16-bit numbers, its products with 4-bit floats round the other side to 8 bits, and it leaves out the scale of T5's
tied head (undone here). Only files with a tokenizer, be it `none`, can be loaded.
"""
import ctypes
import pathlib
import sys

import llama_cpp as llama
import numpy as np
from safetensors.numpy import load_file

CHECKPOINTS = pathlib.Path(__file__).resolve().parent.parent / "checkpoints"


@llama.llama_log_callback
def errors(level, text, _):
    if level == 4:
        sys.stderr.write(text.decode())


def batch(ids):
    out = llama.llama_batch_init(len(ids), 0, 1)
    out.n_tokens = len(ids)
    for i, token in enumerate(ids):
        out.token[i], out.pos[i], out.n_seq_id[i], out.seq_id[i][0], out.logits[i] = token, i, 1, 0, 1
    return out


def rows(get, ctx, count, width):
    return np.array([np.ctypeslib.as_array(get(ctx, i), (width,)).copy() for i in range(count)])


def compare(name):
    want = load_file(CHECKPOINTS / name / "expected.safetensors")
    params = llama.llama_model_default_params()
    params.n_gpu_layers, params.use_mmap = 0, False
    model = llama.llama_model_load_from_file(str(CHECKPOINTS / f"{name}.gguf").encode(), params)
    if not model:
        return print(f"{name:20} refused")
    vocab, width = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model)), llama.llama_model_n_embd(model)
    worst, largest = 0.0, 0.0
    for row, (ids, mask) in enumerate(zip(want["ids"], want["mask"])):
        n = int(mask.sum())
        params = llama.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = 64
        params.n_threads = params.n_threads_batch = 1
        params.flash_attn_type, params.type_k, params.type_v = 0, 0, 0  # keys and values in 32 bits
        states = "logits" not in want
        if states:
            params.embeddings, params.pooling_type = True, 0
        ctx = llama.llama_init_from_model(model, params)
        run = llama.llama_encode if llama.llama_model_has_encoder(model) else llama.llama_decode
        assert run(ctx, batch(ids[:n].tolist())) == 0
        if "target_logits" in want:
            t = int(want["decoder_mask"][row].sum())
            llama.llama_set_embeddings(ctx, False)
            assert llama.llama_decode(ctx, batch(want["decoder_ids"][row, :t].tolist())) == 0
            found, wanted = rows(llama.llama_get_logits_ith, ctx, t, vocab), want["target_logits"][row, :t]
            if name == "t5-gguf":
                found = found * width**-0.5
        elif states:
            found, wanted = rows(llama.llama_get_embeddings_ith, ctx, n, width), want["hidden"][row, :n]
        else:
            found, wanted = rows(llama.llama_get_logits_ith, ctx, n, vocab), want["logits"][row, :n]
        worst, largest = max(worst, float(np.abs(found - wanted).max())), max(largest, float(np.abs(wanted).max()))
        llama.llama_free(ctx)
    llama.llama_model_free(model)
    print(f"{name:20} largest difference {worst:.1e}, largest number {largest:.2f}")


if __name__ == "__main__":
    llama.llama_backend_init()
    llama.llama_log_set(errors, ctypes.c_void_p(0))
    for name in sys.argv[1:]:
        compare(name)
