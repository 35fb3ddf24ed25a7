"""Networks on one machine: namespaces with an address each, joined by a bridge, whose cables can be cut and slowed.

A network is found by its name alone: its bridge is called so, and its namespaces, its ends of the cables and its folder
begin with it. A locked file tells that its owner still lives, so that what a killed owner left is removed by the next
one, and nothing else is: what bears no name of ours, or has no such file, is somebody else's.
"""

from __future__ import annotations

import fcntl
import ipaddress
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from cluster.nodes.iproute import bridges, namespaces, run_ip, subnets_in_use, tc
from cluster.nodes.relay import Relay
from engine.errors import ConfigError, EngineFailed

log = logging.getLogger(__name__)

_PREFIX = "sl"
_OURS = re.compile(_PREFIX + "[0-9a-f]{4}")  # see `_free_name`
_LOCKS = Path("/run/stageline")
_MOUNTED = Path("/run/netns")  # where iproute2 keeps its namespaces
_NOBODY = "02:00:00:00:00:01"  # a hardware address that no interface has
_TRIES = 200
_GONE_S = 10.0
_POLL_S = 0.02


def unavailable() -> str | None:
    """Why this machine has no such networks; None where it has."""
    if not hasattr(os, "geteuid") or not Path("/proc/self/ns/net").exists():
        return "network namespaces are Linux's"
    missing = [program for program in ("ip", "nsenter") if shutil.which(program) is None]
    if missing:
        return f"{' and '.join(missing)} not found (iproute2, util-linux)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    capabilities = next(line for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line)
    if not int(capabilities.split()[1], 16) >> 12 & 1:
        return "network namespaces need CAP_NET_ADMIN (docker run --privileged)"
    return None


@dataclass(slots=True)
class Place:
    """One namespace. `cable` is the root's end of its link to the bridge."""

    name: str
    namespace: str
    address: str
    cable: str
    relay: Relay | None = None

    def command(self, *argv: str) -> list[str]:
        """`argv`, run in this namespace. Only the network differs there: files and processes are the machine's."""
        return ["nsenter", f"--net={_MOUNTED / self.namespace}", *argv]

    def processes(self) -> set[psutil.Process]:
        """All that run in the namespace, whoever started them."""
        return processes_in(self.namespace)


