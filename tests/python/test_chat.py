"""Conversations: turns, messages, templates, cancelling, threads, Ctrl-C."""

import asyncio
import gc
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import emberform
from conftest import GOLDEN, QWEN

FRANCE = "What is the capital of France?"
LONG = "One sheep, two sheep, three sheep, four sheep. " * 60


@pytest.fixture(scope="module")
def qwen() -> Iterator[emberform.Model]:
    with emberform.open(QWEN, device="cpu") as model:
        yield model


@pytest.fixture
def tiny_chat(tmp_path: Path) -> Iterator[emberform.Model]:
    """A small decoder of random weights with a template that shows what it is given."""
    folder = shutil.copytree(GOLDEN / "st-decoder", tmp_path / "tiny")
    template = (
        "{% if messages|length > 5 %}{{ raise_exception('too many') }}{% endif %}"
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        "{% if kind is defined %}<{{ kind }}>{% endif %}"
    )
    (folder / "chat_template.jinja").write_text(template)
    with emberform.open(folder, device="cpu") as model:
        yield model


def test_a_conversation_reads_each_turn_once(qwen: emberform.Model) -> None:
    chat = qwen.chat("Answer in one word.")
    first = chat.say(FRANCE, max_tokens=24, temperature=0).text()
    assert "Paris" in first
    read = len(chat.ids)
    stream = chat.say("And of Italy?", max_tokens=24, temperature=0)
    second = "".join(piece.text for piece in stream)
    assert "Rome" in second and stream.finish_reason == "stop"
    # Beside the question, only what closes the first answer and opens the second was read.
    question = qwen.tokenizer.count("And of Italy?", special=False)
    assert question < stream.stats.prompt_tokens < question + 16 < read
    turns = [
        {"role": "system", "content": "Answer in one word."},
        {"role": "user", "content": FRANCE},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "And of Italy?"},
        {"role": "assistant", "content": second},
    ]
    assert chat.messages == turns and "5 messages" in repr(chat)
    # The model has read just what the template makes of the messages, and all at once gives the same.
    prompt = qwen.chat_prompt(turns[:4])
    ids = qwen.tokenizer.encode(prompt, special=False).ids
    assert chat.ids[: len(ids)].tolist() == ids.tolist()
    assert qwen.generate_chat(turns[:4], max_tokens=24, temperature=0).text() == second
    # A conversation goes on from messages of an earlier one.
    again = qwen.chat("Answer in one word.")
    for message in turns[1:3]:
        again.push(message["role"], message["content"])
    assert again.say("And of Italy?", max_tokens=24, temperature=0).text() == second
    assert again.messages == turns


def test_options_and_what_a_stream_tells(qwen: emberform.Model) -> None:
    chat = qwen.chat()
    pieces = list(chat.say(FRANCE, max_tokens=3, temperature=0, logprobs=2))
    tokens = [piece.token for piece in pieces if piece.token is not None]
    assert len(tokens) == 3 and all(len(token.top) == 2 for token in tokens)
    whole = qwen.chat().say(FRANCE, max_tokens=12, temperature=0).text()
    stopped = qwen.chat().say(FRANCE, max_tokens=12, temperature=0, stop=whole[4:8])
    assert stopped.text() == whole[: whole.index(whole[4:8])] and stopped.finish_reason == "stop_string"

    def drawn(seed: int) -> str:
        return qwen.chat().say(FRANCE, max_tokens=8, temperature=2.0, top_k=0, top_p=1.0, seed=seed).text()

    assert drawn(1) == drawn(1) and any(drawn(seed) != drawn(1) for seed in range(2, 5))


def test_a_reply_joins_the_messages_as_far_as_it_was_read(tiny_chat: emberform.Model) -> None:
    chat = tiny_chat.chat()
    stream = chat.say("a cat", max_tokens=8, ignore_eos=True)
    read = next(stream).text
    assert [m["role"] for m in chat.messages] == ["user"], "the reply goes on"
    del stream
    gc.collect()
    assert chat.messages[1] == {"role": "assistant", "content": read}
    # Left for a later message.
    first = chat.say("a dog", max_tokens=8, ignore_eos=True)
    chat.push("user", "never mind")
    assert [m["content"] for m in chat.messages[2:]] == ["a dog", "", "never mind"]
    with pytest.raises(ValueError, match="later message"):
        first.text()
    assert first.text() == "" and len(chat.messages) == 5


