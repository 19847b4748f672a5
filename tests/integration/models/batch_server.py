"""A stand-in for the batch APIs of OpenAI and Anthropic, over a function that answers single requests."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

Answer = Callable[[dict[str, Any]], tuple[int, Any]]


class BatchServer:
    """Keeps batches and answers them when it is told to (`release`), and single calls at once."""

    def __init__(self, answer: Answer, *, has_batches: bool = True) -> None:
        self._answer, self._has_batches = answer, has_batches
        self._files: dict[str, bytes] = {}
        self.batches: dict[str, list[dict[str, Any]]] = {}
        self.single = 0
        self.released = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 28)
        app.router.add_post("/v1/chat/completions", self._one)
        app.router.add_post("/v1/messages", self._one)
        if self._has_batches:
            app.router.add_post("/v1/files", self._upload)
            app.router.add_get("/v1/files/{id}/content", self._content)
            app.router.add_post("/v1/batches", self._create)
            app.router.add_get("/v1/batches/{id}", self._state)
            app.router.add_post("/v1/messages/batches", self._create_messages)
            app.router.add_get("/v1/messages/batches/{id}", self._state_messages)
            app.router.add_get("/v1/messages/batches/{id}/results", self._results_messages)
        return app

    async def _one(self, request: web.Request) -> web.Response:
        self.single += 1
        status, body = self._answer(await request.json())
        return web.json_response(body, status=status)

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["purpose"] == "batch"
        file = form["file"]
        assert isinstance(file, web.FileField)
        id_ = f"file-{len(self._files)}"
        self._files[id_] = file.file.read()
        return web.json_response({"id": id_, "object": "file"})

    async def _create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        assert (asked["endpoint"], asked["completion_window"]) == ("/v1/chat/completions", "24h")
        calls = [json.loads(line) for line in self._files[asked["input_file_id"]].splitlines()]
        assert all(call["method"] == "POST" and call["url"] == asked["endpoint"] for call in calls)
        return self._begun([{"id": call["custom_id"], "body": call["body"]} for call in calls], status="validating")

    async def _create_messages(self, request: web.Request) -> web.Response:
        calls = [{"id": call["custom_id"], "body": call["params"]} for call in (await request.json())["requests"]]
        return self._begun(calls, processing_status="in_progress")

    def _begun(self, calls: list[dict[str, Any]], **state: str) -> web.Response:
        assert len({call["id"] for call in calls}) == len(calls)
        batch = f"batch_{len(self.batches)}"
        self.batches[batch] = calls
        return web.json_response({"id": batch, **state})

    async def _state(self, request: web.Request) -> web.Response:
        batch = request.match_info["id"]
        if batch not in self.batches:
            return web.json_response({"error": {"message": f"No batch {batch}"}}, status=404)
        if not self.released.is_set():
            return web.json_response({"id": batch, "status": "in_progress"})
        lines = []
        for call in self.batches[batch]:
            status, body = self._answer(call["body"])
            lines.append(json.dumps({"custom_id": call["id"], "response": {"status_code": status, "body": body}}))
        self._files[f"out-{batch}"] = "\n".join(lines).encode()
        return web.json_response({"id": batch, "status": "completed", "output_file_id": f"out-{batch}"})

    async def _content(self, request: web.Request) -> web.Response:
        return web.Response(body=self._files[request.match_info["id"]])

    async def _state_messages(self, request: web.Request) -> web.Response:
        ended = "ended" if self.released.is_set() else "in_progress"
        return web.json_response({"id": request.match_info["id"], "processing_status": ended})

    async def _results_messages(self, request: web.Request) -> web.Response:
        lines = []
        for call in self.batches[request.match_info["id"]]:
            status, body = self._answer(call["body"])
            result = {"type": "succeeded", "message": body} if status == 200 else {"type": "errored", "error": body}
            lines.append(json.dumps({"custom_id": call["id"], "result": result}))
        return web.Response(text="\n".join(lines))
