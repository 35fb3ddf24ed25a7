"""Every error that Stageline raises on purpose. `deployments/front_door/errors.py` maps them to HTTP statuses.

Messages are written for the person who can act on them: what is wrong, then what to do.
"""

from __future__ import annotations


class StagelineError(Exception):
    """Root of the tree. `param` names the request field or configuration key at fault, where there is one."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions rebuild themselves from `args`, which would drop keyword attributes between processes.
        return (_rebuild, (type(self), self.message, self.__dict__.copy()))


def _rebuild(kind: type[StagelineError], message: str, state: dict[str, object]) -> StagelineError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


class InvalidRequest(StagelineError):
    """The caller's request can never succeed as it stands."""


class ModelNotFound(StagelineError):
    """No such model, or no such variant of it."""


class PayloadTooLarge(StagelineError):
    """The body is over the limit; it was not read to its end."""


class RequestTooSlow(StagelineError):
    """The body came so slowly that it was not waited for any longer."""


class Overloaded(StagelineError):
    """The queue is full, or the server is draining. Try again after `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.retry_after_s = retry_after_s


class CallerOverShare(Overloaded):
    """This caller has more open requests than is its share while others wait; there is room for other callers."""


class RateLimited(Overloaded):
    """This caller's own limit is used up, of "requests", "tokens" or "concurrency"; there may be room for others."""

    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after_s: float, limit: str) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.limit = limit


class NotAuthenticated(StagelineError):
    """The caller gave no key, or none that holds here."""

    code = "invalid_api_key"


class NotAllowed(StagelineError):
    """The caller's key is a good one, but not for this."""

    code = "insufficient_permissions"


class Busy(StagelineError):
    """What was asked for can be done once at a time, and is being done. Not a matter of load: see `Overloaded`."""


class DeadlineExceeded(StagelineError):
    """The caller's own deadline passed before the answer was complete."""


class EngineFailed(StagelineError):
    """The engine or one of its processes died; the request was not at fault."""


class StageLost(EngineFailed):
    """A stage of a pipeline died, froze or cannot be reached. What was under way is lost, the requests are not."""


class ReplicaLost(EngineFailed):
    """The replica as a whole stops working; what it had not finished can be computed by another."""


class ReplicaEnded(ReplicaLost):
    """The replica had stopped working before it was asked, and took nothing. `replica` is its name."""

    def __init__(self, message: str, *, replica: str) -> None:
        super().__init__(message)
        self.replica = replica


class CheckpointError(StagelineError):
    """A model's files are missing, damaged, or of a kind that is not supported."""


class SourceError(StagelineError):
    """A model could not be fetched, or what was fetched is not what was pinned."""


class ConfigError(StagelineError):
    """The configuration file is wrong; `param` is the path of the key."""
