#!/usr/bin/env python3
"""emberform and its peers on the same files, in turn: A B A B ..., and the ratio of each pair.

    tests/speed/run [--pairs 5] [--only NAME]       (sets up what this needs, then calls it)

A figure on a busy machine says little; two figures taken one after the other say more, and the
median over the pairs is what to quote. Each turn is a process of its own that opens the model,
does the work once to warm up, and is measured on the second time. Both get two threads.

Work, and who else does it:
  gemma, qwen   a prompt of 512 ids, then 128 tokens by arg-max: llama.cpp
  long          8 tokens after 512 ids and 8 after 8,000, Gemma, in turn in one process: what is
                left of the rate
  batch         8 prompts of 64 ids, then 64 tokens of each, all sequences in one pass: emberform
                with one sequence, llama.cpp with 8 in one batch; tokens of all together
  minilm        512 texts (of the file that CORPUS names, else of tests/golden/text/corpus.txt) in
                batches of 32, and one by one: ONNX Runtime with its fused BERT operators,
                CTranslate2; longest first, cut at 256 tokens, pooled and normalized
  rounded       the same in bf16 and in int8: CTranslate2 in int8, and the least cosine to floats
  start         from starting the process to the first token or vector, and the peak memory
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CORPUS = os.environ.get("CORPUS") or os.path.join(ROOT, "tests", "golden", "text", "corpus.txt")
MODELS = os.path.join(ROOT, "models")
MADE = os.path.join(ROOT, "target", "speed")
GGUF = {
    "gemma": os.path.join(MODELS, "gemma3-270m-q4_k_m.gguf"),
    "qwen": os.path.join(MODELS, "qwen25-coder-0.5b-q4_k_m.gguf"),
}
MINILM = os.path.join(MODELS, "minilm")
LONGEST = 256
THREADS = 2


def say(**found):
    found["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(found), flush=True)
    os._exit(0)  # some peers take seconds to tear down


# --- the peers, each in a process of its own ------------------------------------------------------


class Llama:
    """llama.cpp by its C interface: ids in, arg-max out."""

    def __init__(self, model):
        from llama_cpp import llama_cpp as L

        self.quiet = L.llama_log_callback(lambda *_: None)
        L.llama_log_set(self.quiet, None)
        L.llama_backend_init()
        self.L = L
        self.handle = L.llama_model_load_from_file(model.encode(), L.llama_model_default_params())
        self.size = L.llama_vocab_n_tokens(L.llama_model_get_vocab(self.handle))
        self.batch = L.llama_batch_init(512, 0, 1)

    def context(self, places, sequences=1):
        options = self.L.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_ubatch = places, 512, 512
        options.n_seq_max = sequences
        options.n_threads = options.n_threads_batch = THREADS
        return self.L.llama_init_from_model(self.handle, options)

    def clear(self, context):
        self.L.llama_memory_clear(self.L.llama_get_memory(context), True)

    def decode(self, context, rows):
        """Rows of (id, place, sequence, whether logits are wanted)."""
        batch = self.batch
        for i, (token, at, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, at, 1
            batch.seq_id[i][0], batch.logits[i] = sequence, wanted
        batch.n_tokens = len(rows)
        if self.L.llama_decode(context, batch):
            sys.exit("llama_decode failed")

    def best(self, context, i):
        import numpy as np

        logits = self.L.llama_get_logits_ith(context, i)
        return int(np.ctypeslib.as_array(logits, (self.size,)).argmax())

    def feed(self, context, ids, at):
        """Ids of one sequence from place `at` on; the best one after them."""
        for start in range(0, len(ids), 512):
            part = ids[start : start + 512]
            last = len(part) - 1
            self.decode(context, [(id, at + start + i, 0, i == last) for i, id in enumerate(part)])
        return self.best(context, -1)

    def ids(self, count, sequence=0):
        return [(sequence * 104729 + i * 7919) % self.size for i in range(count)]


def llama(model, prompt, tokens, first):
    model = Llama(model)
    context = model.context(prompt + tokens + 64)
    for turn in range(1 if first else 2):
        model.clear(context)
        start = time.perf_counter()
        token = model.feed(context, model.ids(prompt), 0)
        if first:
            print("first", flush=True)
        read = time.perf_counter() - start
        start = time.perf_counter()
        for i in range(tokens):
            token = model.feed(context, [token], prompt + i)
        spent = time.perf_counter() - start
    say(prefill_tokens_s=prompt / read, decode_tokens_s=tokens / spent)


def llama_long(model, prompt, long, tokens, turns):
    """Tokens after a short prompt and after a long one, in turn."""
    model = Llama(model)
    sides = []
    for ids in (prompt, long):
        context = model.context(ids + turns * tokens + 64)
        sides.append([context, ids, model.feed(context, model.ids(ids), 0), []])
    for _ in range(turns):
        for side in sides:
            context, at, token, rates = side
            start = time.perf_counter()
            for i in range(tokens):
                token = model.feed(context, [token], at + i)
            rates.append(tokens / (time.perf_counter() - start))
            side[1:3] = at + tokens, token
    short, long = (side[3] for side in sides)
    left = statistics.median(b / a for a, b in zip(short, long))
    say(decode_tokens_s=statistics.median(short), long_tokens_s=statistics.median(long), left=left)


def llama_batch(model, sequences, prompt, tokens):
    """A token of each sequence in one batch."""
    model = Llama(model)
    context = model.context(sequences * (prompt + tokens + 64), sequences)
    for _ in range(2):
        model.clear(context)
        last = []
        for s in range(sequences):
            ids = model.ids(prompt, s)
            model.decode(context, [(id, i, s, i == prompt - 1) for i, id in enumerate(ids)])
            last.append(model.best(context, -1))
        start = time.perf_counter()
        for i in range(tokens - 1):
            model.decode(context, [(id, prompt + i, s, True) for s, id in enumerate(last)])
            last = [model.best(context, s) for s in range(sequences)]
        spent = time.perf_counter() - start
    say(decode_tokens_s=sequences * (tokens - 1) / spent)


def texts_of_corpus():
    with open(CORPUS, encoding="utf-8") as file:
        return [line for line in file.read().splitlines() if line][:512]


def embed(name, kind, batch, first):
    """Texts to normalized vectors; as sentence-transformers does it, longest first."""
    import numpy as np
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(os.path.join(MINILM, "tokenizer.json"))
    tokenizer.enable_truncation(LONGEST)

    def pooled(states, mask):
        mask = mask.astype(np.float32)[:, :, None]
        mean = (states * mask).sum(1) / mask.sum(1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    if name == "onnxruntime":
        import onnxruntime

        tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
        session = onnxruntime.InferenceSession(
            os.path.join(MADE, "minilm.onnx"), options, providers=["CPUExecutionProvider"]
        )

        def run(texts):
            found = tokenizer.encode_batch(texts)
            ids = np.array([x.ids for x in found], np.int32)
            mask = np.array([x.attention_mask for x in found], np.int32)
            inputs = {"ids": ids, "mask": mask, "types": np.zeros_like(ids)}
            return pooled(session.run(None, inputs)[0], mask)

    else:
        import ctranslate2

        tokenizer.no_padding()
        encoder = ctranslate2.Encoder(
            os.path.join(MADE, "minilm-ct2"), device="cpu", intra_threads=THREADS, compute_type=kind
        )

        def run(texts):
            ids = [x.ids for x in tokenizer.encode_batch(texts)]
            states = np.array(encoder.forward_batch(ids).last_hidden_state)
            lengths = np.array([len(i) for i in ids])
            return pooled(states, np.arange(states.shape[1])[None, :] < lengths[:, None])

    if first:
        run(["A cat sleeps on the warm windowsill."])
        print("first", flush=True)
        say()
    texts = texts_of_corpus()
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    for _ in range(2):
        start = time.perf_counter()
        vectors = [None] * len(texts)
        for at in range(0, len(order), batch):
            some = order[at : at + batch]
            for i, vector in zip(some, run([texts[i] for i in some])):
                vectors[i] = vector
        spent = time.perf_counter() - start
    np.save(os.path.join(MADE, f"{name}-{kind}.npy"), np.stack(vectors))
    say(texts_s=len(texts) / spent)


# --- what the peers read --------------------------------------------------------------------------


def make():
    """MiniLM for ONNX Runtime, with the operators its optimizer would find, and for CTranslate2."""
    import numpy as np
    from safetensors.numpy import load_file

    os.makedirs(MADE, exist_ok=True)
    weights = load_file(os.path.join(MINILM, "model.safetensors"))
    weights = {name.removeprefix("bert."): value for name, value in weights.items()}
    with open(os.path.join(MINILM, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    if not os.path.exists(os.path.join(MADE, "minilm.onnx")):
        for_onnxruntime(weights, config, np)
    if not os.path.exists(os.path.join(MADE, "minilm-ct2")):
        for_ctranslate2(weights, config, np)


def for_onnxruntime(weights, config, np):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, tensors = [], []

    def constant(name, value):
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind, inputs, output, domain="com.microsoft", **attributes):
        nodes.append(helper.make_node(kind, inputs, output, domain=domain, **attributes))
        return output[0]

    def take(name):
        return constant(name, weights[name])

    eps = config["layer_norm_eps"]
    x = node(
        "EmbedLayerNormalization",
        ["ids", "types"]
        + [take(f"embeddings.{part}_embeddings.weight") for part in ("word", "position", "token_type")]
        + [take(f"embeddings.LayerNorm.{part}") for part in ("weight", "bias")]
        + ["mask"],
        ["embedded", "lengths"],
        epsilon=eps,
    )
    for i in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{i}."
        three = [at + f"attention.self.{part}." for part in ("query", "key", "value")]
        heads = [
            constant(at + "qkv.weight", np.concatenate([weights[t + "weight"].T for t in three], 1)),
            constant(at + "qkv.bias", np.concatenate([weights[t + "bias"] for t in three])),
        ]
        y = node(
            "Attention", [x, *heads, "lengths"], [at + "y"], num_heads=config["num_attention_heads"]
        )

        def dense(name, x):
            w = constant(at + name + ".weight", weights[at + name + ".weight"].T)
            return node("MatMul", [x, w], [at + name + ".out"], domain="")

        def add_norm(name, y, x):
            parts = [name + ".LayerNorm.weight", name + ".LayerNorm.bias", name + ".dense.bias"]
            parts = [take(at + part) for part in parts]
            return node("SkipLayerNormalization", [y, x, *parts], [at + name + ".sum"], epsilon=eps)

        x = add_norm("attention.output", dense("attention.output.dense", y), x)
        inner = dense("intermediate.dense", x)
        inner = node("BiasGelu", [inner, take(at + "intermediate.dense.bias")], [at + "inner"])
        x = add_norm("output", dense("output.dense", inner), x)
    shape = ["batch", "length"]
    graph = helper.make_graph(
        nodes,
        "minilm",
        [helper.make_tensor_value_info(n, TensorProto.INT32, shape) for n in ("ids", "types", "mask")],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [*shape, config["hidden_size"]])],
        tensors,
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(
        helper.make_model(graph, opset_imports=imports, ir_version=8),
        os.path.join(MADE, "minilm.onnx"),
    )


def for_ctranslate2(weights, config, np):
    from ctranslate2.specs import common_spec, transformer_spec

    spec = transformer_spec.TransformerEncoderModelSpec(
        transformer_spec.TransformerEncoderSpec(
            config["num_hidden_layers"],
            config["num_attention_heads"],
            pre_norm=False,
            activation=common_spec.Activation.GELU,
            layernorm_embedding=True,
            num_source_embeddings=2,
            embeddings_merge=common_spec.EmbeddingsMerge.ADD,
        )
    )

    def linear(to, names):
        to.weight = np.concatenate([weights[name + ".weight"] for name in names])
        to.bias = np.concatenate([weights[name + ".bias"] for name in names])

    def norm(to, name):
        to.gamma, to.beta = weights[name + ".weight"], weights[name + ".bias"]

    encoder = spec.encoder
    encoder.scale_embeddings = False
    encoder.embeddings[0].weight = weights["embeddings.word_embeddings.weight"]
    encoder.embeddings[1].weight = weights["embeddings.token_type_embeddings.weight"]
    encoder.position_encodings.encodings = weights["embeddings.position_embeddings.weight"]
    norm(encoder.layernorm_embedding, "embeddings.LayerNorm")
    for i, layer in enumerate(encoder.layer):
        at = f"encoder.layer.{i}."
        three = [at + f"attention.self.{part}" for part in ("query", "key", "value")]
        linear(layer.self_attention.linear[0], three)
        linear(layer.self_attention.linear[1], [at + "attention.output.dense"])
        norm(layer.self_attention.layer_norm, at + "attention.output.LayerNorm")
        linear(layer.ffn.linear_0, [at + "intermediate.dense"])
        linear(layer.ffn.linear_1, [at + "output.dense"])
        norm(layer.ffn.layer_norm, at + "output.LayerNorm")
    with open(os.path.join(MINILM, "vocab.txt"), encoding="utf-8") as file:
        spec.register_vocabulary(file.read().splitlines())
    spec.config.unk_token = "[UNK]"
    spec.config.layer_norm_epsilon = config["layer_norm_eps"]
    spec.validate()
    spec.optimize()
    folder = os.path.join(MADE, "minilm-ct2")
    os.makedirs(folder, exist_ok=True)
    spec.save(folder)


# --- in turn --------------------------------------------------------------------------------------


def lines_of(command):
    """The last line as JSON, and the seconds to the line `first` where there is one."""
    start, first = time.perf_counter(), None
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    last = ""
    for line in process.stdout:
        if line.strip() == "first":
            first = time.perf_counter() - start
        elif line.strip():
            last = line
    if process.wait():
        sys.exit(f"failed: {' '.join(command)}")
    found = json.loads(last)
    found["start_s"] = first
    return found


def peer(*words):
    return lambda: lines_of([sys.executable, __file__, "--peer", *map(str, words)])


def ours(*words):
    bench = os.path.join(ROOT, "target", "release", "bench")
    return lambda: lines_of([bench, "--runs", "1", "--threads", str(THREADS), *map(str, words)])


def in_turn(title, pairs, sides, rows):
    """`sides`: name -> run, ours first. `rows`: key of ours, key of theirs, what; rates."""
    found = {name: [] for name in sides}
    for _ in range(pairs):
        for name, run in sides.items():
            found[name].append(run())
    us, *others = sides
    for mine, theirs, what, faster in rows:
        for other in others:
            a = [run[mine] for run in found[us]]
            b = [run[theirs] for run in found[other]]
            ratios = sorted((x / y) if faster else (y / x) for x, y in zip(a, b))
            print(
                f"| {title}, {what} | {other} | {statistics.median(a):.4g} | {statistics.median(b):.4g} "
                f"| {statistics.median(ratios):.2f} | {ratios[0]:.2f} to {ratios[-1]:.2f} |",
                flush=True,
            )
    return found


def cosines(name):
    """The least cosine of two files of vectors of the same texts."""
    import numpy as np

    a, b = (np.load(os.path.join(MADE, file)) for file in name)
    return float((a * b).sum(1).min())


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    words.add_argument("--pairs", type=int, default=5)
    words.add_argument("--only", default="", help="only work whose name has this in it")
    words.add_argument("--peer", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    words = words.parse_args()
    if words.peer:
        kind, *rest = words.peer
        if kind == "llama":
            model, prompt, tokens, first = rest
            llama(model, int(prompt), int(tokens), first == "first")
        if kind == "llama-batch":
            model, *numbers = rest
            llama_batch(model, *map(int, numbers))
        if kind == "llama-long":
            model, *numbers = rest
            llama_long(model, *map(int, numbers))
        name, kind, batch, first = rest
        embed(name, kind, int(batch), first == "first")
    make()
    want = lambda name: words.only in name  # noqa: E731
    print("| work | peer | emberform | peer | ratio | of the pairs |\n|---|---|---|---|---|---|")
    rates = [
        ("prefill_tokens_s", "prefill_tokens_s", "prefill tokens/s", True),
        ("decode_tokens_s", "decode_tokens_s", "decode tokens/s", True),
    ]
    for name in ("gemma", "qwen"):
        if want(name):
            model = GGUF[name]
            sides = {
                "emberform": ours("--model", model, "--inside"),
                "llama.cpp": peer("llama", model, 512, 128, "-"),
            }
            in_turn(name, words.pairs, sides, rates)
    if want("long"):
        model = GGUF["gemma"]
        sides = {
            "emberform": ours("--model", model, "--inside", "--long", 8000, "--tokens", 8),
            "llama.cpp": peer("llama-long", model, 512, 8000, 8, 20),
        }
        rows = [
            ("decode_tokens_s", "decode_tokens_s", "tokens/s after 512", True),
            ("long_tokens_s", "long_tokens_s", "tokens/s after 8,000", True),
            ("left", "left", "left of the rate", True),
        ]
        in_turn("gemma", words.pairs, sides, rows)
    if want("batch"):
        work = ["--prompt", 64, "--tokens", 64]
        for name, model in GGUF.items():
            sides = {
                "emberform": ours("--model", model, "--inside", "--batch", 8, *work),
                "emberform, one": ours("--model", model, "--inside", "--batch", 1, *work),
                "llama.cpp": peer("llama-batch", model, 8, 64, 64),
            }
            rows = [("decode_tokens_s", "decode_tokens_s", "tokens/s", True)]
            in_turn(f"{name}, 8 sequences", words.pairs, sides, rows)
    if want("minilm"):
        sides = {"emberform": ours("--model", MINILM, "--inside", "--texts", CORPUS)}
        for batch, mine, what in ((32, "texts_s", "texts/s"), (1, "single_texts_s", "texts/s, one by one")):
            sides |= {
                "onnxruntime": peer("embed", "onnxruntime", "float32", batch, "-"),
                "ctranslate2": peer("embed", "ctranslate2", "float32", batch, "-"),
            }
            in_turn("minilm", words.pairs, sides, [(mine, "texts_s", what, True)])
    if want("rounded"):
        least = {}
        for kind in ("bf16", "int8"):
            options = ["--model", MINILM, "--inside", "--texts", CORPUS, "--precision", kind]
            sides = {
                f"emberform {kind}": ours(*options),
                "ctranslate2 int8": peer("embed", "ctranslate2", "int8", 32, "-"),
            }
            rows = [("texts_s", "texts_s", "texts/s", True)]
            found = in_turn(f"minilm in {kind}", words.pairs, sides, rows)
            least[f"emberform {kind}"] = found[f"emberform {kind}"][0]["least_cosine"]
        peer("embed", "ctranslate2", "float32", 32, "-")()
        least["ctranslate2 int8"] = cosines(["ctranslate2-int8.npy", "ctranslate2-float32.npy"])
        print("\nleast cosine to floats:", *(f"{who} {cosine:.6f}" for who, cosine in least.items()))
        print()
    if want("start"):
        rows = [("start_s", "start_s", "seconds to the first", False), ("peak_mib", "peak_mib", "MiB at most", False)]
        model = GGUF["gemma"]
        sides = {
            "emberform": ours("--once", "--model", model),
            "llama.cpp": peer("llama", model, 6, 128, "first"),
        }
        in_turn("start gemma", words.pairs, sides, rows)
        sides = {
            "emberform": ours("--once", "--model", MINILM),
            "onnxruntime": peer("embed", "onnxruntime", "float32", 1, "first"),
            "ctranslate2": peer("embed", "ctranslate2", "float32", 1, "first"),
        }
        in_turn("start minilm", words.pairs, sides, rows)


main()
