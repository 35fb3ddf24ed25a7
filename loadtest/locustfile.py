"""Load on any server that speaks these APIs. With Locust alone:

    locust -f loadtest/locustfile.py --host http://127.0.0.1:8000              web page; users of each kind
    locust -f loadtest/locustfile.py --headless -u 8 -t 1m ChatUser            one kind of user
    locust -f loadtest/locustfile.py --headless --scenario mix --results out   a scenario; with `--processes 4`, ...

`python -m loadtest run` does the last with a progress bar, the server's own metrics and a report.
"""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from typing import Any, ClassVar

import gevent
from locust import User, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import MasterRunner, WorkerRunner

from loadtest.client import key_header
from loadtest.completeness import shortfalls
from loadtest.connection import Connections
from loadtest.errors import LoadTestError
from loadtest.outcome import NOTHING
from loadtest.plan import End, prepared
from loadtest.recorder import Recorder
from loadtest.run_files import finish_run
from loadtest.scenario import Closed, Kind, Requests, Scenario, load_scenario
from loadtest.sender import POLL_S
from loadtest.session import EVERY_S, Session

logging.getLogger("httpx").setLevel(logging.WARNING)

MODELS: dict[Kind, str] = {
    "chat": "generator",
    "completions": "generator",
    "classify": "classifier",
    "embeddings": "embedder",
    "translate": "translator",
}


@events.init_command_line_parser.add_listener
def options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--scenario", default="", help="file, or the name of one of ours; without it, users by hand")
    parser.add_argument("--results", default="", help="folder for every request (JSONL) and the report")
    parser.add_argument("--no-report", action="store_true", help="write the requests alone", include_in_web_ui=False)
    parser.add_argument("--api-key", default="", env_var="STAGELINE_API_KEY", is_secret=True, help="sent as Bearer")
    parser.add_argument("--generator", default="smollm2", help="model of ChatUser and CompletionUser")
    parser.add_argument("--classifier", default="intents", help="model of ClassifyUser")
    parser.add_argument("--embedder", default="minilm", help="model of EmbeddingUser")
    parser.add_argument("--translator", default="en-de", help="model of TranslateUser")


class SessionUser(User):
    """One that asks through its process's session."""

    abstract = True
    session: ClassVar[Session]


class HandUser(SessionUser):
    """Asks for one kind of thing, again and again."""

    abstract = True
    kind: ClassVar[Kind]

    def on_start(self) -> None:
        name = getattr(self.environment.parsed_options, MODELS[self.kind])
        request = Requests(kind=self.kind, model=name)
        self._scenario = self.session.scenario.model_copy(update={"requests": (request,)})

    @task
    def ask(self) -> None:
        self.session.ask_next(self._scenario)


class ChatUser(HandUser):
    """Streams a chat's answer."""

    kind = "chat"


class CompletionUser(HandUser):
    """Streams a completion."""

    kind = "completions"


class ClassifyUser(HandUser):
    """Classifies a text."""

    kind = "classify"
    weight = 3


class EmbeddingUser(HandUser):
    """Embeds a text."""

    kind = "embeddings"
    weight = 3


class TranslateUser(HandUser):
    """Translates a sentence."""

    kind = "translate"
    weight = 2


class ClosedUser(SessionUser):
    """A scenario's user: asks, waits for the answer, thinks, asks again."""

    abstract = True

    @task
    def ask(self) -> None:
        if not self.session.ask_next():
            raise StopUser
        load = self.session.scenario.load
        if isinstance(load, Closed) and load.think_s:
            gevent.sleep(load.think_s)


class OpenUser(SessionUser):
    """Locust wants a user; the requests come by the plan, whatever users there are."""

    abstract = True

    @task
    def wait(self) -> None:
        gevent.sleep(POLL_S)


def by_hand(environment: Environment) -> Scenario:
    """What users do without a scenario, as one, for the report."""
    assert environment.parsed_options is not None
    kinds = [one.kind for one in environment.user_classes if issubclass(one, HandUser)]
    names = {kind: getattr(environment.parsed_options, MODELS[kind]) for kind in kinds}
    return Scenario(
        name="by-hand",
        requests=tuple(Requests(kind=kind, model=names[kind]) for kind in kinds),
        load=Closed(users=environment.parsed_options.num_users or 1),
        warm_up_s=0.0,
        duration_s=EVERY_S,
    )


@events.init.add_listener
def prepare(environment: Environment, runner: Any, **_: Any) -> None:
    """One session for each process; the scenario decides which users there are."""
    given = environment.parsed_options
    assert given is not None
    folder = Path(given.results) if given.results and not isinstance(runner, WorkerRunner) else None
    try:
        scenario = load_scenario(Path(given.scenario)) if given.scenario else by_hand(environment)
        arrivals = prepared(scenario)
        key_header(given.api_key)
        if environment.host:
            Connections(environment.host)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except (LoadTestError, OSError) as error:
        raise SystemExit(str(error)) from None
    if given.scenario:
        closed = isinstance(scenario.load, Closed)
        made: type[User] = type("ScenarioUser", (ClosedUser if closed else OpenUser,), {"abstract": False})
        environment.user_classes = [made]
        given.num_users = scenario.load.users if isinstance(scenario.load, Closed) else 1
        given.spawn_rate = float(given.num_users)

    def end(scenario: Scenario, end: End) -> None:
        if folder is not None:
            url, report = environment.host or "", not given.no_report
            status = finish_run(folder, scenario, url, end, report=report, api_key=given.api_key)
            environment.process_exit_code = status
        for words in shortfalls(end, None):
            logging.error(words)
            environment.process_exit_code = NOTHING

    recorder = Recorder(environment, folder)
    session = SessionUser.session = Session(environment, scenario, arrivals, recorder, end, by_hand=not given.scenario)
    if isinstance(runner, MasterRunner):
        runner.register_message("records", lambda environment, msg, **_: recorder.take(msg.data))

        def clock(environment: Environment, msg: Any, **_: Any) -> None:
            if session.workers is not None:
                session.workers.take_clock(msg.node_id, **msg.data)

        def done(environment: Environment, msg: Any, **_: Any) -> None:
            if session.workers is not None:
                session.workers.take_done(msg.node_id, msg.data)

        runner.register_message("clock", clock)
        runner.register_message("done", done)
    elif isinstance(runner, WorkerRunner):
        runner.register_message("plan", lambda environment, msg, **_: session.take_plan(msg.data))
        runner.register_message("end", lambda environment, msg, **_: runner.stop())

    def quitting(environment: Environment, **_: Any) -> None:
        """Before Locust reads the exit status, and before a worker takes its leave."""
        runner.stop(*([False] if isinstance(runner, MasterRunner) else []))
        session.written()

    environment.events.quitting.add_listener(quitting)
    gevent.signal_handler(signal.SIGINT, interrupt)
    gevent.get_hub().loop.update_now()  # or the time that the start took would be taken off `--run-time`


def interrupt() -> None:
    """In a greenlet of its own, from which it gets to the main one. A master's, which listens to workers, drops it."""
    raise KeyboardInterrupt


@events.test_start.add_listener
def start(environment: Environment, **_: Any) -> None:
    session = SessionUser.session
    if isinstance(environment.runner, WorkerRunner):
        session.start()
    else:
        session.make_plan()


@events.test_stop.add_listener
def stop(environment: Environment, **_: Any) -> None:
    SessionUser.session.stopped()
