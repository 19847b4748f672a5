"""The server of the viewer: its routes, and what it lets in and out.

It answers on loopback unless told otherwise. Every request must name a host that is this server's (so that no other site's
name can be made to point here); beyond loopback it must also bring the token that was printed with the address. Nothing of a
request ever becomes a path: templates and static files are read once, by their names in the package. Scripts and styles come
from this server alone, no page can be framed, and a form is taken only from a page of this process.

A new page is a function here that hands the values of pages.py to a template, and a line in `Viewer.app`.
"""

import ipaddress
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlencode

import uvicorn
from jinja2 import DictLoader, Environment, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pop_selfplay import labels
from pop_selfplay.errors import PopError, UsageError
from pop_selfplay.report.page import Section, duel_items, outcome_says, sections_of
from pop_selfplay.results import DuelResult, EvalResult, read_result
from pop_selfplay.runs.session import Session
from pop_selfplay.viewer import compare, pages
from pop_selfplay.viewer.index import Index
from pop_selfplay.viewer.indexer import Indexer
from pop_selfplay.viewer.pages import Place, Values
from pop_selfplay.viewer.reading import Run, Shown, parted, show
from pop_selfplay.viewer.rendering import markdown

_HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_COOKIE: Final = "pop_view"
_TYPES: Final = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
_MOST_FORM: Final = 200_000


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """Middleware: refuses foreign hosts and, where there is a token, whoever does not bring it; adds the headers above."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], token: str) -> None:
        self._app, self._hosts, self._token = app, hosts, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
            await send(message)

        request = Request(scope, receive)
        await (self._refusal(request) or self._app)(scope, receive, guarded)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if self._hosts and name.strip("[]").lower() not in self._hosts:
            return Response("this name is not the viewer's: use the address that it printed", 400, media_type="text/plain")
        brought = request.query_params.get("token") or request.cookies.get(_COOKIE, "")
        if self._token and not secrets.compare_digest(brought.encode(), self._token.encode()):
            return Response("the address needs the token that the viewer printed", 403, media_type="text/plain")
        if self._token and "token" in request.query_params and request.method == "GET":
            answer = RedirectResponse(request.url.path + _without_token(request), 303)
            answer.set_cookie(_COOKIE, self._token, httponly=True, samesite="strict")
            return answer
        return None


def _without_token(request: Request) -> str:
    left = urlencode([(name, value) for name, value in request.query_params.multi_items() if name != "token"])
    return f"?{left}" if left else ""


class Beside:
    """A directory of `pop eval` or `pop duel` that is looked at: its name, and the figures of its result file."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.resolve().name
        found = next((path / name for name in ("eval.json", "duel.json") if (path / name).is_file()), None)
        if found is None:
            raise UsageError(f"{path} is no run (no config.yaml) and holds no eval.json or duel.json: check the name")
        result = read_result(found)
        assert isinstance(result, EvalResult | DuelResult)
        self.result, self.says = result, outcome_says(result)

    @property
    def sections(self) -> list[Section]:
        return sections_of(self.result)

    def items(self) -> list[Mapping[str, object]]:
        return duel_items(self.path)


