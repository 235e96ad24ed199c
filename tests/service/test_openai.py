"""The service with OpenAI's own client:  python test_openai.py BINARY

Starts the binary on a free port with two models, and once more for each test that needs a queue of its own. The last line is
`N passed, N failed`.
"""

import base64
import contextlib
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request

import emberform
import numpy as np
import openai

BINARY = sys.argv[1]
EMBEDDER, CHATTER = "minilm", "qwen25-coder-0.5b-q4_k_m"
PATHS = [f"models/{EMBEDDER}", f"models/{CHATTER}.gguf"]
TEXTS = ["a cat sat", "a dog lay", "Grüße, 世界 🙂", ""]
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
LONG = [{"role": "user", "content": "Count from one to five hundred, in words."}]
# Long enough to be met while it runs.
ENDLESS = dict(model=CHATTER, messages=LONG, max_tokens=2000, temperature=0)


class Service:
    def __init__(self, *arguments):
        command = [BINARY, "--port", "0", "--device", "cpu", *arguments, *PATHS]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = None
        for line in self.process.stdout:
            if found := re.fullmatch(r"listening on (http://\S+)\n", line):
                self.url = found[1]
                break
        assert self.url, "the service did not start"
        # Its own retries would hide what is tested here.
        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=120)

    def health(self):
        with urllib.request.urlopen(f"{self.url}/health") as answer:
            return json.load(answer)

    def wait(self, **wanted):
        """Waits until `health` says so."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            health = self.health()
            if all(health[key] == value for key, value in wanted.items()):
                return
            time.sleep(0.02)
        raise AssertionError(f"{wanted} never came: {health}")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


@contextlib.contextmanager
def service(*arguments):
    started = Service(*arguments)
    try:
        yield started
    finally:
        started.stop()


@contextlib.contextmanager
def refused(kind, status, param=None, code=None):
    try:
        yield
    except kind as error:
        assert error.status_code == status, error
        assert param is None or error.param == param, error
        assert code is None or error.code == code, error
        assert error.body["message"] and error.body["type"], error.body
        assert param is None or param == "model" or f"`{param}`" in error.body["message"], error.body
    else:
        raise AssertionError(f"nothing was refused; {status} is due")


def test_models(s):
    assert [model.id for model in s.client.models.list()] == [EMBEDDER, CHATTER]
    assert s.client.models.retrieve(EMBEDDER).owned_by == "emberform"
    with refused(openai.NotFoundError, 404, code="model_not_found"):
        s.client.models.retrieve("gpt-9")


def test_embeddings_are_the_librarys(s):
    with emberform.open(PATHS[0], device="cpu") as model:
        wanted = model.embed(TEXTS)
        short = model.embed(TEXTS, dimensions=64)
        tokens = sum(len(model.tokenizer.encode(text).ids) for text in TEXTS)
        ids = [model.tokenizer.encode(text, special=False).ids.tolist() for text in TEXTS[:2]]
    # The client asks for base64 by itself and decodes it.
    answer = s.client.embeddings.create(model=EMBEDDER, input=TEXTS)
    found = np.array([row.embedding for row in answer.data], np.float32)
    assert (found == wanted).all()
    assert [row.index for row in answer.data] == [0, 1, 2, 3]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == tokens
    answer = s.client.embeddings.create(model=EMBEDDER, input=TEXTS, encoding_format="float")
    assert (np.array([row.embedding for row in answer.data], np.float32) == wanted).all()
    answer = s.client.embeddings.create(model=EMBEDDER, input=TEXTS[0], encoding_format="base64")
    bits = base64.b64decode(answer.data[0].embedding)
    assert np.frombuffer(bits, "<f4").tolist() == wanted[0].tolist()
    answer = s.client.embeddings.create(model=EMBEDDER, input=TEXTS, dimensions=64)
    assert (np.array([row.embedding for row in answer.data], np.float32) == short).all()
    for given, count in [(ids, 2), (ids[0], 1)]:
        answer = s.client.embeddings.create(model=EMBEDDER, input=given)
        assert (np.array([row.embedding for row in answer.data], np.float32) == wanted[:count]).all()


def test_embeddings_refuse(s):
    create = s.client.embeddings.create
    with refused(openai.NotFoundError, 404, code="model_not_found"):
        create(model="nothing", input="a")
    with refused(openai.BadRequestError, 400, param="input"):
        create(model=EMBEDDER, input=[])
    with refused(openai.BadRequestError, 400, param="input"):
        create(model=EMBEDDER, input=["a"] * 2049)
    with refused(openai.BadRequestError, 400, param="dimensions"):
        create(model=EMBEDDER, input="a", dimensions=385)
    with refused(openai.BadRequestError, 400):
        create(model=EMBEDDER, input=[[10**9]])
    with refused(openai.BadRequestError, 400):
        create(model=EMBEDDER, input={"text": "a"})


def test_chat(s):
    answer = s.client.chat.completions.create(model=CHATTER, messages=QUESTION, max_tokens=20, temperature=0)
    choice = answer.choices[0]
    assert "Paris" in choice.message.content and choice.message.role == "assistant", choice
    assert choice.finish_reason == "stop" and answer.object == "chat.completion" and answer.id.startswith("chatcmpl-")
    usage = answer.usage
    assert usage.prompt_tokens > 20 and usage.completion_tokens > 1
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    with emberform.open(PATHS[1], device="cpu") as model:
        text = model.generate(
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
            f"<|im_start|>user\n{QUESTION[0]['content']}<|im_end|>\n<|im_start|>assistant\n",
            max_tokens=20, temperature=0.0,
        ).text()
    assert choice.message.content == text
    parts = [{"role": "developer", "content": "Answer in French."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    answer = s.client.chat.completions.create(model=CHATTER, messages=parts, max_completion_tokens=3)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 3


def test_chat_options(s):
    def say(**options):
        return s.client.chat.completions.create(model=CHATTER, messages=LONG, max_tokens=24, **options).choices[0]

    plain = say(temperature=0).message.content
    stop = plain[5:9]
    cut = say(temperature=0, stop=[stop])
    assert cut.message.content == plain[: plain.index(stop)] and cut.finish_reason == "stop"
    assert say(temperature=1.5, seed=7).message.content == say(temperature=1.5, seed=7).message.content
    assert len({say(temperature=1.5, seed=seed).message.content for seed in range(4)}) > 1
    assert say(temperature=0, frequency_penalty=2.0, presence_penalty=2.0).message.content != plain
    content = say(temperature=0, logprobs=True, top_logprobs=3).logprobs.content
    assert "".join(token.token for token in content) == plain and len(content) == 24
    for token in content:
        assert len(token.top_logprobs) == 3 and token.logprob <= 0
        assert token.token == token.top_logprobs[0].token and bytes(token.bytes).decode() == token.token


def test_chat_streamed(s):
    plain = s.client.chat.completions.create(model=CHATTER, messages=LONG, max_tokens=24, temperature=0)
    stream = s.client.chat.completions.create(
        model=CHATTER, messages=LONG, max_tokens=24, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == plain.choices[0].message.content and len(chunks) > 10
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["length"]
    assert chunks[-1].usage == plain.usage and chunks[-1].choices == []
    assert len({chunk.id for chunk in chunks}) == 1
    chunks = list(s.client.chat.completions.create(model=CHATTER, messages=QUESTION, temperature=0, stream=True, logprobs=True))
    assert all(chunk.usage is None for chunk in chunks) and chunks[-1].choices[0].finish_reason == "stop"
    tokens = [token.token for chunk in chunks if chunk.choices[0].logprobs for token in chunk.choices[0].logprobs.content or []]
    assert "".join(tokens) == "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_chat_refuses(s):
    def say(**options):
        s.client.chat.completions.create(**(dict(model=CHATTER, messages=QUESTION, max_tokens=1) | options))

    with refused(openai.NotFoundError, 404, code="model_not_found"):
        say(model="nothing")
    with refused(openai.BadRequestError, 400, param="model"):
        say(model=EMBEDDER)
    wrong = [
        ("temperature", -1.0), ("top_p", 0.0), ("frequency_penalty", 9.0), ("presence_penalty", -9.0), ("n", 2),
        ("messages", []), ("stop", ["a"] * 5), ("top_logprobs", 3),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]),
        ("messages", [{"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]}]),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("response_format", {"type": "json_object"}), ("logit_bias", {"1": 5}),
    ]
    for param, value in wrong:
        with refused(openai.BadRequestError, 400, param=param):
            say(**{param: value})
    with refused(openai.BadRequestError, 400, code="context_length_exceeded"):
        say(messages=[{"role": "user", "content": "word " * 40000}])
    # What other clients send for what they do not ask.
    nothing = {"stream": None, "stream_options": None, "stop": None, "n": None, "tools": [], "logit_bias": {}}
    say(extra_body=nothing)
    for param, value in [("temperature", "warm"), ("max_tokens", -1), ("messages", "hi"), ("stream", "yes")]:
        with refused(openai.BadRequestError, 400):
            say(**{param: value})


def test_completions(s):
    create = s.client.completions.create
    answer = create(model=CHATTER, prompt="def add(a, b):\n", max_tokens=12, temperature=0, logprobs=2)
    choice = answer.choices[0]
    assert "return a + b" in choice.text and answer.object == "text_completion"
    assert "".join(choice.logprobs.tokens) == choice.text and len(choice.logprobs.top_logprobs[0]) == 2
    streamed = create(model=CHATTER, prompt="def add(a, b):\n", max_tokens=12, temperature=0, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == choice.text
    with refused(openai.BadRequestError, 400, param="echo"):
        create(model=CHATTER, prompt="a", echo=True)


def test_wrong_requests(s):
    def status(method, path, body=None):
        request = urllib.request.Request(s.url + path, data=body, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            told = json.load(error)["error"]
            assert told["message"] and told["type"] == "invalid_request_error", told
            return error.code

    assert status("GET", "/health") == 200
    assert status("GET", "/v1/nothing") == 404
    assert status("GET", "/v1/models/%ff") == 400
    assert status("GET", "/v1/embeddings") == 405
    assert status("POST", "/v1/embeddings", b" " * (17 << 20)) == 413
    for body in [b"", b"{", b"[]", b"\xff", b'{"model": 3}', b"[" * 100000]:
        assert status("POST", "/v1/chat/completions", body) == 400, body
    with socket.create_connection(s.url.removeprefix("http://").split(":")) as raw:
        raw.sendall(b"\x00\xff nonsense\r\n\r\n")
        raw.settimeout(10)
        assert raw.recv(100).startswith(b"HTTP/1.1 400")
    assert status("GET", "/health") == 200


def test_a_client_that_goes_away_is_cancelled(s):
    s.wait(running=0, waiting=0)
    stream = s.client.chat.completions.create(**ENDLESS, stream=True)
    for _ in range(4):
        next(stream)
    assert s.health()["running"] == 1
    stream.close()
    start = time.monotonic()
    s.wait(running=0)
    assert time.monotonic() - start < 5
    # Without a stream: the connection is cut while the answer is awaited.
    body = json.dumps(ENDLESS).encode()
    host, port = s.url.removeprefix("http://").split(":")
    raw = socket.create_connection((host, port))
    raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    s.wait(running=1)
    # Cut hard, as when a process ends.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()
    start = time.monotonic()
    s.wait(running=0)
    assert time.monotonic() - start < 5


def test_more_than_the_queue_holds_is_refused():
    with service("--queue", "1") as s:
        first = s.client.chat.completions.create(**ENDLESS, stream=True)
        next(first)
        s.wait(running=1, waiting=0)
        waiting = s.client.chat.completions.create(**ENDLESS, stream=True)
        s.wait(running=1, waiting=1)
        for ask in [
            lambda: s.client.embeddings.create(model=EMBEDDER, input="a"),
            lambda: s.client.chat.completions.create(**ENDLESS),
        ]:
            try:
                ask()
            except openai.RateLimitError as error:
                assert error.status_code == 429 and error.response.headers["retry-after"] == "1"
            else:
                raise AssertionError("a third request was taken")
        # One that waits and whose client leaves makes room at once.
        waiting.close()
        s.wait(running=1, waiting=0)
        waiting = s.client.chat.completions.create(**ENDLESS, stream=True)
        s.wait(running=1, waiting=1)
        first.close()
        # Whoever waited is served, and there is room again.
        assert next(waiting).choices
        waiting.close()
        s.wait(running=0, waiting=0)
        assert len(s.client.embeddings.create(model=EMBEDDER, input="a").data) == 1
    with service("--queue", "64", "--threads", "2") as s:
        # Many at once, none lost, each as if it were alone.
        alone = [s.client.embeddings.create(model=EMBEDDER, input=f"text {i}").data[0].embedding for i in range(32)]
        found = [None] * 32

        def ask(i):
            found[i] = s.client.embeddings.create(model=EMBEDDER, input=f"text {i}").data[0].embedding

        threads = [threading.Thread(target=ask, args=[i]) for i in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == alone


def test_what_was_accepted_is_answered_before_the_end():
    with service() as s:
        options = ENDLESS | {"max_tokens": 60}
        wanted = s.client.chat.completions.create(**options).choices[0].message.content
        stream = s.client.chat.completions.create(**options, stream=True)
        text = next(stream).choices[0].delta.content
        waiting = []
        ask = threading.Thread(target=lambda: waiting.append(s.client.chat.completions.create(**options)))
        ask.start()
        s.wait(running=1, waiting=1)
        s.process.send_signal(signal.SIGTERM)
        text += "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        ask.join()
        assert text == wanted and waiting[0].choices[0].message.content == wanted
        assert s.process.wait(30) == 0
        try:
            s.client.models.list()
        except openai.APIConnectionError:
            pass
        else:
            raise AssertionError("it still answers")


def test_a_second_signal_ends_it_at_once():
    with service() as s:
        stream = s.client.chat.completions.create(**ENDLESS, stream=True)
        next(stream)
        s.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert s.process.poll() is None, "it ends while a request is answered"
        s.process.send_signal(signal.SIGINT)
        assert s.process.wait(10) == 130


def test_what_it_does_not_start_with():
    for arguments, said in [([], "MODEL"), (["models/minilm", "models/minilm"], "two models"), (["no/model"], "no/model")]:
        done = subprocess.run([BINARY, "--device", "cpu", *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode != 0 and said in done.stderr, done


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    passed = failed = 0
    with service() as shared:
        for name, test in tests:
            try:
                test(*[shared][: test.__code__.co_argcount])
                passed += 1
                print(f"{name} ... ok", flush=True)
            except Exception:
                failed += 1
                print(f"{name} ... FAILED", flush=True)
                traceback.print_exc()
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed != 0 or passed == 0)


main()