@dataclass(slots=True)
class Network:
    """A bridge with an address in the root namespace, and places on it.

    `folder` is the network's own, deleted with it.
    """

    name: str
    subnet: ipaddress.IPv4Network
    folder: Path
    places: dict[str, Place] = field(default_factory=dict)
    _apart: set[frozenset[str]] = field(default_factory=set)
    _cut: set[str] = field(default_factory=set)
    _slow: dict[str, float] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Of the root namespace, as the places see it."""
        return str(self.subnet[1])

    def add(self, name: str) -> Place:
        """A new namespace with a cable to the bridge."""
        number = len(self.places)
        place = Place(name, f"{self.name}-{name}", str(self.subnet[number + 2]), f"{self.name}-{number}")
        if name in self.places:
            raise ConfigError(f"There is a node {name} already.", param="name")
        self.places[name] = place
        run_ip(f"netns add {place.namespace}")
        run_ip(f"link add {place.cable} type veth peer name eth0 netns {place.namespace}")
        run_ip(f"link set {place.cable} master {self.name} up")
        run_ip(f"-n {place.namespace} addr add {place.address}/{self.subnet.prefixlen} dev eth0")
        run_ip(f"-n {place.namespace} link set eth0 up")
        run_ip(f"-n {place.namespace} link set lo up")
        return place

    def cut(self, name: str, other: str | None = None) -> None:
        """Pull the cable of `name`, or lose all that it and `other` send each other. Nobody is told: packets vanish."""
        place = self.place(name)
        if other is None:
            run_ip(f"link set {place.cable} down")
            self._cut.add(name)
            return
        for one, peer in ((place, self.place(other)), (self.place(other), place)):
            # Sent to a hardware address that nobody has: lost without an error, unlike with a route that forbids it.
            run_ip(f"-n {one.namespace} neigh replace {peer.address} lladdr {_NOBODY} dev eth0 nud permanent")
        self._apart.add(frozenset((name, other)))

    def restore(self, name: str, other: str | None = None) -> None:
        """Undo `cut` and `slow`; without `other` all of them that `name` has part in."""
        place = self.place(name)
        for pair in [pair for pair in self._apart if name in pair and (other is None or other in pair)]:
            first, second = (self.place(one) for one in pair)
            for one, peer in ((first, second), (second, first)):
                run_ip(f"-n {one.namespace} neigh del {peer.address} dev eth0")
            self._apart.discard(pair)
        if other is None:
            self.slow(name, delay_ms=0)
            run_ip(f"link set {place.cable} up")
            self._cut.discard(name)

    def slow(self, name: str, *, delay_ms: float, jitter_ms: float = 0.0) -> None:
        """Delay each packet to and from `name` by half of `delay_ms`, so that a round trip takes that much longer.

        The kernel's netem does it; where that is missing a process of ours that hands packets on. 0 ends it.
        """
        place = self.place(name)
        if place.relay is not None:
            place.relay.close()
            place.relay = None
            run_ip(f"link set {place.cable} master {self.name}")
        for end in ("", f"-n {place.namespace}"):
            tc(f"{end} qdisc del dev {place.cable if not end else 'eth0'} root", check=False)
        self._slow.pop(name, None)
        if not delay_ms:
            return
        self._slow[name] = delay_ms
        each, jitter = delay_ms / 2, jitter_ms / 2
        netem = f"root netem limit 100000 delay {each}ms" + (f" {jitter}ms" if jitter else "")
        if tc(f"qdisc add dev {place.cable} {netem}", check=False):
            tc(f"-n {place.namespace} qdisc add dev eth0 {netem}")
        else:
            place.relay = Relay.between(place.cable, self.name, delay_s=each / 1000, jitter_s=jitter / 1000)

    def is_cut(self, name: str) -> bool:
        """Whether the cable of `name` is pulled."""
        return name in self._cut

    def cable_state(self, name: str) -> str:
        """In words: whole, cut, slow, or apart from which others."""
        if name in self._cut:
            return "cut"
        others = sorted({other for pair in self._apart if name in pair for other in pair} - {name})
        words = [f"cut from {', '.join(others)}"] if others else []
        if name in self._slow:
            words.append(f"+{self._slow[name]:g} ms")
        return ", ".join(words) or "whole"

    def place(self, name: str) -> Place:
        """Raises `ConfigError` for a name that is not there."""
        try:
            return self.places[name]
        except KeyError:
            raise ConfigError(f"There is no node {name}. There are: {', '.join(self.places)}.", param="name") from None


@contextmanager
def network() -> Iterator[Network]:
    """A new network, which vanishes at the end with all that runs in it. What dead owners left vanishes first.

    Raises `ConfigError` where this machine has none (`unavailable`).
    """
    reason = unavailable()
    if reason is not None:
        raise ConfigError(f"No network of namespaces can be made: {reason}.")
    _LOCKS.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with _locked(_LOCKS / "all") as _:
            remove_leftovers()
            name = _free_name()
            stack.enter_context(_locked(_lock_of(name)))
            stack.callback(remove, name)
            subnet = _free_subnet()
            run_ip(f"link add {name} type bridge")
            run_ip(f"addr add {subnet[1]}/{subnet.prefixlen} dev {name}")
            run_ip(f"link set {name} up")
        folder = _folder_of(name)
        folder.mkdir(mode=0o700)
        made = Network(name, subnet, folder)
        stack.callback(_end_relays, made)
        yield made


def remove(name: str) -> None:
    """End a network: its processes, namespaces, interfaces, and its folder.

    What fails does not keep the rest from being removed: `EngineFailed` tells of it at the end, and the lock's file
    stays, so that the next owner of a network tries again.
    """
    mine = [found for found in namespaces() if found.startswith(f"{name}-")]
    # Cables before the namespaces: with them they would vanish too, but some time later.
    cables = [path.name for path in Path("/sys/class/net").glob(f"{name}-*")]
    in_turn(
        [
            *(partial(end_all, namespace) for namespace in mine),
            *(partial(run_ip, f"link del {cable}", check=False) for cable in cables),
            *(partial(_forget, namespace) for namespace in mine),
            partial(run_ip, f"link del {name}", check=False),
            partial(shutil.rmtree, _folder_of(name), ignore_errors=True),
        ]
    )
    _lock_of(name).unlink(missing_ok=True)


def in_turn(steps: Iterable[Callable[[], object]]) -> None:
    """Take all steps, whichever fail. Raises `EngineFailed` with the words of those that did."""
    failures = []
    for step in steps:
        try:
            step()
        except EngineFailed as error:
            failures.append(error)
    if failures:
        raise EngineFailed(" ".join(failure.message for failure in failures)) from failures[0]


def remove_leftovers() -> list[str]:
    """Remove the networks whose owners have died. Returns their names."""
    removed = []
    for name in removable([*bridges(_PREFIX), *namespaces()], [path.name for path in _LOCKS.glob("*.lock")]):
        # Not to be locked: its owner lives. Not found: it has just removed it.
        with suppress(BlockingIOError, FileNotFoundError), _locked(_lock_of(name), wait=False, create=False):
            try:
                remove(name)
            except EngineFailed as error:
                log.warning("what a dead process left of the network %s cannot be removed: %s", name, error)
            else:
                removed.append(name)
    return removed


def removable(found: Iterable[str], locks: Iterable[str]) -> list[str]:
    """The networks of ours among the names of bridges and namespaces that were found: those whose lock's file is among
    `locks`. Anybody may call a bridge sl0 or sl1234."""
    names = {name.partition("-")[0] for name in found}
    files = set(locks)
    return sorted(name for name in names if _OURS.fullmatch(name) and _lock_of(name).name in files)


def processes_in(namespace: str) -> set[psutil.Process]:
    """All processes in a namespace of this machine; none where there is no such namespace."""
    try:
        wanted = (_MOUNTED / namespace).stat().st_ino
    except FileNotFoundError:
        return set()
    found = set()
    for process in psutil.process_iter():
        with suppress(OSError, psutil.NoSuchProcess):
            if Path(f"/proc/{process.pid}/ns/net").stat().st_ino == wanted:
                found.add(process)
    return found


def end_all(namespace: str) -> None:
    """Kill all processes in a namespace, at once and without asking, as when a machine loses its power."""
    deadline = time.monotonic() + _GONE_S
    # Again and again, as what is killed may have started something meanwhile. Those that are ours to wait for are left
    # to whoever started them.
    while processes := processes_in(namespace) - {psutil.Process()}:
        if time.monotonic() > deadline:
            raise EngineFailed(f"Processes in the network namespace {namespace} do not end: {processes}.")
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(_POLL_S)


def _forget(namespace: str) -> None:
    """Take a namespace's name away, by which alone what still runs in it can be found: where nothing does."""
    if not processes_in(namespace) - {psutil.Process()}:
        run_ip(f"netns del {namespace}", check=False)