class Viewer:
    """The viewer of some directories. `author` signs labels where nobody says otherwise; `label_first` opens with the form."""

    def __init__(self, paths: Sequence[Path], *, author: str = "me", label_first: bool = False) -> None:
        self.author, self._label_first = author, label_first
        self._secret = secrets.token_urlsafe(16)
        self._comparisons = compare.Comparisons()
        self._beside = [Beside(path) for path in paths if not (path / "config.yaml").is_file()]
        self.places: list[Place] = []
        for path in paths:
            if (path / "config.yaml").is_file():
                run = Run(path)
                with run.look() as session:
                    index = Index(session)
                self.places.append(Place(len(self.places), run, index, Indexer(run.session, index)))
        self._environment = _environment()
        self._static = {name: _package_file("static", name) for name in ("viewer.js", "viewer.css")}

    def start(self) -> None:
        """Begin to index, in the background."""
        for place in self.places:
            place.indexer.start()

    def stop(self) -> None:
        for place in self.places:
            place.indexer.stop()
            place.index.close()

    def app(self, hosts: Sequence[str] = (), token: str = "") -> Starlette:
        """Return the application. It answers to the names of `hosts` (to any where there are none) and wants the `token`."""
        guard = Middleware(Guard, hosts=frozenset(host.lower() for host in hosts), token=token)
        return Starlette(
            routes=[
                Route("/", self._home),
                Route("/static/{name}", self._asset),
                Route("/run/{run:int}", self._list),
                Route("/run/{run:int}/live", self._live),
                Route("/run/{run:int}/episode", self._episode),
                Route("/run/{run:int}/call", self._call),
                Route("/run/{run:int}/label", self._label),
                Route("/run/{run:int}/label", self._labelled, methods=["POST"]),
                Route("/beside/{number:int}", self._outcome),
                Route("/compare", self._compare),
                Route("/compare/episode", self._side_by_side),
            ],
            middleware=[guard],
            exception_handlers={PopError: self._broken, 404: self._missing, 405: self._missing},
        )

    def _page(self, template: str, values: Values, status: int = 200) -> HTMLResponse:
        shared = {"places": self.places, "beside": self._beside, "secret": self._secret, "labelling": self._label_first}
        return HTMLResponse(self._environment.get_template(template).render({**shared, **values}), status)

    def _missing(self, request: Request, _error: Exception) -> Response:
        return self._page("error.jinja", {"said": "there is no such page, run or episode"}, HTTPStatus.NOT_FOUND)

    def _broken(self, request: Request, error: Exception) -> Response:
        return self._page("error.jinja", {"said": str(error)}, HTTPStatus.INTERNAL_SERVER_ERROR)

    def _asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._static:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return Response(self._static[name], media_type=_TYPES[name.rpartition(".")[2]])

    def _place(self, number: object) -> Place:
        """Return the run of this number. Raises HTTPException 404 where there is none."""
        place = pages.whole_number(str(number))
        if not 0 <= place < len(self.places):
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return self.places[place]

    def _run(self, request: Request) -> Place:
        return self._place(request.path_params["run"])

    def _home(self, request: Request) -> Response:
        if len(self.places) == 1 and not self._beside:
            return RedirectResponse("/run/0/label" if self._label_first else "/run/0", 303)
        return self._page("home.jinja", pages.home_page(self.places, request.query_params.get("domain", "")))

    def _list(self, request: Request) -> Response:
        place = self._run(request)
        return self._page("list.jinja", pages.list_page(place, pages.query_of(request.query_params)))

    def _live(self, request: Request) -> Response:
        return JSONResponse(pages.live(self._run(request)))

    def _episode(self, request: Request) -> Response:
        place, asked = self._run(request), request.query_params
        with place.run.look() as session:
            shown = _shown(session, asked.get("id", ""))
            values = pages.episode_page(place, shown, asked.get("cell", ""), asked.get("from", "")[:2000])
            values["author"] = asked.get("author", "")[:200]
            return self._page("episode.jinja", values)

    def _call(self, request: Request) -> Response:
        place, asked = self._run(request), request.query_params
        with place.run.look() as session:
            names = (asked.get(name, "") for name in ("role", "item", "attempt"))
            values = pages.call_page(place, _shown(session, asked.get("id", "")), *names)
        if values is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return self._page("call.jinja", values)

    def _label(self, request: Request) -> Response:
        place, asked = self._run(request), request.query_params
        author = self._person(asked)
        id_ = asked.get("id") or pages.next_to_label(place, author)
        with place.run.look() as session:
            shown = show(session, id_) if id_ else None
            if shown is None:
                return self._page("labelled.jinja", {"place": place, "author": author})
            return self._page("label.jinja", pages.label_page(place, shown, author))

    async def _labelled(self, request: Request) -> Response:
        place, form = self._run(request), await _form(request)
        if not secrets.compare_digest(form.get("secret", "").encode(), self._secret.encode()):
            return self._page("error.jinja", {"said": "this form is not of this viewer: load the page again"}, 403)
        author = self._person(form)
        with place.run.look() as session:
            shown = _shown(session, form.get("id", ""))
            try:
                given = pages.labels_of(form, shown, author)
            except ValueError:
                return self._page("error.jinja", {"said": "an answer of the form is none of those offered"}, 400)
            if not given and form.get("note", "").strip():
                said = "a note alone is no label: go back, and answer one of the questions beside it"
                return self._page("error.jinja", {"said": said}, 400)
            labels.add(place.run.path, given)
        after = {"id": shown.episode.id, "author": author}
        return RedirectResponse(
            f"/run/{place.number}/{'episode' if given else 'label'}?{urlencode(after)}", HTTPStatus.SEE_OTHER
        )

    def _person(self, given: Mapping[str, str]) -> str:
        return given.get("author", "").strip()[:200] or self.author

    def _compare(self, request: Request) -> Response:
        asked = request.query_params
        one, other = self._place(asked.get("a", "0")), self._place(asked.get("b", "1" if len(self.places) > 1 else "0"))
        given = (pages.whole_number(asked.get(name, "")) for name in ("ra", "rb", "page"))
        first, second, page = (1 if number < 0 else number for number in given)
        by = "problem" if asked.get("by") == "problem" else "document"
        wanted = compare.Asked(one.number, other.number, (first % 10**6, second % 10**6), by)
        return self._page("compare.jinja", compare.compare_page(self._comparisons, one, other, wanted, min(page, 10**6)))

    def _outcome(self, request: Request) -> Response:
        number, page = request.path_params["number"], request.query_params.get("page", "1")
        if number >= len(self._beside):
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return self._page("outcome.jinja", pages.outcome_page(number, self._beside[number].items(), page))

    def _side_by_side(self, request: Request) -> Response:
        asked = request.query_params
        one, other = self._place(asked.get("a", "")), self._place(asked.get("b", ""))
        with one.run.look() as first, other.run.look() as second:
            left, right = _shown(first, asked.get("ida", "")), _shown(second, asked.get("idb", ""))
            return self._page("beside.jinja", compare.beside_page((one, left), (other, right)))


