"""The in-process model: the same requests give the same texts, whoever asks when and whatever stands beside them."""

import asyncio
import dataclasses
import math
import random
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.unit.models.makers import make_request
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pop_selfplay.config import LocalModel, RoleThinking, Thinking
from pop_selfplay.errors import ModelRefused, ModelUnavailable, RequestRefused
from pop_selfplay.method.parsing import Block, Form
from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.models.chat_template import DEFAULT_TEMPLATE
from pop_selfplay.models.local import LocalChatModel, cut_into_batches
from pop_selfplay.models.local.decoding import _through
from pop_selfplay.models.local.sampling import Row
from pop_selfplay.records import Role

SPECIAL = ["<|pad|>", "<|begin|>", "<|end|>"]
TEMPLATE = "<|begin|>{% for m in messages %}{{ m['role'] }}:{{ m['content'] }}\n{% endfor %}assistant:"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE
CONTEXT = 256


def save_model(path: Path, template: str | None = TEMPLATE) -> str:
    """Save a random Llama of a few thousand parameters that writes single letters, and return where."""
    letters = "abcdefghijklmnopqrstuvwxyzA:<>/.Ġ Ċ"
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=SPECIAL[0], bos_token=SPECIAL[1], eos_token=SPECIAL[2])
    fast.chat_template = template
    fast.save_pretrained(path)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("model"))


def complete(
    path: str, requests: Sequence[ChatRequest], *, batch_tokens: int = 65536, one_by_one: bool = False
) -> list[Completion]:
    async def run() -> list[Completion]:
        model = LocalChatModel(LocalModel(path=path, batch_tokens=batch_tokens))
        try:
            if one_by_one:
                return [await model.complete(request) for request in requests]
            return await asyncio.gather(*map(model.complete, requests))
        finally:
            await model.close()

    return asyncio.run(run())


def mixed_requests() -> list[ChatRequest]:
    """Requests of different prompts, lengths, temperatures, nuclei and seeds; some prompts come several times."""
    rng = random.Random(0)
    return [
        make_request(
            "why is " + "moss " * rng.randint(0, 6),
            temperature=rng.choice((0.0, 0.7, 1.0)),
            top_p=rng.choice((1.0, 0.8)),
            max_tokens=rng.choice((5, 40)),
            seed=rng.getrandbits(63),
            stop=rng.choice(("", ".")),
        )
        for _ in range(60)
    ]


@pytest.mark.parametrize("lengths", [[(4096, 8000), *[(6144, 300)] * 20], [(64, 20_000), *[(128, 30)] * 500]])
def test_no_batch_is_larger_than_its_limit_when_all_its_rows_are_padded(lengths: list[tuple[int, int]]) -> None:
    rows = [Row(place, make_request(), [1] * prompt, new) for place, (new, prompt) in enumerate(lengths)]
    batches = list(cut_into_batches(rows, 65_536, 256))
    assert sorted(row.place for batch in batches for row in batch) == list(range(len(rows)))
    sizes = [len(batch) * (max(len(row.prompt) for row in batch) + max(row.max_new for row in batch)) for batch in batches]
    assert max(sizes) <= 65_536


def test_the_same_requests_give_the_same_texts_in_any_order_and_at_any_pace(path: str) -> None:
    requests = mixed_requests()
    expected = complete(path, requests)
    assert len({completion.text for completion in expected}) > 20

    async def dawdling(model: LocalChatModel, request: ChatRequest, turns: int) -> Completion:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await model.complete(request)

    async def run() -> list[Completion]:
        model = LocalChatModel(LocalModel(path=path))
        order = list(range(len(requests)))
        random.Random(1).shuffle(order)
        found = await asyncio.gather(*(dawdling(model, requests[place], turns=place % 20) for place in order))
        await model.close()
        return [completion for _, completion in sorted(zip(order, found, strict=True), key=lambda pair: pair[0])]

    assert asyncio.run(run()) == expected


def test_a_text_does_not_depend_on_the_rows_beside_it(path: str) -> None:
    requests = mixed_requests()[:20]
    together = complete(path, requests)
    assert complete(path, requests, batch_tokens=300) == together
    assert complete(path, requests, one_by_one=True) == together


