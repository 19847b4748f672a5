"""The storage on S3: the same segments as on a disk, patience while the store does not answer, and words when it never will."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Final

import pytest

from pop_selfplay.errors import ConfigError, JournalError, JournalStopped
from pop_selfplay.journal.schema import Played
from pop_selfplay.records import Shard
from pop_selfplay.scale.shards import Storage, patiently
from tests.object_store import ObjectStore, Trouble, object_store

URL: Final = "s3://bucket/mine"
CALL: Final = ("1/a/0", "solver", "0", 0, 1, "0" * 16, "<answer>ünï\n\u2028</answer>", "text", "stop", 10, 0, 5, "")
EPISODE: Final = Played("1/a/0", 1, "judge", "too_few_scored", "{}", (CALL,))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    with object_store(monkeypatch) as store:
        yield store


def test_s3_holds_what_a_disk_does(store: ObjectStore, tmp_path: Path) -> None:
    for url in (URL, str(tmp_path / "disk")):
        storage = Storage(url)
        storage.claim("run-1")
        storage.check("run-1")
        names = [storage.publish(1, Shard(3, 12), number, [EPISODE]) for number in (1, 2)]
        storage.publish(1, Shard(3, 12), 3, [EPISODE], begun=True)
        other = storage.publish(1, Shard(2, 12), 1, [EPISODE])
        assert storage.published(1, Shard(3, 12)) == names and storage.published(1) == sorted([*names, other])
        assert storage.published(2) == [] and storage.read(names[0]) == [EPISODE]
        with pytest.raises(ConfigError, match="holds the work of another run"):
            Storage(url).claim("run-2")
        with pytest.raises(ConfigError, match="does not find the run's storage"):
            Storage(url + "/elsewhere").check("run-1")
    disk = [path.relative_to(tmp_path / "disk") for path in (tmp_path / "disk").rglob("*") if path.is_file()]
    assert folders(PurePath(key).relative_to("mine") for key in store.objects) == folders(disk)


def test_a_path_is_a_path_and_no_pattern(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "run[1]*?"))
    name = storage.publish(1, Shard(1, 2), 1, [EPISODE])
    assert storage.published(1) == storage.published(1, Shard(1, 2)) == [name] and storage.read(name) == [EPISODE]


def folders(files: Iterable[PurePath]) -> Counter[PurePath]:
    """Return how many files there are in each folder: the names of segments end with random letters."""
    return Counter(file.parent for file in files)


def test_what_another_process_published_since_the_last_look_is_found(store: ObjectStore) -> None:
    storage = Storage(URL)
    first = storage.publish(1, Shard(1, 1), 1, [EPISODE])
    assert storage.published(1) == [first]
    store.objects[f"mine/{first}-later.parquet"] = store.objects[f"mine/{first}"]  # as another process would
    assert storage.read(f"{first}-later.parquet") == [EPISODE]
    assert len(storage.published(1)) == 2


def test_a_model_goes_to_s3_and_back_whole_and_once(store: ObjectStore, tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "deeper").mkdir(parents=True)
    for name in ("config.json", "weights.safetensors", "deeper/notes.txt"):
        (model / name).write_bytes(name.encode() * 100)
    storage = Storage(URL)
    source = storage.send_model(model, 1)
    assert list(store.objects)[-1] == "mine/models/round-1/config.json", "the sign of the whole comes last"
    storage.fetch_model(source, tmp_path / "there" / "model")
    assert contents(tmp_path / "there" / "model") == contents(model)
    (model / "weights.safetensors").write_bytes(b"changed")
    assert storage.send_model(model, 1) == source
    assert store.objects["mine/models/round-1/weights.safetensors"] != b"changed"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("trouble", "times"), [("busy", 3), ("gone", 6)])  # the client itself tries the latter five times
def test_a_store_that_does_not_answer_for_a_while_is_tried_again(store: ObjectStore, trouble: Trouble, times: int) -> None:
    storage, told = Storage(URL), list[str]()
    storage.claim("run-1")
    store.trouble, store.troubled = trouble, times
    asyncio.run(patiently(60, storage.publish, 1, Shard(1, 1), 1, [EPISODE], notice=told.append))
    assert store.refused == times and storage.read(*storage.published(1)) == [EPISODE]
    assert len(told) == 1 and f"cannot write to runner.storage {URL}" in told[0] and "tried again for 60 s" in told[0]
    assert "resume" not in told[0]


def test_patience_ends_and_says_what_to_do(store: ObjectStore) -> None:
    store.trouble = "busy"
    with pytest.raises(JournalStopped, match=r"cannot list the segments in runner\.storage s3://.*; resume when it answers"):
        asyncio.run(patiently(0.3, Storage(URL).published, 1, notice=lambda text: None))
    assert store.refused and JournalStopped.exit_code == 4


def test_a_store_that_refuses_is_not_tried_again(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def once(url: str) -> None:
        with pytest.raises(JournalError) as caught:
            asyncio.run(patiently(60, Storage(url).claim, "run-1", notice=lambda text: None))
        assert not isinstance(caught.value, JournalStopped) and url in str(caught.value)

    once("s3://no-such-bucket/mine")
    store.trouble = "denied"
    once(URL)
    refused = store.refused
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    Storage(URL)._files.clear_instance_cache()
    once(URL)
    assert store.refused == refused, "without credentials nothing is sent"