def _shown(session: Session, id_: str) -> Shown:
    """Return an episode by its id. Raises HTTPException 404 where there is none."""
    shown = show(session, id_)
    if shown is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return shown


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a form, the first value of each. One that is too long comes to nothing."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_FORM:
            return {}
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace"), max_num_fields=200).items()}


def _package_file(folder: str, name: str) -> str:
    return files("pop_selfplay.viewer").joinpath(folder, name).read_text(encoding="utf-8")


def _environment() -> Environment:
    names = "base home list episode call label labelled compare beside outcome sections error".split()
    templates = {f"{name}.jinja": _package_file("templates", f"{name}.jinja") for name in names}
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=DictLoader(templates)
    )
    environment.filters.update({"md": markdown, "parted": parted, "shade": _shade, "number": _number})
    return environment


def _shade(rating: float | None, most: float = 2.0) -> str:
    """Return the class of a cell of the heat map: h0 (worst) to h4 (best), "none" without a rating."""
    return "none" if rating is None else f"h{round(4 * min(1.0, max(0.0, rating / most)))}"


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:,.0f}"


def serve(viewer: Viewer, host: str, port: int, tell: Callable[[str], None]) -> None:
    """Answer until interrupted; `tell` hears the address. Raises UsageError where the port is taken."""
    token = "" if is_loopback(host) else secrets.token_urlsafe(24)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen()  # whoever opens the address at once waits for the answer, and is not refused
    except OSError as error:
        bound.close()
        raise UsageError(f"cannot listen on {host} port {port} ({error.strerror}): choose another one with --port") from error
    shown = f"[{host}]" if ":" in host else host
    hosts = ("localhost", "127.0.0.1", "::1", host) if not token else ()  # beyond loopback the token is what counts
    viewer.start()
    try:
        tell(f"http://{shown}:{bound.getsockname()[1]}/" + (f"?token={token}" if token else ""))
        uvicorn.Server(uvicorn.Config(viewer.app(hosts, token), log_level="warning", server_header=False)).run(sockets=[bound])
    finally:
        viewer.stop()
        bound.close()
