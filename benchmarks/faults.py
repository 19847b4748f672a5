"""The fault drill: small runs against a server with one fault each, and what became of them.

    python benchmarks/faults.py [--only NAME …] [--json FILE]

Every fault is one that a real server shows: its refusals in its own words, replies in its own form, breakdowns. The server is
the simulated one behind a function that spoils requests or replies. Expected is an exit code, words that must be said, and,
where the run can end well, that nothing is lost but what the fault takes. Where `resumes` is set, the run is resumed against a
healthy server and must then be whole. A fault is one more entry in `FAULTS`.
"""

import argparse
import io
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from aiohttp import web

from pop_selfplay.cli import run as run_command
from pop_selfplay.config import SimulatedModel
from pop_selfplay.journal import Journal
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.server import serving, simulated_app

DOCUMENTS = 12
PATIENCE_S = 0.5
WORDS = "sun moon tree river stone wind leaf root seed bark moss fern dew frost rain".split()
POISONED = 3

Body = dict[str, Any]
Answer = tuple[int, Any] | None
Spoil = Callable[[Body], Answer]
Alter = Callable[[Body, Body], None]


def text_of(number: int) -> str:
    """Return the text of a document."""
    return " ".join(random.Random(number).choices(WORDS, k=80))


class Fault(NamedTuple):
    """One fault. `spoil` answers a request itself or lets it pass; `alter` changes the reply to one that passed.

    `lost` is how many of the documents it may cost; `resumes` tells that a healthy server makes the run whole. `address`
    changes the server's address, `environment` sets variables, `model` and `settings` add to the config.
    """

    name: str
    exit_code: int
    spoil: Spoil | None = None
    alter: Alter | None = None
    says: str = ""
    lost: int = 0
    resumes: bool = False
    settings: Mapping[str, Any] = {}
    model: Mapping[str, Any] = {}
    address: Callable[[str], str] = str
    environment: Mapping[str, str] = {}


