"""One mistake for each rule, and often several: what is changed in the good objects, and which rule has to find it."""

from tests.deployments.k8s.mistakes.agreement import AGREEMENT
from tests.deployments.k8s.mistakes.kuberay import KUBERAY
from tests.deployments.k8s.mistakes.planted import Planted
from tests.deployments.k8s.mistakes.schemas import SCHEMAS
from tests.deployments.k8s.mistakes.security import SECURITY
from tests.deployments.k8s.mistakes.serving import SERVED

ALL = [*SCHEMAS, *KUBERAY, *SECURITY, *SERVED, *AGREEMENT]

__all__ = ["ALL", "Planted"]
