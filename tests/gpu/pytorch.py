"""PyTorch on the shapes of tests/gpu/checkpoints.rs: transformers' models from a config, with
random weights in f16 on a GPU and f32 on the CPU. One line of JSON a measurement."""

import argparse
import json
import time

import torch
import transformers

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true")
parser.add_argument("--only", default="")
args, _ = parser.parse_known_args()

gpu = torch.cuda.is_available()
device = "cuda" if gpu else "cpu"
dtype = torch.float16 if gpu else torch.float32
kind = "F16" if gpu else "F32"
peer = f"PyTorch, {device}"
torch.manual_seed(0)

# name, vocabulary, width, layers, heads, heads of keys, size of a head, feed-forward size
DECODERS = [
    ("0.6B", 151936, 1024, 28, 16, 8, 128, 3072),
    ("1B", 128256, 2048, 16, 32, 8, 64, 8192),
    ("7B", 32000, 4096, 32, 32, 8, 128, 14336),
]
ENCODER = ("MiniLM", 30522, 6, 2048)
PROMPT, TOKENS, RUNS = 512, 128, 3
if args.quick:
    DECODERS = [("tiny", 4096, 256, 2, 4, 2, 64, 512)]
    ENCODER = ("MiniLM-2", 1000, 2, 4)
    PROMPT, TOKENS, RUNS = 64, 9, 1


def clock(work):
    """Seconds of each run but the first."""
    times = []
    for run in range(RUNS + 1):
        if gpu:
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[RUNS // 2]


def say(**line):
    print(json.dumps(line), flush=True)


def limits():
    n = 8192 if gpu else 512
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    product = clock(lambda: [a @ b for _ in range(10)]) / 10
    source = torch.empty((1 << 30) if gpu else (1 << 26), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = clock(lambda: [target.copy_(source) for _ in range(10)]) / 10
    name = torch.cuda.get_device_name() if gpu else f"the CPU, {torch.get_num_threads()} threads"
    say(
        version=torch.__version__,
        device=name,
        matmul_f16_gflop_s=2 * n**3 / product / 1e9,
        copy_gb_s=2 * source.numel() / copy / 1e9,
    )


@torch.inference_mode()
def decoder(name, vocab, width, layers, heads, kv, size, ffn):
    config = transformers.LlamaConfig(
        vocab_size=vocab, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv, head_dim=size, intermediate_size=ffn, max_position_embeddings=8192,
        tie_word_embeddings=True, torch_dtype=dtype,
    )
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = transformers.LlamaForCausalLM(config).eval()
    torch.set_default_dtype(torch.float32)
    ids = (torch.arange(PROMPT, device=device) * 7919 % vocab)[None]

    def read():
        return model(ids, use_cache=True, logits_to_keep=1)

    prefill = clock(read)

    def generate():
        cache = read().past_key_values
        token = ids[:, :1]
        if gpu:
            torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(TOKENS - 1):
            out = model(token, past_key_values=cache, use_cache=True)
            token = out.logits[:, -1:].argmax(-1)
            token.item()
        times.append(time.perf_counter() - start)

    times = []
    clock(generate)
    decode = sorted(times[1:])[RUNS // 2]
    say(
        peer=peer,
        model=f"{name} {kind}",
        prefill_tokens_s=PROMPT / prefill,
        decode_tokens_s=(TOKENS - 1) / decode,
    )


@torch.inference_mode()
def encoder(name, vocab, layers, count):
    config = transformers.BertConfig(
        vocab_size=vocab, hidden_size=384, num_hidden_layers=layers, num_attention_heads=12,
        intermediate_size=1536,
    )
    model = transformers.BertModel(config, add_pooling_layer=False).eval().to(device, dtype)
    generator = torch.Generator().manual_seed(7)
    lengths = sorted((10 + torch.randint(0, 121, (count,), generator=generator)).tolist())
    batch = 64 if gpu else 32

    def embed(lengths):
        for start in range(0, len(lengths), batch):
            part = torch.tensor(lengths[start : start + batch], device=device)
            longest = lengths[min(start + batch, len(lengths)) - 1]
            mask = (torch.arange(longest, device=device)[None] < part[:, None]).to(dtype)
            ids = torch.full((len(part), longest), 7, device=device)
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
            pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            torch.nn.functional.normalize(pooled).cpu()

    times = clock(lambda: embed(lengths))
    one = clock(lambda: embed(lengths[:1]))
    say(peer=peer, model=f"{name} {kind}", texts_s=count / times, single_ms=one * 1e3)


limits()
if args.only in ENCODER[0]:
    encoder(*ENCODER)
for shape in DECODERS:
    if args.only in shape[0]:
        try:
            decoder(*shape)
        except RuntimeError as error:
            say(peer=peer, model=f"{shape[0]} {kind}", failed=str(error))
        if gpu:
            torch.cuda.empty_cache()