def test_temperature_zero_is_greedy_whatever_the_seed(path: str) -> None:
    greedy = complete(path, [make_request(temperature=0, max_tokens=20, seed=seed) for seed in range(3)])
    assert len({completion.text for completion in greedy}) == 1
    sampled = complete(path, [make_request(temperature=1, max_tokens=20, seed=seed) for seed in range(3)])
    assert len({completion.text for completion in sampled}) == 3


def test_a_tiny_nucleus_is_greedy_beside_a_full_one(path: str) -> None:
    requests = [
        make_request(temperature=0, max_tokens=20),
        make_request(top_p=1e-6, max_tokens=20),
        make_request(max_tokens=20),
    ]
    greedy, narrow, full = complete(path, requests)
    assert narrow.text == greedy.text != full.text


def test_generation_ends_at_the_stop_tag_and_keeps_it(path: str) -> None:
    free = complete(path, [make_request(max_tokens=60, seed=5)])[0]
    stop = free.text[20:24]
    stopped = complete(path, [make_request(max_tokens=60, seed=5, stop=stop)])[0]
    assert stopped.text == free.text[: free.text.index(stop) + len(stop)]
    assert stopped.finish_reason == "stop"
    assert stopped.generated_tokens < free.generated_tokens


def test_token_counts_and_finish_reasons_are_real(path: str) -> None:
    completions = complete(path, [make_request("moss", max_tokens=100, seed=seed) for seed in range(40)])
    assert {completion.finish_reason for completion in completions} == {"stop", "length"}
    for completion in completions:
        assert completion.prompt_tokens == len("user:moss\nassistant:") + 1
        # The end token, and padding that a random model may write, count as generated and are not part of the text.
        assert completion.generated_tokens >= len(completion.text)
        assert (completion.generated_tokens == 100) == (completion.finish_reason == "length")
        assert "<|" not in completion.text


def test_an_answer_that_reaches_the_context_is_cut_and_a_prompt_beyond_it_refused(path: str) -> None:
    completions = complete(path, [make_request("moss" * 50, max_tokens=4096, seed=seed) for seed in range(8)])
    cut = [completion for completion in completions if completion.finish_reason == "length"]
    assert cut
    assert all(completion.prompt_tokens + completion.generated_tokens == CONTEXT for completion in cut)

    async def run() -> None:
        model = LocalChatModel(LocalModel(path=path))
        short = asyncio.create_task(model.complete(make_request(max_tokens=3)))
        with pytest.raises(RequestRefused, match="context 256"):
            await model.complete(make_request("moss" * 200))
        assert (await short).generated_tokens <= 3  # the refusal is no business of the request beside it
        await model.close()

    asyncio.run(run())


def test_a_template_without_a_system_role_gets_the_system_text_in_the_users_turn(path: str, tmp_path: Path) -> None:
    folding = save_model(tmp_path, NO_SYSTEM)
    folded = complete(folding, [make_request("why", system="be brief", max_tokens=30)])
    assert folded == complete(path, [make_request("be brief\n\nwhy", max_tokens=30)])


def test_a_template_that_refuses_the_conversation_refuses_the_request(tmp_path: Path) -> None:
    refusing = save_model(tmp_path, "{{ raise_exception('never') }}")
    with pytest.raises(RequestRefused, match="never"):
        complete(refusing, [make_request()])
    with pytest.raises(RequestRefused, match="with and without system"):
        complete(refusing, [make_request(system="be brief")])


def test_a_base_model_without_a_template_gets_the_default_one(tmp_path: Path) -> None:
    base = complete(save_model(tmp_path / "base", None), [make_request("moss", max_tokens=5)])
    template = DEFAULT_TEMPLATE.read_text(encoding="utf-8")
    assert base == complete(save_model(tmp_path / "same", template), [make_request("moss", max_tokens=5)])


def test_answers_of_one_wave_arrive_together(path: str) -> None:
    async def run() -> list[int]:
        model = LocalChatModel(LocalModel(path=path, batch_tokens=1))
        waves: list[int] = []

        async def player(seed: int) -> None:
            for turn in range(3):
                await model.complete(make_request(max_tokens=3, seed=seed + 100 * turn))
                waves.append(turn)

        await asyncio.gather(*(player(seed) for seed in range(6)))
        await model.close()
        return waves

    assert asyncio.run(run()) == [0] * 6 + [1] * 6 + [2] * 6


