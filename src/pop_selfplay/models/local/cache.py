"""Keys and values of a batch that grow in place.

The library's plain cache layer copies all keys and values into new memory at each step, which for small models on a CPU costs
more than the model itself. Layers of other kinds (sliding windows, linear attention) stay the library's own.
"""

from typing import Any, Final

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_GROWTH: Final = 1.5


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # the library is untyped
    """A cache layer with room to spare: `keys` and `values` are views of larger memory, [rows, heads, tokens, width]."""

    _key_room: torch.Tensor
    _value_room: torch.Tensor

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the new tokens and return all keys and values. The further arguments are other layers' business."""
        used = self.get_seq_length()
        end = used + key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._key_room, self._value_room = _room(key_states, end), _room(value_states, end)
        elif end > self._key_room.shape[-2]:
            self._key_room, self._value_room = (_room(old, int(_GROWTH * end)) for old in (self._key_room, self._value_room))
            self._key_room[..., :used, :] = self.keys
            self._value_room[..., :used, :] = self.values
        self._key_room[..., used:end, :] = key_states
        self._value_room[..., used:end, :] = value_states
        self._look(end)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows, in this order; a row may come several times."""
        self._key_room = self._key_room.index_select(0, indices)
        self._value_room = self._value_room.index_select(0, indices)
        self._look(self.keys.shape[-2])

    def _look(self, end: int) -> None:
        self.keys, self.values = self._key_room[..., :end, :], self._value_room[..., :end, :]


def roomy_cache(model: Any) -> Any:
    """Return an empty cache for `model`."""
    cache = DynamicCache(config=model.config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _room(like: torch.Tensor, tokens: int) -> torch.Tensor:
    return like.new_empty((*like.shape[:-2], tokens, like.shape[-1]))