def openai(message: str, status: int = 400, param: str | None = None, code: str | None = None) -> tuple[int, Any]:
    return status, {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def vllm(message: str) -> tuple[int, Any]:
    return 400, {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": 400}


def unsupported(name: str) -> Spoil:
    said = openai(
        f"Unsupported parameter: '{name}' is not supported with this model.", param=name, code="unsupported_parameter"
    )
    return lambda body: said if name in body else None


def always(answer: tuple[int, Any]) -> Spoil:
    return lambda _: answer


def after(calls: int, answer: tuple[int, Any]) -> Spoil:
    """Let as many calls pass, then answer all with `answer`."""
    passed = 0

    def spoil(body: Body) -> Answer:
        nonlocal passed
        passed += 1
        return answer if passed > calls else None

    return spoil


def on_poison(answer: tuple[int, Any]) -> Spoil:
    """Answer only the requests that hold the poisoned document with `answer`."""
    words = " ".join(text_of(POISONED).split()[:12])
    return lambda body: answer if any(words in str(message["content"]) for message in body["messages"]) else None


def only_for(stop: str, answer: tuple[int, Any]) -> Spoil:
    return lambda body: answer if body.get("stop") == [stop] else None


def without_system(body: Body) -> Answer:
    return vllm("System role not supported") if body["messages"][0]["role"] == "system" else None


def only_default_temperature(body: Body) -> Answer:
    words = "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."
    return openai(words, param="temperature", code="unsupported_value") if body.get("temperature", 1) != 1 else None


def mistral(body: Body) -> Answer:
    at = {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}
    return (422, {"object": "error", "message": {"detail": [at]}}) if "seed" in body else None


def each_choice(change: Callable[[Body], None]) -> Alter:
    def alter(_: Body, reply: Body) -> None:
        for choice in reply["choices"]:
            change(choice)

    return alter


def content_parts(choice: Body) -> None:
    choice["message"]["content"] = [{"type": "text", "text": choice["message"]["content"]}]


def thinking_parts(choice: Body) -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    choice["message"]["content"] = [thought, {"type": "text", "text": choice["message"]["content"]}]


def open_tag(choice: Body) -> None:
    choice["message"]["content"] = choice["message"]["content"].partition("</")[0]
    choice.update(stop_reason=None, finish_reason="stop")


def only_reasoning(choice: Body) -> None:
    choice["message"] = {"content": None, "reasoning_content": choice["message"]["content"]}


def with_surrogate(choice: Body) -> None:
    choice["message"]["content"] = "\ud83d " + choice["message"]["content"]


def finish(reason: str | None) -> Alter:
    return each_choice(lambda choice: choice.update(finish_reason=reason))


def counts(**usage: Any) -> Alter:
    return lambda _, reply: reply.update(usage=usage)


def truncated_prompts(_: Body, reply: Body) -> None:
    reply["usage"]["prompt_tokens"] = 64


TOO_LONG = "'max_tokens' or 'max_completion_tokens' is too large: 6144. This model's maximum context length is 4096 tokens"
SCHEMA: Mapping[str, Any] = {"json_schema": True}
FAULTS = (
    Fault("none", 0),
    Fault("max_tokens is called max_completion_tokens", 0, unsupported("max_tokens"), says="max_completion_tokens"),
    Fault("temperature only 1", 0, only_default_temperature, says="does not take temperature"),
    Fault("seed forbidden (Mistral)", 0, mistral, says="does not take seed"),
    Fault("top_p unsupported", 0, unsupported("top_p"), says="does not take top_p"),
    Fault("stop unsupported", 0, unsupported("stop"), says="does not take stop"),
    Fault("n unsupported", 0, unsupported("n")),
    Fault("system message refused", 0, without_system, says="a system message"),
    Fault("JSON schema unsupported", 2, unsupported("response_format"), says="synthesis.json_schema", settings=SCHEMA),
    Fault("probabilities unsupported", 2, unsupported("logprobs"), says="logprob", settings={"scoring": "logprob"}),
    Fault("context too short for all", 2, always(vllm(TOO_LONG)), says="maximum context length", resumes=True),
    Fault("one role refused", 2, only_for("</rubric>", openai("odd request")), says="odd request", resumes=True),
    Fault("refusals after good calls", 4, after(60, openai("something is missing")), says="something is missing", resumes=True),
    Fault("one document too long", 0, on_poison(vllm(TOO_LONG)), lost=1, resumes=True),
    Fault("one document filtered (Azure)", 0, on_poison(openai("content management policy", code="content_filter")), lost=1),
    Fault(
        "no credit from the start", 2, always(openai("Insufficient credits", 402)), says="Insufficient credits", resumes=True
    ),
    Fault("no credit after a while", 4, after(60, openai("Insufficient credits", 402)), says="Insufficient", resumes=True),
    Fault("quota used up (OpenAI)", 4, after(60, openai("quota", 429, code="insufficient_quota")), says="quota", resumes=True),
    Fault("bad key", 2, always(openai("Incorrect API key provided", 401)), says="api_key_env", resumes=True),
    Fault("unknown model", 2, always(openai("The model does not exist", 404)), says="model", resumes=True),
    Fault("overloaded for good", 4, always((503, "<html>503</html>")), says="HTTP 503", resumes=True),
    Fault("broken for good", 4, always(openai("out of memory", 500)), says="out of memory", resumes=True),
    Fault("one document always 500", 0, on_poison(openai("cannot tokenise", 500)), lost=1),
    Fault("one document 200 with an error body", 0, on_poison((200, {"error": {"message": "failed"}})), lost=1),
    Fault("one document unreadable", 0, on_poison((200, "<html>")), lost=1),
    Fault("one document too long, told with 200", 0, on_poison((200, {"error": {"message": TOO_LONG, "code": 400}})), lost=1),
    Fault("one document too long, told with 500", 0, on_poison(openai("Context size has been exceeded.", 500)), lost=1),
    Fault("content as parts", 0, alter=each_choice(content_parts)),
    Fault("content as thinking and text", 0, alter=each_choice(thinking_parts)),
    Fault("a lone surrogate", 0, alter=each_choice(with_surrogate)),
    Fault("all text is reasoning", 3, alter=each_choice(only_reasoning), says="only_reasoning", lost=DOCUMENTS),
    Fault("finish_reason eos", 0, alter=finish("eos")),
    Fault("finish_reason null", 0, alter=finish(None)),
    Fault("counts are null", 0, alter=counts(prompt_tokens=None, completion_tokens=None)),
    Fault("counts are absurd", 0, alter=counts(prompt_tokens=2**63, completion_tokens=-1)),
    Fault("prompts are cut (Ollama)", 0, alter=truncated_prompts, says="cuts long prompts"),
    Fault("an answer ends with its tag open (vLLM)", 3, alter=each_choice(open_tag), says="unclosed_tag", lost=DOCUMENTS),
    Fault("a query in the address", 0, address=lambda url: f"{url}?api-version=1"),
    Fault("credentials in the address", 2, address=lambda url: url.replace("//", "//user:secret@"), says="api_key_env"),
    Fault("https on a port of http", 2, address=lambda url: url.replace("http:", "https:"), says="no TLS", resumes=True),
    Fault("a host that does not exist", 2, address=lambda _: "http://no-such-host.invalid/v1", says="resolved", resumes=True),
    Fault("nobody at the address", 4, address=lambda _: "http://127.0.0.1:9/v1", says="cannot be reached", resumes=True),
    Fault("a proxy without http://", 2, environment={"http_proxy": "127.0.0.1:3128"}, says="variable http_proxy", resumes=True),
    Fault("a key of two lines", 2, model={"api_key_env": "KEY"}, environment={"KEY": "a\nb"}, says="line break"),
    Fault("a key that is not there", 2, model={"api_key_env": "NO_KEY"}, says="NO_KEY"),
)


@contextmanager
def server(fault: Fault) -> Iterator[str]:
    """Serve the simulated model with the fault."""

    @web.middleware
    async def faulty(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        asked = json.loads(await request.read()) if request.method == "POST" else None
        found = fault.spoil(asked) if fault.spoil is not None and asked is not None else None
        if found is not None:
            status, said = found
            return web.Response(status=status, text=said if isinstance(said, str) else json.dumps(said))
        response: web.Response = await handler(request)
        if fault.alter is not None and asked is not None and response.status == 200:
            reply = json.loads(response.body)  # type: ignore[arg-type]  # the simulated server answers with bytes
            fault.alter(asked, reply)
            return web.Response(text=json.dumps(reply), content_type="application/json")
        return response

    app = simulated_app(SimulatedChatModel(SimulatedModel()))
    app.middlewares.append(faulty)
    with serving(app) as base_url:
        yield base_url


def play(folder: Path, base_url: str, fault: Fault) -> tuple[int, str]:
    """Play, or resume, the run in `folder`; return its exit code and all that it said."""
    config = {
        "domain": "health_care",
        "corpus": {"type": "files", "paths": [str(folder / "texts")]},
        "model": {"type": "endpoint", "base_url": base_url, "model": "simulated", "patience_s": PATIENCE_S, **fault.model},
        "synthesis": {"documents": DOCUMENTS, "candidates": 6, "episodes_in_flight": 4, **fault.settings},
        "training": {"type": "none"},
        "measure": {"type": "none"},
    }
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")  # which is YAML, too
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = run_command(["run", str(folder / "config.yaml"), "--out", str(folder / "run")])
    return code, said.getvalue()


def scored(folder: Path) -> int:
    """Return how many episodes ended with scores."""
    if not (folder / "run").is_dir():
        return 0
    with Journal.open_to_read(folder / "run" / "run.db") as journal:
        return sum(count for (_, _, reason), count in journal.tally.episodes.items() if not reason)


def drill(fault: Fault) -> dict[str, Any]:
    """Play one fault and return its row."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "texts").mkdir()
        for number in range(DOCUMENTS):
            (folder / "texts" / f"{number}.txt").write_text(text_of(number), encoding="utf-8")
        start = time.monotonic()
        with server(fault) as base_url, patch.dict(os.environ, fault.environment):
            code, said = play(folder, fault.address(base_url), fault)
        row: dict[str, Any] = {"fault": fault.name, "exit_code": code, "expected": fault.exit_code, "scored": scored(folder)}
        row["seconds"] = round(time.monotonic() - start, 1)
        right = code == fault.exit_code and " ".join(fault.says.split()) in " ".join(said.split())
        right = right and (code != 0 or row["scored"] >= DOCUMENTS - fault.lost)
        if fault.resumes:
            with server(FAULTS[0]) as base_url:
                resumed, _ = play(folder, base_url, fault)
            row["resumed"] = [resumed, scored(folder)]
            right = right and row["resumed"] == [0, DOCUMENTS]
        return {**row, "says": fault.says, "right": right}


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows as the table of docs/models.md."""
    lines = [f"| fault | exit code | scored, of {DOCUMENTS} | after a resume |", "| --- | --- | --- | --- |"]
    for row in rows:
        resumed = "" if "resumed" not in row else f"{row['resumed'][1]}, exit code {row['resumed'][0]}"
        lines.append(f"| {row['fault']} | {row['exit_code']} | {row['scored']} | {resumed} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], help="names, or beginnings of names, of faults")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    rows = []
    for fault in FAULTS:
        if options.only and not fault.name.startswith(tuple(options.only)):
            continue
        rows.append(drill(fault))
        sys.stdout.write(f"{'ok  ' if rows[-1]['right'] else 'BAD '} {json.dumps(rows[-1])}\n")
        sys.stdout.flush()
    if options.json is not None:
        options.json.write_text(json.dumps({"documents": DOCUMENTS, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    bad = [row["fault"] for row in rows if not row["right"]]
    sys.stdout.write(f"{len(rows) - len(bad)} of {len(rows)} as expected{'; not: ' if bad else ''}{', '.join(bad)}\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