def test_a_cancelled_caller_does_not_disturb_the_others(path: str) -> None:
    async def run() -> None:
        model = LocalChatModel(LocalModel(path=path))
        leaving = asyncio.create_task(model.complete(make_request(max_tokens=50)))
        staying = asyncio.create_task(model.complete(make_request(max_tokens=50, seed=1)))
        await asyncio.sleep(0)
        leaving.cancel()
        assert (await staying).text
        await model.close()

    asyncio.run(run())


def test_closing_ends_what_waits_and_refuses_what_comes(path: str) -> None:
    async def run() -> None:
        model = LocalChatModel(LocalModel(path=path))
        waiting = asyncio.create_task(model.complete(make_request()))
        await asyncio.sleep(0)
        await model.close()
        await model.close()
        with pytest.raises(ModelUnavailable, match="closed"):
            await waiting
        with pytest.raises(ModelUnavailable, match="closed"):
            await model.complete(make_request())

    before = torch.get_num_threads()
    asyncio.run(run())
    assert torch.get_num_threads() == before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("generate")]


def test_a_bug_in_a_wave_reaches_every_caller(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError

    for patched in ("decode", "encode"):
        monkeypatch.setattr(f"pop_selfplay.models.local.{patched}", broken)
        with pytest.raises(ZeroDivisionError):
            complete(path, [make_request(), make_request(seed=1)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "/nowhere/model"}, "'/nowhere/model' is not a directory"),
        ({"path": "{path}", "device": "cuda:99"}, "'cuda:99' is not available"),
        ({"path": "{path}", "device": "toaster"}, "'toaster' is not a device"),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_the_reason(path: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(ModelRefused, match=message):
        LocalChatModel(LocalModel.model_validate({key: value.format(path=path) for key, value in settings.items()}))


def test_each_role_is_asked_with_its_own_thinking(tmp_path: Path) -> None:
    where = save_model(
        tmp_path / "model", TEMPLATE + "{% if enable_thinking is defined %}{{ enable_thinking | lower }}{% endif %}"
    )
    thinking = Thinking(enabled=False, roles={Role.JUDGE: RoleThinking(enabled=True), Role.SOLVER: RoleThinking()})

    async def run() -> list[int]:
        model = LocalChatModel(LocalModel(path=where, thinking=thinking))
        roles = (Role.SOLVER, Role.JUDGE, Role.PROPOSER)
        answers = await asyncio.gather(*(model.complete(make_request(role=role, max_tokens=1)) for role in roles))
        await model.close()
        return [answer.prompt_tokens for answer in answers]

    untold, on, off = asyncio.run(run())
    assert (on - untold, off - untold) == (len("true"), len("false"))


def test_thinking_that_the_template_has_no_switch_for_is_refused(path: str) -> None:
    with pytest.raises(ModelRefused, match=r"thinking\.enabled false .*no switch"):
        LocalChatModel(LocalModel(path=path, thinking=Thinking(enabled=False)))


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"model\.path must be a directory with config\.json"):
        LocalChatModel(LocalModel(path=str(tmp_path)))


def test_probabilities_come_with_every_token_and_change_no_text(path: str) -> None:
    plain = mixed_requests()
    asking = [dataclasses.replace(request, top_logprobs=5 if n % 2 else 0) for n, request in enumerate(plain)]
    for with_them, without, request in zip(complete(path, asking), complete(path, plain), asking, strict=True):
        assert dataclasses.replace(with_them, tokens=()) == without
        assert len(with_them.tokens) == (without.generated_tokens if request.top_logprobs else 0)
        assert without.text.startswith("".join(token.text for token in with_them.tokens)[: len(without.text)])


def test_a_greedy_token_is_its_own_likeliest_alternative_and_all_of_them_sum_to_one(path: str) -> None:
    (completion,) = complete(path, [make_request(temperature=0, max_tokens=6, top_logprobs=1000)])
    for token in completion.tokens:
        assert token.text == token.alternatives[0][0]
        assert [p for _, p in token.alternatives] == sorted((p for _, p in token.alternatives), reverse=True)
        assert sum(math.exp(p) for _, p in token.alternatives) == pytest.approx(1, abs=1e-4)


def test_an_answer_that_never_leaves_the_reasoning_its_prompt_opened_is_none(tmp_path: Path) -> None:
    opened = save_model(tmp_path / "opened", TEMPLATE + "<think>\n")
    (found,) = complete(opened, [make_request("moss", max_tokens=30, stop="a")])
    assert found.text.startswith("<think>\n") and found.generated_tokens > 1
    plain = save_model(tmp_path / "plain", TEMPLATE + "think\n")
    assert not complete(plain, [make_request("moss", max_tokens=30, stop="a")])[0].text.startswith("<think>")


def test_a_stop_tag_within_opened_reasoning_belongs_to_a_draft() -> None:
    assert _through("hm </a> so", "</a>", opened=True) == "<think>\nhm </a> so"
    assert _through("hm </a></think>b</a> c", "</a>", opened=True) == "hm </a></think>b</a>"
    assert _through("hm </a> so", "</a>", opened=False) == "hm </a>"


# --- forms ------------------------------------------------------------------------------------------------------------


def formed(path: str, forms: Sequence[Form | None]) -> list[Completion]:
    async def run() -> list[Completion]:
        model = LocalChatModel(LocalModel(path=path))
        try:
            assert await model.constrains(Role.SOLVER)
            asked = [make_request(f"why is moss {n}", max_tokens=120, seed=n) for n in range(len(forms))]
            requests = [dataclasses.replace(one, form=form) for one, form in zip(asked, forms, strict=True)]
            return await asyncio.gather(*map(model.complete, requests))
        finally:
            await model.close()

    return asyncio.run(run())


def test_even_a_random_model_keeps_the_form_and_leaves_the_rows_beside_it_alone(path: str) -> None:
    pick = Form((Block("w", ("a", "bb")),))
    found = formed(path, [pick, None, pick, Form((Block("a", "text"),)), None])
    assert {found[0].text, found[2].text} <= {"<w>a</w>", "<w>bb</w>"} and found[0].finish_reason == "stop"
    assert found[3].text.startswith("<a>") and (found[3].finish_reason == "length" or found[3].text.endswith("</a>"))
    free = [make_request(f"why is moss {n}", max_tokens=120, seed=n) for n in (1, 4)]
    assert [found[1].text, found[4].text] == [completion.text for completion in complete(path, free)]


def test_roles_that_ask_at_once_are_all_decoded_by_their_forms(path: str) -> None:
    pick = Form((Block("w", ("a", "bb")),))

    async def one(model: LocalChatModel, seed: int) -> str:
        plain = await model.complete(make_request("why is moss", max_tokens=4, seed=seed))  # the weights are in use already
        assert await model.constrains(Role.SOLVER), plain
        request = dataclasses.replace(make_request("why", max_tokens=40, seed=seed), form=pick)
        return (await model.complete(request)).text

    async def run() -> list[str]:
        model = LocalChatModel(LocalModel(path=path))
        try:
            return await asyncio.gather(*(one(model, seed) for seed in range(3)))
        finally:
            await model.close()

    assert set(asyncio.run(run())) <= {"<w>a</w>", "<w>bb</w>"}


def test_a_resumed_run_which_asks_by_a_form_at_once_gets_that_form(path: str) -> None:
    pick = Form((Block("w", ("a", "bb")),))
    (found,) = complete(path, [dataclasses.replace(make_request("why is moss", max_tokens=120), form=pick)])
    assert found.text in {"<w>a</w>", "<w>bb</w>"}


def test_without_the_library_a_form_that_a_resumed_run_asks_by_is_no_crash(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance.hf", None)
    free, pick = make_request("why is moss", max_tokens=9), Form((Block("w", ("a", "bb")),))
    assert complete(path, [dataclasses.replace(free, form=pick)])[0].text == complete(path, [free])[0].text


def test_without_the_library_a_local_model_says_once_that_it_decodes_by_no_form(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance.hf", None)
    told = list[str]()

    async def run() -> list[bool]:
        model = LocalChatModel(LocalModel(path=path), notice=told.append)
        try:
            return [await model.constrains(role) for role in Role]
        finally:
            await model.close()

    assert asyncio.run(run()) == [False] * 4
    assert len(told) == 1 and "pop-selfplay[constrain]" in told[0]