def test_templates_and_their_variables(tiny_chat: emberform.Model) -> None:
    chat = tiny_chat.chat("Be brief.")
    chat.system("Be long.")
    chat.push("user", "hi")
    chat.push("critic", "hm")
    assert chat.prompt() == "[system]Be long.[user]hi[critic]hm"
    assert chat.prompt() == tiny_chat.chat_prompt(chat.messages) == tiny_chat.chat_prompt(iter(chat.messages))
    values: list[bool | int | str] = ["plain", 7, -(2**63), True, False]
    for value in values:
        shown = str(value)
        chat.set("kind", value)
        assert chat.prompt().endswith(f"<{shown}>"), value
        assert tiny_chat.chat_prompt(chat.messages, variables={"kind": value}) == chat.prompt()
        assert tiny_chat.chat(variables={"kind": value}).prompt() == f"<{shown}>"
    # The variables reach the model: what it goes on from is that prompt.
    answer = tiny_chat.generate_chat(chat.messages, variables={"kind": "plain"}, max_tokens=4, temperature=0)
    session = tiny_chat.session()
    prompt = tiny_chat.chat_prompt(chat.messages, variables={"kind": "plain"})
    session.feed(tiny_chat.tokenizer.encode(prompt, special=False).ids)
    assert list(answer) == list(session.generate(max_tokens=4, temperature=0))
    assert answer.stats.prompt_tokens == len(session) - 4
    # A turn that fails leaves no trace.
    before = chat.messages
    with pytest.raises(emberform.TooLongError):
        chat.say("cat " * 5000)
    with pytest.raises(ValueError, match="temperature"):
        chat.say("cat", temperature=-1)
    assert chat.messages == before
    chat.push("user", "one more")
    chat.push("user", "and one")
    with pytest.raises(ValueError, match="too many") as refused:
        chat.say("one too many")
    assert getattr(refused.value, "code") == 100 and len(chat.messages) == 5


def test_cancelling(qwen: emberform.Model) -> None:
    chat = qwen.chat()
    stream = chat.say("Count from one to twenty.", max_tokens=60, temperature=0)
    read = next(stream).text + next(stream).text
    stream.cancel()
    read += stream.text()
    assert stream.finish_reason == "cancelled" and chat.messages[1]["content"] == read
    # While the prompt is read, from another thread.
    start = time.monotonic()
    qwen.chat().say(LONG, max_tokens=1).text()
    took = time.monotonic() - start
    stream = chat.say(LONG, max_tokens=1)
    threading.Timer(took / 10, chat.cancel).start()
    start = time.monotonic()
    assert stream.text() == "" and stream.finish_reason == "cancelled"
    assert time.monotonic() - start < took / 2
    assert len(chat.ids) == 0 and chat.messages[-1] == {"role": "assistant", "content": ""}
    # The next turn is as good as any.
    other = qwen.chat()
    other.push("user", FRANCE)
    assert "Paris" in chat.say(FRANCE, max_tokens=12, temperature=0).text()


def test_async(qwen: emberform.Model) -> None:
    wanted = qwen.chat().say(FRANCE, max_tokens=8, temperature=0).text()

    async def talk() -> str:
        return "".join([piece.text async for piece in qwen.chat().say(FRANCE, max_tokens=8, temperature=0)])

    async def main() -> list[str]:
        return list(await asyncio.gather(talk(), talk()))

    assert asyncio.run(main()) == [wanted] * 2
    chat = qwen.chat()
    stream = chat.say(LONG, max_tokens=4)

    async def left() -> None:
        async def drain() -> None:
            async for _ in stream:
                pass

        task = asyncio.create_task(drain())
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(left())
    assert stream.text() == "" and stream.finish_reason == "cancelled"
    assert chat.say(FRANCE, max_tokens=8, temperature=0).text()


def test_threads(qwen: emberform.Model) -> None:
    def talk(_: int) -> str:
        chat = qwen.chat("Answer in one word.")
        chat.say(FRANCE, max_tokens=8, temperature=0).text()
        return chat.say("And of Italy?", max_tokens=8, temperature=0).text()

    wanted = talk(0)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(talk, range(4))) == [wanted] * 4

    # A second thread on one conversation is refused while the first one works.
    chat = qwen.chat()
    stream = chat.say(LONG, max_tokens=1)
    refused: list[ValueError] = []
    ended = threading.Event()

    def disturb() -> None:
        while not ended.is_set() and not refused:
            try:
                assert len(chat.messages) >= 1
            except ValueError as error:
                refused.append(error)
            time.sleep(0.001)

    thread = threading.Thread(target=disturb)
    thread.start()
    stream.text()
    ended.set()
    thread.join()
    assert "`chat` is in use by another thread" in str(refused[0])
    assert len(chat.messages) == 2


def test_a_chat_keeps_its_model(tiny_chat: emberform.Model) -> None:
    model = emberform.open(tiny_chat.path, device="cpu")
    chat = model.chat()
    model.close()
    assert chat.say("a cat", max_tokens=4).text() is not None and len(chat.messages) == 2
    uses: list[Callable[[], object]] = [model.chat, lambda: model.chat_prompt([]), lambda: model.generate_chat([])]
    for use in uses:
        with pytest.raises(emberform.ClosedError):
            use()
