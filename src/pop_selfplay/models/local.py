"""Bridge until local/ lands."""

import asyncio
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.generation import LogitsProcessor, LogitsProcessorList

from pop_selfplay.config import LocalModel
from pop_selfplay.models.base import ChatRequest, Completion


class _Draw(LogitsProcessor):
    def __init__(self, u: Any, temp: Any, start: int) -> None:
        self.u, self.temp, self.start = u, temp, start

    def __call__(self, ids: Any, scores: Any) -> Any:
        step = ids.shape[1] - self.start
        p = torch.softmax(scores / self.temp.clamp(min=1e-6)[:, None], -1)
        c = p.cumsum(-1)
        t = (c < (self.u[:, step] * c[:, -1])[:, None]).sum(-1).clamp(max=scores.shape[-1] - 1)
        t = torch.where(self.temp == 0, scores.argmax(-1), t)
        out = torch.full_like(scores, float("-inf"))
        out.scatter_(1, t[:, None], 0.0)
        return out


class LocalChatModel:
    def __init__(self, config: LocalModel, *, name: str | None = None) -> None:
        self.name = name or config.path
        self.tok = AutoTokenizer.from_pretrained(config.path, padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(config.path, dtype=torch.float32).eval()
        self.pending: list[Any] = []
        self.task: Any = None

    async def complete(self, request: ChatRequest) -> Completion:
        future = asyncio.get_running_loop().create_future()
        self.pending.append((request, future))
        if self.task is None:
            self.task = asyncio.create_task(self._work())
        result: Completion = await future
        return result

    async def _work(self) -> None:
        while self.pending:
            seen = -1
            while seen != len(self.pending):
                seen = len(self.pending)
                for _ in range(20):
                    await asyncio.sleep(0)
            wave, self.pending = self.pending, []
            done = await asyncio.to_thread(self._run, [r for r, _ in wave])
            for (_, f), c in zip(wave, done, strict=True):
                if not f.done():
                    f.set_result(c)
            for _ in range(20):
                await asyncio.sleep(0)
        self.task = None

    @torch.inference_mode()
    def _run(self, rs: list[ChatRequest]) -> list[Completion]:
        torch.set_num_threads(1)
        prompts = [
            self.tok.apply_chat_template([m.model_dump() for m in r.messages], add_generation_prompt=True, tokenize=False) for r in rs
        ]
        enc = [self.tok(p, add_special_tokens=False)["input_ids"] for p in prompts]
        order = sorted(range(len(rs)), key=lambda i: (rs[i].max_tokens, len(enc[i]), prompts[i], rs[i].seed))
        out: list[Any] = [None] * len(rs)
        for b in range(0, len(order), 256):
            ix = order[b : b + 256]
            mx = max(rs[i].max_tokens for i in ix)
            e = self.tok.pad({"input_ids": [enc[i] for i in ix]}, return_tensors="pt")
            u = torch.tensor(np.stack([np.random.default_rng(rs[i].seed).random(mx) for i in ix]), dtype=torch.float32)
            temp = torch.tensor([rs[i].temperature for i in ix], dtype=torch.float32)
            n = e["input_ids"].shape[1]
            ids = self.model.generate(
                input_ids=e["input_ids"], attention_mask=e["attention_mask"], max_new_tokens=mx, do_sample=False,
                pad_token_id=self.tok.pad_token_id, eos_token_id=self.tok.eos_token_id,
                logits_processor=LogitsProcessorList([_Draw(u, temp, n)]),
            )[:, n:].tolist()
            for i, row in zip(ix, ids, strict=True):
                fin = self.tok.eos_token_id in row
                row = row[: row.index(self.tok.eos_token_id)] if fin else row
                out[i] = Completion(self.tok.decode(row), "stop" if fin else "length", len(enc[i]), len(row) + 1)
        return out

    async def close(self) -> None:
        pass
