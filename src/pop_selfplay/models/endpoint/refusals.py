"""A server's refusal as an error of this package: what it ends, the call or the run, and what the user should change."""

from pop_selfplay.config import EndpointModel
from pop_selfplay.errors import ModelError, ModelRefused, ModelUnavailable, RequestRefused
from pop_selfplay.models.endpoint.errors import Kind, ServerError


class Refused(Exception):
    """The server understood and does not answer this request; another try would not help."""

    def __init__(self, url: str, error: ServerError) -> None:
        super().__init__(error.words)
        self.url, self.error = url, error


def as_error(refused: Refused, config: EndpointModel, *, has_answered: bool, needs: str) -> ModelError:
    """Return what `refused` means. `has_answered`: the server has answered anything before; `needs` as Parameters tells it."""
    error = refused.error
    said = f"{refused.url} answered HTTP {error.status}: {error.words}"
    match error.kind:
        case Kind.TOO_LONG:
            return RequestRefused(
                f"{said}; it is longer than the server accepts: lower synthesis.*.max_tokens or filter.max_words, or serve the "
                "model with a longer context"
            )
        case Kind.CONTENT:
            return RequestRefused(f"{said}; the server refuses the content of this request")
        case Kind.NO_MONEY:
            what = ModelUnavailable if has_answered or error.status == 429 else ModelRefused
            return what(f"{said}; add credit, then resume with `pop run DIR`")
        case Kind.PARAMETER if needs:
            return RequestRefused(f"{said}; {needs}", about_request=False)
        case Kind.PARAMETER | Kind.SYSTEM_ROLE | Kind.UNKNOWN:
            settings = "if this is about a parameter, see model.omit, model.rename and model.extra_body"
            return RequestRefused(f"{said}; {settings}", about_request=False)
    return ModelRefused(f"{said}; {_advice(refused.url, error, config)}")


def _advice(url: str, error: ServerError, config: EndpointModel) -> str:
    if error.kind is Kind.BAD_KEY:
        what = "check the permissions of the key" if error.status == 403 else "check the key"
        if config.api_key_env is None:
            return f"{what}: model.api_key_env names no environment variable with a key"
        return f"{what} in the environment variable {config.api_key_env}"
    if error.kind is Kind.WRONG_MODEL:
        v1 = "" if "/v1/" in url else ", which for most servers ends in /v1,"
        return f"check model.base_url{v1} and that the server has the model {config.model!r}"
    return "check model.base_url and model.model"