@contextmanager
def _locked(path: Path, *, wait: bool = True, create: bool = True) -> Iterator[None]:
    """Hold a lock that ends with this process. Raises `BlockingIOError` where another has it and we do not wait, and
    `FileNotFoundError` where there is none and we do not `create` it."""
    with path.open("w" if create else "r") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def _lock_of(name: str) -> Path:
    return _LOCKS / f"{name}.lock"


def _folder_of(name: str) -> Path:
    """Close to the root, as paths of Unix sockets below it may have some 100 characters only."""
    return Path("/tmp") / f"stageline-{name}"


def _free_name() -> str:
    taken = {name.partition("-")[0] for name in (*bridges(_PREFIX), *namespaces())}
    names = (_PREFIX + secrets.token_hex(2) for _ in range(_TRIES))
    return next(name for name in names if name not in taken and not _lock_of(name).exists())


def _free_subnet() -> ipaddress.IPv4Network:
    """254 addresses that no route of this machine leads to."""
    taken = subnets_in_use()
    for _ in range(_TRIES):
        subnet = ipaddress.IPv4Network((0x0A400000 + (secrets.randbelow(1 << 14) << 8), 24))  # of 10.64.0.0/10
        if not any(subnet.overlaps(other) for other in taken):
            return subnet
    raise EngineFailed("No free subnet of 10.64.0.0/10 was found.")


def _end_relays(network: Network) -> None:
    for place in network.places.values():
        if place.relay is not None:
            place.relay.close()
