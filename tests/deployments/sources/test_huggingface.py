from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from deployments.sources import fetch
from deployments.sources.download import Patience
from engine.errors import SourceError
from tests.deployments.sources.conftest import COMMIT, Hub
from tests.deployments.sources.file_server import FileServer, send, serving

SOURCE = "hf:org/tiny@main"
WEIGHTS = "model.safetensors"
QUICK = Patience(timeout_s=5.0, attempts=3, backoff_s=0.001)


def get(cache: Path, source: str = SOURCE, **options: object) -> Path:
    return fetch(source, cache=cache, patience=QUICK, **options)  # type: ignore[arg-type]


def test_a_folder_gets_what_a_model_needs_and_nothing_with_code_in_it(hub: Hub, tmp_path: Path) -> None:
    folder = get(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", WEIGHTS, "tokenizer.json"]
    assert (folder / WEIGHTS).read_bytes() == hub.files[WEIGHTS]


def test_the_second_time_needs_no_network(hub: Hub, tmp_path: Path) -> None:
    first = get(tmp_path)
    hub.server.asked.clear()
    assert get(tmp_path) == first
    assert hub.server.asked == []


def test_one_file_can_be_named(hub: Hub, tmp_path: Path) -> None:
    path = get(tmp_path, "hf:org/tiny@main/model.Q4.gguf")
    assert path.name == "model.Q4.gguf"
    assert path.read_bytes() == hub.files["model.Q4.gguf"]
    assert len(hub.server.asked) == 2, "the listing and the file"


def test_files_come_from_the_commit_that_was_listed(hub: Hub, tmp_path: Path) -> None:
    get(tmp_path)
    assert all(COMMIT in asked.path for asked in hub.server.asked[1:])


def test_progress_ends_at_the_total(hub: Hub, tmp_path: Path) -> None:
    seen: dict[str, tuple[int, int | None]] = {}
    get(tmp_path, progress=lambda what, done, total: seen.__setitem__(what, (done, total)))
    size = len(hub.files[WEIGHTS])
    assert seen[f"org/tiny/{WEIGHTS}"] == (size, size)


def cut_after(count: int, *, times: int) -> object:
    """A fault: the weights' connection ends after `count` bytes, so many times."""
    left = [times]

    def fault(handler: BaseHTTPRequestHandler) -> bool:
        if not handler.path.endswith(f"/{WEIGHTS}") or left[0] == 0:
            return False
        left[0] -= 1
        start = int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        body = bytes(range(256)) * 4000
        if start:
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            handler.send_header("Content-Length", str(len(body) - start))
            handler.end_headers()
            handler.wfile.write(body[start : start + count])
            handler.close_connection = True
        else:
            send(handler, body[:count], claim=len(body))
        return True

    return fault


def test_a_cut_connection_is_resumed_where_it_ended(hub: Hub, tmp_path: Path) -> None:
    hub.server.fault = cut_after(100_000, times=4)  # type: ignore[assignment]
    folder = get(tmp_path)
    assert (folder / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    ranges = [asked.range for asked in hub.server.asked_for(f"/{WEIGHTS}")]
    assert ranges == [None, *(f"bytes={count}-" for count in (100_000, 200_000, 300_000, 400_000))]


def test_a_later_attempt_goes_on_from_what_is_there(hub: Hub, tmp_path: Path) -> None:
    def fault(handler: BaseHTTPRequestHandler) -> bool:
        if handler.path.endswith(f"/{WEIGHTS}") and not handler.headers.get("Range"):
            send(handler, hub.files[WEIGHTS][:70_000], claim=len(hub.files[WEIGHTS]))
            return True
        if handler.path.endswith(f"/{WEIGHTS}"):
            handler.send_error(503)
            return True
        return False

    hub.server.fault = fault
    with pytest.raises(SourceError, match="answered 503"):
        get(tmp_path)
    hub.server.fault = None
    hub.server.asked.clear()
    assert (get(tmp_path) / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    assert [asked.range for asked in hub.server.asked_for(f"/{WEIGHTS}")] == ["bytes=70000-"]


def test_a_damaged_first_piece_is_fetched_anew(hub: Hub, tmp_path: Path) -> None:
    staging = tmp_path / "hf" / "org--tiny" / "main" / "all" / "staging"
    staging.mkdir(parents=True)
    (staging / f"{WEIGHTS}.part").write_bytes(b"something else")
    assert (get(tmp_path) / WEIGHTS).read_bytes() == hub.files[WEIGHTS]


def test_a_server_without_ranges_is_read_from_the_start(hub: Hub, tmp_path: Path) -> None:
    hub.server.ranges = False
    hub.server.fault = cut_after(100_000, times=1)  # type: ignore[assignment]
    assert (get(tmp_path) / WEIGHTS).read_bytes() == hub.files[WEIGHTS]


def test_damaged_content_is_refused_and_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.server.pages[f"/org/tiny/resolve/{COMMIT}/{WEIGHTS}"] = b"y" * len(hub.files[WEIGHTS])
    with pytest.raises(SourceError, match=r"model\.safetensors arrived damaged"):
        get(tmp_path)
    assert not list(tmp_path.rglob(f"{WEIGHTS}*"))


def test_a_small_file_is_checked_too(hub: Hub, tmp_path: Path) -> None:
    hub.server.pages[f"/org/tiny/resolve/{COMMIT}/config.json"] = b"y" * len(hub.files["config.json"])
    with pytest.raises(SourceError, match=r"config\.json arrived damaged"):
        get(tmp_path)


def test_more_than_was_listed_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.server.pages[f"/org/tiny/resolve/{COMMIT}/{WEIGHTS}"] = hub.files[WEIGHTS] + b"more"
    with pytest.raises(SourceError, match="is longer than"):
        get(tmp_path)


def test_damage_in_the_cache_is_noticed_and_repaired(hub: Hub, tmp_path: Path) -> None:
    path = get(tmp_path) / WEIGHTS
    path.write_bytes(b"z" * len(hub.files[WEIGHTS]))
    assert (get(tmp_path) / WEIGHTS).read_bytes() == hub.files[WEIGHTS]


def test_a_missing_file_in_the_cache_is_noticed(hub: Hub, tmp_path: Path) -> None:
    (get(tmp_path) / "tokenizer.json").unlink()
    assert (get(tmp_path) / "tokenizer.json").exists()


def test_unknown_names_say_so(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="org/none@main does not exist on the hub"):
        get(tmp_path, "hf:org/none@main")
    with pytest.raises(SourceError, match=r"It has: .*model\.Q4\.gguf"):
        get(tmp_path, "hf:org/tiny@main/other.gguf")


def test_pickles_are_not_downloaded_even_by_name(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no safetensors or GGUF"):
        get(tmp_path, "hf:org/tiny@main/pytorch_model.bin")
    assert not hub.server.asked_for(".bin")


def test_a_repository_without_safetensors_is_refused(hub: Hub, tmp_path: Path) -> None:
    del hub.files[WEIGHTS]
    hub.publish()
    with pytest.raises(SourceError, match=r"has no safetensors. Name one of its GGUF files: model\.Q4\.gguf"):
        get(tmp_path)


def test_closed_repositories_ask_for_a_token(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(handler: BaseHTTPRequestHandler) -> bool:
        if handler.headers.get("Authorization") == "Bearer secret":
            return False
        handler.send_error(401)
        return True

    hub.server.fault = fault
    with pytest.raises(SourceError, match="HF_TOKEN"):
        get(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert (get(tmp_path) / WEIGHTS).exists()


def test_the_token_does_not_follow_a_redirect_elsewhere(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    with serving(FileServer(pages={"/blob": hub.files[WEIGHTS]})) as elsewhere:

        def fault(handler: BaseHTTPRequestHandler) -> bool:
            if not handler.path.endswith(f"/{WEIGHTS}"):
                return False
            handler.send_response(302)
            handler.send_header("Location", f"{elsewhere.address}/blob")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return True

        hub.server.fault = fault
        assert (get(tmp_path) / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
        assert hub.server.asked[0].authorization == "Bearer secret"
        assert [asked.authorization for asked in elsewhere.asked] == [None]


def test_a_silent_server_is_given_up(hub: Hub, tmp_path: Path) -> None:
    release = threading.Event()

    def fault(handler: BaseHTTPRequestHandler) -> bool:
        release.wait(30)
        handler.close_connection = True
        return True

    hub.server.fault = fault
    try:
        with pytest.raises(SourceError, match=r"could not be downloaded from 127\.0\.0\.1"):
            fetch(SOURCE, cache=tmp_path, patience=Patience(timeout_s=0.05, attempts=2, backoff_s=0.001))
    finally:
        release.set()


def test_no_network_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(FileServer()) as gone:
        address = gone.address
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(SourceError, match="Check the network"):
        get(tmp_path)


def test_an_endpoint_that_is_no_hub_says_so(hub: Hub, tmp_path: Path) -> None:
    hub.server.pages["/api/models/org/tiny/revision/main"] = b"<html>"
    with pytest.raises(SourceError, match="is HF_ENDPOINT a hub"):
        get(tmp_path)
    hub.server.pages["/api/models/org/tiny/revision/main"] = b'{"siblings": 3}'
    with pytest.raises(SourceError, match="is not understood"):
        get(tmp_path)


def test_a_listing_cannot_write_outside_of_the_cache(hub: Hub, tmp_path: Path) -> None:
    hub.publish(config_json={"rfilename": "../../config.json"})
    with pytest.raises(SourceError, match="outside of itself"):
        get(tmp_path)


def test_a_full_disk_is_told_before_anything_is_downloaded(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish(model_safetensors={"lfs": {"sha256": "0" * 64, "size": 1 << 60}})
    with pytest.raises(SourceError, match="The disk is too full for org/tiny"):
        get(tmp_path)
    assert len(hub.server.asked) == 1, "only the listing"


def test_a_folder_is_pinned_by_its_commit(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="pin it by a whole commit"):
        get(tmp_path, sha256="0" * 64)
