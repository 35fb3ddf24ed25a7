"""How runs of Locust end: in time, or broken off, with a process lost, with files that cannot be written."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cluster.node import free_ports
from loadtest.record import read_records
from tests.loadtest.answering import answering
from tests.loadtest.conftest import Timed
from tests.loadtest.locusts import LIMIT_S, has_records, headless, locust, scenario, told
from tests.waiting import wait_until


@pytest.mark.parametrize(
    ("load", "request_"),
    [
        ({"arrivals": "trace", "trace": "absent.jsonl"}, {"kind": "classify"}),
        ({"users": 2}, {"kind": "classify", "texts": "absent.txt"}),
    ],
)
def test_what_cannot_be_read_ends_it_before_it_begins(
    timed_server: Timed, tmp_path: Path, load: dict[str, Any], request_: dict[str, Any]
) -> None:
    path = scenario(tmp_path, load, requests=[{"model": "m", **request_}])
    log = tmp_path / "log"
    with locust(*headless(timed_server.url, tmp_path / "out", "--scenario", str(path)), log=log) as process:
        assert process.wait(LIMIT_S) == 1
    assert "cannot be read" in log.read_text()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_interrupted_run_is_told_with_what_there_is(timed_server: Timed, tmp_path: Path, processes: str) -> None:
    path, out = scenario(tmp_path, {"arrivals": "constant", "rate": 20}, "ttft=1,n=8", duration_s=60), tmp_path / "out"
    more = ["--processes", processes] if processes != "1" else []
    with locust(*headless(timed_server.url, out, "--scenario", str(path), *more)) as process:
        wait_until(has_records(out), "nobody was asked")
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 2
    client, records = told(out)["client"], read_records(out / "requests.jsonl")
    assert client["complete"] is False
    assert "broken off after" in client["verdict"]
    assert "planned requests were not sent" in client["verdict"]
    assert {one.failure for one in records} == {"", "unfinished"}
    assert len({one.number for one in records}) == len(records)
    assert told(out)["workers"] == int(processes)


def test_locusts_own_time_limit_breaks_a_longer_scenario_off(timed_server: Timed, tmp_path: Path) -> None:
    path, out = scenario(tmp_path, {"users": 2}, duration_s=60), tmp_path / "out"
    with locust(*headless(timed_server.url, out, "--scenario", str(path), "-t", "2s")) as process:
        assert process.wait(LIMIT_S) == 2
    assert told(out)["client"]["verdict"].startswith("The run was broken off after")


def test_requests_that_hang_when_a_run_by_hand_is_stopped_are_not_forgotten(
    timed_server: Timed, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ["-u", "2", "-r", "2", "--classifier", "hang=0", "--processes", "2", "ClassifyUser"]
    with locust(*headless(timed_server.url, out, *arguments)) as process:
        wait_until(lambda: len(timed_server.truth()) == 2, "not both were asked")
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 2, "nothing was answered"
    assert [one.failure for one in read_records(out / "requests.jsonl")] == ["unfinished"] * 2
    assert told(out)["client"]["complete"] is True, "it was stopped by hand, as it is meant to be"
    assert told(out)["client"]["lag_max_ms"] > 0, "the workers' own"


def test_a_run_that_lost_a_process_is_not_whole(timed_server: Timed, tmp_path: Path) -> None:
    path, out = scenario(tmp_path, {"arrivals": "constant", "rate": 20}, duration_s=4), tmp_path / "out"
    with locust(*headless(timed_server.url, out, "--scenario", str(path), "--processes", "2")) as process:
        wait_until(has_records(out), "nobody was asked")
        psutil.Process(process.pid).children()[0].kill()
        assert process.wait(LIMIT_S) == 2
    verdict = told(out)["client"]["verdict"]
    assert "1 of the client's 2 processes did not come to their end." in verdict
    assert "of 89 planned requests were not sent" in verdict


def test_files_that_cannot_be_written_do_not_keep_it_running(timed_server: Timed, tmp_path: Path) -> None:
    path, out = scenario(tmp_path, {"users": 1}), tmp_path / "out"
    with locust(*headless(timed_server.url, out, "--scenario", str(path))) as process:
        wait_until(has_records(out), "nobody was asked")
        (out / "run.json").mkdir()
        assert process.wait(LIMIT_S) == 2


def test_records_that_cannot_be_written_are_missed(timed_server: Timed, tmp_path: Path) -> None:
    path, out, log = scenario(tmp_path, {"users": 1}, duration_s=4), tmp_path / "out", tmp_path / "log"
    with locust(*headless(timed_server.url, out, "--scenario", str(path)), log=log) as process:
        wait_until(has_records(out), "nobody was asked")
        (out / "requests.jsonl").rename(out / "some.jsonl")
        (out / "requests.jsonl").mkdir()
        wait_until(lambda: "Records were lost" in log.read_text(), "no word of lost records")
        (out / "requests.jsonl").rmdir()
        (out / "some.jsonl").rename(out / "requests.jsonl")
        assert process.wait(LIMIT_S) == 2
    assert "requests that were sent have no record" in told(out)["client"]["verdict"]


def test_users_who_cannot_share_their_requests_are_refused(timed_server: Timed, tmp_path: Path) -> None:
    path, log = scenario(tmp_path, {"users": 1, "requests": 10}), tmp_path / "log"
    more = ["--scenario", str(path), "--processes", "2"]
    with locust(*headless(timed_server.url, tmp_path / "out", *more), log=log) as process:
        assert process.wait(LIMIT_S) == 2
    assert "`users: 1` cannot share 10 requests evenly in 2 processes" in log.read_text()


def test_each_start_on_the_web_page_is_a_run_of_its_own(timed_server: Timed, tmp_path: Path) -> None:
    path, out = scenario(tmp_path, {"arrivals": "constant", "rate": 20}, "ttft=0.5,n=8"), tmp_path / "out"
    page = f"http://127.0.0.1:{free_ports(1)[0]}"
    more = ["--host", timed_server.url, "--results", str(out), "--no-report", "--scenario", str(path)]
    with locust("--web-host", "127.0.0.1", "--web-port", page.rpartition(":")[2], *more):
        wait_until(lambda: _answers(page), "no page")
        for stops in (True, False):
            (out / "run.json").unlink(missing_ok=True)
            httpx.post(f"{page}/swarm", data={"user_count": "1", "spawn_rate": "1"}, timeout=30).raise_for_status()
            if stops:  # with requests under way
                wait_until(has_records(out), "nobody was asked")
                httpx.post(f"{page}/stop", timeout=30).raise_for_status()
            wait_until((out / "run.json").exists, "no result")
            wait_until(
                lambda: httpx.get(f"{page}/stats/requests", timeout=30).json()["state"] == "stopped", "it goes on"
            )
    assert [one.number for one in read_records(out / "requests.jsonl")] == list(range(49))
    assert told(out)["client"]["complete"] is True


def _answers(page: str) -> bool:
    try:
        return httpx.get(page, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_worker_sends_with_the_masters_key_and_no_other_scenario(tmp_path: Path) -> None:
    heads = []

    def answer(connection: Any) -> None:
        heads.append(connection.recv(1 << 16))
        connection.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 15\r\n\r\n{"data": ["a"]}')

    path = scenario(tmp_path, {"users": 1}, requests=[{"kind": "classify", "model": "m"}], warm_up_s=0, duration_s=1)
    (tmp_path / "other").mkdir()
    other = scenario(tmp_path / "other", {"users": 1}, requests=[{"kind": "classify", "model": "n"}], duration_s=1)
    for given, status in ((path, 0), (other, 2)):
        heads.clear()
        out, port = tmp_path / f"out{status}", str(free_ports(1)[0])
        master = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--expect-workers", "1"]
        worker = ["--worker", "--master-host", "127.0.0.1", "--master-port", port, "--scenario", str(given)]
        with answering(answer) as url:
            more = ["--scenario", str(path), "--api-key", "secret", *master]
            with locust(*headless(url, out, *more)) as process, locust(*worker):
                assert process.wait(LIMIT_S) == status
        sent = [head for head in heads if head.startswith(b"POST /classify")]
        assert bool(sent) == (status == 0)
        assert all(b"Authorization: Bearer secret" in head for head in sent)
        assert ("another scenario" in told(out)["client"]["verdict"]) == (status == 2)
